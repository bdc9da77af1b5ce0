"""What supervised processes may have left on this host after their supervisors died: found, ended, proven gone.

A process is known by two things that nobody else has: the mark that it inherited in its environment, or its pid
together with the start (in clock ticks) that was recorded in the same boot of this machine. Neither is trusted for
longer than a moment: the process is opened (pidfd), looked at again, and only then killed through the descriptor, which
cannot reach another process that was given the number meanwhile.

Not seen: a process that wiped its environment or writes its own title over it; what another user's process carries
(as root everything is seen); what runs on another machine that has this one's name.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from blaidctl.core import clock
from blaidctl.core.process import boot_id
from blaidctl.core.supervise import MARK_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

#: How long the kernel may take to end everything that was found, also what forks meanwhile.
GONE_WITHIN_S = 5.0
_LOOK_EVERY_S = 0.01
#: How many lists of processes one look may take on a machine where they come and go.
_MOST_LISTS = 20
_INIT = 1
#: How much the clock that a start was written by may differ from the one that this boot is told by.
_CLOCKS_DIFFER = timedelta(minutes=2)

_PROC = Path("/proc")
# Places in /proc/PID/stat, counted from the field after the name (proc(5) counts that one as 3).
_STATE, _PARENT, _FLAGS, _THREADS, _STARTED = 0, 1, 6, 17, 19
_DEAD_STATES = frozenset({b"Z", b"X"})
#: Of /proc/PID/stat's flags: a thread of the kernel's own, which has no environment (include/linux/sched.h).
_KERNEL_THREAD = 0x00200000


class Outcome(StrEnum):
    """What is known about the remains of one run."""

    GONE = "GONE"
    KILLED = "KILLED"
    NOT_PROVEN = "NOT_PROVEN"


@dataclass(frozen=True, slots=True)
class Left:
    """What was recorded about one run: enough to know its processes again, or not."""

    mark: str | None
    pid: int | None
    pid_started: str | None
    boot_id: str | None
    #: When the run began: one that began after this boot, under another boot id, was another machine's.
    started_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Remains:
    """What became of the remains: how many processes were killed for it, or why nothing is proven."""

    outcome: Outcome
    killed: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Process:
    """A process that lives; pid and start name it for ever (within this boot)."""

    pid: int
    started: int


@dataclass(slots=True)
class _Case:
    """One run that is being looked into."""

    left: Left
    #: The recorded process, if it can be known again: its start decides.
    recorded: _Process | None = None
    #: The one word of an environment that belongs to this run.
    word: bytes | None = None
    killed: set[_Process] = field(default_factory=set)
    verdict: Remains | None = None

    def gone(self) -> None:
        """Close the case: a look found nothing more."""
        self.verdict = Remains(Outcome.KILLED if self.killed else Outcome.GONE, len(self.killed))

    def doubt(self, why: str) -> None:
        """Close the case without a proof."""
        self.verdict = Remains(Outcome.NOT_PROVEN, len(self.killed), why)


def end(left: Left) -> Remains:
    """End what one run left on this host."""
    return end_all([left])[0]


def end_all(lefts: Sequence[Left]) -> list[Remains]:
    """End what runs left on this host; return what is known of each, in their order.

    One look at all processes serves all of them. Takes at most about GONE_WITHIN_S.
    """
    here = boot_id()
    cases = [_opened(left, here) for left in lefts]
    deadline = clock.monotonic_s() + GONE_WITHIN_S
    while open_ := [case for case in cases if case.verdict is None]:
        late = clock.monotonic_s() >= deadline
        found, unseen = _look(open_)
        for case, processes in zip(open_, found, strict=True):
            if not processes:
                _close(case, unseen)
            elif late:
                case.doubt(f"pid {min(p.pid for p in processes)} still stands {GONE_WITHIN_S:.0f} s after SIGKILL")
        if not late:
            _kill([(case, process) for case, processes in zip(open_, found, strict=True) for process in processes])
    return [case.verdict for case in cases if case.verdict is not None]


def _opened(left: Left, here: str | None) -> _Case:
    """Decide what can be decided without a look."""
    case = _Case(left)
    same_boot = bool(here) and left.boot_id == here
    if same_boot and left.pid and (left.pid_started or "").isdecimal():
        case.recorded = _Process(left.pid, int(left.pid_started or 0))
    if left.mark:
        case.word = f"{MARK_VARIABLE}={left.mark}".encode()
    if here is None:
        case.doubt("this system does not say since when it runs")
    elif left.boot_id and not same_boot and left.started_at and left.started_at > _booted_at() + _CLOCKS_DIFFER:
        case.doubt(
            "it began after this machine was started, under another boot id: another machine has this one's name"
        )
    elif left.boot_id and not same_boot:
        case.gone()  # the machine was started anew: nothing of that time runs any more
    elif case.recorded is None and case.word is None:
        if same_boot and left.pid and _living(left.pid) is None:
            case.gone()
        else:
            case.doubt("neither a mark nor a pid with its start was recorded: no process can be known again")
    return case


def _booted_at() -> datetime:
    """Return when this machine was started, by its own clock (proc(5): btime)."""
    lines = (_PROC / "stat").read_bytes().splitlines()
    seconds = next(int(line.split()[1]) for line in lines if line.startswith(b"btime "))
    return datetime.fromtimestamp(seconds, UTC)


def _close(case: _Case, unseen: Collection[_Process]) -> None:
    """Close a case of which nothing was found, unless something could not be looked into."""
    since = case.recorded.started if case.recorded else 0
    hidden = sorted(p.pid for p in unseen if p.started >= since) if case.word else []
    if hidden:
        case.doubt(f"the environment of pid {hidden[0]} cannot be read; run the reaper as root")
    else:
        case.gone()


# ---- looking ---------------------------------------------------------------------------------------------------------


def _look(cases: Sequence[_Case]) -> tuple[list[set[_Process]], list[_Process]]:
    """Return the living processes of each case, and processes of our own user that could not be looked into."""
    found: list[set[_Process]] = [set() for _ in cases]
    by_word: dict[bytes, list[int]] = {}
    for number, case in enumerate(cases):
        if case.recorded and _living(case.recorded.pid) == case.recorded:
            found[number].add(case.recorded)
        if case.word:
            by_word.setdefault(case.word, []).append(number)
    unseen = []
    for process, words in _all() if by_word else ():
        if words is None and _could_be_ours(process.pid):
            unseen.append(process)
        for word in by_word.keys() & (words or ()):
            for number in by_word[word]:
                found[number].add(process)
    known = set().union(*found)
    return found, [process for process in unseen if process not in known]


def _all() -> Iterator[tuple[_Process, frozenset[bytes] | None]]:
    """Yield every living process and the words of its environment, or None where they may not be seen.

    One that ended between the list and the look at it may have left a child that is not on the list: as long as such a
    thing happens, what is new on the list is looked at too.
    """
    seen: set[int] = set()
    for _ in range(_MOST_LISTS):
        listed = {int(name) for name in os.listdir(_PROC) if name.isdecimal()} - seen  # noqa: PTH208 - a name a process
        somebody_ended = False
        for pid in listed:
            process = _living(pid)
            words = _environment(pid) if process else frozenset()
            somebody_ended |= words == frozenset()
            if process:
                yield process, words
        if not somebody_ended:
            return
        seen |= listed


def _living(pid: int) -> _Process | None:
    """Return the process with this pid, if it lives; a zombie does not, nor does a thread of the kernel count."""
    try:
        # The name may hold spaces and brackets: what follows the last one is well formed.
        fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    # The first thread of a process may have ended before the others: a zombie with live threads.
    dead = fields[_STATE] in _DEAD_STATES and int(fields[_THREADS]) <= 1
    return None if dead or int(fields[_FLAGS]) & _KERNEL_THREAD else _Process(pid, int(fields[_STARTED]))


def _environment(pid: int) -> frozenset[bytes] | None:
    """Return the words of a process's environment; None when we may not see them, nothing when it ended meanwhile."""
    try:
        text = _text(_PROC / str(pid)) or _of_its_threads(pid)
    except PermissionError:
        return None
    except OSError:
        return frozenset()
    return frozenset(text.split(b"\0")) - {b""}


def _text(of: Path) -> bytes:
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        return (of / "environ").read_bytes()
    return b""


def _of_its_threads(pid: int) -> bytes:
    """Read the environment from a thread that lives when the first one has ended: the memory is theirs."""
    threads = os.listdir(_PROC / str(pid) / "task")  # noqa: PTH208 - as above
    return next(filter(None, (_text(_PROC / str(pid) / "task" / thread) for thread in threads)), b"")


def _could_be_ours(pid: int) -> bool:
    """Say whether a process runs for our own user: no supervisor of ours started those of others, or init."""
    if pid <= _INIT:
        return False
    try:
        lines = (_PROC / str(pid) / "status").read_bytes().splitlines()
    except OSError:
        return False
    real = next((line.split()[1] for line in lines if line.startswith(b"Uid:")), b"")
    return real == str(os.getuid()).encode()


# ---- ending ----------------------------------------------------------------------------------------------------------


def _kill(found: Iterable[tuple[_Case, _Process]]) -> None:
    """Kill what was found, each through a descriptor of its own, and wait a moment for the ends."""
    with contextlib.ExitStack() as stack:
        ends = select.poll()
        waiting = 0
        for case, process in found:
            descriptor = _killed(case, process)
            if descriptor is not None:
                stack.callback(os.close, descriptor)
                ends.register(descriptor, select.POLLIN)
                waiting += 1
        deadline = clock.monotonic_s() + GONE_WITHIN_S / 2
        while waiting and clock.monotonic_s() < deadline:
            for descriptor, _ in ends.poll(1000 * _LOOK_EVERY_S):
                ends.unregister(descriptor)
                waiting -= 1


def _killed(case: _Case, process: _Process) -> int | None:
    """Kill a process if it still is what was found; return a descriptor that tells of its end, or None."""
    if process.pid <= _INIT or process.pid in _own_line():
        case.doubt(f"pid {process.pid} belongs to it, and is this program or one that started it: never signalled")
        return None
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    try:
        if not _is_still(case, process):
            os.close(descriptor)
            return None
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except ProcessLookupError:
        pass
    except PermissionError:
        case.doubt(f"pid {process.pid} runs as another user and may not be ended from here")
    else:
        case.killed.add(process)
    return descriptor


def _own_line() -> set[int]:
    """Return this program and all that it descends from: a script that is its own job's worker may call the reaper."""
    line, pid = {os.getpid()}, os.getppid()
    while pid > _INIT and pid not in line:
        line.add(pid)
        try:
            pid = int((_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()[_PARENT])
        except OSError:
            break
    return line


def _is_still(case: _Case, process: _Process) -> bool:
    """Look again, now that the descriptor holds one process fast: its start, and its mark where that may be seen."""
    if _living(process.pid) != process:
        return False
    words = None if process == case.recorded else _environment(process.pid)
    return words is None or case.word in words
