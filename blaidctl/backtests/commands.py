"""`backtest …`."""

from typing import Annotated, Any

import typer

from blaidctl.core.command import OutputOption, ReasonOption, TraceId, run, run_program
from blaidctl.core.dashes import MaybeCommandAfterDashes
from blaidctl.core.operation import resolve
from blaidctl.instruments.vocabulary import AssetClass
from blaidctl.jobs.vocabulary import BACKTEST
from blaidctl.ledger.vocabulary import Basis, LotMethod

app = typer.Typer(no_args_is_help=True, help="Backtests: any engine, judged by the ledger's own arithmetic.")
_ASKED = ("bars", "symbol", "exchange", "asset_class", "capital", "lot_method", "basis", "type", "job", "reason")


@app.command("run", cls=MaybeCommandAfterDashes)
def run_(
    bars: Annotated[str, typer.Option(help="CSV: time, open, high, low, close[, volume].", metavar="FILE")],
    symbol: Annotated[str, typer.Option(help="The instrument that is traded.", metavar="SYMBOL")],
    capital: Annotated[str, typer.Option(help="In the instrument's currency.", metavar="N")],
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="-- CMD [ARG]", help="The engine; without one, a moving-average cross."),
    ] = None,
    exchange: Annotated[
        str | None, typer.Option(help="Where the symbol stands for several.", metavar="EXCHANGE")
    ] = None,
    asset_class: Annotated[AssetClass | None, typer.Option(help="The same.", metavar="CLASS")] = None,
    lot_method: Annotated[
        LotMethod, typer.Option(help="Which lot closes first.", metavar="FIFO|AVERAGE")
    ] = LotMethod.FIFO,
    basis: Annotated[Basis, typer.Option(metavar="REALIZED|MARKED", help="MARKED: at each day's last close.")] = (
        Basis.REALIZED
    ),
    type: Annotated[str, typer.Option(help="A job type; its limits hold.", metavar="TYPE")] = BACKTEST,
    job: Annotated[int | None, typer.Option(help="Not a new job: the next attempt of this one.", metavar="JOB")] = None,
    reason: ReasonOption = None,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Run an engine over bars, as a supervised job: it ends SUCCEEDED with every metric, or FAILED with a reason.

    The engine reads the file that BLAIDCTL_BARS names and writes its fills on standard output, one JSON object a line,
    in the columns of `ledger import --format ndjson` (venue_trade_id, executed_at, symbol, side, quantity, price, fee,
    fee_currency). It is told BLAIDCTL_SYMBOL, BLAIDCTL_CURRENCY and BLAIDCTL_CAPITAL too. Reasons of a failure beside
    those of any job: BAD_BARS, NO_FILLS, BAD_FILLS, METRICS_INCOMPLETE, METRICS_UNDEFINED.

    Example: blaidctl backtest run --bars es.csv --symbol ES --capital 100000 -- ./my-engine --fast 5

    Writes: the job as `job run` does; metrics and success in one act. Exit: 0 SUCCEEDED; 1 FAILED or CANCELLED; 2
    input; 3 unknown job type or instrument; 4 the job runs or has succeeded; 8 no database.

    Again: another job; with --job the next attempt of one that failed.
    """
    given = locals()

    def program(ctx: Any) -> int:
        asked = {name: given[name] for name in _ASKED}
        return int(resolve("blaidctl.backtests.runner:run_backtest")(ctx, asked, command or ()))

    return run_program(program, given, "backtest run")


@app.command("show")
def show(
    job: Annotated[int, typer.Argument(metavar="JOB", help="The job's number.")],
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Show the metrics of a backtest.

    Example: blaidctl backtest show 12

    Writes: nothing. Exit: 0; 3 no such backtest; 4 it has no metrics; 8 no database. Again: safe.
    """
    return run("backtest show", locals())


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(help="How many at the most.", metavar="N")] = 100,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """List the backtests that have metrics, newest first.

    Example: blaidctl backtest list

    Writes: nothing. Exit: 0, also when there are none; 2 input; 8 no database. Again: safe.
    """
    return run("backtest list", locals())
