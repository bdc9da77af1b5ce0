"""A chart in a terminal, in braille: two columns and four rows of dots a character (Unicode block U+2800).

Drawing only: numbers come as floats, are placed, and are never printed; exact numbers stand beside a chart.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ACROSS, DOWN = 2, 4
_BLANK = 0x2800
#: The bit of each dot of a character, by row from the top and column.
_BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))

#: The lowest and the highest row of dots that a column fills, counted from the bottom; None: nothing.
Span = tuple[int, int] | None


def steps(moments: Sequence[float], values: Sequence[float], columns: int) -> list[tuple[float, float]]:
    """Return the lowest and highest value of a step function in each of so many equal stretches of time.

    A value holds until the next one. `moments` grow; the first and the last are the ends of the drawing.
    """
    first, last = moments[0], moments[-1]
    scale = (columns - 1) / (last - first) if last > first else 0.0
    found: list[tuple[float, float] | None] = [None] * columns
    for before, (moment, value) in zip([values[0], *values], zip(moments, values, strict=True), strict=False):
        column = round((moment - first) * scale)
        low, high = found[column] or (before, before)
        found[column] = min(low, value), max(high, value)
    ends = _ends(moments, values, first, scale, columns)
    return [span or (end, end) for span, end in zip(found, ends, strict=True)]


def _ends(moments: Sequence[float], values: Sequence[float], first: float, scale: float, columns: int) -> list[float]:
    """Return the value with which each column ends."""
    ends = [values[0]] * columns
    for (moment, value), following in pairwise([*zip(moments, values, strict=True), (None, None)]):
        assert moment is not None  # noqa: S101 - only the last of the pairs ends the list
        assert value is not None  # noqa: S101
        start = round((moment - first) * scale)
        stop = columns if following[0] is None else round((following[0] - first) * scale)
        ends[start:stop] = [value] * (stop - start)
        if stop == start:
            ends[start] = value
    return ends


def scaled(spans: Sequence[tuple[float, float]], low: float, high: float, rows: int) -> list[Span]:
    """Return the rows of dots (of `rows` characters) that each span of values fills."""
    most = rows * DOWN - 1
    scale = most / (high - low) if high > low else 0.0
    return [(round((one - low) * scale), round((other - low) * scale)) for one, other in spans]


def braille(spans: Sequence[Span], rows: int) -> list[str]:
    """Return lines of text, the top first, in which each column of dots is filled over its span."""
    cells = [[_BLANK] * ((len(spans) + 1) // ACROSS) for _ in range(rows)]
    for column, span in enumerate(spans):
        for dot in range(span[0], span[1] + 1) if span else ():
            from_top = rows * DOWN - 1 - dot
            cells[from_top // DOWN][column // ACROSS] |= _BITS[from_top % DOWN][column % ACROSS]
    return ["".join(map(chr, line)) for line in cells]
