"""A small ledger written straight into the tables, for those who only compute with it; `audit verify` knows none of it.

    desk(database)                                        alice's momo-1 on ib-1 (USD), linked since 2020; ES of the CME
    flow(database, "INITIAL", "10000", at="2026-01-05")
    fills(database, [buy("1", "4000"), sell("1", "4010", at="2026-01-06T15:30")])

What an operator imports goes through `ledger import` (tests/ledger/work.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from blaidctl.core.types import time_text
from tests.support.accounts import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tests.support.database import Database

BOT, ACCOUNT, USER = "momo-1", "ib-1", "alice"
SINCE = "2020-01-01T00:00:00.000000Z"
ES = {"exchange": "CME", "symbol": "ES", "asset_class": "future"}
_STAMPS = {"act_id": "0" * 32, "actor": "test@here", "created_at": SINCE, "trace_id": "1" * 32}
_serial = itertools.count(1)


def moment(text: str) -> str:
    """Return a time as it is stored; `2026-01-05` and `2026-01-05T15:30` are UTC."""
    found = datetime.fromisoformat(text)
    return time_text(found if found.tzinfo else found.replace(tzinfo=UTC))


def eight(text: str | None) -> int | None:
    """Return a decimal times 10^8 where it is a 64-bit whole number of up to ten digits before the point."""
    if text is None:
        return None
    scaled = Decimal(text).scaleb(8)
    return int(scaled) if scaled == scaled.to_integral_value() and abs(Decimal(text)) < 10**10 else None


def desk(
    database: Database,
    *,
    bots: Sequence[str] = (BOT,),
    account: str = ACCOUNT,
    user: str = USER,
    currency: str = "USD",
    long_only: bool = False,
    since: str = SINCE,
) -> None:
    """Write a user, an account of his, his bots, their links, and the instrument ES; what is there stays."""
    _once(database, "users", {"id": user}, {"name": user, "created_at": SINCE})
    _once(
        database,
        "broker_accounts",
        {"id": account},
        {
            "user_id": user, "broker": "ibkr", "external_id": f"U-{account}", "environment": "paper",
            "currency": currency, "status": "OPEN", "created_at": SINCE, "long_only": int(long_only),
        },
    )  # fmt: skip
    for bot in bots:
        about = {"user_id": user, "name": bot, "strategy": "", "tags": "[]", "exchanges": "[]", "created_at": SINCE}
        _once(database, "bots", {"id": bot}, about)
        limits = {**LIMITS, "policy_sha256": "0" * 64, "linked_at": moment(since)}
        _once(database, "account_links", {"bot_id": bot, "account_id": account}, limits)
    instrument(database)


def instrument(database: Database, **changes: str) -> dict[str, str]:
    """Write an instrument, ES of the CME with changes; return its key."""
    values = {
        **ES, "description": "", "tick_size": "0.25", "point_value": "50", "currency": "USD", "min_qty": "1",
        "lot_size": "1", "session": "ALWAYS", "venue_symbol": "", "price_magnifier": "1", "updated_at": SINCE,
        **changes,
    }  # fmt: skip
    _once(database, "sessions", {"name": "ALWAYS"}, {"timezone": "UTC", "updated_at": SINCE})
    key = {name: values.pop(name) for name in ES}
    _once(database, "instruments", key, {**values, "is_active": 1})
    return key


def buy(quantity: str, price: str, at: str = "2026-01-05T15:30", **changes: Any) -> dict[str, Any]:
    """Return a fill that buys ES without a fee."""
    return {"side": "BUY", "quantity": quantity, "price": price, "executed_at": at, **changes}


def sell(quantity: str, price: str, at: str = "2026-01-05T15:30", **changes: Any) -> dict[str, Any]:
    """Return a fill that sells ES without a fee."""
    return {**buy(quantity, price, at), "side": "SELL", **changes}


def fills(
    database: Database,
    rows: Iterable[Mapping[str, Any]],
    *,
    bot: str = BOT,
    account: str = ACCOUNT,
    **of_import: Any,
) -> int:
    """Write fills (of `trades`' columns; `reverses` names a venue_trade_id) as one import; return its id.

    What a fill does not say: ES, fee 0 USD, an id of its own. `of_import` are columns of ledger_imports.
    """
    made = [_fill(row, bot, account) for row in rows]
    times = sorted(row["executed_at"] for row in made) or [None]
    about = {
        **_STAMPS, "account_id": account, "format": "csv", "source_name": "test.csv", "part": 1, "parts": 1,
        "file_sha256": hashlib.sha256(str(next(_serial)).encode()).hexdigest(), "rows_read": len(made),
        "rows_new": len(made), "rows_known": 0, "rows_refused": 0, "exact": int(all(row["exact"] for row in made)),
        "sequence": None, "provider_id": None, "no_fee": 0, "timezone": None, "first_executed_at": times[0],
        "last_executed_at": times[-1], "after_kill": sum(row["after_kill"] for row in made), "fills_sha256": "0" * 64,
        **of_import,
    }  # fmt: skip
    import_id = _insert(database, "ledger_imports", about)
    plain = [{**row, "import_id": import_id} for row in made if row["reverses"] is None]
    _insert_all(database, "trades", [{k: v for k, v in row.items() if k != "reverses"} for row in plain])
    for row in made:
        if row["reverses"] is not None:
            ((original,),) = database.sql("SELECT id FROM trades WHERE venue_trade_id = ?", (row.pop("reverses"),))
            _insert(database, "trades", {**row, "import_id": import_id, "reverses_id": original})
    return import_id


def _fill(row: Mapping[str, Any], bot: str, account: str) -> dict[str, Any]:
    number = next(_serial)
    whole: dict[str, Any] = {
        **ES, "bot_id": bot, "instance_id": None, "account_id": account, "fee": "0", "fee_currency": "USD",
        "venue_trade_id": f"T{number:09}", "order_id": None, "source": "csv", "line": number, "reverses": None,
        "reverses_id": None, "reported_pnl": None, "after_kill": 0, "exact": 1, **row,
    }  # fmt: skip
    whole["executed_at"] = moment(whole["executed_at"])
    if whole["fee"] is None:
        whole["fee_currency"] = None
    return {**whole, **{f"{name}_8": eight(whole[name]) for name in ("quantity", "price", "fee")}}


def flow(
    database: Database,
    kind: str,
    amount: str,
    *,
    at: str = "2026-01-01",
    bot: str = BOT,
    account: str = ACCOUNT,
    currency: str = "USD",
) -> int:
    """Write a capital flow; return its id."""
    about = {"bot_id": bot, "account_id": account, "kind": kind, "amount": amount, "currency": currency}
    return _insert(database, "capital_flows", {**_STAMPS, **about, "at": moment(at)})


def rate(database: Database, base: str, quote: str, value: str, *, at: str) -> int:
    """Write an FX rate; return its id."""
    about = {"base": base, "quote": quote, "rate": value, "at": moment(at), "source": "test"}
    return _insert(database, "fx_rates", {**_STAMPS, **about})


def mark(database: Database, price: str, *, at: str, key: Mapping[str, str] = ES) -> int:
    """Write a mark of an instrument; return its id."""
    return _insert(database, "marks", {**_STAMPS, **key, "at": moment(at), "price": price, "source": "test"})


def _once(database: Database, table: str, key: Mapping[str, str], values: Mapping[str, Any]) -> None:
    same = " AND ".join(f"{name} = ?" for name in key)
    if not database.sql(f"SELECT 1 FROM {table} WHERE {same}", tuple(key.values())):
        _insert_all(database, table, [{**key, **values}])


def _insert(database: Database, table: str, values: Mapping[str, Any]) -> int:
    holes = ", ".join("?" * len(values))
    statement = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({holes}) RETURNING id"
    ((made,),) = database.sql(statement, tuple(values.values()))
    return int(made)


def _insert_all(database: Database, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        return
    holes = ", ".join(["%s" if database.kind == "postgresql" else "?"] * len(rows[0]))
    statement = f"INSERT INTO {table} ({', '.join(rows[0])}) VALUES ({holes})"
    with contextlib.closing(database.raw()) as connection:
        connection.execute("BEGIN")
        connection.cursor().executemany(statement, [tuple(row.values()) for row in rows])
        connection.execute("COMMIT")
