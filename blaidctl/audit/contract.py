"""Requests and results of the audit commands."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import Field

from blaidctl.core.contract import Finding, Request, Result


class Verify(Request):
    """Verify everything that the chain promises."""

    #: Processes that hash in parallel.
    workers: Annotated[int, Field(ge=1, le=64)] = 1


class Defect(Result):
    """One thing that does not hold; `seq` is the audit sequence where it shows, when there is one."""

    check: str
    seq: int | None
    what: str


class Verified(Result):
    """What was checked, and every defect (the first 100, in order of sequence)."""

    columns: ClassVar = ("answer", "entries", "event_rows", "head_seq", "head_hash", "first_bad_seq", "not_checked")
    tables: ClassVar = {"defects": ("check", "seq", "what")}
    answer: str
    entries: int
    event_rows: int
    head_seq: int
    head_hash: str
    first_bad_seq: int | None
    defects: list[Defect]
    #: What this version cannot find; each is an open finding.
    not_checked: list[str]
    finding: Finding | None = Field(default=None, exclude=True)


class Tail(Request):
    """The latest entries, newest last."""

    limit: Annotated[int, Field(ge=1, le=100_000)] = 20


class Entry(Result):
    """One entry as a person reads it."""

    seq: int
    created_at: datetime
    action: str
    outcome: str
    actor: str
    target: Any
    reason: str | None
    error_code: str | None
    trace_id: str
    request_id: str
    entry_hash: str


class Entries(Result):
    """Entries, newest last."""

    table_of: ClassVar = "entries"
    columns: ClassVar = ("seq", "created_at", "action", "outcome", "actor", "target", "reason")
    entries: list[Entry]
