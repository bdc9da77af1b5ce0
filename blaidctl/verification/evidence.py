"""The evidence in AUDIT_FINDINGS.md: one block a verification, written from a run, and never by hand.

What differs between two honest runs (times, ids, hashes, ports, folders) stands in a block as it was; `settled` takes
it out of a text, so that a test can hold a new run against what the page says.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import blaidctl
from blaidctl.core import errors, outfile
from blaidctl.verification.stage import RULE
from blaidctl.verification.vocabulary import CLAIMS, Check, Engine

if TYPE_CHECKING:
    from blaidctl.verification.contract import Verified

PAGE = Path(blaidctl.__file__).parents[1] / "AUDIT_FINDINGS.md"
DESK = "desk"
BLOCKS = (DESK, *Check)
MOST_LINES = 120
_BLOCK = re.compile(r"(<!-- evidence: ([a-z-]+) -->\n).*?(<!-- end of evidence -->)", re.DOTALL)
_NAMES = {Engine.SQLITE: "SQLite", Engine.POSTGRESQL: "PostgreSQL"}
#: Characters of a sentence that was cut which stand in every cut of it.
_SURE = 160
#: What differs from run to run and from machine to machine; the first that fits counts.
_VOLATILE = (
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z", "TIME"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
    (r"/[^\s'\"]*blaidctl-verify-[^\s'\"/]+", "SCRATCH"),
    (r"\b[0-9a-f]{32,64}\b|\b[0-9a-f]{8,64}…", "HEX"),
    (r"\b(process|pid) \d+", r"\1 PID"),
    (r"\baudit seq \d+", "audit seq N"),
    (r"\b\d+(?:\.\d+)? (s|ms)\b", r"N \1"),
)


def require_page(*, whole: bool) -> None:
    """Raise InvalidRequest, before anything runs, when there is no page to write into or only a part is asked for."""
    if not whole:
        raise errors.InvalidRequest(
            "evidence is written of all four verifications, not of some", missing=["--only: leave it out"]
        )
    if not PAGE.is_file() or blocks_of(PAGE.read_text(encoding="utf-8")) != list(BLOCKS):
        raise errors.InvalidRequest(
            "there is no AUDIT_FINDINGS.md with its blocks of evidence here", missing=["--write: run it in a checkout"]
        )


def write(found: Verified) -> Path:
    """Put a run that passed into the page; return the page."""
    outfile.replace(PAGE, renewed(PAGE.read_text(encoding="utf-8"), found).encode())
    return PAGE


def blocks_of(page: str) -> list[str]:
    """Return the names of the blocks that a page's text holds, in order."""
    return [match[2] for match in _BLOCK.finditer(page)]


def block(page: str, name: str) -> str:
    """Return what a page's text says in a block; KeyError when it has none."""
    found = {match[2]: match[0] for match in _BLOCK.finditer(page)}
    return found[name]


def renewed(page: str, found: Verified) -> str:
    """Return a page's text with the evidence of a run."""
    return _BLOCK.sub(lambda match: f"{match[1]}\n{text(found, match[2])}\n{match[3]}", page)


def text(found: Verified, name: str) -> str:
    """Return a block: what it claims, by which versions, how it is run again, and what was answered."""
    if name == DESK:
        head = [f"{RULE} A verification stops at the first line that is not as it must be.", "", *_with(found), ""]
        head += ["What each begins with, on a scratch database of its own:", ""]
        return "\n".join(head + [line for engine, said in _desks(found) for line in _transcript(engine, said)])
    check = Check(name)
    parts = [f"{CLAIMS[check]}", "", f"Again: `{again(check)}`", ""]
    for one in found.checks:
        if one.check is check:
            title = f"{one.outcome}: {one.insisted} exit codes, errors and values as they must be, {one.duration_s} s"
            parts += _transcript(one.engine, one.transcript, title)
    return "\n".join(parts)


def again(check: Check) -> str:
    """Return the command that runs a check again."""
    return f"make evidence ARGS='--only {check}'"


def settled(said: str) -> str:
    """Return a text without what differs from run to run and from machine to machine."""
    said = re.sub(r"(?m)^(\| (?:commit|python|sqlite|postgresql|date) \|).*$", r"\1", said)
    for pattern, word in _VOLATILE:
        said = re.sub(pattern, word, said)
    # Where a sentence was cut depends on how long the times and numbers before it are.
    return re.sub(rf"(?m)^(.{{{_SURE}}}).*…$", r"\1…", said)


def _with(found: Verified) -> list[str]:
    rows = {**found.versions, "date": found.at}
    return ["| what | version |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())]


def _desks(found: Verified) -> list[tuple[Engine, list[str]]]:
    return [(engine, found.desk[engine]) for engine in Engine]


def _transcript(engine: Engine, lines: list[str], title: str = "") -> list[str]:
    assert len(lines) <= MOST_LINES, f"{len(lines)} lines are too many for a reader"  # noqa: S101 - a rule of this code
    head = f"{_NAMES[engine]}: {title}" if title else f"{_NAMES[engine]}:"
    return [head, "", "```console", *lines, "```", ""]
