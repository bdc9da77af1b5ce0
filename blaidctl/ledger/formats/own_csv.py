"""blaidctl's own CSV: a header with the columns of `columns`, in any order; unknown and doubled ones are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blaidctl.core import files
from blaidctl.instruments.rows import header_of
from blaidctl.ledger.fills import Refusal, Skipped
from blaidctl.ledger.formats import columns

if TYPE_CHECKING:
    from collections.abc import Iterator
    from zoneinfo import ZoneInfo

    from blaidctl.ledger.fills import Record


def read(source: files.Reading, zone: ZoneInfo | None) -> Iterator[Record]:
    """Yield what each line after the header is. Raises FileInvalid for a file without a usable header."""
    lines = iter(source)
    header = header_of(lines, columns.REQUIRED, columns.OPTIONAL)
    for line in lines:
        if not line.problem and not line.text.strip(" \t"):
            yield Skipped(line.number, "a blank line")
            continue
        try:
            cells = files.whole_cells(line)
        except ValueError as error:
            yield Refusal(line.number, (str(error),))
            continue
        if len(cells) != len(header):
            yield Refusal(line.number, (f"has {len(cells)} fields, {len(header)} are expected",))
            continue
        yield columns.fill(line.number, dict(zip(header, cells, strict=True)), zone)
