"""Between a source of fills and their transactions: judged fills on disk, in constant memory, in the order of parts.

A database of SQLite's own temporary kind: it has no name, belongs to one process and is gone when it is closed.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import TYPE_CHECKING, NamedTuple

from blaidctl.core import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from blaidctl.ledger.facts import Key


class Entry(NamedTuple):
    """A fill as it will be stored: texts canonical, names resolved, and the same numbers x 10^8."""

    bot_id: str
    instance_id: int | None
    exchange: str
    symbol: str
    asset_class: str
    side: str
    quantity: str
    price: str
    fee: str | None
    fee_currency: str | None
    executed_at: str
    venue_trade_id: str
    order_id: str | None
    line: int
    reverses: str | None
    reported_pnl: str | None
    after_kill: int
    exact: int
    quantity_8: int | None
    price_8: int | None
    fee_8: int | None
    #: Whether the source named the instance: then it is part of what the fill says.
    named: int

    @property
    def key(self) -> Key:
        """Exchange, symbol, asset class."""
        return self[2:5]


class Fee(NamedTuple):
    """A fee of the account, as a capital flow of kind FEE."""

    line: int
    bot_id: str
    amount: str
    currency: str
    at: str
    external_id: str
    note: str | None


class Moved(NamedTuple):
    """A change of a position without an execution, judged."""

    line: int
    move_id: str
    kind: str
    symbol: str | None
    day: str | None
    #: 1: it may be of anything: what is held may be called something else behind it, or nothing is known by that name.
    any: int


class Refused(NamedTuple):
    """A line that is refused: under which error (empty: the line itself is wrong), and why."""

    line: int
    error_code: str
    reason: str


#: How many reasons for skipping are told apart: a file may make up as many as it has records.
MOST_REASONS = 50
OTHER_REASONS = "other reasons"
#: Changes of positions in one source: they are written in one transaction, which a kill waits for.
MOST_MOVES = 2_000
#: How many refusals of each error are kept to be named; all are counted.
MOST_NAMED = 1_000
#: Rows that are written to the disk at once.
_BUFFER = 2_000
#: Reversals come after everything that they may take back, wherever they stood.
_LATE = 1 << 48
_TABLES = f"""
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    PRAGMA cache_size = -8192;
    CREATE TABLE entries (ordinal INTEGER PRIMARY KEY, {", ".join(Entry._fields)});
    CREATE TABLE fees ({", ".join(Fee._fields)});
    CREATE TABLE moves ({", ".join(Moved._fields)}, PRIMARY KEY (move_id)) WITHOUT ROWID;
    BEGIN;
"""
_INSERT = f"INSERT INTO entries VALUES (?, {', '.join('?' * len(Entry._fields))})"
_SELECT = f"SELECT {', '.join(Entry._fields)} FROM entries"
_ID = Entry._fields.index("venue_trade_id") + 1


class Spool:
    """What one source says, to be read as often as need be."""

    def __init__(self) -> None:
        """Open an empty one."""
        with _on_disk():
            self._disk = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            self._disk.executescript(_TABLES)
        self._buffer: list[tuple[object, ...]] = []
        self._ordinal = 0
        self._sorted = False
        self.rows_read = 0
        #: Why, and how many records.
        self.skipped: dict[str, int] = {}
        self.moved = 0
        self.repeated = 0
        self.fees = 0
        #: By error code, how many were refused; and the first of each.
        self.refused: dict[str, int] = {}
        self._named: dict[str, list[Refused]] = {}

    def close(self) -> None:
        """Forget everything."""
        self._disk.close()

    def add(self, entry: Entry) -> None:
        """Keep a fill."""
        self._ordinal += 1
        ordinal = self._ordinal if entry.reverses is None else self._ordinal + _LATE
        self._buffer.append((ordinal, *entry))
        if len(self._buffer) >= _BUFFER:
            self._flush()

    def add_fee(self, fee: Fee) -> None:
        """Keep a fee of the account."""
        self.fees += 1
        with _on_disk():
            self._disk.execute(f"INSERT INTO fees VALUES ({', '.join('?' * len(Fee._fields))})", fee)

    def add_move(self, moved: Moved) -> None:
        """Keep a change of a position; one that is told twice is one."""
        with _on_disk():
            statement = f"INSERT OR IGNORE INTO moves VALUES ({', '.join('?' * len(Moved._fields))})"
            self.moved += self._disk.execute(statement, moved).rowcount
        if self.moved > MOST_MOVES:
            self.refuse(moved.line, "", f"is one of more than {MOST_MOVES} changes of positions: split the source")

    def skip(self, why: str) -> None:
        """Count a record that is no fill by its own word."""
        if why not in self.skipped and len(self.skipped) >= MOST_REASONS:
            why = OTHER_REASONS
        self.skipped[why] = self.skipped.get(why, 0) + 1

    def refuse(self, line: int, error_code: str, reason: str) -> None:
        """Count a refusal, and keep it while there are few."""
        self.refused[error_code] = self.refused.get(error_code, 0) + 1
        named = self._named.setdefault(error_code, [])
        if len(named) < MOST_NAMED:
            named.append(Refused(line, error_code, reason))

    def refusals(self) -> list[Refused]:
        """Return the refusals that are named, by line."""
        return sorted(found for named in self._named.values() for found in named)

    def _flush(self) -> None:
        with _on_disk():
            self._disk.executemany(_INSERT, self._buffer)
        self._buffer.clear()

    def settle(self, *, repeats: bool) -> int:
        """Finish what was added: refuse ids that stand twice (or, where a source repeats itself, keep one of equals).

        Returns how many fills there are. Repeats that are equal in everything but their line are one fill.
        """
        if not self._sorted:
            self._flush()
            with _on_disk():
                self._disk.execute("CREATE INDEX entries_id ON entries (venue_trade_id)")
                self._disk.execute("CREATE INDEX entries_reverses ON entries (reverses) WHERE reverses IS NOT NULL")
                self._doubles(repeats=repeats)
            self._sorted = True
        ((count,),) = self._disk.execute("SELECT count(*) FROM entries").fetchall()
        return int(count)

    def _doubles(self, *, repeats: bool) -> None:
        same = "SELECT venue_trade_id FROM entries GROUP BY venue_trade_id HAVING count(*) > 1"
        columns = ", ".join(Entry._fields)
        statement = f"SELECT ordinal, {columns} FROM entries WHERE venue_trade_id IN ({same})"
        first: tuple[object, ...] = ()
        for found in self._disk.execute(f"{statement} ORDER BY venue_trade_id, ordinal").fetchall():
            ordinal, *values = found
            entry = Entry(*values)
            if not first or first[_ID] != entry.venue_trade_id:
                first = found
                continue
            other = Entry(*first[1:])  # type: ignore[arg-type]
            if repeats and entry._replace(line=other.line) == other:
                self.repeated += 1
                self._disk.execute("DELETE FROM entries WHERE ordinal = ?", (ordinal,))
                continue
            for line, elsewhere in ((other.line, entry.line), (entry.line, other.line)):
                self.refuse(line, "", f"venue_trade_id: {entry.venue_trade_id!r} stands on line {elsewhere}, too")

    def batches(self, size: int) -> Iterator[list[Entry]]:
        """Yield the fills in the order of parts: as they came, reversals last."""
        with _on_disk():
            cursor = self._disk.execute(f"{_SELECT} ORDER BY ordinal")
            while rows := cursor.fetchmany(size):
                yield list(map(Entry._make, rows))

    def entries_of(self, ids: list[str]) -> dict[str, Entry]:
        """Return the fills of these ids."""
        with _on_disk():
            rows = self._disk.execute(
                f"{_SELECT} WHERE venue_trade_id IN (SELECT value FROM json_each(?))", (json.dumps(ids),)
            ).fetchall()
        return {entry.venue_trade_id: entry for entry in map(Entry._make, rows)}

    def reversals_of(self, ids: list[str]) -> dict[str, list[Entry]]:
        """Return the reversals of these ids, by the id that they take back."""
        with _on_disk():
            rows = self._disk.execute(
                f"{_SELECT} WHERE reverses IN (SELECT value FROM json_each(?)) ORDER BY ordinal", (json.dumps(ids),)
            ).fetchall()
        found: dict[str, list[Entry]] = {}
        for entry in map(Entry._make, rows):
            found.setdefault(str(entry.reverses), []).append(entry)
        return found

    def reversals(self, size: int) -> Iterator[list[Entry]]:
        """Yield the reversals alone."""
        with _on_disk():
            cursor = self._disk.execute(f"{_SELECT} WHERE ordinal > {_LATE} ORDER BY ordinal")
            while rows := cursor.fetchmany(size):
                yield list(map(Entry._make, rows))

    def fees_of_account(self) -> list[Fee]:
        """Return the fees of the account: a handful a month."""
        with _on_disk():
            return list(map(Fee._make, self._disk.execute("SELECT * FROM fees ORDER BY rowid").fetchall()))

    def moves(self) -> list[Moved]:
        """Return the changes of positions: a handful a year."""
        with _on_disk():
            return list(map(Moved._make, self._disk.execute("SELECT * FROM moves ORDER BY line, move_id").fetchall()))


@contextlib.contextmanager
def _on_disk() -> Iterator[None]:
    """Say of SQLite's own complaint which disk is full: not the database's."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise errors.DiskFull(
            f"the folder for temporary files cannot take what was read ({error})",
            next_steps=[
                "Free space there, or name another folder with SQLITE_TMPDIR, then run the same command again."
            ],
        ) from error
