"""Closed lists of the fleet."""

from enum import StrEnum


class InstanceStatus(StrEnum):
    """Where a process stands. STARTING and RUNNING may trade; the others have ended for good."""

    STARTING = "STARTING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    FAILED = "FAILED"


class StopReason(StrEnum):
    """Why an instance ended."""

    KILLED = "KILLED"
    EXITED = "EXITED"
    EXIT_NONZERO = "EXIT_NONZERO"
    SIGNALLED = "SIGNALLED"
    NOT_STARTABLE = "NOT_STARTABLE"
    SUPERVISOR_STOPPED = "SUPERVISOR_STOPPED"
    LEASE_LOST = "LEASE_LOST"
    #: Nobody beats for it any more: its supervisor is gone or hangs. Written by the reaper.
    SUPERVISOR_LOST = "SUPERVISOR_LOST"


class Existence(StrEnum):
    """Whether an `add` made something or found it, equal in every value."""

    CREATED = "CREATED"
    EXISTS = "EXISTS"


class BotState(StrEnum):
    """Whether a bot may trade as far as the kill engine is concerned."""

    LIVE = "LIVE"
    KILLED = "KILLED"
