"""`ledger reconcile`: what a broker or a backend says, beside what the ledger holds, to the last digit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.ledger.desk import FEES, FILLS, GROSS, NET, SAP, figures, metrics, whole
from tests.support import ledger

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.commandline import CommandLine, Run
    from tests.support.database import Database

TOTALS = {"gross": GROSS, "fees": FEES, "net": NET, "equity": "10004.665", "fills": 5, "closed_trades": 2}


def as_told(row: dict[str, Any]) -> dict[str, Any]:
    """Return a fill as a statement tells it."""
    told = {**ledger.ES, "fee_currency": "USD", **row}
    told["executed_at"] = ledger.moment(told["executed_at"])
    if "reported_pnl" in told:
        told["realized_pnl"] = told.pop("reported_pnl")
    return told


def statement(**changes: Any) -> dict[str, Any]:
    """Return a statement that says of the whole ledger what is so."""
    whole_one = {
        "account": "U-ib-1", "bot": "momo-1", "fills": [as_told(row) for row in FILLS], "totals": TOTALS,
        "positions": [],
    }  # fmt: skip
    return {name: value for name, value in {**whole_one, **changes}.items() if value is not None}


def reconciled(cli: CommandLine, home: Path, said: Any, *words: str) -> Run:
    file = home / "statement.json"
    file.write_text(said if isinstance(said, str) else json.dumps(said), encoding="utf-8")
    return cli("ledger", "reconcile", str(file), "--account", "ib-1", *words)


def differences(run: Run) -> list[tuple[str, str, str | None, str | None, str | None]]:
    assert run.code == 1, run.stderr or run.stdout
    assert run.error["error_code"] == "LEDGER_DIFFERS"
    found = run.json["result"]
    assert (found["agrees"], found["count"]) == (False, len(found["differences"]))
    return [(d["difference"], d["what"], d["field"], d["ledger"], d["statement"]) for d in found["differences"]]


@pytest.mark.operation("ledger reconcile")
def test_a_statement_that_says_what_is_so_agrees(cli: CommandLine, database: Database, home: Path):
    whole(database)
    found = figures(reconciled(cli, home, statement()))
    assert (found["agrees"], found["differences"]) == (True, [])
    assert (found["compared"]["fills there"], found["compared"]["fills here"], found["compared"]["totals"]) == (5, 5, 6)
    assert found["compared"]["fields"] > 40
    assert (found["input_hash"] or "") == figures(metrics(cli, "--as-of", found["until"]))["input_hash"]
    assert cli("ledger", "reconcile", "-", "--account", "ib-1", stdin=json.dumps(statement())).code == 0


FIRST = as_told(FILLS[0])


@pytest.mark.parametrize(
    ("field", "said", "here"),
    [
        ("quantity", "2.00000001", "2"),
        ("price", "3999.75", "4000"),
        ("side", "SELL", "BUY"),
        ("fee", "4.3", "4.2"),
        ("fee_currency", "EUR", "USD"),
        ("executed_at", "2026-01-05T15:30:00.000001Z", "2026-01-05T15:30:00.000000Z"),
        ("symbol", "NQ", "ES"),
        ("symbol", "E-S", "ES"),
        ("exchange", "CBOT", "CME"),
        ("asset_class", "equity", "future"),
        ("bot", "momo-2", "momo-1"),
        ("order_id", "O-1", None),
        ("instance", "7", None),
        ("currency", "EUR", "USD"),
    ],
)
def test_each_field_that_differs_is_listed_with_both_sides(
    cli: CommandLine, database: Database, home: Path, *, field: str, said: str, here: str | None
):
    whole(database)
    fills = [{**FIRST, field: said}, *map(as_told, FILLS[1:])]
    run = reconciled(cli, home, statement(fills=fills, totals=None, positions=None))
    assert differences(run) == [("FIELD", "fill F1", field, here, said)]


def test_a_result_is_compared_fill_by_fill(cli: CommandLine, database: Database, home: Path):
    whole(database)
    fills = [as_told(row) for row in FILLS]
    fills[3]["realized_pnl"] = "15.01"
    run = reconciled(cli, home, statement(fills=fills, totals=None, positions=None))
    assert differences(run) == [("FIELD", "fill F4", "realized_pnl", "15", "15.01")]


def test_what_is_missing_on_either_side_is_listed(cli: CommandLine, database: Database, home: Path):
    whole(database)
    extra = {**as_told(FILLS[4]), "venue_trade_id": "F6"}
    run = reconciled(cli, home, statement(fills=[*map(as_told, FILLS[1:]), extra], totals=None))
    assert differences(run) == [
        ("MISSING_THERE", "fill F1", None, "BUY 2 ES at 4000, 2026-01-05T15:30:00.000000Z", None),
        ("MISSING_HERE", "fill F6", None, None, "SELL 1 ES at 3990, 2026-01-08T15:30:00.000000Z"),
    ]


def test_a_fill_that_was_taken_back_is_not_here(cli: CommandLine, database: Database, home: Path):
    whole(database)
    wrong = ledger.buy("1", "4000", "2026-01-08T16:00", venue_trade_id="X1", fee="1")
    ledger.fills(database, [wrong])
    back = ledger.sell("1", "4000", "2026-01-08T16:00", venue_trade_id="X2", fee="-1", reverses="X1")
    ledger.fills(database, [back])
    assert reconciled(cli, home, statement()).code == 0
    run = reconciled(cli, home, statement(fills=[*map(as_told, FILLS), as_told(wrong)], totals=None, positions=None))
    (found,) = differences(run)
    assert found[:4] == ("MISSING_HERE", "fill X1", None, "reversed")


@pytest.mark.parametrize("name", TOTALS)
def test_each_total_that_differs_is_listed(cli: CommandLine, database: Database, home: Path, name: str):
    whole(database)
    value = TOTALS[name]
    said = value + 1 if isinstance(value, int) else f"{value}1"
    if "." not in str(said) and isinstance(said, str):
        said = f"{value}.1"
    run = reconciled(cli, home, statement(fills=None, totals={name: said}))
    assert differences(run) == [("TOTAL", "total", name, str(value), str(said))]


def test_positions_are_compared_on_both_sides(cli: CommandLine, database: Database, home: Path):
    whole(database)
    held = [{**ledger.ES, "quantity": "1"}, {**SAP, "quantity": "9.5"}]
    until = {"until": "2026-01-06T23:00:00+00:00", "fills": None, "totals": None}
    assert differences(reconciled(cli, home, statement(positions=held, **until))) == [
        ("POSITION", "XETRA SAP equity", "quantity", "10", "9.5")
    ]
    assert differences(reconciled(cli, home, statement(positions=[], **until))) == [
        ("POSITION", "CME ES future", "quantity", "1", "0"),
        ("POSITION", "XETRA SAP equity", "quantity", "10", "0"),
    ]


def test_a_month_is_compared_with_a_month(cli: CommandLine, database: Database, home: Path):
    whole(database)
    part = statement(fills=[as_told(row) for row in FILLS[2:4]], totals=None, positions=None)
    words = ("--since", "2026-01-06T00:00:00Z", "--until", "2026-01-07T23:59:59Z")
    assert figures(reconciled(cli, home, part, *words))["compared"]["fills here"] == 2
    assert len(differences(reconciled(cli, home, part))) == 3
    run = reconciled(cli, home, statement(totals=None, positions=None), *words)
    assert (run.code, len(run.error["missing_requirements"])) == (2, 3)


def test_the_pnl_of_one_instance_is_the_backend_s_to_the_last_digit(cli: CommandLine, database: Database, home: Path):
    ledger.desk(database)
    instances = [
        database.sql(
            "INSERT INTO bot_instances (bot_id, account_id, status, host, attempt, started_at, stopped_at,"
            " stop_confirmed_at, stop_reason) VALUES ('momo-1', 'ib-1', 'STOPPED', 'h', 1, ?, ?, ?, 'EXITED')"
            " RETURNING id",
            (ledger.SINCE,) * 3,
        )[0][0]
        for _ in range(2)
    ]
    ledger.flow(database, "INITIAL", "1000", at="2026-01-02")
    rows = [
        (instances[0], ledger.buy("0.00000003", "4000.25", venue_trade_id="A1", fee="0.00000001")),
        (instances[1], ledger.buy("1", "4000", "2026-01-05T16:00", venue_trade_id="B1")),
        (instances[0], ledger.sell("0.00000003", "4000.5", "2026-01-06", venue_trade_id="A2", fee="0.00000001")),
    ]
    ledger.fills(database, [{**row, "instance_id": instance} for instance, row in rows])
    mine = [as_told({**row, "instance": str(i)}) for i, row in rows if i == instances[0]]
    totals = {"gross": "0.000000375", "fees": "0.00000002", "net": "0.000000355"}
    said = statement(instance=instances[0], fills=mine, totals=totals, positions=[])
    assert figures(reconciled(cli, home, said))["instance"] == instances[0]
    totals["net"] = "0.0000003550000001"
    assert differences(reconciled(cli, home, {**said, "totals": totals})) == [
        ("TOTAL", "total", "net", "0.000000355", "0.0000003550000001")
    ]


def test_a_statement_of_another_account_is_refused(cli: CommandLine, database: Database, home: Path):
    whole(database)
    whole(database, [{**FILLS[0], "venue_trade_id": "Z1"}], account="ib-2", bot="carry-2")
    for said in (
        statement(account="ib-2"),
        statement(fills=[{**FIRST, "account": "U-ib-2"}, *map(as_told, FILLS[1:])]),
    ):
        run = reconciled(cli, home, said)
        assert (run.code, run.stdout, run.error["error_code"]) == (6, "", "CROSS_ACCOUNT_FILL")
    # And fills of the other account are no difference of this one.
    assert reconciled(cli, home, statement()).code == 0


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        ("", "FILE_INVALID", "no statement"),
        ("{}", "FILE_INVALID", "which account"),
        ('{"account": "ib-1"}', "FILE_INVALID", "nothing that could be compared"),
        ('{"account": "ib-1", "fills": []}', "FILE_INVALID", "nothing that could be compared"),
        ('{"account": "ib-1", "bot": "momo-1", "totals": {}}', "FILE_INVALID", "nothing that could be compared"),
        (
            '{"account": "ib-1", "bot": "momo-1", "totals": {"net": null}}',
            "FILE_INVALID",
            "nothing that could be compared",
        ),
        ('{"account": "ib-1", "totals": {}, "fills": [{}]}', "ROWS_REFUSED", "cannot be compared"),
        ('{"account": "ib-1", "account": "ib-2", "positions": []}', "FILE_INVALID", "twice"),
        ('{"account": "ib-1", "nonsense": 1, "positions": []}', "FILE_INVALID", "no statement"),
        ('{"account": "ib-1", "bot": "momo-1", "totals": {"net": 1e400}}', "FILE_INVALID", "no statement"),
        ('{"account": "ib-1", "bot": "momo-1", "totals": {"net": "NaN"}}', "FILE_INVALID", "no statement"),
        ('{"account": "ib-1", "positions": []', "FILE_INVALID", "no statement"),
        ("[" * 100_000, "FILE_INVALID", "too deep"),
        ('{"account": "ib-1", "totals": {"net": "1"}}', "INVALID_REQUEST", "of a bot"),
        ('{"account": "ib-1", "until": "2199-01-01T00:00:00Z", "positions": []}', "INVALID_REQUEST", "future"),
        ('{"account": "ib-1", "since": "2026-01-01", "positions": []}', "FILE_INVALID", "no statement"),
    ],
)  # fmt: skip
def test_what_is_no_statement_is_refused(
    cli: CommandLine, sqlite_database: Database, home: Path, *, said: str, code: str, words: str
):
    whole(sqlite_database)
    run = reconciled(cli, home, said)
    assert (run.code, run.stdout, run.error["error_code"]) == (2, "", code), run.stderr
    assert words in run.error["message"]


def test_a_file_of_fills_is_a_statement_too_and_an_empty_one_is_refused(
    cli: CommandLine, database: Database, home: Path
):
    whole(database)
    names = ["venue_trade_id", "executed_at", "symbol", "side", "quantity", "price", "realized_pnl"]
    lines = [",".join(names), *(",".join(as_told(row).get(name, "") for name in names) for row in FILLS)]
    file = home / "fills.csv"
    file.write_text("\n".join([*lines, ""]), encoding="utf-8")
    words = ("ledger", "reconcile", str(file), "--account", "ib-1", "--format", "csv")
    assert figures(cli(*words))["agrees"] is True
    file.write_text(lines[0] + "\n", encoding="utf-8")
    run = cli(*words)
    assert (run.code, run.error["error_code"]) == (2, "FILE_INVALID")
    assert "empty statement" in run.error["message"]


def test_totals_are_not_compared_with_an_incomplete_ledger(cli: CommandLine, database: Database, home: Path):
    whole(database)
    database.drop_triggers()
    database.sql("DELETE FROM fx_rates")
    run = reconciled(cli, home, statement())
    assert (run.code, run.stdout, run.error["error_code"]) == (4, "", "METRICS_INCOMPLETE")
    assert reconciled(cli, home, statement(totals=None, positions=None)).code == 0
