"""What a database holds, whichever revision its schema is of."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from blaidctl.core import migrate
from blaidctl.core.sql import Query

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

VERSIONS = "alembic_version"
_HEAD = Query("SELECT seq, entry_hash FROM audit_head WHERE id = 1")
_TABLES = {
    "sqlite": "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name",
    "postgresql": "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Content:
    """What a database holds: the revision of its schema, the head of its log, and the rows of each table."""

    revision: str | None
    head_seq: int
    entry_hash: str
    rows: dict[str, int]


def row_counts(connection: Connection) -> dict[str, int]:
    """Return the rows of every table but Alembic's own."""
    tables = [name for (name,) in connection.exec_driver_sql(_TABLES[connection.dialect.name])]
    return {
        name: int(connection.exec_driver_sql(f'SELECT count(*) FROM "{name}"').scalar() or 0)
        for name in tables
        if name != VERSIONS
    }


def content_of(connection: Connection) -> Content:
    """Read what a database holds; a schema without a log has no head."""
    rows = row_counts(connection)
    head = _HEAD.on(connection).one_or_none() if "audit_head" in rows else None
    return Content(
        revision=migrate.current(connection),
        head_seq=head.seq if head else 0,
        entry_hash=bytes(head.entry_hash).hex() if head else "",
        rows=rows,
    )
