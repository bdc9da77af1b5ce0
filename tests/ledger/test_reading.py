"""Reading a million fills costs their walk: whatever else is asked of them has an index, and memory does not grow."""

from __future__ import annotations

import os
import tracemalloc
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from blaidctl.core import command, stream
from blaidctl.core.execute import Tx
from blaidctl.core.types import read_time
from blaidctl.ledger import metrics
from tests.ledger.desk import AS_OF, FILLS, whole
from tests.support import ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from blaidctl.core.context import Context
    from tests.support.commandline import CommandLine
    from tests.support.database import Database


@pytest.fixture
def ctx(cli: CommandLine) -> Iterator[Context]:
    with mock.patch.dict(os.environ, cli.environment(), clear=True):
        made = command.make_context()
    yield made
    made.database.close()


def test_every_statement_about_fills_reads_an_index_and_none_the_table(sqlite_database: Database, ctx: Context):
    whole(sqlite_database, [{**row, "exact": 0} for row in FILLS])
    said: list[str] = []
    with ctx.database.reading() as connection:
        driver: Any = connection.connection.driver_connection
        driver.set_trace_callback(said.append)
        metrics.compute(Tx(ctx, connection, ctx.now()), "momo-1", as_of=read_time(AS_OF))
        driver.set_trace_callback(None)
        asked = {sql for sql in said if "FROM trades" in sql}
        plans = {sql: [row[3] for row in driver.execute(f"EXPLAIN QUERY PLAN {sql}")] for sql in asked}
    assert len(plans) == 10
    walked = [sql for sql, plan in plans.items() if any("trades_book" in step for step in plan)]
    # The results that were reported are in no index: whoever reports them pays a second walk.
    walks = [sql for sql in walked if "reported_pnl" not in sql]
    for sql in walks:
        assert any("USING COVERING INDEX trades_book" in step for step in plans[sql]), sql
    assert len(walks) == 3  # the walk itself, what the fills name, whether there is any
    for sql in asked - set(walked):
        assert any("INDEX trades_" in step for step in plans[sql]), sql
        assert not any(step.startswith("SCAN trades") for step in plans[sql]), sql


def test_memory_does_not_grow_with_the_fills(sqlite_database: Database, ctx: Context, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stream, "BATCH_ROWS", 500)
    ledger.desk(sqlite_database)
    ledger.flow(sqlite_database, "INITIAL", "1000", at="2026-01-02")
    used = []
    for parts in (range(2), range(2, 40)):
        for part in parts:
            rows = [
                (ledger.buy if n % 2 else ledger.sell)("1", "4000", f"2026-01-{5 + part // 20:02}T10:00")
                for n in range(1_000)
            ]
            ledger.fills(sqlite_database, rows)
        with ctx.database.reading() as connection:
            tx = Tx(ctx, connection, ctx.now())
            tracemalloc.start()
            found = metrics.compute(tx, "momo-1", as_of=read_time(AS_OF))
            used.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert found.figures.fills == 40_000
    # A row of these is a kilobyte of objects: 38,000 of them held at once would be tens of megabytes.
    assert used[1] < used[0] + 4 * 1024 * 1024, used
