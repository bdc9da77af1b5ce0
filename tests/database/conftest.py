"""Databases as the product opens them, and everything in one: to see that a migration leaves nothing of itself."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from blaidctl.core import db, schema_state
from blaidctl.core.settings import Settings
from tests.support.postgres import client_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.database import Database

TABLES = {
    "sqlite": "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name",
    "postgresql": "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename",
}


@pytest.fixture(autouse=True)
def _clients_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pg_dump of the test server's version, before whatever this machine has."""
    monkeypatch.setenv("PATH", os.pathsep.join([str(client_folder()), os.environ["PATH"]]))


@pytest.fixture
def opened() -> Iterator[Callable[[Database], db.Database]]:
    """`opened(database)`: the product's own Database on it, closed after the test; it may create the file."""
    made: list[db.Database] = []

    def open_(database: Database) -> db.Database:
        made.append(db.Database(Settings(database_url=SecretStr(database.url)), may_create=True))
        return made[-1]

    yield open_
    for one in made:
        one.close()


@pytest.fixture
def everything(opened: Callable[[Database], db.Database]) -> Callable[[Database], dict[str, Any]]:
    """`everything(database)`: the hash of each thing of the schema, and every row of every table."""

    def look(database: Database) -> dict[str, Any]:
        with contextlib.closing(opened(database)) as product, product.reading() as connection:
            schema = schema_state.snapshot(connection)
        tables = [name for (name,) in database.sql(TABLES[database.kind])]
        return {
            "schema": schema,
            "rows": {name: sorted(map(repr, database.sql(f"SELECT * FROM {name}"))) for name in tables},
        }

    return look
