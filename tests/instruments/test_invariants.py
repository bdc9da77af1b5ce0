"""What the database refuses of instruments and sessions, whoever writes: raw SQL around the product."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.instruments.work import a_desk
from tests.kill.fleet import dump, verified

if TYPE_CHECKING:
    from tests.support.database import Database

#: What a hostile session may say first; keys, CHECKs and triggers hold under each.
SAID_FIRST = {
    "sqlite": ("", "PRAGMA foreign_keys=OFF", "PRAGMA recursive_triggers=OFF"),
    "postgresql": ("", "SET session_replication_role = local"),
}
AT = "'2026-05-05T05:05:05.000000Z'"
GOOD = {
    "symbol": "'XX'", "exchange": "'CME'", "asset_class": "'future'", "description": "''", "tick_size": "'0.25'",
    "point_value": "'50'", "currency": "'USD'", "min_qty": "'1'", "min_notional": "NULL", "max_qty": "NULL",
    "lot_size": "'1'", "session": "'FUTURE-CME-ES'", "venue_symbol": "''", "price_magnifier": "'1'", "is_active": "1",
    "updated_at": AT,
}  # fmt: skip
EVENT = {
    "act_id": "'x'", "action": "'CHANGED'", "exchange": "'CME'", "symbol": "'ES'", "asset_class": "'future'",
    "before": "'{}'", "after": "'{}'", "source_sha256": "'x'", "created_at": AT, "actor": "'me'",
    "trace_id": f"'{'a' * 32}'",
}  # fmt: skip
CHECK, NULL, UNKNOWN = "(?i)check constraint", "(?i)not.null constraint", "no session of this name is known"
EXISTS = "(?i)the key exists|duplicate key|unique constraint"


def insert(table: str, values: dict[str, str], *, verb: str = "INSERT") -> str:
    return f"{verb} INTO {table} ({', '.join(values)}) VALUES ({', '.join(values.values())})"


@pytest.fixture
def desk(cli):
    a_desk(cli)
    return cli


def refuses(database: Database, statement: str, reason: str, *, also: tuple[str, ...] = ()) -> None:
    """Insist that a statement fails for its reason in every kind of session, and that nothing changed."""
    before = dump(database)
    for first in (*SAID_FIRST[database.kind], *also):
        with contextlib.closing(database.raw()) as connection:
            if first:
                connection.execute(first)
            with pytest.raises(Exception, match=reason):
                connection.execute(statement)
    assert dump(database) == before


BAD_AMOUNTS = ("'0'", "'0.000'", "'NaN'", "'-1'", "'-0.5'")
AMOUNTS = ("tick_size", "point_value", "min_qty", "min_notional", "max_qty", "lot_size", "price_magnifier")


def test_no_amount_is_zero_negative_or_no_number(desk, database):
    for column in AMOUNTS:
        for bad in BAD_AMOUNTS:
            refuses(database, insert("instruments", GOOD | {column: bad}), CHECK)
            refuses(database, f"UPDATE instruments SET {column} = {bad} WHERE symbol = 'ES'", CHECK)
        if column not in {"min_notional", "max_qty"}:
            refuses(database, insert("instruments", GOOD | {column: "NULL"}), NULL)
    for text in ("'a lot'", "'Infinity'", "'1e400'"):
        refuses(
            database, insert("instruments", GOOD | {"tick_size": text}), "(?i)check|invalid input|overflow|infinity"
        )
    verified(desk)


def test_sqlite_takes_an_amount_only_in_its_one_text(sqlite_database, cli):
    a_desk(cli)
    for text in ("'1e3'", "'0.250'", "'.25'", "'1.'", "' 1'", "'01'", "'0x10'", "'1,5'", "'0.0000000000000000001'"):
        refuses(sqlite_database, insert("instruments", GOOD | {"tick_size": text}), CHECK)
    sqlite_database.sql(insert("instruments", GOOD | {"tick_size": "0.25"}))
    assert sqlite_database.sql("SELECT tick_size FROM instruments WHERE symbol = 'XX'") == [("0.25",)]


@pytest.mark.parametrize(("least", "most"), [("2", "1"), ("10", "9"), ("1", "0.5"), ("0.0000001", "0.00000001")])
def test_the_least_quantity_is_at_most_the_largest(desk, database, least: str, most: str):
    refuses(database, insert("instruments", GOOD | {"min_qty": f"'{least}'", "max_qty": f"'{most}'"}), CHECK)
    refuses(database, f"UPDATE instruments SET min_qty = '{least}', max_qty = '{most}' WHERE symbol = 'ES'", CHECK)
    database.sql(insert("instruments", GOOD | {"min_qty": f"'{most}'", "max_qty": f"'{least}'"}))
    del desk


def test_no_session_is_unknown(desk, database):
    also = ("SET session_replication_role = replica",) if database.kind == "postgresql" else ()
    for statement in (
        insert("instruments", GOOD | {"session": "'MOON'"}),
        "UPDATE instruments SET session = 'MOON' WHERE symbol = 'ES'",
        "INSERT INTO session_hours VALUES ('MOON', 0, 'market', '08:00:00', '09:00:00')",
        "INSERT INTO session_dates (session, date, kind, time) VALUES ('MOON', '2026-01-01', 'holiday', NULL)",
    ):
        refuses(database, statement, UNKNOWN, also=also)
    verified(desk)


def test_a_key_stands_once_and_is_never_taken_over_renamed_or_deleted(desk, database):
    es = GOOD | {"symbol": "'ES'"}
    refuses(database, insert("instruments", es), EXISTS)
    if database.kind == "sqlite":
        refuses(database, insert("instruments", es, verb="INSERT OR REPLACE"), EXISTS)
        refuses(database, "UPDATE OR REPLACE instruments SET symbol = 'NQ' WHERE symbol = 'ES'", "never renamed")
    refuses(database, "UPDATE instruments SET symbol = 'ES2' WHERE symbol = 'ES'", "never (deleted or )?renamed")
    refuses(database, "UPDATE instruments SET exchange = 'X' WHERE symbol = 'ES'", "never (deleted or )?renamed")
    refuses(database, "UPDATE instruments SET asset_class = 'cfd' WHERE symbol = 'ES'", "never (deleted or )?renamed")
    for table in ("instruments", "sessions", "currencies"):
        refuses(database, f"DELETE FROM {table}", "never deleted|never changed")
    refuses(database, "UPDATE sessions SET name = 'X' WHERE name = 'FUTURE-EUREX'", "never (deleted or )?renamed")
    refuses(database, "UPDATE currencies SET places = 2", "never (changed|deleted)")
    if database.kind == "postgresql":
        for table in ("instruments", "sessions", "currencies"):
            refuses(database, f"TRUNCATE {table} CASCADE", "never deleted")
    verified(desk)


@pytest.mark.parametrize(
    "change",
    [
        {"asset_class": "'Future'"}, {"symbol": "''"}, {"symbol": f"'{'x' * 65}'"}, {"exchange": "''"},
        {"currency": "'X'"}, {"is_active": "2"},
    ],
    ids=str,
)  # fmt: skip
def test_names_and_flags_are_what_they_may_be(desk, database, change: dict[str, str]):
    refuses(database, insert("instruments", GOOD | change), CHECK)
    del desk


def test_events_are_never_changed_and_say_what_they_must(desk, database):
    for table in ("instrument_events", "session_events"):
        refuses(database, f"UPDATE {table} SET after = '{{}}'", "append-only")
        refuses(database, f"DELETE FROM {table}", "append-only")
        if database.kind == "postgresql":
            refuses(database, f"TRUNCATE {table}", "append-only")
    for change in (
        {"action": "'DELETED'"},
        {"action": "'LOADED'"},
        {"before": "NULL"},
        {"action": "'REACTIVATED'", "source_sha256": "NULL"},
        {"trace_id": "'short'"},
    ):
        refuses(database, insert("instrument_events", EVENT | change), CHECK)
    refuses(database, insert("instrument_events", EVENT | {"after": "NULL"}), NULL)
    if database.kind == "sqlite":
        refuses(database, insert("instrument_events", EVENT | {"id": "1"}, verb="INSERT OR REPLACE"), "append-only")
    verified(desk)


@pytest.mark.parametrize(
    ("hour", "taken"),
    [
        ("7, 'market', '08:00:00', '09:00:00'", False),
        ("-1, 'market', '08:00:00', '09:00:00'", False),
        ("5, 'open', '08:00:00', '09:00:00'", False),
        ("5, 'market', '8:00', '09:00:00'", False),
        ("5, 'market', '09:00:00', '08:00:00'", False),
        ("5, 'market', '09:00:00', '24:00:01'", False),
        ("5, 'market', '09:60:00', '10:00:00'", False),
        ("5, 'market', '09:00:00', '24:00:00'", True),
    ],
    ids=map(str, range(8)),
)
def test_hours_are_hours(desk, database, hour: str, taken):
    statement = f"INSERT INTO session_hours (session, weekday, state, opens, closes) VALUES ('FUTURE-EUREX', {hour})"
    if taken:
        database.sql(statement)
    else:
        refuses(database, statement, CHECK)
    del desk


@pytest.mark.parametrize(
    "date",
    [
        "'2025-02-30', 'holiday', NULL", "'2025-2-3', 'holiday', NULL", "'today', 'holiday', NULL",
        "'2026-02-03', 'holiday', '12:00:00'", "'2026-02-03', 'late_open', NULL", "'2026-02-03', 'shut', NULL",
        "'2026-02-03', 'early_close', 'noon'",
    ],
    ids=map(str, range(7)),
)  # fmt: skip
def test_dates_are_dates(desk, database, date: str):
    statement = f"INSERT INTO session_dates (session, date, kind, time) VALUES ('FUTURE-EUREX', {date})"
    refuses(database, statement, "(?i)check constraint|out of range")
    del desk
