"""Event rows: written in one statement however many there are, hashed into the act's audit entry.

Every event table has `id`, `act_id`, `actor`, `created_at`, `trace_id` and its own columns. The digest of an act's rows
is SHA-256 over the canonical text of each row (all its columns, ids included) in id order, a line each; it is taken
from what the database gave back, and `audit verify` takes it again from what the database holds.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from blaidctl.core import decimals, stream
from blaidctl.core.canonical import canonical, quote
from blaidctl.core.sql import Query, Row
from blaidctl.core.types import time_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sqlalchemy.engine import Connection

STAMPS = {"act_id": "text", "actor": "text", "created_at": "time", "trace_id": "text"}
#: How PostgreSQL reads a value out of JSON text or an untyped parameter.
_POSTGRESQL = {"text": "text", "integer": "bigint", "json": "jsonb", "time": "timestamptz", "decimal": "numeric"}


@dataclass(frozen=True, slots=True)
class EventTable:
    """An append-only table and its own columns: name → kind (text, integer, json, time, decimal)."""

    name: str
    columns: Mapping[str, str]

    @property
    def kinds(self) -> dict[str, str]:
        """Every column, in the order of canonical text, with its kind."""
        return dict(sorted({"id": "integer", **STAMPS, **self.columns}.items()))

    def selected(self, engine: str, prefix: str = "") -> str:
        """Return the SQL that gives every column as `text_of` wants it: times and JSON as text."""
        return ", ".join(_as_text(f"{prefix}{name}", kind, engine) for name, kind in self.kinds.items())

    def text_of(self) -> Callable[[Sequence[Any]], str]:
        """Return the function from a row of `selected` to its canonical text (RFC 8785).

        It raises TypeError or ValueError for a value that blaidctl never writes (a float, broken JSON).
        """
        parts = [(f'"{name}":', _ENCODERS[kind]) for name, kind in self.kinds.items()]

        def text(values: Sequence[Any]) -> str:
            pairs = zip(parts, values, strict=True)
            return f"{{{','.join([key + ('null' if v is None else encode(v)) for (key, encode), v in pairs])}}}"

        return text


def _as_text(name: str, kind: str, engine: str) -> str:
    if kind == "time":
        return stream.time_column(name, engine)
    if engine == "postgresql" and kind in {"json", "decimal"}:
        return f"CAST({name} AS text)" if kind == "json" else f"CAST(trim_scale({name}) AS text)"
    return name


def _integer(value: Any) -> str:
    if type(value) is not int:
        msg = f"{value!r} is not an integer"
        raise TypeError(msg)
    return str(value)


def _json(text: str) -> str:
    """Return a stored JSON text in canonical form."""
    return _texts.get(text) or _remembered(text, canonical(json.loads(text)))


#: Stored JSON text → its canonical form, of what was written or read last: much of it repeats, and what SQLite gives
#: back is the canonical text that it was given.
_texts: dict[str, str] = {}
_MOST_TEXTS = 4_096


def _remembered(text: str, canonical_text: str) -> str:
    if len(_texts) >= _MOST_TEXTS:
        _texts.clear()
    _texts[text] = canonical_text
    return canonical_text


_ENCODERS: dict[str, Callable[[Any], str]] = {
    "text": quote,
    "time": quote,
    "decimal": quote,
    "integer": _integer,
    "json": _json,
}


def write(
    connection: Connection,
    table: EventTable,
    rows: Sequence[Mapping[str, Any]],
    shared: Mapping[str, Any],
    stamps: Mapping[str, Any],
) -> tuple[list[Row], dict[str, Any]]:
    """Insert event rows; return them as stored, in id order, and their digest."""
    stored = insert(connection, table, rows, shared, stamps)
    names = list(table.kinds)
    return [dict(zip(names, row, strict=True)) for row in stored], digest(table, stored)


def insert(
    connection: Connection,
    table: EventTable,
    rows: Sequence[Mapping[str, Any]],
    shared: Mapping[str, Any],
    stamps: Mapping[str, Any],
) -> list[Any]:
    """Insert event rows: `shared` values and the act's stamps are the same in all of them.

    Returns the rows as stored (as `selected` gives them), in id order.
    """
    own = tuple(name for name in table.columns if name not in shared)
    values = [[_in_json(row[name], table.columns[name]) for name in own] for row in rows]
    common = {name: _bindable(value, table.columns[name]) for name, value in shared.items()}
    written = _insertion(table, own).on(connection, rows=values, **common, **stamps).all()
    return sorted(written, key=itemgetter(list(table.kinds).index("id")))


def _bindable(value: Any, kind: str) -> Any:
    if kind != "json" or value is None:
        return value
    text = canonical(value)
    return _remembered(text, text)


def _in_json(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if kind == "decimal":
        return decimals.text_of(value)
    return time_text(value) if kind == "time" else _bindable(value, kind)


_insertions: dict[tuple[str, tuple[str, ...]], Query] = {}


def _insertion(table: EventTable, own: tuple[str, ...]) -> Query:
    """Return the one statement that writes the rows of a JSON array bound to :rows."""
    if (table.name, own) not in _insertions:
        same = {name: kind for name, kind in {**STAMPS, **table.columns}.items() if name not in own}
        target = f"INSERT INTO {table.name} ({', '.join((*same, *own))}) "
        sqlite = ", ".join((*(f":{name}" for name in same), *(f"value ->> '$[{i}]'" for i in range(len(own)))))
        postgresql = ", ".join((
            *(f"CAST(:{name} AS {_POSTGRESQL[kind]})" for name, kind in same.items()),
            *(f"CAST(r.v ->> {i} AS {_POSTGRESQL[table.columns[name]]})" for i, name in enumerate(own)),
        ))  # fmt: skip
        _insertions[table.name, own] = Query(
            # `WHERE true` keeps SQLite from reading the SELECT as part of an upsert clause.
            sqlite=f"{target}SELECT {sqlite} FROM json_each(:rows) WHERE true ORDER BY key"
            f" RETURNING {table.selected('sqlite')}",
            postgresql=f"{target}SELECT {postgresql} FROM jsonb_array_elements(CAST(:rows AS jsonb))"
            f" WITH ORDINALITY AS r(v, n) ORDER BY n RETURNING {table.selected('postgresql')}",
        )
    return _insertions[table.name, own]


def digest(table: EventTable, rows: Iterable[Sequence[Any]]) -> dict[str, Any]:
    """Return {"count", "sha256"} of event rows (as `selected` gives them) in id order."""
    hashing = Hashing(table)
    hashing.add(rows)
    return hashing.digest()


class Hashing:
    """The digest of event rows that come in pieces, in id order."""

    def __init__(self, table: EventTable) -> None:
        """Start with none."""
        self.count = 0
        self._hasher = hashlib.sha256()
        self._text = table.text_of()

    def add(self, rows: Iterable[Sequence[Any]]) -> None:
        """Take the next rows."""
        for row in rows:
            self._hasher.update(f"{self._text(row)}\n".encode())
            self.count += 1

    def digest(self) -> dict[str, Any]:
        """Return {"count", "sha256"} of all that was taken."""
        return {"count": self.count, "sha256": self._hasher.hexdigest()}
