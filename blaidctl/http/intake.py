"""What arrives: a path in one form, headers that stand once, a query and a body read strictly and within limits."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote, unquote_to_bytes

from pydantic import ValidationError

from blaidctl.core import errors
from blaidctl.core.context import trace_from
from blaidctl.core.execute import invalid_request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from blaidctl.core.contract import Request

BODY_BYTES_MAX = 64 * 1024
BODY_WITHIN_S = 10
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/=-]{1,512})", re.IGNORECASE)
_EXACT = 2**53  # beyond, a double no longer holds every integer
_PATH_BYTES = "-._~"  # with letters and digits: what needs no escape in any part of a path (RFC 3986, section 2.3)


class Headers:
    """The headers of one request; a header that blaidctl reads may stand once."""

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        """Take them as ASGI gives them: lower-case names, bytes."""
        self._raw = list(raw)

    def one(self, name: str) -> str | None:
        """Return the value, None when it is not there. Raises InvalidRequest when it stands twice."""
        values = [value.decode("latin-1") for key, value in self._raw if key == name.encode()]
        if len(values) > 1:
            raise errors.InvalidRequest(f"the header {name} stands {len(values)} times", missing=[f"{name}: one value"])
        return values[0] if values else None

    def trace(self) -> tuple[str, str | None]:
        """Return the trace id that the caller sent, or a new one and why."""
        try:
            return trace_from(self.one("traceparent"))
        except errors.InvalidRequest:
            return trace_from("twice")

    def announce_a_body(self) -> bool:
        """Say whether a body follows (RFC 9112, section 6.3)."""
        return self.one("content-length") not in {None, "0"} or self.one("transfer-encoding") is not None

    def token(self) -> str:
        """Return the bearer token. Raises Unauthenticated."""
        try:
            text = self.one("authorization")
        except errors.InvalidRequest:
            raise errors.Unauthenticated("the Authorization header stands more than once") from None
        if text is None:
            raise errors.Unauthenticated
        found = _BEARER.fullmatch(text.strip())
        if found is None:
            raise errors.Unauthenticated("the Authorization header is not `Bearer TOKEN`")
        return found[1]


def canonical_path(scope: Mapping[str, Any]) -> str:
    """Return the path with each part escaped in one way, so that an escaped `/` stays inside its part."""
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    return "/".join(quote(unquote_to_bytes(part), safe=_PATH_BYTES) for part in raw.split(b"/"))


def path_values(escaped: Mapping[str, str]) -> dict[str, str]:
    """Return the values in a path; bytes that are not UTF-8 stay recognisable, as in an argument of a command."""
    return {name: unquote(value, errors="surrogateescape") for name, value in escaped.items()}


def query_values(query: bytes, model: type[Request]) -> Request:
    """Read the query. Raises InvalidRequest for an unknown name, a name that stands twice or a value that is wrong."""
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="surrogateescape")
    values = dict(pairs)
    twice = sorted({name for name, _ in pairs if [key for key, _ in pairs].count(name) > 1})
    if twice:
        problems = [f"{name}: one value" for name in twice]
        raise errors.InvalidRequest(f"the query names {', '.join(map(repr, twice))} more than once", missing=problems)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise invalid_request(error) from None


async def read_body(
    headers: Headers,
    receive: Callable[[], Awaitable[Mapping[str, Any]]],
    may_be_empty: bool = False,  # noqa: FBT001, FBT002 - a property of the route
) -> bytes:
    """Read a JSON body that is announced as one, up to the limit and within its time. Raises MalformedBody."""
    if may_be_empty and not headers.announce_a_body():
        return b"{}"
    media_type = (headers.one("content-type") or "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise errors.MalformedBody("the body must be JSON, sent with Content-Type application/json")
    length = headers.one("content-length") or ""
    if length.isdigit() and int(length) > BODY_BYTES_MAX:
        raise _too_long()
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            return await _all_of(receive)
    except TimeoutError:
        raise errors.MalformedBody(f"the body did not arrive within {BODY_WITHIN_S} s") from None


async def _all_of(receive: Callable[[], Awaitable[Mapping[str, Any]]]) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise errors.MalformedBody("the caller hung up before the body was complete")
        body += message.get("body", b"")
        if len(body) > BODY_BYTES_MAX:
            raise _too_long()
        if not message.get("more_body", False):
            return bytes(body)


def body_values(body: bytes, model: type[Request]) -> Request:
    """Read one JSON object into the model: JSON's own types, no name twice, no NaN; 5.0 is the integer 5.

    Raises MalformedBody when it is not JSON, InvalidRequest when it is not what the model asks for.
    """
    try:
        found = json.loads(body.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise errors.MalformedBody(f"the body is not JSON: {_why(error)}") from None
    if not isinstance(found, dict):
        raise errors.MalformedBody
    try:
        return model.model_validate_json(json.dumps(found), strict=True)
    except ValidationError as error:
        # What the first reading let pass and the second did not: half of a surrogate pair, say.
        broken = next((item["msg"] for item in error.errors() if item["type"] == "json_invalid"), None)
        if broken:
            raise errors.MalformedBody(f"the body is not JSON: {broken}") from None
        raise invalid_request(error) from None


def _too_long() -> errors.MalformedBody:
    return errors.MalformedBody(f"the body is longer than {BODY_BYTES_MAX} bytes")


def _why(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error).partition(": ")[0]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        msg = "a name stands twice in one object"
        raise ValueError(msg)
    return {name: _whole(value) for name, value in found.items()}


def _whole(value: Any) -> Any:
    """Return 5 for 5.0: to JSON they are one number."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT else value


def _no_constant(name: str) -> Any:
    msg = f"{name} is not a JSON value"
    raise ValueError(msg)
