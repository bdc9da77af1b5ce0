"""One part of an import, in its own transaction: judged again where the world has moved, compared, written, flagged.

Lock order: the bots, the account (one writer of fills each), then the audit head.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from blaidctl.core import errors
from blaidctl.core.types import read_time
from blaidctl.ledger import contract, facts, moves, queries, refusals, trades
from blaidctl.ledger.events import CAPITAL_FLOWS, LEDGER_EVENTS, LEDGER_IMPORTS
from blaidctl.ledger.spool import Refused
from blaidctl.ledger.vocabulary import FlowKind, LedgerEvent, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from blaidctl.core.execute import Tx
    from blaidctl.ledger.imports import Material
    from blaidctl.ledger.spool import Entry, Fee

#: How many fills after a kill an event names; it counts them all.
MOST_NAMED = 20
_BATCH = 2_000


def write(tx: Tx, request: contract.ImportPart) -> contract.ImportedPart:
    """Write the fills of a part that are not known yet, and the row that binds them to the chain."""
    material: Material = request.material
    bots = sorted({entry.bot_id for entry in material.entries} | {fee.bot_id for fee in material.fees})
    tx.fetch(queries.LOCK_BOTS, bots=bots)
    tx.fetch(queries.LOCK_ACCOUNT, account_id=request.account)
    entries = _as_it_stands(tx, request, bots)
    new = _unknown(tx, request, entries)
    fees = unknown_fees(tx, request.account, material.fees)
    moved = moves.unknown(tx, request.account, material.moves)
    tx.target = {"account": request.account, "file_sha256": request.file_sha256, "part": request.part}
    done = contract.ImportedPart(
        import_id=None,
        part=request.part,
        parts=request.parts,
        rows_new=len(new),
        rows_known=len(entries) - len(new),
        fees_new=len(fees),
        fees_known=len(material.fees) - len(fees),
        moves_new=len(moved),
        after_kill=_count(entry.bot_id for entry in new if entry.after_kill),
    )
    if new or fees or moved or request.part not in parts_of(tx, request):
        import_id = _written(tx, request, new, entries)
        done = done.model_copy(update={"import_id": import_id})
        if moved:
            moves.write(tx, request.account, import_id, moved)
        if fees:
            tx.record(CAPITAL_FLOWS, list(map(_flow, fees)), account_id=request.account, kind=FlowKind.FEE)
    tx.after = {**done.model_dump(mode="json"), "terms": request.terms()}
    return done


def _count(names: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in names:
        found[name] = found.get(name, 0) + 1
    return found


def parts_of(tx: Tx, request: contract.ImportPart) -> set[int]:
    """Return which parts of this source are there, as it is declared now."""
    found = queries.PARTS.on(
        tx.connection,
        account_id=request.account,
        file_sha256=request.file_sha256,
        parts=request.parts,
        no_fee=int(request.no_fee),
        sequence=request.sequence,
    )
    return set(found.scalars())


# --- does it still hold? -------------------------------------------------------------------------------------------


def _as_it_stands(tx: Tx, request: contract.ImportPart, bots: Sequence[str]) -> list[Entry]:
    """Return the fills as judged; where a bot or an instrument is no longer what it was then, judge them again."""
    judge, entries = request.material.judge, request.material.entries
    now = facts.bots(tx.connection, bots, request.account)
    keys = {entry.key for entry in entries}
    traded = facts.instruments_of(tx.connection, keys)
    if all(now.get(bot) == judge.bots[bot] for bot in bots) and all(
        traded.get(k) == judge.instruments[k] for k in keys
    ):
        return list(entries)
    wrong: list[Refused] = []
    settled = []
    for entry in entries:
        bot, instrument = now.get(entry.bot_id), traded.get(entry.key)
        if bot is None or instrument is None:
            wrong.append(Refused(entry.line, "", "its bot or instrument is gone"))
            continue
        at = entry.executed_at
        wrong += [Refused(entry.line, *problem) for problem in judge.at_the_time(bot, instrument, at)]
        instance = entry.instance_id if entry.named else bot.instance(at)
        flag = int(entry.reverses is None and bot.killed(at))
        settled.append(entry._replace(instance_id=instance, after_kill=flag))
    if wrong:
        raise refusals.error_of(wrong, len(wrong), len(entries), request.source_name)
    return settled


def _unknown(tx: Tx, request: contract.ImportPart, entries: Sequence[Entry]) -> list[Entry]:
    """Return the fills that the ledger does not hold. Raises LedgerConflict where it holds another under the id."""
    new: list[Entry] = []
    wrong: list[Refused] = []
    if queries.ANY_FILL.on(tx.connection, account_id=request.account).first() is None:
        return list(entries)
    for start in range(0, len(entries), _BATCH):
        batch = entries[start : start + _BATCH]
        there = trades.known(tx.connection, request.account, [entry.venue_trade_id for entry in batch])
        for entry in batch:
            held = there.get(entry.venue_trade_id)
            if held is None:
                new.append(entry)
            elif difference := trades.difference(entry, held):
                wrong.append(Refused(entry.line, errors.LedgerConflict.error_code, difference))
    if wrong:
        raise refusals.error_of(wrong, len(wrong), len(entries), request.source_name)
    return new


# --- writing -------------------------------------------------------------------------------------------------------


def _written(tx: Tx, request: contract.ImportPart, new: Sequence[Entry], entries: Sequence[Entry]) -> int:
    """Write the import's row and its fills, and say loudly which came after a kill; return the import's id."""
    plain = [entry for entry in new if entry.reverses is None]
    late = [entry for entry in new if entry.reverses is not None]
    account, source = request.account, request.format
    hashing = trades.Hashing()
    for batch in (*_batches(plain), *_batches(late)):
        hashing.add(trades.digested(batch, account, source))
    moments = [entry.executed_at for entry in entries]
    row = {
        "account_id": account,
        "format": source,
        "source_name": request.source_name,
        "file_sha256": request.file_sha256,
        "part": request.part,
        "parts": request.parts,
        "rows_read": request.rows_read,
        "rows_new": len(new),
        "rows_known": len(entries) - len(new),
        "rows_refused": 0,
        "exact": int(all(entry.exact for entry in entries)),
        "sequence": request.sequence,
        "provider_id": request.provider_id,
        "no_fee": int(request.no_fee),
        "timezone": request.timezone,
        "first_executed_at": read_time(min(moments)) if moments else None,
        "last_executed_at": read_time(max(moments)) if moments else None,
        "after_kill": sum(entry.after_kill for entry in new),
        "fills_sha256": hashing.hexdigest(),
    }
    import_id = int(tx.record(LEDGER_IMPORTS, [row])[0]["id"])
    for batch in _batches(plain):
        trades.insert(tx.connection, batch, import_id, account, source, {})
    for batch in _batches(late):
        originals = _originals(tx, account, batch)
        there = [entry for entry in batch if entry.reverses in originals]
        trades.insert(tx.connection, there if tx.dry_run else batch, import_id, account, source, originals)
    _raise_alarm(tx, account, new, import_id)
    return import_id


def _batches(entries: Sequence[Entry]) -> Iterable[Sequence[Entry]]:
    return (entries[start : start + _BATCH] for start in range(0, len(entries), _BATCH))


def _originals(tx: Tx, account: str, batch: Sequence[Entry]) -> dict[str, int]:
    """Return the trades that reversals take back. A dry run holds none that an earlier part would have written."""
    ids = [str(entry.reverses) for entry in batch]
    return dict(map(tuple, queries.IDS.on(tx.connection, account_id=account, ids=ids).all()))


def _raise_alarm(tx: Tx, account: str, new: Sequence[Entry], import_id: int) -> None:
    """Write one SEV1 event for each bot that has fills after its kill: the fills are real, and somebody must look."""
    late: dict[str, list[Entry]] = {}
    for entry in new:
        if entry.after_kill:
            late.setdefault(entry.bot_id, []).append(entry)
    events = []
    for bot_id, entries in late.items():
        moments = sorted(entry.executed_at for entry in entries)
        span = f"from {moments[0]} to {moments[-1]}"
        events.append({
            "bot_id": bot_id,
            "message": f"{len(entries)} fill(s) of bot {bot_id} were executed after it was killed, {span}",
            "metadata": {
                "count": len(entries), "first_executed_at": moments[0], "last_executed_at": moments[-1],
                "venue_trade_ids": [entry.venue_trade_id for entry in entries[:MOST_NAMED]],
            },
        })  # fmt: skip
    if events:
        of_all: Mapping[str, Any] = {"account_id": account, "import_id": import_id, "error_code": None}
        tx.record(LEDGER_EVENTS, events, event=LedgerEvent.FILL_AFTER_KILL, severity=Severity.SEV1, **of_all)


# --- fees of the account -------------------------------------------------------------------------------------------


def unknown_fees(tx: Tx, account: str, fees: Sequence[Fee]) -> list[Fee]:
    """Return the fees that are not known. Raises LedgerConflict where another stands under the id."""
    new, wrong = compared_fees(tx, account, fees)
    if wrong:
        raise refusals.error_of(wrong, len(wrong), len(fees), "the source")
    return new


def compared_fees(tx: Tx, account: str, fees: Sequence[Fee]) -> tuple[list[Fee], list[Refused]]:
    """Return the fees that are not known, and those that contradict what is."""
    ids = [fee.external_id for fee in fees]
    rows = queries.FEES.on(tx.connection, account_id=account, ids=ids).all() if ids else ()
    there = {row[0]: tuple(row) for row in rows}
    new, wrong = [], []
    for fee in fees:
        held = there.get(fee.external_id)
        if held is None:
            new.append(fee)
        elif held[1:] != (FlowKind.FEE, fee.bot_id, fee.amount, fee.currency, fee.at):
            what = f"fee {fee.external_id!r} is known as {' '.join(map(str, held[1:]))}"
            here = f"{what}, here FEE {fee.bot_id} {fee.amount} {fee.currency} {fee.at}"
            wrong.append(Refused(fee.line, errors.LedgerConflict.error_code, here))
    return new, wrong


def _flow(fee: Fee) -> dict[str, Any]:
    return {
        "bot_id": fee.bot_id,
        "amount": Decimal(fee.amount),
        "currency": fee.currency,
        "at": read_time(fee.at),
        "note": fee.note,
        "external_id": fee.external_id,
        "replaces_id": None,
    }


# --- refusals ------------------------------------------------------------------------------------------------------


def refuse(tx: Tx, request: contract.ImportRefusal) -> contract.ImportedPart:  # noqa: ARG001 - a handler's signature
    """Raise the refusal of a source that was read and judged: an act of its own, so that it is recorded."""
    error: errors.BlaidError = request.error
    raise error


def record_refusal(tx: Tx, request: contract.OfImport, error: errors.BlaidError) -> None:
    """Write the event of a source that is refused: as an entry alone, nobody who looks at the ledger would see it."""
    row = {
        "account_id": request.account,
        "bot_id": request.bot,
        "import_id": None,
        "error_code": error.error_code,
        "message": error.message[: refusals.LONGEST_MESSAGE],
        "metadata": {
            "file_sha256": request.file_sha256,
            "source_name": request.source_name,
            "format": request.format,
            "lines": list(error.missing[:MOST_NAMED]),
            "refused": {code or "ROWS_REFUSED": n for code, n in getattr(request, "refused", {}).items()},
        },
    }
    tx.record(LEDGER_EVENTS, [row], event=LedgerEvent.REFUSED, severity=Severity.SEV2)
