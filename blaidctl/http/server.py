"""The socket, uvicorn, and its limits: who may connect, how long anything may take, and how it stops.

What uvicorn leaves open is closed here: a connection that never sends a request, a refusal of its own in a shape of its
own, and a process that dies of the signal that told it to stop.
"""

from __future__ import annotations

import ipaddress
import signal
import socket
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from blaidctl.core import errors
from blaidctl.core.command import talk
from blaidctl.core.context import new_trace_id
from blaidctl.core.execute import check_schema
from blaidctl.core.text import json_text
from blaidctl.http.app import create_app, problem

if TYPE_CHECKING:
    import asyncio
    from types import FrameType

    from uvicorn.protocols.http.h11_impl import RequestResponseCycle

    from blaidctl.core.context import Context
    from blaidctl.http.app import Receive, Scope, Send

CONNECTIONS_MAX = 200
HEADER_BYTES_MAX = 16 * 1024
KEEP_ALIVE_S = 5
#: A connection without a complete request head for this long is closed.
REQUEST_WITHIN_S = 10
#: Longer than a request takes by default: the wait for a lock, a statement, and the longest `wait` of a kill.
STOP_WITHIN_S = 75
BACKLOG = 128
PORT_MAX = 65535


def serve(ctx: Context, host: str, port: int) -> int:
    """Serve until SIGTERM or SIGINT; return 0. Raises DatabaseDown, SchemaBehind …, AddressInUse before it listens."""
    if not 0 <= port <= PORT_MAX:
        raise errors.InvalidRequest(f"{port} is not a port", missing=[f"port: 0 to {PORT_MAX}"])
    with ctx.database.reading() as connection:
        check_schema(connection)
    listener = _listener(host, port)
    if not ipaddress.ip_address(listener.getsockname()[0]).is_loopback:
        talk("warning: beyond loopback bearer tokens travel in clear text; put TLS in front of this address")
    config = uvicorn.Config(
        create_app(ctx),
        http=_Wire,
        ws="none",
        loop="asyncio",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_WITHIN_S,
        h11_max_incomplete_event_size=HEADER_BYTES_MAX,
    )
    _Server(config).run([listener])
    return 0


def _listener(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "not a host name"
        raise errors.AddressInUse(f"{host} port {port} cannot be listened on ({why})") from error
    # Inherited by every connection: without it the body of an answer waits 40 ms for the caller's acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class _Server(uvicorn.Server):
    """uvicorn's server that says when it listens, and for which a signal is an ordinary end."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say where: a port of 0 is known only now."""
        await super().startup(sockets)
        for listener in sockets or []:
            host, port = listener.getsockname()[:2]
            talk(f"listening on http://{f'[{host}]' if ':' in host else host}:{port}")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        """Stop in order; a second Ctrl-C does not wait for what is in work. Nothing is raised again afterwards."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


class _Wire(H11Protocol):
    """uvicorn's HTTP/1.1 with a limit on connections and on waiting, and with the product's own errors."""

    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection; one too many is answered, and only with BUSY."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS_MAX:
            self.app = _overfull
        self._expect_request()

    def on_response_complete(self) -> None:
        """Give the next request its time, too."""
        super().on_response_complete()
        self._expect_request()

    def _expect_request(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
        self._patience = self.loop.call_later(REQUEST_WITHIN_S, self._close_when_idle)

    def _close_when_idle(self) -> None:
        cycle: RequestResponseCycle | None = self.cycle
        if (cycle is None or cycle.response_complete) and not self.transport.is_closing():
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP in the product's own shape."""
        trace_id = new_trace_id()
        error = errors.MalformedBody(
            f"the request is not HTTP/1.1: {msg}", next_steps=["Send an HTTP/1.1 request with headers under 16 KiB."]
        )
        body = json_text(error.body(trace_id)).encode()
        head = (
            f"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            f"X-Trace-Id: {trace_id}\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


async def _overfull(scope: Scope, receive: Receive, send: Send) -> None:
    trace_id = new_trace_id()
    response = problem(errors.Busy(f"{CONNECTIONS_MAX} connections are open already; nothing was written"), trace_id)
    response.headers["Connection"] = "close"
    response.headers["X-Trace-Id"] = trace_id
    await response(scope, receive, send)
