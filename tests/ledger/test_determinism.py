"""The same inputs give the same bytes: whatever the order of rows, hash seed, time zone, locale or engine."""

from __future__ import annotations

import concurrent.futures
import json
import random
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from tests.ledger.desk import FILLS, SAP, figures, metrics, whole
from tests.support import ledger

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.commandline import CommandLine, ProcessCommandLine
    from tests.support.database import Database

ZONES = ("UTC", "America/New_York", "Asia/Kolkata", "Pacific/Chatham")
SEEDS = 32
WORDS = ("--basis", "MARKED", "--by-day", "--by-month", "--trace-id", "a" * 32)


def book() -> list[dict[str, Any]]:
    """Return fills of two markets, many of one moment, on the days for which there is everything."""
    dice = random.Random(7)  # noqa: S311 - the same book every time
    rows = list(FILLS)
    for n in range(120):
        day = dice.choice(["05", "06", "07"])
        at = f"2026-01-{day}T{dice.randrange(10, 12)}:{dice.randrange(3):02}"
        price = str(Decimal(4000) + Decimal(dice.randrange(-40, 40)) / 4)
        fee = str(Decimal(dice.randrange(1, 99)) / 10)
        key = SAP if n % 3 == 0 else ledger.ES
        number = f"R{dice.randrange(10**9):09}-{n}"
        make = ledger.buy if dice.random() < 0.6 else ledger.sell
        canonical = {"price": format(Decimal(price).normalize(), "f"), "fee": format(Decimal(fee).normalize(), "f")}
        rows.append(make("1", at=at, venue_trade_id=number, fee_currency="EUR", **canonical, **key))
    return [{**row, "reported_pnl": None} for row in rows]


def written(database: Database, rows: list[dict[str, Any]], parts: int) -> Database:
    """Write the book in so many imports."""
    whole(database, [])
    database.drop_triggers()
    database.sql("UPDATE broker_accounts SET long_only = 0")
    for day in ("05", "06", "07", "08"):
        ledger.mark(database, "202.5", at=f"2026-01-{day}T20:00", key=SAP)
    ledger.mark(database, "4001.25", at="2026-01-08T21:00")
    ledger.rate(database, "EUR", "USD", "1.11", at="2026-01-08T08:00")
    size = -(-len(rows) // parts)
    for start in range(0, len(rows), size):
        ledger.fills(database, rows[start : start + size])
    return database


def told(found: dict[str, Any]) -> dict[str, Any]:
    """Return a result without how many acts and imports it took."""
    tables = {name: count for name, count in found["source_tables"].items() if name != "ledger_imports"}
    return {**found, "version": None, "source_tables": tables}


@pytest.mark.parametrize("lot_method", ["FIFO", "AVERAGE"])
def test_the_order_and_the_batches_of_rows_mean_nothing_on_either_engine(
    cli: CommandLine,
    sqlite_database: Database,
    postgres_database: Database,
    make_database: Callable[..., Database],
    lot_method: str,
):
    rows = book()
    answers = []
    for number, database in enumerate(
        [sqlite_database, postgres_database, make_database("sqlite"), make_database("postgresql")]
    ):
        shuffled = list(rows)
        random.Random(number).shuffle(shuffled)  # noqa: S311 - as above
        written(database, shuffled, parts=(1, 7, 13, 2)[number])
        run = metrics(cli, *WORDS, "--lot-method", lot_method, database=database)
        answers.append(told(figures(run)))
        curve = metrics(cli, *WORDS[:2], "--lot-method", lot_method, command="equity", database=database)
        answers[-1]["points"] = figures(curve)["points"]
    assert answers[0]["fills"] == len(rows)
    assert [answer["input_hash"] for answer in answers] == [answers[0]["input_hash"]] * 4
    assert answers[1:] == answers[:1] * 3


@pytest.mark.timeout(300)
def test_the_same_bytes_under_every_hash_seed_time_zone_and_locale(process: ProcessCommandLine, database: Database):
    written(database, book(), parts=3)

    def ask(seed: int) -> str:
        settings = {
            "PYTHONHASHSEED": str(seed),
            "TZ": ZONES[seed % len(ZONES)],
            "LC_ALL": ("C", "C.UTF-8")[seed // 4 % 2],
        }
        run = metrics(process, *WORDS, env=settings, timeout=120)
        assert run.code == 0, run.stderr
        return run.stdout

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(ask, range(SEEDS)))
    assert len(set(answers)) == 1
    assert len(json.loads(answers[0])["result"]["days"]) == 5


_OF_F1 = "WHERE venue_trade_id = 'F1'"


@pytest.mark.parametrize(
    ("what", "statement", "leaf"),
    [
        ("a fill by one tick", f"UPDATE trades SET price = '4000.25', price_8 = 400025000000 {_OF_F1}", "trades"),
        ("a fee", "UPDATE trades SET fee = '4.3', fee_8 = 430000000 WHERE venue_trade_id = 'F1'", "trades"),
        ("a microsecond", f"UPDATE trades SET executed_at = '2026-01-05T15:30:00.000001Z' {_OF_F1}", "trades"),
        ("a rate", "UPDATE fx_rates SET rate = '1.2' WHERE at > '2026-01-07'", "fx_rates"),
        ("a mark", "UPDATE marks SET price = '4006' WHERE symbol = 'ES'", "marks"),
        ("a point value", "UPDATE instruments SET point_value = '51' WHERE symbol = 'ES'", "instruments"),
        ("a flow", "UPDATE capital_flows SET amount = '10000.01'", "capital_flows"),
        ("who may be short", "UPDATE broker_accounts SET long_only = 0", "question"),
    ],
)  # fmt: skip
def test_one_change_of_an_input_changes_its_hash_and_no_other(
    cli: CommandLine, database: Database, what: str, statement: str, leaf: str
):
    whole(database, [{**row, "reported_pnl": None} for row in FILLS])
    before = figures(metrics(cli, "--basis", "MARKED"))
    database.drop_triggers()
    database.sql(statement)
    after = figures(metrics(cli, "--basis", "MARKED"))
    assert before["input_hash"] != after["input_hash"], what
    assert {name for name in before["inputs"] if before["inputs"][name] != after["inputs"][name]} == {leaf}
