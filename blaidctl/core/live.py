"""A view that draws itself anew: one look at the data every second, on the terminal's other screen.

One thread looks; the other draws and listens to keys and signals, so that it answers while the first one waits for a
database that does not. What stands on the screen is the latest look with its time, or, when looking failed, the error
in its place: old figures never pass for new ones.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from blaidctl.core import clock, errors, present, signals
from blaidctl.core.command import a_bug
from blaidctl.core.terminal import DOWN, PAGE_DOWN, PAGE_UP, UP, Terminal, console, usable
from blaidctl.core.text import error_lines, printable
from blaidctl.core.types import time_text
from blaidctl.core.vocabulary import Output

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from rich.text import Text

    from blaidctl.core.context import Context
    from blaidctl.core.execute import Answer

LEAST_EVERY_S, MOST_EVERY_S = 1, 60
#: A look that takes this much longer than the pace is said to: what is shown is old by then.
LATE_AFTER_S = 3
#: Nobody reads more rows than these before the next look; drawing ten thousand takes longer than the pace.
MOST_ROWS = 500
_REDRAW_S = 1.0
_LEAVE_WITHIN_S = 0.5
#: What another look may cure; everything else ends the view.
_PASSING = (errors.Unavailable, errors.Unsettled, errors.Bug)


def watch(ctx: Context, look: Callable[[], Answer], title: str, asked: Mapping[str, Any]) -> int:
    """Show what `look` answers, again and again, until the person quits; return the exit code.

    `asked` holds what the command line says of `watch`, `every` (seconds) and `output`. Raises UsageInvalid where there
    is no terminal, and what a look raised when another look would raise it again.
    """
    every_s = _checked_pace(asked["every"], wanted=bool(asked["watch"]))
    _need_terminal(asked["output"])
    with Terminal() as terminal, _Looker(ctx, look, every_s, terminal.wake) as looker:
        view = _View(title, every_s, ctx.trace_id)
        while not (terminal.over or looker.failed):
            terminal.draw(view.lines(looker.latest, terminal.size()))
            for key in terminal.keys(_REDRAW_S):
                view.press(key)
    if looker.failed:
        raise looker.failed
    return 0


def _checked_pace(every: int | None, *, wanted: bool) -> int:
    every_s = LEAST_EVERY_S if every is None else every
    if not wanted:
        raise errors.UsageInvalid("--every is the pace of --watch", next_steps=["Add --watch, or leave --every away."])
    if not LEAST_EVERY_S <= every_s <= MOST_EVERY_S:
        raise errors.InvalidRequest(
            "the request is invalid: every is out of range",
            missing=[f"every: {LEAST_EVERY_S} to {MOST_EVERY_S} seconds"],
        )
    return every_s


def _need_terminal(output: Output | None) -> None:
    if output not in {None, Output.TABLE}:
        raise errors.UsageInvalid(
            f"--watch draws for a person at a terminal, --output {output} is for programs",
            next_steps=["Leave --watch away, and ask as often as you like."],
        )
    if not usable():
        raise errors.UsageInvalid(
            "--watch needs a terminal: to draw on, and to read q from",
            next_steps=["Run it at a terminal, or leave --watch away and ask as often as you like."],
        )


# ---- looking ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What one look brought: an answer or an error, and when the look began, so that it is no younger than it says."""

    at: datetime
    began_s: float
    answer: Answer | None = None
    error: errors.BlaidError | None = None
    #: When the last look that brought an answer began, for one that brought an error.
    answered_at: datetime | None = None


class _Looker:
    """Looks on a thread of its own, at a steady pace; a slow look makes the next one wait."""

    def __init__(self, ctx: Context, look: Callable[[], Answer], every_s: int, tell: Callable[[], None]) -> None:
        self._ctx, self._look, self._every_s, self._tell = ctx, look, every_s, tell
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="look", daemon=True)
        self.latest: _Seen | None = None
        self.failed: errors.BlaidError | None = None
        self._answered_at: datetime | None = None

    def __enter__(self) -> Self:
        signals.start_deaf(self._thread)
        return self

    def __exit__(self, *_: object) -> None:
        """Wait a little for a look that is under way; one that hangs may not keep the person."""
        self._over.set()
        self._thread.join(_LEAVE_WITHIN_S)

    def _run(self) -> None:
        while not self._over.is_set():
            seen = self._once()
            if seen.error is not None and not isinstance(seen.error, _PASSING):
                self.failed = seen.error
                self._over.set()
            self.latest = seen
            self._tell()
            self._over.wait(max(seen.began_s + self._every_s - clock.monotonic_s(), 0.0))

    def _once(self) -> _Seen:
        at, began_s = self._ctx.now(), clock.monotonic_s()
        try:
            answer = self._look()
        except errors.BlaidError as known:
            error = known
        except Exception as bug:  # noqa: BLE001 - shown where the data would stand, and the next look is tried
            error = a_bug(bug, None)
        else:
            self._answered_at = at
            return _Seen(at, began_s, answer)
        return _Seen(at, began_s, error=error, answered_at=self._answered_at)


# ---- what the screen shows -------------------------------------------------------------------------------------


class _View:
    """Turns a look into as many lines as the screen has; knows how far the person has scrolled."""

    def __init__(self, title: str, every_s: int, trace_id: str) -> None:
        self._title, self._every_s, self._trace_id = title, every_s, trace_id
        self._from = 0
        self._page = 1
        self._drawn: tuple[_Seen | None, int, tuple[list[Text], list[Text]]] | None = None

    def press(self, key: bytes) -> None:
        """Scroll; any other key means nothing."""
        steps = {UP: -1, DOWN: 1, PAGE_UP: -self._page, PAGE_DOWN: self._page}
        self._from = max(self._from + sum(step for names, step in steps.items() if key in names), 0)

    def lines(self, seen: _Seen | None, size: os.terminal_size) -> list[Text]:
        """Return the screen: the head, the data (or the error), and what must never be scrolled away."""
        body, foot = self._data(seen, size.columns)
        head = self._head(seen, size.columns)
        room = max(size.lines - len(head) - len(foot), 1)
        return [*head, *self._window(body, room), *foot]

    def _head(self, seen: _Seen | None, columns: int) -> list[Text]:
        left, right = f"blaidctl {self._title}", f"every {self._every_s} s, q quits"
        if seen is not None:
            left += f"  {_shown(seen.at)}"
        gap = columns - len(left) - len(right)
        lines = [_text(left + " " * gap + right if gap > 1 else left, "bold")]
        age_s = 0.0 if seen is None else clock.monotonic_s() - seen.began_s
        if age_s > self._every_s + LATE_AFTER_S:
            lines += _folded(f"OLD: seen {int(age_s)} s ago; the database has not answered since", columns, "bold red")
        return [*lines, _text("")]

    def _data(self, seen: _Seen | None, columns: int) -> tuple[list[Text], list[Text]]:
        """Return the lines that scroll and those that stay; drawn once for a look and a width, whatever is pressed."""
        if self._drawn is None or self._drawn[:2] != (seen, columns):
            self._drawn = (seen, columns, self._new_data(seen, columns))
        return self._drawn[2]

    def _new_data(self, seen: _Seen | None, columns: int) -> tuple[list[Text], list[Text]]:
        if seen is None:
            return [_text("looking...", "dim")], []
        if seen.error is not None:
            return self._no_data(seen.error, seen.answered_at, columns), []
        assert seen.answer is not None  # noqa: S101 - a look brings one or the other
        table, below = present.parts(seen.answer, MOST_ROWS)
        body = [part for line in table.splitlines() for part in _folded_ansi(line, columns)]
        foot = [_text(line, "dim") for line in _packed(below, columns)]
        return body, [_text(""), *foot] if foot else []

    def _no_data(self, error: errors.BlaidError, answered_at: datetime | None, columns: int) -> list[Text]:
        before = f"; the last was of {_shown(answered_at)}" if answered_at else ""
        what, *more = error_lines(error.body(self._trace_id), as_json=False)
        lines = [(f"NO DATA{before}", "bold red"), (what, "red"), *((line, "") for line in more)]
        lines.append((f"It is tried again every {self._every_s} s.", ""))
        return [part for line, style in lines for part in _folded(printable(line), columns, style)]

    def _window(self, body: Sequence[Text], room: int) -> list[Text]:
        """Return the part of the data that fits, and a line that says which part it is."""
        if len(body) <= room:
            self._from, self._page = 0, room
            return [*body, *[_text("")] * (room - len(body))]
        self._page = max(room - 1, 1)
        self._from = min(self._from, len(body) - self._page)
        until = self._from + self._page
        place = _text(f"lines {self._from + 1} to {until} of {len(body)}; up and down scroll", "yellow")
        return [*body[self._from : until], place][:room]


def _shown(at: datetime) -> str:
    return present.shown(time_text(at))


def _text(line: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(line, style=style, no_wrap=True, overflow="crop")


def _folded(line: str, columns: int, style: str) -> list[Text]:
    return _wrapped(_text(line, style), columns)


def _folded_ansi(line: str, columns: int) -> list[Text]:
    from rich.text import Text

    return _wrapped(Text.from_ansi(line), columns)


def _wrapped(text: Text, columns: int) -> list[Text]:
    """Return a line in as many as it takes: what does not fit goes on below, nothing is cut off."""
    return list(text.wrap(console(), columns, overflow="fold", no_wrap=False)) or [text]


def _packed(items: Sequence[str], columns: int) -> list[str]:
    """Return short texts side by side, on as few lines as hold them."""
    lines: list[str] = []
    for item in items:
        if lines and len(lines[-1]) + 3 + len(item) <= columns:
            lines[-1] += f"   {item}"
        else:
            lines += [item[start : start + columns] for start in range(0, len(item), columns)]
    return lines
