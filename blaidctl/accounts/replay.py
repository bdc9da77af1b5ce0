"""Replay of the account events: do they explain every link, its limits and its end?"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from blaidctl.accounts.vocabulary import AccountAction, Limit
from blaidctl.core import stream
from blaidctl.core.decimals import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.engine import Connection

_NO_LINK = "account link {0} is gone, account event {1} names it"
_OF_TWO_USERS = """
    SELECT l.id, l.bot_id FROM account_links l
      LEFT JOIN bots b ON b.id = l.bot_id LEFT JOIN broker_accounts a ON a.id = l.account_id
     WHERE l.unlinked_at IS NULL AND (b.user_id = a.user_id) IS NOT TRUE ORDER BY l.id
"""


def replay(connection: Connection) -> Iterator[tuple[int | None, str]]:
    """Yield (None, sentence) for every link that its events do not explain: a merge of two streams in order of link."""
    kind = connection.dialect.name
    linked, unlinked, created = (stream.time_column(f"{name}_at", kind) for name in ("linked", "unlinked", "created"))
    links_sql = (
        f"SELECT id, bot_id, account_id, {linked}, {unlinked}, policy_sha256, {', '.join(Limit)}"
        " FROM account_links ORDER BY id"
    )
    document = "CAST({} AS text)" if kind == "postgresql" else "{}"
    events_sql = (
        f"SELECT link_id, id, action, bot_id, account_id, {created}, policy_sha256, {document.format('before')},"
        f" {document.format('after')} FROM broker_account_events WHERE link_id IS NOT NULL ORDER BY link_id, id"
    )
    with stream.rows(connection, links_sql) as links, stream.rows(connection, events_sql) as events:
        event = next(events, None)
        for link_id, *actual in links:
            while event is not None and event[0] < link_id:
                yield None, _NO_LINK.format(*event)
                event = next(events, None)
            state = _State()
            while event is not None and event[0] == link_id:
                yield from ((None, f"account link {link_id}: {what}") for what in state.take(*event[1:]))
                event = next(events, None)
            yield from ((None, f"account link {link_id}: {what}") for what in state.differs_from(actual))
        for rest in (event, *events) if event is not None else ():
            yield None, _NO_LINK.format(*rest)
    with stream.rows(connection, _OF_TWO_USERS) as rows:
        for link_id, bot_id in rows:
            yield None, f"account link {link_id}: bot {bot_id} and its account do not belong to one user"


class _State:
    """One link while its events are replayed: its columns as the events say they are."""

    def __init__(self) -> None:
        self.columns: dict[str, Any] = {}
        self.limits: dict[str, Any] = {}

    def take(  # noqa: PLR0913, PLR0917 - the columns of an event, in order
        self, event_id: int, action: str, bot: str, account: str, at: str, policy: str, before: Any, after: Any
    ) -> Iterator[str]:
        was, now = _side(before), _side(after)
        if was != self.limits:
            yield f"event {event_id} says that it was {was or 'not there'}, the events before say {self.limits or 'so'}"
        if action == AccountAction.LINK:
            self.columns = {"bot_id": bot, "account_id": account, "linked_at": at, "unlinked_at": None}
        if action == AccountAction.UNLINK:
            self.columns["unlinked_at"], self.limits = at, {}
            return
        self.columns["policy_sha256"], self.limits = policy, now
        self.columns |= {limit: now.get(limit) for limit in Limit}

    def differs_from(self, actual: Sequence[Any]) -> Iterator[str]:
        names = ("bot_id", "account_id", "linked_at", "unlinked_at", "policy_sha256", *Limit)
        if not self.columns:
            yield "no event says that it was made"
            return
        for name, value in zip(names, map(_plain, actual), strict=True):
            said = self.columns.get(name)
            if str(value) != str(said):
                yield f"{name} is {value}, its events say {said}"


def _side(document: Any) -> dict[str, Any]:
    """Return one side of an event; what is no object is what blaidctl never writes, and equals nothing."""
    try:
        found = json.loads(document) if document is not None else None
    except (ValueError, RecursionError):
        return {"broken": document}
    if found is None:
        return {}
    return found if isinstance(found, dict) else {"broken": document}


def _plain(value: Any) -> Any:
    return text_of(value) if isinstance(value, Decimal) else value
