"""`bot run` with real processes: every way in which one starts, ends, and is proven gone."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from blaidctl.core import process as processes
from tests.support.accounts import linked
from tests.support.commandline import SCRIPT
from tests.support.database import Database
from tests.support.processes import HOSTILE, LIMIT_S, TRACEABLE, lives, numbers_in, parent_of, tracer, wait_for

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Mapping

    from tests.support.commandline import CommandLine, ProcessCommandLine
    from tests.support.postgres import PostgresServer

WHY = ("--reason-code", "DRILL", "--reason", "a drill")
#: Heartbeat and grace of a second, a lease of three: what the tests wait for comes soon.
QUICK = {"BLAIDCTL_HEARTBEAT_S": "1", "BLAIDCTL_LEASE_S": "3", "BLAIDCTL_GRACE_S": "1"}
#: The same with a lease that does not end while a busy machine looks elsewhere.
CALM = {**QUICK, "BLAIDCTL_LEASE_S": "60"}
COLUMNS = (
    "id", "bot_id", "account_id", "status", "stop_reason", "host", "boot_id", "pid", "pid_started", "attempt",
    "exit_status", "heartbeat_at", "stopped_at", "stop_confirmed_at",
)  # fmt: skip
#: A bot that says its own pid and that of a child of its own, ignores TERM like it, and never ends by itself.
STUBBORN = ("sh", "-c", "trap '' TERM; sleep 300 & echo $$ $! >pids; wait")
#: A bot that says its pid and goes at the first TERM.
MEEK = ("sh", "-c", "echo $$ >pids; exec sleep 300")


@dataclasses.dataclass
class Supervised:
    """A supervisor that runs, its process, and the row of its instance."""

    popen: subprocess.Popen[str]
    database: Database
    instance: int
    pids: list[int]

    def row(self) -> dict[str, Any]:
        return row(self.database, self.instance)

    def ended(self) -> tuple[int, str]:
        """Wait for the supervisor; return its exit code and standard error."""
        _, stderr = self.popen.communicate(timeout=LIMIT_S)
        assert "Traceback" not in stderr
        return self.popen.returncode, stderr

    def gone(self) -> bool:
        return not any(map(lives, self.pids))


@pytest.fixture
def fleet(cli: CommandLine) -> None:
    """The bot b1 of alice, linked to her account."""
    assert cli("user", "add", "alice").code == 0
    assert cli("bot", "add", "b1", "--user", "alice").code == 0
    linked(cli, "b1")


@pytest.fixture
def run(process: ProcessCommandLine, home: Path, fleet: None) -> Callable[..., Supervised]:
    """`run(*command)`: spawn `bot run b1 -- command` and wait until it is RUNNING and has written its pids."""
    del fleet

    def start(*command: str, env: Mapping[str, str] = CALM, database: Database | None = None) -> Supervised:
        used = database or process.database
        before = count(used, "bot_instances")
        popen = process.spawn("bot", "run", "b1", "--", *command, env=env, database=database)
        wait_for(
            lambda: (
                popen.poll() is not None
                or used.sql("SELECT 1 FROM bot_instances WHERE status = 'RUNNING' AND id > ?", (before,))
            )
        )
        assert popen.poll() is None, popen.communicate()
        ((instance,),) = used.sql("SELECT id FROM bot_instances WHERE id > ?", (before,))
        pids = home / "pids"
        wait_for(lambda: pids.exists() and pids.read_text().endswith("\n"))
        said = [int(word) for word in pids.read_text().split()]
        assert said[0] == row(used, instance)["pid"]
        return Supervised(popen, used, instance, said)

    return start


def row(database: Database, instance: int | None = None) -> dict[str, Any]:
    wanted = "" if instance is None else f" WHERE id = {instance}"
    (values,) = database.sql(f"SELECT {', '.join(COLUMNS)} FROM bot_instances{wanted}")
    return dict(zip(COLUMNS, values, strict=True))


def count(database: Database, table: str) -> int:
    ((found,),) = database.sql(f"SELECT count(*) FROM {table}")
    return int(found)


def acts(database: Database) -> list[tuple[Any, ...]]:
    return database.sql("SELECT action, outcome FROM audit_log WHERE substr(action, 1, 9) = 'instance ' ORDER BY seq")


def traces(database: Database) -> list[tuple[Any, ...]]:
    return database.sql("SELECT DISTINCT trace_id FROM audit_log WHERE substr(action, 1, 9) = 'instance '")


# ---- it ends by itself ---------------------------------------------------------------------------------------


@pytest.mark.operation("bot run", "instance start", "instance run", "instance finish")
@pytest.mark.parametrize(
    ("script", "code", "ending"),
    [
        ("exit 0", 0, ("STOPPED", "EXITED", "exit 0")),
        ("exit 3", 1, ("FAILED", "EXIT_NONZERO", "exit 3")),
        ("kill -KILL $$", 1, ("FAILED", "SIGNALLED", "signal 9 SIGKILL")),
    ],
)
@pytest.mark.usefixtures("fleet")
def test_the_end_of_the_process_is_the_end_of_the_run(
    process: ProcessCommandLine, database: Database, script: str, code: int, ending: tuple[str, ...]
):
    command = ("sh", "-c", f"cat; echo out; echo err >&2; {script}")
    ran = process("bot", "run", "b1", "--account", "alice-paper", "--", *command, stdin="in\n", env=CALM)
    assert (ran.code, ran.stdout) == (code, "in\nout\n")
    assert "err\n" in ran.stderr
    assert ending[-1] in ran.stderr
    found = row(database)
    assert (found["status"], found["stop_reason"], found["exit_status"]) == ending
    assert found["stop_confirmed_at"] == found["stopped_at"]
    assert (found["account_id"], found["attempt"]) == ("alice-paper", 1)
    assert found["boot_id"] == processes.boot_id()
    assert found["pid"] > 1
    assert found["pid_started"].isdigit()
    assert acts(database) == [("instance start", "DONE"), ("instance run", "DONE"), ("instance finish", "DONE")]
    assert len(traces(database)) == 1
    if code:
        assert ran.error["error_code"] == "PROCESS_FAILED"
    ((seq, entry),) = database.sql("SELECT seq, entry_hash FROM audit_log WHERE action = 'instance finish'")
    assert f"audit seq {seq}, entry hash {bytes(entry).hex()}" in ran.stderr


@pytest.mark.usefixtures("fleet")
def test_what_the_process_leaves_in_its_group_ends_with_it(process: ProcessCommandLine, home: Path, database: Database):
    command = ("sh", "-c", "trap '' TERM; sleep 300 >/dev/null 2>&1 & echo $! >pids; exit 0")
    assert process("bot", "run", "b1", "--", *command, env=CALM).code == 0
    assert not lives(int((home / "pids").read_text()))
    assert row(database)["exit_status"] == "exit 0"


@pytest.mark.usefixtures("fleet")
def test_the_process_learns_who_it_is_and_no_password(process: ProcessCommandLine, database: Database):
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    parent = f"00-{trace}-00f067aa0ba902b7-01"
    ran = process("bot", "run", "b1", "--", "env", env={**CALM, "TRACEPARENT": parent, "MINE": "too"})
    told = dict(line.split("=", 1) for line in ran.stdout.splitlines())
    assert told["BLAIDCTL_BOT_ID"] == "b1"
    assert told["BLAIDCTL_INSTANCE_ID"] == str(row(database)["id"])
    assert told["MINE"] == "too"
    assert re.fullmatch(f"00-{trace}-[0-9a-f]{{16}}-01", told["TRACEPARENT"])
    assert told["TRACEPARENT"] != parent
    assert traces(database) == [(trace,)]
    address = told["BLAIDCTL_DATABASE_URL"]
    if database.kind == "sqlite":
        assert address == database.url
    else:
        password = psycopg.conninfo.conninfo_to_dict(database.url)["password"]
        assert address == database.url.replace(f":{password}@", "@")
        assert str(password) not in ran.stdout


@pytest.mark.usefixtures("fleet")
def test_the_process_asks_the_guard_about_itself(process: ProcessCommandLine, home: Path, database: Database):
    """The password is no variable of blaidctl's: a server's client finds it in its password file."""
    passwords = home / "passwords"
    passwords.touch(mode=0o600)
    if database.kind == "postgresql":
        passwords.write_text(f"*:*:*:*:{psycopg.conninfo.conninfo_to_dict(database.url)['password']}\n")
    guard = ("sh", "-c", 'exec "$0" guard $BLAIDCTL_BOT_ID --instance $BLAIDCTL_INSTANCE_ID', str(SCRIPT))
    ran = process("bot", "run", "b1", "--", *guard, env={**CALM, "PGPASSFILE": str(passwords)})
    assert ran.code == 0, ran.stderr
    assert ran.json["result"]["answer"] == "MAY_TRADE"


# ---- it is killed --------------------------------------------------------------------------------------------


def test_a_kill_ends_the_process_and_waits_for_the_proof(
    run: Callable[..., Supervised], cli: CommandLine, database: Database
):
    running = run(*MEEK)
    killed = cli("kill", "b1", *WHY, "--wait", "20")
    assert running.gone()
    assert (killed.code, killed.json["result"]["stops_unconfirmed"]) == (0, [])
    code, stderr = running.ended()
    found = running.row()
    assert (found["status"], found["stop_reason"], found["exit_status"]) == ("STOPPED", "KILLED", "signal 15 SIGTERM")
    assert found["stop_confirmed_at"] > found["stopped_at"]
    assert code == 5
    error = json.loads(stderr.splitlines()[-1])
    assert error["error_code"] == "BOT_KILLED"
    assert f"process {running.pids[0]} (instance {running.instance} of bot b1) is gone" in error["message"]
    assert acts(database)[-1] == ("instance finish", "DONE")
    assert cli("audit", "verify").code == 0


def test_a_kill_ends_who_ignores_term_and_its_children_after_the_grace(
    run: Callable[..., Supervised], cli: CommandLine
):
    running = run(*STUBBORN)
    assert len(running.pids) == 2
    killed = cli("kill", "b1", *WHY, "--wait", "20")
    assert running.gone()
    assert (killed.code, killed.json["result"]["stops_unconfirmed"]) == (0, [])
    assert running.ended()[0] == 5
    assert running.row()["exit_status"] == "signal 9 SIGKILL"


def test_a_full_pipe_does_not_protect_from_a_kill(run: Callable[..., Supervised], cli: CommandLine):
    """Nobody reads the supervisor's standard error, and the process has filled it."""
    running = run("sh", "-c", "echo $$ >pids; exec cat /dev/zero >&2")
    assert cli("kill", "b1", *WHY, "--wait", "20").code == 0
    assert running.gone()


@pytest.mark.usefixtures("fleet")
def test_a_kill_between_the_start_and_the_process_ends_it_at_once(process: ProcessCommandLine, database: Database):
    """As the supervisor sees it: it was given the right to run, and before its process stands the bot is killed."""
    stop = (
        "UPDATE bot_instances SET status = 'STOPPED', stop_reason = 'KILLED', stopped_at = started_at"
        " WHERE status = 'STARTING'; UPDATE bots SET killed_at = created_at;"
    )
    if database.kind == "sqlite":
        database.sql(
            f"CREATE TRIGGER meanwhile AFTER INSERT ON requests WHEN NEW.operation = 'instance start' BEGIN {stop} END"
        )
    else:
        database.sql(
            f"CREATE FUNCTION meanwhile() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {stop} RETURN NULL; END $$"
        )
        database.sql(
            "CREATE TRIGGER meanwhile AFTER INSERT ON requests FOR EACH ROW WHEN (NEW.operation = 'instance start')"
            " EXECUTE FUNCTION meanwhile()"
        )
    ran = process("bot", "run", "b1", "--", "sleep", "300", env=CALM)
    assert (ran.code, ran.error["error_code"]) == (5, "BOT_KILLED")
    found = row(database)
    assert (found["status"], found["stop_reason"], found["pid"]) == ("STOPPED", "KILLED", None)
    assert found["stop_confirmed_at"] is not None
    pid = re.search(r"process (\d+) ", ran.error["message"])
    assert pid is not None
    assert not lives(int(pid[1]))
    assert acts(database) == [("instance start", "DONE"), ("instance run", "REFUSED"), ("instance finish", "DONE")]


@pytest.mark.usefixtures("fleet")
def test_a_killed_bot_is_refused_and_the_refusal_is_an_entry(cli: CommandLine, database: Database):
    assert cli("kill", "b1", *WHY).code == 0
    ran = cli("bot", "run", "b1", "--", "true")
    assert (ran.code, ran.error["error_code"]) == (5, "BOT_KILLED")
    assert count(database, "bot_instances") == 0
    assert acts(database) == [("instance start", "REFUSED")]


def test_a_stop_without_a_supervisor_is_not_confirmed(
    run: Callable[..., Supervised], cli: CommandLine, database: Database
):
    running = run(*MEEK)
    running.popen.kill()
    running.popen.wait()
    wait_for(running.gone)  # by its keeper, but nobody is there who could prove it to the database
    killed = cli("kill", "b1", *WHY, "--wait", "1")
    assert (killed.code, killed.error["error_code"]) == (1, "STOP_UNCONFIRMED")
    found = running.row()
    assert killed.error["missing_requirements"] == [
        f"instance {running.instance} of b1 on {found['host']} (pid {running.pids[0]})"
    ]
    assert found["stop_confirmed_at"] is None
    assert database.sql("SELECT count(*) FROM kill_events") == [(1,)]


@pytest.mark.usefixtures("fleet")
def test_a_process_that_is_not_proven_gone_is_never_confirmed(
    process: ProcessCommandLine, cli: CommandLine, database: Database, home: Path
):
    """A debugger holds it: killed, it stays in the list of processes, and nobody can wait for it."""
    with tracer() as trace:
        supervisor = process.spawn("bot", "run", "b1", "--", sys.executable, "-c", TRACEABLE, env=CALM)
        wait_for(lambda: (home / "ready").exists() and row(database)["status"] == "RUNNING")
        trace(row(database)["pid"])
        killed = cli("kill", "b1", *WHY, "--wait", "1")
        assert (killed.code, killed.error["error_code"]) == (1, "STOP_UNCONFIRMED")
        stderr = supervisor.communicate(timeout=LIMIT_S)[1]
        found = row(database)
    error = json.loads(stderr.splitlines()[-1])
    assert (supervisor.returncode, error["error_code"]) == (1, "STOP_UNCONFIRMED")
    assert f"process {found['pid']} (instance {found['id']} of bot b1)" in error["message"]
    assert (found["status"], found["stop_reason"], found["stop_confirmed_at"]) == ("STOPPED", "KILLED", None)


@pytest.mark.parametrize("how", ["kill", "supervisor", "keeper"])
@pytest.mark.usefixtures("fleet")
def test_whoever_dies_nothing_that_the_process_started_is_left(
    process: ProcessCommandLine, cli: CommandLine, database: Database, home: Path, how: str
):
    supervisor = process.spawn("bot", "run", "b1", "--", sys.executable, "-c", HOSTILE, env=CALM)
    pids = numbers_in(home / "pids", 4)
    wait_for(lambda: row(database)["status"] == "RUNNING")
    command = row(database)["pid"]
    assert command in pids
    if how == "kill":
        assert cli("kill", "b1", *WHY, "--wait", "20").code == 0
        assert not any(map(lives, pids))
        return
    os.kill(supervisor.pid if how == "supervisor" else parent_of(command), signal.SIGKILL)
    wait_for(lambda: not any(map(lives, pids)))
    supervisor.communicate(timeout=LIMIT_S)
    found = row(database)
    if how == "supervisor":  # nobody is left who could say so
        assert (found["status"], found["stop_confirmed_at"]) == ("RUNNING", None)
    else:
        assert (found["status"], found["stop_reason"]) == ("FAILED", "SIGNALLED")
        assert found["exit_status"] == "signal 9 SIGKILL"
        assert found["stop_confirmed_at"] is not None


def test_a_process_that_was_dead_already_is_confirmed_as_such(run: Callable[..., Supervised], cli: CommandLine):
    """It died while its supervisor slept, and was killed while it was dead."""
    running = run(*MEEK)
    os.kill(running.popen.pid, signal.SIGSTOP)
    os.kill(running.pids[0], signal.SIGKILL)
    wait_for(running.gone)
    assert cli("kill", "b1", *WHY, "--wait", "0").error["error_code"] == "STOP_UNCONFIRMED"
    os.kill(running.popen.pid, signal.SIGCONT)
    assert running.ended()[0] == 5
    found = running.row()
    assert (found["stop_reason"], found["exit_status"]) == ("KILLED", "signal 9 SIGKILL")
    assert found["stop_confirmed_at"] > found["stopped_at"]
    assert cli("kill", "b1", *WHY, "--wait", "0").json["result"]["stops_unconfirmed"] == []


def test_a_supervisor_that_sleeps_longer_than_its_lease_wakes_up_to_an_ended_process(run: Callable[..., Supervised]):
    """The dead-man's switch: its keeper ends the process a grace after the lease, and who sleeps says so later."""
    running = run(*STUBBORN, env=QUICK)
    os.kill(running.popen.pid, signal.SIGSTOP)
    wait_for(running.gone)
    os.kill(running.popen.pid, signal.SIGCONT)
    code, stderr = running.ended()
    assert (code, json.loads(stderr.splitlines()[-1])["error_code"]) == (8, "LEASE_LOST")
    found = running.row()
    assert (found["status"], found["stop_reason"]) == ("FAILED", "LEASE_LOST")
    assert found["exit_status"] == "signal 9 SIGKILL"
    assert found["stop_confirmed_at"] is not None


@pytest.mark.parametrize("reason", ["KILLED", "SUPERVISOR_LOST"])
def test_a_stop_that_somebody_else_proved_first_is_not_called_unrecorded(
    run: Callable[..., Supervised], database: Database, reason: str
):
    """As the reaper does when it comes by while the supervisor sleeps."""
    running = run(*MEEK)
    os.kill(running.popen.pid, signal.SIGSTOP)
    os.kill(running.pids[0], signal.SIGKILL)
    database.sql(
        "UPDATE bot_instances SET status = ?, stop_reason = ?, stopped_at = started_at,"
        " stop_confirmed_at = started_at, exit_status = 'seen by another'",
        ("STOPPED" if reason == "KILLED" else "FAILED", reason),
    )
    os.kill(running.popen.pid, signal.SIGCONT)
    code, stderr = running.ended()
    error = json.loads(stderr.splitlines()[-1])
    expected = (5, "BOT_KILLED") if reason == "KILLED" else (1, "PROCESS_FAILED")
    assert (code, error["error_code"]) == expected
    assert f"recorded as {reason} (by somebody else)" in error["message"]
    assert "NOT RECORDED" not in stderr
    assert running.row()["exit_status"] == "seen by another"


@pytest.mark.usefixtures("fleet")
def test_a_bot_that_stopped_reading_its_pipe_is_killed(
    process: ProcessCommandLine, cli: CommandLine, database: Database, home: Path
):
    """Its standard input is full, and whoever writes to it waits; nobody reads its output either."""
    script = "trap '' TERM; echo $$ >pids; yes; while :; do sleep 300; done"
    supervisor = process.spawn("bot", "run", "b1", "--", "sh", "-c", script, env=CALM)
    (pid,) = numbers_in(home / "pids")
    wait_for(lambda: row(database)["status"] == "RUNNING")
    assert supervisor.stdin is not None
    os.set_blocking(supervisor.stdin.fileno(), False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(supervisor.stdin.fileno(), b"x" * 4096)
    assert cli("kill", "b1", *WHY, "--wait", "20").code == 0
    assert not lives(pid)


# ---- the supervisor is told to stop --------------------------------------------------------------------------


@pytest.mark.parametrize("order", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
@pytest.mark.usefixtures("sqlite_database")
def test_a_supervisor_that_must_stop_takes_its_process_along(run: Callable[..., Supervised], order: signal.Signals):
    running = run(*MEEK)
    running.popen.send_signal(signal.SIGTSTP)  # Ctrl-Z has no effect
    running.popen.send_signal(order)
    code, stderr = running.ended()
    assert running.gone()
    found = running.row()
    assert (code, found["status"], found["stop_reason"]) == (0, "STOPPED", "SUPERVISOR_STOPPED")
    assert found["stop_confirmed_at"] is not None
    assert "SUPERVISOR_STOPPED (audit seq" in stderr


@pytest.mark.usefixtures("fleet")
def test_an_order_to_stop_while_the_start_is_being_written_is_not_lost(
    process: ProcessCommandLine, database: Database, home: Path
):
    holder = database.raw()
    holder.execute("BEGIN IMMEDIATE" if database.kind == "sqlite" else "BEGIN")
    if database.kind == "postgresql":
        holder.execute("SELECT 1 FROM bots FOR UPDATE")
    patient = {**CALM, "BLAIDCTL_LOCK_TIMEOUT_S": "30", "BLAIDCTL_KILL_LOCK_TIMEOUT_S": "30"}
    supervisor = process.spawn("bot", "run", "b1", "--", "sh", "-c", "echo >ran", env=patient)
    wait_for(lambda: catches(supervisor.pid, signal.SIGUSR1))
    supervisor.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert supervisor.poll() is None
    holder.execute("ROLLBACK")
    assert supervisor.communicate(timeout=LIMIT_S)[1].count("nothing was started") == 1
    assert supervisor.returncode == 0
    found = row(database)
    assert (found["status"], found["stop_reason"], found["pid"]) == ("STOPPED", "SUPERVISOR_STOPPED", None)
    assert found["exit_status"] == "not started"
    assert not (home / "ran").exists()


@pytest.mark.usefixtures("fleet")
def test_a_start_that_waited_longer_than_a_lease_has_a_whole_one(
    process: ProcessCommandLine, sqlite_database: Database
):
    holder = sqlite_database.raw()
    holder.execute("BEGIN IMMEDIATE")
    patient = {**QUICK, "BLAIDCTL_LOCK_TIMEOUT_S": "30"}
    supervisor = process.spawn("bot", "run", "b1", "--", "sleep", "0.5", env=patient)
    wait_for(lambda: catches(supervisor.pid, signal.SIGUSR1))
    time.sleep(3.2)
    holder.execute("ROLLBACK")
    stderr = supervisor.communicate(timeout=LIMIT_S)[1]
    assert supervisor.returncode == 0, stderr


def catches(pid: int, number: signal.Signals) -> bool:
    """Say whether a process has a handler of its own for a signal."""
    caught = re.search(r"^SigCgt:\t(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert caught is not None
    return bool(int(caught[1], 16) >> (number - 1) & 1)


@pytest.mark.usefixtures("sqlite_database")
def test_a_signal_that_is_ignored_on_purpose_stays_ignored(run: Callable[..., Supervised]):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        running = run(*MEEK)
    finally:
        signal.signal(signal.SIGHUP, before)
    running.popen.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert running.popen.poll() is None
    assert not running.gone()


# ---- the database goes away ----------------------------------------------------------------------------------


@contextlib.contextmanager
def moved_away(path: Path) -> Iterator[None]:
    """No database at its address, as after the loss of a mount; permissions would not bind root."""
    elsewhere = path.with_name("elsewhere")
    elsewhere.mkdir()
    files = [file for file in path.parent.glob(f"{path.name}*") if not file.name.endswith("-queue")]
    for file in files:
        file.rename(elsewhere / file.name)
    try:
        yield
    finally:
        for file in elsewhere.iterdir():
            file.rename(path.with_name(file.name))
        elsewhere.rmdir()


def test_heartbeats_are_written_and_renew_the_lease(run: Callable[..., Supervised]):
    running = run(*MEEK, env={**QUICK, "BLAIDCTL_LEASE_S": "4"})
    first = running.row()["heartbeat_at"]
    time.sleep(5)  # longer than the lease
    assert running.row()["heartbeat_at"] > first
    assert running.popen.poll() is None
    assert not running.gone()


def test_a_lost_sqlite_file_ends_the_process_with_its_lease(run: Callable[..., Supervised], sqlite_database: Database):
    running = run(*STUBBORN, env=QUICK)
    assert sqlite_database.path is not None
    with moved_away(sqlite_database.path):
        code, stderr = running.ended()
    assert running.gone()
    error = json.loads(stderr.splitlines()[-1])
    assert (code, error["error_code"]) == (8, "DATABASE_MISSING")
    assert "no heartbeat could be written for 3 s" in error["message"]
    assert "NOT RECORDED" in stderr
    assert running.row()["status"] == "RUNNING"


def test_a_lost_server_ends_the_process_with_its_lease(
    run: Callable[..., Supervised], private_postgres: PostgresServer, cli: CommandLine, postgres_database: Database
):
    del postgres_database
    database = migrated(private_postgres, cli)
    running = run(*STUBBORN, env=QUICK, database=database)
    private_postgres.stop("immediate")
    code, stderr = running.ended()
    assert running.gone()
    assert (code, json.loads(stderr.splitlines()[-1])["error_code"]) == (8, "DATABASE_DOWN")
    assert "NOT RECORDED" in stderr
    private_postgres.restart()
    assert running.row()["status"] == "RUNNING"


def test_a_server_that_hangs_does_not_hold_the_process_alive(
    run: Callable[..., Supervised], private_postgres: PostgresServer, cli: CommandLine, postgres_database: Database
):
    """Stopped in the middle of everything it answers nothing, and the kernel keeps its connections open."""
    del postgres_database
    database = migrated(private_postgres, cli)
    limits = {"BLAIDCTL_CONNECT_TIMEOUT_S": "1", "BLAIDCTL_KILL_LOCK_TIMEOUT_S": "1", "BLAIDCTL_LOCK_TIMEOUT_S": "1"}
    running = run(*MEEK, env={**QUICK, **limits}, database=database)
    with frozen(private_postgres.pid):
        wait_for(running.gone)
        code, stderr = running.ended()
    error = json.loads(stderr.splitlines()[-1])
    assert (code, error["error_code"]) == (8, "DATABASE_DOWN")
    assert "gave no answer" in error["message"]
    assert "NOT RECORDED" in stderr


def migrated(server: PostgresServer, cli: CommandLine) -> Database:
    """The same fleet on a server that may be stopped."""
    database = Database("postgresql", server.url("postgres"))
    for words in (("db", "upgrade", "--yes"), ("user", "add", "alice"), ("bot", "add", "b1", "--user", "alice")):
        assert cli(*words, database=database).code == 0
    return database


@contextlib.contextmanager
def frozen(postmaster: int) -> Iterator[None]:
    """A server that does not answer: it and all that it started are stopped."""
    stopped = [postmaster]
    os.kill(postmaster, signal.SIGSTOP)
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # no process, or one that has ended meanwhile
            if f"\nPPid:\t{postmaster}\n" in (folder / "status").read_text():
                os.kill(int(folder.name), signal.SIGSTOP)
                stopped.append(int(folder.name))
    try:
        yield
    finally:
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):  # the first to go on may already have ended the next
                os.kill(pid, signal.SIGCONT)


def test_a_database_that_takes_no_heartbeat_ends_the_lease_and_hears_of_it_later(
    run: Callable[..., Supervised], database: Database
):
    """A writer that does not let go: reads work, but neither a heartbeat nor a kill could be written."""
    limits = {"BLAIDCTL_LOCK_TIMEOUT_S": "1", "BLAIDCTL_KILL_LOCK_TIMEOUT_S": "1"}
    running = run(*MEEK, env={**QUICK, **limits, "BLAIDCTL_LEASE_S": "4"})
    holder = database.raw()
    holder.execute("BEGIN IMMEDIATE" if database.kind == "sqlite" else "BEGIN")
    if database.kind == "postgresql":
        holder.execute("SELECT 1 FROM bot_instances FOR UPDATE")
    wait_for(running.gone)
    assert running.row()["status"] == "RUNNING"
    holder.execute("ROLLBACK")
    code, stderr = running.ended()
    error = json.loads(stderr.splitlines()[-1])
    assert (code, error["error_code"]) == (8, "LEASE_LOST")
    assert "no heartbeat could be written for 4 s (BUSY:" in error["message"]
    found = running.row()
    assert (found["status"], found["stop_reason"]) == ("FAILED", "LEASE_LOST")
    assert found["stop_confirmed_at"] is not None


def test_an_outage_shorter_than_the_lease_ends_nothing(run: Callable[..., Supervised], sqlite_database: Database):
    running = run(*MEEK, env={**QUICK, "BLAIDCTL_LEASE_S": "20"})
    assert sqlite_database.path is not None
    with moved_away(sqlite_database.path):
        time.sleep(1)
    back = running.row()["heartbeat_at"]
    wait_for(lambda: running.row()["heartbeat_at"] > back)
    assert not running.gone()


# ---- it cannot be started ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "error_code"),
    [
        (("b1", "--", "nosuch"), 2, "COMMAND_NOT_STARTABLE"),
        (("b1", "--", "/etc/passwd"), 2, "COMMAND_NOT_STARTABLE"),
        (("b1", "--", "/etc"), 2, "COMMAND_NOT_STARTABLE"),
        (("b1", "--", ""), 2, "COMMAND_NOT_STARTABLE"),
        (("b1",), 2, "USAGE"),
        (("b1", "--"), 2, "USAGE"),
        (("b1", "true"), 2, "USAGE"),
        (("b1", "true", "--", "true"), 2, "USAGE"),
        (("--", "b1", "true"), 2, "USAGE"),
        (("b1", "--live", "--", "true"), 2, "USAGE"),
        (("b1", "--standby"), 2, "USAGE"),
        (("b1", "--standby", "--", "nosuch"), 2, "COMMAND_NOT_STARTABLE"),
    ],
)
@pytest.mark.usefixtures("fleet")
def test_what_cannot_run_is_refused_and_writes_nothing(
    cli: CommandLine, database: Database, words: tuple[str, ...], code: int, error_code: str
):
    before = count(database, "audit_log")
    ran = cli("bot", "run", *words)
    assert (ran.code, ran.error["error_code"], ran.stdout) == (code, error_code, "")
    assert count(database, "audit_log") == before
    assert count(database, "bot_instances") == 0


def test_a_command_without_dashes_is_told_how(cli: CommandLine):
    assert "after `--`: blaidctl bot run … -- CMD" in cli("bot", "run", "b1", "true").error["message"]
    assert "-- CMD [ARG]" in cli("bot", "run", "--help").stdout


@pytest.mark.usefixtures("fleet")
def test_dashes_of_the_command_are_its_own(cli: CommandLine, capfd: pytest.CaptureFixture[str]):
    assert cli("bot", "run", "b1", "--", "echo", "--account", "a", "--", "--help").code == 0
    assert capfd.readouterr().out == "--account a -- --help\n"


@pytest.mark.usefixtures("sqlite_database")
def test_a_prompt_completes_its_words(process: ProcessCommandLine):
    asked = {"_BLAIDCTL_COMPLETE": "complete_bash", "COMP_WORDS": "blaidctl bot run --st", "COMP_CWORD": "3"}
    assert process(env=asked).stdout == "--standby\n"


def test_an_unknown_bot_starts_nothing(cli: CommandLine, database: Database):
    ran = cli("bot", "run", "nobody", "--", "true")
    assert (ran.code, ran.error["error_code"]) == (3, "BOT_NOT_FOUND")
    assert count(database, "bot_instances") == 0


@pytest.mark.parametrize(
    ("text", "argument", "why"),
    [
        (b"#!/nowhere/interpreter\n", "", "No such file or directory"),
        (b"\x00\x01 not a program", "", "Exec format error"),
        (b"#!/bin/sh\n", "x" * 200_000, "Argument list too long"),
    ],
)
@pytest.mark.usefixtures("fleet")
def test_what_the_kernel_refuses_to_run_is_recorded_as_never_started(
    cli: CommandLine, database: Database, tmp_path: Path, *, text: bytes, argument: str, why: str
):
    program = tmp_path / "bot"
    program.write_bytes(text)
    program.chmod(0o755)
    ran = cli("bot", "run", "b1", "--", str(program), argument)
    assert (ran.code, ran.error["error_code"]) == (1, "PROCESS_FAILED")
    found = row(database)
    assert (found["status"], found["stop_reason"], found["pid"]) == ("FAILED", "NOT_STARTABLE", None)
    assert found["exit_status"] == f"not started: {why}"
    assert found["stop_confirmed_at"] is not None


def test_without_a_database_nothing_is_started(cli: CommandLine, home: Path, sqlite_database: Database):
    assert sqlite_database.path is not None
    with moved_away(sqlite_database.path):
        ran = cli("bot", "run", "b1", "--", "sh", "-c", f"echo >{home}/ran")
    assert (ran.code, ran.error["error_code"]) == (8, "DATABASE_MISSING")
    assert not (home / "ran").exists()
