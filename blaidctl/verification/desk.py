"""The desk that every verification begins with, made by commands, once an engine: two users, bots, accounts."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import blaidctl

if TYPE_CHECKING:
    from blaidctl.verification.stage import Stage

BOT, ACCOUNT = "momo-1", "alice-paper"
#: Of the same user on another account, and of another user.
SECOND_BOT, SECOND_ACCOUNT = "carry-2", "alice-live"
OTHER_BOT, OTHER_ACCOUNT = "bolt-9", "bob-paper"
#: Every figure begins here; fills are of January 2026, before the links, so commands say --history.
SINCE, CAPITAL = "2026-01-01T00:00:00Z", "100000"
_USERS = {"alice": ((BOT, ACCOUNT), (SECOND_BOT, SECOND_ACCOUNT)), "bob": ((OTHER_BOT, OTHER_ACCOUNT),)}
_LIMITS = (
    "--max-contracts", "5", "--max-position-value", "500000", "--max-order-qty", "2", "--max-daily-loss", "2500",
    "--max-drawdown-pct", "12.5", "--max-orders-per-minute", "60",
)  # fmt: skip


def set_up(stage: Stage) -> None:
    """Make the schema, load the real instruments of the quickstart, register everybody."""
    shutil.copytree(Path(blaidctl.__file__).parent / "quickstart" / "data", stage.folder / "data")
    stage.type("db", "upgrade", "--yes")
    stage.type("session", "load", "data/sessions.csv", "--dates", "data/session_dates.csv")
    stage.type("currency", "add", "USDT", "--places", "6")
    stage.type("instrument", "load", "data/instruments.csv")
    for user, pairs in _USERS.items():
        stage.type("user", "add", user)
        for bot, account in pairs:
            where = ("--broker", "ibkr", "--external-id", f"U-{account}", "--environment", "paper", "--currency", "USD")
            stage.type("account", "add", account, "--user", user, *where)
            stage.type("bot", "add", bot, "--user", user)
            stage.type("account", "link", bot, account, *_LIMITS)


def begin_capital(stage: Stage, bot: str = BOT, account: str = ACCOUNT) -> None:
    """Record what a bot began with, without which there are no figures."""
    what = ("--kind", "INITIAL", "--amount", CAPITAL, "--currency", "USD", "--at", SINCE)
    stage.type("ledger", "flow", bot, "--account", account, *what)


def fill(number: int, **changes: str) -> dict[str, str]:
    """Return a fill of ES: a buy and a sale by turns, a point apart, so that each pair nets 47.50 USD."""
    made = {
        "venue_trade_id": f"V{number:04}", "executed_at": f"2026-01-05T15:{number // 60:02}:{number % 60:02}Z",
        "symbol": "ES", "exchange": "CME", "asset_class": "future", "side": "SELL" if number % 2 else "BUY",
        "quantity": "1", "price": f"{6000 + number % 2}.25", "fee": "1.25", "fee_currency": "USD",
    }  # fmt: skip
    return made | changes
