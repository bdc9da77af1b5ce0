"""Looking instruments up: full names, candidates, filters, out of use and back, events, HTTP."""

from __future__ import annotations

import pytest

from tests.http.desk import answer, problem, same_as_cli
from tests.instruments.work import SAMPLE, a_desk, counts, file, text
from tests.kill.fleet import done, verified

KEY = ("exchange", "symbol", "asset_class")


@pytest.fixture
def ready(cli):
    a_desk(cli)
    return cli


@pytest.mark.operation("instrument show")
def test_a_symbol_of_several_instruments_must_be_named_fully(ready):
    run = ready("instrument", "show", "BTCUSD")
    assert (run.code, run.error["error_code"]) == (4, "AMBIGUOUS_INSTRUMENT")
    assert run.error["missing_requirements"] == ["COINBASE BTCUSD crypto", "KRAKEN BTCUSD crypto"]
    run = ready("instrument", "show", "BTCUSDT", "--exchange", "BINANCE")
    assert run.error["missing_requirements"] == ["BINANCE BTCUSDT crypto", "BINANCE BTCUSDT cryptofuture"]
    for asset_class, tick in (("crypto", "0.01"), ("cryptofuture", "0.1")):
        full = ("BTCUSDT", "--exchange", "BINANCE", "--asset-class", asset_class)
        shown = done(ready("instrument", "show", *full)).json["result"]
        assert [shown[name] for name in KEY] == ["BINANCE", "BTCUSDT", asset_class]
        assert shown["tick_size"] == tick


def test_an_unknown_symbol_names_the_closest(ready):
    run = ready("instrument", "show", "ethusdd")
    assert (run.code, run.error["error_code"]) == (3, "INSTRUMENT_NOT_FOUND")
    assert "did you mean" in run.error["message"]
    assert "ETHUSD" in run.error["message"]
    assert ready("instrument", "show", "ES", "--exchange", "CBOT").error["error_code"] == "INSTRUMENT_NOT_FOUND"
    assert ready("instrument", "events", "NOPE").error["error_code"] == "INSTRUMENT_NOT_FOUND"
    assert ready("instrument", "deactivate", "NOPE").code == 3


@pytest.mark.operation("instrument list")
def test_the_list_is_narrowed_and_says_how_many_it_leaves_out(ready):
    everything = done(ready("instrument", "list")).json["result"]
    keys = [tuple(row[name] for name in KEY) for row in everything["instruments"]]
    assert (len(keys), everything["total"], everything["not_listed"]) == (33, 33, 0)
    assert keys == sorted(keys)
    cme = done(ready("instrument", "list", "--exchange", "CME", "--limit", "2")).json["result"]
    assert [row["symbol"] for row in cme["instruments"]] == ["6B", "6E"]
    assert (cme["total"], cme["not_listed"]) == (9, 7)
    assert done(ready("instrument", "list", "BTCUSD")).json["result"]["total"] == 2
    assert done(ready("instrument", "list", "--asset-class", "equity")).json["result"]["instruments"] == []
    assert ready("instrument", "list", "--limit", "0").code == 2
    for row in everything["instruments"]:
        assert all(isinstance(row[name], str) for name in ("tick_size", "point_value", "tick_value", "lot_size"))


@pytest.mark.operation("instrument deactivate")
def test_out_of_use_keeps_the_row_and_a_load_does_not_bring_it_back(ready, database, home):
    first = done(ready("instrument", "deactivate", "VX", "--reason", "no data")).json["result"]
    assert (first["effect"], first["is_active"]) == ("APPLIED", False)
    again = done(ready("instrument", "deactivate", "VX")).json["result"]
    assert again["effect"] == "ALREADY_IN_STATE"
    assert counts(database)[:2] == (33, 34)
    assert done(ready("instrument", "list", "--exchange", "CFE")).json["result"]["total"] == 0
    assert done(ready("instrument", "list", "--exchange", "CFE", "--inactive")).json["result"]["total"] == 1
    assert done(ready("instrument", "show", "VX")).json["result"]["is_active"] is False

    result = done(ready("instrument", "load", SAMPLE)).json["result"]
    assert (result["unchanged"], result["inactive"], result["reactivated"]) == (33, 1, 0)
    # A change of its values is taken, and it stays out of use.
    row = {
        "symbol": "VX",
        "exchange": "CFE",
        "description": "VIX futures",
        "point_value": "1000",
        "session": "FUTURE-CFE-VX",
    }
    done(ready("instrument", "load", file(home, text(row | {"tick_size": "0.01"}))))
    shown = done(ready("instrument", "show", "VX")).json["result"]
    assert (shown["is_active"], shown["tick_value"]) == (False, "10")

    result = done(ready("instrument", "load", SAMPLE, "--reactivate")).json["result"]
    assert (result["reactivated"], result["unchanged"]) == (1, 32)
    assert done(ready("instrument", "show", "VX")).json["result"]["is_active"] is True
    events = done(ready("instrument", "events", "VX")).json["result"]["events"]
    assert [event["action"] for event in events] == ["REACTIVATED", "CHANGED", "DEACTIVATED", "LOADED"]
    assert [event["after"]["is_active"] for event in events] == [True, False, False, True]
    assert events[2]["before"]["is_active"] is True
    assert events[2]["source_sha256"] is None
    verified(ready)


@pytest.mark.operation("instrument events")
def test_events_are_read_newest_first_and_narrowed(ready):
    events = done(ready("instrument", "events", "--limit", "5")).json["result"]["events"]
    assert [event["id"] for event in events] == [33, 32, 31, 30, 29]
    assert all(event["action"] == "LOADED" and event["before"] is None for event in events)
    es = done(ready("instrument", "events", "ES")).json["result"]["events"]
    assert [(e["exchange"], e["after"]["tick_size"], e["what"]) for e in es] == [
        ("CME", "0.25", "tick 0.25, point 50 USD")
    ]
    assert done(ready("instrument", "events", "--exchange", "EUREX")).json["result"]["events"][0]["symbol"] == "FESX"
    # Both exchanges' events of a symbol: reading needs no full name.
    assert len(done(ready("instrument", "events", "BTCUSD")).json["result"]["events"]) == 2


def test_with_nothing_loaded_the_list_is_empty_and_a_load_needs_sessions(cli):
    assert done(cli("instrument", "list")).json["result"] == {"instruments": [], "total": 0, "not_listed": 0}
    assert done(cli("session", "list")).json["result"] == {"sessions": []}
    run = cli("instrument", "load", SAMPLE)
    assert (run.code, len(run.error["missing_requirements"])) == (2, 33)


def test_the_pictures_fit_a_terminal_of_80_columns(ready, home):
    for words in (
        ("instrument", "list"),
        ("instrument", "show", "ES", "--at", "2025-11-27T13:00:00-05:00"),
        ("instrument", "events", "--limit", "5"),
        ("session", "list"),
        ("session", "show", "FUTURE-CME-ES", "--at", "2025-11-27T13:00:00-05:00"),
        ("currency", "list"),
        ("instrument", "load", file(home, text({"tick_size": "0.5", "max_qty": "250", "lot_size": "2"})), "--dry-run"),
    ):
        shown = done(ready(*words, "--output", "table")).stdout
        assert max(map(len, shown.splitlines())) <= 80, shown


# ---- HTTP --------------------------------------------------------------------------------------------------------


@pytest.mark.operation("instrument list", "instrument show")
def test_over_http_it_is_the_same_answer(served, cli):
    a_desk(cli)
    for path, words in (
        ("/api/instruments?exchange=CME&limit=3", ("instrument", "list", "--exchange", "CME", "--limit", "3")),
        (
            "/api/instruments?inactive=true&asset_class=crypto",
            ("instrument", "list", "--inactive", "--asset-class", "crypto"),
        ),
        (
            "/api/instruments/CME/ES?at=2025-11-27T18:00:00Z",
            ("instrument", "show", "ES", "--exchange", "CME", "--at", "2025-11-27T18:00:00Z"),
        ),
        (
            "/api/instruments/BINANCE/BTCUSDT?asset_class=crypto&at=2025-11-27T18:00:00%2B01:00",
            ("instrument", "show", "BTCUSDT", "--exchange", "BINANCE", "--asset-class", "crypto", "--at",
             "2025-11-27T17:00:00Z"),
        ),
    ):  # fmt: skip
        assert answer(served.alice.get(path))["result"] == done(cli(*words)).json["result"]


def test_over_http_the_refusals_are_the_same(served, cli):
    a_desk(cli)
    for path, words, status, code in (
        ("/api/instruments/BINANCE/BTCUSDT", ("BTCUSDT", "--exchange", "BINANCE"), 409, "AMBIGUOUS_INSTRUMENT"),
        ("/api/instruments/CME/NOPE", ("NOPE", "--exchange", "CME"), 404, "INSTRUMENT_NOT_FOUND"),
        ("/api/instruments/CME/ES?at=noon", ("ES", "--exchange", "CME", "--at", "noon"), 422, "INVALID_REQUEST"),
    ):
        response = served.alice.get(path)
        problem(response, status, code)
        same_as_cli(response, cli("instrument", "show", *words))
    problem(served.nobody.get("/api/instruments"), 401, "UNAUTHENTICATED")
    problem(served.alice.get("/api/instruments?limit=0"), 422, "INVALID_REQUEST")
    problem(served.alice.get("/api/instruments?colour=red"), 422, "INVALID_REQUEST")
