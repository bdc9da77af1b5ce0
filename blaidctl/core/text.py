"""Text for terminals: nothing that comes from a database, a file or an argument may steer one."""

from __future__ import annotations

import json
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Unicode categories that a terminal acts on instead of showing: controls, formats (bidi), surrogates, separators.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def _visible(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) not in _UNSEEN:
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - the last 4-digit escape


def printable(text: str) -> str:
    """Return a text on one line with every control character spelled out as an escape."""
    return text if text.isprintable() else "".join(map(_visible, text))


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Return JSON that is safe on a terminal: what JSON itself leaves raw (DEL, C1, bidi) is escaped too."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    if text.isprintable():
        return text
    return "".join(
        character if character == "\n" or character.isprintable() else json.dumps(character)[1:-1] for character in text
    )


def error_lines(body: Mapping[str, Any], *, as_json: bool) -> Iterator[str]:
    """Yield the lines of an error: one JSON object, or sentences for a person."""
    if as_json:
        yield json_text(body)
        return
    yield f"error: {body['error_code']}: {body['message']}"
    for item in body["missing_requirements"]:
        yield f"  missing: {item}"
    for item in body["next_steps"]:
        yield f"  next: {item}"
    yield f"  trace: {body['trace_id']}"
