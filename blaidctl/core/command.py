"""The edge of the command line: from a Typer function's parameters to an exit code.

Here, and nowhere else: the context is made, `execute` is called, an answer goes to stdout, an error to stderr
with its exit code. Only Typer and the standard library are imported at the top: `--help` must stay cheap.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blaidctl.core import errors
from blaidctl.core.vocabulary import Output

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from blaidctl.core.audit import Receipt
    from blaidctl.core.context import Context
    from blaidctl.core.execute import Answer
    from blaidctl.core.operation import Operation

_ACT = "How this act is recorded"
ReasonOption = Annotated[
    str | None, typer.Option("--reason", help="Why; kept in the audit entry.", rich_help_panel=_ACT, metavar="TEXT")
]
TraceId = Annotated[
    str | None,
    typer.Option(help="32 hex digits; default: $TRACEPARENT, else new.", rich_help_panel=_ACT, metavar="HEX"),
]
RequestIdOption = Annotated[
    str | None,
    typer.Option("--request-id", help="The same id and parameters are done once.", rich_help_panel=_ACT, metavar="ID"),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Run the real transaction, then roll it back.", rich_help_panel=_ACT)
]
OnBehalfOf = Annotated[
    str | None, typer.Option(help="Recorded beside the actor.", rich_help_panel=_ACT, metavar="NAME")
]
OutputOption = Annotated[
    Output | None,
    typer.Option("--output", "-o", help="Default: table on a terminal, json otherwise.", metavar="table|json|csv"),
]

WatchOption = Annotated[bool, typer.Option("--watch", help="Draw it anew until q is pressed; needs a terminal.")]
EveryOption = Annotated[
    int | None,
    typer.Option("--every", help="Seconds between two looks of --watch: 1 (the default) to 60.", metavar="S"),
]

_LONGEST_NAME = 200
_EDGE = ("trace_id", "request_id", "dry_run", "output", "on_behalf_of", "watch", "every")


def run(name: str, parameters: Mapping[str, Any]) -> int:
    """Carry out the operation `name` with a command's local variables; return the exit code."""
    from blaidctl.core.operation import the_map

    edge = {key: parameters.get(key) for key in _EDGE}
    asked = {k.rstrip("_"): v for k, v in parameters.items() if k not in _EDGE and v not in (None, [], ())}
    output = chosen_output(edge["output"])
    operation = the_map()[name]

    def act(ctx: Context) -> int:
        from blaidctl.core import present
        from blaidctl.core.execute import execute

        def once(request: Mapping[str, Any]) -> Answer:
            with patience(ctx, operation) as patient:
                return execute(
                    patient, operation, request, request_id=edge["request_id"], dry_run=bool(edge["dry_run"])
                )

        request = with_stdin(asked, operation.files)
        if edge["watch"] or edge["every"] is not None:
            from blaidctl.core import live

            return live.watch(ctx, lambda: once(request), name, edge)
        try:
            answer = once(request)
        except errors.ConfirmCountMissing as missing:
            answer = once({**request, "confirm_count": _ask_count(missing)})
        return _deliver(present.render(answer, output), answer, output)

    return at_the_edge(act, output, trace_id=edge["trace_id"], on_behalf_of=edge["on_behalf_of"], operation=operation)


@contextlib.contextmanager
def patience(ctx: Context, operation: Operation) -> Iterator[Context]:
    """Give long work a progress bar; everything else stays as it is, and as quick."""
    if not operation.patient:
        yield ctx
        return
    from blaidctl.core.progress import bars

    with bars() as progress:
        yield dataclasses.replace(ctx, progress=progress)


def run_program(program: Callable[[Context], int], parameters: Mapping[str, Any], operation_name: str) -> int:
    """Run a command that is a process of its own (serve, bot run): same context, same errors, same exit codes."""
    from blaidctl.core.operation import the_map

    return at_the_edge(
        program,
        chosen_output(parameters.get("output")),
        trace_id=parameters.get("trace_id"),
        on_behalf_of=parameters.get("on_behalf_of"),
        operation=the_map()[operation_name],
    )


def at_the_edge(
    act: Callable[[Context], int],
    output: Output,
    *,
    trace_id: str | None = None,
    on_behalf_of: str | None = None,
    operation: Operation | None = None,
) -> int:
    """Make the context, run, and turn every way to fail into one error on stderr and one exit code."""
    from blaidctl.core.context import is_trace_id, new_trace_id

    ctx, trace = None, trace_id if trace_id and is_trace_id(trace_id) else new_trace_id()
    try:
        ctx = make_context(trace_id, on_behalf_of)
        trace = ctx.trace_id
        return act(ctx)
    except errors.BlaidError as error:
        return report(error, trace, output, _last_line(operation, ctx, error))
    except KeyboardInterrupt:
        stopped = errors.OutputLost(_committed(ctx)) if _committed(ctx) else errors.Interrupted()
        return report(stopped, trace, output, _last_line(operation, ctx, stopped))
    except Exception as bug:  # noqa: BLE001 - the last wall: a bug becomes an error object, never a traceback
        internal = a_bug(bug, ctx)
        return report(internal, trace, output, _last_line(operation, ctx, internal))
    finally:
        if ctx is not None:
            ctx.database.close()


def make_context(trace_id: str | None = None, on_behalf_of: str | None = None) -> Context:
    """Read the operating system and the settings: who acts, under which trace, on which database."""
    from blaidctl.core import context, settings
    from blaidctl.core.db import Database

    if trace_id is not None and not context.is_trace_id(trace_id):
        raise errors.InvalidRequest("the trace id is invalid", missing=["trace_id: 32 lowercase hex digits, not all 0"])
    if on_behalf_of is not None and not (
        on_behalf_of.strip() and len(on_behalf_of) <= _LONGEST_NAME and on_behalf_of.isprintable()
    ):
        raise errors.InvalidRequest(
            "the name after --on-behalf-of is invalid", missing=["on_behalf_of: 1 to 200 printable characters"]
        )
    warning = None
    if trace_id is None:
        trace_id, warning = context.trace_from(os.environ.get("TRACEPARENT"))
    if warning:
        talk(f"warning: {warning}")
    loaded = settings.load()
    machine = context.this_machine()
    return context.Context(
        actor=context.os_actor(machine, loaded.service_name),
        trace_id=trace_id,
        channel="cli",
        machine=machine,
        settings=loaded,
        database=Database(loaded),
        on_behalf_of=on_behalf_of,
    )


def chosen_output(option: Output | None) -> Output:
    """Return the output format: as asked, else a table for a terminal and JSON for everything else."""
    return option or (Output.TABLE if sys.stdout.isatty() else Output.JSON)


def with_stdin(parameters: Mapping[str, Any], files: Collection[str] = ()) -> dict[str, Any]:
    """Replace a lone `-` in a list by the words of standard input, and a `-` reason by all of it.

    The fields in `files` name something to read: who reads them knows what `-` means.
    """
    given = dict(parameters)
    for key, value in parameters.items():
        if key in files:
            continue
        if value == "-":
            given[key] = sys.stdin.read().rstrip("\n")
        elif isinstance(value, list | tuple) and list(value) == ["-"]:
            given[key] = sys.stdin.read().split()
            if not given[key]:
                raise errors.InvalidRequest(
                    f"`-` for {key}, but standard input is empty", missing=[f"{key}: one a line"]
                )
    return given


def _ask_count(missing: errors.ConfirmCountMissing) -> int:
    """Ask a person for the number of bots that a wide target will kill; never when nobody is there."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise missing
    talk(f"{missing.message}.")
    sys.stderr.write("Type that number to go on (anything else stops here): ")
    sys.stderr.flush()
    typed = sys.stdin.readline().strip()
    if not typed.isdecimal() or int(typed) != missing.facts["count"]:
        raise errors.ConfirmCountMissing("not confirmed; nothing was written")
    return int(typed)


def _deliver(text: str, answer: Answer, output: Output) -> int:
    write_out(text, done=_receipt_sentence(answer))
    refusal = answer.refusal()
    return 0 if refusal is None else report(refusal, answer.trace_id, output)


def _receipt_sentence(answer: Answer) -> str:
    if answer.operation.sign_of_life and not answer.dry_run:
        return "the sign of life IS written"
    return f"the change IS committed ({_receipt(answer.receipt)})" if answer.receipt else "nothing was written"


def _receipt(receipt: Receipt) -> str:
    return f"audit seq {receipt.seq}, entry hash {receipt.entry_hash}"


def _committed(ctx: Context | None) -> str:
    """Say what was committed under a context, or nothing: a failure after COMMIT may not claim that nothing was."""
    if ctx is None or not ctx.receipts:
        return ""
    return f"interrupted after COMMIT: the change IS written ({_receipt(ctx.receipts[-1])})"


def _last_line(operation: Operation | None, ctx: Context | None, error: errors.BlaidError) -> str:
    """Return what the last line on stderr says when a kill did not answer: was anybody stopped?"""
    if operation is None or operation.name != "kill":
        return ""
    if ctx is not None and ctx.receipts:
        return "KILLED, BUT THE ANSWER WAS LOST"
    return "KILL OUTCOME UNKNOWN" if isinstance(error, errors.OutcomeUnknown) else "NOT KILLED"


def write_out(text: str, *, done: str) -> bool:
    """Write data to stdout; False when its reader is gone (`| head`: its own choice). A full disk is OUTPUT_LOST."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _silence_stdout()
        talk(f"note: the reader of standard output is gone; {done}")
        return False
    except OSError as error:
        _silence_stdout()
        raise errors.OutputLost(
            f"the answer could not be written to standard output ({error.strerror}); {done}"
        ) from error
    return True


def _silence_stdout() -> None:
    """Point the descriptor at nothing, so that the interpreter's last flush cannot fail again."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)


def talk(line: str) -> None:
    """Say something to the person: stderr, one line, no control characters; a closed stderr is no reason to fail."""
    from blaidctl.core.text import printable

    try:
        sys.stderr.write(printable(line) + "\n")
        sys.stderr.flush()
    except OSError:
        return


class Reported(int):
    """An exit code whose error stands on stderr already."""


def report(error: errors.BlaidError, trace_id: str, output: Output, last_line: str = "") -> Reported:
    """Print an error where errors go and return its exit code."""
    from blaidctl.core.text import error_lines

    for line in error_lines(error.body(trace_id), as_json=output is not Output.TABLE):
        talk(line)
    if last_line:
        talk(last_line)
    return Reported(error.exit_code)


def a_bug(error: Exception, ctx: Context | None) -> errors.Internal:
    """Return what a bug is to a caller: its kind and place, no traceback, and what was committed before it struck."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    where = f"{os.path.basename(last.tb_frame.f_code.co_filename)}:{last.tb_lineno}" if last else "?"  # noqa: PTH119
    done = _committed(ctx)
    return errors.Internal(f"a bug in blaidctl: {type(error).__name__} at {where}" + (done and f"; {done}"))
