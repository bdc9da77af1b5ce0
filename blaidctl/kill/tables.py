"""The table of kill events: append-only, one row a bot and act."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Column, ForeignKey, Identity, Index, Integer, Text
from sqlmodel import Field, SQLModel

from blaidctl.core.tables import BIG, STRICT
from blaidctl.core.types import JsonText, UtcTime


class KillEvents(SQLModel, table=True):
    """A KILL or RESURRECT, whether it changed the bot or found it so."""

    __tablename__ = "kill_events"
    __table_args__ = (
        CheckConstraint("id > 0", name="kill_events_id_positive"),
        CheckConstraint("action IN ('KILL', 'RESURRECT')", name="kill_events_action"),
        CheckConstraint("effect IN ('APPLIED', 'ALREADY_IN_STATE')", name="kill_events_effect"),
        CheckConstraint("length(trim(reason)) > 0", name="kill_events_reason_not_blank"),
        CheckConstraint("length(trace_id) = 32", name="kill_events_trace_id_length"),
        CheckConstraint("instances_stopped >= 0", name="kill_events_instances_stopped"),
        CheckConstraint(
            "(ends_kill_event_id IS NOT NULL) = (action = 'RESURRECT' AND effect = 'APPLIED')", name="kill_events_ends"
        ),
        Index("kill_events_bot", "bot_id", "id"),
        Index("kill_events_created", "created_at"),
        Index("kill_events_act", "act_id"),
        {"sqlite_autoincrement": True, **STRICT},
    )
    id: int = Field(sa_column=Column(BIG, Identity(), primary_key=True))
    act_id: str = Field(sa_column=Column(Text, nullable=False))
    bot_id: str = Field(sa_column=Column(Text, ForeignKey("bots.id"), nullable=False))
    action: str = Field(sa_column=Column(Text, nullable=False))
    effect: str = Field(sa_column=Column(Text, nullable=False))
    actor: str = Field(sa_column=Column(Text, nullable=False))
    reason_code: str = Field(sa_column=Column(Text, nullable=False))
    reason: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    metadata_: Any = Field(sa_column=Column("metadata", JsonText, nullable=False))
    trace_id: str = Field(sa_column=Column(Text, nullable=False))
    ends_kill_event_id: int | None = Field(sa_column=Column(BIG, ForeignKey("kill_events.id")))
    instances_stopped: int = Field(sa_column=Column(Integer, nullable=False))
