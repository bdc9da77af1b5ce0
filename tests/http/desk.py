"""A served fleet with two owners, and ways to ask it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from typing import TYPE_CHECKING, Any
from unittest import mock

import httpx

from blaidctl.core import command
from blaidctl.http.app import create_app
from tests.kill.fleet import done, fleet

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from tests.support.commandline import CommandLine, ProcessCommandLine, Run

FIELDS = ["error_code", "message", "missing_requirements", "next_steps", "trace_id"]
KILL = {"reason_code": "DRILL", "reason": "a drill"}
RESURRECT = {"reason_code": "DRILL_DONE", "reason": "the drill is over"}
LISTENING = "listening on "


@dataclasses.dataclass
class Desk:
    """A running `blaidctl serve` over the fleet of tests/kill/fleet.py: alice has a1 a2 a3, bob has b1 b2."""

    server: subprocess.Popen[str]
    url: str
    alice: httpx.Client
    bob: httpx.Client
    nobody: httpx.Client
    token: str

    def stop(self) -> tuple[int, str]:
        """End the server in order; its exit code and what else it said."""
        self.server.terminate()
        _, said = self.server.communicate(timeout=30)
        return self.server.returncode, said


def serve(process: ProcessCommandLine, *options: str, **how: Any) -> tuple[subprocess.Popen[str], str]:
    """Start `blaidctl serve` on a free port; return it, listening, and its address."""
    server = process.spawn("serve", "--port", "0", *options, **how)
    assert server.stderr is not None
    for line in server.stderr:
        if line.startswith(LISTENING):
            return server, line.removeprefix(LISTENING).strip()
    message = f"the server ended with {server.wait()}"
    raise AssertionError(message)


@contextlib.contextmanager
def desk(cli: CommandLine, process: ProcessCommandLine, **how: Any) -> Iterator[Desk]:
    """Register the fleet, make a token for each owner, serve."""
    fleet(cli)
    tokens = {user: token(cli, user) for user in ("alice", "bob")}
    server, url = serve(process, **how)
    with client(url, tokens["alice"]) as alice, client(url, tokens["bob"]) as bob, client(url) as nobody:
        yield Desk(server, url, alice, bob, nobody, tokens["alice"])


@contextlib.contextmanager
def in_process(cli: CommandLine) -> Iterator[Callable[[str], httpx.AsyncClient]]:
    """Make the application in this process; yield what makes a client of it for a bearer token."""
    with mock.patch.dict(os.environ, cli.environment(), clear=True):
        ctx = command.make_context()
    app = create_app(ctx)

    def shim(bearer: str) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {bearer}"}
        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shim", headers=headers)

    yield shim
    ctx.database.close()


def token(cli: CommandLine, user: str) -> str:
    """Make a bearer token as an operator does."""
    made: str = done(cli("token", "add", "--user", user, "--label", "a test")).json["result"]["token"]
    return made


def client(url: str, bearer: str | None = None) -> httpx.Client:
    """Return a client of one caller, deaf to proxies of the machine."""
    headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
    return httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False)


def problem(response: httpx.Response, status: int, error_code: str) -> dict[str, Any]:
    """Insist on the status, the five fields in their order, and the trace id that every response carries."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/json"), response.text
    body: dict[str, Any] = json.loads(response.text)
    assert list(body) == FIELDS
    assert body["error_code"] == error_code, body
    assert "Traceback" not in response.text
    traced(response, body["trace_id"])
    return body


def answer(response: httpx.Response) -> dict[str, Any]:
    """Insist that an operation worked; return what it answered."""
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    traced(response, body["trace_id"])
    return body


def traced(response: httpx.Response, trace_id: str) -> None:
    """Insist that headers and body name one trace."""
    version, trace, parent, flags = response.headers["traceparent"].split("-")
    assert (version, flags, len(parent)) == ("00", "01", 16)
    assert response.headers["x-trace-id"] == trace == trace_id
    assert len(trace) == 32


def same_as_cli(response: httpx.Response, run: Run) -> None:
    """Insist that both entrances refuse with one body, but for the trace id."""
    assert run.code != 0, run.stdout
    assert response.json() | {"trace_id": ""} == run.error | {"trace_id": ""}
