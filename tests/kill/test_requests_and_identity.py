"""Who acted, under which trace and request id; what is done once; and that a refusal is an entry and nothing else."""

from __future__ import annotations

import getpass
import json
import os
import re
import socket
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from tests.kill.fleet import (
    BACK,
    WHY,
    done,
    dump,
    entries,
    events,
    fleet,
    instance,
    not_killed,
    operate,
    refused,
    verified,
)

if TYPE_CHECKING:
    from tests.support.commandline import CommandLine, ProcessCommandLine
    from tests.support.database import Database

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
ME = f"{getpass.getuser()}@{socket.gethostname()}"


# ---- request ids ---------------------------------------------------------------------------------------------


def test_a_request_id_is_done_once_and_its_answer_replayed(
    cli: CommandLine, process: ProcessCommandLine, database: Database
):
    fleet(cli)
    instance(cli, "a1")
    command = ("kill", "a1", "a2", *WHY, "--request-id", "incident-7/step:1")
    first = done(cli(*command)).json
    before = dump(database)
    for run in (cli(*command), process(*command), cli(*command, "--trace-id", TRACE)):
        again = done(run).json
        assert again["replayed"] is True
        assert again == first | {"replayed": True, "trace_id": again["trace_id"]}
    assert dump(database) == before
    assert "REPLAYED" in done(cli(*command, "--output", "table")).stdout
    # The answer of then is not the state of now: it is replayed, and said to be over.
    done(cli("resurrect", "a1", *BACK))
    over = cli(*command)
    assert (over.code, over.error["error_code"], over.error["missing_requirements"]) == (
        1,
        "KILL_ENDED",
        ["bot a1 is live"],
    )
    assert (over.json["result"], over.json["replayed"]) == (first["result"], True)
    verified(cli)


@pytest.mark.parametrize(
    "other",
    [
        ("kill", "a2", *WHY),
        ("kill", "a1", "a2", *WHY),
        ("kill", "a1", "--reason-code", "MANUAL", "--reason", "a drill"),
        ("kill", "a1", "--reason-code", "DRILL", "--reason", "a drill "),
        ("kill", "a1", *WHY, "--confirm-count", "1"),
        ("resurrect", "a1", *BACK),
        ("user", "add", "carol"),
    ],
    ids=" ".join,
)
def test_a_request_id_with_other_parameters_is_a_conflict(cli: CommandLine, database: Database, other: tuple[str, ...]):
    fleet(cli)
    done(cli("kill", "a1", *WHY, "--request-id", "once"))
    before = dump(database, without=("audit_log", "audit_head"))
    refused(cli(*other, "--request-id", "once"), 4, "REQUEST_ID_REUSED")
    assert dump(database, without=("audit_log", "audit_head")) == before
    entry = entries(database)[-1]
    assert (entry["outcome"], entry["what"]["error_code"]) == ("REFUSED", "REQUEST_ID_REUSED")
    assert done(cli("kill", "a1", *WHY, "--request-id", "once")).json["replayed"] is True
    verified(cli)


def test_how_long_to_wait_is_no_other_request(cli: CommandLine):
    fleet(cli)
    instance(cli, "a1")
    done(cli("kill", "a1", *WHY, "--request-id", "once"))
    again = cli("kill", "a1", *WHY, "--request-id", "once", "--wait", "0")
    assert (again.code, again.error["error_code"]) == (1, "STOP_UNCONFIRMED")
    assert again.json["replayed"] is True


def test_actors_do_not_share_request_ids(cli: CommandLine, database: Database):
    fleet(cli)
    first = done(cli("kill", "a1", *WHY, "--request-id", "once")).json
    other = done(cli("kill", "a2", *WHY, "--request-id", "once", env={"BLAIDCTL_SERVICE_NAME": "cron"})).json
    assert (first["replayed"], other["replayed"]) == (False, False)
    assert [bot for bot, *_ in events(database)] == ["a1", "a2"]
    assert len({act for (act,) in database.sql("SELECT act_id FROM kill_events")}) == 2
    verified(cli)


def test_a_refused_request_may_be_asked_again(cli: CommandLine, database: Database):
    """Only what was done is stored: after the cause is gone the same id does it."""
    fleet(cli)
    command = ("kill", "c1", *WHY, "--request-id", "once")
    not_killed(cli(*command), 3, "BOT_NOT_FOUND")
    done(cli("bot", "add", "c1", "--user", "alice"))
    assert done(cli(*command)).json["replayed"] is False
    outcomes = [(entry["outcome"], entry["action"]) for entry in entries(database) if entry["request_id"] == "once"]
    assert outcomes == [("REFUSED", "kill"), ("DONE", "kill")]
    verified(cli)


def test_one_request_id_in_eight_processes_is_done_once(
    cli: CommandLine, process: ProcessCommandLine, database: Database
):
    fleet(cli)
    instance(cli, "a1")
    running = [process.spawn("kill", "a1", "b1", *WHY, "--request-id", "once") for _ in range(8)]
    answers = []
    for child in running:
        stdout, stderr = child.communicate(timeout=60)
        assert child.returncode == 0, stderr
        answers.append(json.loads(stdout))
    assert [answer["replayed"] for answer in answers].count(False) == 1
    assert len({json.dumps([answer["result"], answer["audit"]], sort_keys=True) for answer in answers}) == 1
    assert events(database) == [("a1", "KILL", "APPLIED", None, 1), ("b1", "KILL", "APPLIED", None, 0)]
    verified(cli)


def test_two_at_once_meet_at_the_key_of_the_request(cli: CommandLine, postgres_database: Database):
    """Neither saw the other's answer when it looked: the loser finds it on its next attempt."""
    fleet(cli)
    blocked = postgres_database.raw()
    blocked.execute("BEGIN")
    blocked.execute("SELECT 1 FROM bots WHERE id = 'a1' FOR UPDATE")
    answers = []

    def kill() -> None:
        answers.append(operate(cli, "kill", {"bots": ["a1"], "reason_code": "DRILL", "reason": "x"}, request_id="once"))

    threads = [threading.Thread(target=kill) for _ in range(2)]
    for thread in threads:
        thread.start()
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    for _ in range(200):
        if postgres_database.sql(waiting) == [(2,)]:
            break
        threading.Event().wait(0.05)
    assert postgres_database.sql(waiting) == [(2,)]
    blocked.execute("COMMIT")
    for thread in threads:
        thread.join(30)
    assert sorted(answer.replayed for answer in answers) == [False, True]
    assert answers[0].receipt == answers[1].receipt
    assert events(postgres_database) == [("a1", "KILL", "APPLIED", None, 0)]
    assert [entry["outcome"] for entry in entries(postgres_database)].count("REFUSED") == 0
    verified(cli)


def test_what_another_act_made_first_is_found_there(cli: CommandLine, postgres_database: Database):
    """`user add` twice at once: the key was free when the second looked, and is taken when it writes."""
    done(cli("user", "add", "zoe"))  # an insert that waits needs a table that has been used
    first = postgres_database.raw()
    first.execute("BEGIN")
    first.execute("INSERT INTO users (id, name, created_at) VALUES ('alice', 'alice', now())")
    answers = []
    thread = threading.Thread(target=lambda: answers.append(operate(cli, "user add", {"id": "alice"})))
    thread.start()
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    for _ in range(200):
        if postgres_database.sql(waiting) == [(1,)]:
            break
        threading.Event().wait(0.02)
    first.execute("COMMIT")
    thread.join(30)
    assert [answer.result["effect"] for answer in answers] == ["EXISTS"]
    assert [entry["outcome"] for entry in entries(postgres_database)] == ["DONE", "DONE"]


@pytest.mark.parametrize("request_id", ["", " ", "a b", "-x", "ü", "a" * 129, "x\n", "a\x1bb"])
def test_a_request_id_that_is_none_is_refused(cli: CommandLine, database: Database, request_id: str):
    fleet(cli)
    before = dump(database)
    not_killed(cli("kill", "a1", *WHY, "--request-id", request_id), 2, "INVALID_REQUEST")
    assert dump(database) == before


def test_a_request_id_may_be_as_long_as_it_says(cli: CommandLine):
    fleet(cli)
    assert done(cli("kill", "a1", *WHY, "--request-id", "a" * 128)).json["request_id"] == "a" * 128


# ---- traces --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "traceparent",
    [
        f"00-{TRACE}-{PARENT}-01",
        f" 00-{TRACE}-{PARENT}-00\n",
        f"01-{TRACE}-{PARENT}-01-more",
        f"cc-{TRACE}-{PARENT}-09",
    ],
)
def test_a_traceparent_is_used(cli: CommandLine, database: Database, traceparent: str):
    fleet(cli)
    run = done(cli("kill", "a1", *WHY, env={"TRACEPARENT": traceparent}))
    assert (run.json["trace_id"], run.stderr) == (TRACE, "")
    assert database.sql("SELECT trace_id FROM kill_events") == [(TRACE,)]
    assert entries(database)[-1]["trace_id"] == TRACE


@pytest.mark.parametrize(
    "traceparent",
    [
        "nonsense",
        TRACE,
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}-{PARENT}-01-more",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE}0-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01\x1b[31m",
    ],
)
def test_a_malformed_traceparent_gives_a_new_trace_and_a_warning(
    cli: CommandLine, database: Database, traceparent: str
):
    fleet(cli)
    run = done(cli("kill", "a1", *WHY, env={"TRACEPARENT": traceparent}))
    assert run.stderr == "warning: TRACEPARENT is malformed; this run has a new trace id\n"
    assert re.fullmatch("[0-9a-f]{32}", run.json["trace_id"])
    assert run.json["trace_id"] not in {TRACE, "0" * 32}
    assert database.sql("SELECT trace_id FROM kill_events") == [(run.json["trace_id"],)]


def test_a_trace_id_that_is_given_stands_above_the_environment(cli: CommandLine, database: Database):
    fleet(cli)
    parent = {"TRACEPARENT": f"00-{'1' * 32}-{PARENT}-01"}
    assert done(cli("kill", "a1", *WHY, "--trace-id", TRACE, env=parent)).json["trace_id"] == TRACE
    assert done(cli("kill", "a1", *WHY, "--trace-id", TRACE, env={"TRACEPARENT": "?"})).stderr == ""
    refusal = not_killed(cli("kill", "nobody", *WHY, "--trace-id", TRACE), 3, "BOT_NOT_FOUND")
    assert refusal["trace_id"] == entries(database)[-1]["trace_id"] == TRACE


@pytest.mark.parametrize("trace_id", ["", "0" * 32, TRACE.upper(), TRACE[:-1], TRACE + "0", "x\x1b[2J", " " + TRACE])
def test_a_trace_id_that_is_none_is_refused_under_a_real_one(cli: CommandLine, database: Database, trace_id: str):
    fleet(cli)
    before = dump(database)
    not_killed(cli("kill", "a1", *WHY, "--trace-id", trace_id), 2, "INVALID_REQUEST")
    assert dump(database) == before


# ---- actors --------------------------------------------------------------------------------------------------


def actor_of(database: Database) -> tuple[str, str, str, str | None]:
    entry = entries(database)[-1]
    ((actor,),) = database.sql("SELECT actor FROM kill_events ORDER BY id DESC LIMIT 1")
    assert entry["actor"] == actor
    what = entry["what"]
    assert what["pid"] == os.getpid()
    return actor, what["os_user"], what["host"], what["on_behalf_of"]


def test_the_actor_is_what_the_operating_system_says(
    cli: CommandLine, database: Database, monkeypatch: pytest.MonkeyPatch
):
    user, host = ME.split("@")
    fleet(cli)
    lies = {"USER": "risk-chief", "LOGNAME": "risk-chief", "USERNAME": "risk-chief", "HOSTNAME": "elsewhere"}
    done(cli("kill", "a1", *WHY, env=lies))
    assert actor_of(database) == (ME, user, host, None)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    done(cli("kill", "a1", *WHY, env={"SUDO_USER": "dana"}))
    assert actor_of(database) == (f"dana@{host}", user, host, None)

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    done(cli("kill", "a1", *WHY, env={"SUDO_USER": "dana"}))
    assert actor_of(database) == (ME, user, host, None)


def test_a_pinned_service_is_the_actor(cli: CommandLine, database: Database):
    user, host = ME.split("@")
    fleet(cli)
    done(cli("kill", "a1", *WHY, env={"BLAIDCTL_SERVICE_NAME": "reaper", "SUDO_USER": "dana"}))
    assert actor_of(database) == (f"service:reaper@{host}", user, host, None)
    for name in ("", "Reaper", "a b", "x" * 64, "../x"):
        not_killed(cli("kill", "a1", *WHY, env={"BLAIDCTL_SERVICE_NAME": name}), 2, "SETTINGS_INVALID")


def test_on_behalf_of_stands_beside_the_actor(cli: CommandLine, database: Database):
    user, host = ME.split("@")
    fleet(cli)
    done(cli("kill", "a1", *WHY, "--on-behalf-of", "Dana Øst (CRO)"))
    assert actor_of(database) == (ME, user, host, "Dana Øst (CRO)")
    (event,) = done(cli("kill-events")).json["result"]["events"]
    assert event["metadata"]["on_behalf_of"] == "Dana Øst (CRO)"
    before = dump(database)
    for name in ("", " ", "x" * 201, "a\nb", "a\x1b[31m", "a\u202eb", "\udcff"):
        not_killed(cli("kill", "a1", *WHY, "--on-behalf-of", name), 2, "INVALID_REQUEST")
    assert dump(database) == before


def test_every_entry_says_where_it_came_from(cli: CommandLine, process: ProcessCommandLine, database: Database):
    import blaidctl

    fleet(cli)
    child = process.spawn("kill", "a1", *WHY)
    child.communicate(timeout=60)
    done(cli("kill", "a1", *WHY))
    not_killed(cli("kill", "nobody", *WHY), 3, "BOT_NOT_FOUND")
    killed, again, refusal = entries(database)[-3:]
    for entry in (killed, again, refusal):
        assert (entry["what"]["channel"], entry["what"]["tool_version"]) == ("cli", blaidctl.__version__)
        assert f"{entry['what']['os_user']}@{entry['what']['host']}" == ME
    assert killed["what"]["pid"] == child.pid
    assert again["what"]["pid"] == refusal["what"]["pid"] == os.getpid()


def test_the_user_of_a_process_is_looked_up_not_believed(process: ProcessCommandLine, database: Database):
    """The installed script, started with a lying environment: `id -un` decides."""
    done(process("user", "add", "alice", env={"USER": "risk-chief", "LOGNAME": "risk-chief"}))
    name = subprocess.run(["/usr/bin/env", "id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    assert entries(database)[0]["actor"] == f"{name}@{socket.gethostname()}"


# ---- refusals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "code", "error_code"),
    [
        (("kill", "nobody", *WHY), 3, "BOT_NOT_FOUND"),
        (("kill", "--tag", "none", *WHY), 3, "NOTHING_MATCHED"),
        (("kill", "--user", "nobody", *WHY, "--confirm-count", "1"), 3, "USER_NOT_FOUND"),
        (("kill", "--all", *WHY, "--confirm-count", "4"), 4, "COUNT_MISMATCH"),
        (("resurrect", "nobody", *BACK), 3, "BOT_NOT_FOUND"),
        (("user", "add", "alice", "--name", "Another"), 4, "ALREADY_EXISTS"),
        (("bot", "add", "a1", "--user", "bob"), 4, "ALREADY_EXISTS"),
        (("bot", "add", "c1", "--user", "nobody"), 3, "USER_NOT_FOUND"),
    ],
)
def test_a_refusal_is_an_entry_and_writes_nothing_else(
    cli: CommandLine, database: Database, command: tuple[str, ...], code: int, error_code: str
):
    fleet(cli)
    before, head = dump(database, without=("audit_log", "audit_head")), len(entries(database))
    error = refused(cli(*command, "--request-id", "tried"), code, error_code)
    assert dump(database, without=("audit_log", "audit_head")) == before
    (entry,) = entries(database)[head:]
    assert (entry["outcome"], entry["what"]["error_code"]) == ("REFUSED", error_code)
    assert (entry["trace_id"], entry["request_id"], entry["actor"]) == (error["trace_id"], "tried", ME)
    assert entry["action"] == " ".join(command[:2] if command[0] in {"user", "bot"} else command[:1])
    asked = json.loads(entry["what"]["target"]["request"])
    assert (
        set(command[1:]) & {str(value) for value in asked.values()} or asked.get("bots") == ["nobody"] or asked["all"]
    )
    assert (entry["events"], entry["what"]["after"], entry["what"]["before"]) == ({}, None, None)
    verified(cli)


@pytest.mark.parametrize("operation", ["instance start", "instance run", "instance finish"])
def test_a_supervisor_that_is_refused_leaves_an_entry_too(cli: CommandLine, database: Database, operation: str):
    from blaidctl.core import errors

    fleet(cli)
    over = instance(cli, "a1")
    done(cli("kill", "a1", *WHY))
    ended = {"instance": over, "attempt": 1, "stop_reason": "KILLED", "exit_status": "signal 9"}
    operate(cli, "instance finish", ended)
    before = dump(database, without=("audit_log", "audit_head"))
    parameters = {
        "instance start": {"bot": "a1", "host": "here"},
        "instance run": {"instance": over, "attempt": 1, "pid": 1, "pid_started": "1"},
        "instance finish": ended,
    }[operation]
    with pytest.raises(errors.BlaidError) as caught:
        operate(cli, operation, parameters)
    assert dump(database, without=("audit_log", "audit_head")) == before
    entry = entries(database)[-1]
    assert (entry["action"], entry["outcome"]) == (operation, "REFUSED")
    assert entry["what"]["error_code"] == caught.value.error_code
    verified(cli)


def test_a_question_and_bad_input_leave_no_entry(cli: CommandLine, database: Database):
    fleet(cli)
    before = dump(database)
    for command in (("guard", "nobody"), ("status", "nobody"), ("bot", "show", "nobody"), ("kill-events", "nobody")):
        assert cli(*command).code in {1, 3}
    not_killed(cli("kill", "a1", "--reason-code", "DRILL", "--reason", " "), 2, "INVALID_REQUEST")
    assert dump(database) == before
