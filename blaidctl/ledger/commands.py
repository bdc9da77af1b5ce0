"""`ledger …`."""

from typing import Annotated

import typer

from blaidctl.core.command import (
    DryRun,
    OnBehalfOf,
    OutputOption,
    ReasonOption,
    RequestIdOption,
    TraceId,
    run,
    run_program,
)
from blaidctl.instruments.vocabulary import AssetClass
from blaidctl.ledger.vocabulary import FileFormat, FlowKind

app = typer.Typer(no_args_is_help=True, help="Fills, capital, rates and marks; and what they come to, exactly.")

AccountOption = Annotated[str, typer.Option("--account", help="The account.", metavar="ACCOUNT")]
OneAccount = Annotated[str | None, typer.Option("--account", help="Of this account only.", metavar="ACCOUNT")]
ManyRows = Annotated[int, typer.Option("--limit", help="How many at the most.", metavar="N")]
At = Annotated[str | None, typer.Option("--at", help="When; ISO 8601 with its offset.", metavar="TIME")]
Source = Annotated[str | None, typer.Option("--source", help="Who says so.", metavar="TEXT")]
_MEANT = "What holds where the file does not say it"


@app.command("import")
def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file, or - for standard input.")],
    *,
    format_: Annotated[FileFormat, typer.Option("--format", help="How it is laid out.")],
    account: AccountOption,
    bot: Annotated[str | None, typer.Option(help="Whose fills.", rich_help_panel=_MEANT, metavar="BOT")] = None,
    instance: Annotated[
        int | None, typer.Option(help="Of which instance.", rich_help_panel=_MEANT, metavar="I")
    ] = None,
    exchange: Annotated[str | None, typer.Option(help="Where.", rich_help_panel=_MEANT, metavar="NAME")] = None,
    asset_class: Annotated[
        AssetClass | None, typer.Option(help="Of what kind.", rich_help_panel=_MEANT, metavar="CLASS")
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(help="Zone of times without an offset.", rich_help_panel=_MEANT, metavar="ZONE")
    ] = None,
    no_fee: Annotated[
        bool, typer.Option("--no-fee", help="No fee means that none was paid.", rich_help_panel=_MEANT)
    ] = False,
    sequence: Annotated[
        int | None, typer.Option(help="Number of this file in the account's own series.", metavar="N")
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="Take fills from before the bot's first link to the account.")
    ] = False,
    reason: ReasonOption = None,
    trace_id: TraceId = None,
    request_id: RequestIdOption = None,
    dry_run: DryRun = False,
    on_behalf_of: OnBehalfOf = None,
    output: OutputOption = None,
) -> int:
    """Import fills from a file: all of it, or nothing and every line that speaks against it.

    Formats: csv and ndjson (blaidctl's own columns, runbooks/ledger.md), freqtrade and hummingbot (their SQLite files),
    ccxt, alpaca (JSON), ibkr (Flex XML). A fill names a bot that was linked to the account then, a known instrument in
    use then, and a known fee currency. Corrections are reversal rows. A fill after the kill of its bot is kept and
    flagged.

    Example: blaidctl ledger import fills.csv --format csv --account ib-1 --bot momo-1

    Writes: fills in parts of 5000, an audit entry each; a SEV1 event for fills after a kill; a POSITION_MOVED event for
    a split, a transfer or the like; a REFUSED event when the file names what is another's or contradicts the ledger.

    Exit: 0 done, or all of it known; 1 done, with fills after a kill; 2 lines or the file; 3 unknown account or bot;
    4 a known id with other content; 6 another account's, user's or an unlinked bot's fill; 8 no database, no room.

    Again: safe, also after it was killed in the middle: it goes on where it stopped.
    """

    def act(ctx: object) -> int:
        from blaidctl.core.operation import resolve

        asked = {
            "file": file, "format": format_, "account": account, "bot": bot, "instance": instance,
            "exchange": exchange, "asset_class": asset_class, "timezone": timezone, "no_fee": no_fee,
            "sequence": sequence, "history": history, "reason": reason,
        }  # fmt: skip
        work = resolve("blaidctl.ledger.run:import_file")
        return int(work(ctx, asked, output, request_id=request_id, dry_run=dry_run))

    return run_program(act, locals(), "ledger import")


@app.command("imports")
def imports(
    account: OneAccount = None, limit: ManyRows = 100, trace_id: TraceId = None, output: OutputOption = None
) -> int:
    """List the imports, newest first, a line a part.

    Example: blaidctl ledger imports --account ib-1 --limit 20

    Writes: nothing. Exit: 0, also when there are none; 2 input; 3 unknown account; 8 no database. Again: safe.
    """
    return run("ledger imports", locals())


@app.command("events")
def events(
    bot: Annotated[str | None, typer.Option(help="Of this bot only.", metavar="BOT")] = None,
    account: OneAccount = None,
    limit: ManyRows = 100,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Read the events of the ledger, newest first: fills after a kill, and files that were refused.

    Example: blaidctl ledger events --bot momo-1

    Writes: nothing. Exit: 0, also when there are none; 2 input; 3 unknown bot or account; 8 no database. Again: safe.
    """
    return run("ledger events", locals())


@app.command("fills")
def fills(
    bot: Annotated[str, typer.Argument(metavar="BOT")],
    account: OneAccount = None,
    limit: ManyRows = 100,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """List the fills of a bot, newest first, reversals too.

    Example: blaidctl ledger fills momo-1 --account ib-1 --limit 50

    Writes: nothing. Exit: 0, also when there are none; 2 input; 3 unknown bot or account; 8 no database. Again: safe.
    """
    return run("ledger fills", locals())


@app.command("flows")
def flows(
    bot: Annotated[str, typer.Argument(metavar="BOT")],
    account: OneAccount = None,
    limit: ManyRows = 100,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """List the capital flows of a bot, newest first, those that were replaced too; one of 0 takes another back.

    Example: blaidctl ledger flows momo-1 --account ib-1

    Writes: nothing. Exit: 0, also when there are none; 2 input; 3 unknown bot or account; 8 no database. Again: safe.
    """
    return run("ledger flows", locals())


@app.command("reverse")
def reverse(
    account: Annotated[str, typer.Argument(metavar="ACCOUNT")],
    venue_trade_id: Annotated[str, typer.Argument(metavar="VENUE_TRADE_ID")],
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the audit entry.", metavar="TEXT")],
    trace_id: TraceId = None,
    request_id: RequestIdOption = None,
    dry_run: DryRun = False,
    on_behalf_of: OnBehalfOf = None,
    output: OutputOption = None,
) -> int:
    """Take a fill back that is wrong: a reversal is added, and no number counts either of the two any more.

    What is right then comes as a fill of its own, under an id of its own, with `ledger import`.

    Example: blaidctl ledger reverse ib-1 T-4711 --reason "the venue busted this trade"

    Writes: the reversal, one import row, one audit entry.

    Exit: 0 taken back, or so already; 2 input; 3 unknown account or fill; 4 it is a reversal itself; 8 no database.

    Again: safe.
    """
    return run("ledger reverse", locals())


@app.command("resolve")
def resolve(
    account: Annotated[str, typer.Argument(metavar="ACCOUNT")],
    moves: Annotated[list[str], typer.Argument(metavar="MOVE…", help="As `ledger events` names them.")],
    *,
    bot: Annotated[str | None, typer.Option("--bot", help="Of this bot only; else of all.", metavar="BOT")] = None,
    reason: Annotated[str, typer.Option("--reason", help="What was done; kept in the audit entry.", metavar="TEXT")],
    trace_id: TraceId = None,
    request_id: RequestIdOption = None,
    dry_run: DryRun = False,
    on_behalf_of: OnBehalfOf = None,
    output: OutputOption = None,
) -> int:
    """Say that a split, a transfer or an exercise is accounted for: booked as fills, or nothing that a bot held.

    Until then the bots of the account that it may concern have no figures: METRICS_INCOMPLETE names the move. Without
    --bot it is accounted for in the books of every bot of the account.

    Example: blaidctl ledger resolve ib-1 SPLIT:s1~9f2b4c6d8e01 --bot momo-1 --reason "booked as S1 and S2: 4 for 1"

    Writes: an event for each move, one audit entry.

    Exit: 0 resolved, or so already; 2 input; 3 unknown account, bot or move; 8 no database. Again: safe.
    """
    return run("ledger resolve", locals())


@app.command("flow")
def flow(
    bot: Annotated[str, typer.Argument(metavar="BOT")],
    *,
    account: AccountOption,
    kind: Annotated[FlowKind, typer.Option(help="What it is.")],
    amount: Annotated[
        str,
        typer.Option(
            help="Above zero; a FEE that was given back is below; 0 with --replaces takes a flow back.", metavar="MONEY"
        ),
    ],
    currency: Annotated[str, typer.Option(help="In which currency.", metavar="CODE")],
    at: Annotated[str, typer.Option("--at", help="When; ISO 8601 with its offset.", metavar="TIME")],
    note: Annotated[str | None, typer.Option(help="What it was for.", metavar="TEXT")] = None,
    external_id: Annotated[str | None, typer.Option(help="The broker's id: known ones are one.", metavar="ID")] = None,
    replaces: Annotated[
        int | None,
        typer.Option(help="Take the place of this flow, which was recorded wrongly.", metavar="FLOW_ID"),
    ] = None,
    reason: ReasonOption = None,
    trace_id: TraceId = None,
    request_id: RequestIdOption = None,
    dry_run: DryRun = False,
    on_behalf_of: OnBehalfOf = None,
    output: OutputOption = None,
) -> int:
    """Record capital that a bot got on an account (INITIAL once, DEPOSIT), gave back (WITHDRAWAL), or a FEE of it.

    One that was recorded wrongly stays as it is; with --replaces another takes its place in every number from then on.
    An INITIAL is replaced by an INITIAL only. What was computed before (`allocation audit`) is still proven.

    Example: blaidctl ledger flow momo-1 --account ib-1 --kind INITIAL --amount 25000 --currency USD \
--at 2026-01-02T00:00:00Z

    Writes: the flow, one audit entry.

    Exit: 0 recorded, or so already (INITIAL, a known --external-id, the same --replaces); 2 input; 3 unknown bot,
    account or flow; 4 another flow stands there or took that place already, or no link; 6 another user's account; 8 no
    database.

    Again: safe for INITIAL, and with --external-id, --replaces or --request-id; else it is a second flow.
    """
    return run("ledger flow", locals())


@app.command("rate")
def rate(
    base: Annotated[str | None, typer.Argument(metavar="BASE")] = None,
    quote: Annotated[str | None, typer.Argument(metavar="QUOTE")] = None,
    rate: Annotated[str | None, typer.Argument(metavar="RATE")] = None,
    at: At = None,
    source: Source = None,
    file: Annotated[
        str | None, typer.Option(help="CSV: base,quote,at,rate,source; - for standard input.", metavar="FILE")
    ] = None,
    reason: ReasonOption = None,
    trace_id: TraceId = None,
    request_id: RequestIdOption = None,
    dry_run: DryRun = False,
    on_behalf_of: OnBehalfOf = None,
    output: OutputOption = None,
) -> int:
    """Record how much of QUOTE one BASE was worth; or a file of such rates, all or none.

    Example: blaidctl ledger rate EUR USD 1.0841 --at 2026-01-05T15:00:00Z --source ECB

    Writes: the rates that are new, one audit entry.

    Exit: 0 recorded, or known; 2 input; 4 another rate is recorded for that moment; 8 no database. Again: safe.
    """
    return run("ledger rate", locals())


@app.command("mark")
def mark(
    exchange: Annotated[str | None, typer.Argument(metavar="EXCHANGE")] = None,
    symbol: Annotated[str | None, typer.Argument(metavar="SYMBOL")] = None,
    price: Annotated[str | None, typer.Argument(metavar="PRICE")] = None,
    asset_class: Annotated[AssetClass | None, typer.Option(help="Where a symbol has several.", metavar="CLASS")] = None,
    at: At = None,
    source: Source = None,
    file: Annotated[
        str | None,
        typer.Option(help="CSV: exchange,symbol,asset_class,at,price,source; - for standard input.", metavar="FILE"),
    ] = None,
    reason: ReasonOption = None,
    trace_id: TraceId = None,
    request_id: RequestIdOption = None,
    dry_run: DryRun = False,
    on_behalf_of: OnBehalfOf = None,
    output: OutputOption = None,
) -> int:
    """Record what an instrument was worth at a moment; or a file of such marks, all or none.

    A price below zero stands behind dashes: … --source settlement -- NYMEX CL -37.63

    Example: blaidctl ledger mark CME ES 6870.25 --at 2026-01-05T21:00:00Z --source settlement

    Writes: the marks that are new, one audit entry.

    Exit: 0 recorded, or known; 2 input; 3 unknown instrument; 4 another mark is recorded for that moment, or the symbol
    stands for several; 8 no database. Again: safe.
    """
    return run("ledger mark", locals())
