"""Handlers of sessions: load them from files, list, show what they do at a moment."""

from __future__ import annotations

import contextlib
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from blaidctl.core import errors, files
from blaidctl.instruments import contract, queries, rules, timetable
from blaidctl.instruments.events import SESSION_EVENTS
from blaidctl.instruments.vocabulary import MarketState, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from blaidctl.core.context import Context
    from blaidctl.core.execute import Tx
    from blaidctl.instruments.rows import Refusal

#: How many refused lines are listed; all are counted.
MOST_LISTED = 1_000


@contextlib.contextmanager
def prepared(ctx: Context, request: contract.LoadSessions) -> Iterator[contract.LoadSessions]:
    """Read both files to their ends and give the request with what was read. Raises RowsRefused for a wrong line."""
    if request.hours == request.dates == files.STDIN:
        raise errors.InvalidRequest("both files are standard input", missing=["dates: another file than the hours"])
    silence_s = ctx.settings.statement_timeout_s
    with files.reading(request.hours, silence_s, ctx.progress) as hours_file:
        hours, refusals, count = timetable.read_hours(hours_file)
    _refuse(request.hours, refusals, count)
    update: dict[str, Any] = {"read": (hours, None), "hours_sha256": hours_file.sha256}
    if request.dates is not None:
        with files.reading(request.dates, silence_s, ctx.progress) as dates_file:
            dates, refusals, count = timetable.read_dates(dates_file)
        _refuse(request.dates, refusals, count)
        update |= {"read": (hours, dates), "dates_sha256": dates_file.sha256}
    yield request.model_copy(update=update)


def _refuse(name: str, refusals: Sequence[Refusal], count: int) -> None:
    if refusals:
        listed = [f"line {r.line}: {'; '.join(r.reasons)}" for r in refusals[:MOST_LISTED]]
        rest = f", the first {len(listed)} are listed" if len(refusals) > len(listed) else ""
        said = f"{len(refusals)} of {count} row(s) of {name} are refused, so nothing was loaded{rest}"
        raise errors.RowsRefused(said, missing=listed)


def load(tx: Tx, request: contract.LoadSessions) -> contract.LoadedSessions:
    """Make each session of the files what they say it is; every one that changes is an event."""
    tx.run(queries.LOCK_SESSIONS)
    hours, dates = request.read
    names = sorted({*hours, *(dates or {})})
    known = _described(tx, names)
    strangers = [name for name in names if name not in hours and name not in known]
    if strangers:
        raise errors.RowsRefused(
            f"{request.dates} names {len(strangers)} session(s) that nobody has described",
            missing=[f"hours of session {name}" for name in strangers[:MOST_LISTED]],
        )
    wanted = {name: _merged(name, known.get(name), hours, dates) for name in names}
    changed = [name for name in names if wanted[name] != known.get(name)]
    _write(tx, changed, known, wanted)
    source = request.hours_sha256 if dates is None else f"{request.hours_sha256} {request.dates_sha256}"
    if changed:
        rows = [
            {
                "action": "CHANGED" if name in known else "LOADED",
                "session": name,
                "before": known.get(name),
                "after": wanted[name],
            }
            for name in changed
        ]
        tx.record(SESSION_EVENTS, rows, source_sha256=source)
    return _reported(tx, request, names, known, wanted)


def _described(tx: Tx, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return sessions as their events say them."""
    zones = {row["name"]: row["timezone"] for row in tx.fetch(queries.ZONES_OF, names=list(names))}
    found: dict[str, dict[str, Any]] = {n: {"timezone": zone, "hours": [], "dates": []} for n, zone in zones.items()}
    for row in tx.fetch(queries.HOURS_OF, names=list(names)):
        found[row["session"]]["hours"].append([row["weekday"], row["state"], row["opens"], row["closes"]])
    for row in tx.fetch(queries.DATES_OF, names=list(names)):
        found[row["session"]]["dates"].append([row["date"], row["kind"], row["time"]])
    return found


def _merged(name: str, before: dict[str, Any] | None, hours: timetable.Hours, dates: Any) -> dict[str, Any]:
    """Return what a session is after the load: what a file does not speak of stays."""
    kept = before or {"dates": []}
    return {**kept, **hours.get(name, {}), **({} if dates is None else {"dates": dates.get(name, [])})}


def _write(tx: Tx, changed: list[str], known: dict[str, Any], wanted: dict[str, Any]) -> None:
    if not changed:
        return
    for name in changed:
        query = queries.UPDATE_SESSION if name in known else queries.INSERT_SESSION
        tx.run(query, name=name, timezone=wanted[name]["timezone"], now=tx.now)
    for delete, insert, what in (
        (queries.DELETE_HOURS, queries.INSERT_HOURS, "hours"),
        (queries.DELETE_DATES, queries.INSERT_DATES, "dates"),
    ):
        tx.run(delete, names=changed)
        tx.run(insert, rows=[[name, *row] for name in changed for row in wanted[name][what]])


def _reported(
    tx: Tx, request: contract.LoadSessions, names: list[str], known: dict[str, Any], wanted: dict[str, Any]
) -> contract.LoadedSessions:
    told = []
    for name in names:
        before, after = known.get(name), wanted[name]
        outcome = Outcome.NEW if before is None else Outcome.UNCHANGED if before == after else Outcome.CHANGED
        told.append(contract.LoadedSession(session=name, outcome=outcome, detail=_detail(before, after)))
    counts = {o: sum(line.outcome is o for line in told) for o in (Outcome.NEW, Outcome.CHANGED, Outcome.UNCHANGED)}
    changes = counts[Outcome.NEW] + counts[Outcome.CHANGED]
    tx.target = {name: getattr(request, name) for name in ("hours", "hours_sha256", "dates", "dates_sha256")}
    tx.after = {outcome.lower(): count for outcome, count in counts.items()}
    summary = f"{changes} change{'' if changes == 1 else 's'}; {len(names)} session(s)"
    return contract.LoadedSessions(sessions=told, summary=summary, **tx.after)


def _detail(before: dict[str, Any] | None, after: dict[str, Any]) -> str:
    if before is None:
        return f"{after['timezone']}, {len(after['hours'])} hours, {len(after['dates'])} dates"
    said = []
    if before["timezone"] != after["timezone"]:
        said.append(f"timezone {before['timezone']} → {after['timezone']}")
    for what in ("hours", "dates"):
        old, new = ({tuple(item) for item in side[what]} for side in (before, after))
        if old != new:
            said.append(f"{what} +{len(new - old)} -{len(old - new)}")
    return ", ".join(said)


def list_sessions(tx: Tx, _request: contract.ListSessions) -> contract.SessionList:
    """Return all sessions, by name."""
    rows = sorted(tx.fetch(queries.LIST_SESSIONS), key=itemgetter("name"))
    return contract.SessionList(sessions=[contract.SessionLine(**row) for row in rows])


def found(tx: Tx, name: str) -> rules.Session:
    """Return a session. Raises SessionNotFound with the closest names."""
    described = _described(tx, [name]).get(name)
    if described is None:
        near = rules.nearest(name, [row["name"] for row in tx.fetch(queries.SESSION_NAMES)])
        hint = f" (did you mean {', '.join(near)}?)" if near else ""
        raise errors.SessionNotFound(f"no session {name!r}{hint}", missing=[f"session {name}"])
    return timetable.by_name(name, described["timezone"], described["hours"], described["dates"])


def told(session: rules.Session, at: datetime) -> dict[str, Any]:
    """Return what a session does at a moment, and its week, as results say them."""
    moment = rules.at(session, at)
    return {
        "at": at,
        "local_time": f"{moment.local_time:%a %Y-%m-%d %H:%M:%S %Z}",
        "state": moment.state,
        "is_open": moment.state is not MarketState.CLOSED,
        "why": moment.why,
        "until": moment.until,
        "week": [contract.WeekLine(days=days, hours=hours) for days, hours in rules.week_lines(session)],
    }


def show_session(tx: Tx, request: contract.ShowSession) -> contract.SessionDetail:
    """Return a session: what it does at a moment, its week, the special dates that come."""
    session = found(tx, request.name)
    at = request.at or tx.now
    (row,) = tx.fetch(queries.FIND_SESSION, name=request.name)
    today = at.astimezone(session.zone).date().isoformat()
    coming = [
        contract.SessionDate(date=day, kind=kind, time=time or None)
        for day, kinds in sorted(session.dates.items())
        for kind, time in kinds.items()
        if day >= today
    ]
    hours = [
        contract.SessionHour(weekday=day, state=s.state.lower(), opens=s.opens, closes=s.closes)
        for day, stretches in sorted(session.week.items())
        for s in stretches
    ]
    return contract.SessionDetail(
        name=session.name,
        timezone=session.timezone,
        updated_at=row["updated_at"],
        hours=hours,
        coming=coming[: request.limit],
        **told(session, at),
    )
