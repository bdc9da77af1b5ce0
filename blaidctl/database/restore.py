"""`db restore`: a backup becomes the database. Proved first, signed in its scratch, put in place in one step."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

from blaidctl.core import audit, errors, revisions
from blaidctl.core.command import talk
from blaidctl.core.execute import execute
from blaidctl.core.operation import the_map
from blaidctl.core.progress import bars
from blaidctl.core.sql import Query
from blaidctl.database import copies, gate
from blaidctl.database.content import row_counts

if TYPE_CHECKING:
    from pathlib import Path

    from blaidctl.core.context import Context
    from blaidctl.core.db import Database
    from blaidctl.database.content import Content
    from blaidctl.database.copies import Progress
    from blaidctl.database.files import Manifest

_HASH = Query("SELECT entry_hash FROM audit_log WHERE seq = :seq")


def restore(ctx: Context, file: Path, confirmed_head: int | None) -> dict[str, Any]:
    """Restore a backup into a new or empty database, or over one whose head was typed; return the receipt."""
    engine = copies.engine_of(ctx)
    with contextlib.ExitStack() as stack:
        with bars() as progress:
            manifest = copies.checked_manifest(ctx, file, progress)
            old = _standing(ctx) if engine.is_there(ctx) else None
            scratch = stack.enter_context(copies.scratch(ctx, file, ctx.database.path, progress))
            _refuse_broken(file, copies.compared(ctx, scratch, manifest, progress))
        if old is not None and old.rows:
            _ask(ctx, old, confirmed_head)
        with bars() as progress:
            kept = _kept(ctx, old, progress)
            killed = _bots(ctx.database, "NOT NULL") if old is not None else set()
            ctx.database.close()
            with scratch.writing() as connection:
                receipt = audit.append(connection, _entry(ctx, file, manifest, old, kept))
            again, left = _kill_again(ctx, scratch, manifest, killed)
            aside = engine.put_in_place(ctx, scratch, old, progress)
    ctx.receipts.append(receipt)
    _look_again(ctx, receipt)
    if again:
        talk(f"killed again, because they were killed in what was replaced: {', '.join(again)}")
    if left:
        talk(
            f"NOT KILLED ANY MORE: {', '.join(left)}; run `blaidctl db upgrade`, then `blaidctl kill {' '.join(left)}`"
        )
    return {
        "file": str(file), "sha256": manifest.sha256, "revision": manifest.revision, "head_seq": manifest.head_seq,
        "replaced_head_seq": old.head_seq if old and old.rows else None, "replaced_kept_as": kept or aside or None,
        "audit_seq": receipt.seq, "entry_hash": receipt.entry_hash, "killed_again": again,
        "not_killed_any_more": left,
    }  # fmt: skip


def _standing(ctx: Context) -> Content:
    """Return what stands where the backup goes; what is not blaidctl's is never written over."""
    try:
        found = gate.content(ctx)
    except errors.DatabaseCorrupt as error:
        raise errors.DatabaseCorrupt(
            f"{error.message}; it is not written over",
            next_steps=["Move the damaged file away, it is evidence, then restore into a new one."],
        ) from error
    if found.rows and "audit_head" not in found.rows:
        raise errors.InvalidRequest(
            f"{ctx.database.shown()} holds tables that are not blaidctl's; it is not written over",
            missing=["a new or empty database: BLAIDCTL_DATABASE_URL"],
        )
    return found


def _refuse_broken(file: Path, defects: list[str]) -> None:
    if defects:
        what = f"the audit log in {file} does not verify: {defects[0]}; nothing was changed"
        raise errors.AuditBroken(what, missing=defects)


def _ask(ctx: Context, old: Content, confirmed_head: int | None) -> None:
    if confirmed_head is None and gate.somebody_is_there():
        talk(f"{ctx.database.shown()} holds {sum(old.rows.values())} rows; its audit log ends at seq {old.head_seq}.")
    gate.confirm_number(confirmed_head, old.head_seq, "--confirm-head", "the last audit seq of what is replaced")


def _kept(ctx: Context, old: Content | None, progress: Progress) -> str | None:
    """Keep a copy of what is written over; on PostgreSQL what is replaced is kept whole, under another name."""
    if old is None or not old.rows or ctx.database.kind != "sqlite":
        return None
    return str(copies.take(ctx, copies.default_target(ctx, old, ctx.now()), progress).file)


def _bots(database: Database, killed_at: str) -> set[str]:
    """Return the bots of a database of any revision whose killed_at IS so."""
    with database.reading(statement_timeout_s=0) as connection:
        if "bots" not in row_counts(connection):
            return set()
        return set(connection.exec_driver_sql(f"SELECT id FROM bots WHERE killed_at IS {killed_at}").scalars())


def _kill_again(ctx: Context, scratch: Database, manifest: Manifest, killed: set[str]) -> tuple[list[str], list[str]]:
    """Kill what was killed in the database that is replaced: to restore is no way round a resurrection.

    Returns the bots that were killed, and those that a schema of another revision leaves to the operator.
    """
    due = sorted(killed & _bots(scratch, "NULL")) if killed else []
    if not due or manifest.revision != revisions.HEAD:
        return [], due
    why = {"reason_code": "MAINTENANCE", "reason": "killed in the database that a restore replaced"}
    execute(dataclasses.replace(ctx, database=scratch, receipts=[]), the_map()["kill"], {"bots": due, **why})
    return due, []


def _entry(ctx: Context, file: Path, manifest: Manifest, old: Content | None, kept: str | None) -> audit.Entry:
    replaced = {"entry_hash": old.entry_hash, "head_seq": old.head_seq, "revision": old.revision} if old else None
    restored = {"entry_hash": manifest.entry_hash, "head_seq": manifest.head_seq, "revision": manifest.revision}
    target = {"backup": str(file), "sha256": manifest.sha256}
    return gate.entry(
        ctx, "db restore", {"after": restored, "before": replaced, "replaced_kept_as": kept, "target": target}
    )


def _look_again(ctx: Context, receipt: audit.Receipt) -> None:
    with ctx.database.reading() as connection:
        found = _HASH.on(connection, seq=receipt.seq).scalar()
    if found is None or bytes(found).hex() != receipt.entry_hash:
        raise errors.OutcomeUnknown(
            f"the backup was put in place, but the log does not hold its entry {receipt.seq}",
            next_steps=["Run `blaidctl audit verify` and `blaidctl audit tail`."],
        )
