"""A file that a command leaves for others: written as a whole or not at all, and over nothing but its own like.

Into a temporary file of the same folder, then renamed over the old one: a reader sees the old text or the new one.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from blaidctl.core.errors import InvalidRequest

_LOOKED_AT_BYTES = 4096
#: Readable by whoever collects it, who is another user.
_MODE = 0o644


def check(path: str, option: str) -> Path:
    """Return where a file goes. Raises InvalidRequest before anything is done, when it cannot go there.

    `option` is the one that names it, without its dashes.
    """
    try:
        target = Path(path).absolute()
        if not target.parent.is_dir():
            raise _invalid(option, f"there is no folder {target.parent}")
        if not os.access(target.parent, os.W_OK | os.X_OK):
            raise _invalid(option, f"the folder {target.parent} cannot be written to")
        if target.is_dir() or not target.name:
            raise _invalid(option, f"{target} is a folder")
        if os.path.lexists(target) and not _may_be_replaced(target):
            raise _invalid(option, f"{target} is a device, a link or a file that is no text; it would be lost")
    except OSError as error:  # a folder that is gone or closed, a name that is too long
        raise _invalid(option, f"{path}: {error.strerror}") from None
    return target


def _may_be_replaced(target: Path) -> bool:
    """Say whether a file of text stands there: the new one is renamed over it, be it /dev/null or a database."""
    if not stat.S_ISREG(target.lstat().st_mode):
        return False
    with target.open("rb") as file:
        return b"\0" not in file.read(_LOOKED_AT_BYTES)


def _invalid(option: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"--{option} is invalid: {why}", missing=[f"{option}: {why}"])


def replace(path: Path, text: bytes) -> None:
    """Write a file whole, or raise OSError and leave what was there."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fchmod(descriptor, _MODE)
            os.fsync(descriptor)
        os.replace(temporary, path)  # noqa: PTH105 - one atomic call of the system
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108 - as above
        raise
