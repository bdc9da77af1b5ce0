"""`verify`."""

from typing import TYPE_CHECKING, Annotated

import typer

from blaidctl.core.command import OutputOption, TraceId, run_program
from blaidctl.verification.vocabulary import Check

if TYPE_CHECKING:
    from blaidctl.core.context import Context


def verify(
    only: Annotated[
        list[Check] | None, typer.Option(help="This check, on both engines; may be given again.", metavar="CHECK")
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Put the answers into AUDIT_FINDINGS.md of a checkout.")
    ] = False,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Run the four verifications end to end, with real processes and a real server, on SQLite and PostgreSQL.

    provider-failure: a provider fails in six ways, and no trade and no PnL comes of it. backtest-end: a backtest ends
    with every metric, or with a reason. account-isolation: no trade of one account reaches another. pnl-equality: the
    PnL of an instance equals a backend's to the last digit. PostgreSQL needs BLAIDCTL_VERIFY_POSTGRESQL_URL, a server
    where this role may make a database; without it there is no evidence for PostgreSQL, and the answer is no.

    Example: blaidctl verify --only pnl-equality --output json

    Writes: scratch databases, which it drops; with --write the page, when all passed. Never the configured database.

    Exit: 0 every check passed on both engines; 1 one did not, or was not run; 2 input. Again: safe.
    """

    def act(ctx: "Context") -> int:
        from blaidctl.core.operation import resolve

        return int(resolve("blaidctl.verification.run:verify")(ctx, only or (), output, write=write))

    return run_program(act, locals(), "verify")
