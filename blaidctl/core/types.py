"""Column types that are exact on both engines.

Times: aware, UTC, microseconds. PostgreSQL `timestamptz`; on SQLite fixed-width ISO 8601 text with `Z`, so that
text order is time order and a person can read it. A naive time is refused. (SQLAlchemy's own DateTime drops the offset
on SQLite, and a STRICT table has no such type.)

Decimals: NUMERIC(38, 18) on PostgreSQL, canonical text on SQLite, whose own numbers are doubles.
"""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import types

from blaidctl.core import decimals

if TYPE_CHECKING:
    from decimal import Decimal

    from sqlalchemy.engine import Dialect


def time_text(value: datetime) -> str:
    """Return the one text form of a time: `2026-01-31T09:30:00.000000Z` (27 characters)."""
    if value.utcoffset() is None:
        msg = f"a time without a zone is not a time: {value!r}"
        raise ValueError(msg)
    # Not strftime: it does not pad a year below 1000, and text order would no longer be time order.
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse_time(text: str) -> datetime:
    """Read `time_text`'s form back; ValueError for anything else."""
    with contextlib.suppress(ValueError):
        found = datetime.fromisoformat(text)  # several times as fast as strptime; a batch reads a thousand
        if time_text(found) == text:
            return found
    msg = f"{text!r} does not match the form of a stored time"
    raise ValueError(msg)


def read_time(text: str) -> datetime:
    """Read a stored time, also one that a person wrote by hand in an emergency (`datetime('now')` is UTC in SQLite).

    A kill of the whole fleet must not fail on the odd form of one row; `audit verify` names that row.
    """
    try:
        return parse_time(text)
    except ValueError:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.utcoffset() is None else found.astimezone(UTC)


class UtcTime(types.TypeDecorator[datetime]):
    """An aware UTC time: timestamptz on PostgreSQL, `time_text` on SQLite."""

    impl = types.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> types.TypeEngine[Any]:
        """Choose the engine's own type."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(types.TIMESTAMP(timezone=True))
        return dialect.type_descriptor(types.Text())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Refuse a naive time; write text on SQLite."""
        if value is None:
            return None
        text = time_text(value)
        return value if dialect.name == "postgresql" else text

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Give back an aware UTC time whatever the engine returned."""
        if value is None:
            return None
        return parse_time(value) if isinstance(value, str) else value.astimezone(UTC)


class ExactNumeric(types.TypeDecorator["Decimal"]):
    """An exact decimal: NUMERIC(38, 18) on PostgreSQL, canonical text on SQLite. A float is refused."""

    impl = types.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> types.TypeEngine[Any]:
        """Choose the engine's own type."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(types.NUMERIC(decimals.MAX_DIGITS, decimals.MAX_PLACES))
        return dialect.type_descriptor(types.Text())

    def process_bind_param(self, value: Decimal | str | int | None, dialect: Dialect) -> Any:
        """Refuse what cannot be stored exactly; write canonical text on SQLite."""
        if value is None:
            return None
        exact = decimals.exact(value)
        return exact if dialect.name == "postgresql" else decimals.text_of(exact)

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Give back the canonical decimal: PostgreSQL pads with zeros up to the scale."""
        return None if value is None else decimals.exact(value)


class JsonText(types.TypeDecorator[Any]):
    """A JSON value: jsonb on PostgreSQL, canonical text on SQLite."""

    impl = types.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> types.TypeEngine[Any]:
        """Choose the engine's own type."""
        if dialect.name == "postgresql":
            from sqlalchemy.dialects.postgresql import JSONB  # not at the top: a kill on SQLite need not load it

            return dialect.type_descriptor(JSONB())
        return dialect.type_descriptor(types.Text())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Write text on SQLite; PostgreSQL's own type serialises."""
        return value if value is None or dialect.name == "postgresql" else json.dumps(value, sort_keys=True)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Parse text; PostgreSQL's driver has parsed already."""
        return value if value is None or dialect.name == "postgresql" else json.loads(value)
