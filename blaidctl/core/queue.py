"""A fair queue in front of SQLite's one write lock.

SQLite's busy handler sleeps and retries: whoever wakes at the right moment wins, and under load one process can
wait for seconds while others pass (measured: 2-4 s against a median of milliseconds). An flock on a file beside the
database is granted by the kernel in order of arrival. It only orders writers of blaidctl; the database's own lock still
decides, so a foreign writer or a missing lock file costs fairness, never safety.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from typing import TYPE_CHECKING

from blaidctl.core.clock import monotonic_s
from blaidctl.core.errors import Busy
from blaidctl.core.signals import start_deaf

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUFFIX = "-queue"
#: Never wait in open() itself (somebody may have put a FIFO there), never follow a link out of the directory.
_FLAGS = os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextlib.contextmanager
def turn(database: Path, timeout_s: float, *, alone: bool = False) -> Iterator[float]:
    """Wait for this process's turn to write, for half of `timeout_s` at the most; yield the seconds that are left.

    When the turn does not come, somebody holds the queue without writing, or the crowd is very large: then the
    database's own lock decides, as it does for those who do not queue. With `alone` (migrations, which write several
    transactions) the turn is waited for to the end of the limit, and Busy raised when it does not come.
    """
    deadline = monotonic_s() + timeout_s
    try:
        descriptor = os.open(f"{database}{SUFFIX}", _FLAGS, 0o666)
    except OSError:
        # No queue file (read-only directory, full disk): the database itself gives the exact answer.
        yield float(timeout_s)
        return
    lock = _Flock(descriptor)
    try:
        granted = lock.acquire(timeout_s if alone else timeout_s / 2)
        if alone and not granted:
            raise Busy(f"other writers held the database for more than {timeout_s:g} s; nothing was written")
        yield max(deadline - monotonic_s(), 0.0)
    finally:
        lock.release()


class _Flock:
    """A blocking flock with a time limit: the kernel keeps the order, a thread keeps the limit."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._guard = threading.Lock()
        self._abandoned = False
        self._done = threading.Event()

    def acquire(self, timeout_s: float) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            start_deaf(threading.Thread(target=self._block, daemon=True))
            return self._done.wait(timeout_s)
        self._done.set()
        return True

    def _block(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        with self._guard:
            self._done.set()
            if self._abandoned:
                os.close(self._descriptor)

    def release(self) -> None:
        """Closing the descriptor gives the lock up; a waiter still blocked closes it when its turn comes."""
        with self._guard:
            if self._done.is_set():
                os.close(self._descriptor)
            else:
                self._abandoned = True
