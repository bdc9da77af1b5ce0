"""Closed lists of jobs."""

from enum import StrEnum


class JobStatus(StrEnum):
    """Where a job stands. Only RUNNING may do anything; the last three have ended."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class JobEnd(StrEnum):
    """How an attempt may end."""

    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class JobEvent(StrEnum):
    """What happened to an attempt: one start and one end each."""

    STARTED = "STARTED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class JobReason(StrEnum):
    """Why an attempt ended."""

    COMPLETED = "COMPLETED"
    EXIT_NONZERO = "EXIT_NONZERO"
    SIGNALLED = "SIGNALLED"
    NOT_STARTABLE = "NOT_STARTABLE"
    TIMEOUT = "TIMEOUT"
    LEASE_LOST = "LEASE_LOST"
    OUTPUT_LOST = "OUTPUT_LOST"
    SUPERVISOR_STOPPED = "SUPERVISOR_STOPPED"
    REPORTED = "REPORTED"
    #: Of backtests: the bars are no bars, no fill came out, what came out are no fills of these bars, the ledger engine
    #: gives no figures, or one of them is undefined.
    BAD_BARS = "BAD_BARS"
    NO_FILLS = "NO_FILLS"
    BAD_FILLS = "BAD_FILLS"
    METRICS_INCOMPLETE = "METRICS_INCOMPLETE"
    METRICS_UNDEFINED = "METRICS_UNDEFINED"


#: Which reasons an end may have; the first is what it means when none is given.
REASONS_OF: dict[str, tuple[JobReason, ...]] = {
    JobEnd.SUCCEEDED: (JobReason.COMPLETED,),
    JobEnd.FAILED: (
        JobReason.REPORTED,
        JobReason.EXIT_NONZERO,
        JobReason.SIGNALLED,
        JobReason.NOT_STARTABLE,
        JobReason.TIMEOUT,
        JobReason.LEASE_LOST,
        JobReason.OUTPUT_LOST,
        JobReason.SUPERVISOR_STOPPED,
        JobReason.BAD_BARS,
        JobReason.NO_FILLS,
        JobReason.BAD_FILLS,
        JobReason.METRICS_INCOMPLETE,
        JobReason.METRICS_UNDEFINED,
    ),
    JobEnd.CANCELLED: (JobReason.REPORTED, JobReason.SUPERVISOR_STOPPED),
}
#: The type of backtests, what other types of backtests begin with, and the table without which none succeeds.
BACKTEST = "backtest"
METRICS = "backtest_metrics"
#: A silence shorter than so many heartbeats is no silence.
MISSED_BEATS = 3


class LeftReason(StrEnum):
    """Why the reaper left something that it found."""

    LOCKED = "LOCKED"
    CLOCK_ANOMALY = "CLOCK_ANOMALY"
    LEFT_OVER = "LEFT_OVER"
    NOT_PROVEN_GONE = "NOT_PROVEN_GONE"
    OTHER_HOST = "OTHER_HOST"
