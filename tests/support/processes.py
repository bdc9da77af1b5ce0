"""Real processes to supervise: hostile ones, and ways to see whether they live."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT_S = 30

#: A program that does what it can to outlive its supervisor. It says four pids, one a line: its own, that of a child,
#: and those of two daemons (double fork, session of their own, no open descriptor), the second without environment.
#: All ignore TERM.
HOSTILE = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)

def say():
    with open("pids", "a") as file:
        file.write(f"{os.getpid()}\\n")

def daemon(environment):
    between = os.fork()
    if between == 0:
        os.setsid()
        if os.fork() == 0:
            say()
            os.closerange(0, 256)
            os.execve("/bin/sleep", ["sleep", "300"], environment)
        os._exit(0)
    os.waitpid(between, 0)

if os.fork() == 0:
    say()
    time.sleep(300)
daemon(os.environ)
daemon({})
say()
time.sleep(300)
"""

#: A program that lets anybody trace it (some kernels forbid it to all but ancestors), and ignores TERM.
TRACEABLE = """
import ctypes, signal, time
ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open("ready", "w").write("ready\\n")
time.sleep(300)
"""

#: Traces the process whose pid it reads, until its own standard input ends; never waits for it.
_TRACER = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
seize = 0x4206
for line in sys.stdin:
    print(libc.ptrace(seize, int(line), None, None) and ctypes.get_errno(), flush=True)
"""


def lives(pid: int) -> bool:
    """Say whether a process runs; a zombie does not."""
    with contextlib.suppress(OSError):
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False


def parent_of(pid: int) -> int:
    """Return the pid of a process's parent."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def wait_for(condition: Callable[[], object], limit_s: float = LIMIT_S) -> None:
    """Wait until something is so."""
    until = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until, f"not so within {limit_s} s"
        time.sleep(0.01)


def numbers_in(path: Path, count: int = 1) -> list[int]:
    """Wait for so many numbers in a file, one a line (or all on one); return them."""
    wait_for(lambda: path.exists() and path.read_text().endswith("\n") and len(path.read_text().split()) >= count)
    return [int(word) for word in path.read_text().split()]


@contextlib.contextmanager
def tracer() -> Iterator[Callable[[int], None]]:
    """Yield what makes a process one that cannot be waited for: traced, it stays a zombie after SIGKILL.

    The tracer, like a debugger, stands outside of the process's tree. With it goes the spell.
    """
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _TRACER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as helper:
        assert helper.stdin is not None
        assert helper.stdout is not None

        def seize(pid: int) -> None:
            helper.stdin.write(f"{pid}\n")  # type: ignore[union-attr]
            helper.stdin.flush()  # type: ignore[union-attr]
            assert helper.stdout.readline() == "0\n", "a process cannot be traced here"  # type: ignore[union-attr]

        yield seize
        helper.stdin.close()
