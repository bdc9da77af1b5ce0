"""JSON as it is written: numbers stay texts, a name that stands twice is noticed, one record at a time in memory."""

from __future__ import annotations

import codecs
import json
from typing import TYPE_CHECKING, Any

from blaidctl.core import errors
from blaidctl.instruments.rows import shown
from blaidctl.ledger.formats.fields import Number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from blaidctl.core.files import Reading

#: Characters of a record; the longest real ones have a few thousand.
LONGEST_RECORD = 1024 * 1024
CHUNK = 64 * 1024
_BLANK = " \t\r\n"


class Parser:
    """Reads values; remembers the names that stood twice in one object of the last one."""

    def __init__(self) -> None:
        """Prepare a decoder that makes no number of its own."""
        self.twice: list[str] = []
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._object, parse_float=Number, parse_int=Number, parse_constant=Number
        )

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [name for name, _ in pairs]
            self.twice += [name for name in found if names.count(name) > 1]
        return found

    def value(self, text: str, start: int = 0) -> tuple[Any, int]:
        """Return the value that begins there, and where it ends. Raises ValueError with what is wrong."""
        self.twice.clear()
        try:
            return self._decoder.raw_decode(text, start)
        except json.JSONDecodeError as error:
            msg = f"{error.msg.lower()} (character {error.pos - start + 1})"
            raise ValueError(msg) from None
        except RecursionError:
            msg = "objects stand in objects too deep"
            raise ValueError(msg) from None

    def problem(self) -> str:
        """Say which names stood twice, or nothing."""
        return "stands twice: " + ", ".join(map(shown, dict.fromkeys(self.twice[:20]))) if self.twice else ""


class _Text:
    """The text of a file, as much of it as is needed at once."""

    def __init__(self, source: Reading) -> None:
        self._source = source
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.text = ""
        self.at = 0
        self.ended = False

    def more(self) -> None:
        """Add the next piece to what is not used yet."""
        raw = self._source.read(CHUNK)
        self.ended = not raw
        try:
            piece = self._decoder.decode(raw, final=self.ended)
        except UnicodeDecodeError as error:
            raise invalid(self._source.name, f"is not UTF-8: byte 0x{error.object[error.start]:02x}") from None
        self.text = self.text[self.at :] + piece
        self.at = 0

    def next(self) -> str:
        """Return the next character that is no blank, without using it; empty at the end."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in _BLANK:
                self.at += 1
            if self.at < len(self.text):
                return self.text[self.at]
            if self.ended:
                return ""
            self.more()


def invalid(name: str, what: str) -> errors.FileInvalid:
    """Return the refusal of a file that cannot be read to its end."""
    return errors.FileInvalid(
        f"{name} {what}",
        next_steps=["Export the file again, whole and in the format that --format names; nothing was imported."],
    )


def objects(source: Reading) -> Iterator[tuple[int, dict[str, Any] | None, str]]:
    """Yield the objects of one JSON array: ordinal, object or None, what is wrong. Raises FileInvalid."""
    text, parser = _Text(source), Parser()
    if (first := text.next()) != "[":
        raise invalid(source.name, "is no JSON array" if first else "is empty: a JSON array is expected")
    text.at += 1
    ordinal = 0
    if text.next() == "]":
        text.at += 1
    else:
        while True:
            ordinal += 1
            found = _value(text, parser, source, ordinal)
            if isinstance(found, dict):
                yield ordinal, (None if parser.twice else found), parser.problem()
            else:
                yield ordinal, None, "is no JSON object"
            follows = text.next()
            text.at += 1
            if follows == "]":
                break
            if follows != ",":
                raise invalid(
                    source.name, f"is not whole: after record {ordinal} a comma or the end of the array is expected"
                )
    if text.next():
        raise invalid(source.name, f"does not end with its array: something follows record {ordinal}")


def _value(text: _Text, parser: Parser, source: Reading, ordinal: int) -> Any:
    text.next()
    while True:
        try:
            found, end = parser.value(text.text, text.at)
        except ValueError as error:
            if text.ended or len(text.text) - text.at > LONGEST_RECORD:
                raise invalid(source.name, f"cannot be read on from record {ordinal}: {error}") from None
        else:
            # A number that stands at the end of what was read may go on after it.
            if end < len(text.text) or text.ended:
                text.at = end
                return found
        text.more()
