"""Broker accounts and links as operators make them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.support.commandline import CommandLine

#: Within the policy that ships, in canonical form.
LIMITS: dict[str, str] = {
    "max_contracts": "5",
    "max_position_value": "500000",
    "max_order_qty": "2",
    "max_daily_loss": "2500.5",
    "max_drawdown_pct": "12.5",
    "max_orders_per_minute": "60",
}


def options(limits: Mapping[str, object] = LIMITS) -> list[str]:
    """Return the words of the command line for limits."""
    return [word for name, value in limits.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def add_account(cli: CommandLine, account: str, user: str, **changes: str) -> str:
    """Register a paper account of a user."""
    values = {"broker": "ibkr", "external-id": f"U-{account}", "environment": "paper", "currency": "USD"} | changes
    words = [word for name, value in values.items() for word in (f"--{name}", value)]
    run = cli("account", "add", account, "--user", user, *words)
    assert run.code == 0, run.stderr
    return account


def link(cli: CommandLine, bots: Iterable[str], account: str) -> None:
    """Link bots to an account under the usual limits."""
    for bot in bots:
        run = cli("account", "link", bot, account, *options())
        assert run.code == 0, run.stderr


def linked(cli: CommandLine, *bots: str, user: str = "alice") -> None:
    """Give bots of a user what the guard asks for: one account, and a link each."""
    link(cli, bots, add_account(cli, f"{user}-paper", user))
