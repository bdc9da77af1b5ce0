"""Exact numbers as texts: the edge where fractions become what people and programs read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blaidctl.core import decimals
from blaidctl.core.types import time_text
from blaidctl.ledger.rules import Ratio, rounded

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal
    from fractions import Fraction

#: Places of what has no end in decimals (an average price, a result under a magnifier of 3).
ENDLESS_PLACES = 36
_MIDNIGHT = "T00:00:00.000000Z"


def money(value: Fraction) -> str:
    """Return an amount with all of its places."""
    places = _places(value)
    return decimals.text_of(rounded(value, ENDLESS_PLACES if places is None else places))


def ratio(value: Ratio) -> str | None:
    """Return a ratio, rounded once; None where it is undefined."""
    return None if value.value is None else decimals.text_of(rounded(value.value))


def _places(value: Fraction) -> int | None:
    """Return how many decimal places a number has; None without end."""
    rest, twos, fives = value.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    return max(twos, fives) if rest == 1 else None


def stored(value: Any) -> Decimal | None:
    """Return a decimal as a plain cursor of either engine gives it."""
    return None if value is None else decimals.exact(value)


def day_or_moment(value: datetime) -> str:
    """Return a moment for a person, a day where it is one's start."""
    text = time_text(value)
    return text.removesuffix(_MIDNIGHT)
