"""What `db downgrade` dropped, by its own entries: rows and values that are gone, and told of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from blaidctl.core import stream

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_DOWNGRADES = "SELECT seq, canonical FROM audit_log WHERE action = 'db downgrade' AND outcome = 'DONE' ORDER BY seq"


def dropped_by_downgrades(connection: Connection) -> dict[str, int]:
    """Return table, or table.column → the sequence of the last downgrade that dropped it with something in it."""
    found: dict[str, int] = {}
    try:
        with stream.rows(connection, _DOWNGRADES) as rows:
            for seq, text in rows:
                found |= dict.fromkeys(_lost(text), seq)
    except stream.NotUtf8Error:
        return found  # the chain names the entry
    return found


def _lost(text: str) -> list[str]:
    try:
        lost: Any = json.loads(text)["what"]["lost"]
        return [name for part in ("tables", "columns") for name, rows in lost[part].items() if rows]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
