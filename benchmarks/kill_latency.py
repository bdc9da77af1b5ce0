"""From the COMMIT of a kill to a process that is dead, and to the proof of it in the database.

    python -m benchmarks.kill_latency

Real supervisors (`blaidctl bot run --standby`, default settings), each with a real process that obeys TERM. This
process kills them through the one road, warm, and stamps the moment at which COMMIT returned. `dead`: the process's
pidfd, opened before, says so. `confirmed`: another connection reads stop_confirmed_at. `resurrect --restart` then
starts the process again. The floor, taken in turn, is `os.killpg` and `waitpid` for the same program.

alone     one supervised bot on the machine, killed again and again.
crowd     one of 100 supervised bots, each time another one.
fleet     all 100 at once by one kill: how long until the last is dead, and until the last is confirmed.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from benchmarks import common
from blaidctl.core.execute import execute
from blaidctl.core.operation import the_map

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from benchmarks.common import Figure, Place
    from blaidctl.core.context import Context

PROGRAM = ("sleep", "1000000")
GOAL_MS = {"postgresql": 250, "sqlite": 500}
FLEETS = 5
STARTING_AT_ONCE = 4
LIMIT_S = 60
_LOOK_S = 0.001
_SETTLE_S = (0.1, 0.5)
#: A supervisor holds a few connections: to write, to hear, and for the last word.
_CONNECTIONS = 600


def main() -> None:
    """Measure and print."""
    options = common.arguments(__doc__, kills=200, crowd=100, fleets=FLEETS)
    figures = []
    with common.places(options.engine, max_connections=_CONNECTIONS) as found:
        for place in found:
            figures += alone(place, options.kills)
            figures += crowd(place, options.crowd, options.kills, options.fleets)
    common.report("COMMIT of a kill → dead and confirmed ÷ killpg and waitpid", figures, as_json=options.json)


def alone(place: Place, kills: int) -> list[Figure]:
    """One bot, killed and started again."""
    with supervised(place, 1) as fleet:
        return _figures(f"one bot, {kills} kills", place.kind, [_pair(fleet, 1) for _ in range(kills)])


def crowd(place: Place, bots: int, kills: int, fleets: int) -> list[Figure]:
    """One of many, each in its turn; then all of them at once."""
    with supervised(place, bots) as fleet:
        numbers = itertools.cycle(range(1, bots + 1))
        ones = [_pair(fleet, next(numbers)) for _ in range(kills)]
        alls = [(_bare(bots), fleet.kill(range(1, bots + 1))) for _ in range(fleets)]
    return [
        *_figures(f"one of {bots} bots, {kills} kills", place.kind, ones),
        *_figures(f"all {bots} bots at once, {fleets} times", place.kind, alls),
    ]


def _pair(fleet: Fleet, number: int) -> tuple[float, Kill]:
    return _bare(1), fleet.kill([number])


def _figures(title: str, kind: str, pairs: Sequence[tuple[float, Kill]]) -> list[Figure]:
    """Return a line for `dead` and one for `confirmed`."""
    lines = []
    for what in ("dead", "confirmed"):
        taken = sorted(getattr(kill, what) for _, kill in pairs)
        middle, high = (f"{1000 * taken[min(int(len(taken) * part), len(taken) - 1)]:.0f}" for part in (0.5, 0.99))
        load = max(kill.load for _, kill in pairs)
        more = {"p50": f"{middle} ms", "p99": f"{high} ms (aim {GOAL_MS[kind]})", "load up to": f"{load:.1f}"}
        lines.append(common.Figure(f"{title}: {what}", kind, [(b, getattr(k, what)) for b, k in pairs], more=more))
    return lines


def _bare(count: int) -> float:
    """End processes of the same kind, as one who started them himself: a signal to each group, a wait for each."""
    children = [subprocess.Popen(PROGRAM, start_new_session=True) for _ in range(count)]  # noqa: S603
    start = time.perf_counter()
    for child in children:
        os.killpg(child.pid, signal.SIGTERM)
    for child in children:
        child.wait()
    return time.perf_counter() - start


# ---- a fleet under supervision ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kill:
    """Seconds from COMMIT until the last process was dead and the last stop confirmed; the load of that minute."""

    dead: float
    confirmed: float
    load: float = field(default_factory=lambda: os.getloadavg()[0])


class _Receipts(list[Any]):
    """Notes when the last receipt came: the first thing that happens when COMMIT has returned."""

    last_s = 0.0

    def append(self, receipt: Any) -> None:
        self.last_s = time.perf_counter()
        super().append(receipt)


@dataclass
class Fleet:
    """Supervisors that run, a caller who kills, and a connection that looks."""

    ctx: Context
    receipts: _Receipts
    raw: Any

    def running(self) -> dict[str, tuple[int, int]]:
        """Return (instance, pid) of every bot whose process runs."""
        found = self.raw.execute("SELECT bot_id, id, pid FROM bot_instances WHERE status = 'RUNNING'").fetchall()
        return {bot: (instance, pid) for bot, instance, pid in found}

    def kill(self, numbers: Sequence[int]) -> Kill:
        """Kill, measure, and have everything started again."""
        bots = [common.bot_id(number) for number in numbers]
        before = self.running()
        instances, pids = zip(*(before[bot] for bot in bots), strict=True)
        with contextlib.ExitStack() as stack:
            poll = select.poll()
            for pid in pids:
                descriptor = os.pidfd_open(pid)
                stack.callback(os.close, descriptor)
                poll.register(descriptor, select.POLLIN)
            execute(self.ctx, the_map()["kill"], {"bots": bots, "reason_code": "DRILL", "reason": "latency"})
            committed = self.receipts.last_s
            dead = self._all_dead(poll, len(bots)) - committed
            confirmed = self._all_confirmed(instances) - committed
        kill = Kill(dead, max(dead, confirmed))
        self._start_again(bots)
        return kill

    @staticmethod
    def _all_dead(poll: select.poll, count: int) -> float:
        dead: set[int] = set()
        while len(dead) < count:
            for descriptor, _ in poll.poll(1000 * LIMIT_S):
                dead.add(descriptor)
                poll.unregister(descriptor)
        return time.perf_counter()

    def _all_confirmed(self, instances: Sequence[int]) -> float:
        ask = (
            "SELECT count(*) FROM bot_instances WHERE stop_confirmed_at IS NULL"
            f" AND id IN ({', '.join(map(str, instances))})"
        )
        _until(lambda: self.raw.execute(ask).fetchone() == (0,))
        return time.perf_counter()

    def _start_again(self, bots: Sequence[str]) -> None:
        for bot in bots:
            asked = {"bot": bot, "reason_code": "DRILL_DONE", "reason": "again", "restart": True, "wait": 0}
            execute(self.ctx, the_map()["resurrect"], asked)
        _until(lambda: self.running().keys() >= set(bots), 0.01)
        time.sleep(random.uniform(*_SETTLE_S))  # noqa: S311 - no kill comes at a beat of the supervisor's own


def _until(condition: Any, look_s: float = _LOOK_S) -> None:
    until = time.perf_counter() + LIMIT_S
    while not condition():
        if time.perf_counter() > until:
            raise SystemExit(f"not so within {LIMIT_S} s")
        time.sleep(look_s)


@contextlib.contextmanager
def supervised(place: Place, bots: int) -> Iterator[Fleet]:
    """Start supervisors on a fresh database, and end them."""
    name = place.copy(place.template(common.seed_fleet(bots, 0)))
    receipts = _Receipts()
    ctx = replace(common.context(place.url(name), lock_timeout_s=60), receipts=receipts)
    with contextlib.ExitStack() as stack:
        stack.callback(place.drop, name)
        stack.callback(ctx.database.close)
        fleet = Fleet(ctx, receipts, stack.enter_context(contextlib.closing(place.raw(name))))
        wanted = [common.bot_id(number) for number in range(1, bots + 1)]
        stack.enter_context(_supervisors(fleet, place.url(name), wanted, place.folder / f"{name}.log"))
        for _ in range(5):  # psycopg prepares a statement when it sees it for the fifth time
            fleet.kill([1])
        yield fleet


@contextlib.contextmanager
def _supervisors(fleet: Fleet, url: str, bots: Sequence[str], log: Path) -> Iterator[None]:
    """Start a few at a time: what is measured is not how a machine starts a hundred programs at once."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BLAIDCTL_")}
    environment["BLAIDCTL_DATABASE_URL"] = url
    started: list[subprocess.Popen[bytes]] = []
    with log.open("wb") as said:
        try:
            for bot in bots:
                command = [sys.executable, "-m", "blaidctl", "bot", "run", bot, "--standby", "--", *PROGRAM]
                started.append(
                    subprocess.Popen(command, env=environment, stderr=said, stdin=subprocess.DEVNULL)  # noqa: S603
                )
                _until(lambda: _still_starting(fleet, started) < STARTING_AT_ONCE, 0.02)
            _until(lambda: not _still_starting(fleet, started), 0.1)
            yield
        except SystemExit:
            print(log.read_text()[-2000:], file=sys.stderr)
            raise
        finally:
            for supervisor in started:
                supervisor.terminate()
            for supervisor in started:
                supervisor.wait(LIMIT_S)


def _still_starting(fleet: Fleet, started: Sequence[subprocess.Popen[bytes]]) -> int:
    if any(supervisor.poll() is not None for supervisor in started):
        raise SystemExit("a supervisor has ended")
    return len(started) - len(fleet.running())


if __name__ == "__main__":
    main()
