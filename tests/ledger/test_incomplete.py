"""METRICS_INCOMPLETE: whatever is taken away, it is named, every time, and no number stands beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from blaidctl import operations
from tests.ledger.desk import FILLS, NET, figures, incomplete, metrics, unguard, whole
from tests.support import ledger

if TYPE_CHECKING:
    from datetime import datetime

    from tests.support.commandline import CommandLine
    from tests.support.database import Database

MARKED = ("--basis", "MARKED")

#: What is done to a whole ledger → what is named then; each with every line that it must give.
DAMAGE: dict[str, tuple[str, list[str]]] = {
    "no starting capital": (
        "DELETE FROM capital_flows",
        ["capital_flows: no INITIAL flow of momo-1 on ib-1"],
    ),
    "starting capital too late": (
        "UPDATE capital_flows SET at = '2026-01-05T15:30:30.000000Z'",
        ["trades: fill F1 of 2026-01-05T15:30:00.000000Z lies before the starting capital"],
    ),
    "a rate of a result's day": (
        "DELETE FROM fx_rates WHERE at = '2026-01-07T08:00:00.000000Z'",
        ["fx_rates: EUR → USD on 2026-01-07 (needed by fill F4 of 2026-01-07T09:00:00.000000Z and 1 more)"],
    ),
    "a rate of a fee's day": (
        "DELETE FROM fx_rates WHERE at = '2026-01-05T08:00:00.000000Z'",
        ["fx_rates: EUR → USD on 2026-01-05 (needed by fill F2 of 2026-01-05T15:31:00.000000Z"],
    ),
    "every rate": (
        "DELETE FROM fx_rates",
        [f"fx_rates: EUR → USD on 2026-01-{day} " for day in ("05", "06", "07")],
    ),
    "an instrument": (
        "DELETE FROM instruments WHERE symbol = 'ES'",
        ["instruments: CME ES future (needed by fill F1 of 2026-01-05T15:30:00.000000Z and 2 more)"],
    ),
    "a fee": (
        "UPDATE trades SET fee = NULL, fee_8 = NULL, fee_currency = NULL WHERE venue_trade_id = 'F3'",
        ["trades.fee: fill F3 of 2026-01-06T15:30:00.000000Z does not say its fee, and its import was not declared"],
    ),
    "an opening fill": (
        "DELETE FROM trades WHERE venue_trade_id = 'F2'",
        [
            "trades: import 1 (test.csv) wrote 5 fill(s), 4 are there",
            "trades: fill F4 of 2026-01-07T09:00:00.000000Z closes a lot that was never opened, on a long-only account",
            "trades.reported_pnl: fill F4 of 2026-01-07T09:00:00.000000Z: 15 reported, 0 by FIFO from the fills",
        ],
    ),
    "a closing fill": (
        "DELETE FROM trades WHERE venue_trade_id = 'F5'",
        ["trades: import 1 (test.csv) wrote 5 fill(s), 4 are there"],
    ),
    "every fill": (
        "DELETE FROM trades",
        [
            "trades: no fill of momo-1 on ib-1 up to 2026-01-09",
            "trades: import 1 (test.csv) wrote 5 fill(s), 0 are there",
        ],
    ),
    "the import that fills came with": (
        "DELETE FROM ledger_imports",
        ["ledger_imports: import 1, which fills say they came with"],
    ),
    "parts of a file": (
        "UPDATE ledger_imports SET part = 2, parts = 3, file_sha256 = '" + "e" * 64 + "'",
        [
            f"ledger_imports: part 1 of 3 of test.csv (sha256 {'e' * 64})",
            f"ledger_imports: part 3 of 3 of test.csv (sha256 {'e' * 64})",
        ],
    ),
    "a result that was reported": (
        "UPDATE trades SET reported_pnl = '15.01' WHERE venue_trade_id = 'F4'",
        ["trades.reported_pnl: fill F4 of 2026-01-07T09:00:00.000000Z: 15.01 reported, 15 by FIFO from the fills"],
    ),
    "a result reported where nothing closed": (
        "UPDATE trades SET reported_pnl = '1' WHERE venue_trade_id = 'F1'",
        ["trades.reported_pnl: fill F1 of 2026-01-05T15:30:00.000000Z: 1 reported, 0 by FIFO from the fills"],
    ),
    "a mark": (
        "DELETE FROM marks WHERE symbol = 'SAP' AND at < '2026-01-06'",
        ["marks: XETRA SAP equity on 2026-01-05 (needed by an open position)"],
    ),
    "every mark": (
        "DELETE FROM marks",
        [
            "marks: CME ES future on 2026-01-05 ", "marks: CME ES future on 2026-01-06 ",
            "marks: CME ES future on 2026-01-07 ", "marks: XETRA SAP equity on 2026-01-05 ",
            "marks: XETRA SAP equity on 2026-01-06 ",
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGE)
def test_what_is_taken_away_is_named_and_there_is_no_number(cli: CommandLine, database: Database, what: str):
    whole(database)
    assert figures(metrics(cli, *MARKED))["net"] == NET
    unguard(database)
    statement, expected = DAMAGE[what]
    database.sql(statement)
    missing = incomplete(metrics(cli, *MARKED))
    for line in expected:
        assert [found for found in missing if found.startswith(line)], (line, missing)
    assert incomplete(metrics(cli, *MARKED, command="equity")) == missing


def test_every_needed_row_is_named_whichever_is_taken_away(cli: CommandLine, database: Database):
    whole(database)
    unguard(database)
    tables = {
        "trades": "trades: import 1 ",
        "ledger_imports": "ledger_imports: import 1,",
        "capital_flows": "capital_flows: ",
        "fx_rates": "fx_rates: EUR → USD on ",
        "marks": "marks: ",
    }
    for table, named in tables.items():
        for row in database.sql(f"SELECT * FROM {table} ORDER BY id"):
            database.sql(f"DELETE FROM {table} WHERE id = ?", (row[0],))
            missing = incomplete(metrics(cli, *MARKED))
            assert [line for line in missing if line.startswith(named)], (table, row, missing)
            holes = ", ".join(["CAST(? AS jsonb)" if isinstance(value, dict) else "?" for value in row])
            database.sql(f"INSERT INTO {table} VALUES ({holes})".replace("VALUES", _overriding(database)), row)
    for symbol in ("ES", "SAP"):
        database.sql("UPDATE instruments SET symbol = 'gone' WHERE symbol = ?", (symbol,))
        assert any(
            f" {symbol} " in line for line in incomplete(metrics(cli, *MARKED)) if line.startswith("instruments")
        )
        database.sql("UPDATE instruments SET symbol = ? WHERE symbol = 'gone'", (symbol,))
    assert figures(metrics(cli, *MARKED))["net"] == NET


def _overriding(database: Database) -> str:
    return "OVERRIDING SYSTEM VALUE VALUES" if database.kind == "postgresql" else "VALUES"


def test_everything_that_is_missing_is_named_at_once_with_what_mends_it(cli: CommandLine, database: Database):
    ledger.desk(database, long_only=True)
    ledger.fills(
        database,
        [
            ledger.sell("1", "4000", venue_trade_id="S1", fee=None),
            ledger.buy("1", "3900", "2026-01-06", venue_trade_id="S2", fee="1", fee_currency="EUR"),
        ],
        sequence=3,
        parts=2,
    )
    ledger.fills(database, [], sequence=7)
    run = metrics(cli)
    missing = incomplete(run)
    kinds = {line.partition(":")[0] for line in missing}
    assert kinds == {"ledger_imports", "capital_flows", "trades", "trades.fee", "fx_rates"}
    assert "ledger_imports: sequences 4 to 6" in missing
    steps = " ".join(run.error["next_steps"])
    for command in ("ledger flow", "ledger import", "--no-fee", "ledger rate", "runbooks/wrong-pnl.md"):
        assert command in steps, command
    assert f"{len(missing)} missing" in run.error["message"]


def test_an_empty_ledger_is_no_flat_one(cli: CommandLine, database: Database):
    ledger.desk(database)
    ledger.flow(database, "INITIAL", "10000", at="2026-01-02")
    assert incomplete(metrics(cli)) == ["trades: no fill of momo-1 on ib-1 up to 2026-01-09"]
    whole(database, account="ib-2", bot="carry-2")
    assert incomplete(metrics(cli, "--as-of", "2026-01-03T00:00:00Z", bot="carry-2")) == [
        "trades: no fill of carry-2 on ib-2 up to 2026-01-03"
    ]


def test_a_short_is_a_short_where_the_account_is_not_long_only(cli: CommandLine, database: Database):
    ledger.desk(database)
    ledger.flow(database, "INITIAL", "10000", at="2026-01-02")
    ledger.fills(database, [ledger.sell("1", "4000"), ledger.buy("1", "3999", "2026-01-06")])
    assert figures(metrics(cli))["net"] == "50"


def test_a_file_that_was_declared_to_be_without_fees_needs_none(cli: CommandLine, database: Database):
    rows = [{**row, "fee": None} for row in FILLS]
    whole(database, rows, no_fee=1)
    assert figures(metrics(cli))["fees"] == "0"


@pytest.mark.parametrize(
    ("numbers", "missing"),
    [
        ((5, 6, 7), []),
        ((1, 3), ["ledger_imports: sequence 2"]),
        ((2, 9), ["ledger_imports: sequences 3 to 8"]),
        ((1, 3, 5), ["ledger_imports: sequence 2", "ledger_imports: sequence 4"]),
    ],
)
def test_a_gap_in_a_sequence_of_imports_is_named(
    cli: CommandLine, database: Database, numbers: tuple[int, ...], missing: list[str]
):
    whole(database)
    for number in numbers:
        ledger.fills(database, [], sequence=number)
    assert (incomplete(metrics(cli)) if missing else []) == missing
    if not missing:
        assert figures(metrics(cli))["net"] == NET


def test_a_file_that_was_imported_again_in_other_parts_is_whole(cli: CommandLine, database: Database):
    whole(database, file_sha256="a" * 64, part=1, parts=3)
    assert len(incomplete(metrics(cli))) == 2
    for part in (1, 2):
        ledger.fills(database, [], file_sha256="a" * 64, part=part, parts=2)
    assert figures(metrics(cli))["net"] == NET


def test_a_mark_is_needed_only_on_days_on_which_the_market_trades(cli: CommandLine, database: Database):
    whole(database)
    for weekday in range(5):
        database.sql(
            "INSERT INTO session_hours (session, weekday, state, opens, closes) VALUES ('ALWAYS', ?, 'market', ?, ?)",
            (weekday, "09:00:00", "17:00:00"),
        )
    # Bought on a Friday, looked at on a Sunday: the mark of Friday stands.
    for number, (day, price) in enumerate([("08", "3991"), ("09", "3992")]):
        ledger.mark(database, price, at=f"2026-01-{day}T21:00")
        ledger.fills(database, [ledger.buy("1", "3990", f"2026-01-{day}T10:00", venue_trade_id=f"W{number}", fee="0")])
    words = (*MARKED, "--as-of", "2026-01-11T12:00:00Z")
    assert figures(metrics(cli, *words))["unrealized"] == "200"
    late = incomplete(metrics(cli, *MARKED, "--as-of", "2026-01-12T12:00:00Z"))
    assert late == ["marks: CME ES future on 2026-01-12 (needed by an open position)"]


def blocked(tx: object, bot_id: str, account_id: str, first_at: datetime, last_at: datetime) -> list[str]:
    """Stand for a capability above that knows of a gap."""
    del tx
    return [f"provider_events: feed of {bot_id} on {account_id} was blocked, {first_at:%m-%d} to {last_at:%m-%d}"]


def test_what_a_capability_above_knows_makes_the_numbers_incomplete(
    cli: CommandLine, database: Database, monkeypatch: pytest.MonkeyPatch
):
    whole(database)
    monkeypatch.setattr(operations, "METRICS_CHECKS", (f"{__name__}:blocked",))
    monkeypatch.setattr("blaidctl.ledger.incomplete.resolve", lambda _reference: blocked)
    assert incomplete(metrics(cli)) == ["provider_events: feed of momo-1 on ib-1 was blocked, 01-02 to 01-09"]


def test_a_thousand_and_more_fills_are_named_as_far_as_it_goes_and_all_counted(cli: CommandLine, database: Database):
    ledger.desk(database)
    ledger.flow(database, "INITIAL", "10000", at="2026-01-02")
    ledger.fills(database, [ledger.buy("1", "4000", fee=None) for _ in range(1_003)])
    missing = incomplete(metrics(cli))
    assert len(missing) == 1_001
    assert missing[-1] == "trades.fee: 3 more, each does not say its fee, and its import was not declared --no-fee"
