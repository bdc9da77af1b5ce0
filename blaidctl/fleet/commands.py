"""`guard`, `status`, `user …`, `bot …`."""

from typing import Annotated, Any

import typer

from blaidctl.core.command import (
    DryRun,
    EveryOption,
    OnBehalfOf,
    OutputOption,
    ReasonOption,
    RequestIdOption,
    TraceId,
    WatchOption,
    run,
    run_program,
)
from blaidctl.core.dashes import CommandAfterDashes
from blaidctl.core.operation import resolve

user = typer.Typer(no_args_is_help=True, help="Owners of bots.")
bot = typer.Typer(no_args_is_help=True, help="The bots: registry and supervised processes.")

BotId = Annotated[str, typer.Argument(metavar="BOT")]


def guard(
    bot: BotId,
    instance: Annotated[int | None, typer.Option(help="Also: is this instance still current?", metavar="N")] = None,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Answer whether a bot may trade; no when in doubt.

    Example: blaidctl guard momo-1 && ./start-trading

    Writes: nothing. Exit: 0 MAY_TRADE; 1 for every no, an unknown bot and a database that is down included; 2 usage.

    Again: safe; ask before every start, and while running.
    """
    return run("guard", locals())


def status(
    bot: Annotated[str | None, typer.Argument(metavar="BOT")] = None,
    watch: WatchOption = False,
    every: EveryOption = None,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Show the fleet at a glance: who is killed, by whom, what still runs, which stops are not proven.

    Example: blaidctl status --watch

    Also counted: instances and jobs that are stale, that is silent for longer than they may be or past their deadline.

    With --watch: q quits, up and down scroll; while the database is away the error stands in place of the data.

    Writes: nothing. Exit: 0; 2 --watch without a terminal; 3 unknown bot; 8 no database. Again: safe.
    """
    return run("status", locals())


@user.command("add")
def user_add(
    id: Annotated[str, typer.Argument(metavar="ID", help="Lower case, digits, . _ -")],
    name: Annotated[str | None, typer.Option(help="Default: the id.")] = None,
    reason: ReasonOption = None,
    trace_id: TraceId = None,
    request_id: RequestIdOption = None,
    dry_run: DryRun = False,
    on_behalf_of: OnBehalfOf = None,
    output: OutputOption = None,
) -> int:
    """Register an owner of bots.

    Example: blaidctl user add alice --name "Alice Ng"

    Writes: the user, one audit entry. Exit: 0 made, or there with the same name; 2 input; 4 another name. Again: safe.
    """
    return run("user add", locals())


@user.command("list")
def user_list(trace_id: TraceId = None, output: OutputOption = None) -> int:
    """List the users.

    Example: blaidctl user list --output csv

    Writes: nothing. Exit: 0; 8 no database. Again: safe.
    """
    return run("user list", locals())


@bot.command("add")
def bot_add(
    id: Annotated[str, typer.Argument(metavar="ID", help="Lower case, digits, . _ -")],
    user: Annotated[str, typer.Option(help="The owner.")],
    name: Annotated[str | None, typer.Option(help="Default: the id.")] = None,
    strategy: Annotated[str | None, typer.Option(help="What it trades on.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="For `kill --tag`; repeatable.")] = None,
    exchange: Annotated[list[str] | None, typer.Option(help="For `kill --exchange`; repeatable.")] = None,
    reason: ReasonOption = None,
    trace_id: TraceId = None,
    request_id: RequestIdOption = None,
    dry_run: DryRun = False,
    on_behalf_of: OnBehalfOf = None,
    output: OutputOption = None,
) -> int:
    """Register a bot.

    Example: blaidctl bot add momo-1 --user alice --strategy momentum --tag futures --exchange CME

    Writes: the bot, one audit entry. Exit: 0 made, or there with the same values; 2 input; 3 unknown user; 4
    other values.

    Again: safe.
    """
    return run("bot add", locals())


@bot.command("list")
def bot_list(
    user: Annotated[str | None, typer.Option(help="Only this owner's.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only with this tag.")] = None,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """List the bots.

    Example: blaidctl bot list --tag futures

    Writes: nothing. Exit: 0; 3 unknown user; 8 no database. Again: safe.
    """
    return run("bot list", locals())


@bot.command("show")
def bot_show(
    bot: BotId,
    limit: Annotated[int, typer.Option(help="How many instances at the most.", metavar="N")] = 10,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Show one bot, the kill that holds it, and its latest instances.

    Example: blaidctl bot show momo-1

    Writes: nothing. Exit: 0; 3 unknown bot; 8 no database. Again: safe.
    """
    return run("bot show", locals())


@bot.command("run", cls=CommandAfterDashes)
def bot_run(
    bot: BotId,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="-- CMD [ARG]", help="The bot's program; no shell in between.")
    ] = None,
    account: Annotated[str | None, typer.Option(help="The account that it must be linked to.")] = None,
    standby: Annotated[
        bool, typer.Option("--standby", help="After a kill wait for `resurrect --restart`, then start CMD again.")
    ] = False,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Run a bot's real process under supervision: a kill ends it within a second and is confirmed.

    CMD ends with all that it started, however that was detached: TERM, then KILL after BLAIDCTL_GRACE_S. It ends when
    this program dies, too, and without the database after BLAIDCTL_LEASE_S. SIGTERM or Ctrl-C stops it. It is told
    TRACEPARENT, BLAIDCTL_BOT_ID and BLAIDCTL_INSTANCE_ID. The account of the bot's link is recorded.

    Example: blaidctl bot run momo-1 -- ./momo --config momo.toml

    Writes: the instance, its heartbeats and its end; an audit entry for the start, the run and the end.

    Exit: 0 CMD ended with 0, or was stopped by a signal to this program; 1 CMD failed, or is not proven gone; 2
    input, or CMD is no program; 3 unknown bot; 4 --account is not the linked one; 5 the bot is killed, or was killed
    while it ran (never with --standby); 8 no database, or none for the length of the lease; 9 busy.

    Again: safe; each run is an instance of its own.
    """

    def program(ctx: Any) -> int:
        return int(resolve("blaidctl.fleet.supervisor:run_bot")(ctx, bot, account, command, standby=standby))

    return run_program(program, locals(), "bot run")
