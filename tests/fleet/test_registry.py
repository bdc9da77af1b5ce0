"""Users and bots: registered once, harmless to repeat, shown whole."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import freezegun
import pytest

from tests.kill.fleet import WHY, done, dump, entries, fleet, instance, operate, refused, verified

if TYPE_CHECKING:
    from tests.support.commandline import CommandLine
    from tests.support.database import Database

AT = "2026-03-04T05:06:07.089012Z"


def test_a_user_is_made_once_and_found_again(cli: CommandLine, database: Database):
    with freezegun.freeze_time(AT):
        first = done(cli("user", "add", "alice", "--name", "Alice Ng")).json
    assert first["result"] == {"id": "alice", "name": "Alice Ng", "effect": "CREATED"}
    again = done(cli("user", "add", "alice", "--name", "Alice Ng")).json
    assert (again["result"]["effect"], again["audit"]["seq"]) == ("EXISTS", first["audit"]["seq"] + 1)
    refused(cli("user", "add", "alice"), 4, "ALREADY_EXISTS")
    assert done(cli("user", "list")).json["result"]["users"] == [
        {"id": "alice", "name": "Alice Ng", "bots": 0, "created_at": AT}
    ]
    assert [entry["what"]["before"] for entry in entries(database)[:2]] == [None, {"name": "Alice Ng"}]
    verified(cli)


def test_a_bot_is_made_once_and_found_again(cli: CommandLine, database: Database):
    done(cli("user", "add", "alice"))
    command = ("bot", "add", "momo-1", "--user", "alice", "--name", "Momo", "--strategy", "momentum")
    wide = ("--tag", "b", "--tag", "a", "--tag", "b", "--exchange", "CME")
    made = done(cli(*command, *wide)).json["result"]
    values = {
        "id": "momo-1", "user_id": "alice", "name": "Momo", "strategy": "momentum", "tags": ["a", "b"],
        "exchanges": ["CME"],
    }  # fmt: skip
    assert made == values | {"effect": "CREATED"}
    assert done(cli(*command, *wide)).json["result"] == values | {"effect": "EXISTS"}
    assert done(cli(*command, "--tag", "a", "--tag", "b", "--exchange", "CME")).json["result"]["effect"] == "EXISTS"
    before = dump(database, without=("audit_log", "audit_head"))
    for other in (
        (*command, "--tag", "a", "--exchange", "CME"),
        (*command[:5], *wide),
        (*command, *wide, "--tag", "c"),
    ):
        error = refused(cli(*other), 4, "ALREADY_EXISTS")
        assert "exists with another" in error["message"]
    assert dump(database, without=("audit_log", "audit_head")) == before
    (listed,) = done(cli("bot", "list")).json["result"]["bots"]
    assert listed == values | {"state": "LIVE", "killed_at": None, "created_at": listed["created_at"]}
    verified(cli)


def test_what_is_left_out_has_its_default(cli: CommandLine):
    done(cli("user", "add", "alice"))
    made = done(cli("bot", "add", "b", "--user", "alice")).json["result"]
    assert (made["name"], made["strategy"], made["tags"], made["exchanges"]) == ("b", "", [], [])


@pytest.mark.parametrize(
    "name",
    ["", "A", "-a", ".a", "a b", "a/b", "ü", "a" * 64, "a\n", "a\x00b", "[/]", "a;b", "\udcff", "\x1b[31m"],
    ids=ascii,
)
def test_an_id_that_is_no_slug_is_refused(cli: CommandLine, database: Database, name: str):
    done(cli("user", "add", "alice"))
    before = dump(database)
    for command in (("user", "add", "--", name), ("bot", "add", "--user", "alice", "--", name)):
        refused(cli(*command), 2, "INVALID_REQUEST")
    assert dump(database) == before


@pytest.mark.parametrize("name", ["a", "0", "a" * 63, "a.b_c-d", "9-lives"])
def test_a_slug_is_kept_as_it_is(cli: CommandLine, name: str):
    done(cli("user", "add", name))
    done(cli("bot", "add", name, "--user", name))
    assert done(cli("bot", "show", name)).json["result"]["user_id"] == name


def test_unknown_names_offer_the_closest(cli: CommandLine):
    fleet(cli)
    assert "did you mean alice" in refused(cli("bot", "add", "x", "--user", "alcie"), 3, "USER_NOT_FOUND")["message"]
    assert "did you mean alice" in refused(cli("bot", "list", "--user", "Alice"), 3, "USER_NOT_FOUND")["message"]
    assert "did you mean b" in refused(cli("bot", "show", "b9"), 3, "BOT_NOT_FOUND")["message"]
    assert "did you mean" not in refused(cli("bot", "show", "quite-another"), 3, "BOT_NOT_FOUND")["message"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("momentum-bot-12345x", "momentum-bot-12345"),
        ("omentum-bot-12345", "momentum-bot-12345"),
        ("momentum-bott-12345", "momentum-bot-12345"),
        ("MOMENTUM-BOT-12345", "momentum-bot-12345"),
        ("momnetum-bot-12345", "momentum-bot-12345"),
    ],
)
def test_in_a_large_fleet_a_name_is_offered_after_few_comparisons(
    monkeypatch: pytest.MonkeyPatch, typed: str, meant: str
):
    """A mistyped name must not hold the write lock while twenty thousand names are compared in full."""
    import difflib

    from blaidctl.fleet import rules

    compared = []
    in_full = difflib.get_close_matches

    def counted(name: str, known: list[str], **how: float) -> list[str]:
        compared.append(len(known))
        return in_full(name, known, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(difflib, "get_close_matches", counted)
    known = [f"momentum-bot-{number:05}" for number in range(20_000)]
    assert meant in rules.closest(typed, known)
    assert compared == [rules.COMPARED_NAMES]
    assert rules.closest(typed, known[:100]) == in_full(typed.lower(), known[:100], n=3, cutoff=0.5)


def test_bots_are_listed_by_id_and_narrowed(cli: CommandLine):
    fleet(cli)
    done(cli("kill", "a2", *WHY))

    def ids(*words: str) -> list[str]:
        return [bot["id"] for bot in done(cli("bot", "list", *words)).json["result"]["bots"]]

    assert ids() == ["a1", "a2", "a3", "b1", "b2"]
    assert ids("--user", "bob") == ["b1", "b2"]
    assert ids("--tag", "fast") == ["a1", "b1"]
    assert ids("--tag", "fast", "--user", "bob") == ["b1"]
    assert ids("--tag", "fas") == []
    rows = list(csv.DictReader(io.StringIO(done(cli("bot", "list", "--output", "csv")).stdout)))
    assert [(row["id"], row["state"], bool(row["killed_at"])) for row in rows][:2] == [
        ("a1", "LIVE", False),
        ("a2", "KILLED", True),
    ]
    assert [user["bots"] for user in done(cli("user", "list")).json["result"]["users"]] == [3, 2]


def test_a_bot_is_shown_with_its_kill_and_its_latest_instances(cli: CommandLine):
    fleet(cli)
    numbers = [instance(cli, "a1") for _ in range(3)]
    ended = {"instance": numbers[0], "attempt": 1, "stop_reason": "EXIT_NONZERO", "exit_status": "exit 3"}
    operate(cli, "instance finish", ended)
    killed = done(cli("kill", "a1", "--reason-code", "LOSS_LIMIT", "--reason", "down")).json
    shown = done(cli("bot", "show", "a1", "--limit", "2")).json["result"]
    assert (shown["state"], shown["kill_event_id"], shown["kill_reason_code"], shown["kill_reason"]) == (
        "KILLED", 1, "LOSS_LIMIT", "down",
    )  # fmt: skip
    assert shown["killed_at"] == killed["result"]["bots"][0]["killed_at"]
    assert [(one["id"], one["status"], one["stop_reason"]) for one in shown["instances"]] == [
        (numbers[2], "STOPPED", "KILLED"),
        (numbers[1], "STOPPED", "KILLED"),
    ]
    first = done(cli("bot", "show", "a1")).json["result"]["instances"][-1]
    assert (first["status"], first["stop_reason"], first["exit_status"]) == ("FAILED", "EXIT_NONZERO", "exit 3")
    assert first["stop_confirmed_at"] == first["stopped_at"]
    live = done(cli("bot", "show", "a2")).json["result"]
    assert (live["state"], live["kill_event_id"], live["killed_by"], live["instances"]) == ("LIVE", None, None, [])
    for limit in ("0", "-1", "1001"):
        refused(cli("bot", "show", "a1", "--limit", limit), 2, "INVALID_REQUEST")


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("EXITED", "STOPPED"),
        ("SUPERVISOR_STOPPED", "STOPPED"),
        ("EXIT_NONZERO", "FAILED"),
        ("SIGNALLED", "FAILED"),
        ("NOT_STARTABLE", "FAILED"),
        ("LEASE_LOST", "FAILED"),
    ],
)
def test_each_end_of_an_instance_has_its_status(cli: CommandLine, database: Database, reason: str, status: str):
    fleet(cli)
    number = instance(cli, "a1")
    ended = {"instance": number, "attempt": 1, "stop_reason": reason, "exit_status": "x"}
    result = operate(cli, "instance finish", ended).result
    assert (result["status"], result["stop_reason"], bool(result["stop_confirmed_at"])) == (status, reason, True)
    assert database.sql("SELECT status, stop_reason, exit_status FROM bot_instances") == [(status, reason, "x")]
    verified(cli)


@pytest.mark.parametrize("operation", ["instance run", "instance finish"])
def test_a_report_about_nothing_is_refused(cli: CommandLine, operation: str):
    from blaidctl.core import errors

    fleet(cli)
    report = {"instance": 99, "attempt": 1}
    more = (
        {"pid": 1, "pid_started": "1"} if operation == "instance run" else {"stop_reason": "EXITED", "exit_status": ""}
    )
    with pytest.raises(errors.InstanceNotFound):
        operate(cli, operation, report | more)
    number = instance(cli, "a1", running=False)
    with pytest.raises(errors.InstanceOver):
        operate(cli, operation, {"instance": number, "attempt": 2} | more)
