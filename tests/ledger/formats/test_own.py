"""Our own CSV and NDJSON: what is written comes back, and every wrong value is named with its line."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blaidctl.core import decimals, errors
from blaidctl.ledger.fills import Fill, Refusal, Skipped
from blaidctl.ledger.formats import columns
from blaidctl.ledger.vocabulary import Side
from tests.ledger.formats.samples import GOOD, HEADER, own_csv, reasons, records

AMOUNTS = st.decimals(min_value="-1e15", max_value="1e15", places=12, allow_nan=False, allow_infinity=False)
TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn"]), min_size=1, max_size=16
).filter(lambda text: text == text.strip() and text.strip(" \t") != "")
TIMES = st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@st.composite
def rows(draw: st.DrawFn) -> tuple[dict[str, str], dict[str, Any]]:
    """A row as it may be written, and the values that must come back."""
    fee = draw(st.none() | AMOUNTS)
    values = {
        "venue_trade_id": draw(TEXTS),
        "executed_at": draw(TIMES),
        "symbol": draw(TEXTS),
        "side": draw(st.sampled_from(Side)),
        "quantity": draw(AMOUNTS.filter(lambda amount: amount > 0)),
        "price": draw(AMOUNTS.filter(bool)),
        "fee": fee,
        "fee_currency": None if fee is None else draw(TEXTS),
        **{name: draw(st.none() | TEXTS) for name in columns.TEXTS},
        "asset_class": draw(st.none() | st.sampled_from(["crypto", "future", "equity"])),
        "realized_pnl": draw(st.none() | AMOUNTS),
    }
    return {name: _written(draw, value) for name, value in values.items() if value is not None}, values


def _written(draw: st.DrawFn, value: Any) -> str:
    if isinstance(value, datetime):
        return draw(OFFSETS.map(value.astimezone)).isoformat()
    if isinstance(value, Side):
        return draw(st.sampled_from([value.lower(), value.upper(), value.title()]))
    if isinstance(value, Decimal):
        return draw(st.sampled_from([str(value), format(value, "f"), format(value, "e"), f"{value:f}".rjust(1)]))
    return str(value)


def _equal(fill: Any, values: dict[str, Any]) -> None:
    assert isinstance(fill, Fill), fill
    given = {("reported_pnl" if name == "realized_pnl" else name): value for name, value in values.items()}
    assert {name: getattr(fill, name) for name in given} == given
    assert fill.exact
    assert decimals.text_of(fill.price) == decimals.text_of(decimals.exact(values["price"]))


@given(st.lists(rows(), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_what_is_written_as_csv_comes_back_whatever_the_order_of_the_columns(written, shuffle):
    names = [*columns.REQUIRED, *columns.OPTIONAL]
    shuffle.shuffle(names)
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator=shuffle.choice(["\n", "\r\n"]))
    writer.writeheader()
    writer.writerows(row for row, _ in written)
    found = records("csv", text.getvalue())
    assert [record.line for record in found] == list(range(2, len(written) + 2))
    for fill, (_, values) in zip(found, written, strict=True):
        _equal(fill, values)


@given(st.lists(rows(), min_size=1, max_size=4), st.booleans())
def test_what_is_written_as_ndjson_comes_back(written, ascii_only: bool):  # noqa: FBT001 - drawn
    text = "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row, _ in written)
    for fill, (_, values) in zip(records("ndjson", text), written, strict=True):
        _equal(fill, values)


WRONG = {
    "quantity zero": ({"quantity": "0.000"}, "quantity: 0 is not above zero"),
    "quantity negative": ({"quantity": "-1"}, "quantity: -1 is not above zero"),
    "quantity missing": ({"quantity": ""}, "quantity: is missing"),
    "price zero": ({"price": "0"}, "price: a price of 0 is none"),
    "price minus zero": ({"price": "-0"}, "price: a price of 0 is none"),
    "price text": ({"price": "ten"}, "price: 'ten' is not a decimal number"),
    "price not finite": ({"price": "NaN"}, "price: NaN is not a finite number"),
    "price with comma": ({"price": '"6,900.25"'}, "price: '6,900.25' is not a decimal number"),
    "price too fine": ({"price": "1.0000000000000000001"}, "19 decimal places, at most 18 are stored"),
    "price too large": ({"price": "1e21"}, "has more than 20 digits before the point"),
    "exponent too large": ({"price": "1e99999"}, "is not a decimal number"),
    "formula": ({"price": "=1+1"}, "price: '=1+1' is not a decimal number"),
    "other digits": ({"price": "\u0661"}, "price: '\u0661' is not a decimal number"),
    "fee without currency": ({"fee": "1", "fee_currency": ""}, "fee_currency: is missing, though there is a fee"),
    "fee of 0 without currency": ({"fee": "0", "fee_currency": ""}, "fee_currency: is missing, though there is a fee"),
    "fee text": ({"fee": "free"}, "fee: 'free' is not a decimal number"),
    "side": ({"side": "HOLD"}, "side: 'HOLD' is neither BUY nor SELL"),
    "side missing": ({"side": ""}, "side: is missing"),
    "symbol missing": ({"symbol": ""}, "symbol: is missing"),
    "symbol long": ({"symbol": "X" * 65}, "symbol: has 65 characters, at most 64 are stored"),
    "control character": ({"symbol": "E\x1b[31mS"}, "symbol: has a control character"),
    "NUL": ({"symbol": "E\x00S"}, "symbol: has a control character"),
    "bidi": ({"symbol": "E\u202eS"}, "symbol: has a control character"),
    "no-break blank": ({"symbol": "\u00a0"}, "symbol: '\\xa0' begins or ends with a blank"),
    "id long": ({"venue_trade_id": "x" * 201}, "venue_trade_id: has 201 characters, at most 200"),
    "id missing": ({"venue_trade_id": ""}, "venue_trade_id: is missing"),
    "asset class": ({"asset_class": "stocks"}, "asset_class: 'stocks' is none of cfd, commodity, crypto"),
    "time missing": ({"executed_at": ""}, "executed_at: is missing"),
    "time without zone": ({"executed_at": "2026-01-05T14:30:00"}, "has no time zone: add Z or an offset to it"),
    "date only": ({"executed_at": "2026-01-05"}, "'2026-01-05' is no time: write it as 2026-01-31T09:30:00Z"),
    "week date": ({"executed_at": "2026-W02-1T14:30:00Z"}, "is no time"),
    "no such day": ({"executed_at": "2026-02-30T14:30:00Z"}, "'2026-02-30T14:30:00Z' is no time"),
    "leap second": ({"executed_at": "2016-12-31T23:59:60Z"}, "is no time"),
    "hour 24": ({"executed_at": "2026-01-05T24:00:00Z"}, "is no time"),
    "before time": ({"executed_at": "0001-01-01T00:00:00+10:00"}, "is no time"),
    "epoch": ({"executed_at": "1710327551703"}, "is no time"),
    "pnl text": ({"realized_pnl": "much"}, "realized_pnl: 'much' is not a decimal number"),
}


@pytest.mark.parametrize(("change", "reason"), WRONG.values(), ids=WRONG)
def test_a_wrong_value_refuses_its_line_and_says_why(change: dict[str, str], reason: str):
    good, refusal = records("csv", own_csv({}, change))
    assert isinstance(good, Fill)
    assert isinstance(refusal, Refusal)
    assert refusal.line == 3
    assert [told for told in refusal.reasons if reason in told], refusal.reasons


@pytest.mark.parametrize(("change", "reason"), WRONG.values(), ids=WRONG)
def test_json_is_read_by_the_same_rules(change: dict[str, str], reason: str):
    change = {name: value.strip('"') for name, value in change.items()}
    (refusal,) = records("ndjson", json.dumps({**GOOD, **change}))
    assert [told for told in reasons([refusal]) if reason in told], refusal


def test_everything_that_is_wrong_with_a_row_is_said_at_once():
    (refusal,) = records("csv", own_csv({"quantity": "0", "price": "0", "side": "x", "executed_at": "now", "fee": "y"}))
    assert [told.partition(":")[0] for told in reasons([refusal])] == [
        "executed_at",
        "side",
        "quantity",
        "price",
        "fee",
    ]


@pytest.mark.parametrize(
    ("text", "number"),
    [("6.9e3", "6900"), ("5E-05", "0.00005"), (".5", "0.5"), ("+1.", "1"), ("0012", "12"), ("1e-18", "1e-18")],
)
def test_a_number_with_an_exponent_is_taken_exactly(text: str, number: str):
    (fill,) = records("csv", own_csv({"price": text}))
    assert isinstance(fill, Fill)
    assert (fill.price, fill.exact) == (Decimal(number), True)


def test_text_that_looks_like_a_formula_is_an_id_like_any_other():
    (fill,) = records("csv", own_csv({"venue_trade_id": "=cmd|'/c calc'!A1", "order_id": "@SUM(A1)"}))
    assert isinstance(fill, Fill)
    assert (fill.venue_trade_id, fill.order_id) == ("=cmd|'/c calc'!A1", "@SUM(A1)")


def test_a_fee_of_0_is_one_in_the_currency_of_the_price():
    (fill,) = records("csv", own_csv({"fee": "0.00", "fee_currency": "", "currency": "USD"}))
    assert isinstance(fill, Fill)
    assert (fill.fee, fill.fee_currency) == (Decimal(0), "USD")


def test_there_is_one_zero():
    (fill,) = records("csv", own_csv({"fee": "-0"}))
    assert isinstance(fill, Fill)
    assert str(fill.fee) == "0"


def test_a_currency_without_a_fee_says_nothing():
    (fill,) = records("csv", own_csv({"fee": ""}))
    assert isinstance(fill, Fill)
    assert (fill.fee, fill.fee_currency) == (None, None)


NEW_YORK = "America/New_York"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("2026-01-05T09:30:00", "2026-01-05T14:30:00"),
        ("2026-07-05 09:30:00.5", "2026-07-05T13:30:00.500000"),
        ("2026-01-05T09:30:00+01:00", "2026-01-05T08:30:00"),
        ("2026-01-05T09:30:00.123456789Z", "2026-01-05T09:30:00.123456"),
        ("2026-11-01T01:30:00-05:00", "2026-11-01T06:30:00"),
    ],
)
def test_a_time_without_an_offset_is_one_of_the_zone_that_is_named(text: str, told: str):
    (fill,) = records("csv", own_csv({"executed_at": text}), timezone=NEW_YORK)
    assert isinstance(fill, Fill)
    assert fill.executed_at == datetime.fromisoformat(told).replace(tzinfo=UTC)
    assert fill.executed_at.tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2026-11-01T01:30:00", "was twice in America/New_York, when the clock was put back: add its offset"),
        ("2026-03-08T02:30:00", "never was in America/New_York: the clock was put forward over it"),
    ],
)
def test_an_hour_that_a_clock_shows_twice_or_never_is_refused(text: str, reason: str):
    (refusal,) = records("csv", own_csv({"executed_at": text}), timezone=NEW_YORK)
    assert reason in reasons([refusal])[0]
    assert isinstance(records("csv", own_csv({"executed_at": text}), timezone="UTC")[0], Fill)


def test_an_unknown_zone_is_no_zone():
    with pytest.raises(errors.InvalidRequest, match="'Mars/Olympus' is no time zone"):
        records("csv", own_csv({}), timezone="Mars/Olympus")


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (HEADER.replace("price", "prise"), "missing column: price; unknown column: 'prise'"),
        (HEADER.replace("fee,", "price,"), "column twice: price"),
        (HEADER + ",note", "unknown column: 'note'"),
        (HEADER.replace(",", ";"), "missing column: venue_trade_id"),
        ('{"a": 1}', "missing column: venue_trade_id"),
    ],
)
def test_a_header_that_is_not_known_refuses_the_file(header: str, told: str):
    with pytest.raises(errors.FileInvalid, match="line 1 is no header that is known here") as caught:
        records("csv", header + "\n")
    assert told in caught.value.message


def test_a_row_has_as_many_cells_as_the_header():
    found = records("csv", f"{HEADER}\nF-1,2026-01-05T14:30:00Z,ES\n\n , \nx{',' * 8}\n")
    assert reasons(found) == [
        "has 3 fields, 8 are expected",
        "has 2 fields, 8 are expected",
        "has 9 fields, 8 are expected",
    ]
    assert found[1] == Skipped(3, "a blank line")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "is no JSON: expecting property name"),
        ("[]", "is no single JSON object"),
        ("{} {}", "is no single JSON object"),
        ('{"price": 1, "price": 2}', "stands twice: 'price'"),
        ('{"prise": 1}', "unknown name: 'prise'"),
        ("[" * 9000, "is no JSON: objects stand in objects too deep"),
        ('{"price": NaN}', "price: NaN is not a finite number"),
        ('{"price": 1' + "0" * 5000 + "}", "price: a number of 5001 characters is longer than any that is stored"),
        ('{"price": true}', "price: true or false is no number"),
        ('{"price": [1]}', "price: a list is no number"),
        ('{"bot": false}', "bot: true or false is no text"),
        ('{"bot": []}', "bot: a list is no text"),
        ('{"fee": false}', "fee: true or false is no number"),
        ('{"asset_class": []}', "asset_class: a list is none of cfd"),
        ('{"asset_class": false}', "asset_class: true or false is none of cfd"),
        ('{"symbol": {"a": 1}}', "symbol: an object is no text"),
        ('{"symbol": 1.5}', "symbol: '1.5' is no text"),
        ('{"symbol": "\\ud800"}', "symbol: has a control character"),
        ('{"side": 1}', "side: '1' is neither BUY nor SELL"),
        ('{"executed_at": 1710327551703}', "executed_at: '1710327551703' is no time"),
        ("venue_trade_id,price", "is no JSON: expecting value"),
    ],
)
def test_a_line_that_is_no_fill_of_json_is_refused(line: str, reason: str):
    refusal, good = records("ndjson", f"{line}\n{json.dumps(GOOD)}\n")
    assert reason in "; ".join(reasons([refusal]))
    assert isinstance(good, Fill)


def test_an_id_may_be_written_as_a_json_integer():
    (fill,) = records("ndjson", json.dumps({**GOOD, "venue_trade_id": 12345678901234567890}))
    assert isinstance(fill, Fill)
    assert (fill.venue_trade_id, type(fill.venue_trade_id)) == ("12345678901234567890", str)


@pytest.mark.parametrize(
    ("number", "exact"),
    [("6900", True), ("6900.25", False), ("69e2", False), ("123456789012345", True), ("1234567890123456", False)],
)
def test_a_bare_json_number_is_exact_only_where_every_double_is(number: str, exact: bool):  # noqa: FBT001 - a case
    text = json.dumps({**GOOD, "price": 0}).replace('"price": 0', f'"price": {number}')
    (fill,) = records("ndjson", text)
    assert isinstance(fill, Fill)
    assert (fill.price, fill.exact) == (Decimal(number), exact)
