"""Scratch databases: made for a verification, gone after it, named so that none can be taken for a real one."""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
from typing import TYPE_CHECKING, Protocol

from sqlalchemy.exc import DBAPIError

from blaidctl.core import clock, errors
from blaidctl.core.db import Database, translated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pydantic import SecretStr
    from sqlalchemy.engine import Connection

    from blaidctl.core.settings import Settings

_PREFIX = "blaidctl_verify"
_NAME = re.compile(rf"{_PREFIX}_([0-9a-f]{{8,}})_[0-9a-f]{{8}}(_[a-z]+)?")
#: What a run that was killed left is dropped by a later one, when no run can still be at it.
_LEFT_OVER_S = 24 * 3600


class Scratch(Protocol):
    """Databases of one engine."""

    def url(self, name: str) -> str:
        """Return the address of a database."""

    def copy(self, name: str, source: str) -> None:
        """Make a database as another one is, that nobody is in."""


class Files:
    """SQLite files in a folder, which goes with everything in it."""

    def __init__(self, folder: Path) -> None:
        """Take the folder."""
        self._folder = folder

    def url(self, name: str) -> str:
        """Return the address of a database."""
        return f"sqlite:///{self._folder / name}.db"

    def copy(self, name: str, source: str) -> None:
        """Make a database as another one is, that nobody is in."""
        shutil.copyfile(self._folder / f"{source}.db", self._folder / f"{name}.db")


class Server:
    """Databases of a PostgreSQL server; `url` names any of its databases, which is only used to make others."""

    def __init__(self, settings: Settings, url: SecretStr) -> None:
        """Take the address of the server; nothing is asked before `opened`."""
        self._database = Database(settings.model_copy(update={"database_url": url}))
        if self._database.kind != "postgresql":
            raise errors.SettingsInvalid(
                "the settings are invalid", missing=["verify_postgresql_url: must start with postgresql://"]
            )
        self._run = f"{_PREFIX}_{int(clock.utc_now().timestamp()):08x}_{secrets.token_hex(4)}"
        self._made: list[str] = []
        self.version = ""

    @contextlib.contextmanager
    def opened(self) -> Iterator[Server]:
        """Look at the server; drop what was made when the block ends. Raises Unavailable when it cannot be used."""
        with contextlib.closing(self._database):
            with self._autocommit() as connection:
                self.version = connection.exec_driver_sql("SHOW server_version").scalar_one()
                self._drop_left_overs(connection)
            try:
                yield self
            finally:
                for name in reversed(self._made):
                    with contextlib.suppress(errors.BlaidError, DBAPIError), self._autocommit() as connection:
                        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def url(self, name: str) -> str:
        """Return the address of a database."""
        return self._database.url.set(database=self._named(name)).render_as_string(hide_password=False)

    def make(self, name: str) -> None:
        """Make an empty database."""
        self._make(name, "template0")

    def copy(self, name: str, source: str) -> None:
        """Make a database as another one is, that nobody is in."""
        self._make(name, self._named(source))

    def _make(self, name: str, template: str) -> None:
        with self._autocommit() as connection:
            self._made.append(self._named(name))
            connection.exec_driver_sql(f"CREATE DATABASE {self._named(name)} TEMPLATE {template}")

    def _named(self, name: str) -> str:
        made = f"{self._run}_{re.sub('[^a-z]', '', name)}"
        assert _NAME.fullmatch(made)  # noqa: S101 - what is dropped is of this form
        return made

    @contextlib.contextmanager
    def _autocommit(self) -> Iterator[Connection]:
        with translated(self._database), self._database.engine.connect() as plain:
            yield plain.execution_options(isolation_level="AUTOCOMMIT")

    @staticmethod
    def _drop_left_overs(connection: Connection) -> None:
        sql = (
            f"SELECT datname FROM pg_database WHERE starts_with(datname, '{_PREFIX}_')"
            " AND datdba = current_user::regrole"
        )
        for (name,) in connection.exec_driver_sql(sql).all():
            made = _NAME.fullmatch(name)
            if made and int(made[1], 16) < clock.utc_now().timestamp() - _LEFT_OVER_S:
                with contextlib.suppress(DBAPIError):
                    connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}")
