"""The equity curve in a terminal: equity over time above, how far it is under its peak below.

Labels are rounded to be read; the exact numbers stand in the tables beside it, and in JSON and CSV.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from blaidctl.core import chart

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.text import Text

_EQUITY_ROWS, _DRAWDOWN_ROWS = 12, 5
#: Of the plot, in characters: wider than a terminal of a desk helps nobody.
_WIDEST = 120
_LEAST_WIDE = 20
_WHOLE = 100_000


def equity(result: Mapping[str, Any], width: int) -> Text:
    """Return the drawing of `ledger equity`'s answer, for so many columns."""
    from rich.text import Text

    points: Sequence[Mapping[str, str]] = result["points"]
    moments = [datetime.fromisoformat(point["at"]).timestamp() for point in points]
    series = {name: [float(point[name]) for point in points] for name in ("equity", "peak", "drawdown")}
    low, high = min(series["equity"]), max(series["peak"])
    deepest = max(series["drawdown"])
    labels = {name: _label(value) for name, value in (("high", high), ("low", low), ("deep", -deepest))}
    margin = max(map(len, (*labels.values(), "0"))) + 1
    columns = min(max(width - margin - 1, _LEAST_WIDE), _WIDEST) * chart.ACROSS
    drawn = Text(f"equity, {result['currency']}, {result['basis'].lower()}\n", style="bold")
    curve = chart.scaled(chart.steps(moments, series["equity"], columns), low, high, _EQUITY_ROWS)
    _add(drawn, chart.braille(curve, _EQUITY_ROWS), (labels["high"], labels["low"]), margin, "green")
    drawn.append("drawdown, under the peak\n", style="bold")
    under = [(-most, 0.0) if most else None for _, most in chart.steps(moments, series["drawdown"], columns)]
    spans = [None if one is None else chart.scaled([one], -deepest, 0.0, _DRAWDOWN_ROWS)[0] for one in under]
    _add(drawn, chart.braille(spans, _DRAWDOWN_ROWS), ("0", labels["deep"]), margin, "red")
    first, last = points[0]["at"][:10], points[-1]["at"][:10]
    drawn.append(" " * (margin + 1) + first + last.rjust(columns // chart.ACROSS - len(first)), style="dim")
    return drawn


def _add(drawn: Text, lines: Sequence[str], ends: tuple[str, str], margin: int, colour: str) -> None:
    """Add a plot with the labels of its upper and lower end."""
    for number, line in enumerate(lines):
        label = ends[0] if number == 0 else ends[1] if number == len(lines) - 1 else ""
        drawn.append(label.rjust(margin - 1) + " │", style="dim")
        drawn.append(line + "\n", style=colour)


def _label(value: float) -> str:
    places = 0 if abs(value) >= _WHOLE else 2
    return f"{Decimal(value):,.{places}f}"
