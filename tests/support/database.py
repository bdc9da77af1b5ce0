"""A database of one test, on either engine, with a back door for hostile SQL that goes around the product."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from typing import TYPE_CHECKING, Any, Literal

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.support.postgres import PostgresAddress

Kind = Literal["sqlite", "postgresql"]
KINDS: tuple[Kind, ...] = ("sqlite", "postgresql")

TEMPLATE = "template_migrated"
_TEMPLATE_LOCK = 20261122  # any number, the same in every worker


class Database:
    """One database: `kind`, the `url` that the product is given, and raw connections around the product."""

    def __init__(self, kind: Kind, url: str, *, path: Path | None = None) -> None:
        self.kind = kind
        self.url = url
        self.path = path
        self._connections: list[Any] = []

    def __repr__(self) -> str:
        return f"Database({self.kind})"

    def raw(self) -> Any:  # sqlite3 or psycopg: what both share is the DBAPI, which has no type
        """A new plain DBAPI connection in autocommit; closed with the test at the latest."""
        connection: Any
        if self.path is not None:
            connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        else:
            connection = psycopg.connect(self.url, autocommit=True)
        self._connections.append(connection)
        return connection

    def sql(self, text: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement on a raw connection of its own; the rows, if any. Parameters are `?` on both."""
        if self.kind == "postgresql" and params:
            text = text.replace("%", "%%").replace("?", "%s")
        with contextlib.closing(self.raw()) as connection:
            cursor = connection.execute(text, params or ())
            return cursor.fetchall() if cursor.description else []

    def drop_triggers(self) -> None:
        """Take away what makes rows append-only, as a hostile administrator would; the rows stay."""
        if self.kind == "sqlite":
            for (name,) in self.sql("SELECT name FROM sqlite_schema WHERE type = 'trigger'"):
                self.sql(f'DROP TRIGGER "{name}"')
            return
        tables = self.sql(
            "SELECT DISTINCT n.nspname, c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
            " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT t.tgisinternal"
        )
        with contextlib.closing(self.raw()) as connection:
            for schema, table in tables:
                connection.execute(sql.SQL("ALTER TABLE {} DISABLE TRIGGER USER").format(sql.Identifier(schema, table)))

    def close(self) -> None:
        """Close every raw connection that the test left open."""
        while self._connections:
            self._connections.pop().close()


def sqlite_database(path: Path, template: Path | None = None) -> Database:
    """A new SQLite file: a copy of `template`, or no file yet, as before the product's first upgrade."""
    if template is not None:
        shutil.copyfile(template, path)
    return Database("sqlite", f"sqlite:///{path}", path=path)


def sqlite_template(path: Path, upgrade: Callable[[str], None]) -> Path:
    """A migrated SQLite file to copy."""
    upgrade(f"sqlite:///{path}")
    wal = path.with_name(f"{path.name}-wal")
    assert not wal.exists() or not wal.stat().st_size, "upgrade() left a connection open: a copy lacks the WAL"
    return path


def postgres_database(address: PostgresAddress, name: str, *, template: str | None = None) -> Database:
    """A new PostgreSQL database: a clone of `template`, or an empty one."""
    _administer(
        address,
        sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
            sql.Identifier(name), sql.Identifier(template or "template0")
        ),
    )
    return Database("postgresql", address.url(name))


def drop_postgres_database(address: PostgresAddress, name: str) -> None:
    """Remove it, whoever is still connected."""
    _administer(address, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def postgres_template(address: PostgresAddress, upgrade: Callable[[str], None]) -> str:
    """The migrated database to clone; made once a server, by whichever worker comes first."""
    with psycopg.connect(address.url("postgres"), autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [_TEMPLATE_LOCK])
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [TEMPLATE]).fetchone():
            return TEMPLATE
        unfinished = f"{TEMPLATE}_unfinished"
        drop_postgres_database(address, unfinished)
        postgres_database(address, unfinished)
        upgrade(address.url(unfinished))
        # Fails if upgrade() left a connection open, which the product must not.
        connection.execute(
            sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(unfinished), sql.Identifier(TEMPLATE))
        )
        return TEMPLATE


def _administer(address: PostgresAddress, statement: sql.Composed) -> None:
    with psycopg.connect(address.url("postgres"), autocommit=True) as connection:
        connection.execute(statement)
