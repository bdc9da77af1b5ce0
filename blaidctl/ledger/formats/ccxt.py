"""What ccxt's fetchMyTrades returns, saved as a JSON array: https://docs.ccxt.com (ccxt is MIT).

ccxt hands numbers out as doubles, so a bare number marks its fill as not exact; strings (`number = str`) are exact. A
trade id is unique in its market only (Binance counts per pair), and both sides of one's own match carry the same:
symbol and side belong to the id. The exchange is in no record.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from blaidctl.ledger.fills import Refusal
from blaidctl.ledger.formats import json_text
from blaidctl.ledger.formats.fields import Draft, crypto_class, one_fee, pair

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from blaidctl.core.files import Reading
    from blaidctl.ledger.fills import Fill, Record

#: More entries of fees than any venue splits one into.
_MOST_FEES = 20


def read(source: Reading, zone: ZoneInfo | None) -> Iterator[Record]:  # noqa: ARG001 - its times have their zone
    """Yield what each trade of the array is."""
    for ordinal, found, problem in json_text.objects(source):
        yield Refusal(ordinal, (problem,)) if found is None else _fill(ordinal, found)


def _fill(ordinal: int, given: dict[str, Any]) -> Fill | Refusal:
    draft = Draft(ordinal)
    symbol = draft.text("symbol", given.get("symbol"), needed=True)
    side = draft.side("side", given.get("side"))
    trade_id = draft.text("id", given.get("id"), needed=True, limit="symbol")
    asset_class = crypto_class(symbol or "")
    fee, fee_currency = one_fee(draft, _fees(draft, given))
    return draft.fill(
        symbol=symbol,
        asset_class=asset_class,
        side=side,
        quantity=draft.quantity("amount", given.get("amount")),
        price=draft.price("price", given.get("price")),
        fee=fee,
        fee_currency=fee_currency,
        executed_at=_executed_at(draft, given),
        venue_trade_id=f"{symbol}:{str(side).lower()}:{trade_id}",
        order_id=draft.text("order", given.get("order"), limit="order_id"),
        currency=pair(symbol or "")[1] or None,
        # Amounts of a derivative are contracts, whose size no trade says.
        multiplier=Decimal(1) if asset_class == "crypto" else None,
    )


def _executed_at(draft: Draft, given: dict[str, Any]) -> datetime | None:
    if given.get("timestamp") is None and given.get("datetime") is not None:
        return draft.moment("datetime", given["datetime"])
    return draft.milliseconds("timestamp", given.get("timestamp"))


def _fees(draft: Draft, given: dict[str, Any]) -> list[tuple[Decimal | None, str | None]]:
    """Return the fees; `fees` where it says something, else `fee`: both tell of the same money."""
    listed = given.get("fees") or []
    if not isinstance(listed, list) or len(listed) > _MOST_FEES:
        draft.refuse("fees: is no list of fees")
        return []
    found = [_fee(draft, "fees", entry) for entry in listed]
    if any(amount is not None for amount, _ in found):
        return found
    single = given.get("fee")
    return [] if single is None else [_fee(draft, "fee", single)]


def _fee(draft: Draft, name: str, entry: Any) -> tuple[Decimal | None, str | None]:
    if not isinstance(entry, dict):
        draft.refuse(f"{name}: is no object with cost and currency")
        return None, None
    return (
        draft.number(f"{name}.cost", entry.get("cost")),
        draft.text(f"{name}.currency", entry.get("currency"), limit="currency"),
    )
