"""A provider to rehearse with: a real HTTP server on this host that fails on command, in each of six ways.

For `blaidctl verify`, drills and tests: what is shown with it is what the programs do over real sockets. It serves a
probe and fills in pages, in both shapes that `ledger pull` knows, and it listens on 127.0.0.1 only.

    with Rehearsal(fills) as provider:
        provider.url("/check"), provider.url("/fills"), provider.url("/activities")
        provider.fail(Mode.HANGS, page=2)      # the second page from now on; without a page: everything, the probe too
        provider.recover()

As a program: `python -m blaidctl.providers.rehearsal [FILLS.json]` prints its addresses as a line of JSON; then each
line on its standard input is a command, `fail MODE [PAGE]` or `recover`, answered by a line; it ends with its input.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import sys
import threading
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import format_datetime
from enum import StrEnum
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

from blaidctl.core import clock
from blaidctl.core.types import time_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

#: How long a hanging answer holds its line at the most, and how old a stale one is.
HANGS_S = 120
STALE = timedelta(hours=2)


class Mode(StrEnum):
    """How the provider fails."""

    REFUSED = "refused"
    HANGS = "hangs"
    ERROR_500 = "error_500"
    BAD_JSON = "bad_json"
    STALE = "stale"
    PARTIAL = "partial"


@dataclass(slots=True)
class _Script:
    """What fails now: how, and from which page on; no page: everything."""

    mode: Mode | None = None
    page: int | None = None

    def for_probe(self) -> Mode | None:
        """Return how the probe fails."""
        return self.mode if self.page is None else None

    def for_page(self, number: int) -> Mode | None:
        """Return how a page fails."""
        return self.mode if self.page is None or number >= self.page else None


@dataclass
class Rehearsal:
    """The server; a thread a connection, all gone when the block ends."""

    #: Fills in blaidctl's own names, for /fills; Alpaca's activities, for /activities.
    fills: Sequence[Mapping[str, Any]] = ()
    activities: Sequence[Mapping[str, Any]] = ()
    page_size: int = 2
    #: What a request must show, if anything: header → value.
    wanted: Mapping[str, str] = field(default_factory=dict)
    #: Every request so far: path with query.
    asked: list[str] = field(default_factory=list)
    _script: _Script = field(default_factory=_Script)
    _listener: socket.socket | None = None
    _port: int = 0
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        """Listen on a free port."""
        self._listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every line and wait for the threads."""
        self._over.set()
        self._shut()
        for thread in self._threads:
            thread.join(timeout=5)

    def url(self, path: str) -> str:
        """Return an address here."""
        return f"http://127.0.0.1:{self._port}{path}"

    def fail(self, mode: Mode | str, page: int | None = None) -> None:
        """Fail from now on: everything, or the pages from this one (counted from 1 in the whole list) on."""
        self._script = _Script(Mode(mode), page)
        if self._script.for_probe() is Mode.REFUSED:
            self._shut()

    def recover(self) -> None:
        """Answer as one should again."""
        self._script = _Script()
        self._listen()

    # --- the line -----------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        if self._listener is not None:
            return
        listener = socket.create_server(("127.0.0.1", self._port))
        self._port = listener.getsockname()[1]
        self._listener = listener
        self._start(self._accept, listener)

    def _shut(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes who waits for the next caller
            listener.close()

    def _start(self, target: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                line, address = listener.accept()
            except OSError:
                return
            self._start(self._serve, line, address)

    def _serve(self, line: socket.socket, address: Any) -> None:
        with line, contextlib.suppress(OSError):  # who calls may hang up at any time
            line.settimeout(HANGS_S)
            _Handler(line, address, self)  # type: ignore[arg-type]

    # --- answers ------------------------------------------------------------------------------------------------------

    def answer(self, target: str, shown: Mapping[str, str]) -> _Answer:
        """Return what a request gets."""
        self.asked.append(target)
        parts = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if any(shown.get(name) != value for name, value in self.wanted.items()):
            return _Answer({"message": "forbidden"}, status=HTTPStatus.FORBIDDEN)
        if parts.path == "/check":
            return self._as_scripted(
                _Answer({"status": "ok", "timestamp": time_text(clock.utc_now())}), self._script.for_probe()
            )
        if parts.path == "/fills":
            return self._fills(query)
        if parts.path == "/activities":
            return self._activities(query)
        return _Answer({"message": "not found"}, status=HTTPStatus.NOT_FOUND)

    def _fills(self, query: Mapping[str, str]) -> _Answer:
        first = int(query["cursor"].removeprefix("at-")) if re.fullmatch(r"at-\d{1,9}", query.get("cursor", "")) else 0
        page = list(self.fills[first : first + self.page_size])
        more = first + self.page_size < len(self.fills)
        body = {"fills": page, "count": len(page), "next": f"at-{first + self.page_size}" if more else None}
        return self._page(first, _Answer(body), dropped="fills")

    def _activities(self, query: Mapping[str, str]) -> _Answer:
        ids = [activity["id"] for activity in self.activities]
        token = query.get("page_token")
        first = ids.index(token) + 1 if token in ids else 0
        size = min(int(query.get("page_size", "100")), self.page_size)
        return self._page(first, _Answer(list(self.activities[first : first + size])), dropped="")

    def _page(self, first: int, answer: _Answer, dropped: str) -> _Answer:
        number = first // self.page_size + 1
        if self._script.for_page(number + 1) is Mode.REFUSED and self._script.for_page(number) is None:
            self._shut()  # the next call finds the door shut
        mode = self._script.for_page(number)
        if mode is Mode.PARTIAL and dropped:
            assert isinstance(answer.body, dict)  # noqa: S101 - of `_fills`
            return _Answer({**answer.body, dropped: answer.body[dropped][:-1]})
        return self._as_scripted(answer, mode)

    def _as_scripted(self, answer: _Answer, mode: Mode | None) -> _Answer:
        if mode is Mode.HANGS:
            self._over.wait(HANGS_S)
        if mode is Mode.ERROR_500:
            return _Answer({"message": "out of order"}, status=HTTPStatus.INTERNAL_SERVER_ERROR)
        answer.broken = mode is Mode.BAD_JSON
        answer.cut = mode in {Mode.PARTIAL, Mode.REFUSED}
        answer.old = mode is Mode.STALE
        if answer.old and isinstance(answer.body, dict) and "timestamp" in answer.body:
            answer.body["timestamp"] = time_text(clock.utc_now() - STALE)
        return answer


@dataclass(slots=True)
class _Answer:
    body: dict[str, Any] | list[Any]
    status: HTTPStatus = HTTPStatus.OK
    broken: bool = False
    cut: bool = False
    old: bool = False


class _Handler(BaseHTTPRequestHandler):
    """One connection, one answer."""

    server: Rehearsal  # type: ignore[assignment]

    def do_GET(self) -> None:
        answer = self.server.answer(self.path, dict(self.headers.items()))
        text = json.dumps(answer.body)
        body = (text[: len(text) // 2] if answer.broken else text).encode()
        self.send_response_only(answer.status)
        made_at = clock.utc_now() - (STALE if answer.old else timedelta())
        self.send_header("Date", format_datetime(made_at.replace(microsecond=0), usegmt=True))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if answer.cut else body)
        self.close_connection = True

    def log_message(self, *_arguments: Any) -> None:
        """Stay silent: standard error belongs to who started this."""


def main(arguments: Sequence[str]) -> int:
    """Serve, and take commands on standard input, until it ends."""
    given = json.loads(Path(arguments[0]).read_text(encoding="utf-8")) if arguments else {}
    with Rehearsal(given.get("fills", ()), given.get("activities", ()), given.get("page_size", 2)) as provider:
        _say({name: provider.url(f"/{name}") for name in ("check", "fills", "activities")})
        for line in sys.stdin:
            _say(_carried_out(provider, line.split()))
    return 0


def _carried_out(provider: Rehearsal, words: Sequence[str]) -> dict[str, Any]:
    try:
        match words:
            case ["fail", mode]:
                provider.fail(mode)
            case ["fail", mode, page]:
                provider.fail(mode, int(page))
            case ["recover"]:
                provider.recover()
            case _:
                return {"done": False, "commands": "fail MODE [PAGE], recover", "modes": list(Mode)}
    except ValueError:
        return {"done": False, "commands": "fail MODE [PAGE], recover", "modes": list(Mode)}
    return {"done": True, "asked": len(provider.asked)}


def _say(answer: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
