"""`doctor` on real installations: whole ones, and each way in which one can be unfit to stop a fleet."""

from __future__ import annotations

import csv
import io
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pexpect
import psycopg
import pytest

from blaidctl.core.types import time_text
from tests.kill.fleet import WHY, done, dump, fleet, instance
from tests.support.commandline import SCRIPT
from tests.support.jobs import running_jobs
from tests.support.postgres import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.commandline import CommandLine, ProcessCommandLine, Run
    from tests.support.database import Database

GRANTS = Path(__file__).parents[2] / "runbooks" / "postgresql-roles.md"
#: The test server is fast and its role is its superuser: two findings that a real installation must not have.
OF_THE_TEST_SERVER = {"durability", "role"}


def verdicts(run: Run) -> dict[str, str]:
    return {check["check"]: check["verdict"] for check in run.json["result"]["checks"]}


def check(run: Run, name: str) -> dict[str, Any]:
    (found,) = (check for check in run.json["result"]["checks"] if check["check"] == name)
    assert isinstance(found, dict)
    return found


def finds(run: Run, *names: str) -> Run:
    """Insist on exactly these findings (and those of the test server), each told on both streams."""
    found = [name for name, verdict in verdicts(run).items() if verdict == "FINDING"]
    assert set(found) - OF_THE_TEST_SERVER == set(names), run.stdout
    assert (run.code, run.error["error_code"]) == (1, "DOCTOR_FINDINGS")
    assert run.error["missing_requirements"] == [f"{name}: {check(run, name)['detail']}" for name in found]
    assert run.json["result"]["findings"] == len(found)
    for name in found:
        assert check(run, name)["next_step"]
        assert name in run.error["message"]
    return run


@pytest.fixture
def reaped(cli: CommandLine) -> None:
    """The reaper has just run."""
    done(cli("job", "reap"))


# ---- whole ones ----------------------------------------------------------------------------------------------


@pytest.mark.operation("doctor")
@pytest.mark.usefixtures("reaped")
def test_a_whole_installation_on_sqlite_has_no_findings(sqlite_database: Database, cli: CommandLine):
    before, files = dump(sqlite_database), sorted(sqlite_database.path.parent.iterdir())
    run = done(cli("doctor"))
    assert run.stderr == ""
    assert verdicts(run) == {
        "settings-file": "OK", "kernel": "OK", "files": "OK", "disk": "OK", "queue": "OK", "database": "OK",
        "journal": "OK", "pragmas": "OK", "schema": "OK", "triggers": "OK", "heartbeats": "OK", "reaper": "OK",
        "unconfirmed-stops": "OK", "stale-instances": "OK", "stale-jobs": "OK", "open-findings": "INFO",
        "checkpoint": "NOT_CHECKED", "checkpoint-sinks": "NOT_CHECKED", "providers": "OK",
    }  # fmt: skip
    assert (run.json["result"]["findings"], run.json["result"]["not_checked"]) == (0, 2)
    assert str(sqlite_database.path) in check(run, "database")["detail"]
    assert dump(sqlite_database) == before
    assert sorted(sqlite_database.path.parent.iterdir()) == files


def test_a_whole_installation_on_postgresql_has_no_findings(
    tmp_path: Path, upgrade: Callable[[str], None], sqlite_database, cli: CommandLine
):
    del sqlite_database
    with PostgresServer.start(tmp_path / "server", fsync=True) as server:
        upgrade(server.url("postgres"))
        env = {"BLAIDCTL_DATABASE_URL": daily_role(server.url("postgres"), "app")}
        done(cli("job", "reap", env=env))
        run = done(cli("doctor", env=env))
        assert verdicts(run) == {
            "settings-file": "OK", "kernel": "OK", "database": "OK", "server-version": "OK", "durability": "OK",
            "primary": "OK", "clock": "OK", "schema": "OK", "triggers": "OK", "role": "OK", "heartbeats": "OK",
            "reaper": "OK", "unconfirmed-stops": "OK", "stale-instances": "OK", "stale-jobs": "OK",
            "open-findings": "INFO", "checkpoint": "NOT_CHECKED", "checkpoint-sinks": "NOT_CHECKED", "providers": "OK",
        }  # fmt: skip
        assert "not-a-secret" not in run.stdout


def daily_role(url: str, name: str) -> str:
    """Make the role of the runbook that a person logs in with; return the URL that uses it."""
    grants = re.search(r"^```sql\n(.*?)^```", GRANTS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert grants
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(grants[1].replace("blaidctl_app", name))
        owner.execute(f"ALTER ROLE {name} LOGIN PASSWORD 'not-a-secret'")
    return re.sub(r"//[^@]*@", f"//{name}:not-a-secret@", url)


@pytest.fixture
def app(postgres_database: Database) -> Iterator[tuple[str, dict[str, str]]]:
    """A daily role of one test: its name, and the environment that uses it."""
    name = f"app_{postgres_database.url.rpartition('/')[2]}"  # roles belong to the server, which tests share
    yield name, {"BLAIDCTL_DATABASE_URL": daily_role(postgres_database.url, name)}
    with psycopg.connect(postgres_database.url, autocommit=True) as owner:
        owner.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


# ---- the desk ------------------------------------------------------------------------------------------------


def test_a_reaper_that_never_ran_is_a_finding(database: Database, cli: CommandLine):
    del database
    assert check(finds(cli("doctor"), "reaper"), "reaper")["detail"] == "it has never run"


def reaper_run(database: Database, *, ago_s: int, complete: int = 1, not_done: str = "[]") -> None:
    at = time_text(datetime.now(UTC) - timedelta(seconds=ago_s))
    database.sql(
        "INSERT INTO reaper_runs (act_id, host, started_at, duration_ms, complete, counts, not_done, created_at, actor,"
        f" trace_id) VALUES ('a', 'far-host', ?, 5, ?, '{{}}', '{not_done}', ?, 'x@y', '{'0' * 31}1')",
        (at, complete, at),
    )


def test_a_reaper_that_is_silent_is_a_finding(database: Database, cli: CommandLine):
    reaper_run(database, ago_s=330)
    told = check(finds(cli("doctor"), "reaper"), "reaper")
    assert re.fullmatch(r"last run 20\S+ \S+Z on far-host, 33\d s ago", told["detail"])
    assert "blaidctl job reap" in told["next_step"]
    reaper_run(database, ago_s=270)
    assert verdicts(cli("doctor"))["reaper"] == "OK"


def test_a_reaper_that_left_something_is_a_finding(database: Database, cli: CommandLine):
    left = '[{"reason": "LOCKED"}, {"reason": "LOCKED"}, {"reason": "OTHER_HOST"}]'
    reaper_run(database, ago_s=1, complete=0, not_done=left)
    told = check(finds(cli("doctor"), "reaper"), "reaper")
    assert told["detail"].endswith("left something: LOCKED 2, OTHER_HOST 1")


@pytest.mark.usefixtures("reaped")
def test_unconfirmed_stops_are_counted_host_by_host(database: Database, cli: CommandLine):
    fleet(cli)
    for bot in ("a1", "a2", "b1"):
        instance(cli, bot)
    database.sql("UPDATE bot_instances SET host = 'near-host' WHERE bot_id = 'a2'")
    done(cli("kill", "a1", "a2", *WHY))
    assert check(finds(cli("doctor"), "unconfirmed-stops"), "unconfirmed-stops")["detail"] == "2: here 1, near-host 1"
    database.sql("UPDATE bot_instances SET stop_confirmed_at = stopped_at WHERE stopped_at IS NOT NULL")
    assert verdicts(cli("doctor"))["unconfirmed-stops"] == "OK"


@pytest.mark.usefixtures("reaped")
def test_what_is_stale_is_counted(database: Database, cli: CommandLine):
    fleet(cli)
    for bot in ("a1", "a2"):
        instance(cli, bot)
    database.sql("UPDATE bot_instances SET heartbeat_at = '2026-01-01T00:00:00.000000Z' WHERE bot_id = 'a1'")
    running_jobs(database, due_in_s=[60, -1, -60])
    run = finds(cli("doctor"), "stale-instances", "stale-jobs")
    assert [check(run, name)["detail"] for name in ("stale-instances", "stale-jobs")] == ["1", "2"]


@pytest.mark.usefixtures("reaped")
def test_heartbeats_in_the_future_are_a_clock_anomaly(database: Database, cli: CommandLine):
    from blaidctl.doctor import rules
    from blaidctl.reaper import run as reaper

    assert rules.AHEAD_S == reaper.AHEAD_S, "what the doctor shows is what the reaper leaves"
    fleet(cli)
    instance(cli, "a1")
    running_jobs(database, due_in_s=[60])
    assert verdicts(cli("doctor"))["heartbeats"] == "OK"
    running_jobs(database, due_in_s=[60], ahead_s=120)
    ahead = time_text(datetime.now(UTC) + timedelta(seconds=60))
    database.sql("UPDATE bot_instances SET heartbeat_at = ?", (ahead,))
    told = check(finds(cli("doctor"), "heartbeats"), "heartbeats")
    assert told["detail"].startswith("CLOCK_ANOMALY: 1 instance(s) and 1 job(s) beat more than 5 s ahead")


# ---- the schema ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("revision", "code"), [("0001", "SCHEMA_BEHIND"), ("9999", "SCHEMA_AHEAD")])
def test_another_schema_is_a_finding_and_everything_else_is_looked_at(
    database: Database, cli: CommandLine, revision: str, code: str
):
    database.sql("UPDATE alembic_version SET version_num = ?", (revision,))
    run = finds(cli("doctor"), "schema")
    assert check(run, "schema")["detail"].startswith(f"{code}: the schema is at {revision}")
    unseen = {name for name, verdict in verdicts(run).items() if verdict == "NOT_CHECKED"} - {
        "checkpoint-sinks",
        "role",
    }
    assert unseen == {
        "triggers", "heartbeats", "reaper", "unconfirmed-stops", "stale-instances", "stale-jobs", "providers",
        "checkpoint",
    }  # fmt: skip
    assert check(run, "reaper")["detail"] == "the schema is not this version's"


def test_a_database_without_a_schema_is_a_finding(blank_database: Database, cli: CommandLine):
    if blank_database.path is not None:
        blank_database.sql("PRAGMA journal_mode=WAL")
    run = finds(cli("doctor"), "schema")
    assert check(run, "schema")["detail"].startswith("SCHEMA_BEHIND: ")
    assert verdicts(run)["database"] == "OK"


@pytest.mark.usefixtures("reaped")
def test_a_trigger_that_is_gone_is_named(database: Database, cli: CommandLine):
    database.drop_triggers()
    detail = check(finds(cli("doctor"), "triggers"), "triggers")["detail"]
    assert re.search(r"trigger \w+ is (missing|not the one of this version)", detail)
    assert re.search(r" and \d+ more$", detail)


@pytest.mark.usefixtures("reaped")
def test_a_check_that_fails_keeps_no_other_from_looking(database: Database, cli: CommandLine):
    database.drop_triggers()
    database.sql("DROP TABLE reaper_runs")
    run = finds(cli("doctor"), "triggers", "reaper")
    assert check(run, "reaper")["detail"].startswith("SCHEMA_BEHIND: ")
    assert verdicts(run)["stale-jobs"] == verdicts(run)["unconfirmed-stops"] == "OK"


@pytest.mark.usefixtures("reaped")
def test_a_row_that_nobody_can_read_is_a_finding(sqlite_database: Database, cli: CommandLine):
    sqlite_database.sql("DROP TRIGGER reaper_runs_no_update")
    sqlite_database.sql("UPDATE reaper_runs SET created_at = 'yesterday'")
    detail = check(finds(cli("doctor"), "triggers", "reaper"), "reaper")["detail"]
    assert detail.startswith("DATABASE_CORRUPT: the column created_at holds 'yesterday'")


# ---- a database that does not answer -------------------------------------------------------------------------


def all_unseen(run: Run, code: str) -> None:
    run = finds(run, "database")
    assert check(run, "database")["detail"].startswith(f"{code}: ")
    host = {"settings-file", "kernel", "files", "disk", "queue", "database", "open-findings"}
    assert {verdict for name, verdict in verdicts(run).items() if name not in host} == {"NOT_CHECKED"}
    assert (verdicts(run)["kernel"], verdicts(run)["open-findings"]) == ("OK", "INFO")


def test_a_file_that_is_not_there(sqlite_database: Database, cli: CommandLine):
    whole = set(verdicts(cli("doctor")))
    assert sqlite_database.path is not None
    sqlite_database.path.unlink()
    run = cli("doctor")
    all_unseen(run, "DATABASE_MISSING")
    assert set(verdicts(run)) == whole
    assert check(run, "files")["detail"].startswith("there is no file ")
    assert not sqlite_database.path.exists()
    gone = {"BLAIDCTL_DATABASE_URL": f"sqlite:///{sqlite_database.path.parent}/no/folder/x.db"}
    assert check(cli("doctor", env=gone), "disk")["detail"].startswith("there is no folder ")


def test_a_file_that_is_no_database(sqlite_database: Database, cli: CommandLine):
    assert sqlite_database.path is not None
    sqlite_database.path.write_bytes(b"not a database, for pages and pages " * 500)
    all_unseen(cli("doctor"), "DATABASE_CORRUPT")


def test_a_server_that_is_down(private_postgres: PostgresServer, postgres_database, cli: CommandLine):
    del postgres_database
    whole = set(verdicts(cli("doctor")))
    env = {"BLAIDCTL_DATABASE_URL": private_postgres.url("postgres")}
    private_postgres.stop("kill")
    run = cli("doctor", env=env)
    all_unseen(run, "DATABASE_DOWN")
    assert set(verdicts(run)) == whole


def test_a_server_that_hangs_up_between_two_checks(postgres_database, cli: CommandLine, monkeypatch):
    from blaidctl.doctor import service

    def hang_up(tx: Any) -> None:
        tx.connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")

    del postgres_database
    monkeypatch.setitem(service._ENGINE["postgresql"], "clock", hang_up)  # noqa: SLF001
    all_unseen(cli("doctor"), "DATABASE_DOWN")


def test_a_bug_in_a_check_is_said(database: Database, cli: CommandLine, monkeypatch: pytest.MonkeyPatch):
    from blaidctl.doctor import service

    def broken(_tx: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setitem(service._ENGINE[database.kind], "broken", broken)  # noqa: SLF001
    all_unseen(cli("doctor"), "INTERNAL")


# ---- PostgreSQL ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("reaped")
def test_a_server_that_forgets_commits_is_a_finding(postgres_database: Database, cli: CommandLine):
    name = postgres_database.url.rpartition("/")[2]
    postgres_database.sql(f"ALTER DATABASE {name} SET synchronous_commit = off")
    told = check(finds(cli("doctor")), "durability")
    assert told["detail"] == "fsync=off, full_page_writes=off, synchronous_commit=off"


@pytest.mark.usefixtures("reaped")
def test_a_server_that_takes_no_writes_is_a_finding(postgres_database: Database, cli: CommandLine):
    name = postgres_database.url.rpartition("/")[2]
    postgres_database.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert "read-only by default" in check(finds(cli("doctor"), "primary"), "primary")["detail"]


@pytest.mark.usefixtures("reaped")
def test_a_superuser_is_a_finding(postgres_database: Database, cli: CommandLine):
    del postgres_database
    told = check(finds(cli("doctor")), "role")
    assert (told["verdict"], told["detail"]) == (
        "FINDING", "blaidctl is a superuser: it can switch every trigger off",
    )  # fmt: skip


@pytest.mark.usefixtures("reaped")
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("SELECT 1", "owns nothing, adds event rows and changes none"),
        ("ALTER TABLE kill_events OWNER TO {app}", "owns, or may act as the owner of: kill_events"),
        ("GRANT DELETE ON audit_log TO {app}", "may do too much: DELETE audit_log"),
        ("GRANT UPDATE (reason) ON kill_events TO {app}", "may do too much: UPDATE kill_events"),
        ("GRANT TRUNCATE ON job_events TO {app}", "may do too much: TRUNCATE job_events"),
        ("REVOKE INSERT ON kill_events FROM {app}", "INSERT kill_events"),
        ("REVOKE SELECT ON requests FROM {app}", "SELECT requests"),
        ("REVOKE UPDATE (killed_at) ON bots FROM {app}", "UPDATE bots.killed_at"),
    ],
)
def test_the_rights_of_the_role_are_judged(postgres_database, app, cli: CommandLine, change: str, sentence: str):
    name, env = app
    postgres_database.sql(change.format(app=name))
    run = cli("doctor", env=env)
    told = check(run, "role")
    assert told["detail"].startswith(name)
    assert sentence in told["detail"]
    assert told["verdict"] == ("OK" if change == "SELECT 1" else "FINDING")


@pytest.mark.usefixtures("reaped")
def test_what_the_role_may_not_read_is_a_finding_of_its_own(postgres_database: Database, app, cli: CommandLine):
    name, env = app
    postgres_database.sql(f"REVOKE SELECT ON jobs FROM {name}")
    run = finds(cli("doctor", env=env), "heartbeats", "stale-jobs")
    assert check(run, "stale-jobs")["detail"].startswith("DATABASE_PERMISSION: ")
    assert verdicts(run)["stale-instances"] == "OK"


# ---- SQLite and the host -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("reaped")
def test_a_journal_that_lets_readers_hold_up_a_kill_is_a_finding(sqlite_database: Database, cli: CommandLine):
    sqlite_database.sql("PRAGMA journal_mode=DELETE")
    assert check(finds(cli("doctor"), "journal"), "journal")["detail"].startswith("DELETE: ")


@pytest.mark.usefixtures("reaped")
def test_files_that_everybody_may_write_are_a_finding(sqlite_database: Database, cli: CommandLine):
    assert sqlite_database.path is not None
    folder = sqlite_database.path.parent
    for path in (sqlite_database.path, Path(f"{sqlite_database.path}-queue"), folder):
        mode = path.stat().st_mode
        path.chmod(mode | 0o002)
        told = check(finds(cli("doctor"), "files"), "files")
        assert told["detail"].startswith(f"everybody can write: {path}")  # SQLite gives its own files the same mode
        path.chmod(mode)
    assert verdicts(cli("doctor"))["files"] == "OK"


@pytest.mark.usefixtures("reaped")
def test_a_disk_that_is_nearly_full_is_a_finding(sqlite_database, cli: CommandLine, monkeypatch):
    from blaidctl.doctor import rules

    del sqlite_database
    monkeypatch.setattr(rules, "LEAST_FREE_BYTES", 2**62)
    assert " MiB free in " in check(finds(cli("doctor"), "disk"), "disk")["detail"]


@pytest.mark.usefixtures("reaped")
@pytest.mark.parametrize("what", ["link", "fifo", "folder"])
def test_a_queue_that_is_no_file_is_a_finding(sqlite_database: Database, cli: CommandLine, tmp_path: Path, what: str):
    queue = Path(f"{sqlite_database.path}-queue")
    queue.unlink(missing_ok=True)
    make = {"link": lambda: queue.symlink_to(tmp_path / "x"), "fifo": lambda: os.mkfifo(queue), "folder": queue.mkdir}
    make[what]()
    told = check(finds(cli("doctor"), "queue"), "queue")
    assert str(queue) in told["next_step"]
    assert queue.is_symlink() or queue.exists(), "it is looked at, not mended"


@pytest.mark.usefixtures("reaped")
def test_a_queue_that_is_in_use_or_not_yet_there_is_well(sqlite_database: Database, cli: CommandLine):
    from blaidctl.core import queue

    assert sqlite_database.path is not None
    with queue.turn(sqlite_database.path, 5, alone=True):
        assert check(done(cli("doctor")), "queue")["detail"] == "in use: somebody writes at this moment"
    Path(f"{sqlite_database.path}-queue").unlink()
    assert check(done(cli("doctor")), "queue")["detail"] == "not there yet: the first writer makes it"
    assert not Path(f"{sqlite_database.path}-queue").exists()


@pytest.mark.usefixtures("reaped", "sqlite_database")
@pytest.mark.parametrize(
    ("url", "mode", "finding"),
    [
        ("postgresql://desk:secret@db/fleet", 0o644, "holds a password and can be read by everybody"),
        ("postgresql://desk@db/fleet?password=secret", 0o604, "holds a password and can be read by everybody"),
        ("postgresql://desk:secret@db/fleet", 0o640, ""),
        ("postgresql://desk@db/fleet", 0o644, ""),
        ("postgresql://desk@db/fleet", 0o646, "can be written by everybody"),
        (None, 0o644, ""),
        (None, 0o666, "can be written by everybody"),
    ],
)
def test_a_settings_file_that_everybody_may_read_or_write(
    cli: CommandLine, home: Path, url: str | None, mode: int, finding: str
):
    settings = home / "settings.toml"
    settings.write_text(f'database_url = "{url}"\n' if url else "lock_timeout_s = 3\n")
    settings.chmod(mode)
    run = cli("doctor", env={"BLAIDCTL_CONFIG": str(settings)})
    told = check(run, "settings-file")
    assert told["verdict"] == ("FINDING" if finding else "OK")
    assert finding in told["detail"]
    assert f"{mode:04o}" in told["detail"]
    assert "secret" not in run.stdout + run.stderr


@pytest.mark.usefixtures("reaped")
def test_a_kernel_that_cannot_carry_supervision_is_a_finding(sqlite_database, cli: CommandLine, monkeypatch):
    from blaidctl.core import keeper

    def unknown(*_arguments: object) -> None:
        raise OSError(38, "supervision needs Linux")

    del sqlite_database
    monkeypatch.setattr(keeper, "prctl", unknown)
    monkeypatch.setattr(os, "pidfd_open", unknown)
    detail = check(finds(cli("doctor"), "kernel"), "kernel")["detail"]
    assert "lacks child subreapers (PR_SET_CHILD_SUBREAPER), process descriptors (pidfd_open)" in detail


@pytest.mark.usefixtures("reaped")
def test_what_cannot_be_looked_at_on_the_host_is_a_finding(sqlite_database, cli: CommandLine, monkeypatch):
    from blaidctl.doctor import service

    def refused(_ctx: object) -> None:
        raise PermissionError(13, "Permission denied", "/there")

    del sqlite_database
    monkeypatch.setitem(service._HOST_OF["sqlite"], "files", refused)  # noqa: SLF001
    assert "Permission denied: '/there'" in check(finds(cli("doctor"), "files"), "files")["detail"]


# ---- how it looks --------------------------------------------------------------------------------------------


def test_open_findings_are_counted_from_the_map(sqlite_database, cli: CommandLine):
    from blaidctl.doctor import rules
    from blaidctl.operations import OPERATIONS

    del sqlite_database
    told = check(cli("doctor"), "open-findings")
    assert not any(operation.finding for operation in OPERATIONS)
    assert (told["verdict"], told["detail"]) == ("INFO", "none")
    some = rules.open_findings(["F-012", "F-009", "F-012"])
    assert some.detail == "2 open Sev-1 (and operations that answer 501): F-009 (1), F-012 (2)"


def test_a_table_fits_eighty_columns_and_csv_holds_every_field(database: Database, cli: CommandLine):
    del database
    shown = cli("doctor", "--output", "table").stdout.splitlines()
    assert shown[0].split() == ["check", "verdict", "detail"] or shown[0].split() == ["CHECK", "VERDICT", "DETAIL"]
    assert max(map(len, shown)) <= 80
    assert any(re.fullmatch(r"reaper +FINDING +it has never run", line) for line in shown)
    assert any(re.match(r" +next: Run `blaidctl job reap`", line) for line in shown)
    rows = list(csv.DictReader(io.StringIO(cli("doctor", "--output", "csv").stdout)))
    assert list(rows[0]) == ["check", "verdict", "detail", "next_step"]
    assert [row["check"] for row in rows] == list(verdicts(cli("doctor")))


@pytest.mark.usefixtures("sqlite_database")
def test_verdicts_have_their_colours(process: ProcessCommandLine):
    env = process.environment({"TERM": "xterm-256color", "NO_COLOR": None})
    screen, code = pexpect.run(f"{SCRIPT} doctor", env=env, encoding="utf-8", withexitstatus=True)
    assert code == 1
    for verdict, colour in (("OK", 32), ("FINDING", 31), ("NOT_CHECKED", 33), ("INFO", 2)):
        assert f"\x1b[{colour}m{verdict}" in screen
