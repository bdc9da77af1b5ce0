"""What the `db` commands do. They run outside execute(): the schema that it relies on may not be there yet."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from blaidctl.core import errors, migrate, present, revisions, schema_state
from blaidctl.core.command import chosen_output, report, talk, write_out
from blaidctl.core.progress import bars
from blaidctl.core.text import json_text
from blaidctl.core.vocabulary import Output
from blaidctl.database import copies, gate, locks, restore

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from blaidctl.core.context import Context

_RECEIPT = ["revision", "title", "audit_seq", "entry_hash"]
_BACKUP = ["file", "verified", "revision", "head_seq", "entry_hash", "bytes", "sha256"]
_RESTORED = [
    "file", "revision", "head_seq", "audit_seq", "entry_hash", "replaced_head_seq", "replaced_kept_as", "sha256",
]  # fmt: skip
_BASE = "base"


# ---- plan, check, history ------------------------------------------------------------------------------------


def plan(ctx: Context, output: Output | None, *, with_sql: bool) -> int:
    """Print what an upgrade would do."""
    waiting = migrate.pending(_revision(ctx, may_be_missing=True))
    rows = _planned(ctx.database.kind, [script.revision for script in waiting], with_sql=with_sql)
    return _print(ctx, output, "db plan", rows, list(rows[0]) if rows else _plan_columns(with_sql=with_sql))


def _plan_columns(*, with_sql: bool) -> list[str]:
    return ["revision", "title", *migrate.SECTIONS.values(), "locks", *(["statements"] if with_sql else [])]


def _planned(kind: str, wanted: list[str], *, with_sql: bool) -> list[dict[str, Any]]:
    """Describe revisions: their own words, the locks that they take, and each statement with its locks."""
    statements = [migrate.statements_of(revision, kind) for revision in revisions.REVISIONS]
    taken = dict(zip(revisions.REVISIONS, zip(statements, locks.of_plan(statements, kind), strict=True), strict=True))
    rows = []
    for script in migrate.scripts():
        if script.revision in wanted:
            sql, held = taken[script.revision]
            row: dict[str, Any] = {**migrate.described(script), "locks": locks.summary(held)}
            if with_sql:
                row["statements"] = [
                    {"sql": text, "locks": [lock.row() for lock in of_one]}
                    for text, of_one in zip(sql, held, strict=True)
                ]
            rows.append(row)
    return rows


def check(ctx: Context, output: Output | None) -> int:
    """Print every difference between the schema and this version's; exit 1 when there is one."""
    revision = _revision(ctx)
    with ctx.database.reading() as connection:
        left = schema_state.defects(connection) if revision == revisions.HEAD else []
    if revision != revisions.HEAD:
        behind = revision is None or revision in revisions.REVISIONS
        error = errors.SchemaBehind if behind else errors.SchemaAhead
        raise error(f"the schema is at {revision or 'nothing'}, this version needs {revisions.HEAD}")
    rows = [{"answer": "BROKEN" if left else "OK", "revision": revision, "differences": left}]
    code = _print(ctx, output, "db check", rows, ["answer", "revision", "differences"])
    if left:
        error_found = errors.SchemaFindings(f"the schema differs in {len(left)} place(s): {left[0]}", missing=left)
        return report(error_found, ctx.trace_id, chosen_output(output))
    return code


def history(ctx: Context, output: Output | None) -> int:
    """Print every revision, oldest first, and whether this database has it."""
    at = _revision(ctx, may_be_missing=True)
    waiting = {script.revision for script in migrate.pending(at)}
    rows = [
        {"revision": s.revision, "title": s.doc, "state": "PENDING" if s.revision in waiting else "APPLIED"}
        for s in migrate.scripts()
    ]
    return _print(ctx, output, "db history", rows, ["revision", "title", "state"])


# ---- upgrade and downgrade -----------------------------------------------------------------------------------


def upgrade(ctx: Context, output: Output | None, *, confirmed: bool, means: gate.Means) -> int:
    """Back up, prove the backup, show the plan, ask, migrate, look again. Each revision is one act."""
    at = _revision(ctx, may_be_missing=True)
    waiting = [script.revision for script in migrate.pending(at)]
    if not waiting:
        with ctx.database.reading() as connection:
            left = schema_state.defects(connection)
        if left:
            raise errors.SchemaFindings(f"the schema differs from this version's in {len(left)} place(s)", missing=left)
        return _print(ctx, output, "db upgrade", [], _RECEIPT)
    if not confirmed and not gate.somebody_is_there():
        raise errors.InvalidRequest(
            "an upgrade needs a yes",
            missing=["yes: pass --yes"],
            next_steps=["Read `blaidctl db plan`, then pass --yes."],
        )
    with bars() as progress:
        have = gate.content(ctx, may_be_missing=True)
        saved = gate.save(ctx, have, means, progress)
    if not confirmed:
        _ask(ctx, waiting, saved)
    ctx.database.close()
    done = gate.migrate_up(ctx, at, saved)
    with bars() as progress:
        found = gate.look_again(ctx, saved, progress)
    return _print(ctx, output, "db upgrade", done, _RECEIPT, backup=saved.body(), checked=found)


def _ask(ctx: Context, waiting: list[str], saved: gate.Saved) -> None:
    talk(f"database {ctx.database.shown()}")
    for row in _planned(ctx.database.kind, waiting, with_sql=False):
        _talk_row(row)
    talk(saved.told())
    if gate.typed("Upgrade? [y/N] ").lower() not in {"y", "yes"}:
        raise errors.InvalidRequest("not confirmed; nothing was written", missing=["yes"])


def _talk_row(row: Mapping[str, Any]) -> None:
    for name, text in row.items():
        talk(f"  {name.replace('_', ' ')}: {'; '.join(text) if isinstance(text, list) else text}")


def downgrade(ctx: Context, output: Output | None, *, to: str, confirmed_rows: int | None, means: gate.Means) -> int:
    """Undo revisions: back up, prove the backup, say what is destroyed, have its number typed, act, look again."""
    if to != _BASE and to not in revisions.REVISIONS:
        raise errors.InvalidRequest(
            f"{to} is no revision", missing=[f"revision: one of {', '.join(revisions.REVISIONS)}, or base"]
        )
    at = _revision(ctx)
    migrate.pending(at)  # refuses a schema that is ahead
    target = None if to == _BASE else to
    if _place(at) < _place(target):
        raise errors.InvalidRequest(f"the schema is at {at}, which is older than {to}", missing=["an older revision"])
    undone = list(reversed(revisions.REVISIONS[_place(target) + 1 : _place(at) + 1]))
    if at is None or not undone:
        return _print(ctx, output, "db downgrade", [], _RECEIPT)
    with bars() as progress:
        have = gate.content(ctx)
        loss = gate.loss_of(ctx.database.kind, undone, have.rows)
        if confirmed_rows is not None or not gate.somebody_is_there():
            gate.confirm_number(confirmed_rows, loss.rows, "--confirm-rows", _AT_STAKE)
        saved = gate.save(ctx, have, means, progress)
    if confirmed_rows is None:
        _warn(ctx, undone, loss, saved)
        gate.confirm_number(None, loss.rows, "--confirm-rows", _AT_STAKE)
    ctx.database.close()
    done = gate.migrate_down(ctx, at, to, loss, saved)
    with bars() as progress:
        found = gate.look_again(ctx, saved, progress)
    lost = dataclasses.asdict(loss)
    return _print(ctx, output, "db downgrade", done, _RECEIPT, backup=saved.body(), lost=lost, checked=found)


def _place(revision: str | None) -> int:
    return -1 if revision is None else revisions.REVISIONS.index(revision)


_AT_STAKE = "rows that are destroyed, or lose columns"


def _warn(ctx: Context, undone: list[str], loss: gate.Loss, saved: gate.Saved) -> None:
    talk(f"database {ctx.database.shown()}")
    told = {row["revision"]: row for row in _planned(ctx.database.kind, undone, with_sql=False)}
    for revision in undone:
        talk(f"  {revision}: {told[revision]['title']}")
        talk(f"  rollback: {told[revision]['rollback']}")
    for table, count in loss.tables.items():
        talk(f"  destroys table {table}: {count} rows")
    for column, count in loss.columns.items():
        talk(f"  destroys column {column}: of {count} rows")
    talk(saved.told())


# ---- backup and restore --------------------------------------------------------------------------------------


def backup(ctx: Context, output: Output | None, *, file: Path) -> int:
    """Copy the database, prove the copy by restoring it, and give it its name; exit 1 when its chain is broken."""
    with bars() as progress:
        made = copies.take(ctx, file, progress)
    code = _print(ctx, output, "db backup", [made.body()], _BACKUP)
    if made.defects:
        broken = errors.AuditBroken(
            f"the audit log does not verify: {made.defects[0]}; the copy is kept as evidence: {made.file}",
            missing=made.defects,
        )
        return report(broken, ctx.trace_id, chosen_output(output))
    return code


def restore_backup(ctx: Context, output: Output | None, *, file: Path, confirmed_head: int | None) -> int:
    """Make a backup the database."""
    done = restore.restore(ctx, file, confirmed_head)
    code = _print(ctx, output, "db restore", [done], _RESTORED)
    if ctx.database.kind == "postgresql":
        talk("note: a backup holds no rights; grant them to the daily role again (runbooks/postgresql-roles.md)")
    if done["revision"] != revisions.HEAD:
        talk(f"note: it is at revision {done['revision']}; `blaidctl db upgrade` brings it to {revisions.HEAD}")
    return code


# ---- the same for all ----------------------------------------------------------------------------------------


def _revision(ctx: Context, *, may_be_missing: bool = False) -> str | None:
    try:
        with ctx.database.reading() as connection:
            return migrate.current(connection)
    except errors.DatabaseMissing:
        if may_be_missing and ctx.database.kind == "sqlite":
            return None
        raise


def _print(
    ctx: Context,
    output: Output | None,
    name: str,
    rows: list[dict[str, Any]],
    columns: list[str],
    **more: Any,
) -> int:
    """Print rows, and what else the receipt says: in JSON beside the rows, for a person below them."""
    chosen = chosen_output(output)
    if chosen is Output.JSON:
        result = {"rows": rows, **more}
        text = json_text({"operation": name, "trace_id": ctx.trace_id, "result": result}) + "\n"
    else:
        text = present.render_rows(name, ctx.trace_id, rows, columns, chosen)
    write_out(text, done="what was done stays done")
    if chosen is Output.TABLE:
        for title, told in more.items():
            talk(f"{title}: " + ", ".join(f"{key} {present.shown(value)}" for key, value in told.items()))
    return 0
