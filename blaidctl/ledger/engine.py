"""From fills to figures: one pass over whole numbers, in constant memory but for open lots and a line a day.

The loop does what most fills need and nothing else; whatever happens at most once a day, a flow or an instrument is a
method beside it. Within the loop all state is in local variables: that is half of its speed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from fractions import Fraction
from operator import sub
from typing import TYPE_CHECKING, Any

from blaidctl.ledger import rules
from blaidctl.ledger.equity import Water, microseconds
from blaidctl.ledger.rules import (
    Answer,
    Day,
    Figures,
    Flow,
    Key,
    OutOfOrderError,
    Pair,
    Position,
    Problem,
    Ratio,
    RowName,
)  # fmt: skip
from blaidctl.ledger.units import Units
from blaidctl.ledger.vocabulary import Basis, FlowKind, LotMethod, ProblemKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from decimal import Decimal

    from blaidctl.ledger.rules import Instrument, OnPoints, Question, Row

_DAY = timedelta(days=1)
_MICROSECOND = timedelta(microseconds=1)
#: Above every time of its day, below every time of the next one.
_PAST = "U"
_DAY_START, _DAY_END = "T00:00:00.000000Z", "T23:59:59.999999Z"
#: How far back the last day is looked for on which an instrument traded.
_LONGEST_BREAK_DAYS = 366


def compute(question: Question, batches: Iterable[Sequence[Row]], on_points: OnPoints | None = None) -> Answer:
    """Answer a question from the fills of one bot on one account. Raises OutOfOrderError.

    `batches` are read once, in the total order (executed_at, venue_trade_id), of any size; reversals and what they
    reverse are not among them (`rules.without`). Put `hashing.FillsHash.tap` around them and one reading serves both.
    """
    engine = _Engine(question, on_points)
    engine.read(batches)
    return engine.answer()


# ---- what the engine keeps -------------------------------------------------------------------------------------------


class _Book:
    """One instrument's position. The loop takes `held` into local variables and puts it back."""

    __slots__ = ("foreign", "held", "key", "lots", "of_mark", "of_value", "terms")

    def __init__(self, key: Key, terms: Instrument, units: Units, currency: str) -> None:
        self.key = key
        self.terms = terms
        self.of_value = units.of_value(terms)
        self.of_mark = units.of_mark(terms)
        #: The pair whose rate turns results into the account's currency; None where they are in it.
        self.foreign: Pair | None = (terms.currency, currency) if terms.currency != currency else None
        #: FIFO: (quantity, price) of every open lot but the oldest, which is in `held`.
        self.lots: deque[tuple[int, int]] = deque()
        #: Size and whether it is long; size and price of the oldest lot; the cost of the others (AVERAGE: of all, in
        #: quote units); equity when the trade began, less equity when this was put back; when it began; today's rate
        #: (0: not looked up).
        self.held: tuple[int, bool, int, int, int, int, str, int] = (0, True, 0, 0, 0, 0, "", 0)


class _Problems:
    """What is missing, and the rows that need it: the first by name, all by number."""

    def __init__(self) -> None:
        self._found: dict[tuple[ProblemKind, tuple[str, ...]], tuple[list[int], list[RowName]]] = {}

    def add(self, kind: ProblemKind, subject: tuple[str, ...] = (), row: RowName | None = None) -> None:
        count, rows = self._found.setdefault((kind, subject), ([0], []))
        count[0] += 1
        if row is not None and len(rows) < rules.NAMED_ROWS:
            rows.append(row)

    def listed(self) -> tuple[Problem, ...]:
        order = list(ProblemKind)
        found = sorted(self._found.items(), key=lambda item: (order.index(item[0][0]), item[0][1]))
        return tuple(Problem(kind, subject, n[0], tuple(rows)) for (kind, subject), (n, rows) in found)


@dataclass
class _Totals:
    """Sums in units, and counts. `equity` is on the basis REALIZED, whatever was asked for."""

    equity: int = 0
    fill_fees: int = 0
    account_fees: int = 0
    starting_capital: int = 0
    deposits: int = 0
    withdrawals: int = 0
    wins: int = 0
    losses: int = 0
    even: int = 0
    profit: int = 0
    loss: int = 0
    fills: int = 0
    first_fill_at: str | None = None
    last_fill_at: str | None = None
    exposed: timedelta = field(default_factory=timedelta)

    @property
    def flows(self) -> int:
        return self.starting_capital + self.deposits - self.withdrawals

    @property
    def fees(self) -> int:
        return self.fill_fees + self.account_fees

    @property
    def net(self) -> int:
        return self.equity - self.flows

    @property
    def trades(self) -> int:
        return self.wins + self.losses + self.even


# ---- the engine ------------------------------------------------------------------------------------------------------


class _Engine:
    def __init__(self, question: Question, on_points: OnPoints | None) -> None:
        self._question = question
        self._units = Units(question)
        self._problems = _Problems()
        self._books: dict[Key, _Book] = {}
        self._water = Water()
        self._totals = _Totals()
        self._days: list[Day] = []
        self._day = ""
        #: Whether something happened on it; what the sums were when it began.
        self._busy = False
        self._before = (0, 0, 0, 0)
        self._on_points = on_points
        self._points: list[tuple[str, int, int]] = []
        self._told: tuple[int, ...] = ()
        #: Of every open position, when it was last marked.
        self._open_results: dict[Key, int] = {}
        self._marked = question.basis == Basis.MARKED
        #: When each flat stretch of the whole ledger ended, and began; the first list may be one ahead.
        self._opened: list[str] = []
        self._closed: list[str] = []
        #: The moment whose equity has not been looked at.
        self._at = ""
        flows = sorted(question.flows, key=lambda flow: (flow.at, flow.kind != FlowKind.INITIAL, flow.id))
        if flows and flows[-1].at > question.as_of:
            raise OutOfOrderError(f"the flow {flows[-1].id} of {flows[-1].at} is later than {question.as_of}")
        self._flows = deque(flows)
        self._start = next((flow.at for flow in flows if flow.kind == FlowKind.INITIAL), None)
        self._started = self._start is None
        if self._start is None:
            self._problems.add(ProblemKind.NO_STARTING_CAPITAL)
        #: Up to here (included) the loop need not look up.
        self._bound = ""
        self._fee_units: dict[str | None, int] = {question.currency: self._units.of_fee * self._units.rate_one}

    def read(self, batches: Iterable[Sequence[Row]]) -> None:  # noqa: C901, PLR0912, PLR0915 - one loop: a call a fill costs more than the fill
        """Take in all fills."""
        totals, water, books, points = self._totals, self._water, self._books, self._points
        opened, closed, stretches, fee_units = self._opened, self._closed, self._water.stretches, self._fee_units
        no_fee_imports, long_only = self._question.no_fee_imports, self._question.long_only
        fifo, realized = self._question.lot_method == LotMethod.FIFO, not self._marked
        told = self._on_points is not None
        cost_step, bound = self._units.cost_step, self._bound
        equity, peak, low, peak_at, low_at = totals.equity, water.peak, water.low, water.peak_at, water.low_at
        fees = wins = losses = even = profit = loss = open_books = 0
        last_at = last_id = ""
        book: Any = None
        lots: deque[tuple[int, int]] = deque()
        symbol_now = exchange_now = class_now = fee_currency_now = None
        fee_unit = size = head = head_price = cost = start = of_value = 0
        long, began = True, ""
        rate = 0
        for batch in batches:
            for at, trade_id, row_id, exchange, symbol, asset_class, side, quantity, price, fee, fee_currency, import_id in batch:  # fmt: skip  # noqa: E501
                if at > last_at:
                    if realized:
                        if equity >= peak:
                            if low != peak or stretches:
                                water.peak, water.low, water.peak_at, water.low_at = peak, low, peak_at, low_at
                                water.surface(last_at)
                            peak = low = equity
                            peak_at = last_at
                        elif equity < low:
                            low = equity
                            low_at = last_at
                        if told:
                            points.append((last_at, equity, peak))
                    if at > bound:
                        if book is not None:
                            book.held = (size, long, head, head_price, cost, start - equity, began, rate)
                            book = symbol_now = fee_currency_now = None
                        water.peak, water.low, water.peak_at, water.low_at = peak, low, peak_at, low_at
                        totals.equity, totals.fill_fees = equity, fees
                        totals.wins, totals.losses, totals.even = wins, losses, even
                        self._at = last_at
                        self._advance(at)
                        self._busy = True
                        equity, peak, low = totals.equity, water.peak, water.low
                        peak_at, low_at, bound = water.peak_at, water.low_at, self._bound
                        if not self._started:
                            self._problems.add(ProblemKind.BEFORE_STARTING_CAPITAL, (), RowName(row_id, at, trade_id))
                    last_at = at if bound else ""  # before the starting capital, every fill is looked at
                elif at < last_at or trade_id <= last_id:
                    raise OutOfOrderError(f"the fill {row_id} ({trade_id}) of {at} came after {last_id} of {last_at}")
                last_id = trade_id

                if symbol != symbol_now or exchange != exchange_now or asset_class != class_now:
                    if book is not None:
                        book.held = (size, long, head, head_price, cost, start - equity, began, rate)
                    book = books.get((exchange, symbol, asset_class)) or self._open_book(
                        (exchange, symbol, asset_class)
                    )
                    if book is None:
                        symbol_now = None
                        self._problems.add(
                            ProblemKind.NO_INSTRUMENT, (exchange, symbol, asset_class), RowName(row_id, at, trade_id)
                        )
                        continue
                    symbol_now, exchange_now, class_now = symbol, exchange, asset_class
                    size, long, head, head_price, cost, start, began, rate = book.held
                    start += equity
                    of_value, lots = book.of_value, book.lots

                if fee:
                    if fee_currency != fee_currency_now:
                        fee_currency_now = fee_currency
                        fee_unit = fee_units.get(fee_currency) or self._fee_unit(fee_currency)
                    if not fee_unit:
                        self._rate(str(fee_currency), at[:10], RowName(row_id, at, trade_id))
                    charge = fee * fee_unit
                    fees += charge
                else:
                    charge = 0
                    if fee is None and import_id not in no_fee_imports:
                        self._problems.add(ProblemKind.NO_FEE, (), RowName(row_id, at, trade_id))

                buys = side == "BUY"
                if not size:
                    start = equity
                    equity -= charge
                    if buys or not long_only:
                        if not quantity:
                            raise ValueError(f"the fill {row_id} has no quantity of {self._units.places} places")
                        size = head = quantity
                        head_price, long, began = price, buys, at
                        cost = 0 if fifo else quantity * price * of_value
                        if not open_books:
                            opened.append(at)
                        open_books += 1
                    else:
                        self._problems.add(ProblemKind.NO_OPEN_LOT, (), RowName(row_id, at, trade_id))
                elif long is buys:
                    equity -= charge
                    size += quantity
                    if fifo:
                        lots.append((quantity, price))
                        cost += quantity * price
                    else:
                        cost += quantity * price * of_value
                else:
                    take = quantity if quantity < size else size  # noqa: FURB136 - a call costs more
                    if fifo:
                        result, left = 0, take
                        while left >= head:
                            result += head * (price - head_price)
                            left -= head
                            if not lots:
                                break
                            head, head_price = lots.popleft()
                            cost -= head * head_price
                        if left:
                            result += left * (price - head_price)
                            head -= left
                        result *= of_value
                    else:
                        part = cost if take == size else cost * take // size // cost_step * cost_step
                        cost -= part
                        result = take * price * of_value - part
                    if not rate:
                        rate = self._rate(book.terms.currency, at[:10], RowName(row_id, at, trade_id))
                    if long:
                        equity += result * rate - charge
                    else:
                        equity -= result * rate + charge
                    size -= take
                    if not size:
                        result = equity - start
                        if result > 0:
                            wins += 1
                            profit += result
                        elif result < 0:
                            losses += 1
                            loss -= result
                        else:
                            even += 1
                        if quantity > take and long_only:
                            self._problems.add(ProblemKind.NO_OPEN_LOT, (), RowName(row_id, at, trade_id))
                        if quantity > take and not long_only:
                            size = head = quantity - take
                            head_price, long, began, start = price, buys, at, equity
                            cost = 0 if fifo else size * price * of_value
                        else:
                            open_books -= 1
                            if not open_books:
                                closed.append(at)
            self._after(batch)
        if book is not None:
            book.held = (size, long, head, head_price, cost, start - equity, began, rate)
        water.peak, water.low, water.peak_at, water.low_at = peak, low, peak_at, low_at
        totals.equity, totals.fill_fees, totals.profit, totals.loss = equity, fees, profit, loss
        totals.wins, totals.losses, totals.even = wins, losses, even
        self._at = last_at

    def _after(self, batch: Sequence[Row]) -> None:
        """Count a batch, hand on its points, and add up how long something was open."""
        if not batch:
            return
        totals = self._totals
        totals.fills += len(batch)
        totals.first_fill_at = totals.first_fill_at or batch[0][0]
        totals.last_fill_at = batch[-1][0]
        ended = map(datetime.fromisoformat, self._closed)
        began = map(datetime.fromisoformat, self._opened)
        totals.exposed = sum(map(sub, ended, began), totals.exposed)
        del self._opened[: len(self._closed)]
        self._closed.clear()
        self._tell()

    # ---- what happens between fills ----------------------------------------------------------------------------------

    def _advance(self, at: str) -> None:
        """Take in the flows up to a moment, and the ends of days before it; say how far the loop may run."""
        if at > self._question.as_of:
            raise OutOfOrderError(f"a fill of {at} is later than {self._question.as_of}")
        while self._flows and self._flows[0].at <= at:
            self._flow(self._flows.popleft())
        if at > self._at:
            self._see()
        self._to_day(at[:10])
        if not self._started:
            return  # every fill is looked at
        self._bound = min(self._day + _PAST, self._question.as_of)
        if self._flows:
            # Without its last character: a fill of the same moment lies above.
            self._bound = min(self._bound, self._flows[0].at[:-1])

    def _flow(self, flow: Flow) -> None:
        if flow.at > self._at:
            self._see()
            self._at = flow.at
        self._to_day(flow.at[:10])
        self._busy = True
        name = RowName(flow.id, flow.at, None)
        if flow.kind == FlowKind.INITIAL:
            self._started = True
        elif not self._started:
            self._problems.add(ProblemKind.BEFORE_STARTING_CAPITAL, (), name)
        amount = self._units.amount(flow.amount) * self._rate(flow.currency, self._day, name)
        totals = self._totals
        if flow.kind == FlowKind.INITIAL:
            totals.starting_capital = totals.equity = amount
            self._water.start(amount, flow.at)
        elif flow.kind == FlowKind.DEPOSIT:
            totals.deposits += amount
            totals.equity += amount
            self._water.shift(amount)
        elif flow.kind == FlowKind.WITHDRAWAL:
            totals.withdrawals += amount
            totals.equity -= amount
            self._water.shift(-amount)
        else:
            totals.account_fees += amount
            totals.equity -= amount

    def _see(self) -> None:
        """Look at the equity of the last moment; what is marked is looked at when its day ends."""
        if not self._marked:
            self._look(self._totals.equity, self._at)

    def _look(self, equity: int, at: str) -> None:
        self._water.see(equity, at)
        if self._on_points is not None:
            self._points.append((at, equity, self._water.peak))

    def _tell(self) -> None:
        """Hand on the points at which something changed."""
        if self._on_points is None:
            return
        changed = []
        for point in self._points:
            if point[1:] != self._told and point[0]:
                changed.append(point)
                self._told = point[1:]
        self._points.clear()
        if changed:
            self._on_points(changed, self._units.unit)

    # ---- days --------------------------------------------------------------------------------------------------------

    def _to_day(self, day: str) -> None:
        """End the day that is on, if another one begins."""
        if day == self._day:
            return
        if self._day:
            self._end_day(self._day + _DAY_END)
            if self._marked and self._is_open():
                following = date.fromisoformat(self._day) + _DAY
                while following.isoformat() < day:
                    self._day = following.isoformat()
                    self._end_day(self._day + _DAY_END)
                    following += _DAY
        self._day = day
        self._fee_units.clear()
        self._fee_units[self._question.currency] = self._units.of_fee * self._units.rate_one
        for book in self._books.values():
            if book.foreign:
                book.held = (*book.held[:-1], 0)

    def _end_day(self, at: str) -> None:
        totals = self._totals
        equity = totals.equity
        if self._marked:
            self._open_results = {key: self._unrealized(book) for key, book in self._books.items() if book.held[0]}
            equity += sum(self._open_results.values())
            self._look(equity, at)
        after = (totals.net, totals.fees, totals.flows, totals.trades)
        if self._busy or (self._marked and self._is_open()):
            net, fees, flows, trades = map(sub, after, self._before)
            money = self._money
            self._days.append(
                Day(self._day, money(net + fees), money(fees), money(net), money(flows), trades, money(equity))
            )
        self._before = after
        self._busy = False

    def _is_open(self) -> bool:
        return any(book.held[0] for book in self._books.values())

    # ---- instruments, rates, marks -----------------------------------------------------------------------------------

    def _open_book(self, key: Key) -> _Book | None:
        terms = self._question.instruments.get(key)
        if terms is None:
            return None
        self._books[key] = _Book(key, terms, self._units, self._question.currency)
        return self._books[key]

    def _fee_unit(self, currency: str | None) -> int:
        """Return what turns a fee of today into units; 0 where there is no rate."""
        found = self._look_up(str(currency), self._day)
        self._fee_units[currency] = unit = self._units.of_fee * found
        return unit

    def _rate(self, currency: str, day: str, row: RowName | None) -> int:
        """Return the rate of a day as a whole number; 0, and a problem, where there is none."""
        found = self._look_up(currency, day)
        if not found:
            self._problems.add(ProblemKind.NO_RATE, (currency, self._question.currency, day), row)
        return found

    def _look_up(self, currency: str, day: str) -> int:
        if currency == self._question.currency:
            return self._units.rate_one
        rate: Decimal | None = self._question.rates.get((currency, self._question.currency), {}).get(day)
        return 0 if rate is None else self._units.rate(rate)

    def _unrealized(self, book: _Book) -> int:
        """Return what an open position would bring at the end of the day that is on, in units."""
        size, long = book.held[:2]
        day = self._marked_day(book.key)
        price = self._question.marks.get(book.key, {}).get(day)
        if price is None:
            self._problems.add(ProblemKind.NO_MARK, (*book.key, day))
            return 0
        value: int = self._units.mark(price) * size * book.of_mark
        return (value - self._cost(book)) * (1 if long else -1) * self._rate(book.terms.currency, day, None)

    def _marked_day(self, key: Key) -> str:
        """Return the day whose mark stands today: today, or the last day before on which the instrument traded."""
        day = date.fromisoformat(self._day)
        for back in range(_LONGEST_BREAK_DAYS):
            earlier = (day - back * _DAY).isoformat()
            if self._question.trades_on(key, earlier):
                return earlier
        return self._day

    def _cost(self, book: _Book) -> int:
        """Return what the open lots cost, in quote units."""
        _, _, head, head_price, cost, *_ = book.held
        if self._question.lot_method == LotMethod.AVERAGE:
            return cost
        return (head * head_price + cost) * book.of_value

    # ---- the answer --------------------------------------------------------------------------------------------------

    def answer(self) -> Answer:
        """Take in what lies between the last fill and as_of, and sum up."""
        self._advance(self._question.as_of)
        self._see()
        if self._busy or not self._question.as_of.endswith(_DAY_START):
            self._end_day(self._question.as_of)  # a day that has only just begun is no day yet
        self._tell()
        positions = tuple(self._position(book) for _, book in sorted(self._books.items()) if book.held[0])
        problems = self._problems.listed()
        return Answer(None if problems else self._figures(positions), problems)

    def _position(self, book: _Book) -> Position:
        size, long, *_, began, _ = book.held
        quantity = Fraction(size, 10**self._units.places)
        cost = Fraction(self._cost(book), self._units.quote)
        value = Fraction(book.terms.point_value) / Fraction(book.terms.price_magnifier)
        return Position(
            key=book.key,
            quantity=quantity if long else -quantity,
            opened_at=began,
            lots=1 + len(book.lots),
            currency=book.terms.currency,
            cost=cost,
            average_price=cost / (quantity * value),
            unrealized=self._money(self._open_results[book.key]) if self._marked else None,
        )

    def _figures(self, positions: tuple[Position, ...]) -> Figures:
        totals, money = self._totals, self._money
        zero = Fraction(0)
        unrealized = sum((p.unrealized or zero for p in positions), zero) if self._marked else None
        equity = money(totals.equity) + (unrealized or zero)
        deepest, steepest, lasting = self._water.results(
            (equity * self._units.unit).numerator, self._question.as_of, self._units.unit
        )
        exposed, span = self._exposed(), microseconds(self._start or "", self._question.as_of)
        trades, net = totals.trades, money(totals.net)
        return Figures(
            fills=totals.fills,
            first_fill_at=totals.first_fill_at,
            last_fill_at=totals.last_fill_at,
            starting_capital=money(totals.starting_capital),
            deposits=money(totals.deposits),
            withdrawals=money(totals.withdrawals),
            gross=money(totals.net + totals.fees),
            fill_fees=money(totals.fill_fees),
            account_fees=money(totals.account_fees),
            fees=money(totals.fees),
            net=net,
            unrealized=unrealized,
            closed_trades=trades,
            wins=totals.wins,
            losses=totals.losses,
            even=totals.even,
            profit=money(totals.profit),
            loss=money(totals.loss),
            win_rate=_ratio(totals.wins, trades, "no trade was closed"),
            profit_factor=_ratio(totals.profit, totals.loss, _no_factor(totals)),
            expectancy=_ratio(money(totals.profit - totals.loss), trades, "no trade was closed"),
            return_on_capital=_ratio(net, money(totals.starting_capital + totals.deposits), "there was no capital"),
            exposed_us=exposed,
            span_us=span,
            exposure=_ratio(exposed, span, "no time passed between the starting capital and as_of"),
            equity=equity,
            peak=money(self._water.peak),
            max_drawdown=deepest,
            max_drawdown_by_fraction=steepest,
            current_drawdown=lasting,
            days=tuple(self._days),
            positions=positions,
        )

    def _exposed(self) -> int:
        lasting = sum(microseconds(began, self._question.as_of) for began in self._opened)
        return self._totals.exposed // _MICROSECOND + lasting

    def _money(self, units: int) -> Fraction:
        return Fraction(units, self._units.unit)


def _ratio(one: Fraction | int, other: Fraction | int, reason: str) -> Ratio:
    return Ratio(Fraction(one) / Fraction(other)) if other else Ratio(None, reason)


def _no_factor(totals: _Totals) -> str:
    return "no trade was lost" if totals.trades else "no trade was closed"
