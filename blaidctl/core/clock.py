"""The one file that reads a clock. Everywhere below the edge time is a value."""

import time
from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the host's wall clock: aware, UTC, microseconds."""
    return datetime.now(UTC)


def monotonic_s() -> float:
    """Return seconds that only ever move forward: for waits and leases, never for a stored time."""
    return time.monotonic()


def lease_s() -> float:
    """Return seconds of real time, the host's sleep included: what a lease is counted in (CLOCK_BOOTTIME)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def pause(seconds: float) -> None:
    """Sleep; the single place where the program waits without doing anything."""
    time.sleep(seconds)
