"""Files of fills, a module a format: a file goes in as a stream, records come out one at a time.

Every record of a file becomes a `Fill`, an `AccountFee`, a `Refusal` or a `Skipped`; a file that is none of its format,
or is cut off, raises `FileInvalid` or `FileUnreadable`, and nothing else is ever raised.

Text formats (csv, ndjson, ccxt, alpaca, ibkr) are read from a `core.files.Reading`, the databases of bots (freqtrade,
hummingbot) from a `Snapshot`: `opened` gives whichever a format needs, with the hash of what was read.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from typing import TYPE_CHECKING, Any

from blaidctl.core import errors, files
from blaidctl.core.context import silent
from blaidctl.instruments.rules import zone_of
from blaidctl.ledger.vocabulary import FileFormat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from zoneinfo import ZoneInfo

    from blaidctl.core.files import Reading
    from blaidctl.ledger.fills import Record
    from blaidctl.ledger.formats.sqlite import Snapshot

#: Format → its module.
MODULES = {
    FileFormat.CSV: "own_csv",
    FileFormat.NDJSON: "own_ndjson",
    FileFormat.FREQTRADE: "freqtrade",
    FileFormat.HUMMINGBOT: "hummingbot",
    FileFormat.CCXT: "ccxt",
    FileFormat.ALPACA: "alpaca",
    FileFormat.IBKR: "ibkr",
}
DATABASES = frozenset({FileFormat.FREQTRADE, FileFormat.HUMMINGBOT})
#: What `line` of a record counts, where a file is not made of lines.
COUNTS = dict.fromkeys((*DATABASES, FileFormat.CCXT, FileFormat.ALPACA), "record")
#: Bytes of a file: about twenty million fills.
MOST_BYTES = 4 * 1024**3
#: How long a database that is in use is waited for where nobody said it.
_SILENCE_S = 5
_STEPS = ("Correct what is named, or export the file again; nothing was imported.",)


@contextlib.contextmanager
def opened(
    layout: FileFormat,
    path: str,
    silence_s: int,
    progress: Callable[[str, int], Callable[[int], None]] = silent,
) -> Iterator[Reading | Snapshot]:
    """Open a file, a pipe or standard input (`-`) for `read`; its `sha256` holds once all records were taken."""
    with contextlib.ExitStack() as stack:
        if layout in DATABASES:
            from blaidctl.ledger.formats import sqlite

            with _with_our_steps():
                snapshot = stack.enter_context(sqlite.opened(path, silence_s, progress, MOST_BYTES))
            yield snapshot
        else:
            yield stack.enter_context(files.reading(path, silence_s, progress, MOST_BYTES))


def read(layout: FileFormat, source: Any, *, timezone: str | None = None) -> Iterator[Record]:
    """Yield the records of what `opened` gave (or of a binary stream, or the path of a database).

    `timezone` is the IANA name of the zone in which times without an offset are meant; without it they are refused.
    """
    zone = _zone(timezone)
    module = importlib.import_module(f"{__name__}.{MODULES[layout]}")
    with _with_our_steps(), contextlib.ExitStack() as stack:
        if layout in DATABASES and isinstance(source, str | os.PathLike):
            from blaidctl.ledger.formats import sqlite

            source = stack.enter_context(sqlite.opened(os.fspath(source), _SILENCE_S))
        elif layout not in DATABASES and not isinstance(source, files.Reading):
            name = getattr(source, "name", None)
            source = files.Reading(name if isinstance(name, str) else "the file", source, lambda _: None, MOST_BYTES)
        yield from module.read(source, zone)


def _zone(name: str | None) -> ZoneInfo | None:
    try:
        return None if name is None else zone_of(name)
    except ValueError as error:
        raise errors.InvalidRequest(f"timezone: {error}", missing=[f"timezone: {error}"]) from None


@contextlib.contextmanager
def _with_our_steps() -> Iterator[None]:
    """Give a refusal of the file the next steps of a file of fills."""
    try:
        yield
    except errors.FileInvalid as error:
        if error.steps == errors.FileInvalid.next_steps:
            error.steps = _STEPS
        raise
