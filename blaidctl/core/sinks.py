"""Sinks: folders outside the database, each with one file a checkpoint, that only ever grow.

A note is written beside its place, flushed to the disk, and then linked to its name, which fails when the name is
taken: no note is ever overwritten, and none stands there in part.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blaidctl.core.errors import CheckpointSinkFailed
from blaidctl.core.notes import MOST_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_FILE = re.compile(r"([0-9]{20})-[0-9a-f]{8}\.note")
_MODE = 0o444
_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def file_name(size: int, key_id: bytes) -> str:
    """Return what a note is called: names sort as sizes do, and each key has its own."""
    return f"{size:020d}-{key_id.hex()}.note"


def size_in(name: str) -> int:
    """Return the size that a file's name speaks of."""
    found = _FILE.fullmatch(name)
    return int(found[1]) if found else -1


@dataclass(frozen=True, slots=True)
class Sink:
    """One folder of notes. It is never made here: where a disk is not mounted, nothing may be written."""

    path: Path

    def names(self) -> list[str]:
        """Return the notes by size. Raises OSError when the folder cannot be read."""
        with os.scandir(self.path) as entries:
            return sorted(entry.name for entry in entries if _FILE.fullmatch(entry.name))

    def read(self, name: str) -> bytes:
        """Return a note. Raises OSError."""
        return read_file(self.path / name)

    def stage(self, data: bytes) -> Path:
        """Write a note to the disk under a name that nobody looks for. Raises OSError, leaving nothing."""
        staged = self.path / f".{secrets.token_hex(8)}.part"
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(file.fileno(), _MODE)
                os.fsync(file.fileno())
        except BaseException:
            discard(staged)
            raise
        return staged

    def settle(self, staged: Path, name: str, data: bytes) -> None:
        """Give what was staged its name. Raises OSError, also when another note has it."""
        try:
            os.link(staged, self.path / name, follow_symlinks=False)
        except FileExistsError:
            if self.read(name) != data:
                raise
        finally:
            discard(staged)
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def discard(staged: Path) -> None:
    """Remove what was staged; what cannot be removed is looked for by nobody."""
    with contextlib.suppress(OSError):
        staged.unlink()


def read_file(path: Path) -> bytes:
    """Return what a regular file of a note's size holds. Raises OSError."""
    descriptor = os.open(path, _LOOK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "is no regular file", str(path))
        return file.read(MOST_BYTES + 1)


def put(notes: Sequence[tuple[Sink, str, bytes]]) -> None:
    """Write notes: all to the disk first, then each to its name. Raises CheckpointSinkFailed saying which failed."""
    staged: list[tuple[Sink, str, bytes, Path]] = []
    failed: dict[Path, str] = {}
    for sink, name, data in notes:
        try:
            staged.append((sink, name, data, sink.stage(data)))
        except OSError as error:
            failed[sink.path] = said(error)
    if failed:
        for _, _, _, path in staged:
            discard(path)
        raise sink_failed(failed, "no note was written to any sink")
    held = set()
    for sink, name, data, path in staged:
        try:
            sink.settle(path, name, data)
            held.add(str(sink.path))
        except OSError as error:
            failed[sink.path] = said(error)
    if failed:
        whole = sorted(held - {str(path) for path in failed})
        raise sink_failed(failed, f"the note stands in {', '.join(whole) or 'none'}; no entry was written")


def sink_failed(failed: Mapping[Path, str], rest: str) -> CheckpointSinkFailed:
    """Return the error that names every sink that failed, and why."""
    named = [f"{path}: {why}" for path, why in failed.items()]
    return CheckpointSinkFailed(f"no checkpoint was made: {'; '.join(named)}; {rest}", missing=named)


def said(error: OSError) -> str:
    """Return what an error of the system says."""
    return str(error.strerror or error)
