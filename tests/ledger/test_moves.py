"""A split, a transfer, an exercise: what is held changed without a fill, so no figures until it is resolved."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.kill.fleet import done, refused, verified
from tests.ledger.desk import incomplete
from tests.ledger.work import counts, ledger_desk, rows, take, write
from tests.support.accounts import link

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.commandline import CommandLine, Run
    from tests.support.database import Database

DAY = "2026-01-05"
SPLIT = {"id": "20260105::s1", "activity_type": "SPLIT", "date": DAY, "symbol": "ES", "qty": "9"}
START = "2026-01-02T00:00:00Z"


@pytest.fixture
def desk(cli: CommandLine) -> CommandLine:
    """Two bots of two accounts with capital, the first with a fill of ES, the second with one of NQ."""
    ledger_desk(cli)
    return cli


def traded(desk: CommandLine, home: Path, bot: str = "momo-1", account: str = "ib-1", **change: str) -> None:
    """Give a bot its capital and a fill of the day before the move."""
    flow = ("--kind", "INITIAL", "--amount", "10000", "--currency", "USD", "--at", START)
    done(desk("ledger", "flow", bot, "--account", account, *flow))
    fill = {"bot": bot, "executed_at": "2026-01-04T15:00:00Z", "venue_trade_id": f"{bot}-1", **change}
    done(take(desk, write(home, rows(fill), f"{bot}.csv"), "--history", account=account))


def activities(desk: CommandLine, home: Path, *found: dict[str, Any], account: str = "ib-1") -> Run:
    """Import activities of an account."""
    path = home / "activities.json"
    path.write_text(json.dumps(found))
    return desk("ledger", "import", path, "--format", "alpaca", "--account", account, "--bot", "momo-1", "--history")


def metrics(desk: CommandLine, bot: str = "momo-1", as_of: str = "2026-01-09T00:00:00Z") -> Run:
    return desk("ledger", "metrics", bot, "--as-of", as_of)


def resolve(desk: CommandLine, *moves: str, account: str = "ib-1") -> Run:
    return desk("ledger", "resolve", account, *moves, "--reason", "booked as S1 and S2")


@pytest.mark.operation("ledger resolve")
def test_a_move_stops_the_figures_until_it_is_resolved(desk: CommandLine, home: Path):
    traded(desk, home)
    assert metrics(desk).code == 0
    told = done(activities(desk, home, SPLIT)).json["result"]
    assert (told["moved"], told["skipped"], told["parts_written"]) == (1, 1, 1)
    (event,) = done(desk("ledger", "events", "--account", "ib-1")).json["result"]["events"]
    assert (event["event"], event["severity"], event["bot_id"]) == ("POSITION_MOVED", "SEV2", None)
    assert event["message"] == f"SPLIT of ES on {DAY} (move 20260105::s1) changed a position without an execution"
    assert event["metadata"]["instruments"] == [["CME", "ES", "future"]]
    run = metrics(desk)
    assert incomplete(run) == [
        f"ledger_events: SPLIT of ES on {DAY} (move 20260105::s1) is not accounted for (import {event['import_id']})"
    ]
    assert any("blaidctl ledger resolve ib-1 MOVE" in step for step in run.error["next_steps"])
    resolved = done(resolve(desk, "20260105::s1")).json
    assert resolved["result"]["moves"] == [
        {"move_id": "20260105::s1", "kind": "SPLIT", "symbol": "ES", "day": DAY, "effect": "CREATED"}
    ]
    assert metrics(desk).code == 0
    newest = done(desk("ledger", "events", "--account", "ib-1")).json["result"]["events"][0]
    assert (newest["event"], newest["message"]) == (
        "MOVE_RESOLVED",
        f"SPLIT of ES on {DAY} (move 20260105::s1) is accounted for: booked as S1 and S2",
    )
    verified(desk)


def test_the_same_file_again_tells_of_a_move_once_and_leaves_it_resolved(
    desk: CommandLine, database: Database, home: Path
):
    traded(desk, home)
    done(activities(desk, home, SPLIT, SPLIT))
    done(resolve(desk, "20260105::s1"))
    assert done(resolve(desk, "20260105::s1")).json["result"]["moves"][0]["effect"] == "EXISTS"
    again = done(activities(desk, home, SPLIT, SPLIT)).json["result"]
    assert (again["moved"], again["parts_written"], counts(database)["ledger_events"]) == (2, 0, 2)
    assert metrics(desk).code == 0
    later = done(activities(desk, home, SPLIT, {**SPLIT, "id": "20260106::s2", "date": "2026-01-06"})).json["result"]
    assert later["parts_written"] == 1
    (line,) = incomplete(metrics(desk))
    assert "SPLIT of ES on 2026-01-06 (move 20260106::s2)" in line


@pytest.mark.parametrize(
    ("change", "as_of", "concerns"),
    [
        ({}, "2026-01-09T00:00:00Z", True),
        ({}, "2026-01-05T00:00:00Z", True),
        ({}, "2026-01-04T23:59:59Z", False),
        ({"date": "2026-01-01"}, "2026-01-09T00:00:00Z", False),
        ({"date": "2026-01-02"}, "2026-01-09T00:00:00Z", True),
        ({"date": None}, "2026-01-04T23:59:59Z", True),
        ({"symbol": "NQ"}, "2026-01-09T00:00:00Z", False),
        ({"symbol": "NOBODY-KNOWS"}, "2026-01-09T00:00:00Z", True),
        ({"symbol": None}, "2026-01-09T00:00:00Z", True),
        ({"symbol": "NQ", "activity_type": "MA"}, "2026-01-09T00:00:00Z", True),
        ({"symbol": "NQ", "activity_type": "ACATS"}, "2026-01-09T00:00:00Z", False),
    ],
    ids=str,
)
def test_whom_a_move_concerns(desk: CommandLine, home: Path, change: dict[str, Any], as_of: str, concerns: bool):  # noqa: FBT001 - a table
    """Its day, from the starting capital on; its instrument; what nobody knows or what is renamed may be any."""
    traded(desk, home)
    done(activities(desk, home, SPLIT | change))
    assert metrics(desk, as_of=as_of).code == (4 if concerns else 0)


def test_a_move_of_one_account_is_none_of_another(desk: CommandLine, home: Path):
    traded(desk, home)
    traded(desk, home, bot="carry-2", account="ib-2")
    done(activities(desk, home, SPLIT))
    assert (metrics(desk).code, metrics(desk, "carry-2").code) == (4, 0)
    error = refused(resolve(desk, "20260105::s1", account="ib-2"), 3, "MOVE_NOT_FOUND")
    assert error["missing_requirements"] == ["move 20260105::s1"]


def test_another_bot_of_the_account_that_trades_it_is_stopped_too(desk: CommandLine, home: Path):
    """Whose position a split changed is not in the file: --bot says whose fills they are."""
    traded(desk, home)
    link(desk, ("idle-3",), "ib-1")
    traded(desk, home, bot="idle-3")
    done(activities(desk, home, SPLIT))
    assert (metrics(desk).code, metrics(desk, "idle-3").code) == (4, 4)


def test_what_cannot_be_resolved_writes_nothing(desk: CommandLine, database: Database, home: Path):
    traded(desk, home)
    done(activities(desk, home, SPLIT))
    before = counts(database)
    error = refused(resolve(desk, "20260105::s1", "20260105::s2"), 3, "MOVE_NOT_FOUND")
    assert "did you mean 20260105::s1" in error["message"]
    refused(resolve(desk, "20260105::s1", account="ib-9"), 3, "ACCOUNT_NOT_FOUND")
    assert desk("ledger", "resolve", "ib-1", "20260105::s1").code == 2, "without a reason"
    refused(desk("ledger", "resolve", "ib-1", "20260105::s1", "--reason", " "), 2, "INVALID_REQUEST")
    assert done(desk("ledger", "resolve", "ib-1", "20260105::s1", "--reason", "a try", "--dry-run")).code == 0
    assert counts(database) == before
    assert metrics(desk).code == 4


def test_a_canceled_activity_moves_nothing_and_one_without_an_id_is_known_by_what_it_says(
    desk: CommandLine, database: Database, home: Path
):
    traded(desk, home)
    nameless = {name: value for name, value in SPLIT.items() if name != "id"}
    told = done(activities(desk, home, {**SPLIT, "status": "canceled"}, nameless)).json["result"]
    assert (told["moved"], counts(database)["ledger_events"]) == (1, 1)
    assert f"(move SPLIT ES {DAY})" in incomplete(metrics(desk))[0]
    done(resolve(desk, f"SPLIT ES {DAY}"))
    assert metrics(desk).code == 0


def test_a_move_of_another_account_is_refused_as_its_fills_are(desk: CommandLine, database: Database, home: Path):
    path = home / "flex.xml"
    row = 'accountId="U-ib-2" symbol="ES" dateTime="20260105;202500" transactionID="7" type="FS"'
    path.write_text(
        f"<FlexQueryResponse><FlexStatements><FlexStatement accountId='U-ib-1'><CorporateActions><CorporateAction {row}"
        " /></CorporateActions></FlexStatement></FlexStatements></FlexQueryResponse>"
    )
    words = ("ledger", "import", path, "--format", "ibkr", "--account", "ib-1", "--bot", "momo-1")
    refused(desk(*words), 6, "CROSS_ACCOUNT_FILL")
    assert counts(database)["ledger_imports"] == 0
