"""The reaper among a million running jobs (row 7 of the performance goals).

    python -m benchmarks.reaper

reap      one run over 100,000 jobs past their deadline among 1,000,000 RUNNING ones: the look, batches of 500 (fenced
          UPDATE, an event row each, their digest, chain entry, stored answer, COMMIT), the row of the run; to one raw
          UPDATE of the same rows in one transaction, without events. The watching of silent jobs is a wait, and left
          out. Beside it, from a run of its own: how long a lock was held. On SQLite a second process asks for the write
          lock every other millisecond; on PostgreSQL the transactions are timed from BEGIN to COMMIT.
peer      procrastinate's own API for the same (get_stalled_jobs, then finish_job with status failed for each), on the
          same server in the same run: for fewer jobs, and both scaled to seconds a job.
idle      the look of a run that finds nothing among 1,000,000 live jobs, to reading all of them without an index.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import sqlite3
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import event

from benchmarks import common
from blaidctl.core.types import time_text
from blaidctl.reaper import contract
from blaidctl.reaper.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.common import Figure, Place
    from blaidctl.core.context import Context
    from blaidctl.core.db import Database

#: The scan before each turn drives everything else out of the machine's caches.
LOOKS_A_TURN = 20
_FLOOR = (
    "UPDATE jobs SET status = 'FAILED', reason_code = 'TIMEOUT', finished_at = '{now}'"
    " WHERE status = 'RUNNING' AND due_at < '{now}'"
)
_SCAN = {
    "sqlite": "SELECT count(*) FROM jobs NOT INDEXED WHERE status = 'RUNNING' AND due_at < '{now}'",
    "postgresql": "SELECT count(*) FROM jobs WHERE status = 'RUNNING' AND due_at < '{now}'",  # indexes switched off
}


def main() -> None:
    """Measure and print."""
    options = common.arguments(__doc__, jobs=1_000_000, stale=100_000, pairs=3, idle_pairs=15, peer_jobs=2_000)
    with common.places(options.engine) as found:
        figures = []
        for place in found:
            template = place.template(seed(options.jobs, options.stale))
            figures.append(reap(place, template, options.stale, options.pairs, profile=options.profile))
            if place.kind == "postgresql":
                figures.append(peer(place, template, options.stale, options.peer_jobs, options.pairs))
            figures.append(idle(place, template, options.idle_pairs))
    common.report("reap ÷ what the engine needs", figures, as_json=options.json)


def seed(jobs: int, stale: int) -> Callable[[Any], None]:
    """Return a function that writes RUNNING jobs, every so many of them past its deadline."""

    def fill(connection: Any) -> None:
        now = datetime.now(UTC)
        at, past, future = (time_text(now + timedelta(seconds=s)) for s in (0, -60, 80_000))
        connection.execute(
            "INSERT INTO job_types (name, heartbeat_s, stale_after_s, max_runtime_s, grace_s, created_at)"
            f" VALUES ('bench', 30, 86400, 86400, 5, '{past}')"
        )
        late = f"n % {jobs // stale} = 0"
        deadline = f"CASE WHEN {late} THEN '{past}' ELSE '{future}' END"
        if place_kind(connection) == "postgresql":
            deadline = f"({deadline})::timestamptz"
        connection.execute(
            "INSERT INTO jobs (job_type, status, attempt, hb_seq, heartbeat_s, stale_after_s, heartbeat_at, started_at,"
            " deadline_at, due_at, worker_id, created_at) SELECT 'bench', 'RUNNING', 1, 5, 30, 86400,"
            f" '{at}', '{past}', {deadline}, {deadline}, 'w1', '{past}'"
            f" FROM {common._series(connection).format(count=jobs)}"  # noqa: SLF001 - the benchmarks' own
        )

    return fill


def place_kind(connection: Any) -> str:
    """Return the engine behind a driver's connection."""
    return "sqlite" if type(connection).__module__.startswith("sqlite3") else "postgresql"


@contextlib.contextmanager
def a_copy(place: Place, template: str) -> Iterator[str]:
    """A fresh copy of the herd."""
    name = place.copy(template)
    try:
        yield name
    finally:
        place.drop(name)


@contextlib.contextmanager
def session(place: Place, name: str) -> Iterator[Context]:
    """The context of a run whose engine is up."""
    ctx = common.context(place.url(name))
    try:
        with ctx.database.reading():
            pass
        yield ctx
    finally:
        ctx.database.close()


def run_of(ctx: Context, **options: int) -> Run:
    """Return one run of the reaper, not yet carried out."""
    return Run(ctx, contract.Reap(max_items=contract.MOST_ITEMS, **options), dry_run=False)


def reap_all(place: Place, template: str, stale: int, held_s: list[float] | None = None) -> float:
    """Reap everything on a fresh copy; return the seconds. Into the list go the times that locks were held."""
    with contextlib.ExitStack() as stack:
        ctx = stack.enter_context(session(place, stack.enter_context(a_copy(place, template))))
        if held_s is not None:
            stack.enter_context((asked if place.kind == "sqlite" else clocked)(ctx.database, held_s))
        run = run_of(ctx)
        taken = common.seconds(run.answer)
    if run.jobs.reaped != stale:
        raise SystemExit(f"{run.jobs.reaped} of {stale} were reaped")
    return taken


@contextlib.contextmanager
def clocked(database: Database, held_s: list[float]) -> Iterator[None]:
    """Time every transaction while the block runs, from BEGIN to COMMIT."""
    began: list[float] = []

    def begin(*_: Any) -> None:
        began.append(time.perf_counter())

    def end(*_: Any) -> None:
        held_s.append(time.perf_counter() - began[-1])

    event.listen(database.engine, "begin", begin)
    event.listen(database.engine, "commit", end)
    yield
    event.remove(database.engine, "begin", begin)
    event.remove(database.engine, "commit", end)


@contextlib.contextmanager
def asked(database: Database, held_s: list[float]) -> Iterator[None]:
    """Let another process ask for SQLite's write lock again and again while the block runs."""
    spawn = multiprocessing.get_context("spawn")
    over, told = spawn.Event(), spawn.Queue()
    prober = spawn.Process(target=_ask, args=(str(database.path), over, told), daemon=True)
    prober.start()
    told.get()
    yield
    over.set()
    held_s += told.get()
    prober.join()


def _ask(path: str, over: Any, told: Any) -> None:
    """Ask every other millisecond; tell how long each stretch of refusals was."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=0)
    stretches, since = [], None
    told.put("ready")
    while not over.is_set():
        now = time.perf_counter()
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            since = since or now
        else:
            if since:
                stretches.append(now - since)
            since = None
        time.sleep(0.002)
    told.put(stretches)


def reap(place: Place, template: str, stale: int, pairs: int, *, profile: bool) -> Figure:
    """Reap everything, on fresh copies of one herd."""

    def floor() -> float:
        with a_copy(place, template) as name, contextlib.closing(place.raw(name)) as connection:
            statement = _FLOOR.format(now=time_text(datetime.now(UTC)))
            return common.seconds(lambda: connection.execute(statement))

    if profile:
        with common.profiled(f"reap on {place.kind}"):
            reap_all(place, template, stale)
    taken = common.take_turns(floor, lambda: reap_all(place, template, stale), pairs)
    held_s: list[float] = []
    reap_all(place, template, stale, held_s)
    held_s.sort()
    usual, longest = held_s[len(held_s) // 2] * 1000, held_s[-1] * 1000
    more = {"lock held ms (goal 100), usual": f"{usual:.0f}", "longest": f"{longest:.0f}"}
    return common.Figure(f"reap {stale:,} jobs, one raw UPDATE = 1", place.kind, taken, more=more)


def idle(place: Place, template: str, pairs: int) -> Figure:
    """Look at a herd in which nothing is late."""
    with a_copy(place, template) as name, session(place, name) as ctx:
        run_of(ctx).answer()
        looks_s: list[float] = []

        def look() -> float:
            taken_s = [common.seconds(run_of(ctx).look) for _ in range(LOOKS_A_TURN)]
            looks_s.extend(taken_s)
            return sum(taken_s) / LOOKS_A_TURN

        with contextlib.closing(place.raw(name)) as connection, ctx.database.kept_open():
            if place.kind == "postgresql":
                connection.execute("VACUUM ANALYZE jobs")
                connection.execute("SET enable_indexscan = off; SET enable_indexonlyscan = off")
                connection.execute("SET enable_bitmapscan = off")

            def scan() -> float:
                statement = _SCAN[place.kind].format(now=time_text(datetime.now(UTC)))
                return common.seconds(lambda: connection.execute(statement).fetchall())

            taken = common.take_turns(look, scan, pairs)
    middle = sorted(looks_s)[len(looks_s) // 2] * 1000
    title = "idle look; reading every job is so many times slower"
    return common.Figure(title, place.kind, taken, goal=100, sense="≥", more={"look ms (goal 2)": f"{middle:.1f}"})


# ---- beside it -------------------------------------------------------------------------------------------------------


def peer(place: Place, template: str, stale: int, peer_jobs: int, pairs: int) -> Figure:
    """Let procrastinate fail stalled jobs; the ratio is its seconds a job to ours."""
    server = place.server
    if server is None:
        raise SystemExit("procrastinate needs PostgreSQL")

    def ours() -> float:
        return reap_all(place, template, stale) / stale

    def theirs() -> float:
        place.made += 1
        name = f"peer_{place.made}"
        common.databases.postgres_database(server.address, name)
        try:
            return asyncio.run(_procrastinate(place.url(name), peer_jobs)) / peer_jobs
        finally:
            place.drop(name)

    taken = common.take_turns(ours, theirs, pairs)
    title = f"procrastinate's API a job ({peer_jobs:,} jobs), ours = 1"
    return common.Figure(title, place.kind, taken, goal=50, sense="≥")


async def _procrastinate(url: str, jobs: int) -> float:
    from procrastinate import App, PsycopgConnector
    from procrastinate.jobs import Status

    app = App(connector=PsycopgConnector(conninfo=url))
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        with contextlib.closing(common.raw_connection("postgresql", url)) as raw:
            raw.execute("INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - interval '1 hour')")
            raw.execute(
                "INSERT INTO procrastinate_jobs (queue_name, task_name, args, status, worker_id, attempts)"
                " SELECT 'q', 't', '{}', 'doing', (SELECT min(id) FROM procrastinate_workers), 1"
                f" FROM generate_series(1, {jobs})"
            )
            raw.execute("ANALYZE")
        began = time.perf_counter()
        stalled = list(await app.job_manager.get_stalled_jobs())
        for job in stalled:
            await app.job_manager.finish_job(job, status=Status.FAILED, delete_job=False)
        taken = time.perf_counter() - began
    if len(stalled) != jobs:
        raise SystemExit(f"procrastinate found {len(stalled)} of {jobs}")
    return taken


if __name__ == "__main__":
    main()
