"""One engine factory for both engines; the only file that spells COMMIT.

SQLite: `isolation_level=None` and our own BEGIN (IMMEDIATE to write: a deferred transaction that reads and then
writes loses updates or fails at once with BUSY_SNAPSHOT), WAL, synchronous FULL, foreign keys on. A connection
never creates the file; only a migration may. PostgreSQL: READ COMMITTED to write (the audit head is locked row by
row), REPEATABLE READ READ ONLY to read. Every wait has a limit. After any database error the connection is thrown
away.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlalchemy import event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from blaidctl.core import queue, signals
from blaidctl.core.clock import monotonic_s
from blaidctl.core.db_errors import translate
from blaidctl.core.errors import (
    DatabaseDown,
    DatabaseMissing,
    DatabasePermission,
    DriverMissing,
    OutcomeUnknown,
    SettingsInvalid,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import URL, Connection, Engine

    from blaidctl.core.settings import Settings

#: How many of SQLite's own instructions pass between two looks at the clock of a statement.
_SQLITE_STEPS_BETWEEN_LOOKS = 100_000
#: How much longer than its own limits PostgreSQL may take to answer before it counts as hung.
_SERVER_GRACE_S = 5


class Database:
    """The configured database: short read and write sessions with limits, errors in blaidctl's own tree."""

    def __init__(self, settings: Settings, *, may_create: bool = False) -> None:
        """Prepare the engine; nothing is opened before the first session."""
        self.settings = settings
        self.url = normal_url(settings.database_url.get_secret_value())
        self.kind: str = self.url.get_backend_name()
        self._may_create = may_create
        self._engine: Engine | None = None

    @property
    def path(self) -> Path:
        """The SQLite file."""
        return Path(self.url.database or "").absolute()

    def make_folder(self) -> None:
        """Make the folder of the SQLite file; DatabaseDown when that cannot be done."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatabaseDown(f"the folder {self.path.parent} cannot be made ({error.strerror})") from error

    def shown(self) -> str:
        """Return the URL for people: no password, wherever in the URL it stood."""
        bare = self.url.set(query={k: v for k, v in self.url.query.items() if not k.endswith("password")})
        return bare.render_as_string(hide_password=True)

    @property
    def engine(self) -> Engine:
        """The SQLAlchemy engine, made on first use."""
        if self._engine is None:
            with _driver_errors():
                self._engine = self._sqlite_engine() if self.kind == "sqlite" else self._postgresql_engine()
        return self._engine

    def close(self) -> None:
        """Give all connections back."""
        if self._engine is not None:
            self._engine.dispose()

    @contextlib.contextmanager
    def kept_open(self) -> Iterator[None]:
        """Keep a SQLite file open around many short sessions, which open and close it each for itself.

        Whoever closes it last writes the whole log back into the file, and everybody else waits: once, not each time.
        """
        if self.kind != "sqlite":
            yield
            return
        with translated(self), contextlib.closing(self._open_sqlite()) as connection:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # a file that nobody reads is not open
            yield

    @contextlib.contextmanager
    def reading(self, *, statement_timeout_s: int | None = None) -> Iterator[Connection]:
        """One consistent snapshot, read-only; rolled back at the end."""
        limit_s = self.settings.statement_timeout_s if statement_timeout_s is None else statement_timeout_s
        with self._session("read", limit_s, self.settings.lock_timeout_s) as connection:
            try:
                yield connection
            finally:
                with contextlib.suppress(DBAPIError):
                    connection.rollback()

    @contextlib.contextmanager
    def writing(
        self, *, lock_timeout_s: int | None = None, keep: bool = True, committed: Callable[[], None] = lambda: None
    ) -> Iterator[Connection]:
        """One write transaction: COMMIT when the block returns, ROLLBACK when it raises or `keep` is false.

        `committed` is called as soon as COMMIT has returned, before any signal can come between.
        Raises Busy, DatabaseDown … with nothing written, or OutcomeUnknown when COMMIT itself was cut off.
        """
        limit_s = lock_timeout_s or self.settings.lock_timeout_s
        with self._session("write", self.settings.statement_timeout_s, limit_s) as connection:
            try:
                yield connection
            except BaseException:
                with contextlib.suppress(DBAPIError):
                    connection.rollback()
                raise
            if keep:
                self._commit(connection, committed)
            else:
                connection.rollback()

    def _turn(self, purpose: str, limit_s: float) -> contextlib.AbstractContextManager[float]:
        if self.kind != "sqlite" or purpose == "read":
            return contextlib.nullcontext(float(limit_s))
        return queue.turn(self.path, limit_s)

    @contextlib.contextmanager
    def _session(self, purpose: str, statement_timeout_s: float, lock_timeout_s: float) -> Iterator[Connection]:
        """Connect, wait for the turn, begin: opening a file takes a while, and others may write meanwhile."""
        with translated(self), self.engine.connect() as raw:
            connection = raw.execution_options(blaidctl_purpose=purpose)
            limit_s = statement_timeout_s and statement_timeout_s + lock_timeout_s + _SERVER_GRACE_S
            try:
                with self._turn(purpose, lock_timeout_s) as left_s, _cut_off_after(connection, limit_s):
                    self._limit(connection, purpose, statement_timeout_s, left_s)
                    yield connection
            except DBAPIError:
                connection.invalidate()
                raise

    def _limit(self, connection: Connection, purpose: str, statement_s: float, lock_s: float) -> None:
        if self.kind == "sqlite":
            driver: Any = connection.connection.driver_connection
            driver.execute(f"PRAGMA busy_timeout={int(lock_s * 1000)}")
            driver.set_progress_handler(_alarm(statement_s), _SQLITE_STEPS_BETWEEN_LOOKS)
            connection.begin()
            return
        mode = "READ COMMITTED READ WRITE" if purpose == "write" else "REPEATABLE READ READ ONLY"
        connection.exec_driver_sql(
            f"SET TRANSACTION ISOLATION LEVEL {mode}; SET LOCAL lock_timeout = {int(lock_s * 1000)}; "
            f"SET LOCAL statement_timeout = {int(statement_s * 1000)}"
        )

    def _commit(self, connection: Connection, committed: Callable[[], None]) -> None:
        with signals.held():
            try:
                connection.commit()
                committed()
            except KeyboardInterrupt as cut:  # a thread that is not ours took the signal
                raise OutcomeUnknown("interrupted at COMMIT; whether the change was written is not known") from cut
            except DBAPIError as error:
                mapped = translate(error, self.shown())
                connection.invalidate()
                if mapped.facts.get("connection_lost"):
                    raise OutcomeUnknown(
                        "the connection was lost at COMMIT; whether the change was written is not known"
                    ) from error
                raise mapped from error

    def _sqlite_engine(self) -> Engine:
        engine = sqlalchemy.create_engine(self.url, poolclass=NullPool, creator=self._open_sqlite)

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            purpose = connection.get_execution_options().get("blaidctl_purpose")
            connection.exec_driver_sql("BEGIN IMMEDIATE" if purpose == "write" else "BEGIN")

        return engine

    def _require_file(self) -> None:
        try:
            self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise DatabaseMissing(f"there is no database at {self.path}") from None
        except PermissionError:
            raise DatabasePermission(f"no permission to reach {self.path}") from None
        except OSError as error:
            raise DatabaseDown(f"the database {self.path} cannot be reached ({error.strerror})") from error

    def _open_sqlite(self) -> sqlite3.Connection:
        if self._may_create:
            self.make_folder()
        else:
            self._require_file()
        mode = "rwc" if self._may_create else "rw"
        connection = sqlite3.connect(
            f"{self.path.as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=self.settings.lock_timeout_s,
        )
        for pragma in ("foreign_keys=ON", "synchronous=FULL", "recursive_triggers=ON", "trusted_schema=OFF"):
            connection.execute(f"PRAGMA {pragma}")
        if self._may_create:
            connection.execute("PRAGMA journal_mode=WAL")
        return connection

    def _postgresql_engine(self) -> Engine:
        options = (
            "-c timezone=UTC -c client_min_messages=warning"
            f" -c idle_in_transaction_session_timeout={(self.settings.statement_timeout_s + 30) * 1000}"
        )
        return sqlalchemy.create_engine(
            self.url.set(drivername="postgresql+psycopg"),
            pool_pre_ping=True,
            pool_timeout=self.settings.connect_timeout_s,
            connect_args={
                "connect_timeout": max(self.settings.connect_timeout_s, 2),
                "application_name": "blaidctl",
                "options": options,
                "keepalives_idle": 5,
                "keepalives_interval": 2,
                "keepalives_count": 3,
                "tcp_user_timeout": self.settings.statement_timeout_s * 1000,
            },
        )


def normal_url(text: str) -> URL:
    """Parse a database URL; SettingsInvalid (without the text, it may hold a password) when it is not one."""
    try:
        url = make_url(text.replace("postgres://", "postgresql://", 1))
    except (ArgumentError, ValueError):
        raise SettingsInvalid("BLAIDCTL_DATABASE_URL is not a database URL") from None
    if url.get_backend_name() == "sqlite" and url.database in {None, "", ":memory:"}:
        raise SettingsInvalid("BLAIDCTL_DATABASE_URL names no file; an in-memory database forgets every kill")
    return url


@contextlib.contextmanager
def translated(database: Database) -> Iterator[None]:
    """Turn driver errors into blaidctl's own, at the edge of a session."""
    try:
        yield
    except DBAPIError as error:
        raise translate(error, database.shown()) from error
    except (sqlite3.Error, sqlalchemy.exc.TimeoutError) as error:
        raise translate(error, database.shown()) from error


@contextlib.contextmanager
def _driver_errors() -> Iterator[None]:
    try:
        yield
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise DriverMissing(f"the driver for PostgreSQL is not installed ({error})") from error


@contextlib.contextmanager
def _cut_off_after(connection: Connection, limit_s: float) -> Iterator[None]:
    """Shut the socket to a PostgreSQL server that hangs: its own time limits hang with it; 0 means no limit."""
    if connection.dialect.name == "sqlite" or not limit_s:
        yield
        return
    driver: Any = connection.connection.driver_connection

    def cut() -> None:
        with contextlib.suppress(Exception), socket.socket(fileno=os.dup(driver.pgconn.socket)) as wire:
            wire.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(limit_s, cut)
    timer.daemon = True
    signals.start_deaf(timer)
    try:
        yield
    finally:
        timer.cancel()


def _alarm(limit_s: float) -> Any:
    """Return SQLite's progress handler that ends a statement (by SQLITE_INTERRUPT) after the limit; 0 means none."""
    if not limit_s:
        return None
    deadline = monotonic_s() + limit_s
    return lambda: monotonic_s() > deadline
