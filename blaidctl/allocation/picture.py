"""The lines of a run for a person: the table, with a bar beside each share."""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from blaidctl.core import present

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Cells of the longest bar: that of the largest share.
LONGEST = 12
#: Where an id is longer, the room goes to the reasons.
LONGEST_ID = 24
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def lines(result: Mapping[str, Any], room: int) -> Any:
    """Return the table of a run's lines."""
    rows: Sequence[Mapping[str, Any]] = result["lines"]
    columns = ["bot_id", "share", "amount", "reason"]
    if max(len(row["bot_id"]) for row in rows) <= LONGEST_ID:
        largest = max(Decimal(row["share"]) for row in rows)
        rows = [{**row, "": bar(Decimal(row["share"]), largest)} for row in rows]
        columns.insert(2, "")
    return present.grid(rows, columns, room)


def bar(share: Decimal, largest: Decimal, blocks: str | None = None) -> str:
    """Return a bar as long as a share is of the largest one, to an eighth of a cell; empty only for nothing."""
    if not share:
        return ""
    if blocks is None:
        blocks = _EIGHTHS if (sys.stdout.encoding or "").lower().replace("-", "") == "utf8" else " #"
    steps = len(blocks) - 1
    whole, rest = divmod(max(1, round(share * LONGEST * steps / largest)), steps)
    return blocks[-1] * whole + (blocks[rest] if rest else "")
