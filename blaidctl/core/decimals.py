"""Exact decimals: money, prices and quantities, from the text of a file to the columns of both engines.

One canonical text each (`text_of`): SQLite stores it, JSON carries it, events are hashed over it. A float never becomes
a decimal here, and nothing is ever rounded: what cannot be stored exactly is refused.
"""

from __future__ import annotations

import decimal
import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field, PlainSerializer, PlainValidator

#: NUMERIC(38, 18): how many digits are stored, and how many of them after the point.
MAX_DIGITS = 38
MAX_PLACES = 18
#: Longer texts are no numbers that anybody wrote; an exponent of more than four digits is none either.
_LONGEST = 200
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_NOT_FINITE = re.compile(r"[+-]?(?:s?nan[0-9]*|inf(?:inity)?)", re.IGNORECASE)
#: What a JSON schema says of the texts that come in and of the canonical ones that go out.
_READ, _WRITTEN = r"[0-9]{1,20}(\.[0-9]{1,18})?$", r"(0|[1-9][0-9]{0,19})(\.[0-9]{0,17}[1-9])?$"
#: A JSON number beyond this may have passed through a double on its way.
_LARGEST_INTEGER = 2**53
#: Products and sums of stored values are exact, or fail loudly: the default context would round at 28 digits.
EXACT = decimal.Context(
    prec=4 * MAX_DIGITS,
    traps=[decimal.Inexact, decimal.Rounded, decimal.InvalidOperation, decimal.Overflow, decimal.DivisionByZero],
)


def read(text: str) -> Decimal:
    """Read a number as people and files write it, `5e-05` too. Raises ValueError with a sentence about it."""
    if _NOT_FINITE.fullmatch(text):
        msg = f"{text} is not a finite number"
        raise ValueError(msg)
    if len(text) > _LONGEST:
        msg = f"a number of {len(text)} characters is longer than any that is stored"
        raise ValueError(msg)
    if not _NUMBER.fullmatch(text):
        msg = f"{text!r} is not a decimal number"
        raise ValueError(msg)
    return storable(Decimal(text))


def storable(value: Decimal) -> Decimal:
    """Return the value in canonical form. Raises ValueError when it cannot be stored exactly."""
    if not value.is_finite():
        msg = f"{value} is not a finite number"
        raise ValueError(msg)
    if not value:
        return Decimal(0)
    if value.adjusted() >= MAX_DIGITS - MAX_PLACES:
        msg = f"{value} has more than {MAX_DIGITS - MAX_PLACES} digits before the point"
        raise ValueError(msg)
    if value.adjusted() < -MAX_PLACES:
        msg = f"{value} is smaller than the {MAX_PLACES} decimal places that are stored"
        raise ValueError(msg)
    canonical = Decimal(text_of(value))
    places = -canonical.as_tuple().exponent  # type: ignore[operator] # an int: the value is finite
    if places > MAX_PLACES:
        msg = f"{value} has {places} decimal places, at most {MAX_PLACES} are stored"
        raise ValueError(msg)
    return canonical


def text_of(value: Decimal) -> str:
    """Return the one canonical text of a finite decimal: plain, no exponent, no trailing zero, no `-0`."""
    if not value:
        return "0"
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def times(one: Decimal, other: Decimal) -> Decimal:
    """Return the exact product."""
    return EXACT.multiply(one, other)


def exact(value: Any) -> Decimal:
    """Return a decimal from text, an integer or a decimal. Raises ValueError for anything else, a float above all."""
    if isinstance(value, str):
        return read(value)
    if isinstance(value, Decimal):
        return storable(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST_INTEGER:
        return Decimal(value)
    msg = "is a decimal number written as a string: a JSON number with a fraction or of this size is not exact"
    raise ValueError(msg)


def positive(value: Any) -> Decimal:
    """Return a decimal above zero, as `exact` reads it."""
    found = exact(value)
    if found <= 0:
        msg = f"{text_of(found)} is not above zero"
        raise ValueError(msg)
    return found


def _text(pattern: str) -> Any:
    return Annotated[str, Field(pattern=pattern)]


#: Fields of requests and results: text, integers and decimals come in, canonical text goes out.
Exact = Annotated[
    Decimal,
    PlainValidator(
        exact,
        json_schema_input_type=_text(rf"^-?{_READ}") | Annotated[int, Field(gt=-_LARGEST_INTEGER, lt=_LARGEST_INTEGER)],
    ),
    PlainSerializer(text_of, return_type=_text(rf"^-?{_WRITTEN}"), when_used="json"),
]
PositiveExact = Annotated[
    Decimal,
    PlainValidator(
        positive,
        json_schema_input_type=_text(rf"^(?=.*[1-9]){_READ}") | Annotated[int, Field(gt=0, lt=_LARGEST_INTEGER)],
    ),
    PlainSerializer(text_of, return_type=_text(rf"^(?=.*[1-9]){_WRITTEN}"), when_used="json"),
]
