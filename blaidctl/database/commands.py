"""`db plan`, `db upgrade`, `db check`, `db history`."""

from typing import TYPE_CHECKING, Annotated

import typer

from blaidctl.core.command import OutputOption, TraceId, run_program

if TYPE_CHECKING:
    from blaidctl.core.context import Context

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The schema: plan, upgrade, check.")


@app.command("plan")
def plan(
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL of each statement too.")] = False,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Say what an upgrade would do: why, exact diff, rollback, data safety.

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
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Bring the schema to this version, after showing the plan; makes the SQLite file when there is none.

    Example: blaidctl db upgrade

    Writes: the schema, one audit entry. Exit: 0 done, or already so; 2 not confirmed; 8 no database. Again: safe.
    """

    def act(ctx: "Context") -> int:
        from blaidctl.database import service

        return service.upgrade(ctx, output, confirmed=yes)

    return run_program(act, locals(), "db upgrade")


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
