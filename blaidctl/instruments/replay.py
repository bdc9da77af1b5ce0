"""Replay of the events of instruments and sessions: is each what its last event says it is?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from blaidctl.core import stream
from blaidctl.instruments import queries

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection

_HOURS = "SELECT session, weekday, state, opens, closes FROM session_hours"
_DATES = "SELECT session, date, kind, time FROM session_dates"


def replay(connection: Connection) -> Iterator[tuple[int | None, str]]:
    """Yield (None, sentence) for every instrument and session that its events do not explain."""
    yield from _instruments(connection)
    yield from _sessions(connection)


def _instruments(connection: Connection) -> Iterator[tuple[int | None, str]]:
    kind = connection.dialect.name
    key = ", ".join(stream.in_code_order(name, kind) for name in ("exchange", "symbol", "asset_class"))
    state = (
        f"SELECT exchange, symbol, asset_class, {stream.time_column('updated_at', kind)},"
        f" {queries.text_columns(kind)} FROM instruments ORDER BY {key}"
    )
    said = (
        "SELECT exchange, symbol, asset_class, id, action,"
        f" {stream.time_column('created_at', kind)}, CAST(before AS text), CAST(after AS text)"
        f" FROM instrument_events ORDER BY {key}, id"
    )
    with stream.rows(connection, state) as instruments, stream.rows(connection, said) as events:
        event = next(events, None)
        for *name, updated_at, _is in ((*row[:4], row[4:]) for row in instruments):
            while event is not None and list(event[:3]) < name:
                yield None, f"instrument {_named(event)} is gone, instrument event {event[3]} names it"
                event = next(events, None)
            last = _Last()
            while event is not None and list(event[:3]) == name:
                yield from ((None, f"instrument {_named(name)}: {what}") for what in last.take(*event[3:]))
                event = next(events, None)
            now = dict(zip((*queries.FIELDS, "is_active"), _is, strict=True))
            now["is_active"] = bool(now["is_active"])
            yield from ((None, f"instrument {_named(name)}: {what}") for what in last.differs_from(now, updated_at))
        for rest in (event, *events) if event is not None else ():
            yield None, f"instrument {_named(rest)} is gone, instrument event {rest[3]} names it"


def _named(key: Any) -> str:
    return " ".join(key[:3])


class _Last:
    """One instrument or session while its events are replayed."""

    def __init__(self) -> None:
        self.after: Any = None
        self.at: str | None = None

    def take(self, event_id: int, action: str, at: str, before: str | None, after: str) -> Iterator[str]:
        """Yield what is wrong with the next event; then it is the last one."""
        if (action == "LOADED") != (self.at is None) or _parsed(before) != self.after:
            yield f"event {event_id} ({action}) does not begin where the one before it ended"
        self.after, self.at = _parsed(after), at

    def differs_from(self, now: Any, updated_at: str) -> Iterator[str]:
        """Yield what the row has and the last event does not say."""
        if self.at is None:
            yield "no event says where it comes from"
        elif self.after != now:
            named = [name for name in now if not isinstance(self.after, dict) or self.after.get(name) != now[name]]
            yield f"its {', '.join(named) or 'values'} is not what its last event says"
        elif self.at != updated_at:
            yield f"updated_at is {updated_at}, its last event is of {self.at}"


def _parsed(text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return text  # not what blaidctl writes


def _sessions(connection: Connection) -> Iterator[tuple[int | None, str]]:
    """Compare whole: there are hundreds of sessions, not millions."""
    kind = connection.dialect.name
    now: dict[str, tuple[dict[str, Any], str]] = {}
    with stream.rows(
        connection, f"SELECT name, timezone, {stream.time_column('updated_at', kind)} FROM sessions"
    ) as rows:
        for name, zone, updated_at in rows:
            now[name] = ({"timezone": zone, "hours": [], "dates": []}, updated_at)
    for sql, what in ((_HOURS, "hours"), (_DATES, "dates")):
        with stream.rows(connection, sql) as rows:
            for name, *values in rows:
                if name in now:
                    now[name][0][what].append(values)
    last = {name: _Last() for name in now}
    said = (
        f"SELECT session, id, action, {stream.time_column('created_at', kind)}, CAST(before AS text),"
        " CAST(after AS text) FROM session_events ORDER BY id"
    )
    with stream.rows(connection, said) as events:
        for name, *event in events:
            if name not in last:
                yield None, f"session {name} is gone, session event {event[0]} names it"
                continue
            yield from ((None, f"session {name}: {what}") for what in last[name].take(*event))
    for name, (state, updated_at) in sorted(now.items()):
        state["hours"].sort(key=lambda hour: (hour[0], hour[2]))
        state["dates"].sort(key=lambda item: item[:2])
        yield from ((None, f"session {name}: {what}") for what in last[name].differs_from(state, updated_at))
