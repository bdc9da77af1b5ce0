"""Weights and amounts: worked examples, and laws over any number of bots."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from blaidctl.allocation import rules
from blaidctl.allocation.rules import Candidate, Record, allocate
from blaidctl.allocation.vocabulary import Method
from tests.allocation.work import policy

if TYPE_CHECKING:
    from collections.abc import Sequence


def record(**changed: Any) -> Record:
    """A bot that won 6 of 10 trades, 2 for each 1 lost, and fell 20 % once."""
    usual: dict[str, Any] = {
        "closed_trades": 10, "wins": 6, "losses": 4, "profit": Fraction(1200), "loss": Fraction(600),
        "drawdown": Fraction(1, 5), "drawdown_undefined": None, "days": 100,
    }  # fmt: skip
    return Record(**{**usual, **changed})


def bots(*records: Record) -> list[Candidate]:
    return [Candidate(f"bot-{number}", found) for number, found in enumerate(records, 1)]


def amounts(found: rules.Allocation) -> list[str]:
    return [str(share.amount) for share in found.shares]


# ---- worked examples ---------------------------------------------------------------------------------------------


def test_equal_weights_divide_to_the_last_cent_the_odd_one_to_the_first_by_id():
    found = allocate(policy(Method.EQUAL), Decimal(100), 2, reversed(bots(record(), record(), record())))
    assert [share.weight for share in found.shares] == [Fraction(1, 3)] * 3
    assert amounts(found) == ["33.34", "33.33", "33.33"]
    assert (found.remainder, found.remainder_reason) == (0, None)


def test_inverse_drawdown_gives_a_bot_that_fell_half_as_far_twice_as_much():
    candidates = bots(record(drawdown=Fraction(1, 5)), record(drawdown=Fraction(1, 10)))
    found = allocate(policy(Method.INVERSE_DRAWDOWN), Decimal(900), 2, candidates)
    assert [share.weight for share in found.shares] == [Fraction(1, 3), Fraction(2, 3)]
    assert amounts(found) == ["300", "600"]


def test_a_drawdown_of_nothing_is_undefined_unless_the_policy_says_what_is_the_least_one():
    candidates = bots(record(drawdown=Fraction(0)), record(drawdown=Fraction(1, 10)))
    bare = allocate(policy(Method.INVERSE_DRAWDOWN), Decimal(900), 2, candidates)
    assert [share.weight for share in bare.shares] == [0, 1]
    assert bare.shares[0].reason == "1 / maximum drawdown is undefined: equity never fell"
    least = allocate(policy(Method.INVERSE_DRAWDOWN, least_drawdown="0.05"), Decimal(900), 2, candidates)
    assert [share.weight for share in least.shares] == [Fraction(2, 3), Fraction(1, 3)]


def test_a_drawdown_without_a_peak_above_zero_is_undefined():
    candidates = bots(record(drawdown=None, drawdown_undefined="the peak is not above zero"))
    found = allocate(policy(Method.INVERSE_DRAWDOWN, least_drawdown="0.05"), Decimal(900), 2, candidates)
    assert found.shares[0].reason == "the maximum drawdown is undefined: the peak is not above zero"


def test_profit_factor_weighs_by_what_was_won_for_each_unit_lost():
    candidates = bots(record(profit=Fraction(1200)), record(profit=Fraction(1800)), record(profit=Fraction(600)))
    found = allocate(policy(), Decimal(1000), 2, candidates)
    assert [share.weight for share in found.shares] == [Fraction(2, 5), Fraction(3, 5), 0]
    assert found.shares[2].reason == "the profit factor 1 is not above 1"


def test_a_profit_factor_of_nothing_lost_is_never_a_number_of_our_own():
    lossless = record(wins=10, losses=0, loss=Fraction(0))
    bare = allocate(policy(), Decimal(900), 2, bots(lossless, record()))
    assert [share.weight for share in bare.shares] == [0, 1]
    assert bare.shares[0].reason == "the profit factor is undefined: nothing was lost"
    said = allocate(policy(most="4"), Decimal(900), 2, bots(lossless, record()))
    assert [share.weight for share in said.shares] == [Fraction(2, 3), Fraction(1, 3)]


def test_a_bot_that_neither_won_nor_lost_has_no_profit_factor_whatever_the_ceiling():
    even = record(wins=0, losses=0, profit=Fraction(0), loss=Fraction(0))
    found = allocate(policy(most="4"), Decimal(900), 2, bots(even))
    assert found.shares[0].reason == "the profit factor is undefined: nothing was lost"
    assert (found.remainder, found.remainder_reason) == (900, "no bot takes part")


def test_an_undefined_metric_refuses_everything_when_the_policy_says_so():
    with pytest.raises(rules.UndefinedError) as refused:
        allocate(policy(undefined="REFUSE"), Decimal(900), 2, bots(record(loss=Fraction(0)), record()))
    assert refused.value.problems == ["bot bot-1: the profit factor is undefined: nothing was lost"]


def test_kelly_stakes_a_fraction_of_f_and_leaves_the_rest():
    # W = 0.6, R = (1200 / 6) / (600 / 4) = 4 / 3, f = 0.6 - 0.4 / (4 / 3) = 0.3; half of it.
    found = allocate(policy(Method.FRACTIONAL_KELLY, fraction="0.5"), Decimal(1000), 2, bots(record()))
    assert found.shares[0].score == Decimal("0.3")
    assert found.shares[0].weight == Fraction(15, 100)
    assert (amounts(found), found.remainder) == (["150"], 850)
    assert found.remainder_reason == "Kelly stakes no more (0 of 1 bots at the cap of 1)"


def test_kelly_counts_an_even_trade_as_not_won():
    assert rules.kelly(record(closed_trades=12)).value == Decimal("0.125")  # 0.5 - 0.5 / (4 / 3)


def test_kelly_of_a_losing_bot_is_nothing_and_the_line_says_why():
    found = allocate(policy(Method.FRACTIONAL_KELLY), Decimal(1000), 2, bots(record(profit=Fraction(600))))
    assert found.shares[0].reason == "the Kelly fraction 0 is not above 0"
    found = allocate(policy(Method.FRACTIONAL_KELLY), Decimal(1000), 2, bots(record(profit=Fraction(300))))
    assert found.shares[0].reason == "the Kelly fraction -0.6 is not above 0"
    never = allocate(policy(Method.FRACTIONAL_KELLY), Decimal(1000), 2, bots(record(wins=0, profit=Fraction(0))))
    assert never.shares[0].reason == "no trade won: Kelly stakes nothing"


def test_kelly_without_a_lost_trade_is_undefined():
    found = allocate(policy(Method.FRACTIONAL_KELLY), Decimal(1000), 2, bots(record(wins=10, losses=0, loss=ZERO)))
    assert found.shares[0].reason == "the Kelly fraction is undefined: no trade lost"


ZERO = Fraction(0)


def test_kelly_stakes_that_are_more_than_everything_shrink_together():
    strong = record(closed_trades=10, wins=9, losses=1, profit=Fraction(9000), loss=Fraction(100))
    found = allocate(policy(Method.FRACTIONAL_KELLY, fraction="1"), Decimal(300), 2, bots(strong, strong, strong))
    assert [share.weight for share in found.shares] == [Fraction(1, 3)] * 3
    assert found.remainder == 0


def test_what_a_cap_takes_off_goes_to_the_others_in_proportion():
    candidates = bots(record(profit=Fraction(6000)), record(profit=Fraction(1800)), record(profit=Fraction(1200)))
    found = allocate(policy(cap="0.4"), Decimal(1000), 2, candidates)
    assert [share.weight for share in found.shares] == [Fraction(2, 5), Fraction(9, 25), Fraction(6, 25)]
    assert found.remainder == 0


def test_what_caps_leave_is_the_stated_remainder():
    found = allocate(policy(cap="0.3"), Decimal(1000), 2, bots(record(), record()))
    assert amounts(found) == ["300", "300"]
    assert (found.remainder, found.remainder_reason) == (400, "2 of 2 bots at the cap of 0.3")


def test_a_floor_lifts_the_least_and_the_others_give_in_proportion():
    candidates = bots(record(profit=Fraction(6600)), record(profit=Fraction(660)), record(profit=Fraction(660)))
    found = allocate(policy(floor="0.1"), Decimal(1000), 2, candidates)
    assert [share.weight for share in found.shares] == [Fraction(4, 5), Fraction(1, 10), Fraction(1, 10)]


def test_floors_of_more_than_everything_are_refused():
    with pytest.raises(rules.FloorsTooHighError, match=r"the floor 0\.4 for each of 3 bots is 1\.2: over 1"):
        allocate(policy(floor="0.4"), Decimal(1000), 2, bots(record(), record(), record()))


def test_only_the_best_take_part_and_of_equal_ones_the_first_by_id():
    candidates = bots(record(), record(profit=Fraction(1800)), record())
    found = allocate(policy(max_bots=2), Decimal(1000), 2, candidates)
    assert [share.weight for share in found.shares] == [Fraction(2, 5), Fraction(3, 5), 0]
    assert found.shares[2].reason == "not among the best 2"


def test_a_killed_bot_and_one_with_too_little_history_get_nothing_and_the_line_says_why():
    killed = Candidate("bot-0", None, "killed since 2026-01-01T00:00:00.000000Z")
    candidates = [killed, *bots(record(), record(closed_trades=4, days=9))]
    found = allocate(policy(Method.EQUAL, closed_trades=5, days=10), Decimal(1000), 2, candidates)
    assert amounts(found) == ["0", "1000", "0"]
    assert found.shares[0].reason == "killed since 2026-01-01T00:00:00.000000Z"
    assert found.shares[2].reason == "too little history: 4 closed trades of 5, 9 days of 10"


def test_history_that_is_just_enough_is_enough():
    found = allocate(policy(Method.EQUAL, closed_trades=10, days=100), Decimal(1000), 2, bots(record()))
    assert amounts(found) == ["1000"]


def test_a_share_below_one_minor_unit_says_so():
    found = allocate(policy(Method.EQUAL), Decimal("0.02"), 2, bots(record(), record(), record()))
    assert amounts(found) == ["0.01", "0.01", "0"]
    assert found.shares[2].reason == "its share is less than one minor unit"


def test_nobody_is_rounded_up_over_the_cap():
    found = allocate(policy(Method.EQUAL, cap="0.5"), Decimal("100.01"), 2, bots(record(), record()))
    assert amounts(found) == ["50", "50"]
    assert str(found.remainder) == "0.01"
    assert found.remainder_reason == "minor units that no bot may take without going over the cap"


@pytest.mark.parametrize(("places", "expected"), [(0, ["34", "33", "33"]), (3, ["33.334", "33.333", "33.333"])])
def test_the_minor_unit_is_the_currency_s(places: int, expected: list[str]):
    assert amounts(allocate(policy(Method.EQUAL), Decimal(100), places, bots(*[record()] * 3))) == expected


def test_a_capital_of_38_digits_is_divided_without_rounding():
    capital = Decimal("99999999999999999999.999999999999999999")
    found = allocate(policy(Method.EQUAL), capital, 18, bots(record(), record(), record()))
    assert amounts(found) == ["33333333333333333333.333333333333333333"] * 3


# ---- laws ----------------------------------------------------------------------------------------------------------

#: However busy the machine is.
law = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])

_MONEY = st.fractions(min_value=0, max_value=10**9, max_denominator=10**6)


@st.composite
def _records(draw: st.DrawFn) -> Record:
    wins, losses, even = (draw(st.integers(0, 50)) for _ in range(3))
    return record(
        closed_trades=wins + losses + even,
        wins=wins,
        losses=losses,
        profit=draw(_MONEY) + wins if wins else ZERO,
        loss=draw(_MONEY) + losses if losses else ZERO,
        drawdown=draw(st.fractions(min_value=0, max_value=2, max_denominator=10**6)),
        days=draw(st.integers(0, 400)),
    )


@st.composite
def _policies(draw: st.DrawFn) -> rules.Policy:
    method = draw(st.sampled_from(Method))
    cap = draw(st.integers(1, 1000))
    floor = draw(st.integers(0, min(cap, 1000 // 8)))
    own = {
        Method.INVERSE_DRAWDOWN: draw(st.sampled_from([{}, {"least_drawdown": "0.01"}])),
        Method.PROFIT_FACTOR: draw(st.sampled_from([{}, {"most": "3"}])),
        Method.FRACTIONAL_KELLY: {"fraction": draw(st.sampled_from(["0.25", "1"]))},
    }.get(method, {})
    return policy(
        method,
        floor=str(Decimal(floor) / 1000),
        cap=str(Decimal(cap) / 1000),
        max_bots=None if method is Method.EQUAL else draw(st.sampled_from([None, 1, 3, 8])),
        closed_trades=draw(st.sampled_from([0, 10])),
        **own,
    )


_CAPITAL = st.integers(1, 10**12)
_DESKS = st.lists(_records(), min_size=1, max_size=8)


@law
@given(_policies(), _CAPITAL, _DESKS)
def test_lines_and_remainder_are_the_capital_to_the_last_minor_unit(p: rules.Policy, units: int, records: list[Record]):
    capital = rules.money(units, 2)
    found = allocate(p, capital, 2, bots(*records))
    assert sum((share.amount for share in found.shares), found.remainder) == capital
    assert sum((share.weight for share in found.shares), ZERO) <= 1
    assert found.remainder >= 0
    assert bool(found.remainder) == bool(found.remainder_reason)
    assert all(share.amount or share.reason for share in found.shares)


@law
@given(_policies(), _CAPITAL, _DESKS, st.randoms())
def test_the_order_in_which_bots_come_changes_nothing(p: rules.Policy, units: int, records: list[Record], chance: Any):
    candidates = bots(*records)
    shuffled = chance.sample(candidates, len(candidates))
    assert allocate(p, Decimal(units), 2, candidates) == allocate(p, Decimal(units), 2, shuffled)


@law
@given(_policies(), _CAPITAL, _DESKS)
def test_caps_and_floors_hold_for_every_weight_and_amount(p: rules.Policy, units: int, records: list[Record]):
    found = allocate(p, rules.money(units, 2), 2, bots(*records))
    floor, cap = Fraction(p.floor), Fraction(p.cap)
    for share in found.shares:
        assert not share.weight or floor <= share.weight <= cap
        assert Fraction(share.amount) * 100 <= cap * units
        if share.weight:
            assert int(floor * units) <= share.amount * 100
            assert abs(Fraction(share.amount) * 100 - share.weight * units) < 1


def _better(method: Method, found: Record) -> Record:
    """The same bot with a better metric."""
    if method is Method.INVERSE_DRAWDOWN:
        assert found.drawdown is not None
        return record(**{**_fields(found), "drawdown": found.drawdown / 2})
    return record(**{**_fields(found), "profit": found.profit * 2})


def _fields(found: Record) -> dict[str, Any]:
    return {name: getattr(found, name) for name in Record.__dataclass_fields__}


def _defined(method: Method, found: Record) -> bool:
    metric = {
        Method.INVERSE_DRAWDOWN: rules.drawdown,
        Method.PROFIT_FACTOR: rules.profit_factor,
        Method.FRACTIONAL_KELLY: rules.kelly,
    }.get(method)
    value = metric(found).value if metric else Decimal(1)
    return value is not None and value != 0


@law
@given(_policies(), _CAPITAL, _DESKS)
def test_a_better_metric_never_gives_a_bot_less(p: rules.Policy, units: int, records: list[Record]):
    first, *others = records
    better = _better(p.method, first)
    assume(_defined(p.method, first))
    assume(_defined(p.method, better))
    assume(_floors_fit(p, [better, *others]))
    before = allocate(p, Decimal(units), 2, bots(first, *others)).shares[0]
    after = allocate(p, Decimal(units), 2, bots(better, *others)).shares[0]
    assert after.weight >= before.weight


def _floors_fit(p: rules.Policy, records: Sequence[Record]) -> bool:
    return p.floor * len(records) <= 1


_SCORES = st.lists(st.fractions(min_value=Fraction(1, 10**6), max_value=10**6), min_size=1, max_size=12)


@law
@given(_SCORES, st.data())
def test_filling_meets_the_total_exactly_and_keeps_the_order_of_scores(scores: list[Fraction], data: st.DataObject):
    count = len(scores)
    cap = data.draw(st.fractions(min_value=Fraction(1, 10**4), max_value=1))
    floor = data.draw(st.fractions(min_value=0, max_value=cap))
    total = data.draw(st.fractions(min_value=count * floor, max_value=count * cap))
    found = rules.filled(scores, floor, cap, total)
    assert sum(found) == total
    assert all(floor <= weight <= cap for weight in found)
    pairs = sorted(zip(scores, found, strict=True))
    assert [weight for _, weight in pairs] == sorted(found)
    level = {weight / score for score, weight in pairs if floor < weight < cap}
    assert len(level) <= 1, "between floor and cap, weights are in proportion to scores"
