"""What is asked of a ledger, and what it answers: pure values, exact numbers.

One question is one bot on one account. Fills come as tuples in the order of the index that covers them (`Row`), numbers
as whole numbers x 10^8 (`Question.places`; 18 for a ledger with a number that does not fit), times as the canonical
text of 27 characters, whose order is the order of time. `blaidctl.ledger.engine.compute` answers.

The conventions, which are printed with every number:

- Fills are taken in the order (executed_at, venue_trade_id); flows of a moment come before its fills. Equity has one
  value a moment: the one after everything that happened in that microsecond.
- A closed trade is one instrument's position from flat to flat. A fill that flips closes one trade and opens the next;
  its fee belongs to the one that it closes. A trade is won or lost by its net in the account's currency.
- Fees are booked when paid, at the rate of that UTC day. A result is realized when a lot closes, at the rate of that
  UTC day. The rate of a day is the last one recorded in it, base → quote as written, never inverted, never crossed.
- FIFO closes the oldest lot first. AVERAGE closes a part of the whole: its cost is rounded down (towards minus
  infinity) to 10^-36 of the quote currency, the remainder stays; the last part takes all that is left.
- REALIZED equity moves with realized results, fees and flows. MARKED equity is looked at once a UTC day, at its end
  (the last one at as_of), with every open position at that day's mark and rate. On a day on which its instrument does
  not trade, the mark and the rate of the last day on which it did stand.
- The first peak is the starting capital. A flow moves equity and peak alike; a fee of the account moves equity only.
  A drawdown starts at the last moment at the peak, ends when equity is back there; of equal ones the earliest counts.

Whoever finds problems gets no figures: `Answer.figures` is None, and `Answer.problems` names every row.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from blaidctl.ledger.vocabulary import Basis, FlowKind, LotMethod, ProblemKind

#: exchange, symbol, asset class.
Key: TypeAlias = tuple[str, str, str]
#: base, quote.
Pair: TypeAlias = tuple[str, str]
#: The columns of a row, in their order. Rows with the decimals themselves (EXACT_COLUMNS) go through `exact_rows`.
COLUMNS = (
    "executed_at", "venue_trade_id", "id", "exchange", "symbol", "asset_class", "side", "quantity_8", "price_8",
    "fee_8", "fee_currency", "import_id",
)  # fmt: skip
EXACT_COLUMNS = tuple(name.removesuffix("_8") for name in COLUMNS)
Row: TypeAlias = tuple[str, str, int, str, str, str, str, int, int, int | None, str | None, int]
#: Places of the whole numbers in rows: of the columns `_8`, and of every decimal that the database can hold.
FAST_PLACES, EXACT_PLACES = 8, 18
#: How many rows a problem names; it counts them all.
NAMED_ROWS = 1_000


# ---- the question ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Instrument:
    """What turns price x quantity into money: value = price x quantity x point_value / price_magnifier."""

    currency: str
    point_value: Decimal
    price_magnifier: Decimal = Decimal(1)


@dataclass(frozen=True, slots=True)
class Flow:
    """A capital flow; of kind FEE, a fee of the account that belongs to no fill (negative: given back)."""

    at: str
    kind: FlowKind
    amount: Decimal
    currency: str
    id: int


def every_day(key: Key, day: str) -> bool:  # noqa: ARG001 - the signature of Question.trades_on
    """Say that an instrument trades on every day."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Everything besides the fills that decides what the figures are. All of it lies at or before `as_of`."""

    #: The account's currency: all figures are in it.
    currency: str
    #: Canonical text, as all times here.
    as_of: str
    lot_method: LotMethod
    basis: Basis
    #: A sale without an open lot is a problem, not a short.
    long_only: bool
    #: Of every instrument that a fill names; a missing one is a problem.
    instruments: Mapping[Key, Instrument]
    #: In any order.
    flows: Sequence[Flow]
    #: (base, quote) → day `2026-01-31` → the last rate of that day.
    rates: Mapping[Pair, Mapping[str, Decimal]] = field(default_factory=dict)
    #: Instrument → day → the last mark of that day (of the last day: at or before as_of). Read for MARKED only.
    marks: Mapping[Key, Mapping[str, Decimal]] = field(default_factory=dict)
    #: Whether an instrument trades on a day, and so needs a mark; on other days the last mark before stands.
    trades_on: Callable[[Key, str], bool] = every_day
    #: Imports that declared their files to be without fees: there, no fee means none; elsewhere it is a problem.
    no_fee_imports: frozenset[int] = frozenset()
    #: Of the whole numbers in rows.
    places: int = FAST_PLACES


class OutOfOrderError(Exception):
    """Fills came out of their total order, twice, or later than as_of: a bug of the caller, or a damaged index."""


def without(batches: Iterable[Sequence[Row]], left_out: frozenset[int]) -> Iterator[Sequence[Row]]:
    """Yield the batches without the rows of these ids: reversals, and what they reverse."""
    if not left_out:
        yield from batches
        return
    for batch in batches:
        yield [row for row in batch if row[2] not in left_out]


def exact_rows(batches: Iterable[Sequence[tuple[object, ...]]]) -> Iterator[Sequence[Row]]:
    """Yield rows of EXACT_COLUMNS (decimals, or their text) as rows of whole numbers x 10^18: the slow, wide road."""
    for batch in batches:
        yield [
            (*row[:7], scaled(row[7]), scaled(row[8]), None if row[9] is None else scaled(row[9]), *row[10:])  # type: ignore[misc]
            for row in batch
        ]


def scaled(value: object, places: int = EXACT_PLACES) -> int:
    """Return a decimal or its text x 10^places. Raises ValueError when that is no whole number."""
    if not isinstance(value, Decimal | str):
        msg = f"{value!r} is neither a decimal nor the text of one"
        raise ValueError(msg)  # noqa: TRY004 - of the same kind as the one below
    whole: Fraction = Fraction(value) * 10**places
    if whole.denominator != 1:
        msg = f"{value} has more than {places} decimal places"
        raise ValueError(msg)
    return whole.numerator


# ---- the answer ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RowName:
    """A row that a problem names: a fill, or (venue_trade_id None) a capital flow."""

    id: int
    at: str
    venue_trade_id: str | None


@dataclass(frozen=True, slots=True)
class Problem:
    """What is missing, and the rows that need it."""

    kind: ProblemKind
    #: What is missing: an instrument's key; base, quote and day of a rate; key and day of a mark; else empty.
    subject: tuple[str, ...]
    count: int
    #: The first NAMED_ROWS of them.
    rows: tuple[RowName, ...]


@dataclass(frozen=True, slots=True)
class Ratio:
    """An exact number, or None and the reason why there is none."""

    value: Fraction | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Drawdown:
    """How far equity fell below its peak. Zero money: it never did (or does not now), and there are no times."""

    money: Fraction
    #: Of the peak at that moment; undefined where the peak is not above zero.
    fraction: Ratio
    #: The last moment at the peak.
    start: str | None = None
    #: The moment of `money` (or of `fraction`, in the drawdown that is the largest by fraction).
    trough: str | None = None
    #: The moment when equity was back at its peak; None while it is not.
    recovery: str | None = None
    #: Microseconds from start to recovery, or to as_of.
    duration_us: int = 0


@dataclass(frozen=True, slots=True)
class Day:
    """A UTC day on which something happened (in MARKED, also each day that a position was held over)."""

    day: str
    gross: Fraction
    #: Of fills and of the account.
    fees: Fraction
    net: Fraction
    #: Initial capital and deposits less withdrawals.
    flows: Fraction
    closed_trades: int
    #: At its end, on the basis that was asked for.
    equity: Fraction


@dataclass(frozen=True, slots=True)
class Month:
    """The sum of the days of a month, and the equity at the end of the last of them."""

    month: str
    gross: Fraction
    fees: Fraction
    net: Fraction
    flows: Fraction
    closed_trades: int
    equity: Fraction


@dataclass(frozen=True, slots=True)
class Position:
    """What is open in one instrument."""

    key: Key
    #: Negative: short.
    quantity: Fraction
    opened_at: str
    #: One for AVERAGE.
    lots: int
    #: In the instrument's currency: what the open lots cost (of a short: what they brought).
    currency: str
    cost: Fraction
    #: cost / (quantity x point_value / price_magnifier), without the sign of the quantity.
    average_price: Fraction
    #: In the account's currency; None unless the basis is MARKED.
    unrealized: Fraction | None


@dataclass(frozen=True, slots=True)
class Figures:
    """All figures of a ledger, in the account's currency, exact."""

    fills: int
    first_fill_at: str | None
    last_fill_at: str | None

    starting_capital: Fraction
    deposits: Fraction
    withdrawals: Fraction

    gross: Fraction
    fill_fees: Fraction
    account_fees: Fraction
    #: fill_fees + account_fees.
    fees: Fraction
    #: gross - fees.
    net: Fraction
    #: None unless the basis is MARKED.
    unrealized: Fraction | None

    closed_trades: int
    wins: int
    losses: int
    even: int
    #: The net of all trades that won; of all that lost, without its sign.
    profit: Fraction
    loss: Fraction
    win_rate: Ratio
    profit_factor: Ratio
    expectancy: Ratio
    #: net / (starting capital + deposits).
    return_on_capital: Ratio

    #: Microseconds with an open position, and from the starting capital to as_of; their ratio.
    exposed_us: int
    span_us: int
    exposure: Ratio

    equity: Fraction
    peak: Fraction
    #: The largest by money; the largest by fraction of its peak; the one that lasts at as_of.
    max_drawdown: Drawdown
    max_drawdown_by_fraction: Drawdown
    current_drawdown: Drawdown

    days: tuple[Day, ...]
    positions: tuple[Position, ...]

    def months(self) -> tuple[Month, ...]:
        """Return the days summed by month."""
        return tuple(_month(month, list(days)) for month, days in itertools.groupby(self.days, lambda d: d.day[:7]))


def _month(month: str, days: Sequence[Day]) -> Month:
    zero = Fraction(0)
    return Month(
        month,
        gross=sum((d.gross for d in days), zero),
        fees=sum((d.fees for d in days), zero),
        net=sum((d.net for d in days), zero),
        flows=sum((d.flows for d in days), zero),
        closed_trades=sum(d.closed_trades for d in days),
        equity=days[-1].equity,
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """Figures, or the problems that stand in their way: never both, never neither."""

    figures: Figures | None
    problems: tuple[Problem, ...]


#: Takes the equity curve in pieces: (moment, equity, peak) of each change, whole numbers of 1 / unit of the account's
#: currency, and that unit. The curve is never held as a whole.
OnPoints: TypeAlias = "Callable[[Sequence[tuple[str, int, int]], int], None]"


def rounded(value: Fraction, places: int = 12) -> Decimal:
    """Round once, half to even: the only place where a number loses anything. Exact where it has no more places."""
    whole = round(value * 10**places)
    # From its digits: arithmetic of decimals would round to the 28 digits of the context.
    return Decimal((int(whole < 0), tuple(map(int, str(abs(whole)))), -places))


def terminates(value: Fraction) -> bool:
    """Say whether a number has an end in decimals, so that `rounded` with enough places is exact."""
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest == 1
