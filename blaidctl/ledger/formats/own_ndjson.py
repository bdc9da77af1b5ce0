"""blaidctl's own NDJSON: one JSON object a line, with the names of `columns`; unknown and doubled names are refused.

Amounts are best written as strings: a bare number with a fraction may have passed through a double, and marks its fill.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blaidctl.core import errors
from blaidctl.instruments.rows import shown
from blaidctl.ledger.fills import Refusal, Skipped
from blaidctl.ledger.formats import columns, json_text
from blaidctl.ledger.formats.json_text import Parser

if TYPE_CHECKING:
    from collections.abc import Iterator
    from zoneinfo import ZoneInfo

    from blaidctl.core.files import Line, Reading
    from blaidctl.ledger.fills import Fill, Record

_KNOWN = frozenset((*columns.REQUIRED, *columns.OPTIONAL))


def read(source: Reading, zone: ZoneInfo | None) -> Iterator[Record]:
    """Yield what each line is."""
    parser = Parser()
    for line in _lines(source):
        if not line.problem and not line.text.strip(" \t"):
            yield Skipped(line.number, "a blank line")
        else:
            yield _record(line, parser, zone)


def _lines(source: Reading) -> Iterator[Line]:
    try:
        yield from source
    except errors.FileInvalid:
        if source.bytes_read:
            raise
        raise json_text.invalid(source.name, "is empty: a JSON object a line is expected") from None


def _record(line: Line, parser: Parser, zone: ZoneInfo | None) -> Fill | Refusal:
    if line.problem:
        return Refusal(line.number, (line.problem,))
    text = line.text.strip(" \t")
    try:
        found, end = parser.value(text)
    except ValueError as error:
        return Refusal(line.number, (f"is no JSON: {error}",))
    if end != len(text) or not isinstance(found, dict):
        return Refusal(line.number, ("is no single JSON object",))
    reasons = [f"unknown name: {shown(name)}" for name in found if name not in _KNOWN][:20]
    if parser.twice:
        reasons.append(parser.problem())
    return Refusal(line.number, tuple(reasons)) if reasons else columns.fill(line.number, found, zone)
