"""`audit verify`, `audit tail`, `audit export`."""

import itertools
from typing import TYPE_CHECKING, Annotated

import typer

from blaidctl.core.command import OutputOption, TraceId, run, run_program, write_out

if TYPE_CHECKING:
    from blaidctl.core.context import Context

_LINES_AT_ONCE = 1000

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The hash-chained audit log.")


@app.command("verify")
def verify(
    workers: Annotated[int, typer.Option(help="Processes that hash in parallel.", metavar="N")] = 1,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Verify the chain, the event rows, the triggers, and the state they explain.

    Example: blaidctl audit verify

    Writes: nothing. Exit: 0 everything holds; 1 findings, the first bad sequence number named; 8 no database.
    Again: safe.
    """
    return run("audit verify", locals())


@app.command("tail")
def tail(
    limit: Annotated[int, typer.Option(help="How many at the most.", metavar="N")] = 20,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Show the latest entries, newest last.

    Example: blaidctl audit tail --limit 5

    Writes: nothing. Exit: 0; 8 no database. Again: safe.
    """
    return run("audit tail", locals())


@app.command("export")
def export(trace_id: TraceId = None) -> int:
    """Print every entry as NDJSON, for verification on another machine.

    Example: blaidctl audit export > audit.ndjson

    Writes: nothing. Exit: 0; 8 no database; 9 standard output is full. Again: safe.
    """
    return run_program(_export, locals(), "audit export")


def _export(ctx: "Context") -> int:
    from blaidctl.audit.service import export_lines
    from blaidctl.core.execute import check_schema

    with ctx.database.reading(statement_timeout_s=0) as connection:
        check_schema(connection)
        lines = export_lines(connection)
        while batch := list(itertools.islice(lines, _LINES_AT_ONCE)):
            if not write_out("".join(batch), done="the export is incomplete"):
                break
    return 0
