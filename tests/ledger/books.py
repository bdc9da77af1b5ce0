"""Random books for the laws of the engine: several instruments and currencies, flips, equal times, flows, rebates."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from blaidctl.ledger import engine, rules
from blaidctl.ledger.rules import Flow, Instrument, Question
from blaidctl.ledger.vocabulary import Basis, FlowKind, LotMethod
from tests.ledger.slow import Fill, rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from blaidctl.ledger.rules import Answer, Figures, Row

ES = ("CME", "ES", "future")
BTC = ("binance", "BTCUSD", "crypto")
#: In pence, on a market of another currency.
VOD = ("XLON", "VOD", "equity")
#: A magnifier that has no end in decimals.
ODD = ("CBOT", "ODD", "future")
INSTRUMENTS = {
    ES: Instrument("USD", Decimal(50)),
    BTC: Instrument("USD", Decimal("0.01")),
    VOD: Instrument("GBP", Decimal(1), Decimal(100)),
    ODD: Instrument("EUR", Decimal("12.5"), Decimal(3)),
}
DAYS = [f"2026-01-{day:02}" for day in range(5, 12)]
START = "2026-01-05T00:00:00.000000Z"
AS_OF = "2026-01-11T18:00:00.000000Z"


def at(day: int = 5, clock: str = "09:30:00", micro: int = 0) -> str:
    return f"2026-01-{day:02}T{clock}.{micro:06}Z"


def initial(amount: int | str | Decimal = 10**9, when: str = START, currency: str = "USD") -> Flow:
    return Flow(when, FlowKind.INITIAL, Decimal(amount), currency, 1)


def question(**changes: Any) -> Question:
    given = {
        "currency": "USD", "as_of": AS_OF, "lot_method": LotMethod.FIFO, "basis": Basis.REALIZED, "long_only": False,
        "instruments": INSTRUMENTS, "flows": [initial()],
    }  # fmt: skip
    return Question(**{**given, **changes})


def batches(found: Sequence[Row], size: int = 3) -> Iterator[Sequence[Row]]:
    for start in range(0, len(found), size):
        yield found[start : start + size]


def answer(asked: Question, fills: Iterable[Fill], size: int = 3) -> Answer:
    return engine.compute(asked, batches(rows(fills, asked.places), size))


def figures(asked: Question, fills: Iterable[Fill], size: int = 3) -> Figures:
    found = answer(asked, fills, size)
    assert found.problems == ()
    assert found.figures is not None
    return found.figures


def fills(*told: str, key: rules.Key = BTC, fee: str = "0", currency: str = "USD") -> list[Fill]:
    """`fills("BUY 10 @ 4", "SELL 5 @ 5")`: a minute apart, from 09:00 of the first day."""
    made = []
    for n, text in enumerate(told):
        side, quantity, _, price = text.split()
        when = at(5, f"{9 + n // 60:02}:{n % 60:02}:00")
        made.append(Fill(when, f"t{n:03}", key, side, Decimal(quantity), Decimal(price), Decimal(fee), currency))
    return made


# ---- random ones -----------------------------------------------------------------------------------------------------

_times = st.builds(
    lambda day, hour, micro: f"{day}T{hour:02}:00:00.{micro:06}Z",
    st.sampled_from(DAYS[:6]), st.integers(0, 23), st.integers(0, 2),
)  # fmt: skip
_prices = st.decimals(-3, 120, places=2) | st.decimals(1, 9, places=8) | st.sampled_from([Decimal(10), Decimal(11)])
_quantities = st.sampled_from([Decimal(1), Decimal(2), Decimal(3), Decimal("0.5"), Decimal("0.00000001"), Decimal(7)])
_fees = st.tuples(st.decimals(-1, 3, places=2), st.sampled_from(["USD", "EUR", "GBP", "BNB"])) | st.just((None, None))
_rates = st.decimals("0.1", 300, places=5).filter(bool)


@st.composite
def books(draw: Any, keys: Sequence[rules.Key] = (ES, BTC, VOD, ODD), most: int = 18) -> list[Fill]:
    moments = draw(st.lists(_times, max_size=most))
    few = draw(st.lists(st.sampled_from(list(keys)), min_size=1, max_size=3))
    made = []
    for n, when in enumerate(moments):
        fee, currency = draw(_fees)
        side = draw(st.sampled_from(["BUY", "SELL"]))
        made.append(
            Fill(when, f"v{n:04}", draw(st.sampled_from(few)), side, draw(_quantities), draw(_prices), fee, currency)
        )
    return made


@st.composite
def questions(draw: Any) -> Question:
    flows = [initial(when=draw(st.sampled_from([START, "2026-01-03T12:00:00.000000Z"])))]
    for n in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from([FlowKind.DEPOSIT, FlowKind.WITHDRAWAL, FlowKind.FEE]))
        amount = draw(st.decimals(1, 400, places=3))
        flows.append(Flow(draw(_times), kind, amount, draw(st.sampled_from(["USD", "EUR"])), n + 2))
    pairs = [(base, "USD") for base in ("EUR", "GBP", "BNB")]
    rates = {pair: {day: draw(_rates) for day in DAYS} for pair in pairs}
    marks = {key: {day: draw(_prices) for day in DAYS} for key in INSTRUMENTS}
    return question(
        flows=draw(st.permutations(flows)),
        rates=rates,
        marks=marks,
        lot_method=draw(st.sampled_from(LotMethod)),
        basis=draw(st.sampled_from(Basis)),
        no_fee_imports=frozenset({1}),
    )


def closed(book: list[Fill]) -> list[Fill]:
    """The book, and what makes it flat on the last day."""
    sizes: dict[rules.Key, Any] = {}
    for fill in book:
        sizes[fill.key] = sizes.get(fill.key, Decimal(0)) + fill.quantity * (1 if fill.side == "BUY" else -1)
    ends = [
        Fill(at(11), f"z{n}", key, "SELL" if size > 0 else "BUY", abs(size), Decimal("7.25"))
        for n, (key, size) in enumerate(sizes.items())
        if size
    ]
    return [*book, *ends]


def pieces(fill: Fill, count: int) -> list[Fill]:
    """The fill in pieces of the same moment and price; the first carries the fee."""
    part = (fill.quantity / count).quantize(Decimal("1e-8"))
    sizes = [part] * (count - 1)
    sizes.append(fill.quantity - sum(sizes))
    if min(sizes) <= 0:
        return [fill]
    free = dataclasses.replace(fill, fee=Decimal(0), fee_currency="USD")
    return [
        dataclasses.replace(fill if n == 0 else free, trade_id=f"{fill.trade_id}.{n}", quantity=size)
        for n, size in enumerate(sizes)
    ]
