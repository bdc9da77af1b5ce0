"""What `audit verify` finds when somebody with every right changed jobs or their events: the events are the truth."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.audit.tampering import broken, tamper
from tests.jobs.work import a_type, end, start
from tests.kill.fleet import verified

if TYPE_CHECKING:
    from tests.support.commandline import CommandLine
    from tests.support.database import Database

AT = "'2026-01-01T00:00:00.000000Z'"
EVENT_COLUMNS = "act_id, job_id, attempt, event, reason_code, observed_heartbeat_at, created_at, actor, trace_id"


@pytest.fixture
def desk(cli: CommandLine) -> CommandLine:
    """Job 1 FAILED, then runs its attempt 2; job 2 has SUCCEEDED; job 3 runs; 4 was CANCELLED.

    Its events, oldest first: 1 to 3 of job 1 (start, end, start), 4 and 5 of job 2, 6 of job 3, 7 and 8 of job 4.
    """
    a_type(cli)
    start(cli)
    end(cli, 1, "FAILED")
    start(cli, "--job", "1")
    for number, status in ((2, "SUCCEEDED"), (3, None), (4, "CANCELLED")):
        start(cli)
        if status:
            end(cli, number, status)
    assert verified(cli)["event_rows"] == 8
    return cli


def found(cli: CommandLine) -> list[str]:
    """What the replay alone says is wrong."""
    run, checks, _ = broken(cli)
    assert "replay" in checks
    return [defect["what"] for defect in run.json["result"]["defects"] if defect["check"] == "replay"]


ENDED = f"finished_at = {AT}, reason_code = "


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        (
            f"UPDATE jobs SET status = 'FAILED', {ENDED}'TIMEOUT' WHERE id = 3",
            "job 3 is FAILED (attempt 1, TIMEOUT), its events say RUNNING (attempt 1)",
        ),
        (
            f"UPDATE jobs SET status = 'SUCCEEDED', {ENDED}'COMPLETED' WHERE id = 1",
            "job 1 is SUCCEEDED (attempt 2, COMPLETED), its events say RUNNING (attempt 2)",
        ),
        (
            "UPDATE jobs SET status = 'SUCCEEDED' WHERE id = 4",
            "job 4 is SUCCEEDED (attempt 1, REPORTED), its events say CANCELLED (attempt 1, REPORTED)",
        ),
        (
            "UPDATE jobs SET reason_code = 'TIMEOUT' WHERE id = 4",
            "job 4 is CANCELLED (attempt 1, TIMEOUT), its events say CANCELLED (attempt 1, REPORTED)",
        ),
        (
            "UPDATE jobs SET attempt = 5 WHERE id = 3",
            "job 3 is RUNNING (attempt 5), its events say RUNNING (attempt 1)",
        ),
        (
            "UPDATE jobs SET status = 'RUNNING', finished_at = NULL, reason_code = NULL WHERE id = 2",
            "job 2 is RUNNING (attempt 1), its events say SUCCEEDED (attempt 1, COMPLETED)",
        ),
        (
            "UPDATE jobs SET status = 'QUEUED' WHERE id = 3",
            "job 3 is QUEUED (attempt 1), its events say RUNNING (attempt 1)",
        ),
        ("DELETE FROM jobs WHERE id = 2", "job 2 is gone, job event 5 names it"),
        ("DELETE FROM jobs WHERE id = 4", "job 4 is gone, job event 7 names it"),
        ("DELETE FROM job_events WHERE id = 6", "job 3 is RUNNING (attempt 1), but no event says that it started"),
        ("DELETE FROM job_events WHERE id = 8", "job 4 is CANCELLED (attempt 1, REPORTED), its events say RUNNING"),
        ("DELETE FROM job_events WHERE id = 7", "job 4: event 8 says CANCELLED of attempt 1, but it was not started"),
        (
            "DELETE FROM job_events WHERE id = 2",
            "job 1: event 3 says STARTED of attempt 2, but it was RUNNING (attempt 1)",
        ),
        (
            "DELETE FROM job_events WHERE id IN (1, 2)",
            "job 1: event 3 says STARTED of attempt 2, but it was not started",
        ),
        (
            "UPDATE job_events SET reason_code = 'TIMEOUT' WHERE id = 8",
            "job 4 is CANCELLED (attempt 1, REPORTED), its events say CANCELLED (attempt 1, TIMEOUT)",
        ),
        (
            "UPDATE job_events SET event = 'FAILED' WHERE id = 5",
            "job 2 is SUCCEEDED (attempt 1, COMPLETED), its events say FAILED (attempt 1, COMPLETED)",
        ),
        (
            "UPDATE job_events SET attempt = 2 WHERE id = 5",
            "job 2: event 5 says SUCCEEDED of attempt 2, but it was RUNNING (attempt 1)",
        ),
        ("UPDATE job_events SET job_id = 99 WHERE id = 8", "job 99 is gone, job event 8 names it"),
        (
            (
                f"INSERT INTO job_events ({EVENT_COLUMNS}) SELECT act_id, 2, 2, 'STARTED', NULL, NULL, created_at,"
                " actor, trace_id FROM job_events WHERE id = 5"
            ),
            "job 2: event 9 says STARTED of attempt 2, but it was SUCCEEDED (attempt 1, COMPLETED)",
        ),
        (
            (
                f"INSERT INTO job_events ({EVENT_COLUMNS}) SELECT act_id, 4, 3, 'STARTED', NULL, NULL, created_at,"
                " actor, trace_id FROM job_events WHERE id = 8"
            ),
            "job 4: event 9 says STARTED of attempt 3, but it was CANCELLED (attempt 1, REPORTED)",
        ),
    ],
)
def test_each_tampering_is_named(desk: CommandLine, database: Database, statement: str, sentence: str):
    tamper(database, statement)
    whats = found(desk)
    assert any(what.startswith(sentence) for what in whats), whats


def test_a_job_that_no_event_knows_is_named(desk: CommandLine, database: Database):
    tamper(
        database,
        "INSERT INTO jobs (job_type, status, attempt, hb_seq, heartbeat_s, stale_after_s, finished_at, reason_code,"
        f" created_at) VALUES ('nightly', 'SUCCEEDED', 1, 0, 5, 60, {AT}, 'COMPLETED', {AT})",
    )
    assert found(desk) == ["job 5 is SUCCEEDED (attempt 1, COMPLETED), but no event says that it started"]


def test_a_heartbeat_and_a_process_are_nothing_that_events_explain(desk: CommandLine, database: Database):
    """Signs of life and what a worker says of itself leave no event: a finding about them would be a false alarm."""
    tamper(database, "UPDATE jobs SET hb_seq = hb_seq + 1, worker_pid = 7")
    verified(desk)


def test_every_job_that_is_wrong_is_named_once(desk: CommandLine, database: Database):
    tamper(database, "UPDATE jobs SET attempt = attempt + 1")
    assert [re.match(r"job (\d) is ", what)[1] for what in found(desk)] == ["1", "2", "3", "4"]  # type: ignore[index]
