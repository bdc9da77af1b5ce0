"""`ledger import`: what comes in, what comes in once, what is refused with its line, and what is flagged."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

import pytest

from tests.instruments.work import GOOD as INSTRUMENT
from tests.instruments.work import file
from tests.instruments.work import text as instruments
from tests.kill.fleet import BACK, WHY, done, dump, entries, instance, refused, verified
from tests.ledger.work import COLUMNS, counts, ledger_desk, now, rows, stored, take, text, write

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.commandline import CommandLine
    from tests.support.database import Database


@pytest.fixture
def desk(cli: CommandLine) -> CommandLine:
    ledger_desk(cli)
    return cli


def actions(database: Database) -> list[str]:
    """Return what the audit entries say was done or refused, oldest first."""
    return [entry["action"] for entry in entries(database)]


@pytest.mark.operation("ledger import", "ledger import part", "ledger fills", "ledger imports")
def test_fills_come_in_exactly_once_and_as_they_are(desk: CommandLine, database: Database, home: Path):
    path = write(
        home,
        rows(
            {"price": "6870.25", "order_id": "O1", "realized_pnl": "-12.5", "currency": "USD"},
            {"side": "SELL", "quantity": "0.123456789012345678", "fee": "-0.5"},
            {"price": "-37.63", "fee": "", "fee_currency": ""},
        ),
    )
    first = done(take(desk, path)).json
    assert (first["result"]["rows_read"], first["result"]["rows_new"], first["result"]["rows_known"]) == (3, 3, 0)
    assert first["audit"]["seq"] == entries(database)[-1]["seq"]
    listed = done(desk("ledger", "fills", "momo-1")).json["result"]
    assert [(f["venue_trade_id"], f["quantity"], f["price"], f["fee"]) for f in listed["fills"]] == [
        ("T3", "1", "-37.63", None),
        ("T2", "0.123456789012345678", "6870.25", "-0.5"),
        ("T1", "1", "6870.25", "2.25"),
    ]
    assert (listed["fills"][2]["order_id"], listed["fills"][2]["reported_pnl"], listed["total"]) == ("O1", "-12.5", 3)
    assert stored(database, "venue_trade_id, line, exact, after_kill, source, quantity_8, price_8, fee_8") == [
        ("T1", 2, 1, 0, "csv", 100000000, 687025000000, 225000000),
        ("T2", 3, 1, 0, "csv", None, 687025000000, -50000000),
        ("T3", 4, 1, 0, "csv", 100000000, -3763000000, None),
    ]
    before = dump(database)
    again = done(take(desk, path)).json
    assert (again["result"]["rows_new"], again["result"]["rows_known"], again["audit"]) == (0, 3, None)
    assert dump(database) == before, "a file that was imported whole writes nothing more"
    (row,) = done(desk("ledger", "imports", "--account", "ib-1")).json["result"]["imports"]
    assert (row["part"], row["parts"], row["rows_new"], row["source_name"], row["exact"]) == (
        1,
        1,
        3,
        "fills.csv",
        True,
    )
    assert row["file_sha256"] == first["result"]["source_sha256"]
    assert actions(database).count("ledger import part") == 1
    verified(desk)


def test_what_overlaps_is_known_and_only_the_rest_is_new(desk: CommandLine, database: Database, home: Path):
    found = rows({}, {}, {})
    done(take(desk, write(home, found[:2])))
    overlap = done(take(desk, write(home, found[1:], "more.csv"))).json["result"]
    assert (overlap["rows_new"], overlap["rows_known"]) == (1, 1)
    assert stored(database) == [("T1",), ("T2",), ("T3",)]
    # The same fills from a source that says less contradict nothing.
    silent = [row | {"fee": "", "fee_currency": ""} for row in found]
    assert done(take(desk, write(home, silent, "silent.csv"))).json["result"]["rows_known"] == 3
    verified(desk)


def test_standard_input_unicode_and_a_file_without_a_fill(desk: CommandLine, database: Database, home: Path):
    piped = take(desk, "-", stdin=text(rows({"venue_trade_id": "Ä✓"})))
    assert done(piped).json["result"]["source"] == "standard input"
    assert stored(database) == [("Ä✓",)]
    header = done(take(desk, write(home, [], "none.csv"), "--sequence", "1")).json["result"]
    assert (header["rows_read"], header["rows_new"], header["parts"]) == (0, 0, 1)
    empty = refused(take(desk, file(home, b"", "empty.csv")), 2, "FILE_INVALID")
    assert "is empty" in empty["message"]
    verified(desk)


def test_a_dry_run_and_a_request_id_mean_what_they_mean_everywhere(desk: CommandLine, database: Database, home: Path):
    path = write(home, rows({}, {"venue_trade_id": "R", "reverses": "T1", "side": "SELL", "fee": "-2.25"}))
    before = dump(database)
    dry = done(take(desk, path, "--dry-run")).json
    assert (dry["dry_run"], dry["result"]["rows_new"], dry["audit"]) == (True, 2, None)
    assert dump(database) == before
    first = done(take(desk, path, "--request-id", "day-1")).json
    again = done(take(desk, path, "--request-id", "day-1")).json
    assert (first["replayed"], again["replayed"]) == (False, True)
    assert first["result"] == again["result"]
    other = write(home, rows({"venue_trade_id": "X"}), "other.csv")
    refused(take(desk, other, "--request-id", "day-1"), 4, "REQUEST_ID_REUSED")


# ---- conflicts and corrections ---------------------------------------------------------------------------------


def test_a_known_id_with_other_content_is_a_conflict_that_names_both(desk: CommandLine, database: Database, home: Path):
    found = rows({}, {})
    done(take(desk, write(home, found)))
    before = counts(database)
    for name, value in {"price": "6870.5", "quantity": "2", "side": "SELL", "fee": "2.26", "order_id": "O9"}.items():
        changed = [found[0], found[1] | {name: value}, *rows({}, start=3)]
        error = refused(take(desk, write(home, changed, "changed.csv")), 4, "LEDGER_CONFLICT")
        (line,) = error["missing_requirements"]
        assert line.startswith("line 3: fill 'T2' is known as trade 2 of import 1: ")
        assert f"{name} {value} here, " in line
    assert counts(database) == before | {"ledger_events": 5}, "not even the new fill was written"
    event = done(desk("ledger", "events", "--account", "ib-1")).json["result"]["events"][0]
    assert (event["event"], event["severity"], event["error_code"]) == ("REFUSED", "SEV2", "LEDGER_CONFLICT")
    assert event["metadata"]["refused"] == {"LEDGER_CONFLICT": 1}
    verified(desk)


def test_an_id_that_stands_twice_refuses_both_of_its_lines(desk: CommandLine, database: Database, home: Path):
    path = write(home, rows({}, {"venue_trade_id": "T1"}, {}))
    error = refused(take(desk, path), 2, "ROWS_REFUSED")
    assert error["missing_requirements"] == [
        "line 2: venue_trade_id: 'T1' stands on line 3, too",
        "line 3: venue_trade_id: 'T1' stands on line 2, too",
    ]
    assert counts(database)["trades"] == 0


def test_a_reversal_mirrors_its_fill_wherever_it_stands_in_the_file(desk: CommandLine, database: Database, home: Path):
    taken = {"venue_trade_id": "R1", "reverses": "T2", "side": "SELL", "fee": "-2.25"}
    done(take(desk, write(home, rows(taken, {}))))
    assert stored(database, "venue_trade_id, reverses_id") == [("T2", None), ("R1", 1)]
    for change, reason in (
        ({"reverses": "gone"}, "no fill 'gone' is here or in the ledger"),
        ({"reverses": "R1", "side": "BUY"}, "'R1' is a reversal itself"),
        ({"reverses": "T2"}, "'T2' is taken back by 'R1' already"),
        ({"reverses": "T9", "side": "BUY"}, "side BUY, which it should be the opposite of"),
        ({"reverses": "T9", "quantity": "2"}, "quantity 2, not 1"),
        ({"reverses": "T9", "fee": "2.25"}, "fee 2.25 USD, not -2.25 USD"),
    ):
        wrong = {**taken, "venue_trade_id": "R9", **change}
        error = refused(take(desk, write(home, rows(wrong, {"venue_trade_id": "T9"}), "wrong.csv")), 2, "ROWS_REFUSED")
        assert reason in error["missing_requirements"][0]
    verified(desk)


@pytest.mark.operation("ledger reverse")
def test_a_fill_is_taken_back_by_hand_once(desk: CommandLine, database: Database, home: Path):
    done(take(desk, write(home, rows({}, {"fee": "", "fee_currency": ""}))))
    why = ("--reason", "busted by the venue")
    made = done(desk("ledger", "reverse", "ib-1", "T1", *why)).json["result"]
    assert (made["reversal"], made["effect"]) == ("reversal:T1", "CREATED")
    again = done(desk("ledger", "reverse", "ib-1", "T1", *why)).json["result"]
    assert again == made | {"effect": "EXISTS"}
    done(desk("ledger", "reverse", "ib-1", "T2", *why))
    assert stored(database, "venue_trade_id, side, reverses_id") == [
        ("T1", "BUY", None), ("T2", "BUY", None), ("reversal:T1", "SELL", 1), ("reversal:T2", "SELL", 2),
    ]  # fmt: skip
    newest = done(desk("ledger", "fills", "momo-1")).json["result"]["fills"]
    assert {f["venue_trade_id"]: (f["reverses"], f["reversed_by"]) for f in newest}["T1"] == (None, "reversal:T1")
    refused(desk("ledger", "reverse", "ib-1", "reversal:T1", *why), 4, "LEDGER_CONFLICT")
    near = refused(desk("ledger", "reverse", "ib-1", "reversal-T1", *why), 3, "FILL_NOT_FOUND")
    assert "did you mean reversal:T1" in near["message"]
    verified(desk)


# ---- isolation -------------------------------------------------------------------------------------------------


@pytest.mark.operation("ledger import refusal", "ledger events")
def test_what_is_anothers_is_forbidden_with_its_line_and_recorded(desk: CommandLine, database: Database, home: Path):
    cases = [
        ({"account": "ib-2"}, "CROSS_ACCOUNT_FILL", "account: 'ib-2' is not ib-1 (U-ib-1)"),
        ({"account": "U-ib-2"}, "CROSS_ACCOUNT_FILL", "account: 'U-ib-2' is not ib-1 (U-ib-1)"),
        ({"bot": "carry-2"}, "CROSS_ACCOUNT_FILL", "bot carry-2 was linked to account ib-2 at "),
        ({"bot": "b1"}, "CROSS_USER_FILL", "bot b1 belongs to user bob, account ib-1 to alice"),
        ({"bot": "idle-3"}, "UNLINKED_FILL", "bot idle-3 never was linked to account ib-1"),
        ({"executed_at": "2025-01-05T10:00:00Z"}, "UNLINKED_FILL", "bot momo-1 is linked to account ib-1 since "),
    ]
    for change, code, reason in cases:
        error = refused(take(desk, write(home, rows({"account": "U-ib-1"}, change))), 6, code)
        (line,) = error["missing_requirements"]
        assert line.startswith(f"line 3: {reason}")
        found = done(desk("ledger", "events", "--limit", "1")).json["result"]["events"][0]
        assert (found["event"], found["error_code"], found["metadata"]["lines"]) == ("REFUSED", code, [line])
        assert entries(database)[-1]["outcome"] == "REFUSED"
    assert counts(database) == dict.fromkeys(counts(database), 0) | {"ledger_events": len(cases)}
    assert actions(database).count("ledger import refusal") == len(cases)
    done(take(desk, write(home, rows({"account": "U-ib-1"}, {"account": "ib-1"}))))
    verified(desk)


def test_all_that_is_wrong_with_a_file_is_said_at_once_the_gravest_first(desk: CommandLine, home: Path):
    path = write(home, rows({"quantity": "0"}, {"account": "ib-2"}, {"fee_currency": "QQQ"}, {"bot": "b1"}))
    error = refused(take(desk, path), 6, "CROSS_USER_FILL")
    assert [line.partition(":")[0] for line in error["missing_requirements"]] == [
        "line 2",
        "line 3",
        "line 4",
        "line 5",
    ]
    assert "CROSS_ACCOUNT_FILL: " in error["missing_requirements"][1]


def test_a_fill_belongs_to_the_link_of_its_time(desk: CommandLine, database: Database, home: Path):
    done(desk("account", "unlink", "momo-1"))
    late = now(1)
    error = refused(take(desk, write(home, rows({"executed_at": late}))), 6, "UNLINKED_FILL")
    assert f"bot momo-1 was not linked to account ib-1 at {late}" in error["message"]
    ((linked,),) = database.sql("SELECT linked_at FROM account_links WHERE bot_id = 'momo-1'")
    during = linked if isinstance(linked, str) else linked.isoformat()
    done(take(desk, write(home, rows({"executed_at": during}))))


def test_history_takes_what_lies_before_the_first_link_and_nothing_of_anothers(desk: CommandLine, home: Path):
    path = write(home, rows({"executed_at": "2025-01-05T10:00:00Z"}))
    assert done(take(desk, path, "--history")).json["result"]["rows_new"] == 1
    other = write(home, rows({"executed_at": "2025-01-05T10:00:00Z", "bot": "idle-3"}), "other.csv")
    refused(take(desk, other, "--history"), 6, "UNLINKED_FILL")


def test_totals_of_an_account_do_not_move_with_the_ledger_of_another(desk: CommandLine, database: Database, home: Path):
    done(take(desk, write(home, rows({}, {}))))
    mine = database.sql("SELECT count(*), sum(quantity_8), min(id), max(id) FROM trades WHERE account_id = 'ib-1'")
    done(take(desk, write(home, rows({"bot": "carry-2"}), "two.csv"), account="ib-2"))
    assert stored(database, "account_id, venue_trade_id") == [("ib-1", "T1"), ("ib-1", "T2"), ("ib-2", "T1")]
    same = database.sql("SELECT count(*), sum(quantity_8), min(id), max(id) FROM trades WHERE account_id = 'ib-1'")
    assert same == mine


# ---- instruments -----------------------------------------------------------------------------------------------


def test_a_symbol_is_one_instrument_or_refused_with_its_candidates(desk: CommandLine, database: Database, home: Path):
    named = {"exchange": "KRAKEN", "asset_class": "crypto", "symbol": "BTCUSD", "venue_symbol": "XXBTZUSD"}
    crypto = {"currency": "USD", "point_value": "1", "session": INSTRUMENT["session"]}
    more = instruments(
        crypto | named,
        crypto | {"exchange": "BITSTAMP", "asset_class": "crypto", "symbol": "BTCUSD"},
        crypto | {"exchange": "KRAKEN", "asset_class": "cryptofuture", "symbol": "ETHUSD"},
        crypto | {"exchange": "KRAKEN", "asset_class": "crypto", "symbol": "ETHUSD"},
        crypto | {"exchange": "NYSE", "asset_class": "equity", "symbol": "FB"},
        crypto
        | {"exchange": "KRAKEN", "asset_class": "cryptofuture", "symbol": "XBTUSD", "venue_symbol": "XBT/USD:XBT"},
    )
    done(desk("instrument", "load", file(home, more, "more.csv")))
    spelled = {"exchange": "kraken", "asset_class": ""}
    found = rows(
        spelled | {"symbol": "BTC/USD"},
        spelled | {"symbol": "BTC-USD"},
        spelled | {"symbol": "XXBTZUSD"},
        spelled | {"symbol": "ETH/USD:USD"},
        spelled | {"symbol": "ETH/USD", "asset_class": "crypto"},
    )
    done(take(desk, write(home, found)))
    assert [" ".join(row) for row in stored(database, "exchange, symbol, asset_class")] == [
        *["KRAKEN BTCUSD crypto"] * 3, "KRAKEN ETHUSD cryptofuture", "KRAKEN ETHUSD crypto",
    ]  # fmt: skip
    for change, reason in (
        (
            {"symbol": "BTCUSD", "exchange": ""},
            "BTCUSD may be BITSTAMP BTCUSD crypto or COINBASE BTCUSD crypto or KRAKEN",
        ),
        ({"symbol": "ETHUSD"}, "kraken ETHUSD may be KRAKEN ETHUSD crypto or KRAKEN ETHUSD cryptofuture"),
        ({"symbol": "NOPE"}, "no instrument kraken NOPE is known"),
        ({"symbol": "BTC/USD:USD"}, "no instrument kraken BTC/USD:USD is known; there is BITSTAMP BTCUSD crypto or"),
        ({"symbol": "ETH/USD:USD-260327"}, "no instrument kraken ETH/USD:USD-260327 is known"),
        ({"symbol": "ETH/USD:ETH"}, "ETH/USD:ETH is priced in USD and paid in ETH: price x quantity is not what it is"),
        ({"symbol": "XBT/USD:XBT"}, "XBT/USD:XBT is priced in USD and paid in XBT: price x quantity is not what it is"),
        ({"symbol": "ETH/USD:USDT-260327"}, "ETH/USD:USDT-260327 is priced in USD and paid in USDT: price x quantity"),
        ({"symbol": "F-B", "exchange": ""}, "no instrument F-B is known; there is NYSE FB equity"),
        ({"symbol": "BTC/USD", "currency": "EUR"}, "the price is in EUR, KRAKEN BTCUSD crypto is quoted in USD"),
    ):
        bad = write(home, rows(spelled | {"venue_trade_id": "N"} | change), "bad.csv")
        error = refused(take(desk, bad), 2, "ROWS_REFUSED")
        assert reason in error["missing_requirements"][0], error["missing_requirements"]
    there = write(home, rows({"exchange": "", "symbol": "BTCUSD", "asset_class": "", "venue_trade_id": "N"}), "n.csv")
    done(take(desk, there, "--exchange", "BITSTAMP", "--asset-class", "crypto"))
    contradiction = write(home, rows({"exchange": "CME", "venue_trade_id": "M"}), "m.csv")
    error = refused(take(desk, contradiction, "--exchange", "BITSTAMP"), 2, "ROWS_REFUSED")
    assert "'CME' is not BITSTAMP, which --exchange names" in error["message"]


def test_an_instrument_must_have_been_in_use_at_the_time(desk: CommandLine, home: Path):
    before = rows({"executed_at": now()})
    done(desk("instrument", "deactivate", "ES", "--exchange", "CME"))
    error = refused(take(desk, write(home, rows({"executed_at": now(1)}))), 2, "ROWS_REFUSED")
    assert "CME ES future was out of use at " in error["message"]
    done(take(desk, write(home, before)))


# ---- the kill, and instances -----------------------------------------------------------------------------------


def test_a_fill_after_the_kill_is_kept_flagged_and_said_aloud(desk: CommandLine, database: Database, home: Path):
    before = rows({})
    done(desk("kill", "momo-1", *WHY))
    path = write(home, [*before, *rows({"executed_at": now(1)}, {"executed_at": now(2)}, start=2)])
    run = take(desk, path)
    assert (run.code, run.error["error_code"]) == (1, "FILL_AFTER_KILL"), run.stderr
    assert run.error["missing_requirements"] == ["bot momo-1: 2 fill(s) after its kill"]
    assert (run.json["result"]["rows_new"], run.json["result"]["after_kill"]) == (3, 2)
    assert stored(database, "venue_trade_id, after_kill") == [("T1", 0), ("T2", 1), ("T3", 1)]
    (event,) = done(desk("ledger", "events", "--bot", "momo-1")).json["result"]["events"]
    assert (event["event"], event["severity"], event["metadata"]["count"]) == ("FILL_AFTER_KILL", "SEV1", 2)
    assert event["metadata"]["venue_trade_ids"] == ["T2", "T3"]
    assert take(desk, path).code == 0, "said once: nothing is new any more"
    late = write(home, rows({"executed_at": now(3)}, start=4), "late.csv")
    for _ in range(2):  # the second time it is the stored answer
        assert take(desk, late, "--request-id", "cron-1").json["result"]["after_kill"] == 1
    done(desk("resurrect", "momo-1", *BACK))
    done(take(desk, write(home, rows({"executed_at": now(3)}, start=9), "alive.csv")))
    verified(desk)


def test_an_instance_is_the_one_that_is_named_or_the_only_one_that_ran(
    desk: CommandLine, database: Database, home: Path
):
    first = instance(desk, "momo-1", account="ib-1")
    done(take(desk, write(home, rows({"executed_at": now(1)}))))
    second = instance(desk, "momo-1", account="ib-1")
    done(take(desk, write(home, rows({"executed_at": now(2)}, {"instance": str(second)}, start=2), "two.csv")))
    assert stored(database, "venue_trade_id, instance_id") == [("T1", first), ("T2", None), ("T3", second)]
    other = instance(desk, "carry-2", account="ib-2")
    for change, reason in (
        ({"instance": str(other)}, f"bot momo-1 has no instance '{other}' on account ib-1"),
        ({"instance": "one"}, "has no instance 'one'"),
    ):
        error = refused(take(desk, write(home, rows(change, start=7), "bad.csv")), 2, "ROWS_REFUSED")
        assert reason in error["message"]
    named = write(home, rows({"instance": str(first)}, start=7), "named.csv")
    refused(take(desk, named, "--instance", str(second)), 2, "ROWS_REFUSED")


# ---- bad input -------------------------------------------------------------------------------------------------


def test_each_wrong_value_is_named_with_its_line(desk: CommandLine, database: Database, home: Path):
    cases = [
        ({"executed_at": now(3600)}, "lies in the future"),
        ({"executed_at": "2026-01-05T10:00:00"}, "has no time zone"),
        ({"fee_currency": "QQQ"}, "'QQQ' is neither in ISO 4217 nor declared"),
        ({"quantity": "0"}, "0 is not above zero"),
        ({"quantity": "-1"}, "-1 is not above zero"),
        ({"price": "0"}, "a price of 0 is none"),
        ({"bot": "nobody"}, "no bot 'nobody'"),
        ({"bot": ""}, "bot: is not named, neither here nor with --bot"),
        ({"fee_currency": ""}, "fee_currency: is missing"),
    ]
    error = refused(take(desk, write(home, rows(*(change for change, _ in cases)))), 2, "ROWS_REFUSED")
    assert len(error["missing_requirements"]) == len(cases)
    for line, (found, (_, reason)) in enumerate(zip(error["missing_requirements"], cases, strict=True), 2):
        assert found.startswith(f"line {line}: ")
        assert reason in found
    assert counts(database) == dict.fromkeys(counts(database), 0), "bad rows are no event"
    refused(take(desk, "nowhere.csv"), 2, "FILE_UNREADABLE")
    refused(take(desk, write(home, rows({})), "--timezone", "Mars/Base"), 2, "INVALID_REQUEST")
    refused(take(desk, write(home, rows({})), account="ib-9"), 3, "ACCOUNT_NOT_FOUND")
    refused(take(desk, write(home, rows({})), "--bot", "momo-9"), 3, "BOT_NOT_FOUND")
    refused(take(desk, file(home, b"\x1f\x8b\x08packed", "f.csv.gz")), 2, "FILE_INVALID")
    assert (
        "which --bot names"
        in refused(take(desk, write(home, rows({})), "--bot", "idle-3"), 2, "ROWS_REFUSED")["message"]
    )


def test_a_sequence_number_is_one_file(desk: CommandLine, home: Path):
    path = write(home, rows({}))
    done(take(desk, path, "--sequence", "7"))
    done(take(desk, path, "--sequence", "7"))
    error = refused(take(desk, write(home, rows({}, start=5), "b.csv"), "--sequence", "7"), 4, "LEDGER_CONFLICT")
    assert "sequence: 7 of account ib-1 is another import" in error["message"]


@pytest.mark.parametrize(("lost", "words"), [("sequence 2", ("--sequence", "2")), ("its fee", ("--no-fee",))])
def test_what_was_not_said_of_a_file_can_be_said_later(
    desk: CommandLine, database: Database, home: Path, lost: str, words: tuple[str, ...]
):
    money = ("--kind", "INITIAL", "--amount", "10000", "--currency", "USD", "--at", "2026-01-02T00:00:00Z")
    done(desk("ledger", "flow", "momo-1", "--account", "ib-1", *money))
    fee = {"fee": "", "fee_currency": ""} if words == ("--no-fee",) else {}
    files = [write(home, rows(fee, start=number), f"{number}.csv") for number in (1, 2, 3)]
    for path, said in zip(files, (("--sequence", "1"), (), ("--sequence", "3")), strict=True):
        done(take(desk, path, *said, *(words if path is not files[1] and fee else ())))
    if fee:
        done(take(desk, files[1], "--sequence", "2"))
    error = refused(desk("ledger", "metrics", "momo-1"), 4, "METRICS_INCOMPLETE")
    assert len(error["missing_requirements"]) == 1
    assert lost in error["missing_requirements"][0]
    assert words[0] in error["next_steps"][0]
    # As the next step says: the same file, with what was forgotten.
    again = done(take(desk, files[1], *words)).json["result"]
    assert (again["rows_new"], again["rows_known"], again["parts_written"]) == (0, 1, 1)
    assert done(desk("ledger", "metrics", "momo-1")).json["result"]["fills"] == 3
    known = done(take(desk, files[1], *words)).json["result"]
    assert (known["rows_known"], known["parts_written"]) == (1, 0), "what is said already is not said again"
    assert done(take(desk, files[1])).json["result"]["parts_written"] == 0
    assert len(stored(database)) == 3
    verified(desk)


def test_a_fee_of_the_account_becomes_a_flow_once(desk: CommandLine, database: Database, home: Path):
    fee = {
        "id": "20260105::f1", "account_id": "U-ib-1", "activity_type": "FEE", "date": now()[:10], "net_amount": "-0.05",
        "description": "REG fee", "status": "executed",
    }  # fmt: skip
    path = file(home, json.dumps([fee]), "alpaca.json")
    words = ("ledger", "import", path, "--format", "alpaca", "--account", "ib-1", "--bot", "momo-1")
    # One of today, which stands at the end of its day, is none of the future.
    assert done(desk(*words)).json["result"]["fees_new"] == 1
    assert database.sql("SELECT kind, currency, external_id FROM capital_flows") == [("FEE", "USD", "20260105::f1")]
    again = done(desk(*words, "--history")).json["result"]
    assert (again["fees_new"], again["fees_known"], again["parts_written"]) == (0, 1, 0)
    file(home, json.dumps([fee | {"id": "20260105::f2", "date": now(3 * 86_400)[:10]}]), "alpaca.json")
    assert "lies in the future" in refused(desk(*words), 2, "ROWS_REFUSED")["message"]
    verified(desk)


def test_what_is_skipped_is_told_and_what_changes_a_position_is_told_aloud(
    desk: CommandLine, database: Database, home: Path
):
    about = {"account_id": "U-ib-1", "date": "2026-01-05", "symbol": "ES", "qty": "9"}
    kinds = ("DIV", "SPLIT", "DIV", "ACATS")
    found = [about | {"id": f"20260105::{n}", "activity_type": kind} for n, kind in enumerate(kinds)]
    path = file(home, json.dumps(found), "alpaca.json")
    words = ("ledger", "import", path, "--format", "alpaca", "--account", "ib-1", "--bot", "momo-1")
    told = done(desk(*words)).json["result"]
    assert (told["skipped"], told["moved"]) == (4, 2)
    assert told["skipped_why"] == {
        "activity ACATS changes a position without an execution": 1,
        "activity DIV is no execution": 2,
        "activity SPLIT changes a position without an execution": 1,
    }
    assert told["summary"].startswith("0 new fill(s), 0 known; 4 skipped, of which 2 CHANGE A POSITION WITHOUT A FILL")
    table = done(desk(*words, "--output", "table")).stdout
    assert "activity DIV is no execution" in table
    assert "request" not in table, "nobody gave one"
    assert max(len(line) for line in table.splitlines() if "sha256" not in line) <= 80
    assert counts(database)["trades"] == 0


def test_reasons_for_skipping_are_counted_in_constant_memory():
    from blaidctl.ledger.spool import MOST_REASONS, OTHER_REASONS, Spool

    with contextlib.closing(Spool()) as spool:
        for number in range(3 * MOST_REASONS):
            spool.skip(f"reason {number}")
        assert (len(spool.skipped), spool.skipped[OTHER_REASONS]) == (MOST_REASONS + 1, 2 * MOST_REASONS)
        assert sum(spool.skipped.values()) == 3 * MOST_REASONS


def test_the_columns_of_the_table_are_the_ones_that_the_tests_write():
    from blaidctl.ledger.formats import columns

    assert set(COLUMNS) == {*columns.REQUIRED, *columns.OPTIONAL}
