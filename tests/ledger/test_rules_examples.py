"""Books small enough to be worked out by hand; the working stands beside each."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from fractions import Fraction

import pytest

from blaidctl.ledger import engine, rules
from blaidctl.ledger.rules import Flow, Instrument
from blaidctl.ledger.vocabulary import Basis, FlowKind, LotMethod
from tests.ledger import books
from tests.ledger.books import BTC, ES, VOD, at, figures, fills, initial, question
from tests.ledger.slow import Fill, rows

UNIT = {BTC: Instrument("USD", Decimal(1))}


def asked(**changes: object) -> rules.Question:
    return question(**{"instruments": UNIT, "flows": [initial(1000)], **changes})


# ---- lots ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "gross", "cost"), [(LotMethod.FIFO, 20, 20), (LotMethod.AVERAGE, 15, 15)])
def test_one_ledger_realizes_what_its_lot_method_says(method: LotMethod, gross: int, cost: int):
    """Bought at 10 and at 20, one sold at 30: FIFO 30 - 10 = 20 and the one of 20 stays, AVERAGE 30 - 15 = 15."""
    found = figures(asked(lot_method=method), fills("BUY 1 @ 10", "BUY 1 @ 20", "SELL 1 @ 30"))
    assert found.gross == gross
    (position,) = found.positions
    assert (position.quantity, position.cost, position.average_price, position.lots) == (1, cost, cost, 1)


def test_average_of_unequal_parts_weighs_them():
    """10 at 15 and 30 at 17.50: (150 + 525) / 40 = 16.875; the plain mean of the two prices would be 16.25."""
    found = figures(asked(lot_method=LotMethod.AVERAGE), fills("BUY 10 @ 15", "BUY 30 @ 17.5"))
    assert found.positions[0].average_price == Fraction(16875, 1000)


def test_a_part_of_an_average_position_is_rounded_down_and_the_rest_stays():
    """3 for 10 in all; one sold at 5: its cost is 3.33… cut at 10^-36, and the last two leave with all that is left."""
    book = fills("BUY 1 @ 4", "BUY 2 @ 3", "SELL 1 @ 5", "SELL 1 @ 5", "SELL 1 @ 5")
    found = figures(asked(lot_method=LotMethod.AVERAGE), book[:3])
    third = Fraction(10**37 // 3, 10**36)
    assert found.gross == 5 - third
    assert found.positions[0].cost == 10 - third
    assert figures(asked(lot_method=LotMethod.AVERAGE), book).gross == 5


def test_the_part_of_a_position_below_zero_is_rounded_down_too():
    """A price below zero, as futures have had it: 3 for -10 in all; a third is -3.33…, rounded down it is larger."""
    book = fills("BUY 1 @ -4", "BUY 2 @ -3", "SELL 1 @ 5")
    found = figures(asked(lot_method=LotMethod.AVERAGE), book)
    assert found.gross == 5 + Fraction(10**37 // 3 + 1, 10**36)


def test_a_short_wins_when_the_price_falls():
    found = figures(asked(), fills("SELL 2 @ 30", "BUY 1 @ 25", "BUY 1 @ 32"))
    assert (found.gross, found.wins, found.losses, found.closed_trades) == (3, 1, 0, 1)


def test_a_flip_closes_one_trade_and_opens_the_next_and_its_fee_goes_with_the_first():
    """Long 1 at 10, sell 3 at 12: +2, less fees of 1 and 1 = 0: even. Short 2 at 12, bought at 11: +2 - 1 = 1: won."""
    found = figures(asked(), fills("BUY 1 @ 10", "SELL 3 @ 12", "BUY 2 @ 11", fee="1"))
    assert (found.closed_trades, found.wins, found.losses, found.even) == (2, 1, 0, 1)
    assert (found.gross, found.fees, found.net, found.profit, found.loss) == (4, 3, 1, 1, 0)
    assert found.profit_factor == rules.Ratio(None, "no trade was lost")
    assert found.win_rate.value == Fraction(1, 2)
    assert found.expectancy.value == Fraction(1, 2)


def test_trades_of_instruments_that_alternate_are_kept_apart():
    book = [
        *fills("BUY 1 @ 10", fee="1"),
        Fill(at(5, "09:00:30"), "s1", ES, "SELL", Decimal(1), Decimal(100), Decimal(2), "USD"),
        Fill(at(5, "09:01:00"), "s2", BTC, "SELL", Decimal(1), Decimal(15), Decimal(0), "USD"),
        Fill(at(5, "09:01:30"), "s3", ES, "BUY", Decimal(1), Decimal(103), Decimal(0), "USD"),
    ]
    found = figures(asked(instruments={**UNIT, ES: Instrument("USD", Decimal(50))}), book)
    assert (found.profit, found.loss, found.wins, found.losses) == (4, 152, 1, 1)
    # 09:00:00 to 09:01:30, once, though two were open for a while.
    assert found.exposed_us == 90_000_000


def test_one_symbol_on_two_exchanges_or_in_two_asset_classes_is_two_positions():
    keys = [
        ("binance", "BTCUSD", "crypto"),
        ("binance", "BTCUSD", "cryptofuture"),
        ("kraken", "BTCUSD", "cryptofuture"),
    ]
    book = [
        Fill(at(5, micro=n), f"{n}", key, side, Decimal(1), Decimal(10))
        for n, (key, side) in enumerate(zip(keys, ("BUY", "SELL", "BUY"), strict=True))
    ]
    found = figures(asked(instruments=dict.fromkeys(keys, Instrument("USD", Decimal(1)))), book)
    assert [(p.key, p.quantity) for p in found.positions] == [(keys[0], 1), (keys[1], -1), (keys[2], 1)]
    assert found.closed_trades == 0


def test_the_worth_of_a_price_is_its_point_value_over_its_magnifier():
    """100 shares from 150 to 160 pence are 10 pounds, at 1.25 dollars 12.5; the fee of 1 pound is 1.25 dollars."""
    rates = {("GBP", "USD"): {"2026-01-05": Decimal("1.25")}}
    book = fills("BUY 100 @ 150", "SELL 100 @ 160", key=VOD, fee="1", currency="GBP")
    found = figures(question(rates=rates), book)
    assert (found.gross, found.fees, found.net) == (Fraction("12.5"), Fraction("2.5"), 10)


def test_a_result_takes_the_rate_of_the_day_when_it_is_realized():
    book = [
        Fill(at(5), "a", VOD, "BUY", Decimal(100), Decimal(100)),
        Fill(at(6), "b", VOD, "SELL", Decimal(50), Decimal(200)),
        Fill(at(7), "c", VOD, "SELL", Decimal(50), Decimal(200)),
    ]
    rates = {("GBP", "USD"): {"2026-01-06": Decimal(2), "2026-01-07": Decimal(3)}}
    assert figures(question(rates=rates), book).gross == 50 * 2 + 50 * 3


def test_a_rebate_is_a_fee_below_zero_and_a_fee_of_the_account_belongs_to_no_trade():
    flows = [initial(1000), Flow(at(5, "10:00:00"), FlowKind.FEE, Decimal(7), "USD", 2)]
    found = figures(asked(flows=flows), fills("BUY 1 @ 10", "SELL 1 @ 10", fee="-0.5"))
    assert (found.fill_fees, found.account_fees, found.fees, found.net) == (-1, 7, 6, -6)
    assert (found.wins, found.profit, found.equity, found.max_drawdown.money) == (1, 1, 994, 7)


# ---- drawdown --------------------------------------------------------------------------------------------------------


def test_the_first_day_counts():
    """The first fill loses: the peak is the starting capital, from its moment on, not the first equity seen."""
    found = figures(asked(), fills("BUY 10 @ 50", "SELL 10 @ 30"))
    fall = found.max_drawdown
    assert (fall.money, fall.fraction.value) == (200, Fraction(1, 5))
    # The purchase without a fee left equity at its peak; its moment is the last one there.
    assert (fall.start, fall.trough, fall.recovery) == (at(5, "09:00:00"), at(5, "09:01:00"), None)
    assert found.current_drawdown == fall
    assert found.days[0].net == -200


def test_a_fee_alone_starts_a_drawdown_at_the_starting_capital():
    found = figures(asked(), fills("BUY 1 @ 50", fee="3"))
    assert (found.max_drawdown.money, found.max_drawdown.start) == (3, books.START)


def test_the_largest_by_money_and_by_fraction_may_be_two():
    """1000 → 900 (-100, 10 %) → 2000 → 1850 (-150, 7.5 %) → 1900: it is 100 below its peak now."""
    book = fills(
        "BUY 1 @ 200", "SELL 1 @ 100", "BUY 1 @ 100", "SELL 1 @ 1200", "BUY 1 @ 200", "SELL 1 @ 50", "BUY 1 @ 50",
        "SELL 1 @ 100",
    )  # fmt: skip
    found = figures(asked(), book)
    money, fraction, now = found.max_drawdown, found.max_drawdown_by_fraction, found.current_drawdown
    assert (money.money, money.fraction.value) == (150, Fraction(150, 2000))
    assert (money.start, money.trough, money.recovery) == (at(5, "09:04:00"), at(5, "09:05:00"), None)
    assert (fraction.money, fraction.fraction.value) == (100, Fraction(1, 10))
    assert (fraction.start, fraction.trough) == (at(5, "09:00:00"), at(5, "09:01:00"))
    assert (fraction.recovery, fraction.duration_us) == (at(5, "09:03:00"), 3 * 60_000_000)
    assert (now.money, now.trough, now.recovery) == (100, at(5, "09:05:00"), None)
    assert found.peak == 2000


def test_of_equal_drawdowns_the_earliest_counts():
    book = fills("BUY 1 @ 9", "SELL 1 @ 4", "BUY 1 @ 4", "SELL 1 @ 9", "BUY 1 @ 9", "SELL 1 @ 4")
    found = figures(asked(), book)
    assert (found.max_drawdown.trough, found.max_drawdown.recovery) == (at(5, "09:01:00"), at(5, "09:03:00"))


def test_nothing_that_fell_is_no_drawdown():
    found = figures(asked(), fills("BUY 1 @ 9", "SELL 1 @ 10"))
    assert found.max_drawdown == rules.Drawdown(Fraction(0), rules.Ratio(Fraction(0)))
    assert found.current_drawdown == found.max_drawdown


def test_a_withdrawal_is_no_loss_and_makes_the_same_loss_weigh_more():
    """1000 → 900, then 500 leave: 400 under a peak of 500; the loss is still 100, a fifth of the peak now."""
    flows = [initial(1000), Flow(at(5, "10:00:00"), FlowKind.WITHDRAWAL, Decimal(500), "USD", 2)]
    found = figures(asked(flows=flows), fills("BUY 1 @ 200", "SELL 1 @ 100"))
    assert (found.max_drawdown.money, found.max_drawdown.fraction.value) == (100, Fraction(1, 10))
    assert found.max_drawdown_by_fraction.fraction.value == Fraction(1, 5)
    assert found.max_drawdown_by_fraction.trough == at(5, "10:00:00")
    assert (found.peak, found.equity, found.withdrawals) == (500, 400, 500)


def test_the_fraction_of_a_peak_that_is_not_above_zero_is_undefined():
    flows = [initial(100), Flow(at(5, "08:00:00"), FlowKind.WITHDRAWAL, Decimal(100), "USD", 2)]
    found = figures(asked(flows=flows), fills("BUY 1 @ 9", "SELL 1 @ 4"))
    assert found.max_drawdown.money == 5
    assert found.max_drawdown_by_fraction.fraction == rules.Ratio(None, "the peak was not above zero")
    assert found.max_drawdown.fraction.value is None


@pytest.mark.parametrize(("ids", "gross"), [("ab", 5), ("ba", 6)])
def test_fills_of_one_moment_are_taken_in_the_order_of_their_ids(ids: str, gross: int):
    """Bought at 10 and at 9 in one microsecond, one sold at 15: which was first decides what was realized."""
    book = [
        Fill(at(5), ids[0], BTC, "BUY", Decimal(1), Decimal(10)),
        Fill(at(5), ids[1], BTC, "BUY", Decimal(1), Decimal(9)),
        Fill(at(6), "c", BTC, "SELL", Decimal(1), Decimal(15)),
    ]
    assert figures(asked(), book).gross == gross
    assert figures(asked(), list(reversed(book))).gross == gross


def test_equity_has_one_value_a_moment():
    """Two exits in one microsecond, +50 and -80: equity went from 1000 to 970 and was never 1050."""
    book = [
        Fill(at(5), "a", BTC, "BUY", Decimal(1), Decimal(50)),
        Fill(at(5), "b", BTC, "BUY", Decimal(1), Decimal(180)),
        Fill(at(6), "c", BTC, "SELL", Decimal(1), Decimal(100)),
        Fill(at(6), "d", BTC, "SELL", Decimal(1), Decimal(100)),
    ]
    found = figures(asked(), book)
    assert (found.max_drawdown.money, found.peak) == (30, 1000)


# ---- marked ----------------------------------------------------------------------------------------------------------


def test_the_same_book_falls_further_when_it_is_marked():
    """Bought at 100; marks of 100, 40 and 90; sold at 110. Realized, it never fell; marked, by 60 on the second day."""
    book = [
        Fill(at(5), "a", BTC, "BUY", Decimal(1), Decimal(100)),
        Fill(at(8), "b", BTC, "SELL", Decimal(1), Decimal(110)),
    ]
    marks = {BTC: {"2026-01-05": Decimal(100), "2026-01-06": Decimal(40), "2026-01-07": Decimal(90)}}
    assert figures(asked(marks=marks), book).max_drawdown.money == 0
    found = figures(asked(marks=marks, basis=Basis.MARKED), book)
    fall = found.max_drawdown
    assert (fall.money, fall.fraction.value) == (60, Fraction(60, 1000))
    assert (fall.start, fall.trough) == ("2026-01-05T23:59:59.999999Z", "2026-01-06T23:59:59.999999Z")
    assert fall.recovery == "2026-01-08T23:59:59.999999Z"
    assert [(day.day[-2:], day.equity) for day in found.days] == [("05", 1000), ("06", 940), ("07", 990), ("08", 1010)]
    assert (found.net, found.unrealized, found.equity) == (10, 0, 1010)


def test_on_a_day_without_trading_the_last_mark_stands():
    book = [Fill(at(9), "a", BTC, "BUY", Decimal(1), Decimal(100))]
    marks = {BTC: {"2026-01-09": Decimal(90)}}
    weekdays = asked(marks=marks, basis=Basis.MARKED, trades_on=lambda _, day: day not in {"2026-01-10", "2026-01-11"})
    found = figures(weekdays, book)
    assert [day.equity for day in found.days] == [1000, 990, 990, 990]
    assert (found.unrealized, found.positions[0].unrealized) == (-10, -10)


def test_on_a_day_without_trading_the_last_rate_stands_too():
    """100 pounds bought on Friday the 9th, marked at 150 pence and 2 dollars; no rate is asked for at the weekend."""
    book = [Fill(at(9), "a", VOD, "BUY", Decimal(100), Decimal(100))]
    weekdays = question(
        marks={VOD: {"2026-01-09": Decimal(150)}},
        rates={("GBP", "USD"): {"2026-01-09": Decimal(2)}},
        basis=Basis.MARKED,
        trades_on=lambda _, day: day not in {"2026-01-10", "2026-01-11"},
    )
    assert figures(weekdays, book).unrealized == 100


def test_what_is_open_at_the_end_is_marked_then():
    marks = {BTC: {day: Decimal(13) for day in books.DAYS}}
    found = figures(asked(marks=marks, basis=Basis.MARKED), fills("SELL 2 @ 10"))
    assert (found.unrealized, found.equity, found.positions[0].quantity) == (-6, 994, -2)
    assert found.days[-1].day == "2026-01-11"


# ---- the rest --------------------------------------------------------------------------------------------------------


def test_a_ledger_without_fills_has_figures_but_no_ratios_of_trades():
    found = figures(asked(), [])
    assert (found.fills, found.net, found.equity, found.max_drawdown.money) == (0, 0, 1000, 0)
    assert (found.first_fill_at, found.last_fill_at) == (None, None)
    for ratio in (found.win_rate, found.profit_factor, found.expectancy):
        assert ratio == rules.Ratio(None, "no trade was closed")
    assert (found.exposure.value, found.return_on_capital.value) == (0, 0)


def test_no_time_is_no_exposure():
    found = figures(asked(as_of=books.START), [])
    assert found.exposure == rules.Ratio(None, "no time passed between the starting capital and as_of")


def test_exposure_is_counted_to_as_of_while_something_is_open():
    found = figures(asked(flows=[initial(1000, at(5, "09:00:00"))], as_of=at(5, "10:00:00")), fills("BUY 1 @ 1")[:1])
    assert (found.exposed_us, found.span_us, found.exposure.value) == (3_600_000_000, 3_600_000_000, 1)


def test_return_is_of_all_capital_that_was_put_in():
    flows = [initial(1000), Flow(at(6), FlowKind.DEPOSIT, Decimal(1000), "USD", 2)]
    found = figures(asked(flows=flows), fills("BUY 1 @ 10", "SELL 1 @ 30"))
    assert found.return_on_capital.value == Fraction(20, 2000)


def test_capital_of_another_currency_takes_the_rate_of_its_day():
    rates = {("EUR", "USD"): {"2026-01-05": Decimal("1.5")}}
    assert figures(asked(flows=[initial(1000, currency="EUR")], rates=rates), []).equity == 1500


def test_months_are_sums_of_days():
    found = figures(
        asked(flows=[initial(1000, "2025-12-31T00:00:00.000000Z")]),
        [
            Fill("2025-12-31T10:00:00.000000Z", "a", BTC, "BUY", Decimal(1), Decimal(1), Decimal(1), "USD"),
            *fills("SELL 1 @ 5"),
        ],
    )
    assert [(m.month, m.net, m.closed_trades, m.equity) for m in found.months()] == [
        ("2025-12", -1, 0, 999),
        ("2026-01", 4, 1, 1003),
    ]


def test_reversals_and_what_they_reverse_can_be_left_out():
    found = rows(fills("BUY 1 @ 10", "SELL 1 @ 99", "BUY 1 @ 99", "SELL 1 @ 12"))
    kept = rules.without(books.batches(found), frozenset({2, 3}))
    answer = engine.compute(asked(), kept)
    assert answer.figures is not None
    assert (answer.figures.gross, answer.figures.fills) == (2, 2)


def test_a_batch_of_which_nothing_is_left_is_none():
    found = rows(fills("BUY 1 @ 10", "SELL 1 @ 12", "BUY 9 @ 10", "SELL 9 @ 10"))
    answer = engine.compute(asked(), rules.without(books.batches(found, 2), frozenset({3, 4})))
    assert answer.figures is not None
    assert (answer.figures.fills, answer.figures.last_fill_at) == (2, at(5, "09:01:00"))


def test_the_first_and_the_last_fill_are_told():
    found = figures(asked(), fills("BUY 1 @ 10", "BUY 1 @ 10", "SELL 2 @ 12"), size=1)
    assert (found.first_fill_at, found.last_fill_at) == (at(5, "09:00:00"), at(5, "09:02:00"))


def test_the_starting_capital_is_the_first_flow_of_its_moment():
    deposit = Flow(books.START, FlowKind.DEPOSIT, Decimal(5), "USD", 0)
    found = figures(asked(flows=[deposit, initial(1000)]), [])
    assert (found.starting_capital, found.deposits, found.equity, found.peak) == (1000, 5, 1005, 1005)


def test_the_curve_is_told_while_the_fills_pass():
    told: list[list[tuple[str, int, int]]] = []
    book = fills("BUY 1 @ 10", "SELL 1 @ 7", "BUY 1 @ 7", "SELL 1 @ 11")
    engine.compute(
        asked(),
        books.batches(rows(book), 2),
        lambda points, unit: told.append([(a[11:16], e // unit, p // unit) for a, e, p in points]),
    )
    assert told == [[("00:00", 1000, 1000)], [("09:01", 997, 1000)], [("09:03", 1001, 1001)]]


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [
        (Fraction(1, 3), 12, "0.333333333333"),
        (Fraction(-2, 3), 3, "-0.667"),
        (Fraction(1, 8), 2, "0.12"),
        (Fraction(3, 8), 2, "0.38"),
        (Fraction(10**40 + 1, 8), 3, f"{10**40 // 8}.125"),
        (Fraction(5), 0, "5"),
    ],
)
def test_rounding_happens_once_half_to_even(value: Fraction, places: int, text: str):
    assert str(rules.rounded(value, places)) == text


def test_what_ends_in_decimals_is_known():
    assert [rules.terminates(f) for f in (Fraction(1, 80), Fraction(7), Fraction(1, 3))] == [True, True, False]


@pytest.mark.parametrize("value", [Decimal("0.0000000000000000001"), 1.5, None])
def test_what_is_no_exact_number_of_places_is_refused(value: object):
    with pytest.raises(ValueError, match="decimal"):
        rules.scaled(value)


def test_the_question_is_not_changed():
    ask = asked()
    before = dataclasses.replace(ask)
    figures(ask, fills("BUY 1 @ 10"))
    assert ask == before
