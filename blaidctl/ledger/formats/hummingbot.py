"""The SQLite database of a Hummingbot (Apache-2.0): each row of `TradeFill` is one fill.

Since its schema 20220130 price and amount are integers of millionths: further digits were cut when they were written,
so no row is exact. Before it they were doubles; the declared type of the column tells which (its model/trade_fill.py
and db_migration/transformations.py). `trade_fee` is JSON in two forms: flat fees by token, and a rate (`percent`: 0.001
is a tenth of a percent) on the value. A rate that is charged in a third token needs a price that is not in the file.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from blaidctl.core import decimals
from blaidctl.ledger.formats.fields import Draft, one_fee
from blaidctl.ledger.formats.json_text import Parser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from zoneinfo import ZoneInfo

    from blaidctl.ledger.fills import Fill, Record, Refusal
    from blaidctl.ledger.formats.sqlite import Snapshot
    from blaidctl.ledger.vocabulary import Side

HINT = "is this the database of a Hummingbot?"
COLUMNS = ("market", "symbol", "base_asset", "quote_asset", "timestamp", "order_id", "trade_type", "price", "amount",
           "trade_fee", "exchange_trade_id")  # fmt: skip
#: How the integers are scaled, and the type under which they are declared.
PLACES, SCALED = 6, "BIGINT"
DOUBLES = frozenset({"FLOAT", "REAL"})
_PERPETUAL = "_perpetual"
_LARGEST = 2**63

Fee = tuple[Decimal | None, str | None]


def read(source: Snapshot, zone: ZoneInfo | None) -> Iterator[Record]:  # noqa: ARG001 - its times are milliseconds
    """Yield what each row of TradeFill is."""
    columns = source.require("TradeFill", COLUMNS, HINT)
    if columns["price"] not in {SCALED, *DOUBLES}:
        raise source.invalid(f"declares TradeFill.price as {columns['price']}, not as BIGINT or FLOAT: {HINT}")
    scaled, parser = columns["price"] == SCALED, Parser()
    query = f"SELECT {', '.join(COLUMNS)} FROM TradeFill ORDER BY rowid"
    for ordinal, row in enumerate(source.rows(query), start=1):
        yield _fill(ordinal, dict(zip(COLUMNS, row, strict=True)), parser, scaled=scaled)


def _fill(ordinal: int, given: dict[str, Any], parser: Parser, *, scaled: bool) -> Fill | Refusal:
    draft = Draft(ordinal, exact=False)
    base, quote = (
        draft.text(name, given[name], needed=True, limit="currency") for name in ("base_asset", "quote_asset")
    )
    market = draft.text("market", given["market"], needed=True, limit="exchange") or ""
    side = draft.side("trade_type", given["trade_type"])
    price = _amount(draft, draft.price, "price", given, scaled=scaled)
    quantity = _amount(draft, draft.quantity, "amount", given, scaled=scaled)
    trade_id = draft.text("exchange_trade_id", given["exchange_trade_id"], needed=True, limit="symbol")
    fee: Fee = (None, None)
    if price is not None and quantity is not None and side is not None and base and quote:
        fee = one_fee(draft, _fees(draft, parser, given["trade_fee"], _Terms(side, price, quantity, base, quote)))
    return draft.fill(
        exchange=market.removesuffix(_PERPETUAL).upper() or None,
        symbol=draft.text("symbol", given["symbol"], needed=True),
        asset_class="cryptofuture" if market.endswith(_PERPETUAL) else "crypto",
        side=side,
        quantity=quantity,
        price=price,
        fee=fee[0],
        fee_currency=fee[1],
        executed_at=draft.milliseconds("timestamp", given["timestamp"]),
        # As ccxt's trades are named: unique in a market, and both sides of one's own match carry the same id.
        venue_trade_id=f"{base}/{quote}:{str(side).lower()}:{trade_id}",
        order_id=draft.text("order_id", given["order_id"]),
        currency=quote,
        multiplier=Decimal(1),
    )


def _amount(
    draft: Draft, take: Callable[[str, Any], Decimal | None], name: str, given: dict[str, Any], *, scaled: bool
) -> Decimal | None:
    """Return what a number stands for; a migrated column holds its integers as doubles."""
    value = given[name]
    if scaled and isinstance(value, int | float) and abs(value) < _LARGEST:
        if value != int(value):
            draft.refuse(f"{name}: {value!r} is no integer of millionths")
            return None
        value = format(Decimal(int(value)).scaleb(-PLACES), "f")
    return take(name, value)


class _Terms:
    """What a fee is reckoned from."""

    __slots__ = ("base", "price", "quantity", "quote", "side")

    def __init__(self, side: Side, price: Decimal, quantity: Decimal, base: str, quote: str) -> None:
        self.side, self.price, self.quantity, self.base, self.quote = side, price, quantity, base, quote


def _fees(draft: Draft, parser: Parser, text: Any, terms: _Terms) -> list[Fee]:
    """Return the fees that the JSON of a fill tells of."""
    given = _object(parser, text)
    flat = given.get("flat_fees", []) if given is not None else None
    if given is None or not isinstance(flat, list) or "percent" not in given:
        draft.refuse("trade_fee: is no JSON object with percent and flat_fees")
        return []
    found = [fee for entry in flat if (fee := _flat(draft, entry)) is not None]
    percent = draft.number("trade_fee.percent", given["percent"])
    if percent:
        found.append(_share(draft, given, percent, terms))
    # Nothing is charged, and the database says so: a fee of 0, not an unknown one.
    return found or [(Decimal(0), terms.quote)]


def _object(parser: Parser, text: Any) -> dict[str, Any] | None:
    if not isinstance(text, str):
        return None
    try:
        found, end = parser.value(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) and not parser.twice and not text[end:].strip() else None


def _flat(draft: Draft, entry: Any) -> Fee | None:
    """Return a flat fee: {"token", "amount"}, {"asset", "amount"} of older versions."""
    if not isinstance(entry, dict):
        draft.refuse("trade_fee.flat_fees: is no object with token and amount")
        return None
    token = entry.get("token", entry.get("asset"))
    return (
        draft.number("trade_fee.flat_fees.amount", entry.get("amount"), needed=True),
        draft.text("trade_fee.flat_fees.token", token, needed=True, limit="currency"),
    )


def _share(draft: Draft, given: dict[str, Any], percent: Decimal, terms: _Terms) -> Fee:
    """Return the fee that a rate makes: of the value in the quote currency, or of the coins that a buy brought."""
    token = given.get("percent_token")
    if token not in {None, "", terms.base, terms.quote}:
        draft.refuse("trade_fee.percent_token: the rate is charged in a third token, whose price is not in the file")
        return None, None
    returned = given.get("fee_type") == "DeductedFromReturns" and terms.side == "BUY"
    in_base = token == terms.base if token else returned
    amount = decimals.times(terms.quantity, percent)
    return (amount, terms.base) if in_base else (decimals.times(amount, terms.price), terms.quote)
