"""Tables of the ledger: imports and their fills, what happened to them, capital flows, FX rates, marks."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    Text,
    UniqueConstraint,
    text,
)
from sqlmodel import Field, SQLModel

from blaidctl.core import ddl
from blaidctl.core.tables import BIG, STRICT
from blaidctl.core.types import ExactNumeric, JsonText, UtcTime

_FORMATS = "'csv', 'ndjson', 'freqtrade', 'hummingbot', 'ccxt', 'alpaca', 'ibkr', 'paged'"
_ENGINES = ("sqlite", "postgresql")
_ZERO = {"sqlite": "'0'", "postgresql": "0"}
_NOT_BELOW = {"sqlite": "amount NOT LIKE '-%'", "postgresql": "amount >= 0"}
_TRACE = "length(trace_id) = 32"


def _by_engine(**conditions: Callable[[str], str]) -> list[Any]:
    """Return the CHECKs that the engines spell differently."""
    return [
        CheckConstraint(condition(engine), name=name).ddl_if(dialect=engine)
        for name, condition in conditions.items()
        for engine in _ENGINES
    ]


def _number_or_none(column: str) -> Callable[[str], str]:
    return lambda kind: f"{column} IS NULL OR {column} = {_ZERO[kind]} OR ({ddl.number(column, kind)})"


def _scaled(column: str) -> Callable[[str], str]:
    equal = {"sqlite": "{0}_8 IS {1}", "postgresql": "{0}_8 IS NOT DISTINCT FROM ({1})"}
    return lambda kind: equal[kind].format(column, ddl.times_10_8(column, kind))


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


class LedgerImports(SQLModel, table=True):
    """A part of a file that was imported, and the digest of its fills."""

    __tablename__ = "ledger_imports"
    __table_args__ = (
        CheckConstraint("id > 0", name="ledger_imports_id_positive"),
        CheckConstraint(f"format IN ({_FORMATS})", name="ledger_imports_format"),
        CheckConstraint("length(file_sha256) = 64", name="ledger_imports_file_length"),
        CheckConstraint("length(fills_sha256) = 64", name="ledger_imports_fills_length"),
        CheckConstraint("part BETWEEN 1 AND parts", name="ledger_imports_part"),
        CheckConstraint(
            "rows_new >= 0 AND rows_known >= 0 AND rows_refused >= 0 AND after_kill BETWEEN 0 AND rows_new"
            " AND rows_read >= rows_new + rows_known + rows_refused",
            name="ledger_imports_rows",
        ),
        CheckConstraint("exact IN (0, 1)", name="ledger_imports_exact"),
        CheckConstraint("sequence > 0", name="ledger_imports_sequence"),
        CheckConstraint("no_fee IN (0, 1)", name="ledger_imports_no_fee"),
        CheckConstraint(_TRACE, name="ledger_imports_trace_id_length"),
        Index("ledger_imports_act", "act_id"),
        Index("ledger_imports_file", "account_id", "file_sha256", "part"),
        {"sqlite_autoincrement": True, **STRICT},
    )
    id: int = Field(sa_column=Column(BIG, Identity(), primary_key=True))
    act_id: str = Field(sa_column=Column(Text, nullable=False))
    account_id: str = Field(sa_column=Column(Text, ForeignKey("broker_accounts.id"), nullable=False))
    format: str = Field(sa_column=Column(Text, nullable=False))
    source_name: str = Field(sa_column=Column(Text, nullable=False))
    file_sha256: str = Field(sa_column=Column(Text, nullable=False))
    part: int = Field(sa_column=Column(Integer, nullable=False))
    parts: int = Field(sa_column=Column(Integer, nullable=False))
    rows_read: int = Field(sa_column=Column(Integer, nullable=False))
    rows_new: int = Field(sa_column=Column(Integer, nullable=False))
    rows_known: int = Field(sa_column=Column(Integer, nullable=False))
    rows_refused: int = Field(sa_column=Column(Integer, nullable=False))
    exact: int = Field(sa_column=Column(Integer, nullable=False))
    sequence: int | None = Field(sa_column=Column(BIG))
    provider_id: str | None = Field(sa_column=Column(Text))
    no_fee: int = Field(sa_column=Column(Integer, nullable=False))
    timezone: str | None = Field(sa_column=Column(Text))
    first_executed_at: datetime | None = Field(sa_column=Column(UtcTime))
    last_executed_at: datetime | None = Field(sa_column=Column(UtcTime))
    after_kill: int = Field(sa_column=Column(Integer, nullable=False))
    fills_sha256: str = Field(sa_column=Column(Text, nullable=False))
    actor: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    trace_id: str = Field(sa_column=Column(Text, nullable=False))


class Trades(SQLModel, table=True):
    """A fill as the venue reported it, or the reversal of one; append-only."""

    __tablename__ = "trades"
    __table_args__ = (
        CheckConstraint("id > 0", name="trades_id_positive"),
        CheckConstraint("side IN ('BUY', 'SELL')", name="trades_side"),
        *_by_engine(
            trades_quantity=lambda kind: ddl.above_zero("quantity", kind),
            trades_price=lambda kind: ddl.number("price", kind),
            trades_fee=_number_or_none("fee"),
            trades_reported_pnl=_number_or_none("reported_pnl"),
            trades_quantity_8=_scaled("quantity"),
            trades_price_8=_scaled("price"),
            trades_fee_8=_scaled("fee"),
            trades_executed_at=lambda kind: ddl.moment("executed_at", kind),
        ),
        CheckConstraint("(fee IS NULL) = (fee_currency IS NULL)", name="trades_fee_currency"),
        CheckConstraint("length(fee_currency) BETWEEN 2 AND 16", name="trades_fee_currency_length"),
        CheckConstraint("length(venue_trade_id) BETWEEN 1 AND 200", name="trades_venue_trade_id"),
        CheckConstraint(f"source IN ({_FORMATS})", name="trades_source"),
        CheckConstraint("line > 0", name="trades_line"),
        CheckConstraint("after_kill IN (0, 1)", name="trades_after_kill"),
        CheckConstraint("exact IN (0, 1)", name="trades_exact"),
        UniqueConstraint("account_id", "venue_trade_id", name="trades_venue_key"),
        ForeignKeyConstraint(
            ["exchange", "symbol", "asset_class"],
            ["instruments.exchange", "instruments.symbol", "instruments.asset_class"],
            name="trades_instrument",
        ),
        Index(
            "trades_book",
            *("bot_id", "account_id", "executed_at", "venue_trade_id", "id", "exchange", "symbol", "asset_class"),
            *("side", "quantity_8", "price_8", "fee_8", "fee_currency", "import_id", "instance_id"),
        ),
        Index(
            "trades_not_8",
            *("bot_id", "account_id"),
            **_where("quantity_8 IS NULL OR price_8 IS NULL OR (fee IS NOT NULL AND fee_8 IS NULL)"),
        ),
        Index("trades_no_fee", "bot_id", "account_id", **_where("fee IS NULL")),
        Index("trades_pnl", "bot_id", "account_id", **_where("reported_pnl IS NOT NULL")),
        Index("trades_reversals", "reverses_id", unique=True, **_where("reverses_id IS NOT NULL")),
        Index("trades_reversed", "bot_id", "account_id", "reverses_id", **_where("reverses_id IS NOT NULL")),
        Index("trades_after_kills", "bot_id", "account_id", **_where("after_kill = 1")),
        Index("trades_of_import", "import_id", "id"),
        {"sqlite_autoincrement": True, **STRICT},
    )
    id: int = Field(sa_column=Column(BIG, Identity(), primary_key=True))
    import_id: int = Field(sa_column=Column(BIG, ForeignKey("ledger_imports.id"), nullable=False))
    bot_id: str = Field(sa_column=Column(Text, ForeignKey("bots.id"), nullable=False))
    instance_id: int | None = Field(sa_column=Column(BIG, ForeignKey("bot_instances.id")))
    account_id: str = Field(sa_column=Column(Text, ForeignKey("broker_accounts.id"), nullable=False))
    exchange: str = Field(sa_column=Column(Text, nullable=False))
    symbol: str = Field(sa_column=Column(Text, nullable=False))
    asset_class: str = Field(sa_column=Column(Text, nullable=False))
    side: str = Field(sa_column=Column(Text, nullable=False))
    quantity: Decimal = Field(sa_column=Column(ExactNumeric, nullable=False))
    price: Decimal = Field(sa_column=Column(ExactNumeric, nullable=False))
    fee: Decimal | None = Field(sa_column=Column(ExactNumeric))
    fee_currency: str | None = Field(sa_column=Column(Text))
    executed_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    venue_trade_id: str = Field(sa_column=Column(Text, nullable=False))
    order_id: str | None = Field(sa_column=Column(Text))
    source: str = Field(sa_column=Column(Text, nullable=False))
    line: int = Field(sa_column=Column(BIG, nullable=False))
    reverses_id: int | None = Field(sa_column=Column(BIG, ForeignKey("trades.id")))
    reported_pnl: Decimal | None = Field(sa_column=Column(ExactNumeric))
    after_kill: int = Field(sa_column=Column(Integer, nullable=False))
    exact: int = Field(sa_column=Column(Integer, nullable=False))
    quantity_8: int | None = Field(sa_column=Column(BIG))
    price_8: int | None = Field(sa_column=Column(BIG))
    fee_8: int | None = Field(sa_column=Column(BIG))


class LedgerEvents(SQLModel, table=True):
    """Something about fills that people must hear of: one after a kill, or a file that named what is not its own."""

    __tablename__ = "ledger_events"
    __table_args__ = (
        CheckConstraint("id > 0", name="ledger_events_id_positive"),
        CheckConstraint(
            "event IN ('FILL_AFTER_KILL', 'REFUSED', 'POSITION_MOVED', 'MOVE_RESOLVED')", name="ledger_events_event"
        ),
        CheckConstraint("severity IN ('SEV1', 'SEV2')", name="ledger_events_severity"),
        CheckConstraint("(event = 'REFUSED') = (error_code IS NOT NULL)", name="ledger_events_refused"),
        CheckConstraint(_TRACE, name="ledger_events_trace_id_length"),
        Index("ledger_events_act", "act_id"),
        Index("ledger_events_bot", "bot_id", "id"),
        Index("ledger_events_moves", "account_id", "id", **_where("event IN ('POSITION_MOVED', 'MOVE_RESOLVED')")),
        {"sqlite_autoincrement": True, **STRICT},
    )
    id: int = Field(sa_column=Column(BIG, Identity(), primary_key=True))
    act_id: str = Field(sa_column=Column(Text, nullable=False))
    event: str = Field(sa_column=Column(Text, nullable=False))
    severity: str = Field(sa_column=Column(Text, nullable=False))
    account_id: str | None = Field(sa_column=Column(Text))
    bot_id: str | None = Field(sa_column=Column(Text))
    import_id: int | None = Field(sa_column=Column(BIG, ForeignKey("ledger_imports.id")))
    error_code: str | None = Field(sa_column=Column(Text))
    message: str = Field(sa_column=Column(Text, nullable=False))
    metadata_: Any = Field(sa_column=Column("metadata", JsonText, nullable=False))
    actor: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    trace_id: str = Field(sa_column=Column(Text, nullable=False))


class CapitalFlows(SQLModel, table=True):
    """Capital that a bot got on an account, or gave back; or a fee of the account that belongs to no fill.

    A row that `replaces` another takes its place; one of 0 takes it back.
    """

    __tablename__ = "capital_flows"
    __table_args__ = (
        CheckConstraint("id > 0", name="capital_flows_id_positive"),
        CheckConstraint("kind IN ('INITIAL', 'DEPOSIT', 'WITHDRAWAL', 'FEE')", name="capital_flows_kind"),
        *_by_engine(
            capital_flows_amount=lambda kind: f"amount = {_ZERO[kind]} OR ({ddl.number('amount', kind)})",
            capital_flows_positive=lambda kind: f"kind = 'FEE' OR {_NOT_BELOW[kind]}",
            capital_flows_taken_back=lambda kind: (
                f"amount <> {_ZERO[kind]} OR (replaces_id IS NOT NULL AND kind <> 'INITIAL')"
            ),
            capital_flows_at=lambda kind: ddl.moment("at", kind),
        ),
        CheckConstraint("length(currency) BETWEEN 2 AND 16", name="capital_flows_currency"),
        CheckConstraint("length(external_id) BETWEEN 1 AND 200", name="capital_flows_external_id"),
        CheckConstraint(_TRACE, name="capital_flows_trace_id_length"),
        Index(
            "capital_flows_initial",
            *("bot_id", "account_id"),
            unique=True,
            **_where("kind = 'INITIAL' AND replaces_id IS NULL"),
        ),
        Index("capital_flows_external", "account_id", "external_id", unique=True, **_where("external_id IS NOT NULL")),
        Index("capital_flows_replaced", "replaces_id", unique=True, **_where("replaces_id IS NOT NULL")),
        Index("capital_flows_act", "act_id"),
        Index("capital_flows_order", "bot_id", "account_id", "at", "id"),
        {"sqlite_autoincrement": True, **STRICT},
    )
    id: int = Field(sa_column=Column(BIG, Identity(), primary_key=True))
    act_id: str = Field(sa_column=Column(Text, nullable=False))
    bot_id: str = Field(sa_column=Column(Text, ForeignKey("bots.id"), nullable=False))
    account_id: str = Field(sa_column=Column(Text, ForeignKey("broker_accounts.id"), nullable=False))
    kind: str = Field(sa_column=Column(Text, nullable=False))
    amount: Decimal = Field(sa_column=Column(ExactNumeric, nullable=False))
    currency: str = Field(sa_column=Column(Text, nullable=False))
    at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    note: str | None = Field(sa_column=Column(Text))
    external_id: str | None = Field(sa_column=Column(Text))
    replaces_id: int | None = Field(sa_column=Column(BIG, ForeignKey("capital_flows.id")))
    actor: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    trace_id: str = Field(sa_column=Column(Text, nullable=False))


class FxRates(SQLModel, table=True):
    """How much of the quote currency one unit of the base currency was worth."""

    __tablename__ = "fx_rates"
    __table_args__ = (
        CheckConstraint("id > 0", name="fx_rates_id_positive"),
        CheckConstraint(
            "length(base) >= 2 AND length(base) <= 16 AND length(quote) >= 2 AND length(quote) <= 16 AND base <> quote",
            name="fx_rates_pair",
        ),
        *_by_engine(
            fx_rates_at=lambda kind: ddl.moment("at", kind),
            fx_rates_rate=lambda kind: ddl.above_zero("rate", kind),
        ),
        CheckConstraint("length(source) BETWEEN 1 AND 200", name="fx_rates_source"),
        CheckConstraint(_TRACE, name="fx_rates_trace_id_length"),
        UniqueConstraint("base", "quote", "at", name="fx_rates_key"),
        Index("fx_rates_act", "act_id"),
        {"sqlite_autoincrement": True, **STRICT},
    )
    id: int = Field(sa_column=Column(BIG, Identity(), primary_key=True))
    act_id: str = Field(sa_column=Column(Text, nullable=False))
    base: str = Field(sa_column=Column(Text, nullable=False))
    quote: str = Field(sa_column=Column(Text, nullable=False))
    at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    rate: Decimal = Field(sa_column=Column(ExactNumeric, nullable=False))
    source: str = Field(sa_column=Column(Text, nullable=False))
    actor: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    trace_id: str = Field(sa_column=Column(Text, nullable=False))


class Marks(SQLModel, table=True):
    """What an instrument was worth at a moment, for an equity curve that is marked."""

    __tablename__ = "marks"
    __table_args__ = (
        CheckConstraint("id > 0", name="marks_id_positive"),
        *_by_engine(
            marks_at=lambda kind: ddl.moment("at", kind),
            marks_price=lambda kind: ddl.number("price", kind),
        ),
        CheckConstraint("length(source) BETWEEN 1 AND 200", name="marks_source"),
        CheckConstraint(_TRACE, name="marks_trace_id_length"),
        UniqueConstraint("exchange", "symbol", "asset_class", "at", name="marks_key"),
        ForeignKeyConstraint(
            ["exchange", "symbol", "asset_class"],
            ["instruments.exchange", "instruments.symbol", "instruments.asset_class"],
            name="marks_instrument",
        ),
        Index("marks_act", "act_id"),
        {"sqlite_autoincrement": True, **STRICT},
    )
    id: int = Field(sa_column=Column(BIG, Identity(), primary_key=True))
    act_id: str = Field(sa_column=Column(Text, nullable=False))
    exchange: str = Field(sa_column=Column(Text, nullable=False))
    symbol: str = Field(sa_column=Column(Text, nullable=False))
    asset_class: str = Field(sa_column=Column(Text, nullable=False))
    at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    price: Decimal = Field(sa_column=Column(ExactNumeric, nullable=False))
    source: str = Field(sa_column=Column(Text, nullable=False))
    actor: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    trace_id: str = Field(sa_column=Column(Text, nullable=False))
