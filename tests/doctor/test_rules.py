"""The doctor's rules, where no real machine of a test can be made to be wrong: clocks, old servers, standbys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blaidctl.doctor import rules
from blaidctl.doctor.vocabulary import Verdict

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
SKEWS = st.integers(-5_000_000, 5_000_000).map(lambda us: timedelta(microseconds=us))
TRIPS = st.integers(0, 3_000_000).map(lambda us: timedelta(microseconds=us))


@given(skew=SKEWS, there=TRIPS, back=TRIPS)
def test_a_clock_is_blamed_only_for_what_the_question_did_not_take(skew: timedelta, there: timedelta, back: timedelta):
    server = NOON
    seen = rules.clock(server + skew - there, server, server + skew + back)
    if abs(skew) <= timedelta(seconds=1):
        assert seen.verdict is Verdict.OK
    if abs(skew) > timedelta(seconds=1) + there + back:
        assert seen.verdict is Verdict.FINDING
        assert ("ahead of" in seen.detail) is (skew > timedelta())


@pytest.mark.parametrize(
    ("host_ahead_s", "found"), [(0, "OK"), (0.9, "OK"), (-1, "OK"), (1.01, "FINDING"), (-7, "FINDING")]
)
def test_a_clock_a_second_away_is_one_that_nobody_keeps(host_ahead_s: float, found: str):
    at = NOON + timedelta(seconds=host_ahead_s)
    assert rules.clock(at, NOON, at).verdict == found


@pytest.mark.parametrize(("number", "found"), [(120022, "FINDING"), (130000, "OK"), (180006, "OK")])
def test_a_server_older_than_thirteen_is_a_finding(number: int, found: str):
    assert rules.server_version(number, "x").verdict == found


def test_a_standby_takes_no_kill():
    seen = rules.primary(standby=True, read_only=True)
    assert (seen.verdict, seen.detail) == (Verdict.FINDING, "the server is a standby: it takes no kill")
    assert rules.primary(standby=False, read_only=False).verdict is Verdict.OK


@pytest.mark.parametrize("name", list(rules.PRAGMAS))
def test_each_pragma_is_judged(name: str):
    well = {"foreign_keys": 1, "synchronous": 2, "recursive_triggers": 1, "trusted_schema": 0}
    assert rules.pragmas(well).verdict is Verdict.OK
    assert rules.pragmas(well | {"synchronous": 3}).verdict is Verdict.OK
    wrong = 1 - min(well[name], 1)
    seen = rules.pragmas(well | {name: wrong})
    assert (seen.verdict, seen.detail) == (Verdict.FINDING, f"{name}={wrong}")


@pytest.mark.parametrize("name", list(rules.DURABLE))
def test_each_setting_of_durability_is_judged(name: str):
    well = dict.fromkeys(rules.DURABLE, "on")
    assert rules.durability(well).verdict is Verdict.OK
    assert rules.durability(well | {"synchronous_commit": "remote_apply"}).verdict is Verdict.OK
    seen = rules.durability(well | {name: "off"})
    assert (seen.verdict, seen.detail) == (Verdict.FINDING, f"{name}=off")


def test_many_hosts_are_counted_and_ten_are_named():
    seen = rules.unconfirmed({f"host-{number:02}": 2 for number in range(14)})
    assert seen.detail.startswith("28: host-00 2, host-01 2, ")
    assert seen.detail.endswith("host-09 2 and 4 hosts more")


def test_a_disk_with_more_than_the_least_is_well():
    assert rules.free_space("/x", rules.LEAST_FREE_BYTES).verdict is Verdict.FINDING
    assert rules.free_space("/x", rules.LEAST_FREE_BYTES + 1).verdict is Verdict.OK


def test_nothing_left_to_build_is_said_too():
    assert rules.open_findings([]) == rules.Seen(Verdict.INFO, "none")
