"""The command line as its users meet it: in this process, for speed, and the installed script, for truth."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.support.database import Database

SCRIPT = Path(sys.executable).with_name("blaidctl")
TIMEOUT_S = 30
GRACE_S = 5

# What a shell, a cron line or a terminal may carry into a run and change its answer with.
_CLEARED_PREFIXES = ("BLAIDCTL_", "XDG_", "SUDO_", "PG")
_CLEARED = {
    "CLICOLOR_FORCE",
    "COLUMNS",
    "FORCE_COLOR",
    "LINES",
    "PY_COLORS",
    "TRACEPARENT",
    "TRACESTATE",
    "TTY_COMPATIBLE",
}
_MARK = "TEST_PROCESS_MARK"


@dataclasses.dataclass(frozen=True)
class Run:
    """What one command answered."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:  # any JSON value
        """Standard output, which in JSON mode is one document and nothing else."""
        return json.loads(self.stdout)

    @property
    def error(self) -> dict[str, Any]:
        """The error object: the last line of standard error that is a JSON object."""
        for line in reversed(self.stderr.splitlines()):
            if line.startswith("{"):
                found = json.loads(line)
                assert isinstance(found, dict)
                return found
        message = f"no JSON object on standard error, which says:\n{self.stderr}"
        raise AssertionError(message)


class _Stream(io.TextIOWrapper):
    """A standard stream in memory, with `.buffer`, that may claim to be a terminal."""

    def __init__(self, text: str = "", *, tty: bool) -> None:
        super().__init__(io.BytesIO(text.encode()), encoding="utf-8", newline="", write_through=True)
        self._tty = tty

    def isatty(self) -> bool:
        return self._tty

    def text(self) -> str:
        self.flush()
        written = self.buffer
        assert isinstance(written, io.BytesIO)
        return written.getvalue().decode()


class CommandLine:
    """Run `blaidctl …` in this process through `blaidctl.cli.main`."""

    def __init__(self, database: Database, home: Path) -> None:
        self.database = database
        self.home = home

    def __call__(
        self,
        *arguments: str | Path,
        env: Mapping[str, str | None] | None = None,
        stdin: str | None = None,
        tty: bool = False,
        database: Database | None = None,
    ) -> Run:
        from blaidctl.cli import main

        stdout, stderr = _Stream(tty=tty), _Stream(tty=tty)
        with (
            mock.patch.dict(os.environ, self.environment(env, database), clear=True),
            mock.patch.object(sys, "stdin", _Stream(stdin or "", tty=tty)),
            contextlib.redirect_stdout(stdout),
            contextlib.redirect_stderr(stderr),
        ):
            code = main([str(argument) for argument in arguments])
        return Run(code, stdout.text(), stderr.text())

    def environment(
        self, changes: Mapping[str, str | None] | None = None, database: Database | None = None
    ) -> dict[str, str]:
        """Ours without what would change an answer, and with `changes`; a change to None removes a name."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in _CLEARED and not name.startswith(_CLEARED_PREFIXES)
        }
        made: dict[str, str | None] = {
            **kept,
            "BLAIDCTL_DATABASE_URL": (database or self.database).url,
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "XDG_DATA_HOME": str(self.home / ".local/share"),
            "XDG_STATE_HOME": str(self.home / ".local/state"),
            "XDG_CACHE_HOME": str(self.home / ".cache"),
            "XDG_RUNTIME_DIR": str(self.home / ".run"),
            "NO_COLOR": "1",
            **(changes or {}),
        }
        return {name: value for name, value in made.items() if value is not None}


class ProcessCommandLine(CommandLine):
    """Run the installed `blaidctl` script; `spawn` leaves it running until the test ends."""

    def __init__(self, database: Database, home: Path) -> None:
        super().__init__(database, home)
        self._mark = uuid.uuid4().hex
        self._spawned: list[subprocess.Popen[str]] = []

    def __call__(
        self,
        *arguments: str | Path,
        env: Mapping[str, str | None] | None = None,
        stdin: str | None = None,
        tty: bool = False,
        database: Database | None = None,
        timeout: float = TIMEOUT_S,
        cwd: Path | None = None,
    ) -> Run:
        assert not tty, "a process gets a terminal from pexpect, not from here"
        done = subprocess.run(
            [SCRIPT, *arguments],
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            cwd=cwd or self.home,
            env=self.environment(env, database),
        )
        return Run(done.returncode, done.stdout, done.stderr)

    def spawn(
        self,
        *arguments: str | Path,
        env: Mapping[str, str | None] | None = None,
        database: Database | None = None,
        cwd: Path | None = None,
    ) -> subprocess.Popen[str]:
        """Start it and return at once; stdin, stdout and stderr are pipes of text."""
        process = subprocess.Popen(
            [SCRIPT, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            cwd=cwd or self.home,
            env=self.environment(env, database),
        )
        self._spawned.append(process)
        return process

    def environment(
        self, changes: Mapping[str, str | None] | None = None, database: Database | None = None
    ) -> dict[str, str]:
        return {**super().environment(changes, database), _MARK: self._mark}

    def reap(self) -> None:
        """End what was spawned, and what that started in turn: found by the mark that it inherited."""
        for process in self._spawned:
            if process.poll() is None:
                process.terminate()
        for process in self._spawned:
            try:
                process.communicate(timeout=GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
            except ValueError:  # the test closed a pipe itself
                process.wait(GRACE_S)
        for pid in self._left_behind():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self._spawned:
            process.wait(GRACE_S)
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()

    def _left_behind(self) -> Iterator[int]:
        mark = f"{_MARK}={self._mark}".encode()
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):
                    if mark in (folder / "environ").read_bytes().split(b"\0"):
                        yield int(folder.name)
