"""Requests and results of the audit commands."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, StringConstraints

from blaidctl.core.context import is_trace_id
from blaidctl.core.contract import Act, Finding, Request, Result, storable

Text = Annotated[str, StringConstraints(min_length=1, max_length=4096), AfterValidator(storable)]


def _trace_id(text: str) -> str:
    if not is_trace_id(text):
        msg = "must be 32 lowercase hex digits, not all 0"
        raise ValueError(msg)
    return text


TraceId = Annotated[str, AfterValidator(_trace_id)]


class Verify(Request):
    """Verify everything that the chain promises."""

    #: Processes that hash in parallel.
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    #: Notes, or folders of notes, that the log must agree with; beside the sinks of the settings.
    checkpoint: tuple[Text, ...] = ()
    #: Verifier keys: only what these signed counts; without them, the keys of the settings.
    key: tuple[Text, ...] = ()


class Defect(Result):
    """One thing that does not hold; `seq` is the audit sequence where it shows, when there is one."""

    check: str
    seq: int | None
    what: str


class Verified(Result):
    """What was checked, and every defect (the first 100, in order of sequence)."""

    columns: ClassVar = (
        "answer", "entries", "event_rows", "head_seq", "head_hash", "checkpoints", "last_checkpoint", "first_bad_seq",
        "not_checked",
    )  # fmt: skip
    tables: ClassVar = {"defects": ("check", "seq", "what")}
    answer: str
    entries: int
    event_rows: int
    head_seq: int
    head_hash: str
    #: How many signed notes the log agrees with, and the entry that the newest of them speaks of.
    checkpoints: int
    last_checkpoint: int | None
    first_bad_seq: int | None
    defects: list[Defect]
    #: What was not checked, or cannot be found.
    not_checked: list[str]
    finding: Finding | None = Field(default=None, exclude=True)


class Signed(Result):
    """A checkpoint: what was signed, with which key, and where the note stands."""

    size: int
    head_hash: str
    origin: str
    key_id: str
    verifier: str
    file: str
    note: str
    note_sha256: str
    sinks: list[str]
    #: Notes that a sink lacked and another one had.
    copied: list[str]
    begin: bool


class Checkpoint(Act):
    """Sign the head of the chain."""

    prepared: ClassVar = frozenset({"signed"})
    #: The sinks are new: earlier notes are kept elsewhere.
    begin: bool = False
    #: What was signed before the transaction began; no part of what was asked for.
    signed: Any = Field(default=None, exclude=True)


class Checkpointed(Signed):
    """The checkpoint that was made."""

    columns: ClassVar = ("size", "head_hash", "origin", "key_id", "file", "sinks", "copied")


class Tail(Request):
    """The latest entries, newest last."""

    #: Only the entries under this trace id.
    of_trace: TraceId | None = None
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
    below: ClassVar = ("older_left_out",)
    entries: list[Entry]
    #: Whether the limit left out older entries, of the trace if one was asked for: an incident may not look shorter.
    older_left_out: bool
