"""Eight processes kill on one SQLite file: how long does the unluckiest kill wait?

    python -m benchmarks.fairness

Throughput hides starvation: SQLite's busy handler polls, and a writer can wait for seconds while others pass. blaidctl
queues its writers on a file lock first. The same kills, with the queue and without it (put out of action in the child),
in turn; the ratio is the worst wait of one phase to its own median, so lower is better, and the goal is 20.
"""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any

from benchmarks import common
from blaidctl.core import db, queue
from blaidctl.core.execute import execute
from blaidctl.core.operation import the_map

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PROCESSES = 8
GOAL = 20
BOTS = 40


def main() -> None:
    """Measure and print."""
    options = common.arguments(__doc__, seconds=10, rounds=2)
    with common.places(["sqlite"]) as (place,):
        name = place.copy(place.template(common.seed_fleet(BOTS, 1)))
        phases = ["queued", "unqueued"] * options.rounds
        seen = common.crowd(killer, (place.url(name),), processes=PROCESSES, phases=phases, phase_s=options.seconds)
    figures = []
    for title, those in (("with the queue", seen[::2]), ("without it", seen[1::2])):
        pairs = [(one.median_s, max(one.waits_s)) for one in those]
        more = {
            "median": f"{1000 * min(one.median_s for one in those):.0f} ms",
            "worst": f"{1000 * max(max(one.waits_s) for one in those):.0f} ms",
            "p99": f"{max(one.p99 for one in those):.1f} x",
            "kills/s": f"{sum(one.rate for one in those) / len(those):.0f}",
            "errors": sum(len(one.errors) for one in those),
        }
        figures.append(common.Figure(f"worst wait ÷ median, {title}", "sqlite", pairs, GOAL, more=more))
    common.report(f"{PROCESSES} processes killing for {options.seconds} s a phase", figures, as_json=options.json)


@contextlib.contextmanager
def killer(number: int, url: str) -> Iterator[dict[str, Callable[[], None]]]:
    """Give one process its kills: the same act with and without the queue."""
    ctx = common.context(url)
    bots = itertools.cycle([common.bot_id(1 + (number + n) % BOTS) for n in range(BOTS)])

    def queued() -> None:
        execute(ctx, the_map()["kill"], {"bots": [next(bots)], "reason_code": "DRILL", "reason": "fairness"})

    def unqueued() -> None:
        fair, db.queue.turn = queue.turn, _no_queue
        try:
            queued()
        finally:
            db.queue.turn = fair

    try:
        yield {"queued": queued, "unqueued": unqueued}
    finally:
        ctx.database.close()


@contextlib.contextmanager
def _no_queue(_database: Path, timeout_s: int, *_: Any) -> Iterator[float]:
    yield float(timeout_s)


if __name__ == "__main__":
    main()
