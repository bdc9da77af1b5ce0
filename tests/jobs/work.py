"""A type of job and a few jobs to work with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.kill.fleet import done

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.commandline import CommandLine
    from tests.support.database import Database

HEARTBEAT_S, STALE_AFTER_S, MAX_RUNTIME_S, GRACE_S = 5, 60, 3600, 10
MARK = "0123456789abcdef" * 2
#: What `job begin` is told by a supervisor.
SUPERVISED = {
    "type": "nightly", "program": "/usr/bin/make", "mark": MARK, "host": "desk", "boot_id": "b00t", "pid": 4711,
    "pid_started": "99",
}  # fmt: skip


def limits(**changes: object) -> list[str]:
    """The limits of a type as options; `stale_after_s=14` changes one, `=None` leaves it out."""
    values: dict[str, object] = {
        "heartbeat_s": HEARTBEAT_S,
        "stale_after_s": STALE_AFTER_S,
        "max_runtime_s": MAX_RUNTIME_S,
        "grace_s": GRACE_S,
    }
    values |= changes
    given = {name: value for name, value in values.items() if value is not None}
    return [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def a_type(cli: CommandLine, name: str = "nightly", **changes: object) -> None:
    """Register a type."""
    done(cli("job", "type", "add", name, *limits(**changes)))


def start(cli: CommandLine, *words: str, job_type: str = "nightly") -> dict[str, Any]:
    """Start a job as a script does; return the answer's result."""
    result: dict[str, Any] = done(cli("job", "start", job_type, *words)).json["result"]
    return result


def end(cli: CommandLine, job: int, status: str = "SUCCEEDED", *, attempt: int = 1) -> None:
    """End an attempt."""
    done(cli("job", "finish", str(job), "--attempt", str(attempt), "--status", status))


def row(database: Database, job: int, columns: Iterable[str]) -> dict[str, Any]:
    """Return columns of a job as they stand in the table."""
    names = tuple(columns)
    ((*values,),) = database.sql(f"SELECT {', '.join(names)} FROM jobs WHERE id = ?", (job,))
    return dict(zip(names, values, strict=True))


def happened(database: Database) -> list[tuple[Any, ...]]:
    """Return (job, attempt, event, reason code) of the job events, oldest first."""
    return database.sql("SELECT job_id, attempt, event, reason_code FROM job_events ORDER BY id")
