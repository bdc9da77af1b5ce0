"""One verification on one scratch database: commands in processes of their own, and what they really answered.

A command answers in JSON, as it does to any program. Of each answer the transcript keeps the exit code, the error, and
the fields that the check looks at; so every line that is shown is one that was insisted on.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

PROGRAM: tuple[str, ...] = (sys.executable, "-m", "blaidctl")
#: For one command; every one of them has limits of its own that are far below.
LIMIT_S = 180
#: Between TERM and KILL when a verification is stopped: a supervisor ends what it started.
GRACE_S = 10
#: Characters of one value or sentence that a transcript shows, and lines of what is missing.
LONGEST = 240
MOST_MISSING = 2
#: Fields stand beside the exit code where that makes a line of so many characters.
WIDTH = 140
RULE = (
    "Each command ran as a process of its own and answered in JSON. Shown are its exit code, its error (the first"
    f" {LONGEST} characters of a sentence, at the most {MOST_MISSING} lines of what is missing), and those fields of"
    " its answer that the check insists on."
)


class MismatchError(Exception):
    """Something is not as it must be."""


class StoppedError(Exception):
    """Somebody ended the verification."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command answered."""

    code: int
    stdout: str
    stderr: str

    @property
    def result(self) -> Any:
        """The result in its answer; None when there is none."""
        return json.loads(self.stdout)["result"] if self.stdout.startswith("{") else None

    @property
    def error(self) -> Mapping[str, Any]:
        """The error on standard error; empty when there is none."""
        for line in reversed(self.stderr.splitlines()):
            if line.startswith("{"):
                found: Mapping[str, Any] = json.loads(line)
                return found
        return {}


class Processes:
    """Every process of a run, so that none outlives it."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._over = False

    @contextlib.contextmanager
    def started(self, command: tuple[str, ...], environment: Mapping[str, str], folder: Path) -> Iterator[Any]:
        """Start a process; it has ended when the block has."""
        with self._lock:
            if self._over:
                raise StoppedError
            process = subprocess.Popen(  # noqa: S603 - our own program
                command, env=environment, cwd=folder, text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
            self._running.add(process)
        try:
            yield process
        finally:
            with process:
                if process.poll() is None:
                    process.kill()
            with self._lock:
                self._running.discard(process)
        if self._over:
            raise StoppedError

    def end(self) -> None:
        """End what runs, in order, and let nothing start any more."""
        with self._lock:
            self._over = True
            running = list(self._running)
        for process in running:
            process.terminate()
        for process in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S)
            if process.poll() is None:
                process.kill()


@dataclass(slots=True)
class Stage:
    """Where a verification types its commands, and the transcript of it."""

    folder: Path
    environment: Mapping[str, str]
    processes: Processes
    transcript: list[str] = field(default_factory=list)
    insisted: int = 0

    def say(self, sentence: str) -> None:
        """Say what comes now."""
        self.transcript.append(f"# {sentence}")

    def type(
        self,
        *words: str,
        code: int = 0,
        error: str = "",
        says: str = "",
        missing: str = "",
        see: Mapping[str, Any] | None = None,
    ) -> Ran:
        """Run a command and insist on its exit code, its error with what that says, and fields of its result.

        `missing`: what a line of the error's missing requirements names. `see`: path in the result → the value, or a
        function of it that says whether it is right.
        """
        self.transcript.append(f"$ blaidctl {shlex.join(words)}")
        with self.processes.started((*PROGRAM, *words), self.environment, self.folder) as process:
            try:
                stdout, stderr = process.communicate(timeout=LIMIT_S)
            except subprocess.TimeoutExpired:
                raise self._mismatch(f"no answer within {LIMIT_S} s") from None
        ran = Ran(process.returncode, stdout, stderr)
        self._keep_error(ran, missing)
        self._same("the exit code", ran.code, code)
        self._same("the error", ran.error.get("error_code", ""), error)
        if says not in ran.error.get("message", ""):
            raise self._mismatch(f"the error does not say {says!r}")
        if missing and not _naming(ran, missing):
            raise self._mismatch(f"nothing of what is missing names {missing!r}")
        self._see_all(ran, see or {})
        return ran

    def _see_all(self, ran: Ran, see: Mapping[str, Any]) -> None:
        found: dict[str, Any] = {}
        for path in see:
            try:
                found[path] = at(ran.result, path)
            except (LookupError, TypeError, ValueError):
                raise self._mismatch(f"the answer has no {path}") from None
        shown = [f"{path} = {_value(value)}" for path, value in found.items()]
        together = "; ".join(shown)
        last = self.transcript[-1]
        if together and last.startswith("exit") and len(last) + len(together) <= WIDTH:
            self.transcript[-1] += f"  {together}"
        else:
            self.transcript += [f"  {line}" for line in shown]
        for path, value in found.items():
            self._same(path, value, see[path])

    def kill_midway(self, *words: str, when: Callable[[], bool]) -> None:
        """Start a command, and end it by SIGKILL once something holds."""
        self.transcript.append(f"$ blaidctl {shlex.join(words)} &")
        with self.processes.started((*PROGRAM, *words), self.environment, self.folder) as process:
            while process.poll() is None and not when():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.1)
            process.send_signal(signal.SIGKILL)
            process.communicate()
        self.transcript.append("$ kill -KILL $!")
        self._same("the exit code", process.returncode, -signal.SIGKILL)

    def see(self, what: str, found: Any, expected: Any) -> None:
        """Show a value and insist that it is as it must be."""
        self.transcript.append(f"  {what} = {_value(found)}")
        self._same(what, found, expected)

    def _same(self, what: str, found: Any, expected: Any) -> None:
        self.insisted += 1
        if callable(expected):
            if not expected(found):
                raise self._mismatch(f"{what} is {found!r}, which is not {expected.__doc__}")
        elif found != expected:
            raise self._mismatch(f"{what} is {found!r}, and must be {expected!r}")

    def _mismatch(self, sentence: str) -> MismatchError:
        self.transcript.append(f"FAIL: {sentence}")
        return MismatchError(f"{self._last_command()}: {sentence}")

    def _last_command(self) -> str:
        return next((line for line in reversed(self.transcript) if line[:1] == "$"), "before the first command")

    def _keep_error(self, ran: Ran, missing: str) -> None:
        error = ran.error
        if not error:
            self.transcript.append(f"exit {ran.code}")
            return
        self.transcript.append(f"exit {ran.code}  {error['error_code']}: {_short(error['message'])}")
        shown = _naming(ran, missing)[:MOST_MISSING] if missing else []
        self.transcript += [f"  - {_short(line)}" for line in shown]


def at(result: Any, path: str) -> Any:
    """Return what stands at a path of names and numbers; `[*]` between two means: of each."""
    head, each, tail = path.partition("[*].")
    for name in filter(None, head.split(".")):
        result = result[int(name)] if isinstance(result, list) else result[name]
    return [at(one, tail) for one in result] if each else result


def _naming(ran: Ran, text: str) -> list[str]:
    return [line for line in ran.error.get("missing_requirements", ()) if text in line]


def _value(value: Any) -> str:
    return _short(json.dumps(value, ensure_ascii=False))


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
