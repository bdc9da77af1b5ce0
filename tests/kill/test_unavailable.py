"""The database is down, gone, old, new, full, read-only, slow, hung, or lost at COMMIT.

The answer is always one of three, killed, NOT KILLED or KILL OUTCOME UNKNOWN: never a traceback, never a password,
never a wait without an end.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from blaidctl.core import migrate
from tests.kill.fleet import BACK, WHY, bots, done, dump, entries, events, fleet, not_killed, refused, verified
from tests.kill.proxy import Proxy
from tests.support.commandline import SCRIPT, CommandLine, ProcessCommandLine, Run

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kill.proxy import Cut
    from tests.support.database import Database
    from tests.support.postgres import PostgresAddress, PostgresServer

HERE = Path(__file__).parent
#: Every command that reaches the database, and its exit code when there is none.
COMMANDS = (
    ("kill", "a1", *WHY),
    ("kill", "--all", *WHY, "--confirm-count", "1"),
    ("resurrect", "a1", *BACK),
    ("kill-events",),
    ("status",),
    ("bot", "list"),
    ("user", "add", "x"),
    ("audit", "verify"),
    ("audit", "tail"),
    ("audit", "export"),
    ("db", "check"),
)


def everything_says(
    run: Callable[..., Run], code: int, error_code: str, *, env: dict[str, str | None] | None = None
) -> None:
    """Insist on one answer from every command; the guard says no, and a kill says that nobody was killed."""
    for command in COMMANDS:
        answer = run(*command, env=env)
        error = refused(answer, code, error_code)
        assert error["next_steps"]
        assert "\n" not in error["message"]
        said = answer.stderr.splitlines()[-1]
        assert (said == "NOT KILLED") is (command[0] == "kill")
    guard = run("guard", "a1", env=env)
    assert (guard.code, guard.error["error_code"]) == (1, "MAY_NOT_TRADE")
    assert guard.json["result"]["answer"] == "MAY_NOT_TRADE"
    assert guard.json["result"]["reasons"][0].startswith(f"{error_code}: ")


# ---- not there -----------------------------------------------------------------------------------------------


def test_a_server_that_is_down_and_up_again(private_postgres: PostgresServer, sqlite_database: Database, home: Path):
    url = private_postgres.url("postgres")
    migrate.upgrade(url)
    cli = CommandLine(sqlite_database, home)
    env: dict[str, str | None] = {"BLAIDCTL_DATABASE_URL": url}
    for words in (("user", "add", "alice"), ("bot", "add", "a1", "--user", "alice")):
        done(cli(*words, env=env))
    private_postgres.stop("immediate")
    everything_says(cli, 8, "DATABASE_DOWN", env=env)
    real = ProcessCommandLine(sqlite_database, home)("kill", "a1", *WHY, env=env)
    not_killed(real, 8, "DATABASE_DOWN")
    assert private_postgres.address.password not in real.stderr
    private_postgres.restart()
    assert done(cli("kill", "a1", *WHY, env=env)).json["result"]["bots"][0]["effect"] == "APPLIED"


def test_a_port_where_nobody_listens(cli: CommandLine, sqlite_database: Database):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    env: dict[str, str | None] = {"BLAIDCTL_DATABASE_URL": f"postgresql://me:s3cret@127.0.0.1:{port}/x"}
    everything_says(cli, 8, "DATABASE_DOWN", env=env)
    assert "s3cret" not in cli("kill", "a1", *WHY, env=env).stderr
    assert dump(sqlite_database)["audit_log"] == []


def test_a_server_that_never_answers_ends_the_wait(cli: CommandLine, sqlite_database: Database):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        env: dict[str, str | None] = {
            "BLAIDCTL_DATABASE_URL": f"postgresql://me:s3cret@127.0.0.1:{silent.getsockname()[1]}/x",
            "BLAIDCTL_CONNECT_TIMEOUT_S": "2",
        }
        started = time.monotonic()
        not_killed(cli("kill", "a1", *WHY, env=env), 8, "DATABASE_DOWN")
        assert time.monotonic() - started < 60
    assert dump(sqlite_database)["audit_log"] == []


def test_a_file_that_is_not_there_is_not_made(cli: CommandLine, sqlite_database: Database, tmp_path: Path):
    folder = tmp_path / "empty"
    folder.mkdir()
    for path in (folder / "typo.db", folder / "no" / "such" / "folder.db", tmp_path / "typo.db" / "x"):
        everything_says(cli, 8, "DATABASE_MISSING", env={"BLAIDCTL_DATABASE_URL": f"sqlite:///{path}"})
    assert list(folder.iterdir()) == []
    assert dump(sqlite_database)["audit_log"] == []


def test_a_database_of_that_name_is_not_there(
    cli: CommandLine, postgres_database: Database, postgres_address: PostgresAddress
):
    everything_says(cli, 8, "DATABASE_MISSING", env={"BLAIDCTL_DATABASE_URL": postgres_address.url("no_such")})
    assert dump(postgres_database)["audit_log"] == []


@pytest.mark.parametrize(
    "content", [b"this is no database at all, but a text\n" * 50, b"SQLite format 3\0" + b"\xff" * 4096]
)
def test_a_file_that_is_no_database(cli: CommandLine, sqlite_database: Database, tmp_path: Path, content: bytes):
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    everything_says(cli, 8, "DATABASE_CORRUPT", env={"BLAIDCTL_DATABASE_URL": f"sqlite:///{path}"})
    assert path.read_bytes() == content
    assert dump(sqlite_database)["audit_log"] == []


def test_a_folder_in_place_of_the_file(cli: CommandLine, sqlite_database: Database, tmp_path: Path):
    everything_says(cli, 8, "DATABASE_DOWN", env={"BLAIDCTL_DATABASE_URL": f"sqlite:///{tmp_path}"})
    everything_says(cli, 8, "DATABASE_DOWN", env={"BLAIDCTL_DATABASE_URL": f"sqlite:///{tmp_path / ('x' * 300)}"})
    assert dump(sqlite_database)["audit_log"] == []


def test_a_wrong_password_is_never_shown(
    cli: CommandLine, postgres_database: Database, postgres_address: PostgresAddress
):
    bots(postgres_database, ["a1"])
    url = postgres_database.url.replace(postgres_address.password, "not-the-p4ssword")
    stranger = postgres_database.url.replace(f"{postgres_address.user}:", "stranger:")
    for wrong in (url, stranger, postgres_database.url.replace(f":{postgres_address.password}@", "@")):
        env: dict[str, str | None] = {"BLAIDCTL_DATABASE_URL": wrong}
        everything_says(cli, 8, "DATABASE_PERMISSION", env=env)
        for output in ("json", "table"):
            run = cli("kill", "a1", *WHY, "--output", output, env=env)
            assert not {"not-the-p4ssword", postgres_address.password} & set(run.stderr.split('"'))
            assert "not-the-p4ssword" not in run.stderr
            assert postgres_address.password not in run.stderr
    assert events(postgres_database) == []


# ---- another schema ------------------------------------------------------------------------------------------


def test_a_database_without_a_schema(cli: CommandLine, blank_database: Database):
    if blank_database.kind == "sqlite":
        assert blank_database.path is not None
        blank_database.path.touch()
    everything_says(cli, 8, "SCHEMA_BEHIND")
    assert not blank_database.sql(
        "SELECT name FROM sqlite_schema"
        if blank_database.kind == "sqlite"
        else "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    )


def test_a_schema_that_is_behind(cli: CommandLine, blank_database: Database):
    migrate.upgrade(blank_database.url, to="0003")
    blank_database.sql("INSERT INTO users (id, name, created_at) VALUES ('alice', 'alice', '2026-01-01T00:00:00Z')")
    everything_says(cli, 8, "SCHEMA_BEHIND")
    assert blank_database.sql("SELECT count(*) FROM audit_log") == [(0,)]
    assert blank_database.sql("SELECT version_num FROM alembic_version") == [("0003",)]


@pytest.mark.parametrize(
    ("statement", "error_code"),
    [
        ("UPDATE alembic_version SET version_num = '9999'", "SCHEMA_AHEAD"),
        ("INSERT INTO alembic_version VALUES ('9999')", "SCHEMA_AHEAD"),
        ("DELETE FROM alembic_version", "SCHEMA_BEHIND"),
    ],
)
def test_a_schema_that_is_not_this_version(cli: CommandLine, database: Database, statement: str, error_code: str):
    bots(database, ["a1"])
    database.sql(statement)
    before = dump(database)
    for command in COMMANDS[:-1]:
        run = cli(*command)
        if "INSERT" in statement:  # two revisions at once: no version of blaidctl made that
            assert (run.code, run.error["error_code"]) in {(8, "SCHEMA_AHEAD"), (8, "SCHEMA_BEHIND")}
        else:
            refused(run, 8, error_code)
        assert (run.stderr.splitlines()[-1] == "NOT KILLED") is (command[0] == "kill")
    assert cli("guard", "a1").code == 1
    assert dump(database) == before


# ---- no right to write ---------------------------------------------------------------------------------------


def powerless(process: ProcessCommandLine, *arguments: str) -> Run:
    """Run the installed script without root's power over permissions."""
    ended = subprocess.run(
        [sys.executable, HERE / "powerless.py", SCRIPT, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=process.environment(),
    )
    return Run(ended.returncode, ended.stdout, ended.stderr)


@pytest.mark.parametrize(
    ("modes", "error_codes"),
    [
        ({"file": 0o444, "folder": 0o755}, {"DATABASE_READ_ONLY"}),
        ({"file": 0o644, "folder": 0o555}, {"DATABASE_READ_ONLY", "DATABASE_DOWN"}),
        ({"file": 0o444, "folder": 0o555}, {"DATABASE_READ_ONLY", "DATABASE_DOWN"}),
        ({"file": 0o000, "folder": 0o755}, {"DATABASE_DOWN", "DATABASE_PERMISSION"}),
        ({"file": 0o644, "folder": 0o000}, {"DATABASE_PERMISSION"}),
    ],
    ids=["file", "folder", "both", "unreadable", "unreachable"],
)
def test_without_the_right_to_write_nobody_is_killed(
    process: ProcessCommandLine, sqlite_database: Database, tmp_path: Path, modes: dict[str, int], error_codes: set[str]
):
    bots(sqlite_database, ["a1"])
    folder = tmp_path / "locked"
    folder.mkdir()
    file = folder / "blaidctl.db"
    assert sqlite_database.path is not None
    shutil.copyfile(sqlite_database.path, file)
    sqlite_database.url = f"sqlite:///{file}"
    file.chmod(modes["file"])
    folder.chmod(modes["folder"])
    try:
        run = powerless(process, "kill", "a1", *WHY)
        guard = powerless(process, "guard", "a1")
    finally:
        folder.chmod(0o755)
        file.chmod(0o644)
    assert run.error["error_code"] in error_codes
    not_killed(run, 8, run.error["error_code"])
    if modes["file"] == 0 or modes["folder"] == 0:
        assert guard.code == 1
    sqlite_database.path = file
    assert events(sqlite_database) == []
    done(process("kill", "a1", *WHY))


def test_a_server_that_takes_no_writes(cli: CommandLine, postgres_database: Database):
    """A standby, or a role without rights: reading goes on, nobody is killed."""
    bots(postgres_database, ["a1"])
    name = postgres_database.url.rpartition("/")[2]
    postgres_database.sql(
        "CREATE FUNCTION standby() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'cannot execute UPDATE in a read-only transaction' USING ERRCODE = '25006'; END $$"
    )
    postgres_database.sql("CREATE TRIGGER standby BEFORE INSERT ON kill_events EXECUTE FUNCTION standby()")
    not_killed(cli("kill", "a1", *WHY), 8, "DATABASE_READ_ONLY")
    postgres_database.sql("DROP TRIGGER standby ON kill_events")
    role = f"reader_{name}"
    postgres_database.sql(f"CREATE ROLE {role} LOGIN PASSWORD 'r3ader'")
    try:
        postgres_database.sql(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
        url = f"postgresql://{role}:r3ader@{postgres_database.url.partition('@')[2]}"
        env: dict[str, str | None] = {"BLAIDCTL_DATABASE_URL": url}
        done(cli("status", env=env))
        not_killed(cli("kill", "a1", *WHY, env=env), 8, "DATABASE_PERMISSION")
    finally:
        postgres_database.sql(f"DROP OWNED BY {role}")
        postgres_database.sql(f"DROP ROLE {role}")
    assert events(postgres_database) == []


@pytest.mark.parametrize(
    ("state", "code", "error_code"),
    [
        ("53100", 8, "DISK_FULL"),
        ("53300", 8, "DATABASE_DOWN"),
        ("57P03", 8, "DATABASE_DOWN"),
        ("58030", 8, "DATABASE_DOWN"),
        ("42501", 8, "DATABASE_PERMISSION"),
        ("XX001", 8, "DATABASE_CORRUPT"),
        ("57014", 9, "STATEMENT_TIMEOUT"),
        ("55P03", 9, "BUSY"),
        ("40001", 9, "BUSY"),
        ("40P01", 9, "BUSY"),
        ("23514", 4, "DATABASE_GUARD_REFUSED"),
        ("23505", 4, "DATABASE_GUARD_REFUSED"),
        ("22P02", 70, "INTERNAL"),
    ],
)
def test_what_the_server_says_becomes_one_answer(
    cli: CommandLine, postgres_database: Database, state: str, code: int, error_code: str
):
    bots(postgres_database, ["a1"])
    postgres_database.sql(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('tries');"
        f" RAISE EXCEPTION 'the server''s own words' USING ERRCODE = '{state}'; END $$"
    )
    postgres_database.sql("CREATE SEQUENCE tries")
    postgres_database.sql("CREATE TRIGGER fail BEFORE INSERT ON kill_events EXECUTE FUNCTION fail()")
    error = not_killed(cli("kill", "a1", *WHY), code, error_code)
    assert "the server's own words" in error["message"]
    assert events(postgres_database) == []
    # What another attempt may cure is attempted a bounded number of times; everything else once.
    ((tries,),) = postgres_database.sql("SELECT last_value FROM tries")
    assert tries == (5 if state in {"40001", "40P01", "23505"} else 1)


def test_a_deadlock_that_passes_is_retried_and_done_once(cli: CommandLine, postgres_database: Database):
    bots(postgres_database, ["a1"])
    postgres_database.sql("CREATE SEQUENCE tries")
    postgres_database.sql(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF nextval('tries') < 4 THEN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END IF; RETURN NULL; END $$"
    )
    postgres_database.sql("CREATE TRIGGER fail AFTER INSERT ON kill_events EXECUTE FUNCTION fail()")
    done(cli("kill", "a1", *WHY))
    assert postgres_database.sql("SELECT last_value FROM tries") == [(4,)]
    assert events(postgres_database) == [("a1", "KILL", "APPLIED", None, 0)]
    assert len(entries(postgres_database)) == 1


# ---- full ----------------------------------------------------------------------------------------------------


def test_a_full_disk_kills_nobody_and_a_freed_one_does(
    process: ProcessCommandLine, sqlite_database: Database, tmp_path: Path
):
    bots(sqlite_database, ["a1"])
    disk = tmp_path / "disk"
    disk.mkdir()
    assert sqlite_database.path is not None
    script = [sys.executable, HERE / "small_disk.py", disk, sqlite_database.path, SCRIPT]
    apart = subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0  # noqa: S607
    ended = subprocess.run(
        [*(["unshare", "-rm"] if apart else []), *script],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=process.environment({"BLAIDCTL_DATABASE_URL": f"sqlite:///{disk}/blaidctl.db"}),
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert len(found["full"]) == 3
    for answer in found["full"]:
        error = not_killed(Run(**answer), 8, "DISK_FULL")
        assert "full" in error["message"]
    looked, killed, verify = (Run(**answer) for answer in found["after"])
    assert done(looked).json["result"]["events"] == []
    assert done(killed).json["replayed"] is False
    assert done(verify).json["result"]["answer"] == "OK"


def test_a_file_that_may_not_grow_kills_nobody(process: ProcessCommandLine, sqlite_database: Database):
    """A limit on file size (`ulimit -f`, a quota): SQLite meets it at COMMIT, and nothing is half written."""
    bots(sqlite_database, ["a1"])
    assert sqlite_database.path is not None
    limited = 'ulimit -f 1; exec "$0" "$@"'
    ended = subprocess.run(
        ["/bin/sh", "-c", limited, SCRIPT, "kill", "a1", *WHY, "--request-id", "once"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=process.environment(),
    )
    run = Run(ended.returncode, ended.stdout, ended.stderr)
    assert (run.code, run.error["error_code"]) in {(8, "DATABASE_DOWN"), (8, "DISK_FULL"), (9, "OUTCOME_UNKNOWN")}
    assert run.stderr.splitlines()[-1] == ("KILL OUTCOME UNKNOWN" if run.code == 9 else "NOT KILLED")
    assert "Traceback" not in run.stderr
    assert events(sqlite_database) == []
    assert done(process("kill", "a1", *WHY, "--request-id", "once")).json["replayed"] is False
    verified(process)


# ---- busy and slow -------------------------------------------------------------------------------------------


def test_a_lock_held_for_longer_than_the_limit_is_busy(cli: CommandLine, database: Database):
    bots(database, ["a1"])
    before = dump(database)
    holder = database.raw()
    holder.execute("BEGIN IMMEDIATE" if database.kind == "sqlite" else "BEGIN")
    if database.kind == "postgresql":
        holder.execute("SELECT 1 FROM bots WHERE id = 'a1' FOR UPDATE")
    limits: dict[str, str | None] = {"BLAIDCTL_KILL_LOCK_TIMEOUT_S": "1", "BLAIDCTL_LOCK_TIMEOUT_S": "1"}
    not_killed(cli("kill", "a1", *WHY, env=limits), 9, "BUSY")
    refused(cli("resurrect", "a1", *BACK, env=limits), 9, "BUSY")
    done(cli("kill-events", env=limits))  # who only reads does not wait
    holder.execute("ROLLBACK")
    assert dump(database) == before
    done(cli("kill", "a1", *WHY, env=limits))


def test_the_head_of_the_chain_held_for_longer_is_busy_too(cli: CommandLine, postgres_database: Database):
    bots(postgres_database, ["a1"])
    holder = postgres_database.raw()
    holder.execute("BEGIN")
    holder.execute("SELECT 1 FROM audit_head FOR UPDATE")
    not_killed(cli("kill", "a1", *WHY, env={"BLAIDCTL_KILL_LOCK_TIMEOUT_S": "1"}), 9, "BUSY")
    holder.execute("ROLLBACK")
    assert events(postgres_database) == []


def test_a_kill_waits_longer_for_a_lock_than_the_rest(cli: CommandLine, database: Database):
    """10 s against 2 s by default: told apart by which one gives up, with the limits 20 s and 1 s."""
    import threading

    bots(database, ["a1"])
    holder = database.raw()
    holder.execute("BEGIN IMMEDIATE" if database.kind == "sqlite" else "BEGIN")
    if database.kind == "postgresql":
        holder.execute("SELECT 1 FROM bots WHERE id = 'a1' FOR UPDATE")
    limits: dict[str, str | None] = {"BLAIDCTL_KILL_LOCK_TIMEOUT_S": "20", "BLAIDCTL_LOCK_TIMEOUT_S": "1"}
    refused(cli("resurrect", "a1", *BACK, env=limits), 9, "BUSY")
    release = threading.Timer(1.5, holder.execute, ["ROLLBACK"])
    release.start()
    done(cli("kill", "a1", *WHY, env=limits))
    release.join()


def test_a_statement_that_runs_too_long_is_ended(cli: CommandLine, database: Database):
    bots(database, ["a1"])
    before = dump(database)
    if database.kind == "sqlite":
        long = (
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 100000000) SELECT count(*) FROM n"
        )
        database.sql(f"CREATE TRIGGER slow AFTER INSERT ON kill_events BEGIN {long}; END")
    else:
        database.sql("CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); END $$")
        database.sql("CREATE TRIGGER slow AFTER INSERT ON kill_events FOR EACH ROW EXECUTE FUNCTION slow()")
    started = time.monotonic()
    not_killed(cli("kill", "a1", *WHY, env={"BLAIDCTL_STATEMENT_TIMEOUT_S": "1"}), 9, "STATEMENT_TIMEOUT")
    assert time.monotonic() - started < 40
    assert dump(database) == before


# ---- the wire ------------------------------------------------------------------------------------------------


def through(database: Database, address: PostgresAddress, proxy: Proxy) -> dict[str, str | None]:
    return {
        "BLAIDCTL_DATABASE_URL": database.url.replace(f":{address.port}/", f":{proxy.port}/"),
        "BLAIDCTL_KILL_LOCK_TIMEOUT_S": "1",
        "BLAIDCTL_STATEMENT_TIMEOUT_S": "2",
        "BLAIDCTL_CONNECT_TIMEOUT_S": "2",
    }


KILL_ONCE = ("kill", "a1", *WHY, "--request-id", "once")
ONE_KILL = [("a1", "KILL", "APPLIED", None, 0)]


@pytest.mark.parametrize(("cut", "replayed"), [("before", False), ("after", True)])
@pytest.mark.parametrize("times", [1, 3])
def test_a_connection_lost_at_commit_is_looked_up_and_done_once(
    cli: CommandLine,
    postgres_database: Database,
    postgres_address: PostgresAddress,
    cut: Cut,
    *,
    replayed: bool,
    times: int,
):
    bots(postgres_database, ["a1"])
    with Proxy(postgres_address.port, cut, times=times) as proxy:
        run = done(cli(*KILL_ONCE, env=through(postgres_database, postgres_address, proxy)))
        assert proxy.cuts == times
    assert run.json["replayed"] is replayed
    assert events(postgres_database) == ONE_KILL
    assert len(entries(postgres_database)) == 1
    assert done(cli(*KILL_ONCE)).json["replayed"] is True
    verified(cli)


@pytest.mark.parametrize(("cut", "written"), [("before", False), ("after", True)])
def test_a_database_that_stays_away_after_commit_leaves_the_outcome_open(
    cli: CommandLine,
    postgres_database: Database,
    postgres_address: PostgresAddress,
    cut: Cut,
    *,
    written: bool,
):
    bots(postgres_database, ["a1"])
    with Proxy(postgres_address.port, cut, then_refuse=True) as proxy:
        run = cli(*KILL_ONCE, env=through(postgres_database, postgres_address, proxy))
    error = refused(run, 9, "OUTCOME_UNKNOWN")
    assert run.stderr.splitlines()[-1] == "KILL OUTCOME UNKNOWN"
    assert "--request-id once" in " ".join(error["next_steps"])
    assert events(postgres_database) == (ONE_KILL if written else [])
    assert done(cli(*KILL_ONCE)).json["replayed"] is written
    assert events(postgres_database) == ONE_KILL
    verified(cli)


def test_every_commit_lost_leaves_the_outcome_open(
    cli: CommandLine, postgres_database: Database, postgres_address: PostgresAddress
):
    bots(postgres_database, ["a1"])
    with Proxy(postgres_address.port, "before", times=99) as proxy:
        run = cli(*KILL_ONCE, env=through(postgres_database, postgres_address, proxy))
        assert proxy.cuts == 5
    refused(run, 9, "OUTCOME_UNKNOWN")
    assert events(postgres_database) == []


def test_a_commit_that_is_still_on_its_way_is_never_denied(
    cli: CommandLine, postgres_database: Database, postgres_address: PostgresAddress
):
    """The lost transaction still holds its locks: "busy, nothing was written" would be a lie a moment later."""
    bots(postgres_database, ["a1"])
    with Proxy(postgres_address.port, "hold") as proxy:
        run = cli(*KILL_ONCE, env=through(postgres_database, postgres_address, proxy))
        refused(run, 9, "OUTCOME_UNKNOWN")
        assert run.stderr.splitlines()[-1] == "KILL OUTCOME UNKNOWN"
        assert events(postgres_database) == []
        proxy.release()
        until = time.monotonic() + 30
        while not events(postgres_database) and time.monotonic() < until:
            time.sleep(0.05)
    assert events(postgres_database) == ONE_KILL
    assert done(cli(*KILL_ONCE)).json["replayed"] is True


def test_a_connection_lost_before_commit_kills_nobody(
    cli: CommandLine, postgres_database: Database, postgres_address: PostgresAddress
):
    bots(postgres_database, ["a1"])
    with Proxy(postgres_address.port, "before", words=b"kill_events") as proxy:
        run = cli(*KILL_ONCE, env=through(postgres_database, postgres_address, proxy))
    not_killed(run, 8, "DATABASE_DOWN")
    assert events(postgres_database) == []
    assert done(cli(*KILL_ONCE)).json["replayed"] is False


@pytest.mark.parametrize("words", [b"kill_events", b"COMMIT\x00"])
def test_a_server_that_hangs_ends_the_wait(
    cli: CommandLine, postgres_database: Database, postgres_address: PostgresAddress, words: bytes
):
    """Its own time limits hang with it: the client cuts the wire."""
    bots(postgres_database, ["a1"])
    with Proxy(postgres_address.port, "freeze", words=words, times=99) as proxy:
        started = time.monotonic()
        run = cli(*KILL_ONCE, env=through(postgres_database, postgres_address, proxy))
        assert time.monotonic() - started < 90
    if words == b"kill_events":
        not_killed(run, 8, "DATABASE_DOWN")
    else:
        refused(run, 9, "OUTCOME_UNKNOWN")
    assert events(postgres_database) == []


@pytest.mark.parametrize("words", [b"DECLARE", b"FETCH"])
def test_a_verify_that_loses_its_server_is_no_finding(
    cli: CommandLine, postgres_database: Database, postgres_address: PostgresAddress, words: bytes
):
    fleet(cli)
    with Proxy(postgres_address.port, "before", words=words) as proxy:
        refused(cli("audit", "verify", env=through(postgres_database, postgres_address, proxy)), 8, "DATABASE_DOWN")
        assert proxy.cuts == 1


def test_a_backend_that_is_ended_kills_nobody(cli: CommandLine, postgres_database: Database):
    """`pg_terminate_backend` in the middle of the kill."""
    bots(postgres_database, ["a1"])
    postgres_database.sql(
        "CREATE FUNCTION fall() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$"
    )
    postgres_database.sql("CREATE TRIGGER fall AFTER INSERT ON kill_events EXECUTE FUNCTION fall()")
    not_killed(cli("kill", "a1", *WHY), 8, "DATABASE_DOWN")
    assert events(postgres_database) == []


def test_a_pipe_that_is_closed_keeps_the_kill(process: ProcessCommandLine, database: Database):
    bots(database, ["a1"])
    child = process.spawn("kill", "a1", *WHY)
    assert child.stdout is not None
    child.stdout.close()
    with contextlib.suppress(ValueError, BrokenPipeError):
        child.wait(60)
    assert child.stderr is not None
    said = child.stderr.read()
    assert "Traceback" not in said
    assert "NOT KILLED" not in said
    assert events(database) == ONE_KILL
    assert os.getpid() != child.pid
