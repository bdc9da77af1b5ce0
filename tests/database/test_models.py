"""The SQLModel tables describe exactly the schema that the migrations make, on both engines.

Alembic's own comparison sees neither CHECK constraints nor partial indexes nor STRICT: so a database made from the
models stands beside the migrated one, and both are read back from the server.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from blaidctl.schema import metadata

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Connection, Inspector

    from blaidctl.core import db
    from tests.support.database import Database

    Opened = Callable[[Database], db.Database]

NOT_OF_THE_MODELS = {"alembic_version"}


def _squeezed(sql: str | None) -> str:
    return re.sub(r"\s+", " ", sql or "").strip().lower()


def _columns(inspector: Inspector, table: str) -> dict[str, Any]:
    return {
        column["name"]: (
            str(column["type"]),
            bool(column["nullable"]),
            _squeezed(str(column["default"] or "")),
            {key: column["identity"][key] for key in ("always", "start", "increment")}
            if column.get("identity")
            else None,
        )
        for column in inspector.get_columns(table)
    }


def _indexes(inspector: Inspector, table: str) -> dict[str, Any]:
    return {
        index["name"]: (
            index["column_names"],
            bool(index["unique"]),
            _squeezed(str(next((v for k, v in index.get("dialect_options", {}).items() if k.endswith("_where")), ""))),
        )
        for index in inspector.get_indexes(table)
    }


def _checks(inspector: Inspector, table: str) -> dict[str, str]:
    return {check["name"]: _squeezed(check["sqltext"]) for check in inspector.get_check_constraints(table)}


def _foreign_keys(inspector: Inspector, table: str) -> list[Any]:
    return sorted(
        (key["constrained_columns"], key["referred_table"], key["referred_columns"], key.get("options", {}))
        for key in inspector.get_foreign_keys(table)
    )


def described(connection: Connection) -> dict[str, dict[str, Any]]:
    """What the server says about each table."""
    inspector = sqlalchemy.inspect(connection)
    return {
        table: {
            "columns": _columns(inspector, table),
            "column order": [column["name"] for column in inspector.get_columns(table)],
            "primary key": inspector.get_pk_constraint(table)["constrained_columns"],
            "foreign keys": _foreign_keys(inspector, table),
            "unique": sorted((u["name"], u["column_names"]) for u in inspector.get_unique_constraints(table)),
            "checks": _checks(inspector, table),
            "indexes": _indexes(inspector, table),
            "engine": _of_the_engine(connection, table),
        }
        for table in set(inspector.get_table_names()) - NOT_OF_THE_MODELS
    }


def _of_the_engine(connection: Connection, table: str) -> tuple[Any, ...]:
    """What only SQLite has: STRICT, and ids that are never used again."""
    if connection.dialect.name != "sqlite":
        return ()
    sql = connection.exec_driver_sql("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).scalar_one()
    strict = connection.exec_driver_sql("SELECT strict FROM pragma_table_list WHERE name = ?", (table,)).scalar_one()
    return bool(strict), "AUTOINCREMENT" in sql.upper()


@pytest.fixture
def modelled(make_database: Callable[..., Database], engine: str, opened: Opened) -> db.Database:
    """A database made from the models alone."""
    made = opened(make_database(engine, migrated=False))
    with made.engine.begin() as connection:
        metadata.create_all(connection)
    return made


def test_the_models_are_the_migrated_schema(database: Database, modelled: db.Database, opened: Opened):
    with opened(database).reading() as one, modelled.reading() as other:
        migrated, from_models = described(one), described(other)
    assert set(migrated) == set(from_models) == set(metadata.tables)
    for table in metadata.tables:
        for what in migrated[table]:
            assert from_models[table][what] == migrated[table][what], f"{table}: {what}"


def test_alembic_finds_no_difference_either(database: Database, opened: Opened):
    with opened(database).reading() as connection:
        # Defaults are compared above: Alembic takes an identity column for a difference on SQLite, which has none.
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


@pytest.mark.parametrize(
    ("what", "statement"),
    [
        ("checks", "ALTER TABLE kill_events DROP CONSTRAINT kill_events_reason_not_blank"),
        ("columns", "ALTER TABLE kill_events ALTER COLUMN reason DROP NOT NULL"),
        ("columns", "ALTER TABLE kill_events ALTER COLUMN instances_stopped TYPE bigint"),
        ("columns", "ALTER TABLE kill_events ADD COLUMN extra text"),
        ("foreign keys", "ALTER TABLE kill_events DROP CONSTRAINT kill_events_bot_id_fkey"),
        ("indexes", "DROP INDEX kill_events_created"),
        ("unique", "ALTER TABLE kill_events ADD CONSTRAINT extra UNIQUE (act_id)"),
    ],
)
def test_the_comparison_would_see_it(postgres_database: Database, opened: Opened, what: str, statement: str):
    with opened(postgres_database).reading() as connection:
        before = described(connection)["kill_events"]
    postgres_database.sql(statement)
    with opened(postgres_database).reading() as connection:
        after = described(connection)["kill_events"]
    assert after[what] != before[what]
