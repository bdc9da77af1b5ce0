"""A progress bar for a person: on standard error, only on a terminal, only for work that lasts."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from blaidctl.core.context import silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Below this, the work is over before a bar could be read.
LEAST_TO_SHOW = 20_000


@contextlib.contextmanager
def bars() -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    """Yield what a Context wants as `progress`; the bar disappears when the block ends."""
    if not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:

        def begin(what: str, total: int) -> Callable[[int], None]:
            if total < LEAST_TO_SHOW:
                return lambda _done: None
            task = progress.add_task(what, total=total)
            return lambda done: progress.update(task, completed=done)

        yield begin
