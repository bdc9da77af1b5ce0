"""From inputs to what a run stores: lines, remainder, conventions, sources, both hashes. Pure: no clock, no database.

input_hash   the root over a leaf for each bot (its fills, flows, rates, instruments) and one each for the policy, what
             was asked for, who is barred and why, the rates between currencies, and the version of the code
output_hash  SHA-256 over the canonical JSON (RFC 8785) of capital, currency, as_of, lines and remainder
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import blaidctl
from blaidctl.allocation import rules
from blaidctl.allocation.rules import Candidate, allocate
from blaidctl.allocation.vocabulary import Method
from blaidctl.core.canonical import fingerprint
from blaidctl.core.decimals import text_of, times
from blaidctl.core.types import time_text
from blaidctl.ledger import amounts, hashing
from blaidctl.ledger.rules import rounded
from blaidctl.ledger.vocabulary import Basis

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from blaidctl.allocation.inputs import Asked, Bot

#: Of a line, what output_hash is over; `metrics` without its `inputs`, which hold the code's version.
_PRINTED = ("bot_id", "account_id", "weight", "amount", "reason", "metrics")


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run as it is stored, but for what only the act knows."""

    lines: tuple[dict[str, Any], ...]
    remainder: Decimal
    conventions: dict[str, Any]
    source_tables: dict[str, int]
    input_hash: str
    output_hash: str


def outcome(asked: Asked, bots: Sequence[Bot], excluded: Sequence[str]) -> Outcome:
    """Allocate. Raises rules.UndefinedError, rules.FloorsTooHighError."""
    by_id = {bot.bot_id: bot for bot in bots}
    candidates = [Candidate(bot.bot_id, bot.record, bot.barred) for bot in bots]
    found = allocate(asked.document.policy, asked.capital, asked.places, candidates)
    lines = tuple(_line(by_id[share.bot_id], share) for share in found.shares)
    return Outcome(
        lines=lines,
        remainder=found.remainder,
        conventions=_conventions(asked, bots, found.remainder_reason),
        source_tables=_source_tables(bots),
        input_hash=hashing.root(leaves(asked, bots, excluded)),
        output_hash=output_hash(asked.capital, asked.currency, time_text(asked.as_of), lines, found.remainder),
    )


def _line(bot: Bot, share: rules.Share) -> dict[str, Any]:
    return {
        "bot_id": bot.bot_id,
        "account_id": bot.account_id,
        "weight": str(share.weight),
        "amount": share.amount,
        "reason": share.reason,
        "metrics": _metrics(bot, bot.record, share) if bot.record else None,
        "input_hash": bot.input_hash,
    }


def _metrics(bot: Bot, record: rules.Record, share: rules.Share) -> dict[str, Any]:
    """Return what a policy looks at, of every method: whoever asks why, sees what the others would have said."""
    ratios = {
        "kelly": rules.kelly(record),
        "max_drawdown_fraction": rules.drawdown(record),
        "payoff_ratio": rules.payoff_ratio(record),
        "profit_factor": rules.profit_factor(record),
        "win_rate": rules.win_rate(record),
    }
    return {
        "account_amount": text_of(times(share.amount, bot.rate.rate)) if bot.rate else text_of(share.amount),
        "account_currency": bot.currency,
        "closed_trades": record.closed_trades,
        "days": record.days,
        "inputs": dict(bot.inputs),
        "loss": amounts.money(record.loss),
        "losses": record.losses,
        "profit": amounts.money(record.profit),
        "rate": {"at": bot.rate.at, "rate": text_of(bot.rate.rate)} if bot.rate else None,
        "score": None if share.score is None else text_of(share.score),
        "undefined": {name: found.reason for name, found in ratios.items() if found.value is None},
        "wins": record.wins,
        **{name: None if found.value is None else text_of(found.value) for name, found in ratios.items()},
    }


# ---- hashes ----------------------------------------------------------------------------------------------------------


def leaves(asked: Asked, bots: Sequence[Bot], excluded: Sequence[str]) -> dict[str, str]:
    """Return what input_hash is over: name → hash."""
    who = [[bot.bot_id, bot.account_id, bot.barred] for bot in sorted(bots, key=lambda bot: bot.bot_id)]
    rates = {(bot.rate.base, bot.rate.quote): bot.rate for bot in bots if bot.rate}
    what = {
        "accounts": dict(asked.accounts),
        "as_of": time_text(asked.as_of),
        "capital": text_of(asked.capital),
        "currency": asked.currency,
        "excluded": list(excluded),
        "places": asked.places,
    }
    return {
        **{f"bot {bot.bot_id}": bot.input_hash for bot in bots if bot.input_hash},
        "bots": fingerprint(who),
        "code_version": fingerprint(blaidctl.__version__),
        "policy": asked.document.sha256,
        "question": fingerprint(what),
        "rates": fingerprint([[*pair, rate.at, text_of(rate.rate)] for pair, rate in sorted(rates.items())]),
    }


def output_hash(
    capital: Decimal, currency: str, as_of: str, lines: Sequence[Mapping[str, Any]], remainder: Decimal
) -> str:
    """Return SHA-256 over the canonical JSON of what a run gives."""
    return fingerprint(
        {
            "as_of": as_of,
            "capital": text_of(capital),
            "currency": currency,
            "lines": [printed(line) for line in sorted(lines, key=lambda line: str(line["bot_id"]))],
            "remainder": text_of(remainder),
        }
    )


def printed(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a line output_hash is over, as JSON has it."""
    found = {name: line[name] for name in _PRINTED} | {"amount": text_of(Decimal(line["amount"]))}
    if found["metrics"] is not None:
        found["metrics"] = {name: value for name, value in found["metrics"].items() if name != "inputs"}
    return found


# ---- what stands beside ----------------------------------------------------------------------------------------------


def _source_tables(bots: Sequence[Bot]) -> dict[str, int]:
    """Return table → rows read, over all bots; a row that two bots need (an instrument, a rate) was read for each."""
    counts: Counter[str] = Counter()
    for bot in bots:
        counts.update(bot.source_tables)
    counts["bots"] = len(bots)
    counts["fx_rates"] += len({(bot.rate.base, bot.rate.quote) for bot in bots if bot.rate})
    return dict(sorted(counts.items()))


def _conventions(asked: Asked, bots: Sequence[Bot], why_left: str | None) -> dict[str, Any]:
    """Return under which conventions the numbers stand: those of the ledger, and those of allocation."""
    of_ledger = next((dict(bot.conventions) for bot in bots if bot.conventions), {})
    of_ledger.pop("fx", None)  # it names the currency of one account
    policy = asked.document.policy
    return {
        "allocation": {
            "amounts": (
                f"whole minor units of {asked.currency} ({asked.places} places): each share rounded down, the rest a"
                " unit each by largest remainder, of equal ones by bot id; nobody over the cap"
            ),
            "history": "closed trades, and whole days from the first fill to as_of",
            "kills": "a bot that is killed now, or was at as_of, gets nothing",
            "metrics": "as printed, rounded once, half to even, to 12 places; from there on exact fractions",
            "rates": (
                "an amount in the account's currency is amount x the last rate recorded on as_of's UTC day, as written,"
                " exact"
            ),
            "weights": _WEIGHTS[policy.method],
        },
        "ledger": of_ledger | {"equity": "MARKED" if policy.basis is Basis.MARKED else "REALIZED"},
        "remainder": why_left,
    }


_PROPORTION = "score / sum of scores, each held between floor and cap, what that frees or takes in proportion to scores"
_WEIGHTS = {
    Method.EQUAL: "1 / number of bots that take part, held under the cap",
    Method.INVERSE_DRAWDOWN: f"score = 1 / maximum drawdown as a fraction of its peak; {_PROPORTION}",
    Method.PROFIT_FACTOR: f"score = profit factor (money, after fees); {_PROPORTION}",
    Method.FRACTIONAL_KELLY: (
        "fraction x f, f = W - (1 - W) / R (win rate, payoff ratio of net money), held between floor and cap; over 1"
        " together, scaled down to 1"
    ),
}


def share_of(weight: str) -> Decimal:
    """Return a weight in percent, rounded to 4 places for the eye."""
    return Decimal(text_of(rounded(Fraction(weight) * 100, 4)))
