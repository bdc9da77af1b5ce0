"""What a provider wants to see of us: read from a file of its owner's alone, or from the system's keyring.

The value goes into the headers of a request and nowhere else: no error, log, event or audit entry holds a part of it.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from blaidctl.core import errors
from blaidctl.providers.vocabulary import ProviderKind

KEYRING = "keyring:"
_OTHERS = 0o077
_MOST_BYTES = 16 * 1024
_LONGEST = 4096
#: Kind → the names in the file.
NAMES = {
    ProviderKind.ALPACA: ("key_id", "secret_key"),
    ProviderKind.PAGED: ("token",),
    ProviderKind.HTTP: ("token",),
}


def headers(kind: ProviderKind, place: str | None) -> dict[str, str]:
    """Return the headers that show who we are; none when a provider asks for nothing. Raises CredentialsInvalid."""
    if place is None:
        return {}
    text = _of_keyring(place) if place.startswith(KEYRING) else _of_file(Path(place))
    values = _values(kind, place, text)
    if kind is ProviderKind.ALPACA:
        return {"APCA-API-KEY-ID": values["key_id"], "APCA-API-SECRET-KEY": values["secret_key"]}
    return {"Authorization": f"Bearer {values['token']}"}


def _values(kind: ProviderKind, place: str, text: str) -> dict[str, str]:
    wanted = NAMES[kind]
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or set(found) != set(wanted):
        raise _invalid(place, f"a JSON object with exactly {' and '.join(wanted)} is expected for kind {kind}")
    for name, value in found.items():
        if not isinstance(value, str) or not 1 <= len(value) <= _LONGEST or not _in_a_header(value):
            raise _invalid(place, f"{name} must be 1 to {_LONGEST} visible ASCII characters")
    return found


def _in_a_header(value: str) -> bool:
    return all("!" <= character <= "~" for character in value)


def _of_file(path: Path) -> str:
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _invalid(str(path), "it is no regular file")
            if stat.S_IMODE(status.st_mode) & _OTHERS:
                raise _invalid(
                    str(path),
                    f"others may read or write it (mode {stat.S_IMODE(status.st_mode):04o})",
                    f"If nobody did, run: chmod 600 {path}; else have the provider issue new ones.",
                )
            if status.st_uid not in {0, os.geteuid()}:
                raise _invalid(str(path), f"it belongs to another user (uid {status.st_uid})")
            data = file.read(_MOST_BYTES)
    except OSError as error:
        raise _invalid(str(path), f"it cannot be read ({error.strerror})") from None
    return data.decode("utf-8", errors="replace")


def _of_keyring(place: str) -> str:
    service, _, name = place.removeprefix(KEYRING).partition("/")
    try:
        import keyring
        import keyring.errors
    except ImportError:
        raise errors.ExtraMissing(
            f"{place} needs the extra `keyring`", next_steps=["Install it: pip install 'blaidctl[keyring]'."]
        ) from None
    try:
        found = keyring.get_password(service, name)
    except keyring.errors.KeyringError as error:
        raise _invalid(place, f"the keyring does not open ({type(error).__name__})") from None
    if found is None:
        raise _invalid(place, "the keyring has no such entry", f"Store it: keyring set {service} {name}")
    return found


def _invalid(place: str, why: str, step: str = "") -> errors.CredentialsInvalid:
    return errors.CredentialsInvalid(
        f"the credentials {place} are refused: {why}", missing=[f"{place}: {why}"], next_steps=[step] * bool(step)
    )
