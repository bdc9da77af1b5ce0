"""Statements: written once, run on both engines.

A `Query` is SQL text with a name and three small words that the engines spell differently:

    $FOR_UPDATE      row locks (SQLite holds its one write lock already)
    $FOR_SHARE       the same, shared
    $IN(ids)         is one of the strings of a JSON array bound to :ids

Where the engines differ more, `sqlite=` or `postgresql=` gives that engine's own text. Parameters and columns that
end in `_at` (or are `now`, `at` or `as_of`) are times; the columns in JSON_COLUMNS hold JSON; parameters and columns in
DECIMAL_COLUMNS are exact decimals: conversion follows the name, because a name means one thing everywhere in blaidctl.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, text

from blaidctl.core import decimals
from blaidctl.core.errors import DatabaseCorrupt
from blaidctl.core.types import ExactNumeric, UtcTime, read_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from sqlalchemy import BindParameter, TextClause
    from sqlalchemy.engine import Connection, CursorResult

Row = dict[str, Any]

JSON_COLUMNS = frozenset({
    "after", "answer", "before", "conventions", "counts", "events", "exchanges", "excluded", "metadata", "metrics",
    "not_done", "policy", "result", "source_tables", "tags", "versions",
})  # fmt: skip
#: Money, prices and quantities: canonical text on SQLite, NUMERIC on PostgreSQL, Decimal here.
DECIMAL_COLUMNS = frozenset({
    "amount", "capital", "fee", "lot_size", "max_contracts", "max_daily_loss", "max_drawdown_pct", "max_order_qty",
    "max_position_value", "max_qty", "min_notional", "min_qty", "point_value", "price", "price_magnifier", "quantity",
    "rate", "remainder", "reported_pnl", "tick_size",
})  # fmt: skip

_WORDS = {
    "sqlite": {"$FOR_UPDATE": "", "$FOR_SHARE": ""},
    "postgresql": {"$FOR_UPDATE": "FOR UPDATE", "$FOR_SHARE": "FOR SHARE"},
}
_LISTS = {
    "sqlite": r"IN (SELECT value FROM json_each(:\1))",
    # One scan of an index for the whole array; a sub-select would be a scan for each of its strings.
    "postgresql": r"= ANY (ARRAY(SELECT jsonb_array_elements_text(CAST(:\1 AS jsonb))))",
}
_LIST = re.compile(r"\$IN\((\w+)\)")
_PARAMETER = re.compile(r"(?<![:\w]):(\w+)")


def is_time(name: str) -> bool:
    """Say whether a parameter or column of this name holds a time."""
    return name in {"as_of", "at", "now"} or name.endswith("_at")


class Query:
    """One statement, prepared on first use for each engine."""

    def __init__(self, common: str = "", *, sqlite: str = "", postgresql: str = "") -> None:
        """Take the common text, and an engine's own text where it must differ."""
        self._texts = {"sqlite": sqlite or common, "postgresql": postgresql or common}
        self._clauses: dict[str, TextClause] = {}

    def clause(self, kind: str) -> TextClause:
        """Return the statement for an engine, with its times and decimals typed."""
        if kind not in self._clauses:
            sql = _LIST.sub(_LISTS[kind], self._texts[kind])
            for word, spelled in _WORDS[kind].items():
                sql = sql.replace(word, spelled)
            names = set(_PARAMETER.findall(sql))
            typed: list[BindParameter[Any]] = [bindparam(name, type_=UtcTime()) for name in names if is_time(name)]
            typed += [bindparam(name, type_=ExactNumeric()) for name in names & DECIMAL_COLUMNS]
            self._clauses[kind] = text(sql).bindparams(*typed)
        return self._clauses[kind]

    def on(self, connection: Connection, **parameters: Any) -> CursorResult[Any]:
        """Run the statement; lists become JSON text, as `$IN` and the event writer expect."""
        bound = {k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in parameters.items()}
        return connection.execute(self.clause(connection.dialect.name), bound)


def rows_of(result: CursorResult[Any]) -> Iterator[Row]:
    """Yield rows as dicts with times, JSON and decimals converted by column name."""
    names = list(result.keys())
    times = [name for name in names if is_time(name)]
    documents = [name for name in names if name in JSON_COLUMNS]
    exact = [name for name in names if name in DECIMAL_COLUMNS]
    for values in result.all():
        row = dict(zip(names, values, strict=True))
        for name in times:
            if isinstance(row[name], str):
                row[name] = _read(name, row[name], read_time)
        for name in documents:
            if isinstance(row[name], str):
                row[name] = _read(name, row[name], json.loads)
        for name in exact:
            if row[name] is not None:
                row[name] = _read(name, row[name], decimals.exact)
        yield row


def _read(name: str, text: Any, read: Callable[[Any], Any]) -> Any:
    """Convert a value that somebody may have written by hand; DatabaseCorrupt names the column."""
    try:
        return read(text)
    except ValueError:
        raise DatabaseCorrupt(f"the column {name} holds {str(text)!r}, which blaidctl never writes") from None


_SERVER_TIME = Query("SELECT clock_timestamp() AS now")


def database_time(connection: Connection, host_time: datetime) -> datetime:
    """Return the clock that heartbeats and deadlines are judged by: the server's on PostgreSQL, the host's on SQLite.

    Read before a row is waited for: what is judged may only look younger than it is, never older.
    """
    if connection.dialect.name == "sqlite":
        return host_time
    return next(rows_of(_SERVER_TIME.on(connection)))["now"]  # type: ignore[no-any-return]
