"""Verification 3: fills that are of another account, bot or user are refused, and move no figure where they are."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

from blaidctl.verification.desk import (
    ACCOUNT,
    BOT,
    OTHER_ACCOUNT,
    OTHER_BOT,
    SECOND_ACCOUNT,
    SECOND_BOT,
    begin_capital,
    fill,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from blaidctl.verification.stage import Stage

_METRICS = ("ledger", "metrics", BOT, "--account", ACCOUNT, "--as-of", "2026-02-01T00:00:00Z")
#: Name of the file → what of its third fill is another's, and how the file is refused.
_INTRUDERS: dict[str, tuple[dict[str, str], str]] = {
    "other-user.csv": ({"account": OTHER_ACCOUNT, "bot": OTHER_BOT}, "CROSS_USER_FILL"),
    "other-account.csv": ({"account": SECOND_ACCOUNT}, "CROSS_ACCOUNT_FILL"),
    "other-bot.csv": ({"bot": OTHER_BOT}, "CROSS_USER_FILL"),
    "unlinked-bot.csv": ({"bot": SECOND_BOT}, "UNLINKED_FILL"),
}


def account_isolation(stage: Stage) -> None:
    """Show it; MismatchError when something is not as it must be."""
    _write(stage, "alice.csv", _fills(0, account=ACCOUNT, bot=BOT))
    for bot, account in ((BOT, ACCOUNT), (SECOND_BOT, SECOND_ACCOUNT), (OTHER_BOT, OTHER_ACCOUNT)):
        begin_capital(stage, bot, account)
    _import(stage, "alice.csv", ACCOUNT, rows_new=4)
    stage.say(f"the figures of {ACCOUNT} before anybody tries anything")
    before = _figures(stage, {"fills": 4, "net": "95"})
    _intruders(stage)
    stage.say(f"what {ACCOUNT} holds, and its figures: nothing moved")
    stage.type("ledger", "fills", BOT, see={"fills[*].account_id": [ACCOUNT] * 4})
    _figures(stage, before)
    _others_trade(stage)
    stage.say(f"the figures of {ACCOUNT} are the same, to the last bit of their hash")
    _figures(stage, before)
    stage.say("a statement of another account is held against nothing here")
    told = '{"account": "bob-paper", "totals": {"net": "95"}}'
    (stage.folder / "statement.json").write_text(told, encoding="utf-8")
    stage.type("ledger", "reconcile", "statement.json", "--account", ACCOUNT, code=6, error="CROSS_ACCOUNT_FILL")
    stage.type("audit", "verify", see={"answer": "OK"})


def _intruders(stage: Stage) -> None:
    stage.say("files for it in which one fill, on line 4, is another account's, another user's, another bot's")
    for name, (changes, refused) in _INTRUDERS.items():
        good = _fills(4, account=ACCOUNT, bot=BOT)
        _write(stage, name, [*good[:2], good[2] | changes, good[3]])
        stage.type(*_importing(name, ACCOUNT), code=6, error=refused, missing="line 4")
    stage.say("each attempt is an event")
    stage.type("ledger", "events", "--account", ACCOUNT, see={"events[*].event": ["REFUSED"] * len(_INTRUDERS)})


def _others_trade(stage: Stage) -> None:
    stage.say("the others trade: with the very same ids, and with a loss; a fill is taken back, capital comes and goes")
    _write(stage, "bob.csv", _fills(0, account=OTHER_ACCOUNT, bot=OTHER_BOT, price="5999.75"))
    _write(stage, "live.csv", _fills(0, account=SECOND_ACCOUNT, bot=SECOND_BOT, quantity="2"))
    _import(stage, "bob.csv", OTHER_ACCOUNT, rows_new=4)
    _import(stage, "live.csv", SECOND_ACCOUNT, rows_new=4)
    stage.type("ledger", "reverse", OTHER_ACCOUNT, "V0003", "--reason", "busted by the venue")
    flow = ("--kind", "WITHDRAWAL", "--amount", "5000", "--currency", "USD", "--at", "2026-01-06T00:00:00Z")
    stage.type("ledger", "flow", SECOND_BOT, "--account", SECOND_ACCOUNT, *flow)


def _figures(stage: Stage, expected: Mapping[str, Any]) -> Mapping[str, Any]:
    ran = stage.type(*_METRICS, see=expected)
    return {name: ran.result[name] for name in ("fills", "net", "input_hash", "output_hash")}


def _fills(first: int, **changes: str) -> list[dict[str, str]]:
    return [fill(number, **changes) for number in range(first, first + 4)]


def _importing(name: str, account: str) -> tuple[str, ...]:
    return ("ledger", "import", name, "--format", "csv", "--account", account, "--history")


def _import(stage: Stage, name: str, account: str, **see: int) -> None:
    stage.type(*_importing(name, account), see=see)


def _write(stage: Stage, name: str, fills: Iterable[Mapping[str, str]]) -> None:
    rows = list(fills)
    with (stage.folder / name).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
