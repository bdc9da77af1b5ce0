"""Providers as operators register them, in front of a real server on this host that fails on command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.instruments.work import DATES, HOURS, SAMPLE
from tests.support.accounts import linked

if TYPE_CHECKING:
    from collections.abc import Iterable

    from blaidctl.providers.rehearsal import Rehearsal
    from tests.support.commandline import CommandLine, Run

ACCOUNT, BOT, PROVIDER = "alice-paper", "momo-1", "feed"
#: One failed look degrades, two block, two good ones lead a step back; no waiting for a hanging server.
QUICK = {
    "degrade-after": "1", "block-after": "3", "recover-after": "2", "timeout-s": "3", "attempts": "1",
    "stale-after-s": "60",
}  # fmt: skip


def done(run: Run) -> Run:
    assert run.code == 0, run.stderr
    return run


def fill(number: int, **changes: Any) -> dict[str, Any]:
    """One fill in blaidctl's own names: a buy and a sale by turns, a second apart."""
    made = {
        "venue_trade_id": f"v{number:06}", "executed_at": f"2026-01-05T15:{number // 60 % 60:02}:{number % 60:02}Z",
        "symbol": "ES", "exchange": "CME", "side": "SELL" if number % 2 else "BUY", "quantity": "1",
        "price": f"{6000 + number}.25", "fee": "1.25", "fee_currency": "USD",
    }  # fmt: skip
    return {**made, **changes}


def fills(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [fill(number) for number in range(first, first + count)]


def activity(number: int) -> dict[str, Any]:
    """One fill as Alpaca's account activities have it."""
    return {
        "id": f"2026010515{number:07}::{number:08x}-0000-4000-8000-000000000000", "activity_type": "FILL",
        "transaction_time": f"2026-01-05T15:{number // 60 % 60:02}:{number % 60:02}.123456Z", "type": "fill",
        "price": f"{6000 + number}.25", "qty": "1", "side": "sell" if number % 2 else "buy", "symbol": "ES",
        "leaves_qty": "0", "cum_qty": "1", "order_id": f"{number:08x}-0000-4000-8000-000000000001",
    }  # fmt: skip


def desk(cli: CommandLine) -> None:
    """Alice, her bot momo-1 on her account, the instruments of the sample."""
    done(cli("user", "add", "alice"))
    done(cli("bot", "add", BOT, "--user", "alice"))
    linked(cli, BOT)
    done(cli("session", "load", HOURS, "--dates", DATES))
    done(cli("currency", "add", "USDT", "--places", "6"))
    done(cli("instrument", "load", SAMPLE))


def add(
    cli: CommandLine, rehearsal: Rehearsal, *more: str, kind: str = "paged", name: str = PROVIDER, **limits: str
) -> Run:
    """Register a provider in front of a rehearsal."""
    paths = {"paged": "/fills", "alpaca": "/activities"}
    urls = ["--check-url", rehearsal.url("/check")]
    urls += ["--fills-url", rehearsal.url(paths[kind])] if kind in paths else []
    words = [word for option, value in {**QUICK, **limits}.items() for word in (f"--{option}", value)]
    return done(cli("provider", "add", name, "--kind", kind, *urls, *words, *more))


def bound(cli: CommandLine, rehearsal: Rehearsal, **more: Any) -> None:
    """A desk whose account stands or falls with a provider that is OK."""
    desk(cli)
    add(cli, rehearsal, **more)
    done(cli("provider", "check", PROVIDER))
    done(cli("provider", "bind", PROVIDER, ACCOUNT))


def pull(cli: CommandLine, *more: str) -> Run:
    return cli("ledger", "pull", "--provider", PROVIDER, "--account", ACCOUNT, "--bot", BOT, "--history", *more)


def state(cli: CommandLine, name: str = PROVIDER) -> str:
    found: str = cli("provider", "show", name).json["result"]["state"]
    return found


def checks(cli: CommandLine, count: int, name: str = PROVIDER) -> list[tuple[int, str]]:
    """Check a number of times; return each exit code and state."""
    return [(run.code, run.json["result"]["providers"][0]["state"]) for run in _checked(cli, count, name)]


def _checked(cli: CommandLine, count: int, name: str) -> Iterable[Run]:
    for _ in range(count):
        yield cli("provider", "check", name, "--output", "json")
