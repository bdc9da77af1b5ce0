"""What the `db` commands do. They run outside execute(): the schema that it relies on may not be there yet."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import sys
from typing import TYPE_CHECKING, Any

from blaidctl.core import audit, errors, migrate, present, revisions, schema_state
from blaidctl.core.command import report, talk, write_out
from blaidctl.core.db import Database

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from blaidctl.core.context import Context
    from blaidctl.core.vocabulary import Output


def plan(ctx: Context, output: Output | None, *, with_sql: bool) -> int:
    """Print what an upgrade would do."""
    rows = [migrate.described(script) for script in migrate.pending(_revision(ctx, may_be_missing=True))]
    if with_sql:
        for row in rows:
            row["sql"] = ";\n".join(migrate.statements_of(row["revision"], ctx.database.kind)) + ";"
    return _print(ctx, output, "db plan", rows, _columns(rows))


def _columns(rows: list[dict[str, Any]]) -> list[str]:
    return list(rows[0]) if rows else ["revision", "title", *migrate.SECTIONS.values()]


def upgrade(ctx: Context, output: Output | None, *, confirmed: bool) -> int:
    """Show the plan, ask, migrate, check. Each revision is one act: its entry stands or falls with it."""
    plan_rows = [migrate.described(script) for script in migrate.pending(_revision(ctx, may_be_missing=True))]
    if plan_rows and not confirmed:
        _ask(ctx, plan_rows)
    titles = {row["revision"]: row["title"] for row in plan_rows}
    done: list[dict[str, Any]] = []

    def applied(connection: Connection, revision: str) -> None:
        receipt = audit.append(connection, _entry(ctx, revision))
        done.append(
            {
                "revision": revision,
                "title": titles[revision],
                "audit_seq": receipt.seq,
                "entry_hash": receipt.entry_hash,
            }
        )

    if plan_rows:
        with contextlib.closing(Database(ctx.settings, may_create=True)) as database:
            migrate.upgrade_database(database, applied=applied)
    with ctx.database.reading() as connection:
        left = schema_state.defects(connection)
    if left:
        raise errors.SchemaFindings(f"the schema differs from this version's in {len(left)} place(s)", missing=left)
    return _print(ctx, output, "db upgrade", done, ["revision", "title", "audit_seq", "entry_hash"])


def _ask(ctx: Context, rows: list[dict[str, Any]]) -> None:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise errors.InvalidRequest(
            "an upgrade needs a yes",
            missing=["yes: pass --yes"],
            next_steps=["Read `blaidctl db plan`, then pass --yes."],
        )
    talk(f"database {ctx.database.shown()}")
    for row in rows:
        for name, text in row.items():
            talk(f"  {name.replace('_', ' ')}: {text}")
    talk("There is no verified backup before this upgrade (F-010): make one yourself.")
    sys.stderr.write("Upgrade? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise errors.InvalidRequest("not confirmed; nothing was written", missing=["yes"])


def _entry(ctx: Context, revision: str) -> audit.Entry:
    request_id = secrets.token_hex(16)
    before = revisions.REVISIONS.index(revision) - 1
    return audit.Entry(
        act_id=hashlib.sha256(f"{ctx.actor}\n{request_id}".encode()).hexdigest()[:32],
        action="db upgrade",
        actor=ctx.actor,
        created_at=ctx.now(),
        outcome=audit.DONE,
        request_id=request_id,
        trace_id=ctx.trace_id,
        what={
            **ctx.circumstances(),
            "after": {"revision": revision},
            "before": {"revision": revisions.REVISIONS[before] if before >= 0 else None},
            "reason": None,
            "target": {"schema": revision},
        },
    )


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
        return report(error_found, ctx.trace_id, _output(output))
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


def _revision(ctx: Context, *, may_be_missing: bool = False) -> str | None:
    try:
        with ctx.database.reading() as connection:
            return migrate.current(connection)
    except errors.DatabaseMissing:
        if may_be_missing and ctx.database.kind == "sqlite":
            return None
        raise


def _output(output: Output | None) -> Output:
    from blaidctl.core.command import chosen_output

    return chosen_output(output)


def _print(ctx: Context, output: Output | None, name: str, rows: list[dict[str, Any]], columns: list[str]) -> int:
    write_out(present.render_rows(name, ctx.trace_id, rows, columns, _output(output)), done="what was done stays done")
    return 0
