"""What the benchmarks share: databases to measure on, contenders taken side by side, and the table.

A millisecond means nothing here: other programs share the machine. Every figure is a ratio of two contenders that took
turns (A B A B …) in one run, the median over the pairs, with the middle half of the pairs beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import gc
import json
import multiprocessing
import os
import platform
import pstats
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from pydantic import SecretStr
from sqlalchemy import event

from blaidctl import __version__
from blaidctl.core import migrate
from blaidctl.core.context import Context, Machine, new_trace_id
from blaidctl.core.db import Database
from blaidctl.core.settings import Settings
from tests.support import database as databases
from tests.support.postgres import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ENGINES = ("sqlite", "postgresql")


# ---- contenders, side by side ----------------------------------------------------------------------------------------


@dataclass
class Figure:
    """One line of the table: how many times the floor's time (or rate) the product took."""

    name: str
    engine: str
    pairs: list[tuple[float, float]]
    goal: float | None = None
    #: "≤" for times, "≥" for rates.
    sense: str = "≤"
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def ratios(self) -> list[float]:
        """Product ÷ floor, pair by pair."""
        return sorted(product / floor for floor, product in self.pairs)

    @property
    def ratio(self) -> float:
        """The median of the pairs."""
        return statistics.median(self.ratios)

    def row(self) -> list[str]:
        """Return the cells of this line."""
        quarter, ratios = len(self.ratios) // 4, self.ratios
        middle = f"{ratios[quarter]:.2f} - {ratios[-1 - quarter]:.2f}"
        goal = f"{self.sense} {self.goal:g}" if self.goal else ""
        more = ", ".join(f"{name} {value}" for name, value in self.more.items())
        return [self.name, self.engine, f"{self.ratio:.2f}", middle, str(len(ratios)), goal, more]

    def data(self) -> dict[str, Any]:
        """Return this line for `--json`."""
        return asdict(self) | {"ratio": self.ratio}


def take_turns(floor: Callable[[], float], product: Callable[[], float], pairs: int) -> list[tuple[float, float]]:
    """Run A B A B …; each contender prepares, measures itself and returns its seconds (or its rate)."""
    floor(), product()  # the first of each pays for caches
    taken = []
    for _ in range(pairs):
        gc.collect()
        one = floor()
        gc.collect()
        taken.append((one, product()))
    return taken


def seconds(work: Callable[[], Any]) -> float:
    """Return how long a piece of work took."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def report(title: str, figures: Sequence[Figure], *, as_json: bool) -> None:
    """Print the table, or the same as JSON."""
    if as_json:
        print(json.dumps({"title": title, "machine": machine(), "figures": [f.data() for f in figures]}, indent=1))
        return
    heads = ["figure", "engine", "ratio", "middle half", "pairs", "goal", "beside it"]
    lines = [heads, ["---"] * len(heads), *(figure.row() for figure in figures)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    print(f"{title}\n{machine()}\n")
    for line in lines:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")


def machine() -> str:
    """Return what the figures were taken on, without naming the machine."""
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, blaidctl {__version__}, {os.cpu_count()} cores {platform.machine()},"
        f" {platform.system()}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    )


def arguments(description: str | None, **defaults: int) -> argparse.Namespace:
    """Parse the options that every benchmark has, and whole numbers of its own with their defaults."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--profile", action="store_true", help="print where the product's time goes, too")
    parser.add_argument("--engine", choices=ENGINES, action="append", help="only this engine")
    for name, default in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default, help=f"default {default}")
    options = parser.parse_args()
    options.engine = options.engine or list(ENGINES)
    return options


@contextlib.contextmanager
def profiled(title: str) -> Iterator[None]:
    """Print the functions that the block spent its time in."""
    profile = cProfile.Profile()
    profile.enable()
    try:
        yield
    finally:
        profile.disable()
        print(f"\n{title}", file=sys.stderr)
        pstats.Stats(profile, stream=sys.stderr).strip_dirs().sort_stats("tottime").print_stats(25)


# ---- databases -------------------------------------------------------------------------------------------------------


@dataclass
class Place:
    """An engine to measure on: a migrated template, and as many copies of it as a benchmark wants."""

    kind: str
    folder: Path
    server: PostgresServer | None = None
    made: int = 0

    def template(self, seed: Callable[[Any], None]) -> str:
        """Return the name of a migrated database filled by `seed(raw connection)`."""
        self.made += 1
        name = f"template_{self.made}"
        fresh = Database(Settings(database_url=SecretStr(self._create(name, None))), may_create=True)
        migrate.upgrade_database(fresh)
        fresh.close()
        with contextlib.closing(self.raw(name)) as connection:
            connection.execute("BEGIN")
            seed(connection)
            connection.execute("COMMIT")
            if self.kind == "postgresql":
                connection.execute("VACUUM ANALYZE")
        return name

    def copy(self, template: str) -> str:
        """Return the name of a fresh copy."""
        self.made += 1
        self._create(f"copy_{self.made}", template)
        return f"copy_{self.made}"

    def _create(self, name: str, template: str | None) -> str:
        if self.server is None:
            if template is not None:
                shutil.copyfile(self._file(template), self._file(name))
        else:
            databases.postgres_database(self.server.address, name, template=template)
        return self.url(name)

    def drop(self, name: str) -> None:
        """Remove a copy."""
        if self.server is None:
            for file in self.folder.glob(f"{name}.db*"):
                file.unlink()
        else:
            databases.drop_postgres_database(self.server.address, name)

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.db"

    def url(self, name: str) -> str:
        """Return the URL that the product is given."""
        return f"sqlite:///{self._file(name)}" if self.server is None else self.server.url(name)

    def raw(self, name: str) -> Any:
        """Return a driver's own connection in autocommit, as durable and as strict as the product's."""
        return raw_connection(self.kind, self.url(name))


def raw_connection(kind: str, url: str) -> Any:
    """Return a driver's own connection in autocommit, as durable and as strict as the product's."""
    if kind == "postgresql":
        return psycopg.connect(url, autocommit=True)
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=60)
    for pragma in ("foreign_keys=ON", "synchronous=FULL", "recursive_triggers=ON", "trusted_schema=OFF"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


@contextlib.contextmanager
def places(kinds: Sequence[str], **options: Any) -> Iterator[list[Place]]:
    """Open a scratch folder and, where PostgreSQL is asked for, a real server that keeps its commits (fsync on)."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="blaidctl-benchmark-")))
        found = []
        for kind in kinds:
            server = None
            if kind == "postgresql":
                server = stack.enter_context(PostgresServer.start(folder / "postgresql", fsync=True, **options))
            found.append(Place(kind, folder, server))
        yield found


def context(url: str, **settings: Any) -> Context:
    """Return the context of a caller at the command line, without reading the environment."""
    made = Settings(database_url=SecretStr(url), **settings)
    return Context(
        actor="risk@desk",
        trace_id=new_trace_id(),
        channel="cli",
        machine=Machine(os_user="risk", host="desk", pid=os.getpid()),
        settings=made,
        database=Database(made),
    )


def seed_fleet(bots: int, instances: int) -> Callable[[Any], None]:
    """Return a function that registers `bots` bots, each with `instances` RUNNING instances, in a few statements."""

    def seed(connection: Any) -> None:
        now, series = "2026-01-31T09:30:00.000000Z", _series(connection)
        connection.execute(f"INSERT INTO users (id, name, created_at) VALUES ('u1', 'Desk', '{now}')")
        connection.execute(
            "INSERT INTO bots (id, user_id, name, strategy, tags, exchanges, killed_at, created_at)"
            f" SELECT {_bot_id('n', connection)}, 'u1', 'Momentum', 'momo', '[\"eu\"]', '[\"XETR\"]', NULL, '{now}'"
            f" FROM {series.format(count=bots)}"
        )
        if not instances:
            return
        connection.execute(
            "INSERT INTO bot_instances (bot_id, account_id, status, host, boot_id, pid, pid_started, attempt,"
            f" started_at, heartbeat_at) SELECT {_bot_id(f'1 + (n - 1) / {instances}', connection)}, 'acc-1',"
            f" 'RUNNING', 'host-1', 'boot', 1000, '1', 1, '{now}', '{now}' FROM {series.format(count=bots * instances)}"
        )

    return seed


def bot_id(number: int) -> str:
    """Return the id that the seed gave to a bot, counted from 1."""
    return f"momo-{number:06}"


def _bot_id(number: str, connection: Any) -> str:
    if isinstance(connection, sqlite3.Connection):
        return f"printf('momo-%06d', {number})"
    return f"'momo-' || lpad(({number})::text, 6, '0')"


def _series(connection: Any) -> str:
    if isinstance(connection, sqlite3.Connection):
        return "(WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {count}) SELECT n FROM c)"
    return "generate_series(1, {count}) AS s(n)"


@contextlib.contextmanager
def counted(database: Database) -> Iterator[dict[str, int]]:
    """Count the statements and commits that the product sends while the block runs."""
    counts = {"statements": 0, "commits": 0}

    def statement(*_: Any) -> None:
        counts["statements"] += 1

    def commit(*_: Any) -> None:
        counts["commits"] += 1

    event.listen(database.engine, "before_cursor_execute", statement)
    event.listen(database.engine, "commit", commit)
    try:
        yield counts
    finally:
        event.remove(database.engine, "before_cursor_execute", statement)
        event.remove(database.engine, "commit", commit)


# ---- many writers ----------------------------------------------------------------------------------------------------


@dataclass
class Crowd:
    """What a crowd of processes did in one phase: how long each act took, and what failed."""

    waits_s: list[float]
    elapsed_s: float
    errors: list[str]

    @property
    def rate(self) -> float:
        """Acts a second."""
        return len(self.waits_s) / self.elapsed_s

    @property
    def median_s(self) -> float:
        """The middle one of all waits."""
        return statistics.median(self.waits_s)

    @property
    def worst(self) -> float:
        """The worst wait as a multiple of the median."""
        return max(self.waits_s) / self.median_s

    @property
    def p99(self) -> float:
        """The 99th percentile as a multiple of the median."""
        return sorted(self.waits_s)[int(len(self.waits_s) * 0.99)] / self.median_s


def crowd(
    make: Callable[..., Any], given: Sequence[Any], *, processes: int, phases: Sequence[str], phase_s: float
) -> list[Crowd]:
    """Let `processes` processes act at once, phase after phase, and return what each phase saw.

    `make(number, *given)` runs in the child and gives a context manager of {phase name: act}; it must be importable.
    """
    spawn = multiprocessing.get_context("spawn")
    gate, results = spawn.Barrier(processes), spawn.Queue()
    members = [
        spawn.Process(target=_member, args=(make, n, given, list(phases), phase_s, gate, results), daemon=True)
        for n in range(processes)
    ]
    for member in members:
        member.start()
    told: list[list[tuple[list[float], float, list[str]]]] = []
    while len(told) < processes:
        answer = results.get(timeout=120 + len(phases) * (phase_s + 60))
        if isinstance(answer, str):
            raise SystemExit(f"a writer failed: {answer}")
        told.append(answer)
    for member in members:
        member.join()
    return [
        Crowd(
            [w for one in told for w in one[i][0]],
            max(one[i][1] for one in told),
            [e for one in told for e in one[i][2]],
        )
        for i in range(len(phases))
    ]


def _member(make: Any, number: int, given: Any, phases: list[str], phase_s: float, gate: Any, results: Any) -> None:
    try:
        with make(number, *given) as acts:
            seen = []
            for phase in phases:
                act = acts[phase]
                gate.wait()
                seen.append(_act_until(act, phase_s))
        results.put(seen)
    except BaseException as error:
        results.put(repr(error))
        gate.abort()
        raise


def _act_until(act: Callable[[], None], phase_s: float) -> tuple[list[float], float, list[str]]:
    waits, failed, start = [], [], time.perf_counter()
    before = start
    while before - start < phase_s:
        try:
            act()
        except Exception as error:  # noqa: BLE001 - a writer that dies of "busy" is a result, not a crash
            failed.append(repr(error))
        now = time.perf_counter()
        waits.append(now - before)
        before = now
    return waits, before - start, failed
