"""When a state changes, what an answer is worth, which addresses are taken, where a gap lies: without a database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blaidctl.providers import rules
from blaidctl.providers.rules import BadReplyError, Health, Reply, Seen, Steps
from blaidctl.providers.vocabulary import Failure, ProviderReason, ProviderState

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
STEPS = Steps(degrade_after=2, block_after=4, recover_after=3)
BAD, GOOD = Seen(Failure.TIMEOUT, "late"), Seen()
OK = Health(ProviderState.OK, ProviderReason.RECOVERED, "", 0, 1)
NEW = Health(ProviderState.BLOCKED, ProviderReason.NEVER_CHECKED, "", 0, 0)


def states(health: Health, looks: str) -> str:
    """The first letters of the states after each look: `b` a bad one, `g` a good one."""
    found = ""
    for look in looks:
        health = rules.after(health, BAD if look == "b" else GOOD, STEPS)
        found += health.state[0]
    return found


@pytest.mark.parametrize(
    ("start", "looks", "expected"),
    [
        (OK, "bbbb", "ODDB"),
        (OK, "bgbgb", "OOOOO"),
        (OK, "bbgggg", "ODDDOO"),
        (OK, "bbggbggg", "ODDDDDDO"),
        (OK, "bbbbggggggg", "ODDBBBDDDOO"),
        (OK, "bbbbggbggg", "ODDBBBBBBD"),
        (OK, "bbbbgggbbbb", "ODDBBBDDDDB"),
        (NEW, "g", "O"),
        (NEW, "bgggggg", "BBBDDDO"),
    ],
)
def test_a_state_changes_after_enough_looks_of_a_kind_and_comes_back_a_step_at_a_time(
    start: Health, looks: str, expected: str
):
    assert states(start, looks) == expected


def test_a_failure_that_left_fills_unread_degrades_at_once_and_does_not_block_at_once():
    once = rules.after(OK, BAD, STEPS, at_once=True)
    assert (once.state, once.reason, once.failures) == (ProviderState.DEGRADED, ProviderReason.TIMEOUT, 1)


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
def test_no_state_is_skipped_and_ok_is_always_earned(looks: list[bool], degrade: int, more: int, recover: int):
    steps, health = Steps(degrade, degrade + more, recover), NEW
    order = ["OK", "DEGRADED", "BLOCKED"]
    seen_bad = False
    for number, good in enumerate(looks):
        now = rules.after(health, GOOD if good else BAD, steps)
        first = health.reason is ProviderReason.NEVER_CHECKED and good
        assert first or abs(order.index(now.state) - order.index(health.state)) <= 1
        assert now.failures == 0 or now.successes == 0
        if now.state == "OK" != health.state:
            assert good
            assert not seen_bad or all(looks[max(0, number - recover + 1) : number + 1])
        if now.state != health.state and not good:
            assert now.failures >= (degrade if now.state == "DEGRADED" else degrade + more)
        seen_bad = seen_bad or not good
        health = now


# ---- an answer -----------------------------------------------------------------------------------------------


def reply(body: bytes = b"{}", status: int = 200, made_at: datetime | None = NOW, **headers: str) -> Reply:
    dated = {"date": format_datetime(made_at, usegmt=True)} if made_at else {}
    return Reply(status, {**dated, **headers}, body)


def failure(given_reply: Reply, field: str | None = None) -> Any:
    try:
        rules.judge_check(given_reply, NOW, 60, field)
    except BadReplyError as bad:
        return bad.failure
    return None


@pytest.mark.parametrize(
    ("answer", "field", "expected"),
    [
        (reply(), None, None),
        (reply(status=500), None, Failure.HTTP_STATUS),
        (reply(status=404), None, Failure.HTTP_STATUS),
        (reply(status=302, location="https://elsewhere/"), None, Failure.HTTP_STATUS),
        (reply(status=204), None, Failure.HTTP_STATUS),
        (reply(status=206), None, Failure.PARTIAL),
        (reply(b""), None, Failure.BAD_JSON),
        (reply(b"<html>"), None, Failure.BAD_JSON),
        (reply(b"\xff{}"), None, Failure.BAD_JSON),
        (reply(b'{"a": NaN}'), None, Failure.BAD_JSON),
        (reply(b"[]"), None, Failure.BAD_JSON),
        (reply(b"[" * 100_000), None, Failure.BAD_JSON),
        (reply(made_at=NOW - timedelta(seconds=60)), None, None),
        (reply(made_at=NOW - timedelta(seconds=61)), None, Failure.STALE),
        (reply(made_at=NOW + timedelta(seconds=61)), None, Failure.STALE),
        (reply(made_at=None), None, Failure.STALE),
        (reply(made_at=None, date="yesterday"), None, Failure.STALE),
        (reply(age="60"), None, None),
        (reply(age="61"), None, Failure.STALE),
        (reply(age="-1"), None, Failure.STALE),
        (reply(b'{"t": "2026-01-05T11:59:30Z"}'), "t", None),
        (reply(b'{"a": {"t": 1767614370}}', made_at=None), "a.t", None),
        (reply(b'{"a": {"t": 1767614370000}}'), "a.t", None),
        (reply(b'{"t": "2026-01-05T06:59:30.123456789-05:00"}'), "t", None),
        (reply(b'{"t": "2026-01-05T11:58:00Z"}'), "t", Failure.STALE),
        (reply(b'{"t": "2026-01-05T12:30:00Z"}'), "t", Failure.STALE),
        (reply(b'{"t": "2026-01-05T12:00:00"}'), "t", Failure.STALE),
        (reply(b'{"t": true}'), "t", Failure.STALE),
        (reply(b'{"t": 1e400}'), "t", Failure.STALE),
        (reply(b'{"other": 1}'), "t", Failure.STALE),
        # A fresh field does not make an old answer fresh.
        (reply(b'{"t": "2026-01-05T12:00:00Z"}', made_at=NOW - timedelta(hours=1)), "t", Failure.STALE),
    ],
)
def test_an_answer_is_good_or_fails_for_one_reason(answer: Reply, field: str | None, expected: Failure | None):
    assert failure(answer, field) == expected


# ---- addresses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "plain", "said"),
    [
        ("https://api.example.com/clock", False, ""),
        ("http://127.0.0.1:8080/x", False, ""),
        ("http://[::1]/x", False, ""),
        ("http://localhost/x", False, ""),
        ("http://api.example.com/x", True, ""),
        ("http://api.example.com/x", False, "must be https"),
        ("http://127.0.0.1.example.com/x", False, "must be https"),
        ("https://user:pw@api.example.com/", False, "no user or password"),
        ("https://api.example.com/?apikey=1", False, "no key, token"),
        ("https://api.example.com/?access_token=", False, "no key, token"),
        ("https://api.example.com/#x", False, "no #fragment"),
        ("ftp://api.example.com/", False, "must be https://HOST"),
        ("file:///etc/passwd", False, "must be https://HOST"),
        ("https:///x", False, "must be https://HOST"),
        ("https://api.example.com:99999/", False, "no address"),
        ("https://api.example.com/\n", False, "must be https://HOST"),
        ("https://exämple.com/", False, "must be https://HOST"),
    ],
)
def test_an_address_is_https_and_holds_no_secret(url: str, plain: bool, said: str):  # noqa: FBT001 - a parameter
    problems = list(rules.address_problems("check_url", url, plain_http=plain))
    assert (said in "; ".join(problems)) if said else problems == []


def test_an_address_is_shown_without_its_query():
    assert rules.shown("https://u:p@api.example.com:8/a/b?x=1#y") == "https://api.example.com:8/a/b"


# ---- gaps ----------------------------------------------------------------------------------------------------


def at(minute: int) -> datetime:
    return NOW + timedelta(minutes=minute)


STATES = [
    ("BLOCKED", at(0)),
    ("OK", at(1)),
    ("DEGRADED", at(10)),
    ("BLOCKED", at(12)),
    ("DEGRADED", at(15)),
    ("OK", at(20)),
]


@pytest.mark.parametrize(
    ("states_", "bound", "unbound", "expected"),
    [
        (STATES, 2, None, [("BLOCKED", 10, 20)]),
        (STATES, 0, None, [("BLOCKED", 0, 1), ("BLOCKED", 10, 20)]),
        (STATES, 13, None, [("BLOCKED", 13, 20)]),
        (STATES, 2, 11, [("BLOCKED", 10, 11)]),
        (STATES, 2, 5, []),
        (STATES, 20, None, []),
        (STATES[:3], 2, None, [("DEGRADED", 10, None)]),
        (STATES[:3], 2, 30, [("DEGRADED", 10, 30)]),
        (STATES[:1], 5, None, [("BLOCKED", 5, None)]),
        ([], 5, None, []),
    ],
)
def test_a_gap_is_every_time_without_ok_while_the_account_was_bound(
    states_: list[tuple[str, datetime]], bound: int, unbound: int | None, expected: list[tuple[str, int, int | None]]
):
    found = rules.not_ok(states_, at(bound), None if unbound is None else at(unbound))
    assert list(found) == [(state, at(a), None if b is None else at(b)) for state, a, b in expected]
