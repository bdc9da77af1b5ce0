"""Handlers of the tokens, and the check that the HTTP shim makes on every call."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING

from blaidctl.access import contract
from blaidctl.core import errors
from blaidctl.core.sql import Query, rows_of
from blaidctl.fleet.service import require_user

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from blaidctl.core.execute import Tx

_INSERT = Query("""
    INSERT INTO api_tokens (id, user_id, label, token_sha256, created_at, revoked_at)
    VALUES (:id, :user_id, :label, :sha256, :now, NULL)
""")
_TOKEN = "id AS token_id, user_id, label, created_at, revoked_at"  # noqa: S105 - column names
_LIST = Query(f"""
    SELECT {_TOKEN} FROM api_tokens WHERE CAST(:user AS TEXT) IS NULL OR user_id = :user ORDER BY created_at, id
""")
_LOCK = Query(f"SELECT {_TOKEN} FROM api_tokens WHERE id = :id $FOR_UPDATE")
_REVOKE = Query("UPDATE api_tokens SET revoked_at = :now WHERE id = :id AND revoked_at IS NULL")
_OWNER = Query("SELECT user_id FROM api_tokens WHERE token_sha256 = :sha256 AND revoked_at IS NULL")


def add_token(tx: Tx, request: contract.AddToken) -> contract.AddedToken:
    """Make a token of 256 random bits; the database gets its SHA-256 only."""
    require_user(tx, request.user)
    token, token_id = contract.TOKEN_PREFIX + secrets.token_urlsafe(32), secrets.token_hex(8)
    tx.run(_INSERT, id=token_id, user_id=request.user, label=request.label, sha256=_digest(token), now=tx.now)
    # The digest of 256 random bits tells nobody the token, and binds the row that lets it in.
    tx.target = {"token": token_id}
    tx.after = {"user": request.user, "label": request.label, "sha256": _digest(token).hex()}
    # A dry run makes no token: what it rolled back is never shown as one.
    return contract.AddedToken(
        token_id=token_id, user_id=request.user, label=request.label, token=None if tx.dry_run else token
    )


def list_tokens(tx: Tx, request: contract.ListTokens) -> contract.TokenList:
    """Return every token, or one owner's, without its secret."""
    if request.user is not None:
        require_user(tx, request.user)
    return contract.TokenList(tokens=[contract.Token(**row) for row in tx.fetch(_LIST, user=request.user)])


def revoke_token(tx: Tx, request: contract.RevokeToken) -> contract.RevokedToken:
    """Revoke a token; a second time changes nothing."""
    token = tx.first(_LOCK, id=request.token_id)
    if token is None:
        raise errors.TokenNotFound(f"no token {request.token_id!r}", missing=[f"token {request.token_id}"])
    tx.run(_REVOKE, id=request.token_id, now=tx.now)
    tx.target, tx.before = {"token": request.token_id}, {"revoked": token["revoked_at"] is not None}
    tx.after = {"revoked": True}
    return contract.RevokedToken(
        token_id=token["token_id"], user_id=token["user_id"], revoked_at=token["revoked_at"] or tx.now
    )


def owner_of(connection: Connection, token: str) -> str | None:
    """Return the user of a bearer token that is known and not revoked, else None."""
    row = next(rows_of(_OWNER.on(connection, sha256=_digest(token))), None)
    return str(row["user_id"]) if row else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
