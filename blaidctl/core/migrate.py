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
from sqlalchemy import text

import blaidctl
from blaidctl.core import ddl, errors, revisions
from blaidctl.core.db import Database, translated
from blaidctl.core.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alembic.script import Script
    from sqlalchemy.engine import Connection

#: Any constant does; it keeps two operators from migrating one PostgreSQL database at once.
_ADVISORY_LOCK = 8_420_001
#: What every revision says in its docstring, in this order, and the name of each part; a test refuses one without.
SECTIONS = {"Why": "why", "Diff": "diff", "Rollback": "rollback", "Data safety": "data_safety"}


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


def statements_of(revision: str, kind: str) -> list[str]:
    """Return the SQL that a revision runs on an engine, without running it."""
    script = ScriptDirectory.from_config(config()).get_revision(revision)
    ran: list[str] = []
    with ddl.recording(ran, kind):
        script.module.upgrade()
    return ran


def upgrade(url: str, *, to: str = "head") -> None:
    """Bring the database at a URL to a revision."""
    with contextlib.closing(Database(Settings(database_url=SecretStr(url)), may_create=True)) as database:
        upgrade_database(database, to=to)


def upgrade_database(database: Database, *, to: str = "head") -> None:
    """Run the pending migrations, each in its own transaction; a failing one leaves nothing of itself behind."""
    with _migrating(database) as connection:
        command.upgrade(config(connection), to)


def downgrade_database(database: Database, *, to: str) -> None:
    """Undo migrations down to a revision ("base" for all)."""
    with _migrating(database) as connection:
        command.downgrade(config(connection), to)


@contextlib.contextmanager
def _migrating(database: Database) -> Iterator[Any]:
    with translated(database), database.engine.connect() as plain:
        connection = plain.execution_options(blaidctl_purpose="write")
        if database.kind == "postgresql":
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _ADVISORY_LOCK})
            connection.commit()
        try:
            yield connection
        finally:
            connection.rollback()
            if database.kind == "postgresql":
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _ADVISORY_LOCK})
                connection.commit()
