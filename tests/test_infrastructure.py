"""The ground under every other test: real servers, isolated databases, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.commandline import CommandLine, ProcessCommandLine, Run
from tests.support.database import Database

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.database import Kind
    from tests.support.postgres import PostgresAddress, PostgresServer

ROOT = Path(__file__).parents[1]


def test_the_server_is_postgresql_18_and_asks_for_the_password(postgres_address: PostgresAddress):
    with psycopg.connect(postgres_address.url("postgres")) as connection:
        assert connection.info.server_version // 10000 == 18
        assert connection.execute("SHOW password_encryption").fetchone() == ("scram-sha-256",)
        assert connection.execute("SHOW max_connections").fetchone() == ("200",)
    stranger = postgres_address.url("postgres").replace(postgres_address.password, "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(stranger)


def test_databases_share_nothing(make_database: Callable[..., Database], engine: Kind):
    one, other = make_database(engine, migrated=False), make_database(engine, migrated=False)
    one.sql("CREATE TABLE notes (text VARCHAR(20))")
    one.sql("INSERT INTO notes VALUES (?), (?)", ("100 %", "b"))
    assert one.sql("SELECT text FROM notes WHERE text = ?", ("100 %",)) == [("100 %",)]
    assert one.kind == other.kind == engine
    with pytest.raises(Exception, match="notes"):
        other.sql("SELECT * FROM notes")


def test_triggers_can_be_dropped(blank_database: Database):
    blank_database.sql("CREATE TABLE events (id INTEGER)")
    blank_database.sql("INSERT INTO events VALUES (1)")
    if blank_database.kind == "sqlite":
        blank_database.sql("CREATE TRIGGER keep BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'append-only'); END")
    else:
        blank_database.sql(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'append-only'; END $$"
        )
        blank_database.sql("CREATE TRIGGER keep BEFORE DELETE ON events FOR EACH ROW EXECUTE FUNCTION refuse()")
    with pytest.raises(Exception, match="append-only"):
        blank_database.sql("DELETE FROM events")
    blank_database.drop_triggers()
    blank_database.sql("DELETE FROM events")
    assert blank_database.sql("SELECT id FROM events") == []


@pytest.mark.parametrize("mode", ["fast", "immediate", "kill"])
def test_a_private_server_restarts_with_what_was_committed(private_postgres: PostgresServer, mode: str):
    with psycopg.connect(private_postgres.url("postgres")) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS id")
    before = private_postgres.pid
    private_postgres.restart(mode)
    assert private_postgres.pid != before
    with psycopg.connect(private_postgres.url("postgres")) as connection:
        assert connection.execute("SELECT id FROM kept").fetchall() == [(1,)]


@pytest.mark.parametrize("victim", ["owner", "keeper"])
def test_a_killed_run_leaves_no_server(tmp_path: Path, victim: str):
    owner = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from tests.support.postgres import PostgresServer
        server = PostgresServer.start(Path(sys.argv[1]), fsync=False)
        print(server.pid, server._keeper.pid, flush=True)
        time.sleep(60)
    """)
    folder = tmp_path / "postgres"
    with subprocess.Popen(
        [sys.executable, "-c", owner, folder], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        server, keeper = map(int, process.stdout.readline().split())
        assert _lives(server)
        os.kill(process.pid if victim == "owner" else keeper, signal.SIGKILL)
        _wait_until(lambda: not _lives(server))
        process.kill()
    _wait_until(lambda: victim == "keeper" or not folder.exists())


def test_a_run_reads_its_answers():
    run = Run(3, '{"a": 1}\n', 'warming up\n{"error_code": "X"}\n{"error_code": "BOT_NOT_FOUND"}\nNOT KILLED\n')
    assert run.json == {"a": 1}
    assert run.error == {"error_code": "BOT_NOT_FOUND"}
    with pytest.raises(AssertionError, match="no JSON object"):
        _ = Run(0, "", "all is well").error


def test_commands_see_no_setting_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in (
        "BLAIDCTL_LOCK_TIMEOUT",
        "TRACEPARENT",
        "XDG_CONFIG_HOME",
        "SUDO_USER",
        "PGPASSWORD",
        "FORCE_COLOR",
    ):
        monkeypatch.setenv(name, "the machine's")
    database = Database("sqlite", "sqlite:////nowhere.db")
    seen = CommandLine(database, tmp_path).environment({"TRACEPARENT": "ours", "NO_COLOR": None})
    assert "the machine's" not in seen.values()
    assert (seen["TRACEPARENT"], seen["BLAIDCTL_DATABASE_URL"]) == ("ours", "sqlite:////nowhere.db")
    assert (seen["HOME"], "NO_COLOR" in seen) == (str(tmp_path), False)


def test_spawned_processes_end_with_the_test_and_so_do_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    stubborn = tmp_path / "stubborn"
    stubborn.write_text(
        '#!/bin/sh\ntrap "" TERM\nsetsid sleep 60 </dev/null >/dev/null 2>&1 &\necho $!\nexec sleep 60\n'
    )
    stubborn.chmod(0o755)
    monkeypatch.setattr("tests.support.commandline.SCRIPT", stubborn)
    monkeypatch.setattr("tests.support.commandline.GRACE_S", 0.2)
    process = ProcessCommandLine(Database("sqlite", "sqlite:////nowhere.db"), tmp_path)
    spawned = process.spawn()
    assert spawned.stdout is not None
    grandchild = int(spawned.stdout.readline())
    assert _lives(grandchild)
    process.reap()
    assert not _lives(spawned.pid)
    _wait_until(lambda: not _lives(grandchild))


def _lives(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False


def _wait_until(condition: Callable[[], bool], seconds: float = 15) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"not so within {seconds} s"
        time.sleep(0.02)
