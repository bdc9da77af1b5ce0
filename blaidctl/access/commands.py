"""`token add`, `token list`, `token revoke`."""

from typing import Annotated

import typer

from blaidctl.core.command import DryRun, OnBehalfOf, OutputOption, ReasonOption, RequestIdOption, TraceId, run

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Bearer tokens of the HTTP shim.")


@app.command("add")
def add(
    user: Annotated[str, typer.Option(help="The owner: the actor of every call, and whose bots it sees.")],
    label: Annotated[str, typer.Option(help="What the token is for.")],
    reason: ReasonOption = None,
    trace_id: TraceId = None,
    request_id: RequestIdOption = None,
    dry_run: DryRun = False,
    on_behalf_of: OnBehalfOf = None,
    output: OutputOption = None,
) -> int:
    """Make a bearer token. It is shown this once; only its SHA-256 is kept.

    Example: blaidctl token add --user alice --label desk-dashboard

    Writes: the token's hash, one audit entry. Exit: 0; 2 input; 3 unknown user. Again: makes another token.
    """
    return run("token add", locals())


@app.command("list")
def list_(
    user: Annotated[str | None, typer.Option(help="Only this owner's.")] = None,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """List the tokens, without their secrets.

    Example: blaidctl token list

    Writes: nothing. Exit: 0; 8 no database. Again: safe.
    """
    return run("token list", locals())


@app.command("revoke")
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="TOKEN_ID")],
    reason: ReasonOption = None,
    trace_id: TraceId = None,
    request_id: RequestIdOption = None,
    dry_run: DryRun = False,
    on_behalf_of: OnBehalfOf = None,
    output: OutputOption = None,
) -> int:
    """Make a token worthless from this COMMIT on.

    Example: blaidctl token revoke 5f0c2a9e7d1b4c36

    Writes: revoked_at, one audit entry. Exit: 0 revoked, or already so; 3 unknown token. Again: safe.
    """
    return run("token revoke", locals())
