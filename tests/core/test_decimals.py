"""Exact decimals: what is read, what is refused, one canonical text, the same value back from both engines."""

from __future__ import annotations

import contextlib
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from sqlalchemy.exc import StatementError

from blaidctl.core import ddl, decimals
from blaidctl.core.decimals import Exact, PositiveExact, read, text_of
from blaidctl.core.sql import Query, rows_of
from blaidctl.core.types import ExactNumeric

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.database import Database

#: Every value that can be stored: up to 20 digits before the point and 18 after it.
STORABLE = st.tuples(st.integers(-(10**38) + 1, 10**38 - 1), st.integers(0, 18)).map(
    lambda pair: Decimal(pair[0]).scaleb(-18, decimals.EXACT).quantize(Decimal(1).scaleb(-pair[1]), context=FLOOR)
)
#: abs() would round to the 28 digits of the default context.
POSITIVE = STORABLE.map(Decimal.copy_abs).filter(bool)
FLOOR = decimals.decimal.Context(prec=60, rounding="ROUND_DOWN")
QUICKLY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("5e-05", "0.00005"),
        ("5E-7", "0.0000005"),
        ("1.0", "1"),
        ("125000.0", "125000"),
        ("1e3", "1000"),
        ("+2.50", "2.5"),
        (".5", "0.5"),
        ("5.", "5"),
        ("007", "7"),
        ("-0", "0"),
        ("0.000", "0"),
        ("0e999", "0"),
        ("-12.340", "-12.34"),
        ("1.000000000000000000000000", "1"),
        ("99999999999999999999.999999999999999999", "99999999999999999999.999999999999999999"),
        ("0.000000000000000001", "0.000000000000000001"),
    ],
)
def test_a_number_has_one_text_however_it_is_written(text: str, canonical: str):
    assert text_of(read(text)) == canonical
    assert read(canonical) == read(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("NaN", "not a finite number"),
        ("-nan", "not a finite number"),
        ("sNaN123", "not a finite number"),
        ("Infinity", "not a finite number"),
        ("-inf", "not a finite number"),
        ("1e-400", "smaller than the 18 decimal places"),
        ("1e400", "more than 20 digits before the point"),
        ("100000000000000000000", "more than 20 digits before the point"),
        ("0.0000000000000000001", "smaller than the 18 decimal places"),
        ("1.0000000000000000001", "has 19 decimal places, at most 18 are stored"),
        ("1e99999", "not a decimal number"),
        ("1_000", "not a decimal number"),
        ("1,5", "not a decimal number"),
        (" 1", "not a decimal number"),
        ("1 ", "not a decimal number"),
        ("1\n", "not a decimal number"),
        ("", "not a decimal number"),
        ("-", "not a decimal number"),
        (".", "not a decimal number"),
        ("0x10", "not a decimal number"),
        ("٣", "not a decimal number"),  # an Arabic digit, which int() would take
        ("５", "not a decimal number"),  # noqa: RUF001 - a wide digit, likewise
        ("9" * 300, "300 characters"),
    ],
)
def test_what_cannot_be_stored_exactly_is_refused_with_a_sentence(text: str, sentence: str):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        read(text)


@given(value=STORABLE)
def test_what_is_read_is_what_was_written(value: Decimal):
    text = text_of(value)
    assert read(text) == value
    assert text_of(read(text)) == text
    assert re.fullmatch(r"-?(0|[1-9][0-9]{0,19})(\.[0-9]{0,17}[1-9])?", text)
    assert text != "-0"


@given(one=STORABLE, other=STORABLE)
def test_a_product_is_exact_beyond_the_28_digits_of_the_default_context(one: Decimal, other: Decimal):
    exponents = [value.as_tuple().exponent for value in (one, other)]
    digits = [
        int(value.scaleb(-exponent, decimals.EXACT)) for value, exponent in zip((one, other), exponents, strict=True)
    ]
    assert decimals.times(one, other) == Decimal(digits[0] * digits[1]).scaleb(sum(exponents), decimals.EXACT)


class Model(BaseModel):
    any: Exact = Decimal(0)
    above: PositiveExact = Decimal(1)
    maybe: PositiveExact | None = None


@pytest.mark.parametrize("value", ["12.50", 12, Decimal("12.5")], ids=repr)
def test_a_field_takes_text_integers_and_decimals_and_gives_text(value: Any):
    made = Model(any=value, above=value)
    assert made.any == Decimal(str(value))
    assert isinstance(made.model_dump()["any"], Decimal)
    text = text_of(Decimal(str(value)))
    assert made.model_dump(mode="json") == {"any": text, "above": text, "maybe": None}


@pytest.mark.parametrize(
    "value", [0.5, 12.0, True, None, [], {}, "NaN", "x", 2**53, Decimal("NaN"), Decimal("1e-19")], ids=repr
)
def test_a_field_refuses_floats_booleans_and_what_no_column_holds(value: Any):
    for field in ("any", "above"):
        with pytest.raises(ValidationError):
            Model(**{field: value})


@pytest.mark.parametrize("value", [0, "0", "0.000", "-0", "-1", -1, "1e-400"], ids=repr)
def test_a_positive_field_refuses_zero_and_less(value: Any):
    with pytest.raises(ValidationError):
        Model(above=value)


def test_json_takes_and_shows_strings():
    assert Model.model_validate_json('{"any": "1.50", "above": 3}', strict=True).any == Decimal("1.5")
    with pytest.raises(ValidationError, match="written as a string"):
        Model.model_validate_json('{"any": 1.5}', strict=True)
    schema = Model.model_json_schema(mode="serialization")["properties"]["above"]
    assert (schema["type"], schema["pattern"][:1]) == ("string", "^")


# ---- on the engines ----------------------------------------------------------------------------------------------


@pytest.fixture
def connection(blank_database: Database) -> Iterator[sqlalchemy.Connection]:
    """A table of decimals with the CHECKs that migrations write; changes are rolled back."""
    engine = sqlalchemy.create_engine(blank_database.url.replace("postgresql:", "postgresql+psycopg:"))
    kind = engine.dialect.name
    with contextlib.closing(engine.connect()) as opened:
        opened.exec_driver_sql(
            ddl.spell("CREATE TABLE kept (tick_size {DECIMAL}, min_qty {DECIMAL}, max_qty {DECIMAL}", kind)
            + f", CHECK ({ddl.above_zero('min_qty', kind)}), CHECK ({ddl.above_zero('max_qty', kind)})"
            + f", CHECK ({ddl.at_most('min_qty', 'max_qty', kind)}))"
        )
        yield opened
    engine.dispose()


INSERT = Query("INSERT INTO kept (tick_size, min_qty, max_qty) VALUES (:tick_size, :min_qty, :max_qty)")
SELECT = Query("SELECT tick_size, min_qty, max_qty FROM kept")
DELETE = Query("DELETE FROM kept")


@QUICKLY
@given(value=STORABLE)
def test_a_decimal_comes_back_from_both_engines_as_it_went_in(connection: sqlalchemy.Connection, value: Decimal):
    DELETE.on(connection)
    INSERT.on(connection, tick_size=value, min_qty=None, max_qty=None)
    (row,) = rows_of(SELECT.on(connection))
    assert row["tick_size"] == value
    assert str(row["tick_size"]) == str(read(text_of(value)))


@QUICKLY
@given(one=POSITIVE, other=POSITIVE)
def test_the_database_orders_two_amounts_exactly(connection: sqlalchemy.Connection, one: Decimal, other: Decimal):
    taken = True
    try:
        with connection.begin_nested():
            INSERT.on(connection, tick_size=None, min_qty=one, max_qty=other)
    except sqlalchemy.exc.IntegrityError:
        taken = False
    assert taken == (one <= other)


@pytest.mark.parametrize("bad", [0.5, True, "NaN", "1e-19", b"1"], ids=repr)
def test_no_float_and_nothing_inexact_is_bound(connection: sqlalchemy.Connection, bad: Any):
    with pytest.raises(StatementError, match=r"decimal number|finite|decimal places"):
        INSERT.on(connection, tick_size=bad, min_qty=None, max_qty=None)
    with pytest.raises(ValueError, match=r"decimal number|finite|decimal places"):
        ExactNumeric().process_bind_param(bad, connection.dialect)


@pytest.mark.parametrize(
    "text",
    ["0", "0.000", "-1", "NaN", "Infinity", "1e3", "1.50", "1.", ".5", "01", "1.2.3", "1 ", " 1", "", "x", "1x", "+1",
     "0.0000000000000000001", "100000000000000000000", "1\x00", "１"],  # noqa: RUF001 - a wide digit
)  # fmt: skip
def test_sqlite_stores_no_other_text_than_the_canonical_one(sqlite_database: Database, text: str):
    database = sqlite_database
    checks = f"CHECK ({ddl.above_zero('x', 'sqlite')})"
    with contextlib.closing(database.raw()) as raw:
        raw.execute(f"CREATE TABLE strictly (x TEXT, {checks}) STRICT")
        for good in ("1", "0.5", "10", "99999999999999999999.999999999999999999", "0.000000000000000001"):
            raw.execute("INSERT INTO strictly VALUES (?)", [good])
        with pytest.raises(Exception, match="CHECK constraint failed"):
            raw.execute("INSERT INTO strictly VALUES (?)", [text])


def test_a_stored_text_that_is_no_number_names_its_column(connection: sqlalchemy.Connection):
    from blaidctl.core.errors import DatabaseCorrupt

    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("INSERT INTO kept (tick_size) VALUES ('NaN')")
    else:
        connection.exec_driver_sql("INSERT INTO kept (tick_size) VALUES ('a lot')")
    with pytest.raises(DatabaseCorrupt, match="tick_size"):
        list(rows_of(SELECT.on(connection)))
