"""`guard` answers yes only when nothing speaks against it; `status` shows the fleet as the tables have it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import freezegun
import pytest

from tests.kill.fleet import BACK, WHY, bots, done, dump, fleet, instance, operate, refused

if TYPE_CHECKING:
    from tests.support.commandline import CommandLine, Run
    from tests.support.database import Database


def says_no(run: Run, *reasons: str) -> None:
    """Insist on exit 1, MAY_NOT_TRADE, and exactly these reasons (patterns)."""
    assert (run.code, run.error["error_code"]) == (1, "MAY_NOT_TRADE"), run.stderr
    result = run.json["result"]
    assert result["answer"] == "MAY_NOT_TRADE"
    assert len(result["reasons"]) == len(reasons)
    for said, wanted in zip(result["reasons"], reasons, strict=True):
        assert re.fullmatch(wanted, said), said
    assert run.error["missing_requirements"] == result["reasons"]


@pytest.mark.operation("guard")
def test_a_live_bot_may_trade(cli: CommandLine, database: Database):
    fleet(cli)
    running = instance(cli, "a1")
    before = dump(database)
    for words in (("a1",), ("a1", "--instance", str(running)), ("a2",)):
        run = done(cli("guard", *words))
        assert (run.json["result"]["answer"], run.json["result"]["reasons"], run.stderr) == ("MAY_TRADE", [], "")
        assert any("F-004" in line for line in run.json["result"]["not_checked"])
    assert dump(database) == before


def test_a_killed_bot_may_not_trade_until_it_is_resurrected(cli: CommandLine):
    fleet(cli)
    with freezegun.freeze_time("2026-03-04T05:06:07Z"):
        done(cli("kill", "a1", "--reason-code", "LOSS_LIMIT", "--reason", "down"))
    says_no(cli("guard", "a1"), r"BOT_KILLED: .*since 2026-03-04T05:06:07.000000Z by \S+@\S+ \(LOSS_LIMIT\)")
    done(cli("guard", "a2"))
    done(cli("resurrect", "a1", *BACK))
    done(cli("guard", "a1"))


def test_an_unknown_bot_may_not_trade(cli: CommandLine):
    fleet(cli)
    says_no(cli("guard", "a11"), r"BOT_NOT_FOUND: no bot 'a11' \(did you mean a1.*\?\)")


def test_an_instance_that_is_not_current_may_not_trade(cli: CommandLine):
    fleet(cli)
    mine, other = instance(cli, "a1"), instance(cli, "b1")
    says_no(cli("guard", "a1", "--instance", "99"), "INSTANCE_NOT_FOUND: bot a1 has no instance 99")
    says_no(cli("guard", "a1", "--instance", str(other)), f"INSTANCE_NOT_FOUND: bot a1 has no instance {other}")
    done(cli("kill", "a1", *WHY))
    over = rf"INSTANCE_OVER: instance {mine} is STOPPED \(KILLED\)"
    says_no(cli("guard", "a1", "--instance", str(mine)), "BOT_KILLED: .*", over)
    done(cli("resurrect", "a1", *BACK))
    says_no(cli("guard", "a1", "--instance", str(mine)), over)  # the new life is not the old one's
    done(cli("guard", "a1", "--instance", str(instance(cli, "a1"))))


@pytest.mark.parametrize("words", [(), ("a1", "--instance", "0"), ("a1", "--instance", "x"), ("",)], ids=str)
def test_a_question_that_is_none_is_no_yes(cli: CommandLine, words: tuple[str, ...]):
    fleet(cli)
    assert cli("guard", *words).code == 2


def test_a_guard_that_meets_a_bug_says_no(cli: CommandLine, database: Database, monkeypatch: pytest.MonkeyPatch):
    """No answer is no yes: any exception at all is a reason not to trade."""
    from blaidctl.fleet import service

    bots(database, ["a1"])

    def broken(*_arguments: object, **_named: object) -> object:
        raise ZeroDivisionError

    monkeypatch.setattr(service, "require_bot", broken)
    says_no(cli("guard", "a1"), "INTERNAL: .*ZeroDivisionError.*")


def test_a_state_that_was_set_by_hand_still_says_no(cli: CommandLine, database: Database):
    bots(database, ["a1"])
    database.sql("UPDATE bots SET killed_at = '2026-03-04T05:06:07.000000Z'")
    says_no(cli("guard", "a1"), r"BOT_KILLED: .*since 2026-03-04T05:06:07.000000Z but no kill event says by whom")


@pytest.mark.operation("status")
def test_the_status_counts_what_is_there(cli: CommandLine, database: Database):
    fleet(cli)
    running, starting = instance(cli, "a1"), instance(cli, "a1", running=False)
    instance(cli, "b1")
    before = dump(database)
    result = done(cli("status")).json["result"]
    assert dump(database) == before
    assert (result["live"], result["killed"], result["instances_active"], result["stops_unconfirmed"]) == (5, 0, 3, 0)
    assert [bot["bot_id"] for bot in result["bots"]] == ["a1", "a2", "a3", "b1", "b2"]

    killed = done(cli("kill", "a1", "--reason-code", "SECURITY", "--reason", "x")).json["result"]["bots"][0]
    done(cli("kill", "a1", *WHY))
    result = done(cli("status")).json["result"]
    assert (result["live"], result["killed"], result["instances_active"], result["stops_unconfirmed"]) == (4, 1, 1, 2)
    shown = result["bots"][0]
    assert re.fullmatch(r"\S+@\S+", shown["killed_by"])
    assert shown | {"killed_by": "?"} == {
        "bot_id": "a1", "user_id": "alice", "state": "KILLED", "killed_at": killed["killed_at"], "killed_by": "?",
        "reason_code": "SECURITY", "instances_active": 0, "stops_unconfirmed": 2,
    }  # fmt: skip
    assert any("F-005" in line for line in result["not_reported"])

    for number in (running, starting):
        confirmed = {"instance": number, "attempt": 1, "stop_reason": "KILLED", "exit_status": "signal 15"}
        operate(cli, "instance finish", confirmed)
    assert done(cli("status", "a1")).json["result"]["stops_unconfirmed"] == 0
    done(cli("resurrect", "a1", *BACK))
    (again,) = done(cli("status", "a1")).json["result"]["bots"]
    assert (again["state"], again["killed_at"], again["killed_by"], again["reason_code"]) == ("LIVE", None, None, None)


def test_the_status_of_one_bot_is_that_bots(cli: CommandLine):
    fleet(cli)
    instance(cli, "a1")
    result = done(cli("status", "b1")).json["result"]
    assert ([bot["bot_id"] for bot in result["bots"]], result["live"], result["instances_active"]) == (["b1"], 1, 0)
    refused(cli("status", "nobody"), 3, "BOT_NOT_FOUND")


def test_an_empty_fleet_has_a_status(cli: CommandLine):
    result = done(cli("status")).json["result"]
    assert (result["bots"], result["live"], result["killed"]) == ([], 0, 0)
    assert "(none)" in done(cli("status", "--output", "table")).stdout
