"""The SQLite database of a freqtrade bot: each order that was filled is one fill.

Tables `orders` and `trades` as freqtrade's own migrations leave them since 2022.4 (its models: freqtrade/persistence).
freqtrade keeps doubles, and no single executions: an order's fills are one row at their average price, so every row
is marked as not exact. Times are UTC by its schema. Amounts are of the base coin, of futures too.

Fees: what an order paid in its own coin (ft_fee_base); else what the trade says it paid in money, where the trade had
one order on that side; else the rate that freqtrade itself reckons with, times the value, in the currency of the price.
A rate of 0 that no exchange confirmed says nothing: the fee is not known.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

from blaidctl.core import decimals
from blaidctl.instruments.rows import shown
from blaidctl.ledger.fills import Refusal, Skipped
from blaidctl.ledger.formats.fields import SIDES, Draft, crypto_class, pair
from blaidctl.ledger.formats.sqlite import fitting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from blaidctl.ledger.fills import Fill, Record
    from blaidctl.ledger.formats.sqlite import Snapshot

HINT = (
    "is this a freqtrade database? One older than 2022.4 is migrated by starting freqtrade 2022.4 or later on it once"
)
ORDERS = ("id", "ft_trade_id", "ft_order_side", "ft_pair", "ft_is_open", "order_id", "side", "price", "average",
          "amount", "filled", "order_filled_date")  # fmt: skip
TRADES = ("id", "exchange", "fee_open", "fee_open_cost", "fee_open_currency", "fee_close", "fee_close_cost",
          "fee_close_currency", "is_short")  # fmt: skip
#: What its schema means by a time without an offset.
UTC = ZoneInfo("UTC")
#: Digits of a fee that is reckoned from a rate: as many as two doubles give.
_RECKONED = Context(prec=17, rounding=ROUND_HALF_EVEN)


class _Row(NamedTuple):
    """An order with what its trade says of it."""

    id: Any
    order_side: Any
    symbol: Any
    is_open: Any
    order_id: Any
    side: Any
    price: Any
    average: Any
    amount: Any
    filled: Any
    filled_at: Any
    fee_base: Any
    trade: Any
    exchange: Any
    is_short: Any
    trading_mode: Any
    open_rate: Any
    open_cost: Any
    open_currency: Any
    close_rate: Any
    close_cost: Any
    close_currency: Any
    entries: Any
    exits: Any


def read(source: Snapshot, zone: ZoneInfo | None) -> Iterator[Record]:  # noqa: ARG001 - its times are UTC
    """Yield what each order is, in the order of their ids."""
    orders = source.require("orders", ORDERS, HINT)
    trades = source.require("trades", TRADES, HINT)
    query = f"""
        WITH entered AS (SELECT id, CASE WHEN is_short THEN 'sell' ELSE 'buy' END AS side FROM trades),
        counted AS (
            SELECT o.ft_trade_id AS trade, SUM(o.ft_order_side = e.side) AS entries,
                   SUM(o.ft_order_side <> e.side) AS exits
            FROM orders o JOIN entered e ON e.id = o.ft_trade_id WHERE COALESCE(o.filled, o.amount) > 0 GROUP BY 1)
        SELECT o.id, o.ft_order_side, o.ft_pair, o.ft_is_open, o.order_id, o.side, o.price, o.average, o.amount,
               o.filled, o.order_filled_date, {fitting(orders, "o", "ft_fee_base")}, t.id, t.exchange, t.is_short,
               {fitting(trades, "t", "trading_mode")}, t.fee_open, t.fee_open_cost, t.fee_open_currency, t.fee_close,
               t.fee_close_cost, t.fee_close_currency, c.entries, c.exits
        FROM orders o LEFT JOIN trades t ON t.id = o.ft_trade_id LEFT JOIN counted c ON c.trade = o.ft_trade_id
        ORDER BY o.id
        """
    for ordinal, row in enumerate(source.rows(query), start=1):
        yield _record(ordinal, _Row(*row))


def _record(ordinal: int, row: _Row) -> Fill | Refusal | Skipped:
    # As freqtrade does: an order that ended without a word of how much was filled, filled whole.
    filled = row.filled if row.filled is not None or row.is_open else row.amount
    if row.is_open:
        partly = "is partly filled and still open: its fill comes when it ends" if filled else "is still open"
        return Skipped(ordinal, f"an order {partly}")
    if not filled:
        return Skipped(ordinal, "an order that was not filled")
    if row.trade is None:
        return Refusal(ordinal, ("ft_trade_id: names no trade",))
    draft = Draft(ordinal, exact=False)
    symbol = draft.text("ft_pair", row.symbol, needed=True, limit="symbol")
    order_id = draft.text("order_id", row.order_id, needed=True)
    quantity = draft.quantity("filled", filled)
    price = draft.price("average", row.average or row.price)
    entry = SIDES["sell" if row.is_short else "buy"]
    side = _side(draft, row)
    fee, fee_currency = (None, None)
    if quantity is not None and price is not None and symbol is not None:
        fee, fee_currency = _fee(draft, row, quantity * price, symbol, is_entry=side is entry)
    asset_class = "cryptofuture" if str(row.trading_mode).upper() == "FUTURES" else crypto_class(symbol or "")
    return draft.fill(
        exchange=(draft.text("exchange", row.exchange, needed=True) or "").upper() or None,
        symbol=symbol,
        asset_class=asset_class,
        side=side,
        quantity=quantity,
        price=price,
        fee=fee,
        fee_currency=fee_currency,
        executed_at=draft.moment("order_filled_date", row.filled_at, UTC),
        venue_trade_id=f"{symbol}:order:{order_id}",
        order_id=order_id,
        currency=pair(symbol or "")[1] or None,
        multiplier=Decimal(1),
    )


def _side(draft: Draft, row: _Row) -> Any:
    """Return the side; a stop on the exchange is told by the exchange's own word, or closes the trade."""
    if row.order_side != "stoploss":
        return draft.side("ft_order_side", row.order_side)
    return draft.side("side", row.side or ("buy" if row.is_short else "sell"))


def _fee(draft: Draft, row: _Row, value: Decimal, symbol: str, *, is_entry: bool) -> tuple[Decimal | None, str | None]:
    """Return the fee of an order, and its currency."""
    base, quote, settle = pair(symbol)
    if row.fee_base:
        return draft.number("ft_fee_base", row.fee_base), base or None
    rate, cost, currency, orders = (
        (row.open_rate, row.open_cost, row.open_currency, row.entries)
        if is_entry
        else (row.close_rate, row.close_cost, row.close_currency, row.exits)
    )
    side = "open" if is_entry else "close"
    name = draft.text(f"fee_{side}_currency", currency, limit="currency")
    if cost is not None and name is not None and orders == 1:
        return draft.number(f"fee_{side}_cost", cost), name
    share = draft.number(f"fee_{side}", rate)
    if share is None or (not share and name is None):
        return None, None
    paid_in = settle.partition("-")[0] or quote
    if not paid_in:
        draft.refuse(f"ft_pair: {shown(symbol)} does not say the currency of its price")
    return _reckoned(draft, value, share), paid_in


def _reckoned(draft: Draft, value: Decimal, share: Decimal) -> Decimal | None:
    try:
        return decimals.storable(_RECKONED.multiply(value, share).quantize(Decimal(1).scaleb(-12)))
    except (ValueError, ArithmeticError) as error:
        draft.refuse(f"fee: {error}")
        return None
