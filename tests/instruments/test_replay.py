"""`audit verify` replays the events: an instrument or session that is not what its last event says is named."""

from __future__ import annotations

import re

import pytest

from tests.audit.tampering import broken, tamper
from tests.instruments.work import a_desk, file, text
from tests.kill.fleet import done, verified

ANOTHER_ES = (
    "INSERT INTO instruments SELECT 'ES2', exchange, asset_class, description, tick_size, point_value, currency,"
    " min_qty, min_notional, max_qty, lot_size, session, venue_symbol, price_magnifier, is_active, updated_at"
    " FROM instruments WHERE symbol = 'ES'"
)


@pytest.fixture
def desk(cli, home):
    """Everything real; ES changed once, VX out of use."""
    a_desk(cli)
    done(cli("instrument", "load", file(home, text({"tick_size": "0.5"}))))
    done(cli("instrument", "deactivate", "VX"))
    assert verified(cli)["event_rows"] == 33 + 26 + 2
    return cli


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        (
            "UPDATE instruments SET tick_size = '0.25' WHERE symbol = 'ES'",
            "instrument CME ES future: its tick_size is not what its last event says",
        ),
        (
            "UPDATE instruments SET max_qty = '100', currency = 'EUR' WHERE symbol = 'ES'",
            "instrument CME ES future: its currency, max_qty is not what its last event says",
        ),
        (
            "UPDATE instruments SET is_active = 1 WHERE symbol = 'VX'",
            "instrument CFE VX future: its is_active is not what its last event says",
        ),
        (
            "UPDATE instruments SET updated_at = '2026-01-01T00:00:00.000000Z' WHERE symbol = 'ES'",
            r"instrument CME ES future: updated_at is 2026-01-01T00:00:00.000000Z, its last event is of .*",
        ),
        (
            ANOTHER_ES,
            "instrument CME ES2 future: no event says where it comes from",
        ),
        (
            "DELETE FROM instruments WHERE symbol = 'ES'",
            "instrument CME ES future is gone, instrument event 1 names it",
        ),
        (
            "DELETE FROM instruments WHERE exchange = 'NYMEX'",
            "instrument NYMEX CL future is gone, instrument event 14 names it",
        ),
        (
            "UPDATE sessions SET timezone = 'UTC' WHERE name = 'FUTURE-EUREX'",
            "session FUTURE-EUREX: its timezone is not what its last event says",
        ),
        (
            "DELETE FROM session_dates WHERE session = 'FUTURE-EUREX' AND date = '2025-12-25'",
            "session FUTURE-EUREX: its dates is not what its last event says",
        ),
        (
            "UPDATE session_hours SET closes = '23:00:00' WHERE session = 'FUTURE-EUREX' AND weekday = 0",
            "session FUTURE-EUREX: its hours is not what its last event says",
        ),
        (
            "INSERT INTO sessions (name, timezone, updated_at) VALUES ('MOON', 'UTC', '2026-01-01T00:00:00.000000Z')",
            "session MOON: no event says where it comes from",
        ),
    ],
    ids=map(str, range(11)),
)
def test_what_no_event_explains_is_named(desk, database, statement: str, sentence: str):
    tamper(database, statement)
    run, checks, _ = broken(desk)
    assert "replay" in checks
    named = [defect["what"] for defect in run.json["result"]["defects"] if defect["check"] == "replay"]
    assert any(re.fullmatch(sentence, what) or what == sentence for what in named), named


def test_an_event_that_does_not_begin_where_the_last_one_ended_is_named(desk, database):
    tamper(database, "UPDATE instrument_events SET before = '{}' WHERE id = 34")
    run, checks, _ = broken(desk)
    assert checks >= {"replay", "instrument_events"}
    assert any("event 34 (CHANGED) does not begin where" in d["what"] for d in run.json["result"]["defects"])
