"""A policy file is read wholly or not at all."""

from __future__ import annotations

from decimal import Decimal

import pytest

from blaidctl.allocation import policy
from blaidctl.allocation.vocabulary import Method, Shipped, Undefined
from blaidctl.ledger.vocabulary import Basis, LotMethod
from tests.allocation.work import GOOD, policy_text


@pytest.mark.parametrize("name", Shipped)
def test_every_policy_that_ships_is_valid_and_names_its_formula_and_source(name: Shipped):
    text = policy.shipped(name)
    found = policy.document(name, text)
    assert found.policy.method.lower().replace("_", "-") == name
    assert "# Source: " in text
    assert "weight" in text


def test_the_shipped_kelly_says_which_estimate_and_whose():
    text = policy.shipped("fractional-kelly")
    assert "f      = W - (1 - W) / R" in text
    assert "Kelly, " in text
    assert "Thorp, " in text


def test_a_policy_says_everything_that_it_means():
    found = policy.document("desk", policy_text(floor="0.05", cap="0.5", max_bots=4, closed_trades=7, days=3)).policy
    assert found.method is Method.PROFIT_FACTOR
    assert (found.lot_method, found.basis, found.undefined) == (LotMethod.FIFO, Basis.REALIZED, Undefined.NOTHING)
    assert (found.floor, found.cap, found.max_bots) == (Decimal("0.05"), Decimal("0.5"), 4)
    assert (found.closed_trades, found.days) == (7, 3)
    assert (found.above_profit_factor, found.most_profit_factor) == (Decimal(1), None)


def test_an_edited_comment_is_another_policy():
    one, other = policy.document("a", GOOD), policy.document("a", GOOD + "# as agreed\n")
    assert one.policy == other.policy
    assert one.sha256 != other.sha256


_REFUSED = {
    "leverage = 2\n": "leverage: there is no such key for PROFIT_FACTOR",
    "[fractional_kelly]\nfraction = '0.5'\n": "fractional_kelly.fraction: there is no such key for PROFIT_FACTOR",
    "[weights.more]\ncap = '1'\n": "weights.more: there is no such key for PROFIT_FACTOR",
    "[other]\n": "other: there is no such key for PROFIT_FACTOR",
}


@pytest.mark.parametrize(("more", "problem"), _REFUSED.items())
def test_a_key_that_nobody_knows_is_refused(more: str, problem: str):
    text = more + GOOD if more.startswith("leverage") else GOOD + more
    with pytest.raises(policy.PolicyProblemsError) as refused:
        policy.document("desk", text)
    assert refused.value.problems == [problem]


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"cap": "1.01"}, "weights.cap: 1.01 is not within above 0 up to 1"),
        ({"cap": "0"}, "weights.cap: 0 is not within above 0 up to 1"),
        ({"cap": "-0.1"}, "weights.cap: -0.1 is not within above 0 up to 1"),
        ({"floor": "1.5"}, "weights.floor: 1.5 is not within from 0 up to 1"),
        ({"floor": "0.6", "cap": "0.5"}, "weights: the floor 0.6 is above the cap 0.5"),
        ({"floor": "0.3", "max_bots": 4}, "weights: the floor 0.3 for 4 bots is 1.2: over 1"),
        ({"cap": "half"}, "weights.cap: 'half' is not a decimal number"),
        ({"cap": "NaN"}, "weights.cap: NaN is not a finite number"),
        ({"cap": "0.1234567890123"}, "weights.cap: 0.1234567890123 has more than 12 decimal places"),
        ({"max_bots": 0}, "weights.max_bots: 0 is not within 1 to 1000000"),
        ({"closed_trades": -1}, "history.closed_trades: -1 is not within 0 to 1000000"),
    ],
)
def test_weights_over_1_and_other_impossible_numbers_are_refused(changed: dict[str, object], problem: str):
    with pytest.raises(policy.PolicyProblemsError) as refused:
        policy.document("desk", policy_text(**changed))
    assert problem in refused.value.problems


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('cap = "1"', "cap = 1", "weights.cap: 1 is not a string, and a float is not exact"),
        ('cap = "1"', "cap = 0.5", "weights.cap: 0.5 is not a string, and a float is not exact"),
        ('cap = "1"', "", "weights.cap: it is missing"),
        ("days = 0", "days = 1.5", "history.days: 1.5 is not a whole number"),
        ("days = 0", "days = true", "history.days: True is not a whole number"),
        ("days = 0", 'days = "1"', "history.days: '1' is not a whole number"),
        ("PROFIT_FACTOR", "MARTINGALE", "method: 'MARTINGALE' is none of EQUAL, INVERSE_DRAWDOWN, PROFIT_FACTOR,"),
        ('above = "1"', 'above = "2"\nmost = "2"', "profit_factor: most 2 is not greater than above 2"),
        ('"PROFIT_FACTOR"', "PROFIT_FACTOR", "it is not TOML: "),
        ("", "a = " + "[" * 3000, "it is not TOML: "),
        ("", "#" * 20_000, "it is longer than 16384 bytes"),
    ],
)
def test_what_is_no_policy_is_refused_with_the_key(old: str, new: str, problem: str):
    text = GOOD.replace(old, new) if old else GOOD + new
    with pytest.raises(policy.PolicyProblemsError) as refused:
        policy.document("desk", text)
    assert any(found.startswith(problem) for found in refused.value.problems), refused.value.problems


def test_every_problem_is_named_at_once():
    with pytest.raises(policy.PolicyProblemsError) as refused:
        policy.document("desk", "surprise = 1\n")
    named = {problem.partition(":")[0] for problem in refused.value.problems}
    assert {"method", "lot_method", "basis", "undefined", "weights.floor", "weights.cap", "history.days"} <= named
    assert "surprise" in named


def test_equal_weights_have_no_best_bots():
    text = policy.shipped("equal").replace('cap = "1"', 'cap = "1"\nmax_bots = 3')
    with pytest.raises(policy.PolicyProblemsError, match=r"weights.max_bots: EQUAL has no metric"):
        policy.document("desk", text)
