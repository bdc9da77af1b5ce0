"""Requests and results of the tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import AfterValidator

from blaidctl.core.contract import Act, Label, LookupId, Request, Result

#: Says what it is when it leaks, so that scanners can find it.
TOKEN_PREFIX = "blaid_"  # noqa: S105 - a public prefix, not a secret


def _no_secret(text: str) -> str:
    """Refuse the token where its id belongs: a refusal of an unknown id is recorded with the id, for ever."""
    if text.startswith(TOKEN_PREFIX):
        msg = "is a token, not the id of one; `blaidctl token list` shows the ids"
        raise ValueError(msg)
    return text


class AddToken(Act):
    """Make a bearer token for a user."""

    user: LookupId
    label: Label


class AddedToken(Result):
    """The token, shown this once: only its SHA-256 is kept. Null for a replay and for a dry run."""

    columns: ClassVar = ("token_id", "user_id", "label", "token")
    secret: ClassVar = frozenset({"token"})
    token_id: str
    user_id: str
    label: str
    token: str | None


class ListTokens(Request):
    """Every token, without its secret."""

    user: LookupId | None = None


class Token(Result):
    """One token, without its secret."""

    token_id: str
    user_id: str
    label: str
    created_at: datetime
    revoked_at: datetime | None


class TokenList(Result):
    """Every token, without its secret."""

    table_of: ClassVar = "tokens"
    columns: ClassVar = ("token_id", "user_id", "label", "created_at", "revoked_at")
    tokens: list[Token]


class RevokeToken(Act):
    """Make a token worthless."""

    token_id: Annotated[LookupId, AfterValidator(_no_secret)]


class RevokedToken(Result):
    """The token as it stands; revoking it again leaves the first time alone."""

    columns: ClassVar = ("token_id", "user_id", "revoked_at")
    token_id: str
    user_id: str
    revoked_at: datetime
