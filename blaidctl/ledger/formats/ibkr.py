"""An activity Flex query of Interactive Brokers (XML): executions, their cancellations, and fees of the account.

Read with expat as a stream; a document type, and with it every entity, is refused before anything is expanded. The
query must hold, of Trades at the level Execution: Trade ID, Date/Time (or Trade Date and Time), Symbol, Asset Class,
Currency, Buy/Sell, Quantity, Price, Commission and its currency, Taxes, Multiplier, Orig Trade ID. Its times are wall
times of the zone that the account's settings name, which the file does not say: --timezone does.

A row `BUY (Ca.)` takes back the execution that its origTradeID names: it becomes a reversal.
"""

from __future__ import annotations

import re
from collections import deque
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from xml.parsers import expat

from blaidctl.instruments.rows import shown
from blaidctl.ledger.fills import Refusal, Skipped
from blaidctl.ledger.formats.fields import OPPOSITE, Draft, iso_time, move, one_fee
from blaidctl.ledger.formats.json_text import CHUNK, LONGEST_RECORD, invalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from blaidctl.core.files import Reading
    from blaidctl.ledger.fills import AccountFee, Fill, Record
    from blaidctl.ledger.vocabulary import Side

ROOT = "FlexQueryResponse"
#: Elements of Trades that sum up what its executions say one by one.
SUMS = {"Order": "an order", "SymbolSummary": "a sum by symbol", "AssetSummary": "a sum by asset class",
        "Lot": "a closed lot", "WashSale": "a wash sale"}  # fmt: skip
#: Elements that change a position though nothing was executed.
MOVES = frozenset({"CorporateAction", "OptionEAE", "StockGrantActivity", "Transfer", "TradeTransfer"})
#: Of what may leave something else behind than was held, the types that do not: splits, stock dividends, expirations.
_SAME_SYMBOL = {"CorporateAction": frozenset({"FS", "RS", "HD", "SD"}), "OptionEAE": frozenset({"Expiration"})}
_TYPE = {"CorporateAction": "type", "OptionEAE": "transactionType"}
_MOVE_DAYS, _MOVE_IDS = ("dateTime", "tradeDate", "date", "reportDate"), ("transactionID", "tradeID", "actionID")
#: Kinds of cash transactions that are paid for service.
FEES = frozenset({"Other Fees", "Commission Adjustments", "Advisor Fees", "Broker Fees"})
CLASSES = {
    "STK": "equity", "OPT": "option", "FUT": "future", "FOP": "futureoption", "CASH": "forex", "CFD": "cfd",
    "CRYPTO": "crypto", "IND": "index", "CMDTY": "commodity",
}  # fmt: skip
#: Names of exchanges that older statements use.
FORMER = {"GLOBEX": "CME", "ECBOT": "CBOT"}
_CONFIRMATION = "is a trade confirmation, without taxes and final commission: export an activity Flex query"
_CANCELLED = " (Ca.)"
#: A query has five levels; one that nests deeper is made to exhaust us.
_DEEPEST = 32
_STAMP = re.compile(
    r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})[;, T]\s?([0-9]{2}):?([0-9]{2}):?([0-9]{2})\s?([A-Z]{3}|Z)?", re.ASCII
)
_DATE = re.compile(r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})", re.ASCII)
#: The abbreviations that a query may write behind a time, as far as they mean one offset only.
_OFFSETS = {"EST": "-05:00", "EDT": "-04:00", "UTC": "Z", "GMT": "Z", "Z": "Z"}


def read(source: Reading, zone: ZoneInfo | None) -> Iterator[Record]:
    """Yield what each row of the query is."""
    found: deque[Record] = deque()
    reader = _Reader(source, zone, found)
    while chunk := source.read(CHUNK):
        reader.feed(chunk)
        while found:
            yield found.popleft()
    reader.end()
    yield from found


class _Reader:
    """What expat tells, made into records."""

    def __init__(self, source: Reading, zone: ZoneInfo | None, found: deque[Record]) -> None:
        self._source, self._zone, self._found = source, zone, found
        self._depth = 0
        self._elements = 0
        self._silent_bytes = 0
        self._account = ""
        parser = self._parser = expat.ParserCreate()
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartDoctypeDeclHandler = self._no_doctype
        parser.EntityDeclHandler = self._no_doctype

    def feed(self, chunk: bytes) -> None:
        """Parse a piece. Raises FileInvalid for what is no XML, or an element without end."""
        before = self._elements
        self._parse(chunk, last=False)
        self._silent_bytes = 0 if self._elements > before else self._silent_bytes + len(chunk)
        if self._silent_bytes > LONGEST_RECORD:
            raise invalid(self._source.name, f"line {self._line}: nothing ends within {LONGEST_RECORD} bytes")

    def end(self) -> None:
        """Finish: what is not closed now was cut off."""
        self._parse(b"", last=True)

    @property
    def _line(self) -> int:
        return self._parser.CurrentLineNumber

    def _parse(self, chunk: bytes, *, last: bool) -> None:
        try:
            self._parser.Parse(chunk, last)
        except expat.ExpatError as error:
            what = expat.ErrorString(error.code)
            raise invalid(self._source.name, f"line {error.lineno}: is no whole XML: {what}") from None
        except (LookupError, ValueError) as error:
            raise invalid(self._source.name, f"line {self._line}: is no XML that is read here: {error}") from None

    def _no_doctype(self, *_: Any) -> None:
        raise invalid(self._source.name, f"line {self._line}: declares a document type or entity: no Flex query does")

    def _start(self, name: str, given: dict[str, str]) -> None:
        self._elements += 1
        self._depth += 1
        if self._depth == 1 and name != ROOT:
            raise invalid(self._source.name, f"is no Flex query: its root is {shown(name)}, not {ROOT}")
        if self._depth > _DEEPEST:
            raise invalid(self._source.name, f"line {self._line}: elements stand in elements too deep")
        if name == "FlexStatement":
            self._account = given.get("accountId", "")
        elif (record := self._record(name, given)) is not None:
            self._found.append(record)

    def _end(self, _: str) -> None:
        self._elements += 1
        self._depth -= 1

    def _record(self, name: str, given: Mapping[str, str]) -> Record | None:
        if name == "Trade":
            return _trade(self._line, given, self._account, self._zone)
        if name == "TradeConfirm":
            return Refusal(self._line, (_CONFIRMATION,))
        if name == "CashTransaction":
            return _cash(self._line, given, self._account, self._zone)
        if name in SUMS:
            return Skipped(self._line, f"{SUMS[name]} sums up what the executions say")
        if name in MOVES and given:  # without attributes it is a section of the same name
            return _moved(self._line, name, given, self._account)
        return None


def _trade(line: int, given: Mapping[str, str], account: str, zone: ZoneInfo | None) -> Fill | Refusal | Skipped:
    level = given.get("levelOfDetail") or "EXECUTION"
    if level != "EXECUTION":
        return Skipped(line, f"level {shown(level)} sums up what the executions say")
    draft = Draft(line)
    said = given.get("buySell", "")
    cancelled = said.endswith(_CANCELLED)
    side = draft.side("buySell", said.removesuffix(_CANCELLED))
    original = _given(given, "origTradeID")
    if cancelled and original is None:
        draft.refuse("origTradeID: is missing: this row cancels an execution and does not say which")
    category = given.get("assetCategory", "")
    if category not in CLASSES:
        draft.refuse(f"assetCategory: {shown(category)} is none of {', '.join(CLASSES)}")
    fee, fee_currency = one_fee(draft, _costs(draft, given))
    return draft.fill(
        account=draft.text("accountId", given.get("accountId") or account, limit="account"),
        exchange=_exchange(draft, given, category),
        symbol=draft.text("symbol", given.get("symbol"), needed=True),
        asset_class=CLASSES.get(category),
        side=OPPOSITE[side] if cancelled and side is not None else side,
        quantity=_quantity(draft, given, side, cancelled=cancelled),
        price=draft.price("tradePrice", given.get("tradePrice")),
        fee=fee,
        fee_currency=fee_currency,
        executed_at=_moment(draft, given, zone),
        venue_trade_id=draft.text("tradeID", given.get("tradeID"), needed=True, limit="venue_trade_id"),
        order_id=draft.text("ibOrderID", _given(given, "ibOrderID"), limit="order_id"),
        reverses=draft.text("origTradeID", original, limit="reverses") if cancelled else None,
        currency=draft.text("currency", given.get("currency"), needed=True),
        multiplier=draft.number("multiplier", given.get("multiplier")),
    )


def _exchange(draft: Draft, given: Mapping[str, str], category: str) -> str | None:
    """Return where a contract is listed; shares and options are executed anywhere, and known under no one venue."""
    if category not in {"FUT", "FOP"}:
        return None
    name = draft.text("exchange", _given(given, "listingExchange") or _given(given, "exchange"))
    return FORMER.get(name or "", name)


def _given(given: Mapping[str, str], name: str) -> str | None:
    """Return an attribute; `0`, `--` and `N/A` are how a query says none."""
    value = given.get(name)
    return None if value in {None, "", "0", "--", "N/A"} else value


def _costs(draft: Draft, given: Mapping[str, str]) -> list[tuple[Decimal | None, str | None]]:
    """Return commission and taxes as paid: the query books them as cash, below zero when they were."""
    currency = draft.text("currency", given.get("currency"))
    commission = draft.number("ibCommission", given.get("ibCommission"))
    if commission is None:
        return []
    taxes = draft.number("taxes", given.get("taxes")) or Decimal(0)
    paid_in = draft.text("ibCommissionCurrency", given.get("ibCommissionCurrency"), limit="currency") or currency
    return [(-commission, paid_in), (-taxes, currency)]


def _quantity(draft: Draft, given: Mapping[str, str], side: Side | None, *, cancelled: bool) -> Decimal | None:
    """Return the quantity without its sign, which must say what buySell says."""
    found = draft.number("quantity", given.get("quantity"), needed=True)
    if found is None:
        return None
    if not found:
        draft.refuse("quantity: 0 is not above zero")
    elif side is not None and (found > 0) is not ((side == "BUY") is not cancelled):
        draft.refuse(f"quantity: {found} and buySell {given.get('buySell')} do not agree")
    return abs(found)


def _moment(draft: Draft, given: Mapping[str, str], zone: ZoneInfo | None) -> datetime | None:
    text = given.get("dateTime", "")
    if not text and given.get("tradeDate"):
        text = f"{given['tradeDate']};{given.get('tradeTime', '')}"
    if not text:
        draft.refuse("dateTime: is missing")
        return None
    try:
        return _stamp(text, zone)
    except ValueError as error:
        draft.refuse(f"dateTime: {error}")
        return None


def _stamp(text: str, zone: ZoneInfo | None) -> datetime:
    """Read `20260131;093000` and its kin. Raises ValueError."""
    found = _STAMP.fullmatch(text)
    if found is None:
        msg = f"{shown(text)} is no time: let the query write dates as yyyyMMdd or yyyy-MM-dd and times as HHmmss"
        raise ValueError(msg)
    *digits, abbreviation = found.groups()
    if abbreviation and abbreviation not in _OFFSETS:
        msg = f"{shown(abbreviation)} is no abbreviation of one offset: let the query write none, and use --timezone"
        raise ValueError(msg)
    year, month, day, hour, minute, second = digits
    return iso_time(f"{year}-{month}-{day}T{hour}:{minute}:{second}{_OFFSETS.get(abbreviation or '', '')}", zone)


def _cash(line: int, given: Mapping[str, str], account: str, zone: ZoneInfo | None) -> AccountFee | Refusal | Skipped:
    kind = given.get("type", "")
    if given.get("levelOfDetail", "DETAIL") != "DETAIL":
        return Skipped(line, "a sum of cash transactions")
    if kind not in FEES:
        return Skipped(line, f"cash transaction {shown(kind)} is no execution")
    draft = Draft(line)
    amount = draft.number("amount", given.get("amount"), needed=True)
    return draft.account_fee(
        account=draft.text("accountId", given.get("accountId") or account, limit="account"),
        amount=None if amount is None else -amount,
        currency=draft.text("currency", given.get("currency"), needed=True),
        at=_cash_moment(draft, given, zone),
        external_id=draft.text("transactionID", given.get("transactionID"), needed=True, limit="external_id"),
        note=draft.text("description", given.get("description"), limit="note") or kind,
    )


def _moved(line: int, name: str, given: Mapping[str, str], account: str) -> Skipped:
    symbol = _given(given, "symbol")
    if symbol is None and _given(given, "cashTransfer") is not None:
        return Skipped(line, f"{name} of cash is no execution")
    found = move(
        name,
        own_id=next((f"{key}={value}" for key in _MOVE_IDS if (value := _given(given, key))), None),
        account=given.get("accountId") or account,
        symbol=symbol,
        quantity=_given(given, "quantity"),
        day=next((value for key in _MOVE_DAYS if (value := _given(given, key))), None),
        renames=name in _SAME_SYMBOL and given.get(_TYPE[name]) not in _SAME_SYMBOL[name],
    )
    return Skipped(line, f"{name} changes a position without an execution", found)


def _cash_moment(draft: Draft, given: Mapping[str, str], zone: ZoneInfo | None) -> datetime | None:
    """Return the time; a fee that has only a date stands after the trades of it."""
    text = given.get("dateTime") or given.get("reportDate") or ""
    if (found := _DATE.fullmatch(text)) is not None:
        return draft.day_end("dateTime", "-".join(found.groups()))
    return _moment(draft, {"dateTime": text}, zone)
