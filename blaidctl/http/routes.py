"""The rows of the map that have a path: what each takes from a request and what it gives back.

The input models are the operations' own request models, minus what the path names and what only the command line
takes, so that both entrances validate with the same fields and say the same words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, create_model

from blaidctl.core.contract import Request
from blaidctl.core.operation import Operation, Status, resolve
from blaidctl.operations import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

_PARAMETER = re.compile(r"{(\w+)}")
_SPELLED = {"true": True, "false": False}
_HEX_32, _HEX_64 = r"^[0-9a-f]{32}$", r"^[0-9a-f]{64}$"


class Problem(BaseModel):
    """Every error of the product, on both entrances."""

    model_config = ConfigDict(extra="forbid")

    error_code: str
    message: str
    missing_requirements: list[str]
    next_steps: list[str]
    trace_id: Annotated[str, Field(pattern=_HEX_32)]


class Receipt(BaseModel):
    """Where the audit log holds this act."""

    model_config = ConfigDict(extra="forbid")

    seq: int
    entry_hash: Annotated[str, Field(pattern=_HEX_64)]


class ReadAnswer(BaseModel):
    """The answer of an operation that only reads."""

    model_config = ConfigDict(extra="forbid")

    operation: str
    trace_id: Annotated[str, Field(pattern=_HEX_32)]
    #: There when the operation worked and the answer is no all the same: what exit code 1 is on the command line.
    finding: Problem | None = None


class ActAnswer(ReadAnswer):
    """The answer of an operation that writes; it is sent only after COMMIT."""

    request_id: str
    dry_run: bool
    replayed: bool
    #: Null for a dry run.
    audit: Receipt | None


class ActQuery(Request):
    """How an act is done."""

    dry_run: Annotated[bool, Strict(), BeforeValidator(lambda text: _SPELLED.get(text, text))] = False


@dataclass(frozen=True)
class Route:
    """One verb and path, and the operation behind it."""

    operation: Operation

    @property
    def is_built(self) -> bool:
        """Whether a handler answers, and not 501."""
        return self.operation.status is not Status.NOT_IMPLEMENTED

    @property
    def path_parameters(self) -> list[str]:
        """The names in the path, in order."""
        return _PARAMETER.findall(self.operation.path)

    @property
    def id(self) -> str:
        """The name of the operation as one word."""
        return self.operation.name.replace(" ", "-")

    @cached_property
    def body(self) -> type[Request] | None:
        """What the JSON body of an act may hold; None for what only reads."""
        return self._without_path("Body") if self.operation.writes else None

    @property
    def may_be_empty(self) -> bool:
        """Whether the body may be left out: many clients send none with DELETE."""
        return self.operation.verb == "DELETE"

    @cached_property
    def query(self) -> type[Request]:
        """What the query may hold."""
        return ActQuery if self.operation.writes else self._without_path("Query")

    @cached_property
    def answer(self) -> type[BaseModel]:
        """What a 200 holds."""
        result = resolve(self.operation.result)
        base = ActAnswer if self.operation.writes else ReadAnswer
        made: type[BaseModel] = create_model(f"{result.__name__}Answer", __base__=base, result=(result, ...))
        return made

    def field(self, parameter: str) -> str:
        """Return the request field that a path parameter fills."""
        return self.operation.path_fields.get(parameter, parameter)

    def from_path(self, values: Mapping[str, str]) -> dict[str, Any]:
        """Return the request fields that the path gives; one id fills a list of ids."""
        fields = resolve(self.operation.request).model_fields
        named = {self.field(parameter): value for parameter, value in values.items()}
        return {k: [v] if get_origin(fields[k].annotation) is list else v for k, v in named.items()}

    def _without_path(self, suffix: str) -> type[Request]:
        model = resolve(self.operation.request)
        left_out = {*model.prepared, *self.operation.cli_only, *map(self.field, self.path_parameters)}
        fields: dict[str, Any] = {
            name: (self._capped(name, info.annotation), info)
            for name, info in model.model_fields.items()
            if name not in left_out
        }
        name = self.id.title().replace("-", "") + suffix
        made: type[Request] = create_model(name, __base__=Request, __doc__=self.operation.summary, **fields)
        return made

    def _capped(self, name: str, annotation: Any) -> Any:
        limit = self.operation.http_at_most.get(name)
        return annotation if limit is None else Annotated[annotation, Field(le=limit)]


ROUTES: tuple[Route, ...] = tuple(Route(operation) for operation in OPERATIONS if operation.path)
