"""Replay of the provider events: do they explain every state, binding and cursor?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blaidctl.core import stream
from blaidctl.providers.vocabulary import ProviderEvent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection

_EVENTS = """
    SELECT provider_id, id, account_id, event, state_before, state_after, resume_from, {at}
      FROM provider_events ORDER BY provider_id, id
"""


def replay(connection: Connection) -> Iterator[tuple[int | None, str]]:
    """Yield (None, sentence) for everything that the events do not explain. Providers are few: they fit in memory."""
    kind = connection.dialect.name
    created, bound, unbound = (stream.time_column(f"{name}_at", kind) for name in ("created", "bound", "unbound"))
    said = _Said()
    with stream.rows(connection, _EVENTS.format(at=created)) as events:
        for row in events:
            yield from ((None, what) for what in said.take(*row))
    with stream.rows(connection, "SELECT id, state FROM providers ORDER BY id") as rows:
        yield from _compared("provider {0}: state", dict(rows), said.states)
    sql = f"SELECT provider_id, account_id, id, {bound}, {unbound} FROM provider_bindings ORDER BY id"
    with stream.rows(connection, sql) as rows:
        actual: dict[Any, Any] = {}
        for provider, account, _, *times in rows:
            actual.setdefault((provider, account), []).append(times)
        yield from _compared("binding {0}: times", actual, said.bindings)
    with stream.rows(connection, "SELECT provider_id, account_id, resume_from, pulls FROM pull_cursors") as rows:
        pulled = {(provider, account): rest for provider, account, *rest in rows if rest != [None, 0]}
        yield from _compared("pull cursor {0}: place and number", pulled, said.cursors)


def _compared(what: str, actual: dict[Any, Any], said: dict[Any, Any]) -> Iterator[tuple[int | None, str]]:
    for key in sorted({*actual, *said}):
        if actual.get(key) != said.get(key):
            named = " of ".join(reversed(key)) if isinstance(key, tuple) else key
            yield None, f"{what.format(named)} is {actual.get(key)}, its events say {said.get(key)}"


class _Said:
    """What the events so far come to."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self.bindings: dict[tuple[str, str], list[list[str | None]]] = {}
        self.cursors: dict[tuple[str, str], list[Any]] = {}

    def take(  # noqa: PLR0913, PLR0917 - the columns of an event, in order
        self,
        provider: str,
        event_id: int,
        account: str,
        event: str,
        before: str | None,
        after: str,
        resume_from: str | None,
        at: str,
    ) -> Iterator[str]:
        if before != self.states.get(provider):
            told = self.states.get(provider, "not there")
            yield f"provider event {event_id} says that {provider} was {before}, the events before say {told}"
        self.states[provider] = after
        key = (provider, account)
        if event == ProviderEvent.BOUND:
            self.bindings.setdefault(key, []).append([at, None])
        if event == ProviderEvent.UNBOUND:
            if self.bindings.get(key):
                self.bindings[key][-1][1] = at
            else:
                yield f"provider event {event_id} unbinds {account}, which no event bound"
        if event == ProviderEvent.PULLED:
            pulls = self.cursors.get(key, [None, 0])[1]
            self.cursors[key] = [resume_from, pulls + 1]
