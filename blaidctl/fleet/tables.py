"""Tables of the fleet."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Column, ForeignKey, Identity, Index, Integer, Text, text
from sqlmodel import Field, SQLModel

from blaidctl.core.ddl import moment
from blaidctl.core.tables import BIG, STRICT
from blaidctl.core.types import JsonText, UtcTime

_ACTIVE = text("status IN ('STARTING', 'RUNNING')")
_UNPROVEN = text("stopped_at IS NOT NULL AND stop_confirmed_at IS NULL")


class Users(SQLModel, table=True):
    """Owners of bots."""

    __tablename__ = "users"
    __table_args__ = STRICT
    id: str = Field(sa_column=Column(Text, primary_key=True))
    name: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))


class Bots(SQLModel, table=True):
    """The registry; `killed_at` is the truth about a kill."""

    __tablename__ = "bots"
    __table_args__ = STRICT
    id: str = Field(sa_column=Column(Text, primary_key=True))
    user_id: str = Field(sa_column=Column(Text, ForeignKey("users.id"), nullable=False, index=True))
    name: str = Field(sa_column=Column(Text, nullable=False))
    strategy: str = Field(sa_column=Column(Text, nullable=False))
    tags: Any = Field(sa_column=Column(JsonText, nullable=False))
    exchanges: Any = Field(sa_column=Column(JsonText, nullable=False))
    killed_at: datetime | None = Field(sa_column=Column(UtcTime))
    created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))


class BotInstances(SQLModel, table=True):
    """One life of one process of a bot."""

    __tablename__ = "bot_instances"
    __table_args__ = (
        CheckConstraint("status IN ('STARTING', 'RUNNING', 'STOPPED', 'FAILED')", name="bot_instances_status"),
        CheckConstraint("attempt > 0", name="bot_instances_attempt_positive"),
        CheckConstraint(
            "(status IN ('STOPPED', 'FAILED')) = (stopped_at IS NOT NULL)", name="bot_instances_stopped_at"
        ),
        CheckConstraint("(stopped_at IS NULL) = (stop_reason IS NULL)", name="bot_instances_stop_reason"),
        CheckConstraint(
            "stop_confirmed_at IS NULL OR stopped_at IS NOT NULL", name="bot_instances_confirmed_after_stop"
        ),
        CheckConstraint(
            "status <> 'RUNNING' OR (pid IS NOT NULL AND heartbeat_at IS NOT NULL)", name="bot_instances_running"
        ),
        CheckConstraint("stale_after_s > 0", name="bot_instances_stale_after"),
        CheckConstraint(
            "status NOT IN ('STARTING', 'RUNNING')"
            f" OR ({moment('heartbeat_at', 'postgresql')} AND {moment('started_at', 'postgresql')})",
            name="bot_instances_times",
        ).ddl_if(dialect="postgresql"),
        Index("bot_instances_active", "bot_id", sqlite_where=_ACTIVE, postgresql_where=_ACTIVE),
        Index("bot_instances_unproven", "bot_id", sqlite_where=_UNPROVEN, postgresql_where=_UNPROVEN),
        Index("bot_instances_bot", "bot_id", "id"),
        {"sqlite_autoincrement": True, **STRICT},
    )
    id: int = Field(sa_column=Column(BIG, Identity(), primary_key=True))
    bot_id: str = Field(sa_column=Column(Text, ForeignKey("bots.id"), nullable=False))
    account_id: str | None = Field(sa_column=Column(Text))
    status: str = Field(sa_column=Column(Text, nullable=False))
    stop_reason: str | None = Field(sa_column=Column(Text))
    host: str = Field(sa_column=Column(Text, nullable=False))
    boot_id: str | None = Field(sa_column=Column(Text))
    pid: int | None = Field(sa_column=Column(Integer))
    pid_started: str | None = Field(sa_column=Column(Text))
    attempt: int = Field(sa_column=Column(Integer, nullable=False))
    exit_status: str | None = Field(sa_column=Column(Text))
    started_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    heartbeat_at: datetime | None = Field(sa_column=Column(UtcTime))
    stopped_at: datetime | None = Field(sa_column=Column(UtcTime))
    stop_confirmed_at: datetime | None = Field(sa_column=Column(UtcTime))
    hb_seq: int = Field(sa_column=Column(BIG, nullable=False, server_default=text("0")))
    stale_after_s: int = Field(sa_column=Column(Integer, nullable=False, server_default=text("60")))
    mark: str | None = Field(sa_column=Column(Text))
