"""`ledger equity`: the equity curve and its drawdowns. Pictures are drawn from `drawn`, whatever they are drawn on.

A curve has a point for every moment at which equity changed. Where there are more than are asked for, it is thinned: of
every stretch the highest, the one deepest under the peak, and the last stay, each exactly as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from blaidctl.ledger import amounts, metrics, read_contract, report
from blaidctl.ledger.rules import Ratio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blaidctl.core.execute import Tx
    from blaidctl.ledger.metrics import Computed

#: Moment, equity, peak; whole numbers of one unit.
Raw = tuple[str, int, int]
_KEPT_OF_A_STRETCH = 3
#: Points of the open stretch that are held before it is thinned too.
_MOST_OPEN = 1_000


@dataclass(frozen=True, slots=True)
class Point:
    """Equity after everything that happened at a moment, and the peak that it is measured from."""

    at: str
    equity: Fraction
    peak: Fraction

    @property
    def drawdown(self) -> Fraction:
        """How far equity is below its peak; never below zero."""
        return self.peak - self.equity

    @property
    def fraction(self) -> Ratio:
        """The drawdown of the peak."""
        return Ratio(self.drawdown / self.peak) if self.peak > 0 else Ratio(None, "the peak was not above zero")


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve, thinned or whole, beside the figures that were computed in the same pass."""

    computed: Computed
    points: list[Point]
    #: How many there are in all.
    total: int


class Thinned:
    """Takes a curve of any length and keeps about so many points of it, in memory for no more than that."""

    def __init__(self, limit: int) -> None:
        """Take the limit; a curve that has no more points stays whole."""
        self.total = 0
        self._unit = 1
        self._limit = limit
        #: How many points a stretch stands for, and how many the open one stands for.
        self._stride = 1
        self._seen = 0
        self._stretches: list[list[Raw]] = []
        self._open: list[Raw] = []
        self._first: list[Raw] = []

    def take(self, points: Sequence[Raw], unit: int) -> None:
        """Take in a piece of the curve: `OnPoints`."""
        self._unit = unit
        for point in points:
            self.total += 1
            self._seen += 1
            self._open.append(point)
            if self._seen == self._stride:
                self._close()
            elif len(self._open) > _MOST_OPEN:
                self._open = _kept(self._open)

    def _close(self) -> None:
        if not self._stretches:
            self._first = self._open[:1]
        self._stretches.append(_kept(self._open))
        self._open, self._seen = [], 0
        while len(self._stretches) * (1 if self._stride == 1 else _KEPT_OF_A_STRETCH) > self._limit:
            self._merge()

    def _merge(self) -> None:
        """Make one stretch of each two; one that is left over joins the open one."""
        if len(self._stretches) % 2:
            self._open = [*self._stretches.pop(), *self._open]
            self._seen += self._stride
        pairs = zip(self._stretches[::2], self._stretches[1::2], strict=True)
        self._stretches = [_kept([*one, *other]) for one, other in pairs]
        self._stride *= 2

    def points(self) -> list[Point]:
        """Return what is kept, in order; the start of the curve is always there."""
        kept = [*(point for stretch in self._stretches for point in stretch), *_kept(self._open)]
        first = self._first if kept[:1] != self._first else []
        return [
            Point(at, Fraction(equity, self._unit), Fraction(peak, self._unit)) for at, equity, peak in [*first, *kept]
        ]


def _kept(points: Sequence[Raw]) -> list[Raw]:
    """Return the highest, the deepest and the last point of a stretch, in order, each once."""
    if len(points) <= 1:
        return list(points)
    highest = max(points, key=lambda point: point[1])
    deepest = max(points, key=lambda point: point[2] - point[1])
    return sorted({highest, deepest, points[-1]})


def drawn(tx: Tx, request: read_contract.ShowEquity) -> Curve:
    """Compute the figures and take the curve on the way."""
    thinned = Thinned(request.limit)
    computed = metrics.compute(tx, request.bot, request.account, **metrics.asked(tx, request), on_points=thinned.take)
    return Curve(computed, thinned.points(), thinned.total)


def equity(tx: Tx, request: read_contract.ShowEquity) -> read_contract.EquityCurve:
    """Answer `ledger equity`; write the page that it is asked for."""
    page = report.check(request.html) if request.html else None
    curve = drawn(tx, request)
    numbers = curve.computed.numbers
    points = [_told(point) for point in curve.points]
    sha256 = None
    if page is not None:
        figures = metrics.as_result(curve.computed, by_month=True).body()
        sha256 = report.write(page, figures, [point.body() for point in points])
    return read_contract.EquityCurve(
        **metrics.provenance(curve.computed),
        points=points,
        html=str(page) if page else None,
        html_sha256=sha256,
        total=curve.total,
        left_out=curve.total - len(curve.points),
        equity=numbers["equity"],
        peak=numbers["peak"],
        drawdowns=numbers["drawdowns"],
        undefined={name: why for name, why in curve.computed.undefined.items() if "drawdown" in name},
    )


def _told(point: Point) -> read_contract.EquityPoint:
    return read_contract.EquityPoint(
        at=point.at,
        equity=amounts.money(point.equity),
        peak=amounts.money(point.peak),
        drawdown=amounts.money(point.drawdown),
        fraction=amounts.ratio(point.fraction),
    )
