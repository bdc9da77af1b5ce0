"""LEAN's own format. The file is made after its layout, with every trap of the real one; each line is accounted for."""

from __future__ import annotations

import json

import pytest

from tests.instruments.work import DATA, LEAN, SAMPLE, a_session, counts, file, stored
from tests.kill.fleet import done, dump

NAMES = (
    "market,symbol,type,description,quote_currency,contract_multiplier,minimum_price_variation,lot_size,market_ticker,"
    "minimum_order_size,price_magnifier,strike_multiplier"
)
REFUSED = {
    7: "the same key stands on line 26",
    14: "a wildcard row is a default for symbols that the file does not name; only named symbols are loaded",
    15: "a wildcard row is a default for symbols that the file does not name; only named symbols are loaded",
    20: "has 7 fields, 8 to 12 are expected",
    21: "has 3 fields, 8 to 12 are expected",
    22: (
        "currency: 'CNH' is neither in ISO 4217 nor declared (`blaidctl currency add`); session: 'FOREX-FXCM-USDCNH' or"
        " 'FOREX-FXCM' is not known (`blaidctl session load`)"
    ),
    24: "strike_multiplier '100' has no column here",
    25: "tick_size: NaN is not a finite number",
    26: "the same key stands on line 7",
}
LOADED = (8, 9, 10, 11, 12, 13, 16, 17, 18, 19, 23)


@pytest.fixture
def ready(cli):
    a_session(cli)
    done(cli("currency", "add", "USDT", "--places", "6"))
    return cli


def test_every_line_is_loaded_refused_with_its_reason_or_counted_as_a_comment(ready, database):
    result = done(ready("instrument", "load", LEAN, "--format", "lean", "--skip-refused")).json["result"]
    said = {row["line"]: (row["outcome"], row["detail"]) for row in result["rows"]}
    assert said == dict.fromkeys(LOADED, ("NEW", "")) | {line: ("REFUSED", why) for line, why in REFUSED.items()}
    lines = LEAN.read_text(encoding="utf-8").splitlines()
    assert result["rows_read"] + result["comments"] + 1 == len(lines)
    assert (result["rows_read"], result["new"], result["refused"], result["not_listed"]) == (20, 11, 9, 0)
    assert counts(database)[:2] == (11, 11)


def test_without_skip_refused_nothing_is_loaded_and_every_reason_is_told(ready, database):
    before = dump(database)
    run = ready("instrument", "load", LEAN, "--format", "lean")
    assert (run.code, run.error["error_code"]) == (2, "ROWS_REFUSED")
    told = {
        int(item.partition(" ")[2].partition(":")[0].partition(" ")[0]): item
        for item in run.error["missing_requirements"]
    }
    assert set(told) == set(REFUSED)
    assert all(told[line].endswith(why) for line, why in REFUSED.items())
    assert dump(database) == before


def test_exponents_short_rows_and_empty_fields_become_exact_values(ready, database):
    done(ready("instrument", "load", LEAN, "--format", "lean", "--skip-refused"))
    found = {(row[0], row[1], row[2]): row[3:] for row in stored(database)}
    # description, currency, session, venue symbol, active; tick, point, min qty, min notional, max qty, lot, magnifier
    assert found["CME", "6J", "future"] == (
        "Japanese Yen Futures", "USD", "FUTURE-CME-6J", "", 1, "0.0000005", "12500000", "1", None, None, "1", "1",
    )  # fmt: skip
    assert found["CBOT", "ZC", "future"][-1] == "100"
    assert found["CFE", "VX", "future"][0] == "VIX futures"
    assert found["CME", "NQ", "future"][0] == "E-mini Nasdaq-100, Futures"
    assert found["KRAKEN", "BTCUSD", "crypto"][5:9] == ("0.1", "1", "0.00005", None)
    # Binance's minimum is an amount of money for spot, and is not given for the future.
    assert found["BINANCE", "BTCUSDT", "crypto"][5:9] == ("0.01", "1", "0.00001", "5")
    assert found["BINANCE", "BTCUSDT", "cryptofuture"][5:9] == ("0.1", "1", "0.001", None)
    # The market's own hours where the symbol has none of its own.
    assert found["EUREX", "FDAX", "future"][2] == "FUTURE-EUREX"
    for symbol, value in (("6E", "6.25"), ("6J", "6.25"), ("ZN", "15.625"), ("FDAX", "25"), ("NQ", "5")):
        assert done(ready("instrument", "show", symbol)).json["result"]["tick_value"] == value


def test_what_both_formats_say_of_one_instrument_is_the_same(ready):
    # The rows that both files hold; only the comma in one description was put there as a trap.
    done(ready("instrument", "load", LEAN, "--format", "lean", "--skip-refused"))
    result = done(ready("instrument", "load", SAMPLE, "--dry-run")).json["result"]
    assert {row["symbol"]: row["detail"] for row in result["rows"] if row["outcome"] == "CHANGED"} == {
        "NQ": "description E-mini Nasdaq-100, Futures → E-mini Nasdaq-100 Futures"
    }
    assert (result["unchanged"], result["new"]) == (10, 22)
    again = done(ready("instrument", "load", LEAN, "--format", "lean", "--skip-refused")).json["result"]
    assert again["summary"].startswith("0 changes; 20 row(s): 11 unchanged, 9 refused")


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        (NAMES, True),
        (",".join(NAMES.split(",")[:8]), True),
        (",".join(NAMES.split(",")[:7]), False),
        (NAMES.replace("market,symbol", "symbol,market"), False),
        (NAMES + ",more", False),
        ("# a comment\n" + NAMES, False),
    ],
    ids=["all", "the older eight", "seven", "another order", "one more", "comment first"],
)
def test_the_header_is_lean_s_own_or_its_beginning(ready, home, header: str, taken):
    path = file(home, f"{header}\ncme,ES,future,E-mini,USD,50.0,0.25,1.0\n")
    run = ready("instrument", "load", path, "--format", "lean")
    if taken:
        assert done(run).json["result"]["new"] == 1
    else:
        assert (run.code, run.error["error_code"]) == (2, "FILE_INVALID")
        assert "not the header of LEAN" in run.error["message"]


def test_a_file_in_the_other_format_says_so(ready):
    for path, layout in ((SAMPLE, "lean"), (LEAN, "own")):
        run = ready("instrument", "load", path, "--format", layout)
        assert (run.code, run.error["error_code"]) == (2, "FILE_INVALID")
    run = ready("instrument", "load", SAMPLE, "--format", "parquet")
    assert run.code == 2


def test_a_comment_is_one_only_in_lean_s_format(ready, home):
    from tests.instruments.work import text

    run = ready("instrument", "load", file(home, text() + "# a comment\n" + text({}).splitlines()[1]))
    assert run.code == 2
    assert "line 2 (# a comment): has 1 fields, 14 are expected" in json.dumps(run.error)


def test_the_licence_and_the_provenance_of_the_data_stand_beside_it():
    assert "Apache License" in (DATA / "LICENSE-LEAN.txt").read_text(encoding="utf-8")
    said = (DATA / "README.md").read_text(encoding="utf-8")
    assert all(
        word in said for word in ("QuantConnect/Lean", "24863901deffa9ec7985e21ef8fbdb0258efb9e4", "Changes made")
    )
