"""`backtest run`: any engine as a supervised job; what it writes is judged by the ledger's arithmetic, or it failed.

The engine's standard output is its fills, NDJSON in blaidctl's own columns; standard error is its talk, and its end is
kept with the job. Metrics and SUCCEEDED are one act: there is no moment in which one of them stands alone.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from blaidctl.backtests import bars, contract
from blaidctl.backtests.bars import Bars
from blaidctl.backtests.evaluate import Failed, Setting, evaluate
from blaidctl.backtests.vocabulary import BARS_VARIABLE
from blaidctl.core import clock, decimals, errors
from blaidctl.core.execute import execute, invalid_request
from blaidctl.core.operation import the_map
from blaidctl.core.settings import PREFIX
from blaidctl.jobs import runner
from blaidctl.jobs.output import Tail, Tee
from blaidctl.jobs.vocabulary import JobEnd, JobReason
from blaidctl.ledger import rules

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from blaidctl.core.context import Context

_REFERENCE = (sys.executable, "-m", "blaidctl.backtests.moving_average")
#: Of the lease at the most, between two heartbeats while fills are read.
_BEAT_EVERY_S = 1.0
_LOOK_EVERY = 1_000
#: Of fills that are kept while the engine runs: an engine that never stops writing must not fill the disk.
MOST_BYTES = 1024**3


_NO_BARS = (bars.BarsInvalid, errors.FileInvalid, errors.FileUnreadable)


def _why(error: Exception) -> str:
    return error.message if isinstance(error, errors.BlaidError) else str(error)


def run_backtest(ctx: Context, asked: Mapping[str, Any], command: Sequence[str]) -> int:
    """Run an engine over bars until there are metrics or a reason. Returns 0 only when it SUCCEEDED."""
    try:
        request = contract.RunBacktest.model_validate({k: v for k, v in asked.items() if v is not None})
    except ValidationError as error:
        raise invalid_request(error) from None
    named = {name: getattr(request, name) for name in ("symbol", "exchange", "asset_class")}
    instrument = execute(ctx, the_map()["instrument show"], named).result
    setting = Setting(
        key=(instrument["exchange"], instrument["symbol"], instrument["asset_class"]),
        instrument=rules.Instrument(
            instrument["currency"], *(decimals.read(instrument[name]) for name in ("point_value", "price_magnifier"))
        ),
        capital=request.capital,
        lot_method=request.lot_method,
        basis=request.basis,
    )
    # Without a name: a supervisor that is killed leaves nothing of it.
    with tempfile.TemporaryFile(prefix="blaidctl-fills-") as fills:
        work = _Backtest(ctx, request, setting, f"/proc/self/fd/{fills.fileno()}", fills.fileno())
        job = {"type": request.type, "job": request.job, "reason": request.reason}
        return runner.run(ctx, job, command or _REFERENCE, work)


@dataclass(slots=True)
class _Backtest:
    """A backtest as the runner of jobs sees it."""

    ctx: Context
    request: contract.RunBacktest
    setting: Setting
    path: str
    descriptor: int
    bars: Bars = field(default_factory=Bars)

    @property
    def environment(self) -> dict[str, str]:
        """What the engine is told."""
        return {
            BARS_VARIABLE: self.request.bars,
            f"{PREFIX}SYMBOL": self.setting.key[1],
            f"{PREFIX}CURRENCY": self.setting.instrument.currency,
            f"{PREFIX}CAPITAL": decimals.text_of(self.setting.capital),
        }

    def unready(self) -> runner.Verdict | None:
        """Read the bars to their end."""
        try:
            self.bars = bars.read(self.request.bars, self.ctx.settings.statement_timeout_s)
        except _NO_BARS as error:
            return runner.Verdict((JobEnd.FAILED, JobReason.BAD_BARS), _why(error))
        return None

    def tees(self, tail: Tail) -> tuple[Tee, Tee]:
        """Take the fills; pass the talk on, and keep its end."""
        return Tee(Tail(), self.descriptor, MOST_BYTES), Tee(tail, 2)

    def judge(self, attempt: runner.Attempt, sentence: str) -> runner.Verdict:
        """Compute the metrics, beating the heart of the job meanwhile."""
        try:
            found = evaluate(self.path, self.bars, self.setting, _Heart(attempt).beat)
            self._same_bars()
        except Failed as failed:
            return runner.Verdict((JobEnd.FAILED, failed.reason), f"{sentence}: {failed}")
        except _NO_BARS as error:
            return runner.Verdict((JobEnd.FAILED, JobReason.BAD_BARS), f"{sentence}: {_why(error)}")
        exchange, symbol, asset_class = self.setting.key
        report = {
            **found.metrics,
            "bars_sha256": self.bars.sha256,
            "bars": self.bars.rows,
            "first_bar_at": self.bars.first_at,
            "last_bar_at": self.bars.last_at,
            "exchange": exchange,
            "symbol": symbol,
            "asset_class": asset_class,
            "currency": self.setting.instrument.currency,
            "lot_method": self.setting.lot_method,
            "basis": self.setting.basis,
            "input_hash": found.input_hash,
        }
        metrics = found.metrics
        said = f"{metrics['fills']} fills, net {metrics['net']} {report['currency']} (backtest show {attempt.id})"
        how = (JobEnd.SUCCEEDED, JobReason.COMPLETED)
        return runner.Verdict(how, f"{sentence}: {said}", act="backtest end", report={"metrics": report})

    def _same_bars(self) -> None:
        """Raise Failed when the engine may have read other bars than were checked."""
        now = bars.read(self.request.bars, self.ctx.settings.statement_timeout_s)
        if now.sha256 != self.bars.sha256:
            raise Failed(JobReason.BAD_BARS, f"{self.request.bars} changed while the engine ran")


class _Heart:
    """Beats while many fills are read: a judge at work is no silent worker."""

    def __init__(self, attempt: runner.Attempt) -> None:
        self._attempt = attempt
        self._next_s = clock.monotonic_s() + _BEAT_EVERY_S

    def beat(self, count: int) -> None:
        if count % _LOOK_EVERY or clock.monotonic_s() < self._next_s:
            return
        self._next_s = clock.monotonic_s() + _BEAT_EVERY_S
        # A database that takes no beat is met again, and insisted with, when the end is recorded.
        with contextlib.suppress(errors.Unavailable, errors.Unsettled):
            self._attempt.beat()
