"""blaidctl's own columns of a fill, in CSV and NDJSON alike.

| column | required | what it says |
|---|---|---|
| venue_trade_id | yes | the venue's id of this execution, once in an account |
| executed_at | yes | ISO 8601 with Z or an offset; without one only together with --timezone |
| symbol, exchange, asset_class | symbol | the instrument; as far as only one fits, the symbol is enough |
| side | yes | BUY or SELL |
| quantity | yes | above zero |
| price | yes | not zero |
| fee, fee_currency | no | what was paid (below zero: a rebate); empty: not known, never 0 |
| bot, account, instance | no | who traded, where |
| order_id | no | the order that was filled |
| reverses | no | the venue_trade_id that this row takes back: it repeats it, on the other side, the fee negated |
| realized_pnl | no | what the source believes to have realized: by FIFO, before fees, in the currency of the price |
| currency | no | of the price |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blaidctl.instruments.vocabulary import AssetClass
from blaidctl.ledger.formats.fields import Draft, Number, described

if TYPE_CHECKING:
    from collections.abc import Mapping
    from zoneinfo import ZoneInfo

    from blaidctl.ledger.fills import Fill, Refusal

REQUIRED = ("venue_trade_id", "executed_at", "symbol", "side", "quantity", "price")
OPTIONAL = (
    "exchange", "asset_class", "fee", "fee_currency", "bot", "account", "instance", "order_id", "reverses",
    "realized_pnl", "currency",
)  # fmt: skip
TEXTS = ("exchange", "bot", "account", "instance", "order_id", "reverses", "currency")
_CLASSES = frozenset(map(str, AssetClass))
_LARGEST_INTEGER_DIGITS = 15


def fill(line: int, given: Mapping[str, Any], zone: ZoneInfo | None) -> Fill | Refusal:
    """Return the fill that a row of our own columns is, or why it is none."""
    draft = Draft(line)
    values = {name: draft.text(name, text) for name in TEXTS if (text := given.get(name, "")) != ""}
    asset_class = given.get("asset_class")
    if asset_class == "":
        asset_class = None
    elif asset_class is not None and (type(asset_class) is not str or asset_class not in _CLASSES):
        draft.refuse(f"asset_class: {described(asset_class)} is none of {', '.join(AssetClass)}")
    return draft.fill(
        **values,
        asset_class=asset_class,
        venue_trade_id=draft.text("venue_trade_id", given.get("venue_trade_id"), needed=True),
        executed_at=draft.moment("executed_at", given.get("executed_at"), zone),
        symbol=draft.text("symbol", given.get("symbol"), needed=True),
        side=draft.side("side", given.get("side")),
        quantity=draft.quantity("quantity", _whole(given.get("quantity"))),
        price=draft.price("price", _whole(given.get("price"))),
        fee=draft.number("fee", _whole(given.get("fee"))),
        fee_currency=draft.text("fee_currency", given.get("fee_currency")),
        reported_pnl=draft.number("realized_pnl", _whole(given.get("realized_pnl"))),
    )


def _whole(value: Any) -> Any:
    """Take a JSON integer that every double holds as the exact number that it is."""
    if type(value) is Number and len(value) <= _LARGEST_INTEGER_DIGITS and value.lstrip("-").isdecimal():
        return str(value)
    return value
