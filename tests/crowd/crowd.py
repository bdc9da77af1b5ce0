"""A crowd of real processes that act on a few bots at once, each through the whole road; prints what they did as JSON.

    python -m tests.crowd.crowd --workers 16 --seconds 4 --bots b0 b1 b2

The database comes from BLAIDCTL_DATABASE_URL, as for the command line. Each worker picks its acts by its own seed.
"""

from __future__ import annotations

import argparse
import collections
import json
import multiprocessing
import os
import random
import time
from typing import Any

from blaidctl.core import command, errors, execute
from blaidctl.core.operation import resolve, the_map

#: What a worker may hear in the thick of it: the bot was killed, the instance was stopped meanwhile.
EXPECTED = (errors.BotKilled, errors.InstanceOver)


def work(number: int, seconds: float, bots: list[str], gate: Any, told: Any) -> None:
    """Act until the time is over; report how often each act was done, refused, or went wrong."""
    chooser = random.Random(number)  # noqa: S311 - repeatable on purpose
    ctx = command.make_context()
    counts: collections.Counter[str] = collections.Counter()
    gate.wait()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        bot = chooser.choice(bots)
        act = chooser.choice((kill, resurrect, run_instance))
        try:
            for done in act(ctx, bot):
                counts[done] += 1
        except EXPECTED as refusal:
            counts[f"refused {refusal.error_code}"] += 1
        except errors.BlaidError as error:
            counts[f"unexpected {error.error_code}: {error.message}"] += 1
    ctx.database.close()
    told.put(counts)


def kill(ctx: Any, bot: str) -> list[str]:
    operate(ctx, "kill", {"bots": [bot], "reason_code": "DRILL", "reason": "crowd"})
    return ["kill"]


def resurrect(ctx: Any, bot: str) -> list[str]:
    operate(ctx, "resurrect", {"bot": bot, "reason_code": "DRILL_DONE", "reason": "crowd"})
    return ["resurrect"]


def run_instance(ctx: Any, bot: str) -> list[str]:
    started = operate(ctx, "instance start", {"bot": bot, "host": "crowd"})
    instance = {"instance": started.result["instance_id"], "attempt": started.result["attempt"]}
    try:
        operate(ctx, "instance run", instance | {"pid": os.getpid(), "pid_started": "1"})
    except errors.InstanceOver:
        return ["instance start", "refused INSTANCE_OVER"]
    return ["instance start", "instance run"]


def operate(ctx: Any, name: str, parameters: dict[str, Any]) -> Any:
    return execute.execute(ctx, the_map()[name], parameters)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--bots", nargs="+", required=True)
    asked = parser.parse_args()
    fork = multiprocessing.get_context("fork")  # nothing is open yet, and every import is paid once
    for name in ("kill", "resurrect", "instance start", "instance run"):
        resolve(the_map()[name].handler)
    gate, told = fork.Barrier(asked.workers), fork.Queue()
    workers = [fork.Process(target=work, args=(n, asked.seconds, asked.bots, gate, told)) for n in range(asked.workers)]
    for worker in workers:
        worker.start()
    total: collections.Counter[str] = collections.Counter()
    for _ in workers:
        total += told.get()
    for worker in workers:
        worker.join()
    print(json.dumps(total))  # noqa: T201 - the report of this program


if __name__ == "__main__":
    main()
