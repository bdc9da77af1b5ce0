"""Copies of a SQLite database: by its online backup, from one read transaction, while others read and write."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from blaidctl.core import errors, queue
from blaidctl.core.db import Database, translated
from blaidctl.core.db_errors import translate
from blaidctl.database import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy.engine import Connection

    from blaidctl.core.context import Context
    from blaidctl.database.content import Content

    Progress = Callable[[str, int], Callable[[int], None]]

#: Pages between two looks at the clock, the keyboard and the progress bar.
_PAGES = 1_000
_HEAD = "SELECT seq FROM audit_head WHERE id = 1"


def source(ctx: Context) -> Database:
    """Return what the copy is taken from, with connections of its own."""
    return Database(ctx.settings)


def at(ctx: Context, path: Path, *, may_create: bool = False) -> Database:
    """Return a SQLite file as a database, under the caller's settings."""
    url = SecretStr(f"sqlite:///{path}")
    return Database(ctx.settings.model_copy(update={"database_url": url}), may_create=may_create)


def ready(_database: Database, connection: Connection) -> None:
    """Refuse a source that SQLite itself calls damaged."""
    answer = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if answer != "ok":
        raise errors.DatabaseCorrupt(f"SQLite finds the database damaged: {answer}")


def refuse_own_name(database: Database, target: Path) -> None:
    """Refuse a name that SQLite, or the queue before it, takes for its own: it would not keep the backup."""
    own = database.path.resolve()
    taken = [own.with_name(own.name + suffix) for suffix in ("-journal", "-wal", "-shm", queue.SUFFIX)]
    if target.parent.resolve() / target.name in taken:
        raise errors.FileUnwritable(f"{target} is a name that the database itself uses; choose another one")


def dump(_database: Database, connection: Connection, part: Path, progress: Progress) -> None:
    """Copy the pages of the snapshot that this connection reads: one file, without a log beside it."""
    with _named(part), contextlib.closing(sqlite3.connect(part, isolation_level=None)) as copy:
        _copy_pages(connection.connection.driver_connection, copy, "copying", progress)
        copy.execute("PRAGMA journal_mode=DELETE")


def _copy_pages(
    have: Any, copy: sqlite3.Connection, what: str, progress: Progress, look: Callable[[], None] = lambda: None
) -> None:
    pages = int(have.execute("PRAGMA page_count").fetchone()[0])
    size = int(have.execute("PRAGMA page_size").fetchone()[0])
    told = progress(what, pages * size)

    def step(_status: int, remaining: int, total: int) -> None:
        look()
        told((total - remaining) * size)

    # Fewer than all pages a step: the first step takes the lock, and `look` is called under it before the last.
    have.backup(copy, pages=max(min(_PAGES, pages // 2), 1), progress=step)


@contextlib.contextmanager
def scratch(ctx: Context, file: Path, beside: Path, progress: Progress) -> Iterator[Database]:
    """Restore a backup into a file of its own, and give that as a database."""
    with files.being_written(beside.with_name(f"{beside.name}.scratch")) as place:
        _fill(file, place.path, progress)
        with contextlib.closing(at(ctx, place.path)) as database:
            yield database


def _fill(file: Path, place: Path, progress: Progress) -> None:
    with (
        _named(place),
        contextlib.closing(_opened(file)) as have,
        contextlib.closing(sqlite3.connect(place, isolation_level=None)) as copy,
    ):
        _copy_pages(have, copy, "restoring", progress)
        if (answer := copy.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
            raise errors.BackupInvalid(f"SQLite finds the copy {file} damaged: {answer}")


def _opened(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None)


def put_in_place(ctx: Context, ready_made: Database, old: Content | None, progress: Progress) -> str:
    """Make the database of a finished scratch; `old` is what it replaces, None when nothing is there.

    A new file gets its name when it is whole; an old one is written over in one transaction of SQLite.
    """
    ready_made.close()
    if old is None:
        with files.being_written(ctx.database.path) as place:
            _fill(ready_made.path, place.path, progress)
            with _named(place.path), contextlib.closing(sqlite3.connect(place.path, isolation_level=None)) as copy:
                copy.execute("PRAGMA journal_mode=WAL")
            place.publish()
    else:
        _write_over(ctx.database, ready_made.path, old.head_seq, progress)
    return ""


def _write_over(target: Database, file: Path, head_seq: int, progress: Progress) -> None:
    """Readers see the old database until the new one is whole; a run that is killed leaves the old one.

    The head is looked at once more under the lock: who wrote since it was confirmed would be overwritten unseen.
    """
    limit_s = target.settings.statement_timeout_s
    looked: list[bool] = []
    address = target.path.as_uri()
    with (
        queue.turn(target.path, limit_s, alone=True),
        translated(target),
        contextlib.closing(_opened(file)) as have,
        contextlib.closing(sqlite3.connect(f"{address}?mode=rw", uri=True, isolation_level=None)) as old,
        contextlib.closing(sqlite3.connect(f"{address}?mode=ro", uri=True, isolation_level=None)) as seen,
    ):

        def look() -> None:
            if not looked:
                found = _head_of(seen)
                if found != head_seq:
                    raise errors.ConfirmationStale(f"the log has moved on from {head_seq} to {found}")
                looked.append(True)

        old.execute("PRAGMA synchronous=FULL")
        old.execute("PRAGMA journal_mode=WAL")  # as blaidctl's always are: one can read under the lock
        _copy_pages(have, old, "restoring", progress, look)


def _head_of(connection: sqlite3.Connection) -> int:
    known = connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'audit_head'").fetchone()[0]
    return int(connection.execute(_HEAD).fetchone()[0]) if known else 0


def is_there(ctx: Context) -> bool:
    """Say whether something stands where the database would be, in a folder that is made if need be."""
    ctx.database.make_folder()
    return os.path.lexists(ctx.database.path)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error, str(path)) from error
