"""`kill` and `resurrect`, as section 4 of the contract has them."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING

import freezegun
import pytest

from tests.kill.fleet import (
    BACK,
    WHY,
    bots,
    done,
    dump,
    entries,
    events,
    fleet,
    instance,
    not_killed,
    operate,
    refused,
    time_of,
    verified,
)
from tests.support.accounts import add_account, link

if TYPE_CHECKING:
    from tests.support.commandline import CommandLine, ProcessCommandLine
    from tests.support.database import Database

FROZEN = "2026-03-04T05:06:07.089012Z"
INSTANCES = "SELECT id, status, stop_reason, stop_confirmed_at FROM bot_instances ORDER BY id"


def killed_at(database: Database, bot: str) -> str | None:
    return time_of(database, f"SELECT killed_at FROM bots WHERE id = '{bot}'")


# ---- one bot -------------------------------------------------------------------------------------------------


@pytest.mark.operation("kill")
def test_a_kill_stops_what_runs_and_says_so(cli: CommandLine, database: Database):
    fleet(cli)
    starting, running = instance(cli, "a1", running=False), instance(cli, "a1")
    other = instance(cli, "b1")
    answer = done(cli("kill", "a1", *WHY)).json
    ((bot,),) = (answer["result"]["bots"],)
    assert (bot["bot_id"], bot["effect"], bot["instances_stopped"]) == ("a1", "APPLIED", 2)
    assert answer["result"] | {"bots": []} == {
        "bots": [],
        "count": 1,
        "instances_stopped": 2,
        "stops_unconfirmed": None,
    }
    assert database.sql(INSTANCES) == [
        (starting, "STOPPED", "KILLED", None),
        (running, "STOPPED", "KILLED", None),
        (other, "RUNNING", None, None),
    ]
    assert killed_at(database, "a1") == bot["killed_at"]
    assert [killed_at(database, name) for name in ("a2", "a3", "b1", "b2")] == [None] * 4
    assert events(database) == [("a1", "KILL", "APPLIED", None, 2)]
    verified(cli)


def test_killing_the_killed_leaves_the_first_kill_alone(cli: CommandLine, database: Database):
    fleet(cli)
    first = done(cli("kill", "a1", *WHY)).json["result"]["bots"][0]
    before = database.sql("SELECT * FROM kill_events")
    again = done(cli("kill", "a1", "--reason-code", "LOSS_LIMIT", "--reason", "again")).json["result"]["bots"][0]
    assert (again["effect"], again["killed_at"]) == ("ALREADY_IN_STATE", first["killed_at"])
    assert again["kill_event_id"] > first["kill_event_id"]
    assert database.sql("SELECT * FROM kill_events WHERE id = ?", (first["kill_event_id"],)) == before
    assert killed_at(database, "a1") == first["killed_at"]
    assert events(database) == [("a1", "KILL", "APPLIED", None, 0), ("a1", "KILL", "ALREADY_IN_STATE", None, 0)]
    assert done(cli("bot", "show", "a1")).json["result"]["kill_reason_code"] == "DRILL"
    verified(cli)


def test_killing_the_killed_stops_an_instance_that_runs_all_the_same(cli: CommandLine, database: Database):
    fleet(cli)
    alive = instance(cli, "a1")
    done(cli("kill", "a1", *WHY))
    database.drop_triggers()  # nothing less lets an instance run on a killed bot
    database.sql("UPDATE bot_instances SET status = 'RUNNING', stop_reason = NULL, stopped_at = NULL")
    again = done(cli("kill", "a1", *WHY)).json["result"]["bots"][0]
    assert (again["effect"], again["instances_stopped"]) == ("ALREADY_IN_STATE", 1)
    assert database.sql(INSTANCES) == [(alive, "STOPPED", "KILLED", None)]


def test_an_ended_instance_keeps_its_own_end(cli: CommandLine, database: Database):
    fleet(cli)
    ended = instance(cli, "a1")
    operate(
        cli, "instance finish", {"instance": ended, "attempt": 1, "stop_reason": "SIGNALLED", "exit_status": "signal 9"}
    )
    before = database.sql("SELECT * FROM bot_instances")
    assert done(cli("kill", "a1", *WHY)).json["result"]["instances_stopped"] == 0
    assert database.sql("SELECT * FROM bot_instances") == before


def test_every_table_has_exactly_the_frozen_time(cli: CommandLine, database: Database):
    fleet(cli)
    running = instance(cli, "a1")
    with freezegun.freeze_time(FROZEN):
        answer = done(cli("kill", "a1", *WHY)).json
    assert answer["result"]["bots"][0]["killed_at"] == FROZEN
    for query in (
        "SELECT killed_at FROM bots WHERE id = 'a1'",
        "SELECT created_at FROM kill_events",
        f"SELECT stopped_at FROM bot_instances WHERE id = {running}",
        f"SELECT created_at FROM audit_log WHERE seq = {answer['audit']['seq']}",
        f"SELECT created_at FROM requests WHERE audit_seq = {answer['audit']['seq']}",
    ):
        assert time_of(database, query) == FROZEN, query
    assert entries(database)[-1]["created_at"] == FROZEN
    assert done(cli("kill-events")).json["result"]["events"][0]["created_at"] == FROZEN
    verified(cli)


def test_the_receipt_names_the_entry_that_holds_the_decision(cli: CommandLine, database: Database):
    fleet(cli)
    instance(cli, "a1")
    answer = done(cli("kill", "a2", "a1", "--reason-code", "LOSS_LIMIT", "--reason", "down 40 %")).json
    seq, entry_hash = answer["audit"]["seq"], answer["audit"]["entry_hash"]
    ((stored, text),) = database.sql("SELECT entry_hash, canonical FROM audit_log WHERE seq = ?", (seq,))
    assert bytes(stored).hex() == entry_hash
    entry = entries(database)[seq - 1]
    assert text.startswith('{"act_id":')
    assert (entry["action"], entry["outcome"], entry["trace_id"]) == ("kill", "DONE", answer["trace_id"])
    assert entry["request_id"] == answer["request_id"]
    assert entry["events"]["kill_events"]["count"] == 2
    assert entry["what"]["target"] == {"bots": ["a1", "a2"]}
    assert entry["what"]["reason"] == "down 40 %"
    assert entry["what"]["before"] == {"already_killed": []}
    assert entry["what"]["after"] == {"instances_stopped": 1, "killed": 2, "reason_code": "LOSS_LIMIT"}
    rows = database.sql("SELECT act_id, actor, trace_id, reason_code, reason FROM kill_events")
    assert set(rows) == {(entry["act_id"], entry["actor"], entry["trace_id"], "LOSS_LIMIT", "down 40 %")}


# ---- many bots -----------------------------------------------------------------------------------------------


def test_many_bots_are_one_decision(cli: CommandLine, database: Database):
    fleet(cli)
    instance(cli, "a1")
    instance(cli, "b1")
    done(cli("kill", "a2", *WHY))
    head = len(entries(database))
    answer = done(cli("kill", "b1", "a1", "a2", "a1", *WHY)).json
    taken = answer["result"]["bots"]
    assert [(bot["bot_id"], bot["effect"], bot["instances_stopped"]) for bot in taken] == [
        ("a1", "APPLIED", 1),
        ("a2", "ALREADY_IN_STATE", 0),
        ("b1", "APPLIED", 1),
    ]
    assert answer["result"]["count"] == 3
    assert len(entries(database)) == head + 1
    assert entries(database)[-1]["what"]["before"] == {"already_killed": ["a2"]}
    acts = database.sql("SELECT DISTINCT act_id, trace_id, created_at FROM kill_events WHERE id > 1")
    assert len(acts) == 1
    assert acts[0][1] == answer["trace_id"]
    verified(cli)


def test_one_unknown_bot_and_none_is_killed(cli: CommandLine, database: Database):
    fleet(cli)
    instance(cli, "a1")
    before = dump(database, without=("audit_log", "audit_head"))
    error = not_killed(cli("kill", "a1", "A2", "zzzzz", *WHY), 3, "BOT_NOT_FOUND")
    assert error["missing_requirements"] == ["bot A2", "bot zzzzz"]
    assert "did you mean a2" in error["message"]
    assert dump(database, without=("audit_log", "audit_head")) == before
    assert [entry["outcome"] for entry in entries(database)[-2:]] == ["DONE", "REFUSED"]


def test_bots_come_from_standard_input(cli: CommandLine, database: Database):
    fleet(cli)
    answer = done(cli("kill", "-", *WHY, stdin="a1\n  b1 a1\n\n")).json
    assert [bot["bot_id"] for bot in answer["result"]["bots"]] == ["a1", "b1"]
    not_killed(cli("kill", "-", *WHY, stdin=" \n"), 2, "INVALID_REQUEST")
    assert len(events(database)) == 2


def test_the_confirmed_count_of_named_bots_must_be_right(cli: CommandLine, database: Database):
    fleet(cli)
    not_killed(cli("kill", "a1", "b1", *WHY, "--confirm-count", "3"), 2, "INVALID_REQUEST")
    assert events(database) == []
    assert done(cli("kill", "a1", "b1", "a1", *WHY, "--confirm-count", "2")).json["result"]["count"] == 2


# ---- dry run -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        ("kill", "a1", "b1", *WHY),
        ("kill", "--all", *WHY),
        ("kill", "--all", *WHY, "--confirm-count", "5"),
        ("kill", "no-such-bot", *WHY),
        ("kill", "--all", *WHY, "--confirm-count", "4"),
        ("resurrect", "a2", *BACK),
        ("resurrect", "a1", *BACK),
        ("resurrect", "no-such-bot", *BACK),
        ("user", "add", "carol"),
        ("bot", "add", "c1", "--user", "alice"),
    ],
    ids=" ".join,
)
def test_a_dry_run_writes_nothing_at_all(cli: CommandLine, database: Database, command: tuple[str, ...]):
    fleet(cli)
    instance(cli, "a1")
    done(cli("kill", "a2", *WHY))
    before = dump(database)
    run = cli(*command, "--dry-run", "--request-id", "rehearsal")
    assert dump(database) == before
    if run.code == 0:
        assert run.json["dry_run"] is True
        assert run.json["audit"] is None
    else:
        assert run.error["error_code"] in {"BOT_NOT_FOUND", "COUNT_MISMATCH"}
    assert "DRY RUN" in cli(*command, "--dry-run", "--output", "table").stdout or run.code
    # The id is still free: the act itself is done under it, not replayed.
    if run.code == 0 and "--all" not in command:
        assert done(cli(*command, "--request-id", "rehearsal")).json["replayed"] is False


def test_a_dry_run_answers_what_the_kill_then_does(cli: CommandLine):
    fleet(cli)
    instance(cli, "a1")
    done(cli("kill", "a2", *WHY))
    tried = done(cli("kill", "--user", "alice", *WHY, "--dry-run")).json["result"]
    real = done(cli("kill", "--user", "alice", *WHY, "--confirm-count", str(tried["count"]))).json["result"]
    for result in (tried, real):
        for bot in result["bots"]:
            del bot["kill_event_id"], bot["killed_at"]
    assert tried == real


# ---- wide targets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (("--all",), ["a1", "a2", "a3", "b1", "b2"]),
        (("--user", "alice"), ["a1", "a2", "a3"]),
        (("--tag", "fast"), ["a1", "b1"]),
        (("--tag", "futures"), ["a1", "a2"]),
        (("--exchange", "CME"), ["a1", "a2", "b1"]),
        (("--exchange", "ICE"), ["a2"]),
        (("--account", "acct-1"), ["a1", "a3", "b2"]),
        (("--account", "acct-2"), ["a2"]),
        (("--user", "alice", "--tag", "fast"), ["a1"]),
        (("--user", "alice", "--exchange", "CME"), ["a1", "a2"]),
        (("--user", "alice", "--account", "acct-1"), ["a1", "a3"]),
        (("--tag", "fast", "--exchange", "CME", "--account", "acct-1", "--user", "alice"), ["a1"]),
    ],
    ids=" ".join,
)
def test_a_wide_target_takes_exactly_its_bots(
    cli: CommandLine, database: Database, target: tuple[str, ...], expected: list[str]
):
    fleet(cli)
    on_accounts(cli, database)
    before = dump(database)

    missing = not_killed(cli("kill", *target, *WHY), 2, "CONFIRM_COUNT_MISSING")
    assert missing["missing_requirements"] == [f"confirm_count: {len(expected)} bots match"]
    assert dump(database) == before  # not even a refusal: this is input that was not given

    wrong = not_killed(cli("kill", *target, *WHY, "--confirm-count", str(len(expected) + 1)), 4, "COUNT_MISMATCH")
    assert wrong["missing_requirements"] == [f"confirm_count: {len(expected)}"]
    assert events(database) == []

    answer = done(cli("kill", *target, *WHY, "--confirm-count", str(len(expected)))).json
    assert [bot["bot_id"] for bot in answer["result"]["bots"]] == expected
    assert [bot for (bot,) in database.sql("SELECT id FROM bots WHERE killed_at IS NOT NULL ORDER BY id")] == expected
    asked = entries(database)[-1]["what"]["target"]
    words = {name.removeprefix("--"): value for name, value in zip(target[::2], target[1::2] or (True,), strict=True)}
    assert asked == {"bots": expected} | words
    verified(cli)


def on_accounts(cli: CommandLine, database: Database) -> None:
    """Linked and running (a1, a2), linked only (a3), running only (b2: a row from before links), linked before (b1)."""
    for account, user in (("acct-1", "alice"), ("acct-2", "alice"), ("acct-3", "bob")):
        add_account(cli, account, user)
    link(cli, ["a1", "a3"], "acct-1")
    link(cli, ["a2"], "acct-2")
    link(cli, ["b1"], "acct-3")
    done(cli("account", "unlink", "b1"))
    instance(cli, "a1")
    instance(cli, "a2", account="acct-2", running=False)
    at = "2026-01-01T00:00:00.000000Z"
    database.sql(
        "INSERT INTO bot_instances (bot_id, account_id, status, host, pid, attempt, started_at, heartbeat_at)"
        " VALUES ('b2', 'acct-1', 'RUNNING', 'here', 4711, 1, ?, ?)",
        (at, at),
    )


def test_an_account_is_where_a_bot_is_linked_or_runs_now(cli: CommandLine):
    fleet(cli)
    link(cli, ["a1"], add_account(cli, "acct-1", "alice"))
    ended = instance(cli, "a1", account="acct-1")
    operate(cli, "instance finish", {"instance": ended, "attempt": 1, "stop_reason": "EXITED", "exit_status": "0"})
    assert done(cli("kill", "--account", "acct-1", *WHY, "--confirm-count", "1", "--dry-run")).code == 0
    done(cli("account", "unlink", "a1"))
    not_killed(cli("kill", "--account", "acct-1", *WHY, "--confirm-count", "1"), 4, "COUNT_MISMATCH")
    not_killed(cli("kill", "--account", "acct-1", *WHY), 3, "NOTHING_MATCHED")


@pytest.mark.parametrize(
    ("target", "code", "error_code"),
    [
        (("--tag", "none"), 3, "NOTHING_MATCHED"),
        (("--exchange", "cme"), 3, "NOTHING_MATCHED"),
        (("--tag", "none", "--confirm-count", "0"), 3, "NOTHING_MATCHED"),
        (("--tag", "none", "--confirm-count", "1"), 4, "COUNT_MISMATCH"),
        (("--user", "alica"), 3, "USER_NOT_FOUND"),
        (("--user", "bob", "--tag", "futures"), 3, "NOTHING_MATCHED"),
        ((), 2, "INVALID_REQUEST"),
        (("a1", "--all"), 2, "INVALID_REQUEST"),
        (("a1", "--user", "alice"), 2, "INVALID_REQUEST"),
        (("--all", "--user", "alice"), 2, "INVALID_REQUEST"),
        (("--all", "--confirm-count", "-1"), 2, "INVALID_REQUEST"),
        (("--tag", " "), 2, "INVALID_REQUEST"),
        (("--tag", ""), 2, "INVALID_REQUEST"),
    ],
    ids=str,
)
def test_a_target_that_is_not_one_kills_nothing(
    cli: CommandLine, database: Database, target: tuple[str, ...], code: int, error_code: str
):
    fleet(cli)
    before = dump(database, without=("audit_log", "audit_head"))
    not_killed(cli("kill", *target, *WHY), code, error_code)
    assert dump(database, without=("audit_log", "audit_head")) == before


def test_an_empty_registry_has_nothing_to_kill(cli: CommandLine, database: Database):
    not_killed(cli("kill", "--all", *WHY), 3, "NOTHING_MATCHED")
    assert [entry["outcome"] for entry in entries(database)] == ["REFUSED"]


def test_the_count_is_checked_inside_the_transaction(cli: CommandLine, database: Database):
    """A bot that joins between the look and the kill is not killed by the old count."""
    fleet(cli)
    look = done(cli("kill", "--user", "alice", *WHY, "--dry-run")).json["result"]["count"]
    done(cli("bot", "add", "a4", "--user", "alice"))
    not_killed(cli("kill", "--user", "alice", *WHY, "--confirm-count", str(look)), 4, "COUNT_MISMATCH")
    assert events(database) == []


# ---- resurrect -----------------------------------------------------------------------------------------------


@pytest.mark.operation("resurrect")
def test_a_resurrect_names_the_kill_that_it_ends_and_starts_nothing(cli: CommandLine, database: Database):
    fleet(cli)
    stopped = instance(cli, "a1")
    killed = done(cli("kill", "a1", *WHY)).json["result"]["bots"][0]["kill_event_id"]
    done(cli("kill", "a1", *WHY))  # a second, ALREADY_IN_STATE one is not the kill that holds
    before = database.sql(INSTANCES)
    result = done(cli("resurrect", "a1", *BACK)).json["result"]
    assert result == {
        "bot_id": "a1",
        "effect": "APPLIED",
        "resurrect_event_id": killed + 2,
        "ends_kill_event_id": killed,
        "last_instance_id": stopped,
        "restarted": None,
    }
    assert killed_at(database, "a1") is None
    assert database.sql(INSTANCES) == before == [(stopped, "STOPPED", "KILLED", None)]
    verified(cli)


def test_a_live_bot_is_resurrected_without_a_conflict(cli: CommandLine, database: Database):
    fleet(cli)
    running = instance(cli, "a1")
    result = done(cli("resurrect", "a1", *BACK)).json["result"]
    assert (result["effect"], result["ends_kill_event_id"]) == ("ALREADY_IN_STATE", None)
    assert events(database) == [("a1", "RESURRECT", "ALREADY_IN_STATE", None, 0)]
    assert database.sql(INSTANCES) == [(running, "RUNNING", None, None)]
    done(cli("kill", "a1", *WHY))
    first = done(cli("resurrect", "a1", *BACK)).json["result"]
    second = done(cli("resurrect", "a1", *BACK)).json["result"]
    assert (first["effect"], second["effect"], second["ends_kill_event_id"]) == ("APPLIED", "ALREADY_IN_STATE", None)
    verified(cli)


def test_each_kill_of_a_chain_is_ended_by_its_own_resurrect(cli: CommandLine, database: Database):
    fleet(cli)
    times = []
    for _ in range(3):
        instance(cli, "a1")
        done(cli("kill", "a1", *WHY))
        times.append(killed_at(database, "a1"))
        done(cli("kill", "a1", *WHY))
        done(cli("resurrect", "a1", *BACK))
    done(cli("kill", "a1", *WHY))
    assert len(set(times)) == 3
    assert events(database) == [
        ("a1", "KILL", "APPLIED", None, 1),
        ("a1", "KILL", "ALREADY_IN_STATE", None, 0),
        ("a1", "RESURRECT", "APPLIED", 1, 0),
        ("a1", "KILL", "APPLIED", None, 1),
        ("a1", "KILL", "ALREADY_IN_STATE", None, 0),
        ("a1", "RESURRECT", "APPLIED", 4, 0),
        ("a1", "KILL", "APPLIED", None, 1),
        ("a1", "KILL", "ALREADY_IN_STATE", None, 0),
        ("a1", "RESURRECT", "APPLIED", 7, 0),
        ("a1", "KILL", "APPLIED", None, 0),
    ]
    assert done(cli("bot", "show", "a1")).json["result"]["kill_event_id"] == 10
    verified(cli)


def test_resurrect_refuses_a_state_that_no_kill_explains(cli: CommandLine, database: Database):
    fleet(cli)
    database.sql("UPDATE bots SET killed_at = ? WHERE id = 'a1'", (FROZEN,))
    error = refused(cli("resurrect", "a1", *BACK), 4, "DATABASE_GUARD_REFUSED")
    assert "changed outside blaidctl" in error["message"]
    assert killed_at(database, "a1") == FROZEN
    assert done(cli("kill", "a1", *WHY)).json["result"]["bots"][0]["effect"] == "ALREADY_IN_STATE"
    assert done(cli("resurrect", "a1", *BACK)).json["result"]["ends_kill_event_id"] == 1
    assert killed_at(database, "a1") is None


def test_a_killed_bot_does_not_start_and_a_resurrected_one_does(cli: CommandLine):
    from blaidctl.core import errors

    fleet(cli)
    done(cli("kill", "a1", *WHY))
    with pytest.raises(errors.BotKilled, match="is killed since"):
        instance(cli, "a1")
    done(cli("resurrect", "a1", *BACK))
    assert instance(cli, "a1") == 1


def test_a_start_that_the_kill_overtook_is_over(cli: CommandLine):
    from blaidctl.core import errors

    fleet(cli)
    started = instance(cli, "a1", running=False)
    done(cli("kill", "a1", *WHY))
    report = {"instance": started, "attempt": 1}
    with pytest.raises(errors.InstanceOver, match=r"STOPPED \(KILLED\)"):
        operate(cli, "instance run", report | {"pid": 4711, "pid_started": "99"})
    ended = {"stop_reason": "KILLED", "exit_status": "signal 9"}
    with pytest.raises(errors.InstanceOver, match="another attempt"):
        operate(cli, "instance finish", report | ended | {"attempt": 2})
    assert operate(cli, "instance finish", report | ended).result["stop_confirmed_at"]
    with pytest.raises(errors.InstanceOver, match="already confirmed"):
        operate(cli, "instance finish", report | ended)


# ---- --wait --------------------------------------------------------------------------------------------------


def test_wait_names_the_instances_that_are_not_proven_dead(cli: CommandLine):
    fleet(cli)
    running = instance(cli, "a1")
    instance(cli, "b1")
    run = cli("kill", "a1", *WHY, "--wait", "0")
    assert (run.code, run.error["error_code"]) == (1, "STOP_UNCONFIRMED")
    assert run.error["missing_requirements"] == [f"instance {running} of a1 on here (pid 4711)"]
    assert "NOT KILLED" not in run.stderr
    (stop,) = run.json["result"]["stops_unconfirmed"]
    assert (stop["instance_id"], stop["bot_id"], stop["host"], stop["pid"]) == (running, "a1", "here", 4711)
    assert run.json["audit"]["seq"]


def test_wait_ends_when_the_supervisor_confirms(cli: CommandLine, process: ProcessCommandLine, database: Database):
    fleet(cli)
    running = instance(cli, "a1")
    waiting = process.spawn("kill", "a1", *WHY, "--wait", "25")
    seen = threading.Event()
    while not events(database):
        assert not seen.wait(0.05)
        assert waiting.poll() is None
    assert waiting.poll() is None
    confirmed = {"instance": running, "attempt": 1, "stop_reason": "KILLED", "exit_status": "signal 15"}
    operate(cli, "instance finish", confirmed)
    stdout, stderr = waiting.communicate(timeout=25)
    assert (waiting.returncode, stderr) == (0, "")
    assert '"stops_unconfirmed": []' in stdout


# ---- reading back --------------------------------------------------------------------------------------------


@pytest.mark.operation("kill-events")
def test_kill_events_are_filtered_and_newest_first(cli: CommandLine, database: Database):
    fleet(cli)
    moments = ("2026-03-01T00:00:00Z", "2026-03-01T00:10:00Z", "2026-03-01T02:00:00Z", "2026-03-05T00:00:00Z")
    for moment, bot in zip(moments, ("a1", "b1", "a1", "a2"), strict=True):
        with freezegun.freeze_time(moment):
            done(cli("kill", bot, *WHY))
    before = dump(database)

    def ids(*arguments: str) -> list[int]:
        with freezegun.freeze_time("2026-03-05T00:00:30Z"):
            found = done(cli("kill-events", *arguments)).json["result"]["events"]
        return [event["id"] for event in found]

    assert ids() == [4, 3, 2, 1]
    assert ids("--limit", "2") == [4, 3]
    assert ids("a1") == [3, 1]
    assert ids("b2") == []
    assert ids("a1", "--limit", "1") == [3]
    assert ids("--since", "30s") == [4]
    assert ids("--since", "29s") == []
    assert ids("--since", "1m") == [4]
    assert ids("--since", "94h") == [4]
    assert ids("--since", "95h") == [4, 3]
    assert ids("--since", "4d") == [4, 3, 2]  # since 2026-03-01T00:00:30
    assert ids("--since", "5d") == [4, 3, 2, 1]
    assert ids("--since", "2026-03-01T00:10:00Z") == [4, 3, 2]
    assert ids("--since", "2026-03-01T01:10:00.000001+01:00") == [4, 3]
    assert ids("--since", "0001-01-01T00:00:00Z") == [4, 3, 2, 1]
    assert ids("--since", "9999-12-31T23:59:59Z") == []
    assert dump(database) == before


@pytest.mark.parametrize(
    "since",
    ["yesterday", "5", "-5m", "2026-03-01", "2026-03-01T00:00:00", "999999d", "0001-01-01T00:00:00+14:00", "1y", " "],
)
def test_a_since_that_means_nothing_is_refused(cli: CommandLine, since: str):
    refused(cli("kill-events", "--since", since), 2, "INVALID_REQUEST")


def test_kill_events_of_an_unknown_bot_offer_the_closest(cli: CommandLine, database: Database):
    fleet(cli)
    before = dump(database)
    error = refused(cli("kill-events", "a11"), 3, "BOT_NOT_FOUND")
    assert "did you mean a1" in error["message"]
    assert dump(database) == before  # a question leaves no entry
    for limit in ("0", "-1", "100001"):
        refused(cli("kill-events", "--limit", limit), 2, "INVALID_REQUEST")


def test_an_event_is_shown_whole(cli: CommandLine):
    fleet(cli)
    answer = done(cli("kill", "a1", "--reason-code", "SECURITY", "--reason", "key leaked ⚠ 5 %")).json
    (event,) = done(cli("kill-events", "a1")).json["result"]["events"]
    assert event == {
        "id": 1,
        "bot_id": "a1",
        "action": "KILL",
        "effect": "APPLIED",
        "actor": event["actor"],
        "reason_code": "SECURITY",
        "reason": "key leaked ⚠ 5 %",
        "created_at": answer["result"]["bots"][0]["killed_at"],
        "metadata": {"channel": "cli", "on_behalf_of": None},
        "trace_id": answer["trace_id"],
        "ends_kill_event_id": None,
        "instances_stopped": 0,
    }
    assert re.fullmatch(r"[^@]+@[^@]+", event["actor"])


# ---- scope ---------------------------------------------------------------------------------------------------


def test_a_caller_with_a_scope_reaches_only_that_users_bots(cli: CommandLine, database: Database):
    from blaidctl.core import errors

    fleet(cli)
    why = {"reason_code": "DRILL", "reason": "mine"}
    for bot in ("b1", "b2"):
        done(cli("kill", bot, *WHY))
    before = dump(database, without=("audit_log", "audit_head"))

    def as_alice(name: str, **parameters: object) -> dict[str, object]:
        return dict(operate(cli, name, parameters, user_scope="alice").result)

    for name, parameters in (
        ("kill", {"bots": ["b1"], **why}),
        ("kill", {"bots": ["a1", "b1"], **why}),
        ("resurrect", {"bot": "b1", "reason_code": "DRILL_DONE", "reason": "mine"}),
        ("kill-events", {"bot": "b1"}),
        ("status", {"bot": "b1"}),
        ("bot show", {"bot": "b1"}),
        ("instance start", {"bot": "b1", "host": "here"}),
    ):
        with pytest.raises(errors.BotNotFound) as caught:
            as_alice(name, **parameters)
        assert "did you mean b" not in caught.value.message
    with pytest.raises(errors.NothingMatched):
        as_alice("kill", user="bob", confirm_count=0, **why)
    assert as_alice("guard", bot="b1")["reasons"] == ["BOT_NOT_FOUND: no bot 'b1' (did you mean a1?)"]
    assert dump(database, without=("audit_log", "audit_head")) == before

    assert {bot["user_id"] for bot in as_alice("bot list")["bots"]} == {"alice"}  # type: ignore[attr-defined]
    assert {bot["user_id"] for bot in as_alice("status")["bots"]} == {"alice"}  # type: ignore[attr-defined]
    assert as_alice("kill-events")["events"] == []
    assert as_alice("kill", all=True, confirm_count=3, **why)["count"] == 3
    assert {bot for (bot,) in database.sql("SELECT id FROM bots WHERE killed_at IS NULL")} == set()
    assert len(as_alice("kill-events")["events"]) == 3  # type: ignore[arg-type]


def test_hundreds_of_bots_are_killed_by_the_same_statements(cli: CommandLine, database: Database):
    """Set-based: the number of statements does not grow with the number of bots."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    bots(database, (f"bot-{n:03}" for n in range(300)))
    counts = []
    for target in (("bot-000",), tuple(f"bot-{n:03}" for n in range(1, 300))):
        statements: list[str] = []

        def note(*arguments: object, seen: list[str] = statements) -> None:
            seen.append(str(arguments[2]))

        event.listen(Engine, "before_cursor_execute", note)
        try:
            done(cli("kill", *target, *WHY))
        finally:
            event.remove(Engine, "before_cursor_execute", note)
        counts.append(len(statements))
    assert counts[0] == counts[1]
    assert database.sql("SELECT count(*) FROM bots WHERE killed_at IS NULL") == [(0,)]
    verified(cli)
