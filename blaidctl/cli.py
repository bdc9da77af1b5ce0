"""The command line: mounts every capability's commands and turns a run into an exit code.

`main(argv)` is re-entrant and does no work at import: a warm process can call it again and again.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import typer

import blaidctl
from blaidctl.access import commands as access
from blaidctl.accounts import commands as accounts
from blaidctl.allocation import commands as allocation
from blaidctl.audit import commands as audit
from blaidctl.backtests import commands as backtests
from blaidctl.core import command, errors, signals
from blaidctl.core.operation import Operation, Status
from blaidctl.core.vocabulary import Output
from blaidctl.database import commands as database
from blaidctl.doctor import commands as doctor
from blaidctl.findings import commands as findings
from blaidctl.fleet import commands as fleet
from blaidctl.instruments import commands as instruments
from blaidctl.jobs import commands as jobs
from blaidctl.kill import commands as kill
from blaidctl.ledger import commands as ledger
from blaidctl.ledger import read_commands as ledger_reading
from blaidctl.operations import OPERATIONS
from blaidctl.providers import commands as providers
from blaidctl.quickstart import commands as quickstart
from blaidctl.reaper import commands as reaper
from blaidctl.verification import commands as verification

if TYPE_CHECKING:
    from collections.abc import Callable

#: The one-word commands, in the order of `--help`.
_COMMANDS: dict[str, Callable[..., int]] = {
    "kill": kill.kill,
    "resurrect": kill.resurrect,
    "kill-events": kill.kill_events,
    "guard": fleet.guard,
    "status": fleet.status,
    "doctor": doctor.doctor,
    "endpoints": findings.endpoints,
    "verify": verification.verify,
    "quickstart": quickstart.quickstart,
}
_GROUPS = {
    "user": fleet.user,
    "bot": fleet.bot,
    "account": accounts.app,
    "instrument": instruments.instrument,
    "session": instruments.session,
    "currency": instruments.currency,
    "job": jobs.app,
    "ledger": ledger.app,
    "provider": providers.app,
    "allocation": allocation.app,
    "backtest": backtests.app,
    "audit": audit.app,
    "token": access.app,
    "db": database.app,
}
#: What is not built is a command all the same: it takes anything and answers 501.
_ANYTHING = {"allow_extra_args": True, "ignore_unknown_options": True}


def _version(wanted: bool) -> None:  # noqa: FBT001 - Typer calls it with the flag
    if wanted:
        sys.stdout.write(f"blaidctl {blaidctl.__version__}\n")
        raise typer.Exit


def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Kill, resurrect, guard and supervise a fleet of trading bots; every act is an audited row.

    Settings: BLAIDCTL_DATABASE_URL (default: a SQLite file of your own) and a TOML file (BLAIDCTL_CONFIG).
    Exit codes: 0 done, 1 no or findings, 2 input, 3 not found, 4 conflict, 5 risk rule, 6 forbidden,
    7 not implemented, 8 unavailable, 9 outcome unknown or busy, 70 a bug, 130 interrupted.
    """


@cache
def application() -> typer.Typer:
    """Build the command tree, once: what is built by hand, what is not built from the map."""
    app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.callback()(_root)
    for name, function in _COMMANDS.items():
        app.command(name)(function)
    app.command("serve")(serve)
    jobs.app.command("reap")(reaper.reap)
    ledger.app.command("pull")(providers.pull)
    for reading in (ledger_reading.metrics, ledger_reading.equity, ledger_reading.reconcile):
        ledger.app.command(reading.__name__)(reading)
    groups = dict(_GROUPS)
    for name, group in groups.items():
        app.add_typer(group, name=name)
    for operation in OPERATIONS:
        if operation.status is Status.NOT_IMPLEMENTED and not any(word.startswith("-") for word in operation.words):
            _mount_unbuilt(app, groups, operation)
    return app


@cache
def _program() -> Any:
    return typer.main.get_command(application())


def _mount_unbuilt(app: typer.Typer, groups: dict[str, typer.Typer], operation: Operation) -> None:
    *parents, word = operation.words
    parent = app
    if parents:
        if parents[0] not in groups:
            groups[parents[0]] = typer.Typer(no_args_is_help=True, help="Not implemented yet (501).")
            app.add_typer(groups[parents[0]], name=parents[0])
        parent = groups[parents[0]]

    def unbuilt(output: command.OutputOption = None) -> int:
        return command.run(operation.name, {"output": output})

    command_line = " ".join(operation.words)
    told = (
        f"{operation.summary}\n\nNot implemented: answers 501 ({operation.finding}).\n\n"
        f"Example: blaidctl {command_line}\n\nWrites: nothing. Exit: 7. Again: safe."
    )
    parent.command(word, help=told, context_settings=_ANYTHING)(unbuilt)


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8420,
    trace_id: command.TraceId = None,
    output: command.OutputOption = None,
) -> int:
    """Serve the HTTP shim: same operations, same errors, bearer tokens (extra `http`).

    Example: blaidctl serve --port 8420

    Writes: what its callers ask for. Exit: 0 stopped by a signal; 2 usage; 8 no database, no address, no extra.

    Again: safe, on another port.
    """
    from blaidctl.core.operation import resolve

    return command.run_program(lambda ctx: resolve("blaidctl.http:serve")(ctx, host, port), locals(), "serve")


def main(argv: list[str]) -> int:
    """Run one command line; return its exit code. Never raises, never leaves a traceback."""
    code = _answered(argv)
    if code == errors.Interrupt.exit_code and not isinstance(code, command.Reported):
        return _fail(errors.Interrupted(), argv)  # before or after the edge of the command: Typer only counts it
    return int(code or 0)


def _answered(argv: list[str]) -> int | None:
    try:
        code = _program().main(args=argv, prog_name="blaidctl", standalone_mode=False)
        sys.stdout.flush()
    except typer.Abort:
        return _fail(errors.Interrupted(), argv)
    except typer.TyperException as error:
        return _usage(error, argv)
    except SystemExit as leave:  # Typer ends so after completion, and when the reader of its --help is gone
        return 0 if isinstance(leave.__context__, BrokenPipeError) else int(leave.code or 0)
    except BrokenPipeError:
        return 0
    except OSError as error:
        what = f"the text could not be written to standard output ({error.strerror}); nothing else was done"
        return _fail(errors.OutputLost(what), argv)
    return code  # type: ignore[no-any-return] # what the command returned


def _usage(error: typer.TyperException, argv: list[str]) -> int:
    message = str(getattr(error, "format_message", lambda: str(error))())
    if message.startswith("Usage:"):  # a group without a command: Typer's message is the whole help
        if _output(argv) is Output.TABLE:
            sys.stderr.write(f"{message}\n")
            return errors.UsageInvalid.exit_code
        message = "a command is missing"
    return _fail(errors.UsageInvalid(" ".join(message.split())), argv)


def _fail(error: errors.BlaidError, argv: list[str]) -> int:
    """Report an error of the command line itself, in the format that its words ask for."""
    from blaidctl.core.context import new_trace_id

    return command.report(error, new_trace_id(), _output(argv), "NOT KILLED" if argv[:1] == ["kill"] else "")


def _output(argv: list[str]) -> Output:
    """Read `--output` from a command line that Typer did not read to its end."""
    asked = None
    for before, item in zip(["", *argv], argv, strict=False):
        if before in {"--output", "-o"}:
            asked = item
        elif item.startswith(("--output=", "-o")):
            asked = item.removeprefix("--output=").removeprefix("-o")
    return command.chosen_output(Output(asked) if asked in tuple(Output) else None)


def entrypoint() -> None:
    """Run as a program: exit with the code; a closed stdout at the very end is nobody's business."""
    _take_streams()
    signals.end_like_ctrl_c()
    try:
        code = main(sys.argv[1:])
    except KeyboardInterrupt:  # outside of Typer's own hands
        code = _fail(errors.Interrupted(), sys.argv[1:])
    signals.ignore_endings()
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _take_streams() -> None:
    """Make sure of three streams in UTF-8, whatever the caller closed or configured.

    A descriptor that a caller closed (`>&-`) would be given to the next file that is opened: the database. And an
    answer that its stream cannot encode would be lost after COMMIT.
    """
    for name, mode, errors_ in (
        ("stdin", "r", "surrogateescape"),
        ("stdout", "w", "backslashreplace"),
        ("stderr", "w", "backslashreplace"),
    ):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - for the whole run
        else:
            stream.reconfigure(encoding="utf-8", errors=errors_)
