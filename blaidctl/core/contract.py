"""What requests and results have in common. All validation of the product happens in these models."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

REASON_MAX_CHARACTERS = 2_000
SLUG_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}$"


def storable(text: str) -> str:
    """Refuse what PostgreSQL cannot store or canonical JSON cannot hash: NUL and lone surrogates."""
    if "\x00" in text:
        msg = "must not contain a NUL character"
        raise ValueError(msg)
    if any(unicodedata.category(character) == "Cs" for character in text):
        msg = "must be valid Unicode (it has bytes that are not UTF-8)"
        raise ValueError(msg)
    return text


def _not_blank(text: str) -> str:
    if not re.search(r"\w", text):
        msg = "must say something: it is blank"
        raise ValueError(msg)
    return text


def _described(pattern: str) -> Any:
    """Return what a JSON schema says of the checks above, for readers that cannot run them."""
    return Field(json_schema_extra={"pattern": pattern})


_NO_NUL = _described(r"^[^\u0000]*$")
_SAYS_SOMETHING = _described(r"^[^\u0000]*\w[^\u0000]*$")

#: An id that an operator chooses: lower case, digits, dot, underscore, hyphen; at most 63 characters.
Slug = Annotated[str, StringConstraints(pattern=SLUG_PATTERN), AfterValidator(storable)]
#: An id that is looked up: any storable text, so that a typo gets "not found, did you mean", not a pattern.
LookupId = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(storable), _NO_NUL]
#: A short label.
Label = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200),
    AfterValidator(storable),
    AfterValidator(_not_blank),
    _SAYS_SOMETHING,
]
#: Why an act is done: free text of a person, kept exactly.
Reason = Annotated[
    str,
    StringConstraints(min_length=1, max_length=REASON_MAX_CHARACTERS),
    AfterValidator(storable),
    AfterValidator(_not_blank),
    _SAYS_SOMETHING,
]
RequestId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$")]


class Request(BaseModel):
    """The input of one operation; unknown fields are refused."""

    #: Fields that may be long: of a refused request the log keeps their hash, not their text.
    bulky: ClassVar[frozenset[str]] = frozenset()
    #: Fields that the operation's `prepare` fills in: no caller gives them.
    prepared: ClassVar[frozenset[str]] = frozenset()

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=False)


class Act(Request):
    """The input of an operation that writes: it may say why."""

    reason: Reason | None = None


class Result(BaseModel):
    """The output of one operation.

    `table_of` names the field whose items are the rows of a table; without it the result is one record. `columns`
    are the fields shown to a person, in order; JSON always carries everything.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    table_of: ClassVar[str | None] = None
    columns: ClassVar[tuple[str, ...]] = ()
    #: In a person's table: column → the field that stands under its text, as what comes next.
    under: ClassVar[Mapping[str, str]] = MappingProxyType({})
    #: Fields shown below the rows of a table.
    below: ClassVar[tuple[str, ...]] = ()
    #: Further fields that hold rows: field → its columns; each is drawn as a table of its own, below.
    tables: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType({})
    #: "module:function" of (result, width) that draws for a person what its table would be too long for.
    picture: ClassVar[str] = ""
    #: Fields that are shown once and never stored for replay.
    secret: ClassVar[frozenset[str]] = frozenset()

    def body(self) -> dict[str, Any]:
        """Return the JSON form."""
        return self.model_dump(mode="json")

    def replayable(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return what of the JSON form is stored for a replay under the same request id: everything but secrets."""
        return body | dict.fromkeys(self.secret)


class Finding(BaseModel):
    """Why an answer is no although the command worked: exit code 1."""

    model_config = ConfigDict(frozen=True)

    error_code: str
    message: str
    missing_requirements: list[str] = Field(default_factory=list)
