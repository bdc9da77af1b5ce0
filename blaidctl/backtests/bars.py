"""Bars: read once to their end, checked row by row, before any engine sees them.

CSV with the columns time, open, high, low, close and, if there is one, volume. `time` is the bar's end, ISO 8601 with
its offset, and only grows; prices are exact decimals, none of them zero, and `high` and `low` hold the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from blaidctl.core import decimals, files
from blaidctl.core.types import time_text

if TYPE_CHECKING:
    from collections.abc import Mapping

REQUIRED = ("time", "open", "high", "low", "close")
OPTIONAL = ("volume",)


class BarsInvalid(Exception):
    """These are no bars that an engine may run over, and why not."""


@dataclass(slots=True)
class Bars:
    """What is known of bars once they were read."""

    rows: int = 0
    sha256: str = ""
    #: Canonical text of the first and the last bar's time.
    first_at: str = ""
    last_at: str = ""
    #: Between these all prices of the bars lie.
    lowest: Decimal = Decimal("Infinity")
    highest: Decimal = Decimal(0)
    #: UTC day → the last close in it.
    closes: dict[str, Decimal] = field(default_factory=dict)


def read(path: str, silence_s: int) -> Bars:
    """Read bars. Raises BarsInvalid, which names the first line that is wrong, and what `files.reading` raises."""
    bars, names = Bars(), None
    with files.reading(path, silence_s) as reading:
        for line in reading:
            try:
                found = files.cells(line)
                if names is None:
                    names = _header(found)
                elif any(found):
                    _take(bars, dict(zip(names, found, strict=True)))
            except ValueError as error:
                raise BarsInvalid(f"{reading.name}: line {line.number}: {_sentence(error)}") from None
    if not bars.rows:
        raise BarsInvalid(f"{path}: there is no bar")
    bars.sha256 = reading.sha256
    return bars


def _sentence(error: ValueError) -> str:
    text = str(error)
    return "has more or fewer fields than the header" if text.startswith("zip()") else text


def _header(found: list[str]) -> list[str]:
    names = [name.lower() for name in found]
    missing = [name for name in REQUIRED if name not in names]
    unknown = [name for name in names if name not in (*REQUIRED, *OPTIONAL)]
    if missing or unknown or len(set(names)) != len(names):
        msg = f"the header is {', '.join(REQUIRED)} and, if there is one, volume; it says {', '.join(found)}"
        raise ValueError(msg)
    return names


def _take(bars: Bars, row: Mapping[str, str]) -> None:
    at = _moment(row["time"])
    if at <= bars.last_at:
        msg = f"time: {row['time']} does not lie after the bar before"
        raise ValueError(msg)
    prices = {name: _price(name, row[name]) for name in REQUIRED[1:]}
    if not (prices["low"] <= min(prices["open"], prices["close"]) and prices["high"] >= max(prices.values())):
        msg = "open and close do not lie between low and high"
        raise ValueError(msg)
    bars.rows += 1
    bars.first_at = bars.first_at or at
    bars.last_at = at
    bars.lowest, bars.highest = min(bars.lowest, prices["low"]), max(bars.highest, prices["high"])
    bars.closes[at[:10]] = prices["close"]


def _moment(text: str) -> str:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        msg = f"time: {text!r} is no ISO 8601 time"
        raise ValueError(msg) from None
    if found.utcoffset() is None:
        msg = f"time: {text} has neither Z nor an offset"
        raise ValueError(msg)
    return time_text(found.astimezone(UTC))


def _price(name: str, text: str) -> Decimal:
    try:
        found = decimals.read(text)
    except ValueError as error:
        msg = f"{name}: {error}"
        raise ValueError(msg) from None
    if not found:
        msg = f"{name}: a price of 0 is none"
        raise ValueError(msg)
    return found
