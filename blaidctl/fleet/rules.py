"""Pure rules of the fleet."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

from blaidctl.fleet.vocabulary import BotState, InstanceStatus

ACTIVE = (InstanceStatus.STARTING, InstanceStatus.RUNNING)
OFFERED_NAMES = 3


def state_of(killed_at: datetime | None) -> BotState:
    """Return whether a bot is LIVE or KILLED."""
    return BotState.LIVE if killed_at is None else BotState.KILLED


def closest(name: str, known: Sequence[str]) -> list[str]:
    """Return the known names nearest to a mistyped one, best first (Ratcliff/Obershelp similarity)."""
    return difflib.get_close_matches(name.lower(), known, n=OFFERED_NAMES, cutoff=0.5)


def ended_status(stop_reason: str) -> InstanceStatus:
    """Return how an instance that ended for a reason stands: wanted ends are STOPPED, the others FAILED."""
    wanted = {"KILLED", "EXITED", "SUPERVISOR_STOPPED"}
    return InstanceStatus.STOPPED if stop_reason in wanted else InstanceStatus.FAILED
