"""What comes back page by page: is a page whole, what is on it, and where does the next one begin?

Alpaca: an array of activities; the next page begins behind the id of the last one (`page_token`, `direction=asc`), and
an empty array is the end (https://alpaca.markets/docs/api-references/broker-api/accounts/account-activities/).
Paged: `{"fills": [...], "next": CURSOR or null}`, the fills in the names of `ledger.formats.columns`; `count` (of
this page) and `as_of` are looked at when they are there. Numbers stay the texts that they are.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from blaidctl.ledger import formats
from blaidctl.ledger.fills import Refusal
from blaidctl.ledger.formats import columns
from blaidctl.ledger.formats.json_text import Parser
from blaidctl.ledger.vocabulary import FileFormat
from blaidctl.providers import rules
from blaidctl.providers.rules import BadReplyError
from blaidctl.providers.vocabulary import Failure, ProviderKind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from blaidctl.ledger.fills import Record
    from blaidctl.providers.rules import Reply

ALPACA_PAGE = 100
LONGEST_CURSOR = 1_000
_KNOWN = frozenset((*columns.REQUIRED, *columns.OPTIONAL))


@dataclass(frozen=True, slots=True)
class Page:
    """One page, whole: its records, where a later pull resumes, and where the next page begins (None: no more)."""

    kind: ProviderKind
    objects: list[dict[str, Any]]
    body: bytes
    resume_from: str | None
    next: str | None

    def records(self, before: int) -> Iterator[Record]:
        """Yield what each record is; they are numbered on from those of the pages before."""
        if self.kind is ProviderKind.ALPACA:
            found = formats.read(FileFormat.ALPACA, io.BytesIO(self.body))
            yield from (replace(record, line=record.line + before) for record in found)
            return
        for line, given in enumerate(self.objects, before + 1):
            unknown = [f"unknown name: {name!r}" for name in given if name not in _KNOWN][:20]
            yield Refusal(line, tuple(unknown)) if unknown else columns.fill(line, given, None)


def query(kind: ProviderKind, cursor: str | None) -> dict[str, str]:
    """Return the parameters that ask for the page behind a cursor; None: the first one."""
    if kind is ProviderKind.ALPACA:
        whole = {"direction": "asc", "page_size": str(ALPACA_PAGE)}
        return whole if cursor is None else {**whole, "page_token": cursor}
    return {} if cursor is None else {"cursor": cursor}


def page_of(kind: ProviderKind, reply: Reply, cursor: str | None, now: datetime, stale_after_s: int) -> Page:
    """Return a page. Raises BadReplyError when it is not whole, not fresh, or not one."""
    rules.judge_status(reply)
    parser = Parser()
    found = _value(parser, reply)
    rules.judge_headers(reply, now, stale_after_s, needed=False)
    if parser.twice:
        raise BadReplyError(Failure.BAD_JSON, "sent JSON in which a name stands twice")
    if kind is ProviderKind.ALPACA:
        return _of_alpaca(found, reply, cursor)
    return _of_paged(found, reply, cursor, now, stale_after_s)


def _value(parser: Parser, reply: Reply) -> Any:
    try:
        text = reply.body.decode("utf-8").strip(" \t\r\n")
        found, end = parser.value(text)
    except ValueError:
        raise _no_json(reply) from None
    if end != len(text):
        raise _no_json(reply)
    return found


def _no_json(reply: Reply) -> BadReplyError:
    return BadReplyError(Failure.BAD_JSON, f"sent {len(reply.body)} bytes that are not one JSON value")


def _of_alpaca(found: Any, reply: Reply, cursor: str | None) -> Page:
    objects = _objects(found, "an array of activities")
    ids = [_cursor(activity.get("id"), "an activity without a usable id") for activity in objects]
    if cursor in ids:
        raise BadReplyError(Failure.BAD_JSON, "sent the page before once more")
    last = ids[-1] if ids else None
    if last is not None and (_earlier(last, ids[0]) or _earlier(last, cursor)):
        # What is read on from here would lead into the past, and nothing newer would ever be seen.
        raise BadReplyError(Failure.BAD_JSON, "sent activities from the newest to the oldest, though asked otherwise")
    return Page(ProviderKind.ALPACA, objects, reply.body, last or cursor, last)


def _earlier(one: str, other: str | None) -> bool:
    """Say whether an activity's id lies before another's by the time that both begin with."""
    (at, _, _), (other_at, _, _) = one.partition("::"), (other or "").partition("::")
    return at.isdecimal() and other_at.isdecimal() and len(at) == len(other_at) and at < other_at


def _of_paged(found: Any, reply: Reply, cursor: str | None, now: datetime, stale_after_s: int) -> Page:
    if not isinstance(found, dict):
        raise BadReplyError(Failure.BAD_JSON, "sent no object with fills")
    if "fills" not in found or "next" not in found:
        raise BadReplyError(
            Failure.PARTIAL, "sent a page without `fills` or without `next`: whether more follows is open"
        )
    objects = _objects(found["fills"], "an array under `fills`")
    if "count" in found and str(found["count"]) != str(len(objects)):
        raise BadReplyError(Failure.PARTIAL, f"sent {len(objects)} fills and says that the page has another number")
    if "as_of" in found:
        rules.judge_age(now, rules.moment(found["as_of"]), stale_after_s, "its as_of")
    follows = None if found["next"] is None else _cursor(found["next"], "a `next` that is no cursor")
    if follows is not None and follows == cursor:
        raise BadReplyError(Failure.BAD_JSON, "sent a `next` that leads nowhere")
    # Without a next page a later pull reads the last one again: what stands on it is known by then.
    return Page(ProviderKind.PAGED, objects, reply.body, follows or cursor, follows)


def _objects(found: Any, what: str) -> list[dict[str, Any]]:
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise BadReplyError(Failure.BAD_JSON, f"did not send {what} of objects")
    return found


def _cursor(value: Any, what: str) -> str:
    if type(value) is not str or not 1 <= len(value) <= LONGEST_CURSOR or not value.isprintable():
        raise BadReplyError(Failure.BAD_JSON, f"sent {what}")
    return value
