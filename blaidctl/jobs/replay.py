"""Replay of the job events: do they explain the status, attempt and reason of every job?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blaidctl.core import stream
from blaidctl.jobs import rules
from blaidctl.jobs.vocabulary import JobEvent, JobStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection

_JOBS = "SELECT id, status, attempt, reason_code FROM jobs ORDER BY id"
_EVENTS = "SELECT job_id, id, attempt, event, reason_code FROM job_events ORDER BY job_id, id"
_NO_JOB = "job {0} is gone, job event {1} names it"


def replay(connection: Connection) -> Iterator[tuple[int | None, str]]:
    """Yield (None, sentence) for every job that its events do not explain: a merge of two streams in order of job."""
    with stream.rows(connection, _JOBS) as jobs, stream.rows(connection, _EVENTS) as events:
        event = next(events, None)
        for job_id, *actual in jobs:
            while event is not None and event[0] < job_id:
                yield None, _NO_JOB.format(*event)
                event = next(events, None)
            state = _State()
            while event is not None and event[0] == job_id:
                yield from ((None, f"job {job_id}: {what}") for what in state.take(*event[1:]))
                event = next(events, None)
            yield from ((None, f"job {job_id} {what}") for what in state.differs_from(*actual))
        for rest in (event, *events) if event is not None else ():
            yield None, _NO_JOB.format(*rest)


class _State:
    """One job while its events are replayed."""

    def __init__(self) -> None:
        self.status: str | None = None
        self.attempt = 0
        self.reason_code: str | None = None

    def take(self, event_id: int, attempt: int, event: str, reason_code: str | None) -> Iterator[str]:
        said = f"event {event_id} says {event} of attempt {attempt}"
        now = rules.standing(self.status, self.attempt, self.reason_code) if self.status else "not started"
        if event == JobEvent.STARTED:
            if self.status in {JobStatus.RUNNING, JobStatus.SUCCEEDED} or attempt != self.attempt + 1:
                yield f"{said}, but it was {now}"
            self.status = JobStatus.RUNNING
        else:
            if self.status != JobStatus.RUNNING or attempt != self.attempt:
                yield f"{said}, but it was {now}"
            self.status = event
        self.attempt, self.reason_code = attempt, reason_code

    def differs_from(self, status: str, attempt: int, reason_code: str | None) -> Iterator[str]:
        actual = rules.standing(status, attempt, reason_code)
        if self.status is None:
            if status != JobStatus.QUEUED:
                yield f"is {actual}, but no event says that it started"
        elif (status, attempt, reason_code) != (self.status, self.attempt, self.reason_code):
            yield f"is {actual}, its events say {rules.standing(self.status, self.attempt, self.reason_code)}"
