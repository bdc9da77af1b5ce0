"""What a database says about itself: how it keeps what it is told, its schema, its clock, our rights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blaidctl.core import revisions, schema_state
from blaidctl.core.execute import check_schema
from blaidctl.core.operation import resolve
from blaidctl.doctor import queries, rules

if TYPE_CHECKING:
    from blaidctl.core.execute import Tx
    from blaidctl.core.sql import Row
    from blaidctl.doctor.rules import Seen

#: Append-only tables that are no event tables of the map.
_LOGS = ("audit_log", "requests")
#: State that every kill, start and job writes.
_WRITTEN = (("audit_head", "seq"), ("bots", "killed_at"), ("bot_instances", "status"), ("jobs", "status"))
_NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


def database(tx: Tx) -> Seen:
    """Ask the engine for its version: it answers, so it is there."""
    kind = tx.connection.dialect.name
    (version,) = (tx.first(queries.VERSION) or {"version": "?"}).values()
    return rules.ok(f"{_NAMES[kind]} {version}, {tx.ctx.database.shown()}")


# ---- SQLite ----------------------------------------------------------------------------------------------------------


def journal(tx: Tx) -> Seen:
    """Look whether readers and the writer stay out of each other's way."""
    mode = str(tx.connection.exec_driver_sql("PRAGMA journal_mode").scalar_one())
    if mode == "wal":
        return rules.ok("WAL")
    return rules.finding(
        f"{mode.upper()}: a reader can hold up a kill",
        f"While nothing uses it: sqlite3 {tx.ctx.database.path} 'PRAGMA journal_mode=WAL'",
    )


def pragmas(tx: Tx) -> Seen:
    """Look how connections are, in this very connection."""
    found = {name: int(tx.connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()) for name in rules.PRAGMAS}
    return rules.pragmas(found)


# ---- PostgreSQL ------------------------------------------------------------------------------------------------------


def _server(tx: Tx) -> Row:
    return tx.fetch(queries.SERVER)[0]


def server_version(tx: Tx) -> Seen:
    """Look how old the server is."""
    found = _server(tx)
    return rules.server_version(found["number"], found["version"])


def durability(tx: Tx) -> Seen:
    """Look whether what was committed survives a power cut."""
    return rules.durability(_server(tx))


def primary(tx: Tx) -> Seen:
    """Look whether the server takes writes."""
    found = _server(tx)
    return rules.primary(standby=found["standby"], read_only=found["read_only"])


def clock(tx: Tx) -> Seen:
    """Compare the host's clock with the one that heartbeats and deadlines are judged by."""
    before = tx.ctx.now()
    server = tx.fetch(queries.SERVER_CLOCK)[0]["now"]
    return rules.clock(before, server, tx.ctx.now())


def role(tx: Tx) -> Seen:
    """Look at what the role that we run under may do to the evidence, and whether it may do the daily work."""
    who = tx.fetch(queries.ROLE)[0]
    events = [resolve(reference).name for reference in resolve("blaidctl.operations:EVENT_TABLES")]
    evidence = tx.fetch(queries.EVIDENCE, names=[*_LOGS, *events])
    changes = ("may_update", "may_delete", "may_truncate")
    needs = ("may_insert", "may_select")
    denied = [f"{_word(may)} {row['name']}" for row in evidence for may in needs if not row[may]]
    denied += [
        f"UPDATE {table}.{column}"
        for table, column in _WRITTEN
        if not tx.fetch(queries.COLUMN, table=table, column=column)[0]["granted"]
    ]
    return rules.role(
        who["rolname"],
        superuser=who["rolsuper"],
        owns=[row["name"] for row in evidence if row["owns"]],
        too_much=[f"{_word(may)} {row['name']}" for row in evidence for may in changes if row[may]],
        too_little=denied,
    )


def _word(privilege: str) -> str:
    return privilege.removeprefix("may_").upper()


# ---- both ------------------------------------------------------------------------------------------------------------


def schema(tx: Tx) -> Seen:
    """Look at the revision. Raises SchemaBehind or SchemaAhead, as every command does."""
    check_schema(tx.connection)
    return rules.ok(f"revision {revisions.HEAD}")


def triggers(tx: Tx) -> Seen:
    """Compare triggers, tables, indexes and constraints with what this version's migrations make."""
    return rules.differences(schema_state.defects(tx.connection))
