"""Many real processes on one database, forked from one that has everything loaded: `python -m tests.kill.storm MODE …`.

    storm SECONDS WORKERS RAW FOLDER    kill, resurrect, start, run, finish on three bots; raw SQL between; a sampler
    crash FOLDER                        SIGKILL a kill at each of its boundaries, then run it again

Prints one JSON document. The database is BLAIDCTL_DATABASE_URL, as for the product.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import signal
import sqlite3
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Loaded before the fork, so that sixteen processes start in no time.
import blaidctl.audit.verify
import blaidctl.fleet.service
import blaidctl.kill.service  # noqa: F401 - see above
from blaidctl.cli import main as blaidctl_main
from blaidctl.core import command, db, errors, execute, sql
from blaidctl.core.operation import the_map

if TYPE_CHECKING:
    from collections.abc import Callable

URL = os.environ.get("BLAIDCTL_DATABASE_URL", "")
BOTS = ("b0", "b1", "b2")
LONGEST_EXTRA_S = 30
WHY = ("--reason-code", "DRILL", "--reason", "a storm")
BACK = ("--reason-code", "DRILL_DONE", "--reason", "a storm")
VIOLATIONS = """
    SELECT count(*) FROM bots b JOIN bot_instances i ON i.bot_id = b.id
     WHERE b.killed_at IS NOT NULL AND i.status IN ('STARTING', 'RUNNING')
"""
RUNNING = """
    INSERT INTO bot_instances (bot_id, status, host, pid, attempt, started_at, heartbeat_at)
    VALUES ('{bot}', 'RUNNING', 'raw', 1, 1, '2026-05-05T05:05:05.000000Z', '2026-05-05T05:05:05.000000Z')
"""


def cli(*arguments: str) -> tuple[int, dict[str, Any], str]:
    """Run one command; return its code, the JSON that it printed, and what it said."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = blaidctl_main(list(arguments))
    return code, json.loads(out.getvalue() or "{}"), err.getvalue()


def forked(task: Callable[[], Any], folder: Path, name: str) -> int:
    """Run a task in a process of its own; what it returns goes to a file. Returns the pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        (folder / name).write_text(json.dumps(task()))
        code = 0
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent reads it
        (folder / name).write_text(json.dumps({"died": repr(error)}))
    finally:
        os._exit(code)


def reap(pids: list[int]) -> list[int]:
    """Wait for the processes; return how each ended."""
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def raw() -> Any:
    """A plain connection in autocommit."""
    if URL.startswith("sqlite"):
        return sqlite3.connect(URL.removeprefix("sqlite:///"), isolation_level=None, timeout=30)
    import psycopg

    return psycopg.connect(URL, autocommit=True)


# ---- the storm -----------------------------------------------------------------------------------------------


class Worker:
    """One process of the storm and its book."""

    def __init__(self, seed: int, seconds: float) -> None:
        self.dice = random.Random(seed)  # noqa: S311 - dice, no secret
        self.first = seed == 0
        self.until = time.monotonic() + seconds
        self.book: Counter[str] = Counter()
        self.unexpected: list[str] = []

    def run(self) -> dict[str, Any]:
        """Do as the dice say until the time is over."""
        while time.monotonic() < self.until or self._owes_a_life():
            bot = self.dice.choice(BOTS)
            self.dice.choice((self.kill, self.kill_all, self.resurrect, self.resurrect, self.live, self.live))(bot)
        return {"book": self.book, "unexpected": self.unexpected}

    def _owes_a_life(self) -> bool:
        """On a busy machine one worker goes on until it has seen everything, for a while."""
        wanted = {"instance finish", "refused", "KILL", "RESURRECT"}
        return self.first and not wanted <= self.book.keys() and time.monotonic() < self.until + LONGEST_EXTRA_S

    def kill(self, bot: str) -> None:
        self._act("KILL", 1, "kill", bot, *WHY)

    def kill_all(self, _bot: str) -> None:
        self._act("KILL", len(BOTS), "kill", "--all", "--confirm-count", str(len(BOTS)), *WHY)

    def resurrect(self, bot: str) -> None:
        self._act("RESURRECT", 1, "resurrect", bot, *BACK)

    def live(self, bot: str) -> None:
        """The life of an instance as its supervisor reports it; a kill may end it at any point."""
        started = self._report("instance start", {"bot": bot, "host": "storm"}, errors.BotKilled)
        if started is None:
            return
        ours = {"instance": started["instance_id"], "attempt": 1}
        self._report("instance run", ours | {"pid": os.getpid(), "pid_started": "1"}, errors.InstanceOver)
        if self.dice.random() < 0.5:
            self._report("instance finish", ours | {"stop_reason": "EXITED", "exit_status": "0"}, None)

    def _act(self, action: str, rows: int, *arguments: str) -> None:
        code, answer, said = cli(*arguments)
        if code != 0 or answer["audit"] is None:
            self.unexpected.append(f"{arguments}: {code} {said}")
            return
        self.book["entries"] += 1
        self.book[action] += rows

    def _report(
        self, name: str, parameters: dict[str, Any], refusal: type[errors.BlaidError] | None
    ) -> dict[str, Any] | None:
        ctx = command.make_context()
        try:
            answer = execute.execute(ctx, the_map()[name], parameters)
        except errors.BlaidError as error:
            if refusal is None or not isinstance(error, refusal):
                self.unexpected.append(f"{name}: {error.error_code} {error.message}")
            self.book["entries"] += 1
            self.book["refused"] += 1
            return None
        finally:
            ctx.database.close()
        self.book["entries"] += 1
        self.book[name] += 1
        return dict(answer.result)


def insert_running(seconds: float) -> dict[str, Any]:
    """Insert RUNNING instances by raw SQL, killed bot or not."""
    connection, until, book, said = raw(), time.monotonic() + seconds, Counter[str](), set()
    while time.monotonic() < until:
        try:
            connection.execute(RUNNING.format(bot=random.choice(BOTS)))  # noqa: S311 - dice, no secret
            book["inserted"] += 1
        except Exception as error:  # noqa: BLE001 - the text decides
            book["refused"] += 1
            if "needs a live bot" not in str(error):
                said.add(str(error))
        time.sleep(0.005)
    return {"book": book, "unexpected": sorted(said)}


def sample(seconds: float) -> dict[str, Any]:
    """Look again and again for a running instance on a killed bot."""
    connection, until, looks, seen = raw(), time.monotonic() + seconds, 0, 0
    while time.monotonic() < until:
        seen += connection.execute(VIOLATIONS).fetchone()[0]
        looks += 1
        time.sleep(0.002)
    return {"book": {"looks": looks, "violations": seen}, "unexpected": []}


def storm(seconds: float, workers: int, raws: int, folder: Path) -> dict[str, Any]:
    """Let everybody loose and add their books up."""
    tasks: dict[str, Callable[[], Any]] = {f"worker-{n}": Worker(n, seconds).run for n in range(workers)}
    tasks |= {f"raw-{n}": lambda: insert_running(seconds) for n in range(raws)}
    tasks["sampler"] = lambda: sample(seconds)
    ends = reap([forked(task, folder, name) for name, task in tasks.items()])
    found = [json.loads((folder / name).read_text()) for name in tasks]
    total: Counter[str] = Counter()
    for each in found:
        total.update(each.get("book", {}))
    unexpected = [line for each in found for line in each.get("unexpected", [each.get("died")])]
    return {"book": total, "unexpected": unexpected, "ends": ends}


# ---- crashes -------------------------------------------------------------------------------------------------

BOUNDARIES = (
    (db.Database, "_limit"),
    (sql.Query, "on"),
    (db.Database, "_commit"),
    (command, "write_out"),
)


def bomb(fuse: int) -> Counter[str]:
    """Kill this very process at the boundary number `fuse` (before and after each call count); return the book."""
    book: Counter[str] = Counter()

    def boundary(name: str) -> None:
        if book.total() == fuse:
            os.kill(os.getpid(), signal.SIGKILL)
        book[name] += 1

    def around(original: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            boundary(f"before {name}")
            answer = original(*arguments, **named)
            boundary(f"after {name}")
            return answer

        return call

    for owner, name in BOUNDARIES:
        setattr(owner, name, around(getattr(owner, name), name))
    return book


def crash(folder: Path) -> dict[str, Any]:
    """Kill the bots c0, c1, … each by a command that dies at the next boundary, and then by one that lives."""

    def kill(point: int) -> tuple[str, ...]:
        return ("kill", f"c{point}", *WHY, "--request-id", f"crash-{point}")

    def dying(point: int) -> Any:
        book = bomb(point)
        code, _, said = cli(*kill(point))
        return {"survived": code, "said": said, "book": book}

    points = []
    while True:
        point = len(points)
        (end,) = reap([forked(lambda at=point: dying(at), folder, "first")])  # type: ignore[misc]
        (again,) = reap([forked(lambda at=point: cli(*kill(at)), folder, "second")])  # type: ignore[misc]
        code, answer, said = json.loads((folder / "second").read_text())
        points.append({"end": end, "again": again, "code": code, "replayed": answer.get("replayed"), "said": said})
        if end != -signal.SIGKILL:
            return {"points": points, "last": json.loads((folder / "first").read_text())}


def main(mode: str, *words: str) -> None:
    """Do what the mode says and print it."""
    if mode == "storm":
        found = storm(float(words[0]), int(words[1]), int(words[2]), Path(words[3]))
    else:
        found = crash(Path(words[0]))
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
