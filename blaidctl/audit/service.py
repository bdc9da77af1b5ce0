"""Reading the log: the latest entries, and all of them as a stream."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from blaidctl.audit import contract
from blaidctl.core import errors
from blaidctl.core.sql import Query
from blaidctl.core.text import json_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection

    from blaidctl.core.execute import Tx
    from blaidctl.core.sql import Row

_TAIL = Query("SELECT seq, entry_hash, canonical FROM audit_log ORDER BY seq DESC LIMIT :limit")
#: On the index of trace ids; the column is a copy of what the text says, and `audit verify` compares the two.
OF_TRACE = Query(
    "SELECT seq, entry_hash, canonical FROM audit_log WHERE trace_id = :trace ORDER BY seq DESC LIMIT :limit"
)
_ALL = Query("SELECT seq, entry_hash, canonical FROM audit_log ORDER BY seq")


def tail(tx: Tx, request: contract.Tail) -> contract.Entries:
    """Return the latest entries, of one trace or of all, newest last, from the text that was hashed."""
    narrowed = {"trace": request.of_trace} if request.of_trace else {}
    rows = tx.fetch(OF_TRACE if narrowed else _TAIL, limit=request.limit + 1, **narrowed)
    shown = [_entry_or_evidence(row) for row in reversed(rows[: request.limit])]
    return contract.Entries(entries=shown, older_left_out=len(rows) > request.limit)


def _entry_or_evidence(row: Row) -> contract.Entry:
    try:
        return _entry(row["canonical"], bytes(row["entry_hash"]).hex())
    except (ValueError, KeyError, TypeError, RecursionError):
        raise errors.AuditBroken(f"the text of entry {row['seq']} is not one that blaidctl wrote") from None


def _entry(text: str, entry_hash: str) -> contract.Entry:
    entry: dict[str, Any] = json.loads(text)
    what = entry["what"]
    return contract.Entry(
        seq=entry["seq"],
        created_at=entry["created_at"],
        action=entry["action"],
        outcome=entry["outcome"],
        actor=entry["actor"],
        target=_as_values(what["target"]),
        reason=what["reason"],
        error_code=what.get("error_code"),
        trace_id=entry["trace_id"],
        request_id=entry["request_id"],
        entry_hash=entry_hash,
    )


def _as_values(target: Any) -> Any:
    """Return a target for reading: a refused request stands in its entry as text, exactly as it was asked."""
    refused = target.get("request") if isinstance(target, dict) else None
    return {**target, "request": json.loads(refused)} if isinstance(refused, str) else target


def export_lines(connection: Connection) -> Iterator[str]:
    """Yield every entry as one line of JSON: `{"entry_hash": …, "canonical": …}`, oldest first, in constant memory.

    Anyone can check it: SHA-256 of `canonical` (UTF-8) is `entry_hash`, and each text holds the hash before it.
    """
    streamed = connection.execution_options(stream_results=True, yield_per=1000)
    for row in _ALL.on(streamed):
        line = {"seq": row.seq, "entry_hash": bytes(row.entry_hash).hex(), "canonical": row.canonical}
        yield json_text(line) + "\n"
