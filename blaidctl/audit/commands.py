"""`audit verify`, `tail`, `export`, `checkpoint` and `audit key …`."""

import itertools
from typing import TYPE_CHECKING, Annotated

import typer

from blaidctl.core.command import (
    DryRun,
    OnBehalfOf,
    OutputOption,
    ReasonOption,
    RequestIdOption,
    TraceId,
    chosen_output,
    run,
    run_program,
    write_out,
)

if TYPE_CHECKING:
    from blaidctl.core.context import Context
    from blaidctl.core.vocabulary import Output

_LINES_AT_ONCE = 1000

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The hash-chained audit log.")
key = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Keys that checkpoints are signed with.")
app.add_typer(key, name="key")

KeyFile = Annotated[str, typer.Argument(metavar="FILE", help="The file of the private key.")]


@app.command("verify")
def verify(
    workers: Annotated[int, typer.Option(help="Processes that hash in parallel.", metavar="N")] = 1,
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(help="A signed note, or a folder of them, beside the configured sinks.", metavar="FILE"),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(help="Verifier key that counts, instead of the configured ones; may be repeated.", metavar="KEY"),
    ] = None,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Verify the chain, the event rows, the triggers, the state they explain, and every checkpoint at hand.

    Example: blaidctl audit verify --checkpoint /mnt/worm --key "$(cat desk.key.pub)"

    Notes are read from the sinks of the settings and from each --checkpoint. A log that is shorter than a note, or
    holds another entry than a note speaks of, was rewritten, however well it hangs together.

    Writes: nothing. Exit: 0 everything holds; 1 findings, the first bad sequence number named; 2 a note that is not
    there, or no verifier key; 8 no database. Again: safe.
    """
    return run("audit verify", locals())


@app.command("tail")
def tail(
    of_trace: Annotated[
        str | None,
        typer.Option(help="Only what happened under this trace id, as errors and receipts print it.", metavar="HEX"),
    ] = None,
    limit: Annotated[int, typer.Option(help="How many at the most.", metavar="N")] = 20,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Show the latest entries, newest last.

    Example: blaidctl audit tail --of-trace 4bf92f3577b34da6a3ce929d0e0e4736

    --of-trace looks a trace id up, in an index; --trace-id is the one that this look itself runs under. What only
    reads, and what failed before it came to the database, left no entry: nothing found is an empty list.

    Writes: nothing. Exit: 0; 2 no trace id; 8 no database. Again: safe.
    """
    return run("audit tail", locals())


@app.command("export")
def export(trace_id: TraceId = None) -> int:
    """Print every entry as NDJSON, for verification on another machine.

    Example: blaidctl audit export > audit.ndjson

    Writes: nothing. Exit: 0; 8 no database; 9 standard output is full. Again: safe.
    """
    return run_program(_export, locals(), "audit export")


@app.command("checkpoint")
def checkpoint(
    begin: Annotated[
        bool, typer.Option("--begin", help="The sinks are new; earlier notes are kept elsewhere.")
    ] = False,
    reason: ReasonOption = None,
    trace_id: TraceId = None,
    request_id: RequestIdOption = None,
    dry_run: DryRun = False,
    on_behalf_of: OnBehalfOf = None,
    output: OutputOption = None,
) -> int:
    """Sign the head of the log and write the note to every sink, outside the database.

    Example: blaidctl audit checkpoint --reason "end of day"

    Needs BLAIDCTL_CHECKPOINT_KEY, _SINKS (two folders at least) and _VERIFIERS. The log is verified from the last note
    on and must agree with it: what was tampered with is not signed. A sink that lacks notes gets them from another one.
    --dry-run verifies and signs, and writes nothing anywhere.

    Writes: a note to each sink, then one audit entry. Exit: 0 done; 1 the log does not verify; 2 settings or key file;
    4 another one was quicker; 8 a sink that failed, named, or no database.

    Again: safe, it makes the next checkpoint.
    """
    return run("audit checkpoint", locals())


@key.command("new")
def key_new(
    file: KeyFile,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the key and origin of its notes. Default: HOST/blaidctl.", metavar="NAME"),
    ] = None,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Make an Ed25519 key in FILE (mode 0600) and its verifier key in FILE.pub; print the verifier key only.

    Example: blaidctl audit key new /etc/blaidctl/desk.key --name desk.example.com/blaidctl

    Writes: two files, nothing in the database. Exit: 0 made; 2 a folder or name that will not do; 4 there already.

    Again: refused while the file is there; a key is never overwritten.
    """
    return run_program(lambda ctx: _key(ctx, "audit key new", file, name, output), locals(), "audit key new")


@key.command("show")
def key_show(file: KeyFile, trace_id: TraceId = None, output: OutputOption = None) -> int:
    """Print the verifier key of a key file, never the key itself.

    Example: blaidctl audit key show /etc/blaidctl/desk.key

    Writes: nothing. Exit: 0; 2 a file that is none, or that others may read. Again: safe.
    """
    return run_program(lambda ctx: _key(ctx, "audit key show", file, None, output), locals(), "audit key show")


def _key(ctx: "Context", operation: str, file: str, name: str | None, output: "Output | None") -> int:
    from pathlib import Path

    from blaidctl.audit import keys
    from blaidctl.core.present import render_rows

    path = Path(file).absolute()
    verifier = keys.create(path, name) if operation == "audit key new" else keys.load(path).verifier
    row = {"name": verifier.name, "key_id": verifier.key_id.hex(), "verifier": verifier.text(), "file": str(path)}
    text = render_rows(operation, ctx.trace_id, [row], list(row), chosen_output(output))
    write_out(text, done=f"the key is in {path}")
    return 0


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
