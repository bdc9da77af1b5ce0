"""`kill`, `resurrect`, `kill-events`."""

from typing import Annotated

import typer

from blaidctl.core.command import DryRun, OnBehalfOf, OutputOption, RequestIdOption, TraceId, run
from blaidctl.kill.vocabulary import KillReason, ResurrectReason

_WIDE = "Wide targets (they narrow each other; need --confirm-count in a script)"
Why = Annotated[str, typer.Option("--reason", help="Why, in your words; `-` reads standard input.", metavar="TEXT")]


def kill(
    bots: Annotated[
        list[str] | None, typer.Argument(metavar="BOT", help="Bot ids; `-` reads them from standard input.")
    ] = None,
    *,
    reason_code: Annotated[KillReason, typer.Option(help=f"One of {', '.join(KillReason)}.", metavar="CODE")],
    reason: Why,
    user: Annotated[str | None, typer.Option(help="Every bot of this user.", rich_help_panel=_WIDE)] = None,
    account: Annotated[
        str | None, typer.Option(help="Every bot that is linked to this account or runs on it.", rich_help_panel=_WIDE)
    ] = None,
    tag: Annotated[str | None, typer.Option(help="Every bot with this tag.", rich_help_panel=_WIDE)] = None,
    exchange: Annotated[str | None, typer.Option(help="Every bot on this exchange.", rich_help_panel=_WIDE)] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every bot.", rich_help_panel=_WIDE)] = False,
    confirm_count: Annotated[
        int | None, typer.Option(help="How many bots must match.", rich_help_panel=_WIDE, metavar="N")
    ] = None,
    wait: Annotated[
        int | None, typer.Option(help="Seconds to wait for proof that the processes are dead.", metavar="S")
    ] = None,
    trace_id: TraceId = None,
    request_id: RequestIdOption = None,
    dry_run: DryRun = False,
    on_behalf_of: OnBehalfOf = None,
    output: OutputOption = None,
) -> int:
    """Kill bots: no instance of theirs may trade from this COMMIT on.

    Example: blaidctl kill momo-1 --reason-code RUNAWAY_ORDERS --reason "400 orders a second" --wait 5

    Writes: a kill event a bot, killed_at, the stop of every running instance, one audit entry; all or nothing.

    Exit: 0 killed, or already so; 1 --wait ran out, or a replayed kill was ended since; 2 input; 3 unknown bot; 4 count
    differs; 8, 9 NOT KILLED.

    Again: safe; a killed bot stays killed and the repetition is recorded. With a --request-id that was done before, the
    stored answer is printed again and nothing is written.
    """
    return run("kill", locals())


def resurrect(
    bot: Annotated[str, typer.Argument(metavar="BOT")],
    *,
    reason_code: Annotated[ResurrectReason, typer.Option(help=f"One of {', '.join(ResurrectReason)}.", metavar="CODE")],
    reason: Why,
    restart: Annotated[bool, typer.Option("--restart", help="Supervisors that stand by start it again.")] = False,
    wait: Annotated[
        int | None, typer.Option(help="With --restart: seconds to wait for the process; default 5.", metavar="S")
    ] = None,
    trace_id: TraceId = None,
    request_id: RequestIdOption = None,
    dry_run: DryRun = False,
    on_behalf_of: OnBehalfOf = None,
    output: OutputOption = None,
) -> int:
    """End the kill of a bot; starts nothing, unless --restart asks the supervisors that stand by to.

    Example: blaidctl resurrect momo-1 --reason-code CAUSE_FIXED --reason "order throttle deployed" --restart

    Writes: a kill event that names the kill it ends, killed_at cleared, one audit entry.

    Exit: 0 live, or already so; 1 live, but with --restart no process was seen to start; 2 input; 3 unknown bot; 8, 9
    nothing written.

    Again: safe; a live bot is left alone and the repetition is recorded.
    """
    return run("resurrect", locals())


def kill_events(
    bot: Annotated[str | None, typer.Argument(metavar="BOT")] = None,
    since: Annotated[str | None, typer.Option(help="15m, 2h, 7d, or 2026-01-31T09:30:00Z.", metavar="WHEN")] = None,
    limit: Annotated[int, typer.Option(help="How many at the most.", metavar="N")] = 100,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Read the kill events, newest first.

    Example: blaidctl kill-events momo-1 --since 2h

    Writes: nothing. Exit: 0, also when there are none; 2 input; 3 unknown bot; 8 no database. Again: safe.
    """
    return run("kill-events", locals())
