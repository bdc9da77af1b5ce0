"""What the plan says of locks, against what a server really takes; and the linter of PostgreSQL migrations."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from blaidctl.core import migrate
from blaidctl.core.revisions import REVISIONS
from blaidctl.database import locks

if TYPE_CHECKING:
    from tests.support.database import Database

_HELD = """
    SELECT c.relname, l.mode FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
     WHERE l.pid = pg_backend_pid() AND l.granted AND c.relkind = 'r'
       AND c.relnamespace = current_schema()::regnamespace
"""
_MODES = {
    "AccessExclusiveLock": locks.ACCESS_EXCLUSIVE,
    "ShareRowExclusiveLock": locks.SHARE_ROW_EXCLUSIVE,
    "ShareUpdateExclusiveLock": locks.SHARE_UPDATE_EXCLUSIVE,
    "ShareLock": locks.SHARE,
    "RowExclusiveLock": locks.ROW_EXCLUSIVE,
    "RowShareLock": locks.ACCESS_SHARE,
    "AccessShareLock": locks.ACCESS_SHARE,
}


def _strongest(modes: set[str]) -> str:
    return max(modes, key=locks.ORDER.index)


@pytest.mark.parametrize("undo", [False, True], ids=["upgrade", "downgrade"])
def test_every_statement_takes_the_locks_that_the_plan_says(blank_database: Database, undo: bool):  # noqa: FBT001
    kind = blank_database.kind
    ups = [migrate.statements_of(revision, kind) for revision in REVISIONS]
    downs = [migrate.statements_of(revision, kind, undo=True) for revision in reversed(REVISIONS)] if undo else []
    planned = locks.of_plan([*ups, *downs], kind)
    if kind == "sqlite":
        assert {lock.mode for each in planned for of_one in each for lock in of_one} == {locks.WHOLE_DATABASE}
        return
    with contextlib.closing(blank_database.raw()) as connection:
        for number, (statements, said) in enumerate(zip([*ups, *downs], planned, strict=True)):
            _measure(connection, statements, said, compare=not undo or number >= len(ups))


def _measure(connection, statements: list[str], said: list[list[locks.Lock]], *, compare: bool) -> None:
    """Run a revision; after each statement, compare the locks on tables that others see with what was said so far."""
    connection.execute("BEGIN")
    there = {name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
    told: dict[str, set[str]] = {}
    for statement, of_one in zip(statements, said, strict=True):
        connection.execute(statement)
        held: dict[str, set[str]] = {}
        for table, mode in connection.execute(_HELD).fetchall():
            held.setdefault(table, set()).add(_MODES[mode])
        for lock in of_one:
            told.setdefault(lock.table, set()).add(lock.mode)
            assert not compare or lock.new is (lock.table not in there), (statement, lock)
        for table in (there & held.keys()) if compare else ():
            assert _strongest(held[table]) == _strongest(told.get(table, {locks.ACCESS_SHARE})), (statement, table)
    connection.execute("COMMIT")


@pytest.mark.parametrize(
    ("statement", "lock", "table", "blocks"),
    [
        ("ALTER TABLE bots ADD COLUMN x TEXT", "ACCESS EXCLUSIVE", "bots", "readers and writers"),
        ("CREATE INDEX i ON bots (id)", "SHARE", "bots", "writers"),
        ("ALTER TABLE bots VALIDATE CONSTRAINT c", "SHARE UPDATE EXCLUSIVE", "bots", "nobody but other migrations"),
        ("UPDATE bots SET name = 'x'", "ROW EXCLUSIVE", "bots", "nobody but who writes the same rows"),
    ],
)
def test_a_lock_says_whom_it_holds_up(statement: str, lock: str, table: str, blocks: str):
    (((found,),),) = locks.of_plan([[statement]], "postgresql")
    assert found.row() == {"lock": lock, "table": table, "blocks": blocks}
    assert locks.summary([[found]]) == [f"{lock} on {table}: holds up {blocks}"]


def test_a_statement_that_is_not_known_is_no_plan():
    with pytest.raises(locks.UnknownStatementError, match="no lock is known for: VACUUM"):
        locks.of_plan([["VACUUM FULL bots"]], "postgresql")
    with pytest.raises(locks.UnknownStatementError, match="of no table"):
        locks.of_plan([["DROP INDEX unheard_of"]], "postgresql")
