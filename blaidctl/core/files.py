"""Reading a file in constant memory, hashed on the way: a line at a time, each no longer than the limit, or in pieces.

What is no text file, or is made to exhaust us, is refused early: a directory, a packed file, bytes that are not UTF-8,
a line without end, a pipe that stays silent. Nothing of a file's own text reaches a message unescaped: errors are
printed through `core.text`.
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
#: What a file starts with that is none of text → what it is, and what to do.
_NO_TEXT = {
    b"\xff\xfe": "is UTF-16: save it as UTF-8",
    b"\xfe\xff": "is UTF-16: save it as UTF-8",
    b"\x1f\x8b": "is packed with gzip: unpack it first (`gunzip`)",
    b"BZh": "is packed with bzip2: unpack it first (`bunzip2`)",
    b"\xfd7zXZ\x00": "is packed with xz: unpack it first (`unxz`)",
    b"(\xb5/\xfd": "is packed with zstd: unpack it first (`unzstd`)",
    b"PK\x03\x04": "is a zip archive (a spreadsheet is one too): unpack it, or save it as text",
    b"SQLite format 3\x00": "is an SQLite database",
}
#: Lines between two reports of progress.
_REPORT_EVERY = 1_000


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its number from 1, its text without its end, or why it has none."""

    number: int
    text: str
    problem: str = ""
    #: Whether a line end stands behind it: a file that was cut off ends within a line.
    is_ended: bool = True


class Reading:
    """A file that is being read once, by its lines or in pieces; then `sha256` is that of all its bytes."""

    def __init__(
        self,
        name: str,
        stream: Any,
        progress: Callable[[int], None],
        most_bytes: int | None = None,
        *,
        is_text: bool = True,
    ) -> None:
        """Take the open file, how large it may be, and whether it has to be text."""
        self.name = name
        self.bytes_read = 0
        self._is_text = is_text
        self._most_bytes = MOST_BYTES if most_bytes is None else most_bytes
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
            if number % _REPORT_EVERY == 0:
                self._progress(self.bytes_read)
            yield _decoded(number, raw)
        if not self.bytes_read:
            raise errors.FileInvalid(f"{self.name} is empty: a header is expected on line 1")

    def read(self, size: int) -> bytes:
        """Return the next bytes of the text, no more than `size`; none at its end."""
        raw = self._taken(self._stream.read, size)
        self._progress(self.bytes_read)
        return raw

    def _next(self, number: int) -> bytes:
        raw = self._taken(self._stream.readline, LONGEST_LINE + 1)
        if len(raw) > LONGEST_LINE:
            raise errors.FileInvalid(f"{self.name}: line {number} is longer than {LONGEST_LINE} bytes")
        return raw

    def _taken(self, take: Callable[[int], bytes], size: int) -> bytes:
        try:
            raw = take(size)
        except OSError as error:
            raise unreadable(self.name, error) from error
        first = not self.bytes_read
        self.bytes_read += len(raw)
        self._hasher.update(raw)
        if first and self._is_text:
            raw = self._text(raw)
        if self.bytes_read > self._most_bytes:
            raise errors.FileInvalid(f"{self.name} is larger than {self._most_bytes} bytes")
        return raw

    def _text(self, raw: bytes) -> bytes:
        """Accept the byte order mark that spreadsheets put before UTF-8; what is no text is named as what it is."""
        for start, what in _NO_TEXT.items():
            if raw.startswith(start):
                raise errors.FileInvalid(f"{self.name} {what}")
        return raw.removeprefix(_BOM)


def _decoded(number: int, raw: bytes) -> Line:
    content = raw.removesuffix(b"\n").removesuffix(b"\r")
    try:
        return Line(number, content.decode("utf-8"), is_ended=raw.endswith(b"\n"))
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


def whole_cells(line: Line) -> list[str]:
    """Return the fields of a line behind which a line end stands. Raises ValueError with a sentence."""
    if not line.is_ended:
        msg = "the file ends here without a line end, as one that was cut off does: a number may lack its last digits"
        raise ValueError(msg)
    return cells(line)


def unreadable(name: str, error: OSError) -> errors.FileUnreadable:
    """Return the refusal of a file that the operating system does not give."""
    return errors.FileUnreadable(f"{name} cannot be read: {(error.strerror or str(error)).lower()}")


@contextlib.contextmanager
def reading(
    path: str,
    silence_s: int,
    progress: Callable[[str, int], Callable[[int], None]] = silent,
    most_bytes: int | None = None,
    *,
    is_text: bool = True,
) -> Iterator[Reading]:
    """Open a file, a pipe, or standard input (`-`); a pipe may be silent for so long and no longer."""
    name = "standard input" if path == STDIN else path
    with contextlib.ExitStack() as stack:
        stream, size = _standard_input(name, silence_s) if path == STDIN else _opened(path, silence_s, stack)
        told = progress(f"reading {os.path.basename(name)}", size)  # noqa: PTH119 - may be `-`
        yield Reading(name, stream, told, most_bytes, is_text=is_text)


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
