"""From the lines of a file to checked rows: blaidctl's own columns, and LEAN's symbol-properties-database.csv.

Every line but comments and blank ones becomes a row or a refusal that names all that is wrong with it.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from blaidctl.core import decimals, errors, files
from blaidctl.instruments.vocabulary import AssetClass, FileFormat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from blaidctl.core.files import Line

KEY = ("exchange", "symbol", "asset_class")
#: What a file says about an instrument beside its key, in the order of the event's text.
VALUES = (
    "currency", "description", "lot_size", "max_qty", "min_notional", "min_qty", "point_value", "price_magnifier",
    "session", "tick_size", "venue_symbol",
)  # fmt: skip
#: Text columns: the most characters, and whether one must stand there.
TEXTS = {
    "symbol": (64, True), "exchange": (32, True), "asset_class": (16, True), "description": (300, False),
    "currency": (16, True), "session": (64, True), "venue_symbol": (64, False),
}  # fmt: skip
#: Exact decimals above zero; None marks one that may be missing.
REQUIRED_AMOUNTS = ("tick_size", "point_value", "lot_size", "min_qty")
OPTIONAL_AMOUNTS = ("min_notional", "max_qty")
OWN_REQUIRED = ("symbol", "exchange", "asset_class", "currency", "session", *REQUIRED_AMOUNTS)
OWN_OPTIONAL = ("description", "venue_symbol", "price_magnifier", *OPTIONAL_AMOUNTS)
LEAN_COLUMNS = (
    "market", "symbol", "type", "description", "quote_currency", "contract_multiplier", "minimum_price_variation",
    "lot_size", "market_ticker", "minimum_order_size", "price_magnifier", "strike_multiplier",
)  # fmt: skip
#: A row of LEAN's file may stop after the lot size: what follows came later.
LEAN_LEAST = 8
LEAN_WILDCARD = "[*]"
#: Where LEAN's minimum_order_size is an amount of money in the quote currency, not a quantity.
LEAN_NOTIONAL = {("binance", "crypto")}
#: One act is one transaction; a larger file is loaded in parts.
MOST_ROWS = 250_000
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


@dataclass(frozen=True, slots=True)
class Row:
    """An instrument as a line gives it: texts as they will be stored, amounts as canonical text."""

    line: int
    values: Mapping[str, str | None]
    #: The sessions that it may trade in, the most particular first: the first one known holds.
    sessions: tuple[str, ...]

    @property
    def key(self) -> tuple[str, ...]:
        """Exchange, symbol, asset class."""
        return tuple(str(self.values[name]) for name in KEY)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line that does not become an instrument, and everything that is wrong with it."""

    line: int
    reasons: tuple[str, ...]
    #: What it names, as far as it can be read: for the report.
    key: tuple[str, ...] = ("", "", "")


@dataclass(frozen=True, slots=True)
class Skipped:
    """A comment or a blank line."""

    line: int


def read(lines: Iterator[Line], layout: FileFormat, *, max_qty: bool = False) -> Iterator[Row | Refusal | Skipped]:
    """Yield what each line after the header is. Raises FileInvalid for a file without a usable header.

    `max_qty` refuses rows that have none: LEAN has no such column, and nobody may invent the number.
    """
    header, parse, may_comment = _header(lines, layout)
    count = 0
    for line in lines:
        if not line.problem and not line.text.strip(" \t"):
            yield Skipped(line.number)
            continue
        if may_comment and line.text.startswith("#"):
            yield Skipped(line.number)
            continue
        count += 1
        if count > MOST_ROWS:
            raise errors.FileInvalid(f"line {line.number}: the file has more than {MOST_ROWS} rows: load it in parts")
        yield _row(line, header, parse, max_qty=max_qty)
    if not count:
        raise errors.FileInvalid("no row follows the header")


def header_of(lines: Iterator[Line], required: Sequence[str], optional: Sequence[str]) -> list[str]:
    """Return the names of the columns. Raises FileInvalid naming what is missing, unknown or there twice."""
    found = _first(lines)
    problems = [f"missing column: {name}" for name in required if name not in found]
    problems += [f"unknown column: {shown(name)}" for name in found if name not in {*required, *optional}]
    problems += [f"column twice: {name}" for name in dict.fromkeys(found) if found.count(name) > 1]
    if problems:
        raise errors.FileInvalid(
            f"line 1 is no header that is known here: {'; '.join(problems[:20])}",
            missing=problems[:100],
            next_steps=[f"Columns: {', '.join(required)}; optional: {', '.join(optional)}."],
        )
    return found


def _first(lines: Iterator[Line]) -> list[str]:
    line = next(iter(lines), None)
    try:
        found = files.cells(line) if line else []
    except ValueError as error:
        raise errors.FileInvalid(f"line 1 {error}") from None
    if not any(found):
        raise errors.FileInvalid("line 1 is blank: the header is expected there")
    return found


def _header(
    lines: Iterator[Line], layout: FileFormat
) -> tuple[list[str], Callable[[Mapping[str, str]], tuple[dict[str, str], tuple[str, ...]]], bool]:
    if layout is FileFormat.OWN:
        return header_of(lines, OWN_REQUIRED, OWN_OPTIONAL), _own, False
    found = _first(lines)
    if len(found) < LEAN_LEAST or tuple(found) != LEAN_COLUMNS[: len(found)]:
        raise errors.FileInvalid(
            "line 1 is not the header of LEAN's symbol-properties-database.csv",
            missing=[f"columns: {','.join(LEAN_COLUMNS)}"],
        )
    return list(LEAN_COLUMNS), _lean, True


def _row(line: Line, header: list[str], parse: Any, *, max_qty: bool) -> Row | Refusal:
    try:
        found = files.cells(line)
    except ValueError as error:
        return Refusal(line.number, (str(error),))
    lean = parse is _lean
    least = LEAN_LEAST if lean else len(header)
    if not least <= len(found) <= len(header):
        expected = f"{least} to {len(header)}" if lean else str(len(header))
        return Refusal(line.number, (f"has {len(found)} fields, {expected} are expected",), _names(found, header))
    given = dict(zip(header, (*found, *[""] * (len(header) - len(found))), strict=True))
    try:
        own, sessions = parse(given)
    except ValueError as error:
        return Refusal(line.number, (str(error),), _names(found, header))
    values, problems = _checked(own)
    if max_qty and not own.get("max_qty"):
        problems.append("MAX_QTY_MISSING: max_qty is empty, and this load requires it")
    if problems:
        return Refusal(line.number, tuple(problems), tuple(own[name] for name in KEY))
    return Row(line.number, values, sessions)


def _names(found: list[str], header: list[str]) -> tuple[str, ...]:
    """Return what a broken row seems to be about."""
    given = dict(zip(header, found, strict=False))
    lean = {"exchange": "market", "asset_class": "type"}
    return tuple(given.get(name) or given.get(lean.get(name, ""), "") for name in KEY)


def _own(given: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    return dict(given), (given["session"],)


def _lean(given: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return a row of LEAN's file under our names. Raises ValueError for what has no place here."""
    if given["symbol"] == LEAN_WILDCARD:
        msg = "a wildcard row is a default for symbols that the file does not name; only named symbols are loaded"
        raise ValueError(msg)
    if given["strike_multiplier"] and decimals.read(given["strike_multiplier"]) != 1:
        msg = f"strike_multiplier {shown(given['strike_multiplier'])} has no column here"
        raise ValueError(msg)
    market, kind = given["market"], given["type"]
    notional = (market, kind) in LEAN_NOTIONAL
    least = given["minimum_order_size"]
    own = {
        "symbol": given["symbol"],
        "exchange": market.upper(),
        "asset_class": kind,
        "description": given["description"],
        "currency": given["quote_currency"],
        "point_value": given["contract_multiplier"],
        "tick_size": given["minimum_price_variation"],
        "lot_size": given["lot_size"],
        "min_qty": given["lot_size"] if notional or not least else least,
        "min_notional": least if notional else "",
        "max_qty": "",
        "venue_symbol": given["market_ticker"],
        "price_magnifier": given["price_magnifier"],
        "session": f"{kind}-{market}".upper(),
    }
    return own, (f"{kind}-{market}-{given['symbol']}".upper(), own["session"])


def _checked(given: Mapping[str, str]) -> tuple[dict[str, str | None], list[str]]:
    """Return the values as they will be stored, and everything that is wrong with them."""
    values: dict[str, str | None] = {}
    problems: list[str] = []
    for name, (longest, needed) in TEXTS.items():
        values[name] = text = given.get(name, "")
        if reason := text_problem(text, longest, needed=needed):
            problems.append(f"{name}: {reason}")
    if values["asset_class"] and values["asset_class"] not in _ASSET_CLASSES:
        problems.append(f"asset_class: {shown(values['asset_class'])} is none of {', '.join(AssetClass)}")
    for name in (*REQUIRED_AMOUNTS, *OPTIONAL_AMOUNTS, "price_magnifier"):
        text = given.get(name, "") or ("1" if name == "price_magnifier" else "")
        if not text and name in OPTIONAL_AMOUNTS:
            values[name] = None
            continue
        try:
            values[name] = _amount(text)
        except ValueError as error:
            problems.append(f"{name}: {error if text else 'is missing'}")
    least, most = values.get("min_qty"), values.get("max_qty")
    if least and most and Decimal(least) > Decimal(most):
        problems.append(f"min_qty {least} is above max_qty {most}")
    return values, problems


@lru_cache(4_096)
def _amount(text: str) -> str:
    """Return the canonical text of an amount above zero; the same few stand in most rows."""
    return decimals.text_of(decimals.positive(text))


_ASSET_CLASSES = frozenset(map(str, AssetClass))


def text_problem(text: str, longest: int, *, needed: bool) -> str:
    """Say what is wrong with a text, or nothing."""
    if not text:
        return "is missing" if needed else ""
    if len(text) > longest:
        return f"has {len(text)} characters, at most {longest} are stored"
    if not text.isprintable() and any(unicodedata.category(character) in _UNSEEN for character in text):
        return "has a control character"
    return ""


def shown(text: str | None) -> str:
    """Return a text of a file, short enough for a sentence."""
    quoted = repr(text)
    return quoted if len(quoted) <= 60 else f"{quoted[:57]}…'"  # noqa: PLR2004 - most of a line
