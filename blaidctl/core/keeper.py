"""Stands between a supervisor and its command, so that neither's death leaves anything running.

Run as a script of its own: `python -I -S keeper.py WIRE PROGRAM WORD…`, standard library only. It starts the command
in a session and group of its own, with the kernel's word that the command dies when this process dies, and adopts
whatever the command's descendants leave behind (it is their subreaper, prctl(2)). When the supervisor hangs up (it is
done, or dead), or lets its lease run out (it hangs, or was stopped), everything below is killed.

Only own children are signalled: until they are waited for here, the kernel gives their numbers to nobody else. The
children of a killed child become own children; when none is left, nothing of the command is left. The command itself
is waited for last of all, after the supervisor hung up: as long as that one may signal it, its number is its own.

On the wire, a line each. From here: `P pid start` the command runs; `E errno` it cannot be started; `O` it has ended
(and is not yet waited for); `G status` everything is gone: the answer to the supervisor's hanging up. To here:
`L seconds` the lease counts anew.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import select
import signal
import sys
import time

_SET_PARENT_DEATH_SIGNAL, _SET_SUBREAPER, _GET_SUBREAPER = 1, 36, 37
_LOOK_EVERY_S = 1.0
#: The pause between two looks for children to kill: short while there is progress, longer while there is none.
_KILL_EVERY_S, _KILL_AT_LEAST_EVERY_S = 0.002, 0.1
_FIRST_FREE = 3  # file descriptors 0, 1 and 2 are the command's
_READ_BYTES = 4096


def prctl(option: int, argument: object) -> None:
    """Call the kernel's prctl. Raises OSError where the kernel, or the system, does not know the option."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "prctl"):
        raise OSError(errno.ENOSYS, "supervision needs Linux")
    if libc.prctl(option, argument, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def adopt_orphans(*, wanted: bool) -> bool:
    """Say whether orphans below this process become its children; return what was so before."""
    before = ctypes.c_int()
    prctl(_GET_SUBREAPER, ctypes.byref(before))
    prctl(_SET_SUBREAPER, ctypes.c_ulong(wanted))
    return bool(before.value)


def children(pid: int | str) -> list[int]:
    """Return the numbers of a process's children, the dead ones that nobody waited for included."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
    except FileNotFoundError:
        # It ended meanwhile, or the kernel has no such list: then every process is asked for its parent.
        return found if os.path.exists(f"/proc/{os.getpid()}/task/{os.getpid()}/children") else _children_by_parent(pid)
    except (ProcessLookupError, PermissionError):
        pass
    return found


def _children_by_parent(pid: int | str) -> list[int]:
    parent, found = os.getpid() if pid == "self" else int(pid), []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
            if int(file.read().rpartition(b")")[2].split()[1]) == parent:
                found.append(int(name))
    return found


def end_children(
    spare: frozenset[int] = frozenset(), limit_s: float | None = None, kept: int | None = None
) -> dict[int, int] | None:
    """Kill and wait for every child until none is left but those to spare; return {pid: wait status}, or None.

    The child `kept` is killed too, but stays unreaped. None means that the limit came first: a child is in an
    uninterruptible wait, is traced, or belongs to another user.
    """
    ended: dict[int, int] = {}
    until = None if limit_s is None else time.monotonic() + limit_s
    before, pause_s = None, _KILL_EVERY_S
    while True:
        # First this, then the list: whoever is dead by now has left its children to us.
        over = spare if kept is None or not _is_dead(kept) else spare | {kept}
        mine = [pid for pid in children("self") if pid not in over]
        if not mine:
            return ended
        for pid in mine:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        ended |= _reaped([pid for pid in mine if pid != kept])
        if until is not None and time.monotonic() >= until:
            return None
        pause_s = min(2 * pause_s, _KILL_AT_LEAST_EVERY_S) if mine == before else _KILL_EVERY_S
        before = mine
        time.sleep(pause_s)


def _is_dead(child: int) -> bool:
    """Say whether a child has ended, and leave it unreaped."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _reaped(pids: list[int]) -> dict[int, int]:
    """Wait for those of the children that are dead; return {pid: wait status}."""
    ended = {}
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                ended[pid] = status
    return ended


def started(pid: int) -> str:
    """Return when a process started, in clock ticks since boot, as the kernel writes it."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[19].decode()


def _spawn(program: str, command: list[str]) -> int:
    """Start the command; return its number. Raises OSError with the reason why the kernel refused."""
    keeper, environment = os.getpid(), _environment()
    told, tell = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
            if os.getppid() == keeper:
                for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them; its children must not
                    signal.signal(number, signal.SIG_DFL)
                signal.pthread_sigmask(signal.SIG_SETMASK, ())
                os.execve(program, command, environment)  # noqa: S606 - no shell is the purpose
        except OSError as error:
            os.write(tell, str(error.errno).encode())
        finally:
            os._exit(127)
    os.close(tell)
    with os.fdopen(told, "rb") as pipe:
        refused = pipe.read()
    if refused:
        os.waitpid(pid, 0)
        raise OSError(int(refused), os.strerror(int(refused)))
    return pid


def _environment() -> dict[bytes, bytes]:
    """Return the environment as it was handed over: Python itself may have added to its own (PEP 538)."""
    with open("/proc/self/environ", "rb") as file:
        pairs = [pair.partition(b"=") for pair in file.read().split(b"\0") if pair]
    return {name: value for name, _, value in pairs if name}  # no program could ask for one without a name


class _Keeper:
    """One command, from its start until nothing of it is left."""

    def __init__(self, wire: int) -> None:
        self._wire = wire
        self._heard = b""
        self._lease_ends_s: float | None = None

    def say(self, *words: object) -> None:
        """Tell the supervisor; it may be dead."""
        with contextlib.suppress(OSError):
            os.write(self._wire, (" ".join(map(str, words)) + "\n").encode())

    def keep(self, program: str, command: list[str]) -> None:
        """Start the command, wait until it must end, end it and all that it left."""
        try:
            pid = _spawn(program, command)
        except OSError as error:
            self.say("E", error.errno)
            return
        self.say("P", pid, started(pid))
        _let_go_of_streams()
        self._wait(pid)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)  # the whole group at one moment: a fork cannot slip through
        end_children(kept=pid)
        self.say("O")
        while self._hear():
            pass
        self.say("G", os.waitpid(pid, 0)[1])

    def _wait(self, pid: int) -> None:
        poll = select.poll()
        poll.register(self._wire, select.POLLIN)
        leader = os.pidfd_open(pid)
        poll.register(leader, select.POLLIN)
        while not self._is_over():
            for ready, _ in poll.poll(_LOOK_EVERY_S * 1000):
                if ready == leader:
                    self.say("O")
                    poll.unregister(leader)
                elif not self._hear():
                    return
            _reaped([orphan for orphan in children("self") if orphan != pid])

    def _hear(self) -> bool:
        """Take what the supervisor says; False when it has hung up."""
        try:
            heard = os.read(self._wire, _READ_BYTES)
        except OSError:
            return False
        *lines, self._heard = (self._heard + heard).split(b"\n")
        for line in lines:
            self._lease_ends_s = time.clock_gettime(time.CLOCK_BOOTTIME) + int(line.split()[1])
        return bool(heard)

    def _is_over(self) -> bool:
        # A clock that counts while the host is suspended: whoever wakes up after the lease has lost it.
        return self._lease_ends_s is not None and time.clock_gettime(time.CLOCK_BOOTTIME) >= self._lease_ends_s


def _let_go_of_streams() -> None:
    """Leave the standard streams to the command: a pipe ends with it, not with its keeper."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)


def main(argv: list[str]) -> None:
    """Keep one command. Every signal but those that cannot be held back goes past: only the wire counts."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    # A supervisor without standard streams may have been given one of their numbers for the wire.
    wire = fcntl.fcntl(int(argv[1]), fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE)
    os.close(int(argv[1]))
    adopt_orphans(wanted=True)
    _Keeper(wire).keep(argv[2], argv[3:])


if __name__ == "__main__":
    main(sys.argv)
