"""Replay of the kill events: do they explain the state of every bot and instance?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blaidctl.core import stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection

_RUNS_WHILE_KILLED = """
    SELECT i.id, i.bot_id FROM bot_instances i JOIN bots b ON b.id = i.bot_id
     WHERE b.killed_at IS NOT NULL AND i.status IN ('STARTING', 'RUNNING') ORDER BY i.id
"""
_NO_BOT = "bot {0} is gone, kill event {1} names it"
#: A stop by a kill happened at the time of a kill of that bot …
_STOP_WITHOUT_KILL = """
    SELECT i.id, i.bot_id FROM bot_instances i
     WHERE i.stop_reason = 'KILLED' AND NOT EXISTS (
           SELECT 1 FROM kill_events e WHERE e.bot_id = i.bot_id AND e.action = 'KILL' AND e.created_at = i.stopped_at)
     ORDER BY i.id
"""
#: … and every stop that a kill counted is there.
_COUNTS = """
    SELECT e.bot_id, e.n, COALESCE(i.n, 0) FROM
           (SELECT bot_id, sum(instances_stopped) AS n FROM kill_events GROUP BY bot_id) e
      LEFT JOIN (SELECT bot_id, count(*) AS n FROM bot_instances WHERE stop_reason = 'KILLED' GROUP BY bot_id) i
             ON i.bot_id = e.bot_id
     WHERE e.n <> COALESCE(i.n, 0) ORDER BY e.bot_id
"""


def replay(connection: Connection) -> Iterator[tuple[int | None, str]]:
    """Yield (None, sentence) for every bot or instance that the events do not explain."""
    yield from _bots(connection)
    for sql, sentence in (
        (_RUNS_WHILE_KILLED, "instance {0} runs although its bot {1} is killed"),
        (_STOP_WITHOUT_KILL, "instance {0} of bot {1} was stopped by a kill that no event records"),
        (_COUNTS, "bot {0}: its kills stopped {1} instance(s), {2} are there"),
    ):
        with stream.rows(connection, sql) as rows:
            for values in rows:
                yield None, sentence.format(*values)


def _bots(connection: Connection) -> Iterator[tuple[int | None, str]]:
    kind = connection.dialect.name
    killed_at, created_at = stream.time_column("killed_at", kind), stream.time_column("created_at", kind)
    by_id, by_bot = stream.in_code_order("id", kind), stream.in_code_order("bot_id", kind)
    events_sql = (
        f"SELECT bot_id, id, action, effect, {created_at}, ends_kill_event_id FROM kill_events ORDER BY {by_bot}, id"
    )
    with (
        stream.rows(connection, f"SELECT id, {killed_at} FROM bots ORDER BY {by_id}") as bots,
        stream.rows(connection, events_sql) as events,
    ):
        event = next(events, None)
        for bot_id, actual in bots:
            while event is not None and event[0] < bot_id:
                yield None, _NO_BOT.format(*event)
                event = next(events, None)
            state = _State()
            while event is not None and event[0] == bot_id:
                yield from ((None, f"bot {bot_id}: {what}") for what in state.take(*event[1:]))
                event = next(events, None)
            if state.killed_at != actual:
                yield None, f"bot {bot_id}: killed_at is {actual}, its events say {state.killed_at}"
        for rest in (event, *events) if event is not None else ():
            yield None, _NO_BOT.format(*rest)


class _State:
    """One bot while its events are replayed."""

    def __init__(self) -> None:
        self.killed_at: str | None = None
        self.kill_event_id: int | None = None

    def take(self, event_id: int, action: str, effect: str, created_at: str, ends: Any) -> Iterator[str]:
        applied = effect == "APPLIED"
        if action == "KILL":
            if applied == (self.killed_at is not None):
                yield f"kill event {event_id} is {effect}, but the bot was {'killed' if self.killed_at else 'live'}"
            if self.killed_at is None:
                self.killed_at, self.kill_event_id = created_at, event_id
            return
        if applied and ends != self.kill_event_id:
            yield f"kill event {event_id} ends {ends}, but the kill in force was {self.kill_event_id}"
        if not applied and self.killed_at is not None:
            yield f"kill event {event_id} is {effect}, but the bot was killed"
        self.killed_at = self.kill_event_id = None
