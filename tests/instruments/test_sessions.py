"""Sessions: open or closed at hand-computed moments of the real data, over DST and holidays; what a load changes."""

from __future__ import annotations

import pytest

from tests.instruments.work import DATES, HOURS, a_desk, a_session, file
from tests.kill.fleet import done, dump, verified

#: (session, moment, state, when it turns next). By hand, from the data: New York is UTC-5 in November, UTC-4 in July;
#: Berlin is UTC+1 in winter and UTC+2 in summer.
MOMENTS = [
    # An ordinary Wednesday of ES: premarket from midnight, market 9:30 to 17:00, closed for an hour, then the evening.
    ("FUTURE-CME-ES", "2025-11-26T09:29:59-05:00", "PREMARKET", "2025-11-26T22:00:00Z"),
    ("FUTURE-CME-ES", "2025-11-26T09:30:00-05:00", "MARKET", "2025-11-26T22:00:00Z"),
    ("FUTURE-CME-ES", "2025-11-26T16:59:59.999999-05:00", "MARKET", "2025-11-26T22:00:00Z"),
    ("FUTURE-CME-ES", "2025-11-26T17:00:00-05:00", "CLOSED", "2025-11-26T23:00:00Z"),
    # Across midnight into Thanksgiving it trades on: until the early close of 13:00.
    ("FUTURE-CME-ES", "2025-11-26T18:00:00-05:00", "POSTMARKET", "2025-11-27T18:00:00Z"),
    ("FUTURE-CME-ES", "2025-11-27T00:00:00-05:00", "PREMARKET", "2025-11-27T18:00:00Z"),
    ("FUTURE-CME-ES", "2025-11-27T12:59:59-05:00", "MARKET", "2025-11-27T18:00:00Z"),
    ("FUTURE-CME-ES", "2025-11-27T13:00:00-05:00", "CLOSED", "2025-11-27T23:00:00Z"),
    ("FUTURE-CME-ES", "2025-11-27T17:59:59-05:00", "CLOSED", "2025-11-27T23:00:00Z"),
    # The late open of 18:00, through the night to the early close of the Friday, 13:15; then closed to Sunday 18:00.
    ("FUTURE-CME-ES", "2025-11-27T18:00:00-05:00", "POSTMARKET", "2025-11-28T18:15:00Z"),
    ("FUTURE-CME-ES", "2025-11-28T13:14:59-05:00", "MARKET", "2025-11-28T18:15:00Z"),
    ("FUTURE-CME-ES", "2025-11-28T13:15:00-05:00", "CLOSED", "2025-11-30T23:00:00Z"),
    ("FUTURE-CME-ES", "2025-11-30T18:00:00-05:00", "PREMARKET", "2025-12-01T22:00:00Z"),
    # A holiday closes the whole day, although the same date has an early close and a late open.
    ("FUTURE-CME-ES", "2025-01-20T10:00:00-05:00", "CLOSED", "2025-01-21T05:00:00Z"),
    ("FUTURE-CME-ES", "2025-01-20T19:00:00-05:00", "CLOSED", "2025-01-21T05:00:00Z"),
    # A late open alone: New Year's Day.
    ("FUTURE-CME-ES", "2026-01-01T17:59:59-05:00", "CLOSED", "2026-01-01T23:00:00Z"),
    ("FUTURE-CME-ES", "2026-01-01T18:00:00-05:00", "POSTMARKET", "2026-01-02T22:00:00Z"),
    # New York's summer: 9:30 is 13:30 UTC, in winter 14:30.
    ("FUTURE-CME-ES", "2025-07-15T13:29:59Z", "PREMARKET", "2025-07-15T21:00:00Z"),
    ("FUTURE-CME-ES", "2025-07-15T13:30:00Z", "MARKET", "2025-07-15T21:00:00Z"),
    ("FUTURE-CME-ES", "2025-11-26T14:29:59Z", "PREMARKET", "2025-11-26T22:00:00Z"),
    # The Sunday of the change: 2025-03-09 18:00 New York is 22:00 UTC, the Sunday before it was 23:00.
    ("FUTURE-CME-ES", "2025-03-02T22:30:00Z", "CLOSED", "2025-03-02T23:00:00Z"),
    ("FUTURE-CME-ES", "2025-03-09T22:30:00Z", "PREMARKET", "2025-03-10T21:00:00Z"),
    # FDAX, 01:10 to 22:00 Berlin: 00:10 UTC in winter, 23:10 UTC of the day before in summer.
    ("FUTURE-EUREX", "2026-01-14T00:09:59Z", "CLOSED", "2026-01-14T00:10:00Z"),
    ("FUTURE-EUREX", "2026-01-14T00:10:00Z", "MARKET", "2026-01-14T21:00:00Z"),
    ("FUTURE-EUREX", "2026-01-14T21:00:00Z", "CLOSED", "2026-01-15T00:10:00Z"),
    ("FUTURE-EUREX", "2026-07-14T23:09:59Z", "CLOSED", "2026-07-14T23:10:00Z"),
    ("FUTURE-EUREX", "2026-07-14T23:10:00Z", "MARKET", "2026-07-15T20:00:00Z"),
    ("FUTURE-EUREX", "2026-07-15T20:00:00Z", "CLOSED", "2026-07-15T23:10:00Z"),
    # Christmas at Eurex: closed from Tuesday 23rd, 22:00 Berlin, to Monday 29th, 01:10.
    ("FUTURE-EUREX", "2025-12-24T12:00:00+01:00", "CLOSED", "2025-12-29T00:10:00Z"),
    # The weekend of the change of clocks in Berlin: Friday 22:00 is 21:00 UTC, Monday 01:10 is 23:10 UTC of Sunday.
    ("FUTURE-EUREX", "2026-03-27T22:00:00+01:00", "CLOSED", "2026-03-29T23:10:00Z"),
    # Crypto never closes: there is no next turn.
    ("CRYPTO-BINANCE", "2025-12-25T00:00:00Z", "MARKET", None),
    ("CRYPTO-BINANCE", "2025-11-29T23:59:59.999999Z", "MARKET", None),
]  # fmt: skip


@pytest.mark.operation("session show")
def test_it_is_open_exactly_when_the_data_says_so(sqlite_database, cli):
    del sqlite_database
    a_session(cli)
    for name, moment, state, until in MOMENTS:
        shown = done(cli("session", "show", name, "--at", moment)).json["result"]
        turns = shown["until"]
        assert (name, moment, shown["state"]) == (name, moment, state)
        assert (name, moment, turns and turns.replace(".000000", "")) == (name, moment, until)
        assert shown["is_open"] == (state != "CLOSED")


@pytest.mark.operation("session show", "instrument show", "session list")
def test_an_instrument_tells_its_session_s_hours_and_state_on_both_engines(cli):
    a_desk(cli)
    shown = done(cli("instrument", "show", "ES", "--at", "2025-11-27T13:00:00-05:00")).json["result"]
    assert (shown["state"], shown["is_open"], shown["session"]) == ("CLOSED", False, "FUTURE-CME-ES")
    assert shown["local_time"] == "Thu 2025-11-27 13:00:00 EST"
    assert shown["why"] == "thursday, early close 13:00:00, late open 18:00:00"
    assert shown["week"] == [
        {"days": "mon-thu", "hours": "00:00-09:30 premarket, 09:30-17:00 market, 18:00-24:00 postmarket"},
        {"days": "fri", "hours": "00:00-09:30 premarket, 09:30-17:00 market"},
        {"days": "sat", "hours": "closed"},
        {"days": "sun", "hours": "18:00-24:00 premarket"},
    ]
    session = done(cli("session", "show", "FUTURE-CME-ES", "--at", "2025-11-27T13:00:00-05:00", "--limit", "3")).json
    assert session["result"]["coming"] == [
        {"date": "2025-11-27", "kind": "early_close", "time": "13:00:00"},
        {"date": "2025-11-27", "kind": "late_open", "time": "18:00:00"},
        {"date": "2025-11-28", "kind": "early_close", "time": "13:15:00"},
    ]
    assert len(session["result"]["hours"]) == 15
    listed = {row["name"]: row for row in done(cli("session", "list")).json["result"]["sessions"]}
    assert list(listed) == sorted(listed)
    assert (listed["FUTURE-EUREX"]["hours"], listed["FUTURE-EUREX"]["instruments"]) == (5, 2)
    assert listed["FUTURE-CME-ES"]["timezone"] == "America/New_York"
    # Without --at it is now, whatever now is.
    assert done(cli("session", "show", "CRYPTO-KRAKEN")).json["result"]["state"] == "MARKET"


@pytest.mark.parametrize(
    "at",
    [
        "2025-11-27T13:00:00", "2025-11-27", "yesterday", "", "1732716000", "2025-13-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
    ],
)  # fmt: skip
def test_a_moment_without_its_offset_or_out_of_the_world_is_refused(sqlite_database, cli, at: str):
    del sqlite_database
    a_session(cli)
    run = cli("session", "show", "FUTURE-EUREX", "--at", at)
    assert (run.code, run.error["error_code"]) == (2, "INVALID_REQUEST")
    assert "at: " in run.error["missing_requirements"][0]


def test_an_unknown_session_names_the_closest(cli):
    a_session(cli)
    run = cli("session", "show", "future-cme-E")
    assert (run.code, run.error["error_code"]) == (3, "SESSION_NOT_FOUND")
    assert "did you mean" in run.error["message"]
    assert "FUTURE-CME-ES" in run.error["message"]


def test_a_file_is_the_truth_about_the_sessions_that_it_names(cli, database, home):
    a_session(cli)
    hours = "session,timezone,day,open,close,state\nFUTURE-EUREX,Europe/Berlin,monday,08:00,22:00,market\n"
    path = file(home, hours)
    result = done(cli("session", "load", path)).json["result"]
    (told,) = result["sessions"]
    assert (told["outcome"], told["detail"]) == ("CHANGED", "hours +1 -5")
    # Without a file of dates the dates stay; with one, they are what it says.
    shown = done(cli("session", "show", "FUTURE-EUREX", "--at", "2025-12-24T12:00:00Z")).json["result"]
    assert (shown["why"], shown["week"][0]["hours"]) == ("2025-12-24 is a holiday", "08:00-22:00 market")
    dates = file(home, "session,date,kind,time\nFUTURE-EUREX,2025-12-23,early_close,14:00\n", "dates.csv")
    (told,) = done(cli("session", "load", path, "--dates", dates)).json["result"]["sessions"]
    assert told["detail"] == "dates +1 -41"
    assert (
        done(cli("session", "show", "FUTURE-EUREX", "--at", "2025-12-24T12:00:00Z")).json["result"]["state"] == "CLOSED"
    )
    events = database.sql("SELECT action, session FROM session_events ORDER BY id DESC LIMIT 2")
    assert events == [("CHANGED", "FUTURE-EUREX")] * 2
    assert verified(cli)["event_rows"] == 28
    # And the real files make it what it was.
    done(cli("session", "load", HOURS, "--dates", DATES))
    assert done(cli("session", "load", HOURS, "--dates", DATES)).json["result"]["summary"].startswith("0 changes")


def test_a_session_changes_whole_or_not_at_all(cli, database, home):
    a_session(cli)
    before = dump(database)
    bad = file(home, HOURS.read_text(encoding="utf-8").replace("Europe/Berlin", "Europe/Bonn"))
    run = cli("session", "load", bad, "--dates", DATES)
    assert (run.code, run.error["error_code"], len(run.error["missing_requirements"])) == (2, "ROWS_REFUSED", 5)
    assert dump(database) == before
