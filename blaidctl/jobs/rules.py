"""Pure rules of jobs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from blaidctl.jobs.vocabulary import BACKTEST, REASONS_OF, JobEnd, JobReason, JobStatus

if TYPE_CHECKING:
    from datetime import datetime

LINES_SHOWN = 10
#: How long a supervisor may take to record an end, and the longest that any attempt may take (a constraint: 30 days).
SETTLED_WITHIN_S = 15
LONGEST_S = 30 * 86_400


def due_at(heartbeat_at: datetime, stale_after_s: int, deadline_at: datetime) -> datetime:
    """Return when the reaper may look at a running job: silent for too long, or past its deadline."""
    return min(deadline_at, heartbeat_at + timedelta(seconds=stale_after_s))


def deadline_at(started_at: datetime, max_runtime_s: int, grace_s: int | None = None) -> datetime:
    """Return when an attempt must have ended, and its end be recorded.

    A supervisor ends its process at `max_runtime_s` itself; the grace of the process and the time to record the end
    come on top (`grace_s`), or the reaper would cut both short.
    """
    settling_s = 0 if grace_s is None else grace_s + SETTLED_WITHIN_S
    return started_at + timedelta(seconds=min(max_runtime_s + settling_s, LONGEST_S))


def reason_of(status: JobEnd, reason_code: JobReason | None) -> JobReason:
    """Return the reason of an end: as given, or what the end means by itself."""
    return reason_code or REASONS_OF[status][0]


def next_attempt(status: str, attempt: int) -> int:
    """Return the attempt that begins next: a queued job has not had its own yet."""
    return attempt if status == JobStatus.QUEUED else attempt + 1


def standing(status: str, attempt: int, reason_code: str | None) -> str:
    """Return how a job stands, for a sentence: `FAILED (attempt 2, TIMEOUT)`."""
    return f"{status} (attempt {attempt}{f', {reason_code}' if reason_code else ''})"


def needs_metrics(job_type: str) -> bool:
    """Say whether jobs of this type are backtests, which succeed only with metrics."""
    return job_type == BACKTEST or job_type.startswith(f"{BACKTEST}-")


def last_lines(output_tail: str | None) -> list[str]:
    """Return the last lines of an output, for a person to look at."""
    return (output_tail or "").splitlines()[-LINES_SHOWN:]
