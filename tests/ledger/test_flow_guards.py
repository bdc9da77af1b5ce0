"""What the database itself refuses of capital flows, whoever writes and whatever is switched off."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import ledger

if TYPE_CHECKING:
    from tests.support.database import Database

AT = "2026-01-05T00:00:00.000000Z"
#: Of a connection: nothing, and what switches off as much as a writer can.
SESSIONS = {
    "sqlite": ("SELECT 1", "PRAGMA foreign_keys = OFF"),
    "postgresql": ("SELECT 1", "SET session_replication_role = replica"),
}
REPLACES = "a flow replaces one of its own bot and account, INITIAL only INITIAL"
TAKEN = "the row exists|capital_flows_replaced"


def insert(verb: str = "INSERT", **changes: Any) -> str:
    """Return the statement that writes a deposit of 5 to momo-1 on ib-1, with changes."""
    row = {
        "act_id": "x", "bot_id": "momo-1", "account_id": "ib-1", "kind": "DEPOSIT", "amount": "5", "currency": "USD",
        "at": AT, "actor": "me", "created_at": AT, "trace_id": "1" * 32, **changes,
    }  # fmt: skip
    values = ", ".join("NULL" if value is None else f"'{value}'" for value in row.values())
    return f"{verb} INTO capital_flows ({', '.join(row)}) VALUES ({values})"


@pytest.fixture
def desk(database: Database) -> Database:
    """1: INITIAL, replaced by 2; 3: a deposit; 4: a deposit of carry-2; 5: one of momo-1 on ib-2; 6: a broker's fee."""
    ledger.desk(database, bots=("momo-1", "carry-2"))
    ledger.desk(database, bots=(), account="ib-2")
    for row in (
        {"kind": "INITIAL"},
        {"kind": "INITIAL", "amount": "6", "replaces_id": 1},
        {},
        {"bot_id": "carry-2"},
        {"account_id": "ib-2"},
        {"kind": "FEE", "external_id": "F1"},
    ):
        database.sql(insert(**row))
    return database


#: What is written → why it is refused, on both engines.
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a flow of another bot": ({"replaces_id": 4}, REPLACES),
    "a flow of another account": ({"replaces_id": 5}, REPLACES),
    "a flow that is not there": ({"replaces_id": 77}, REPLACES),
    "itself": ({"id": 50, "replaces_id": 50}, REPLACES),
    "an INITIAL by a deposit": ({"replaces_id": 2}, REPLACES),
    "a deposit by an INITIAL": ({"kind": "INITIAL", "replaces_id": 3}, REPLACES),
    "a flow twice": ({"kind": "INITIAL", "amount": "7", "replaces_id": 1}, TAKEN),
    "a second INITIAL": ({"kind": "INITIAL"}, "the row exists|capital_flows_initial"),
    "a known id of the broker's": ({"external_id": "F1"}, "the row exists|capital_flows_external"),
    "nothing, for nothing": ({"amount": "0"}, "capital_flows_taken_back"),
    "a fee of nothing": ({"amount": "0", "kind": "FEE"}, "capital_flows_taken_back"),
    "an INITIAL taken back": ({"kind": "INITIAL", "amount": "0", "replaces_id": 2}, "capital_flows_taken_back"),
    "below zero": ({"amount": "-5", "replaces_id": 3}, "capital_flows_positive"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_the_database_refuses(desk: Database, what: str):
    row, why = REFUSED[what]
    before = desk.sql("SELECT * FROM capital_flows ORDER BY id")
    for words in SESSIONS[desk.kind]:
        with contextlib.closing(desk.raw()) as connection:
            connection.execute(words)
            with pytest.raises(Exception, match=why):
                connection.execute(insert(**row))
    assert desk.sql("SELECT * FROM capital_flows ORDER BY id") == before


@pytest.mark.parametrize("amount", ["-0", "0.0", "00", "", "x"])
def test_zero_has_one_text_on_sqlite(sqlite_database: Database, amount: str):
    ledger.desk(sqlite_database)
    sqlite_database.sql(insert(kind="FEE"))
    with pytest.raises(Exception, match="capital_flows_amount"):
        sqlite_database.sql(insert(kind="FEE", amount=amount, replaces_id=1))


def test_nothing_is_replaced_by_a_replace(sqlite_database: Database):
    ledger.desk(sqlite_database)
    for row in ({"kind": "INITIAL"}, {"kind": "INITIAL", "replaces_id": 1}, {}, {"external_id": "W1"}):
        sqlite_database.sql(insert(**row))
    before = sqlite_database.sql("SELECT * FROM capital_flows")
    for verb in ("REPLACE", "INSERT OR REPLACE"):
        for row in (
            {"kind": "INITIAL"},
            {"kind": "INITIAL", "replaces_id": 1},
            {"external_id": "W1"},
            {"external_id": "W1", "replaces_id": 3},
        ):
            with pytest.raises(Exception, match="the row exists"):
                sqlite_database.sql(insert(verb, **row))
        with pytest.raises(Exception, match="append-only"):
            sqlite_database.sql(insert(verb, id=3))
    for change in ("UPDATE capital_flows SET replaces_id = NULL", "DELETE FROM capital_flows"):
        with pytest.raises(Exception, match="append-only"):
            sqlite_database.sql(change)
    assert sqlite_database.sql("SELECT * FROM capital_flows") == before


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"replaces_id": 77}, "FOREIGN KEY|capital_flows_replaces_id_fkey"),
        ({"kind": "INITIAL", "replaces_id": 1}, r"UNIQUE.*replaces_id|capital_flows_replaced"),
        ({"kind": "INITIAL"}, r"UNIQUE.*bot_id|capital_flows_initial"),
    ],
)
def test_the_keys_hold_without_the_triggers(desk: Database, row: dict[str, Any], why: str):
    desk.drop_triggers()
    with contextlib.closing(desk.raw()) as connection:
        if desk.kind == "sqlite":
            connection.execute("PRAGMA foreign_keys = ON")
        with pytest.raises(Exception, match=why):
            connection.execute(insert(**row))


def test_what_is_right_is_taken(desk: Database):
    desk.sql(insert(kind="INITIAL", amount="8", replaces_id=2))
    desk.sql(insert(kind="WITHDRAWAL", amount="1", replaces_id=3))
    desk.sql(insert(amount="0", replaces_id=_last(desk)))
    desk.sql(insert(kind="FEE", amount="-1", replaces_id=6))
    desk.sql(insert(kind="FEE", amount="0", replaces_id=_last(desk)))
    assert len(desk.sql("SELECT id FROM capital_flows WHERE replaces_id IS NOT NULL")) == 6


def _last(database: Database) -> int:
    ((last,),) = database.sql("SELECT max(id) FROM capital_flows")
    return int(last)
