"""Tables of jobs and of the reaper."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Column, ForeignKey, Identity, Index, Integer, Text, text
from sqlmodel import Field, SQLModel

from blaidctl.core.ddl import moment
from blaidctl.core.tables import BIG, STRICT
from blaidctl.core.types import JsonText, UtcTime

_RUNNING = text("status = 'RUNNING'")
_END = text("event IN ('SUCCEEDED', 'FAILED', 'CANCELLED')")
_START = text("event = 'STARTED'")


def _moments(*columns: str) -> str:
    return " AND ".join(moment(column, "postgresql") for column in columns)


class JobTypes(SQLModel, table=True):
    """A kind of job and its limits; immutable."""

    __tablename__ = "job_types"
    __table_args__ = (
        CheckConstraint("heartbeat_s BETWEEN 1 AND 30", name="job_types_heartbeat"),
        CheckConstraint("stale_after_s BETWEEN 3 * heartbeat_s AND 86400", name="job_types_stale_after"),
        CheckConstraint("max_runtime_s BETWEEN 1 AND 2592000", name="job_types_max_runtime"),
        CheckConstraint("grace_s BETWEEN 0 AND 300", name="job_types_grace"),
        STRICT,
    )
    name: str = Field(sa_column=Column(Text, primary_key=True))
    heartbeat_s: int = Field(sa_column=Column(Integer, nullable=False))
    stale_after_s: int = Field(sa_column=Column(Integer, nullable=False))
    max_runtime_s: int = Field(sa_column=Column(Integer, nullable=False))
    grace_s: int = Field(sa_column=Column(Integer, nullable=False))
    created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))


class Jobs(SQLModel, table=True):
    """One job; `attempt` is its fencing token."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint("status IN ('QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED')", name="jobs_status"),
        CheckConstraint("attempt > 0", name="jobs_attempt_positive"),
        CheckConstraint("hb_seq >= 0", name="jobs_hb_seq"),
        CheckConstraint("heartbeat_s > 0 AND stale_after_s BETWEEN 3 * heartbeat_s AND 86400", name="jobs_limits"),
        CheckConstraint(
            "status <> 'RUNNING' OR (heartbeat_at IS NOT NULL AND started_at IS NOT NULL"
            " AND deadline_at IS NOT NULL AND due_at IS NOT NULL AND worker_id IS NOT NULL)",
            name="jobs_running",
        ),
        CheckConstraint(
            f"status <> 'RUNNING' OR ({_moments('heartbeat_at', 'started_at', 'deadline_at', 'due_at')})",
            name="jobs_times",
        ).ddl_if(dialect="postgresql"),
        CheckConstraint("due_at <= deadline_at AND started_at <= deadline_at", name="jobs_deadline"),
        CheckConstraint(
            "julianday(due_at) <= julianday(heartbeat_at) + stale_after_s / 86400.0 + 0.00000001", name="jobs_due"
        ).ddl_if(dialect="sqlite"),
        CheckConstraint("due_at <= heartbeat_at + make_interval(secs => stale_after_s)", name="jobs_due").ddl_if(
            dialect="postgresql"
        ),
        CheckConstraint("julianday(deadline_at) <= julianday(started_at) + 30.00000001", name="jobs_runtime").ddl_if(
            dialect="sqlite"
        ),
        CheckConstraint("deadline_at <= started_at + make_interval(secs => 2592000)", name="jobs_runtime").ddl_if(
            dialect="postgresql"
        ),
        CheckConstraint(
            "(status IN ('SUCCEEDED', 'FAILED', 'CANCELLED')) = (finished_at IS NOT NULL)", name="jobs_finished"
        ),
        CheckConstraint("(finished_at IS NULL) = (reason_code IS NULL)", name="jobs_reason"),
        Index("jobs_due", "due_at", sqlite_where=_RUNNING, postgresql_where=_RUNNING),
        Index("jobs_heartbeat", "heartbeat_at", sqlite_where=_RUNNING, postgresql_where=_RUNNING),
        Index("jobs_type", "job_type", "id"),
        {"sqlite_autoincrement": True, **STRICT},
    )
    id: int = Field(sa_column=Column(BIG, Identity(), primary_key=True))
    job_type: str = Field(sa_column=Column(Text, ForeignKey("job_types.name"), nullable=False))
    status: str = Field(sa_column=Column(Text, nullable=False))
    attempt: int = Field(sa_column=Column(Integer, nullable=False))
    hb_seq: int = Field(sa_column=Column(BIG, nullable=False))
    heartbeat_s: int = Field(sa_column=Column(Integer, nullable=False))
    stale_after_s: int = Field(sa_column=Column(Integer, nullable=False))
    heartbeat_at: datetime | None = Field(sa_column=Column(UtcTime))
    started_at: datetime | None = Field(sa_column=Column(UtcTime))
    deadline_at: datetime | None = Field(sa_column=Column(UtcTime))
    due_at: datetime | None = Field(sa_column=Column(UtcTime))
    worker_id: str | None = Field(sa_column=Column(Text))
    worker_host: str | None = Field(sa_column=Column(Text))
    worker_boot: str | None = Field(sa_column=Column(Text))
    worker_pid: int | None = Field(sa_column=Column(Integer))
    worker_pid_start: str | None = Field(sa_column=Column(Text))
    worker_mark: str | None = Field(sa_column=Column(Text))
    program: str | None = Field(sa_column=Column(Text))
    created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    finished_at: datetime | None = Field(sa_column=Column(UtcTime))
    reason_code: str | None = Field(sa_column=Column(Text))
    exit_status: str | None = Field(sa_column=Column(Text))
    result: Any = Field(sa_column=Column(JsonText))
    output_tail: str | None = Field(sa_column=Column(Text))
    output_bytes: int | None = Field(sa_column=Column(BIG))


class JobEvents(SQLModel, table=True):
    """A start or an end of an attempt: append-only, one end an attempt."""

    __tablename__ = "job_events"
    __table_args__ = (
        CheckConstraint("id > 0", name="job_events_id_positive"),
        CheckConstraint("attempt > 0", name="job_events_attempt_positive"),
        CheckConstraint("event IN ('STARTED', 'SUCCEEDED', 'FAILED', 'CANCELLED')", name="job_events_event"),
        CheckConstraint("(event = 'STARTED') = (reason_code IS NULL)", name="job_events_reason"),
        CheckConstraint("length(trace_id) = 32", name="job_events_trace_id_length"),
        Index("job_events_one_end", "job_id", "attempt", unique=True, sqlite_where=_END, postgresql_where=_END),
        Index("job_events_one_start", "job_id", "attempt", unique=True, sqlite_where=_START, postgresql_where=_START),
        Index("job_events_act", "act_id"),
        {"sqlite_autoincrement": True, **STRICT},
    )
    id: int = Field(sa_column=Column(BIG, Identity(), primary_key=True))
    act_id: str = Field(sa_column=Column(Text, nullable=False))
    job_id: int = Field(sa_column=Column(BIG, ForeignKey("jobs.id"), nullable=False))
    attempt: int = Field(sa_column=Column(Integer, nullable=False))
    event: str = Field(sa_column=Column(Text, nullable=False))
    reason_code: str | None = Field(sa_column=Column(Text))
    observed_heartbeat_at: datetime | None = Field(sa_column=Column(UtcTime))
    created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    actor: str = Field(sa_column=Column(Text, nullable=False))
    trace_id: str = Field(sa_column=Column(Text, nullable=False))


class ReaperRuns(SQLModel, table=True):
    """What one run of the reaper did and did not do: append-only."""

    __tablename__ = "reaper_runs"
    __table_args__ = (
        CheckConstraint("id > 0", name="reaper_runs_id_positive"),
        CheckConstraint("complete IN (0, 1)", name="reaper_runs_complete"),
        CheckConstraint("length(trace_id) = 32", name="reaper_runs_trace_id_length"),
        Index("reaper_runs_act", "act_id"),
        {"sqlite_autoincrement": True, **STRICT},
    )
    id: int = Field(sa_column=Column(BIG, Identity(), primary_key=True))
    act_id: str = Field(sa_column=Column(Text, nullable=False))
    host: str = Field(sa_column=Column(Text, nullable=False))
    started_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    duration_ms: int = Field(sa_column=Column(Integer, nullable=False))
    complete: int = Field(sa_column=Column(Integer, nullable=False))
    counts: Any = Field(sa_column=Column(JsonText, nullable=False))
    not_done: Any = Field(sa_column=Column(JsonText, nullable=False))
    created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    actor: str = Field(sa_column=Column(Text, nullable=False))
    trace_id: str = Field(sa_column=Column(Text, nullable=False))
