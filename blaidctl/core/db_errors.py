"""What a driver's error means to an operator: one sentence, one error code, one exit code.

SQLite by its result code, PostgreSQL by SQLSTATE
(https://www.postgresql.org/docs/current/errcodes-appendix.html). `facts["retry"]` marks what another attempt
under the same request id may cure (deadlock, serialization, a concurrent use of the same request id);
`facts["connection_lost"]` what leaves the outcome of a COMMIT open.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from blaidctl.core import errors

if TYPE_CHECKING:
    from blaidctl.core.errors import BlaidError

_PRIMARY = 0xFF

_SQLITE: dict[int, tuple[type[BlaidError], str]] = {
    sqlite3.SQLITE_BUSY: (errors.Busy, "another writer holds the database {db}"),
    sqlite3.SQLITE_LOCKED: (errors.Busy, "a table of {db} is locked"),
    sqlite3.SQLITE_INTERRUPT: (errors.StatementTimeout, "a statement ran into its time limit on {db}"),
    sqlite3.SQLITE_READONLY: (errors.DatabaseReadOnly, "the database {db} is read-only for this user"),
    sqlite3.SQLITE_PERM: (errors.DatabasePermission, "no permission to open {db}"),
    sqlite3.SQLITE_AUTH: (errors.DatabasePermission, "no permission on {db}"),
    sqlite3.SQLITE_FULL: (errors.DiskFull, "the disk that holds {db} is full"),
    sqlite3.SQLITE_IOERR_SHMSIZE: (errors.DiskFull, "the disk that holds {db} is full"),  # no room for the WAL's index
    sqlite3.SQLITE_CANTOPEN: (errors.DatabaseDown, "the database {db} cannot be opened"),
    sqlite3.SQLITE_IOERR: (errors.DatabaseDown, "reading or writing {db} failed"),
    sqlite3.SQLITE_CORRUPT: (errors.DatabaseCorrupt, "the database {db} is damaged"),
    sqlite3.SQLITE_NOTADB: (errors.DatabaseCorrupt, "{db} is not a database"),
}

# By SQLSTATE, the longest prefix first.
_POSTGRESQL: tuple[tuple[str, type[BlaidError], str], ...] = (
    ("40001", errors.Busy, "a concurrent change on {db} came first"),
    ("40P01", errors.Busy, "a deadlock on {db} was broken"),
    ("55006", errors.Busy, "others are using {db}"),
    ("55P03", errors.Busy, "a lock on {db} was not granted in time"),
    ("57014", errors.StatementTimeout, "a statement ran into its time limit on {db}"),
    ("25006", errors.DatabaseReadOnly, "the database {db} is read-only (a standby?)"),
    ("53100", errors.DiskFull, "the disk of {db} is full"),
    ("53", errors.DatabaseDown, "the server of {db} has no resources left"),
    ("3D000", errors.DatabaseMissing, "there is no database {db}"),
    ("28", errors.DatabasePermission, "the server refuses this login to {db}"),
    ("42501", errors.DatabasePermission, "the role has no right to do this on {db}"),
    ("42P01", errors.SchemaBehind, "the schema of {db} is not there"),
    ("57P", errors.DatabaseDown, "the server of {db} is shutting down or starting"),
    ("58", errors.DatabaseDown, "the server of {db} has an input/output error"),
    ("08", errors.DatabaseDown, "the connection to {db} failed"),
    ("XX001", errors.DatabaseCorrupt, "the database {db} is damaged"),
)
#: What libpq says before it asks anybody.
_NOT_AN_ADDRESS = ("invalid connection option", "invalid port number", "invalid integer value", "invalid sslmode value")
_RETRY_STATES = frozenset({"40001", "40P01"})
_UNIQUE = "23505"


def translate(error: BaseException, shown: str) -> BlaidError:
    """Return blaidctl's error for a driver's, naming the database without its password."""
    original = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(error, PoolTimeout):
        return errors.Busy(f"no free connection to {shown}")
    if isinstance(original, sqlite3.Error):
        return _from_sqlite(original, shown)
    if not getattr(original, "sqlstate", None) and any(part in str(original) for part in _NOT_AN_ADDRESS):
        return errors.SettingsInvalid(f"BLAIDCTL_DATABASE_URL is no address: {str(original).strip()}")
    at_the_wire = isinstance(error, OperationalError | InterfaceError)
    if isinstance(error, DBAPIError) and not at_the_wire and not getattr(original, "sqlstate", None):
        return errors.Internal(f"the database driver refused a statement: {original}")
    return _from_postgresql(original, shown)


def _from_sqlite(error: sqlite3.Error, shown: str) -> BlaidError:
    if isinstance(error, sqlite3.IntegrityError):
        return _integrity(str(error))
    if "decode to UTF-8" in str(error):
        return errors.DatabaseCorrupt(f"the database {shown} holds a text that is not UTF-8")
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return errors.Internal(f"SQLite refused a statement: {error}")
    if "no such table" in str(error):
        return errors.SchemaBehind(f"the schema of {shown} is not there ({error})")
    known = _SQLITE.get(code) or _SQLITE.get(code & _PRIMARY)
    if known is None:
        return errors.Internal(f"SQLite refused a statement: {error}")
    cls, sentence = known
    lost = (code & _PRIMARY) == sqlite3.SQLITE_IOERR
    return cls(f"{sentence.format(db=shown)} ({error})", connection_lost=lost)


def _from_postgresql(error: Any, shown: str) -> BlaidError:
    state = getattr(error, "sqlstate", None) or ""
    primary = getattr(getattr(error, "diag", None), "message_primary", None)
    if state.startswith("23") or state in {"P0001", "55000"}:
        # A key that was free when we looked: a concurrent act wrote it first, and the next attempt sees it.
        return _integrity(f"{primary or error}", retry=state == _UNIQUE)
    for prefix, cls, sentence in _POSTGRESQL:
        if state.startswith(prefix):
            return cls(
                f"{sentence.format(db=shown)}" + (f" ({primary})" if primary else ""),
                retry=state in _RETRY_STATES,
                connection_lost=cls is errors.DatabaseDown,
            )
    if not state:
        # libpq's own failures carry no SQLSTATE: refused, timed out, closed in the middle of a statement.
        return _unreachable(str(error), shown)
    return errors.Internal(f"PostgreSQL refused a statement: {state} {primary or ''}".rstrip())


def _unreachable(text: str, shown: str) -> BlaidError:
    first = text.strip().splitlines()[0] if text.strip() else "no answer"
    if "does not exist" in first and "database" in first:
        return errors.DatabaseMissing(f"there is no database {shown}")
    if "authentication failed" in first or "no password supplied" in first:
        return errors.DatabasePermission(f"the server refuses this login to {shown}")
    return errors.DatabaseDown(f"the database {shown} cannot be reached ({first})", connection_lost=True)


def _integrity(text: str, *, retry: bool = False) -> BlaidError:
    return errors.GuardRefused(f"the database refused the change: {text}", retry=retry)
