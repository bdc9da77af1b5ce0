"""Tables of accounts: the registry, the links under limits, and their events."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, Column, ForeignKey, Identity, Index, Integer, Text, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from blaidctl.accounts.vocabulary import Limit
from blaidctl.core import ddl
from blaidctl.core.tables import BIG, STRICT
from blaidctl.core.types import ExactNumeric, JsonText, UtcTime

_OPEN = text("unlinked_at IS NULL")
_PERCENT = {
    "sqlite": "instr(max_drawdown_pct || '.', '.') <= 3 OR max_drawdown_pct = '100'",
    "postgresql": "max_drawdown_pct <= 100",
}


def _limits() -> list[Any]:
    """Return the checks of the limits, which the engines spell differently."""
    return [
        CheckConstraint(check, name=name).ddl_if(dialect=engine)
        for engine in ("sqlite", "postgresql")
        for name, check in (
            *((f"account_links_{n}", ddl.above_zero(n, engine)) for n in Limit if n != Limit.MAX_ORDERS_PER_MINUTE),
            ("account_links_percent", _PERCENT[engine]),
        )
    ]


class BrokerAccounts(SQLModel, table=True):
    """An account at a broker; one user holds it."""

    __tablename__ = "broker_accounts"
    __table_args__ = (
        CheckConstraint("length(broker) BETWEEN 1 AND 63", name="broker_accounts_broker"),
        CheckConstraint("length(external_id) BETWEEN 1 AND 100", name="broker_accounts_external_id"),
        CheckConstraint("environment IN ('live', 'paper')", name="broker_accounts_environment"),
        CheckConstraint("length(currency) BETWEEN 2 AND 16", name="broker_accounts_currency"),
        CheckConstraint("status IN ('OPEN', 'CLOSED')", name="broker_accounts_status"),
        UniqueConstraint("broker", "external_id", name="broker_accounts_external_key"),
        CheckConstraint("long_only IN (0, 1)", name="broker_accounts_long_only"),
        STRICT,
    )
    id: str = Field(sa_column=Column(Text, primary_key=True))
    user_id: str = Field(sa_column=Column(Text, ForeignKey("users.id"), nullable=False, index=True))
    broker: str = Field(sa_column=Column(Text, nullable=False))
    external_id: str = Field(sa_column=Column(Text, nullable=False))
    environment: str = Field(sa_column=Column(Text, nullable=False))
    currency: str = Field(sa_column=Column(Text, nullable=False))
    status: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    long_only: int = Field(sa_column=Column(Integer, nullable=False, server_default=text("0")))


class AccountLinks(SQLModel, table=True):
    """A bot's right to use an account, under all six limits; open while `unlinked_at` is null."""

    __tablename__ = "account_links"
    __table_args__ = (
        CheckConstraint("id > 0", name="account_links_id_positive"),
        *_limits(),
        CheckConstraint("max_orders_per_minute > 0", name="account_links_max_orders_per_minute"),
        CheckConstraint("length(policy_sha256) = 64", name="account_links_policy_length"),
        Index("account_links_one_open", "bot_id", unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN),
        Index("account_links_of_bot", "bot_id", "account_id"),
        Index("account_links_of_account", "account_id", sqlite_where=_OPEN, postgresql_where=_OPEN),
        {"sqlite_autoincrement": True, **STRICT},
    )
    id: int = Field(sa_column=Column(BIG, Identity(), primary_key=True))
    bot_id: str = Field(sa_column=Column(Text, ForeignKey("bots.id"), nullable=False))
    account_id: str = Field(sa_column=Column(Text, ForeignKey("broker_accounts.id"), nullable=False))
    max_contracts: Decimal = Field(sa_column=Column(ExactNumeric, nullable=False))
    max_position_value: Decimal = Field(sa_column=Column(ExactNumeric, nullable=False))
    max_order_qty: Decimal = Field(sa_column=Column(ExactNumeric, nullable=False))
    max_daily_loss: Decimal = Field(sa_column=Column(ExactNumeric, nullable=False))
    max_drawdown_pct: Decimal = Field(sa_column=Column(ExactNumeric, nullable=False))
    max_orders_per_minute: int = Field(sa_column=Column(Integer, nullable=False))
    policy_sha256: str = Field(sa_column=Column(Text, nullable=False))
    linked_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    unlinked_at: datetime | None = Field(sa_column=Column(UtcTime))


class BrokerAccountEvents(SQLModel, table=True):
    """A link, its end, a change of its limits, or a refusal."""

    __tablename__ = "broker_account_events"
    __table_args__ = (
        CheckConstraint("id > 0", name="broker_account_events_id_positive"),
        CheckConstraint(
            "action IN ('LINK', 'UNLINK', 'LIMITS_CHANGED', 'REFUSED')", name="broker_account_events_action"
        ),
        CheckConstraint("(action = 'REFUSED') = (link_id IS NULL)", name="broker_account_events_link"),
        CheckConstraint(
            "action = 'REFUSED' OR (account_id IS NOT NULL AND bot_id IS NOT NULL)", name="broker_account_events_names"
        ),
        CheckConstraint(
            "(action = 'REFUSED') = (error_code IS NOT NULL) AND (error_code IS NULL) = (message IS NULL)",
            name="broker_account_events_refused",
        ),
        CheckConstraint(
            "action = 'REFUSED' OR (action = 'LINK') = (before IS NULL)", name="broker_account_events_before"
        ),
        CheckConstraint("(action = 'UNLINK') = (after IS NULL)", name="broker_account_events_after"),
        CheckConstraint(
            "action IN ('UNLINK', 'REFUSED') OR policy_sha256 IS NOT NULL", name="broker_account_events_policy"
        ),
        CheckConstraint("length(policy_sha256) = 64", name="broker_account_events_policy_length"),
        CheckConstraint("length(trace_id) = 32", name="broker_account_events_trace_id_length"),
        Index("broker_account_events_account", "account_id", "id"),
        Index("broker_account_events_act", "act_id"),
        {"sqlite_autoincrement": True, **STRICT},
    )
    id: int = Field(sa_column=Column(BIG, Identity(), primary_key=True))
    act_id: str = Field(sa_column=Column(Text, nullable=False))
    account_id: str | None = Field(sa_column=Column(Text, ForeignKey("broker_accounts.id")))
    bot_id: str | None = Field(sa_column=Column(Text, ForeignKey("bots.id")))
    link_id: int | None = Field(sa_column=Column(BIG, ForeignKey("account_links.id")))
    action: str = Field(sa_column=Column(Text, nullable=False))
    before: Any = Field(sa_column=Column(JsonText))
    after: Any = Field(sa_column=Column(JsonText))
    policy_sha256: str | None = Field(sa_column=Column(Text))
    error_code: str | None = Field(sa_column=Column(Text))
    message: str | None = Field(sa_column=Column(Text))
    actor: str = Field(sa_column=Column(Text, nullable=False))
    reason: str | None = Field(sa_column=Column(Text))
    created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    trace_id: str = Field(sa_column=Column(Text, nullable=False))
