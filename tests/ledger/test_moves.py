"""A split, a transfer, an exercise: what is held changed without a fill, so no figures until it is resolved."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from blaidctl.ledger import spool
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


def said(run: Run) -> list[str]:
    """Return the ids of the moves that a refusal of figures names."""
    return [re.search(r"\(move (\S+)\) is not accounted for", line)[1] for line in incomplete(run)]  # type: ignore[index]


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
    move = event["metadata"]["move_id"]
    assert re.fullmatch(r"SPLIT:20260105::s1~[0-9a-f]{12}", move)
    assert event["message"] == f"SPLIT of ES on {DAY} (move {move}) changed a position without an execution"
    run = metrics(desk)
    where = f"(import {event['import_id']})"
    assert incomplete(run) == [f"ledger_events: SPLIT of ES on {DAY} (move {move}) is not accounted for {where}"]
    assert any("`blaidctl ledger resolve ib-1 MOVE --bot momo-1 --reason WHAT`" in s for s in run.error["next_steps"])
    resolved = done(resolve(desk, move)).json
    assert resolved["result"]["moves"] == [
        {"move_id": move, "kind": "SPLIT", "symbol": "ES", "day": DAY, "effect": "CREATED"}
    ]
    assert metrics(desk).code == 0
    newest = done(desk("ledger", "events", "--account", "ib-1")).json["result"]["events"][0]
    assert (newest["event"], newest["message"]) == (
        "MOVE_RESOLVED",
        f"SPLIT of ES on {DAY} (move {move}) is accounted for: booked as S1 and S2",
    )
    verified(desk)


def test_the_same_file_again_tells_of_a_move_once_and_leaves_it_resolved(
    desk: CommandLine, database: Database, home: Path
):
    traded(desk, home)
    done(activities(desk, home, SPLIT, SPLIT))
    (move,) = said(metrics(desk))
    done(resolve(desk, move))
    assert done(resolve(desk, move)).json["result"]["moves"][0]["effect"] == "EXISTS"
    again = done(activities(desk, home, SPLIT, SPLIT)).json["result"]
    assert (again["moved"], again["parts_written"], counts(database)["ledger_events"]) == (1, 0, 2)
    assert "CHANGE A POSITION" not in again["summary"], "nothing is new"
    assert metrics(desk).code == 0


@pytest.mark.parametrize(
    "change", [{"qty": "9.1"}, {"date": "2026-01-06"}, {"activity_type": "JNLS"}, {"id": "20260105::s2"}], ids=str
)
def test_another_word_under_a_known_id_is_another_move(desk: CommandLine, home: Path, change: dict[str, Any]):
    traded(desk, home)
    done(activities(desk, home, SPLIT))
    done(resolve(desk, *said(metrics(desk))))
    later = done(activities(desk, home, SPLIT, SPLIT | change)).json["result"]
    assert later["parts_written"] == 1
    assert len(said(metrics(desk))) == 1


def test_a_number_spelled_otherwise_is_the_same_move_and_no_id_is_a_command(desk: CommandLine, home: Path):
    traded(desk, home)
    odd = {**SPLIT, "id": "$(id);`x`&|*?"}
    done(activities(desk, home, odd, odd | {"qty": "9.0"}, odd | {"qty": 9}))
    (move,) = said(metrics(desk))
    assert re.fullmatch(r"SPLIT:[\w._:=+/@-]+~[0-9a-f]{12}", move)


def test_two_rows_of_one_merger_are_two_moves(desk: CommandLine, home: Path):
    traded(desk, home)
    rows_ = "".join(f'<CorporateAction symbol="{s}" dateTime="20260105" actionID="77" type="TC" />' for s in ("A", "B"))
    text = f'<FlexQueryResponse><FlexStatement accountId="U-ib-1">{rows_}<OptionEAE></OptionEAE></FlexStatement>'
    (home / "flex.xml").write_text(f"{text}</FlexQueryResponse>")
    words = ("--format", "ibkr", "--account", "ib-1", "--bot", "momo-1")
    assert done(desk("ledger", "import", home / "flex.xml", *words)).json["result"]["moved"] == 2
    assert len(said(metrics(desk))) == 2, "and the empty section is none"


@pytest.mark.parametrize(
    ("change", "as_of", "concerns"),
    [
        ({}, "2026-01-09T00:00:00Z", True),
        # Its day is one of some zone: a day early still counts.
        ({}, "2026-01-04T00:00:00Z", True),
        ({}, "2026-01-03T23:59:59Z", False),
        ({"date": "2025-12-31"}, "2026-01-09T00:00:00Z", False),
        ({"date": "2026-01-01"}, "2026-01-09T00:00:00Z", True),
        ({"date": None}, "2026-01-03T00:00:00Z", True),
        ({"date": "2026-19-39"}, "2026-01-03T00:00:00Z", True),
        ({"date": "0000-00-00"}, "2026-01-03T00:00:00Z", True),
        ({"date": 1767010000}, "2026-01-03T00:00:00Z", True),
        ({"date": 20260105}, "2026-01-03T00:00:00Z", False),
        ({"date": None, "transaction_time": "2026-01-05T09:00:00.123Z"}, "2026-01-03T00:00:00Z", False),
        ({"symbol": "NQ"}, "2026-01-09T00:00:00Z", False),
        ({"symbol": "es"}, "2026-01-09T00:00:00Z", True),
        ({"symbol": "ES260619C06000000"}, "2026-01-09T00:00:00Z", True),
        ({"symbol": "ES1260619C06000000"}, "2026-01-09T00:00:00Z", True),
        ({"symbol": "E.S"}, "2026-01-09T00:00:00Z", True),
        ({"symbol": "ES/USD"}, "2026-01-09T00:00:00Z", True),
        ({"symbol": "NOBODY-KNOWS"}, "2026-01-09T00:00:00Z", True),
        ({"symbol": None}, "2026-01-09T00:00:00Z", True),
        ({"symbol": "N\x00Q"}, "2026-01-09T00:00:00Z", True),
        ({"symbol": "\ud800NQ"}, "2026-01-09T00:00:00Z", True),
        ({"symbol": "N" * 100_000}, "2026-01-09T00:00:00Z", True),
        ({"symbol": ["NQ"]}, "2026-01-09T00:00:00Z", True),
        ({"symbol": "NQ", "activity_type": "MA"}, "2026-01-09T00:00:00Z", True),
        ({"symbol": "NQ", "activity_type": "ACATS"}, "2026-01-09T00:00:00Z", False),
        ({"activity_type": "STKDIV"}, "2026-01-09T00:00:00Z", True),
        ({"activity_type": "STKDIV", "qty": "0"}, "2026-01-09T00:00:00Z", False),
        ({"activity_type": "STKDIV", "qty": ["0"]}, "2026-01-09T00:00:00Z", True),
        ({"activity_type": "DIV"}, "2026-01-09T00:00:00Z", False),
        ({"activity_type": "DIV", "activity_sub_type": "SDIV"}, "2026-01-09T00:00:00Z", True),
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_whom_a_move_concerns(desk: CommandLine, home: Path, change: dict[str, Any], as_of: str, concerns: bool):  # noqa: FBT001 - a table
    """Its day, from the starting capital on; its symbol; what nobody knows or what is renamed may be any."""
    traded(desk, home, executed_at="2026-01-02T15:00:00Z")
    done(activities(desk, home, SPLIT | change))
    assert metrics(desk, as_of=as_of).code == (4 if concerns else 0)


def test_an_instrument_that_is_loaded_later_is_concerned_too(desk: CommandLine, home: Path):
    """The symbol is asked about when figures are: at the import only a future had it."""
    done(activities(desk, home, SPLIT))
    header = "symbol,exchange,asset_class,currency,session,tick_size,point_value,lot_size,min_qty\n"
    (home / "more.csv").write_text(f"{header}ES,NYSE,equity,USD,FUTURE-CME-ES,0.01,1,1,1\n")
    done(desk("instrument", "load", home / "more.csv"))
    traded(desk, home, exchange="NYSE", asset_class="equity", symbol="ES", price="60")
    assert len(said(metrics(desk))) == 1


def test_a_move_may_be_resolved_for_one_bot_alone(desk: CommandLine, home: Path):
    traded(desk, home)
    link(desk, ("idle-3",), "ib-1")
    traded(desk, home, bot="idle-3")
    done(activities(desk, home, SPLIT))
    (move,) = said(metrics(desk))
    refused(resolve(desk, move, "--bot", "nobody"), 3, "BOT_NOT_FOUND")
    refused(resolve(desk, move, "--bot", "carry-2"), 4, "NOT_LINKED")
    assert done(resolve(desk, move, "--bot", "momo-1")).json["result"]["bot_id"] == "momo-1"
    assert (metrics(desk).code, metrics(desk, "idle-3").code) == (0, 4)
    assert done(resolve(desk, move)).json["result"]["moves"][0]["effect"] == "CREATED"
    assert metrics(desk, "idle-3").code == 0


def test_the_brokers_positions_say_whether_a_move_is_booked(desk: CommandLine, home: Path):
    """`ledger reconcile` answers before it is resolved: that is what an operator looks at."""
    traded(desk, home)
    done(activities(desk, home, SPLIT))
    position = {"symbol": "ES", "exchange": "CME", "asset_class": "future", "quantity": "2"}
    (home / "statement.json").write_text(json.dumps({"account": "ib-1", "bot": "momo-1", "positions": [position]}))
    words = ("ledger", "reconcile", home / "statement.json", "--account", "ib-1")
    differs = desk(*words)
    assert (differs.code, differs.error["error_code"]) == (1, "LEDGER_DIFFERS"), differs.stderr
    done(take(desk, write(home, rows({"venue_trade_id": "S1"}), "booked.csv")))
    done(desk(*words))
    assert metrics(desk).code == 4, "until somebody says so"


def test_too_many_moves_at_once_are_refused(desk: CommandLine, database: Database, home: Path, monkeypatch):
    monkeypatch.setattr(spool, "MOST_MOVES", 2)
    many = [{**SPLIT, "id": f"s{n}"} for n in range(3)]
    error = refused(activities(desk, home, *many), 2, "ROWS_REFUSED")
    assert "more than 2 changes of positions" in error["message"]
    assert counts(database)["ledger_events"] == 0


@pytest.mark.parametrize("metadata", ["{}", "[]"])
def test_a_row_by_hand_that_names_no_move_resolves_none(desk: CommandLine, database: Database, home: Path, metadata):
    traded(desk, home)
    done(activities(desk, home, SPLIT))
    database.sql(
        "INSERT INTO ledger_events"
        " (act_id, event, severity, account_id, message, metadata, actor, created_at, trace_id)"
        f" SELECT act_id, 'MOVE_RESOLVED', severity, account_id, 'x', '{metadata}', actor, created_at, trace_id"
        " FROM ledger_events"
    )
    assert len(said(metrics(desk))) == 1


def test_a_move_of_one_account_is_none_of_another(desk: CommandLine, home: Path):
    traded(desk, home)
    traded(desk, home, bot="carry-2", account="ib-2")
    done(activities(desk, home, SPLIT))
    assert (metrics(desk).code, metrics(desk, "carry-2").code) == (4, 0)
    (move,) = said(metrics(desk))
    error = refused(resolve(desk, move, account="ib-2"), 3, "MOVE_NOT_FOUND")
    assert error["missing_requirements"] == [f"move {move}"]


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
    (move,) = said(metrics(desk))
    error = refused(resolve(desk, move, f"{move[:-1]}x"), 3, "MOVE_NOT_FOUND")
    assert f"did you mean {move}" in error["message"]
    refused(resolve(desk, move, account="ib-9"), 3, "ACCOUNT_NOT_FOUND")
    assert desk("ledger", "resolve", "ib-1", move).code == 2, "without a reason"
    refused(desk("ledger", "resolve", "ib-1", move, "--reason", " "), 2, "INVALID_REQUEST")
    assert done(desk("ledger", "resolve", "ib-1", move, "--reason", "a try", "--dry-run")).code == 0
    assert counts(database) == before
    assert metrics(desk).code == 4


def test_a_canceled_activity_moves_nothing_and_one_without_an_id_is_known_by_what_it_says(
    desk: CommandLine, database: Database, home: Path
):
    traded(desk, home)
    nameless = {name: value for name, value in SPLIT.items() if name != "id"}
    told = done(activities(desk, home, {**SPLIT, "status": "canceled"}, nameless)).json["result"]
    assert (told["moved"], counts(database)["ledger_events"]) == (1, 1)
    (move,) = said(metrics(desk))
    assert move.startswith("SPLIT:ES~")
    done(resolve(desk, move))
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
