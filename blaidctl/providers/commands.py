"""`provider …`, and `ledger pull`."""

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
from blaidctl.providers.vocabulary import ProviderKind

app = typer.Typer(no_args_is_help=True, help="Data and broker providers: may they be relied on now?")

ProviderId = Annotated[str, typer.Argument(metavar="PROVIDER")]
AccountId = Annotated[str, typer.Argument(metavar="ACCOUNT")]
_PANEL = "When it counts as failed, degraded, blocked, well again"


@app.command("add")
def add(
    id: Annotated[str, typer.Argument(metavar="ID", help="Lower case, digits, . _ -")],
    *,
    kind: Annotated[ProviderKind, typer.Option(help="What it speaks.", metavar="http|alpaca|paged")],
    check_url: Annotated[str, typer.Option(help="What a probe asks for; answers with a JSON object.", metavar="URL")],
    fills_url: Annotated[
        str | None, typer.Option(help="Where fills are fetched from, at the same host.", metavar="URL")
    ] = None,
    stale_field: Annotated[
        str | None, typer.Option(help="Where the probe's answer says its time: NAME.NAME; default: Date.")
    ] = None,
    credentials: Annotated[
        str | None, typer.Option(help="A file from / on, mode 0600, or keyring:SERVICE/NAME.", metavar="PLACE")
    ] = None,
    plain_http: Annotated[bool, typer.Option("--plain-http", help="Allow http beyond this host.")] = False,
    stale_after_s: Annotated[
        int, typer.Option(help="An answer older than this is stale.", rich_help_panel=_PANEL, metavar="S")
    ] = 60,
    timeout_s: Annotated[int, typer.Option(help="For one request.", rich_help_panel=_PANEL, metavar="S")] = 10,
    attempts: Annotated[int, typer.Option(help="Requests a look.", rich_help_panel=_PANEL, metavar="N")] = 2,
    degrade_after: Annotated[
        int, typer.Option(help="Failed looks in a row until DEGRADED.", rich_help_panel=_PANEL, metavar="N")
    ] = 2,
    block_after: Annotated[
        int, typer.Option(help="Failed looks in a row until BLOCKED.", rich_help_panel=_PANEL, metavar="N")
    ] = 5,
    recover_after: Annotated[
        int, typer.Option(help="Good looks in a row for each step back.", rich_help_panel=_PANEL, metavar="N")
    ] = 3,
    check_within_s: Annotated[
        int, typer.Option(help="The guard says no when the last check is older.", rich_help_panel=_PANEL, metavar="S")
    ] = 300,
    reason: ReasonOption = None,
    trace_id: TraceId = None,
    request_id: RequestIdOption = None,
    dry_run: DryRun = False,
    on_behalf_of: OnBehalfOf = None,
    output: OutputOption = None,
) -> int:
    """Register a provider; it is BLOCKED before its first good check, and its settings never change.

    Example: blaidctl provider add alpaca-paper --kind alpaca --check-url https://paper-api.alpaca.markets/v2/clock
    --fills-url https://paper-api.alpaca.markets/v2/account/activities/FILL --stale-field timestamp
    --credentials /etc/blaidctl/alpaca.json

    Writes: the provider, a provider event, one audit entry. Credentials are read at each look, never stored.

    Exit: 0 made, or there with the same values; 2 input; 4 there with other values.

    Again: safe.
    """
    return run("provider add", locals())


@app.command("bind")
def bind(
    provider: ProviderId,
    account: AccountId,
    reason: ReasonOption = None,
    trace_id: TraceId = None,
    request_id: RequestIdOption = None,
    dry_run: DryRun = False,
    on_behalf_of: OnBehalfOf = None,
    output: OutputOption = None,
) -> int:
    """Let an account stand or fall with a provider: its bots may trade only while the provider is OK.

    Example: blaidctl provider bind alpaca-paper ib-1

    Writes: the binding, a provider event, one audit entry. Exit: 0 bound, or so already; 3 unknown; 8 no database.

    Again: safe.
    """
    return run("provider bind", locals())


@app.command("unbind")
def unbind(
    provider: ProviderId,
    account: AccountId,
    reason: ReasonOption = None,
    trace_id: TraceId = None,
    request_id: RequestIdOption = None,
    dry_run: DryRun = False,
    on_behalf_of: OnBehalfOf = None,
    output: OutputOption = None,
) -> int:
    """End that an account stands or falls with a provider; what was a gap until now stays one.

    Example: blaidctl provider unbind alpaca-paper ib-1 --reason "moved to another broker"

    Writes: the end of the binding, a provider event, one audit entry. Exit: 0 unbound, or so already; 3 unknown.

    Again: safe.
    """
    return run("provider unbind", locals())


@app.command("check")
def check(
    provider: Annotated[list[str] | None, typer.Argument(metavar="[PROVIDER]…")] = None,
    all: Annotated[bool, typer.Option("--all", help="Every provider.")] = False,
    reason: ReasonOption = None,
    trace_id: TraceId = None,
    dry_run: DryRun = False,
    on_behalf_of: OnBehalfOf = None,
    output: OutputOption = None,
) -> int:
    """Probe providers over HTTP and write down what was found. For a timer of every minute.

    A look fails when the connection is refused, the answer is late, broken, too large, no JSON, stale, a part, not
    HTTP 200, or the certificate does not hold. Enough failed looks in a row make OK DEGRADED, more make it BLOCKED;
    enough good ones lead back, one step at a time.

    Example: blaidctl provider check --all

    Writes: when it was checked; a provider event and an audit entry when the state changes. The network is asked also
    with --dry-run.

    Exit: 0 every one asked for is OK; 1 one is not; 2 input, or credentials that cannot be read; 3 unknown provider;
    8 no database.

    Again: safe, also at the same time.
    """

    def act(ctx: object) -> int:
        from blaidctl.core.operation import resolve

        asked = {"provider": provider or [], "all": all, "reason": reason}
        return int(resolve("blaidctl.providers.probe:check")(ctx, asked, output, dry_run=dry_run))

    return run_program(act, locals(), "provider check")


@app.command("list")
def list_(trace_id: TraceId = None, output: OutputOption = None) -> int:
    """List the providers and how they are doing.

    Example: blaidctl provider list

    Writes: nothing. Exit: 0; 8 no database. Again: safe.
    """
    return run("provider list", locals())


@app.command("show")
def show(provider: ProviderId, trace_id: TraceId = None, output: OutputOption = None) -> int:
    """Show one provider, its settings, and the accounts that stand or fall with it.

    Example: blaidctl provider show alpaca-paper

    Writes: nothing. Exit: 0; 3 unknown provider; 8 no database. Again: safe.
    """
    return run("provider show", locals())


@app.command("events")
def events(
    provider: Annotated[str | None, typer.Argument(metavar="PROVIDER")] = None,
    limit: Annotated[int, typer.Option(help="How many at the most.", metavar="N")] = 100,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Read the provider events, newest first: every change of a state, binding, and pull.

    Example: blaidctl provider events alpaca-paper --limit 20

    Writes: nothing. Exit: 0, also when there are none; 2 input; 3 unknown provider; 8 no database. Again: safe.
    """
    return run("provider events", locals())


_MEANT = "What holds where the provider does not say it"


def pull(
    *,
    provider: Annotated[str, typer.Option(help="Where the fills are fetched.", metavar="PROVIDER")],
    account: Annotated[str, typer.Option(help="Whose account; it must be bound to the provider.", metavar="ACCOUNT")],
    bot: Annotated[str | None, typer.Option(help="Whose fills.", rich_help_panel=_MEANT, metavar="BOT")] = None,
    instance: Annotated[
        int | None, typer.Option(help="Of which instance.", rich_help_panel=_MEANT, metavar="I")
    ] = None,
    exchange: Annotated[str | None, typer.Option(help="Where.", rich_help_panel=_MEANT, metavar="NAME")] = None,
    asset_class: Annotated[
        AssetClass | None, typer.Option(help="Of what kind.", rich_help_panel=_MEANT, metavar="CLASS")
    ] = None,
    no_fee: Annotated[
        bool, typer.Option("--no-fee", help="No fee means that none was paid.", rich_help_panel=_MEANT)
    ] = False,
    history: Annotated[
        bool, typer.Option("--history", help="Take fills from before the bot's first link to the account.")
    ] = False,
    reason: ReasonOption = None,
    trace_id: TraceId = None,
    dry_run: DryRun = False,
    on_behalf_of: OnBehalfOf = None,
    output: OutputOption = None,
) -> int:
    """Fetch the fills of an account from a provider, page by page; all of a pull is written, or nothing.

    Probes the provider first. Goes on from where the last pull ended. A provider that fails in the middle is DEGRADED
    or BLOCKED at once, 0 fills are written, the guard says no, and numbers over that time are METRICS_INCOMPLETE until
    a later pull went through. Credentials come from where the provider's registration says.

    Example: blaidctl ledger pull --provider alpaca-paper --account ib-1 --bot momo-1 --exchange usa

    Writes: the fills, one import, a provider event and the place for the next pull, one audit entry; of a failure, a
    provider event and an entry. The network is asked also with --dry-run.

    Exit: 0 pulled, also when there was nothing new; 1 fills came after a kill; 2 input, credentials, or rows refused;
    3 unknown; 4 not bound, other content under a known id, or another pull was quicker; 6 fills of another account;
    8 the provider is not OK, or no database.

    Again: safe; fills that are known stay as they are.
    """

    def act(ctx: object) -> int:
        from blaidctl.core.operation import resolve

        asked = {
            "provider": provider,
            "account": account,
            "bot": bot,
            "instance": instance,
            "exchange": exchange,
            "asset_class": asset_class,
            "no_fee": no_fee,
            "history": history,
            "reason": reason,
        }
        return int(resolve("blaidctl.providers.pull:pull")(ctx, asked, output, dry_run=dry_run))

    return run_program(act, locals(), "ledger pull")
