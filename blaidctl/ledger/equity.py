"""Drawdowns: how far equity fell below its peak, for how long, and whether it came back.

Whole numbers of one unit in, exact fractions out. A flow moves peak and equity alike, so that a drawdown falls into
stretches, each with a peak of its own; the deepest stretch counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from blaidctl.ledger.rules import Drawdown, Ratio

_MICROSECOND = timedelta(microseconds=1)
_NO_PEAK = "the peak was not above zero"


def microseconds(start: str, end: str) -> int:
    """Return the time from one canonical text to another."""
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)) // _MICROSECOND


@dataclass(frozen=True, slots=True)
class _Fall:
    """The deepest point of a stretch under water."""

    depth: int
    peak: int
    start: str
    trough: str
    recovery: str | None = None

    def deeper(self, other: _Fall | None) -> bool:
        return other is None or self.depth > other.depth

    def steeper(self, other: _Fall | None) -> bool:
        """Compare depth / peak without dividing; both peaks are above zero."""
        return other is None or self.depth * other.peak > other.depth * self.peak


class Water:
    """The peak of an equity curve, and what lies under it."""

    def __init__(self) -> None:
        """Start at nothing; the starting capital makes the first peak."""
        self.peak = 0
        self.peak_at = ""
        #: The lowest equity of this stretch; equal to the peak while there was none below.
        self.low = 0
        self.low_at = ""
        #: Earlier stretches of the drawdown that lasts: (depth, peak, trough).
        self.stretches: list[tuple[int, int, str]] = []
        self._deepest: _Fall | None = None
        self._steepest: _Fall | None = None
        self._unmeasured = False

    def start(self, capital: int, at: str) -> None:
        """Take the starting capital as the first peak."""
        self.peak = self.low = capital
        self.peak_at = at

    def see(self, equity: int, at: str) -> None:
        """Take the equity after a moment (the engine's loop holds a copy of this, for speed)."""
        if equity >= self.peak:
            if self.low != self.peak or self.stretches:
                self.surface(at)
            self.peak = self.low = equity
            self.peak_at = at
        elif equity < self.low:
            self.low, self.low_at = equity, at

    def shift(self, amount: int) -> None:
        """Move the peak by a flow; what was seen below the old one is a stretch of its own."""
        if self.low != self.peak:
            self.stretches.append((self.peak - self.low, self.peak, self.low_at))
        self.peak += amount
        self.low = self.peak

    def surface(self, at: str | None) -> None:
        """End the drawdown that lasts: equity is back at its peak, or (None) the curve ends."""
        if self.low != self.peak:
            self.stretches.append((self.peak - self.low, self.peak, self.low_at))
        for depth, peak, trough in self.stretches:
            fall = _Fall(depth, peak, self.peak_at, trough, at)
            if fall.deeper(self._deepest):
                self._deepest = fall
            if peak <= 0:
                self._unmeasured = True
            elif fall.steeper(self._steepest):
                self._steepest = fall
        self.stretches.clear()

    def results(self, equity: int, as_of: str, unit: int) -> tuple[Drawdown, Drawdown, Drawdown]:
        """Return the largest drawdown by money, the largest by fraction, and the one that lasts at the end."""
        lasts = equity < self.peak
        stretches = [*self.stretches, (self.peak - self.low, self.peak, self.low_at)]
        depth, _, trough = max(stretches, key=lambda stretch: stretch[0])
        now = _Fall(self.peak - equity, self.peak, self.peak_at, trough) if lasts and depth else None
        self.surface(None)
        by_money = _drawdown(self._deepest, as_of, unit)
        by_fraction = _drawdown(self._steepest, as_of, unit)
        if self._unmeasured:
            by_fraction = Drawdown(
                by_money.money, Ratio(None, _NO_PEAK), by_money.start, by_money.trough, by_money.recovery,
                by_money.duration_us,
            )  # fmt: skip
        return by_money, by_fraction, _drawdown(now, as_of, unit)


def _drawdown(fall: _Fall | None, as_of: str, unit: int) -> Drawdown:
    if fall is None:
        return Drawdown(Fraction(0), Ratio(Fraction(0)))
    return Drawdown(
        money=Fraction(fall.depth, unit),
        fraction=Ratio(Fraction(fall.depth, fall.peak)) if fall.peak > 0 else Ratio(None, _NO_PEAK),
        start=fall.start,
        trough=fall.trough,
        recovery=fall.recovery,
        duration_us=microseconds(fall.start, fall.recovery or as_of),
    )
