"""The chain: what an appended entry costs among many writers (row 5), and what verification costs (row 6).

    python -m benchmarks.audit
    python -m benchmarks.audit --entries 1000000

append    8 processes, each entry in a transaction of its own: `audit.append` on the real tables, to an insert of the
          same row into a table without chain, head and triggers, through the same sessions of the product (BEGIN
          IMMEDIATE behind the queue on SQLite). Rates, so higher is better; beside it the worst wait as a multiple of
          the median.
verify    the chain pass of `audit verify` over N entries, to reading the same columns through the same cursor.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections import deque
from typing import TYPE_CHECKING, Any

from benchmarks import common
from blaidctl.audit import chain
from blaidctl.core import audit, stream
from blaidctl.core.sql import Query

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.common import Figure, Place
    from blaidctl.core.context import Context

WRITERS = 8
APPEND_GOALS = {"sqlite": 0.85, "postgresql": 0.75}
VERIFY_GOALS = {1: 2.0, 2: 1.2}

#: The plain table holds text only: the name of the parameter keeps the product from converting it.
_PLAIN = Query("""
    INSERT INTO plain (act_id, action, actor, created_at, events, outcome, request_id, trace_id, canonical)
    VALUES (:act_id, :action, :actor, :at_text, :events, :outcome, :request_id, :trace_id, :canonical)
""")


def main() -> None:
    """Measure and print."""
    options = common.arguments(__doc__, entries=500_000, seconds=4, rounds=5, pairs=5)
    with common.places(options.engine) as found:
        figures: list[Figure] = []
        for place in found:
            figures.append(append(place, options.seconds, options.rounds))
            figures += verify(place, options.entries, options.pairs)
    common.report("the chain", figures, as_json=options.json)


# ---- append ----------------------------------------------------------------------------------------------------------


def append(place: Place, phase_s: float, rounds: int) -> Figure:
    """Let the writers take turns: a phase without a chain, a phase with it, and again."""
    name = place.copy(place.template(_plain_table))
    phases = ["plain", "chained"] * rounds
    seen = common.crowd(writer, (place.url(name),), processes=WRITERS, phases=phases, phase_s=phase_s)
    pairs = [(plain.rate, chained.rate) for plain, chained in zip(seen[::2], seen[1::2], strict=True)]
    chained = seen[1::2]
    failed = sum(len(one.errors) for one in seen)
    more = {
        "worst wait": f"{max(one.worst for one in chained):.0f} x median",
        "p99": f"{max(one.p99 for one in chained):.1f} x",
        "errors": failed,
    }
    return common.Figure(f"append, {WRITERS} writers", place.kind, pairs, APPEND_GOALS[place.kind], "≥", more)


def _plain_table(connection: Any) -> None:
    connection.execute(
        "CREATE TABLE plain (act_id TEXT, action TEXT, actor TEXT, created_at TEXT, events TEXT, outcome TEXT,"
        " request_id TEXT, trace_id TEXT, canonical TEXT)"
    )


@contextlib.contextmanager
def writer(_number: int, url: str) -> Iterator[dict[str, Callable[[], None]]]:
    """Give one process its two acts."""
    ctx = common.context(url, lock_timeout_s=60)

    def plain() -> None:
        entry = _entry(ctx)
        values = entry.columns() | {"at_text": entry.created_at.isoformat(), "canonical": "".join(entry.pieces())}
        del values["created_at"]
        with ctx.database.writing() as connection:
            _PLAIN.on(connection, **values)

    def chained() -> None:
        with ctx.database.writing() as connection:
            audit.append(connection, _entry(ctx))

    try:
        yield {"plain": plain, "chained": chained}
    finally:
        ctx.database.close()


def _entry(ctx: Context) -> audit.Entry:
    return audit.Entry(
        act_id=secrets.token_hex(16),
        action="kill",
        actor=ctx.actor,
        created_at=ctx.now(),
        outcome=audit.DONE,
        request_id=secrets.token_hex(16),
        trace_id=ctx.trace_id,
        what={
            **ctx.circumstances(),
            "after": {"killed": 1},
            "before": None,
            "reason": "a drill",
            "target": {"bots": ["b"]},
        },
    )


# ---- verify ----------------------------------------------------------------------------------------------------------


def verify(place: Place, entries: int, pairs: int) -> list[Figure]:
    """Verify a long chain, with one process and with two."""
    name = place.copy(place.template(lambda connection: _long_chain(connection, place.kind, entries)))
    ctx = common.context(place.url(name))
    figures = []
    for workers, goal in VERIFY_GOALS.items():

        def read() -> float:
            with ctx.database.reading(statement_timeout_s=0) as connection:
                return common.seconds(lambda: _read(connection))

        def check(workers: int = workers) -> float:
            with ctx.database.reading(statement_timeout_s=0) as connection:
                return common.seconds(lambda: _check(connection, ctx, entries, workers))

        title = f"verify {entries:,} entries, {workers} process(es)"
        figures.append(common.Figure(title, place.kind, common.take_turns(read, check, pairs), goal))
    ctx.database.close()
    return figures


def _read(connection: Any) -> None:
    at = stream.time_column("created_at", connection.dialect.name)
    sql = (
        "SELECT seq, prev_hash, entry_hash, canonical,"
        f" act_id, action, actor, {at}, events, outcome, request_id, trace_id FROM audit_log ORDER BY seq"
    )
    with stream.rows(connection, sql) as rows:
        deque(rows, maxlen=0)


def _check(connection: Any, ctx: Context, entries: int, workers: int) -> None:
    found = chain.verify_chain(connection, ctx.settings, entries, workers, lambda _seq: None)
    if (found.entries, found.defects) != (entries, []):
        raise SystemExit(f"the chain of the benchmark does not verify: {found.defects[:3]}")


def _long_chain(connection: Any, kind: str, entries: int) -> None:
    """Write a right chain in bulk; the triggers are put aside for that, on this scratch database."""
    triggers = [] if kind == "postgresql" else _aside(connection)
    if kind == "postgresql":
        connection.execute("ALTER TABLE audit_log DISABLE TRIGGER USER")
        connection.execute("ALTER TABLE audit_head DISABLE TRIGGER USER")
    connection.execute("DELETE FROM audit_log")
    rows, head = _rows(entries)
    columns = (
        "seq, prev_hash, entry_hash, act_id, action, actor, created_at, events, outcome, request_id, trace_id,"
        " canonical"
    )
    if kind == "postgresql":
        with connection.cursor().copy(f"COPY audit_log ({columns}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
    else:
        connection.executemany(f"INSERT INTO audit_log ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    mark = "%s" if kind == "postgresql" else "?"
    connection.execute(f"UPDATE audit_head SET seq = {mark}, entry_hash = {mark} WHERE id = 1", (entries, head[0]))
    for sql in triggers:
        connection.execute(sql)


def _aside(connection: Any) -> list[str]:
    found = connection.execute(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name LIKE 'audit%'"
    ).fetchall()
    for name, _ in found:
        connection.execute(f"DROP TRIGGER {name}")
    return [sql for _, sql in found]


def _rows(entries: int) -> tuple[Iterator[tuple[Any, ...]], list[bytes]]:
    head = [bytes(32)]

    def rows() -> Iterator[tuple[Any, ...]]:
        ctx = common.context("sqlite:////nowhere/at-all.db")
        for seq in range(1, entries + 1):
            entry = _entry(ctx)
            before, middle, after = entry.pieces()
            text = f"{before}{head[0].hex()}{middle}{seq}{after}"
            digest = hashlib.sha256(text.encode()).digest()
            at = text[text.index('"created_at":"') + 14 :][:27]
            yield (
                seq, head[0], digest, entry.act_id, entry.action, entry.actor, at, "{}", entry.outcome,
                entry.request_id, entry.trace_id, text,
            )  # fmt: skip
            head[0] = digest

    return rows(), head


if __name__ == "__main__":
    main()
