"""A wire between blaidctl and PostgreSQL that breaks at a chosen moment: a TCP proxy on loopback."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Literal, Self

if TYPE_CHECKING:
    from types import TracebackType

#: What happens to the wire when the client sends the words that are waited for:
#: before   both ends are closed, the server never sees them
#: after    the server sees and answers them, the client gets a closed connection instead of the answer
#: hold     the client's end is closed; the server's stays open, and gets the words on `release()`
#: freeze   nothing passes any more, and nothing is closed
Cut = Literal["before", "after", "hold", "freeze"]
COMMIT = b"COMMIT\x00"


class Proxy:
    """Passes everything on, until `cut` words pass; then cuts, `times` times; then refuses if `then_refuse`."""

    def __init__(
        self, port: int, cut: Cut, *, words: bytes = COMMIT, times: int = 1, then_refuse: bool = False
    ) -> None:
        self._upstream = port
        self._cut: Cut = cut
        self._words = words
        self._left = times
        self._then_refuse = then_refuse
        self._held: list[tuple[socket.socket, bytes]] = []
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        for wire in self._open:
            _close(wire)

    def release(self) -> None:
        """Give the server what was held back."""
        for wire, data in self._held:
            wire.sendall(data)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._upstream))
            self._open += [client, server]
            swallow = threading.Event()
            for pump in (self._forth, self._back):
                threading.Thread(target=pump, args=(client, server, swallow), daemon=True).start()

    def _forth(self, client: socket.socket, server: socket.socket, swallow: threading.Event) -> None:
        while data := _received(client):
            if self._words in data and self._take():
                if self._then_refuse:
                    # shutdown() first: close() alone does not wake a thread that waits in accept().
                    with contextlib.suppress(OSError):
                        self._listener.shutdown(socket.SHUT_RDWR)
                    self._listener.close()
                if self._cut == "freeze":
                    swallow.set()
                    return
                if self._cut == "hold":
                    self._held.append((server, data))
                    _close(client)
                    return
                if self._cut == "after":
                    swallow.set()
                    server.sendall(data)
                    return
                break
            with contextlib.suppress(OSError):
                server.sendall(data)
        if self._cut != "hold" or not self._held:
            _close(server)
        _close(client)

    def _back(self, client: socket.socket, server: socket.socket, swallow: threading.Event) -> None:
        while data := _received(server):
            if swallow.is_set():
                if self._cut == "freeze":
                    continue
                break
            with contextlib.suppress(OSError):
                client.sendall(data)
        if not (swallow.is_set() and self._cut == "freeze"):
            _close(client)
            if not self._held:
                _close(server)

    def _take(self) -> bool:
        with self._lock:
            if self._left == 0:
                return False
            self._left -= 1
            self.cuts += 1
            return True


def _received(wire: socket.socket) -> bytes:
    try:
        return wire.recv(65536)
    except OSError:
        return b""


def _close(wire: socket.socket) -> None:
    with contextlib.suppress(OSError):
        wire.shutdown(socket.SHUT_RDWR)
    wire.close()
