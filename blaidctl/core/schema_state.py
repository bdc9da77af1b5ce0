"""The schema as it is, against the schema as this version's migrations make it.

`schema_manifest.json` holds, for each engine, a hash of every trigger, table, index, constraint and function that the
shipped migrations create (made by `make manifest`, compared by a test). A trigger that was dropped, disabled or
replaced by an empty one is found by name.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

MANIFEST = Path(__file__).with_name("schema_manifest.json")

_SQLITE = (
    "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY type, name"
)
# What a server of any version prints alike: catalogue columns and source texts.
_POSTGRESQL = """
    SELECT 'trigger', t.tgname,
           concat_ws('|', c.relname, t.tgenabled, t.tgtype, p.proname, p.prosrc, pg_get_triggerdef(t.oid))
      FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
     WHERE NOT t.tgisinternal AND c.relnamespace = current_schema()::regnamespace
    UNION ALL
    SELECT 'function', p.proname, concat_ws('|', pg_get_function_identity_arguments(p.oid), p.prosrc,
           replace(array_to_string(p.proconfig, ' '), quote_ident(current_schema()), '*'))
      FROM pg_proc p WHERE p.pronamespace = current_schema()::regnamespace AND p.proname LIKE 'blaidctl%'
    UNION ALL
    SELECT 'table', c.relname, string_agg(
           concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity),
           ',' ORDER BY a.attname)
      FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
     WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace GROUP BY c.relname
    UNION ALL
    SELECT 'constraint', concat_ws('.', c.relname, k.conname), pg_get_constraintdef(k.oid)
      FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
     WHERE k.contype <> 'n' AND c.relnamespace = current_schema()::regnamespace
    UNION ALL
    SELECT 'index', c.relname, replace(pg_get_indexdef(i.indexrelid), current_schema() || '.', '')
      FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
     WHERE c.relnamespace = current_schema()::regnamespace
"""


def snapshot(connection: Connection) -> dict[str, str]:
    """Return "type name" → hash of its definition, for everything in the schema."""
    sql = _SQLITE if connection.dialect.name == "sqlite" else _POSTGRESQL
    found = connection.execution_options(no_parameters=True).exec_driver_sql(sql)
    schema = (
        ""
        if connection.dialect.name == "sqlite"
        else str(connection.exec_driver_sql("SELECT current_schema()").scalar())
    )
    return {
        f"{kind} {name}": hashlib.sha256(_plain(text, schema).encode()).hexdigest()[:16]
        for kind, name, text in found
        if name != "alembic_version" and not name.startswith("alembic_version")
    }


def _plain(text: str, schema: str) -> str:
    """Return a definition without what differs between equal schemas: white space and the schema's own name."""
    return " ".join((text.replace(f"{schema}.", "") if schema else text).split())


@cache
def expected(kind: str) -> dict[str, str]:
    """Return what the shipped migrations create on an engine."""
    manifest: dict[str, Any] = json.loads(MANIFEST.read_text(encoding="utf-8"))
    return dict(manifest[kind])


def defects(connection: Connection) -> list[str]:
    """Return every difference between the schema and this version's, by name."""
    want, have = expected(connection.dialect.name), snapshot(connection)
    missing = [f"{name} is missing" for name in sorted(want.keys() - have.keys())]
    other = [
        f"{name} is not the one of this version"
        for name in sorted(want.keys() & have.keys())
        if want[name] != have[name]
    ]
    foreign = [
        f"{name} is not of this version" for name in sorted(have.keys() - want.keys()) if name.startswith("trigger")
    ]
    return missing + other + foreign


def trigger_defects(connection: Connection) -> list[str]:
    """Return the differences that concern triggers (and, on PostgreSQL, the functions behind them)."""
    return [line for line in defects(connection) if line.startswith(("trigger ", "function "))]
