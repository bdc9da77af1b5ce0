"""Signals and COMMIT: Ctrl-C may end anything but the moment in which an act becomes true.

A mask belongs to a thread, and the kernel gives a signal to any thread that does not hold it back: every thread that
may live during a COMMIT is therefore started deaf.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

#: What a person, cron or systemd ends a command with.
ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})


def end_like_ctrl_c() -> None:
    """Let TERM and HUP end a command as Ctrl-C does: with an answer. What the caller ignores (nohup) stays ignored."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, interrupt)


def ignore_endings() -> None:
    """Ignore what comes when the answer is out and only the interpreter is left to end."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Hold the ending signals back while the block runs (in the main thread, which is where Python answers them).

    A signal that arrived meanwhile is dropped: the act that it meant to stop is done, and its receipt is printed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        while signal.sigpending() & ENDING - before:
            signal.sigwait(ENDING)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_deaf(thread: threading.Thread) -> None:
    """Start a thread that no signal is ever given to: it inherits the mask of its start."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
