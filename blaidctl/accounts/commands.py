"""`account …`."""

from typing import Annotated

import typer

from blaidctl.accounts.vocabulary import Environment
from blaidctl.core.command import DryRun, OnBehalfOf, OutputOption, ReasonOption, RequestIdOption, TraceId, run

app = typer.Typer(no_args_is_help=True, help="Broker accounts, and the limits under which bots may use them.")

BotId = Annotated[str, typer.Argument(metavar="BOT")]
_PANEL = "The limits (a link needs all six; the risk policy sets their ranges)"
MaxContracts = Annotated[
    str | None, typer.Option(help="Contracts held at once.", rich_help_panel=_PANEL, metavar="QTY")
]
MaxPositionValue = Annotated[
    str | None, typer.Option(help="Value of all positions, in its currency.", rich_help_panel=_PANEL, metavar="MONEY")
]
MaxOrderQty = Annotated[
    str | None, typer.Option(help="Contracts of a single order.", rich_help_panel=_PANEL, metavar="QTY")
]
MaxDailyLoss = Annotated[
    str | None, typer.Option(help="Loss of a day, in its currency.", rich_help_panel=_PANEL, metavar="MONEY")
]
MaxDrawdownPct = Annotated[
    str | None, typer.Option(help="Fall from the highest equity, in percent.", rich_help_panel=_PANEL, metavar="PCT")
]
MaxOrdersPerMinute = Annotated[
    int | None, typer.Option(help="Orders in any minute.", rich_help_panel=_PANEL, metavar="N")
]


@app.command("add")
def add(
    id: Annotated[str, typer.Argument(metavar="ID", help="Lower case, digits, . _ -")],
    *,
    user: Annotated[str, typer.Option(help="Who holds it.")],
    broker: Annotated[str, typer.Option(help="Lower case, digits, . _ -", metavar="NAME")],
    external_id: Annotated[str, typer.Option(help="The account's number at the broker, exactly.", metavar="NUMBER")],
    environment: Annotated[Environment, typer.Option(help="Whether its money is real.", metavar="live|paper")],
    currency: Annotated[str, typer.Option(help="Its base currency.", metavar="CODE")],
    long_only: Annotated[bool, typer.Option("--long-only", help="It never is short; not to be changed later.")] = False,
    reason: ReasonOption = None,
    trace_id: TraceId = None,
    request_id: RequestIdOption = None,
    dry_run: DryRun = False,
    on_behalf_of: OnBehalfOf = None,
    output: OutputOption = None,
) -> int:
    """Register a broker account of a user; one user holds it.

    Example: blaidctl account add ib-1 --user alice --broker ibkr --external-id U123 --environment paper --currency USD

    Writes: the account, one audit entry; a refusal is an account event.

    Exit: 0 made, or there with the same values; 2 input; 3 unknown user; 4 other values; 6 another user holds it.

    Again: safe.
    """
    return run("account add", locals())


@app.command("link")
def link(
    bot: BotId,
    account: Annotated[str, typer.Argument(metavar="ACCOUNT")],
    max_contracts: MaxContracts = None,
    max_position_value: MaxPositionValue = None,
    max_order_qty: MaxOrderQty = None,
    max_daily_loss: MaxDailyLoss = None,
    max_drawdown_pct: MaxDrawdownPct = None,
    max_orders_per_minute: MaxOrdersPerMinute = None,
    reason: ReasonOption = None,
    trace_id: TraceId = None,
    request_id: RequestIdOption = None,
    dry_run: DryRun = False,
    on_behalf_of: OnBehalfOf = None,
    output: OutputOption = None,
) -> int:
    """Let a bot use an account, under all six limits.

    Example: blaidctl account link momo-1 ib-1 --max-contracts 5 --max-position-value 500000 --max-order-qty 2
    --max-daily-loss 2500 --max-drawdown-pct 12.5 --max-orders-per-minute 60

    Writes: the link, an account event with the hash of the risk policy, one audit entry; a refusal is an event too.

    Exit: 0 linked; 2 input, or no valid risk policy; 3 unknown bot or account; 4 linked already, or the account is
    closed; 5 a limit missing or out of range, or the bot is killed; 6 the account is another user's.

    Again: safe; a second link is refused. With the same --request-id the first answer comes back.
    """
    return run("account link", locals())


@app.command("unlink")
def unlink(
    bot: BotId,
    reason: ReasonOption = None,
    trace_id: TraceId = None,
    request_id: RequestIdOption = None,
    dry_run: DryRun = False,
    on_behalf_of: OnBehalfOf = None,
    output: OutputOption = None,
) -> int:
    """End a bot's link to its account; never while an instance of the bot runs.

    Example: blaidctl account unlink momo-1 --reason "moves to another account"

    Writes: the end of the link, an account event, one audit entry; a refusal is an event too.

    Exit: 0 unlinked; 3 unknown bot; 4 not linked, or an instance runs. Again: safe.
    """
    return run("account unlink", locals())


@app.command("limits")
def limits(
    bot: BotId,
    max_contracts: MaxContracts = None,
    max_position_value: MaxPositionValue = None,
    max_order_qty: MaxOrderQty = None,
    max_daily_loss: MaxDailyLoss = None,
    max_drawdown_pct: MaxDrawdownPct = None,
    max_orders_per_minute: MaxOrdersPerMinute = None,
    reason: ReasonOption = None,
    trace_id: TraceId = None,
    request_id: RequestIdOption = None,
    dry_run: DryRun = False,
    on_behalf_of: OnBehalfOf = None,
    output: OutputOption = None,
) -> int:
    """Change limits of a bot's link: those that are given; afterwards all six must be within the risk policy.

    Example: blaidctl account limits momo-1 --max-contracts 3 --max-daily-loss 1000 --reason "after the drill"

    Writes: the limits, an account event with before and after, one audit entry; a refusal is an event too.

    Exit: 0 changed, or so already; 2 input, or no valid risk policy; 3 unknown bot; 4 not linked; 5 out of range.

    Again: safe; limits that are so already write no event.
    """
    return run("account limits", locals())


@app.command("list")
def list_(
    user: Annotated[str | None, typer.Option(help="Only this user's.")] = None,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """List the broker accounts and how many bots are linked to each.

    Example: blaidctl account list --user alice

    Writes: nothing. Exit: 0; 3 unknown user; 8 no database. Again: safe.
    """
    return run("account list", locals())


@app.command("show")
def show(
    account: Annotated[str, typer.Argument(metavar="ACCOUNT")],
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Show one account, its open links, and their limits beside what the risk policy allows now.

    Example: blaidctl account show ib-1

    Writes: nothing. Exit: 0; 3 unknown account; 8 no database. Again: safe.
    """
    return run("account show", locals())


@app.command("events")
def events(
    account: Annotated[str | None, typer.Argument(metavar="ACCOUNT")] = None,
    limit: Annotated[int, typer.Option(help="How many at the most.", metavar="N")] = 100,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Read the account events, refusals too, newest first.

    Example: blaidctl account events ib-1 --limit 20

    Writes: nothing. Exit: 0, also when there are none; 2 input; 3 unknown account; 8 no database. Again: safe.
    """
    return run("account events", locals())
