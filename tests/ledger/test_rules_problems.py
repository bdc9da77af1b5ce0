"""What is missing is named with every row that needs it, and there is never a number instead."""

from __future__ import annotations

import dataclasses
import itertools
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blaidctl.ledger import engine, rules
from blaidctl.ledger.rules import Flow, Instrument, OutOfOrderError, Problem, RowName
from blaidctl.ledger.vocabulary import Basis, FlowKind, ProblemKind
from tests.ledger import books
from tests.ledger.books import BTC, VOD, answer, at, figures, fills, initial, question, questions
from tests.ledger.slow import Fill, rows

if TYPE_CHECKING:
    from collections.abc import Iterable

UNIT = {BTC: Instrument("USD", Decimal(1))}


def asked(**changes: Any) -> rules.Question:
    return question(**{"instruments": UNIT, "flows": [initial(1000)], **changes})


def problems(ask: rules.Question, book: Iterable[Fill]) -> list[Problem]:
    found = answer(ask, book)
    assert found.figures is None
    return list(found.problems)


def minute(n: int) -> str:
    return at(5, f"09:{n:02}:00")


def test_no_starting_capital():
    deposit = Flow(at(5, "08:00:00"), FlowKind.DEPOSIT, Decimal(5), "USD", 9)
    for flows in ([], [deposit]):
        assert problems(asked(flows=flows), fills("BUY 1 @ 1")) == [Problem(ProblemKind.NO_STARTING_CAPITAL, (), 1, ())]


def test_what_lies_before_the_starting_capital_is_named():
    flows = [initial(1000, minute(2)), Flow(at(5, "08:00:00"), FlowKind.DEPOSIT, Decimal(5), "USD", 9)]
    same_moment = Fill(minute(1), "t001b", BTC, "BUY", Decimal(1), Decimal(1))
    found = problems(asked(flows=flows), [*fills("BUY 1 @ 1", "BUY 1 @ 1", "BUY 1 @ 1"), same_moment])
    assert found == [
        Problem(
            ProblemKind.BEFORE_STARTING_CAPITAL, (), 4,
            (RowName(9, at(5, "08:00:00"), None), RowName(1, minute(0), "t000"), RowName(2, minute(1), "t001"),
             RowName(3, minute(1), "t001b")),
        ),
    ]  # fmt: skip


def test_an_instrument_that_is_not_known():
    book = [*fills("BUY 1 @ 1", "BUY 2 @ 1"), Fill(minute(2), "x", VOD, "BUY", Decimal(1), Decimal(1))]
    book.append(Fill(minute(3), "y", VOD, "SELL", Decimal(1), Decimal(1)))
    assert problems(asked(), book) == [
        Problem(ProblemKind.NO_INSTRUMENT, VOD, 2, (RowName(3, minute(2), "x"), RowName(4, minute(3), "y")))
    ]


def test_a_sale_without_an_open_lot_where_only_longs_are_allowed():
    book = fills("SELL 1 @ 1", "BUY 2 @ 1", "SELL 3 @ 1", "SELL 1 @ 1", "BUY 2 @ 1", "BUY 1 @ 1")
    assert figures(asked(), book).closed_trades == 3
    assert problems(asked(long_only=True), book) == [
        Problem(ProblemKind.NO_OPEN_LOT, (), 3, tuple(RowName(n + 1, minute(n), f"t00{n}") for n in (0, 2, 3)))
    ]
    assert figures(asked(long_only=True), fills("BUY 2 @ 1", "SELL 1 @ 1", "SELL 1 @ 2")).gross == 1


def test_a_fee_that_the_source_does_not_state():
    book = [dataclasses.replace(f, fee=None) for f in fills("BUY 1 @ 1", "SELL 1 @ 2")]
    named = tuple(RowName(n + 1, minute(n), f"t00{n}") for n in (0, 1))
    assert problems(asked(), book) == [Problem(ProblemKind.NO_FEE, (), 2, named)]
    assert figures(asked(no_fee_imports=frozenset({1})), book).fees == 0
    assert problems(asked(no_fee_imports=frozenset({2})), book)


def test_a_fee_in_a_currency_without_a_rate_that_day():
    book = fills("BUY 1 @ 1", "BUY 1 @ 1", fee="1", currency="BNB")
    later = Fill(at(6), "z", BTC, "BUY", Decimal(1), Decimal(1), Decimal(1), "BNB")
    rates = {("BNB", "USD"): {"2026-01-05": Decimal(2)}}
    assert problems(asked(rates=rates), [*book, later]) == [
        Problem(ProblemKind.NO_RATE, ("BNB", "USD", "2026-01-06"), 1, (RowName(3, at(6), "z"),))
    ]
    # The other way round is another rate.
    found = problems(asked(rates={("USD", "BNB"): rates["BNB", "USD"]}), book)
    named = tuple(RowName(n + 1, minute(n), f"t00{n}") for n in (0, 1))
    assert found == [Problem(ProblemKind.NO_RATE, ("BNB", "USD", "2026-01-05"), 2, named)]


def test_a_fee_of_nothing_needs_no_rate():
    assert figures(asked(), fills("BUY 1 @ 1", fee="0", currency="BNB")).fees == 0


def test_a_result_in_a_currency_without_a_rate_that_day():
    book = fills("BUY 3 @ 1", "SELL 1 @ 2", "SELL 1 @ 2", key=VOD)
    named = tuple(RowName(n + 1, minute(n), f"t00{n}") for n in (1, 2))
    assert problems(question(), book) == [Problem(ProblemKind.NO_RATE, ("GBP", "USD", "2026-01-05"), 2, named)]


def test_capital_in_a_currency_without_a_rate_that_day():
    found = problems(asked(flows=[initial(1, currency="EUR")]), [])
    assert found == [Problem(ProblemKind.NO_RATE, ("EUR", "USD", "2026-01-05"), 1, (RowName(1, books.START, None),))]


def test_a_mark_for_each_day_that_a_position_was_held():
    marks = {BTC: {day: Decimal(1) for day in books.DAYS if day != "2026-01-07"}}
    found = problems(asked(marks=marks, basis=Basis.MARKED), fills("BUY 1 @ 1"))
    assert found == [Problem(ProblemKind.NO_MARK, (*BTC, "2026-01-07"), 1, ())]
    # Nothing held, nothing needed; and what is realized needs no mark at all.
    assert figures(asked(basis=Basis.MARKED), fills("BUY 1 @ 1", "SELL 1 @ 1")).equity == 1000
    assert figures(asked(), fills("BUY 1 @ 1")).equity == 1000


def test_a_mark_in_a_currency_without_a_rate_that_day():
    marks = {VOD: dict.fromkeys(books.DAYS, Decimal(1))}
    rates = {("GBP", "USD"): {day: Decimal(1) for day in books.DAYS if day != "2026-01-08"}}
    found = problems(question(marks=marks, rates=rates, basis=Basis.MARKED), fills("BUY 1 @ 1", key=VOD))
    assert found == [Problem(ProblemKind.NO_RATE, ("GBP", "USD", "2026-01-08"), 1, ())]


def test_all_problems_are_told_at_once():
    book = [dataclasses.replace(f, fee=None) for f in fills("SELL 1 @ 1", "BUY 1 @ 1")]
    foreign = Fill(minute(5), "x", VOD, "BUY", Decimal(1), Decimal(1), Decimal(1), "BNB")
    found = problems(
        question(instruments={**UNIT, VOD: books.INSTRUMENTS[VOD]}, flows=[], long_only=True), [*book, foreign]
    )
    assert [p.kind for p in found] == [
        ProblemKind.NO_STARTING_CAPITAL, ProblemKind.NO_OPEN_LOT, ProblemKind.NO_FEE, ProblemKind.NO_RATE,
    ]  # fmt: skip


def test_a_thousand_rows_are_named_and_all_are_counted():
    count = rules.NAMED_ROWS + 5
    book = [Fill(at(5, micro=n), f"{n:06}", VOD, "BUY", Decimal(1), Decimal(1)) for n in range(count)]
    (found,) = problems(asked(), book)
    assert (found.count, len(found.rows), found.rows[-1].venue_trade_id) == (count, rules.NAMED_ROWS, "000999")


@given(books.books(), questions(), st.data())
def test_whatever_is_taken_away_leaves_the_same_figures_or_none(
    book: list[Fill], ask: rules.Question, data: st.DataObject
):
    """Each rate, mark and instrument in turn: if figures come, they are those of the whole; else it is named."""
    whole = figures(ask, book)
    days = [("rates", pair, day) for pair in ask.rates for day in books.DAYS]
    days += [("marks", key, day) for key in ask.marks for day in books.DAYS]
    where, key, day = data.draw(st.sampled_from(days))
    held = getattr(ask, where)
    less = {**held, key: {d: v for d, v in held[key].items() if d != day}}
    found = answer(dataclasses.replace(ask, **{where: less}), book)
    if found.figures is None:
        assert [(p.subject[: len(key)], p.subject[-1]) for p in found.problems] == [(key, day)]
    else:
        assert found.figures == whole
    kept = {k: v for k, v in ask.instruments.items() if k not in {f.key for f in book[:1]}}
    assert (answer(dataclasses.replace(ask, instruments=kept), book).figures is None) == bool(book)


def test_fills_out_of_order_stop_the_engine():
    found = rows(fills("BUY 1 @ 1", "BUY 1 @ 2", "BUY 1 @ 3"))
    for order in itertools.permutations(found):
        if list(order) != found:
            with pytest.raises(OutOfOrderError, match="came after"):
                engine.compute(asked(), [order])
    with pytest.raises(OutOfOrderError, match="came after"):
        engine.compute(asked(), [found, found[-1:]])


def test_time_comes_before_ids():
    first, second = rows(fills("BUY 1 @ 1", "BUY 1 @ 2"))
    first, second = (first[0], "b", *first[2:]), (second[0], "a", *second[2:])
    assert engine.compute(asked(), [[first, second]]).figures is not None
    with pytest.raises(OutOfOrderError, match="came after"):
        engine.compute(asked(), [[second, first]])


def test_fills_of_one_moment_out_of_order_stop_the_engine():
    one, other = (rows([Fill(minute(0), name, BTC, "BUY", Decimal(1), Decimal(1))])[0] for name in "ab")
    assert engine.compute(asked(), [[one], [other]]).figures is not None
    with pytest.raises(OutOfOrderError, match="came after"):
        engine.compute(asked(), [[other], [one]])


def test_what_is_later_than_as_of_stops_the_engine():
    for when in ("2026-01-11T18:00:00.000001Z", "2026-01-12T00:00:00.000000Z"):
        late = Fill(when, "z", BTC, "BUY", Decimal(1), Decimal(1))
        with pytest.raises(OutOfOrderError, match="is later than"):
            answer(asked(), [*fills("BUY 1 @ 1"), late])
        with pytest.raises(OutOfOrderError, match="is later than"):
            answer(asked(flows=[initial(), Flow(when, FlowKind.DEPOSIT, Decimal(1), "USD", 2)]), [])
    assert figures(asked(as_of=minute(0)), fills("BUY 1 @ 1")).fills == 1


def test_a_number_that_does_not_fit_the_narrow_road_is_no_nought():
    (row,) = rows(fills("BUY 1 @ 1"))
    for column, error in ((7, ValueError), (8, TypeError)):
        with pytest.raises(error):
            engine.compute(asked(), [[(*row[:column], None, *row[column + 1 :])]])  # type: ignore[list-item]
