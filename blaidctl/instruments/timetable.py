"""From the files of sessions to checked sessions: weekly hours, and the dates that differ.

Every line that is wrong is named; one such line refuses the file, because a session with an hour or a holiday missing
would say open where it is closed.
"""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Any

from blaidctl.core import errors, files
from blaidctl.instruments import rules
from blaidctl.instruments.rows import Refusal, header_of, shown, text_problem
from blaidctl.instruments.vocabulary import DateKind, MarketState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from blaidctl.core.files import Line

HOURS_COLUMNS = ("session", "timezone", "day", "open", "close", "state")
#: Where LEAN's own entry came from: read, and not kept.
HOURS_OPTIONAL = ("source_key",)
DATES_COLUMNS = ("session", "date", "kind", "time")
MOST_ROWS = 100_000
#: Of one session's week.
MOST_STRETCHES = 200
_TIME_OF_DAY = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9])?|24:00(?::00)?")
_STATES = frozenset(state.lower() for state in MarketState if state is not MarketState.CLOSED)

#: Session → {"timezone": …, "hours": [[weekday, state, opens, closes] …]}.
Hours = dict[str, dict[str, Any]]
#: Session → [[date, kind, time or None] …].
Dates = dict[str, list[list[Any]]]


def read_hours(lines: Iterable[Line]) -> tuple[Hours, list[Refusal], int]:
    """Return the sessions of a file, the lines that are wrong, and how many rows it has."""
    found: Hours = {}
    refusals: list[Refusal] = []
    count = 0
    for line, given in _rows(lines, HOURS_COLUMNS, HOURS_OPTIONAL, refusals):
        count += 1
        entry = found.setdefault(given["session"], {"timezone": given["timezone"], "hours": []})
        if problems := [*_hour_problems(given), *_clashes(entry, given)]:
            refusals.append(Refusal(line, tuple(problems), (given["session"],)))
            continue
        opens, closes = _padded(given["open"]), _padded(given["close"])
        entry["hours"].append([rules.WEEKDAYS.index(given["day"]), given["state"], opens, closes])
    for entry in found.values():
        entry["hours"].sort(key=lambda hour: (hour[0], hour[2]))
    return found, refusals, count


def _hour_problems(given: Mapping[str, str]) -> Iterator[str]:
    yield from _name_problems(given)
    try:
        rules.zone_of(given["timezone"])
    except ValueError as error:
        yield f"timezone: {error}"
    if given["day"] not in rules.WEEKDAYS:
        yield f"day: {shown(given['day'])} is none of {', '.join(rules.WEEKDAYS)}"
    if given["state"] not in _STATES:
        yield f"state: {shown(given['state'])} is none of {', '.join(sorted(_STATES))}"
    times = [name for name in ("open", "close") if not _TIME_OF_DAY.fullmatch(given[name])]
    yield from (f"{name}: {shown(given[name])} is no time of day, HH:MM:SS up to 24:00:00" for name in times)
    if not times and _padded(given["open"]) >= _padded(given["close"]):
        yield f"open {given['open']} is not before close {given['close']}; hours across midnight are two rows"


def _clashes(entry: Mapping[str, Any], given: Mapping[str, str]) -> Iterator[str]:
    if entry["timezone"] != given["timezone"]:
        yield f"timezone: {shown(given['timezone'])} here, {shown(entry['timezone'])} earlier for this session"
    if len(entry["hours"]) >= MOST_STRETCHES:
        yield f"a session has at most {MOST_STRETCHES} rows of hours"
    elif given["day"] in rules.WEEKDAYS:
        day, opens, closes = rules.WEEKDAYS.index(given["day"]), _padded(given["open"]), _padded(given["close"])
        for other_day, _, start, end in entry["hours"]:
            if other_day == day and opens < end and start < closes:
                yield f"{given['day']} {opens}-{closes} overlaps {start}-{end}"
                return


def read_dates(lines: Iterable[Line]) -> tuple[Dates, list[Refusal], int]:
    """Return the special dates of a file, the lines that are wrong, and how many rows it has."""
    found: Dates = {}
    refusals: list[Refusal] = []
    known: dict[tuple[str, str, str], int] = {}
    count = 0
    for line, given in _rows(lines, DATES_COLUMNS, (), refusals):
        count += 1
        key = (given["session"], given["date"], given["kind"])
        problems = list(_date_problems(given))
        if key in known:
            problems.append(f"the same session, date and kind stand on line {known[key]}")
        known.setdefault(key, line)
        if problems:
            refusals.append(Refusal(line, tuple(problems), (given["session"],)))
            continue
        time = _padded(given["time"]) if given["time"] else None
        found.setdefault(given["session"], []).append([given["date"], given["kind"], time])
    for dates in found.values():
        dates.sort(key=lambda item: item[:2])
    return found, refusals, count


def _date_problems(given: Mapping[str, str]) -> Iterator[str]:
    yield from _name_problems(given)
    try:
        if date.fromisoformat(given["date"]).isoformat() != given["date"]:
            yield f"date: {shown(given['date'])} is not written YYYY-MM-DD"
    except ValueError:
        yield f"date: {shown(given['date'])} is no date YYYY-MM-DD"
    if given["kind"] not in tuple(DateKind):
        yield f"kind: {shown(given['kind'])} is none of {', '.join(DateKind)}"
    elif given["kind"] == DateKind.HOLIDAY:
        if given["time"]:
            yield "time: a holiday is the whole day and has no time"
    elif not _TIME_OF_DAY.fullmatch(given["time"]):
        yield f"time: {shown(given['time'])} is no time of day, HH:MM:SS up to 24:00:00"


def _name_problems(given: Mapping[str, str]) -> Iterator[str]:
    if reason := text_problem(given["session"], 64, needed=True):
        yield f"session: {reason}"


def _padded(clock: str) -> str:
    return clock if clock.count(":") == 2 else f"{clock}:00"  # noqa: PLR2004 - HH:MM:SS


def _rows(
    lines: Iterable[Line], required: tuple[str, ...], optional: tuple[str, ...], refusals: list[Refusal]
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line, its fields by column) for every line that has them all; the others are refused."""
    left = iter(lines)
    header = header_of(left, required, optional)
    count = 0
    for line in left:
        if not line.problem and not line.text.strip(" \t"):
            continue
        count += 1
        if count > MOST_ROWS:
            raise errors.FileInvalid(f"line {line.number}: the file has more than {MOST_ROWS} rows: load it in parts")
        try:
            found = files.cells(line)
            if len(found) != len(header):
                raise ValueError(f"has {len(found)} fields, {len(header)} are expected")  # noqa: TRY301
        except ValueError as error:
            refusals.append(Refusal(line.number, (str(error),), ("",)))
            continue
        yield line.number, dict(zip(header, found, strict=True))
    if not count:
        raise errors.FileInvalid("no row follows the header")


def by_name(name: str, timezone: str, hours: Iterable[Any], dates: Iterable[Any]) -> rules.Session:
    """Return a session from rows of (weekday, state, opens, closes) and (date, kind, time)."""
    week: dict[int, list[rules.Stretch]] = {}
    for weekday, state, opens, closes in hours:
        week.setdefault(weekday, []).append(rules.Stretch(opens, closes, MarketState(state.upper())))
    special: dict[str, dict[DateKind, str]] = {}
    for day, kind, time in dates:
        special.setdefault(day, {})[DateKind(kind)] = time or ""
    return rules.Session(name, timezone, {day: sorted(s, key=_opening) for day, s in week.items()}, special)


_opening: Callable[[rules.Stretch], str] = lambda stretch: stretch.opens  # noqa: E731 - a key, typed
