"""The process: how it starts, what it survives, how it stops, and what no caller can make it wait for."""

from __future__ import annotations

import asyncio
import concurrent.futures
import http.client
import json
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import httpx
import pytest

import blaidctl.kill.service
from blaidctl.http.app import IN_WORK_MAX, KEPT_FOR_URGENT
from blaidctl.http.server import _listener
from tests.http.desk import FIELDS, KILL, answer, client, desk, in_process, problem, same_as_cli, serve, token
from tests.kill.fleet import WHY, events, fleet, refused, verified
from tests.support.database import Database

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.http.desk import Desk
    from tests.support.commandline import CommandLine, ProcessCommandLine
    from tests.support.postgres import PostgresServer


# ---- start --------------------------------------------------------------------------------------------------


def test_it_does_not_start_without_its_database(
    cli: CommandLine, process: ProcessCommandLine, blank_database: Database
):
    run = process("serve", "--port", "0")
    refused(run, 8, "DATABASE_MISSING" if blank_database.kind == "sqlite" else "SCHEMA_BEHIND")
    assert run.error | {"trace_id": ""} == cli("kill-events").error | {"trace_id": ""}
    assert "listening" not in run.stderr


@pytest.mark.parametrize(("revision", "error_code"), [("0001", "SCHEMA_BEHIND"), ("9999", "SCHEMA_AHEAD")])
def test_it_does_not_start_on_a_schema_of_another_version(
    process: ProcessCommandLine, database: Database, revision: str, error_code: str
):
    database.sql("UPDATE alembic_version SET version_num = ?", (revision,))
    refused(process("serve", "--port", "0"), 8, error_code)


@pytest.mark.usefixtures("sqlite_database")
def test_it_says_why_an_address_cannot_be_listened_on(process: ProcessCommandLine):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        error = refused(process("serve", "--port", port), 8, "ADDRESS_UNAVAILABLE")
        assert port in error["message"]
    refused(process("serve", "--port", "0", "--host", "no..host"), 8, "ADDRESS_UNAVAILABLE")
    refused(process("serve", "--port", "0", "--host", "192.0.2.1"), 8, "ADDRESS_UNAVAILABLE")
    refused(process("serve", "--port", "70000"), 2, "INVALID_REQUEST")
    refused(process("serve", "--port", "-1"), 2, "INVALID_REQUEST")


@pytest.mark.usefixtures("sqlite_database")
def test_without_the_extra_it_says_what_to_install(cli: CommandLine, monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in sys.modules if name.startswith("blaidctl.http.")]:
        monkeypatch.delitem(sys.modules, name)
    for missing in ("uvicorn", "fastapi"):
        with monkeypatch.context() as without:
            without.setitem(sys.modules, missing, None)
            error = refused(cli("serve", "--port", "0"), 8, "EXTRA_MISSING")
            assert missing in error["message"]
            assert "blaidctl[http]" in error["next_steps"][0]


@pytest.mark.usefixtures("sqlite_database")
def test_loopback_by_default_and_a_warning_beyond(process: ProcessCommandLine):
    server, url = serve(process)
    assert url.startswith("http://127.0.0.1:")
    beyond = process.spawn("serve", "--port", "0", "--host", "0.0.0.0")  # noqa: S104 - that this warns is the test
    assert beyond.stderr is not None
    assert "clear text" in beyond.stderr.readline()
    assert beyond.stderr.readline().startswith("listening on http://0.0.0.0:")
    assert server.poll() is None


# ---- stop ---------------------------------------------------------------------------------------------------


@pytest.mark.operation("serve")
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.usefixtures("sqlite_database")
def test_a_signal_is_an_orderly_end(process: ProcessCommandLine, stop: signal.Signals):
    server, url = serve(process)
    with client(url) as nobody:  # an idle connection does not hold the end up
        problem(nobody.get("/api/kill-events"), 401, "UNAUTHENTICATED")
        began = time.monotonic()
        server.send_signal(stop)
        stdout, stderr = server.communicate(timeout=20)
    assert (server.returncode, stdout, stderr) == (0, "", "")
    assert time.monotonic() - began < 10
    with pytest.raises(httpx.ConnectError), client(url) as nobody:
        nobody.get("/")


def test_what_is_in_work_is_finished_before_the_end(served: Desk, database: Database):
    blocker = database.raw()
    blocker.execute("BEGIN IMMEDIATE" if database.kind == "sqlite" else "BEGIN")
    blocker.execute("UPDATE bots SET name = 'held' WHERE id = 'a1'")
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        pending = thread.submit(served.alice.post, "/api/bots/a1/kill", json=KILL)
        time.sleep(1)
        served.server.terminate()
        time.sleep(0.5)
        blocker.execute("ROLLBACK")
        answer(pending.result(timeout=20))
    assert served.server.wait(20) == 0
    assert len(events(database)) == 1


def test_a_server_killed_in_the_middle_loses_nothing(
    served: Desk, cli: CommandLine, process: ProcessCommandLine, database: Database
):
    answered: dict[str, int] = {}
    asked: list[str] = []

    def kill_again_and_again(worker: int) -> None:
        with client(served.url, served.token) as alice:
            for turn in range(1000):
                asked.append(key := f"crash-{worker}-{turn}")
                try:
                    response = alice.post("/api/bots/a1/kill", json=KILL, headers={"Idempotency-Key": key})
                except httpx.TransportError:
                    return
                answered[key] = answer(response)["audit"]["seq"]

    workers = [threading.Thread(target=kill_again_and_again, args=(n,)) for n in range(4)]
    for worker in workers:
        worker.start()
    while len(answered) < 20:
        time.sleep(0.01)
    served.server.kill()
    for worker in workers:
        worker.join()
    verified(cli)
    _, url = serve(process)
    with client(url, served.token) as alice:
        for key in asked:
            again = answer(alice.post("/api/bots/a1/kill", json=KILL, headers={"Idempotency-Key": key}))
            if key in answered:
                assert (again["replayed"], again["audit"]["seq"]) == (True, answered[key])
    assert len(events(database)) == len(asked), "each request is done once, whether or not its answer arrived"
    verified(cli)


# ---- the database comes and goes ----------------------------------------------------------------------------


def test_a_database_that_comes_back_needs_no_restart(
    private_postgres: PostgresServer,
    upgrade: Callable[[str], None],
    postgres_database: Database,
    cli: CommandLine,
    process: ProcessCommandLine,
):
    del postgres_database  # names the engine; the test has a server of its own
    cli.database = process.database = Database("postgresql", private_postgres.url("postgres"))
    upgrade(cli.database.url)
    with desk(cli, process) as served:
        answer(served.alice.post("/api/bots/a1/kill", json=KILL))
        private_postgres.stop("immediate")
        for _ in range(3):
            response = served.alice.post("/api/bots/a2/kill", json=KILL)
            problem(response, 503, "DATABASE_DOWN")
        same_as_cli(response, cli("kill", "a2", *WHY))
        problem(served.nobody.get("/nowhere"), 404, "ROUTE_NOT_FOUND")
        problem(served.nobody.get("/api/nothing/1"), 501, "NOT_IMPLEMENTED")
        private_postgres.restart("kill")
        answer(served.alice.post("/api/bots/a2/kill", json=KILL))
        assert served.server.poll() is None
        verified(cli)


def test_more_requests_than_connections_are_busy_within_the_limit(
    postgres_database: Database, cli: CommandLine, process: ProcessCommandLine
):
    limits = {"BLAIDCTL_CONNECT_TIMEOUT_S": "1", "BLAIDCTL_KILL_LOCK_TIMEOUT_S": "8"}
    with desk(cli, process, env=limits) as served, concurrent.futures.ThreadPoolExecutor(30) as threads:
        blocker = postgres_database.raw()
        blocker.execute("BEGIN")
        blocker.execute("SELECT 1 FROM bots WHERE id = 'a1' FOR UPDATE")

        def kill(_: int) -> httpx.Response:
            with client(served.url, served.token) as alice:
                return alice.post("/api/bots/a1/kill", json=KILL)

        pending = [threads.submit(kill, n) for n in range(30)]
        time.sleep(3)
        began = time.monotonic()
        problem(served.alice.get("/api/kill-events"), 503, "BUSY")
        assert time.monotonic() - began < 5
        problem(served.nobody.get("/nowhere"), 404, "ROUTE_NOT_FOUND")  # the loop itself is free
        blocker.execute("ROLLBACK")
        statuses = [future.result(timeout=30).status_code for future in pending]
        assert set(statuses) == {200, 503}
        assert len(events(postgres_database)) == statuses.count(200)
        answer(served.alice.get("/api/kill-events"))
        verified(cli)


# ---- callers that wait, or make wait ------------------------------------------------------------------------


@pytest.mark.usefixtures("sqlite_database")
def test_a_flood_of_reads_is_told_to_come_back_and_keeps_no_kill_out(cli: CommandLine):
    fleet(cli)
    bearer, slow, reads = token(cli, "alice"), threading.Event(), IN_WORK_MAX - KEPT_FOR_URGENT
    list_kill_events = blaidctl.kill.service.list_kill_events

    def slowly(*arguments: Any) -> Any:
        assert slow.wait(60)
        return list_kill_events(*arguments)

    async def flood() -> None:
        async with shim(bearer) as alice:
            pending = [asyncio.create_task(alice.get("/api/kill-events")) for _ in range(reads)]
            await asyncio.sleep(0.5)
            problem(await alice.get("/api/kill-events"), 503, "BUSY")
            answer(await alice.post("/api/bots/a1/kill", json=KILL))
            slow.set()
            assert {(await read).status_code for read in pending} == {200}
            answer(await alice.get("/api/kill-events"))

    with in_process(cli) as shim, mock.patch.object(blaidctl.kill.service, "list_kill_events", slowly):
        asyncio.run(flood())


@pytest.mark.usefixtures("sqlite_database")
def test_what_is_not_http_is_refused_in_the_same_shape(served: Desk):
    endless = b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 20_000
    for sent in (b"GARBAGE\r\n\r\n", endless, b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"):
        with _connection(served) as raw:
            raw.sendall(sent)
            status, body = _answered(raw)
        assert (status, body["error_code"], list(body)) == (400, "MALFORMED_BODY", FIELDS)


@pytest.mark.usefixtures("sqlite_database")
def test_connections_that_say_nothing_are_closed_and_too_many_are_told(served: Desk):
    began = time.monotonic()
    silent = [_connection(served) for _ in range(199)]
    slow = _connection(served)
    slow.sendall(b"GET /api/kill-events HTTP/1.1\r\nHost:")
    try:
        with client(served.url, served.token) as one_more:
            response = one_more.get("/api/kill-events")
            assert "connections" in response.json()["message"]
            assert (response.status_code, response.json()["error_code"]) == (503, "BUSY")
        assert {_all_of(each) for each in (silent[0], silent[-1], slow)} == {b""}
        assert 8 < time.monotonic() - began < 30
    finally:
        for each in (*silent, slow):
            each.close()
    answer(served.alice.get("/api/kill-events"))


@pytest.mark.usefixtures("sqlite_database")
def test_a_body_that_never_comes_is_refused_in_time(served: Desk):
    head = (
        f"POST /api/bots/a1/kill HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {served.token}\r\n"
        "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    )
    with _connection(served) as raw:
        raw.sendall(head.encode())
        status, body = _answered(raw)
    assert (status, body["message"]) == (400, "the body did not arrive within 10 s")


@pytest.mark.usefixtures("sqlite_database")
def test_the_token_is_in_no_word_of_the_server_and_no_process_list(served: Desk):
    answer(served.alice.get("/api/kill-events"))
    problem(served.alice.post("/api/bots/a1/kill", content=b"{"), 400, "MALFORMED_BODY")
    assert served.token.encode() not in Path(f"/proc/{served.server.pid}/cmdline").read_bytes()
    assert served.stop() == (0, "")


def _connection(served: Desk) -> socket.socket:
    host, port = served.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def _answered(raw: socket.socket) -> tuple[int, dict[str, Any]]:
    response = http.client.HTTPResponse(raw)
    response.begin()
    return response.status, json.loads(response.read())


def _all_of(raw: socket.socket) -> bytes:
    return b"".join(iter(lambda: raw.recv(65536), b""))


def test_no_answer_waits_for_the_caller_s_acknowledgement():
    listener = _listener("127.0.0.1", 0)
    with listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
