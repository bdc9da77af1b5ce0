"""`guard` answers yes only when nothing speaks against it; `status` shows the fleet as the tables have it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import freezegun
import pytest

from blaidctl.core.types import time_text
from tests.kill.fleet import BACK, WHY, bots, done, dump, fleet, instance, operate, refused
from tests.support.accounts import linked
from tests.support.jobs import running_jobs

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
    linked(cli, "a1", "a2")
    running = instance(cli, "a1")
    before = dump(database)
    for words in (("a1",), ("a1", "--instance", str(running)), ("a2",)):
        run = done(cli("guard", *words))
        assert (run.json["result"]["answer"], run.json["result"]["reasons"], run.stderr) == ("MAY_TRADE", [], "")
        (blank,) = run.json["result"]["not_checked"]
        assert blank.startswith("provider state: no provider is bound to account alice-paper")
    assert dump(database) == before


def test_a_killed_bot_may_not_trade_until_it_is_resurrected(cli: CommandLine):
    fleet(cli)
    linked(cli, "a1", "a2")
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
    linked(cli, "a1")
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
    by_nobody = r"BOT_KILLED: .*since 2026-03-04T05:06:07.000000Z but no kill event says by whom"
    says_no(cli("guard", "a1"), by_nobody, "NOT_LINKED: bot a1 has no open link to an account")


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
        "reason_code": "SECURITY", "instances_active": 0, "instances_stale": 0, "stops_unconfirmed": 2,
    }  # fmt: skip
    assert (result["not_reported"], result["providers"], result["providers_not_ok"]) == ([], [], 0)
    assert [stop["instance_id"] for stop in result["unconfirmed"]] == [starting, running]

    for number in (running, starting):
        confirmed = {"instance": number, "attempt": 1, "stop_reason": "KILLED", "exit_status": "signal 15"}
        operate(cli, "instance finish", confirmed)
    proven = done(cli("status", "a1")).json["result"]
    assert (proven["stops_unconfirmed"], proven["unconfirmed"]) == (0, [])
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


# ---- what is stale, and what is not proven -------------------------------------------------------------------


def beat(database: Database, instance_id: int, ago_s: int, stale_after_s: int = 60) -> None:
    """Let an instance have beaten so long ago, under this limit."""
    at = time_text(datetime.now(UTC) - timedelta(seconds=ago_s))
    limits = (at, stale_after_s, instance_id)
    database.sql("UPDATE bot_instances SET heartbeat_at = ?, stale_after_s = ? WHERE id = ?", limits)


def test_an_instance_that_is_silent_for_longer_than_it_may_is_stale(cli: CommandLine, database: Database):
    fleet(cli)
    quick, slow, starting, over = (instance(cli, bot, running=bot != "a3") for bot in ("a1", "a2", "a3", "b1"))
    for number in (quick, slow, starting, over):
        beat(database, number, ago_s=40)
    assert done(cli("status")).json["result"]["instances_stale"] == 0
    beat(database, quick, ago_s=40, stale_after_s=30)
    beat(database, starting, ago_s=90)
    beat(database, over, ago_s=90)
    done(cli("kill", "b1", *WHY))
    result = done(cli("status")).json["result"]
    assert (result["instances_active"], result["instances_stale"]) == (3, 2)
    assert {bot["bot_id"]: bot["instances_stale"] for bot in result["bots"]} == {
        "a1": 1, "a2": 0, "a3": 1, "b1": 0, "b2": 0,
    }  # fmt: skip
    database.sql("UPDATE bot_instances SET heartbeat_at = NULL, started_at = ? WHERE id = ?", (LONG_AGO, starting))
    assert done(cli("status", "a3")).json["result"]["instances_stale"] == 1, "no heartbeat at all is no sign of life"


LONG_AGO = "2026-01-01T00:00:00.000000Z"


def test_jobs_that_the_reaper_should_have_ended_are_stale(cli: CommandLine, database: Database):
    assert done(cli("status")).json["result"]["jobs_stale"] == 0
    running_jobs(database, due_in_s=[3600, 60, -1, -3600])
    database.sql(
        "UPDATE jobs SET status = 'FAILED', finished_at = ?, reason_code = 'TIMEOUT' WHERE id = 4", (LONG_AGO,)
    )
    before = dump(database)
    result = done(cli("status")).json["result"]
    assert (result["jobs_running"], result["jobs_stale"]) == (3, 1)
    assert dump(database) == before
    shown = done(cli("status", "--output", "table")).stdout
    assert "jobs running: 3\njobs stale: 1\n" in shown


def test_unconfirmed_stops_are_named_the_latest_first_and_counted_all(cli: CommandLine, database: Database):
    from blaidctl.fleet.service import MOST_UNCONFIRMED

    fleet(cli)
    database.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150)"
        " INSERT INTO bot_instances (bot_id, status, stop_reason, host, pid, attempt, started_at, stopped_at)"
        " SELECT 'a1', 'STOPPED', 'KILLED', 'host-' || i, i, 1, ?, ? FROM n",
        (LONG_AGO, LONG_AGO),
    )
    latest = instance(cli, "b1")
    done(cli("kill", "b1", *WHY))
    result = done(cli("status")).json["result"]
    assert result["stops_unconfirmed"] == 151
    assert len(result["unconfirmed"]) == MOST_UNCONFIRMED == 100
    ((stopped_at,),) = database.sql("SELECT stopped_at FROM bot_instances WHERE id = ?", (latest,))
    assert result["unconfirmed"][0] == {
        "instance_id": latest, "bot_id": "b1", "host": "here", "pid": 4711,
        "stopped_at": stopped_at if isinstance(stopped_at, str) else time_text(stopped_at),
    }  # fmt: skip
    assert result["unconfirmed"][1]["host"] == "host-150"
    assert [stop["bot_id"] for stop in done(cli("status", "b1")).json["result"]["unconfirmed"]] == ["b1"]
    shown = done(cli("status", "--output", "table")).stdout
    assert "\nunconfirmed\n" in shown
    assert re.search(rf"^{latest} +b1 +here +4711 +20", shown, re.MULTILINE)


def test_a_caller_of_one_user_sees_nothing_of_another(cli: CommandLine, database: Database):
    fleet(cli)
    for bot in ("a1", "b1"):
        beat(database, instance(cli, bot), ago_s=90)
        instance(cli, bot.replace("1", "2"))
    running_jobs(database, due_in_s=[60, -1])
    done(cli("kill", "a2", *WHY))
    done(cli("kill", "b2", *WHY))
    result = operate(cli, "status", {}, user_scope="bob").result
    assert [bot["bot_id"] for bot in result["bots"]] == ["b1", "b2"]
    assert [stop["bot_id"] for stop in result["unconfirmed"]] == ["b2"]
    counts = ("instances_active", "instances_stale", "stops_unconfirmed", "jobs_running", "jobs_stale")
    assert [result[name] for name in counts] == [1, 1, 1, None, None]
    assert result["not_reported"] == ["jobs (the whole desk's)", "providers (the whole desk's)"]
    assert (result["providers"], result["providers_not_ok"]) == ([], None)
    whole = operate(cli, "status", {}).result
    assert [whole[name] for name in counts] == [2, 2, 2, 2, 1]


def test_counting_jobs_walks_the_indexes_of_running_jobs(database: Database):
    """A million ended jobs cost nothing: every part of the statement stands on a partial index."""
    from blaidctl.fleet.queries import JOBS_NOW

    text = re.sub(r":now\b", f"'{LONG_AGO}'", str(JOBS_NOW.clause(database.kind)))
    connection = database.raw()
    if database.kind == "sqlite":
        plan = [row[-1] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}")]
    else:
        connection.execute("SET enable_seqscan = off")
        plan = [line for (line,) in connection.execute(f"EXPLAIN {text}")]
    looks = [line for line in plan if re.search(r"\bjobs\b", line)]
    assert len(looks) == 2
    assert all(re.search(r"jobs_(due|heartbeat)\b", line) for line in looks), plan
