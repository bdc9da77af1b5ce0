"""From what an engine wrote to metrics: the same arithmetic that judges real fills, and nothing that it did not say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blaidctl.backtests.vocabulary import COUNTS
from blaidctl.core import errors, files
from blaidctl.core.canonical import fingerprint
from blaidctl.core.decimals import text_of
from blaidctl.core.types import time_text
from blaidctl.jobs.vocabulary import JobReason
from blaidctl.ledger import engine, rules
from blaidctl.ledger.fills import Fill, Refusal
from blaidctl.ledger.formats import own_ndjson
from blaidctl.ledger.hashing import FillsHash
from blaidctl.ledger.vocabulary import Basis, FlowKind, LotMethod

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from decimal import Decimal
    from fractions import Fraction

    from blaidctl.backtests.bars import Bars
    from blaidctl.ledger.rules import Row

#: More than any engine over bars writes; they are sorted in memory.
MOST_FILLS = 2_000_000
_NAMED = 20


class Failed(Exception):
    """Why there are no metrics."""

    def __init__(self, reason: JobReason, sentence: str) -> None:
        """Take the reason code and a sentence."""
        super().__init__(sentence)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Setting:
    """What a backtest is about: one instrument, a capital in its currency, and how figures are made."""

    key: rules.Key
    instrument: rules.Instrument
    capital: Decimal
    lot_method: LotMethod
    basis: Basis


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The metrics, and what they were made from."""

    metrics: Mapping[str, Any]
    input_hash: str
    first_fill_at: str
    last_fill_at: str


def evaluate(path: str, bars: Bars, setting: Setting, alive: Callable[[int], None]) -> Evaluated:
    """Compute the metrics of the fills in a file; `alive` is called as they are read. Raises Failed."""
    rows = _fills(path, bars, setting, alive)
    if not rows:
        raise Failed(JobReason.NO_FILLS, "the engine wrote no fill: no figure can be computed from none")
    question = rules.Question(
        currency=setting.instrument.currency,
        as_of=bars.last_at,
        lot_method=setting.lot_method,
        basis=setting.basis,
        long_only=False,
        instruments={setting.key: setting.instrument},
        flows=[rules.Flow(bars.first_at, FlowKind.INITIAL, setting.capital, setting.instrument.currency, 1)],
        marks={setting.key: bars.closes},
        trades_on=lambda _key, day: day in bars.closes,
        places=rules.EXACT_PLACES,
    )
    seen = FillsHash("backtest", "backtest", places=rules.EXACT_PLACES)
    answer = engine.compute(question, seen.tap([rows]))
    if answer.figures is None:
        raise Failed(JobReason.METRICS_INCOMPLETE, "; ".join(map(_problem, answer.problems[:_NAMED])))
    return Evaluated(
        metrics=_metrics(answer.figures),
        input_hash=fingerprint({
            "bars_sha256": bars.sha256,
            "capital": text_of(setting.capital),
            "fills": seen.hexdigest(),
            "instrument": [*setting.key, setting.instrument.currency, text_of(setting.instrument.point_value),
                           text_of(setting.instrument.price_magnifier)],
            "method": [setting.lot_method, setting.basis],
        }),
        first_fill_at=rows[0][0],
        last_fill_at=rows[-1][0],
    )  # fmt: skip


def _fills(path: str, bars: Bars, setting: Setting, alive: Callable[[int], None]) -> list[Row]:
    rows: list[Row] = []
    ids: set[str] = set()
    if not Path(path).stat().st_size:
        return rows
    try:
        with files.reading(path, 1) as reading:
            for record in own_ndjson.read(reading, None):
                if isinstance(record, Refusal):
                    raise Failed(JobReason.BAD_FILLS, f"line {record.line}: {'; '.join(record.reasons)}")
                if not isinstance(record, Fill):
                    continue
                if record.venue_trade_id in ids:
                    raise Failed(JobReason.BAD_FILLS, f"line {record.line}: a second fill {record.venue_trade_id}")
                ids.add(record.venue_trade_id)
                rows.append(_row(len(rows) + 1, record, bars, setting))
                alive(len(rows))
                if len(rows) > MOST_FILLS:
                    raise Failed(JobReason.BAD_FILLS, f"the engine wrote more than {MOST_FILLS} fills")
    except errors.FileInvalid as error:
        raise Failed(JobReason.BAD_FILLS, error.message) from None
    rows.sort(key=lambda row: row[:2])
    return rows


def _row(number: int, fill: Fill, bars: Bars, setting: Setting) -> Row:
    """Return a fill as the engine takes it; Failed when it is none of this backtest."""
    at = time_text(fill.executed_at)
    problems = []
    if fill.symbol != setting.key[1]:
        problems.append(f"symbol {fill.symbol}: this backtest trades {setting.key[1]}")
    if not bars.first_at <= at <= bars.last_at:
        problems.append(f"executed_at {at}: the bars go from {bars.first_at} to {bars.last_at}")
    if not bars.lowest <= fill.price <= bars.highest:
        told = f"the bars go from {text_of(bars.lowest)} to {text_of(bars.highest)}"
        problems.append(f"price {text_of(fill.price)}: {told}")
    if fill.reverses is not None:
        problems.append("reverses: an engine corrects nothing")
    if problems:
        raise Failed(JobReason.BAD_FILLS, f"line {fill.line}: {'; '.join(problems)}")
    fee = None if fill.fee is None else rules.scaled(fill.fee)
    whole = rules.scaled(fill.quantity), rules.scaled(fill.price), fee
    return (at, fill.venue_trade_id, number, *setting.key, fill.side, *whole, fill.fee_currency, 1)


def _problem(problem: rules.Problem) -> str:
    named = ", ".join(str(row.venue_trade_id) for row in problem.rows[:_NAMED])
    return f"{problem.kind} {' '.join(problem.subject)} ({problem.count}: {named})"


def _metrics(figures: rules.Figures) -> dict[str, Any]:
    """Return every metric as exact text, or as a count. Raises Failed when one is undefined."""
    ratios = {
        "win_rate": figures.win_rate,
        "profit_factor": figures.profit_factor,
        "expectancy": figures.expectancy,
        "return_on_capital": figures.return_on_capital,
        "exposure": figures.exposure,
        "max_drawdown_fraction": figures.max_drawdown_by_fraction.fraction,
    }
    undefined = [f"{name}: {ratio.reason}" for name, ratio in ratios.items() if ratio.value is None]
    if undefined:
        raise Failed(JobReason.METRICS_UNDEFINED, "; ".join(undefined))
    found = {name: text_of(rules.rounded(ratio.value)) for name, ratio in ratios.items() if ratio.value is not None}
    money = {name: getattr(figures, name) for name in ("starting_capital", "equity", "gross", "fees", "net")}
    money["max_drawdown"] = figures.max_drawdown.money
    counts = {name: getattr(figures, name) for name in COUNTS}
    return found | {name: _exact(value) for name, value in money.items()} | counts


#: A power of ten that every sum of prices x quantities x terms of an instrument divides: four decimals of 18 places.
_PLACES = 4 * 18


def _exact(value: Fraction) -> str:
    if not rules.terminates(value):  # a magnifier of 3, say
        raise Failed(JobReason.METRICS_UNDEFINED, f"{value} has no end in decimals")
    return text_of(rules.rounded(value, _PLACES))
