"""Which lock a statement of a migration takes, on which table, and whom that holds up.

PostgreSQL: https://www.postgresql.org/docs/current/explicit-locking.html and the page of each statement. A test runs
every statement of every revision on a real server and compares what is said here with what pg_locks shows. SQLite has
one lock: whoever writes holds the whole database, from BEGIN IMMEDIATE to COMMIT.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ACCESS_EXCLUSIVE = "ACCESS EXCLUSIVE"
SHARE_ROW_EXCLUSIVE = "SHARE ROW EXCLUSIVE"
SHARE_UPDATE_EXCLUSIVE = "SHARE UPDATE EXCLUSIVE"
SHARE = "SHARE"
ROW_EXCLUSIVE = "ROW EXCLUSIVE"
ACCESS_SHARE = "ACCESS SHARE"
WHOLE_DATABASE = "WRITE LOCK"

#: From the weakest: a table's lock is the strongest that a transaction took on it.
ORDER = (ACCESS_SHARE, ROW_EXCLUSIVE, SHARE_UPDATE_EXCLUSIVE, SHARE, SHARE_ROW_EXCLUSIVE, ACCESS_EXCLUSIVE)

_BLOCKS = {
    ACCESS_EXCLUSIVE: "readers and writers",
    SHARE_ROW_EXCLUSIVE: "writers",
    SHARE: "writers",
    SHARE_UPDATE_EXCLUSIVE: "nobody but other migrations",
    ROW_EXCLUSIVE: "nobody but who writes the same rows",
    ACCESS_SHARE: "nobody",
    WHOLE_DATABASE: "writers, of every table; readers go on",
}


@dataclass(frozen=True, slots=True)
class Lock:
    """One lock: its class, the table (empty: the whole database), and whether this migration made that table."""

    mode: str
    table: str
    new: bool = False

    @property
    def blocks(self) -> str:
        """Whom it holds up until COMMIT."""
        return "nobody: the table is made by this revision" if self.new else _BLOCKS[self.mode]

    def row(self) -> dict[str, str]:
        """Return it as the plan prints it."""
        return {"lock": self.mode, "table": self.table or "the whole database", "blocks": self.blocks}


class UnknownStatementError(ValueError):
    """A statement whose locks are not known here; a test keeps every revision free of them."""


_NAME = r"(?:ONLY )?(?:IF (?:NOT )?EXISTS )?(?P<table>\w+)"
_REFERENCES = re.compile(r"\bREFERENCES (\w+)")
_READS = re.compile(r"\b(?:FROM|JOIN) (\w+)")


class _Catalogue:
    """What a plan needs to know of the tables: whose index is which, and which table names which."""

    def __init__(self) -> None:
        self.made: set[str] = set()
        self.index_of: dict[str, str] = {}
        self.names: dict[str, set[str]] = {}

    def note(self, statement: str) -> None:
        """Take what a statement makes into account, for those that come after it."""
        if match := re.match(rf"CREATE TABLE {_NAME}", statement):
            self.made.add(match["table"])
            self.names[match["table"]] = set(_REFERENCES.findall(statement)) - {match["table"]}
        elif match := re.match(r"CREATE (?:UNIQUE )?INDEX (\w+) ON (\w+)", statement):
            self.index_of[match[1]] = match[2]
        elif match := re.match(rf"ALTER TABLE {_NAME} ", statement):
            self.names.setdefault(match["table"], set()).update(_REFERENCES.findall(statement))
        elif match := re.match(rf"DROP TABLE {_NAME}", statement):
            self.names.pop(match["table"], None)


def _locks_of(mode: str, referenced: str = "") -> Callable[[re.Match[str], str, _Catalogue], Iterator[Lock]]:
    def found(match: re.Match[str], statement: str, catalogue: _Catalogue) -> Iterator[Lock]:
        yield Lock(mode, match["table"])
        if referenced:
            yield from (Lock(referenced, name) for name in _REFERENCES.findall(statement))
        if statement.startswith("DROP TABLE"):
            # Its foreign keys had triggers on the tables that they name.
            yield from (Lock(ACCESS_EXCLUSIVE, name) for name in catalogue.names.get(match["table"], ()))

    return found


def _of_index(match: re.Match[str], _statement: str, catalogue: _Catalogue) -> Iterator[Lock]:
    if match["index"] not in catalogue.index_of:
        msg = f"index {match['index']} is of no table that this plan knows"
        raise UnknownStatementError(msg)
    yield Lock(ACCESS_EXCLUSIVE, catalogue.index_of[match["index"]])


def _written(match: re.Match[str], statement: str, _catalogue: _Catalogue) -> Iterator[Lock]:
    yield Lock(ROW_EXCLUSIVE, match["table"])
    yield from (Lock(ACCESS_SHARE, name) for name in _READS.findall(statement) if name != match["table"])


def _read(_match: re.Match[str], statement: str, _catalogue: _Catalogue) -> Iterator[Lock]:
    yield from (Lock(ACCESS_SHARE, name) for name in _READS.findall(statement))


def _none(*_: Any) -> Iterator[Lock]:
    yield from ()


#: The first that matches decides: the special forms of a statement stand before its general one.
_STATEMENTS: tuple[tuple[str, Callable[[re.Match[str], str, _Catalogue], Iterator[Lock]]], ...] = (
    (rf"CREATE TABLE {_NAME}", _locks_of(ACCESS_EXCLUSIVE, SHARE_ROW_EXCLUSIVE)),
    (r"CREATE (?:UNIQUE )?INDEX \w+ ON (?P<table>\w+)", _locks_of(SHARE)),
    (r"CREATE (?:CONSTRAINT )?TRIGGER .*? ON (?P<table>\w+)", _locks_of(SHARE_ROW_EXCLUSIVE)),
    (r"CREATE (?:OR REPLACE )?FUNCTION ", _none),
    (r"DROP FUNCTION ", _none),
    (rf"ALTER TABLE {_NAME} (?:ENABLE|DISABLE) .*TRIGGER ", _locks_of(SHARE_ROW_EXCLUSIVE)),
    (rf"ALTER TABLE {_NAME} VALIDATE CONSTRAINT ", _locks_of(SHARE_UPDATE_EXCLUSIVE)),
    (
        rf"ALTER TABLE {_NAME} ADD (?:CONSTRAINT \w+ )?FOREIGN KEY ",
        _locks_of(SHARE_ROW_EXCLUSIVE, SHARE_ROW_EXCLUSIVE),
    ),
    (rf"ALTER TABLE {_NAME} ", _locks_of(ACCESS_EXCLUSIVE, SHARE_ROW_EXCLUSIVE)),
    (rf"DROP TABLE {_NAME}", _locks_of(ACCESS_EXCLUSIVE)),
    (r"DROP INDEX (?:IF EXISTS )?(?P<index>\w+)", _of_index),
    (r"DROP TRIGGER (?:IF EXISTS )?\w+ ON (?P<table>\w+)", _locks_of(ACCESS_EXCLUSIVE)),
    (r"(?:INSERT INTO|UPDATE|DELETE FROM) (?P<table>\w+)", _written),
    (r"SELECT ", _read),
)


def of_plan(revisions: Iterable[Iterable[str]], kind: str) -> list[list[list[Lock]]]:
    """Return, for each revision's statements from the first revision on, the locks of each statement."""
    if kind == "sqlite":
        return [[[Lock(WHOLE_DATABASE, "")] for _ in statements] for statements in revisions]
    catalogue = _Catalogue()
    found = []
    for statements in revisions:
        catalogue.made = set()
        found.append([_of(statement, catalogue) for statement in statements])
    return found


def _of(statement: str, catalogue: _Catalogue) -> list[Lock]:
    for pattern, locks in _STATEMENTS:
        match = re.match(pattern, statement, re.DOTALL | re.IGNORECASE)
        if match:
            taken = list(locks(match, statement, catalogue))
            catalogue.note(statement)
            strongest = _strongest(taken)
            return [Lock(lock.mode, lock.table, new=lock.table in catalogue.made) for lock in strongest]
    msg = f"no lock is known for: {statement[:80]}"
    raise UnknownStatementError(msg)


def _strongest(locks: Iterable[Lock]) -> list[Lock]:
    by_table: dict[str, Lock] = {}
    for lock in locks:
        held = by_table.get(lock.table)
        if held is None or ORDER.index(lock.mode) > ORDER.index(held.mode):
            by_table[lock.table] = lock
    return list(by_table.values())


def summary(statements: Iterable[Iterable[Lock]]) -> list[str]:
    """Return one line a table that others use already: the strongest lock that a revision takes on it."""
    locks = [lock for statement in statements for lock in statement]
    if any(lock.mode == WHOLE_DATABASE for lock in locks):
        return [_line(Lock(WHOLE_DATABASE, ""))]
    return [_line(lock) for lock in _strongest(lock for lock in locks if not lock.new)] or ["only tables of its own"]


def _line(lock: Lock) -> str:
    return f"{lock.mode} on {lock.table or 'the whole database'}: holds up {lock.blocks}"
