"""Tokens: only their SHA-256 is stored."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Column, ForeignKey, LargeBinary, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from blaidctl.core.tables import STRICT
from blaidctl.core.types import UtcTime


class ApiTokens(SQLModel, table=True):
    """A bearer token of a user; the id is public, the token itself is shown once."""

    __tablename__ = "api_tokens"
    __table_args__ = (
        CheckConstraint("length(token_sha256) = 32", name="api_tokens_sha256_length"),
        UniqueConstraint("token_sha256", name="api_tokens_token_sha256_key"),
        STRICT,
    )
    id: str = Field(sa_column=Column(Text, primary_key=True))
    user_id: str = Field(sa_column=Column(Text, ForeignKey("users.id"), nullable=False, index=True))
    label: str = Field(sa_column=Column(Text, nullable=False))
    token_sha256: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    revoked_at: datetime | None = Field(sa_column=Column(UtcTime))
