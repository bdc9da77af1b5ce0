"""A real process and all that it starts: spawned as one group, signalled as one group, proven gone as one group.

There is no shell in between, and the group is the process's own, in a session of its own: Ctrl-C at the supervisor's
terminal does not reach it, and a signal for it reaches nobody else. The leader of the group is reaped only after the
last signal went out: until then the kernel cannot give its number to another process, so no signal hits a stranger.

What leaves the group on purpose (setsid) is not reached from here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

from blaidctl.core import clock
from blaidctl.core.errors import CommandNotStartable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: The signal that cannot be ignored.
LAST_SIGNAL = signal.SIGKILL
#: How long the kernel may take to end a group after LAST_SIGNAL (a process in an uninterruptible wait takes longer).
GONE_WITHIN_S = 5.0
_LOOK_EVERY_S = 0.02

_PROC = Path("/proc")
# Places in /proc/PID/stat, counted from the field after the name (proc(5) counts that one as 3).
_STATE, _GROUP, _THREADS, _STARTED = 0, 2, 17, 19
_DEAD_STATES = frozenset({b"Z", b"X"})


def program_of(command: Sequence[str]) -> str:
    """Return the absolute path of the program that a command names. Raises CommandNotStartable."""
    if not command or not command[0]:
        raise CommandNotStartable("no command was given")
    found = shutil.which(command[0])
    if found:
        return str(Path(found).absolute())
    if there := shutil.which(command[0], mode=os.F_OK):
        raise CommandNotStartable(f"{there} is not executable", next_steps=[f"Make it executable: chmod +x {there}"])
    raise CommandNotStartable(f"there is no program {command[0]!r}")


def boot_id() -> str | None:
    """Return the kernel's name for the time since this boot; None where it has none (outside Linux)."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def started(pid: int) -> str:
    """Return when a process started, in clock ticks since boot; empty where the kernel does not say.

    Pid, start and boot id together name one process for ever; a pid alone is given to another one day.
    """
    fields = _stat(pid)
    return fields[_STARTED].decode() if fields else ""


def status_text(returncode: int) -> str:
    """Return how a process ended, for a person: `exit 3` or `signal 9 SIGKILL`."""
    if returncode >= 0:
        return f"exit {returncode}"
    try:
        return f"signal {-returncode} {signal.Signals(-returncode).name}"
    except ValueError:  # the real-time signals between the first and the last have no name
        return f"signal {-returncode}"


class Group:
    """A running command and all that it started, as long as that stays in the group.

    As a context manager it ends what still runs when the block is left, however it is left.
    """

    def __init__(self, program: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start the program with the command's words as its arguments. Raises OSError when the kernel refuses."""
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            # Inherited from a careless parent: the kernel would reap the process by itself and forget how it ended.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._process = subprocess.Popen(  # noqa: S603 - running the operator's command is the purpose; no shell
            list(command), executable=program, env=dict(environment), start_new_session=True
        )
        self.pid = self._process.pid
        self.started = started(self.pid)
        self._ended = False

    def __enter__(self) -> Self:
        """Nothing more to start."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing running behind an error; after `end` there is nothing left to try."""
        if not self._ended:
            self.end(0)

    @property
    def exit_status(self) -> str:
        """How the leader ended, as text; only after `end`."""
        return status_text(self.returncode)

    @property
    def returncode(self) -> int:
        """How the leader ended: its exit code, or the negative number of the signal; only after `end`."""
        code = self._process.returncode
        if code is None:
            msg = f"process {self.pid} is not known to have ended"
            raise RuntimeError(msg)
        return code

    def tell_when_over(self, tell: Callable[[], None]) -> None:
        """Call `tell` on a thread of its own when the leader has ended; it stays unreaped."""

        def wait() -> None:
            with contextlib.suppress(ChildProcessError):  # it was ended and reaped meanwhile
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            tell()

        threading.Thread(target=wait, name=f"end of {self.pid}", daemon=True).start()

    def end(self, grace_s: float) -> bool:
        """End the group: TERM, up to `grace_s` to comply, KILL. Return whether it is proven gone.

        A stopped (SIGSTOP) process is not continued for the TERM: it would trade until the grace is over.
        """
        self._signal(signal.SIGTERM)
        deadline = clock.monotonic_s() + grace_s
        while clock.monotonic_s() < deadline and self._lives():
            clock.pause(_LOOK_EVERY_S)
        # Sent even when all seem dead: it costs nothing, and what the look missed does not survive it.
        self._signal(LAST_SIGNAL)
        self._ended = True
        deadline = clock.monotonic_s() + GONE_WITHIN_S
        while not self._vanished():
            if clock.monotonic_s() >= deadline:
                return False
            clock.pause(_LOOK_EVERY_S)
        return True

    def _signal(self, number: int) -> None:
        # No permission: all of them run as another user (a setuid program). The proof that follows will fail.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _lives(self) -> bool:
        """Say whether a member of the group still runs. Without /proc only the leader is seen."""
        if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            return True
        return any(_members(self.pid))

    def _vanished(self) -> bool:
        """Reap the leader and say whether the whole group is proven gone."""
        if self._process.poll() is None:
            return False
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        # Zombies answer too, and where nobody reaps orphans (a container without init) they stay: dead all the same.
        members = _members(self.pid)
        return bool(members) and not any(members)


def _members(group: int) -> list[bool]:
    """Return, for each process of a group, whether it lives (a zombie does not); nothing at all without /proc."""
    found = []
    for name in os.listdir(_PROC) if _PROC.is_dir() else ():  # noqa: PTH208 - a name a process; Paths would cost more
        fields = _stat(name) if name.isdigit() else None
        if fields and int(fields[_GROUP]) == group:
            # The first thread of a process may have ended before the others: a zombie with live threads.
            found.append(fields[_STATE] not in _DEAD_STATES or int(fields[_THREADS]) > 1)
    return found


def _stat(pid: int | str) -> list[bytes] | None:
    """Return the fields of /proc/PID/stat after the name (which may hold spaces and brackets), or None."""
    try:
        return (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
