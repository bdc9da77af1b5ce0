"""The table of backtests."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Column, ForeignKey, Identity, Index, Integer, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from blaidctl.core.tables import BIG, STRICT
from blaidctl.core.types import UtcTime

_TEXTS = (
    *("exchange", "symbol", "asset_class", "currency", "lot_method", "basis", "code_version", "starting_capital"),
    *("equity", "gross", "fees", "net", "win_rate", "profit_factor", "expectancy", "return_on_capital", "exposure"),
    *("max_drawdown", "max_drawdown_fraction"),
)
_HASHES = ("bars_sha256", "input_hash", "output_hash")
_AT_LEAST = {"attempt": 1, "bars": 1, "fills": 1, "closed_trades": 0, "wins": 0, "losses": 0}


def _checks() -> list[Any]:
    conditions = {
        **{name: f"{name} >= {least}" for name, least in _AT_LEAST.items()},
        **{name: f"length({name}) = 64" for name in _HASHES},
        **{name: f"length({name}) > 0" for name in _TEXTS},
    }
    return [CheckConstraint(text, name=f"backtest_metrics_{name}") for name, text in conditions.items()]


class BacktestMetrics(SQLModel, table=True):
    """What a backtest that succeeded achieved; no column is ever missing. Money is exact text of any length."""

    __tablename__ = "backtest_metrics"
    __table_args__ = (
        CheckConstraint("id > 0", name="backtest_metrics_id_positive"),
        *_checks(),
        CheckConstraint("length(trace_id) = 32", name="backtest_metrics_trace_id_length"),
        UniqueConstraint("job_id", name="backtest_metrics_one"),
        Index("backtest_metrics_act", "act_id"),
        {"sqlite_autoincrement": True, **STRICT},
    )
    id: int = Field(sa_column=Column(BIG, Identity(), primary_key=True))
    act_id: str = Field(sa_column=Column(Text, nullable=False))
    job_id: int = Field(sa_column=Column(BIG, ForeignKey("jobs.id"), nullable=False))
    attempt: int = Field(sa_column=Column(Integer, nullable=False))
    bars: int = Field(sa_column=Column(Integer, nullable=False))
    fills: int = Field(sa_column=Column(Integer, nullable=False))
    closed_trades: int = Field(sa_column=Column(Integer, nullable=False))
    wins: int = Field(sa_column=Column(Integer, nullable=False))
    losses: int = Field(sa_column=Column(Integer, nullable=False))
    first_bar_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    last_bar_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    bars_sha256: str = Field(sa_column=Column(Text, nullable=False))
    input_hash: str = Field(sa_column=Column(Text, nullable=False))
    output_hash: str = Field(sa_column=Column(Text, nullable=False))
    exchange: str = Field(sa_column=Column(Text, nullable=False))
    symbol: str = Field(sa_column=Column(Text, nullable=False))
    asset_class: str = Field(sa_column=Column(Text, nullable=False))
    currency: str = Field(sa_column=Column(Text, nullable=False))
    lot_method: str = Field(sa_column=Column(Text, nullable=False))
    basis: str = Field(sa_column=Column(Text, nullable=False))
    code_version: str = Field(sa_column=Column(Text, nullable=False))
    starting_capital: str = Field(sa_column=Column(Text, nullable=False))
    equity: str = Field(sa_column=Column(Text, nullable=False))
    gross: str = Field(sa_column=Column(Text, nullable=False))
    fees: str = Field(sa_column=Column(Text, nullable=False))
    net: str = Field(sa_column=Column(Text, nullable=False))
    win_rate: str = Field(sa_column=Column(Text, nullable=False))
    profit_factor: str = Field(sa_column=Column(Text, nullable=False))
    expectancy: str = Field(sa_column=Column(Text, nullable=False))
    return_on_capital: str = Field(sa_column=Column(Text, nullable=False))
    exposure: str = Field(sa_column=Column(Text, nullable=False))
    max_drawdown: str = Field(sa_column=Column(Text, nullable=False))
    max_drawdown_fraction: str = Field(sa_column=Column(Text, nullable=False))
    actor: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    trace_id: str = Field(sa_column=Column(Text, nullable=False))
