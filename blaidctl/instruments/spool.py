"""Between a file and its transaction: checked rows on disk, in constant memory, each key once.

A database of SQLite's own temporary kind: it has no name, belongs to one process and is gone when it is closed.
"""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING

from blaidctl.instruments.rows import Refusal, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

_TABLES = """
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    PRAGMA cache_size = -2048;
    CREATE TABLE rows (line INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, row TEXT NOT NULL) STRICT;
    CREATE TABLE refusals (line INTEGER PRIMARY KEY, refusal TEXT NOT NULL) STRICT;
    BEGIN;
"""


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
        key = json.dumps(row.key)
        text = json.dumps([row.values, row.sessions])
        kept = "INSERT INTO rows VALUES (?, ?, ?) ON CONFLICT (key) DO NOTHING"
        if self._disk.execute(kept, (row.line, key, text)).rowcount:
            return
        ((first,),) = self._disk.execute("SELECT line FROM rows WHERE key = ?", (key,)).fetchall()
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
        sql = "SELECT line, row FROM rows WHERE line NOT IN (SELECT line FROM refusals) ORDER BY line"
        found = self._disk.execute(sql)
        while batch := found.fetchmany(size):
            yield [Row(line, *_pair(text)) for line, text in batch]

    def refusals(self) -> Iterator[Refusal]:
        """Yield the refusals, in order of their lines."""
        for line, text in self._disk.execute("SELECT line, refusal FROM refusals ORDER BY line"):
            yield Refusal(line, *map(tuple, json.loads(text)))


def _pair(text: str) -> tuple[dict[str, str | None], tuple[str, ...]]:
    values, sessions = json.loads(text)
    return values, tuple(sessions)
