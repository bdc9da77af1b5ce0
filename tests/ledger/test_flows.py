"""`ledger flow`, `ledger rate`, `ledger mark`: recorded once, exactly; what puts a flow right: test_corrections.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.instruments.work import file
from tests.kill.fleet import done, dump, entries, refused, verified
from tests.ledger.work import AT, flow, ledger_desk, now

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.commandline import CommandLine
    from tests.support.database import Database


@pytest.fixture
def desk(cli: CommandLine) -> CommandLine:
    ledger_desk(cli)
    return cli


@pytest.mark.operation("ledger flow")
def test_capital_is_recorded_exactly_and_the_initial_one_once(desk: CommandLine, database: Database):
    words = ("--account", "ib-1", "--kind", "INITIAL", "--amount", "25000.0000000000000001", "--currency", "USD")
    first = done(desk("ledger", "flow", "momo-1", *words, "--at", AT)).json["result"]
    assert (first["amount"], first["effect"]) == ("25000.0000000000000001", "CREATED")
    assert done(flow(desk, "INITIAL", "25000.0000000000000001")).json["result"] == first | {"effect": "EXISTS"}
    error = refused(flow(desk, "INITIAL", "25000"), 4, "LEDGER_CONFLICT")
    assert error["missing_requirements"] == [
        "recorded: INITIAL 25000.0000000000000001 USD at 2026-01-05T15:00:00.000000Z",
        "asked for: INITIAL 25000 USD at 2026-01-05T15:00:00.000000Z",
    ]
    assert error["next_steps"][0].endswith("The same command with `--replaces 1` puts it right.")
    for _ in range(2):
        done(flow(desk, "DEPOSIT", "5"))  # two deposits: nothing says that they are one
        done(flow(desk, "WITHDRAWAL", "7", "--external-id", "W1"))
        done(flow(desk, "FEE", "-0.05", "--external-id", "F1", "--note", "given back"))
    refused(flow(desk, "WITHDRAWAL", "8", "--external-id", "W1"), 4, "LEDGER_CONFLICT")
    kinds = database.sql("SELECT kind, count(*) FROM capital_flows GROUP BY kind ORDER BY kind")
    assert kinds == [("DEPOSIT", 2), ("FEE", 1), ("INITIAL", 1), ("WITHDRAWAL", 1)]
    assert sum("capital_flows" in entry["events"] for entry in entries(database)) == 5
    verified(desk)


def test_a_flow_that_cannot_be_is_refused_and_nothing_is_written(desk: CommandLine, database: Database):
    before = {k: v for k, v in dump(database).items() if k not in {"audit_log", "audit_head"}}
    for run, code, error_code, reason in (
        (flow(desk, "DEPOSIT", "0"), 2, "INVALID_REQUEST", "is not zero"),
        (flow(desk, "DEPOSIT", "-5"), 2, "INVALID_REQUEST", "what is taken out is a WITHDRAWAL"),
        (flow(desk, "DEPOSIT", "NaN"), 2, "INVALID_REQUEST", "not a finite number"),
        (flow(desk, "DEPOSIT", "5", "--currency", "QQQ"), 2, "INVALID_REQUEST", "QQQ is not a known currency"),
        (flow(desk, "DEPOSIT", "5", "--at", now(3600)), 2, "INVALID_REQUEST", "lies in the future"),
        (flow(desk, "DEPOSIT", "5", "--at", "2026-01-05T15:00:00"), 2, "INVALID_REQUEST", "needs an offset or Z"),
        (flow(desk, "DEPOSIT", "5", bot="nobody"), 3, "BOT_NOT_FOUND", "nobody"),
        (flow(desk, "DEPOSIT", "5", account="ib-9"), 3, "ACCOUNT_NOT_FOUND", "ib-9"),
        (flow(desk, "DEPOSIT", "5", account="ib-b"), 6, "CROSS_USER_FILL", "account ib-b to user bob"),
        (flow(desk, "DEPOSIT", "5", account="ib-2"), 4, "NOT_LINKED", "never was linked to account ib-2"),
    ):
        assert reason in refused(run, code, error_code)["message"]
    assert {k: v for k, v in dump(database).items() if k not in {"audit_log", "audit_head"}} == before
    verified(desk)


@pytest.mark.operation("ledger rate")
def test_a_rate_is_recorded_once_and_another_one_is_a_conflict(desk: CommandLine, database: Database, home: Path):
    words = ("--at", AT, "--source", "ECB")
    assert done(desk("ledger", "rate", "EUR", "USD", "1.0841", *words)).json["result"]["rows_new"] == 1
    assert done(desk("ledger", "rate", "EUR", "USD", "1.08410", *words)).json["result"]["rows_known"] == 1
    error = refused(desk("ledger", "rate", "EUR", "USD", "1.0842", *words), 4, "LEDGER_CONFLICT")
    assert "EUR USD 2026-01-05T15:00:00.000000Z: 1.0842 here, 1.0841 in row 1 of fx_rates" in error["message"]
    for bad in (("EUR", "EUR", "1"), ("EUR", "QQQ", "1"), ("EUR", "USD", "0"), ("EUR", "USD", "x"), ("EUR",)):
        refused(desk("ledger", "rate", *bad, *words), 2, "INVALID_REQUEST")
    head = "base,quote,at,rate,source\n"
    good = f"{head}EUR,USD,{AT},1.0841,ECB\nGBP,USD,{AT},1.25,ECB\nGBP,USD,2026-01-06T15:00:00Z,1.26,ECB\n"
    path = file(home, good, "rates.csv")
    loaded = done(desk("ledger", "rate", "--file", path)).json["result"]
    assert (loaded["rows_read"], loaded["rows_new"], loaded["rows_known"]) == (3, 2, 1)
    assert done(desk("ledger", "rate", "--file", "-", stdin=good)).json["result"]["rows_new"] == 0
    wrong = f"{head}EUR,USD,2026-01-05T15:00:00,1,ECB\nEUR,QQQ,{AT},-1,\nEUR,USD\nEUR,JPY,{AT},160,ECB\n"
    cut = refused(desk("ledger", "rate", "--file", "-", stdin=good.rstrip("\n")), 2, "ROWS_REFUSED")
    assert "without a line end" in cut["message"]
    refusal = refused(desk("ledger", "rate", "--file", file(home, wrong, "wrong.csv")), 2, "ROWS_REFUSED")
    assert [line.partition(":")[0] for line in refusal["missing_requirements"]] == [
        "line 2",
        "line 3",
        "line 3",
        "line 4",
    ]
    unknown = refused(
        desk("ledger", "rate", "--file", file(home, f"{head}EUR,QQQ,{AT},1,ECB\n", "u.csv")), 2, "ROWS_REFUSED"
    )
    assert unknown["missing_requirements"][0].startswith("line 2: quote: 'QQQ' is neither in ISO 4217 nor declared")
    twice = f"{head}CHF,USD,{AT},1,ECB\nCHF,USD,{AT},2,ECB\n"
    clash = refused(desk("ledger", "rate", "--file", file(home, twice, "twice.csv")), 4, "LEDGER_CONFLICT")
    assert "line 3: CHF USD 2026-01-05T15:00:00.000000Z: 2 here, 1 in line 2" in clash["message"]
    assert len(database.sql("SELECT id FROM fx_rates")) == 3
    verified(desk)


@pytest.mark.operation("ledger mark")
def test_a_mark_belongs_to_a_known_instrument(desk: CommandLine, database: Database, home: Path):
    words = ("--at", AT, "--source", "settlement")
    done(desk("ledger", "mark", "CME", "ES", "6870.25", *words))
    done(desk("ledger", "mark", "--at", "2026-01-06T21:00:00Z", "--source", "settlement", "--", "CME", "ES", "-37.63"))
    refused(desk("ledger", "mark", "CME", "ES", "6870.5", *words), 4, "LEDGER_CONFLICT")
    refused(desk("ledger", "mark", "CME", "NOPE", "1", *words), 3, "INSTRUMENT_NOT_FOUND")
    refused(desk("ledger", "mark", "CME", "ES", "0", *words), 2, "INVALID_REQUEST")
    refused(desk("ledger", "mark", "CME", "ES", *words), 2, "INVALID_REQUEST")
    both = refused(desk("ledger", "mark", "CME", "ES", "1", *words, "--file", "x.csv"), 2, "INVALID_REQUEST")
    assert "takes either a file or exchange" in both["message"]
    head = "exchange,symbol,asset_class,at,price,source\n"
    good = f"{head}CME,ES,future,{AT},6870.25,settlement\nCME,NQ,,{AT},25000,settlement\n"
    loaded = done(desk("ledger", "mark", "--file", file(home, good, "marks.csv"))).json["result"]
    assert (loaded["rows_new"], loaded["rows_known"]) == (1, 1)
    bad = f"{head}CME,ES,,{now(3600)},1,x\nCME,NOPE,,{AT},1,x\n"
    error = refused(desk("ledger", "mark", "--file", file(home, bad, "bad.csv")), 2, "ROWS_REFUSED")
    assert "line 2: at: " in error["missing_requirements"][0]
    assert error["missing_requirements"][1].startswith("line 3: no instrument CME NOPE")
    assert database.sql("SELECT symbol, asset_class FROM marks ORDER BY id") == [
        ("ES", "future"), ("ES", "future"), ("NQ", "future"),
    ]  # fmt: skip
    verified(desk)
