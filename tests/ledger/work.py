"""A desk whose ledger is written as an operator writes it: alice has momo-1 and carry-2 on ib-1, bob has b1 on ib-b."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from blaidctl.core.types import time_text
from tests.instruments.work import a_desk
from tests.kill.fleet import done
from tests.support.accounts import add_account, link

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from tests.support.commandline import CommandLine, Run
    from tests.support.database import Database

COLUMNS = (
    "venue_trade_id", "executed_at", "symbol", "exchange", "asset_class", "side", "quantity", "price", "fee",
    "fee_currency", "bot", "account", "instance", "order_id", "reverses", "realized_pnl", "currency",
)  # fmt: skip
#: A row that the import takes, by column; its id and time are made for it.
GOOD = {
    "symbol": "ES", "exchange": "CME", "asset_class": "future", "side": "BUY", "quantity": "1", "price": "6870.25",
    "fee": "2.25", "fee_currency": "USD", "bot": "momo-1",
}  # fmt: skip
#: Of everything that an import may write.
TABLES = ("ledger_imports", "trades", "ledger_events", "capital_flows", "fx_rates", "marks")


#: When a flow is, unless another moment is named.
AT = "2026-01-05T15:00:00Z"


def flow(cli: CommandLine, kind: str, amount: str, *more: str, bot: str = "momo-1", account: str = "ib-1") -> Run:
    """Record a capital flow; `more` are further options and their values."""
    asked = {"--account": account, "--kind": kind, "--amount": amount, "--currency": "USD", "--at": AT}
    given = dict(zip(more[::2], more[1::2], strict=True))
    return cli("ledger", "flow", bot, *(word for pair in (asked | given).items() for word in pair))


def ledger_desk(cli: CommandLine) -> None:
    """Make users, bots, accounts and links as of now, and load the real instruments."""
    for user, bots in (("alice", ("momo-1", "carry-2", "idle-3")), ("bob", ("b1",))):
        done(cli("user", "add", user))
        for bot in bots:
            done(cli("bot", "add", bot, "--user", user))
    for account, user in (("ib-1", "alice"), ("ib-2", "alice"), ("ib-b", "bob")):
        add_account(cli, account, user)
    link(cli, ("momo-1",), "ib-1")
    link(cli, ("carry-2",), "ib-2")
    link(cli, ("b1",), "ib-b")
    a_desk(cli)


def now(seconds: float = 0) -> str:
    """Return the time, or one so many seconds from it."""
    return time_text(datetime.now(UTC) + timedelta(seconds=seconds))


def rows(*changes: Mapping[str, str], start: int = 1) -> list[dict[str, str]]:
    """Return good rows with changes, each with an id and a time of its own."""
    at = datetime.now(UTC)
    return [
        {
            **dict.fromkeys(COLUMNS, ""),
            **GOOD,
            "venue_trade_id": f"T{number}",
            "executed_at": time_text(at + timedelta(milliseconds=number)),
            **change,
        }
        for number, change in enumerate(changes, start)
    ]


def text(found: Iterable[Mapping[str, str]]) -> str:
    """Return a file of our own CSV."""
    made = io.StringIO()
    writer = csv.DictWriter(made, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return made.getvalue()


def write(home: Path, found: Iterable[Mapping[str, str]], name: str = "fills.csv") -> Path:
    """Write a file of our own CSV and return its path."""
    path = home / name
    path.write_text(text(found))
    return path


def take(cli: CommandLine, path: Path | str, *options: str, account: str = "ib-1", **how: Any) -> Run:
    """Import a file of our own CSV."""
    return cli("ledger", "import", path, "--format", "csv", "--account", account, *options, **how)


def stored(database: Database, columns: str = "venue_trade_id") -> list[tuple[Any, ...]]:
    """Return the fills by id."""
    return database.sql(f"SELECT {columns} FROM trades ORDER BY id")


def counts(database: Database) -> dict[str, int]:
    """Return how many rows each table of the ledger has."""
    return {table: database.sql(f"SELECT count(*) FROM {table}")[0][0] for table in TABLES}
