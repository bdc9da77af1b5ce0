"""Pure rules of providers: when a state changes, how old an answer is, which addresses are taken."""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from blaidctl.providers.vocabulary import Failure, ProviderReason, ProviderState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

#: How far ahead of our clock an answer may date itself; beyond, its own clock tells nothing.
AHEAD = timedelta(seconds=60)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
OK_STATUS, PARTIAL_STATUS = 200, 206
#: What an address must not carry: it stands in argv, in the database and in errors.
_SECRET = re.compile(r"key|token|secret|signature|password|passwd|auth", re.IGNORECASE)


# --- health -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Steps:
    """After how many answers in a row a provider's state changes."""

    degrade_after: int
    block_after: int
    recover_after: int


@dataclass(frozen=True, slots=True)
class Health:
    """How a provider is doing; only one of the two counts is above zero."""

    state: ProviderState
    reason: ProviderReason
    detail: str
    failures: int
    successes: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look at a provider found; no failure: it was good."""

    failure: Failure | None = None
    detail: str = ""
    #: How many requests it took.
    attempts: int = 1
    elapsed_ms: int = 0
    http_status: int | None = None


def after(health: Health, seen: Seen, steps: Steps, *, at_once: bool = False) -> Health:
    """Return how a provider is doing after one more look.

    `at_once`: this failure was no blip of a probe but left fills unread, so one is enough to leave OK.
    """
    return _after_failure(health, seen, steps, at_once=at_once) if seen.failure else _after_success(health, steps)


def _after_failure(health: Health, seen: Seen, steps: Steps, *, at_once: bool) -> Health:
    assert seen.failure is not None  # noqa: S101 - the caller's branch
    failures = health.failures + 1
    state = health.state
    if failures >= steps.block_after:
        state = ProviderState.BLOCKED if state is not ProviderState.OK else ProviderState.DEGRADED
    elif state is ProviderState.OK and (at_once or failures >= steps.degrade_after):
        state = ProviderState.DEGRADED
    reason = ProviderReason(seen.failure)
    if state is ProviderState.OK:
        return replace(health, failures=failures, successes=0)
    return Health(state, reason, seen.detail, failures, 0)


def _after_success(health: Health, steps: Steps) -> Health:
    """Count up; leave BLOCKED for DEGRADED, and DEGRADED for OK, one at a time. What nobody ever saw is OK at once."""
    successes = health.successes + 1
    if health.state is ProviderState.OK:
        return replace(health, failures=0, successes=successes)
    if health.reason is ProviderReason.NEVER_CHECKED:
        return Health(ProviderState.OK, ProviderReason.RECOVERED, "the first good check", 0, 1)
    if successes < steps.recover_after:
        return replace(health, failures=0, successes=successes)
    state = ProviderState.DEGRADED if health.state is ProviderState.BLOCKED else ProviderState.OK
    # The next step has to be earned again.
    return Health(state, ProviderReason.RECOVERED, f"{successes} good in a row", 0, 0 if state != "OK" else successes)


def overdue(checked_at: datetime | None, check_within_s: int, now: datetime) -> bool:
    """Say whether nobody has looked at a provider for longer than its limit.

    A look that lies in the future says nothing: a clock was wrong, then or now, and nobody knows how old it is.
    """
    return checked_at is None or not -AHEAD <= now - checked_at <= timedelta(seconds=check_within_s)


# --- an answer --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back over HTTP, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class BadReplyError(Exception):
    """An answer that counts for nothing, and why."""

    def __init__(self, failure: Failure, detail: str) -> None:
        """Take the failure and a sentence that shows nothing of the body."""
        super().__init__(detail)
        self.failure = failure
        self.detail = detail


def judge_status(reply: Reply) -> None:
    """Raise BadReplyError unless the answer is a whole one."""
    if reply.status == PARTIAL_STATUS:
        raise BadReplyError(Failure.PARTIAL, "answered HTTP 206: a part")
    if 300 <= reply.status < 400:  # noqa: PLR2004 - the redirects
        raise BadReplyError(Failure.HTTP_STATUS, f"answered HTTP {reply.status}: a redirect, which is not followed")
    if reply.status != OK_STATUS:
        raise BadReplyError(Failure.HTTP_STATUS, f"answered HTTP {reply.status}")


def document(reply: Reply) -> Any:
    """Return the JSON value of a body. Raises BadReplyError."""

    def never(_text: str) -> Any:
        msg = "no number"
        raise ValueError(msg)

    try:
        return json.loads(reply.body.decode("utf-8"), parse_constant=never)
    except (ValueError, RecursionError):
        raise BadReplyError(Failure.BAD_JSON, f"sent {len(reply.body)} bytes that are not JSON") from None


def judge_check(reply: Reply, now: datetime, stale_after_s: int, stale_field: str | None) -> None:
    """Raise BadReplyError unless a probe's answer is whole, a JSON object, and fresh."""
    judge_status(reply)
    found = document(reply)
    if not isinstance(found, dict):
        raise BadReplyError(Failure.BAD_JSON, "sent JSON that is no object")
    judge_headers(reply, now, stale_after_s, needed=stale_field is None)
    if stale_field is not None:
        judge_age(now, _stamp(found, stale_field), stale_after_s, f"its {stale_field}")


def judge_headers(reply: Reply, now: datetime, stale_after_s: int, *, needed: bool) -> None:
    """Raise BadReplyError when the answer is old by its headers; a cache says so with Age, everybody with Date."""
    age = reply.headers.get("age")
    if age is not None and (
        not age.isascii() or not age.isdecimal() or int(age.lstrip("0")[:9] or "0") > stale_after_s
    ):
        raise BadReplyError(Failure.STALE, f"came from a cache: Age is over {stale_after_s} s, or is no number")
    date = reply.headers.get("date")
    if date is None:
        if needed:
            raise BadReplyError(Failure.STALE, "does not say when it was made: no Date, and no field for it is named")
        return
    try:
        made_at = parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        raise BadReplyError(Failure.STALE, "has a Date that is none") from None
    judge_age(now, made_at if made_at.tzinfo else made_at.replace(tzinfo=UTC), stale_after_s, "its Date")


def judge_age(now: datetime, made_at: datetime | None, stale_after_s: int, what: str) -> None:
    """Raise BadReplyError unless a time that an answer gives is a time, and near."""
    if made_at is None:
        raise BadReplyError(Failure.STALE, f"does not say when it was made: {what} is no time with a zone")
    age = now - made_at
    if age > timedelta(seconds=stale_after_s):
        raise BadReplyError(
            Failure.STALE, f"is {int(age.total_seconds())} s old by {what}; {stale_after_s} s are allowed"
        )
    if -age > AHEAD:
        raise BadReplyError(Failure.STALE, f"lies {int(-age.total_seconds())} s in the future by {what}")


def _stamp(found: dict[str, Any], path: str) -> datetime | None:
    value: Any = found
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return moment(value)


def moment(value: Any) -> datetime | None:
    """Read a time: ISO 8601 with a zone, or seconds or milliseconds since 1970; None for anything else."""
    try:
        if isinstance(value, bool) or value is None:
            return None
        if isinstance(value, str) and re.fullmatch(r"[0-9]{10,13}(\.[0-9]{1,9})?", value):
            value = Decimal(value)  # of a page, whose numbers stay texts
        if isinstance(value, int | float | Decimal):
            # Milliseconds, unless that were before 1973.
            seconds = value / 1000 if value > 10**11 else value
            return _EPOCH + timedelta(microseconds=int(seconds * 1_000_000))
        found = datetime.fromisoformat(_microseconds(str(value)))
    except (ValueError, OverflowError, OSError):
        return None
    return found.astimezone(UTC) if found.tzinfo else None


def _microseconds(text: str) -> str:
    """Cut nanoseconds, which Alpaca's clock gives, down to what a datetime holds."""
    return re.sub(r"(\.\d{6})\d+", r"\1", text.strip())


# --- settings ---------------------------------------------------------------------------------------------------------


def address_problems(name: str, url: str, *, plain_http: bool) -> Iterator[str]:
    """Yield what speaks against an address."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        yield f"{name}: is no address"
        return
    if parts.scheme not in {"http", "https"} or not parts.hostname or not url.isascii() or not url.isprintable():
        yield f"{name}: must be https://HOST/… in plain characters"
        return
    if port == 0:
        yield f"{name}: port 0 is none"
    if parts.username is not None or parts.password is not None:
        yield f"{name}: must hold no user or password: they would stand in logs; use --credentials"
    if parts.fragment:
        yield f"{name}: must have no #fragment"
    if any(_SECRET.search(key) for key, _ in parse_qsl(parts.query, keep_blank_values=True)):
        yield f"{name}: must hold no key, token or password in its query; use --credentials"
    if parts.scheme == "http" and not (plain_http or is_loopback(parts.hostname)):
        yield f"{name}: must be https; --plain-http allows http, which anybody on the way can read and change"


def is_loopback(host: str) -> bool:
    """Say whether a host name is this host itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def origin(url: str) -> tuple[str, str | None, int | None]:
    """Return what of an address decides who is spoken to."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def shown(url: str) -> str:
    """Return an address as errors show it: without its query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


# --- gaps -------------------------------------------------------------------------------------------------------------


def not_ok(
    states: Iterable[tuple[str, datetime]], bound_at: datetime, unbound_at: datetime | None
) -> Iterator[tuple[str, datetime, datetime | None]]:
    """Yield (worst state, from, until) for every time without OK while a binding stood; until None: it still is so.

    `states` are the states of a provider in order, each with the moment from which it held.
    """
    worst, since = "", bound_at
    for state, at in states:
        if state != ProviderState.OK:
            worst, since = (max(worst, state, key=_BADNESS.index), since) if worst else (state, at)
            continue
        if worst:
            yield from _clipped(worst, since, at, bound_at, unbound_at)
        worst = ""
    if worst:
        yield from _clipped(worst, since, None, bound_at, unbound_at)


_BADNESS = tuple(map(str, ProviderState))


def _clipped(
    state: str, since: datetime, until: datetime | None, bound_at: datetime, unbound_at: datetime | None
) -> Iterator[tuple[str, datetime, datetime | None]]:
    """Keep of a time what lies within a binding; a binding that ended ends the time too."""
    begins = max(since, bound_at)
    ends = until if unbound_at is None else unbound_at if until is None else min(until, unbound_at)
    if ends is None or ends > begins:
        yield state, begins, ends
