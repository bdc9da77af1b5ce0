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


class LeftReason(StrEnum):
    """Why the reaper left something that it found."""

    LOCKED = "LOCKED"
    CLOCK_ANOMALY = "CLOCK_ANOMALY"
    LEFT_OVER = "LEFT_OVER"
    NOT_PROVEN_GONE = "NOT_PROVEN_GONE"
    OTHER_HOST = "OTHER_HOST"
