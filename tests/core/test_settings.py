"""Settings: what is unknown or wrong is refused by name, and a password is never said."""

from __future__ import annotations

import os
from pathlib import Path  # noqa: TC003 - a fixture's type
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from pydantic import SecretStr

from blaidctl.core import errors
from blaidctl.core import settings as product
from blaidctl.core.db import Database, normal_url
from blaidctl.core.settings import Settings
from tests.kill.fleet import WHY, done, not_killed, refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.commandline import CommandLine
    from tests.support.database import Database as TestDatabase

SECRET = "p4ssw0rd-of-the-desk"  # noqa: S105 - nobody's
URL = f"postgresql://desk:{SECRET}@127.0.0.1:1/fleet"


@pytest.fixture(autouse=True)
def bare(tmp_path: Path) -> Iterator[Path]:
    """An environment with nothing of ours but an empty home."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BLAIDCTL_", "XDG_"))}
    with mock.patch.dict(os.environ, {**kept, "HOME": str(tmp_path / "nobody")}, clear=True):
        yield tmp_path / "nobody"


def test_without_settings_the_database_is_the_users_own_file(bare: Path):
    loaded = product.load()
    url = loaded.database_url.get_secret_value()
    assert url == f"sqlite:///{bare}/.local/share/blaidctl/blaidctl.db"
    assert (loaded.connect_timeout_s, loaded.lock_timeout_s, loaded.kill_lock_timeout_s) == (5, 2, 10)
    assert (loaded.statement_timeout_s, loaded.service_name) == (30, None)
    assert not bare.exists()


def test_the_environment_stands_above_the_file(tmp_path: Path):
    path = tmp_path / "blaidctl.toml"
    path.write_text(f'database_url = "{URL}"\nlock_timeout_s = 7\nservice_name = "desk"\n')
    with mock.patch.dict(os.environ, {"BLAIDCTL_CONFIG": str(path), "BLAIDCTL_LOCK_TIMEOUT_S": "9"}):
        loaded = product.load()
    assert (loaded.lock_timeout_s, loaded.service_name) == (9, "desk")
    assert loaded.database_url.get_secret_value() == URL
    assert SECRET not in repr(loaded)
    assert SECRET not in str(loaded.model_dump())


def test_the_users_own_file_is_found(bare: Path):
    path = bare / ".config" / "blaidctl" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text("grace_s = 99\n")
    assert product.load().grace_s == 99


@pytest.mark.parametrize(
    "name", ["BLAIDCTL_DATABASE_ULR", "BLAIDCTL_", "BLAIDCTL_DATABASE_URL_", "BLAIDCTL_lock_timeout_s"]
)
def test_an_unknown_variable_is_refused_by_name(name: str):
    with mock.patch.dict(os.environ, {name: SECRET}), pytest.raises(errors.SettingsInvalid) as caught:
        product.load()
    assert caught.value.missing == (f"{name} is not a setting",)
    assert "BLAIDCTL_DATABASE_URL" in caught.value.steps[0]
    assert SECRET not in str(caught.value.body("0" * 32))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (f'databse_url = "{SECRET}"', "databse_url"),
        (f'[database]\nurl = "{SECRET}"', "database"),
        ('lock_timeout_s = "soon"', "lock_timeout_s"),
        ("lock_timeout_s = 0", "lock_timeout_s"),
        ("lock_timeout_s = 121", "lock_timeout_s"),
        ("lock_timeout_s = 1.5", "lock_timeout_s"),
        (f'database_url = "mysql://x:{SECRET}@h/d"', "database_url"),
        (f'database_url = ["{SECRET}"]', "database_url"),
        ("database_url = 5", "database_url"),
        (f'service_name = "{SECRET} "', "service_name"),
    ],
)
def test_a_wrong_line_of_the_file_is_named_without_its_value(tmp_path: Path, text: str, named: str):
    path = tmp_path / "blaidctl.toml"
    path.write_text(text)
    with mock.patch.dict(os.environ, {"BLAIDCTL_CONFIG": str(path)}), pytest.raises(errors.SettingsInvalid) as caught:
        product.load()
    assert any(line.startswith(f"{named}: ") for line in caught.value.missing)
    assert SECRET not in str(caught.value.body("0" * 32))


@pytest.mark.parametrize(
    "content", [b"lock_timeout_s = ", b"\xff\xfe", b"a = 1\na = 2\n", f'database_url = "{SECRET}'.encode()]
)
def test_a_file_that_is_no_toml_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "blaidctl.toml"
    path.write_bytes(content)
    with mock.patch.dict(os.environ, {"BLAIDCTL_CONFIG": str(path)}), pytest.raises(errors.SettingsInvalid) as caught:
        product.load()
    assert str(path) in caught.value.message
    assert SECRET not in str(caught.value.body("0" * 32))


def test_a_file_that_was_named_must_be_there(tmp_path: Path):
    for path in (tmp_path / "missing.toml", tmp_path):
        with mock.patch.dict(os.environ, {"BLAIDCTL_CONFIG": str(path)}), pytest.raises(errors.SettingsInvalid):
            product.load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BLAIDCTL_DATABASE_URL", ""),
        ("BLAIDCTL_DATABASE_URL", f"mysql://x:{SECRET}@h/d"),
        ("BLAIDCTL_DATABASE_URL", SECRET),
        ("BLAIDCTL_DATABASE_URL", f"postgresql://x:{SECRET}@h:port/d"),
        ("BLAIDCTL_DATABASE_URL", f"postgresql:{SECRET}"),
        ("BLAIDCTL_DATABASE_URL", f"postgresql+asyncpg://x:{SECRET}@127.0.0.1:1/d"),
        ("BLAIDCTL_DATABASE_URL", f"postgresql://x:{SECRET}@127.0.0.1:1/d?bogus=1"),
        ("BLAIDCTL_DATABASE_URL", f"postgresql://x:{SECRET}@127.0.0.1:99999/d"),
        ("BLAIDCTL_DATABASE_URL", f"postgresql://x:{SECRET}@127.0.0.1:1/d?sslmode=never"),
        ("BLAIDCTL_DATABASE_URL", "sqlite+foo:////tmp/never.db"),
        ("BLAIDCTL_DATABASE_URL", "sqlite://"),
        ("BLAIDCTL_DATABASE_URL", "sqlite:///"),
        ("BLAIDCTL_DATABASE_URL", "sqlite:///:memory:"),
        ("BLAIDCTL_LOCK_TIMEOUT_S", "-1"),
        ("BLAIDCTL_KILL_LOCK_TIMEOUT_S", "nan"),
        ("BLAIDCTL_STATEMENT_TIMEOUT_S", "0"),
        ("BLAIDCTL_SERVICE_NAME", "A Service"),
        ("BLAIDCTL_CONFIG", "/no/such/file.toml"),
        ("BLAIDCTL_NO_SUCH", "1"),
    ],
)
def test_a_wrong_setting_kills_nobody(cli: CommandLine, sqlite_database: TestDatabase, name: str, value: str):
    for output in ("json", "table"):
        run = cli("kill", "a1", *WHY, "--output", output, env={name: value})
        assert (run.code, run.stderr.splitlines()[-1]) == (2, "NOT KILLED")
        assert SECRET not in run.stderr
    error = not_killed(cli("kill", "a1", *WHY, env={name: value}), 2, "SETTINGS_INVALID")
    assert name in str(error) or name.removeprefix("BLAIDCTL_").lower() in str(error)
    refused(cli("status", env={name: value}), 2, "SETTINGS_INVALID")
    assert cli("guard", "a1", env={name: value}).code != 0
    assert sqlite_database.sql("SELECT count(*) FROM audit_log") == [(0,)]


@pytest.mark.parametrize(
    ("url", "kind", "shown"),
    [
        ("sqlite:////var/lib/x.db", "sqlite", "sqlite:////var/lib/x.db"),
        ("sqlite:///x.db", "sqlite", "sqlite:///x.db"),
        (f"postgresql://u:{SECRET}@h/d", "postgresql", "postgresql://u:***@h/d"),
        (f"postgres://u:{SECRET}@h:5/d", "postgresql", "postgresql://u:***@h:5/d"),
        (f"postgresql+psycopg://u:{SECRET}@h/d", "postgresql", "postgresql+psycopg://u:***@h/d"),
        (f"postgresql:///d?host=/run&user=u&password={SECRET}", "postgresql", "postgresql:///d?host=%2Frun&user=u"),
        (f"postgresql://u:{SECRET}%2F%40@h/d?sslmode=require", "postgresql", "postgresql://u:***@h/d?sslmode=require"),
        (f"postgresql://h/d?sslpassword={SECRET}", "postgresql", "postgresql://h/d"),
    ],
)
def test_every_form_of_a_url_is_shown_without_its_password(url: str, kind: str, shown: str):
    database = Database(Settings(database_url=SecretStr(url)))
    assert (database.kind, database.shown()) == (kind, shown)


def test_a_relative_file_is_where_the_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert Database(Settings(database_url=SecretStr("sqlite:///x.db"))).path == tmp_path / "x.db"
    assert normal_url("postgres://h/postgres://x").database == "postgres://x"


def test_a_path_with_every_character_is_the_path(cli: CommandLine, sqlite_database: TestDatabase, tmp_path: Path):
    """In a URL a % is written %25 and a ? %3F; everything else may stand as it is."""
    assert sqlite_database.path is not None
    for name, written in (("a b.db", "a b.db"), ("50%.db", "50%25.db"), ("x#y.db", "x#y.db"), ("ü?.db", "ü%3F.db")):
        path = tmp_path / name
        path.write_bytes(sqlite_database.path.read_bytes())
        env: dict[str, str | None] = {"BLAIDCTL_DATABASE_URL": f"sqlite:///{tmp_path}/{written}"}
        done(cli("user", "add", "alice", env=env))
        assert done(cli("user", "list", env=env)).json["result"]["users"][0]["id"] == "alice"
    assert sqlite_database.sql("SELECT count(*) FROM users") == [(0,)]
