"""`ledger metrics`: figures from the ledger, or METRICS_INCOMPLETE; what allocation, backtests and reports build on.

    computed = metrics.compute(tx, "momo-1", "ib-1", as_of=tx.now)      raises MetricsIncomplete
    computed.figures.net, .input_hash, .output_hash, .conventions, .source_tables, .version
    metrics.compute(tx, …, as_of=…, version=computed.version)           the same, from the ledger as it stood

`tx` is a reading one: one snapshot, and no lock is held while a million fills are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import blaidctl
from blaidctl.accounts.service import require_account
from blaidctl.core import errors
from blaidctl.core.canonical import fingerprint
from blaidctl.core.decimals import text_of
from blaidctl.core.operation import resolve
from blaidctl.core.types import time_text
from blaidctl.fleet.service import require_bot
from blaidctl.ledger import amounts, conventions, engine, hashing, incomplete, read_contract, reading, rules
from blaidctl.ledger.reading import Ledger
from blaidctl.ledger.vocabulary import Basis, LotMethod

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from blaidctl.core.execute import Tx
    from blaidctl.core.sql import Row
    from blaidctl.ledger.rules import Drawdown, Figures, OnPoints, Question


@dataclass(frozen=True)
class Computed:
    """Figures, and everything that they were made from and under: enough to make them again."""

    bot_id: str
    account_id: str
    instance: int | None
    currency: str
    lot_method: LotMethod
    basis: Basis
    as_of: datetime
    #: Exact fractions; `numbers` is what they are to the outside.
    figures: Figures
    #: When the starting capital came: the figures are of the time from here to as_of.
    since: str
    conventions: dict[str, str]
    #: Table → how many of its rows went in.
    source_tables: dict[str, int]
    #: What input_hash is over: name of the leaf → its hash.
    inputs: dict[str, str]
    input_hash: str
    #: The place in the audit log at which the ledger stood: `compute(version=…)`.
    version: int
    from_floats: int
    after_kill: int
    code_version: str = blaidctl.__version__

    @cached_property
    def numbers(self) -> dict[str, Any]:
        """Every figure as text or whole number, and nothing else: what output_hash is over."""
        return _numbers(self.figures)

    @property
    def output_hash(self) -> str:
        """SHA-256 of the canonical JSON of the numbers."""
        return fingerprint(self.numbers)

    @property
    def undefined(self) -> dict[str, str]:
        """Field → why it has no value."""
        return _undefined(self.figures)


def compute(  # noqa: PLR0913 - what a number depends on, each by name
    tx: Tx,
    bot_id: str,
    account_id: str | None = None,
    *,
    as_of: datetime,
    instance: int | None = None,
    lot_method: LotMethod = LotMethod.FIFO,
    basis: Basis = Basis.REALIZED,
    version: int | None = None,
    on_points: OnPoints | None = None,
    despite_moves: bool = False,
) -> Computed:
    """Compute one bot's figures on one account, or raise MetricsIncomplete with every missing row.

    `on_points` takes the equity curve while it is made, also when the figures are refused in the end. `despite_moves`
    is for whoever holds the figures against a statement: whether a move is booked is what they want to know.
    """
    ledger = opened(tx, bot_id, account_id, as_of=as_of, instance=instance, version=version)
    question = _question(ledger, lot_method, basis)
    fills = hashing.FillsHash(ledger.bot_id, ledger.account_id, places=ledger.places)
    with ledger.fills() as batches:
        answer = engine.compute(question, fills.tap(_counted(tx, ledger, batches)), on_points)
    checks = _checks() if version is None else ()
    incomplete.refuse(ledger, answer.problems, checks, despite_moves=despite_moves)
    assert answer.figures is not None, "no problem and no figures"  # noqa: S101 - the engine's own promise
    inputs = _inputs(ledger, question, fills)
    return Computed(
        bot_id=ledger.bot_id,
        account_id=ledger.account_id,
        instance=instance,
        currency=ledger.currency,
        lot_method=lot_method,
        basis=basis,
        as_of=as_of,
        figures=answer.figures,
        since=next(flow.at for flow in ledger.flows if flow.kind == "INITIAL"),
        conventions=conventions.stamp(lot_method, basis, ledger.currency, instance),
        source_tables=_source_tables(ledger, question, fills.rows),
        inputs=inputs,
        input_hash=hashing.root(inputs),
        version=reading.head(tx) if version is None else version,
        from_floats=ledger.from_floats,
        after_kill=ledger.after_kill,
    )


def opened(  # noqa: PLR0913 - as above
    tx: Tx,
    bot_id: str,
    account_id: str | None,
    *,
    as_of: datetime,
    instance: int | None = None,
    version: int | None = None,
) -> Ledger:
    """Return the ledger of a bot that the caller may see, on one account that it was linked to."""
    if tx.connection.dialect.name == "postgresql" and tx.act_id:
        msg = "figures are computed in a reading transaction: every statement of a writing one sees another moment"
        raise RuntimeError(msg)
    if as_of > tx.now:
        raise errors.InvalidRequest(
            f"as_of {time_text(as_of)} lies in the future", missing=["as_of: a moment that has passed"]
        )
    bot = require_bot(tx, bot_id)
    account = _account(tx, bot["id"], account_id)
    if instance is not None:
        _require_instance(tx, bot["id"], instance)
    return Ledger(tx, bot["id"], account, as_of, instance, version)


def _account(tx: Tx, bot_id: str, account_id: str | None) -> Row:
    linked = [row["account_id"] for row in tx.fetch(reading.ACCOUNTS_OF, bot_id=bot_id)]
    if account_id is not None:
        require_account(tx, account_id)
        if account_id not in linked:
            raise errors.NotLinked(f"bot {bot_id} was never linked to account {account_id}")
    elif not linked:
        raise errors.NotLinked(f"bot {bot_id} was never linked to an account, so it has no ledger")
    elif len(linked) > 1:
        raise errors.InvalidRequest(
            f"bot {bot_id} has {len(linked)} accounts, each with a ledger of its own",
            missing=[f"account: one of {', '.join(linked)}"],
            next_steps=["Name the account: --account ACCOUNT."],
        )
    found = tx.first(reading.ACCOUNT, id=account_id or linked[0])
    if found is None:
        raise errors.AccountNotFound(f"no account {account_id or linked[0]!r}")
    return found


def _require_instance(tx: Tx, bot_id: str, instance: int) -> None:
    found = tx.first(reading.INSTANCE, id=instance)
    if found is None or found["bot_id"] != bot_id:
        raise errors.InstanceNotFound(f"bot {bot_id} has no instance {instance}", missing=[f"instance {instance}"])


def _checks() -> Sequence[str]:
    """Return what other capabilities say against the numbers; asked when they are new, not when they are made again."""
    found: Sequence[str] = resolve("blaidctl.operations:METRICS_CHECKS")
    return found


def _counted(tx: Tx, ledger: Ledger, batches: Iterator[Sequence[Any]]) -> Iterator[Sequence[Any]]:
    """Tell a person how far the reading has come; the imports say how much there may be."""
    told = tx.ctx.progress(f"reading fills of {ledger.bot_id}", sum(row["rows_new"] for row in ledger.imports))
    done = 0
    for batch in batches:
        yield batch
        done += len(batch)
        told(done)


def _question(ledger: Ledger, lot_method: LotMethod, basis: Basis) -> Question:
    marked = basis == Basis.MARKED
    return rules.Question(
        currency=ledger.currency,
        as_of=time_text(ledger.as_of),
        lot_method=lot_method,
        basis=basis,
        long_only=bool(ledger.account["long_only"]),
        instruments=ledger.instruments,
        flows=ledger.flows,
        rates={pair: {day: rate for day, (_, rate) in days.items()} for pair, days in ledger.rates.items()},
        marks={key: {day: price for day, (_, price) in days.items()} for key, days in ledger.marks.items()}
        if marked
        else {},
        trades_on=ledger.calendar.trades_on if marked else rules.every_day,
        no_fee_imports=_without_fees(ledger.imports),
        places=ledger.places,
    )


def _without_fees(imports: Sequence[Row]) -> frozenset[int]:
    """Return the imports of the files that were declared to be without fees, whenever they were."""
    declared = {row["file_sha256"] for row in imports if row["no_fee"]}
    return frozenset(row["id"] for row in imports if row["file_sha256"] in declared)


# ---- what went in ----------------------------------------------------------------------------------------------------


def _inputs(ledger: Ledger, question: Question, fills: hashing.FillsHash) -> dict[str, str]:
    """Return a hash for everything that the figures were made from."""
    asked = [
        ("account", ledger.account_id), ("as_of", question.as_of), ("basis", question.basis), ("bot", ledger.bot_id),
        ("code_version", blaidctl.__version__), ("currency", question.currency), ("instance", ledger.instance),
        ("long_only", int(question.long_only)), ("lot_method", question.lot_method),
    ]  # fmt: skip
    leaves = {
        "question": hashing.table_digest("question", ("name", "value"), asked),
        "trades": fills.hexdigest(),
        "capital_flows": hashing.table_digest("capital_flows", ("at", "kind", "amount", "currency"), _flows(ledger)),
        "instruments": hashing.table_digest(
            "instruments",
            (*_KEY, "currency", "point_value", "price_magnifier"),
            [
                (*key, of.currency, text_of(of.point_value), text_of(of.price_magnifier))
                for key, of in sorted(question.instruments.items())
            ],
        ),
        "fx_rates": hashing.table_digest("fx_rates", ("base", "quote", "at", "rate"), _by_day(ledger.rates)),
    }
    if question.basis == Basis.MARKED:
        leaves["marks"] = hashing.table_digest("marks", (*_KEY, "at", "price"), _by_day(ledger.marks))
        leaves["trading_days"] = hashing.table_digest(
            "trading_days",
            (*_KEY, "day", "trades"),
            [(*k, d, int(t)) for (k, d), t in sorted(ledger.calendar.said.items())],
        )
    return leaves


_KEY = ("exchange", "symbol", "asset_class")


def _flows(ledger: Ledger) -> list[tuple[str, ...]]:
    """Return the flows without their ids: two that say the same are the same, whichever came first."""
    return sorted((flow.at, flow.kind, text_of(flow.amount), flow.currency) for flow in ledger.flows)


def _by_day(table: Mapping[Any, Mapping[str, tuple[str, Any]]]) -> list[tuple[str, ...]]:
    return [(*key, at, text_of(value)) for key, days in sorted(table.items()) for at, value in days.values()]


def _source_tables(ledger: Ledger, question: Question, fills: int) -> dict[str, int]:
    counts = {
        "trades": fills,
        "reversals": ledger.reversals.count,
        "ledger_imports": len(ledger.imports),
        "capital_flows": len(ledger.flows),
        "instruments": len(question.instruments),
        "fx_rates": sum(map(len, question.rates.values())),
    }
    return counts if question.basis == Basis.REALIZED else {**counts, "marks": sum(map(len, question.marks.values()))}


# ---- what comes out --------------------------------------------------------------------------------------------------

_MONEY = (
    "starting_capital", "deposits", "withdrawals", "gross", "fees", "fill_fees", "account_fees", "net", "profit",
    "loss", "equity", "peak",
)  # fmt: skip
_RATIOS = ("win_rate", "profit_factor", "expectancy", "return_on_capital", "exposure")
_COUNTS = ("fills", "closed_trades", "wins", "losses", "even")
_TIMES = ("first_fill_at", "last_fill_at")


def _numbers(figures: Figures) -> dict[str, Any]:
    return {
        **{name: getattr(figures, name) for name in (*_COUNTS, *_TIMES)},
        **{name: amounts.money(getattr(figures, name)) for name in _MONEY},
        **{name: amounts.ratio(getattr(figures, name)) for name in _RATIOS},
        "unrealized": None if figures.unrealized is None else amounts.money(figures.unrealized),
        "drawdowns": [_drawdown(*item) for item in _drawdowns(figures)],
        "days": [_period("day", day) for day in figures.days],
        "months": [_period("month", month) for month in figures.months()],
        "positions": [_position(position) for position in figures.positions],
    }


def _drawdowns(figures: Figures) -> list[tuple[str, Drawdown]]:
    return [
        ("maximum", figures.max_drawdown),
        ("steepest", figures.max_drawdown_by_fraction),
        ("current", figures.current_drawdown),
    ]


def _drawdown(which: str, fall: Drawdown) -> dict[str, Any]:
    return {
        "drawdown": which,
        "money": amounts.money(fall.money),
        "fraction": amounts.ratio(fall.fraction),
        "start": fall.start,
        "trough": fall.trough,
        "recovery": fall.recovery,
        "duration_us": str(fall.duration_us),
    }


def _period(name: str, of: rules.Day | rules.Month) -> dict[str, Any]:
    exact = {field: amounts.money(getattr(of, field)) for field in ("gross", "fees", "net", "flows", "equity")}
    return {name: getattr(of, name), **exact, "closed_trades": of.closed_trades}


def _position(of: rules.Position) -> dict[str, Any]:
    exchange, symbol, asset_class = of.key
    return {
        "exchange": exchange,
        "symbol": symbol,
        "asset_class": asset_class,
        "quantity": amounts.money(of.quantity),
        "average_price": amounts.money(of.average_price),
        "cost": amounts.money(of.cost),
        "currency": of.currency,
        "lots": of.lots,
        "opened_at": of.opened_at,
        "unrealized": None if of.unrealized is None else amounts.money(of.unrealized),
    }


def _undefined(figures: Figures) -> dict[str, str]:
    found = {name: getattr(figures, name).reason for name in _RATIOS}
    found |= {f"{which} drawdown, fraction": fall.fraction.reason for which, fall in _drawdowns(figures)}
    return {name: reason for name, reason in found.items() if reason is not None}


# ---- the operation ---------------------------------------------------------------------------------------------------


def metrics(tx: Tx, request: read_contract.ShowMetrics) -> read_contract.Metrics:
    """Answer `ledger metrics`."""
    computed = compute(tx, request.bot, request.account, **asked(tx, request))
    return as_result(computed, by_day=request.by_day, by_month=request.by_month)


def asked(tx: Tx, request: read_contract.Asked) -> dict[str, Any]:
    """Return what a request says about how to compute; as_of is now unless it says so."""
    return {
        "as_of": request.as_of or tx.now,
        "instance": request.instance,
        "lot_method": request.lot_method,
        "basis": request.basis,
    }


def as_result(computed: Computed, *, by_day: bool = False, by_month: bool = False) -> read_contract.Metrics:
    """Return what is told of figures; the rows by day and by month only where they are asked for."""
    numbers = dict(computed.numbers)
    days, months = numbers.pop("days"), numbers.pop("months")
    deepest, steepest, lasting = numbers["drawdowns"]
    return read_contract.Metrics(
        **numbers,
        **provenance(computed),
        max_drawdown=deepest["money"],
        max_drawdown_fraction=steepest["fraction"],
        current_drawdown=lasting["money"],
        current_drawdown_fraction=lasting["fraction"],
        days=days if by_day else [],
        months=months if by_month else [],
        fills_from_floats=computed.from_floats,
        fills_after_kill=computed.after_kill,
        undefined=computed.undefined,
    )


def provenance(computed: Computed) -> dict[str, Any]:
    """Return what stands beside every number: of whom, of when, under which conventions, made from what by what."""
    return {
        "bot_id": computed.bot_id,
        "account_id": computed.account_id,
        "instance": computed.instance,
        "currency": computed.currency,
        "lot_method": computed.lot_method,
        "basis": computed.basis,
        "since": computed.since,
        "as_of": time_text(computed.as_of),
        "conventions": computed.conventions,
        "source_tables": computed.source_tables,
        "inputs": computed.inputs,
        "input_hash": computed.input_hash,
        "output_hash": computed.output_hash,
        "code_version": computed.code_version,
        "version": computed.version,
    }
