"""Replay of allocation runs: do lines and remainder sum to the capital, and are they what output_hash was taken over?

Cheap: nothing is computed from the ledger here; `allocation audit` does that.
"""

from __future__ import annotations

import itertools
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from blaidctl.allocation import proof
from blaidctl.core import stream
from blaidctl.core.types import read_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection

_RUN = ("id", "capital", "currency", "as_of", "remainder", "output_hash")
_LINE = ("run_id", "bot_id", "account_id", "weight", "amount", "reason", "metrics")
_DECIMALS = ("capital", "remainder", "amount")


def replay(connection: Connection) -> Iterator[tuple[int | None, str]]:
    """Yield (None, sentence) for every run that does not agree with itself: a merge of two streams in order of run."""
    kind = connection.dialect.name
    runs_sql = f"SELECT {_selected(_RUN, kind)} FROM allocation_runs ORDER BY id"
    lines_sql = f"SELECT {_selected(_LINE, kind)} FROM allocation_lines ORDER BY run_id, id"
    with stream.rows(connection, runs_sql) as runs, stream.rows(connection, lines_sql) as lines:
        by_run = itertools.groupby(lines, lambda line: line[0])
        run_id, group = next(by_run, (None, iter(())))
        for values in runs:
            run = dict(zip(_RUN, values, strict=True))
            while run_id is not None and run_id < run["id"]:
                yield None, f"allocation run {run_id} is gone, its lines are there"
                run_id, group = next(by_run, (None, iter(())))
            own: list[Any] = []
            if run_id == run["id"]:
                own = [dict(zip(_LINE, line, strict=True)) for line in group]
                run_id, group = next(by_run, (None, iter(())))
            yield from ((None, f"allocation run {run['id']}: {what}") for what in _itself(run, own))
        while run_id is not None:
            yield None, f"allocation run {run_id} is gone, its lines are there"
            run_id, group = next(by_run, (None, iter(())))


def _itself(run: dict[str, Any], lines: list[dict[str, Any]]) -> Iterator[str]:
    try:
        yield from proof.in_itself(_read(run), [_read(line) for line in lines])
    except (ValueError, TypeError, ArithmeticError, RecursionError):
        yield "its row or a line holds what blaidctl never writes"


def _read(row: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {name: Decimal(value) if name in _DECIMALS else value for name, value in row.items()}
    if "as_of" in found:
        found["as_of"] = read_time(found["as_of"])
    if found.get("metrics") is not None:
        found["metrics"] = json.loads(found["metrics"])
    return found


def _selected(names: tuple[str, ...], kind: str) -> str:
    return ", ".join(_text(name, kind) for name in names)


def _text(name: str, kind: str) -> str:
    if name == "as_of":
        return stream.time_column(name, kind)
    if kind == "sqlite" or name not in {*_DECIMALS, "metrics"}:
        return name
    return f"CAST({name} AS text)" if name == "metrics" else f"CAST(trim_scale({name}) AS text)"
