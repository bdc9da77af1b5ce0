"""Event rows: written in one statement however many there are, hashed into the act's audit entry.

Every event table has `id`, `act_id`, `actor`, `created_at`, `trace_id` and its own columns. The digest of an
act's rows is SHA-256 over the canonical text of each row (all its columns, ids included) in id order, a line
each; it is taken from what the database gave back, and `audit verify` takes it again from what the database
holds.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from blaidctl.core.canonical import canonical
from blaidctl.core.sql import JSON_COLUMNS, Query, Row, rows_of
from blaidctl.core.types import time_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy.engine import Connection

STAMPS = ("act_id", "actor", "created_at", "trace_id")


@dataclass(frozen=True, slots=True)
class EventTable:
    """An append-only table and its own columns: name → SQL type (text, integer, json)."""

    name: str
    columns: Mapping[str, str]

    @property
    def all_columns(self) -> tuple[str, ...]:
        """Every column, in the order of canonical text."""
        return tuple(sorted(("id", *STAMPS, *self.columns)))

    def insert(self) -> Query:
        """Return the one statement that writes the rows of a JSON array bound to :rows."""
        names = tuple(self.columns)
        target = f"INSERT INTO {self.name} ({', '.join(STAMPS)}, {', '.join(names)}) "
        stamps = ", ".join(f":{name}" for name in STAMPS)
        returning = f" RETURNING {', '.join(self.all_columns)}"
        # `WHERE true` keeps SQLite from reading the SELECT as part of an upsert clause.
        sqlite = ", ".join(f"value ->> '$[{i}]'" for i in range(len(names)))
        typed = {"text": "text", "integer": "bigint", "json": "jsonb"}
        postgresql = ", ".join(f"CAST(r.v ->> {i} AS {typed[kind]})" for i, kind in enumerate(self.columns.values()))
        casts = ", ".join(
            "CAST(:created_at AS timestamptz)" if n == "created_at" else f"CAST(:{n} AS text)" for n in STAMPS
        )
        return Query(
            sqlite=f"{target}SELECT {stamps}, {sqlite} FROM json_each(:rows) WHERE true ORDER BY key{returning}",
            postgresql=(
                f"{target}SELECT {casts}, {postgresql} FROM jsonb_array_elements(CAST(:rows AS jsonb))"
                f" WITH ORDINALITY AS r(v, n) ORDER BY n{returning}"
            ),
        )


def write(
    connection: Connection, table: EventTable, rows: Sequence[Mapping[str, Any]], stamps: Mapping[str, Any]
) -> list[Row]:
    """Insert event rows with the act's stamps; return them as stored, in id order."""
    values = [[canonical(row[n]) if n in JSON_COLUMNS else row[n] for n in table.columns] for row in rows]
    written = _statement(table).on(connection, rows=values, **stamps)
    return sorted(rows_of(written), key=lambda row: row["id"])


_statements: dict[str, Query] = {}


def _statement(table: EventTable) -> Query:
    return _statements.setdefault(table.name, table.insert())


def digest(rows: Iterable[Row]) -> dict[str, Any]:
    """Return {"count", "sha256"} of event rows in id order."""
    hasher, count = hashlib.sha256(), 0
    for row in rows:
        hasher.update(row_text(row).encode())
        hasher.update(b"\n")
        count += 1
    return {"count": count, "sha256": hasher.hexdigest()}


def row_text(row: Row) -> str:
    """Return the canonical text of one event row."""
    return canonical({name: time_text(value) if isinstance(value, datetime) else value for name, value in row.items()})
