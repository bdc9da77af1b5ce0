"""Jobs written straight into the tables, for those who only look at them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from blaidctl.core.types import time_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.database import Database

NAME, STALE_AFTER_S = "probe", 90


def running_jobs(database: Database, *, due_in_s: Sequence[int], ahead_s: int = 0) -> None:
    """Write RUNNING jobs, one for each time that is left until the reaper may end it (negative: it should have).

    `ahead_s` sets their heartbeats that far into the future.
    """
    now = datetime.now(UTC)
    if not database.sql("SELECT 1 FROM job_types WHERE name = ?", (NAME,)):
        database.sql(
            "INSERT INTO job_types (name, heartbeat_s, stale_after_s, max_runtime_s, grace_s, created_at)"
            " VALUES (?, 5, ?, 86400, 5, ?)",
            (NAME, STALE_AFTER_S, time_text(now)),
        )
    for seconds in due_in_s:
        due = now + timedelta(seconds=seconds)
        beat = max(due - timedelta(seconds=STALE_AFTER_S), min(now, due)) + timedelta(seconds=ahead_s)
        started = min(due, now) - timedelta(seconds=STALE_AFTER_S)
        database.sql(
            "INSERT INTO jobs (job_type, status, attempt, hb_seq, heartbeat_s, stale_after_s, heartbeat_at, started_at,"
            " deadline_at, due_at, worker_id, created_at) VALUES (?, 'RUNNING', 1, 0, 5, ?, ?, ?, ?, ?, 'w1', ?)",
            (NAME, STALE_AFTER_S, *map(time_text, (beat, started, due, due, started))),
        )
