"""Requests and results of backtests."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints, field_validator

from blaidctl.core.contract import Act, LookupId, Request, Result
from blaidctl.core.decimals import PositiveExact
from blaidctl.instruments.contract import FilePath
from blaidctl.instruments.vocabulary import AssetClass
from blaidctl.jobs.contract import EndJob, JobId, JobState
from blaidctl.jobs.rules import needs_metrics
from blaidctl.jobs.vocabulary import BACKTEST, JobEnd
from blaidctl.ledger.vocabulary import Basis, LotMethod

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
#: An exact number as text, of any length: sums of products have more places than a column of prices.
Number = Annotated[str, StringConstraints(pattern=r"^-?(0|[1-9][0-9]{0,99})(\.[0-9]{0,99}[1-9])?$", max_length=200)]
Count = Annotated[int, Field(ge=0)]


class RunBacktest(Act):
    """Run an engine over bars."""

    bars: FilePath
    symbol: LookupId
    exchange: LookupId | None = None
    asset_class: AssetClass | None = None
    capital: PositiveExact
    lot_method: LotMethod = LotMethod.FIFO
    basis: Basis = Basis.REALIZED
    type: LookupId = BACKTEST
    job: JobId | None = None

    @field_validator("type")
    @classmethod
    def _of_a_backtest(cls, name: str) -> str:
        if not needs_metrics(name):
            msg = f"a backtest is of type {BACKTEST!r}, or of one that begins with '{BACKTEST}-'"
            raise ValueError(msg)
        return name


class Metrics(Result):
    """What a backtest achieved; nothing of it is ever missing."""

    bars_sha256: Sha256
    bars: Annotated[int, Field(ge=1)]
    first_bar_at: datetime
    last_bar_at: datetime
    exchange: str
    symbol: str
    asset_class: AssetClass
    currency: str
    lot_method: LotMethod
    basis: Basis
    starting_capital: Number
    equity: Number
    gross: Number
    fees: Number
    net: Number
    fills: Annotated[int, Field(ge=1)]
    closed_trades: Count
    wins: Count
    losses: Count
    win_rate: Number
    profit_factor: Number
    expectancy: Number
    return_on_capital: Number
    exposure: Number
    max_drawdown: Number
    max_drawdown_fraction: Number
    input_hash: Sha256


class EndBacktest(EndJob):
    """A supervisor reports the success of a backtest together with its metrics."""

    bulky: ClassVar = frozenset({"result", "output_tail"})
    status: Literal[JobEnd.SUCCEEDED] = JobEnd.SUCCEEDED
    metrics: Metrics


class EndedBacktest(JobState):
    """How the job stands, and the hash of its metrics."""

    output_hash: Sha256


class ShowBacktest(Request):
    """The metrics of one backtest."""

    job: JobId


class BacktestDetail(Metrics):
    """The metrics of one backtest, and how they were made."""

    columns: ClassVar = (
        "job_id", "attempt", "program", "symbol", "bars", "first_bar_at", "last_bar_at", "currency",
        "lot_method", "basis", "fills", "closed_trades", "wins", "losses", "starting_capital", "equity", "gross",
        "fees", "net", "win_rate", "profit_factor", "expectancy", "return_on_capital", "exposure", "max_drawdown",
        "max_drawdown_fraction", "input_hash", "output_hash",
    )  # fmt: skip
    job_id: int
    attempt: int
    program: str | None
    output_hash: Sha256
    code_version: str
    created_at: datetime
    actor: str
    trace_id: str


class ListBacktests(Request):
    """Backtests that have metrics, newest first."""

    limit: Annotated[int, Field(ge=1, le=10_000)] = 100


class BacktestLine(Result):
    """One backtest in a list."""

    job_id: int
    symbol: str
    currency: str
    fills: int
    net: Number
    profit_factor: Number
    max_drawdown: Number
    created_at: datetime


class BacktestList(Result):
    """Backtests that have metrics, newest first."""

    table_of: ClassVar = "backtests"
    columns: ClassVar = ("job_id", "symbol", "currency", "fills", "net", "profit_factor", "max_drawdown")
    backtests: list[BacktestLine]
