"""Kill, resurrect and the events over HTTP: as whom, in whose fleet, how often, under which trace."""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING

import pytest

from tests.http.desk import KILL, RESURRECT, answer, problem, same_as_cli
from tests.kill.fleet import BACK, WHY, done, entries, events, instance, verified

if TYPE_CHECKING:
    from tests.http.desk import Desk
    from tests.support.commandline import CommandLine
    from tests.support.database import Database

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def test_a_kill_and_its_end_are_rows_of_the_token_s_owner(served: Desk, cli: CommandLine, database: Database):
    instance(cli, "a1")
    killed = answer(served.alice.post("/api/bots/a1/kill", json=KILL))
    ((bot,),) = (killed["result"]["bots"],)
    assert (bot["bot_id"], bot["effect"], bot["instances_stopped"]) == ("a1", "APPLIED", 1)
    assert "finding" not in killed
    resurrected = answer(served.alice.post("/api/bots/a1/resurrect", json=RESURRECT))
    assert resurrected["result"]["ends_kill_event_id"] == bot["kill_event_id"]
    assert [row[:3] for row in events(database)] == [("a1", "KILL", "APPLIED"), ("a1", "RESURRECT", "APPLIED")]
    assert database.sql("SELECT DISTINCT actor FROM kill_events") == [("alice",)]
    for act, entry in zip((killed, resurrected), entries(database)[-2:], strict=True):
        assert (entry["actor"], entry["action"]) == ("alice", act["operation"])
        assert (entry["what"]["channel"], entry["trace_id"]) == ("http", act["trace_id"])
        assert (entry["seq"], entry["request_id"]) == (act["audit"]["seq"], act["request_id"])
    shown = answer(served.alice.get("/api/bots/a1/kill-events", params={"limit": 1, "since": "1h"}))["result"]["events"]
    assert [(event["action"], event["actor"], event["metadata"]["channel"]) for event in shown] == [
        ("RESURRECT", "alice", "http")
    ]
    verified(cli)


@pytest.mark.usefixtures("sqlite_database")
def test_a_wait_that_runs_out_is_done_and_says_that_it_is_not_proven(served: Desk, cli: CommandLine):
    instance(cli, "a1")
    body = answer(served.alice.post("/api/bots/a1/kill", json=KILL | {"wait": 0}))
    assert body["audit"] is not None
    assert [stop["bot_id"] for stop in body["result"]["stops_unconfirmed"]] == ["a1"]
    command_line = cli("kill", "a1", *WHY, "--wait", "0")
    assert command_line.code == 1
    assert body["finding"] | {"trace_id": ""} == command_line.error | {"trace_id": ""}


@pytest.mark.usefixtures("sqlite_database")
def test_a_restart_that_nobody_makes_is_done_and_says_that_nothing_was_started(served: Desk, cli: CommandLine):
    answer(served.alice.post("/api/bots/a1/kill", json=KILL))
    body = answer(served.alice.post("/api/bots/a1/resurrect", json=RESURRECT | {"restart": True, "wait": 0}))
    assert (body["result"]["effect"], body["result"]["restarted"]) == ("APPLIED", [])
    command_line = cli("resurrect", "a1", *BACK, "--restart", "--wait", "0")
    assert command_line.code == 1
    assert body["finding"] | {"trace_id": ""} == command_line.error | {"trace_id": ""}
    for wait in (-1, 31):
        over = served.alice.post("/api/bots/a1/resurrect", json=RESURRECT | {"restart": True, "wait": wait})
        problem(over, 422, "INVALID_REQUEST")


def test_a_user_s_fleet_ends_where_another_s_begins(served: Desk, cli: CommandLine, database: Database):
    before = len(events(database))
    for verb, path, body in (
        ("POST", "/api/bots/b1/kill", KILL),
        ("POST", "/api/bots/b1/resurrect", RESURRECT),
        ("GET", "/api/bots/b1/kill-events", None),
        ("GET", "/api/kill-events?bot=b1", None),
    ):
        of_another = problem(served.alice.request(verb, path, json=body), 404, "BOT_NOT_FOUND")
        unknown = problem(served.alice.request(verb, path.replace("b1", "c1"), json=body), 404, "BOT_NOT_FOUND")
        assert of_another["message"].replace("b1", "c1") == unknown["message"]
        assert "b2" not in of_another["message"]
        assert "a1" in of_another["message"], "the owner's own bots are offered"
    assert len(events(database)) == before
    done(cli("kill", "--all", "--confirm-count", "5", *WHY))
    for owner, theirs in ((served.alice, {"a1", "a2", "a3"}), (served.bob, {"b1", "b2"})):
        seen = answer(owner.get("/api/kill-events"))["result"]["events"]
        assert {event["bot_id"] for event in seen} == theirs
    refusals = [e for e in entries(database) if e["outcome"] == "REFUSED"]
    assert {(e["actor"], e["action"], e["what"]["error_code"]) for e in refusals} == {
        ("alice", "kill", "BOT_NOT_FOUND"),
        ("alice", "resurrect", "BOT_NOT_FOUND"),
    }
    verified(cli)


def test_a_request_id_is_done_once_per_owner(served: Desk, cli: CommandLine, database: Database):
    key = {"Idempotency-Key": "incident-42/kill"}
    first = answer(served.alice.post("/api/bots/a1/kill", json=KILL, headers=key))
    again = answer(served.alice.post("/api/bots/a1/kill", json=KILL | {"wait": 0}, headers=key))
    assert (first["request_id"], first["replayed"], again["replayed"]) == ("incident-42/kill", False, True)
    assert (again["audit"], again["result"]["bots"]) == (first["audit"], first["result"]["bots"])
    assert len(events(database)) == 1
    other = served.alice.post("/api/bots/a2/kill", json=KILL, headers=key)
    problem(other, 409, "REQUEST_ID_REUSED")
    answer(served.bob.post("/api/bots/b1/kill", json=KILL, headers=key))
    done(cli("kill", "a1", *WHY, "--request-id", "incident-42/kill"))
    same_as_cli(other, cli("kill", "a2", *WHY, "--request-id", "incident-42/kill"))
    body = problem(
        served.alice.post("/api/bots/a1/kill", json=KILL, headers={"Idempotency-Key": '"x y"'}), 422, "INVALID_REQUEST"
    )
    assert "request_id" in body["missing_requirements"][0]
    twice = [*served.alice.headers.items(), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    problem(served.nobody.post("/api/bots/a1/kill", json=KILL, headers=twice), 422, "INVALID_REQUEST")


def test_the_same_request_at_once_is_done_once(served: Desk, cli: CommandLine, database: Database):
    def kill(_: int) -> dict:
        return answer(served.alice.post("/api/bots/a1/kill", json=KILL, headers={"Idempotency-Key": "once"}))

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(kill, range(16)))
    assert sorted(a["replayed"] for a in answers) == [False] + [True] * 15
    assert len({a["audit"]["seq"] for a in answers}) == 1
    assert len(events(database)) == 1
    verified(cli)


def test_a_dry_run_writes_nothing_and_says_so(served: Desk, database: Database):
    before = len(entries(database))
    body = answer(served.alice.post("/api/bots/a1/kill?dry_run=true", json=KILL))
    assert (body["dry_run"], body["audit"], body["result"]["count"]) == (True, None, 1)
    assert (events(database), len(entries(database))) == ([], before)
    assert answer(served.alice.post("/api/bots/a1/kill?dry_run=false", json=KILL))["dry_run"] is False
    for query in ("dry_run=yes", "dry_run=1", "dry_run=", "dry_run", "dry_run=true&dry_run=true", "dryrun=true"):
        problem(served.alice.post(f"/api/bots/a2/kill?{query}", json=KILL), 422, "INVALID_REQUEST")
    assert len(events(database)) == 1


def test_the_caller_s_trace_goes_into_the_rows(served: Desk, sqlite_database: Database):
    response = served.alice.post("/api/bots/a1/kill", json=KILL, headers={"traceparent": PARENT})
    assert answer(response)["trace_id"] == TRACE
    assert "x-trace-warning" not in response.headers
    assert sqlite_database.sql("SELECT trace_id FROM kill_events") == [(TRACE,)]
    assert entries(sqlite_database)[-1]["trace_id"] == TRACE
    assert response.headers["traceparent"].split("-")[2] != PARENT.split("-")[2]
    for broken in ("", "x", PARENT.upper(), PARENT.replace(TRACE, "0" * 32), f"{PARENT}-more", PARENT[3:]):
        response = served.nobody.get("/api/kill-events", headers={"traceparent": broken})
        assert problem(response, 401, "UNAUTHENTICATED")["trace_id"] != TRACE
        assert ("malformed" in response.headers.get("x-trace-warning", "")) == bool(broken)
    twice = served.nobody.get("/nowhere", headers=[("traceparent", PARENT), ("traceparent", PARENT)])
    assert problem(twice, 404, "ROUTE_NOT_FOUND")["trace_id"] != TRACE
    assert "malformed" in twice.headers["x-trace-warning"]


@pytest.mark.usefixtures("sqlite_database")
def test_an_answer_is_kept_by_no_cache_and_steers_no_terminal(served: Desk):
    nasty = "[/] \x1b[31m \x07 \u202e \u2028 \x85 日本"
    answer(served.alice.post("/api/bots/a1/kill", json=KILL | {"reason": nasty}))
    response = served.alice.get("/api/kill-events")
    assert response.json()["result"]["events"][0]["reason"] == nasty
    assert response.text.isprintable()
    for each in (response, served.nobody.get("/api/kill-events"), served.nobody.get("/nowhere")):
        assert each.headers["cache-control"] == "no-store"
        assert each.headers["x-content-type-options"] == "nosniff"
