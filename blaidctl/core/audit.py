"""The hash chain: how one entry is written.

`seq` counts without gaps and `prev_hash` names the entry before, both assigned under the lock of the head row,
which is the last lock that any transaction takes. `entry_hash` = SHA-256 of the canonical text (RFC 8785), which
is stored as it was hashed.

The keys are named so that everything a column mirrors sorts before `what`: an entry's columns can be compared with its
hashed text by one prefix comparison, without parsing (see audit/verify.py).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from blaidctl.core.canonical import GENESIS, canonical, quote, sha256_text
from blaidctl.core.errors import Internal
from blaidctl.core.sql import Query
from blaidctl.core.types import time_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy.engine import Connection


DONE, REFUSED = "DONE", "REFUSED"

_HEAD = Query("SELECT seq, entry_hash FROM audit_head WHERE id = 1")
_INSERT = Query("""
    INSERT INTO audit_log (seq, prev_hash, entry_hash, act_id, action, actor, created_at, events, outcome,
                           request_id, trace_id, canonical)
    VALUES (:seq, :prev_hash, :entry_hash, :act_id, :action, :actor, :created_at, :events, :outcome,
            :request_id, :trace_id, :canonical)
""")
_MOVE_HEAD = Query("UPDATE audit_head SET seq = :seq, entry_hash = :entry_hash WHERE id = 1")
# One server call: the head is locked, hashed and moved without a round trip in between.
_APPEND = Query("""
    SELECT seq, entry_hash, prev_hash FROM blaidctl_audit_append(
        :before_prev, :before_seq, :after_seq, :act_id, :action, :actor, :created_at, :events, :outcome, :request_id,
        :trace_id)
""")


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof of an entry: its place in the chain and its hash (64 hex digits)."""

    seq: int
    entry_hash: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One act, as it will stand in the chain."""

    act_id: str
    action: str
    actor: str
    created_at: datetime
    outcome: str
    request_id: str
    trace_id: str
    #: table → {"count", "sha256"} of the event rows that this act wrote.
    events: Mapping[str, Any] = field(default_factory=dict)
    what: Mapping[str, Any] = field(default_factory=dict)

    def columns(self) -> dict[str, Any]:
        """Return the values of the columns that mirror the hashed text."""
        return {
            "act_id": self.act_id,
            "action": self.action,
            "actor": self.actor,
            "created_at": self.created_at,
            "events": canonical(self.events),
            "outcome": self.outcome,
            "request_id": self.request_id,
            "trace_id": self.trace_id,
        }

    def pieces(self) -> tuple[str, str, str]:
        """Return the canonical text in three pieces: around `prev_hash` and `seq`, which the lock decides."""
        columns = self.columns()
        before, middle, after = prefix_pieces(columns | {"created_at": time_text(self.created_at)})
        return before, middle, f'{after}"what":{canonical(self.what)}}}'


def prefix_pieces(columns: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return the part of an entry's text that its columns determine: before prev_hash, before seq, up to `what`."""
    return (
        (
            f'{{"act_id":{quote(columns["act_id"])},"action":{quote(columns["action"])},"actor":{quote(columns["actor"])},'
            f'"created_at":"{columns["created_at"]}","events":{columns["events"]},"outcome":{quote(columns["outcome"])},'
            f'"prev_hash":"'
        ),
        f'","request_id":{quote(columns["request_id"])},"seq":',
        f',"trace_id":{quote(columns["trace_id"])},',
    )


def append(connection: Connection, entry: Entry) -> Receipt:
    """Write one entry at the head of the chain, inside the caller's transaction."""
    before_prev, before_seq, after_seq = entry.pieces()
    columns = entry.columns()
    if connection.dialect.name == "postgresql":
        row = _APPEND.on(
            connection, before_prev=before_prev, before_seq=before_seq, after_seq=after_seq, **columns
        ).one()
        text = f"{before_prev}{row.prev_hash.hex()}{before_seq}{row.seq}{after_seq}"
        if hashlib.sha256(text.encode()).digest() != bytes(row.entry_hash):
            raise Internal("the server's hash of the audit entry differs from the client's")
        return Receipt(seq=row.seq, entry_hash=bytes(row.entry_hash).hex())
    head = _HEAD.on(connection).one()
    seq, prev_hash = head.seq + 1, bytes(head.entry_hash or GENESIS)
    text = f"{before_prev}{prev_hash.hex()}{before_seq}{seq}{after_seq}"
    entry_hash = sha256_text(text)
    _INSERT.on(connection, seq=seq, prev_hash=prev_hash, entry_hash=entry_hash, canonical=text, **columns)
    _MOVE_HEAD.on(connection, seq=seq, entry_hash=entry_hash)
    return Receipt(seq=seq, entry_hash=entry_hash.hex())
