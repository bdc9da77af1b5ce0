"""Makes blaidctl/core/schema_manifest.json from the shipped migrations on both real engines: `make manifest`."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from pydantic import SecretStr

from blaidctl.core import migrate, schema_state
from blaidctl.core.db import Database
from blaidctl.core.settings import Settings
from tests.support.postgres import PostgresServer


def snapshot_of(url: str) -> dict[str, str]:
    """Return the schema state of a database."""
    database = Database(Settings(database_url=SecretStr(url)))
    try:
        with database.reading() as connection:
            return dict(sorted(schema_state.snapshot(connection).items()))
    finally:
        database.close()


def manifest(urls: dict[str, str]) -> str:
    """Return the manifest's text for freshly migrated databases."""
    return json.dumps({kind: snapshot_of(url) for kind, url in urls.items()}, indent=1, sort_keys=True) + "\n"


def main() -> None:
    """Migrate one new database on each engine and write the manifest."""
    with tempfile.TemporaryDirectory() as folder, PostgresServer.start(Path(folder) / "pg", fsync=False) as server:
        urls = {"sqlite": f"sqlite:///{folder}/new.db", "postgresql": server.url("postgres")}
        for url in urls.values():
            migrate.upgrade(url)
        schema_state.MANIFEST.write_text(manifest(urls), encoding="utf-8")


if __name__ == "__main__":
    main()
