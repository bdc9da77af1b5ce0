"""From the values of a record to a checked fill: all that is wrong with a record is said at once, nothing is guessed.

A number is read from its text and never passes through a double here; where the source held a double, its shortest
decimal text is taken and the fill is marked as not exact. A time has a zone, or it is refused.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn

from blaidctl.core import decimals
from blaidctl.instruments.rows import shown, text_problem
from blaidctl.ledger.fills import AccountFee, Fill, Move, Refusal
from blaidctl.ledger.vocabulary import Side

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

#: The most characters of each text; ids are as long as the longest venue makes them, and a symbol before them.
LONGEST = {
    "account": 64, "bot": 64, "instance": 64, "exchange": 32, "symbol": 64, "asset_class": 16, "fee_currency": 16,
    "currency": 16, "venue_trade_id": 200, "order_id": 200, "reverses": 200, "external_id": 200, "note": 300,
}  # fmt: skip
#: A number in the form that is stored: most are, and need no second look.
_CANONICAL = re.compile(r"-?(?:0|[1-9][0-9]{0,19})(?:\.[0-9]{0,17}[1-9])?", re.ASCII)
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?\s?(Z|[+-][0-9]{2}:?[0-9]{2})?",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: No venue that counts milliseconds is older than Bitcoin; a smaller number counts seconds.
_FIRST_MS = datetime(2009, 1, 1, tzinfo=UTC)
_DAY_END = time(23, 59, 59)
#: A day, alone or before a time.
_DAY = re.compile(r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})(?:[T;, ].{0,40})?", re.ASCII)
_FIRST_YEAR, _LAST_YEAR = 1970, 2200
#: What a shell may take for more than a letter: ids are typed.
_SPECIAL = re.compile(r"[^A-Za-z0-9._:=+/@-]", re.ASCII)
#: Of the parts of a move's id before its digest.
_LONGEST_NAME = 80
SIDES = {"buy": Side.BUY, "sell": Side.SELL}
OPPOSITE = {Side.BUY: Side.SELL, Side.SELL: Side.BUY}


class Number(str):
    """The text of a number that stood bare in JSON: it may have passed through a double on its way."""

    __slots__ = ()


class Draft:
    """A record on its way to a fill: values are taken one by one, and what is wrong with them is collected."""

    __slots__ = ("exact", "line", "reasons")

    def __init__(self, line: int, *, exact: bool = True) -> None:
        """Begin with the line of the record, and whether its source holds exact numbers at all."""
        self.line = line
        self.exact = exact
        self.reasons: list[str] = []

    def text(self, name: str, value: Any, *, needed: bool = False, limit: str = "") -> str | None:
        """Return a text, None where there is none."""
        longest = LONGEST[limit or name]
        if type(value) is str and 0 < len(value) <= longest and value.isprintable() and value == value.strip():
            return value
        if isinstance(value, Number) and value.lstrip("-").isdecimal():
            value = str(value)  # an id that was written as a JSON integer
        if value is None or value == "":
            if needed:
                self.reasons.append(f"{name}: is missing")
            return None
        if type(value) is not str:
            self.reasons.append(f"{name}: {described(value)} is no text")
            return None
        if problem := text_problem(value, longest, needed=True):
            self.reasons.append(f"{name}: {problem}")
            return None
        if value.isspace() or value[0] == " " or value[-1] == " ":
            self.reasons.append(f"{name}: {shown(value)} begins or ends with a blank")
            return None
        return value

    def number(self, name: str, value: Any, *, needed: bool = False) -> Decimal | None:
        """Return a decimal of either sign, None where there is none."""
        if value is None or value == "":
            if needed:
                self.reasons.append(f"{name}: is missing")
            return None
        try:
            return self._decimal(value)
        except ValueError as error:
            self.reasons.append(f"{name}: {error}")
            return None

    def _decimal(self, value: Any) -> Decimal:
        kind = type(value)
        if kind is Number:
            self.exact = False
            value = str(value)
        elif kind is float:
            value = repr(value)  # of a database whose rows are all marked: its shortest text
        elif kind is int:
            value = str(value)
        if not isinstance(value, str):
            msg = f"{described(value)} is no number"
            raise ValueError(msg)  # noqa: TRY004 - what is wrong with a file is a ValueError here
        return Decimal(value) if _CANONICAL.fullmatch(value) and value != "-0" else decimals.read(value)

    def quantity(self, name: str, value: Any) -> Decimal | None:
        """Return a number above zero."""
        found = self.number(name, value, needed=True)
        if found is not None and found <= 0:
            self.reasons.append(f"{name}: {decimals.text_of(found)} is not above zero")
            return None
        return found

    def price(self, name: str, value: Any) -> Decimal | None:
        """Return a number that is not zero."""
        found = self.number(name, value, needed=True)
        if found is not None and not found:
            self.reasons.append(f"{name}: a price of 0 is none: nothing can be computed from it")
            return None
        return found

    def side(self, name: str, value: Any) -> Side | None:
        """Return which side, in whatever case it is written."""
        found = SIDES.get(value.lower()) if type(value) is str else None
        if found is None:
            self.reasons.append(
                f"{name}: {described(value)} is neither BUY nor SELL" if value else f"{name}: is missing"
            )
        return found

    def moment(self, name: str, value: Any, zone: ZoneInfo | None = None) -> datetime | None:
        """Return a time written in ISO 8601; without an offset it is one of `zone`, or refused."""
        if value is None or value == "":
            self.reasons.append(f"{name}: is missing")
            return None
        try:
            return iso_time(value, zone) if type(value) is str else _no_time(value)
        except ValueError as error:
            self.reasons.append(f"{name}: {error}")
            return None

    def milliseconds(self, name: str, value: Any) -> datetime | None:
        """Return a time written as milliseconds since 1970."""
        if value is None or value == "":
            self.reasons.append(f"{name}: is missing")
            return None
        try:
            return epoch_ms(value)
        except ValueError as error:
            self.reasons.append(f"{name}: {error}")
            return None

    def day_end(self, name: str, value: Any) -> datetime | None:
        """Return the last second, in UTC, of a date that has no time of day: after all that happened on it."""
        try:
            return datetime.combine(date.fromisoformat(value), _DAY_END, UTC)
        except (ValueError, TypeError):
            self.reasons.append(f"{name}: {described(value)} is no date" if value else f"{name}: is missing")
            return None

    def refuse(self, reason: str) -> None:
        """Add a reason of the format's own."""
        self.reasons.append(reason)

    def refusal(self) -> Refusal:
        """Return all reasons at once."""
        return Refusal(self.line, tuple(self.reasons))

    def fill(self, **values: Any) -> Fill | Refusal:
        """Return the fill; or the refusal when anything was wrong. What is not given, the file does not say."""
        fee, fee_currency = values.get("fee"), values.get("fee_currency")
        if fee is None:
            fee_currency = None
        elif fee_currency is None:
            # Nothing paid is nothing in the currency of the price as in any other.
            fee_currency = None if fee else values.get("currency")
            if fee_currency is None:
                self.reasons.append("fee_currency: is missing, though there is a fee")
        if self.reasons:
            return self.refusal()
        return Fill(**{**_SILENT, **values, "fee_currency": fee_currency}, line=self.line, exact=self.exact)

    def account_fee(self, **values: Any) -> AccountFee | Refusal:
        """Return a fee of the account; or the refusal when anything was wrong."""
        return self.refusal() if self.reasons else AccountFee(line=self.line, **values)


_SILENT = dict.fromkeys(
    ("account", "bot", "instance", "exchange", "asset_class", "fee", "fee_currency", "order_id", "reverses",
     "reported_pnl", "currency", "multiplier")
)  # fmt: skip


def move(  # noqa: PLR0913 - each by its name
    kind: str, *, own_id: Any, account: Any, symbol: Any, quantity: Any, day: Any, renames: bool
) -> Move:
    """Return a move of a position as far as its record tells of it: nothing in it is worth refusing a file."""
    said = [str(value or "") for value in (kind, own_id, account, symbol, _number(quantity), day)]
    digest = hashlib.sha256("\x1f".join(said).encode("utf-8", "surrogatepass")).hexdigest()[:12]
    names = [_SPECIAL.sub("_", part)[:_LONGEST_NAME] for part in (kind, said[1] or said[3]) if part]
    plain = _clean(symbol)
    # Whoever cannot name a symbol cannot say whom it concerns.
    return Move(kind, f"{':'.join(names)}~{digest}", _clean(account), plain, _calendar_day(day), renames or not plain)


def _number(value: Any) -> str:
    """Return a number as all of its spellings have it; what is none, as it stands."""
    text = str(value or "")
    try:
        return decimals.text_of(decimals.read(text))
    except ValueError:
        return text


def _clean(value: Any) -> str | None:
    """Return a name that can be stored and shown as it is; None where it is none."""
    text = str(value or "").strip()
    return text if 0 < len(text) <= LONGEST["symbol"] and text.isprintable() else None


def _calendar_day(value: Any) -> str | None:
    """Return a day as YYYY-MM-DD; None where it is none, or one that no market knew."""
    found = _DAY.fullmatch(str(value or ""))
    if found is None:
        return None
    try:
        day = date(*map(int, found.groups()))
    except ValueError:
        return None
    return day.isoformat() if _FIRST_YEAR <= day.year <= _LAST_YEAR else None


def described(value: Any) -> str:
    """Say what stands there, whatever it is and however long."""
    if isinstance(value, str):
        return shown(str(value))
    kinds = {dict: "an object", list: "a list", bool: "true or false", bytes: "raw bytes"}
    return kinds.get(type(value), shown(value))


def _no_time(value: Any) -> NoReturn:
    msg = f"{described(value)} is no time: write it as 2026-01-31T09:30:00Z"
    raise ValueError(msg)


def iso_time(text: str, zone: ZoneInfo | None = None) -> datetime:
    """Read a time with its offset; digits beyond the microsecond are cut. Raises ValueError with a sentence."""
    found = _TIME.fullmatch(text)
    if found is None:
        _no_time(text)
    day, clock, fraction, offset = found.groups()
    micros = f".{fraction:0<6.6}" if fraction else ""
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{micros}{offset or ''}")
        if offset:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        _no_time(text)
    return in_zone(moment, zone, text)


def in_zone(moment: datetime, zone: ZoneInfo | None, text: str) -> datetime:
    """Return a wall time of a zone. Raises ValueError without one, and for an hour that came twice or never."""
    if zone is None:
        msg = f"{shown(text)} has no time zone: add Z or an offset to it, or name the zone with --timezone"
        raise ValueError(msg)
    first, second = (moment.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    try:
        utc = first.astimezone(UTC)
        back = utc.astimezone(zone).replace(tzinfo=None)
    except OverflowError:
        _no_time(text)
    if back != moment:
        msg = f"{shown(text)} never was in {zone.key}: the clock was put forward over it"
        raise ValueError(msg)
    if first.utcoffset() != second.utcoffset():
        msg = f"{shown(text)} was twice in {zone.key}, when the clock was put back: add its offset"
        raise ValueError(msg)
    return utc


def epoch_ms(value: Any) -> datetime:
    """Read milliseconds since 1970, exactly; digits beyond the microsecond are cut. Raises ValueError."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    try:
        found = _EPOCH + timedelta(microseconds=int(decimals.read(text) * 1000))
    except (ValueError, OverflowError):
        msg = f"{described(value)} is no time in milliseconds since 1970"
        raise ValueError(msg) from None
    if found < _FIRST_MS:
        msg = f"{described(value)} is no time in milliseconds since 1970, or one before 2009: are these seconds?"
        raise ValueError(msg)
    return found


@lru_cache(4_096)
def pair(symbol: str) -> tuple[str, str, str]:
    """Return base, quote and settlement of `BTC/USDT` or `BTC/USDT:USDT-240628`; empty where it says none."""
    base, _, rest = symbol.partition("/")
    quote, _, settle = rest.partition(":")
    return (base, quote, settle) if rest else ("", "", "")


#: An option in ccxt's unified symbols: settlement, date, strike, C or P.
_OPTION_PARTS = 4


def crypto_class(symbol: str) -> str | None:
    """Return the asset class that a unified symbol says: spot, future (perpetual or with a date) or option."""
    _, quote, settle = pair(symbol)
    if not quote:
        return None
    if not settle:
        return "crypto"
    return "option" if len(settle.split("-")) >= _OPTION_PARTS else "cryptofuture"


def one_fee(draft: Draft, fees: list[tuple[Decimal | None, str | None]]) -> tuple[Decimal | None, str | None]:
    """Return the sum of the fees of one fill, all in one currency; none of them known: not known."""
    known = [(amount, currency) for amount, currency in fees if amount is not None]
    if not known:
        return None, None
    paid = [(amount, currency) for amount, currency in known if amount]
    currencies = {currency for _, currency in paid}
    if len(currencies) > 1:
        named = ", ".join(sorted(str(currency or "none") for currency in currencies))
        draft.refuse(f"fee: was paid in several currencies ({named}), a fill has one")
        return None, None
    currency = paid[0][1] if paid else known[0][1]
    try:
        return decimals.storable(decimals.EXACT.create_decimal(sum((a for a, _ in paid), Decimal(0)))), currency
    except (ValueError, ArithmeticError) as error:
        draft.refuse(f"fee: {error}")
        return None, None
