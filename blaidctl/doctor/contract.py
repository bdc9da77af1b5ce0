"""Request and result of `doctor`."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from blaidctl.core.contract import Finding, Request, Result
from blaidctl.doctor.vocabulary import Verdict


class Diagnose(Request):
    """Look at everything."""


class Check(Result):
    """What one check saw, and what to do about it."""

    check: str
    verdict: Verdict
    detail: str
    next_step: str | None


class Diagnosis(Result):
    """Every check, in the order in which one thing rests on another."""

    table_of: ClassVar = "checks"
    columns: ClassVar = ("check", "verdict", "detail")
    under: ClassVar = {"detail": "next_step"}
    below: ClassVar = ("findings", "not_checked")
    checks: list[Check]
    findings: int
    not_checked: int
    finding: Finding | None = Field(default=None, exclude=True)
