"""The gate: no migration without a backup that was proved, a yes, and a look at what stands afterwards.

There is no force. `db upgrade`, `db downgrade` and `db restore` go through here; the order is always: look, back up,
prove the backup by restoring it, show, ask, act atomically, look again, say what was done.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import re
import secrets
import sys
from typing import TYPE_CHECKING, Any

from blaidctl.core import audit, errors, migrate, revisions, schema_state
from blaidctl.core.command import talk
from blaidctl.core.db import Database
from blaidctl.database import copies
from blaidctl.database.content import Content, content_of, row_counts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sqlalchemy.engine import Connection

    from blaidctl.core.context import Context
    from blaidctl.database.copies import Backup, Progress

_LONGEST_REFERENCE = 200
_DROPS_TABLE = re.compile(r"DROP TABLE (?:IF EXISTS )?(\w+)")
_DROPS_COLUMN = re.compile(r"ALTER TABLE (\w+) DROP COLUMN (\w+)")


# ---- looking -------------------------------------------------------------------------------------------------


def content(ctx: Context, *, may_be_missing: bool = False) -> Content:
    """Return what the database holds; nothing when the SQLite file is not there yet."""
    try:
        with ctx.database.reading(statement_timeout_s=0) as connection:
            return content_of(connection)
    except errors.DatabaseMissing:
        if may_be_missing and ctx.database.kind == "sqlite":
            return Content(None, 0, "", {})
        raise


def refuse_broken(ctx: Context, progress: Progress, instead: str) -> None:
    """Raise AuditBroken when the database as it stands does not verify."""
    with ctx.database.reading(statement_timeout_s=0) as connection:
        found = copies.defects_of(connection, ctx, progress)
    if found:
        raise _broken(found, instead)


def _broken(found: list[str] | tuple[str, ...], instead: str) -> errors.AuditBroken:
    return errors.AuditBroken(f"the audit log does not verify: {found[0]}; {instead}", missing=list(found))


# ---- the backup before ---------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Saved:
    """What stands behind a migration: a backup that was proved, one that the operator names, or none and why."""

    backup: Backup | None = None
    reference: str | None = None
    none: str | None = None

    def body(self) -> dict[str, Any]:
        """Return what the receipt and the audit entry say."""
        if self.backup is not None:
            return self.backup.body()
        return {"reference": self.reference} if self.reference else {"none": self.none}

    def told(self) -> str:
        """Return it as a sentence."""
        if self.backup is not None:
            known = self.backup.manifest
            return f"backup: {self.backup.file} (restored and verified; audit seq {known.head_seq}, {known.sha256})"
        if self.reference:
            return f"backup: {self.reference} (made by other means; not looked at)"
        return f"backup: none; {self.none}"


@dataclasses.dataclass(frozen=True, slots=True)
class Means:
    """How the operator wants it: the name of the backup to make, or a backup that was made by other means."""

    file: Path | None = None
    reference: str | None = None


def save(ctx: Context, have: Content, means: Means, progress: Progress) -> Saved:
    """Back the database up and prove it, or take the operator's word for a backup that was made by other means."""
    if means.reference is not None:
        _checked_reference(ctx, means.reference)
    if have.revision is None:
        return Saved(none="there is nothing of blaidctl in the database yet")
    if means.reference is not None:
        refuse_broken(ctx, progress, "nothing was changed")
        return Saved(reference=means.reference)
    made = copies.take(ctx, means.file or copies.default_target(ctx, have, ctx.now()), progress)
    if made.defects:
        raise _broken(made.defects, f"nothing was changed; the copy is kept as evidence: {made.file}")
    return Saved(backup=made)


def _checked_reference(ctx: Context, reference: str) -> None:
    wrong = []
    if ctx.database.kind == "sqlite":
        wrong.append("backup_done: a SQLite database is always backed up by blaidctl itself")
    if not (reference.strip() and len(reference) <= _LONGEST_REFERENCE and reference.isprintable()):
        wrong.append("backup_done: 1 to 200 printable characters")
    if wrong:
        raise errors.InvalidRequest(wrong[0], missing=wrong)


# ---- asking --------------------------------------------------------------------------------------------------


def somebody_is_there() -> bool:
    """Say whether a question could be answered."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def typed(question: str) -> str:
    """Ask a person."""
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline().strip()


def confirm_number(given: int | None, needed: int, option: str, meaning: str) -> None:
    """Have the number that says what is at stake typed, or given as an option; anything else stops here."""
    if given is not None:
        if given != needed:
            raise errors.ConfirmationStale(f"{meaning}: {needed}, not {given}; nothing was written")
        return
    missing = [f"{option} {needed}: {meaning}"]
    if not somebody_is_there():
        raise errors.ConfirmationMissing(f"{meaning}: {needed}; nothing was written", missing=missing)
    if typed(f"Type that number to go on (anything else stops here): {meaning}: ") != str(needed):
        raise errors.ConfirmationMissing("not confirmed; nothing was written", missing=missing)


# ---- acting --------------------------------------------------------------------------------------------------


def entry(ctx: Context, action: str, what: Mapping[str, Any]) -> audit.Entry:
    """Return the audit entry of an act of this room."""
    request_id = secrets.token_hex(16)
    return audit.Entry(
        act_id=hashlib.sha256(f"{ctx.actor}\n{request_id}".encode()).hexdigest()[:32],
        action=action,
        actor=ctx.actor,
        created_at=ctx.now(),
        outcome=audit.DONE,
        request_id=request_id,
        trace_id=ctx.trace_id,
        what={**ctx.circumstances(), "reason": None, **what},
    )


class _Watched:
    """What is looked at inside each migration's own transaction: nothing may be lost but what was confirmed."""

    def __init__(self, ctx: Context, action: str, saved: Saved) -> None:
        self.ctx, self.action, self.saved = ctx, action, saved
        self.done: list[dict[str, Any]] = []
        self.standing: dict[str, int] = {}
        self.titles = {script.revision: script.doc for script in migrate.scripts()}

    def begun(self, connection: Connection) -> None:
        """Count before the migration does anything."""
        self.standing = row_counts(connection)

    def refuse_loss(self, connection: Connection, revision: str, dropped: Mapping[str, int]) -> None:
        """Raise RowsLost, which rolls the migration back, when rows are gone that nobody said would go."""
        now = row_counts(connection)
        lost = [
            f"{table}: {count} rows before, {now.get(table, 'no table')} after"
            for table, count in self.standing.items()
            if table not in dropped and now.get(table, -1 if count else 0) < count
        ]
        if lost:
            raise errors.RowsLost(f"revision {revision} would lose rows; it was rolled back", missing=lost)

    def note(self, connection: Connection, revision: str, before: str | None, after: str | None, **more: Any) -> None:
        """Write the revision's own entry, in its transaction, and its line of the receipt."""
        receipt = None
        if "audit_head" in row_counts(connection):
            what = {
                "after": {"revision": after},
                "backup": self.saved.body(),
                "before": {"revision": before},
                "target": {"schema": revision},
                **more,
            }
            receipt = audit.append(connection, entry(self.ctx, self.action, what))
        self.done.append({
            "revision": revision,
            "title": self.titles[revision],
            "audit_seq": receipt.seq if receipt else None,
            "entry_hash": receipt.entry_hash if receipt else None,
        })  # fmt: skip


def _before(revision: str) -> str | None:
    place = revisions.REVISIONS.index(revision)
    return revisions.REVISIONS[place - 1] if place else None


def migrate_up(ctx: Context, at: str | None, saved: Saved) -> list[dict[str, Any]]:
    """Run what is pending, each revision whole or not at all; return a line of the receipt for each."""
    watched = _Watched(ctx, "db upgrade", saved)

    def applied(connection: Connection, revision: str) -> None:
        watched.refuse_loss(connection, revision, {})
        watched.note(connection, revision, _before(revision), revision)

    with _truth_about(ctx, at), contextlib.closing(Database(ctx.settings, may_create=True)) as database:
        migrate.upgrade_database(database, applied=applied, begun=watched.begun)
    return watched.done


@dataclasses.dataclass(frozen=True, slots=True)
class Loss:
    """What a downgrade destroys: the rows of tables that go, and of tables that lose columns."""

    tables: dict[str, int]
    columns: dict[str, int]

    @property
    def rows(self) -> int:
        """How many rows are destroyed, or lose values; a row of a table counts once."""
        halved = {name.partition(".")[0]: count for name, count in self.columns.items()}
        return sum(self.tables.values()) + sum(halved.values())


def loss_of(kind: str, undone: list[str], rows: Mapping[str, int]) -> Loss:
    """Return what undoing these revisions destroys, from the statements that it will run."""
    statements = [s for revision in undone for s in migrate.statements_of(revision, kind, undo=True)]
    tables = [m[1] for s in statements if (m := _DROPS_TABLE.match(s))]
    columns = [m.groups() for s in statements if (m := _DROPS_COLUMN.match(s)) and m[1] not in tables]
    return Loss(
        {table: rows[table] for table in tables if table in rows},
        {f"{table}.{column}": rows[table] for table, column in columns if table in rows},
    )


def migrate_down(ctx: Context, at: str, to: str, loss: Loss, saved: Saved) -> list[dict[str, Any]]:
    """Undo revisions down to one; rows that came since the confirmation stop it, inside the transaction."""
    watched = _Watched(ctx, "db downgrade", saved)

    def begun(connection: Connection) -> None:
        watched.begun(connection)
        there = [table for table in loss.tables if table in watched.standing]
        if there and connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"LOCK TABLE {', '.join(there)} IN ACCESS EXCLUSIVE MODE")
            watched.begun(connection)
        ours = len(watched.done)  # the entries of the steps before, while the log still stands
        for table in there:
            more = watched.standing[table] - loss.tables[table] - (ours if table == "audit_log" else 0)
            if more:
                raise errors.ConfirmationStale(f"{table} holds {more:+d} rows since it was confirmed")

    def applied(connection: Connection, revision: str) -> None:
        gone = {t: n for t, n in watched.standing.items() if t in loss.tables}
        watched.refuse_loss(connection, revision, gone)
        now = row_counts(connection)
        lost = {"columns": loss.columns, "tables": {t: n for t, n in gone.items() if t not in now}}
        watched.note(connection, revision, revision, _before(revision), lost=lost)

    with _truth_about(ctx, at), contextlib.closing(Database(ctx.settings)) as database:
        migrate.downgrade_database(database, to=to, applied=applied, begun=begun)
    return watched.done


class _truth_about(contextlib.AbstractContextManager[None]):  # noqa: N801 - reads as a word
    """Whatever cuts a migration short: look at the database, and say which revisions it has."""

    def __init__(self, ctx: Context, at: str | None) -> None:
        self.ctx, self.at = ctx, at

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if not isinstance(error, errors.BlaidError | KeyboardInterrupt):
            return
        try:
            now = content(self.ctx, may_be_missing=True).revision
        except errors.BlaidError:
            if isinstance(error, KeyboardInterrupt) or error.facts.get("connection_lost"):
                raise errors.OutcomeUnknown(
                    "the database was lost while it was migrated; each revision is there whole or not at all",
                    next_steps=["Run `blaidctl db history` when it is back, then the same command again."],
                ) from error
            raise error from None
        if now == self.at:
            return
        stands = f"the schema IS at {now or 'nothing'} now (it was at {self.at or 'nothing'})"
        if isinstance(error, KeyboardInterrupt):
            raise errors.OutputLost(f"interrupted: {stands}") from error
        raise type(error)(f"{error.message}; {stands}", missing=error.missing, next_steps=error.steps) from error


# ---- looking again -------------------------------------------------------------------------------------------


def look_again(ctx: Context, saved: Saved, progress: Progress) -> dict[str, Any]:
    """Compare triggers and tables with this version's (when it is the newest) and verify the chain once more."""
    with ctx.database.reading(statement_timeout_s=0) as connection:
        have = content_of(connection)
        left = schema_state.defects(connection) if have.revision == revisions.HEAD else []
        found = copies.defects_of(connection, ctx, progress)
    back = f" (before it: {saved.told()})" if saved.none is None else ""
    if left:
        what = f"the schema differs from this version's in {len(left)} place(s){back}"
        raise errors.SchemaFindings(what, missing=left)
    if found:
        raise _broken(found, f"the migration IS done{back}")
    return {
        "revision": have.revision, "schema": "OK" if have.revision == revisions.HEAD else "NOT_CHECKED",
        "chain": "OK" if have.entry_hash else "GONE", "head_seq": have.head_seq, "entry_hash": have.entry_hash,
        "rows": have.rows,
    }  # fmt: skip


def tell(lines: list[str]) -> None:
    """Say lines to the person."""
    for line in lines:
        talk(line)
