"""`blaidctl verify`: without both engines there is no evidence, and nothing stays behind, however it ends."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.processes import LIMIT_S, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.commandline import CommandLine, ProcessCommandLine
    from tests.support.database import Database
    from tests.support.postgres import PostgresServer

URL = "BLAIDCTL_VERIFY_POSTGRESQL_URL"


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """Where the command makes its folder."""
    made = tmp_path / "scratch"
    made.mkdir()
    return made


def databases(server: PostgresServer) -> list[str]:
    """Every database of a server but its own."""
    with contextlib.closing(psycopg.connect(server.url("postgres"))) as connection:
        rows = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'blaidctl%' ORDER BY 1")
        return [name for (name,) in rows]


@pytest.mark.timeout(300)
def test_without_postgresql_it_says_not_run_and_no(
    sqlite_database: Database, process: ProcessCommandLine, scratch: Path
):
    words = ("verify", "--only", "pnl-equality", "--output", "json")
    run = process(*words, env={"TMPDIR": str(scratch)}, timeout=280)
    assert (run.code, run.error["error_code"]) == (1, "NOT_VERIFIED")
    told = {one["engine"]: (one["outcome"], one["why"]) for one in run.json["result"]["checks"]}
    assert told["sqlite"] == ("PASS", "")
    assert told["postgresql"][0] == "NOT_RUN"
    assert f"set {URL}" in told["postgresql"][1]
    assert list(scratch.iterdir()) == []
    assert sqlite_database.sql("SELECT count(*) FROM audit_log") == [(0,)]


def test_a_server_that_is_not_there_is_not_run_and_its_password_is_not_said(
    sqlite_database: Database, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
):
    del sqlite_database
    monkeypatch.setattr("blaidctl.verification.run.PLAYS", {})
    monkeypatch.setattr("blaidctl.verification.run._Run._run", lambda *_: None)
    run = cli("verify", "--output", "json", env={URL: "postgresql://me:s3cr3t@127.0.0.1:1/postgres"})
    assert run.code == 1
    assert {one["outcome"] for one in run.json["result"]["checks"]} == {"NOT_RUN"}
    assert "s3cr3t" not in run.stdout + run.stderr


def test_what_is_no_postgresql_is_refused(sqlite_database: Database, cli: CommandLine):
    run = cli("verify", env={URL: sqlite_database.url})
    assert run.error["missing_requirements"] == ["verify_postgresql_url: must start with postgresql://"]


def test_a_part_of_the_evidence_is_not_written(sqlite_database: Database, cli: CommandLine):
    del sqlite_database
    run = cli("verify", "--write", "--only", "pnl-equality")
    assert (run.code, run.error["error_code"]) == (2, "INVALID_REQUEST")


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.timeout(180)
def test_told_to_stop_it_leaves_no_process_no_folder_and_no_database(
    sqlite_database: Database,
    process: ProcessCommandLine,
    private_postgres: PostgresServer,
    scratch: Path,
    ending: signal.Signals,
):
    del sqlite_database
    with contextlib.closing(psycopg.connect(private_postgres.url("postgres"), autocommit=True)) as connection:
        connection.execute("CREATE DATABASE blaidctl_verify_00000001_0123abcd_desk")
        connection.execute("CREATE DATABASE blaidctl_verify_of_somebody")
    env = {"TMPDIR": str(scratch), URL: private_postgres.url("postgres")}
    running = process.spawn("verify", "--only", "backtest-end", env=env)
    wait_for(lambda: list(scratch.glob("*/sqlite-backtest-end/it-runs")), limit_s=120)
    assert len(databases(private_postgres)) >= 2
    running.send_signal(ending)
    running.communicate(timeout=LIMIT_S)
    assert running.returncode == 130
    assert list(scratch.iterdir()) == []
    assert list(process._left_behind()) == []  # noqa: SLF001 - what bears the mark of this test
    # What a run that was killed left long ago is gone; what only looks like it is not ours.
    assert databases(private_postgres) == ["blaidctl_verify_of_somebody"]
