"""The ledger's figures once more, by other means: fractions, everything recomputed from the start for each moment.

FIFO is the overlap of two rows of intervals: the units bought one after the other, the units sold one after the other.
Equity is a sum over all events up to a moment, the peak a maximum over all moments before. Nothing here is fast.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from blaidctl.ledger.rules import Key, Question, Row

_WIDE = Context(prec=400)
_STEP = Decimal(1).scaleb(-36)


@dataclass(frozen=True)
class Fill:
    at: str
    trade_id: str
    key: Key
    side: str
    quantity: Decimal
    price: Decimal
    fee: Decimal | None = Decimal(0)
    fee_currency: str | None = "USD"

    @property
    def signed(self) -> Fraction:
        return Fraction(self.quantity) * (1 if self.side == "BUY" else -1)


def rows(fills: Iterable[Fill], places: int = 8) -> list[Row]:
    """Fills as the index gives them: in total order, as whole numbers."""

    def whole(value: Decimal) -> int:
        scaled = Fraction(value) * 10**places
        assert scaled.denominator == 1
        return scaled.numerator

    def fee(fill: Fill) -> tuple[int | None, str | None]:
        return (None, None) if fill.fee is None else (whole(fill.fee), fill.fee_currency)

    return [
        (f.at, f.trade_id, n, *f.key, f.side, whole(f.quantity), whole(f.price), *fee(f), 1)
        for n, f in enumerate(sorted(fills, key=lambda f: (f.at, f.trade_id)), start=1)
    ]


@dataclass
class Trade:
    """A position from flat to flat: what opened it, what closed it, and its fees."""

    key: Key
    long: bool
    opened_at: str
    entries: list[tuple[Fraction, Fraction]] = field(default_factory=list)
    #: (moment, quantity, price)
    exits: list[tuple[str, Fraction, Fraction]] = field(default_factory=list)
    #: How many entries there were at each exit.
    known: list[int] = field(default_factory=list)
    fees: Fraction = Fraction(0)
    closed_at: str | None = None

    @property
    def size(self) -> Fraction:
        return sum((q for q, _ in self.entries), Fraction(0)) - sum((q for _, q, _ in self.exits), Fraction(0))


class Slow:
    """Answers the question with every figure that the engine gives, or fails on what would be a problem."""

    def __init__(self, question: Question, fills: list[Fill]) -> None:
        self.q = question
        self.fills = sorted(fills, key=lambda f: (f.at, f.trade_id))
        self.trades: list[Trade] = []
        #: (moment, change of equity, change of the peak, what it is)
        self.events: list[tuple[str, Fraction, Fraction, str]] = []
        self._flows()
        self._fills()
        for trade in self.trades:
            for (at, _, _), result in zip(trade.exits, self._results(trade), strict=True):
                self.events.append((at, result * self._rate(self._currency(trade), at[:10]), Fraction(0), "gross"))

    def _rate(self, currency: str, day: str) -> Fraction:
        return Fraction(1) if currency == self.q.currency else Fraction(self.q.rates[currency, self.q.currency][day])

    def _currency(self, trade: Trade) -> str:
        return self.q.instruments[trade.key].currency

    def _value(self, key: Key) -> Fraction:
        terms = self.q.instruments[key]
        return Fraction(terms.point_value) / Fraction(terms.price_magnifier)

    def _flows(self) -> None:
        for flow in self.q.flows:
            amount = Fraction(flow.amount) * self._rate(flow.currency, flow.at[:10])
            sign = {"INITIAL": 1, "DEPOSIT": 1, "WITHDRAWAL": -1, "FEE": -1}[flow.kind]
            self.events.append(
                (flow.at, sign * amount, Fraction(0) if flow.kind == "FEE" else sign * amount, flow.kind)
            )
            if flow.kind == "INITIAL":
                self.start = flow.at

    def _fills(self) -> None:
        """Cut fills into what closes and what opens."""
        for fill in self.fills:
            fee = Fraction(fill.fee or 0) * (self._rate(fill.fee_currency or "", fill.at[:10]) if fill.fee else 0)
            self.events.append((fill.at, -fee, Fraction(0), "fee"))
            open_ones = [t for t in self.trades if t.key == fill.key and t.closed_at is None]
            left, price = Fraction(fill.quantity), Fraction(fill.price)
            trade = open_ones[0] if open_ones else None
            if trade is not None:
                trade.fees += fee
                fee = Fraction(0)
                if trade.long != (fill.side == "BUY"):
                    part = min(left, trade.size)
                    trade.known.append(len(trade.entries))
                    trade.exits.append((fill.at, part, price))
                    left -= part
                    if trade.size == 0:
                        trade.closed_at = fill.at
                        trade = None
            if left and trade is None:
                trade = Trade(fill.key, fill.side == "BUY", fill.at, fees=fee)
                self.trades.append(trade)
            if left and trade is not None:
                trade.entries.append((left, price))

    def _results(self, trade: Trade) -> list[Fraction]:
        """The result of each exit, in the instrument's currency."""
        sign, value = (1 if trade.long else -1), self._value(trade.key)
        costs = self._fifo_costs(trade) if self.q.lot_method == "FIFO" else self._average_costs(trade)
        return [sign * (q * price * value - cost) for (_, q, price), cost in zip(trade.exits, costs, strict=True)]

    def _fifo_costs(self, trade: Trade) -> list[Fraction]:
        value, costs, begin = self._value(trade.key), [], Fraction(0)
        for _, quantity, _ in trade.exits:
            cost, low = Fraction(0), Fraction(0)
            for size, price in trade.entries:
                overlap = min(begin + quantity, low + size) - max(begin, low)
                cost += max(overlap, Fraction(0)) * price * value
                low += size
            costs.append(cost)
            begin += quantity
        return costs

    def _average_costs(self, trade: Trade) -> list[Fraction]:
        """All that was paid so far, less all that left so far, is shared out; floors at 10^-36, the last takes all."""
        value = self._value(trade.key)
        costs: list[Fraction] = []
        for n, (_, quantity, _) in enumerate(trade.exits):
            paid = sum((q * p * value for q, p in trade.entries[: trade.known[n]]), Fraction(0)) - sum(
                costs, Fraction(0)
            )
            held = sum((q for q, _ in trade.entries[: trade.known[n]]), Fraction(0))
            held -= sum((q for _, q, _ in trade.exits[:n]), Fraction(0))
            share = paid * quantity / held
            if quantity != held:
                floored = _WIDE.divide(Decimal(share.numerator), Decimal(share.denominator))
                share = Fraction(floored.quantize(_STEP, rounding=ROUND_FLOOR, context=_WIDE))
            costs.append(share)
        return costs

    # ---- equity ------------------------------------------------------------------------------------------------------

    def sum(self, until: str, *kinds: str) -> Fraction:
        return sum((change for at, change, _, kind in self.events if at <= until and kind in kinds), Fraction(0))

    def realized(self, until: str) -> Fraction:
        return sum((change for at, change, _, _ in self.events if at <= until), Fraction(0))

    def open_at(self, at: str) -> dict[Key, Fraction]:
        found: dict[Key, Fraction] = {}
        for fill in self.fills:
            if fill.at <= at:
                found[fill.key] = found.get(fill.key, Fraction(0)) + fill.signed
        return {key: size for key, size in found.items() if size}

    def unrealized(self, at: str) -> Fraction:
        """The same book, cut off at the moment and closed at the marks of its day: what that adds."""
        day, positions = at[:10], self.open_at(at)
        cut = [f for f in self.fills if f.at <= at]
        closing = [
            Fill(at, f"~{n}", key, "SELL" if size > 0 else "BUY", _decimal(abs(size)), self.q.marks[key][day])
            for n, (key, size) in enumerate(positions.items())
        ]
        return Slow(self.q, [*cut, *closing]).sum(at, "gross") - Slow(self.q, cut).sum(at, "gross")

    def busy_days(self) -> list[str]:
        days = {at[:10] for at, *_ in self.events}
        if self.q.basis == "MARKED":
            day, last = date.fromisoformat(min(days)), date.fromisoformat(self.q.as_of[:10])
            while day <= last:
                if self.open_at(self.end_of(day.isoformat())):
                    days.add(day.isoformat())
                day += timedelta(days=1)
        return sorted(days)

    def end_of(self, day: str) -> str:
        return min(day + "T23:59:59.999999Z", self.q.as_of)

    def curve(self) -> list[tuple[str, Fraction, Fraction]]:
        """(moment, equity, peak) of every moment that is looked at, the starting capital first."""
        if self.q.basis == "MARKED":
            ends = [self.end_of(day) for day in self.busy_days()]
            seen = [(at, self.realized(at) + self.unrealized(at)) for at in sorted({*ends, self.q.as_of})]
        else:
            seen = [(at, self.realized(at)) for at in sorted({at for at, *_ in self.events})]
        capital = sum((flow for at, _, flow, _ in self.events if at == self.start), Fraction(0))
        looks = [(self.start, capital), *seen]
        curve = []
        for n, (at, equity) in enumerate(looks):
            peak = max(e + self._moved(since, at) for since, e in looks[: n + 1])
            curve.append((at, equity, peak))
        return curve

    def _moved(self, since: str, until: str) -> Fraction:
        return sum((p for at, _, p, kind in self.events if since < at <= until and kind != "INITIAL"), Fraction(0))

    def figures(self) -> dict[str, Any]:
        end = self.q.as_of
        closed = [t for t in self.trades if t.closed_at]
        nets = [self._converted(t) - t.fees for t in closed]
        curve = self.curve()
        gross, fees = self.sum(end, "gross"), -self.sum(end, "fee", "FEE")
        capital = self.sum(end, "INITIAL", "DEPOSIT")
        profit = sum((n for n in nets if n > 0), Fraction(0))
        loss = -sum((n for n in nets if n < 0), Fraction(0))
        span = _us(self.start, end)
        return {
            "fills": len(self.fills),
            "gross": gross,
            "fees": fees,
            "net": gross - fees,
            "closed_trades": len(closed),
            "wins": sum(n > 0 for n in nets),
            "losses": sum(n < 0 for n in nets),
            "even": sum(n == 0 for n in nets),
            "profit": profit,
            "loss": loss,
            "profit_factor": profit / loss if loss else None,
            "win_rate": Fraction(sum(n > 0 for n in nets), len(nets)) if nets else None,
            "expectancy": sum(nets, Fraction(0)) / len(nets) if nets else None,
            "return_on_capital": (gross - fees) / capital,
            "exposed_us": self._exposed(),
            "exposure": Fraction(self._exposed(), span) if span else None,
            "equity": curve[-1][1],
            "peak": curve[-1][2],
            "max_drawdown": self._largest(curve, lambda e, p: p - e),
            "max_drawdown_by_fraction": self._largest(curve, lambda e, p: (p - e) / p),
            "positions": {t.key: t.size * (1 if t.long else -1) for t in self.trades if not t.closed_at},
            "days": self._days(),
        }

    def _converted(self, trade: Trade) -> Fraction:
        results = zip(trade.exits, self._results(trade), strict=True)
        return sum((r * self._rate(self._currency(trade), at[:10]) for (at, _, _), r in results), Fraction(0))

    def _largest(self, curve: list[tuple[str, Fraction, Fraction]], measure: Any) -> tuple[Any, ...]:
        """(money, fraction, start, trough, recovery, duration) of the first largest fall."""
        n = max(range(len(curve)), key=lambda i: (measure(*curve[i][1:]), -i))
        at, equity, peak = curve[n]
        if equity == peak:
            return (Fraction(0), Fraction(0), None, None, None, 0)
        start = next(a for a, e, p in reversed(curve[:n]) if e == p)
        recovery = next((a for a, e, p in curve[n:] if e == p), None)
        return (peak - equity, (peak - equity) / peak, start, at, recovery, _us(start, recovery or self.q.as_of))

    def _exposed(self) -> int:
        moments = sorted({f.at for f in self.fills} | {self.q.as_of})
        return sum(_us(a, b) for a, b in itertools.pairwise(moments) if self.open_at(a))

    def _days(self) -> list[tuple[Any, ...]]:
        found = []
        for day in self.busy_days():
            of_day = [e for e in self.events if e[0][:10] == day]
            gross = sum((e[1] for e in of_day if e[3] == "gross"), Fraction(0))
            fees = -sum((e[1] for e in of_day if e[3] in {"fee", "FEE"}), Fraction(0))
            closed = sum(t.closed_at is not None and t.closed_at[:10] == day for t in self.trades)
            at = self.end_of(day)
            equity = self.realized(at) + (self.unrealized(at) if self.q.basis == "MARKED" else 0)
            found.append((day, gross, fees, gross - fees, sum((e[2] for e in of_day), Fraction(0)), closed, equity))
        return found


def _decimal(value: Fraction) -> Decimal:
    return _WIDE.divide(Decimal(value.numerator), Decimal(value.denominator))


def _us(start: str, end: str) -> int:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)) // timedelta(microseconds=1)
