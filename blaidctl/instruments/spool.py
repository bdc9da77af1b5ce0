"""Between a file and its transaction: checked rows on disk, in constant memory, each key once.

A database of SQLite's own temporary kind: it has no name, belongs to one process and is gone when it is closed.
"""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING

from blaidctl.instruments.rows import KEY, VALUES, Refusal, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

_COLUMNS = (*KEY, *VALUES)
_TABLES = f"""
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    PRAGMA cache_size = -2048;
    CREATE TABLE rows (line INTEGER PRIMARY KEY, {", ".join(_COLUMNS)}, sessions, UNIQUE ({", ".join(KEY)}));
    CREATE TABLE refusals (line INTEGER PRIMARY KEY, refusal TEXT NOT NULL) STRICT;
    BEGIN;
"""
_INSERT = f"INSERT INTO rows VALUES (?, {', '.join('?' * len(_COLUMNS))}, ?) ON CONFLICT DO NOTHING"
_SAME = f"SELECT line FROM rows WHERE {' AND '.join(f'{name} = ?' for name in KEY)}"
#: Session names hold no control characters.
_BETWEEN = "\n"


class Spool:
    """The rows and refusals of one file, to be read as often as the transaction is tried."""

    def __init__(self) -> None:
        """Open an empty one."""
        self._disk = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._disk.executescript(_TABLES)
        self.rows_read = 0
        self.skipped = 0

    def close(self) -> None:
        """Forget everything."""
        self._disk.close()

    def add(self, row: Row) -> None:
        """Keep a row. A key that stands twice says two things: neither of its rows is kept."""
        self.rows_read += 1
        values = map(row.values.__getitem__, _COLUMNS)
        if self._disk.execute(_INSERT, (row.line, *values, _BETWEEN.join(row.sessions))).rowcount:
            return
        ((first,),) = self._disk.execute(_SAME, row.key).fetchall()
        for line, other in ((first, row.line), (row.line, first)):
            self._refuse(Refusal(line, (f"the same key stands on line {other}",), row.key))

    def refuse(self, refusal: Refusal) -> None:
        """Keep a refusal."""
        self.rows_read += 1
        self._refuse(refusal)

    def _refuse(self, refusal: Refusal) -> None:
        text = json.dumps([refusal.reasons, refusal.key])
        self._disk.execute("INSERT INTO refusals VALUES (?, ?) ON CONFLICT DO NOTHING", (refusal.line, text))

    def batches(self, size: int) -> Iterator[list[Row]]:
        """Yield the rows that stand, in order of their lines."""
        found = self._disk.execute("SELECT * FROM rows WHERE line NOT IN (SELECT line FROM refusals) ORDER BY line")
        while batch := found.fetchmany(size):
            yield [
                Row(line, dict(zip(_COLUMNS, values, strict=True)), tuple(sessions.split(_BETWEEN)))
                for line, *values, sessions in batch
            ]

    def refusals(self) -> Iterator[Refusal]:
        """Yield the refusals, in order of their lines."""
        for line, text in self._disk.execute("SELECT line, refusal FROM refusals ORDER BY line"):
            yield Refusal(line, *map(tuple, json.loads(text)))
