"""The last checkpoint as the log tells it, and the rule that it may not be too old.

An operation that says so in the map (`needs_checkpoint`) is refused while the last checkpoint is older than the desk's
limit (`checkpoint_max_age_s`; none unless it is set). A kill never is: stopping has few dependencies.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from blaidctl.core.errors import CheckpointStale, DatabaseCorrupt
from blaidctl.core.sql import Query, rows_of

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.engine import Connection

#: The operation that makes one; its entries are how the log remembers them.
ACTION = "audit checkpoint"
#: How far in the future a checkpoint may lie before somebody's clock is wrong and its age means nothing.
MOST_AHEAD = timedelta(minutes=1)

_LAST = Query(f"""
    SELECT seq, created_at, canonical FROM audit_log
     WHERE action = '{ACTION}' AND outcome = 'DONE' ORDER BY seq DESC LIMIT 1
""")


@dataclass(frozen=True, slots=True)
class Made:
    """A checkpoint as its audit entry tells it."""

    seq: int
    size: int
    head_hash: str
    file: str
    #: The sinks were new then: notes from before it are elsewhere.
    begins: bool


def last(connection: Connection) -> tuple[Made, datetime] | None:
    """Return the last checkpoint that the log knows of, and when it was made."""
    row = next(rows_of(_LAST.on(connection)), None)
    return (made(row["seq"], row["canonical"]), row["created_at"]) if row else None


def made(seq: int, text: str) -> Made:
    """Read the entry of a checkpoint. Raises DatabaseCorrupt for a text that blaidctl never wrote."""
    try:
        after: dict[str, Any] = json.loads(text)["what"]["after"]
        return Made(seq, int(after["size"]), str(after["head_hash"]), str(after["file"]), bool(after["begin"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DatabaseCorrupt(f"the text of entry {seq} is not one that blaidctl wrote") from None


def require_fresh(connection: Connection, now: datetime, limit_s: int) -> None:
    """Refuse while the last checkpoint is older than the limit. Raises CheckpointStale."""
    found = last(connection)
    limit = f"BLAIDCTL_CHECKPOINT_MAX_AGE_S allows {limit_s} s"
    if found is None:
        raise CheckpointStale(f"there is no checkpoint yet, and {limit}", missing=["a checkpoint of the audit log"])
    entry, made_at = found
    age = now - made_at
    if -MOST_AHEAD <= age <= timedelta(seconds=limit_s):
        return
    shown = f"{made_at:%Y-%m-%d %H:%M:%S}Z (entry {entry.seq})"
    if age < timedelta():
        raise CheckpointStale(
            f"the last checkpoint lies in the future, at {shown}: its age cannot be told",
            missing=["a checkpoint made under a right clock"],
        )
    raise CheckpointStale(
        f"the last checkpoint is of {shown}, {int(age.total_seconds())} s ago, and {limit}",
        missing=["a newer checkpoint of the audit log"],
    )
