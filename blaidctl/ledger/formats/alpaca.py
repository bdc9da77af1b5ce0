"""Account activities of Alpaca's trading API, saved as a JSON array: https://docs.alpaca.markets/docs/account-activities.

A FILL has no fee in it (commission-free, or charged by activities of their own), so its fee is not known; FEE and its
kin become fees of the account. Other activities are no executions: each is skipped and says what it is. Amounts are
strings, exact as written; saved by a library that made numbers of them (alpaca-py does), they are not.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from blaidctl.instruments.rows import shown
from blaidctl.ledger.fills import Refusal, Skipped
from blaidctl.ledger.formats import json_text
from blaidctl.ledger.formats.fields import Draft, move, pair

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from blaidctl.core.files import Reading
    from blaidctl.ledger.fills import AccountFee, Fill, Record

#: Activities that are money paid for service, or given back.
FEES = frozenset({"FEE", "DIVFEE", "PTC", "PTR"})
#: Fees taken in a coin: `qty` of it, below zero.
COIN_FEES = frozenset({"CFEE"})
#: Activities that change a position though nothing was executed: the ledger does not know of them.
MOVES = frozenset({"ACATS", "JNLS", "MA", "NC", "OPASN", "OPCA", "OPCSH", "OPEXC", "OPEXP", "OPTRD", "OPXRC", "REORG",
                   "SC", "SPIN", "SPLIT", "SSO", "SSP", "VOF"})  # fmt: skip
#: Activities that are money alone, though some name a symbol and how much of it was held.
CASH = frozenset({"CSD", "CSR", "CSW", "DIV", "DIVCGL", "DIVCGS", "DIVFT", "DIVNRA", "DIVROC", "DIVTW", "DIVTXEX",
                  "INT", "INTNRA", "INTTW", "JNL", "JNLC"})  # fmt: skip
#: Of a dividend that is paid in shares.
SHARE_DIVIDEND = "SDIV"
#: Of the activities that move, those that leave what was held as it was called: its symbol says whom they concern.
SAME_SYMBOL = frozenset({"ACATS", "DIV", "JNLS", "OPEXP", "SPLIT"})
#: The Options Clearing Corporation's symbols: root, date, C or P, strike.
_OPTION = re.compile(r"[A-Z0-9]{1,6}[0-9]{6}[CP][0-9]{8}", re.ASCII)
_KIND = re.compile(r"[A-Z]{1,32}", re.ASCII)
_SIDES = {"sell_short": "sell", "sell_short_exempt": "sell"}


def read(source: Reading, zone: ZoneInfo | None) -> Iterator[Record]:  # noqa: ARG001 - its times have their zone
    """Yield what each activity of the array is."""
    for ordinal, found, problem in json_text.objects(source):
        yield Refusal(ordinal, (problem,)) if found is None else _record(ordinal, found)


def _record(ordinal: int, given: dict[str, Any]) -> Record:
    kind = given.get("activity_type")
    if kind == "FILL":
        return _fill(ordinal, given)
    if not isinstance(kind, str) or not _KIND.fullmatch(kind):
        return Refusal(ordinal, (f"activity_type: {shown(kind)} is none" if kind else "activity_type: is missing",))
    if kind in FEES | COIN_FEES:
        return _fee(ordinal, kind, given)
    if not _moves(kind, given):
        return Skipped(ordinal, f"activity {kind} is no execution")
    if given.get("status") == "canceled":
        return Skipped(ordinal, f"activity {kind} was canceled")
    day = given.get("date") or given.get("transaction_time")
    symbol, quantity = given.get("symbol"), given.get("qty")
    renames = kind not in SAME_SYMBOL
    moved = move(kind, own_id=given.get("id"), account=None, symbol=symbol, quantity=quantity, day=day, renames=renames)
    return Skipped(ordinal, f"activity {kind} changes a position without an execution", moved)


def _moves(kind: str, given: dict[str, Any]) -> bool:
    """Say whether an activity changes what is held; one that nobody knows does when it names how much of what."""
    if kind in CASH:
        return given.get("activity_sub_type") == SHARE_DIVIDEND
    return kind in MOVES or bool(given.get("symbol") and str(given.get("qty") or "").strip("-0."))


def _fill(ordinal: int, given: dict[str, Any]) -> Fill | Refusal:
    draft = Draft(ordinal)
    side = given.get("side")
    symbol = draft.text("symbol", given.get("symbol"), needed=True)
    return draft.fill(
        symbol=symbol,
        asset_class=_asset_class(symbol or ""),
        side=draft.side("side", _SIDES.get(side, side) if isinstance(side, str) else side),
        quantity=draft.quantity("qty", given.get("qty")),
        price=draft.price("price", given.get("price")),
        executed_at=draft.moment("transaction_time", given.get("transaction_time")),
        venue_trade_id=draft.text("id", given.get("id"), needed=True, limit="venue_trade_id"),
        order_id=draft.text("order_id", given.get("order_id")),
        currency=draft.text("currency", given.get("currency")),
    )


def _asset_class(symbol: str) -> str | None:
    """Return what the form of a symbol says: `BTC/USD`, an option's; a plain one may be under several classes."""
    return "crypto" if "/" in symbol else "option" if _OPTION.fullmatch(symbol) else None


def _fee(ordinal: int, kind: str, given: dict[str, Any]) -> AccountFee | Refusal | Skipped:
    draft = Draft(ordinal)
    status = given.get("status") or "executed"
    if status == "canceled":
        return Skipped(ordinal, f"activity {kind} was canceled")
    if status != "executed":
        draft.refuse(f"status: {shown(status)} is not known here")
    amount = draft.number("net_amount", given.get("net_amount"), needed=kind in FEES)
    currency = draft.text("currency", given.get("currency"))
    if kind in COIN_FEES and not amount:
        amount = draft.number("qty", given.get("qty"), needed=True)
        currency = pair(str(given.get("symbol") or ""))[0] or None
        if currency is None:
            draft.refuse("symbol: does not say which coin was taken")
    note = draft.text("description", given.get("description"), limit="note")
    return draft.account_fee(
        account=None,
        amount=None if amount is None else -amount,
        currency=currency,
        at=_at(draft, given),
        external_id=draft.text("id", given.get("id"), needed=True, limit="external_id"),
        note=note or kind,
    )


def _at(draft: Draft, given: dict[str, Any]) -> datetime | None:
    """Return the time; an activity that is no trade has only a date, and stands after the trades of it."""
    if given.get("transaction_time"):
        return draft.moment("transaction_time", given["transaction_time"])
    return draft.day_end("date", given.get("date"))
