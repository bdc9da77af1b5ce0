"""The SQLite database of a bot, read without a trace: a copy is taken under a read lock, and only the copy is read.

A bot that trades meanwhile is not held up, and what it has in its write-ahead log is in the copy. The copy is hashed:
it is what was imported. Nothing of the file is trusted: no view, no trigger, no virtual table is read, and whatever
SQLite says against the file is a refusal.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from blaidctl.core import errors, files
from blaidctl.core.clock import monotonic_s
from blaidctl.core.context import silent
from blaidctl.ledger.formats.json_text import invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MAGIC = b"SQLite format 3\x00"
#: In the header: 2 where the database keeps a write-ahead log.
_READ_VERSION = 19
_BATCH_ROWS = 1_000
#: Bytes of one value; the longest real ones have a few thousand.
_LONGEST_VALUE = 1024 * 1024
_PAGES_A_STEP = 4_096
#: How long a copy waits at least for a database that is in use; a bot's transactions are short.
_PATIENCE_S = 1
#: What is raised against a database: sqlite3 cannot even word an error that quotes text which is no UTF-8.
_AGAINST = (sqlite3.Error, UnicodeDecodeError)
_HASH_BYTES = 1024 * 1024


class Snapshot:
    """A copy of a database that nobody else writes to."""

    def __init__(self, name: str, path: Path, sha256: str) -> None:
        """Open the copy for reading."""
        self.name = name
        self.sha256 = sha256
        self._connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE)
        # What is no UTF-8 is refused where it is looked at, not wherever SQLite finds it.
        self._connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")

    def close(self) -> None:
        """Let go of the copy."""
        self._connection.close()

    def columns(self, table: str) -> dict[str, str]:
        """Return column → declared type of a real table; nothing where there is none."""
        with self._refusing():
            held = self._connection.execute(
                "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ? COLLATE NOCASE", (table,)
            ).fetchone()
            if held is None or not str(held[0]).upper().startswith("CREATE TABLE"):
                return {}
            rows = self._connection.execute("SELECT name, type FROM pragma_table_info(?)", (table,)).fetchall()
        return {str(name): str(kind).upper() for name, kind in rows}

    def rows(self, query: str) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query, a batch in memory at a time."""
        with self._refusing():
            cursor = self._connection.execute(query)
            while batch := cursor.fetchmany(_BATCH_ROWS):
                yield from batch

    def invalid(self, what: str) -> errors.FileInvalid:
        """Return the refusal of this database."""
        return invalid(self.name, what)

    def require(self, table: str, needed: Sequence[str], hint: str) -> dict[str, str]:
        """Return the columns of a table. Raises FileInvalid naming every one that is missing."""
        found = self.columns(table)
        if not found:
            raise self.invalid(f"has no table {table}: {hint}")
        if missing := [name for name in needed if name not in found]:
            raise self.invalid(f"has no column {', '.join(f'{table}.{name}' for name in missing)}: {hint}")
        return found

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except _AGAINST as error:
            raise self.invalid(f"cannot be read on: {error}") from None


@contextlib.contextmanager
def opened(
    path: str,
    silence_s: int,
    progress: Callable[[str, int], Callable[[int], None]] = silent,
    most_bytes: int | None = None,
) -> Iterator[Snapshot]:
    """Take a copy of the database, or of what comes through standard input, for as long as it is read."""
    with tempfile.TemporaryDirectory(prefix="blaidctl-") as folder:
        copy = Path(folder) / "copy.sqlite"
        if path == files.STDIN or not Path(path).is_file():
            # A pipe gives its bytes once; a folder or nothing at all is refused there.
            name = _spooled(path, silence_s, progress, most_bytes, copy)
        else:
            name = path
            _backed_up(path, max(silence_s, _PATIENCE_S), progress, copy)
        with contextlib.closing(_snapshot(name, copy)) as snapshot:
            yield snapshot


def _snapshot(name: str, copy: Path) -> Snapshot:
    with copy.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Snapshot(name, copy, digest)


def _spooled(path: str, silence_s: int, progress: Any, most_bytes: int | None, copy: Path) -> str:
    with files.reading(path, silence_s, progress, most_bytes, is_text=False) as reading, copy.open("wb") as target:
        first = reading.read(_HASH_BYTES)
        _check_magic(reading.name, first)
        target.write(first)
        while piece := reading.read(_HASH_BYTES):
            target.write(piece)
        return reading.name


def _check_magic(name: str, start: bytes) -> None:
    if start.startswith(b"\x1f\x8b"):
        raise errors.FileInvalid(f"{name} is packed with gzip: unpack it first (`gunzip`)")
    if not start.startswith(MAGIC):
        raise errors.FileInvalid(f"{name} is no SQLite database" if start else f"{name} is empty")


def _backed_up(path: str, patience_s: int, progress: Any, copy: Path) -> None:
    """Copy the pages under a read lock, those of the write-ahead log included.

    The lock is let go between steps, so that the bot gets its turn; what it then changes is copied again.
    """
    try:
        with Path(path).open("rb") as stream:
            header = stream.read(_READ_VERSION + 1)
    except OSError as error:
        raise files.unreadable(path, error) from None
    _check_magic(path, header)
    # Nobody has a database with a write-ahead log open while there is none: no lock, no file of ours beside it.
    alone = header[_READ_VERSION:] == b"\x02" and not Path(f"{path}-wal").exists()
    uri = f"file:{quote(str(Path(path).absolute()))}?mode=ro{'&immutable=1' if alone else ''}"
    told = progress(f"copying {Path(path).name}", Path(path).stat().st_size)
    page = int.from_bytes(header[16:18], "big")

    least: int | None = None
    since = monotonic_s()

    def tell(_: int, remaining: int, total: int) -> None:
        # sqlite3 itself would wait for ever: for a lock, and for a bot that writes all the time.
        nonlocal least, since
        if total and (least is None or remaining < least):
            least, since = remaining, monotonic_s()
        elif monotonic_s() - since > patience_s:
            msg = f"no step was made for {patience_s} s: the database is locked, or written to all the time"
            raise sqlite3.OperationalError(msg)
        told((total - remaining) * (65_536 if page == 1 else page))

    try:
        with (
            contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_PATIENCE_S)) as source,
            contextlib.closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target, pages=_PAGES_A_STEP, progress=tell)
    except _AGAINST as error:
        raise errors.FileInvalid(
            f"{path} cannot be copied: {error}",
            next_steps=["Stop the bot or copy its database with `sqlite3 FILE '.backup COPY'`, then import the copy."],
        ) from None


def fitting(columns: dict[str, str], alias: str, name: str) -> str:
    """Return the expression of a column that not every version has."""
    return f"{alias}.{name}" if name in columns else "NULL"
