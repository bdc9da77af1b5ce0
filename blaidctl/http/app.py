"""One request: trace → path → gate → token → input → `execute` → one JSON object.

The token is checked before a byte of the body is read; everything after it is the road of the command line. FastAPI
routes; what it would answer of its own (404, 405, 422) never leaves: any verb and path under /api/ without a handler
is 501.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response

from blaidctl.access.service import owner_of
from blaidctl.core import errors
from blaidctl.core.command import a_bug, talk
from blaidctl.core.execute import check_schema, execute, not_built
from blaidctl.core.text import json_text
from blaidctl.http import document, intake
from blaidctl.http.routes import ROUTES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping

    from blaidctl.core.context import Context
    from blaidctl.core.contract import Request as Input
    from blaidctl.http.routes import Route

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Requests in work at once, a thread each.
IN_WORK_MAX = 100
#: The last of them are kept for urgent operations: a flood of reads cannot keep a kill out.
KEPT_FOR_URGENT = 40
DOCUMENT_PATH = "/openapi.json"
_SHOWN_PATH_MAX = 200
_NO_ROUTE, _OTHER_VERB = 404, 405


def create_app(ctx: Context) -> FastAPI:
    """Make the application from the map. `ctx` is the server's own; each request gets one of its caller's."""
    app = FastAPI(
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={_NO_ROUTE: _no_route, _OTHER_VERB: _no_route},
    )
    floor = _Floor(ctx)
    for route in ROUTES:
        endpoint = floor.endpoint(route) if route.is_built else _unbuilt(route)
        app.add_api_route(route.operation.path, endpoint, methods=[route.operation.verb], include_in_schema=False)
    app.add_api_route(DOCUMENT_PATH, _describe(), include_in_schema=False)
    app.add_middleware(_Edge)
    return app


class _Floor:
    """Where requests are worked on: a limited number at once, the rest hear BUSY. Entered from the event loop only."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._threads = ThreadPoolExecutor(IN_WORK_MAX, thread_name_prefix="request")
        self._in_work = 0

    def endpoint(self, route: Route) -> Callable[[Request], Awaitable[Response]]:
        """Return what answers a route: the token, then the input, then the operation."""

        async def answer(request: Request) -> Response:
            headers = intake.Headers(request.scope["headers"])
            with self._admitted(urgent=route.operation.urgent):
                caller = await self._in_thread(_authenticated, self._ctx, headers.token(), request.state.trace_id)
                request.state.caller = caller
                query = intake.query_values(request.scope["query_string"], route.query)
                body = await intake.read_body(headers, request.receive, route.may_be_empty) if route.body else b""
                parameters = _parameters(route, request.path_params, query, body)
                once = _once(route, query, headers)
                done = await self._in_thread(_carry_out, caller, route, parameters, once)
            return _reply(200, done)

        return answer

    @contextlib.contextmanager
    def _admitted(self, *, urgent: bool) -> Iterator[None]:
        if self._in_work >= (IN_WORK_MAX if urgent else IN_WORK_MAX - KEPT_FOR_URGENT):
            raise errors.Busy(f"{self._in_work} requests are in work already; nothing was written")
        self._in_work += 1
        try:
            yield
        finally:
            self._in_work -= 1

    async def _in_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)


def _authenticated(ctx: Context, token: str, trace_id: str) -> Context:
    """Return the context of a token's owner, who acts and whose bots alone it sees. Raises Unauthenticated."""
    with ctx.database.reading() as connection:
        check_schema(connection)
        owner = owner_of(connection, token)
    if owner is None:
        raise errors.Unauthenticated("the token is unknown or revoked")
    return dataclasses.replace(
        ctx, actor=owner, user_scope=owner, trace_id=trace_id, channel="http", on_behalf_of=None, receipts=[]
    )


def _parameters(route: Route, path: Mapping[str, str], query: Input, body: bytes) -> dict[str, Any]:
    """Return the operation's parameters: the body of an act or the query of a reading, and what the path names."""
    given = intake.body_values(body, route.body) if route.body else query
    return given.model_dump(exclude_unset=True) | route.from_path(intake.path_values(path))


def _once(route: Route, query: Input, headers: intake.Headers) -> dict[str, Any]:
    """Return how an act is done: under which request id, and whether for good."""
    if not route.operation.writes:
        return {}
    return {"dry_run": getattr(query, "dry_run", False), "request_id": headers.one("idempotency-key")}


def _carry_out(ctx: Context, route: Route, parameters: Mapping[str, Any], once: Mapping[str, Any]) -> dict[str, Any]:
    answer = execute(ctx, route.operation, parameters, **once)
    refusal = answer.refusal()
    return answer.body() if refusal is None else answer.body() | {"finding": refusal.body(ctx.trace_id)}


def _unbuilt(route: Route) -> Callable[[Request], Awaitable[Response]]:
    async def refuse(_request: Request) -> Response:
        raise not_built(route.operation)

    return refuse


async def _no_route(request: Request, _error: Exception) -> Response:
    """Answer for every verb and path that is not in the map."""
    path = request.scope["path"]
    shown = path if len(path) <= _SHOWN_PATH_MAX else f"{path[:_SHOWN_PATH_MAX]}…"
    if not path.startswith("/api/"):
        raise errors.RouteNotFound(f"there is nothing at {shown}; the routes are under /api/")
    asked = f"{request.method} {shown}"
    raise errors.NotBuilt(f"{asked} is not implemented", missing=[f"an operation for {asked}"])


def _describe() -> Callable[[], Awaitable[Response]]:
    text = json_text(document.document(ROUTES))

    async def describe() -> Response:
        return Response(text, media_type="application/json")

    return describe


class _Edge:
    """Around everything: one trace, one form of the path, one shape of errors, the same headers on every response."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        trace_id, warning = intake.Headers(scope["headers"]).trace()
        scope["path"] = intake.canonical_path(scope)
        state = scope.setdefault("state", {})
        state["trace_id"] = trace_id

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *_headers(trace_id, warning)]}
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        except errors.BlaidError as error:
            await problem(error, trace_id)(scope, receive, send_on)
        except Exception as error:  # noqa: BLE001 - the last wall: a bug becomes an error object, never a traceback
            bug = a_bug(error, state.get("caller"))
            talk(f"{bug.error_code} {trace_id} {bug.message}")
            await problem(bug, trace_id)(scope, receive, send_on)


def problem(error: errors.BlaidError, trace_id: str) -> Response:
    """Return an error as its category's status and the five fields."""
    response = _reply(error.http_status, error.body(trace_id))
    if isinstance(error, errors.Unauthenticated):
        response.headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, errors.Busy):
        response.headers["Retry-After"] = "1"
    return response


def _reply(status: int, body: Mapping[str, Any]) -> Response:
    return Response(json_text(body), status, media_type="application/json")


def _headers(trace_id: str, warning: str | None) -> Iterator[tuple[bytes, bytes]]:
    yield b"x-trace-id", trace_id.encode()
    yield b"traceparent", f"00-{trace_id}-{secrets.token_hex(8)}-01".encode()
    if warning:
        yield b"x-trace-warning", warning.encode()
    # An answer is one caller's, at one moment.
    yield b"cache-control", b"no-store"
    yield b"x-content-type-options", b"nosniff"
