"""How an answer looks: a table for people, JSON or CSV for programs. Text of the database is never markup."""

from __future__ import annotations

import csv
import io
import os
import re
import sys
from typing import TYPE_CHECKING, Any

from blaidctl.core.operation import resolve
from blaidctl.core.text import json_text, printable
from blaidctl.core.vocabulary import Output

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from blaidctl.core.execute import Answer

#: Colours mean one thing each: red stops or is dead, green trades or holds, yellow wants a look.
_COLOURS = {
    "KILL": "red", "KILLED": "red", "FAILED": "red", "BLOCKED": "red", "REFUSED": "red", "BROKEN": "red",
    "501": "yellow", "ALREADY_IN_STATE": "yellow", "STARTING": "yellow", "UNCONFIRMED": "yellow", "BEHIND": "yellow",
    "RUNNING": "green", "LIVE": "green", "RESURRECT": "green", "PRODUCTION": "green", "DONE": "green", "OK": "green",
    "APPLIED": "green", "MAY_TRADE": "green", "MAY_NOT_TRADE": "red", "STOPPED": "dim",
}  # fmt: skip
NARROWEST = 80
FOLDABLE = frozenset({"what", "exit_status", "reason", "target", "tags", "exchanges", "strategy", "kill_reason"})
LEAST_FOLDED = 12
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def render(answer: Answer, output: Output) -> str:
    """Return the whole text of an answer, newline at the end."""
    if output is Output.JSON:
        return json_text(answer.body()) + "\n"
    rows, columns = rows_and_columns(answer)
    if output is Output.CSV:
        return csv_text(rows, columns)
    return _tables(answer, rows, columns)


def render_rows(
    name: str, trace_id: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], output: Output
) -> str:
    """Return the text of a plain list of rows, for the commands that run outside execute()."""
    if output is Output.JSON:
        return json_text({"operation": name, "trace_id": trace_id, "result": {"rows": list(rows)}}) + "\n"
    if output is Output.CSV:
        return csv_text(rows, columns)
    return _drawn(grid(rows, columns, width()) if rows else None, [])


def rows_and_columns(answer: Answer) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the rows that a person looks at and their columns, in order."""
    result = dict(answer.result)
    model = resolve(answer.operation.result)
    rows = result[model.table_of] if model.table_of else [result]
    columns = list(model.columns) or list(rows[0] if rows else result)
    return rows, columns


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


def _tables(answer: Answer, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    model = resolve(answer.operation.result)
    if not rows:
        drawn = None
    elif model.table_of is None:
        drawn = _with_tables(rows[0], columns, model.tables)
    else:
        drawn = grid(rows, columns, width())
    known = [name for name in model.below if answer.result.get(name) is not None]
    totals = [f"{name.replace('_', ' ')}: {shown(answer.result[name])}" for name in known]
    return _drawn(drawn, [*totals, *footer(answer)])


def _drawn(picture: Any, lines: Sequence[str]) -> str:
    from rich.console import Console

    buffer = io.StringIO()
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    console = Console(
        file=buffer,
        force_terminal=colour,
        no_color=not colour,
        width=width(),
        highlight=False,
        markup=False,
        emoji=False,
    )
    console.print("(none)" if picture is None else picture)
    for line in lines:
        console.print(line, style="dim", soft_wrap=True)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def width() -> int:
    """Return the width to draw for: the terminal's, or 80 when there is none."""
    try:
        return max(os.get_terminal_size(sys.stdout.fileno()).columns, 20)
    except (OSError, ValueError):
        return NARROWEST


def grid(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], room: int) -> Any:
    """Return a table; when the columns cannot fit, each row becomes a record of its own, so that no id is cut."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    texts = [[shown(row.get(name)) for name in columns] for row in rows]
    # What a person wrote may fold anywhere; an id, a hash, a time or an amount only between words.
    unbroken = [
        LEAST_FOLDED
        if name in FOLDABLE
        else max(
            len(word) for text in (name.replace("_", " "), *(line[i] for line in texts)) for word in text.split(" ")
        )
        for i, name in enumerate(columns)
    ]
    if sum(unbroken) + 2 * (len(columns) - 1) > room:
        blank = Text("")
        parts: list[Any] = []
        for row in rows:
            parts += [record(row, columns), blank]
        return Group(*parts[:-1])
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name, least in zip(columns, unbroken, strict=True):
        table.add_column(name.replace("_", " ").upper(), overflow="fold", min_width=min(least, room))
    for line in texts:
        table.add_row(*(Text(text, style=_COLOURS.get(text, "")) for text in line))
    return table


def _with_tables(row: Mapping[str, Any], columns: Sequence[str], tables: Mapping[str, Sequence[str]]) -> Any:
    """Return a record and, below it, the tables of the rows that it holds."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = [record(row, columns)]
    for name, names in tables.items():
        if row[name]:
            parts += [Text(""), Text(name.replace("_", " "), style="bold underline"), grid(row[name], names, width())]
    return Group(*parts)


def record(row: Mapping[str, Any], columns: Sequence[str]) -> Any:
    """Return one record as `name  value` lines."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name in columns:
        text = shown(row.get(name))
        table.add_row(name.replace("_", " "), Text(text, style=_COLOURS.get(text, "")))
    return table


def footer(answer: Answer) -> list[str]:
    """Return the lines below a table: the receipt of an act, and what is unusual about it."""
    lines = []
    if answer.dry_run:
        lines.append("DRY RUN: the transaction was rolled back; nothing was written.")
    if answer.replayed:
        lines.append("REPLAYED: this request id was done before; this is its stored answer.")
    if answer.receipt:
        lines.append(f"audit seq {answer.receipt.seq}  entry {answer.receipt.entry_hash}")
    if answer.operation.writes:
        lines.append(f"trace {answer.trace_id}  request {answer.request_id}")
    return lines
