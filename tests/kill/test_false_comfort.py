"""Answers that would comfort somebody who should not be: each is a finding or a clear refusal instead."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from blaidctl.core import signals
from tests.kill.fleet import BACK, WHY, done, fleet, instance

if TYPE_CHECKING:
    from tests.support.commandline import CommandLine, ProcessCommandLine
    from tests.support.database import Database


def test_a_replayed_kill_that_was_ended_since_is_a_finding(cli: CommandLine, database: Database):
    fleet(cli)
    once = ("kill", "a1", *WHY, "--request-id", "cron-1")
    done(cli(*once))
    assert done(cli(*once)).json["replayed"] is True, "as long as it holds, a replay is a plain answer"
    done(cli("resurrect", "a1", *BACK))
    run = cli(*once, "--wait", "1")
    assert (run.code, run.error["error_code"]) == (1, "KILL_ENDED")
    assert run.error["missing_requirements"] == ["bot a1 is live"]
    assert database.sql("SELECT count(*) FROM kill_events") == [(2,)]


def test_an_empty_standard_input_names_no_bots(cli: CommandLine, database: Database):
    fleet(cli)
    run = cli("kill", "-", "--tag", "fast", *WHY, "--confirm-count", "2", stdin="")
    assert (run.code, run.error["error_code"]) == (2, "INVALID_REQUEST")
    assert database.sql("SELECT count(*) FROM kill_events") == [(0,)]


def test_a_time_that_somebody_wrote_by_hand_does_not_keep_the_fleet_alive(cli: CommandLine, sqlite_database: Database):
    fleet(cli)
    sqlite_database.sql("UPDATE bots SET killed_at = '2026-11-22 15:00:00' WHERE id = 'b2'")
    assert cli("guard", "b2").code == 1
    killed = done(cli("kill", "--all", *WHY, "--confirm-count", "5")).json["result"]
    assert killed["count"] == 5
    assert cli("audit", "verify").code == 1, "the row that no event explains is named"


def test_what_is_no_time_at_all_is_a_damaged_database_and_a_no(cli: CommandLine, sqlite_database: Database):
    fleet(cli)
    sqlite_database.sql("UPDATE bots SET killed_at = 'yesterday' WHERE id = 'b2'")
    run = cli("kill", "b2", *WHY)
    assert (run.code, run.error["error_code"]) == (8, "DATABASE_CORRUPT")
    assert "killed_at" in run.error["message"]
    assert run.stderr.endswith("NOT KILLED\n")
    assert cli("guard", "b2").code == 1


def test_a_tail_over_broken_text_is_a_finding(cli: CommandLine, database: Database):
    fleet(cli)
    database.drop_triggers()
    database.sql("UPDATE audit_log SET canonical = '{' WHERE seq = (SELECT max(seq) FROM audit_log)")
    run = cli("audit", "tail")
    assert (run.code, run.error["error_code"]) == (1, "AUDIT_BROKEN")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_a_wait_that_a_signal_cuts_off_still_says_that_the_kill_is_committed(
    cli: CommandLine, process: ProcessCommandLine, sqlite_database: Database, number: signal.Signals
):
    fleet(cli)
    running = instance(cli, "a1")
    killing = process.spawn("kill", "a1", *WHY, "--wait", "60")
    deadline = time.monotonic() + 60
    while not sqlite_database.sql("SELECT 1 FROM kill_events"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)  # the answer is being waited for
    killing.send_signal(number)
    out, err = killing.communicate(timeout=60)
    assert killing.returncode == 1, err
    assert '"effect": "APPLIED"' in out
    assert "STOP_UNCONFIRMED" in err
    assert running


def test_a_signal_in_the_held_moment_is_dropped_whatever_thread_it_finds():
    beside = threading.Event()
    deaf = threading.Thread(target=beside.wait)
    signals.start_deaf(deaf)
    try:
        with signals.held():
            signal.raise_signal(signal.SIGINT)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)
            time.sleep(0.05)
    finally:
        beside.set()
        deaf.join()
    assert not signal.sigpending()


def test_an_interrupt_before_the_edge_of_the_command_is_said_too(
    cli: CommandLine, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
):
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("blaidctl.core.operation.the_map", interrupted)
    run = cli("kill", "a1", *WHY)
    assert (run.code, run.error["error_code"]) == (130, "INTERRUPTED")
    assert run.stderr.endswith("NOT KILLED\n")
    assert sqlite_database.sql("SELECT count(*) FROM kill_events") == [(0,)]
