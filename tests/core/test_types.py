"""Times and JSON values come back from both engines exactly as they went in."""

from __future__ import annotations

import contextlib
import os
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blaidctl.core.types import JsonText, UtcTime, parse_time, time_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.database import Database

ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
TIMES = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=ZONES)  # noqa: DTZ001 - hypothesis adds the zone
#: What PostgreSQL stores as jsonb: no NUL, no lone surrogate; what blaidctl hashes: no float.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
).filter(lambda value: value is not None)
QUICKLY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def table(blank_database: Database) -> Iterator[tuple[sqlalchemy.Connection, sqlalchemy.Table]]:
    """A table of one time and one JSON value, on a connection whose changes are rolled back."""
    engine = sqlalchemy.create_engine(blank_database.url.replace("postgresql:", "postgresql+psycopg:"))
    metadata = sqlalchemy.MetaData()
    made = sqlalchemy.Table("kept", metadata, sqlalchemy.Column("at", UtcTime), sqlalchemy.Column("value", JsonText))
    metadata.create_all(engine)
    with contextlib.closing(engine.connect()) as connection:
        yield connection, made
    engine.dispose()


def round_trip(table: tuple[sqlalchemy.Connection, sqlalchemy.Table], **row: Any) -> tuple[Any, Any]:
    connection, made = table
    connection.execute(made.delete())
    connection.execute(made.insert().values(**row))
    found = connection.execute(sqlalchemy.select(made.c.at, made.c.value)).one()
    return found.at, found.value


@QUICKLY
@given(at=TIMES)
def test_a_time_comes_back_aware_in_utc_to_the_microsecond(table: Any, at: datetime):
    back, _ = round_trip(table, at=at, value=None)
    assert back == at
    assert (back.utcoffset(), back.tzinfo) == (timedelta(0), UTC)


@QUICKLY
@given(value=JSON)
def test_a_json_value_comes_back_equal(table: Any, value: Any):
    assert round_trip(table, at=None, value=value) == (None, value)


def test_nothing_comes_back_as_nothing(table: Any):
    assert round_trip(table, at=None, value=None) == (None, None)


def test_a_naive_time_is_refused(table: Any):
    with pytest.raises(sqlalchemy.exc.StatementError, match="without a zone"):
        round_trip(table, at=datetime(2026, 1, 1), value=None)  # noqa: DTZ001 - the point of the test
    with pytest.raises(ValueError, match="without a zone"):
        time_text(datetime(2026, 1, 1))  # noqa: DTZ001 - the point of the test


@given(TIMES)
def test_the_text_of_a_time_has_27_characters_and_reads_back(at: datetime):
    text = time_text(at)
    assert (len(text), text[-1], parse_time(text)) == (27, "Z", at)


@given(TIMES, TIMES)
def test_text_order_is_time_order(one: datetime, other: datetime):
    assert (time_text(one) < time_text(other)) is (one < other)


@pytest.mark.parametrize(
    "text",
    ["", "2026-01-01", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000000", "2026-01-01T00:00:00.000000+00:00", "now"],
)
def test_another_form_is_no_stored_time(text: str):
    with pytest.raises(ValueError, match=r"does not match|unconverted"):
        parse_time(text)


def test_the_zone_of_the_machine_changes_nothing(table: Any, monkeypatch: pytest.MonkeyPatch):
    import time

    at = datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=8)))
    try:
        for zone in ("Pacific/Auckland", "America/St_Johns", "UTC"):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            assert time_text(at) == "2026-07-01T04:00:00.000000Z"
            assert round_trip(table, at=at, value=None)[0] == at
    finally:
        monkeypatch.undo()
        time.tzset()
    assert os.environ.get("TZ") != "Pacific/Auckland"
