"""The one unit in which a ledger is counted: so small that everything in it is a whole number.

A result in an instrument's currency is price x quantity x point_value / price_magnifier; a rate turns it into the
account's currency. Both are exact: the quote unit holds every product, the unit holds every product times every rate.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

from blaidctl.ledger.vocabulary import Basis, LotMethod

if TYPE_CHECKING:
    from collections.abc import Iterable
    from decimal import Decimal

    from blaidctl.ledger.rules import Instrument, Question

#: Of AVERAGE: a part's cost is a whole number of 10^-36 of the quote currency.
COST_PLACES = 36


class Units:
    """How many units one of a currency holds, and what each kind of number is multiplied by to become units."""

    def __init__(self, question: Question) -> None:
        """Find the unit that a question needs."""
        marks = question.marks.values() if question.basis == Basis.MARKED else ()
        self.places = question.places
        self.mark_places = max(self.places, _most_places(price for days in marks for price in days.values()))
        flow_places = _most_places(flow.amount for flow in question.flows)
        quote: int = 10 ** max(self.places + self.mark_places, flow_places)
        quote *= math.lcm(*(_value(terms).denominator for terms in question.instruments.values()))
        if question.lot_method == LotMethod.AVERAGE:
            quote = math.lcm(quote, 10**COST_PLACES)
        #: Units of an instrument's currency, before any rate.
        self.quote = quote
        #: What a rate is multiplied by to be whole; a rate of one, for the account's own currency.
        self.rate_one: int = 10 ** _most_places(rate for days in question.rates.values() for rate in days.values())
        #: Units of the account's currency.
        self.unit = self.quote * self.rate_one
        #: To this many quote units a part's cost is rounded down.
        self.cost_step: int = self.quote // 10**COST_PLACES
        #: From a number of `places` (a fee) to quote units.
        self.of_fee: int = self.quote // 10**self.places

    def of_value(self, terms: Instrument) -> int:
        """From price x quantity, both of `places`, to quote units."""
        return _whole(_value(terms) * self.quote / 10 ** (2 * self.places))

    def of_mark(self, terms: Instrument) -> int:
        """From mark x quantity, of `mark_places` and `places`, to quote units."""
        return _whole(_value(terms) * self.quote / 10 ** (self.mark_places + self.places))

    def mark(self, price: Decimal) -> int:
        """Return a mark as a whole number of `mark_places`."""
        return _whole(Fraction(price) * 10**self.mark_places)

    def rate(self, rate: Decimal) -> int:
        """Return a rate as a whole number of 1 / `rate_one`."""
        return _whole(Fraction(rate) * self.rate_one)

    def amount(self, amount: Decimal) -> int:
        """Return an amount in quote units."""
        return _whole(Fraction(amount) * self.quote)


def _value(terms: Instrument) -> Fraction:
    """Return what price x quantity is multiplied by."""
    return Fraction(terms.point_value) / Fraction(terms.price_magnifier)


def _most_places(numbers: Iterable[Decimal]) -> int:
    return max((max(0, -int(number.as_tuple().exponent)) for number in numbers), default=0)


def _whole(value: Fraction) -> int:
    if value.denominator != 1:
        msg = f"{value} is not a whole number of units"
        raise ValueError(msg)
    return value.numerator
