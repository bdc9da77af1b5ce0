"""`allocation …`."""

from typing import Annotated

import typer

from blaidctl.core.command import DryRun, OnBehalfOf, OutputOption, ReasonOption, RequestIdOption, TraceId, run

app = typer.Typer(no_args_is_help=True, help="Capital over the bots: by a policy, from the ledger's numbers, exact.")

RunId = Annotated[str, typer.Argument(metavar="RUN", help="Its number.")]


@app.command("run")
def run_(
    *,
    capital: Annotated[str, typer.Option(help="How much, no finer than the currency's minor unit.", metavar="MONEY")],
    currency: Annotated[str, typer.Option(help="Of the capital.", metavar="CODE")],
    policy: Annotated[
        str,
        typer.Option(
            help="A TOML file, `-`, or equal, inverse-drawdown, profit-factor, fractional-kelly.", metavar="FILE|NAME"
        ),
    ],
    as_of: Annotated[str, typer.Option(help="Up to when fills count: 2026-01-31T21:00:00Z.", metavar="TIME")],
    exclude: Annotated[
        list[str] | None, typer.Option(help="Leave this bot out; may stand several times.", metavar="BOT")
    ] = None,
    account: Annotated[
        list[str] | None,
        typer.Option(help="Whose figures count for a bot with fills on several.", metavar="BOT=ACCOUNT"),
    ] = None,
    reason: ReasonOption = None,
    trace_id: TraceId = None,
    request_id: RequestIdOption = None,
    dry_run: DryRun = False,
    on_behalf_of: OnBehalfOf = None,
    output: OutputOption = None,
) -> int:
    """Divide a capital over all bots, by a policy, from what the ledger says up to a moment.

    Example: blaidctl allocation run --capital 250000 --currency USD --policy inverse-drawdown
    --as-of 2026-01-31T21:00:00Z --exclude momo-9 --reason "monthly"

    Writes: a run, a line for each bot, one audit entry. It moves no money.

    Exit: 0 done; 2 input, or the policy is invalid; 3 unknown bot; 4 numbers of a bot are incomplete (every missing row
    is listed); 5 the last checkpoint is too old; 8 no database.

    Again: makes another run, with the same hashes if nothing changed. With the same --request-id the first comes back.
    """
    return run("allocation run", locals())


@app.command("audit")
def audit(run_: RunId, trace_id: TraceId = None, output: OutputOption = None) -> int:
    """Compute a stored run again from the ledger as it stood, and prove it byte for byte.

    Example: blaidctl allocation audit 7

    Writes: nothing. Exit: 0 proven; 1 it differs, and how; 3 unknown run; 8 no database. Again: safe.
    """
    return run("allocation audit", locals())


@app.command("show")
def show(run_: RunId, trace_id: TraceId = None, output: OutputOption = None) -> int:
    """Show one run: every line, and with --output json the policy, conventions, sources and metrics.

    Example: blaidctl allocation show 7

    Writes: nothing. Exit: 0; 3 unknown run; 8 no database. Again: safe.
    """
    return run("allocation show", locals())


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(help="How many at the most.", metavar="N")] = 100,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """List the runs, newest first.

    Example: blaidctl allocation list --limit 10

    Writes: nothing. Exit: 0, also when there are none; 2 input; 8 no database. Again: safe.
    """
    return run("allocation list", locals())
