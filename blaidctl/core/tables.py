"""Tables of the road itself: the chain, its head, and the stored answers behind request ids."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Column, Integer, LargeBinary, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from blaidctl.core.types import JsonText, UtcTime

#: An integer key: SQLite counts only INTEGER up, PostgreSQL wants the room.
BIG = BigInteger().with_variant(Integer(), "sqlite")
STRICT = {"sqlite_strict": True}


class AuditLog(SQLModel, table=True):
    """One entry of the hash chain; `canonical` is the text that was hashed."""

    __tablename__ = "audit_log"
    __table_args__ = (
        CheckConstraint("seq > 0", name="audit_log_seq_positive"),
        CheckConstraint("length(prev_hash) = 32", name="audit_log_prev_hash_length"),
        CheckConstraint("length(entry_hash) = 32", name="audit_log_entry_hash_length"),
        CheckConstraint("outcome IN ('DONE', 'REFUSED')", name="audit_log_outcome"),
        UniqueConstraint("prev_hash", name="audit_log_prev_hash_key"),
        UniqueConstraint("entry_hash", name="audit_log_entry_hash_key"),
        STRICT,
    )
    seq: int = Field(sa_column=Column(BIG, primary_key=True, autoincrement=False))
    prev_hash: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    entry_hash: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    act_id: str = Field(sa_column=Column(Text, nullable=False, index=True))
    action: str = Field(sa_column=Column(Text, nullable=False))
    actor: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    events: str = Field(sa_column=Column(Text, nullable=False))
    outcome: str = Field(sa_column=Column(Text, nullable=False))
    request_id: str = Field(sa_column=Column(Text, nullable=False))
    trace_id: str = Field(sa_column=Column(Text, nullable=False, index=True))
    canonical: str = Field(sa_column=Column(Text, nullable=False))


class AuditHead(SQLModel, table=True):
    """The one row that every act locks last."""

    __tablename__ = "audit_head"
    __table_args__ = (CheckConstraint("id = 1", name="audit_head_one_row"), STRICT)
    id: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    seq: int = Field(sa_column=Column(BIG, nullable=False))
    entry_hash: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class Requests(SQLModel, table=True):
    """What was answered to a request id, for replay: one row an act."""

    __tablename__ = "requests"
    __table_args__ = (
        UniqueConstraint("actor", "request_id", name="requests_actor_request_id_key"),
        UniqueConstraint("audit_seq", name="requests_audit_seq_key"),
        STRICT,
    )
    act_id: str = Field(sa_column=Column(Text, primary_key=True))
    actor: str = Field(sa_column=Column(Text, nullable=False))
    request_id: str = Field(sa_column=Column(Text, nullable=False))
    operation: str = Field(sa_column=Column(Text, nullable=False))
    fingerprint: str = Field(sa_column=Column(Text, nullable=False))
    answer: Any = Field(sa_column=Column(JsonText, nullable=False))
    audit_seq: int = Field(sa_column=Column(BIG, nullable=False))
    created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
