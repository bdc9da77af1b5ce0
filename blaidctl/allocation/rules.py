"""Pure rules of allocation: from each bot's record to a weight, from weights to amounts. Exact, whatever the order.

A metric enters as it is printed, rounded once to 12 places, half to even; from there on everything is a fraction of
whole numbers. So a line can be recomputed by hand from what it shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

from blaidctl.allocation.vocabulary import Method, Undefined
from blaidctl.core.decimals import text_of
from blaidctl.ledger.rules import rounded, scaled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from blaidctl.ledger.vocabulary import Basis, LotMethod

ZERO, ONE = Fraction(0), Fraction(1)


# ---- what goes in ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A policy as its file says it; what belongs to another method is None."""

    method: Method
    lot_method: LotMethod
    basis: Basis
    undefined: Undefined
    #: Of the capital: the least and the most that a bot gets that gets anything.
    floor: Decimal
    cap: Decimal
    max_bots: int | None
    #: What a bot must have behind it: closed trades, whole days since its first fill.
    closed_trades: int
    days: int
    least_drawdown: Decimal | None = None
    above_profit_factor: Decimal | None = None
    most_profit_factor: Decimal | None = None
    fraction: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a bot did up to as_of: whole numbers and exact fractions, in the currency of its account."""

    closed_trades: int
    wins: int
    losses: int
    #: The net of all trades that won; of all that lost, without its sign.
    profit: Fraction
    loss: Fraction
    #: The largest fall as a fraction of its peak; None and why where it is undefined.
    drawdown: Fraction | None
    drawdown_undefined: str | None
    #: Whole days from the first fill to as_of.
    days: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A bot that capital may go to: its record, or why nobody looked at it."""

    bot_id: str
    record: Record | None
    barred: str | None = None


# ---- what comes out --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Share:
    """What one bot gets, and why nothing where it gets nothing."""

    bot_id: str
    score: Decimal | None
    weight: Fraction
    amount: Decimal
    reason: str | None


@dataclass(frozen=True, slots=True)
class Allocation:
    """All shares, by bot id, and what is left of the capital."""

    shares: tuple[Share, ...]
    remainder: Decimal
    #: Why something is left; None when nothing is.
    remainder_reason: str | None


class FloorsTooHighError(ValueError):
    """The floors of the bots that take part are more than the whole capital."""


class UndefinedError(ValueError):
    """A metric that the policy weighs by is undefined, and the policy refuses."""

    def __init__(self, problems: list[str]) -> None:
        """Take a sentence for each bot."""
        self.problems = problems
        super().__init__("; ".join(problems))


# ---- metrics ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Metric:
    """A number of 12 places at the most, or None and the reason why there is none."""

    value: Decimal | None
    reason: str | None = None


def _metric(value: Fraction | None, reason: str | None = None) -> Metric:
    return Metric(None, reason) if value is None else Metric(Decimal(text_of(rounded(value))))


def drawdown(record: Record) -> Metric:
    """Return the largest fall as a fraction of its peak."""
    return _metric(record.drawdown, record.drawdown_undefined)


def win_rate(record: Record) -> Metric:
    """Return the share of the closed trades that won; an even trade did not."""
    if not record.closed_trades:
        return Metric(None, "no closed trade")
    return _metric(Fraction(record.wins, record.closed_trades))


def profit_factor(record: Record) -> Metric:
    """Return what was won for each unit that was lost."""
    if not record.loss:
        return Metric(None, "nothing was lost" if record.closed_trades else "no closed trade")
    return _metric(record.profit / record.loss)


def payoff_ratio(record: Record) -> Metric:
    """Return the average win over the average loss."""
    found = _payoff(record)
    return _metric(found) if isinstance(found, Fraction) else Metric(None, found)


def kelly(record: Record) -> Metric:
    """Return f = W - (1 - W) / R from the win rate and the payoff ratio, rounded once."""
    payoff = _payoff(record)
    if not isinstance(payoff, Fraction):
        return Metric(None, payoff)
    won = Fraction(record.wins, record.closed_trades)
    return _metric(won - (1 - won) / payoff)


def _payoff(record: Record) -> Fraction | str:
    if not record.closed_trades:
        return "no closed trade"
    if not record.losses:
        return "no trade lost"
    if not record.wins:
        return "no trade won"
    return (record.profit / record.wins) / (record.loss / record.losses)


# ---- scores ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Judged:
    """A score above zero; or why there is none, and whether because the metric is undefined."""

    score: Decimal | None
    reason: str | None = None
    undefined: bool = False


def _equal(_policy: Policy, _record: Record) -> _Judged:
    return _Judged(Decimal(1))


def _inverse_drawdown(policy: Policy, record: Record) -> _Judged:
    found = drawdown(record)
    if found.value is None:
        return _Judged(None, f"the maximum drawdown is undefined: {found.reason}", undefined=True)
    least = policy.least_drawdown
    counted = found.value if least is None else max(found.value, least)
    if not counted:
        return _Judged(None, "1 / maximum drawdown is undefined: equity never fell", undefined=True)
    return _above_zero(rounded(1 / Fraction(counted)), "1 / maximum drawdown is 0 at 12 places")


def _profit_factor(policy: Policy, record: Record) -> _Judged:
    found, most = profit_factor(record), policy.most_profit_factor
    if found.value is not None:
        counted = found.value if most is None else min(found.value, most)
    elif most is not None and record.profit:  # whatever is won for nothing lost is above every ceiling
        counted = most
    else:
        return _Judged(None, f"the profit factor is undefined: {found.reason}", undefined=True)
    least = policy.above_profit_factor or Decimal(0)
    if counted <= least:
        return _Judged(None, f"the profit factor {text_of(counted)} is not above {text_of(least)}")
    return _Judged(counted)


def _fractional_kelly(_policy: Policy, record: Record) -> _Judged:
    if record.closed_trades and not record.wins:
        return _Judged(None, "no trade won: Kelly stakes nothing")
    found = kelly(record)
    if found.value is None:
        return _Judged(None, f"the Kelly fraction is undefined: {found.reason}", undefined=True)
    return _above_zero(found.value, f"the Kelly fraction {text_of(found.value)} is not above 0")


def _above_zero(score: Decimal, otherwise: str) -> _Judged:
    return _Judged(Decimal(text_of(score))) if score > 0 else _Judged(None, otherwise)


_SCORES: dict[Method, Callable[[Policy, Record], _Judged]] = {
    Method.EQUAL: _equal,
    Method.INVERSE_DRAWDOWN: _inverse_drawdown,
    Method.PROFIT_FACTOR: _profit_factor,
    Method.FRACTIONAL_KELLY: _fractional_kelly,
}


def _judged(policy: Policy, candidate: Candidate) -> _Judged:
    record = candidate.record
    if candidate.barred is not None or record is None:
        return _Judged(None, candidate.barred or "no record")
    short = []
    if record.closed_trades < policy.closed_trades:
        short.append(f"{record.closed_trades} closed trades of {policy.closed_trades}")
    if record.days < policy.days:
        short.append(f"{record.days} days of {policy.days}")
    if short:
        return _Judged(None, f"too little history: {', '.join(short)}")
    return _SCORES[policy.method](policy, record)


# ---- weights ---------------------------------------------------------------------------------------------------------


def allocate(policy: Policy, capital: Decimal, places: int, candidates: Iterable[Candidate]) -> Allocation:
    """Divide the capital, to the minor unit of `places`. Raises UndefinedError, FloorsTooHighError."""
    judged = {
        candidate.bot_id: _judged(policy, candidate) for candidate in sorted(candidates, key=lambda found: found.bot_id)
    }
    undefined = [f"bot {bot}: {found.reason}" for bot, found in judged.items() if found.undefined]
    if undefined and policy.undefined is Undefined.REFUSE:
        raise UndefinedError(undefined)
    scores = {bot: found.score for bot, found in judged.items() if found.score is not None}
    best = _best(policy, scores)
    weights = _weights(policy, {bot: scores[bot] for bot in scores if bot in best})
    whole = scaled(capital, places)
    units = _units(policy, weights, whole)
    shares = []
    for bot, found in judged.items():
        weight, amount = weights.get(bot, ZERO), money(units.get(bot, 0), places)
        reason = found.reason
        if reason is None and bot not in best:
            reason = f"not among the best {policy.max_bots}"
        elif reason is None and not amount:
            reason = "its share is less than one minor unit"
        shares.append(Share(bot, found.score, weight, amount, reason))
    left = money(whole - sum(units.values()), places)
    return Allocation(tuple(shares), left, _why_left(policy, weights) if left else None)


def scaled_or_none(value: Decimal, places: int) -> int | None:
    """Return an amount in minor units; None when it is finer than those."""
    try:
        return scaled(value, places)
    except ValueError:
        return None


def money(units: int, places: int) -> Decimal:
    """Return an amount of whole minor units in canonical form. From its digits: arithmetic would round to 28."""
    return Decimal(text_of(Decimal((0, tuple(map(int, str(units))), -places))))


def _best(policy: Policy, scores: dict[str, Decimal]) -> set[str]:
    """Return the bots that take part: the highest scores; of equal ones the first by id."""
    ranked = sorted(scores, key=lambda bot: (-scores[bot], bot))
    return set(ranked if policy.max_bots is None else ranked[: policy.max_bots])


def _weights(policy: Policy, scores: dict[str, Decimal]) -> dict[str, Fraction]:
    """Return each bot's share of the capital: between floor and cap, together one at the most."""
    if not scores:
        return {}
    floor, cap, count = Fraction(policy.floor), Fraction(policy.cap), len(scores)
    if floor * count > 1:
        msg = f"the floor {text_of(policy.floor)} for each of {count} bots is {text_of(policy.floor * count)}: over 1"
        raise FloorsTooHighError(msg)
    values = [Fraction(score) for score in scores.values()]
    if policy.method is Method.FRACTIONAL_KELLY:
        # Kelly says how much, not only in which proportion: what it does not stake stays where it is.
        values = [Fraction(policy.fraction or 0) * value for value in values]
        wanted = [min(max(value, floor), cap) for value in values]
        found = wanted if sum(wanted) <= 1 else filled(values, floor, cap, ONE)
    else:
        found = filled(values, floor, cap, min(ONE, count * cap))
    return dict(zip(scores, found, strict=True))


def filled(scores: Sequence[Fraction], floor: Fraction, cap: Fraction, total: Fraction) -> list[Fraction]:
    """Return weights in proportion to scores, none below the floor or above the cap, that sum to the total exactly.

    The weight of a score is level x score, held between floor and cap. The sum grows with the level in straight pieces;
    the piece that meets the total is found by halving, and solved. Needs scores above zero and
    count x floor <= total <= count x cap.
    """

    def held(level: Fraction) -> list[Fraction]:
        return [min(max(level * score, floor), cap) for score in scores]

    corners = sorted({limit / score for score in scores for limit in (floor, cap)})
    low, high = 0, len(corners) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if sum(held(corners[middle])) <= total else (low, middle)
    below, above = corners[low], corners[high]
    if sum(held(below)) == total:
        return held(below)
    free = sum((s for s in scores if floor <= below * s and above * s <= cap), ZERO)
    return held(below + (total - sum(held(below), ZERO)) / free)


def _units(policy: Policy, weights: dict[str, Fraction], capital: int) -> dict[str, int]:
    """Return whole minor units: each share rounded down, then one more by largest remainder, of equal ones by bot id.

    Nobody is rounded up over the cap; a unit that nobody may take is left.
    """
    exact = {bot: weight * capital for bot, weight in weights.items()}
    units = {bot: value.numerator // value.denominator for bot, value in exact.items()}
    left = int(sum(exact.values(), ZERO)) - sum(units.values())
    most = Fraction(policy.cap) * capital
    for bot in sorted(units, key=lambda bot: (units[bot] - exact[bot], bot)):
        if left and units[bot] + 1 <= most and exact[bot] != units[bot]:
            units[bot] += 1
            left -= 1
    return units


def _why_left(policy: Policy, weights: dict[str, Fraction]) -> str:
    if not weights:
        return "no bot takes part"
    capped = sum(weight == Fraction(policy.cap) for weight in weights.values())
    if sum(weights.values()) == 1:
        return "minor units that no bot may take without going over the cap"
    if policy.method is Method.FRACTIONAL_KELLY:
        return f"Kelly stakes no more ({capped} of {len(weights)} bots at the cap of {text_of(policy.cap)})"
    return f"{capped} of {len(weights)} bots at the cap of {text_of(policy.cap)}"
