"""Requests and results of the reaper."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import BaseModel, Field

from blaidctl.core.contract import Act, Finding, Label, Result
from blaidctl.jobs.vocabulary import LeftReason

MOST_ITEMS = 1_000_000
LARGEST_BATCH = 5_000


class Reap(Act):
    """One run of the reaper, as it is asked for on the command line."""

    #: How many jobs, and how many instances, one run takes at the most.
    max_items: Annotated[int, Field(ge=1, le=MOST_ITEMS)] = 100_000
    #: How many rows one transaction takes: no write lock is held for longer than one of these.
    batch: Annotated[int, Field(ge=1, le=LARGEST_BATCH)] = 500
    #: Where the metrics go, for node_exporter's textfile collector.
    textfile: str | None = None


class ReapBatch(Act):
    """End what is silent: each row as it was seen, (id, attempt, hb_seq)."""

    seen: Annotated[list[tuple[int, int, int]], Field(max_length=LARGEST_BATCH)]


class LeftProcess(Result):
    """What is recorded about the process of a reaped row, on this host."""

    id: int
    attempt: int
    boot_id: str | None
    pid: int | None
    pid_started: str | None
    mark: str | None
    started_at: datetime


class ElsewhereProcess(Result):
    """A reaped row whose process ran on another host."""

    id: int
    host: str


class ReapedBatch(Result):
    """What one transaction ended, and the processes that may be left of it."""

    columns: ClassVar = ("reaped",)
    reaped: list[int]
    here: list[LeftProcess]
    elsewhere: list[ElsewhereProcess]


class GoneInstance(BaseModel):
    """A stopped instance whose process is proven gone, and how that was found."""

    id: int
    attempt: int
    exit_status: Label


class ConfirmStops(Act):
    """Record the proof that the processes of stopped instances are gone."""

    gone: Annotated[list[GoneInstance], Field(max_length=LARGEST_BATCH)]


class ConfirmedStops(Result):
    """The instances whose stop is now confirmed."""

    columns: ClassVar = ("confirmed",)
    confirmed: list[int]


class NotDone(BaseModel):
    """Something that the reaper found and did not do; without an id it stands for all further ones of its reason."""

    kind: str
    id: int | None
    reason: LeftReason
    detail: str


class Counts(BaseModel):
    """What one run did, in numbers."""

    jobs_looked: int = 0
    jobs_moved: int = 0
    jobs_reaped: int = 0
    instances_looked: int = 0
    instances_moved: int = 0
    instances_reaped: int = 0
    stops_looked: int = 0
    stops_confirmed: int = 0
    processes_killed: int = 0
    not_done: int = 0


class RecordRun(Act):
    """Record one run of the reaper, whatever it found."""

    host: Label
    started_at: datetime
    duration_ms: Annotated[int, Field(ge=0)]
    counts: Counts
    not_done: list[NotDone]


class Reaped(Result):
    """One run of the reaper: what it found, what it did, and what it did not do."""

    columns: ClassVar = (
        "run_id", "host", "duration_ms", "complete", "jobs_looked", "jobs_moved", "jobs_reaped", "instances_looked",
        "instances_moved", "instances_reaped", "stops_looked", "stops_confirmed", "processes_killed", "not_done_count",
    )  # fmt: skip
    tables: ClassVar = {"not_done": ("kind", "id", "reason", "detail")}
    run_id: int
    host: str
    started_at: datetime
    duration_ms: int
    complete: bool
    #: Silent or past their deadline when the run looked; of those: alive after all or ended by others; ended by this
    #: run.
    jobs_looked: int
    jobs_moved: int
    jobs_reaped: int
    instances_looked: int
    instances_moved: int
    instances_reaped: int
    #: Unconfirmed stops on this host that were looked into, those of this run included.
    stops_looked: int
    stops_confirmed: int
    processes_killed: int
    #: All that was not done, also beyond what `not_done` names.
    not_done_count: int
    not_done: list[NotDone]


def finding_of(run: Reaped) -> Finding | None:
    """Return the finding of a run that left something, or None."""
    if run.complete:
        return None
    reasons = sorted({left.reason for left in run.not_done})
    anomaly = LeftReason.CLOCK_ANOMALY in reasons
    named = [f"{left.kind} {left.id or ''}".strip() + f": {left.reason}: {left.detail}" for left in run.not_done]
    what = "a heartbeat lies in the future" if anomaly else "not everything could be done"
    return Finding(
        error_code="CLOCK_ANOMALY" if anomaly else "REAP_INCOMPLETE",
        message=f"{what}: {run.not_done_count} left ({', '.join(reasons)}); first: {named[0]}",
        missing_requirements=named,
    )
