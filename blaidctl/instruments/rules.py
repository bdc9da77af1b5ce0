"""Pure rules of sessions: what a market does at a moment, in its own time zone.

Hours are texts `HH:MM:SS` of local wall time, whose order is the order of time; an interval holds its opening and not
its close. A holiday closes the whole day, whatever else the date says. An early close and a late open cut the weekday's
hours; where the close comes first, the market trades before the one and after the other.
"""

from __future__ import annotations

import itertools
import zoneinfo
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from blaidctl.core import decimals
from blaidctl.fleet.rules import closest
from blaidctl.instruments.vocabulary import DateKind, MarketState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from decimal import Decimal

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
DAY_START, DAY_END = "00:00:00", "24:00:00"
#: How far ahead the next opening or close is looked for: the longest holidays and a week.
LOOK_AHEAD_DAYS = 15


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a day in which a session trades."""

    opens: str
    closes: str
    state: MarketState


@dataclass(frozen=True, slots=True)
class Session:
    """A session as its files describe it."""

    name: str
    timezone: str
    #: Weekday (0 is Monday) → its stretches, in order.
    week: Mapping[int, Sequence[Stretch]]
    #: Date → kind → time of day (empty for a holiday).
    dates: Mapping[str, Mapping[DateKind, str]]

    @property
    def zone(self) -> zoneinfo.ZoneInfo:
        """The time zone."""
        return zone_of(self.timezone)


@dataclass(frozen=True, slots=True)
class Moment:
    """What a session does at one moment, and why."""

    state: MarketState
    local_time: datetime
    why: str
    #: When it opens or closes next, as far as can be seen.
    until: datetime | None


def zone_of(name: str) -> zoneinfo.ZoneInfo:
    """Return a time zone of the IANA database. Raises ValueError for a name that it does not have."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        msg = f"{name[:64]!r} is no time zone of the IANA database"
        raise ValueError(msg) from None


def nearest(name: str, known: Sequence[str]) -> list[str]:
    """Return the known names nearest to a mistyped one, whatever their case."""
    spelled = {other.lower(): other for other in known}
    return [spelled[other] for other in closest(name, list(spelled))]


def tick_value(tick_size: Decimal, point_value: Decimal) -> Decimal:
    """Return what one tick of one contract is worth, exactly."""
    return decimals.times(tick_size, point_value)


def at(session: Session, when: datetime) -> Moment:
    """Return what a session does at a moment."""
    local = when.astimezone(session.zone)
    day, clock = local.date(), f"{local:%H:%M:%S}"
    state = _state(stretches(session, day), clock)
    return Moment(state, local, _why(session, day), _next_change(session, when, local.date(), state))


def stretches(session: Session, day: date) -> list[Stretch]:
    """Return when a session trades on a date."""
    special = session.dates.get(day.isoformat(), {})
    if DateKind.HOLIDAY in special:
        return []
    week = session.week.get(day.weekday(), ())
    return [cut for start, end in _windows(special) for stretch in week for cut in _cut(stretch, start, end)]


def _windows(special: Mapping[DateKind, str]) -> list[tuple[str, str]]:
    """Return the parts of a day that early closes and late opens leave."""
    close, late = special.get(DateKind.EARLY_CLOSE), special.get(DateKind.LATE_OPEN)
    if close and late and close < late:
        return [(DAY_START, close), (late, DAY_END)]
    return [(late or DAY_START, close or DAY_END)]


def _cut(stretch: Stretch, start: str, end: str) -> Iterator[Stretch]:
    opens, closes = max(stretch.opens, start), min(stretch.closes, end)
    if opens < closes:
        yield Stretch(opens, closes, stretch.state)


def _state(day: Sequence[Stretch], clock: str) -> MarketState:
    return next((s.state for s in day if s.opens <= clock < s.closes), MarketState.CLOSED)


def _why(session: Session, day: date) -> str:
    special = session.dates.get(day.isoformat(), {})
    if DateKind.HOLIDAY in special:
        return f"{day} is a holiday"
    said = [f"{kind.replace('_', ' ')} {special[kind]}" for kind in DateKind if kind in special]
    return f"{WEEKDAYS[day.weekday()]}" + (f", {', '.join(said)}" if said else "")


def _next_change(session: Session, when: datetime, today: date, state: MarketState) -> datetime | None:
    """Return when the session next turns from trading to closed or back."""
    trades = state is not MarketState.CLOSED
    for moment, opens in _turns(session, today):
        if moment > when and opens != trades:
            return moment
    return None


def _turns(session: Session, today: date) -> Iterator[tuple[datetime, bool]]:
    """Yield (moment, whether it opens) for what begins and ends from today on; stretches that touch are one."""
    pieces = (
        (_moment(session, day, s.opens), _moment(session, day, s.closes))
        for day in (today + timedelta(days=n) for n in range(LOOK_AHEAD_DAYS))
        for s in stretches(session, day)
    )
    end: datetime | None = None
    for opens, closes in pieces:
        if end is None or opens > end:
            if end is not None:
                yield end, False
            yield opens, True
        end = closes
    last = _moment(session, today + timedelta(days=LOOK_AHEAD_DAYS - 1), DAY_END)
    if end is not None and end < last:
        yield end, False


def _moment(session: Session, day: date, clock: str) -> datetime:
    """Return a local time of day as a moment; the end of a day is the start of the next one."""
    if clock == DAY_END:
        day, clock = day + timedelta(days=1), DAY_START
    return datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=session.zone).astimezone(UTC)


def week_lines(session: Session) -> list[tuple[str, str]]:
    """Return the week for a person: runs of days with the same hours, and those hours."""
    said = [
        ", ".join(f"{_short(s.opens)}-{_short(s.closes)} {s.state.lower()}" for s in session.week.get(day, ()))
        for day in range(7)
    ]
    lines = []
    for hours, run in itertools.groupby(range(7), key=said.__getitem__):
        days = [WEEKDAYS[day][:3] for day in run]
        lines.append((days[0] if len(days) == 1 else f"{days[0]}-{days[-1]}", hours or "closed"))
    return lines


def _short(clock: str) -> str:
    return clock[:5] if clock.endswith(":00") else clock
