"""Tables of allocation: runs, and a line for each bot."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, Column, ForeignKey, Identity, Index, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from blaidctl.core import ddl
from blaidctl.core.tables import BIG, STRICT
from blaidctl.core.types import ExactNumeric, JsonText, UtcTime

_ENGINES = {"sqlite": "'0'", "postgresql": "0"}
_TRACE = "length(trace_id) = 32"


def _zero_or_above(name: str, column: str) -> list[Any]:
    return [
        CheckConstraint(f"{column} = {zero} OR ({ddl.above_zero(column, engine)})", name=name).ddl_if(dialect=engine)
        for engine, zero in _ENGINES.items()
    ]


class AllocationRuns(SQLModel, table=True):
    """One allocation of a capital, with the hashes of what went in and what came out."""

    __tablename__ = "allocation_runs"
    __table_args__ = (
        CheckConstraint("id > 0", name="allocation_runs_id_positive"),
        *(
            CheckConstraint(text, name=name).ddl_if(dialect=engine)
            for engine in _ENGINES
            for name, text in (
                ("allocation_runs_as_of", ddl.moment("as_of", engine)),
                ("allocation_runs_capital", ddl.above_zero("capital", engine)),
            )
        ),
        CheckConstraint("length(currency) BETWEEN 2 AND 16", name="allocation_runs_currency"),
        CheckConstraint(
            "length(policy_sha256) = 64 AND length(input_hash) = 64 AND length(output_hash) = 64",
            name="allocation_runs_hashes",
        ),
        *_zero_or_above("allocation_runs_remainder", "remainder"),
        CheckConstraint(_TRACE, name="allocation_runs_trace_id_length"),
        Index("allocation_runs_act", "act_id"),
        {"sqlite_autoincrement": True, **STRICT},
    )
    id: int = Field(sa_column=Column(BIG, Identity(), primary_key=True))
    act_id: str = Field(sa_column=Column(Text, nullable=False))
    as_of: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    capital: Decimal = Field(sa_column=Column(ExactNumeric, nullable=False))
    currency: str = Field(sa_column=Column(Text, nullable=False))
    policy: Any = Field(sa_column=Column(JsonText, nullable=False))
    policy_sha256: str = Field(sa_column=Column(Text, nullable=False))
    conventions: Any = Field(sa_column=Column(JsonText, nullable=False))
    source_tables: Any = Field(sa_column=Column(JsonText, nullable=False))
    versions: Any = Field(sa_column=Column(JsonText, nullable=False))
    excluded: Any = Field(sa_column=Column(JsonText, nullable=False))
    input_hash: str = Field(sa_column=Column(Text, nullable=False))
    output_hash: str = Field(sa_column=Column(Text, nullable=False))
    code_version: str = Field(sa_column=Column(Text, nullable=False))
    remainder: Decimal = Field(sa_column=Column(ExactNumeric, nullable=False))
    actor: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    trace_id: str = Field(sa_column=Column(Text, nullable=False))


class AllocationLines(SQLModel, table=True):
    """What one bot got in a run, and why it got nothing where it did not."""

    __tablename__ = "allocation_lines"
    __table_args__ = (
        CheckConstraint("id > 0", name="allocation_lines_id_positive"),
        *_zero_or_above("allocation_lines_amount", "amount"),
        *(
            CheckConstraint(f"amount <> {zero} OR reason IS NOT NULL", name="allocation_lines_reason").ddl_if(
                dialect=engine
            )
            for engine, zero in _ENGINES.items()
        ),
        CheckConstraint("length(input_hash) = 64", name="allocation_lines_input_hash"),
        CheckConstraint(_TRACE, name="allocation_lines_trace_id_length"),
        UniqueConstraint("run_id", "bot_id", name="allocation_lines_key"),
        Index("allocation_lines_act", "act_id"),
        {"sqlite_autoincrement": True, **STRICT},
    )
    id: int = Field(sa_column=Column(BIG, Identity(), primary_key=True))
    act_id: str = Field(sa_column=Column(Text, nullable=False))
    run_id: int = Field(sa_column=Column(BIG, ForeignKey("allocation_runs.id"), nullable=False))
    bot_id: str = Field(sa_column=Column(Text, ForeignKey("bots.id"), nullable=False))
    account_id: str | None = Field(sa_column=Column(Text, ForeignKey("broker_accounts.id")))
    weight: str = Field(sa_column=Column(Text, nullable=False))
    amount: Decimal = Field(sa_column=Column(ExactNumeric, nullable=False))
    reason: str | None = Field(sa_column=Column(Text))
    metrics: Any = Field(sa_column=Column(JsonText))
    input_hash: str | None = Field(sa_column=Column(Text))
    actor: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    trace_id: str = Field(sa_column=Column(Text, nullable=False))
