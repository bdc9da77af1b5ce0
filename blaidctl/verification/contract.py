"""What `verify` answers."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from pydantic import Field

from blaidctl.core.contract import Finding, Result
from blaidctl.verification.vocabulary import Check, Engine, Outcome


class Verification(Result):
    """One check on one engine."""

    check: Check
    engine: Engine
    outcome: Outcome
    #: How many exit codes, errors and values were as they must be.
    insisted: int
    duration_s: float
    why: str
    transcript: list[str]


class Verified(Result):
    """Every check on both engines."""

    table_of: ClassVar = "checks"
    columns: ClassVar = ("check", "engine", "outcome", "insisted", "duration_s", "why")
    tables: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType({"versions": ("what", "version")})
    below: ClassVar = ("rule", "written")

    checks: list[Verification]
    #: What every check begins with, by engine.
    desk: dict[Engine, list[str]]
    versions: dict[str, str]
    at: str
    #: What a transcript shows of an answer.
    rule: str
    #: The page that the evidence was written into.
    written: str | None = None
    finding: Finding | None = Field(default=None, exclude=True)
