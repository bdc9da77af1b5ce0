"""`ledger metrics` and `ledger equity`: figures with everything that they were made from, and under."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from blaidctl.ledger.curve import Thinned
from tests.ledger.desk import AS_OF, FEES, FILLS, GROSS, NET, figures, metrics, whole
from tests.support import ledger

if TYPE_CHECKING:
    from tests.support.commandline import CommandLine
    from tests.support.database import Database


@pytest.mark.operation("ledger metrics")
def test_every_figure_stands_with_its_conventions_its_sources_and_its_hashes(cli: CommandLine, database: Database):
    whole(database)
    found = figures(cli("ledger", "metrics", ledger.BOT, "--as-of", AS_OF))
    assert (found["net"], found["gross"], found["fees"]) == (NET, GROSS, FEES)
    assert (found["starting_capital"], found["equity"], found["unrealized"]) == ("10000", "10004.665", None)
    assert (found["closed_trades"], found["wins"], found["losses"], found["win_rate"]) == (2, 1, 1, "0.5")
    assert (found["fills"], found["fills_from_floats"], found["fills_after_kill"]) == (5, 0, 0)
    assert (found["since"], found["as_of"]) == ("2026-01-02T00:00:00.000000Z", "2026-01-09T00:00:00.000000Z")
    assert found["source_tables"] == {
        "trades": 5, "reversals": 0, "ledger_imports": 1, "capital_flows": 1, "instruments": 2, "fx_rates": 3,
    }  # fmt: skip
    assert found["conventions"]["time_zone"] == "UTC"
    assert set(found["conventions"]) == {
        "scope", "lot_method", "order", "equity_basis", "first_peak", "drawdown", "flows", "fees", "closed_trade",
        "flip", "fx", "exposure", "return_on_capital", "reversals", "rounding", "time_zone",
    }  # fmt: skip
    assert set(found["inputs"]) == {"question", "trades", "capital_flows", "instruments", "fx_rates"}
    assert all(len(value) == 64 for value in (found["input_hash"], found["output_hash"], *found["inputs"].values()))
    assert (found["code_version"], found["days"], found["months"]) == ("0.1.0", [], [])


def test_what_has_no_value_is_null_and_says_why(cli: CommandLine, database: Database):
    whole(database, FILLS[:4])
    found = figures(metrics(cli))
    assert (found["profit_factor"], found["win_rate"]) == (None, "1")
    assert found["undefined"] == {"profit_factor": "no trade was lost"}


def test_days_and_months_add_up_to_the_whole(cli: CommandLine, database: Database):
    whole(database)
    found = figures(metrics(cli, "--by-day", "--by-month"))
    assert [(day["day"], day["net"], day["closed_trades"]) for day in found["days"]] == [
        ("2026-01-02", "0", 0),
        ("2026-01-05", "-5.85", 0),
        ("2026-01-06", "497.9", 0),
        ("2026-01-07", "14.715", 1),
        ("2026-01-08", "-502.1", 1),
    ]
    (month,) = found["months"]
    assert (month["month"], month["net"], month["flows"], month["equity"]) == ("2026-01", NET, "10000", "10004.665")
    # What is asked for beside the figures does not move their hash.
    assert found["output_hash"] == figures(metrics(cli))["output_hash"]


def test_the_lot_method_and_the_basis_are_part_of_the_question(cli: CommandLine, database: Database):
    whole(database)
    fifo, average, marked = (
        figures(metrics(cli, *words)) for words in ((), ("--lot-method", "AVERAGE"), ("--basis", "MARKED"))
    )
    assert len({found["input_hash"] for found in (fifo, average, marked)}) == 3
    assert average["net"] == NET  # the book is flat
    assert marked["unrealized"] == "0"
    assert (marked["source_tables"]["marks"], marked["equity"]) == (5, "10004.665")
    assert marked["conventions"]["equity_basis"].startswith("MARKED")
    assert {"marks", "trading_days"} <= set(marked["inputs"])


def test_as_of_ends_the_ledger_there_and_a_position_stays_open(cli: CommandLine, database: Database):
    whole(database)
    found = figures(metrics(cli, "--as-of", "2026-01-06T23:00:00+01:00", "--basis", "MARKED"))
    assert found["as_of"] == "2026-01-06T22:00:00.000000Z"
    assert [(p["symbol"], p["quantity"], p["average_price"]) for p in found["positions"]] == [
        ("ES", "1", "4000"),
        ("SAP", "10", "200"),
    ]


def test_midnight_is_the_end_of_the_day_before_and_needs_no_mark_of_its_own(cli: CommandLine, database: Database):
    whole(database)
    words = ("--basis", "MARKED", "--by-day", "--as-of")
    midnight = figures(metrics(cli, *words, "2026-01-07T00:00:00Z"))
    late = figures(metrics(cli, *words, "2026-01-06T23:59:59.999999Z"))
    assert [(day["day"], day["equity"]) for day in midnight["days"]] == [
        (day["day"], day["equity"]) for day in late["days"]
    ]
    assert (midnight["equity"], midnight["unrealized"]) == (late["equity"], late["unrealized"])


def test_as_of_in_the_future_or_without_a_zone_is_refused(cli: CommandLine, database: Database):
    whole(database)
    future = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    for moment in (future, "2026-01-06T12:00:00"):
        run = metrics(cli, "--as-of", moment)
        assert (run.code, run.error["error_code"]) == (2, "INVALID_REQUEST"), moment
        assert "as_of" in run.error["missing_requirements"][0]


def test_a_reversed_fill_and_its_reversal_do_not_count(cli: CommandLine, database: Database):
    whole(database)
    before = figures(metrics(cli))
    wrong = ledger.buy("1", "4000", "2026-01-08T16:00", venue_trade_id="X1", fee="1")
    taken_back = ledger.sell("1", "4000", "2026-01-08T16:00", venue_trade_id="X2", fee="-1", reverses="X1")
    ledger.fills(database, [wrong])
    assert figures(metrics(cli))["net"] != before["net"]
    ledger.fills(database, [taken_back])
    after = figures(metrics(cli))
    assert (after["net"], after["fills"], after["source_tables"]["reversals"]) == (NET, 5, 1)
    assert (after["input_hash"], after["output_hash"]) == (before["input_hash"], before["output_hash"])


def test_one_instance_is_computed_from_its_own_fills(cli: CommandLine, database: Database):
    ledger.desk(database)
    (one,), (two,) = (
        database.sql(
            "INSERT INTO bot_instances (bot_id, account_id, status, host, attempt, started_at, stopped_at,"
            " stop_confirmed_at, stop_reason) VALUES ('momo-1', 'ib-1', 'STOPPED', 'h', 1, ?, ?, ?, 'EXITED')"
            " RETURNING id",
            (ledger.SINCE,) * 3,
        )[0]
        for _ in range(2)
    )
    ledger.flow(database, "INITIAL", "1000", at="2026-01-02")
    ledger.flow(database, "FEE", "7", at="2026-01-03")
    ledger.fills(
        database,
        [
            ledger.buy("1", "4000", venue_trade_id="A1", instance_id=one),
            ledger.sell("1", "4001", "2026-01-06", venue_trade_id="A2", instance_id=one),
            ledger.buy("1", "4000", "2026-01-07", venue_trade_id="B1", instance_id=two),
            ledger.sell("1", "4002", "2026-01-08", venue_trade_id="B2", instance_id=two),
        ],
    )
    nets = [figures(metrics(cli, "--instance", str(i)))["net"] for i in (one, two)]
    assert (nets, figures(metrics(cli))["net"]) == (["50", "100"], "143")
    assert "instance" in figures(metrics(cli, "--instance", str(one)))["conventions"]["scope"]
    run = metrics(cli, "--instance", "999")
    assert (run.code, run.error["error_code"]) == (3, "INSTANCE_NOT_FOUND")


def test_floats_and_fills_after_a_kill_are_counted(cli: CommandLine, database: Database):
    late = {**FILLS[4], "after_kill": 1}
    whole(database, [{**row, "exact": 0} for row in FILLS[:2]] + FILLS[2:4] + [late])
    found = figures(metrics(cli))
    assert (found["fills_from_floats"], found["fills_after_kill"], found["net"]) == (2, 1, NET)


def test_numbers_that_do_not_fit_the_fast_columns_are_as_exact(cli: CommandLine, database: Database):
    whole(database, [{**FILLS[0], "fee": "4.2000000000000001"}, *FILLS[1:]])
    assert figures(metrics(cli))["fees"] == "11.6850000000000001"


def test_a_bot_with_several_accounts_must_name_one(cli: CommandLine, database: Database):
    whole(database)
    database.drop_triggers()  # a second link of a bot comes after the end of the first; here both are plain rows
    database.sql("UPDATE account_links SET unlinked_at = linked_at")
    ledger.desk(database, account="ib-2")
    run = metrics(cli)
    assert (run.code, run.error["missing_requirements"]) == (2, ["account: one of ib-1, ib-2"])
    assert figures(metrics(cli, "--account", "ib-1"))["net"] == NET


def test_an_account_that_the_bot_never_had_and_a_bot_without_one_are_conflicts(cli: CommandLine, database: Database):
    whole(database)
    ledger.desk(database, bots=(), account="ib-9")
    assert cli("bot", "add", "idle-1", "--user", "alice").code == 0
    for run in (metrics(cli, "--account", "ib-9"), metrics(cli, bot="idle-1")):
        assert (run.code, run.error["error_code"]) == (4, "NOT_LINKED")
    assert metrics(cli, "--account", "nothing").error["error_code"] == "ACCOUNT_NOT_FOUND"
    assert metrics(cli, bot="momo-11").error["error_code"] == "BOT_NOT_FOUND"


def test_an_account_s_totals_do_not_move_when_another_s_ledger_does(cli: CommandLine, database: Database):
    whole(database)
    before = metrics(cli, "--by-day", "--trace-id", "a" * 32).stdout
    whole(database, [{**row, "venue_trade_id": f"B-{n}"} for n, row in enumerate(FILLS)], account="ib-2", bot="carry-2")
    ledger.flow(database, "DEPOSIT", "99", bot="carry-2", account="ib-2", at="2026-01-03")
    ledger.fills(database, [ledger.buy("1", "1", fee=None)], bot="carry-2", account="ib-2", sequence=7, parts=3)
    assert metrics(cli, "--by-day", "--trace-id", "a" * 32).stdout == before


def test_the_table_fits_80_columns_and_names_its_parts(cli: CommandLine, database: Database):
    whole(database)
    run = metrics(cli, "--by-day", "--by-month", "--output", "table")
    assert run.code == 0
    assert [line for line in run.stdout.splitlines() if len(line) > 80] == []
    for part in ("drawdowns", "months", "days", "conventions", "source tables", "input hash: "):
        assert any(line.startswith(part) for line in run.stdout.splitlines()), part


def test_csv_is_one_row_of_the_figures(cli: CommandLine, database: Database):
    whole(database)
    (row,) = csv.DictReader(io.StringIO(metrics(cli, "--output", "csv").stdout))
    assert (row["net"], row["bot_id"], row["profit_factor"] != "") == (NET, "momo-1", True)


# ---- the curve -------------------------------------------------------------------------------------------------------


@pytest.mark.operation("ledger equity")
def test_the_curve_has_a_point_for_each_change_and_ends_at_the_figures(cli: CommandLine, database: Database):
    whole(database)
    found = figures(cli("ledger", "equity", ledger.BOT, "--as-of", AS_OF))
    assert [(point["at"][:10], point["equity"], point["drawdown"]) for point in found["points"]] == [
        ("2026-01-02", "10000", "0"),
        ("2026-01-05", "9995.8", "4.2"),
        ("2026-01-05", "9994.15", "5.85"),
        ("2026-01-06", "10492.05", "0"),
        ("2026-01-07", "10506.765", "0"),
        ("2026-01-08", "10004.665", "502.1"),
    ]
    of_metrics = figures(metrics(cli))
    assert (found["total"], found["left_out"], found["equity"]) == (6, 0, "10004.665")
    for name in ("input_hash", "output_hash", "drawdowns", "conventions", "source_tables"):
        assert found[name] == of_metrics[name]
    assert max(point["drawdown"] for point in found["points"]) == of_metrics["max_drawdown"]


def test_a_marked_curve_has_a_point_for_each_day(cli: CommandLine, database: Database):
    whole(database)
    found = figures(metrics(cli, "--basis", "MARKED", command="equity"))
    assert [(point["at"][:10], point["equity"]) for point in found["points"]][-2:] == [
        ("2026-01-07", "10756.765"),
        ("2026-01-08", "10004.665"),
    ]


def test_a_curve_s_table_and_csv_hold_its_points(cli: CommandLine, database: Database):
    whole(database)
    drawn = metrics(cli, "--output", "table", command="equity").stdout
    assert [line for line in drawn.splitlines() if len(line) > 80] == []
    rows = list(csv.DictReader(io.StringIO(metrics(cli, "--output", "csv", command="equity").stdout)))
    assert (len(rows), rows[-1]["equity"], rows[0]["at"]) == (6, "10004.665", "2026-01-02T00:00:00.000000Z")


@pytest.mark.parametrize("count", [5, 10, 11, 999, 12_345])
@pytest.mark.parametrize("piece", [1, 7, 5_000])
def test_a_thinned_curve_keeps_its_ends_its_highest_and_its_deepest_point(count: int, piece: int):
    points = [(f"{n:09}", (n * 7_919) % 1_009, 2_000) for n in range(count)]
    thinned = Thinned(10)
    for start in range(0, count, piece):
        thinned.take(points[start : start + piece], 1)
    kept = thinned.points()
    assert thinned.total == count
    assert len(kept) <= max(10, 10 + 1 + 3)
    assert [point.at for point in kept] == sorted({point.at for point in kept})
    assert (kept[0].at, kept[-1].at) == (points[0][0], points[-1][0])
    assert max(point.equity for point in kept) == max(point[1] for point in points)
    assert max(point.drawdown for point in kept) == max(point[2] - point[1] for point in points)
    if count <= 10:
        assert len(kept) == count
