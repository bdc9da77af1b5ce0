"""A stage whose commands run in this process, for speed, and may be made to lie: each check must then fail."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from typing import TYPE_CHECKING, Any

from blaidctl.verification.desk import set_up
from blaidctl.verification.stage import PROGRAM, Processes, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.support.commandline import CommandLine, Run

    #: (words, what was really answered) → what the check is told.
    Lie = Callable[[tuple[str, ...], Run], Run]

#: What supervises a process does so as a process itself.
_REAL = (("backtest", "run"), ("bot", "run"))


class _Answered:
    """A command that has run in this process, in the shape of a process."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.returncode = run.code

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        del timeout
        return self._run.stdout, self._run.stderr


class InProcess(Processes):
    """Runs commands in this process where that is the same."""

    def __init__(self, cli: CommandLine, lie: Lie | None) -> None:
        super().__init__()
        self._cli = cli
        self._lie = lie

    @contextlib.contextmanager
    def started(self, command: tuple[str, ...], environment: Mapping[str, str], folder: Path) -> Iterator[Any]:
        words = command[len(PROGRAM) :]
        if words[:2] in _REAL:
            with super().started(command, environment, folder) as process:
                yield process
            return
        before = os.getcwd()  # noqa: PTH109 - what os.chdir wants back
        os.chdir(folder)
        try:
            run = self._cli(*words, database=_At(environment["BLAIDCTL_DATABASE_URL"]))  # type: ignore[arg-type]
        finally:
            os.chdir(before)
        yield _Answered(self._lie(words, run) if self._lie else run)


@dataclasses.dataclass
class _At:
    url: str


def stage(cli: CommandLine, folder: Path, lie: Lie | None = None) -> Stage:
    """A stage with its desk set up, on the database of a test."""
    environment = cli.environment()
    made = Stage(folder, environment, InProcess(cli, None))
    set_up(made)
    made.processes = InProcess(cli, lie)
    made.transcript.clear()
    made.insisted = 0
    return made


def says(words: tuple[str, ...], **changes: Any) -> Lie:
    """Lie about the result of a command: top-level fields of it become others."""

    def lie(typed: tuple[str, ...], run: Run) -> Run:
        if typed[: len(words)] != words or run.code:
            return run
        answer = run.json
        answer["result"] |= changes
        return dataclasses.replace(run, stdout=json.dumps(answer))

    return lie


def accepts(*words: str) -> Lie:
    """Lie about a refusal: the command answers that it did what it was asked."""

    def lie(typed: tuple[str, ...], run: Run) -> Run:
        return dataclasses.replace(run, code=0, stderr="") if typed[: len(words)] == words else run

    return lie
