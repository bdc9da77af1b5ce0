"""What is refused over HTTP: with the status of its category, and with the body that the command line prints."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING
from unittest import mock

import pytest

import blaidctl.kill.service
from blaidctl.core import errors
from tests.http.desk import KILL, RESURRECT, answer, client, desk, in_process, problem, same_as_cli, token
from tests.kill.fleet import WHY, done, dump, events, fleet, verified

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import httpx

    from tests.http.desk import Desk
    from tests.support.commandline import CommandLine, ProcessCommandLine, Run
    from tests.support.database import Database

WHY_BACK = ("--reason-code", "DRILL_DONE", "--reason", "the drill is over")
FAR = "zzzzzzzz"  # close to no bot: the command line would offer names that a token's owner must not see


# ---- who ----------------------------------------------------------------------------------------------------


def test_without_a_valid_token_nothing_is_read_or_written(served: Desk, cli: CommandLine, database: Database):
    before = dump(database)
    authorizations = {
        None: "A valid bearer token is required.",
        "": "is not `Bearer TOKEN`",
        "Bearer": "is not `Bearer TOKEN`",
        f"Basic {served.token}": "is not `Bearer TOKEN`",
        f"Token {served.token}": "is not `Bearer TOKEN`",
        served.token: "is not `Bearer TOKEN`",
        f"Bearer {served.token} x": "is not `Bearer TOKEN`",
        f"Bearer {served.token[:-1]}": "unknown or revoked",
        f"Bearer {served.token}x": "unknown or revoked",
        f"Bearer {served.token.upper()}": "unknown or revoked",
        "Bearer ' OR 1=1 --": "is not `Bearer TOKEN`",
        f"Bearer {'x' * 5000}": "is not `Bearer TOKEN`",
    }
    for authorization, sentence in authorizations.items():
        headers = {} if authorization is None else {"Authorization": authorization}
        # The token comes first: nobody is told that an id or a body is wrong before it is known who asks.
        for verb, path in (("POST", "/api/bots/a1/kill"), ("GET", f"/api/bots/{FAR}/kill-events")):
            response = served.nobody.request(verb, path, headers=headers, content=b"{")
            assert sentence in problem(response, 401, "UNAUTHENTICATED")["message"]
            assert response.headers["www-authenticate"] == "Bearer"
            assert served.token not in response.text
    twice = [("Authorization", f"Bearer {served.token}")] * 2
    problem(served.nobody.get("/api/kill-events", headers=twice), 401, "UNAUTHENTICATED")
    assert dump(database) == before
    answer(served.nobody.get("/api/kill-events", headers={"Authorization": f"bearer  {served.token}"}))
    verified(cli)


def test_a_revoked_token_is_worthless_at_once(served: Desk, cli: CommandLine, database: Database):
    answer(served.alice.get("/api/kill-events"))
    ((token_id,),) = database.sql("SELECT id FROM api_tokens WHERE user_id = 'alice'")
    done(cli("token", "revoke", token_id))
    problem(served.alice.get("/api/kill-events"), 401, "UNAUTHENTICATED")
    problem(served.alice.post("/api/bots/a1/kill", json=KILL), 401, "UNAUTHENTICATED")
    answer(served.bob.get("/api/kill-events"))
    with client(served.url, token(cli, "alice")) as alice:
        answer(alice.get("/api/kill-events"))


# ---- what ---------------------------------------------------------------------------------------------------


def test_the_same_mistake_gets_the_same_body_on_both_entrances(served: Desk, cli: CommandLine, database: Database):
    kill, back = "/api/bots/{}/kill", "/api/bots/{}/resurrect"
    long = "x" * 2001
    for response, run in (
        (served.alice.post(kill.format(FAR), json=KILL), cli("kill", FAR, *WHY)),
        (served.alice.post(back.format(FAR), json=RESURRECT), cli("resurrect", FAR, *WHY_BACK)),
        (served.alice.get(f"/api/bots/{FAR}/kill-events"), cli("kill-events", FAR)),
        (served.alice.get("/api/kill-events", params={"bot": FAR}), cli("kill-events", FAR)),
        (served.alice.post(kill.format("x" * 201), json=KILL), cli("kill", "x" * 201, *WHY)),
        (
            served.alice.post(kill.format("a1"), json=KILL | {"reason": " \n"}),
            cli("kill", "a1", "--reason-code", "DRILL", "--reason", " \n"),
        ),
        (
            served.alice.post(kill.format("a1"), json=KILL | {"reason": long}),
            cli("kill", "a1", "--reason-code", "DRILL", "--reason", long),
        ),
        (
            served.alice.post(back.format("a1"), json=RESURRECT | {"wait": -1}),
            cli("resurrect", "a1", *WHY_BACK, "--wait", "-1"),
        ),
        (served.alice.get("/api/kill-events?since=yesterday"), cli("kill-events", "--since", "yesterday")),
        (served.alice.get("/api/kill-events?limit=0"), cli("kill-events", "--limit", "0")),
        (served.alice.get("/api/bots/%ff/kill-events"), cli("kill-events", os.fsdecode(b"\xff"))),
    ):
        same_as_cli(response, run)
        problem(response, response.status_code, run.error["error_code"])
    assert events(database) == []


def test_a_wide_kill_is_not_on_http(served: Desk, database: Database):
    for field, value in {
        "all": True, "user": "alice", "account": "x", "tag": "fast", "exchange": "CME", "bots": ["a2"],
        "confirm_count": 1, "bot": "a2",
    }.items():  # fmt: skip
        body = problem(served.alice.post("/api/bots/a1/kill", json=KILL | {field: value}), 422, "INVALID_REQUEST")
        assert body["missing_requirements"] == [f"{field}: Extra inputs are not permitted"]
    assert events(database) == []


@pytest.mark.usefixtures("sqlite_database")
def test_a_body_that_is_no_json_object_is_400(served: Desk):
    good = json.dumps(KILL)
    bodies: dict[bytes, str] = {
        b"": "not JSON",
        b"{": "not JSON",
        b"nonsense": "not JSON",
        good[:-1].encode(): "not JSON",
        (good + "x").encode(): "not JSON",
        b"[]": "not a JSON object",
        b"null": "not a JSON object",
        b'"kill"': "not a JSON object",
        b"\xff\xfe{}": "not JSON",
        good.replace("drill", "\x01").encode(): "not JSON",
        b'{"reason": NaN}': "NaN is not a JSON value",
        b'{"wait": -Infinity}': "-Infinity is not a JSON value",
        b'{"reason": "a", "reason": "b"}': "twice",
        good.replace("a drill", "\\ud800").encode(): "not JSON",
        ("[" * 30_000).encode(): "too deeply",
        ('{"a":' * 10_000).encode(): "too deeply",
        (good[:-1] + ', "a": ' + "[" * 500 + "]" * 500 + "}").encode(): "not JSON",
        (good[:-1] + ', "wait": ' + "9" * 5_000 + "}").encode(): "not JSON",
        b" " * (64 * 1024 + 1): "longer than 65536 bytes",
        good.encode() + b" " * (64 * 1024): "longer than 65536 bytes",
    }
    for content, sentence in bodies.items():
        response = served.alice.post("/api/bots/a1/kill", content=content, headers={"Content-Type": "application/json"})
        assert sentence in problem(response, 400, "MALFORMED_BODY")["message"], content[:50]
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "application/json-patch+json", "", "json"):
        response = served.alice.post("/api/bots/a1/kill", content=good, headers={"Content-Type": media_type})
        assert "application/json" in problem(response, 400, "MALFORMED_BODY")["message"]
    padded = good + " " * (64 * 1024 - len(good))
    accepted = "Application/JSON; charset=utf-8"
    answer(served.alice.post("/api/bots/a1/kill", content=padded, headers={"Content-Type": accepted}))


@pytest.mark.usefixtures("sqlite_database")
def test_a_body_in_pieces_counts_as_one_and_an_endless_one_is_cut(served: Desk):
    def pieces(size: int, count: int):
        yield from (b" " * size for _ in range(count))
        yield json.dumps(KILL).encode()

    headers = {"Content-Type": "application/json"}
    answer(served.alice.post("/api/bots/a1/kill", content=pieces(1000, 60), headers=headers))
    response = served.alice.post("/api/bots/a1/kill", content=pieces(1000, 70), headers=headers)
    assert "longer" in problem(response, 400, "MALFORMED_BODY")["message"]


def test_json_types_are_taken_as_they_are(served: Desk, database: Database):
    for field, value in (
        ("wait", "1"), ("wait", True), ("wait", 1.5), ("wait", -1), ("wait", 31), ("wait", 10**30), ("wait", [1]),
        ("reason", 1), ("reason", None), ("reason", ["x"]), ("reason", {"a": 1}), ("reason", "x\x00y"),
        ("reason_code", "drill"), ("reason_code", 1), ("reason_code", None), ("unknown", None),
    ):  # fmt: skip
        response = served.alice.post("/api/bots/a1/kill", json=KILL | {field: value})
        body = problem(response, 422, "INVALID_REQUEST")
        assert body["missing_requirements"][0].startswith(f"{field}: "), body
    both = problem(served.alice.post("/api/bots/a1/kill", json={}), 422, "INVALID_REQUEST")
    assert both["missing_requirements"] == ["reason: Field required", "reason_code: Field required"]
    assert events(database) == []
    answer(served.alice.post("/api/bots/a1/kill", json=KILL | {"wait": 0.0}))


def test_ids_and_queries_that_no_database_can_hold_are_422(served: Desk, database: Database):
    for path in ("/api/bots/%00/kill-events", "/api/bots/a%00b/kill-events", "/api/bots/%ed%a0%80/kill-events"):
        problem(served.alice.get(path), 422, "INVALID_REQUEST")
    problem(served.alice.post("/api/bots/%00/kill", json=KILL), 422, "INVALID_REQUEST")
    for query in (
        "bot=%00", "bot=%ff", "bot=", "since=%00", "since=", "since=99999999999999d",
        "since=0001-01-01T00:00:00%2B23:59", "limit=x", "limit=", "limit=-1", "limit=100001", "limit=1e3",
        "limit=99999999999999999999", "limit=1&limit=2", "user=bob", "all=true", "%00=1", "dry_run=true",
        "bot=a1&bot=a1",
    ):  # fmt: skip
        problem(served.alice.get(f"/api/kill-events?{query}"), 422, "INVALID_REQUEST")
    answer(served.alice.get("/api/kill-events?since=0999-01-01T00:00:00Z&limit=100000"))
    answer(served.alice.get("/api/kill-events?"))
    assert events(database) == []


# ---- the database -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("revision", "error_code"), [("0001", "SCHEMA_BEHIND"), ("9999", "SCHEMA_AHEAD")])
def test_a_schema_that_changed_under_the_server_is_503(
    served: Desk, cli: CommandLine, database: Database, revision: str, error_code: str
):
    ((current,),) = database.sql("SELECT version_num FROM alembic_version")
    database.sql("UPDATE alembic_version SET version_num = ?", (revision,))
    response = served.alice.post("/api/bots/a1/kill", json=KILL)
    problem(response, 503, error_code)
    same_as_cli(response, cli("kill", "a1", *WHY))
    # Whether a token is known cannot be told from a schema that is not ours: not 401 but 503.
    problem(served.nobody.get("/api/kill-events", headers={"Authorization": "Bearer x"}), 503, error_code)
    database.sql("UPDATE alembic_version SET version_num = ?", (current,))
    answer(served.alice.post("/api/bots/a1/kill", json=KILL))


def test_a_busy_database_is_503_within_the_limit(cli: CommandLine, process: ProcessCommandLine, database: Database):
    limits = {"BLAIDCTL_LOCK_TIMEOUT_S": "1", "BLAIDCTL_KILL_LOCK_TIMEOUT_S": "1"}
    with desk(cli, process, env=limits) as served:
        blocker = database.raw()
        blocker.execute("BEGIN IMMEDIATE" if database.kind == "sqlite" else "BEGIN")
        blocker.execute("UPDATE bots SET name = 'held' WHERE id = 'a1'")
        response = served.alice.post("/api/bots/a1/kill", json=KILL, timeout=5)
        problem(response, 503, "BUSY")
        assert response.headers["retry-after"] == "1"
        same_as_cli(response, cli("kill", "a1", *WHY, env=limits))
        answer(served.alice.get("/api/kill-events"))
        blocker.execute("ROLLBACK")
        answer(served.alice.post("/api/bots/a1/kill", json=KILL))


def test_a_database_file_that_is_gone_is_503_until_it_is_back(
    served: Desk, cli: CommandLine, sqlite_database: Database
):
    path: Path = sqlite_database.path  # type: ignore[assignment]
    away = path.rename(path.with_suffix(".away"))
    response = served.alice.get("/api/kill-events")
    problem(response, 503, "DATABASE_MISSING")
    same_as_cli(response, cli("kill-events"))
    assert not path.exists(), "a server never makes a database"
    away.rename(path)
    answer(served.alice.get("/api/kill-events"))


# ---- the whole tree -----------------------------------------------------------------------------------------


class BothEntrances:
    """A kill whose handler fails, asked for in this process over both entrances."""

    def __init__(self, cli: CommandLine, shim: Callable[[str], httpx.AsyncClient]) -> None:
        fleet(cli)
        self._cli, self._shim, self._token = cli, shim, token(cli, "alice")

    def fail(self, error: BaseException) -> tuple[httpx.Response, Run]:
        with mock.patch.object(blaidctl.kill.service, "kill", side_effect=error):
            # An unknown outcome names its request id, so both ask under the same.
            return self.ask(), self._cli("kill", "a1", *WHY, "--request-id", "the-same")

    def ask(self, request_id: str = "the-same") -> httpx.Response:
        return asyncio.run(self._call(request_id))

    async def _call(self, request_id: str) -> httpx.Response:
        async with self._shim(self._token) as alice:
            return await alice.post("/api/bots/a1/kill", json=KILL, headers={"Idempotency-Key": request_id})


@pytest.fixture
def both(sqlite_database: Database, cli: CommandLine) -> Iterator[BothEntrances]:
    del sqlite_database  # the engine makes no difference here
    with in_process(cli) as shim:
        yield BothEntrances(cli, shim)


def test_every_error_of_the_tree_has_one_body_and_its_category_s_status(both: BothEntrances):
    for kind in errors.leaves():
        response, run = both.fail(kind("it went wrong", missing=["a thing"]))
        problem(response, kind.http_status, kind.error_code)
        same_as_cli(response, run)
        assert run.code == kind.exit_code


def test_a_bug_is_500_without_a_traceback(both: BothEntrances, capfd: pytest.CaptureFixture[str]):
    response, run = both.fail(ZeroDivisionError("secret detail"))
    body = problem(response, 500, "INTERNAL")
    assert "ZeroDivisionError" in body["message"]
    assert "secret detail" not in response.text
    assert run.code == 70
    same_as_cli(response, run)
    said = capfd.readouterr().err
    assert body["trace_id"] in said
    assert "Traceback" not in said


def test_a_bug_after_the_commit_does_not_deny_it(both: BothEntrances, sqlite_database: Database):
    with mock.patch.object(blaidctl.kill.service, "confirm_stops", side_effect=ZeroDivisionError):
        late = problem(both.ask(), 500, "INTERNAL")
    assert "the change IS written" in late["message"]
    assert len(events(sqlite_database)) == 1
    with mock.patch.object(blaidctl.kill.service, "kill", side_effect=ZeroDivisionError):
        early = problem(both.ask("another"), 500, "INTERNAL")
    assert "IS written" not in early["message"], "what another request wrote is not this one's"
