"""A real process and all that it starts: spawned under a keeper, signalled, ended, proven gone.

There is no shell in between, and the process has a session of its own: Ctrl-C at the supervisor's terminal does not
reach it, and a signal for its group reaches nobody else. Its parent is a keeper (keeper.py): it adopts what leaves the
group (setsid, double fork), and ends everything if the supervisor dies or hangs. If the keeper itself dies, the
supervisor adopts and ends what is left. The process is waited for only after the last signal went out: until then the
kernel cannot give its number to another process, so no signal hits a stranger. What left the group is signalled through
a descriptor, after it was seen to descend from the process.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

from blaidctl.core import clock, keeper
from blaidctl.core.errors import CommandNotStartable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

#: How long the kernel may take to end what was killed (a process in an uninterruptible wait takes longer).
GONE_WITHIN_S = 5.0
#: How long a keeper has to end what it keeps before the supervisor does it: nothing but a stopped keeper needs longer.
KEEPER_WITHIN_S = 1.0
#: How long a keeper may take to start its command, on a machine that is very busy.
START_WITHIN_S = 20.0
_LOOK_EVERY_S = 0.01

_PROC = Path("/proc")
# Places in /proc/PID/stat, counted from the field after the name (proc(5) counts that one as 3).
_STATE, _PARENT, _THREADS, _STARTED = 0, 1, 17, 19
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
    """A running command and all that descends from it.

    As a context manager it ends what still runs when the block is left, however it is left. One at a time: what this
    program adopts belongs to the group that it has.
    """

    def __init__(
        self,
        program: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        stdout: int | None = None,
        stderr: int | None = None,
    ) -> None:
        """Start the program with the command's words as its arguments. Raises OSError when the kernel refuses."""
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            # Inherited from a careless parent: the kernel would reap the process by itself and forget how it ended.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._over, self._hung_up = threading.Event(), threading.Event()
        self._returncode: int | None = None
        self._ended = False
        self._speaking = threading.Lock()
        with contextlib.ExitStack() as undo:
            undo.callback(keeper.adopt_orphans, wanted=keeper.adopt_orphans(wanted=True))
            self._strangers = frozenset(keeper.children("self"))
            self._wire, theirs = socket.socketpair()
            undo.callback(self._wire.close)
            with theirs:
                self._keeper = subprocess.Popen(  # noqa: S603 - running the operator's command is the purpose; no shell
                    [sys.executable, "-I", "-S", keeper.__file__, str(theirs.fileno()), program, *command],
                    env=dict(environment),
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                    stdout=stdout,
                    stderr=stderr,
                )
            try:
                self.pid, self.started = self._first_word()
                threading.Thread(target=self._listen, name=f"end of {self.pid}", daemon=True).start()
            except BaseException:
                self._end_without_keeper(clock.monotonic_s() + GONE_WITHIN_S)  # it may have begun
                raise
            self._undo = undo.pop_all()

    def _first_word(self) -> tuple[int, str]:
        """Wait for the command's start; OSError when the kernel refused it."""
        self._wire.settimeout(START_WITHIN_S)
        kind, *words = self._line().split() or ("E", str(errno.ECHILD))  # no word: the keeper died at once
        if kind == "E":
            raise OSError(int(words[0]), os.strerror(int(words[0])))
        self._wire.settimeout(None)
        return int(words[0]), words[1]

    def _let_go(self) -> None:
        """Wait for the keeper, which has ended or was killed, and be as before."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._keeper.wait(GONE_WITHIN_S)
        with self._speaking:
            self._undo.close()

    def _line(self) -> str:
        """Return one line from the wire; empty when the keeper is gone."""
        heard = b""
        while not heard.endswith(b"\n"):
            byte = self._wire.recv(1)
            if not byte:
                return ""
            heard += byte
        return heard.decode()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while line := self._line():
                kind, *words = line.split()
                if kind == "G":
                    self._returncode = os.waitstatus_to_exitcode(int(words[0]))
                    break
                self._over.set()
        self._hung_up.set()  # gone, or its keeper died, and the command with it
        self._over.set()

    def __enter__(self) -> Self:
        """Nothing more to start."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing running behind an error; after `end` there is nothing left to try."""
        if not self._ended:
            self.end(0)

    @property
    def exit_status(self) -> str:
        """How the command ended, as text; only after `end`."""
        return status_text(self.returncode)

    @property
    def returncode(self) -> int:
        """How the command ended: its exit code, or the negative number of the signal; only after `end`."""
        if self._returncode is None:
            msg = f"process {self.pid} is not known to have ended"
            raise RuntimeError(msg)
        return self._returncode

    def renew(self, lease_s: float) -> None:
        """Let the keeper end everything when this is not called again within `lease_s` seconds of real time."""
        with self._speaking, contextlib.suppress(OSError):  # no keeper, no lease: the end is on its way already
            self._wire.send(b"L %d\n" % lease_s, socket.MSG_DONTWAIT)

    def tell_when_over(self, tell: Callable[[], None]) -> None:
        """Call `tell` on a thread of its own when the command has ended; it stays unreaped."""

        def wait() -> None:
            self._over.wait()
            tell()

        threading.Thread(target=wait, name=f"over {self.pid}", daemon=True).start()

    def end(self, grace_s: float) -> bool:
        """End everything: TERM, up to `grace_s` to comply, KILL. Return whether it is proven gone.

        A stopped (SIGSTOP) process is not continued for the TERM: it would trade until the grace is over.
        """
        self._terminate()
        deadline = clock.monotonic_s() + grace_s
        while clock.monotonic_s() < deadline and any(map(lives, self._descendants())):
            clock.pause(_LOOK_EVERY_S)
        self._ended = True
        deadline = clock.monotonic_s() + GONE_WITHIN_S
        with contextlib.suppress(OSError):
            self._wire.shutdown(socket.SHUT_WR)
        self._hung_up.wait(KEEPER_WITHIN_S)
        if self._returncode is None:
            # The keeper is dead, stopped or stuck: what it has left is adopted here.
            ended = self._end_without_keeper(deadline)
            if self.pid in ended:
                self._returncode = os.waitstatus_to_exitcode(ended[self.pid])
        self._let_go()
        return self._returncode is not None

    def _end_without_keeper(self, deadline_s: float) -> dict[int, int]:
        """Kill the keeper and all that it leaves; return {pid: wait status}, or nothing when that is not proven."""
        self._keeper.kill()
        try:
            self._keeper.wait(max(deadline_s - clock.monotonic_s(), 0))
        except subprocess.TimeoutExpired:
            return {}
        return keeper.end_children(self._strangers, deadline_s - clock.monotonic_s()) or {}

    def _terminate(self) -> None:
        # Listed before the first of them ends: its children get another parent then, and would be looked for in vain.
        descendants = list(self._descendants())
        # No permission: all of them run as another user (a setuid program). The proof that follows will fail.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGTERM)
        for pid in descendants:
            self._terminate_outside(pid)

    def _terminate_outside(self, pid: int) -> None:
        """Send TERM to a descendant that left the group. The number may be another's meanwhile: it is made sure of."""
        with contextlib.suppress(OSError):
            descriptor = os.pidfd_open(pid)
            try:
                # Either the number still is the descendant's, or what the descriptor holds has ended.
                if self._is_below(pid) and os.getpgid(pid) != self.pid:
                    signal.pidfd_send_signal(descriptor, signal.SIGTERM)
            finally:
                os.close(descriptor)

    def _is_below(self, pid: int) -> bool:
        """Say whether a process descends from the command, or is it. Nobody else can have the number of a root."""
        roots = self._roots()
        while pid not in roots:
            fields = _stat(pid)
            if not fields or pid == os.getpid():
                return False
            pid = int(fields[_PARENT])
        return True

    def _roots(self) -> list[int]:
        """Return our own children, unreaped, below or with whom the command stands."""
        if lives(self._keeper.pid):
            return [self._keeper.pid]
        return [pid for pid in keeper.children("self") if pid not in self._strangers and pid != self._keeper.pid]

    def _descendants(self) -> Iterator[int]:
        """Yield what descends from the command: below its keeper, or adopted here after the keeper's death."""
        waiting = self._roots()
        while waiting:
            pid = waiting.pop()
            if pid != self._keeper.pid:
                yield pid
            waiting += keeper.children(pid)


def lives(pid: int) -> bool:
    """Say whether a process runs; the first thread may have ended before the others: a zombie with live threads."""
    fields = _stat(pid)
    return bool(fields) and (fields[_STATE] not in _DEAD_STATES or int(fields[_THREADS]) > 1)


def _stat(pid: int | str) -> list[bytes]:
    """Return the fields of /proc/PID/stat after the name (which may hold spaces and brackets), or none."""
    try:
        return (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []
