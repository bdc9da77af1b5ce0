"""`ledger reconcile`: a statement of a broker or a backend beside the ledger, compared exactly, each difference listed.

What the statement does not say is not compared. A fill that was reversed here is not here. Results of single fills are
compared with FIFO in the instrument's currency, before fees: what the column `realized_pnl` means.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from blaidctl.accounts.service import require_account
from blaidctl.core import errors, stream
from blaidctl.core.contract import Finding
from blaidctl.core.decimals import text_of
from blaidctl.core.sql import Query
from blaidctl.core.text import printable
from blaidctl.core.types import time_text
from blaidctl.ledger import amounts, facts, metrics, read_contract, statement, stored_pnl
from blaidctl.ledger.vocabulary import Discrepancy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from blaidctl.core.execute import Tx
    from blaidctl.ledger.fills import Fill
    from blaidctl.ledger.reading import Ledger
    from blaidctl.ledger.statement import Statement

#: Differences of one answer; all are counted.
MOST_LISTED = 1_000
_MOST_NAMED = 100
_REVERSED = Query("SELECT id, reverses_id FROM trades WHERE account_id = :account_id AND reverses_id IS NOT NULL")
_EXTERNAL = Query("SELECT external_id FROM broker_accounts WHERE id = :id")
_COLUMNS = (
    "id", "venue_trade_id", "bot_id", "instance_id", "exchange", "symbol", "asset_class", "side", "quantity", "price",
    "fee", "fee_currency", "executed_at", "order_id",
)  # fmt: skip
#: Field of a fill → column of the ledger, where both say the same in the same words.
_PLAIN = {
    "bot": "bot_id", "exchange": "exchange", "asset_class": "asset_class", "side": "side", "order_id": "order_id",
    "fee_currency": "fee_currency",
}  # fmt: skip
_EXACT = ("quantity", "price", "fee")


def reconcile(tx: Tx, request: read_contract.Reconcile) -> read_contract.Reconciled:
    """Answer `ledger reconcile`; any difference is exit 1."""
    require_account(tx, request.account)
    told = _settled(tx, request, statement.read(tx.ctx, request))
    found = _Found()
    if told.fills is not None:
        _compare_fills(tx, request, told, found)
    computed = _computed(tx, request, told) if told.totals or told.positions is not None else None
    if computed is not None:
        _compare_totals(told, computed, found)
        _compare_positions(told, computed, found)
    return read_contract.Reconciled(
        agrees=not found.count,
        count=found.count,
        not_listed=found.count - len(found.listed),
        differences=found.listed,
        compared=found.compared,
        account_id=request.account,
        bot_id=computed.bot_id if computed else told.bot,
        instance=told.instance,
        since=None if told.since is None else time_text(told.since),
        until=time_text(told.until or tx.now),
        source=request.file,
        source_sha256=told.sha256,
        input_hash=computed.input_hash if computed else None,
        finding=_finding(found, request),
    )


class _Found:
    """The differences: counted all, listed as far as it goes."""

    def __init__(self) -> None:
        self.count = 0
        self.listed: list[read_contract.Difference] = []
        self.compared: dict[str, int] = {}

    def add(self, kind: Discrepancy, what: str, field: str | None, ledger: str | None, there: str | None) -> None:
        self.count += 1
        if len(self.listed) < MOST_LISTED:
            self.listed.append(
                read_contract.Difference(
                    difference=kind, what=printable(what), field=field, ledger=ledger, statement=there
                )
            )

    def same(self, kind: Discrepancy, what: str, field: str, ledger: Any, there: Any) -> None:
        """Count a comparison, and note it where the sides differ."""
        name = {Discrepancy.FIELD: "fields", Discrepancy.TOTAL: "totals", Discrepancy.POSITION: "positions"}[kind]
        self.compared[name] = self.compared.get(name, 0) + 1
        if ledger != there:
            self.add(kind, what, field, _said(ledger), _said(there))


def _said(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, Fraction):
        return amounts.money(value)
    return text_of(value) if isinstance(value, Decimal) else printable(str(value))


def _finding(found: _Found, request: read_contract.Reconcile) -> Finding | None:
    if not found.count:
        return None
    named = [
        f"{d.difference}: {d.what}" + (f" {d.field}: {d.ledger} here, {d.statement} there" if d.field else "")
        for d in found.listed[:_MOST_NAMED]
    ]
    return Finding(
        error_code=errors.LedgerDiffers.error_code,
        message=f"{found.count} difference(s) between the ledger of {request.account} and {request.file}",
        missing_requirements=named,
    )


# ---- whose statement, of what ----------------------------------------------------------------------------------------


def _settled(tx: Tx, request: read_contract.Reconcile, told: Statement) -> Statement:
    """Return the statement narrowed by the request. Raises when it is of another account, or says another thing."""
    external = tx.first(_EXTERNAL, id=request.account)
    ours = {request.account, external["external_id"] if external else request.account}
    named = {fill.account for fill in told.fills or () if fill.account} | ({told.account} if told.account else set())
    if foreign := sorted(named - ours):
        raise errors.CrossAccountFill(
            f"the statement is of account {printable(foreign[0])}, not of {request.account}",
            missing=[f"account {printable(name)}" for name in foreign[:_MOST_NAMED]],
            next_steps=["Compare each account with its own statement; nothing was compared."],
        )
    chosen = {}
    for name in ("bot", "instance", "since", "until"):
        here, there = getattr(request, name), getattr(told, name)
        if here is not None and there is not None and here != there:
            raise errors.InvalidRequest(
                f"the statement says another {name} than the request", missing=[f"{name}: {there}, or leave it out"]
            )
        chosen[name] = there if here is None else here
    if chosen["until"] is not None and chosen["until"] > tx.now:
        raise errors.InvalidRequest("until lies in the future", missing=["until: a moment that has passed"])
    if chosen["since"] is not None and (told.totals or told.positions is not None):
        raise errors.InvalidRequest(
            "totals and positions are those from the start of the ledger to `until`, whatever `since` says",
            missing=["since: leave it out, or compare the fills alone"],
        )
    return told.model_copy(update=chosen)


def _computed(tx: Tx, request: read_contract.Reconcile, told: Statement) -> metrics.Computed:
    """Return the figures that totals and positions are compared with. Raises MetricsIncomplete."""
    if told.bot is None:
        raise errors.InvalidRequest(
            "totals and positions are of a bot: lots of two bots are never closed by each other",
            missing=["bot: the bot that the statement is of"],
        )
    return metrics.compute(
        tx,
        told.bot,
        request.account,
        as_of=told.until or tx.now,
        instance=told.instance,
        lot_method=request.lot_method,
        despite_moves=True,
    )


# ---- fills -----------------------------------------------------------------------------------------------------------


def _compare_fills(tx: Tx, request: read_contract.Reconcile, told: Statement, found: _Found) -> None:
    there = {fill.venue_trade_id: fill for fill in told.fills or ()}
    found.compared = {"fills there": len(there), "fills here": 0, "fields": 0}
    outside = [fill for fill in there.values() if not _within(told, time_text(fill.executed_at))]
    if outside:
        raise errors.InvalidRequest(
            f"{len(outside)} fill(s) of the statement lie outside the time that is compared",
            missing=[f"line {f.line}: {f.venue_trade_id} of {time_text(f.executed_at)}" for f in outside[:_MOST_NAMED]],
        )
    taken_back = {row["reverses_id"]: row["id"] for row in tx.fetch(_REVERSED, account_id=request.account)}
    left_out = taken_back.keys() | set(taken_back.values())
    names: dict[tuple[str, str, str], facts.Instrument | None] = {}
    bots: set[str] = set()
    reversed_here: set[str] = set()
    for row in _stored(tx, request.account, told):
        trade_id = row["venue_trade_id"]
        if row["id"] in left_out:
            reversed_here.add(trade_id)
            continue
        found.compared["fills here"] += 1
        fill = there.pop(trade_id, None)
        if fill is None:
            found.add(Discrepancy.MISSING_THERE, f"fill {trade_id}", None, _fill_here(row), None)
            continue
        bots.add(row["bot_id"])
        _compare_fill(tx, fill, row, names, found)
    for trade_id, fill in there.items():
        reason = "reversed" if trade_id in reversed_here else None
        found.add(Discrepancy.MISSING_HERE, f"fill {trade_id}", None, reason, _fill_there(fill))
    reported = {f.venue_trade_id: f.reported_pnl for f in told.fills or () if f.reported_pnl is not None}
    if reported:
        for bot in sorted(bots):
            until = told.until or tx.now
            ledger = metrics.opened(tx, bot, request.account, as_of=until, instance=told.instance)
            _compare_results(ledger, reported, found)


def _within(told: Statement, at: str) -> bool:
    late = told.until is not None and at > time_text(told.until)
    return not late and not (told.since is not None and at < time_text(told.since))


def _stored(tx: Tx, account_id: str, told: Statement) -> Iterator[dict[str, Any]]:
    """Yield the ledger's fills of what the statement is about, as text, in a stream."""
    kind = tx.connection.dialect.name
    parameters: dict[str, Any] = {"account_id": account_id}
    terms = ["account_id = :account_id"]
    given = {
        "bot_id = :bot": ("bot", told.bot),
        "instance_id = :instance": ("instance", told.instance),
        "executed_at >= :since": ("since", None if told.since is None else time_text(told.since)),
        "executed_at <= :until": ("until", None if told.until is None else time_text(told.until)),
    }
    for term, (name, value) in given.items():
        if value is not None:
            terms.append(term)
            parameters[name] = value
    columns = [_as_text(name, kind) for name in _COLUMNS]
    order = stream.in_code_order("venue_trade_id", kind)
    sql = f"SELECT {', '.join(columns)} FROM trades WHERE {' AND '.join(terms)} ORDER BY {order}"
    with stream.rows(tx.connection, sql, **parameters) as cursor:
        for batch in iter(lambda: cursor.fetchmany(stream.BATCH_ROWS), []):
            for values in batch:
                yield dict(zip(_COLUMNS, values, strict=True))


def _as_text(name: str, kind: str) -> str:
    if name == "executed_at":
        return stream.time_column(name, kind)
    return f"CAST({name} AS TEXT)" if name in _EXACT and kind == "postgresql" else name


def _compare_fill(
    tx: Tx, fill: Fill, row: Mapping[str, Any], names: dict[tuple[str, str, str], Any], found: _Found
) -> None:
    what = f"fill {fill.venue_trade_id}"
    for field, column in _PLAIN.items():
        if (said := getattr(fill, field)) is not None:
            found.same(Discrepancy.FIELD, what, field, row[column], str(said))
    for field in _EXACT:
        if (said := getattr(fill, field)) is not None:
            found.same(Discrepancy.FIELD, what, field, None if row[field] is None else Decimal(row[field]), said)
    found.same(Discrepancy.FIELD, what, "executed_at", row["executed_at"], time_text(fill.executed_at))
    if fill.instance is not None:
        here = None if row["instance_id"] is None else str(row["instance_id"])
        found.same(Discrepancy.FIELD, what, "instance", here, fill.instance)
    key = (row["exchange"], row["symbol"], row["asset_class"])
    if key not in names:
        names[key] = facts.instruments_of(tx.connection, [key]).get(key)
    spelled = {row["symbol"]}
    if names[key] is not None:
        spelled.add(names[key].venue_symbol)
        if fill.currency is not None:
            found.same(Discrepancy.FIELD, what, "currency", names[key].currency, fill.currency)
    known = fill.symbol in spelled
    if not known and row["asset_class"] in facts.PAIRS:
        known = facts.bare(fill.symbol) in set(map(facts.bare, spelled))
    found.same(Discrepancy.FIELD, what, "symbol", row["symbol"], row["symbol"] if known else fill.symbol)


def _fill_here(row: Mapping[str, Any]) -> str:
    quantity, price = text_of(Decimal(row["quantity"])), text_of(Decimal(row["price"]))
    return f"{row['side']} {quantity} {row['symbol']} at {price}, {row['executed_at']}"


def _fill_there(fill: Fill) -> str:
    return printable(
        f"{fill.side} {text_of(fill.quantity)} {fill.symbol} at {text_of(fill.price)}, {time_text(fill.executed_at)}"
    )


def _compare_results(ledger: Ledger, reported: Mapping[str, Decimal], found: _Found) -> None:
    """Compare what each fill realized: from all fills of its bot, whatever part of them the statement holds."""
    with ledger.fills() as batches:
        for row, result in stored_pnl.results(ledger.instruments, ledger.places, batches):
            if row[1] in reported:
                said = Fraction(reported[row[1]])
                found.same(Discrepancy.FIELD, f"fill {row[1]}", "realized_pnl", result, said)


# ---- totals and positions --------------------------------------------------------------------------------------------


def _compare_totals(told: Statement, computed: metrics.Computed, found: _Found) -> None:
    for name, value in told.totals or ():
        if value is not None:
            here = getattr(computed.figures, name)
            found.same(Discrepancy.TOTAL, "total", name, here, value if isinstance(value, int) else Fraction(value))


def _compare_positions(told: Statement, computed: metrics.Computed, found: _Found) -> None:
    if told.positions is None:
        return
    here = {of.key: of.quantity for of in computed.figures.positions}
    there: dict[Any, Fraction] = {}
    for held in told.positions:
        key = (held.exchange, held.symbol, str(held.asset_class))
        there[key] = there.get(key, Fraction(0)) + Fraction(held.quantity)
    for key in sorted(here.keys() | there.keys()):
        zero = Fraction(0)
        found.same(Discrepancy.POSITION, " ".join(key), "quantity", here.get(key, zero), there.get(key, zero))
