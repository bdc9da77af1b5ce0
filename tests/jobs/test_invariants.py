"""What the database refuses of jobs, whoever writes: raw SQL on plain connections, around the product."""

from __future__ import annotations

import contextlib
import json
import threading
from typing import TYPE_CHECKING

import pytest

from tests.jobs.work import a_type, end, happened, limits, start
from tests.kill.fleet import done, dump, verified

if TYPE_CHECKING:
    from tests.support.commandline import CommandLine, ProcessCommandLine
    from tests.support.database import Database

IGNORE_CHECKS = "PRAGMA ignore_check_constraints=ON"
#: What a hostile session may say first: triggers must hold under each.
SESSIONS = {
    "sqlite": ("", "PRAGMA foreign_keys=OFF", "PRAGMA recursive_triggers=OFF", IGNORE_CHECKS),
    "postgresql": ("", "SET session_replication_role = replica", "SET session_replication_role = local"),
}
LATE = "a job that has ended changes only into its next attempt"
ATTEMPT = "the attempt of a job only grows when a next one begins"
NO_TYPE = "a job needs a job type, which has limits"
CHECK = "(?i)check constraint"
NULL = "(?i)not.null constraint"
#: A job that the database takes.
GOOD = {
    "job_type": "'nightly'", "status": "'RUNNING'", "attempt": "1", "hb_seq": "0", "heartbeat_s": "5",
    "stale_after_s": "60", "heartbeat_at": "'2026-05-05T05:05:05.000000Z'",
    "started_at": "'2026-05-05T05:05:05.000000Z'", "deadline_at": "'2026-05-05T06:05:05.000000Z'",
    "due_at": "'2026-05-05T05:06:05.000000Z'", "worker_id": "'desk:1'", "created_at": "'2026-05-05T05:05:05.000000Z'",
}  # fmt: skip
EVENT = {
    "act_id": "'x'", "job_id": "1", "attempt": "2", "event": "'STARTED'", "reason_code": "NULL",
    "created_at": "'2026-05-05T05:05:05.000000Z'", "actor": "'me'", "trace_id": f"'{'a' * 32}'",
}  # fmt: skip


def insert(table: str, values: dict[str, str], *, verb: str = "INSERT") -> str:
    return f"{verb} INTO {table} ({', '.join(values)}) VALUES ({', '.join(values.values())})"


@pytest.fixture
def desk(cli: CommandLine) -> CommandLine:
    """Job 1 runs its attempt 1; job 2 has SUCCEEDED; job 3 has FAILED once; job 4 was CANCELLED."""
    a_type(cli)
    for number in range(1, 5):
        assert start(cli)["job_id"] == number
    for number, status in ((2, "SUCCEEDED"), (3, "FAILED"), (4, "CANCELLED")):
        end(cli, number, status)
    return cli


def refuses(database: Database, *statements: tuple[str, str], sessions: tuple[str, ...] | None = None) -> None:
    """Insist that each statement fails for its reason in every kind of session, and that nothing changed."""
    before = dump(database)
    for words in sessions or SESSIONS[database.kind]:
        with contextlib.closing(database.raw()) as connection:
            if words:
                connection.execute(words)
            for statement, why in statements:
                with pytest.raises(Exception, match=why):
                    connection.execute(statement)
        assert dump(database) == before


def constrains(database: Database, *statements: tuple[str, str]) -> None:
    """The same for what CHECK and NOT NULL hold: SQLite lets a session ignore its checks."""
    refuses(database, *statements, sessions=tuple(s for s in SESSIONS[database.kind] if s != IGNORE_CHECKS))


def test_the_rows_that_the_tests_below_break_are_good_rows(desk: CommandLine, database: Database):
    database.sql(insert("jobs", GOOD))
    database.sql(insert("job_events", EVENT))
    assert len(done(desk("job", "list")).json["result"]["jobs"]) == 5


# ---- types -----------------------------------------------------------------------------------------------------


def test_no_type_stands_without_its_limits(desk: CommandLine, database: Database):
    good = {
        "name": "'weekly'", "heartbeat_s": "5", "stale_after_s": "60", "max_runtime_s": "3600", "grace_s": "10",
        "created_at": GOOD["created_at"],
    }  # fmt: skip
    limits = ("heartbeat_s", "stale_after_s", "max_runtime_s", "grace_s")
    without = [{k: v for k, v in good.items() if k != name} for name in limits]
    bad = [
        *((values, NULL) for values in (*without, *(good | {name: "NULL"} for name in limits))),
        *((good | {"heartbeat_s": value}, CHECK) for value in ("0", "-5", "31", "21")),
        *((good | {"stale_after_s": value}, CHECK) for value in ("14", "0", "-1", "86401")),
        *((good | {"max_runtime_s": value}, CHECK) for value in ("0", "-1", "2592001")),
        *((good | {"grace_s": value}, CHECK) for value in ("-1", "301")),
    ]
    constrains(database, *((insert("job_types", values), why) for values, why in bad))
    verified(desk)


def test_a_type_is_never_changed_renamed_or_deleted(desk: CommandLine, database: Database):
    changed = "job_types are never changed"
    columns = ("name", "heartbeat_s", "stale_after_s", "max_runtime_s", "grace_s", "created_at")
    whole = f"('nightly', 5, 60, 7200, 10, {GOOD['created_at']})"
    statements = [
        *((f"UPDATE job_types SET {column} = {column}", changed) for column in columns),
        ("UPDATE job_types SET max_runtime_s = 2592000", changed),
        ("DELETE FROM job_types", "job_types are never (changed or )?deleted"),
        (
            f"INSERT INTO job_types VALUES {whole} ON CONFLICT (name) DO UPDATE SET max_runtime_s = 7200",
            f"{changed}|the name exists",
        ),
    ]
    if database.kind == "sqlite":
        statements.append((f"REPLACE INTO job_types VALUES {whole}", "the name exists"))
        statements.append(("UPDATE OR REPLACE job_types SET name = 'other'", changed))
    else:
        statements.append(("TRUNCATE job_types CASCADE", "never changed or deleted"))
    refuses(database, *statements)
    verified(desk)


# ---- a running job can be found and ended ------------------------------------------------------------------------


def test_no_job_runs_without_heart_deadline_limits_and_worker(desk: CommandLine, database: Database):
    needed = ("heartbeat_at", "started_at", "deadline_at", "due_at", "worker_id")
    limits = ("heartbeat_s", "stale_after_s")
    constrains(
        database,
        *((insert("jobs", GOOD | {name: "NULL"}), CHECK) for name in needed),
        *((f"UPDATE jobs SET {name} = NULL WHERE id = 1", CHECK) for name in needed),
        *((insert("jobs", {k: v for k, v in GOOD.items() if k != name}), NULL) for name in limits),
        *((f"UPDATE jobs SET {name} = NULL WHERE id = 1", NULL) for name in limits),
        *((insert("jobs", GOOD | {"heartbeat_s": value}), CHECK) for value in ("0", "-1", "21")),
        *((insert("jobs", GOOD | {"stale_after_s": value}), CHECK) for value in ("14", "0", "-1", "86401")),
        ("UPDATE jobs SET stale_after_s = 14 WHERE id = 1", CHECK),
        ("UPDATE jobs SET stale_after_s = 100000 WHERE id = 1", CHECK),
        ("UPDATE jobs SET status = 'PAUSED' WHERE id = 1", CHECK),
        ("UPDATE jobs SET hb_seq = -1 WHERE id = 1", CHECK),
        (insert("jobs", GOOD | {"attempt": "0"}), CHECK),
    )
    verified(desk)


@pytest.mark.usefixtures("desk")
def test_the_reaper_comes_no_later_than_the_limits_say(database: Database):
    late = "'2026-05-05T05:06:05.002000Z'"
    beyond = "'2026-05-05T06:05:05.000001Z'"
    constrains(
        database,
        (insert("jobs", GOOD | {"due_at": late}), CHECK),
        (insert("jobs", GOOD | {"due_at": beyond, "heartbeat_at": GOOD["deadline_at"]}), CHECK),
        (insert("jobs", GOOD | {"due_at": "'9998-12-30T00:00:00.000000Z'"}), CHECK),
        ("UPDATE jobs SET due_at = deadline_at WHERE id = 1", CHECK),
        (insert("jobs", GOOD | {"deadline_at": "'2026-05-05T05:05:04.999999Z'"}), CHECK),
        (insert("jobs", GOOD | {"deadline_at": "'2026-06-04T05:05:05.002000Z'"}), CHECK),
        ("UPDATE jobs SET deadline_at = '9998-12-30T00:00:00.000000Z' WHERE id = 1", CHECK),
    )
    database.sql(insert("jobs", GOOD | {"deadline_at": "'2026-06-04T05:05:05.000000Z'"}))  # 30 days


@pytest.mark.usefixtures("desk")
def test_the_times_of_a_running_job_can_be_read(database: Database):
    """One row with an impossible time would blind every look of the reaper, or end it."""
    odd = {
        "sqlite": ("garbage", "-4000-01-01", "2026-02-30T00:00:00.000000Z", "2026-05-05T25:00:00.000000Z", "now"),
        "postgresql": ("infinity", "-infinity", "4000-01-01 BC", "20000-01-01"),
    }[database.kind]
    refuses(
        database,
        *(
            (insert("jobs", GOOD | {column: f"'{text}'"}), "times that can be read|check constraint")
            for text in odd
            for column in ("heartbeat_at", "started_at", "deadline_at", "due_at")
        ),
        *((insert("jobs", GOOD | dict.fromkeys(("started_at", "heartbeat_at", "deadline_at", "due_at"), f"'{text}'")),
           "times that can be read|check constraint") for text in odd),
    )  # fmt: skip


def test_no_job_is_of_an_unknown_type(desk: CommandLine, database: Database):
    """Also where foreign keys are switched off."""
    refuses(
        database,
        (insert("jobs", GOOD | {"job_type": "'ghost'"}), NO_TYPE),
        (insert("jobs", GOOD | {"job_type": "'ghost'", "id": "99"}), NO_TYPE),
        ("UPDATE jobs SET job_type = 'ghost' WHERE id = 1", "jobs are never renamed"),
    )
    verified(desk)


# ---- the end of a job ----------------------------------------------------------------------------------------------


def test_an_end_has_a_time_and_a_reason_and_nothing_else_has(desk: CommandLine, database: Database):
    at = GOOD["created_at"]
    constrains(
        database,
        (f"UPDATE jobs SET status = 'FAILED', finished_at = {at} WHERE id = 1", CHECK),
        (f"UPDATE jobs SET status = 'SUCCEEDED', finished_at = {at} WHERE id = 1", CHECK),
        ("UPDATE jobs SET status = 'FAILED', reason_code = 'TIMEOUT' WHERE id = 1", CHECK),
        ("UPDATE jobs SET status = 'FAILED' WHERE id = 1", CHECK),
        (f"UPDATE jobs SET finished_at = {at}, reason_code = 'TIMEOUT' WHERE id = 1", CHECK),
        ("UPDATE jobs SET reason_code = 'TIMEOUT' WHERE id = 1", CHECK),
        (insert("jobs", GOOD | {"status": "'FAILED'", "finished_at": at}), CHECK),
    )
    verified(desk)


@pytest.mark.usefixtures("desk")
def test_what_has_ended_is_never_written_again(database: Database):
    """An update of an ended job is refused by itself, without any fence of the product's own statements."""
    columns = (
        "hb_seq", "heartbeat_at", "started_at", "deadline_at", "due_at", "worker_id", "finished_at", "reason_code",
        "exit_status", "result", "output_tail", "output_bytes", "status", "attempt",
    )  # fmt: skip
    back = "status = 'RUNNING', finished_at = NULL, reason_code = NULL"
    refuses(
        database,
        *((f"UPDATE jobs SET {column} = {column} WHERE id = {job}", LATE) for column in columns for job in (2, 3, 4)),
        *((f"UPDATE jobs SET {back} WHERE id = {job}", LATE) for job in (2, 3, 4)),  # the same attempt once more
        *(
            (f"UPDATE jobs SET {back}, attempt = 3 WHERE id = {job}", f"{LATE}|{ATTEMPT}") for job in (3, 4)
        ),  # one is left out
        (f"UPDATE jobs SET {back}, attempt = 2 WHERE id = 2", f"{LATE}|{ATTEMPT}"),  # what succeeded is done
        ("UPDATE jobs SET attempt = 2 WHERE id = 3", f"{LATE}|{ATTEMPT}"),  # another attempt that has ended already
        ("UPDATE jobs SET status = 'SUCCEEDED', reason_code = 'COMPLETED' WHERE id = 3", LATE),
    )
    for job in (3, 4):
        database.sql(f"UPDATE jobs SET {back}, attempt = 2 WHERE id = {job}")


def test_an_attempt_neither_goes_back_nor_jumps(desk: CommandLine, database: Database):
    start(desk, "--job", "3")
    refuses(
        database,
        ("UPDATE jobs SET attempt = 1 WHERE id = 3", ATTEMPT),
        ("UPDATE jobs SET attempt = 3 WHERE id = 3", ATTEMPT),
        ("UPDATE jobs SET attempt = 2 WHERE id = 1", ATTEMPT),
    )
    verified(desk)


def test_a_job_is_never_deleted_replaced_or_renamed(desk: CommandLine, database: Database):
    a_type(desk, "weekly")
    statements = [
        ("DELETE FROM jobs WHERE id = 1", "jobs are never (changed or )?deleted"),
        ("DELETE FROM jobs WHERE id = 2", "jobs are never (changed or )?deleted"),
        ("UPDATE jobs SET id = 99 WHERE id = 1", "jobs are never renamed"),
        ("UPDATE jobs SET job_type = 'weekly' WHERE id = 1", "jobs are never renamed"),
        (insert("jobs", GOOD | {"id": "2"}), "the id exists|duplicate key"),
        (f"{insert('jobs', GOOD | {'id': '2'})} ON CONFLICT (id) DO UPDATE SET hb_seq = 9", f"the id exists|{LATE}"),
    ]
    if database.kind == "sqlite":
        statements += [
            (insert("jobs", GOOD | {"id": "2"}, verb="REPLACE"), "the id exists"),
            (insert("jobs", GOOD | {"id": "1"}, verb="INSERT OR REPLACE"), "the id exists"),
            ("UPDATE OR REPLACE jobs SET id = 2 WHERE id = 1", "never renamed"),
        ]
    else:
        statements.append(("TRUNCATE jobs CASCADE", "never changed or deleted|append-only"))
    refuses(database, *statements)
    verified(desk)


# ---- events --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("desk")
def test_an_attempt_has_one_start_and_one_end(database: Database):
    """Job 3 has a start and a FAILED end of its attempt 1."""
    taken = "one start and one end an attempt|duplicate key"
    ends = [
        EVENT | {"job_id": "3", "attempt": "1", "event": f"'{event}'", "reason_code": "'TIMEOUT'"}
        for event in ("SUCCEEDED", "FAILED", "CANCELLED")
    ]
    again = [*ends, EVENT | {"job_id": "3", "attempt": "1"}]
    statements = [(insert("job_events", values), taken) for values in again]
    if database.kind == "sqlite":
        verbs = ("REPLACE", "INSERT OR REPLACE")
        statements += [(insert("job_events", values, verb=verb), taken) for values in again for verb in verbs]
    refuses(database, *statements)
    database.sql(insert("job_events", ends[0] | {"attempt": "2"}))


def test_an_event_is_whole(desk: CommandLine, database: Database):
    bad = (
        {"event": "'PAUSED'"}, {"reason_code": "'TIMEOUT'"}, {"event": "'FAILED'"}, {"attempt": "0"},
        {"trace_id": "'abc'"}, {"id": "0"}, {"id": "-1"},
    )  # fmt: skip
    constrains(database, *((insert("job_events", EVENT | change), CHECK) for change in bad))
    on = ("PRAGMA foreign_keys=ON",) if database.kind == "sqlite" else ("",)
    refuses(database, (insert("job_events", EVENT | {"job_id": "99"}), "(?i)foreign key"), sessions=on)
    verified(desk)


# ---- two at once ---------------------------------------------------------------------------------------------------


def test_of_finishers_at_once_one_is_told_that_it_ended_the_job(database: Database, process: ProcessCommandLine):
    a_type(process)
    start(process)
    statuses = ("SUCCEEDED", "FAILED", "CANCELLED", "FAILED")
    held = database.raw()
    held.execute("BEGIN IMMEDIATE" if database.kind == "sqlite" else "BEGIN")
    if database.kind == "postgresql":
        held.execute("SELECT 1 FROM jobs FOR UPDATE")
    finishers = [process.spawn("job", "finish", "1", "--attempt", "1", "--status", status) for status in statuses]
    if database.kind == "postgresql":
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        for _ in range(400):
            if database.sql(waiting) == [(len(statuses),)]:
                break
            threading.Event().wait(0.05)
        assert database.sql(waiting) == [(len(statuses),)]
    held.execute("ROLLBACK")
    answers = [finisher.communicate(timeout=30) for finisher in finishers]
    codes = [finisher.returncode for finisher in finishers]
    assert sorted(codes) == [0, 4, 4, 4], answers
    winner = statuses[codes.index(0)]
    late = [json.loads(err.splitlines()[-1]) for _, err in answers if err]
    assert {error["error_code"] for error in late} == {"JOB_TERMINAL"}
    reason_code = "COMPLETED" if winner == "SUCCEEDED" else "REPORTED"
    assert {error["message"] for error in late} == {f"job 1 is {winner} (attempt 1, {reason_code})"}
    assert [event for _, _, event, _ in happened(database)] == ["STARTED", winner]
    assert database.sql("SELECT status FROM jobs") == [(winner,)]
    verified(process)


def test_of_next_attempts_at_once_one_begins(database: Database, process: ProcessCommandLine):
    a_type(process)
    start(process)
    end(process, 1, "FAILED")
    starters = [process.spawn("job", "start", "nightly", "--job", "1") for _ in range(4)]
    answers = [starter.communicate(timeout=30) for starter in starters]
    assert sorted(starter.returncode for starter in starters) == [0, 4, 4, 4]
    late = [json.loads(err.splitlines()[-1]) for _, err in answers if err]
    assert {(error["error_code"], error["message"]) for error in late} == {
        ("JOB_RUNNING", "job 1 is RUNNING (attempt 2)")
    }
    assert [event[1:3] for event in happened(database)] == [(1, "STARTED"), (1, "FAILED"), (2, "STARTED")]
    verified(process)


def test_types_registered_at_once_are_one(database: Database, process: ProcessCommandLine):
    makers = [process.spawn("job", "type", "add", "nightly", *limits()) for _ in range(4)]
    results = [json.loads(maker.communicate(timeout=30)[0])["result"]["effect"] for maker in makers]
    assert sorted(results) == ["CREATED", "EXISTS", "EXISTS", "EXISTS"]
    assert database.sql("SELECT count(*) FROM job_types") == [(1,)]
