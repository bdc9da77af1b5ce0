"""The looks after COMMIT: a kill that is committed is never called not done, whatever cuts the wait for proof off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kill.fleet import BACK, WHY, done, events, fleet, instance
from tests.kill.proxy import Proxy
from tests.support.processes import LIMIT_S, wait_for

if TYPE_CHECKING:
    from tests.support.commandline import CommandLine, ProcessCommandLine
    from tests.support.database import Database
    from tests.support.postgres import PostgresAddress

ONCE = ("kill", "a1", *WHY, "--request-id", "once")
#: What only the look whether the bots still are killed, and only the look for the proof, ask.
STILL_KILLED, PROVEN = b"killed_at IS NULL ORDER BY id", b"stopped_at IS NOT NULL AND stop_confirmed_at IS NULL"


def through(database: Database, address: PostgresAddress, proxy: Proxy) -> dict[str, str | None]:
    return {"BLAIDCTL_DATABASE_URL": database.url.replace(f":{address.port}/", f":{proxy.port}/")}


@pytest.mark.parametrize(
    ("words", "command"),
    [(STILL_KILLED, ONCE), (STILL_KILLED, (*ONCE, "--wait", "5")), (PROVEN, (*ONCE, "--wait", "5"))],
)
def test_a_replayed_kill_is_never_called_not_killed_when_the_database_goes_away(
    cli: CommandLine,
    postgres_database: Database,
    postgres_address: PostgresAddress,
    words: bytes,
    command: tuple[str, ...],
):
    fleet(cli)
    instance(cli, "a1")
    first = done(cli(*ONCE)).json
    with Proxy(postgres_address.port, "before", words=words, then_refuse=True) as proxy:
        run = cli(*command, env=through(postgres_database, postgres_address, proxy))
        assert proxy.cuts == 1
    assert (run.code, run.error["error_code"]) == (1, "STOP_UNCONFIRMED")
    assert "the kill is committed, but waiting for proof was cut off" in run.error["message"]
    assert "NOT KILLED" not in run.stderr
    assert (run.json["replayed"], run.json["result"]["bots"]) == (True, first["result"]["bots"])
    assert len(events(postgres_database)) == 1


def test_a_kill_whose_database_goes_away_while_it_waits_is_committed_and_not_proven(
    cli: CommandLine, process: ProcessCommandLine, sqlite_database: Database
):
    fleet(cli)
    instance(cli, "a1")
    waiting = process.spawn("kill", "a1", *WHY, "--wait", "60")
    wait_for(lambda: events(sqlite_database))
    assert sqlite_database.path is not None
    aside = sqlite_database.path.with_name("aside.db")
    sqlite_database.path.rename(aside)
    stdout, stderr = waiting.communicate(timeout=LIMIT_S)
    aside.rename(sqlite_database.path)
    assert (waiting.returncode, "NOT KILLED" in stderr) == (1, False)
    assert "waiting for proof was cut off (DATABASE_MISSING)" in stderr
    assert '"count": 1' in stdout
    assert events(sqlite_database) == [("a1", "KILL", "APPLIED", None, 1)]


def test_a_restart_whose_database_goes_away_while_it_waits_is_committed_and_not_seen(
    cli: CommandLine, process: ProcessCommandLine, sqlite_database: Database
):
    fleet(cli)
    done(cli("kill", "a1", *WHY))
    waiting = process.spawn("resurrect", "a1", *BACK, "--restart", "--wait", "60")
    wait_for(lambda: len(events(sqlite_database)) == 2)
    assert sqlite_database.path is not None
    aside = sqlite_database.path.with_name("aside.db")
    sqlite_database.path.rename(aside)
    stdout, stderr = waiting.communicate(timeout=LIMIT_S)
    aside.rename(sqlite_database.path)
    assert (waiting.returncode, "RESTART_UNCONFIRMED" in stderr) == (1, True)
    assert "the wait was cut off: DATABASE_MISSING" in stderr
    assert '"restarted": null' in stdout
    assert sqlite_database.sql("SELECT killed_at FROM bots WHERE id = 'a1'") == [(None,)]


def test_a_restart_is_ordered_only_when_it_was_asked_for(cli: CommandLine, database: Database):
    fleet(cli)
    done(cli("kill", "a1", *WHY))
    dry = cli("resurrect", "a1", *BACK, "--restart", "--dry-run")
    assert (dry.code, dry.json["dry_run"]) == (0, True)
    done(cli("resurrect", "a1", *BACK))
    assert cli("resurrect", "a1", *BACK, "--restart", "--wait", "0").code == 1
    said = cli("kill-events", "a1").json["result"]["events"]
    assert [event["metadata"].get("restart") for event in said] == [True, None, None]
    assert len(events(database)) == 3
    for wrong in ("-1", "3601", "soon"):
        assert cli("resurrect", "a1", *BACK, "--restart", "--wait", wrong).code == 2
