"""Process start → durable kill on SQLite, and `--help`, as ratios to scripts that do no more (rows 1 and 2).

    python -m benchmarks.cold_start

kill      `python -m blaidctl kill BOT …` to a script of the standard library that writes the same rows (raw_kill.py).
--help    of the program and of `kill`, to a Typer program of two commands that does nothing: its own `--help`, and that
          of one of its commands (Typer imports pydantic as soon as a command of a group is looked at).
pass      all of them to `python -c pass`, the unit on which other programs can be placed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import common

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RAW = Path(__file__).with_name("raw_kill.py")
HELLO = """
import sys, typer
app = typer.Typer(rich_markup_mode=None)
@app.command()
def hello(name: str = "you", count: int = 1): "Say hello."
@app.command()
def bye(name: str = "you", count: int = 1): "Say bye."
app()
"""
KILL = ("--reason-code", "DRILL", "--reason", "floor", "--output", "json")


def main() -> None:
    """Measure and print."""
    options = common.arguments(__doc__, pairs=15)
    with common.places(["sqlite"]) as (place,):
        bots = 4 * options.pairs + 20
        name = place.copy(place.template(common.seed_fleet(bots, 1)))
        ids = (common.bot_id(n) for n in range(1, bots + 1))
        environment = {**os.environ, "BLAIDCTL_DATABASE_URL": place.url(name), "NO_COLOR": "1"}
        path = place.url(name).removeprefix("sqlite:///")

        def timed(*words: str) -> Callable[[], float]:
            return lambda: run(words, environment)

        blaidctl, python = (sys.executable, "-m", "blaidctl"), (sys.executable, "-c")
        nothing = timed(*python, "pass")

        def raw_kill() -> float:
            return run((sys.executable, str(RAW), path, next(ids)), environment)

        def kill() -> float:
            return run((*blaidctl, "kill", next(ids), *KILL), environment)

        pairs = options.pairs
        figures = [
            figure("kill ÷ raw sqlite3 script", raw_kill, kill, pairs, 17),
            figure(
                "--help ÷ Typer hello --help", timed(*python, HELLO, "--help"), timed(*blaidctl, "--help"), pairs, 1.25
            ),
            figure(
                "kill --help ÷ Typer hello COMMAND --help",
                timed(*python, HELLO, "hello", "--help"),
                timed(*blaidctl, "kill", "--help"),
                pairs,
                1.25,
            ),
            figure("raw sqlite3 script ÷ pass", nothing, raw_kill, pairs, None),
            figure("kill ÷ pass", nothing, kill, pairs, None),
        ]
    common.report("process start", figures, as_json=options.json)
    if options.profile:
        profile(environment)


def figure(
    name: str, floor: Callable[[], float], product: Callable[[], float], pairs: int, goal: float | None
) -> common.Figure:
    """Take the two in turn."""
    return common.Figure(name, "sqlite", common.take_turns(floor, product, pairs), goal=goal)


def run(words: Sequence[str], environment: dict[str, str]) -> float:
    """Return how long a whole process took; it must have succeeded."""
    return common.seconds(
        lambda: subprocess.run(words, env=environment, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - ours
    )


def profile(environment: dict[str, str]) -> None:
    """Print the ten dearest imports of `kill --help` and of a command that asks the database."""
    for words in (("kill", "--help"), ("status",)):
        ran = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-X", "importtime", "-m", "blaidctl", *words],
            env=environment, check=False, capture_output=True, text=True,
        )  # fmt: skip
        lines = [
            line.split("|")
            for line in ran.stderr.splitlines()
            if line.startswith("import time:") and "[us]" not in line
        ]
        dearest = sorted(lines, key=lambda parts: int(parts[1]), reverse=True)[:10]
        print(f"\n{' '.join(words)}: microseconds with what they import", file=sys.stderr)
        for _, microseconds, module in dearest:
            print(f"{int(microseconds):>9} {module.strip()}", file=sys.stderr)


if __name__ == "__main__":
    main()
