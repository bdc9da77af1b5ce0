"""Herds of jobs as if they had been started one by one, and hearts that beat for them.

    python -m tests.reaper.herd beat SECONDS [BEHIND]    beat for all RUNNING jobs at once, again and again; BEHIND
                                                         makes the clock of every second job's worker an hour slow
    python -m tests.reaper.herd hold SECONDS             hold SQLite's write lock for SECONDS, again and again

The database is BLAIDCTL_DATABASE_URL, as for the product.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from tests.support.commandline import CommandLine
    from tests.support.database import Database

#: A type whose heart beats every second: what the tests wait for comes soon.
QUICK = {"heartbeat_s": 1, "stale_after_s": 10, "max_runtime_s": 86_400, "grace_s": 1}
_INSERT = (
    "INSERT INTO jobs (job_type, status, attempt, hb_seq, heartbeat_s, stale_after_s, heartbeat_at, started_at,"
    " deadline_at, due_at, worker_id, worker_host, worker_boot, worker_pid, worker_pid_start, worker_mark, created_at)"
    " VALUES (:job_type, 'RUNNING', 1, 7, :heartbeat_s, :stale_after_s, :heartbeat_at, :started_at, :deadline_at,"
    " :due_at, 'w1', :host, :boot_id, :pid, :pid_started, :mark, :started_at) RETURNING id"
)


def herd(
    cli: CommandLine,
    count: int = 1,
    *,
    job_type: str = "quick",
    silent_s: float = 60,
    deadline_in_s: float = 3600,
    began_s: float = 9,
    **worker: Any,
) -> list[int]:
    """Start `count` jobs that beat last `silent_s` ago (negative: in the future), under one act; return their ids."""
    from blaidctl.core import audit, command
    from blaidctl.core.execute import Tx
    from blaidctl.core.sql import Query
    from blaidctl.jobs.events import JOB_EVENTS

    limits = [word for name, value in QUICK.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    added = cli("job", "type", "add", job_type, *limits)
    assert added.code == 0, added.stderr
    with mock.patch.dict(os.environ, cli.environment(), clear=True):
        ctx = command.make_context()
    now = ctx.now()
    beat, deadline = now - timedelta(seconds=silent_s), now + timedelta(seconds=deadline_in_s)
    row = {"host": None, "boot_id": None, "pid": None, "pid_started": None, "mark": None} | worker
    row |= {"job_type": job_type, "heartbeat_s": QUICK["heartbeat_s"], "stale_after_s": QUICK["stale_after_s"]}
    row |= {
        "heartbeat_at": beat,
        "deadline_at": deadline,
        "started_at": min(beat, deadline, now) - timedelta(seconds=began_s),
    }
    row["due_at"] = min(deadline, beat + timedelta(seconds=QUICK["stale_after_s"]))
    try:
        with ctx.database.writing() as connection:
            tx = Tx(ctx, connection, now, act_id=secrets.token_hex(16))
            insert = Query(_INSERT)
            ids = [int(insert.on(connection, **row).scalar_one()) for _ in range(count)]
            started = [{"job_id": job, "attempt": 1} for job in ids]
            tx.record(JOB_EVENTS, started, event="STARTED", reason_code=None, observed_heartbeat_at=None)
            entry = audit.Entry(
                act_id=tx.act_id,
                action="job start",
                actor=ctx.actor,
                created_at=now,
                outcome=audit.DONE,
                request_id=tx.act_id,
                trace_id=ctx.trace_id,
                events=tx.digests,
            )
            audit.append(connection, entry)
    finally:
        ctx.database.close()
    return ids


def statuses(database: Database) -> dict[int, tuple[str, str | None]]:
    """Return job → (status, reason_code)."""
    return {job: (status, reason) for job, status, reason in database.sql("SELECT id, status, reason_code FROM jobs")}


def ends(database: Database) -> list[tuple[int, int, str, str]]:
    """Return (job, attempt, event, reason_code) of every end, in order of job."""
    return database.sql(
        "SELECT job_id, attempt, event, reason_code FROM job_events WHERE event <> 'STARTED' ORDER BY job_id, id"
    )  # type: ignore[return-value]


#: Before this machine was started, as all that has another boot id of it was.
LONG_AGO = "2001-01-01T00:00:00.000000Z"


def instance(database: Database, *, silent_s: float = 600, bot: str = "b1", **values: Any) -> int:
    """Write one RUNNING instance of the bot (made if it is not there) that beat last `silent_s` ago; return its id."""
    from blaidctl.core.types import time_text

    at = time_text(datetime.now(UTC) - timedelta(seconds=silent_s))
    if not database.sql("SELECT 1 FROM bots WHERE id = ?", (bot,)):
        if not database.sql("SELECT 1 FROM users WHERE id = 'alice'"):
            database.sql("INSERT INTO users (id, name, created_at) VALUES ('alice', 'alice', ?)", (at,))
        database.sql(
            "INSERT INTO bots (id, user_id, name, strategy, tags, exchanges, created_at)"
            " VALUES (?, 'alice', 'a bot', '', '[]', '[]', ?)",
            (bot, at),
        )
    row = {"bot_id": bot, "status": "RUNNING", "host": "here", "pid": 4711, "attempt": 1, "started_at": at}
    row |= {"heartbeat_at": at, "hb_seq": 3, "stale_after_s": 10} | values
    names, marks = ", ".join(row), ", ".join("?" * len(row))
    ((made,),) = database.sql(f"INSERT INTO bot_instances ({names}) VALUES ({marks}) RETURNING id", tuple(row.values()))
    return int(made)


# ---- in processes of their own ---------------------------------------------------------------------------------------

_BEAT = {
    "sqlite": """
        UPDATE jobs SET heartbeat_at = ?, hb_seq = hb_seq + 1, due_at = min(deadline_at, ?)
         WHERE status = 'RUNNING' AND worker_id = 'w1' AND worker_host IS NULL AND id % 2 = ?
    """,
    "postgresql": """
        UPDATE jobs SET heartbeat_at = %s, hb_seq = hb_seq + 1, due_at = least(deadline_at, %s)
         WHERE status = 'RUNNING' AND worker_id = 'w1' AND worker_host IS NULL AND id %% 2 = %s
    """,
}


def _raw(url: str) -> Any:
    if url.startswith("sqlite"):
        return sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=30)
    import psycopg

    return psycopg.connect(url, autocommit=True)


def beat(url: str, seconds: float, behind: str = "") -> None:
    """Beat for all jobs that have no host, until the time is over."""
    from blaidctl.core.types import time_text

    connection, until = _raw(url), time.monotonic() + seconds
    statement = _BEAT["sqlite" if url.startswith("sqlite") else "postgresql"]
    while time.monotonic() < until:
        for odd in (0, 1):
            at = datetime.now(UTC) - timedelta(hours=1 if odd and behind else 0)
            connection.execute(
                statement, (time_text(at), time_text(at + timedelta(seconds=QUICK["stale_after_s"])), odd)
            )
        Path("beating").touch()
        time.sleep(0.4)


def hold(url: str, seconds: float) -> None:
    """Hold the write lock of a SQLite file, let go, hold it again."""
    connection = _raw(url)
    while True:
        connection.execute("BEGIN IMMEDIATE")
        Path("holding").touch()
        time.sleep(seconds)
        connection.execute("ROLLBACK")
        time.sleep(0.2)


if __name__ == "__main__":
    {"beat": beat, "hold": hold}[sys.argv[1]](os.environ["BLAIDCTL_DATABASE_URL"], float(sys.argv[2]), *sys.argv[3:])
