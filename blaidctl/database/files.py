"""A backup as files: written under another name, made durable, and only then given its own, never over another file.

`FILE` holds the copy, `FILE.manifest.json` what it must be. While it is made, `FILE.part` is locked: a second operator
is told to wait, and what a killed run left behind is taken over. Everything has mode 0600.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import stat
from typing import TYPE_CHECKING, Any

from blaidctl.core import errors
from blaidctl.core.text import json_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MANIFEST_SUFFIX = ".manifest.json"
PART_SUFFIX = ".part"
FORMAT = 1
_CHUNK = 1 << 20
_MOST_MANIFEST_BYTES = 1 << 20
_OWN = 0o600
#: Never wait in open() itself (a FIFO), never follow a link out of the folder.
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup must be: its bytes, and the database that was in it."""

    format: int
    engine: str
    engine_version: str
    tool_version: str
    made_at: str
    bytes: int
    sha256: str
    revision: str
    head_seq: int
    entry_hash: str
    #: Table → rows.
    rows: dict[str, int]
    #: OK, or BROKEN: a copy of a database whose audit chain did not verify is evidence, and is never restored.
    verified: str

    def text(self) -> str:
        """Return the file's content."""
        return json_text(dataclasses.asdict(self), indent=1) + "\n"


_TYPES: dict[str, type] = {
    "format": int, "engine": str, "engine_version": str, "tool_version": str, "made_at": str, "bytes": int,
    "sha256": str, "revision": str, "head_seq": int, "entry_hash": str, "rows": dict, "verified": str,
}  # fmt: skip


def manifest_path(backup: Path) -> Path:
    """Return where the manifest of a backup stands."""
    return backup.with_name(backup.name + MANIFEST_SUFFIX)


def read_manifest(backup: Path) -> Manifest:
    """Read the manifest of a backup; BackupInvalid when there is none or it is not one."""
    path = manifest_path(backup)
    with _reading(path) as file:
        text = file.read(_MOST_MANIFEST_BYTES)
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    wrong = [name for name, kind in _TYPES.items() if not isinstance(found, dict) or type(found.get(name)) is not kind]
    if wrong or set(found) != set(_TYPES) or found["format"] != FORMAT or not _counts(found["rows"]):
        raise errors.BackupInvalid(f"{path} is not a manifest of this version's backups", missing=wrong)
    return Manifest(**found)


def _counts(rows: dict[Any, Any]) -> bool:
    return all(type(count) is int and count >= 0 for count in rows.values())


def check_bytes(backup: Path, manifest: Manifest, progress: Callable[[int], None]) -> None:
    """Compare a backup's size and SHA-256 with its manifest."""
    size, sha256 = hashed(backup, progress)
    if (size, sha256) != (manifest.bytes, manifest.sha256):
        raise errors.BackupInvalid(
            f"{backup} is not the file that its manifest describes",
            missing=[f"bytes: {manifest.bytes}, found {size}", f"sha256: {manifest.sha256}, found {sha256}"],
        )


def hashed(path: Path, progress: Callable[[int], None] = lambda _done: None) -> tuple[int, str]:
    """Return the size and the SHA-256 of a file."""
    size, sha256 = 0, hashlib.sha256()
    with _reading(path) as file:
        while chunk := file.read(_CHUNK):
            sha256.update(chunk)
            size += len(chunk)
            progress(size)
    return size, sha256.hexdigest()


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[Any]:
    with contextlib.ExitStack() as stack:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise errors.BackupInvalid(f"{path} is not a file")
            yield stack.enter_context(os.fdopen(descriptor, "rb", closefd=False))
        except OSError as error:
            raise errors.BackupInvalid(f"{path} cannot be read ({error.strerror})") from error


class Part:
    """A file that is being made: nobody sees it under its own name before `publish`."""

    def __init__(self, target: Path) -> None:
        """Name it after what it will become."""
        self.target = target
        self.path = target.with_name(target.name + PART_SUFFIX)
        self.descriptor = -1

    def publish(self, manifest: Manifest | None = None) -> None:
        """Make it durable, then give it its name: with its manifest or not at all; BackupExists if it is taken."""
        with translated(self.target):
            os.fsync(self.descriptor)
            if manifest is not None:
                self._publish_manifest(manifest)
            try:
                os.link(self.path, self.target)
            except FileExistsError:
                raise _exists(self.target) from None
            _sync_folder(self.target.parent)

    def _publish_manifest(self, manifest: Manifest) -> None:
        path = manifest_path(self.target)
        if self.target.exists():
            raise _exists(self.target)
        part = path.with_name(path.name + PART_SUFFIX)
        for left in (part, path):  # of a run that was killed before the backup had its name
            left.unlink(missing_ok=True)
        descriptor = os.open(part, _FLAGS | os.O_EXCL, _OWN)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(manifest.text())
            file.flush()
            os.fsync(descriptor)
        part.rename(path)
        _sync_folder(path.parent)


@contextlib.contextmanager
def being_written(target: Path) -> Iterator[Part]:
    """Give the part of a file to write, locked; whatever happens, no part is left behind (but by SIGKILL)."""
    refuse_existing(target)
    part = Part(target)
    with translated(target):
        part.descriptor = _locked(part.path)
    try:
        refuse_existing(target)  # somebody else may have finished while we opened ours
        yield part
    finally:
        for suffix in ("", "-journal", "-wal", "-shm", "-queue"):
            part.path.with_name(part.path.name + suffix).unlink(missing_ok=True)
        os.close(part.descriptor)


def _locked(path: Path) -> int:
    while True:
        descriptor = os.open(path, _FLAGS, _OWN)
        try:
            found = _own_file(path, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise errors.Busy(f"somebody else is writing {path}; nothing was written") from None
            if _same_file(path, found):
                os.fchmod(descriptor, _OWN)
                os.ftruncate(descriptor, 0)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _own_file(path: Path, descriptor: int) -> os.stat_result:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        raise errors.FileUnwritable(f"{path} is in the way: it is not a left-over of your own backups")
    return found


def _same_file(path: Path, found: os.stat_result) -> bool:
    try:
        now = path.lstat()
    except FileNotFoundError:
        return False
    return (now.st_dev, now.st_ino) == (found.st_dev, found.st_ino)


def refuse_existing(target: Path) -> None:
    """Raise BackupExists when something has that name."""
    with translated(target):
        try:
            target.lstat()
        except FileNotFoundError:
            return
    raise _exists(target)


def _exists(target: Path) -> errors.BackupExists:
    return errors.BackupExists(f"{target} exists; a backup is never written over a file")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def own_folder(folder: Path) -> Path:
    """Make the folder for backups that nobody named, for its owner only."""
    with translated(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what the operating system says about a file into blaidctl's own errors."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise errors.DiskFull(f"the disk that holds {path.parent} is full; nothing was changed") from error
        raise errors.FileUnwritable(f"{path} cannot be written ({error.strerror})") from error
