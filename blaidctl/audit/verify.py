"""`audit verify`: does the database still tell the truth that was hashed?

Checked, in one read snapshot: the chain (chain.py), its head, every event row against the digest in its entry,
the triggers against the ones this version created, the state against a replay of the events, and the log against the
signed notes outside the database (anchors.py). Which attacks each of these finds, and which none does:
runbooks/suspected-tampering.md, printed from the test that tries them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blaidctl.audit import anchors, contract
from blaidctl.audit.chain import MOST_DEFECTS, verify_chain
from blaidctl.audit.dropped import dropped_by_downgrades
from blaidctl.core import events, schema_state, stream
from blaidctl.core.canonical import GENESIS
from blaidctl.core.contract import Finding
from blaidctl.core.operation import resolve
from blaidctl.core.sql import Query, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import Connection

    from blaidctl.core.events import EventTable
    from blaidctl.core.execute import Tx
    from blaidctl.core.settings import Settings

    Replay = Callable[[Connection], Iterator[tuple[int | None, str]]]

_NO_NOTE = (
    "a tail cut off together with a rewound head; a chain rewritten whole: no checkpoint was given (`audit checkpoint`"
    " makes them, runbooks/key-rotation.md)"
)
_SINCE_NOTE = (
    "entries after {0}, the last checkpoint, rewritten or cut off whole; everything, by somebody with the private key"
    " who rewrote every sink"
)
NOT_CHECKED = [
    (
        "stored answers; rows of users, bots, accounts, job types and instances that were added without any act, which"
        " no entry contradicts (F-013)"
    ),
]
_HEAD = Query("SELECT seq, entry_hash FROM audit_head WHERE id = 1")
_COUNT_HEADS = Query("SELECT count(*) AS n FROM audit_head")


def verify(tx: Tx, request: contract.Verify) -> contract.Verified:
    """Verify everything; the answer names the first bad sequence number and up to a hundred defects."""
    connection = tx.connection
    held = anchors.read(tx.ctx.settings, request)
    found = _verify_log(connection, tx.ctx.settings, request.workers, tx.ctx.progress)
    event_rows = 0
    dropped = dropped_by_downgrades(connection)
    for reference in resolve("blaidctl.operations:EVENT_TABLES"):
        event_rows += _verify_events_of(connection, resolve(reference), dropped, found.defects)
    found.defects += [
        contract.Defect(check="triggers", seq=None, what=what) for what in schema_state.trigger_defects(connection)
    ]
    for reference in resolve("blaidctl.operations:REPLAYS"):
        found.defects += _replayed(connection, resolve(reference))
    found.defects += anchors.defects(connection, held, found.last_seq)
    unanchored = _NO_NOTE if held.last is None else _SINCE_NOTE.format(held.last)
    return _verdict(found, event_rows, [unanchored, *NOT_CHECKED, *_told(dropped)], held)


def verify_any_schema(
    connection: Connection, settings: Settings, progress: Callable[[str, int], Callable[[int], None]]
) -> contract.Verified:
    """Verify what a schema of any revision promises: the chain, its head, and the event rows in the tables it has.

    Triggers and replays belong to this version's schema; what was left out stands in `not_checked`.
    """
    found = _verify_log(connection, settings, 1, progress)
    event_rows, left_out = 0, []
    dropped = dropped_by_downgrades(connection)
    columns = _columns_of_tables(connection)
    for reference in resolve("blaidctl.operations:EVENT_TABLES"):
        table = resolve(reference)
        if not set(table.kinds) <= columns.get(table.name, set()):
            left_out.append(f"{table.name}: not in this schema, or not with these columns")
            continue
        event_rows += _verify_events_of(connection, table, dropped, found.defects)
    return _verdict(found, event_rows, ["triggers, replays and checkpoints", *left_out, *_told(dropped)])


_COLUMNS = {
    "sqlite": "SELECT t.name, c.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c WHERE t.type = 'table'",
    "postgresql": (
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema()"
    ),
}


def _columns_of_tables(connection: Connection) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for table, column in connection.exec_driver_sql(_COLUMNS[connection.dialect.name]):
        found.setdefault(table, set()).add(column)
    return found


@dataclass(slots=True)
class _Log:
    """The log itself after verification."""

    entries: int
    head_seq: int
    head_hash: bytes
    last_seq: int
    defects: list[contract.Defect]


def _verify_log(
    connection: Connection, settings: Settings, workers: int, progress: Callable[[str, int], Callable[[int], None]]
) -> _Log:
    head = next(rows_of(_HEAD.on(connection)), None)
    head_seq, head_hash = (head["seq"], bytes(head["entry_hash"] or GENESIS)) if head else (0, b"")
    chain = verify_chain(connection, settings, head_seq, workers, progress("verifying the chain", head_seq))
    defects = [contract.Defect(check="chain", seq=seq, what=what) for seq, what in chain.defects]
    if head is None or (chain.last_seq, chain.last_hash) != (head_seq, head_hash):
        what = f"the head says {head_seq}, the log ends at {chain.last_seq}" if head else "the head is gone"
        at = min(head_seq, chain.last_seq) + 1 if head_seq != chain.last_seq else head_seq
        defects.append(contract.Defect(check="head", seq=at, what=what))
    return _Log(chain.entries, head_seq, head_hash, chain.last_seq, defects)


def _told(dropped: dict[str, int]) -> list[str]:
    return [
        f"{'column' if '.' in name else 'rows of'} {name} before seq {seq}: `db downgrade` dropped them"
        for name, seq in dropped.items()
    ]


def _replayed(connection: Connection, replay: Replay) -> list[contract.Defect]:
    found = []
    try:
        for seq, what in replay(connection):
            found.append(contract.Defect(check="replay", seq=seq, what=what))
    except stream.NotUtf8Error as error:
        found.append(contract.Defect(check="replay", seq=None, what=str(error)))
    return found


def _place(defect: contract.Defect) -> tuple[bool, int]:
    return defect.seq is None, defect.seq or 0


def _listed(defects: list[contract.Defect]) -> list[contract.Defect]:
    """Return as many defects as an answer holds, in order; each check has its share: none hides what another found."""
    of_checks: dict[str, list[contract.Defect]] = {}
    for defect in sorted(defects, key=_place):
        of_checks.setdefault(defect.check, []).append(defect)
    ranked = sorted(
        ((rank, order, defect) for order, found in enumerate(of_checks.values()) for rank, defect in enumerate(found)),
        key=lambda one: one[:2],
    )
    return sorted((defect for _, _, defect in ranked[:MOST_DEFECTS]), key=_place)


def _verdict(log: _Log, event_rows: int, not_checked: list[str], held: anchors.Held | None = None) -> contract.Verified:
    defects = _listed(log.defects)
    first_bad = min((d.seq for d in defects if d.seq is not None), default=None)
    place = f"first at seq {first_bad}" if first_bad is not None else "none of them inside the chain"
    named = [f"{d.check}: {f'seq {d.seq}: ' if d.seq is not None else ''}{d.what}" for d in defects]
    return contract.Verified(
        answer="BROKEN" if defects else "OK",
        entries=log.entries,
        event_rows=event_rows,
        head_seq=log.head_seq,
        head_hash=log.head_hash.hex(),
        checkpoints=held.agreed if held else 0,
        last_checkpoint=held.last if held else None,
        first_bad_seq=first_bad,
        defects=defects,
        not_checked=not_checked,
        finding=Finding(
            error_code="AUDIT_BROKEN",
            message=f"the audit log does not verify: {len(log.defects)} defect(s), {place}: {named[0]}",
            missing_requirements=named,
        )
        if defects
        else None,
    )


def _verify_events_of(
    connection: Connection, table: EventTable, dropped: dict[str, int], defects: list[contract.Defect]
) -> int:
    count, found = _verify_events(connection, table, dropped.get(table.name, 0))
    defects += found
    return count


def _verify_events(connection: Connection, table: EventTable, after: int) -> tuple[int, list[contract.Defect]]:
    """Compare every act's event rows with the digest in its entry: a merge of two streams in order of sequence.

    Entries up to `after` are left aside: a downgrade dropped their rows, and says so in an entry of its own.
    """
    defects: list[contract.Defect] = []

    def note(seq: int | None, what: str) -> None:
        if len(defects) < MOST_DEFECTS:
            defects.append(contract.Defect(check=table.name, seq=seq, what=what))

    count, own = 0, list(table.kinds).index("id")
    try:
        expected = _digests(connection, table, after)
        due = next(expected, None)
        for seq, rows in _acts(connection, table):
            count += len(rows)
            while due is not None and seq is not None and due[0] < seq:
                note(due[0], f"the event rows of this act are gone ({_counted(due[1])})")
                due = next(expected, None)
            if seq is None or due is None or due[0] != seq:
                note(seq, f"event rows that no audit entry covers: ids {rows[0][own]} to {rows[-1][own]}")
                continue
            if _digest(table, rows) != due[1]:
                note(seq, f"the event rows differ from what was hashed ({len(rows)} of {_counted(due[1])})")
            due = next(expected, None)
        while due is not None:
            note(due[0], f"the event rows of this act are gone ({_counted(due[1])})")
            due = next(expected, None)
    except stream.NotUtf8Error as error:
        note(None, str(error))
    return count, defects


def _digest(table: EventTable, rows: list[list[Any]]) -> dict[str, Any] | None:
    """Return the digest of event rows; None when they hold what blaidctl never writes (a float, broken JSON)."""
    try:
        return events.digest(table, rows)
    except (TypeError, ValueError, RecursionError):
        return None


def _counted(digest: Any) -> Any:
    return digest.get("count", "?") if isinstance(digest, dict) else "?"


def _digests(connection: Connection, table: EventTable, after: int) -> Iterator[tuple[int, Any]]:
    sql = f"SELECT seq, events FROM audit_log WHERE events <> '{{}}' AND seq > {int(after)} ORDER BY seq"
    with stream.rows(connection, sql) as rows:
        for seq, text in rows:
            digest = _parsed(text).get(table.name)
            if digest is not None:
                yield seq, digest


def _parsed(text: str) -> dict[str, Any]:
    found = _json(text)
    return found if isinstance(found, dict) else {}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text  # not what blaidctl writes: the comparison with the hash names it


def _acts(connection: Connection, table: EventTable) -> Iterator[tuple[int | None, list[list[Any]]]]:
    """Yield (sequence of the entry or None, its event rows in id order); rows without an entry come first or last.

    A refusal that wrote no rows may share its act id with the act that was done later (as entries of old do).
    """
    sql = (
        f"SELECT a.seq, {table.selected(connection.dialect.name, 'e.')} FROM {table.name} e"
        " LEFT JOIN audit_log a ON a.act_id = e.act_id AND (a.outcome = 'DONE' OR a.events <> '{}')"
        " ORDER BY a.seq, e.id"
    )
    current: list[list[Any]] = []
    current_seq: int | None = None
    with stream.rows(connection, sql) as rows:
        for seq, *values in rows:
            if current and seq != current_seq:
                yield current_seq, current
                current = []
            current_seq = seq
            current.append(values)
    if current:
        yield current_seq, current
