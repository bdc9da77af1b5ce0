"""Requests and results of jobs."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from blaidctl.core.contract import Act, Label, LookupId, Request, Result, Slug, storable
from blaidctl.fleet.vocabulary import Existence
from blaidctl.jobs.vocabulary import MISSED_BEATS, REASONS_OF, JobEnd, JobEvent, JobReason, JobStatus

#: Of a result and of the end of an output more is not kept.
MOST_BYTES = 64 * 1024
MOST_NESTED = 32
_TOO_DEEP = f"must not be nested deeper than {MOST_NESTED} levels"
_LARGEST_EXACT_INTEGER = 2**53
_LARGEST_INTEGER = 2**31 - 1


def _bounded(text: str) -> str:
    size = len(text.encode())
    if size > MOST_BYTES:
        msg = f"must be at most {MOST_BYTES} bytes of UTF-8, it has {size}"
        raise ValueError(msg)
    return text


def _whole(text: str) -> int:
    if len(text) > len(str(_LARGEST_EXACT_INTEGER)) + 1 or abs(int(text)) > _LARGEST_EXACT_INTEGER:
        msg = f"the number {text[:40]} does not fit JSON exactly; write it as a string"
        raise ValueError(msg)
    return int(text)


def _fraction(text: str) -> Any:
    """Return a number that reads back as it was written, from both engines: a result is not rounded on its way."""
    value = json.loads(text)
    if abs(value) > _LARGEST_EXACT_INTEGER or Decimal(repr(value)) != Decimal(text):
        msg = f"the number {text[:40]} does not fit JSON exactly; write it as a string"
        raise ValueError(msg)
    return value


def _no_number(text: str) -> Any:
    msg = f"{text} is not a number of JSON"
    raise ValueError(msg)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        msg = "a key stands twice in one object"
        raise ValueError(msg)
    return found


def _storable_parts(value: Any, depth: int = 1) -> None:
    if depth > MOST_NESTED:
        raise ValueError(_TOO_DEEP)
    if isinstance(value, str):
        storable(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            storable(key)
            _storable_parts(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _storable_parts(item, depth + 1)


def _json_object(text: str) -> str:
    """Return the one text of a JSON object; ValueError for anything else, and for what a reader could not trust."""
    _bounded(text)
    try:
        found = json.loads(
            text, parse_float=_fraction, parse_int=_whole, parse_constant=_no_number, object_pairs_hook=_object
        )
    except json.JSONDecodeError as error:
        msg = f"must be a JSON object: {error}"
        raise ValueError(msg) from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if not isinstance(found, dict):
        msg = 'must be a JSON object, like {"rows": 12}'
        raise ValueError(msg)  # noqa: TRY004 - what pydantic turns into a sentence of the refusal
    _storable_parts(found)
    return json.dumps(found, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))


#: A JSON object as text: parsed here to be judged, stored as the database stores JSON.
JsonObject = Annotated[str, AfterValidator(storable), AfterValidator(_json_object)]
OutputTail = Annotated[str, AfterValidator(storable), AfterValidator(_bounded)]
JobId = Annotated[int, Field(ge=1, le=_LARGEST_EXACT_INTEGER)]
Attempt = Annotated[int, Field(ge=1, le=_LARGEST_INTEGER)]
Pid = Annotated[int, Field(ge=1, le=_LARGEST_INTEGER)]
Program = Annotated[str, StringConstraints(min_length=1, max_length=4096), AfterValidator(storable)]
#: A few words of the kernel: `exit 3`, a boot id, a start time.
Short = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(storable)]
Mark = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]


class AddJobType(Act):
    """Register a type of job. Its limits are part of it, and are never changed."""

    name: Slug
    heartbeat_s: Annotated[int, Field(ge=1, le=30)]
    stale_after_s: Annotated[int, Field(ge=3, le=86_400)]
    max_runtime_s: Annotated[int, Field(ge=1, le=2_592_000)]
    grace_s: Annotated[int, Field(ge=0, le=300)]

    @model_validator(mode="after")
    def _some_beats_may_be_late(self) -> Self:
        least = MISSED_BEATS * self.heartbeat_s
        if self.stale_after_s < least:
            msg = (
                f"stale_after_s must be at least {MISSED_BEATS} times heartbeat_s, here {least}: else a late beat"
                " makes a live job look dead"
            )
            raise ValueError(msg)
        return self


class AddedJobType(Result):
    """The type as registered."""

    columns: ClassVar = ("name", "heartbeat_s", "stale_after_s", "max_runtime_s", "grace_s", "effect")
    name: str
    heartbeat_s: int
    stale_after_s: int
    max_runtime_s: int
    grace_s: int
    effect: Existence


class ListJobTypes(Request):
    """All job types."""


class JobType(Result):
    """One type and its limits."""

    name: str
    heartbeat_s: int
    stale_after_s: int
    max_runtime_s: int
    grace_s: int
    created_at: datetime


class JobTypeList(Result):
    """All types, by name."""

    table_of: ClassVar = "job_types"
    columns: ClassVar = ("name", "heartbeat_s", "stale_after_s", "max_runtime_s", "grace_s")
    job_types: list[JobType]


class StartJob(Act):
    """Start a job that supervises itself: a new one, or the next attempt of one that failed or was cancelled."""

    type: LookupId
    job: JobId | None = None
    #: The worker's process on this host, for the reaper to end when its heart has stopped.
    pid: Pid | None = None


class BeginJob(Act):
    """A supervisor starts a job: as StartJob, and what the supervisor knows of where it runs."""

    type: LookupId
    job: JobId | None = None
    program: Program
    mark: Mark
    host: Label
    boot_id: Short | None = None
    pid: Pid | None = None
    pid_started: Short | None = None


class StartedJob(Result):
    """The right to work: the job, its fencing token, and the limits it holds it under."""

    columns: ClassVar = ("job_id", "job_type", "attempt", "status", "deadline_at", "heartbeat_s", "stale_after_s")
    job_id: int
    job_type: str
    attempt: int
    status: JobStatus
    started_at: datetime
    deadline_at: datetime
    #: Unless it beats before, the reaper ends it after this.
    due_at: datetime
    heartbeat_s: int
    stale_after_s: int
    max_runtime_s: int
    grace_s: int


class BeatJob(Act):
    """A worker says that it lives. A sign of life, no act."""

    job: JobId
    attempt: Attempt


class Beaten(Result):
    """The heart after the beat."""

    job_id: int
    attempt: int
    hb_seq: int
    heartbeat_at: datetime
    due_at: datetime
    deadline_at: datetime


class ReportJob(Act):
    """A supervisor reports that the process is there."""

    job: JobId
    attempt: Attempt
    pid: Pid
    pid_started: Short


class FinishJob(Act):
    """End the running attempt of a job."""

    bulky: ClassVar = frozenset({"result"})
    job: JobId
    attempt: Attempt
    status: JobEnd
    reason_code: JobReason | None = None
    result: JsonObject | None = None

    @model_validator(mode="after")
    def _a_reason_of_this_end(self) -> Self:
        allowed = REASONS_OF[self.status]
        if self.reason_code is not None and self.reason_code not in allowed:
            msg = f"{self.status} does not go with {self.reason_code}; its reason codes are {', '.join(allowed)}"
            raise ValueError(msg)
        return self


class EndJob(FinishJob):
    """A supervisor reports that the process is gone, how it ended, and what it said last."""

    bulky: ClassVar = frozenset({"result", "output_tail"})
    exit_status: Short | None = None
    output_tail: OutputTail | None = None
    #: How much the process wrote in all; the tail is the last part of it.
    output_bytes: Annotated[int, Field(ge=0, le=_LARGEST_EXACT_INTEGER)] | None = None


class JobState(Result):
    """A job after a worker's or a supervisor's report."""

    job_id: int
    job_type: str
    attempt: int
    status: JobStatus
    reason_code: JobReason | None
    finished_at: datetime | None


class ListJobs(Request):
    """Jobs, newest first, narrowed by type or status."""

    type: LookupId | None = None
    status: JobStatus | None = None
    limit: Annotated[int, Field(ge=1, le=10_000)] = 20


class Job(Result):
    """One job."""

    job_id: int
    job_type: str
    status: JobStatus
    attempt: int
    reason_code: str | None
    exit_status: str | None
    started_at: datetime | None
    heartbeat_at: datetime | None
    deadline_at: datetime | None
    due_at: datetime | None
    finished_at: datetime | None
    hb_seq: int
    worker_id: str | None
    created_at: datetime


class JobList(Result):
    """Jobs, newest first."""

    table_of: ClassVar = "jobs"
    columns: ClassVar = ("job_id", "job_type", "status", "attempt", "reason_code", "started_at")
    jobs: list[Job]


class ShowJob(Request):
    """One job with its events."""

    job: JobId
    #: How many events, of the latest.
    limit: Annotated[int, Field(ge=1, le=10_000)] = 100


class Event(Result):
    """What happened to one attempt."""

    event_id: int
    job_id: int
    attempt: int
    event: JobEvent
    reason_code: str | None
    observed_heartbeat_at: datetime | None
    created_at: datetime
    actor: str
    trace_id: str


class OutputLine(Result):
    """One line of output."""

    line: str


class JobDetail(Job):
    """A job, the timeline of its attempts, and what it said last."""

    columns: ClassVar = (
        "job_id", "job_type", "status", "attempt", "reason_code", "exit_status", "program", "created_at", "started_at",
        "heartbeat_at", "hb_seq", "due_at", "deadline_at", "finished_at", "heartbeat_s", "stale_after_s", "worker_id",
        "worker_host", "worker_pid", "result", "output_bytes",
    )  # fmt: skip
    tables: ClassVar = {
        "events": ("attempt", "event", "reason_code", "created_at", "actor"),
        "last_output": ("line",),
    }
    heartbeat_s: int
    stale_after_s: int
    worker_host: str | None
    worker_boot: str | None
    worker_pid: int | None
    worker_pid_start: str | None
    worker_mark: str | None
    program: str | None
    result: dict[str, Any] | None
    output_tail: str | None
    output_bytes: int | None
    #: Oldest first.
    events: list[Event]
    #: The last lines of `output_tail`, for a person's table.
    last_output: list[OutputLine]


class ListJobEvents(Request):
    """Job events, newest first."""

    job: JobId | None = None
    limit: Annotated[int, Field(ge=1, le=100_000)] = 100


class JobEventList(Result):
    """Job events, newest first."""

    table_of: ClassVar = "events"
    columns: ClassVar = ("job_id", "attempt", "event", "reason_code", "created_at", "actor")
    events: list[Event]
