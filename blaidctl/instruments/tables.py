"""Tables of instruments, sessions and currencies."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, Column, ForeignKey, Identity, Index, Integer, PrimaryKeyConstraint, Text
from sqlmodel import Field, SQLModel

from blaidctl.core import ddl
from blaidctl.core.tables import BIG, STRICT
from blaidctl.core.types import ExactNumeric, JsonText, UtcTime
from blaidctl.instruments.vocabulary import AssetClass

_ASSET_CLASSES = ", ".join(f"'{kind}'" for kind in AssetClass)
_ENGINES = ("sqlite", "postgresql")
_TIME_OF_DAY = {
    "sqlite": "{0} GLOB '[0-2][0-9]:[0-5][0-9]:[0-5][0-9]' AND {0} <= '24:00:00'",
    "postgresql": "{0} ~ '^(([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]|24:00:00)$'",
}
_DATE = {
    "sqlite": "date IS date(date, '+0 days')",
    "postgresql": "date ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' AND date = to_char(to_date(date, 'YYYY-MM-DD'), 'YYYY-MM-DD')",
}


def _by_engine(name: str, texts: dict[str, str]) -> list[Any]:
    return [CheckConstraint(text, name=name).ddl_if(dialect=engine) for engine, text in texts.items()]


def _time_of_day(name: str, column: str) -> list[Any]:
    return _by_engine(name, {engine: text.format(column) for engine, text in _TIME_OF_DAY.items()})


def _above_zero(*columns: str) -> list[Any]:
    return [
        check
        for column in columns
        for check in _by_engine(f"instruments_{column}", {e: ddl.above_zero(column, e) for e in _ENGINES})
    ]


def _min_at_most_max() -> list[Any]:
    texts = {engine: f"max_qty IS NULL OR {ddl.at_most('min_qty', 'max_qty', engine)}" for engine in _ENGINES}
    return _by_engine("instruments_min_at_most_max", texts)


class Sessions(SQLModel, table=True):
    """When a market trades, in its own time zone."""

    __tablename__ = "sessions"
    __table_args__ = (
        CheckConstraint("length(name) BETWEEN 1 AND 64", name="sessions_name"),
        CheckConstraint("length(timezone) BETWEEN 1 AND 64", name="sessions_timezone"),
        STRICT,
    )
    name: str = Field(sa_column=Column(Text, primary_key=True))
    timezone: str = Field(sa_column=Column(Text, nullable=False))
    updated_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))


class SessionHours(SQLModel, table=True):
    """A stretch of a weekday (0 is Monday) in which a session trades; 24:00:00 is the end of the day."""

    __tablename__ = "session_hours"
    __table_args__ = (
        CheckConstraint("weekday BETWEEN 0 AND 6", name="session_hours_weekday"),
        CheckConstraint("state IN ('premarket', 'market', 'postmarket')", name="session_hours_state"),
        *_time_of_day("session_hours_opens", "opens"),
        *_time_of_day("session_hours_closes", "closes"),
        CheckConstraint("opens < closes", name="session_hours_order"),
        STRICT,
    )
    session: str = Field(sa_column=Column(Text, ForeignKey("sessions.name"), primary_key=True))
    weekday: int = Field(sa_column=Column(Integer, primary_key=True))
    state: str = Field(sa_column=Column(Text, nullable=False))
    opens: str = Field(sa_column=Column(Text, primary_key=True))
    closes: str = Field(sa_column=Column(Text, nullable=False))


class SessionDates(SQLModel, table=True):
    """A date on which a session's week does not hold."""

    __tablename__ = "session_dates"
    __table_args__ = (
        *_by_engine("session_dates_date", _DATE),
        CheckConstraint("kind IN ('holiday', 'early_close', 'late_open')", name="session_dates_kind"),
        *_time_of_day("session_dates_time", "time"),
        CheckConstraint("(kind = 'holiday') = (time IS NULL)", name="session_dates_timed"),
        STRICT,
    )
    session: str = Field(sa_column=Column(Text, ForeignKey("sessions.name"), primary_key=True))
    date: str = Field(sa_column=Column(Text, primary_key=True))
    kind: str = Field(sa_column=Column(Text, primary_key=True))
    time: str | None = Field(sa_column=Column(Text))


class SessionEvents(SQLModel, table=True):
    """What changed of a session, whole: append-only."""

    __tablename__ = "session_events"
    __table_args__ = (
        CheckConstraint("id > 0", name="session_events_id_positive"),
        CheckConstraint("action IN ('LOADED', 'CHANGED')", name="session_events_action"),
        CheckConstraint("(action = 'LOADED') = (before IS NULL)", name="session_events_before"),
        CheckConstraint("length(trace_id) = 32", name="session_events_trace_id_length"),
        Index("session_events_act", "act_id"),
        {"sqlite_autoincrement": True, **STRICT},
    )
    id: int = Field(sa_column=Column(BIG, Identity(), primary_key=True))
    act_id: str = Field(sa_column=Column(Text, nullable=False))
    action: str = Field(sa_column=Column(Text, nullable=False))
    session: str = Field(sa_column=Column(Text, ForeignKey("sessions.name"), nullable=False))
    before: Any = Field(sa_column=Column(JsonText))
    after: Any = Field(sa_column=Column(JsonText, nullable=False))
    source_sha256: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    actor: str = Field(sa_column=Column(Text, nullable=False))
    trace_id: str = Field(sa_column=Column(Text, nullable=False))


class Currencies(SQLModel, table=True):
    """A currency that ISO 4217 does not know: declared once, never changed."""

    __tablename__ = "currencies"
    __table_args__ = (
        CheckConstraint("length(code) BETWEEN 2 AND 16", name="currencies_code"),
        CheckConstraint("places BETWEEN 0 AND 18", name="currencies_places"),
        STRICT,
    )
    code: str = Field(sa_column=Column(Text, primary_key=True))
    places: int = Field(sa_column=Column(Integer, nullable=False))
    created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))


class Instruments(SQLModel, table=True):
    """What is traded: in which steps, for how much money a step, when."""

    __tablename__ = "instruments"
    __table_args__ = (
        PrimaryKeyConstraint("exchange", "symbol", "asset_class", name="instruments_pkey"),
        CheckConstraint("length(symbol) BETWEEN 1 AND 64", name="instruments_symbol"),
        CheckConstraint("length(exchange) BETWEEN 1 AND 32", name="instruments_exchange"),
        CheckConstraint(f"asset_class IN ({_ASSET_CLASSES})", name="instruments_asset_class"),
        CheckConstraint("length(currency) BETWEEN 2 AND 16", name="instruments_currency"),
        *_above_zero(
            "tick_size", "point_value", "min_qty", "min_notional", "max_qty", "lot_size", "price_magnifier"
        ),
        *_min_at_most_max(),
        CheckConstraint("is_active IN (0, 1)", name="instruments_is_active"),
        Index("instruments_by_symbol", "symbol"),
        STRICT,
    )  # fmt: skip
    symbol: str = Field(sa_column=Column(Text, nullable=False))
    exchange: str = Field(sa_column=Column(Text, nullable=False))
    asset_class: str = Field(sa_column=Column(Text, nullable=False))
    description: str = Field(sa_column=Column(Text, nullable=False))
    tick_size: Decimal = Field(sa_column=Column(ExactNumeric, nullable=False))
    point_value: Decimal = Field(sa_column=Column(ExactNumeric, nullable=False))
    currency: str = Field(sa_column=Column(Text, nullable=False))
    min_qty: Decimal = Field(sa_column=Column(ExactNumeric, nullable=False))
    min_notional: Decimal | None = Field(sa_column=Column(ExactNumeric))
    max_qty: Decimal | None = Field(sa_column=Column(ExactNumeric))
    lot_size: Decimal = Field(sa_column=Column(ExactNumeric, nullable=False))
    session: str = Field(sa_column=Column(Text, ForeignKey("sessions.name"), nullable=False))
    venue_symbol: str = Field(sa_column=Column(Text, nullable=False))
    price_magnifier: Decimal = Field(sa_column=Column(ExactNumeric, nullable=False))
    is_active: int = Field(sa_column=Column(Integer, nullable=False))
    updated_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))


class InstrumentEvents(SQLModel, table=True):
    """What changed of an instrument, whole: append-only."""

    __tablename__ = "instrument_events"
    __table_args__ = (
        CheckConstraint("id > 0", name="instrument_events_id_positive"),
        CheckConstraint(
            "action IN ('LOADED', 'CHANGED', 'DEACTIVATED', 'REACTIVATED')", name="instrument_events_action"
        ),
        CheckConstraint("(action = 'LOADED') = (before IS NULL)", name="instrument_events_before"),
        CheckConstraint("action = 'DEACTIVATED' OR source_sha256 IS NOT NULL", name="instrument_events_source"),
        CheckConstraint("length(trace_id) = 32", name="instrument_events_trace_id_length"),
        Index("instrument_events_act", "act_id"),
        Index("instrument_events_key", "exchange", "symbol", "asset_class", "id"),
        {"sqlite_autoincrement": True, **STRICT},
    )
    id: int = Field(sa_column=Column(BIG, Identity(), primary_key=True))
    act_id: str = Field(sa_column=Column(Text, nullable=False))
    action: str = Field(sa_column=Column(Text, nullable=False))
    exchange: str = Field(sa_column=Column(Text, nullable=False))
    symbol: str = Field(sa_column=Column(Text, nullable=False))
    asset_class: str = Field(sa_column=Column(Text, nullable=False))
    before: Any = Field(sa_column=Column(JsonText))
    after: Any = Field(sa_column=Column(JsonText, nullable=False))
    source_sha256: str | None = Field(sa_column=Column(Text))
    created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    actor: str = Field(sa_column=Column(Text, nullable=False))
    trace_id: str = Field(sa_column=Column(Text, nullable=False))
