"""Which verb and path is answered by what: the map, and 501 for everything else under /api/."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import jsonschema_rs
import pytest

from blaidctl.core import errors
from blaidctl.core.operation import the_map
from blaidctl.http.document import document
from blaidctl.http.routes import ROUTES
from tests.http.desk import KILL, RESURRECT, answer, problem
from tests.support.accounts import LIMITS

if TYPE_CHECKING:
    from tests.http.desk import Desk
    from tests.support.commandline import CommandLine

#: Every route, what it takes beside the path, and what answers. A change here is a change of the product's contract.
LITERAL = {
    "POST /api/bots/{id}/kill": ("kill", {"reason", "reason_code", "wait"}, {"dry_run"}),
    "POST /api/bots/{id}/resurrect": ("resurrect", {"reason", "reason_code", "restart", "wait"}, {"dry_run"}),
    "GET /api/kill-events": ("kill-events", set(), {"bot", "since", "limit"}),
    "GET /api/bots/{id}/kill-events": ("bot kill-events", set(), {"since", "limit"}),
    "GET /api/instruments": (
        "instrument list",
        set(),
        {"asset_class", "exchange", "inactive", "limit", "symbol"},
    ),
    "GET /api/instruments/{exchange}/{symbol}": ("instrument show", set(), {"asset_class", "at"}),
    "POST /api/bots/{id}/account-link": ("account link", {"account", "reason", *LIMITS}, {"dry_run"}),
    "DELETE /api/bots/{id}/account-link": ("account unlink", {"reason"}, {"dry_run"}),
    "GET /api/accounts/{id}/events": ("account events", set(), {"limit"}),
    "GET /api/bots/{id}/metrics": (
        "ledger metrics",
        set(),
        {"account", "instance", "lot_method", "basis", "as_of", "by_day", "by_month"},
    ),
    "POST /api/allocations": (
        "allocation run",
        {"account", "as_of", "capital", "currency", "exclude", "policy", "reason"},
        {"dry_run"},
    ),
    "GET /api/allocations/{id}": ("allocation show", set(), set()),
}
VERBS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "X-OWN"]
UNKNOWN = [
    "/api/",
    "/api/bots",
    "/api/bots/a1",
    "/api/bots/a1/kill/",
    "/api/bots//kill",
    "/api/kill-events/",
    "/api/%00",
]
OUTSIDE = ["/", "/api", "/docs", "/redoc", "/favicon.ico", "/openapi.json/", "/apix/kill-events", "/%2e%2e/etc/passwd"]


def test_the_routes_are_these():
    taken = {
        f"{route.operation.verb} {route.operation.path}": (
            route.operation.name,
            (set(route.body.model_fields) if route.body else set()) if route.is_built else None,
            set(route.query.model_fields) if route.is_built else None,
        )
        for route in ROUTES
    }
    assert taken == LITERAL


@pytest.mark.operation("bot kill-events")
def test_every_route_of_the_map_answers(served: Desk, cli: CommandLine):
    answer(served.alice.post("/api/bots/a1/kill", json=KILL))
    answer(served.alice.post("/api/bots/a1/resurrect", json=RESURRECT))
    fleet_s = answer(served.alice.get("/api/kill-events"))
    bot_s = answer(served.alice.get("/api/bots/a1/kill-events"))
    assert bot_s["operation"] == the_map()["bot kill-events"].name
    assert fleet_s["result"] == bot_s["result"] == cli("kill-events", "a1").json["result"]
    for route in ROUTES:
        if not route.is_built:
            verb, path = route.operation.verb, route.operation.path.replace("{", "").replace("}", "")
            body = problem(served.nobody.request(verb, path), 501, "NOT_IMPLEMENTED")
            command_line = cli(*route.operation.words)
            assert command_line.code == 7
            assert body | {"trace_id": ""} == command_line.error | {"trace_id": ""}
            assert body["missing_requirements"] == list(route.operation.missing_requirements)
            assert route.operation.finding in body["next_steps"][0]


@pytest.mark.usefixtures("sqlite_database")
def test_everything_else_under_api_is_501_and_outside_404(served: Desk):
    for verb in VERBS:
        for path in UNKNOWN:
            response = served.nobody.request(verb, path)
            assert response.status_code == 501
            if verb != "HEAD":
                assert f"{verb} {path}" in problem(response, 501, "NOT_IMPLEMENTED")["message"]
        for path in OUTSIDE:
            response = served.nobody.request(verb, path)
            assert response.status_code == 404
            if verb != "HEAD":
                problem(response, 404, "ROUTE_NOT_FOUND")
        for route in LITERAL:
            own, path = route.split()
            if verb not in {own, *(other.split()[0] for other in LITERAL if other.split()[1] == path)}:
                assert served.nobody.request(verb, path).status_code == 501, (verb, path)
    long = served.nobody.get("/api/" + "x" * 5000)
    assert len(problem(long, 501, "NOT_IMPLEMENTED")["message"]) < 300


@pytest.mark.usefixtures("sqlite_database")
def test_an_escaped_path_is_the_same_path_and_an_escaped_slash_is_part_of_an_id(served: Desk):
    answer(served.alice.get("/api/%6bill%2Devents"))
    answer(served.alice.get("/%61pi/bots/%611/kill-events"))
    for escaped, shown in (("a%2Fb", "a/b"), ("%2E%2E", ".."), ("a%252Fb", "a%2Fb"), ("%E2%82%AC", "€"), ("%20", " ")):
        body = problem(served.alice.get(f"/api/bots/{escaped}/kill-events"), 404, "BOT_NOT_FOUND")
        assert body["missing_requirements"] == [f"bot {shown}"]


@pytest.mark.usefixtures("sqlite_database")
def test_the_document_is_served_and_says_what_is_answered(served: Desk):
    response = served.nobody.get("/openapi.json")
    served_document = response.json()
    assert "server" not in response.headers
    assert served_document["servers"] == [{"url": "/"}]
    assert served_document == json.loads(json.dumps(document(ROUTES)))
    assert {f"{verb.upper()} {path}" for path, item in served_document["paths"].items() for verb in item} == set(
        LITERAL
    )
    kill = served_document["paths"]["/api/bots/{id}/kill"]["post"]
    assert set(kill["responses"]) == {"200", "400", "401", "404", "409", "422", "500", "503"}
    assert kill["security"] == [{"token": []}]
    allocated = served_document["paths"]["/api/allocations"]["post"]
    assert set(allocated["responses"]) == set(kill["responses"])
    assert all(route.is_built for route in ROUTES)
    statuses = {kind.http_status for kind in errors.leaves()} - {200}
    assert set(served_document["components"]["responses"]) == set(map(str, statuses))
    for body in (served.alice.post("/api/bots/a1/kill", json=KILL | {"wait": 1}).json(),):
        validator(served_document, "KilledAnswer").validate(body)
    validator(served_document, "Problem").validate(served.nobody.get("/api/kill-events").json())


def validator(served_document: dict, name: str) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for({**served_document, "$ref": f"#/components/schemas/{name}"})
