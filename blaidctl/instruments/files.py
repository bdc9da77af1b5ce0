"""Reading a file of rows in constant memory: a line at a time, each no longer than the limit, hashed on the way.

What is no text file, or is made to exhaust us, is refused early: a directory, bytes that are not UTF-8, a line without
end, a pipe that stays silent. Nothing of a file's own text reaches a message unescaped: errors are printed through
`core.text`.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import os
import select
import stat
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blaidctl.core import errors
from blaidctl.core.context import silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STDIN = "-"
#: Bytes of a line, its end included. The longest lines of real files have a few hundred.
LONGEST_LINE = 16 * 1024
#: Of a whole file: a hundred times the largest that LEAN ships.
MOST_BYTES = 256 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
#: Lines between two reports of progress.
_REPORT_EVERY = 1_000


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its number from 1, its text without its end, or why it has none."""

    number: int
    text: str
    problem: str = ""


class Reading:
    """A file that is being read: iterate over its lines once; then `sha256` is that of all its bytes."""

    def __init__(self, name: str, stream: Any, progress: Callable[[int], None]) -> None:
        """Take the open file."""
        self.name = name
        self.bytes_read = 0
        self._stream = stream
        self._hasher = hashlib.sha256()
        self._progress = progress

    @property
    def sha256(self) -> str:
        """The hash of the bytes read, 64 hex digits."""
        return self._hasher.hexdigest()

    def __iter__(self) -> Iterator[Line]:
        """Yield every line. Raises FileInvalid for a file that cannot be one of rows."""
        number = 0
        while raw := self._next(number + 1):
            number += 1
            if number == 1:
                raw = self._without_mark(raw)
            if number % _REPORT_EVERY == 0:
                self._progress(self.bytes_read)
            yield _decoded(number, raw)
        if not self.bytes_read:
            raise errors.FileInvalid(f"{self.name} is empty: a header is expected on line 1")

    def _next(self, number: int) -> bytes:
        try:
            raw: bytes = self._stream.readline(LONGEST_LINE + 1)
        except OSError as error:
            raise unreadable(self.name, error) from error
        self.bytes_read += len(raw)
        self._hasher.update(raw)
        if len(raw) > LONGEST_LINE:
            raise errors.FileInvalid(f"{self.name}: line {number} is longer than {LONGEST_LINE} bytes")
        if self.bytes_read > MOST_BYTES:
            raise errors.FileInvalid(f"{self.name} is larger than {MOST_BYTES} bytes")
        return raw

    def _without_mark(self, raw: bytes) -> bytes:
        """Accept the byte order mark that spreadsheets put before UTF-8; UTF-16 is named as what it is."""
        if raw.startswith(_UTF_16):
            raise errors.FileInvalid(f"{self.name} is UTF-16: save it as UTF-8")
        return raw.removeprefix(_BOM)


def _decoded(number: int, raw: bytes) -> Line:
    content = raw.removesuffix(b"\n").removesuffix(b"\r")
    try:
        return Line(number, content.decode("utf-8"))
    except UnicodeDecodeError as error:
        what = f"is not UTF-8: byte 0x{content[error.start]:02x} at position {error.start + 1}"
        return Line(number, "", what)


def cells(line: Line) -> list[str]:
    """Return the fields of a line, blanks around them removed. Raises ValueError with a sentence."""
    if line.problem:
        raise ValueError(line.problem)
    try:
        (found,) = csv.reader([line.text], strict=True)
    except (csv.Error, ValueError):
        msg = "is no line of CSV: a quoted field does not end on it, or a quote or carriage return stands inside one"
        raise ValueError(msg) from None
    return [field.strip(" \t") for field in found]


def unreadable(name: str, error: OSError) -> errors.FileUnreadable:
    """Return the refusal of a file that the operating system does not give."""
    return errors.FileUnreadable(f"{name} cannot be read: {(error.strerror or str(error)).lower()}")


@contextlib.contextmanager
def reading(
    path: str, silence_s: int, progress: Callable[[str, int], Callable[[int], None]] = silent
) -> Iterator[Reading]:
    """Open a file, a pipe, or standard input (`-`); a pipe may be silent for so long and no longer."""
    name = "standard input" if path == STDIN else path
    with contextlib.ExitStack() as stack:
        stream, size = _standard_input(name, silence_s) if path == STDIN else _opened(path, silence_s, stack)
        yield Reading(name, stream, progress(f"reading {os.path.basename(name)}", size))  # noqa: PTH119 - may be `-`


def _standard_input(name: str, silence_s: int) -> tuple[Any, int]:
    try:
        descriptor = sys.stdin.fileno()
    except (OSError, ValueError):
        return sys.stdin.buffer, 0
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        raise errors.FileUnreadable(f"{name} is a directory")
    if sys.stdin.isatty() or stat.S_ISREG(os.fstat(descriptor).st_mode):
        return sys.stdin.buffer, 0
    return io.BufferedReader(_Pipe(descriptor, name, silence_s)), 0


def _opened(path: str, silence_s: int, stack: contextlib.ExitStack) -> tuple[Any, int]:
    try:
        # A named pipe that nobody writes to would hold an ordinary open() for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise unreadable(path, error if isinstance(error, OSError) else OSError(str(error))) from None
    stack.callback(os.close, descriptor)
    found = os.fstat(descriptor)
    if stat.S_ISDIR(found.st_mode):
        raise errors.FileUnreadable(f"{path} is a directory")
    if stat.S_ISREG(found.st_mode):
        return stack.enter_context(open(descriptor, "rb", closefd=False)), found.st_size
    return io.BufferedReader(_Pipe(descriptor, path, silence_s)), 0


class _Pipe(io.RawIOBase):
    """The reading end of a pipe (or a device) that may be silent only for so long."""

    def __init__(self, descriptor: int, name: str, silence_s: int) -> None:
        super().__init__()
        self._descriptor, self._name, self._silence_s = descriptor, name, silence_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        waits = select.poll()
        waits.register(self._descriptor, select.POLLIN)
        while True:
            if not waits.poll(self._silence_s * 1000):
                raise errors.FileUnreadable(f"nothing came through {self._name} for {self._silence_s} s")
            try:
                raw = os.read(self._descriptor, len(buffer))
            except BlockingIOError:
                continue
            buffer[: len(raw)] = raw
            return len(raw)
