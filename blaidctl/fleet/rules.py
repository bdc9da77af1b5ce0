"""Pure rules of the fleet."""

from __future__ import annotations

import difflib
import heapq
import os.path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

from blaidctl.fleet.vocabulary import BotState, InstanceStatus

ACTIVE = (InstanceStatus.STARTING, InstanceStatus.RUNNING)
OFFERED_NAMES = 3
#: Of a large fleet only this many names are compared in full: a mistyped name must not hold the write lock for seconds.
COMPARED_NAMES = 200


def state_of(killed_at: datetime | None) -> BotState:
    """Return whether a bot is LIVE or KILLED."""
    return BotState.LIVE if killed_at is None else BotState.KILLED


def closest(name: str, known: Sequence[str]) -> list[str]:
    """Return the known names nearest to a mistyped one, best first (Ratcliff/Obershelp similarity)."""
    wanted = name.lower()
    if len(known) > COMPARED_NAMES:
        known = heapq.nlargest(COMPARED_NAMES, known, key=lambda other: _shared_ends(wanted, other))
    return difflib.get_close_matches(wanted, known, n=OFFERED_NAMES, cutoff=0.5)


def _shared_ends(one: str, other: str) -> int:
    """Return how many characters two names share at their beginning and at their end: all but the typo."""
    pairs = ((one, other), (one[::-1], other[::-1]))
    return sum(len(os.path.commonprefix(pair)) for pair in pairs)  # noqa: RUF071 - names are compared, not paths


def ended_status(stop_reason: str) -> InstanceStatus:
    """Return how an instance that ended for a reason stands: wanted ends are STOPPED, the others FAILED."""
    wanted = {"KILLED", "EXITED", "SUPERVISOR_STOPPED"}
    return InstanceStatus.STOPPED if stop_reason in wanted else InstanceStatus.FAILED


def stale_after_s(lease_s: int, grace_s: int) -> int:
    """Return after how many seconds without a heartbeat an instance is over.

    By then its process is dead: the supervisor ends it when the lease is over, its keeper a grace later; twice that
    leaves room for a database that was slow to take the heartbeats.
    """
    return max(2 * (lease_s + grace_s), 30)
