"""Handlers of backtests: the end that has metrics, and looking at them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import blaidctl
from blaidctl.backtests import contract, queries
from blaidctl.backtests.events import BACKTEST_METRICS
from blaidctl.core import errors
from blaidctl.core.canonical import fingerprint
from blaidctl.jobs import service as jobs
from blaidctl.jobs.rules import needs_metrics

if TYPE_CHECKING:
    from blaidctl.core.execute import Tx


def end_backtest(tx: Tx, request: contract.EndBacktest) -> contract.EndedBacktest:
    """Write the metrics and the success of an attempt: together, or neither."""
    job = tx.first(queries.JOB, job_id=request.job)
    if job is not None and not needs_metrics(job["job_type"]):
        raise errors.InvalidRequest(
            f"job {request.job} is of type {job['job_type']}: it is no backtest", missing=["job: a backtest"]
        )
    output_hash = fingerprint(request.metrics.model_dump(mode="json"))
    row = {**request.metrics.model_dump(), "output_hash": output_hash, "code_version": blaidctl.__version__}
    state = jobs.end_with(
        tx, request, lambda: tx.record(BACKTEST_METRICS, [row], job_id=request.job, attempt=request.attempt)
    )
    return contract.EndedBacktest(**state.model_dump(), output_hash=output_hash)


def show_backtest(tx: Tx, request: contract.ShowBacktest) -> contract.BacktestDetail:
    """Return the metrics of a backtest; why there are none, for one that has none."""
    row = tx.first(queries.SHOW, job_id=request.job)
    if row is not None:
        return contract.BacktestDetail(**row)
    job = tx.first(queries.JOB, job_id=request.job)
    if job is None or not needs_metrics(job["job_type"]):
        raise errors.JobNotFound(f"no backtest {request.job}", missing=[f"backtest {request.job}"])
    why = f", {job['reason_code']}" if job["reason_code"] else ""
    raise errors.MetricsMissing(
        f"backtest {request.job} has no metrics: it is {job['status']} (attempt {job['attempt']}{why})",
        missing=[f"metrics of backtest {request.job}"],
        next_steps=[f"Why it ended: blaidctl job show {request.job}."],
    )


def list_backtests(tx: Tx, request: contract.ListBacktests) -> contract.BacktestList:
    """Return the backtests that have metrics, newest first."""
    rows = tx.fetch(queries.LIST, limit=request.limit)
    return contract.BacktestList(backtests=[contract.BacktestLine(**row) for row in rows])
