"""What the tests of allocation have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blaidctl.allocation.policy import document
from blaidctl.allocation.vocabulary import Method

if TYPE_CHECKING:
    from blaidctl.allocation.rules import Policy

_SECTION = {
    Method.EQUAL: "",
    Method.INVERSE_DRAWDOWN: "[inverse_drawdown]",
    Method.PROFIT_FACTOR: "[profit_factor]",
    Method.FRACTIONAL_KELLY: "[fractional_kelly]",
}
_OWN = {Method.PROFIT_FACTOR: {"above": "1"}, Method.FRACTIONAL_KELLY: {"fraction": "0.5"}}


def policy_text(
    method: Method = Method.PROFIT_FACTOR,
    *,
    floor: str = "0",
    cap: str = "1",
    max_bots: int | None = None,
    closed_trades: int = 0,
    days: int = 0,
    undefined: str = "NOTHING",
    basis: str = "REALIZED",
    **own: str,
) -> str:
    """A policy file; by itself it limits nothing."""
    lines = [
        f'method = "{method}"', 'lot_method = "FIFO"', f'basis = "{basis}"', f'undefined = "{undefined}"',
        "[weights]", f'floor = "{floor}"', f'cap = "{cap}"', *([f"max_bots = {max_bots}"] if max_bots else []),
        "[history]", f"closed_trades = {closed_trades}", f"days = {days}",
    ]  # fmt: skip
    if max_bots == 0:
        lines.insert(7, "max_bots = 0")
    if _SECTION[method]:
        lines.append(_SECTION[method])
    lines += [f'{name} = "{value}"' for name, value in {**_OWN.get(method, {}), **own}.items()]
    return "\n".join(lines) + "\n"


GOOD = policy_text()


def policy(method: Method = Method.PROFIT_FACTOR, **given: object) -> Policy:
    """The same, read."""
    return document("test", policy_text(method, **given)).policy  # type: ignore[arg-type]
