"""Loading: the real file, the same file again, a change, what is skipped, dry-run, replay of a request, many rows."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from tests.instruments.work import DATES, GOOD, HOURS, SAMPLE, a_desk, a_session, counts, file, stored, text
from tests.kill.fleet import done, dump, verified

#: What the exchanges publish as the value of one tick of one contract.
PUBLISHED = {
    ("CME", "ES"): ("12.50", "USD"),
    ("CME", "NQ"): ("5.00", "USD"),
    ("NYMEX", "CL"): ("10.00", "USD"),
    ("COMEX", "GC"): ("10.00", "USD"),
    ("CME", "6E"): ("6.25", "USD"),
    ("CME", "6J"): ("6.25", "USD"),
    ("CBOT", "ZN"): ("15.625", "USD"),
    ("EUREX", "FDAX"): ("25.00", "EUR"),
}


@pytest.mark.operation("instrument load", "session load", "currency add")
def test_the_real_file_loads_and_every_tick_is_worth_what_the_exchange_publishes(cli, database):
    result = a_desk(cli)
    assert {name: result[name] for name in ("rows_read", "new", "changed", "unchanged", "refused")} == {
        "rows_read": 33, "new": 33, "changed": 0, "unchanged": 0, "refused": 0,
    }  # fmt: skip
    assert [(row["line"], row["outcome"]) for row in result["rows"]] == [(n, "NEW") for n in range(2, 35)]
    for (exchange, symbol), (value, currency) in PUBLISHED.items():
        shown = done(cli("instrument", "show", symbol, "--exchange", exchange)).json["result"]
        assert (Decimal(shown["tick_value"]), shown["currency"]) == (Decimal(value), currency)
        assert isinstance(shown["tick_value"], str)
    assert counts(database)[:2] == (33, 33)
    assert verified(cli)["event_rows"] == 33 + 26


def test_every_value_is_stored_as_the_file_has_it(cli, database):
    import csv

    a_desk(cli)
    with SAMPLE.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    texts = ("exchange", "symbol", "asset_class", "description", "currency", "session", "venue_symbol")
    amounts = ("tick_size", "point_value", "min_qty", "min_notional", "max_qty", "lot_size", "price_magnifier")
    expected = [(*(row[n] for n in texts), 1, *(row[n] or None for n in amounts)) for row in rows]
    assert stored(database) == sorted(expected, key=lambda row: row[:3])


def test_a_second_load_makes_no_change_and_writes_no_event_but_is_an_entry(cli, database):
    a_desk(cli)
    before, rows = dump(database, without=("audit_log", "audit_head", "requests")), counts(database)
    again = done(cli("instrument", "load", SAMPLE)).json
    assert again["result"]["summary"].startswith("0 changes; 33 row(s): 33 unchanged")
    assert (again["result"]["unchanged"], again["result"]["new"]) == (33, 0)
    assert dump(database, without=("audit_log", "audit_head", "requests")) == before
    assert counts(database) == (rows[0], rows[1], rows[2] + 1)
    sessions = done(cli("session", "load", HOURS, "--dates", DATES)).json["result"]
    assert (sessions["summary"], sessions["unchanged"]) == ("0 changes; 26 session(s)", 26)
    assert dump(database, without=("audit_log", "audit_head", "requests")) == before
    verified(cli)


def test_a_number_written_in_another_way_is_no_change(cli, database, home):
    a_desk(cli)
    other = text({"tick_size": "2.50e-1", "point_value": "50.0", "lot_size": "1.000", "price_magnifier": ""})
    result = done(cli("instrument", "load", file(home, other))).json["result"]
    assert (result["unchanged"], result["changed"]) == (1, 0)
    assert counts(database)[1] == 33


def test_a_changed_tick_shows_before_and_after_in_the_answer_the_table_and_the_event(cli, database, home):
    a_desk(cli)
    path = file(home, text({"tick_size": "0.5", "max_qty": "250"}))
    table = done(cli("instrument", "load", path, "--dry-run", "--output", "table")).stdout
    assert "max_qty none → 250" in " ".join(table.split())
    assert "tick_size 0.25 → 0.5" in " ".join(table.split())
    assert "DRY RUN" in table
    assert counts(database)[1] == 33

    result = done(cli("instrument", "load", path)).json["result"]
    (row,) = result["rows"]
    assert (row["line"], row["outcome"], row["detail"]) == (2, "CHANGED", "max_qty none → 250; tick_size 0.25 → 0.5")
    assert row["changes"] == [
        {"field": "max_qty", "before": None, "after": "250"},
        {"field": "tick_size", "before": "0.25", "after": "0.5"},
    ]
    (event,) = done(cli("instrument", "events", "ES", "--limit", "1")).json["result"]["events"]
    assert (event["action"], event["before"]["tick_size"], event["after"]["tick_size"]) == ("CHANGED", "0.25", "0.5")
    assert (event["before"]["max_qty"], event["after"]["max_qty"]) == (None, "250")
    assert event["source_sha256"] == result["source_sha256"]
    assert done(cli("instrument", "show", "ES")).json["result"]["tick_value"] == "25"
    # The 32 others are not in the file: they stay.
    assert counts(database)[:2] == (33, 34)
    verified(cli)


def test_the_entry_names_the_file_by_its_hash(cli, database):
    import hashlib

    a_desk(cli)
    (entry,) = done(cli("audit", "tail", "--limit", "1")).json["result"]["entries"]
    what = json.loads(database.sql("SELECT canonical FROM audit_log ORDER BY seq DESC LIMIT 1")[0][0])["what"]
    assert entry["action"] == "instrument load"
    assert what["target"]["source_sha256"] == hashlib.sha256(SAMPLE.read_bytes()).hexdigest()
    assert what["after"]["new"] == 33


def test_one_refused_row_refuses_all_and_every_refused_line_is_named(cli, database, home):
    a_session(cli)
    rows = [{"symbol": f"S{n}"} | ({"tick_size": "0"} if n % 3 == 0 else {}) for n in range(1, 10)]
    path = file(home, text(*rows))
    before = dump(database)
    run = cli("instrument", "load", path)
    assert (run.code, run.stdout, run.error["error_code"]) == (2, "", "ROWS_REFUSED")
    assert run.error["message"] == f"3 of 9 row(s) of {path} are refused, so nothing was loaded"
    assert run.error["missing_requirements"] == [
        f"line {line} (CME/S{line - 1}/future): tick_size: 0 is not above zero" for line in (4, 7, 10)
    ]
    assert "--skip-refused" in " ".join(run.error["next_steps"])
    assert dump(database) == before

    result = done(cli("instrument", "load", path, "--skip-refused")).json["result"]
    assert (result["new"], result["refused"], result["rows_read"]) == (6, 3, 9)
    assert [row["line"] for row in result["rows"] if row["outcome"] == "REFUSED"] == [4, 7, 10]
    assert [row["line"] for row in result["rows"]] == list(range(2, 11))
    assert len(stored(database)) == 6


def test_what_the_database_knows_and_what_the_file_says_are_refused_in_one_answer(cli, home):
    a_session(cli)
    rows = (
        {"symbol": "A", "currency": "XQX"},
        {"symbol": "B", "session": "NO-SUCH"},
        {"symbol": "C", "tick_size": "NaN"},
        {"symbol": "D", "currency": "XXX", "session": "NO-SUCH"},
    )
    run = cli("instrument", "load", file(home, text(*rows)))
    assert run.error["missing_requirements"] == [
        "line 2 (CME/A/future): currency: 'XQX' is neither in ISO 4217 nor declared (`blaidctl currency add`)",
        "line 3 (CME/B/future): session: 'NO-SUCH' is not known (`blaidctl session load`)",
        "line 4 (CME/C/future): tick_size: NaN is not a finite number",
        (
            "line 5 (CME/D/future): currency: 'XXX' is neither in ISO 4217 nor declared (`blaidctl currency add`);"
            " session: 'NO-SUCH' is not known (`blaidctl session load`)"
        ),
    ]


def test_a_thousand_refused_lines_are_listed_and_all_are_counted(cli, home):
    rows = [{"symbol": f"S{n}", "lot_size": "-1"} for n in range(1, 1502)]
    run = cli("instrument", "load", file(home, text(*rows)))
    assert run.error["message"].startswith("1501 of 1501 row(s)")
    assert run.error["message"].endswith("the first 1000 are listed")
    assert len(run.error["missing_requirements"]) == 1000


def test_max_qty_is_never_invented_and_a_load_that_requires_it_refuses_the_row(cli, home):
    a_session(cli)
    path = file(home, text({"symbol": "A"}, {"symbol": "B", "max_qty": "10"}))
    run = cli("instrument", "load", path, "--require-max-qty")
    assert (run.code, run.error["missing_requirements"]) == (
        2,
        ["line 2 (CME/A/future): MAX_QTY_MISSING: max_qty is empty, and this load requires it"],
    )
    done(cli("instrument", "load", path))
    assert done(cli("instrument", "show", "A")).json["result"]["max_qty"] is None
    assert done(cli("instrument", "show", "B")).json["result"]["max_qty"] == "10"


def test_a_request_id_stands_for_the_content_of_the_file(cli, database, home):
    a_session(cli)
    path = file(home, text({}))
    once = ("instrument", "load", path, "--request-id", "load-1")
    first = done(cli(*once)).json
    again = done(cli(*once)).json
    assert (again["replayed"], again["result"]) == (True, first["result"])
    file(home, text({"tick_size": "0.5"}))
    run = cli(*once)
    assert (run.code, run.error["error_code"]) == (4, "REQUEST_ID_REUSED")
    assert counts(database)[1] == 1


def test_a_dry_run_writes_nothing(cli, database):
    a_session(cli)
    done(cli("currency", "add", "USDT", "--places", "6"))
    before = dump(database)
    result = done(cli("instrument", "load", SAMPLE, "--dry-run")).json
    assert (result["dry_run"], result["result"]["new"], result["audit"]) == (True, 33, None)
    assert dump(database) == before
    done(cli("session", "load", HOURS, "--dates", DATES, "--dry-run"))
    assert dump(database) == before


def test_standard_input_is_a_file_too(cli, process, database):
    a_session(cli)
    done(cli("currency", "add", "USDT", "--places", "6"))
    content = SAMPLE.read_text(encoding="utf-8")
    assert done(cli("instrument", "load", "-", stdin=content)).json["result"]["new"] == 33
    assert done(process("instrument", "load", "-", stdin=content)).json["result"]["unchanged"] == 33
    assert counts(database)[0] == 33


def test_both_files_of_a_session_cannot_be_standard_input(cli):
    run = cli("session", "load", "-", "--dates", "-", stdin="x")
    assert (run.code, run.error["error_code"]) == (2, "INVALID_REQUEST")
    assert done(cli("session", "load", "-", stdin=HOURS.read_text(encoding="utf-8"))).json["result"]["new"] == 26


def test_an_older_schema_is_said_before_anything_is_written(blank_database, cli, home):
    del blank_database
    run = cli("instrument", "load", file(home, text({})))
    assert run.code == 8


@pytest.mark.operation("currency list")
def test_currencies_beyond_the_standard_are_declared_once(cli, database):
    assert done(cli("currency", "add", "USDT", "--places", "6")).json["result"]["effect"] == "CREATED"
    assert done(cli("currency", "add", "USDT", "--places", "6")).json["result"]["effect"] == "EXISTS"
    assert cli("currency", "add", "USDT", "--places", "8").error["error_code"] == "ALREADY_EXISTS"
    standard = cli("currency", "add", "USD", "--places", "2")
    assert (standard.code, standard.error["error_code"]) == (4, "ALREADY_EXISTS")
    for code, places in (("usdt", "6"), ("U", "6"), ("A" * 17, "6"), ("USDC", "19"), ("USDC", "-1")):
        assert cli("currency", "add", code, "--places", places).code == 2
    result = done(cli("currency", "list")).json["result"]
    assert [(row["code"], row["places"]) for row in result["currencies"]] == [("USDT", 6)]
    assert result["standard"] > 150
    assert database.sql("SELECT code, places FROM currencies") == [("USDT", 6)]


def test_two_loads_at_once_end_as_one_after_the_other(process, cli, database, home):
    a_session(cli)
    made = [{"symbol": f"S{n:04}"} for n in range(2_000)]
    one = file(home, text(*made), "one.csv")
    other = file(home, text(*({**row, "tick_size": "0.5"} for row in made)), "other.csv")
    longer = {"BLAIDCTL_LOCK_TIMEOUT_S": "60"}
    running = [process.spawn("instrument", "load", path, env=longer) for path in (one, other)]
    ended = [run.communicate(timeout=100) for run in running]
    assert [run.returncode for run in running] == [0, 0], ended
    outcomes = sorted((json.loads(out)["result"]["new"], json.loads(out)["result"]["changed"]) for out, _ in ended)
    assert outcomes == [(0, 2000), (2000, 0)]
    assert counts(database)[:2] == (2000, 4000)
    verified(cli)


def test_the_columns_may_stand_in_any_order_and_the_optional_ones_be_left_out(cli, database, home):
    a_session(cli)
    columns = (
        "min_qty",
        "lot_size",
        "point_value",
        "tick_size",
        "session",
        "currency",
        "asset_class",
        "exchange",
        "symbol",
    )
    done(cli("instrument", "load", file(home, text({}, columns=columns))))
    ((*_, price_magnifier),) = stored(database)
    assert price_magnifier == "1"
    assert GOOD["symbol"] == stored(database)[0][1]
