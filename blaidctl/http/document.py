"""The routes as OpenAPI 3.1, from the same models and the same error tree that answer the requests.

FastAPI would derive this from function signatures; here one function serves every route, so the map is the source.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter
from pydantic.json_schema import models_json_schema

from blaidctl import __version__
from blaidctl.core import errors
from blaidctl.core.contract import LookupId, RequestId
from blaidctl.core.errors import leaves
from blaidctl.http.routes import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydantic import BaseModel

    from blaidctl.http.routes import Route

Json = dict[str, Any]

_REF = "#/components/schemas/{model}"
_EVERY = (401, 422, 500, 503)
_ACT = (400, 404, 409)
_READ = (404, 409)
_TRACE_HEADERS = {
    "X-Trace-Id": {
        "description": "The trace id of this request, as in the body and in the audit entry.",
        "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    }
}
_ABOUT = (
    "The kill engine of blaidctl over HTTP: the operations, refusals and bodies of the command line. The actor is the"
    " owner of the bearer token, who sees only their own bots. Every other verb and path answers 501 under /api/ and"
    " 404 elsewhere. Every error has the same five fields."
)


def document(routes: Sequence[Route]) -> Json:
    """Return the OpenAPI document of the routes."""
    built = [route for route in routes if route.is_built]
    paths: dict[str, Json] = {}
    for route in routes:
        operation = _built(route) if route.is_built else _unbuilt(route)
        paths.setdefault(route.operation.path, {})[route.operation.verb.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "blaidctl", "version": __version__, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": _schemas(built),
            "responses": dict(_error_responses()),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "Made by `blaidctl token add`."}
            },
        },
    }


def _built(route: Route) -> Json:
    operation = route.operation
    statuses = [*_EVERY, *(_ACT if operation.writes else _READ)]
    described: Json = {
        **_head(route),
        "security": [{"token": []}],
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)],
        "responses": {
            "200": {
                "description": operation.summary,
                "headers": _TRACE_HEADERS,
                "content": {"application/json": {"schema": _ref(route.answer)}},
            },
            **{str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(statuses)},
        },
    }
    if route.body is not None:
        described["requestBody"] = {
            "required": not route.may_be_empty,
            "content": {"application/json": {"schema": _ref(route.body)}},
        }
    return described


def _unbuilt(route: Route) -> Json:
    missing = "; ".join(route.operation.missing_requirements)
    return {
        **_head(route),
        "description": f"Not implemented ({route.operation.finding}). Missing: {missing}.",
        "parameters": _path_parameters(route),
        "responses": {"501": {"$ref": "#/components/responses/501"}},
    }


def _head(route: Route) -> Json:
    return {"operationId": route.id, "summary": route.operation.summary}


def _path_parameters(route: Route) -> list[Json]:
    schema = _schema_of(LookupId)
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name in route.path_parameters]


def _query_parameters(route: Route) -> list[Json]:
    schema = route.query.model_json_schema(ref_template=_REF)
    return [
        {"name": name, "in": "query", "required": False, "schema": _given(field)}
        for name, field in schema.get("properties", {}).items()
    ]


def _given(schema: Json) -> Json:
    """Return the schema of a value that is there: a query has no null, it leaves the name out."""
    found = [part for part in schema.get("anyOf", []) if part != {"type": "null"}]
    return found[0] if len(found) == 1 else {k: v for k, v in schema.items() if k != "title"}


def _header_parameters(route: Route) -> list[Json]:
    trace = {
        "name": "traceparent",
        "in": "header",
        "description": "W3C Trace Context; a malformed one is replaced, and X-Trace-Warning says so.",
        "schema": {"type": "string"},
    }
    request_id = {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "The request id: the same key and parameters are done once, with other parameters it is 409.",
        "schema": _schema_of(RequestId),
    }
    return [trace, request_id] if route.operation.writes else [trace]


def _schema_of(annotation: Any) -> Json:
    return TypeAdapter(annotation).json_schema()


def _schemas(built: Iterable[Route]) -> Json:
    models: list[tuple[type[BaseModel], Any]] = [(Problem, "serialization")]
    for route in built:
        models.append((route.answer, "serialization"))
        if route.body is not None:
            models.append((route.body, "validation"))
    _, found = models_json_schema(list(dict.fromkeys(models)), ref_template=_REF)
    schemas: Json = found["$defs"]
    return schemas


def _ref(model: type[BaseModel]) -> Json:
    return {"$ref": _REF.format(model=model.__name__)}


def _error_responses() -> Iterable[tuple[str, Json]]:
    for status in sorted({kind.http_status for kind in leaves(errors.BlaidError)} - {200}):
        codes = sorted({kind.error_code for kind in leaves(errors.BlaidError) if kind.http_status == status})
        headers: Json = dict(_TRACE_HEADERS)
        if status == errors.Unauthenticated.http_status:
            headers["WWW-Authenticate"] = {"schema": {"type": "string", "const": "Bearer"}}
        yield (
            str(status),
            {
                "description": f"error_code is one of: {', '.join(codes)}.",
                "headers": headers,
                "content": {"application/json": {"schema": _ref(Problem)}},
            },
        )
