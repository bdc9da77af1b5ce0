"""`db plan`, `db upgrade`, `db downgrade`, `db backup`, `db restore`, `db check`, `db history`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blaidctl.core.command import OutputOption, TraceId, run_program

if TYPE_CHECKING:
    from blaidctl.core.context import Context

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The schema: plan, upgrade, backup, restore.")

BackupOption = Annotated[
    Path | None, typer.Option(help="Where the backup goes; default: a folder of backups.", metavar="FILE")
]
BackupDoneOption = Annotated[
    str | None,
    typer.Option(help="PostgreSQL: a backup that you made and tried by other means; recorded.", metavar="REF"),
]


@app.command("plan")
def plan(
    sql: Annotated[bool, typer.Option("--sql", help="Print each statement and its locks too.")] = False,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Say what an upgrade would do: why, exact diff, rollback, data safety, and whom its locks hold up.

    Example: blaidctl db plan --sql

    Writes: nothing. Exit: 0, also when nothing is pending; 8 no database, or a schema that is ahead. Again: safe.
    """

    def act(ctx: "Context") -> int:
        from blaidctl.database import service

        return service.plan(ctx, output, with_sql=sql)

    return run_program(act, locals(), "db plan")


@app.command("upgrade")
def upgrade(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; needed in a script.")] = False,
    backup: BackupOption = None,
    backup_done: BackupDoneOption = None,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Bring the schema to this version: back up, prove the backup, show the plan, ask, migrate, check.

    Example: blaidctl db upgrade --yes --backup /backup/before-0010.backup

    Writes: a backup and its manifest, the schema, an audit entry a revision; the SQLite file when there is none.
    Exit: 0 done, or already so; 1 the log does not verify; 2 not confirmed; 4 the backup's name is taken;
    8 no database, no backup possible, full disk; 9 busy or outcome unknown. Again: safe.
    """

    def act(ctx: "Context") -> int:
        from blaidctl.database import gate, service

        return service.upgrade(ctx, output, confirmed=yes, means=gate.Means(backup, backup_done))

    return run_program(act, locals(), "db upgrade")


@app.command("downgrade")
def downgrade(
    revision: Annotated[str, typer.Argument(help="The revision to go back to, or base.", metavar="REV")],
    confirm_rows: Annotated[
        int | None, typer.Option(help="How many rows are destroyed; needed in a script.", metavar="N")
    ] = None,
    backup: BackupOption = None,
    backup_done: BackupDoneOption = None,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Undo revisions, with the rows in their tables: back up, show what is destroyed, have its number typed, act.

    Example: blaidctl db downgrade 0008 --confirm-rows 12

    Writes: a backup and its manifest, the schema, an audit entry a revision. Exit: 0 done, or already so; 1 the log
    does not verify; 2 not confirmed; 4 other rows than confirmed; 8 no database, no backup possible, full disk; 9 busy
    or outcome unknown. Again: safe.
    """

    def act(ctx: "Context") -> int:
        from blaidctl.database import gate, service

        means = gate.Means(backup, backup_done)
        return service.downgrade(ctx, output, to=revision, confirmed_rows=confirm_rows, means=means)

    return run_program(act, locals(), "db downgrade")


@app.command("backup")
def backup(
    file: Annotated[Path, typer.Argument(help="A new file; its manifest goes beside it.", metavar="FILE")],
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Copy the database while it is used, restore the copy into a scratch database, and verify it there.

    Example: blaidctl db backup /backup/desk.backup

    Writes: FILE and FILE.manifest.json, nothing else. Exit: 0; 1 the log does not verify (the copy is kept as
    evidence); 2 the file cannot be written; 4 the name is taken; 8 no database, no backup possible, full disk; 9 busy.
    Again: safe, with another name.
    """

    def act(ctx: "Context") -> int:
        from blaidctl.database import service

        return service.backup(ctx, output, file=file)

    return run_program(act, locals(), "db backup")


@app.command("restore")
def restore(
    file: Annotated[Path, typer.Argument(help="A backup, with its manifest beside it.", metavar="FILE")],
    confirm_head: Annotated[
        int | None, typer.Option(help="The last audit seq of what is replaced; needed in a script.", metavar="SEQ")
    ] = None,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Make a backup the database: into a new or empty one, or over one whose last audit seq is typed.

    Example: blaidctl db restore /backup/desk.backup

    Bots that are killed in what is replaced, and not in the backup, are killed again; what a backup of an older schema
    keeps from that is named.

    Writes: the database, an audit entry; what is replaced is kept. Exit: 0; 1 its log does not verify; 2 no backup, or
    not confirmed; 4 somebody wrote since; 8 no database, full disk; 9 busy or in use. Again: it asks again.
    """

    def act(ctx: "Context") -> int:
        from blaidctl.database import service

        return service.restore_backup(ctx, output, file=file, confirmed_head=confirm_head)

    return run_program(act, locals(), "db restore")


@app.command("check")
def check(trace_id: TraceId = None, output: OutputOption = None) -> int:
    """Compare tables, constraints, indexes and triggers with what this version's migrations make.

    Example: blaidctl db check

    Writes: nothing. Exit: 0 equal; 1 differences, each named; 8 no database or another revision. Again: safe.
    """

    def act(ctx: "Context") -> int:
        from blaidctl.database import service

        return service.check(ctx, output)

    return run_program(act, locals(), "db check")


@app.command("history")
def history(trace_id: TraceId = None, output: OutputOption = None) -> int:
    """List every revision and where this database stands.

    Example: blaidctl db history

    Writes: nothing. Exit: 0; 8 no database. Again: safe.
    """

    def act(ctx: "Context") -> int:
        from blaidctl.database import service

        return service.history(ctx, output)

    return run_program(act, locals(), "db history")
