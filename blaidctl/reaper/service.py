"""Handlers of the reaper: each one transaction, fenced, so that any number of reapers at once does everything once.

Lock order: instances or jobs, then the audit head. What another holds locked is passed over, never waited for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blaidctl.fleet.rules import ended_status
from blaidctl.fleet.vocabulary import StopReason
from blaidctl.jobs.events import JOB_EVENTS, REAPER_RUNS
from blaidctl.jobs.vocabulary import JobEvent, JobReason
from blaidctl.reaper import contract, queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blaidctl.core.execute import Tx
    from blaidctl.core.sql import Row


def reap_jobs(tx: Tx, request: contract.ReapBatch) -> contract.ReapedBatch:
    """Fail the jobs that are as silent as they were seen to be, or past their deadline; one event each."""
    rows = tx.fetch(queries.REAP_JOBS, seen=request.seen, **_clock(tx))
    events = [
        {"job_id": row["id"], "attempt": row["attempt"], "observed_heartbeat_at": row["heartbeat_at"]} for row in rows
    ]
    if events:
        tx.record(JOB_EVENTS, events, event=JobEvent.FAILED, reason_code=JobReason.TIMEOUT)
    tx.target = {"jobs": [row["id"] for row in rows]}
    tx.before, tx.after = {"status": "RUNNING"}, {"status": "FAILED", "reason_code": "TIMEOUT", "count": len(rows)}
    # A job that supervises itself may have named no process: then there is none to look for.
    return _reaped(tx, rows, [row for row in rows if row["pid"] is not None or row["mark"]])


def reap_instances(tx: Tx, request: contract.ReapBatch) -> contract.ReapedBatch:
    """Fail the instances that are as silent as they were seen to be: their supervisor is gone or hangs."""
    lost = StopReason.SUPERVISOR_LOST
    rows = tx.fetch(
        queries.REAP_INSTANCES, seen=request.seen, status=ended_status(lost), stop_reason=lost, **_clock(tx)
    )
    tx.target = {"instances": [[row["id"], row["attempt"], row["bot_id"]] for row in rows]}
    tx.after = {"status": ended_status(lost), "stop_reason": lost, "count": len(rows)}
    return _reaped(tx, rows, rows)


def _clock(tx: Tx) -> dict[str, object]:
    """Return the time that SQLite's statement is given; PostgreSQL's reads the server's clock itself."""
    return {"now": tx.clock()} if tx.connection.dialect.name == "sqlite" else {}


def _reaped(tx: Tx, rows: Sequence[Row], with_process: Sequence[Row]) -> contract.ReapedBatch:
    """Return what was ended, and whose processes may be left, here or on other hosts."""
    host = tx.ctx.machine.host
    fields = contract.LeftProcess.model_fields
    return contract.ReapedBatch(
        reaped=[row["id"] for row in rows],
        here=[
            contract.LeftProcess.model_validate({name: row[name] for name in fields})
            for row in with_process
            if row["host"] == host
        ],
        elsewhere=[
            contract.ElsewhereProcess(id=row["id"], host=row["host"] or "an unknown host")
            for row in with_process
            if row["host"] != host
        ],
    )


def confirm_stops(tx: Tx, request: contract.ConfirmStops) -> contract.ConfirmedStops:
    """Record that the processes of stopped instances are proven gone, where no supervisor said so meanwhile."""
    gone = [one.model_dump() for one in request.gone]
    rows = tx.fetch(queries.CONFIRM_STOPS, gone=gone, now=tx.now)
    tx.target = {"instances": [[row["id"], row["bot_id"]] for row in rows]}
    tx.before = {"confirmed": False}
    tx.after = {"confirmed": True, "exit_status": sorted({row["exit_status"] for row in rows})}
    return contract.ConfirmedStops(confirmed=[row["id"] for row in rows])


def record_run(tx: Tx, request: contract.RecordRun) -> contract.Reaped:
    """Write the row of a run, idle ones too: that nothing was found is known only if somebody looked."""
    counts = request.counts.model_dump(mode="json")
    run = {
        "host": request.host,
        "started_at": request.started_at,
        "duration_ms": request.duration_ms,
        "complete": int(not request.not_done),
        "counts": counts,
        "not_done": [left.model_dump(mode="json") for left in request.not_done],
    }
    (written,) = tx.record(REAPER_RUNS, [run])
    tx.target, tx.after = {"host": request.host, "run": written["id"]}, counts
    return contract.Reaped(
        run_id=written["id"],
        host=request.host,
        started_at=request.started_at,
        duration_ms=request.duration_ms,
        complete=not request.not_done,
        not_done_count=counts.pop("not_done"),
        not_done=request.not_done,
        **counts,
    )
