"""Verification 1: a provider fails in six ways, in the middle of a pull and altogether, over real sockets."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from blaidctl.core.decimals import text_of
from blaidctl.providers.rehearsal import Mode, Rehearsal
from blaidctl.providers.vocabulary import Failure
from blaidctl.verification.desk import ACCOUNT, BOT, begin_capital, fill

if TYPE_CHECKING:
    from blaidctl.verification.stage import Stage

#: Of a page of the provider, and new ones before each failure: two pages.
_PAGE, _NEW = 2, 4
#: One failed look degrades, the next blocks; a good one leads a step back.
_LIMITS = (
    "--timeout-s", "1", "--attempts", "1", "--degrade-after", "1", "--block-after", "2", "--recover-after", "1",
)  # fmt: skip
#: What each is called where it is written down.
_FAILURES = {
    Mode.REFUSED: Failure.REFUSED,
    Mode.HANGS: Failure.TIMEOUT,
    Mode.ERROR_500: Failure.HTTP_STATUS,
    Mode.BAD_JSON: Failure.BAD_JSON,
    Mode.STALE: Failure.STALE,
    Mode.PARTIAL: Failure.PARTIAL,
}
_PULL = ("ledger", "pull", "--provider", "feed", "--account", ACCOUNT, "--bot", BOT, "--history")
_METRICS = ("ledger", "metrics", BOT)
_NET_OF_A_PAIR = Decimal("47.5")


def provider_failure(stage: Stage, rehearsal: type[Rehearsal] = Rehearsal) -> None:
    """Show it; MismatchError when something is not as it must be."""
    fills = [fill(number) for number in range(_NEW)]
    with rehearsal(fills, page_size=_PAGE) as provider:
        addresses = ("--check-url", provider.url("/check"), "--fills-url", provider.url("/fills"))
        stage.type("provider", "add", "feed", "--kind", "paged", *addresses, *_LIMITS)
        stage.type("provider", "check", "feed", see={"providers.0.state": "OK"})
        stage.type("provider", "bind", "feed", ACCOUNT)
        begin_capital(stage)
        stage.type(*_PULL, see={"rows_new": _NEW})
        _insist_on_net(stage, len(fills))
        for mode in Mode:
            _in_the_middle(stage, provider, mode, fills)
        _insist_on_net(stage, len(fills))
        _altogether(stage, provider, len(fills))
        _insist_on_net(stage, len(fills))
    stage.type("audit", "verify", see={"answer": "OK"})


def _in_the_middle(stage: Stage, provider: Rehearsal, mode: Mode, fills: list[dict[str, str]]) -> None:
    """Fail between two pages of new fills; nothing of the first may stay, and afterwards both must come."""
    known = len(fills)
    fills += [fill(number) for number in range(known, known + _NEW)]
    stage.say(
        f"{mode}: {_NEW} new fills on two pages; the provider gives the first of them, then fails; then it is well"
    )
    provider.fail(mode, len(fills) // _PAGE)
    stage.type(*_PULL, code=8, error="PROVIDER_DEGRADED", says=f"({_FAILURES[mode]}: ")
    _nothing_came_of_it(stage, known)
    provider.recover()
    stage.type(*_PULL, see={"rows_new": _NEW})


def _altogether(stage: Stage, provider: Rehearsal, known: int) -> None:
    """Fail every probe, each time in another way; then be well, one step back at a time."""
    stage.say("every probe fails, each in another way: DEGRADED, then BLOCKED")
    for number, mode in enumerate(Mode):
        provider.fail(mode)
        state = "BLOCKED" if number else "DEGRADED"
        see = {"providers.0.state": state, "providers.0.failure": _FAILURES[mode]}
        stage.type("provider", "check", "feed", code=1, error="PROVIDER_NOT_OK", see=see)
        provider.recover()
    _nothing_came_of_it(stage, known)
    stage.say("it is well again: a step back at a time, and figures only after a pull")
    stage.type("provider", "check", "feed", code=1, error="PROVIDER_NOT_OK", see={"providers.0.state": "DEGRADED"})
    stage.type("provider", "check", "feed", see={"providers.0.state": "OK"})
    stage.type(*_METRICS, code=4, error="METRICS_INCOMPLETE", missing="providers: feed")
    stage.type(*_PULL, see={"rows_new": 0})


def _nothing_came_of_it(stage: Stage, known: int) -> None:
    stage.type("guard", BOT, code=1, error="MAY_NOT_TRADE")
    stage.type("ledger", "fills", BOT, see={"total": known})
    stage.type(*_METRICS, code=4, error="METRICS_INCOMPLETE", missing="providers: feed")


def _insist_on_net(stage: Stage, fills: int) -> None:
    net = text_of(_NET_OF_A_PAIR * (fills // 2))
    stage.type(*_METRICS, see={"fills": fills, "net": net})
