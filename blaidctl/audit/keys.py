"""Key files: one private key each, outside the database, for the eyes of its owner only."""

from __future__ import annotations

import os
import socket
import stat
from typing import TYPE_CHECKING

from blaidctl.core import notes
from blaidctl.core.errors import AlreadyExists, FileUnreadable, InvalidRequest, KeyFileInvalid, SettingsInvalid

if TYPE_CHECKING:
    from pathlib import Path

    from blaidctl.core.notes import Signer, Verifier
    from blaidctl.core.settings import Settings

_MODE, _PUBLIC_MODE = 0o600, 0o644
_OTHERS = 0o077
_MOST_BYTES = 4096
_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def default_name() -> str:
    """Return the name of a key when none is given: it is the origin in every note that the key signs."""
    return f"{socket.gethostname()}/blaidctl"


def create(path: Path, name: str | None) -> Verifier:
    """Make a key file that nobody else can read, and FILE.pub beside it; never over another file."""
    public = path.with_name(f"{path.name}.pub")
    for there in (path, public):
        if os.path.lexists(there):
            raise AlreadyExists(f"{there} exists; a key is never overwritten", next_steps=["Choose another file name."])
    try:
        signer = notes.new_signer(name or default_name())
    except notes.NoteError as error:
        raise InvalidRequest(f"the name of the key is invalid: {error}", missing=[f"name: {error}"]) from None
    try:
        _write(path, signer.text(), _MODE)
        _write(public, signer.verifier.text(), _PUBLIC_MODE)
    except OSError as error:
        raise FileUnreadable(f"the key cannot be written to {path} ({error.strerror})") from None
    return signer.verifier


def _write(path: Path, text: str, mode: int) -> None:
    with os.fdopen(os.open(path, _MAKE, mode), "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())


def load(path: Path) -> Signer:
    """Read a key file. Raises KeyFileInvalid unless it is its owner's alone; no error holds a part of the key."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _invalid(path, "it is no regular file")
            if stat.S_IMODE(status.st_mode) & _OTHERS:
                raise _invalid(
                    path,
                    f"others may read or write it (mode {stat.S_IMODE(status.st_mode):04o})",
                    f"If nobody did, run: chmod 600 {path}; else make a new key (runbooks/key-rotation.md).",
                )
            if status.st_uid not in {0, os.geteuid()}:
                raise _invalid(path, f"it belongs to another user (uid {status.st_uid})")
            data = file.read(_MOST_BYTES)
    except OSError as error:
        raise FileUnreadable(
            f"the key file {path} cannot be read ({error.strerror})",
            next_steps=["Name a key file that this user can read; make one with `blaidctl audit key new FILE`."],
        ) from None
    try:
        return notes.read_signer(data.decode())
    except UnicodeDecodeError:
        raise _invalid(path, "it does not hold a private key of a signed note") from None
    except notes.NoteError as error:
        raise _invalid(path, str(error)) from None


def _invalid(path: Path, why: str, step: str = "") -> KeyFileInvalid:
    return KeyFileInvalid(
        f"the key file {path} is refused: {why}", missing=[f"{path}: {why}"], next_steps=[step] * bool(step)
    )


def known(settings: Settings) -> list[Verifier]:
    """Return the verifier keys of the settings. Raises SettingsInvalid naming the one that is none."""
    try:
        return [notes.read_verifier(text) for text in settings.checkpoint_verifiers]
    except notes.NoteError as error:
        raise SettingsInvalid(
            f"BLAIDCTL_CHECKPOINT_VERIFIERS holds what is no verifier key: {error}",
            missing=[f"checkpoint_verifiers: {error}"],
        ) from None
