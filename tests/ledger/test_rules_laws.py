"""Laws that every book obeys, and the same figures by other means."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blaidctl.ledger import engine, rules
from blaidctl.ledger.rules import Drawdown, Figures, Instrument
from blaidctl.ledger.vocabulary import Basis, FlowKind, LotMethod
from tests.ledger import books
from tests.ledger.books import BTC, ES, INSTRUMENTS, ODD, figures, question, questions
from tests.ledger.slow import Fill, Slow, rows

if TYPE_CHECKING:
    import random

USD_ONLY = [ES, BTC]
METHODS = st.sampled_from(LotMethod)


def _fall(drawdown: Drawdown) -> tuple[Any, ...]:
    return (
        drawdown.money, drawdown.fraction.value, drawdown.start, drawdown.trough, drawdown.recovery,
        drawdown.duration_us,
    )  # fmt: skip


def told(found: Figures) -> dict[str, Any]:
    """The engine's figures as the slow implementation names them."""
    ratios = ["profit_factor", "win_rate", "expectancy", "return_on_capital", "exposure"]
    plain = [
        "fills", "gross", "fees", "net", "closed_trades", "wins", "losses", "even", "profit", "loss", "exposed_us",
        "equity", "peak",
    ]  # fmt: skip
    return {
        **{name: getattr(found, name) for name in plain},
        **{name: getattr(found, name).value for name in ratios},
        "max_drawdown": _fall(found.max_drawdown),
        "max_drawdown_by_fraction": _fall(found.max_drawdown_by_fraction),
        "positions": {p.key: p.quantity for p in found.positions},
        "days": [dataclasses.astuple(day) for day in found.days],
    }


@settings(max_examples=300, deadline=None)
@given(books.books(), questions(), st.integers(1, 7))
def test_every_figure_equals_that_of_a_slow_implementation(book: list[Fill], asked: rules.Question, size: int):
    assert told(figures(asked, book, size)) == Slow(asked, book).figures()


@given(books.books(), questions())
def test_a_closed_book_realized_what_flowed(book: list[Fill], asked: rules.Question):
    flat = [dataclasses.replace(f, fee=None) for f in books.closed(book)]
    one_rate = {pair: dict.fromkeys(days, Decimal("1.25")) for pair, days in asked.rates.items()}
    found = figures(dataclasses.replace(asked, rates=one_rate, basis=Basis.REALIZED), flat)
    flowed = Fraction(0)
    for fill in flat:
        terms = INSTRUMENTS[fill.key]
        value = Fraction(terms.point_value) / Fraction(terms.price_magnifier)
        flowed -= fill.signed * Fraction(fill.price) * value * (1 if terms.currency == "USD" else Fraction("1.25"))
    assert found.gross == flowed
    assert found.positions == ()


@given(books.books(USD_ONLY), questions())
def test_fifo_and_average_agree_on_a_flat_book(book: list[Fill], asked: rules.Question):
    flat = books.closed(book)
    fifo, average = (
        figures(dataclasses.replace(asked, lot_method=method, basis=Basis.REALIZED), flat) for method in LotMethod
    )
    same = ("gross", "fees", "net", "closed_trades", "wins", "losses", "even", "profit", "loss", "exposed_us", "equity")
    assert [getattr(fifo, name) for name in same] == [getattr(average, name) for name in same]


@given(books.books(), questions(), st.randoms(use_true_random=False), st.integers(1, 20))
def test_neither_the_order_of_the_input_nor_its_batches_matter(
    book: list[Fill], asked: rules.Question, shuffler: random.Random, size: int
):
    shuffled = list(book)
    shuffler.shuffle(shuffled)
    assert figures(asked, shuffled, size) == figures(asked, book, 1)


@given(books.books(), questions())
def test_the_wide_road_gives_the_same_figures(book: list[Fill], asked: rules.Question):
    narrow = rows(book)
    exact = [
        (*row[:7], format(Decimal(row[7]).scaleb(-8), "f"), Decimal(row[8]).scaleb(-8),
         None if row[9] is None else Decimal(row[9]).scaleb(-8), *row[10:])
        for row in narrow
    ]  # fmt: skip
    wide = dataclasses.replace(asked, places=rules.EXACT_PLACES)
    assert engine.compute(wide, rules.exact_rows([exact])) == engine.compute(asked, [narrow])


@given(books.books([BTC]), questions(), METHODS, st.integers(2, 9))
def test_results_scale_with_the_point_value(book: list[Fill], asked: rules.Question, method: LotMethod, times: int):
    free = [dataclasses.replace(f, fee=None) for f in book]
    one = dataclasses.replace(
        asked, lot_method=method, flows=[books.initial()], instruments={BTC: Instrument("USD", Decimal(1))}
    )
    many = dataclasses.replace(one, instruments={BTC: Instrument("USD", Decimal(times))})
    small, large = figures(one, free), figures(many, free)
    if method == LotMethod.FIFO:
        assert large.gross == small.gross * times
        assert large.max_drawdown.money == small.max_drawdown.money * times
    # The cost of a part is rounded down at 10^-36, so that of a larger contract is rounded elsewhere.
    assert abs(large.gross - small.gross * times) <= Fraction(len(book) * times, 10**36)
    assert large.exposed_us == small.exposed_us


@given(books.books(), questions(), st.integers(2, 4))
def test_a_fill_in_pieces_of_one_moment_and_price_gives_the_same(book: list[Fill], asked: rules.Question, count: int):
    asked = dataclasses.replace(asked, lot_method=LotMethod.FIFO)
    cut = [piece for fill in book for piece in books.pieces(fill, count)]
    whole, parts = figures(asked, book), figures(asked, cut)
    for found in (whole, parts):
        assert found.fills in {len(book), len(cut)}
    # The open lots are as many as there were pieces.
    blank = {"fills": 0, "positions": ()}
    assert dataclasses.replace(parts, **blank) == dataclasses.replace(whole, **blank)
    assert [(p.key, p.quantity, p.cost) for p in parts.positions] == [
        (p.key, p.quantity, p.cost) for p in whole.positions
    ]


@given(books.books(), questions())
def test_a_flow_moves_equity_and_no_drawdown(book: list[Fill], asked: rules.Question):
    plain = dataclasses.replace(asked, flows=[books.initial()])
    more = rules.Flow(books.at(7, "12:00:00"), FlowKind.DEPOSIT, Decimal(1000), "USD", 2)
    found = figures(dataclasses.replace(plain, flows=[more, books.initial()]), book)
    before = figures(plain, book)
    assert (found.max_drawdown.money, found.net) == (before.max_drawdown.money, before.net)
    assert found.equity == before.equity + 1000


@given(books.books(), questions())
def test_the_curve_has_the_drawdown_that_is_reported(book: list[Fill], asked: rules.Question):
    points: list[tuple[str, int, int, int]] = []
    found = engine.compute(
        asked, books.batches(rows(book), 2), lambda told, unit: points.extend((*point, unit) for point in told)
    ).figures
    assert found is not None
    assert [p[0] for p in points] == sorted({p[0] for p in points})
    deepest = max((Fraction(peak - equity, unit) for _, equity, peak, unit in points), default=Fraction(0))
    assert deepest == found.max_drawdown.money
    if points:
        assert Fraction(points[-1][1], points[-1][3]) == found.equity


@given(books.books(), questions())
def test_days_and_months_sum_to_the_whole(book: list[Fill], asked: rules.Question):
    found = figures(asked, book)
    for parts in (found.days, found.months()):
        assert sum(p.net for p in parts) == found.net
        assert sum(p.closed_trades for p in parts) == found.closed_trades
        assert sum(p.flows for p in parts) == found.starting_capital + found.deposits - found.withdrawals


@pytest.mark.parametrize("method", LotMethod)
def test_numbers_of_any_size_stay_exact(method: LotMethod):
    """19 digits before the point and 18 after it, on an instrument whose value has no end in decimals."""
    huge, tiny = Decimal("9999999999999999999.999999999999999999"), Decimal("0.000000000000000001")
    book = [
        Fill(books.at(5), "a", ODD, "BUY", huge, huge, tiny),
        Fill(books.at(6), "b", ODD, "SELL", huge - tiny, tiny, tiny),
        Fill(books.at(7), "c", ODD, "SELL", huge, huge, tiny),
    ]
    rates = {("EUR", "USD"): dict.fromkeys(books.DAYS, Decimal("1.000000000000000001"))}
    asked = question(places=18, lot_method=method, rates=rates)
    found = figures(asked, book)
    slow = Slow(asked, book).figures()
    assert (found.gross, found.net, found.loss) == (slow["gross"], slow["net"], slow["loss"])
