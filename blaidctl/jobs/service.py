"""Handlers of jobs: types with limits, attempts with a fencing token.

Lock order: the job, then the audit head. The times of a job come from the database's clock (`tx.clock()`), read when
the row is held: what a worker just said is never written as older than it is.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from blaidctl.core import errors, process
from blaidctl.core.canonical import sha256_text
from blaidctl.fleet.rules import closest
from blaidctl.fleet.vocabulary import Existence
from blaidctl.jobs import contract, queries, rules
from blaidctl.jobs.events import JOB_EVENTS
from blaidctl.jobs.vocabulary import METRICS, JobEnd, JobEvent, JobStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from blaidctl.core.context import Context
    from blaidctl.core.execute import Tx
    from blaidctl.core.sql import Row


# --- types ------------------------------------------------------------------------------------------------------


def add_type(tx: Tx, request: contract.AddJobType) -> contract.AddedJobType:
    """Register a type; repeating the same call is harmless, other limits are a conflict."""
    limits = request.model_dump(exclude={"name", "reason"})
    known = tx.first(queries.FIND_TYPE, name=request.name)
    if known:
        other = [f"{name} {known[name]}" for name, value in limits.items() if known[name] != value]
        if other:
            raise errors.AlreadyExists(f"job type {request.name} exists with {', '.join(other)}")
    else:
        tx.run(queries.INSERT_TYPE, name=request.name, now=tx.now, **limits)
    tx.target, tx.after, tx.before = {"job_type": request.name}, limits, limits if known else None
    return contract.AddedJobType(name=request.name, effect=Existence.EXISTS if known else Existence.CREATED, **limits)


def list_types(tx: Tx, _request: contract.ListJobTypes) -> contract.JobTypeList:
    """Return all types, by name."""
    return contract.JobTypeList(job_types=[contract.JobType(**row) for row in tx.fetch(queries.LIST_TYPES)])


def require_type(tx: Tx, name: str) -> Row:
    """Return a type; JobTypeNotFound names the closest ones."""
    found = tx.first(queries.FIND_TYPE, name=name)
    if found is None:
        near = closest(name, [row["name"] for row in tx.fetch(queries.TYPE_NAMES)])
        hint = f" (did you mean {', '.join(near)}?)" if near else ""
        raise errors.JobTypeNotFound(f"no job type {name!r}{hint}", missing=[f"job type {name}"])
    return found


# --- an attempt begins ------------------------------------------------------------------------------------------


def start_job(tx: Tx, request: contract.StartJob) -> contract.StartedJob:
    """Start a job that supervises itself; its process, when it names one, must live on this host."""
    return _begin(tx, request.type, request.job, _own_worker(tx.ctx, request.pid))


def begin_job(tx: Tx, request: contract.BeginJob) -> contract.StartedJob:
    """Start a job for a supervisor, which says itself where the process is."""
    worker = {
        "program": request.program,
        "worker_boot": request.boot_id,
        "worker_host": request.host,
        "worker_mark": request.mark,
        "worker_pid": request.pid,
        "worker_pid_start": request.pid_started,
    }
    return _begin(tx, request.type, request.job, worker)


def _own_worker(ctx: Context, pid: int | None) -> dict[str, Any]:
    started = _living(pid) if pid is not None else None
    return {
        "program": None,
        "worker_boot": process.boot_id() if pid is not None else None,
        "worker_host": ctx.machine.host,
        "worker_mark": None,
        "worker_pid": pid,
        "worker_pid_start": started,
    }


def _living(pid: int) -> str:
    """Return when a process of this host started. It must be the caller's to end: the reaper may end it one day."""
    started = process.started(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        started = ""
    except PermissionError:
        raise errors.InvalidRequest(
            f"process {pid} belongs to somebody else", missing=["pid: a process that you may signal"]
        ) from None
    if not (started and process.lives(pid)):
        raise errors.InvalidRequest(f"no process {pid} lives on this host", missing=["pid: a process that lives here"])
    return started


def _begin(tx: Tx, type_name: str, job_id: int | None, worker: dict[str, Any]) -> contract.StartedJob:
    limits = require_type(tx, type_name)
    before = _startable(tx, type_name, job_id) if job_id is not None else None
    now = tx.clock()
    supervised = worker["worker_mark"] is not None
    deadline_at = rules.deadline_at(now, limits["max_runtime_s"], limits["grace_s"] if supervised else None)
    values = {
        **worker,
        "worker_id": f"{tx.ctx.machine.host}:{tx.ctx.machine.pid}",
        "heartbeat_s": limits["heartbeat_s"],
        "stale_after_s": limits["stale_after_s"],
        "started_at": now,
        "deadline_at": deadline_at,
        "due_at": rules.due_at(now, limits["stale_after_s"], deadline_at),
    }
    job_id, attempt = _again(tx, before, values) if before else _new(tx, type_name, values)
    event = {"job_id": job_id, "attempt": attempt, "event": JobEvent.STARTED}
    tx.record(JOB_EVENTS, [event], reason_code=None, observed_heartbeat_at=None)
    tx.target = {"job": job_id, "job_type": type_name}
    tx.before = _standing(before) if before else None
    tx.after = {"attempt": attempt, "status": JobStatus.RUNNING, "worker": {"id": values["worker_id"], **worker}}
    return contract.StartedJob(
        job_id=job_id,
        job_type=type_name,
        attempt=attempt,
        status=JobStatus.RUNNING,
        started_at=now,
        deadline_at=deadline_at,
        due_at=values["due_at"],
        **{name: limits[name] for name in ("heartbeat_s", "stale_after_s", "max_runtime_s", "grace_s")},
    )


def _startable(tx: Tx, type_name: str, job_id: int) -> Row:
    """Lock a job whose next attempt may begin."""
    job = _locked(tx, job_id)
    if job["job_type"] != type_name:
        raise errors.JobNotFound(
            f"no job {job_id} of type {type_name}: it is of type {job['job_type']}", missing=[f"job {job_id}"]
        )
    if job["status"] == JobStatus.RUNNING:
        raise errors.JobRunning(f"job {job_id} is {rules.standing(**_standing(job))}")
    if job["status"] == JobStatus.SUCCEEDED:
        raise errors.JobTerminal(
            f"job {job_id} is {rules.standing(**_standing(job))}; what succeeded is not started again",
            next_steps=["Start a new job: leave out --job."],
        )
    return job


def _new(tx: Tx, type_name: str, values: dict[str, Any]) -> tuple[int, int]:
    row = tx.first(queries.INSERT_JOB, job_type=type_name, **values)
    assert row is not None  # noqa: S101 - RETURNING of a successful INSERT
    return row["id"], 1


def _again(tx: Tx, job: Row, values: dict[str, Any]) -> tuple[int, int]:
    attempt = rules.next_attempt(job["status"], job["attempt"])
    fence = {"id": job["id"], "attempt": job["attempt"]}
    if not tx.run(queries.START_AGAIN, next_attempt=attempt, **fence, **values):
        raise errors.JobRunning(f"job {job['id']} is {rules.standing(**_standing(job))}")
    return job["id"], attempt


# --- what its worker says ---------------------------------------------------------------------------------------


def beat_job(tx: Tx, request: contract.BeatJob) -> contract.Beaten:
    """Write a heartbeat; JobTerminal means: stop working."""
    job = _locked(tx, request.job)
    now = tx.clock()
    due_at = job["deadline_at"] and rules.due_at(now, job["stale_after_s"], job["deadline_at"])
    fence = {"id": request.job, "attempt": request.attempt}
    if not tx.run(queries.BEAT, heartbeat_at=now, due_at=due_at, **fence):
        raise _over(job, request.attempt)
    return contract.Beaten(
        job_id=job["id"],
        attempt=job["attempt"],
        hb_seq=job["hb_seq"] + 1,
        heartbeat_at=now,
        due_at=due_at,
        deadline_at=job["deadline_at"],
    )


def report_job(tx: Tx, request: contract.ReportJob) -> contract.JobState:
    """Record the process of an attempt."""
    job = _locked(tx, request.job)
    fence = {"id": request.job, "attempt": request.attempt}
    touched = tx.run(queries.REPORT_PROCESS, worker_pid=request.pid, worker_pid_start=request.pid_started, **fence)
    if not touched:
        raise _over(job, request.attempt)
    return _reported(tx, job, {"pid": request.pid, "pid_started": request.pid_started})


def finish_job(tx: Tx, request: contract.FinishJob) -> contract.JobState:
    """End an attempt, as its own worker reports it."""
    return _end(tx, request, exit_status=None, output_tail=None, output_bytes=None)


def end_job(tx: Tx, request: contract.EndJob) -> contract.JobState:
    """End an attempt, as its supervisor saw it."""
    seen = ("exit_status", "output_tail", "output_bytes")
    return _end(tx, request, **{name: getattr(request, name) for name in seen})


def end_with(tx: Tx, request: contract.EndJob, write: Callable[[], Any]) -> contract.JobState:
    """End an attempt, and write what belongs to its end: after the job is held and its attempt runs, or not at all."""
    job = _locked(tx, request.job)
    if job["status"] != JobStatus.RUNNING or job["attempt"] != request.attempt:
        raise _over(job, request.attempt)
    write()
    return end_job(tx, request)


def _end(tx: Tx, request: contract.FinishJob, **seen: Any) -> contract.JobState:
    job = _locked(tx, request.job)
    _needs_metrics(tx, job, request)
    reason_code = rules.reason_of(request.status, request.reason_code)
    touched = tx.run(
        queries.END_JOB,
        id=request.job,
        attempt=request.attempt,
        status=request.status,
        reason_code=reason_code,
        finished_at=tx.clock(),
        result=request.result,
        **seen,
    )
    if not touched:
        raise _over(job, request.attempt)
    event = {"job_id": job["id"], "attempt": job["attempt"], "event": request.status, "reason_code": reason_code}
    tx.record(JOB_EVENTS, [event], observed_heartbeat_at=job["heartbeat_at"])
    texts = {"result": request.result, "output_tail": seen["output_tail"]}
    hashes = {f"{name}_sha256": sha256_text(text).hex() for name, text in texts.items() if text is not None}
    return _reported(tx, job, {"exit_status": seen["exit_status"], **hashes})


def _needs_metrics(tx: Tx, job: Row, request: contract.FinishJob) -> None:
    """Refuse the success of a backtest whose metrics are not part of the same act; the database would too."""
    if request.status == JobEnd.SUCCEEDED and rules.needs_metrics(job["job_type"]) and METRICS not in tx.digests:
        raise errors.MetricsMissing(
            f"job {job['id']} is a {job['job_type']}: it succeeds only together with its metrics",
            missing=[f"metrics of backtest {job['id']}"],
        )


def _locked(tx: Tx, job_id: int) -> Row:
    found = tx.first(queries.LOCK_JOB, id=job_id)
    if found is None:
        raise errors.JobNotFound(f"no job {job_id}", missing=[f"job {job_id}"])
    return found


def _standing(job: Row) -> dict[str, Any]:
    return {name: job[name] for name in ("attempt", "reason_code", "status")}


def _over(job: Row, attempt: int) -> errors.JobTerminal:
    """Return the refusal of a write that no longer, or not yet, has a running attempt."""
    which = "" if attempt == job["attempt"] else f"; attempt {attempt} may not write"
    return errors.JobTerminal(f"job {job['id']} is {rules.standing(**_standing(job))}{which}")


def _reported(tx: Tx, before: Row, after: dict[str, Any]) -> contract.JobState:
    now = tx.first(queries.LOCK_JOB, id=before["id"])
    assert now is not None  # noqa: S101 - jobs are never deleted: a trigger refuses it
    tx.target = {"job": now["id"], "job_type": now["job_type"]}
    tx.before, tx.after = _standing(before), {**_standing(now), **after}
    return contract.JobState(
        job_id=now["id"], job_type=now["job_type"], finished_at=now["finished_at"], **_standing(now)
    )


# --- looking ----------------------------------------------------------------------------------------------------


def list_jobs(tx: Tx, request: contract.ListJobs) -> contract.JobList:
    """Return jobs, newest first."""
    narrowed: dict[str, Any] = {}
    if request.type is not None:
        narrowed["type"] = require_type(tx, request.type)["name"]
    rows = tx.fetch(queries.LIST_JOBS[bool(narrowed), request.status], limit=request.limit, **narrowed)
    return contract.JobList(jobs=[contract.Job(**row) for row in rows])


def show_job(tx: Tx, request: contract.ShowJob) -> contract.JobDetail:
    """Return one job, the timeline of its attempts, and what it said last."""
    job = _found(tx, request.job)
    events = tx.fetch(queries.EVENTS_OF_JOB, job_id=request.job, limit=request.limit)
    return contract.JobDetail(
        **job,
        events=[contract.Event(**row) for row in reversed(events)],
        last_output=[contract.OutputLine(line=line) for line in rules.last_lines(job["output_tail"])],
    )


def list_events(tx: Tx, request: contract.ListJobEvents) -> contract.JobEventList:
    """Return job events, newest first."""
    if request.job is None:
        rows = tx.fetch(queries.LIST_EVENTS, limit=request.limit)
    else:
        _found(tx, request.job)
        rows = tx.fetch(queries.EVENTS_OF_JOB, job_id=request.job, limit=request.limit)
    return contract.JobEventList(events=[contract.Event(**row) for row in rows])


def _found(tx: Tx, job_id: int) -> Row:
    found = tx.first(queries.FIND_JOB, id=job_id)
    if found is None:
        raise errors.JobNotFound(f"no job {job_id}", missing=[f"job {job_id}"])
    return found
