"""Tables of providers: the registry with their health, events, bindings to accounts, and how far was pulled."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Column, ForeignKey, Identity, Index, Integer, PrimaryKeyConstraint, Text, text
from sqlmodel import Field, SQLModel

from blaidctl.core import ddl
from blaidctl.core.tables import BIG, STRICT
from blaidctl.core.types import JsonText, UtcTime
from blaidctl.providers.vocabulary import ProviderEvent, ProviderKind, ProviderReason, ProviderState

_OPEN = text("unbound_at IS NULL")
_QUIET = "event IN ('BOUND', 'UNBOUND', 'PULLED')"


def _list(values: Any) -> str:
    return ", ".join(f"'{value}'" for value in values)


def _moment(table: str, column: str) -> list[CheckConstraint]:
    return [
        CheckConstraint(ddl.moment(column, engine), name=f"{table}_{column}").ddl_if(dialect=engine)
        for engine in ("sqlite", "postgresql")
    ]


class Providers(SQLModel, table=True):
    """A provider as registered, and how it is doing; OK only while every check says so."""

    __tablename__ = "providers"
    __table_args__ = (
        CheckConstraint(f"kind IN ({_list(ProviderKind)})", name="providers_kind"),
        CheckConstraint("length(check_url) BETWEEN 8 AND 2000", name="providers_check_url"),
        CheckConstraint("length(fills_url) BETWEEN 8 AND 2000", name="providers_fills_url"),
        CheckConstraint("fills_url IS NULL OR kind <> 'http'", name="providers_fills"),
        CheckConstraint("plain_http IN (0, 1)", name="providers_plain_http"),
        CheckConstraint(
            "stale_after_s > 0 AND timeout_s > 0 AND attempts > 0 AND check_within_s > 0", name="providers_limits"
        ),
        CheckConstraint(
            "degrade_after > 0 AND block_after > degrade_after AND recover_after > 0", name="providers_steps"
        ),
        CheckConstraint(f"state IN ({_list(ProviderState)})", name="providers_state"),
        CheckConstraint(f"reason_code IN ({_list(ProviderReason)})", name="providers_reason_code"),
        CheckConstraint(
            "failures >= 0 AND successes >= 0 AND (failures = 0 OR successes = 0)", name="providers_in_a_row"
        ),
        CheckConstraint(
            "state <> 'OK' OR (good_at IS NOT NULL AND checked_at IS NOT NULL)", name="providers_ok_was_seen"
        ),
        *_moment("providers", "checked_at"),
        *_moment("providers", "changed_at"),
        STRICT,
    )
    id: str = Field(sa_column=Column(Text, primary_key=True))
    kind: str = Field(sa_column=Column(Text, nullable=False))
    check_url: str = Field(sa_column=Column(Text, nullable=False))
    fills_url: str | None = Field(sa_column=Column(Text))
    stale_field: str | None = Field(sa_column=Column(Text))
    credentials: str | None = Field(sa_column=Column(Text))
    plain_http: int = Field(sa_column=Column(Integer, nullable=False))
    stale_after_s: int = Field(sa_column=Column(Integer, nullable=False))
    timeout_s: int = Field(sa_column=Column(Integer, nullable=False))
    attempts: int = Field(sa_column=Column(Integer, nullable=False))
    degrade_after: int = Field(sa_column=Column(Integer, nullable=False))
    block_after: int = Field(sa_column=Column(Integer, nullable=False))
    recover_after: int = Field(sa_column=Column(Integer, nullable=False))
    check_within_s: int = Field(sa_column=Column(Integer, nullable=False))
    state: str = Field(sa_column=Column(Text, nullable=False))
    reason_code: str = Field(sa_column=Column(Text, nullable=False))
    detail: str = Field(sa_column=Column(Text, nullable=False))
    failures: int = Field(sa_column=Column(Integer, nullable=False))
    successes: int = Field(sa_column=Column(Integer, nullable=False))
    checked_at: datetime | None = Field(sa_column=Column(UtcTime))
    good_at: datetime | None = Field(sa_column=Column(UtcTime))
    changed_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))


class ProviderEvents(SQLModel, table=True):
    """A transition of a provider's state, a binding, or a pull of fills."""

    __tablename__ = "provider_events"
    __table_args__ = (
        CheckConstraint("id > 0", name="provider_events_id_positive"),
        CheckConstraint(f"event IN ({_list(ProviderEvent)})", name="provider_events_event"),
        CheckConstraint(
            f"state_before IN ({_list(ProviderState)}) AND state_after IN ({_list(ProviderState)})",
            name="provider_events_states",
        ),
        CheckConstraint("(event = 'ADDED') = (state_before IS NULL)", name="provider_events_before"),
        CheckConstraint("event <> 'TRANSITION' OR state_before <> state_after", name="provider_events_transition"),
        CheckConstraint(
            "event NOT IN ('BOUND', 'UNBOUND', 'PULLED') OR state_before = state_after", name="provider_events_quiet"
        ),
        CheckConstraint(f"reason_code IN ({_list(ProviderReason)})", name="provider_events_reason_code"),
        CheckConstraint(
            f"{_QUIET} OR (reason_code IS NOT NULL AND detail IS NOT NULL)", name="provider_events_explained"
        ),
        CheckConstraint("(event IN ('ADDED', 'TRANSITION')) = (account_id IS NULL)", name="provider_events_account"),
        CheckConstraint("(event = 'PULLED') = (rows_new IS NOT NULL) AND rows_new >= 0", name="provider_events_rows"),
        CheckConstraint("length(trace_id) = 32", name="provider_events_trace_id_length"),
        Index("provider_events_act", "act_id"),
        Index("provider_events_provider", "provider_id", "id"),
        {"sqlite_autoincrement": True, **STRICT},
    )
    id: int = Field(sa_column=Column(BIG, Identity(), primary_key=True))
    act_id: str = Field(sa_column=Column(Text, nullable=False))
    provider_id: str = Field(sa_column=Column(Text, ForeignKey("providers.id"), nullable=False))
    account_id: str | None = Field(sa_column=Column(Text, ForeignKey("broker_accounts.id")))
    event: str = Field(sa_column=Column(Text, nullable=False))
    state_before: str | None = Field(sa_column=Column(Text))
    state_after: str = Field(sa_column=Column(Text, nullable=False))
    reason_code: str | None = Field(sa_column=Column(Text))
    detail: str | None = Field(sa_column=Column(Text))
    failures: int = Field(sa_column=Column(Integer, nullable=False))
    successes: int = Field(sa_column=Column(Integer, nullable=False))
    resume_from: str | None = Field(sa_column=Column(Text))
    rows_new: int | None = Field(sa_column=Column(Integer))
    metadata_: Any = Field(sa_column=Column("metadata", JsonText, nullable=False))
    reason: str | None = Field(sa_column=Column(Text))
    actor: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    trace_id: str = Field(sa_column=Column(Text, nullable=False))


class ProviderBindings(SQLModel, table=True):
    """That an account stands or falls with a provider; open while `unbound_at` is null."""

    __tablename__ = "provider_bindings"
    __table_args__ = (
        CheckConstraint("id > 0", name="provider_bindings_id_positive"),
        Index(
            "provider_bindings_one_open",
            *("account_id", "provider_id"),
            unique=True,
            sqlite_where=_OPEN,
            postgresql_where=_OPEN,
        ),
        Index("provider_bindings_account", "account_id", "provider_id", "id"),
        {"sqlite_autoincrement": True, **STRICT},
    )
    id: int = Field(sa_column=Column(BIG, Identity(), primary_key=True))
    provider_id: str = Field(sa_column=Column(Text, ForeignKey("providers.id"), nullable=False))
    account_id: str = Field(sa_column=Column(Text, ForeignKey("broker_accounts.id"), nullable=False))
    bound_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    unbound_at: datetime | None = Field(sa_column=Column(UtcTime))


class PullCursors(SQLModel, table=True):
    """How far the fills of an account were pulled from a provider, and whether the last pull was whole."""

    __tablename__ = "pull_cursors"
    __table_args__ = (
        PrimaryKeyConstraint("provider_id", "account_id", name="pull_cursors_key"),
        CheckConstraint("length(resume_from) BETWEEN 1 AND 1000", name="pull_cursors_resume_from"),
        CheckConstraint("pulls >= 0", name="pull_cursors_pulls"),
        CheckConstraint("(failed_at IS NULL) = (failed_reason IS NULL)", name="pull_cursors_failed"),
        CheckConstraint(f"failed_reason IN ({_list(ProviderReason)})", name="pull_cursors_failed_reason"),
        STRICT,
    )
    provider_id: str = Field(sa_column=Column(Text, ForeignKey("providers.id"), nullable=False))
    account_id: str = Field(sa_column=Column(Text, ForeignKey("broker_accounts.id"), nullable=False))
    resume_from: str | None = Field(sa_column=Column(Text))
    pulls: int = Field(sa_column=Column(Integer, nullable=False))
    pulled_at: datetime | None = Field(sa_column=Column(UtcTime))
    failed_at: datetime | None = Field(sa_column=Column(UtcTime))
    failed_reason: str | None = Field(sa_column=Column(Text))
