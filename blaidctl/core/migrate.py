"""Migrations: the only road by which a schema changes. Alembic, on a connection of blaidctl's own engine factory."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import SecretStr
from sqlalchemy import event, text

import blaidctl
from blaidctl.core import ddl, errors, queue, revisions
from blaidctl.core.db import Database, translated
from blaidctl.core.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from alembic.runtime.migration import MigrationInfo
    from alembic.script import Script
    from sqlalchemy.engine import Connection

    Applied = Callable[[Connection, str], None]
    Begun = Callable[[Connection], None]

#: Any constant does; it keeps two operators from migrating one PostgreSQL database at once.
_ADVISORY_LOCK = 8_420_001
#: What every revision says in its docstring, in this order, and the name of each part; a test refuses one without.
SECTIONS = {"Why": "why", "Diff": "diff", "Rollback": "rollback", "Data safety": "data_safety"}


def _unnoticed(_connection: Connection, _revision: str) -> None:
    """Take no notice of a revision that was applied."""


def _unseen(_connection: Connection) -> None:
    """Look at nothing when a transaction begins."""


def directory() -> Path:
    """Return the folder of migrations: inside the wheel, or at the top of a checkout."""
    package = Path(blaidctl.__file__).parent
    shipped = package / "migrations"
    return shipped if shipped.is_dir() else package.parent / "migrations"


def config(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration, without a file of its own."""
    made = Config()
    made.set_main_option("script_location", str(directory()).replace("%", "%%"))
    made.attributes["connection"] = connection
    return made


def scripts() -> list[Script]:
    """Return every revision that ships, oldest first."""
    return list(reversed(list(ScriptDirectory.from_config(config()).walk_revisions())))


def current(connection: Connection) -> str | None:
    """Return the revision that a database is at; None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def pending(at: str | None) -> list[Script]:
    """Return the revisions that an upgrade from `at` would run; SchemaAhead when `at` is unknown."""
    known = scripts()
    if at is None:
        return known
    if at not in revisions.REVISIONS:
        raise errors.SchemaAhead(f"the schema is at {at}, which this version does not know")
    return known[revisions.REVISIONS.index(at) + 1 :]


def described(script: Script) -> dict[str, str]:
    """Return a revision's docstring by part: revision, title, and one part a section; a missing section is empty."""
    parts = re.split(rf"^({'|'.join(SECTIONS)}):", script.longdoc or "", flags=re.MULTILINE)
    found = dict(zip(parts[1::2], (" ".join(part.split()) for part in parts[2::2]), strict=True))
    return {"revision": script.revision, "title": script.doc} | {
        name: found.get(section, "") for section, name in SECTIONS.items()
    }


def statements_of(revision: str, kind: str, *, undo: bool = False) -> list[str]:
    """Return the SQL that a revision runs on an engine, or that undoes it, without running it."""
    script = ScriptDirectory.from_config(config()).get_revision(revision)
    ran: list[str] = []
    with ddl.recording(ran, kind):
        (script.module.downgrade if undo else script.module.upgrade)()
    return ran


def upgrade(url: str, *, to: str = "head") -> None:
    """Bring the database at a URL to a revision."""
    with contextlib.closing(Database(Settings(database_url=SecretStr(url)), may_create=True)) as database:
        upgrade_database(database, to=to)


def upgrade_database(
    database: Database, *, to: str = "head", applied: Applied = _unnoticed, begun: Begun = _unseen
) -> None:
    """Run the pending migrations, each in its own transaction; a failing one leaves nothing of itself behind.

    `applied(connection, revision)` is called inside the transaction of each: what it writes stands or falls with it.
    `begun(connection)` is called first in each transaction, before the migration reads or changes anything.
    """
    _move(database, command.upgrade, to, applied, begun)


def downgrade_database(database: Database, *, to: str, applied: Applied = _unnoticed, begun: Begun = _unseen) -> None:
    """Undo migrations down to a revision ("base" for all); `applied` is given the revision that was undone."""
    _move(database, command.downgrade, to, applied, begun)


def _move(
    database: Database, direction: Callable[[Config, str], None], to: str, applied: Applied, begun: Begun
) -> None:
    def on_version_apply(*, ctx: MigrationContext, step: MigrationInfo, **_: Any) -> None:
        assert ctx.connection is not None  # noqa: S101 - Alembic has none only when it prints SQL
        applied(ctx.connection, str(step.up_revision_id))

    with _migrating(database) as connection:
        event.listen(connection, "begin", begun)
        made = config(connection)
        made.attributes["on_version_apply"] = on_version_apply
        direction(made, to)


@contextlib.contextmanager
def _migrating(database: Database) -> Iterator[Connection]:
    """Let one operator at a time migrate: the others wait (as long as a statement may), and then find it done."""
    limit_s = database.settings.statement_timeout_s
    with contextlib.ExitStack() as stack:
        if database.kind == "sqlite":
            database.make_folder()
            stack.enter_context(queue.turn(database.path, limit_s, alone=True))
        stack.enter_context(translated(database))
        plain = stack.enter_context(database.engine.connect())
        connection = plain.execution_options(blaidctl_purpose="write")
        if database.kind == "postgresql":
            stack.enter_context(_advisory_lock(connection, limit_s))
        try:
            yield connection
        finally:
            connection.rollback()


@contextlib.contextmanager
def _advisory_lock(connection: Connection, limit_s: int) -> Iterator[None]:
    connection.exec_driver_sql(f"SET lock_timeout = {limit_s * 1000}")
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _ADVISORY_LOCK})
    connection.commit()
    try:
        yield
    finally:
        connection.rollback()
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _ADVISORY_LOCK})
        connection.commit()
