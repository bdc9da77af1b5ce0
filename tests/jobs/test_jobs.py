"""Jobs as scripts and supervisors meet them: types under limits, fenced attempts, an end on every path."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import freezegun
import pytest

from blaidctl.core import errors, process
from blaidctl.jobs import contract, queries, rules
from blaidctl.jobs.vocabulary import JobStatus
from tests.jobs.work import MARK, SUPERVISED, a_type, end, happened, limits, row, start
from tests.kill.fleet import done, dump, entries, operate, refused, time_of, verified
from tests.support.commandline import SCRIPT

if TYPE_CHECKING:
    from tests.support.commandline import CommandLine, ProcessCommandLine
    from tests.support.database import Database

AT = "2026-03-04T05:06:07.089012Z"
JSON_LIMIT = 64 * 1024


def seconds_between(one: str, other: str) -> float:
    return (datetime.fromisoformat(other) - datetime.fromisoformat(one)).total_seconds()


# ---- types -----------------------------------------------------------------------------------------------------


@pytest.mark.operation("job type add", "job type list")
def test_a_type_is_made_once_and_found_again(cli: CommandLine, database: Database):
    values = {"heartbeat_s": 5, "stale_after_s": 60, "max_runtime_s": 3600, "grace_s": 10}
    with freezegun.freeze_time(AT):
        first = done(cli("job", "type", "add", "nightly", *limits())).json
    assert first["result"] == {"name": "nightly", **values, "effect": "CREATED"}
    again = done(cli("job", "type", "add", "nightly", *limits(), "--reason", "again")).json
    assert (again["result"]["effect"], again["audit"]["seq"]) == ("EXISTS", first["audit"]["seq"] + 1)
    for name, other in (("heartbeat_s", 6), ("stale_after_s", 61), ("max_runtime_s", 3601), ("grace_s", 11)):
        error = refused(cli("job", "type", "add", "nightly", *limits(**{name: other})), 4, "ALREADY_EXISTS")
        assert error["message"] == f"job type nightly exists with {name} {values[name]}"
    assert done(cli("job", "type", "list")).json["result"]["job_types"] == [
        {"name": "nightly", **values, "created_at": AT}
    ]
    made, repeated = entries(database)[:2]
    assert (made["what"]["before"], made["what"]["after"]) == (None, values)
    assert (repeated["what"]["before"], repeated["what"]["target"]) == (values, {"job_type": "nightly"})
    verified(cli)


@pytest.mark.parametrize(
    "changes",
    [
        {"heartbeat_s": 1, "stale_after_s": 3, "max_runtime_s": 1, "grace_s": 0},
        {"heartbeat_s": 30, "stale_after_s": 90},
        {"stale_after_s": 86_400, "max_runtime_s": 2_592_000, "grace_s": 300},
    ],
)
def test_limits_at_their_ends_are_limits(cli: CommandLine, changes: dict[str, int]):
    a_type(cli, **changes)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"heartbeat_s": 0}, "heartbeat_s: .*greater than or equal to 1"),
        ({"heartbeat_s": -5}, "heartbeat_s: .*greater than or equal to 1"),
        ({"heartbeat_s": 31, "stale_after_s": 100}, "heartbeat_s: .*less than or equal to 30"),
        ({"stale_after_s": 14}, "at least 3 times heartbeat_s, here 15"),
        ({"heartbeat_s": 1, "stale_after_s": 2}, "stale_after_s: .*greater than or equal to 3"),
        ({"stale_after_s": 86_401}, "stale_after_s: .*less than or equal to 86400"),
        ({"stale_after_s": -1}, "stale_after_s: .*greater than or equal to 3"),
        ({"max_runtime_s": 0}, "max_runtime_s: .*greater than or equal to 1"),
        ({"max_runtime_s": 2_592_001}, "max_runtime_s: .*less than or equal to 2592000"),
        ({"max_runtime_s": 10**30}, "max_runtime_s: "),
        ({"grace_s": -1}, "grace_s: .*greater than or equal to 0"),
        ({"grace_s": 301}, "grace_s: .*less than or equal to 300"),
    ],
)
def test_absurd_limits_are_refused(cli: CommandLine, database: Database, changes: dict[str, int], sentence: str):
    before = dump(database)
    error = refused(cli("job", "type", "add", "nightly", *limits(**changes)), 2, "INVALID_REQUEST")
    assert re.search(sentence, error["message"]), error["message"]
    assert dump(database) == before


@pytest.mark.parametrize("name", ["heartbeat_s", "stale_after_s", "max_runtime_s", "grace_s"])
@pytest.mark.parametrize("value", [None, "x", "1.5", ""])
def test_a_type_without_a_limit_is_no_type(cli: CommandLine, database: Database, name: str, value: str | None):
    before = dump(database)
    refused(cli("job", "type", "add", "nightly", *limits(**{name: value})), 2, "USAGE")
    assert dump(database) == before


@pytest.mark.parametrize("name", ["", "A", "-a", "a b", "ü", "a" * 64, "a\n", "a\x00b", "[/]", "\x1b[31m"], ids=ascii)
def test_a_type_s_name_is_a_slug(cli: CommandLine, name: str):
    refused(cli("job", "type", "add", *limits(), "--", name), 2, "INVALID_REQUEST")


# ---- start -----------------------------------------------------------------------------------------------------


@pytest.mark.operation("job start")
def test_a_job_starts_under_the_limits_of_its_type(cli: CommandLine, database: Database):
    a_type(cli)
    answer = done(cli("job", "start", "nightly", "--reason", "end of day")).json
    result = answer["result"]
    told = {
        "job_id": 1, "job_type": "nightly", "attempt": 1, "status": "RUNNING", "heartbeat_s": 5, "stale_after_s": 60,
        "max_runtime_s": 3600, "grace_s": 10,
    }  # fmt: skip
    assert result == result | told
    assert set(result) == set(told) | {"started_at", "deadline_at", "due_at"}
    assert seconds_between(result["started_at"], result["deadline_at"]) == 3600
    assert seconds_between(result["started_at"], result["due_at"]) == 60
    for column in ("started_at", "heartbeat_at"):
        assert time_of(database, f"SELECT {column} FROM jobs") == result["started_at"]
    for column in ("deadline_at", "due_at"):
        assert time_of(database, f"SELECT {column} FROM jobs") == result[column]
    stored = row(database, 1, ("status", "attempt", "hb_seq", "worker_id", "worker_host", "worker_pid", "worker_boot"))
    host = os.uname().nodename
    assert stored == {
        "status": "RUNNING", "attempt": 1, "hb_seq": 0, "worker_id": f"{host}:{os.getpid()}", "worker_host": host,
        "worker_pid": None, "worker_boot": None,
    }  # fmt: skip
    assert happened(database) == [(1, 1, "STARTED", None)]
    what = entries(database)[-1]["what"]
    assert (what["target"], what["before"], what["reason"]) == ({"job": 1, "job_type": "nightly"}, None, "end of day")
    assert what["after"]["attempt"] == 1
    assert start(cli)["job_id"] == 2
    verified(cli)


def test_a_deadline_before_the_silence_is_over_is_when_the_reaper_comes(cli: CommandLine):
    a_type(cli, max_runtime_s=20)
    begun = start(cli)
    assert begun["due_at"] == begun["deadline_at"]
    beaten = done(cli("job", "beat", "1", "--attempt", "1")).json["result"]
    assert beaten["due_at"] == beaten["deadline_at"] == begun["deadline_at"]


def test_unknown_types_offer_the_closest_and_start_nothing(cli: CommandLine, database: Database):
    a_type(cli)
    before = dump(database, without=("audit_log", "audit_head"))
    for words in (("start", "nigthly"), ("list", "--type", "nigthly")):
        error = refused(cli("job", *words), 3, "JOB_TYPE_NOT_FOUND")
        assert error["message"] == "no job type 'nigthly' (did you mean nightly?)"
    assert "did you mean" not in refused(cli("job", "start", "quite-another"), 3, "JOB_TYPE_NOT_FOUND")["message"]
    assert dump(database, without=("audit_log", "audit_head")) == before
    assert [entry["what"].get("error_code") for entry in entries(database)[1:]] == ["JOB_TYPE_NOT_FOUND"] * 2


def test_a_worker_that_names_its_process_is_known_by_boot_pid_and_start(cli: CommandLine, database: Database):
    a_type(cli)
    start(cli, "--pid", str(os.getpid()))
    stored = row(database, 1, ("worker_host", "worker_boot", "worker_pid", "worker_pid_start"))
    assert stored == {
        "worker_host": os.uname().nodename,
        "worker_boot": process.boot_id(),
        "worker_pid": os.getpid(),
        "worker_pid_start": process.started(os.getpid()),
    }


def test_a_process_that_does_not_live_here_is_no_worker(cli: CommandLine, database: Database):
    a_type(cli)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    before = dump(database)
    zombie = refused(cli("job", "start", "nightly", "--pid", str(ended.pid)), 2, "INVALID_REQUEST")
    ended.wait()
    gone = refused(cli("job", "start", "nightly", "--pid", str(ended.pid)), 2, "INVALID_REQUEST")
    assert zombie["message"] == gone["message"] == f"no process {ended.pid} lives on this host"
    for pid in ("0", "-1", str(2**31), str(10**30)):
        assert cli("job", "start", "nightly", "--pid", pid).code == 2
    assert dump(database) == before


def test_nobody_offers_the_reaper_a_process_that_is_not_his_own():
    """Else a reaper that runs as root would end it for him."""
    asked = (
        "import os, sys; from blaidctl.jobs import service\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "service._living(int(sys.argv[1]))"
    )
    mine_or_init = os.getpid() if os.geteuid() == 0 else 1
    run = subprocess.run([sys.executable, "-c", asked, str(mine_or_init)], capture_output=True, text=True, check=False)
    assert f"InvalidRequest: process {mine_or_init} belongs to somebody else" in run.stderr


# ---- the next attempt --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["FAILED", "CANCELLED"])
def test_what_failed_or_was_cancelled_starts_again_as_the_next_attempt(
    cli: CommandLine, database: Database, status: str
):
    a_type(cli)
    start(cli)
    done(cli("job", "beat", "1", "--attempt", "1"))
    done(cli("job", "finish", "1", "--attempt", "1", "--status", status, "--result", '{"rows": 1}'))
    again = start(cli, "--job", "1")
    assert (again["job_id"], again["attempt"], again["status"]) == (1, 2, "RUNNING")
    ended = ("finished_at", "reason_code", "exit_status", "result", "output_tail", "output_bytes")
    assert row(database, 1, (*ended, "hb_seq")) == dict.fromkeys(ended) | {"hb_seq": 0}
    assert time_of(database, "SELECT started_at FROM jobs") == again["started_at"]
    assert happened(database) == [(1, 1, "STARTED", None), (1, 1, status, "REPORTED"), (1, 2, "STARTED", None)]
    assert entries(database)[-1]["what"]["before"] == {"attempt": 1, "reason_code": "REPORTED", "status": status}
    verified(cli)


def test_what_runs_or_has_succeeded_is_not_started_again(cli: CommandLine, database: Database):
    a_type(cli)
    a_type(cli, "weekly")
    start(cli)
    before = dump(database, without=("audit_log", "audit_head"))
    error = refused(cli("job", "start", "nightly", "--job", "1"), 4, "JOB_RUNNING")
    assert error["message"] == "job 1 is RUNNING (attempt 1)"
    error = refused(cli("job", "start", "weekly", "--job", "1"), 3, "JOB_NOT_FOUND")
    assert error["message"] == "no job 1 of type weekly: it is of type nightly"
    refused(cli("job", "start", "nightly", "--job", "2"), 3, "JOB_NOT_FOUND")
    assert dump(database, without=("audit_log", "audit_head")) == before
    end(cli, 1)
    error = refused(cli("job", "start", "nightly", "--job", "1"), 4, "JOB_TERMINAL")
    assert error["message"].startswith("job 1 is SUCCEEDED (attempt 1, COMPLETED)")
    assert row(database, 1, ("status", "attempt")) == {"status": "SUCCEEDED", "attempt": 1}
    verified(cli)


def test_a_queued_job_starts_with_the_attempt_that_it_waits_for(cli: CommandLine, database: Database):
    a_type(cli)
    database.sql(
        "INSERT INTO jobs (job_type, status, attempt, hb_seq, heartbeat_s, stale_after_s, created_at)"
        f" VALUES ('nightly', 'QUEUED', 1, 0, 5, 60, '{AT}')"
    )
    refused(cli("job", "beat", "1", "--attempt", "1"), 4, "JOB_TERMINAL")
    assert verified(cli)["event_rows"] == 0
    assert start(cli, "--job", "1")["attempt"] == 1
    end(cli, 1)
    verified(cli)


# ---- beat: a sign of life, no act ----------------------------------------------------------------------------------


@pytest.mark.operation("job beat")
def test_a_beat_moves_the_heart_and_leaves_no_entry(cli: CommandLine, database: Database):
    a_type(cli)
    begun = start(cli)
    before = dump(database, without=("jobs",))
    for number in (1, 2):
        answer = done(cli("job", "beat", "1", "--attempt", "1", "--request-id", "the-same")).json
        assert (answer["audit"], answer["replayed"], answer["result"]["hb_seq"]) == (None, False, number)
        beaten = answer["result"]
        assert beaten["heartbeat_at"] > begun["started_at"]
        assert seconds_between(beaten["heartbeat_at"], beaten["due_at"]) == 60
        assert beaten["deadline_at"] == begun["deadline_at"]
        for column in ("heartbeat_at", "due_at"):
            assert time_of(database, f"SELECT {column} FROM jobs") == beaten[column]
    assert row(database, 1, ("hb_seq",)) == {"hb_seq": 2}
    assert dump(database, without=("jobs",)) == before
    verified(cli)


def test_a_rehearsed_beat_is_rolled_back(cli: CommandLine, database: Database):
    a_type(cli)
    start(cli)
    before = dump(database)
    answer = done(cli("job", "beat", "1", "--attempt", "1", "--dry-run")).json
    assert (answer["dry_run"], answer["audit"], answer["result"]["hb_seq"]) == (True, None, 1)
    assert dump(database) == before


def test_a_beat_whose_answer_is_lost_says_that_it_is_written(database: Database, process: ProcessCommandLine):
    a_type(process)
    start(process)
    for words, told in (((), "the sign of life IS written"), (("--dry-run",), "nothing was written")):
        with open("/dev/full", "w") as full:  # noqa: PTH123 - a device, not a file
            run = subprocess.run(
                [SCRIPT, "job", "beat", "1", "--attempt", "1", *words],
                env=process.environment(),
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert run.returncode == 9
        assert told in run.stderr
    assert row(database, 1, ("hb_seq",)) == {"hb_seq": 1}


@pytest.mark.parametrize("attempt", [1, 3])
def test_only_the_running_attempt_may_beat_or_finish(cli: CommandLine, database: Database, attempt: int):
    a_type(cli)
    start(cli)
    end(cli, 1, "FAILED")
    start(cli, "--job", "1")
    before = dump(database, without=("audit_log", "audit_head"))
    told = f"job 1 is RUNNING (attempt 2); attempt {attempt} may not write"
    for words in (("beat", "1"), ("finish", "1", "--status", "SUCCEEDED")):
        error = refused(cli("job", *words, "--attempt", str(attempt)), 4, "JOB_TERMINAL")
        assert error["message"] == told
    for name, report in (("job report", {"pid": 5, "pid_started": "1"}), ("job end", {"status": "FAILED"})):
        with pytest.raises(errors.JobTerminal, match=re.escape(told)):
            operate(cli, name, {"job": 1, "attempt": attempt, **report})
    assert dump(database, without=("audit_log", "audit_head")) == before
    refusals = [entry for entry in entries(database) if entry["outcome"] == "REFUSED"]
    assert [(entry["action"], entry["what"]["error_code"]) for entry in refusals] == [
        (name, "JOB_TERMINAL") for name in ("job beat", "job finish", "job report", "job end")
    ]
    assert json.loads(refusals[0]["what"]["target"]["request"]) == {"attempt": attempt, "job": 1}
    verified(cli)


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED", "CANCELLED"])
def test_what_has_ended_beats_and_ends_no_more(cli: CommandLine, database: Database, status: str):
    a_type(cli)
    start(cli)
    end(cli, 1, status)
    before = dump(database, without=("audit_log", "audit_head"))
    reason = "COMPLETED" if status == "SUCCEEDED" else "REPORTED"
    for words in (("beat", "1"), ("finish", "1", "--status", status), ("finish", "1", "--status", "FAILED")):
        error = refused(cli("job", *words, "--attempt", "1"), 4, "JOB_TERMINAL")
        assert error["message"] == f"job 1 is {status} (attempt 1, {reason})"
    assert dump(database, without=("audit_log", "audit_head")) == before
    verified(cli)


def test_jobs_that_are_not_there_are_not_found(cli: CommandLine, database: Database):
    a_type(cli)
    for words in (
        ("beat", "7", "--attempt", "1"),
        ("finish", "7", "--attempt", "1", "--status", "FAILED"),
        ("show", "7"),
        ("events", "7"),
    ):
        assert refused(cli("job", *words), 3, "JOB_NOT_FOUND")["message"] == "no job 7"
    assert [entry["action"] for entry in entries(database)[1:]] == ["job beat", "job finish"]


@pytest.mark.parametrize("job", ["0", "-1", str(2**53 + 1), str(10**30)])
def test_numbers_that_no_job_can_have_are_refused(cli: CommandLine, database: Database, job: str):
    before = dump(database)
    for words in (("beat", "--attempt", "1"), ("show",), ("events",)):
        refused(cli("job", *words, "--", job), 2, "INVALID_REQUEST")
    assert dump(database) == before


@pytest.mark.parametrize("attempt", ["0", "-1", str(2**31)])
def test_attempts_that_no_job_can_have_are_refused(cli: CommandLine, database: Database, attempt: str):
    a_type(cli)
    start(cli)
    before = dump(database)
    refused(cli("job", "beat", "1", f"--attempt={attempt}"), 2, "INVALID_REQUEST")
    refused(cli("job", "finish", "1", f"--attempt={attempt}", "--status", "FAILED"), 2, "INVALID_REQUEST")
    assert dump(database) == before


# ---- finish --------------------------------------------------------------------------------------------------------


@pytest.mark.operation("job finish")
@pytest.mark.parametrize(
    ("status", "given", "reason_code"),
    [
        ("SUCCEEDED", None, "COMPLETED"),
        ("SUCCEEDED", "COMPLETED", "COMPLETED"),
        ("FAILED", None, "REPORTED"),
        ("FAILED", "EXIT_NONZERO", "EXIT_NONZERO"),
        ("CANCELLED", None, "REPORTED"),
        ("CANCELLED", "SUPERVISOR_STOPPED", "SUPERVISOR_STOPPED"),
    ],
)
def test_an_attempt_ends_once_with_a_reason_and_one_event(
    cli: CommandLine, database: Database, status: str, given: str | None, reason_code: str
):
    a_type(cli)
    begun = start(cli)
    why = ("--reason-code", given) if given else ()
    answer = done(cli("job", "finish", "1", "--attempt", "1", "--status", status, *why, "--reason", "so it is")).json
    result = answer["result"]
    assert result == {
        "job_id": 1, "job_type": "nightly", "attempt": 1, "status": status, "reason_code": reason_code,
        "finished_at": time_of(database, "SELECT finished_at FROM jobs"),
    }  # fmt: skip
    assert result["finished_at"] > begun["started_at"]
    assert row(database, 1, ("status", "reason_code")) == {"status": status, "reason_code": reason_code}
    assert happened(database) == [(1, 1, "STARTED", None), (1, 1, status, reason_code)]
    observed = time_of(database, "SELECT observed_heartbeat_at FROM job_events WHERE event <> 'STARTED'")
    assert observed == begun["started_at"]
    what = entries(database)[-1]["what"]
    assert what["before"] == {"attempt": 1, "reason_code": None, "status": "RUNNING"}
    assert what["after"] == what["after"] | {"attempt": 1, "reason_code": reason_code, "status": status}
    assert (what["target"], what["reason"]) == ({"job": 1, "job_type": "nightly"}, "so it is")
    verified(cli)


@pytest.mark.parametrize(
    ("status", "reason_code"),
    [
        ("SUCCEEDED", "REPORTED"),
        ("SUCCEEDED", "TIMEOUT"),
        ("FAILED", "COMPLETED"),
        ("CANCELLED", "COMPLETED"),
        ("CANCELLED", "TIMEOUT"),
    ],
)
def test_a_reason_must_go_with_its_end(cli: CommandLine, database: Database, status: str, reason_code: str):
    a_type(cli)
    start(cli)
    before = dump(database)
    words = ("--attempt", "1", "--status", status, "--reason-code", reason_code)
    error = refused(cli("job", "finish", "1", *words), 2, "INVALID_REQUEST")
    assert f"{status} does not go with {reason_code}; its reason codes are " in error["message"]
    for status_word in ("RUNNING", "QUEUED", "DONE", ""):
        refused(cli("job", "finish", "1", "--attempt", "1", "--status", status_word), 2, "USAGE")
    assert dump(database) == before


def test_a_finish_is_repeated_under_its_request_id_only(cli: CommandLine, database: Database):
    a_type(cli)
    start(cli)
    words = ("job", "finish", "1", "--attempt", "1", "--status", "FAILED", "--result", '{"b": 1, "a": 2}')
    first = done(cli(*words, "--request-id", "end-1")).json
    before = dump(database)
    again = done(cli(*words[:-1], '{"a":2,"b":1}', "--request-id", "end-1")).json
    assert (again["replayed"], again["result"], again["audit"]) == (True, first["result"], first["audit"])
    assert dump(database) == before
    refused(cli(*words[:-1], '{"a":3}', "--request-id", "end-1"), 4, "REQUEST_ID_REUSED")
    refused(cli(*words), 4, "JOB_TERMINAL")


# ---- results -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{}", {}),
        (' {"b": 1, "a": [true, null, "x"]} ', {"a": [True, None, "x"], "b": 1}),
        ('{"pnl": "7081.00", "sharpe": 0.10, "small": 1e-7, "n": -0.5}', None),
        ('{"n": 9007199254740992, "m": -9007199254740992}', None),
        ('{"name": "日本 “quoted” \\u00e9", "path": "C:\\\\u0000"}', None),
        ("-", {"from": "stdin"}),
    ],
)
def test_a_result_is_kept_as_it_was_given(cli: CommandLine, text: str, value: dict[str, Any] | None):
    a_type(cli)
    start(cli)
    words = ("--attempt", "1", "--status", "SUCCEEDED", "--result", text)
    done(cli("job", "finish", "1", *words, stdin='{"from": "stdin"}\n'))
    shown = done(cli("job", "show", "1")).json["result"]["result"]
    assert shown == (json.loads(text) if value is None else value)
    verified(cli)


def _object_of(size: int) -> str:
    return '{"x":"' + "a" * (size - 8) + '"}'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "must be a JSON object: "),
        ("{", "must be a JSON object: "),
        ("{'a': 1}", "must be a JSON object: "),
        ("[]", "must be a JSON object, like"),
        ("null", "must be a JSON object, like"),
        ("12", "must be a JSON object, like"),
        ('{"a": NaN}', "NaN is not a number of JSON"),
        ('{"a": [-Infinity]}', "-Infinity is not a number of JSON"),
        ('{"a": 1e999}', "does not fit JSON exactly"),
        ('{"a": 9007199254740993}', "does not fit JSON exactly"),
        ('{"a": 1' + "0" * 5000 + "}", "does not fit JSON exactly"),
        ('{"a": 0.1000000000000000055511}', "does not fit JSON exactly"),
        ('{"a": 1e17}', "does not fit JSON exactly"),
        ('{"a": 1, "a": 2}', "a key stands twice"),
        ('{"a": "\\u0000"}', "NUL"),
        ('{"\\u0000": 1}', "NUL"),
        ('{"a": ["\\ud800"]}', "valid Unicode"),
        ('{"a": ' + "[" * 40 + "]" * 40 + "}", "nested deeper than 32"),
        ("[" * 30_000, "nested deeper than 32"),
        (_object_of(JSON_LIMIT + 1), "at most 65536 bytes of UTF-8, it has 65537"),
        ('{"x":"' + "é" * (JSON_LIMIT // 2) + '"}', "at most 65536 bytes of UTF-8"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_a_result_that_is_no_bounded_json_object_is_refused(
    cli: CommandLine, database: Database, text: str, sentence: str
):
    a_type(cli)
    start(cli)
    before = dump(database)
    run = cli("job", "finish", "1", "--attempt", "1", "--status", "SUCCEEDED", "--result", "-", stdin=text)
    assert sentence in refused(run, 2, "INVALID_REQUEST")["message"]
    assert dump(database) == before


def test_the_largest_result_is_kept_and_the_entry_holds_its_hash(cli: CommandLine, database: Database):
    a_type(cli)
    start(cli)
    text = _object_of(JSON_LIMIT)
    words = ("job", "finish", "1", "--attempt", "1", "--status", "SUCCEEDED", "--result", "-")
    done(cli(*words, stdin=text))
    assert len(done(cli("job", "show", "1")).json["result"]["result"]["x"]) == JSON_LIMIT - 8
    refused(cli(*words, stdin=text), 4, "JOB_TERMINAL")
    kept, late = entries(database)[-2:]
    assert re.fullmatch("[0-9a-f]{64}", kept["what"]["after"]["result_sha256"])
    assert re.fullmatch("sha256 [0-9a-f]{64}", json.loads(late["what"]["target"]["request"])["result"])


# ---- what a supervisor says ------------------------------------------------------------------------------------------


@pytest.mark.operation("job begin", "job report", "job end")
def test_a_supervisor_says_where_the_process_is_and_how_it_ended(cli: CommandLine, database: Database):
    a_type(cli)
    begun = operate(cli, "job begin", SUPERVISED).result
    assert (begun["job_id"], begun["attempt"], begun["grace_s"]) == (1, 1, 10)
    worker = ("program", "worker_mark", "worker_host", "worker_boot", "worker_pid", "worker_pid_start")
    assert tuple(row(database, 1, worker).values()) == ("/usr/bin/make", MARK, "desk", "b00t", 4711, "99")
    reported = operate(cli, "job report", {"job": 1, "attempt": 1, "pid": 4712, "pid_started": "100"})
    assert (reported.result["status"], reported.receipt is None) == ("RUNNING", False)
    assert tuple(row(database, 1, worker[-2:]).values()) == (4712, "100")
    said = "first\nlast\n"
    ended = {
        "job": 1, "attempt": 1, "status": "FAILED", "reason_code": "SIGNALLED", "exit_status": "signal 9 SIGKILL",
        "output_tail": said, "output_bytes": 123_456,
    }  # fmt: skip
    result = operate(cli, "job end", ended).result
    assert (result["status"], result["reason_code"]) == ("FAILED", "SIGNALLED")
    shown = done(cli("job", "show", "1")).json["result"]
    assert (shown["exit_status"], shown["output_tail"], shown["output_bytes"]) == ("signal 9 SIGKILL", said, 123_456)
    assert [line["line"] for line in shown["last_output"]] == ["first", "last"]
    assert happened(database) == [(1, 1, "STARTED", None), (1, 1, "FAILED", "SIGNALLED")]
    again = operate(cli, "job begin", SUPERVISED | {"job": 1, "pid": None, "pid_started": None})
    assert again.result["attempt"] == 2
    assert row(database, 1, ("worker_pid", "output_tail", "exit_status")) == {
        "worker_pid": None, "output_tail": None, "exit_status": None,
    }  # fmt: skip
    verified(cli)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"output_tail": "a\x00b"}, "NUL"),
        ({"output_tail": "\udcff"}, "valid Unicode"),
        ({"output_tail": "é" * (JSON_LIMIT // 2 + 1)}, "at most 65536 bytes"),
        ({"output_bytes": -1}, "output_bytes"),
        ({"exit_status": ""}, "exit_status"),
        ({"reason_code": "COMPLETED"}, "does not go with"),
        ({"surprise": 1}, "surprise"),
    ],
    ids=ascii,
)
def test_what_cannot_be_stored_ends_nothing(
    cli: CommandLine, database: Database, changes: dict[str, Any], sentence: str
):
    a_type(cli)
    operate(cli, "job begin", SUPERVISED)
    before = dump(database)
    with pytest.raises(errors.InvalidRequest, match=sentence):
        operate(cli, "job end", {"job": 1, "attempt": 1, "status": "FAILED", **changes})
    assert dump(database) == before
    full = {"output_tail": "é" * (JSON_LIMIT // 2), "output_bytes": 2**53}
    operate(cli, "job end", {"job": 1, "attempt": 1, "status": "FAILED", **full})


@pytest.mark.parametrize("changes", [{"mark": "x"}, {"mark": MARK.upper()}, {"program": ""}, {"host": " "}], ids=str)
def test_a_supervisor_must_say_who_it_is(cli: CommandLine, changes: dict[str, Any]):
    a_type(cli)
    with pytest.raises(errors.InvalidRequest, match=next(iter(changes))):
        operate(cli, "job begin", SUPERVISED | changes)


def test_the_parts_of_a_request_that_may_be_long_are_told():
    assert contract.FinishJob.bulky == {"result"}
    assert contract.EndJob.bulky == {"result", "output_tail"}


# ---- looking -------------------------------------------------------------------------------------------------------


def three_jobs(cli: CommandLine) -> None:
    """1 nightly: FAILED, then SUCCEEDED; 2 weekly: RUNNING; 3 nightly: CANCELLED."""
    a_type(cli)
    a_type(cli, "weekly")
    start(cli)
    end(cli, 1, "FAILED")
    start(cli, "--job", "1")
    start(cli, job_type="weekly")
    start(cli)
    end(cli, 1, attempt=2)
    end(cli, 3, "CANCELLED")


@pytest.mark.operation("job list")
def test_jobs_are_listed_newest_first_and_narrowed(cli: CommandLine):
    three_jobs(cli)

    def listed(*words: str) -> list[int]:
        return [job["job_id"] for job in done(cli("job", "list", *words)).json["result"]["jobs"]]

    assert listed() == [3, 2, 1]
    assert listed("--limit", "2") == [3, 2]
    assert listed("--type", "nightly") == [3, 1]
    assert listed("--status", "RUNNING") == [2]
    assert listed("--status", "SUCCEEDED", "--type", "nightly") == [1]
    assert listed("--status", "RUNNING", "--type", "nightly") == listed("--status", "QUEUED") == []
    (job,) = done(cli("job", "list", "--status", "RUNNING")).json["result"]["jobs"]
    assert job == job | {"job_type": "weekly", "attempt": 1, "reason_code": None, "finished_at": None, "hb_seq": 0}
    for words in (("--limit", "0"), ("--limit", "10001")):
        refused(cli("job", "list", *words), 2, "INVALID_REQUEST")
    refused(cli("job", "list", "--status", "running"), 2, "USAGE")


@pytest.mark.operation("job show", "job events")
def test_a_job_is_shown_with_the_timeline_of_its_attempts(cli: CommandLine):
    three_jobs(cli)
    shown = done(cli("job", "show", "1")).json["result"]
    timeline = [(event["attempt"], event["event"], event["reason_code"]) for event in shown["events"]]
    assert timeline == [
        (1, "STARTED", None),
        (1, "FAILED", "REPORTED"),
        (2, "STARTED", None),
        (2, "SUCCEEDED", "COMPLETED"),
    ]
    assert (shown["status"], shown["attempt"], shown["output_tail"], shown["last_output"]) == ("SUCCEEDED", 2, None, [])
    assert len(done(cli("job", "show", "1", "--limit", "1")).json["result"]["events"]) == 1

    def events(*words: str) -> list[tuple[int, int, str]]:
        found = done(cli("job", "events", *words)).json["result"]["events"]
        return [(event["job_id"], event["attempt"], event["event"]) for event in found]

    assert events("1") == [(1, attempt, event) for attempt, event, _ in reversed(timeline)]
    assert events("1", "--limit", "2") == [(1, 2, "SUCCEEDED"), (1, 2, "STARTED")]
    assert events("2") == [(2, 1, "STARTED")]
    assert events()[:3] == [(3, 1, "CANCELLED"), (1, 2, "SUCCEEDED"), (3, 1, "STARTED")]
    assert len(events()) == 7
    assert events("--limit", "1") == [(3, 1, "CANCELLED")]


def test_only_the_last_lines_of_an_output_stand_in_a_table(cli: CommandLine):
    a_type(cli)
    operate(cli, "job begin", SUPERVISED)
    said = "".join(f"line {number} {'x' * 90}\n" for number in range(30)) + "\x1b[31mFAILED [/] \u202e"
    ended = {"job": 1, "attempt": 1, "status": "FAILED", "output_tail": said}
    operate(cli, "job end", ended)
    drawn = done(cli("job", "show", "1", "--output", "table")).stdout
    assert "line 21" in drawn
    assert "line 20" not in drawn
    assert "\\u001b[31mFAILED [/] \\u202e" in drawn
    assert max(map(len, drawn.splitlines())) <= 80


def test_tables_fit_eighty_columns_and_cut_no_id(cli: CommandLine):
    three_jobs(cli)
    name = "a-type-with-a-long-name." * 2 + "123456789012345"
    a_type(cli, name)
    start(cli, job_type=name)
    for words in (("list",), ("type", "list"), ("events",), ("show", "4"), ("show", "1")):
        drawn = done(cli("job", *words, "--output", "table")).stdout
        assert max(map(len, drawn.splitlines())) <= 80, drawn
    for words in (("list",), ("type", "list"), ("show", "4")):
        assert name in done(cli("job", *words, "--output", "table")).stdout
    assert (
        done(cli("job", "list", "--type", "nightly", "--output", "table")).stdout.splitlines()[0].split("  ")[0]
        == "JOB ID"
    )


@pytest.mark.parametrize(
    ("status", "colour"), [("SUCCEEDED", "32"), ("FAILED", "31"), ("CANCELLED", "33"), ("RUNNING", "32")]
)
def test_a_status_has_its_colour(cli: CommandLine, status: str, colour: str):
    a_type(cli)
    start(cli)
    if status != "RUNNING":
        end(cli, 1, status)
    drawn = cli("job", "list", tty=True, env={"NO_COLOR": None, "TERM": "xterm"}).stdout
    assert re.search(rf"\x1b\[{colour}m{status}\b", drawn), drawn


def test_running_jobs_are_found_by_their_index(sqlite_database: Database):
    """Among a million that have ended, and at every look of `--watch`."""
    for by_type in (False, True):
        statement = queries.LIST_JOBS[by_type, JobStatus.RUNNING].clause("sqlite").text
        statement = statement.replace(":type", "'nightly'").replace(":limit", "20")
        plan = " ".join(row[-1] for row in sqlite_database.sql(f"EXPLAIN QUERY PLAN {statement}"))
        assert "USING INDEX jobs_due" in plan


def test_a_supervised_attempt_has_its_grace_before_the_reaper_may_come():
    began = datetime(2026, 1, 31, tzinfo=UTC)
    assert rules.deadline_at(began, 60) == began + timedelta(seconds=60)
    assert rules.deadline_at(began, 60, 20) == began + timedelta(seconds=60 + 20 + rules.SETTLED_WITHIN_S)
    assert rules.deadline_at(began, 30 * 86_400, 300) == began + timedelta(days=30)
