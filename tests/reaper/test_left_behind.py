"""What reaped jobs and instances left on this host: real processes, ended and proven gone, and only those."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from blaidctl.core import process as processes
from blaidctl.core.context import this_machine
from blaidctl.core.supervise import MARK_VARIABLE
from blaidctl.core.types import time_text
from tests.kill.fleet import done, verified
from tests.reaper.herd import herd, instance
from tests.reaper.test_reap import QUICK, incomplete, result, the_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.commandline import CommandLine
    from tests.support.database import Database

LIMIT_S = 20
HOST = this_machine().host
ANOTHER_BOOT = "00000000-0000-4000-8000-000000000000"


class Process:
    """A process under a mark, as what a supervisor lost."""

    def __init__(self) -> None:
        self.mark = secrets.token_hex(16)
        self.popen = subprocess.Popen(
            [sys.executable, "-c", "import time; print(flush=True); time.sleep(300)"],
            env={**os.environ, MARK_VARIABLE: self.mark},
            start_new_session=True,
            stdout=subprocess.PIPE,
        )
        assert self.popen.stdout is not None
        self.popen.stdout.readline()
        self.pid_started = processes.started(self.popen.pid)

    def recorded(self, **other: Any) -> dict[str, Any]:
        """What its row says of it."""
        known = {"host": HOST, "boot_id": processes.boot_id(), "pid": self.popen.pid, "pid_started": self.pid_started}
        return known | {"mark": self.mark} | other

    def lives(self) -> bool:
        return self.popen.poll() is None

    def ended(self) -> bool:
        return self.popen.wait(LIMIT_S) == -signal.SIGKILL


@pytest.fixture
def left() -> Iterator[Callable[[], Process]]:
    """`left()`: a process that nobody supervises any more; ended with the test."""
    with contextlib.ExitStack() as stack:

        def start() -> Process:
            made = Process()
            stack.enter_context(made.popen)
            stack.callback(made.popen.kill)
            return made

        yield start


def long_ago(seconds: float = 600) -> str:
    return time_text(datetime.now(UTC) - timedelta(seconds=seconds))


def test_what_a_reaped_job_left_is_killed(cli: CommandLine, database: Database, left: Callable[[], Process]):
    marked, known = left(), left()
    herd(cli, deadline_in_s=-1, **marked.recorded(pid=None, pid_started=None))
    herd(cli, deadline_in_s=-1, **known.recorded(mark=None))
    herd(cli, 3, deadline_in_s=-1)  # they run themselves, and never said where
    result(cli("job", "reap"), jobs_looked=5, jobs_reaped=5, processes_killed=2)
    assert marked.ended()
    assert known.ended()
    assert database.sql("SELECT count(*) FROM job_events WHERE event = 'FAILED'") == [(5,)]


def test_a_dry_run_leaves_processes_alone(cli: CommandLine, database: Database, left: Callable[[], Process]):
    working, trading = left(), left()
    herd(cli, deadline_in_s=-1, **working.recorded())
    instance(database, **trading.recorded(), status="STOPPED", stop_reason="KILLED", stopped_at=long_ago())
    result(cli("job", "reap", "--dry-run"), jobs_looked=1, jobs_reaped=1, stops_looked=1)
    assert working.lives()
    assert trading.lives()


def test_nobody_else_is_signalled(cli: CommandLine, left: Callable[[], Process]):
    """A pid that was given away, one of before the last boot, one of another host."""
    reused, before, elsewhere = left(), left(), left()
    other_start = str(int(reused.pid_started) - 1)
    herd(cli, deadline_in_s=-1, **reused.recorded(mark=secrets.token_hex(16), pid_started=other_start))
    herd(cli, deadline_in_s=-1, began_s=29 * 86_400, **before.recorded(boot_id=ANOTHER_BOOT))
    (foreign,) = herd(cli, deadline_in_s=-1, **elsewhere.recorded(host="another-host"))
    found = incomplete(cli("job", "reap"), "REAP_INCOMPLETE", jobs_reaped=3, processes_killed=0)
    detail = "what it may have left runs on another-host"
    assert found == [{"kind": "job", "id": foreign, "reason": "OTHER_HOST", "detail": detail}]
    assert all(each.lives() for each in (reused, before, elsewhere))


def test_what_cannot_be_known_again_is_reported_and_left(cli: CommandLine, left: Callable[[], Process]):
    unknown = left()
    (job,) = herd(cli, deadline_in_s=-1, **unknown.recorded(mark=None, pid_started=None))
    found = incomplete(cli("job", "reap"), "REAP_INCOMPLETE", jobs_reaped=1)
    assert (found[0]["id"], found[0]["reason"]) == (job, "NOT_PROVEN_GONE")
    assert unknown.lives()


def test_a_bot_whose_supervisor_is_gone_is_killed_and_confirmed(
    cli: CommandLine, database: Database, left: Callable[[], Process]
):
    trading = left()
    number = instance(database, **trading.recorded())
    result(
        cli("job", "reap", env=QUICK),
        instances_looked=1, instances_reaped=1, stops_looked=1, stops_confirmed=1, processes_killed=1,
    )  # fmt: skip
    assert trading.ended()
    row = the_row(database, number)
    assert (row["status"], row["stop_reason"]) == ("FAILED", "SUPERVISOR_LOST")
    assert row["exit_status"] == f"killed by the reaper on {HOST}"
    assert row["stop_confirmed_at"] is not None
    verified(cli)


def test_a_stop_that_nobody_confirmed_is_proven(cli: CommandLine, database: Database, left: Callable[[], Process]):
    """The kill was committed, its supervisor was dead already, and the bot trades on."""
    trading, gone = left(), left()
    gone.popen.kill()
    gone.popen.wait(LIMIT_S)
    stopped = {"status": "STOPPED", "stop_reason": "LEASE_LOST", "stopped_at": long_ago()}
    live = instance(database, **trading.recorded(), **stopped)
    dead = instance(database, **gone.recorded(), **stopped)
    elsewhere = instance(database, **gone.recorded(host="another-host"), **stopped)
    result(cli("job", "reap"), stops_looked=2, stops_confirmed=2, processes_killed=1)
    assert trading.ended()
    assert the_row(database, live)["exit_status"] == f"killed by the reaper on {HOST}"
    assert the_row(database, dead)["exit_status"] == f"gone, found by the reaper on {HOST}"
    assert the_row(database, elsewhere)["stop_confirmed_at"] is None
    result(cli("job", "reap"))
    verified(cli)


def test_a_supervisor_gets_its_time_to_end_its_process_itself(
    cli: CommandLine, database: Database, left: Callable[[], Process]
):
    """TERM, grace, KILL, report: until stale_after_s, and grace and lease, are over, a stop is its supervisor's."""
    trading = left()
    stopped = {"status": "STOPPED", "stop_reason": "KILLED"}
    instance(database, **trading.recorded(), **stopped, stopped_at=long_ago(15), stale_after_s=10)
    instance(database, **trading.recorded(), **stopped, stopped_at=long_ago(100), stale_after_s=200)
    result(cli("job", "reap"))
    assert trading.lives()
    incomplete_ = cli("job", "reap", env={"BLAIDCTL_GRACE_S": "1", "BLAIDCTL_LEASE_S": "2"})
    result(incomplete_, stops_looked=1, stops_confirmed=1, processes_killed=1)


def test_a_stop_that_cannot_be_proven_stays_unconfirmed(cli: CommandLine, database: Database):
    number = instance(
        database, host=HOST, boot_id=processes.boot_id(), pid=os.getpid(), pid_started="1", mark=None,
        status="STOPPED", stop_reason="KILLED", stopped_at=long_ago(),
    )  # fmt: skip
    unknown = instance(
        database,
        host=HOST,
        boot_id=None,
        pid=os.getpid(),
        status="STOPPED",
        stop_reason="KILLED",
        stopped_at=long_ago(),
    )
    found = incomplete(cli("job", "reap"), "REAP_INCOMPLETE", stops_looked=2, stops_confirmed=1)
    assert [(one["kind"], one["id"], one["reason"]) for one in found] == [("instance", unknown, "NOT_PROVEN_GONE")]
    assert the_row(database, number)["stop_confirmed_at"] is not None
    assert the_row(database, unknown)["stop_confirmed_at"] is None


def test_a_real_supervisor_that_is_killed_with_its_keeper_leaves_nothing(
    cli: CommandLine, process: Any, database: Database, tmp_path: Path
):
    """SIGKILL for supervisor and keeper at once, and a daemon that left the group, the session and its parent."""
    done(cli("user", "add", "alice"))
    done(cli("bot", "add", "b1", "--user", "alice"))
    env = {"BLAIDCTL_HEARTBEAT_S": "1", "BLAIDCTL_LEASE_S": "3", "BLAIDCTL_GRACE_S": "1"}
    script = f"setsid -f sh -c 'echo $$ >{tmp_path}/pid; exec sleep 300'; exec sleep 300"
    supervisor = process.spawn("bot", "run", "b1", "--", "sh", "-c", script, env=env)
    until = time.monotonic() + LIMIT_S
    pid_file = tmp_path / "pid"
    while not (pid_file.exists() and pid_file.read_text().endswith("\n") and _status(database) == "RUNNING"):
        assert time.monotonic() < until
        time.sleep(0.05)
    daemon = int(pid_file.read_text())
    keepers = [int(n) for n in Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text().split()]
    for pid in (supervisor.pid, *keepers):
        os.kill(pid, signal.SIGSTOP)  # neither may act on the death of the other
    for pid in (supervisor.pid, *keepers):
        os.kill(pid, signal.SIGKILL)
    database.sql("UPDATE bot_instances SET stale_after_s = 3")
    found: dict[str, Any] = {"instances_reaped": 0}
    while not found["instances_reaped"]:
        assert time.monotonic() < until + LIMIT_S
        found = done(cli("job", "reap", env=env)).json["result"]
    assert found["stops_confirmed"] == 1
    assert not Path(f"/proc/{daemon}").exists() or ") Z " in Path(f"/proc/{daemon}/stat").read_text()
    assert the_row(database, 1)["stop_reason"] == "SUPERVISOR_LOST"
    verified(cli)


def _status(database: Database) -> str | None:
    rows = database.sql("SELECT status FROM bot_instances")
    return rows[0][0] if rows else None
