"""`bot run --standby`: a kill ends the process, the supervisor waits for the order to start it again."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.kill.fleet import operate
from tests.support.database import Database
from tests.support.processes import LIMIT_S, lives, wait_for

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.commandline import CommandLine, ProcessCommandLine, Run
    from tests.support.postgres import PostgresServer

WHY = ("--reason-code", "DRILL", "--reason", "a drill")
BACK = ("--reason-code", "DRILL_DONE", "--reason", "the drill is over")
AGAIN = ("resurrect", "b1", *BACK, "--restart", "--wait", "25")
#: A lease that does not end while a busy machine looks elsewhere.
CALM = {"BLAIDCTL_HEARTBEAT_S": "1", "BLAIDCTL_LEASE_S": "60", "BLAIDCTL_GRACE_S": "1"}
#: Longer than a supervisor that stands by needs for a few looks.
A_FEW_LOOKS_S = 2.5


@dataclasses.dataclass
class Standing:
    """A supervisor with --standby, and a look at the instances of its bot."""

    popen: subprocess.Popen[str]
    database: Database

    def instances(self) -> list[tuple[Any, ...]]:
        return self.database.sql(
            "SELECT id, status, stop_reason, pid, stop_confirmed_at IS NOT NULL FROM bot_instances ORDER BY id"
        )

    def running(self, number: int) -> int:
        """Wait until the instance of this number, the newest, runs; return its pid."""
        wait_for(lambda: [row[:2] for row in self.instances()[number - 1 :]] == [(number, "RUNNING")] or self.over())
        return int(self.instances()[-1][3])

    def ended(self, number: int) -> bool:
        """Whether the instance of this number, the newest, was killed and is proven gone, and nothing else runs."""
        number_, status, reason, pid, confirmed = self.instances()[-1]
        return (number_, status, reason, bool(confirmed), lives(pid)) == (number, "STOPPED", "KILLED", True, False)

    def over(self) -> None:
        assert self.popen.poll() is None, self.popen.communicate()

    def starts_nothing(self) -> None:
        before = self.instances()
        time.sleep(A_FEW_LOOKS_S)
        self.over()
        assert self.instances() == before

    def stop(self) -> str:
        """Tell the supervisor to stop; return what it said."""
        self.popen.terminate()
        stderr = self.popen.communicate(timeout=LIMIT_S)[1]
        assert self.popen.returncode == 0, stderr
        assert "Traceback" not in stderr
        return stderr


@pytest.fixture
def registered(cli: CommandLine) -> None:
    """The bot b1 of alice."""
    assert cli("user", "add", "alice").code == 0
    assert cli("bot", "add", "b1", "--user", "alice").code == 0


@pytest.fixture
def standby(process: ProcessCommandLine, registered: None) -> Callable[..., Standing]:
    """`standby()`: spawn a supervisor of b1 that stands by after a kill; its process sleeps, unless told otherwise."""
    del registered

    def start(*command: str, database: Database | None = None, **env: str) -> Standing:
        words = command or ("sleep", "300")
        popen = process.spawn("bot", "run", "b1", "--standby", "--", *words, env=CALM | env, database=database)
        return Standing(popen, database or process.database)

    return start


def kill(cli: CommandLine, *options: str, database: Database | None = None) -> None:
    ran = cli("kill", "b1", *WHY, *options, database=database)
    assert ran.code == 0, ran.stderr


def resurrect(cli: CommandLine) -> Run:
    ran = cli("resurrect", "b1", *BACK)
    assert (ran.code, ran.json["result"]["effect"], ran.json["result"]["restarted"]) == (0, "APPLIED", None)
    return ran


def restarted(ran: Run) -> list[int]:
    assert ran.code == 0, ran.stderr
    found: list[int] = ran.json["result"]["restarted"]
    return found


def said_to_stand_by(standing: Standing) -> None:
    """Read what the supervisor says until it says that it stands by."""
    assert standing.popen.stderr is not None
    for line in standing.popen.stderr:
        if "standing by for `blaidctl resurrect b1 --restart`" in line:
            return
    pytest.fail("it ended")


@pytest.mark.operation("resurrect", "bot run")
def test_a_kill_ends_the_process_and_a_restart_starts_it_again_and_again(
    standby: Callable[..., Standing], cli: CommandLine, database: Database
):
    standing = standby()
    first = standing.running(1)
    kill(cli, "--wait", "20")
    assert not lives(first)
    assert standing.ended(1)
    resurrect(cli)
    standing.starts_nothing()
    for number in (2, 3):
        kill(cli, "--wait", "20")
        assert standing.ended(number - 1)
        assert restarted(cli(*AGAIN)) == [number]
        assert lives(standing.running(number))
    if database.kind == "postgresql":
        listeners = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'blaidctl watch'"
        listeners += " AND datname = current_database()"
        wait_for(lambda: database.sql(listeners) == [(1,)])  # one at a time, however many were started
    last = standing.instances()[-1][3]
    assert "SUPERVISOR_STOPPED" in standing.stop()
    assert not lives(last)
    assert [row[1:3] for row in standing.instances()] == [("STOPPED", "KILLED")] * 2 + [
        ("STOPPED", "SUPERVISOR_STOPPED")
    ]
    marks = database.sql("SELECT DISTINCT mark FROM bot_instances")
    assert len(marks) == 3
    if database.kind == "postgresql":
        wait_for(lambda: database.sql(listeners) == [(0,)])
    assert cli("audit", "verify").code == 0


def test_a_kill_and_a_restart_in_quick_succession_leave_one_new_process(
    standby: Callable[..., Standing], cli: CommandLine
):
    """Also before the supervisor has noticed the kill; news of the old process are not news of the next."""
    standing = standby()
    for number in range(2, 6):
        before = standing.running(number - 1)
        kill(cli)
        assert restarted(cli(*AGAIN)) == [number]
        assert not lives(before)
    assert lives(standing.running(5))
    assert [row[1:3] for row in standing.instances()[:-1]] == [("STOPPED", "KILLED")] * 4
    assert all(row[4] for row in standing.instances()[:-1])


def test_an_order_older_than_the_last_kill_is_never_obeyed(standby: Callable[..., Standing], cli: CommandLine):
    """All of it happens while the supervisor sleeps: it sees the end of it at once."""
    standing = standby()
    standing.running(1)
    os.kill(standing.popen.pid, signal.SIGSTOP)
    kill(cli)
    assert cli("resurrect", "b1", *BACK, "--restart", "--wait", "0").error["error_code"] == "RESTART_UNCONFIRMED"
    kill(cli)
    resurrect(cli)
    os.kill(standing.popen.pid, signal.SIGCONT)
    wait_for(lambda: standing.ended(1))
    standing.starts_nothing()
    # The bot lives: an order is an order all the same.
    ordered = cli(*AGAIN)
    assert (ordered.json["result"]["effect"], restarted(ordered)) == ("ALREADY_IN_STATE", [2])


def test_an_order_is_obeyed_once(standby: Callable[..., Standing], cli: CommandLine):
    """The process that it started was killed; it stands in the history, and the bot is live again."""
    standing = standby()
    standing.running(1)
    kill(cli, "--wait", "20")
    assert restarted(cli(*AGAIN)) == [2]
    standing.running(2)
    kill(cli, "--wait", "20")
    resurrect(cli)
    standing.starts_nothing()


def by_hand(database: Database, *statements: str) -> None:
    """Change the state of the bot around the product: there is no event of it."""
    with contextlib.closing(database.raw()) as connection:
        connection.execute("BEGIN")
        for statement in statements:
            connection.execute(statement)
        connection.execute("COMMIT")


def test_a_kill_by_hand_makes_no_old_order_new(standby: Callable[..., Standing], cli: CommandLine, database: Database):
    now = "2027-01-01T00:00:00.000000Z"
    stop = f"UPDATE bot_instances SET status = 'STOPPED', stop_reason = 'KILLED', stopped_at = '{now}' WHERE id = 2"
    killed, live = f"UPDATE bots SET killed_at = '{now}'", "UPDATE bots SET killed_at = NULL"
    standing = standby()
    standing.running(1)
    kill(cli, "--wait", "20")
    assert restarted(cli(*AGAIN)) == [2]
    standing.running(2)
    by_hand(database, stop, killed)
    wait_for(lambda: standing.ended(2))
    by_hand(database, live)
    standing.starts_nothing()
    # An order to start a bot that was killed by hand meanwhile is none: nothing is asked for, and nothing refused.
    os.kill(standing.popen.pid, signal.SIGSTOP)
    assert cli("resurrect", "b1", *BACK, "--restart", "--wait", "0").code == 1
    by_hand(database, killed)
    before = database.sql("SELECT count(*) FROM audit_log")
    os.kill(standing.popen.pid, signal.SIGCONT)
    standing.starts_nothing()
    assert database.sql("SELECT count(*) FROM audit_log") == before
    by_hand(database, live)
    assert lives(standing.running(3))


def test_nobody_stands_by_and_the_answer_says_so(
    standby: Callable[..., Standing], cli: CommandLine, database: Database
):
    kill(cli)
    ran = cli("resurrect", "b1", *BACK, "--restart", "--wait", "1")
    assert (ran.code, ran.error["error_code"]) == (1, "RESTART_UNCONFIRMED")
    assert "b1 is live, but no supervisor" in ran.error["message"]
    assert ran.json["result"]["restarted"] == []
    assert database.sql("SELECT killed_at FROM bots") == [(None,)]
    # Who comes later does not take it for an order to them.
    kill(cli)
    standing = standby()
    said_to_stand_by(standing)
    resurrect(cli)
    standing.starts_nothing()
    assert standing.instances() == []


def test_started_on_a_killed_bot_it_stands_by(standby: Callable[..., Standing], cli: CommandLine):
    kill(cli)
    standing = standby()
    said_to_stand_by(standing)
    assert standing.instances() == []
    assert restarted(cli(*AGAIN)) == [1]
    assert lives(standing.running(1))


def test_told_to_stop_while_it_stands_by_it_goes(standby: Callable[..., Standing], cli: CommandLine):
    standing = standby()
    standing.running(1)
    kill(cli, "--wait", "20")
    said_to_stand_by(standing)
    assert "told to stop while standing by for bot b1; nothing runs" in standing.stop()
    assert standing.ended(1)


@pytest.mark.parametrize(("command", "code"), [("true", 0), ("false", 1)])
def test_a_process_that_ends_by_itself_ends_the_supervisor_too(
    standby: Callable[..., Standing], command: str, code: int
):
    standing = standby(command)
    stderr = standing.popen.communicate(timeout=LIMIT_S)[1]
    assert standing.popen.returncode == code, stderr
    assert "standing by" not in stderr
    assert ("PROCESS_FAILED" in stderr) == bool(code)


def test_an_order_that_the_database_did_not_take_still_stands(
    standby: Callable[..., Standing], cli: CommandLine, database: Database
):
    standing = standby(BLAIDCTL_LOCK_TIMEOUT_S="1")
    standing.running(1)
    kill(cli, "--wait", "20")
    said_to_stand_by(standing)
    os.kill(standing.popen.pid, signal.SIGSTOP)
    cli("resurrect", "b1", *BACK, "--restart", "--wait", "0")
    holder = database.raw()
    holder.execute("BEGIN IMMEDIATE" if database.kind == "sqlite" else "BEGIN")
    if database.kind == "postgresql":
        holder.execute("SELECT 1 FROM bots FOR UPDATE")
    os.kill(standing.popen.pid, signal.SIGCONT)
    assert standing.popen.stderr is not None
    assert "still standing by for bot b1" in standing.popen.stderr.readline()
    holder.execute("ROLLBACK")
    assert lives(standing.running(2))


def test_a_restart_is_replayed_not_repeated(standby: Callable[..., Standing], cli: CommandLine):
    standing = standby()
    standing.running(1)
    kill(cli, "--wait", "20")
    once = (*AGAIN, "--request-id", "restart-1")
    assert restarted(cli(*once)) == [2]
    again = cli(*once)
    assert (again.json["replayed"], restarted(again)) == (True, [2])
    standing.starts_nothing()


def test_a_start_that_is_not_run_is_not_called_a_restart(registered: None, cli: CommandLine, database: Database):
    """A supervisor has asked for the right to start, and has not said yet that the process is there."""
    del registered
    kill(cli)
    order = cli("resurrect", "b1", *BACK, "--restart", "--wait", "0", "--request-id", "one")
    assert order.code == 1
    operate(cli, "instance start", {"bot": "b1", "host": "here"})
    assert cli("resurrect", "b1", *BACK, "--restart", "--wait", "0", "--request-id", "one").code == 1
    ((instance,),) = database.sql("SELECT id FROM bot_instances")
    operate(cli, "instance run", {"instance": instance, "attempt": 1, "pid": 4711, "pid_started": "99"})
    assert restarted(cli("resurrect", "b1", *BACK, "--restart", "--wait", "0", "--request-id", "one")) == [instance]


# ---- the database goes away ----------------------------------------------------------------------------------


@contextlib.contextmanager
def moved_away(path: Path) -> Iterator[None]:
    """No file at its address, as after the loss of a mount."""
    aside = path.with_name("aside")
    aside.mkdir()
    for file in [path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))]:
        if file.exists():
            file.rename(aside / file.name)
    yield
    for file in aside.iterdir():
        file.rename(path.with_name(file.name))


def test_a_file_that_goes_away_and_comes_back_is_waited_for(
    standby: Callable[..., Standing], cli: CommandLine, sqlite_database: Database
):
    standing = standby()
    standing.running(1)
    kill(cli, "--wait", "20")
    said_to_stand_by(standing)
    assert sqlite_database.path is not None
    with moved_away(sqlite_database.path):
        time.sleep(A_FEW_LOOKS_S)
        standing.over()
    standing.starts_nothing()
    assert restarted(cli(*AGAIN)) == [2]


def test_a_server_that_goes_away_and_comes_back_is_waited_for(
    standby: Callable[..., Standing], private_postgres: PostgresServer, cli: CommandLine, postgres_database: Database
):
    del postgres_database
    database = Database("postgresql", private_postgres.url("postgres"))
    for words in (("db", "upgrade", "--yes"), ("user", "add", "alice"), ("bot", "add", "b1", "--user", "alice")):
        assert cli(*words, database=database).code == 0
    standing = standby(database=database)
    standing.running(1)
    kill(cli, "--wait", "20", database=database)
    said_to_stand_by(standing)
    private_postgres.stop("immediate")
    time.sleep(A_FEW_LOOKS_S)
    standing.over()
    private_postgres.restart()
    (instance,) = restarted(cli(*AGAIN, database=database))  # numbers are left out after a crash
    assert instance > 1
