"""`job run` with real processes: every path ends in the right terminal state, with a reason and one event."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from blaidctl.core import process as processes
from blaidctl.jobs.output import TAIL_BYTES
from tests.jobs.work import a_type, happened, start
from tests.jobs.work import row as columns_of
from tests.support.commandline import SCRIPT
from tests.support.database import Database
from tests.support.processes import HOSTILE, LIMIT_S, TRACEABLE, lives, numbers_in, parent_of, tracer, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.support.commandline import CommandLine, ProcessCommandLine
    from tests.support.postgres import PostgresServer

#: Limits that end nothing on a busy machine, and a short grace.
CALM: dict[str, object] = {"heartbeat_s": 1, "stale_after_s": 60, "max_runtime_s": 600, "grace_s": 1}
#: The shortest lease that a type may have.
QUICK = {**CALM, "stale_after_s": 3}
SHORT_WAITS = {"BLAIDCTL_LOCK_TIMEOUT_S": "1", "BLAIDCTL_KILL_LOCK_TIMEOUT_S": "1", "BLAIDCTL_CONNECT_TIMEOUT_S": "1"}
#: A command that says its pid and goes at the first TERM.
MEEK = ("sh", "-c", "echo $$ >pids; exec sleep 300")
#: A command that says its pid, and ends well when it is told to by a file.
UNTIL_TOLD = ("sh", "-c", "echo $$ >pids; while [ ! -e go ]; do sleep 0.05; done; echo last words")


@dataclasses.dataclass
class Running:
    """A supervisor at work, its process, and the row of its job."""

    popen: subprocess.Popen[str]
    database: Database
    job: int
    pids: list[int]

    def ended(self) -> tuple[int, str]:
        """Wait for the supervisor; return its exit code and standard error."""
        _, stderr = self.popen.communicate(timeout=LIMIT_S)
        assert "Traceback" not in stderr
        return self.popen.returncode, stderr

    def gone(self) -> bool:
        return not any(map(lives, self.pids))

    def status(self) -> str:
        return str(columns_of(self.database, self.job, ["status"])["status"])


@pytest.fixture
def run(process: ProcessCommandLine, cli: CommandLine, home: Path) -> Callable[..., Running]:
    """`run(*command, **limits)`: spawn `job run nightly -- command`; return when its process is known."""

    def begin(
        *command: str, env: Mapping[str, str] | None = None, pids: int = 1, on: Database | None = None, **limits: object
    ) -> Running:
        used = on or process.database
        done = cli("job", "type", "add", "nightly", *_words(CALM | limits), database=used)
        assert done.code == 0, done.stderr
        popen = process.spawn("job", "run", "nightly", "--", *command, env=env, database=on)
        known = "SELECT id FROM jobs WHERE worker_pid IS NOT NULL"
        wait_for(lambda: popen.poll() is not None or used.sql(known))
        assert popen.poll() is None, popen.communicate()
        ((job,),) = used.sql(known)
        return Running(popen, used, job, numbers_in(home / "pids", pids))

    return begin


def _words(limits: Mapping[str, object]) -> list[str]:
    return [word for name, value in limits.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def settled(
    cli: CommandLine, database: Database, *ending: str | None, job: int = 1, attempt: int = 1
) -> dict[str, Any]:
    """Expect (status, reason code, exit status) of an attempt, one start and one end of it, and a log that verifies."""
    found = columns_of(
        database, job, ["status", "reason_code", "exit_status", "attempt", "output_tail", "output_bytes", "finished_at"]
    )
    assert tuple(found[name] for name in ("status", "reason_code", "exit_status", "attempt")) == (*ending, attempt)
    status, reason_code = ending[:2]
    assert [one[2:] for one in happened(database) if one[:2] == (job, attempt)] == [
        ("STARTED", None),
        (status, reason_code),
    ]
    verified = cli("audit", "verify", database=database)
    assert verified.code == 0, verified.stderr
    return found


def error_of(stderr: str) -> dict[str, Any]:
    found = json.loads(stderr.splitlines()[-1])
    assert isinstance(found, dict)
    return found


# ---- it ends by itself ---------------------------------------------------------------------------------------


@pytest.mark.operation("job run", "job begin", "job report", "job end")
@pytest.mark.parametrize(
    ("script", "code", "ending"),
    [
        ("exit 0", 0, ("SUCCEEDED", "COMPLETED", "exit 0")),
        ("exit 3", 1, ("FAILED", "EXIT_NONZERO", "exit 3")),
        ("kill -KILL $$", 1, ("FAILED", "SIGNALLED", "signal 9 SIGKILL")),
    ],
)
def test_the_end_of_the_process_is_the_end_of_the_attempt(
    process: ProcessCommandLine,
    cli: CommandLine,
    database: Database,
    *,
    script: str,
    code: int,
    ending: tuple[str, ...],
):
    a_type(cli, **CALM)
    ran = process("job", "run", "nightly", "--", "sh", "-c", f"cat; echo out; echo err >&2; {script}", stdin="in\n")
    assert (ran.code, ran.stdout) == (code, "in\nout\n")
    assert "err\n" in ran.stderr
    found = settled(cli, database, *ending)
    assert sorted(found["output_tail"].splitlines()) == ["err", "in", "out"]
    assert found["output_bytes"] == len("in\nout\nerr\n")
    acts = database.sql(
        "SELECT action, outcome, trace_id FROM audit_log WHERE substr(action, 1, 4) = 'job ' ORDER BY seq"
    )
    assert [act[:2] for act in acts[1:]] == [("job begin", "DONE"), ("job report", "DONE"), ("job end", "DONE")]
    assert len({act[2] for act in acts[1:]}) == 1
    ((seq, entry),) = database.sql("SELECT seq, entry_hash FROM audit_log WHERE action = 'job end'")
    assert f"recorded as {ending[0]} {ending[1]} (audit seq {seq}, entry hash {bytes(entry).hex()})" in ran.stderr
    assert ending[2] in ran.stderr
    worker = columns_of(database, 1, ["worker_boot", "worker_pid_start", "program"])
    assert worker["worker_boot"] == processes.boot_id()
    assert worker["worker_pid_start"].isdigit()
    assert worker["program"] == shutil.which("sh")
    if code:
        assert ran.error["error_code"] == "PROCESS_FAILED"
        assert "blaidctl job show 1" in str(ran.error["next_steps"])


def test_the_process_learns_who_it_is_and_no_password(
    process: ProcessCommandLine, cli: CommandLine, database: Database
):
    a_type(cli, **CALM)
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    parent = f"00-{trace}-00f067aa0ba902b7-01"
    ran = process("job", "run", "nightly", "--", "env", env={"TRACEPARENT": parent, "MINE": "too"})
    told = dict(line.split("=", 1) for line in ran.stdout.splitlines())
    assert (told["BLAIDCTL_JOB_ID"], told["BLAIDCTL_JOB_ATTEMPT"], told["MINE"]) == ("1", "1", "too")
    assert told["BLAIDCTL_RUN_MARK"] == columns_of(database, 1, ["worker_mark"])["worker_mark"]
    assert re.fullmatch(f"00-{trace}-[0-9a-f]{{16}}-01", told["TRACEPARENT"])
    assert told["TRACEPARENT"] != parent
    assert database.sql("SELECT DISTINCT trace_id FROM job_events") == [(trace,)]
    if database.kind == "postgresql":
        password = psycopg.conninfo.conninfo_to_dict(database.url)["password"]
        assert told["BLAIDCTL_DATABASE_URL"] == database.url.replace(f":{password}@", "@")
        assert str(password) not in ran.stdout


def test_a_process_may_beat_and_look_at_its_own_job(
    process: ProcessCommandLine, cli: CommandLine, home: Path, database: Database
):
    a_type(cli, **CALM)
    passwords = home / "passwords"
    passwords.touch(mode=0o600)
    if database.kind == "postgresql":
        passwords.write_text(f"*:*:*:*:{psycopg.conninfo.conninfo_to_dict(database.url)['password']}\n")
    beat = ("sh", "-c", 'exec "$0" job beat $BLAIDCTL_JOB_ID --attempt $BLAIDCTL_JOB_ATTEMPT', str(SCRIPT))
    ran = process("job", "run", "nightly", "--", *beat, env={"PGPASSFILE": str(passwords)})
    assert ran.code == 0, ran.stderr
    assert ran.json["result"]["attempt"] == 1


# ---- it must end ---------------------------------------------------------------------------------------------


def test_a_deadline_ends_the_process(run: Callable[..., Running], cli: CommandLine, database: Database):
    running = run(*MEEK, max_runtime_s=2)
    code, stderr = running.ended()
    assert running.gone()
    assert (code, error_of(stderr)["error_code"]) == (1, "PROCESS_FAILED")
    settled(cli, database, "FAILED", "TIMEOUT", "signal 15 SIGTERM")


def test_a_deadline_ends_who_ignores_term_and_who_runs_away(
    run: Callable[..., Running], cli: CommandLine, database: Database
):
    running = run(sys.executable, "-I", "-S", "-c", HOSTILE, pids=4, max_runtime_s=4)
    assert running.ended()[0] == 1
    assert running.gone()
    settled(cli, database, "FAILED", "TIMEOUT", "signal 9 SIGKILL")


def told_to_stop(running: Running, cli: CommandLine, order: signal.Signals) -> None:
    running.popen.send_signal(signal.SIGTSTP)  # Ctrl-Z has no effect
    running.popen.send_signal(order)
    code, stderr = running.ended()
    assert running.gone()
    assert code == 1
    assert "recorded as CANCELLED SUPERVISOR_STOPPED" in error_of(stderr)["message"]
    settled(cli, running.database, "CANCELLED", "SUPERVISOR_STOPPED", "signal 15 SIGTERM")


def test_a_supervisor_that_must_stop_cancels_its_job(run: Callable[..., Running], cli: CommandLine):
    told_to_stop(run(*MEEK), cli, signal.SIGTERM)


@pytest.mark.parametrize("order", [signal.SIGINT, signal.SIGHUP])
@pytest.mark.usefixtures("sqlite_database")
def test_every_order_to_stop_is_one(run: Callable[..., Running], cli: CommandLine, order: signal.Signals):
    told_to_stop(run(*MEEK), cli, order)


def test_an_order_to_stop_while_the_start_is_being_written_starts_nothing(
    process: ProcessCommandLine, cli: CommandLine, database: Database, home: Path
):
    a_type(cli, **CALM)
    with locked(database, "job_types"):
        patient = {"BLAIDCTL_LOCK_TIMEOUT_S": "30", "BLAIDCTL_KILL_LOCK_TIMEOUT_S": "30"}
        supervisor = process.spawn("job", "run", "nightly", "--", "sh", "-c", "echo >ran", env=patient)
        wait_for(lambda: supervisor.poll() is not None or catches(supervisor.pid, signal.SIGUSR1))
        supervisor.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        assert supervisor.poll() is None
    stderr = supervisor.communicate(timeout=LIMIT_S)[1]
    assert (supervisor.returncode, stderr.count("nothing was started")) == (1, 1)
    assert not (home / "ran").exists()
    settled(cli, database, "CANCELLED", "SUPERVISOR_STOPPED", "not started")


def catches(pid: int, number: signal.Signals) -> bool:
    """Say whether a process has a handler of its own for a signal."""
    caught = re.search(r"^SigCgt:\t(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert caught is not None
    return bool(int(caught[1], 16) >> (number - 1) & 1)


@contextlib.contextmanager
def locked(database: Database, table: str) -> Any:
    """Nobody writes as long as the block runs."""
    holder = database.raw()
    if database.kind == "sqlite":
        holder.execute("BEGIN IMMEDIATE")
    else:
        holder.execute("BEGIN")
        holder.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
    try:
        yield
    finally:
        holder.execute("ROLLBACK")


# ---- somebody dies -------------------------------------------------------------------------------------------


def test_the_process_of_a_killed_supervisor_dies_and_its_job_is_reaped(
    run: Callable[..., Running], cli: CommandLine, database: Database
):
    running = run(sys.executable, "-I", "-S", "-c", HOSTILE, pids=4, **QUICK)
    running.popen.kill()
    wait_for(running.gone)
    assert running.status() == "RUNNING"
    wait_for(lambda: reaped(cli, database))
    settled(cli, database, "FAILED", "TIMEOUT", None)  # nobody saw how it ended


def reaped(cli: CommandLine, database: Database) -> bool:
    ran = cli("job", "reap", database=database)
    assert ran.code == 0, ran.stderr
    return columns_of(database, 1, ["status"])["status"] == "FAILED"


def test_the_death_of_the_keeper_is_the_death_of_the_process(
    run: Callable[..., Running], cli: CommandLine, database: Database
):
    running = run(*MEEK)
    keeper = parent_of(running.pids[0])
    assert keeper != running.popen.pid
    os.kill(keeper, signal.SIGKILL)
    assert running.ended()[0] == 1
    assert running.gone()
    # The kernel's parent-death signal and the supervisor's TERM race for it: a dying keeper's pipe closes first.
    ended_by = columns_of(database, 1, ["exit_status"])["exit_status"]
    assert ended_by in {"signal 9 SIGKILL", "signal 15 SIGTERM"}
    settled(cli, database, "FAILED", "SIGNALLED", ended_by)


def test_what_is_not_proven_gone_is_not_recorded_as_ended(run: Callable[..., Running], sqlite_database: Database):
    running = run(sys.executable, "-c", f"import os; open('pids', 'w').write(f'{{os.getpid()}}\\n')\n{TRACEABLE}")
    with tracer() as seize:
        wait_for(lambda: catches_nothing_of(running.pids[0], signal.SIGTERM))
        seize(running.pids[0])
        running.popen.terminate()
        code, stderr = running.ended()
    assert (code, error_of(stderr)["error_code"]) == (1, "STOP_UNCONFIRMED")
    assert f"process {running.pids[0]} (job 1 attempt 1)" in error_of(stderr)["message"]
    assert running.status() == "RUNNING"
    assert happened(sqlite_database) == [(1, 1, "STARTED", None)]


def catches_nothing_of(pid: int, number: signal.Signals) -> bool:
    """Say whether a process ignores a signal."""
    ignored = re.search(r"^SigIgn:\t(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert ignored is not None
    return bool(int(ignored[1], 16) >> (number - 1) & 1)


# ---- the database goes away ----------------------------------------------------------------------------------


def test_without_a_heartbeat_for_the_length_of_the_lease_the_process_ends(
    run: Callable[..., Running], cli: CommandLine, database: Database
):
    running = run(*MEEK, env=SHORT_WAITS, **QUICK | {"stale_after_s": 5})
    with locked(database, "jobs"):
        wait_for(running.gone)
        time.sleep(2.5)  # it has tried to record the end, in vain, and tries again for the length of a lease
    code, stderr = running.ended()
    assert (code, error_of(stderr)["error_code"]) == (8, "LEASE_LOST")
    assert "no heartbeat could be written for 5 s (BUSY:" in error_of(stderr)["message"]
    settled(cli, database, "FAILED", "LEASE_LOST", "signal 15 SIGTERM")


def test_a_disk_that_is_full_for_the_database_ends_the_process_and_hears_of_it_later(
    run: Callable[..., Running], cli: CommandLine, sqlite_database: Database
):
    """A supervisor that may not write to files stands for the disk that has no room."""
    running = run(*MEEK, **QUICK)
    _, most = resource.prlimit(running.popen.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    wait_for(running.gone)
    resource.prlimit(running.popen.pid, resource.RLIMIT_FSIZE, (most, most))
    code, stderr = running.ended()
    assert (code, error_of(stderr)["error_code"]) == (8, "LEASE_LOST")
    settled(cli, sqlite_database, "FAILED", "LEASE_LOST", "signal 15 SIGTERM")


def test_an_end_that_a_lost_server_does_not_take_is_left_to_the_reaper(
    run: Callable[..., Running], private_postgres: PostgresServer, cli: CommandLine, postgres_database: Database
):
    del postgres_database
    database = Database("postgresql", private_postgres.url("postgres"))
    assert cli("db", "upgrade", "--yes", database=database).code == 0
    running = run(*MEEK, env=SHORT_WAITS, on=database, **QUICK)
    private_postgres.stop("immediate")
    code, stderr = running.ended()
    assert running.gone()
    assert (code, error_of(stderr)["error_code"]) == (8, "DATABASE_DOWN")
    assert "NOT RECORDED" in stderr
    assert "blaidctl job reap" in str(error_of(stderr)["next_steps"])
    private_postgres.restart()
    assert running.status() == "RUNNING"
    wait_for(lambda: reaped(cli, database))
    settled(cli, database, "FAILED", "TIMEOUT", None)


def test_heartbeats_keep_a_job_alive_for_longer_than_a_silence(
    run: Callable[..., Running], cli: CommandLine, sqlite_database: Database, home: Path
):
    running = run(*UNTIL_TOLD, stale_after_s=3)
    until = time.monotonic() + 4
    wait_for(lambda: time.monotonic() > until)
    assert columns_of(sqlite_database, 1, ["hb_seq"])["hb_seq"] >= 2
    (home / "go").touch()
    assert running.ended()[0] == 0
    settled(cli, sqlite_database, "SUCCEEDED", "COMPLETED", "exit 0")


# ---- the attempt is taken away -------------------------------------------------------------------------------


def test_the_process_of_an_attempt_that_was_ended_meanwhile_ends_and_writes_nothing(
    run: Callable[..., Running], cli: CommandLine, database: Database
):
    running = run(*MEEK)
    assert cli("job", "finish", "1", "--attempt", "1", "--status", "FAILED").code == 0
    code, stderr = running.ended()
    assert running.gone()
    assert (code, error_of(stderr)["error_code"]) == (4, "JOB_TERMINAL")
    assert "was ended by somebody else while it ran" in error_of(stderr)["message"]
    settled(cli, database, "FAILED", "REPORTED", None)


def test_a_supervisor_that_slept_and_was_reaped_ends_without_a_word_in_the_database(
    run: Callable[..., Running], cli: CommandLine, sqlite_database: Database
):
    running = run(*MEEK, **QUICK)
    os.kill(running.popen.pid, signal.SIGSTOP)
    try:
        wait_for(lambda: reaped(cli, sqlite_database))
        wait_for(running.gone)  # ended by the reaper, which knows it by its mark
    finally:
        os.kill(running.popen.pid, signal.SIGCONT)
    code, stderr = running.ended()
    assert (code, error_of(stderr)["error_code"]) == (4, "JOB_TERMINAL")
    settled(cli, sqlite_database, "FAILED", "TIMEOUT", None)


def test_an_end_that_comes_too_late_is_refused_and_said(
    run: Callable[..., Running], cli: CommandLine, sqlite_database: Database, home: Path
):
    """Between two heartbeats somebody ended the attempt, and the process ended well."""
    running = run(*UNTIL_TOLD, heartbeat_s=30, stale_after_s=90)
    assert cli("job", "finish", "1", "--attempt", "1", "--status", "CANCELLED").code == 0
    (home / "go").touch()
    code, stderr = running.ended()
    assert (code, error_of(stderr)["error_code"]) == (4, "JOB_TERMINAL")
    assert "NOT BE RECORDED" in error_of(stderr)["message"]
    assert f"NOT RECORDED: process {running.pids[0]} (job 1 attempt 1) is gone (exit 0)\n" in stderr
    found = settled(cli, sqlite_database, "CANCELLED", "REPORTED", None)
    assert found["output_tail"] is None


def test_a_job_that_failed_has_a_next_attempt_with_events_of_its_own(
    process: ProcessCommandLine, cli: CommandLine, database: Database
):
    a_type(cli, **CALM)
    assert process("job", "run", "nightly", "--", "sh", "-c", "echo bad; exit 3").code == 1
    again = process("job", "run", "nightly", "--job", "1", "--", "sh", "-c", "echo attempt $BLAIDCTL_JOB_ATTEMPT")
    assert (again.code, again.stdout) == (0, "attempt 2\n")
    found = settled(cli, database, "SUCCEEDED", "COMPLETED", "exit 0", attempt=2)
    assert found["output_tail"] == "attempt 2\n"
    assert [one[1:] for one in happened(database)][:2] == [(1, "STARTED", None), (1, "FAILED", "EXIT_NONZERO")]


def test_of_two_operators_who_start_the_next_attempt_one_wins(
    process: ProcessCommandLine, cli: CommandLine, database: Database, home: Path
):
    a_type(cli, **CALM)
    start(cli)
    assert cli("job", "finish", "1", "--attempt", "1", "--status", "FAILED").code == 0
    command = ("sh", "-c", "echo $$ >>pids; while [ ! -e go ]; do sleep 0.05; done")
    both = [process.spawn("job", "run", "nightly", "--job", "1", "--", *command) for _ in range(2)]
    wait_for(lambda: any(one.poll() is not None for one in both))
    numbers_in(home / "pids")
    (home / "go").touch()
    stderrs = [one.communicate(timeout=LIMIT_S)[1] for one in both]
    assert sorted(one.returncode for one in both) == [0, 4], stderrs
    (loser,) = (said for one, said in zip(both, stderrs, strict=True) if one.returncode)
    assert error_of(loser)["error_code"] == "JOB_RUNNING"
    assert len((home / "pids").read_text().split()) == 1
    settled(cli, database, "SUCCEEDED", "COMPLETED", "exit 0", attempt=2)


# ---- its output ----------------------------------------------------------------------------------------------


def test_output_is_passed_on_byte_for_byte(
    process: ProcessCommandLine, cli: CommandLine, sqlite_database: Database, home: Path
):
    a_type(cli, **CALM)
    blobs = {"out": bytes(range(256)) * 1200 + b"\xff\x00", "err": b"\x80\r\n\x1b[31m" * 9000}
    for name, blob in blobs.items():
        (home / name).write_bytes(blob)
    supervisor = process.spawn("job", "run", "nightly", "--", "sh", "-c", "cat err >&2 & cat out; wait")
    stdout, stderr = read_all(supervisor)
    assert supervisor.wait(LIMIT_S) == 0
    assert stdout == blobs["out"]
    assert blobs["err"] in stderr
    assert columns_of(sqlite_database, 1, ["output_bytes"])["output_bytes"] == sum(map(len, blobs.values()))


def read_all(popen: subprocess.Popen[str]) -> tuple[bytes, bytes]:
    """Read both streams of a process, as bytes, to their ends."""
    taken: dict[str, bytes] = {}
    readers = []
    for name in ("stdout", "stderr"):
        stream = getattr(popen, name).buffer
        reader = threading.Thread(target=lambda name=name, stream=stream: taken.update({name: stream.read()}))
        reader.start()
        readers.append(reader)
    for reader in readers:
        reader.join(LIMIT_S)
    return taken["stdout"], taken["stderr"]


def test_a_long_output_is_kept_by_its_end_as_text_that_every_database_takes(
    process: ProcessCommandLine, cli: CommandLine, database: Database, home: Path
):
    a_type(cli, **CALM)
    (home / "out").write_bytes("zürich ".encode() * 140_000 + b"\x00\xff\xfe end\n")
    supervisor = process.spawn("job", "run", "nightly", "--", "cat", "out")
    read_all(supervisor)
    assert supervisor.wait(LIMIT_S) == 0
    found = settled(cli, database, "SUCCEEDED", "COMPLETED", "exit 0")
    assert found["output_bytes"] == (home / "out").stat().st_size > 1_000_000
    assert found["output_tail"].endswith("zürich zürich \ufffd\ufffd\ufffd end\n")
    assert found["output_tail"].replace("zürich ", "").removesuffix("\ufffd\ufffd\ufffd end\n") in "zürich"
    assert TAIL_BYTES - 7 <= len(found["output_tail"].encode()) <= TAIL_BYTES + 6
    shown = cli("job", "show", "1")
    assert shown.json["result"]["output_tail"] == found["output_tail"]


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_an_output_that_cannot_be_written_is_no_success(
    process: ProcessCommandLine, cli: CommandLine, sqlite_database: Database, home: Path, stream: str
):
    a_type(cli, **CALM)
    into = {"stdout": ">/dev/full", "stderr": "2>/dev/full"}[stream]
    say = {"stdout": "echo result", "stderr": "echo result >&2"}[stream]
    line = f'"$0" job run nightly -- sh -c "{say}" {into}; echo $? >code'
    run_by_a_shell(process, line, home)
    assert (home / "code").read_text() == "1\n"
    found = settled(cli, sqlite_database, "FAILED", "OUTPUT_LOST", "exit 0")
    assert found["output_tail"] == "result\n"


def run_by_a_shell(process: ProcessCommandLine, line: str, home: Path) -> None:
    subprocess.run(
        ["/bin/sh", "-c", line, str(SCRIPT)],
        cwd=home,
        env=process.environment(),
        stdin=subprocess.DEVNULL,
        check=True,
        timeout=LIMIT_S,
    )


def test_a_failure_is_one_also_without_its_output(
    process: ProcessCommandLine, cli: CommandLine, sqlite_database: Database, home: Path
):
    a_type(cli, **CALM)
    run_by_a_shell(process, '"$0" job run nightly -- sh -c "echo result; exit 3" >/dev/full || true', home)
    settled(cli, sqlite_database, "FAILED", "EXIT_NONZERO", "exit 3")


def test_a_reader_that_has_seen_enough_spoils_nothing(
    process: ProcessCommandLine, cli: CommandLine, sqlite_database: Database, home: Path
):
    a_type(cli, **CALM)
    run_by_a_shell(process, '"$0" job run nightly -- seq 100000 | head -1 >seen', home)
    wait_for(lambda: columns_of(sqlite_database, 1, ["status"])["status"] != "RUNNING")
    assert (home / "seen").read_text() == "1\n"
    found = settled(cli, sqlite_database, "SUCCEEDED", "COMPLETED", "exit 0")
    assert found["output_tail"].endswith("\n99999\n100000\n")


def test_a_reader_that_never_reads_holds_neither_deadline_nor_record_up(
    run: Callable[..., Running], cli: CommandLine, sqlite_database: Database
):
    running = run("sh", "-c", "echo $$ >pids; exec cat /dev/zero", max_runtime_s=2)
    wait_for(lambda: running.status() == "FAILED")
    assert running.gone()
    assert running.popen.poll() is None  # as any program, it waits for its reader at the end
    found = settled(cli, sqlite_database, "FAILED", "TIMEOUT", "signal 15 SIGTERM")
    stdout, _ = read_all(running.popen)
    assert running.popen.wait(LIMIT_S) == 1
    assert (len(stdout), set(stdout)) == (found["output_bytes"], {0})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_wait_for_a_reader_that_never_reads_ends_with_a_signal(
    run: Callable[..., Running], cli: CommandLine, sqlite_database: Database, number: signal.Signals
):
    running = run("sh", "-c", "echo $$ >pids; head -c 120000 /dev/zero")
    wait_for(lambda: running.status() == "SUCCEEDED")

    def told() -> bool:
        running.popen.send_signal(number)  # again and again: the first may come before the wait does
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.popen.wait(2)
        return running.popen.returncode is not None

    wait_for(told)
    assert running.popen.returncode == 9
    settled(cli, sqlite_database, "SUCCEEDED", "COMPLETED", "exit 0")


def test_what_nobody_has_read_yet_is_counted_and_kept_to_its_last_byte(
    run: Callable[..., Running], cli: CommandLine, sqlite_database: Database
):
    running = run("sh", "-c", "echo $$ >pids; head -c 120000 /dev/zero; echo done")
    wait_for(lambda: running.status() == "SUCCEEDED")
    assert running.popen.poll() is None
    found = settled(cli, sqlite_database, "SUCCEEDED", "COMPLETED", "exit 0")
    assert (found["output_bytes"], found["output_tail"][-5:]) == (120_005, "done\n")
    stdout, _ = read_all(running.popen)
    assert stdout == bytes(120_000) + b"done\n"
    assert running.popen.wait(LIMIT_S) == 0


def test_a_hundred_megabytes_of_output_take_no_memory(
    run: Callable[..., Running], sqlite_database: Database, home: Path
):
    size = 100_000_000
    wait_go = "while [ ! -e {0} ]; do sleep 0.05; done"
    script = f"echo $$ >pids; {wait_go.format('go')}; head -c {size} /dev/zero; echo >written; {wait_go.format('end')}"
    running = run("sh", "-c", script)
    before = most_memory_kb(running.popen.pid)
    counted = [0]

    def count() -> None:
        while chunk := running.popen.stdout.buffer.read1(1 << 16):  # type: ignore[union-attr, attr-defined]
            counted[0] += len(chunk)

    reader = threading.Thread(target=count)
    reader.start()
    (home / "go").touch()
    wait_for((home / "written").exists)
    after = most_memory_kb(running.popen.pid)
    (home / "end").touch()
    reader.join(LIMIT_S)
    assert running.popen.wait(LIMIT_S) == 0
    assert counted == [size]
    assert columns_of(sqlite_database, 1, ["output_bytes"])["output_bytes"] == size
    assert after - before < 20_000


def most_memory_kb(pid: int) -> int:
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


# ---- it cannot be started ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "error_code"),
    [
        (("nightly", "--", "nosuch"), 2, "COMMAND_NOT_STARTABLE"),
        (("nightly", "--", "/etc/passwd"), 2, "COMMAND_NOT_STARTABLE"),
        (("nightly", "--", "/etc"), 2, "COMMAND_NOT_STARTABLE"),
        (("nightly", "--", ""), 2, "COMMAND_NOT_STARTABLE"),
        (("nightly",), 2, "USAGE"),
        (("nightly", "--"), 2, "USAGE"),
        (("nightly", "true"), 2, "USAGE"),
        (("--", "nightly", "true"), 2, "USAGE"),
        (("nightlyy", "--", "true"), 3, "JOB_TYPE_NOT_FOUND"),
        (("nightly", "--job", "99", "--", "true"), 3, "JOB_NOT_FOUND"),
        (("weekly", "--job", "3", "--", "true"), 3, "JOB_NOT_FOUND"),
        (("nightly", "--job", "0", "--", "true"), 2, "INVALID_REQUEST"),
        (("nightly", "--job", "1", "--", "true"), 4, "JOB_RUNNING"),
        (("nightly", "--job", "2", "--", "true"), 4, "JOB_TERMINAL"),
    ],
)
def test_what_cannot_run_is_refused_and_starts_nothing(
    cli: CommandLine, database: Database, words: tuple[str, ...], code: int, error_code: str
):
    a_type(cli, **CALM)
    a_type(cli, "weekly", **CALM)
    for status in ("", "SUCCEEDED", "FAILED"):
        job = start(cli)["job_id"]
        if status:
            assert cli("job", "finish", str(job), "--attempt", "1", "--status", status).code == 0
    before = happened(database)
    ran = cli("job", "run", *words)
    assert (ran.code, ran.error["error_code"], ran.stdout) == (code, error_code, "")
    assert happened(database) == before
    assert database.sql("SELECT max(attempt), count(*) FROM jobs") == [(1, 3)]
    assert cli("audit", "verify").code == 0


def test_a_mistyped_type_is_told_the_closest(cli: CommandLine, sqlite_database: Database):
    del sqlite_database
    a_type(cli, **CALM)
    assert "did you mean nightly?" in cli("job", "run", "nightyl", "--", "true").error["message"]
    assert "after `--`: blaidctl job run" in cli("job", "run", "nightly", "true").error["message"]


def test_what_the_kernel_refuses_to_run_has_failed(
    process: ProcessCommandLine, cli: CommandLine, database: Database, tmp_path: Path
):
    a_type(cli, **CALM)
    program = tmp_path / "work"
    program.write_text("#!/nowhere/interpreter\n")
    program.chmod(0o755)
    ran = process("job", "run", "nightly", "--", str(program))
    assert (ran.code, ran.error["error_code"]) == (1, "PROCESS_FAILED")
    settled(cli, database, "FAILED", "NOT_STARTABLE", "not started: No such file or directory")


def test_the_help_says_how_what_it_writes_and_its_exit_codes(cli: CommandLine):
    helped = cli("job", "run", "--help")
    assert helped.code == 0
    for said in ("Example: blaidctl job run nightly -- ", "Writes:", "Exit: 0 SUCCEEDED", "Again:", "-- CMD [ARG]"):
        assert said in helped.stdout
