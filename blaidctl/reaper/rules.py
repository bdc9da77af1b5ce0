"""Pure rules of the reaper."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from blaidctl.reaper.contract import NotDone

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from blaidctl.jobs.vocabulary import LeftReason

#: So many heartbeats must have failed to come while the reaper watched.
CONFIRM_BEATS = 2
#: Of each reason at most so many are named; the rest is counted.
MOST_NAMED = 100


class Seen(NamedTuple):
    """A row as the first look found it: silent, or past its deadline."""

    id: int
    attempt: int
    hb_seq: int
    heartbeat_s: int
    past_deadline: int
    due_at: Any

    @property
    def key(self) -> tuple[int, int, int]:
        """What the fenced statement compares."""
        return self.id, self.attempt, self.hb_seq


def confirm_window_s(silent: Iterable[Seen], least_s: int) -> int:
    """Return how long silent rows are watched before they are reaped; 0 when there are none."""
    return max((CONFIRM_BEATS * max(row.heartbeat_s, least_s) for row in silent), default=0)


def unmoved(seen: Iterable[Seen], again: Mapping[int, tuple[int, int]]) -> list[Seen]:
    """Return what stands as it stood: `again` is id → (attempt, hb_seq) of a later look.

    A heartbeat saves what was silent; past the deadline nothing does.
    """
    return [
        row
        for row in seen
        if (now := again.get(row.id)) and now[0] == row.attempt and (row.past_deadline or now[1] == row.hb_seq)
    ]


def shortened(left: Iterable[NotDone]) -> list[NotDone]:
    """Name up to MOST_NAMED of each kind and reason; say how many more there are. Sums (without an id) stay."""
    named: list[NotDone] = []
    counts: Counter[tuple[str, LeftReason]] = Counter()
    for one in left:
        counts[one.kind, one.reason] += one.id is not None
        if one.id is None or counts[one.kind, one.reason] <= MOST_NAMED:
            named.append(one)
    return named + [
        NotDone(kind=kind, id=None, reason=reason, detail=f"and {count - MOST_NAMED} more")
        for (kind, reason), count in counts.items()
        if count > MOST_NAMED
    ]
