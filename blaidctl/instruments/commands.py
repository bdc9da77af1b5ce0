"""`instrument …`, `session …`, `currency …`."""

from typing import Annotated

import typer

from blaidctl.core.command import DryRun, OnBehalfOf, OutputOption, ReasonOption, RequestIdOption, TraceId, run
from blaidctl.instruments.vocabulary import AssetClass, FileFormat

instrument = typer.Typer(no_args_is_help=True, help="What is traded: loaded from files, never typed in.")
session = typer.Typer(no_args_is_help=True, help="When markets trade: hours, holidays, early closes, late opens.")
currency = typer.Typer(no_args_is_help=True, help="Currencies beyond ISO 4217.")

Symbol = Annotated[str, typer.Argument(metavar="SYMBOL")]
MaybeSymbol = Annotated[str | None, typer.Argument(metavar="SYMBOL")]
Exchange = Annotated[str | None, typer.Option(help="Of this exchange.")]
OfClass = Annotated[AssetClass | None, typer.Option(help=f"One of {', '.join(AssetClass)}.", metavar="CLASS")]
At = Annotated[
    str | None, typer.Option(help="At this moment, with its offset: 2025-11-27T12:30:00-05:00. Default: now.")
]


@instrument.command("load")
def instrument_load(
    file: Annotated[str, typer.Argument(metavar="FILE", help="CSV, UTF-8, with a header; `-` reads standard input.")],
    format: Annotated[
        FileFormat, typer.Option(help="own: our columns; lean: symbol-properties-database.csv.", metavar="own|lean")
    ] = FileFormat.OWN,
    skip_refused: Annotated[
        bool, typer.Option("--skip-refused", help="Load the other rows; else one refused row refuses all.")
    ] = False,
    reactivate: Annotated[
        bool, typer.Option("--reactivate", help="Also put back into use what was deactivated and is in the file.")
    ] = False,
    require_max_qty: Annotated[
        bool, typer.Option("--require-max-qty", help="Refuse rows without max_qty (MAX_QTY_MISSING).")
    ] = False,
    reason: ReasonOption = None,
    trace_id: TraceId = None,
    request_id: RequestIdOption = None,
    dry_run: DryRun = False,
    on_behalf_of: OnBehalfOf = None,
    output: OutputOption = None,
) -> int:
    """Load instruments from a file: new ones are added, changed ones are changed, each with an event; none is removed.

    Columns of its own format: symbol, exchange, asset_class, currency, session, tick_size, point_value, lot_size,
    min_qty; optional: description, venue_symbol, price_magnifier, min_notional, max_qty. Sessions and currencies beyond
    ISO 4217 must be known first. --dry-run shows every change.

    Example: blaidctl instrument load instruments.csv --dry-run

    Writes: the rows that differ, an event each, one audit entry. Exit: 0 loaded, also when nothing differs; 2 the file
    or a row is refused, nothing is written; 8, 9 nothing is written.

    Again: safe; an unchanged file makes 0 changes.
    """
    return run("instrument load", locals())


@instrument.command("list")
def instrument_list(
    symbol: MaybeSymbol = None,
    exchange: Exchange = None,
    asset_class: OfClass = None,
    inactive: Annotated[bool, typer.Option("--inactive", help="Also what is out of use.")] = False,
    limit: Annotated[int, typer.Option(help="How many at the most.", metavar="N")] = 100,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """List the instruments by exchange and symbol.

    Example: blaidctl instrument list --exchange CME

    Writes: nothing. Exit: 0, also when there are none; 2 input; 8 no database. Again: safe.
    """
    return run("instrument list", locals())


@instrument.command("show")
def instrument_show(
    symbol: Symbol,
    exchange: Exchange = None,
    asset_class: OfClass = None,
    at: At = None,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Show one instrument, what one tick is worth (tick_size x point_value), and whether its market trades.

    Example: blaidctl instrument show BTCUSDT --exchange BINANCE --asset-class crypto

    Writes: nothing. Exit: 0; 2 input; 3 unknown; 4 the symbol stands for several (they are listed); 8 no database.

    Again: safe.
    """
    return run("instrument show", locals())


@instrument.command("deactivate")
def instrument_deactivate(
    symbol: Symbol,
    exchange: Exchange = None,
    asset_class: OfClass = None,
    reason: ReasonOption = None,
    trace_id: TraceId = None,
    request_id: RequestIdOption = None,
    dry_run: DryRun = False,
    on_behalf_of: OnBehalfOf = None,
    output: OutputOption = None,
) -> int:
    """Take an instrument out of use. Its row stays; only `instrument load --reactivate` brings it back.

    Example: blaidctl instrument deactivate VX --exchange CFE --reason "no data since Monday"

    Writes: the instrument, an event, one audit entry. Exit: 0 done, or already so; 2 input; 3 unknown; 4 the symbol
    stands for several; 8, 9 nothing is written.

    Again: safe.
    """
    return run("instrument deactivate", locals())


@instrument.command("events")
def instrument_events(
    symbol: MaybeSymbol = None,
    exchange: Exchange = None,
    asset_class: OfClass = None,
    limit: Annotated[int, typer.Option(help="How many at the most.", metavar="N")] = 100,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Read what happened to instruments, newest first.

    Example: blaidctl instrument events ES --exchange CME

    Writes: nothing. Exit: 0; 2 input; 3 unknown symbol; 8 no database. Again: safe.
    """
    return run("instrument events", locals())


@session.command("load")
def session_load(
    hours: Annotated[
        str, typer.Argument(metavar="HOURS", help="CSV: session, timezone, day, open, close, state; `-` is stdin.")
    ],
    dates: Annotated[
        str | None, typer.Option(help="CSV: session, date, kind, time; without it, dates stay.", metavar="FILE")
    ] = None,
    reason: ReasonOption = None,
    trace_id: TraceId = None,
    request_id: RequestIdOption = None,
    dry_run: DryRun = False,
    on_behalf_of: OnBehalfOf = None,
    output: OutputOption = None,
) -> int:
    """Load sessions: the files are the truth about the sessions that they name, the others stay as they are.

    Times are local to the session's time zone (IANA), 24:00:00 ends the day, hours across midnight are two rows. kind
    is holiday, early_close or late_open.

    Example: blaidctl session load sessions.csv --dates session_dates.csv

    Writes: the sessions that differ, an event each, one audit entry. Exit: 0 loaded, also when nothing differs; 2 a
    file or a row is refused, nothing is written; 8, 9 nothing is written.

    Again: safe; unchanged files make 0 changes.
    """
    return run("session load", locals())


@session.command("list")
def session_list(trace_id: TraceId = None, output: OutputOption = None) -> int:
    """List the sessions.

    Example: blaidctl session list

    Writes: nothing. Exit: 0; 8 no database. Again: safe.
    """
    return run("session list", locals())


@session.command("show")
def session_show(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    at: At = None,
    limit: Annotated[int, typer.Option(help="How many special dates, from that moment on.", metavar="N")] = 6,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Show a session: whether it trades at a moment and until when, its week, the special dates that come.

    Example: blaidctl session show FUTURE-CME-ES --at 2025-11-27T13:30:00-05:00

    Writes: nothing. Exit: 0, open or closed; 2 input; 3 unknown; 8 no database. Again: safe.
    """
    return run("session show", locals())


@currency.command("add")
def currency_add(
    code: Annotated[str, typer.Argument(metavar="CODE", help="Capitals and digits.")],
    places: Annotated[int, typer.Option(help="Decimal places of its smallest unit.", metavar="N")],
    reason: ReasonOption = None,
    trace_id: TraceId = None,
    request_id: RequestIdOption = None,
    dry_run: DryRun = False,
    on_behalf_of: OnBehalfOf = None,
    output: OutputOption = None,
) -> int:
    """Declare a currency that ISO 4217 does not know; it never changes afterwards.

    Example: blaidctl currency add USDT --places 6

    Writes: the currency, one audit entry. Exit: 0 made, or there with the same places; 2 input; 4 other places, or a
    currency of ISO 4217; 8, 9 nothing is written.

    Again: safe.
    """
    return run("currency add", locals())


@currency.command("list")
def currency_list(trace_id: TraceId = None, output: OutputOption = None) -> int:
    """List the declared currencies; those of ISO 4217 need no declaration.

    Example: blaidctl currency list

    Writes: nothing. Exit: 0; 8 no database. Again: safe.
    """
    return run("currency list", locals())
