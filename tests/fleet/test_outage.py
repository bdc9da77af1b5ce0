"""The database goes away under a fleet for longer than the lease: every process stops by itself, the rows tell it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.kill.fleet import bots
from tests.support.database import Database
from tests.support.processes import lives, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.commandline import CommandLine, ProcessCommandLine
    from tests.support.database import Kind
    from tests.support.postgres import PostgresServer

FLEET = [f"b{number:02}" for number in range(20)]
#: After the loss of its lease a supervisor insists for the length of another one: 20 of them, on a small machine.
QUICK = {"BLAIDCTL_HEARTBEAT_S": "1", "BLAIDCTL_LEASE_S": "10", "BLAIDCTL_GRACE_S": "1"}
#: A few of them start at a time: each takes a third of a second of the processor.
AT_A_TIME = 4


@pytest.fixture
def stoppable(
    engine: Kind, request: pytest.FixtureRequest, cli: CommandLine
) -> tuple[Database, contextlib.AbstractContextManager[None]]:
    """A database of the test's own with the fleet in it, and its absence."""
    if engine == "sqlite":
        database: Database = request.getfixturevalue("sqlite_database")
        absence = locked(database)
    else:
        server: PostgresServer = request.getfixturevalue("private_postgres")
        database = Database("postgresql", server.url("postgres"))
        assert cli("db", "upgrade", "--yes", database=database).code == 0
        absence = stopped(server)
    bots(database, FLEET)
    return database, absence


@contextlib.contextmanager
def locked(database: Database) -> Iterator[None]:
    """Another program that does not let go of the write lock: no heartbeat can be written, nor a kill."""
    with contextlib.closing(database.raw()) as holder:
        holder.execute("BEGIN IMMEDIATE")
        yield
        holder.execute("ROLLBACK")


@contextlib.contextmanager
def stopped(server: PostgresServer) -> Iterator[None]:
    """No server at its address."""
    server.stop("immediate")
    yield
    server.restart()


@pytest.mark.timeout(240)
def test_every_process_of_a_fleet_stops_by_itself_and_the_rows_tell_the_truth(
    process: ProcessCommandLine,
    cli: CommandLine,
    stoppable: tuple[Database, contextlib.AbstractContextManager[None]],
):
    database, absence = stoppable
    running = "SELECT pid FROM bot_instances WHERE status = 'RUNNING'"
    supervisors = []
    for number, bot in enumerate(FLEET):
        supervisors.append(process.spawn("bot", "run", bot, "--", "sleep", "300", env=QUICK, database=database))
        wait_for(lambda so_far=number - AT_A_TIME: len(database.sql(running)) > so_far)  # type: ignore[misc]
    wait_for(lambda: len(database.sql(running)) == len(FLEET))
    pids = [pid for (pid,) in database.sql(running)]
    assert all(map(lives, pids))
    with absence:
        wait_for(lambda: not any(map(lives, pids)))
    for supervisor in supervisors:
        stderr = supervisor.communicate(timeout=60)[1]
        assert (supervisor.returncode, '"error_code": "LEASE_LOST"' in stderr) == (8, True), stderr
    told = "SELECT DISTINCT status, stop_reason, stop_confirmed_at IS NOT NULL FROM bot_instances"
    assert [(status, reason, bool(proven)) for status, reason, proven in database.sql(told)] == [
        ("FAILED", "LEASE_LOST", True)
    ]
    assert cli("kill", "--all", "--confirm-count", "20", "--reason-code", "DRILL", "--reason", "a drill", "--wait", "0",
               database=database).code == 0  # fmt: skip
    assert cli("audit", "verify", database=database).code == 0
