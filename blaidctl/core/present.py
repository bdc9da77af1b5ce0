"""How an answer looks: a table for people, JSON or CSV for programs. Text of the database is never markup."""

from __future__ import annotations

import csv
import io
import os
import re
import sys
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from blaidctl.core.operation import resolve
from blaidctl.core.text import json_text, printable
from blaidctl.core.vocabulary import Output

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from blaidctl.core.execute import Answer

#: Colours mean one thing each: red stops or is dead, green trades or holds, yellow wants a look.
_COLOURS = {
    "KILL": "red", "KILLED": "red", "FAILED": "red", "BLOCKED": "red", "REFUSED": "red", "BROKEN": "red",
    "501": "yellow", "ALREADY_IN_STATE": "yellow", "STARTING": "yellow", "UNCONFIRMED": "yellow", "BEHIND": "yellow",
    "RUNNING": "green", "LIVE": "green", "RESURRECT": "green", "PRODUCTION": "green", "DONE": "green", "OK": "green",
    "APPLIED": "green", "MAY_TRADE": "green", "MAY_NOT_TRADE": "red", "STOPPED": "dim", "SUCCEEDED": "green",
    "QUEUED": "yellow", "CANCELLED": "yellow", "FINDING": "red", "NOT_CHECKED": "yellow", "INFO": "dim",
    "MARKET": "green", "PREMARKET": "green", "POSTMARKET": "green", "CLOSED": "dim", "CHANGED": "yellow",
    "REACTIVATED": "yellow",
}  # fmt: skip
NARROWEST = 80
#: Narrower than this nothing is drawn, whatever a terminal says.
LEAST_WIDE = 20
#: What a person wrote: in a table it may fold anywhere. Everything else may hold an id and folds between words only.
FOLDABLE = frozenset({"reason", "kill_reason", "strategy", "line", "detail"})
LEAST_FOLDED = 12
#: Blank cells between two columns.
GAP = 2
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def render(answer: Answer, output: Output) -> str:
    """Return the whole text of an answer, newline at the end."""
    if output is Output.JSON:
        return json_text(answer.body()) + "\n"
    rows, columns = rows_and_columns(answer)
    if output is Output.CSV:
        return csv_text(rows, _all(columns, resolve(answer.operation.result).under))
    *pictures, lines = _pictured(answer, rows, columns)
    return _drawn(pictures, lines)


def render_rows(
    name: str, trace_id: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], output: Output
) -> str:
    """Return the text of a plain list of rows, for the commands that run outside execute()."""
    if output is Output.JSON:
        return json_text({"operation": name, "trace_id": trace_id, "result": {"rows": list(rows)}}) + "\n"
    if output is Output.CSV:
        return csv_text(rows, columns)
    return _drawn([grid(rows, columns, width()) if rows else None], [])


def rows_and_columns(answer: Answer) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the rows that a person looks at and their columns, in order."""
    result = dict(answer.result)
    model = resolve(answer.operation.result)
    rows = result[model.table_of] if model.table_of else [result]
    columns = list(model.columns) or list(rows[0] if rows else result)
    return rows, columns


def _all(columns: Sequence[str], under: Mapping[str, str]) -> list[str]:
    """Return the columns and, after each, the one that a person's table shows under its text."""
    return [name for column in columns for name in (column, under.get(column)) if name]


def csv_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Return RFC 4180 CSV with a header."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([[cell(row.get(name)) for name in columns] for row in rows])
    return buffer.getvalue()


def cell(value: Any) -> str:
    """Return one value as text for a cell: nothing for null, JSON for structures, no control characters."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return printable(", ".join(value))
    if isinstance(value, dict | list):
        return json_text(value)
    return printable(str(value))


def shown(value: Any) -> str:
    """Return one value for a person's table: as `cell`, times to the second (JSON and CSV carry the microseconds)."""
    if isinstance(value, str) and _TIME.fullmatch(value):
        return f"{value[:10]} {value[11:19]}Z"
    if value is None:
        return "-"
    return "none" if value == [] else cell(value)


def parts(answer: Answer, most_rows: int) -> tuple[str, list[str]]:
    """Return the text of an answer and, apart, the lines below it: for a view that must not scroll those away.

    What stands below the main table in print stands above it here, where the eye falls first; of the main table's rows
    only so many are drawn.
    """
    rows, columns = rows_and_columns(answer)
    main, *further, lines = _pictured(answer, rows[:most_rows], columns)
    if len(rows) > most_rows:
        lines.insert(0, f"drawn: the first {most_rows} of {len(rows)}")
    return _drawn([*further, main], []), lines


def _pictured(answer: Answer, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[Any]:
    """Return the main picture, those of the further tables, and the lines below."""
    model = resolve(answer.operation.result)
    if not rows:
        main = None
    elif model.picture:
        main = resolve(model.picture)(answer.result, width())
    elif model.table_of is None:
        main = record(rows[0], columns, width())
    else:
        main = grid(rows, columns, width(), model.under)
    further = [
        _titled(name, _as_rows(answer.result[name], names), names)
        for name, names in model.tables.items()
        if answer.result[name]
    ]
    known = [name for name in model.below if answer.result.get(name) is not None]
    totals = [f"{name.replace('_', ' ')}: {shown(answer.result[name])}" for name in known]
    room = longest_line()
    return [main, *further, [*(line for total in totals for line in _total(total, room)), *footer(answer, room)]]


def _total(text: str, room: int) -> list[str]:
    """Return a line below a table, folded between words where it is too long."""
    first, *rest = _between_words(text, room)
    return [first, *(f"{' ' * GAP}{line}" for line in _between_words(" ".join(rest), room - GAP) if rest)]


def coloured() -> bool:
    """Say whether standard output takes colours; an empty NO_COLOR counts as unset: no-color.org."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _drawn(pictures: Sequence[Any], lines: Sequence[str]) -> str:
    from rich.console import Console

    buffer = io.StringIO()
    colour = coloured()
    console = Console(
        file=buffer,
        force_terminal=colour,
        no_color=not colour,
        width=width(),
        highlight=False,
        markup=False,
        emoji=False,
    )
    for number, picture in enumerate(pictures):
        if number:
            console.print("")
        console.print("(none)" if picture is None else picture, soft_wrap=True)
    for line in lines:
        console.print(line, style="dim", soft_wrap=True)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def width() -> int:
    """Return the width to draw for: the terminal's, or 80 when nobody says."""
    return _told_width() or NARROWEST


def longest_line() -> int:
    """Return how long a line may be that is no table's: a pipe, whose width nobody says, takes any."""
    return _told_width() or sys.maxsize


def _told_width() -> int | None:
    """Return the terminal's width; off a terminal $COLUMNS, as POSIX has it; None when nobody says."""
    try:
        columns = os.get_terminal_size(sys.stdout.fileno()).columns or NARROWEST  # some do not know, and say 0
    except (OSError, ValueError):
        asked = os.environ.get("COLUMNS", "")
        columns = int(asked) if re.fullmatch("[0-9]{1,4}", asked) else 0
    return max(columns, LEAST_WIDE) if columns else None


def grid(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    room: int,
    under: Mapping[str, str] = MappingProxyType({}),
) -> Any:
    """Return a table; when the columns cannot fit, each row becomes a record of its own, so that no id is cut."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    texts = [[_with_next(row, name, under.get(name)) for name in columns] for row in rows]
    widths = _widths(columns, texts, room)
    if widths is None:
        blank = Text("")
        parts: list[Any] = []
        for row in rows:
            parts += [record(row, _all(columns, under), room), blank]
        return Group(*parts[:-1])
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for name, wide in zip(columns, widths, strict=True):
        table.add_column(name.replace("_", " ").upper(), overflow="fold", width=wide)
    for line in texts:
        table.add_row(*(Text(text, style=_COLOURS.get(text, "")) for text in line))
    return table


def _with_next(row: Mapping[str, Any], name: str, under: str | None) -> str:
    """Return a cell's text, and on a line of its own what comes next."""
    text = shown(row.get(name))
    return f"{text}\nnext: {shown(row[under])}" if under and row.get(under) else text


def _widths(columns: Sequence[str], texts: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """Return how wide each column is drawn; None when they cannot stand side by side without cutting a word."""
    from rich.cells import cell_len

    widths, slacks = [], []
    for i, name in enumerate(columns):
        column = [name.replace("_", " "), *(part for line in texts for part in line[i].split("\n"))]
        widths.append(max(map(cell_len, column)))
        longest_word = max(map(_longest_word, column))
        least = min(longest_word, LEAST_FOLDED) if name in FOLDABLE else longest_word
        slacks.append(widths[i] - least)
    excess = sum(widths) + GAP * (len(columns) - 1) - room
    if excess > sum(slacks):
        return None
    while excess > 0:  # whoever has most to spare gives first: prose folds before times do
        i = max(range(len(slacks)), key=slacks.__getitem__)
        given = min(excess, slacks[i])
        widths[i], slacks[i], excess = widths[i] - given, slacks[i] - given, excess - given
    return widths


def _as_rows(value: Any, columns: Sequence[str]) -> Sequence[Mapping[str, Any]]:
    """Return the rows of a table; an object of names and values is a table of two columns."""
    return [dict(zip(columns, pair, strict=True)) for pair in value.items()] if isinstance(value, dict) else value


def _titled(name: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Any:
    from rich.console import Group
    from rich.text import Text

    return Group(Text(name.replace("_", " "), style="bold underline"), grid(rows, columns, width()))


def record(row: Mapping[str, Any], columns: Sequence[str], room: int) -> Any:
    """Return one record as `name  value` lines; a value that holds a longer word stands below its name.

    A word longer than a whole line stands whole and leaves the wrapping to the terminal: an id or a hash can be copied.
    """
    from rich.text import Text

    names = [name.replace("_", " ") for name in columns]
    margin = max(map(len, names)) + GAP
    lines: list[Text] = []
    for name, column in zip(names, columns, strict=True):
        text = shown(row.get(column))
        for label, piece in _beside_or_below(name, text, margin, room):
            line = Text(label, style="bold")
            lines.append(line.append(piece, style=f"not bold {_COLOURS.get(text, '')}"))
    return Text("\n", no_wrap=True, overflow="ignore").join(lines)


def _beside_or_below(name: str, text: str, margin: int, room: int) -> Iterator[tuple[str, str]]:
    """Yield the lines of a record's value, each with what stands before it."""
    longest = _longest_word(text)
    if longest <= longest_line() - margin:
        for number, piece in enumerate(_between_words(text, room - margin)):
            yield " " * margin if number else name.ljust(margin), piece
        return
    indent = min(GAP, max(room - longest, 0))
    yield name, ""
    for piece in _between_words(text, room - indent):
        yield " " * indent, piece


def _longest_word(text: str) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, text.split(" ")))


def _between_words(text: str, room: int) -> Iterator[str]:
    from rich.cells import cell_len

    line = ""
    for word in text.split(" "):
        if line and cell_len(line) + 1 + cell_len(word) > room:
            yield line
            line = word
        else:
            line = f"{line} {word}" if line else word
    yield line


def footer(answer: Answer, room: int) -> list[str]:
    """Return the lines below a table: the receipt of an act, and what is unusual about it."""
    lines = []
    if answer.dry_run:
        lines.append("DRY RUN: the transaction was rolled back; nothing was written.")
    if answer.replayed:
        lines.append("REPLAYED: this request id was done before; this is its stored answer.")
    if answer.receipt:
        lines += _side_by_side([f"audit seq {answer.receipt.seq}", f"entry {answer.receipt.entry_hash}"], room)
    if answer.operation.writes:
        request = [f"request {answer.request_id}"] if answer.request_id else []
        lines += _side_by_side([f"trace {answer.trace_id}", *request], room)
    return lines


def _side_by_side(parts: list[str], room: int) -> list[str]:
    """Return the parts on one line where they fit, else each on its own: none is cut in two."""
    line = (" " * GAP).join(parts)
    return [line] if len(line) <= room else parts
