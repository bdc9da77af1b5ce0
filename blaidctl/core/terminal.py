"""A person's terminal while a view draws itself: its other screen, its keys, and the signals that end or resize it.

Whatever ends the view (a key, Ctrl-C, SIGTERM, a terminal that is gone), the terminal is as it was before.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import sys
import termios
from typing import TYPE_CHECKING, Any, Self

from blaidctl.core import present, signals

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.text import Text

UP, DOWN = frozenset({b"k", b"\x1b[A", b"\x1bOA"}), frozenset({b"j", b"\x1b[B", b"\x1bOB"})
PAGE_UP, PAGE_DOWN = frozenset({b"b", b"\x1b[5~"}), frozenset({b" ", b"f", b"\x1b[6~"})
_QUIT = frozenset({b"q", b"Q", b"\x03", b"\x04"})
_SUSPEND = b"\x1a"
_KEY = re.compile(rb"\x1b[\[O][0-9;]*[A-Za-z~]|.", re.DOTALL)
_USUAL_LINES = 24
#: Places in what termios.tcgetattr returns.
_LOCAL_MODES, _SPECIAL = 3, 6


def usable() -> bool:
    """Say whether a person sits at a terminal that can move its cursor."""
    able = os.environ.get("TERM", "") not in {"", "dumb", "unknown"}
    return able and sys.stdin.isatty() and sys.stdout.isatty()


def console() -> Any:
    """Return Rich's console for the terminal, in colour unless NO_COLOR forbids it."""
    from rich.console import Console

    return Console(
        force_terminal=True, no_color=not present.coloured(), highlight=False, markup=False, emoji=False, soft_wrap=True
    )


class Terminal:
    """The other screen of the person's terminal, the keys, and the signals that end the view or resize it."""

    def __init__(self) -> None:
        """Take nothing yet; `over` becomes true when the view should end."""
        self.over = False
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Take the signals first: from here on none of them can strike between two halves of something."""
        with contextlib.ExitStack() as undo:
            self._heard, self._woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            undo.callback(os.close, self._heard)
            undo.callback(os.close, self._woken)
            undo.enter_context(self._signals())
            self._modes = termios.tcgetattr(sys.stdin)
            undo.callback(self._leave)
            self._enter()
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Give the terminal back as it was."""
        self._undo.close()

    def wake(self) -> None:
        """Have `keys` return: there is something new to draw."""
        with contextlib.suppress(OSError):  # the pipe is full, which wakes as well, or closed: nobody waits any more
            os.write(self._woken, b"\0")

    def size(self) -> os.terminal_size:
        """Return the size as it is now, whatever it was at the start."""
        try:
            size = os.get_terminal_size(sys.stdout.fileno())
        except OSError:
            self.over = True  # the terminal is gone
            size = os.terminal_size((0, 0))
        # A serial line, or a container's terminal, may not know its size: it says 0.
        return os.terminal_size((size.columns or present.NARROWEST, size.lines or _USUAL_LINES))

    def draw(self, lines: Sequence[Text]) -> None:
        """Put the lines on the screen; a terminal that is gone ends the view."""
        from rich.console import Group

        size = self.size()
        try:
            self._console.size = (size.columns, size.lines)
            self._live.update(Group(*lines[: size.lines]), refresh=True)
        except OSError:
            self.over = True

    def keys(self, limit_s: float) -> list[bytes]:
        """Wait for keys, a signal or `wake`; return the keys that are not answered here."""
        ready, _, _ = select.select([sys.stdin, self._heard], [], [], limit_s)
        if self._heard in ready:
            os.read(self._heard, 4096)
        pressed = self._pressed() if sys.stdin in ready else []
        self.over = self.over or any(key in _QUIT for key in pressed)
        if _SUSPEND in pressed and not self.over:
            self._suspend()
        return pressed

    def _pressed(self) -> list[bytes]:
        try:
            typed = os.read(sys.stdin.fileno(), 1024)
        except OSError:
            typed = b""
        self.over = self.over or not typed  # nobody is there any more
        return _KEY.findall(typed)

    def _suspend(self) -> None:
        """Give the shell its terminal back, stop as Ctrl-Z stops, and go on when told to."""
        self._leave()
        os.kill(0, signal.SIGTSTP)
        self._enter()

    def _enter(self) -> None:
        from rich.live import Live

        modes = termios.tcgetattr(sys.stdin)
        modes[_LOCAL_MODES] &= ~(termios.ECHO | termios.ICANON)
        modes[_SPECIAL][termios.VSUSP] = b"\0"  # Ctrl-Z comes as a key: the screen is left before the program stops
        modes[_SPECIAL][termios.VMIN], modes[_SPECIAL][termios.VTIME] = 1, 0
        termios.tcsetattr(sys.stdin, termios.TCSANOW, modes)
        self._console = console()
        self._live = Live(
            console=self._console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        self._live.start()

    def _leave(self) -> None:
        with contextlib.suppress(OSError):
            self._live.stop()
        with contextlib.suppress(termios.error):
            termios.tcsetattr(sys.stdin, termios.TCSANOW, self._modes)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Let what ends a command end the view, and a resize wake it; what the caller ignores stays ignored."""

        def end(_number: int, _frame: object) -> None:
            self.over = True

        def resized(_number: int, _frame: object) -> None:
            """Nothing more than to wake."""

        wanted = {**dict.fromkeys(signals.ENDING, end), signal.SIGWINCH: resized}
        kept = {number: signal.getsignal(number) for number in wanted}
        woken = signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        try:
            for number, answer in wanted.items():
                if kept[number] is not signal.SIG_IGN:
                    signal.signal(number, answer)
            yield
        finally:
            signal.set_wakeup_fd(woken)
            for number, before in kept.items():
                signal.signal(number, before)
