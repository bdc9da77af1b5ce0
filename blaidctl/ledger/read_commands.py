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
    html: Annotated[
        str | None, typer.Option(help="Also write one page: picture, figures, conventions, hashes.", metavar="FILE")
    ] = None,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Show the equity curve and its drawdowns, realized or marked: a picture on a terminal, points in json and csv.

    Example: blaidctl ledger equity momo-1 --as-of 2026-02-01T00:00:00Z --html momo-1.html

    Writes: the page of --html (whole or not at all; it needs the extra `report`), nothing in the database.

    Exit: 0 drawn; 2 input, or which account; 3 unknown bot, account or instance; 4 METRICS_INCOMPLETE, with every
    missing row; 8 no database. Again: safe; the same inputs give the same bytes.
    """
    return run("ledger equity", locals())


def reconcile(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The statement; - reads standard input.")],
    *,
    account: Annotated[str, typer.Option(help="Whose statement it is.", metavar="ACCOUNT")],
    format: Annotated[
        str, typer.Option(help="statement: blaidctl's own JSON; else a format of `ledger import`.", metavar="FORMAT")
    ] = "statement",
    bot: Annotated[str | None, typer.Option(help="Only this bot's fills.", metavar="BOT")] = None,
    instance: InstanceOption = None,
    since: Annotated[str | None, typer.Option(help="Only fills from here on, with its zone.", metavar="T")] = None,
    until: Annotated[str | None, typer.Option(help="Only fills up to here; default: now.", metavar="T")] = None,
    timezone: Annotated[
        str | None, typer.Option(help="Of times in the file that have no zone.", metavar="ZONE")
    ] = None,
    lot_method: LotMethodOption = LotMethod.FIFO,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Compare a statement of a broker or a backend with the ledger, exactly, and list each difference.

    Example: blaidctl ledger reconcile statement.json --account ib-1

    The statement: {"account": "ib-1", "bot": "momo-1", "instance": 7, "fills": […], "totals": {"gross": "12.5",
    "fees": "4.2", "net": "8.3"}, "positions": […]}; what it does not say is not compared (runbooks/wrong-pnl.md).

    Writes: nothing.

    Exit: 0 all that it says is so; 1 differences; 2 input, an empty statement; 3 unknown account or bot; 4 totals to
    compare with METRICS_INCOMPLETE; 6 a statement of another account. Again: safe.
    """
    return run("ledger reconcile", locals())
