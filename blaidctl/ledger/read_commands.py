"""`ledger metrics`, `ledger equity`, `ledger reconcile`: what reads the ledger and writes nothing."""

from typing import Annotated

import typer

from blaidctl.core.command import OutputOption, TraceId, run
from blaidctl.ledger.vocabulary import Basis, LotMethod

BotId = Annotated[str, typer.Argument(metavar="BOT")]
_PANEL = "Whose numbers, under which conventions"
AccountOption = Annotated[
    str | None, typer.Option(help="Where the bot has several.", rich_help_panel=_PANEL, metavar="ACCOUNT")
]
InstanceOption = Annotated[
    int | None, typer.Option(help="Only the fills of this instance.", rich_help_panel=_PANEL, metavar="ID")
]
LotMethodOption = Annotated[
    LotMethod, typer.Option(help="Which part a closing fill closes.", rich_help_panel=_PANEL, metavar="FIFO|AVERAGE")
]
BasisOption = Annotated[
    Basis, typer.Option(help="What equity counts.", rich_help_panel=_PANEL, metavar="REALIZED|MARKED")
]
AsOfOption = Annotated[
    str | None, typer.Option(help="Up to here, with its zone; default: now.", rich_help_panel=_PANEL, metavar="T")
]


def metrics(
    bot: BotId,
    account: AccountOption = None,
    instance: InstanceOption = None,
    lot_method: LotMethodOption = LotMethod.FIFO,
    basis: BasisOption = Basis.REALIZED,
    as_of: AsOfOption = None,
    by_day: Annotated[bool, typer.Option("--by-day", help="A row for each UTC day with a change.")] = False,
    by_month: Annotated[bool, typer.Option("--by-month", help="A row for each month.")] = False,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Show a bot's profitability, exactly, or every row that is missing for it; never a number beside a gap.

    Example: blaidctl ledger metrics momo-1 --as-of 2026-02-01T00:00:00Z --by-month

    Writes: nothing.

    Exit: 0 all numbers; 2 input, or which account; 3 unknown bot, account or instance; 4 METRICS_INCOMPLETE, with every
    missing row (runbooks/wrong-pnl.md); 8 no database. Again: safe; the same inputs give the same bytes.
    """
    return run("ledger metrics", locals())


def equity(
    bot: BotId,
    account: AccountOption = None,
    instance: InstanceOption = None,
    lot_method: LotMethodOption = LotMethod.FIFO,
    basis: BasisOption = Basis.REALIZED,
    as_of: AsOfOption = None,
    limit: Annotated[
        int, typer.Option(help="How many points; a longer curve is thinned, highs and lows stay.", metavar="N")
    ] = 1_000,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Show the equity curve and its drawdowns, realized or marked.

    Example: blaidctl ledger equity momo-1 --basis MARKED --as-of 2026-02-01T00:00:00Z

    Writes: nothing.

    Exit: as `ledger metrics`. Again: safe; the same inputs give the same bytes.
    """
    return run("ledger equity", locals())
