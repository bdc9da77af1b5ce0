"""The chain itself: sequence, links, hashes, columns against the hashed text; streamed, in any number of processes."""

from __future__ import annotations

import hashlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import TYPE_CHECKING

from blaidctl.core import stream
from blaidctl.core.canonical import GENESIS, quote
from blaidctl.core.db import Database

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Connection

    from blaidctl.core.settings import Settings

MOST_DEFECTS = 100
#: Below this, starting another process costs more than it saves.
LEAST_ENTRIES_A_WORKER = 200_000
REPORT_EVERY = 20_000


@dataclass(slots=True)
class Stretch:
    """A stretch of the chain after verification: what it started from, where it ended, what does not hold."""

    entries: int = 0
    first_prev: bytes = GENESIS
    last_seq: int = 0
    last_hash: bytes = GENESIS
    defects: list[tuple[int, str]] = field(default_factory=list)

    def note(self, seq: int, what: str) -> None:
        """Keep a defect; beyond the first hundred only the count of entries goes on."""
        if len(self.defects) < MOST_DEFECTS:
            self.defects.append((seq, what))


def verify_chain(
    connection: Connection, settings: Settings, head_seq: int, workers: int, progress: Callable[[int], None]
) -> Stretch:
    """Verify every entry; entries beyond `head_seq` are verified too (and the head check then names them)."""
    workers = min(workers, max(head_seq // LEAST_ENTRIES_A_WORKER, 1))
    if workers == 1:
        return verify_stretch(connection, 1, None, progress)
    # The other processes look a moment later, when the log may have grown: they end where this snapshot ends.
    end = int(connection.exec_driver_sql("SELECT max(seq) FROM audit_log").scalar() or 0)
    share = end // workers
    starts = [1 + i * share for i in range(1, workers)]
    bounds = [*((first, first + share - 1) for first in starts[:-1]), (starts[-1], end)]
    with ProcessPoolExecutor(workers - 1, mp_context=get_context("spawn")) as pool:
        others = [pool.submit(_verify_elsewhere, settings, first, last) for first, last in bounds]
        whole = verify_stretch(connection, 1, share, progress)
        for other in others:
            join(whole, other.result())
    return whole


def join(whole: Stretch, part: Stretch) -> None:
    """Append the next stretch; its first link must name the end of the one before."""
    if part.entries and part.first_prev != whole.last_hash:
        whole.note(whole.last_seq + 1, "prev_hash is not the hash of the entry before")
    for seq, what in part.defects:
        whole.note(seq, what)
    whole.entries += part.entries
    if part.entries:
        whole.last_seq, whole.last_hash = part.last_seq, part.last_hash


def _verify_elsewhere(settings: Settings, first: int, last: int | None) -> Stretch:
    database = Database(settings)
    try:
        with database.reading(statement_timeout_s=0) as connection:
            return verify_stretch(connection, first, last, lambda _seq: None)
    finally:
        database.close()


def verify_stretch(connection: Connection, first: int, last: int | None, progress: Callable[[int], None]) -> Stretch:
    """Verify the entries from `first` to `last`: one pass, constant memory.

    The columns are compared by one prefix comparison: the keys of an entry are named so that all that a column
    mirrors stands before `"what"` (see core/audit.py), and the prefix is built from the columns.
    """
    found = Stretch(last_seq=first - 1)
    try:
        _verify_rows(connection, first, last, progress, found)
    except stream.NotUtf8Error:
        found.note(found.last_seq + 1, "a text here is not UTF-8; what comes after it was not verified")
    return found


def _verify_rows(
    connection: Connection, first: int, last: int | None, progress: Callable[[int], None], found: Stretch
) -> None:
    sha256, expected, link = hashlib.sha256, first, None
    bound = "" if last is None else f" AND seq <= {int(last)}"
    at = stream.time_column("created_at", connection.dialect.name)
    sql = (
        "SELECT seq, prev_hash, entry_hash, canonical,"
        f" act_id, action, actor, {at}, events, outcome, request_id, trace_id"
        f" FROM audit_log WHERE seq >= {int(first)}{bound} ORDER BY seq"
    )
    with stream.rows(connection, sql) as rows:
        for (
            seq,
            prev,
            entry_hash,
            text,
            act_id,
            action,
            actor,
            created_at,
            events,
            outcome,
            request_id,
            trace_id,
        ) in rows:
            if seq != expected:
                found.note(expected, f"entries {expected} to {seq - 1} are missing")
            if link is None:
                found.first_prev = prev
                if first == 1 and prev != GENESIS:
                    found.note(seq, "the first entry does not start from the genesis hash")
            elif prev != link:
                found.note(seq, "prev_hash is not the hash of the entry before")
            if sha256(text.encode()).digest() != entry_hash:
                found.note(seq, "entry_hash is not the SHA-256 of the text")
            if not text.startswith(
                f'{{"act_id":{quote(act_id)},"action":{quote(action)},"actor":{quote(actor)},'
                f'"created_at":"{created_at}","events":{events},"outcome":"{outcome}","prev_hash":"{prev.hex()}",'
                f'"request_id":{quote(request_id)},"seq":{seq},"trace_id":"{trace_id}","what":'
            ):
                found.note(seq, "a column differs from the hashed text")
            link, expected = entry_hash, seq + 1
            found.last_seq, found.last_hash = seq, entry_hash
            found.entries += 1
            if not found.entries % REPORT_EVERY:
                progress(seq)
