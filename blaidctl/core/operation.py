"""One row of the map of operations. A stub cannot be written down: see `__post_init__`."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class Status(StrEnum):
    """What an operation answers today; a property of its row, never typed by hand."""

    PRODUCTION = "PRODUCTION"
    NOT_IMPLEMENTED = "501"
    BLOCKED = "BLOCKED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An operation of the product: how it is called, what it takes, what does it, or what is missing."""

    name: str
    summary: str
    #: The words on the command line; empty for what only other parts of blaidctl call.
    words: tuple[str, ...] = ()
    #: HTTP verb and path, or empty.
    verb: str = ""
    path: str = ""
    #: Path parameter → the request field that it fills, where the names differ.
    path_fields: Mapping[str, str] = field(default_factory=dict)
    #: Request fields that only the command line takes; over HTTP they are unknown fields.
    cli_only: tuple[str, ...] = ()
    #: Request field → the largest value over HTTP, where it is smaller than on the command line.
    http_at_most: Mapping[str, int] = field(default_factory=dict)
    #: "module:Name" of the request model, the result model and the handler; strings, so that the map costs no import.
    request: str = ""
    result: str = ""
    handler: str = ""
    #: "module:function" of (ctx, request): a context manager that reads what the request names (a file, say) before any
    #: transaction, and gives the request as the handler wants it.
    prepare: str = ""
    #: "module:function" of (ctx, request, dry_run) that does what the act does outside the database, before its
    #: transaction, and gives the request as the handler wants it. What is replayed is not done again there either.
    outside: str = ""
    #: Refused while the last checkpoint is older than the desk's limit (core/checkpoints.py).
    needs_checkpoint: bool = False
    #: Request fields that name a file to read: on the command line a `-` in them stays what it is.
    files: tuple[str, ...] = ()
    #: "module:function" that works after COMMIT (waits for proof, say); it may write nothing.
    settle: str = ""
    #: "module:function" of (tx, request, error) that writes event rows about a refusal, into the refusal's own entry.
    refused: str = ""
    #: "module:function" that turns any error into an answer (guard: no when in doubt).
    doubt: str = ""
    writes: bool = False
    #: Writes and is no act: no audit entry, no stored answer; its refusal is recorded as any other (decision 0011).
    sign_of_life: bool = False
    #: Looks at whatever schema it finds, and judges it itself (doctor); every other operation refuses a foreign one.
    any_schema: bool = False
    #: May be drawn anew every second on a terminal (--watch).
    watchable: bool = False
    #: Waits for locks as long as a kill may.
    urgent: bool = False
    #: Shows a person how far it has come. What only reads then reads for as long as it takes; every other statement has
    #: a time limit.
    patient: bool = False
    #: Runs outside execute(): a process of its own (serve, bot run, quickstart, db upgrade).
    program: str = ""
    missing_requirements: tuple[str, ...] = ()
    blocked_by: str = ""
    #: The finding in AUDIT_FINDINGS.md; a row that is not PRODUCTION must name one.
    finding: str = ""

    def __post_init__(self) -> None:
        """Refuse a row that neither works nor says what is missing."""
        works = bool(self.handler or self.program)
        if not works and not self.missing_requirements:
            msg = (
                f"operation {self.name!r} has neither a handler nor missing_requirements: a stub cannot be written down"
            )
            raise ValueError(msg)
        if works and self.missing_requirements:
            msg = f"operation {self.name!r} has a handler and missing_requirements: it is one or the other"
            raise ValueError(msg)
        if bool(self.finding) == (self.status is Status.PRODUCTION):
            msg = f"operation {self.name!r}: a finding belongs to exactly the rows that are not PRODUCTION"
            raise ValueError(msg)
        if self.watchable and self.writes:
            msg = f"operation {self.name!r}: what is done again every second may not write"
            raise ValueError(msg)
        if (self.outside or self.needs_checkpoint) and not (self.handler and self.writes):
            msg = f"operation {self.name!r}: only an act does something outside, or needs a checkpoint"
            raise ValueError(msg)
        if self.needs_checkpoint and self.urgent:
            msg = f"operation {self.name!r}: what is urgent waits for no checkpoint"
            raise ValueError(msg)
        if self.sign_of_life and not self.writes:
            msg = f"operation {self.name!r}: a sign of life is something that writes"
            raise ValueError(msg)

    @property
    def status(self) -> Status:
        """PRODUCTION, 501 or BLOCKED."""
        if not (self.handler or self.program):
            return Status.NOT_IMPLEMENTED
        return Status.BLOCKED if self.blocked_by else Status.PRODUCTION


def resolve(reference: str) -> Any:
    """Import what a "module:Name" string of the map names."""
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)


def the_map() -> dict[str, Operation]:
    """Return the map of operations by name. By string, as the map names its handlers: it stands above this layer."""
    found: dict[str, Operation] = resolve("blaidctl.operations:BY_NAME")
    return found
