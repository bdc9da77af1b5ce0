"""Canonical JSON (RFC 8785) and the hashes over it.

The values of blaidctl are strings, integers, booleans, null, lists and objects: money is a string, floats are
refused. For those, `json` with sorted ASCII keys gives exactly the bytes of RFC 8785; a property test compares it
with an independent implementation. Integers beyond 2**53 are refused because RFC 8785 numbers are doubles.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

GENESIS = bytes(32)
_LARGEST_EXACT_INTEGER = 2**53

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")).encode
#: One JSON string literal, as it stands in canonical text.
quote = json.encoder.encode_basestring


def canonical(value: Any) -> str:
    """Return the RFC 8785 text of a value made of str, int, bool, None, list and dict with ASCII keys.

    Raises TypeError for a float or any other type, ValueError for an integer that a double cannot hold.
    """
    _refuse_inexact(value)
    return _encode(value)


def _refuse_inexact(value: Any) -> None:
    if value is None or isinstance(value, str | bool):
        return
    if isinstance(value, int):
        if abs(value) > _LARGEST_EXACT_INTEGER:
            msg = f"integer {value} does not fit canonical JSON; write it as a string"
            raise ValueError(msg)
    elif isinstance(value, dict | list | tuple):
        for item in _items(value):
            # Most are one of these, and a call each is most of the work.
            if type(item) is str or (type(item) is int and abs(item) <= _LARGEST_EXACT_INTEGER):
                continue
            _refuse_inexact(item)
    else:
        msg = f"{type(value).__name__} has no canonical form here; write money and times as strings"
        raise TypeError(msg)


def _items(value: dict[Any, Any] | list[Any] | tuple[Any, ...]) -> Iterable[Any]:
    if not isinstance(value, dict):
        return value
    for key in value:
        if not (isinstance(key, str) and key.isascii()):
            msg = f"key {key!r} is not ASCII text"
            raise TypeError(msg)
    return value.values()


def sha256_text(text: str) -> bytes:
    """Return SHA-256 of the UTF-8 bytes of a text: 32 bytes."""
    return hashlib.sha256(text.encode()).digest()


def fingerprint(value: Any) -> str:
    """Return the SHA-256 of a value's canonical text: 64 lowercase hex digits."""
    return sha256_text(canonical(value)).hex()
