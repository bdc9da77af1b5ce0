"""The page says what really is answered: all four verifications run again, and no block is stale or written by hand."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from blaidctl.core import errors
from blaidctl.verification import evidence
from blaidctl.verification.contract import Verification, Verified
from blaidctl.verification.evidence import BLOCKS, MOST_LINES, PAGE, block, blocks_of, renewed, settled, text
from blaidctl.verification.vocabulary import Check, Engine, Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.commandline import ProcessCommandLine
    from tests.support.database import Database
    from tests.support.postgres import PostgresAddress

HOW = "it is out of date: run `make evidence` on a clean commit, and commit the page"


def read(answer: dict[str, Any]) -> Verified:
    return Verified.model_validate(answer)


@pytest.mark.operation("verify")
@pytest.mark.timeout(900)
def test_all_four_verifications_pass_on_both_engines_and_the_page_shows_them(
    sqlite_database: Database, postgres_address: PostgresAddress, process: ProcessCommandLine, tmp_path: Path
):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    given = {"BLAIDCTL_VERIFY_POSTGRESQL_URL": postgres_address.url("postgres"), "TMPDIR": str(scratch)}
    run = process("verify", "--output", "json", env=given, timeout=880)
    assert run.code == 0, run.stderr
    found = read(run.json["result"])
    assert [(one.check, one.engine, one.outcome) for one in found.checks] == [
        (check, engine, Outcome.PASS) for check in Check for engine in Engine
    ]
    assert list(scratch.iterdir()) == []
    assert sqlite_database.sql("SELECT count(*) FROM bots") == [(0,)], "the configured database is not touched"
    assert postgres_address.password not in run.stdout + run.stderr
    page = PAGE.read_text(encoding="utf-8")
    for name in BLOCKS:
        assert settled(block(page, name)) == settled(block(renewed(page, found), name)), HOW


def test_the_page_holds_its_blocks_and_each_can_be_run_again():
    page = PAGE.read_text(encoding="utf-8")
    assert blocks_of(page) == list(BLOCKS)
    for check in Check:
        said = block(page, check)
        assert f"Again: `make evidence ARGS='--only {check}'`" in said
        assert re.findall(r"(?m)^(SQLite|PostgreSQL): PASS: [1-9]\d* ", said) == ["SQLite", "PostgreSQL"]
        transcripts = re.findall(r"(?ms)^```console\n(.*?)^```$", said)
        assert len(transcripts) == 2
        assert all(0 < len(transcript.splitlines()) <= MOST_LINES for transcript in transcripts)
        assert not re.search(r"(?m)^FAIL: ", said)
    versions = block(page, "desk")
    assert re.search(r"\| commit \| [0-9a-f]{40} \|\n", versions), "evidence is of a commit, with nothing changed since"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"BLOCKED"', '"OK"'),
        ('net = "665"', 'net = "666"'),
        ("CROSS_USER_FILL", "CROSS_ACCOUNT_FILL"),
        ("exit 6", "exit 0"),
        ("116419.7721055923", "116419.7721055924"),
        ('profit_factor = "1', 'profit_factor = "2'),
        ("$ blaidctl audit verify\n", ""),
        ("FAILED BAD_BARS", "FAILED"),
    ],
)
def test_a_hand_that_changed_a_block_is_found(old: str, new: str):
    page = PAGE.read_text(encoding="utf-8")
    assert any(old in block(page, check) for check in Check)
    changed = page.replace(old, new)
    assert [settled(block(changed, name)) for name in BLOCKS] != [settled(block(page, name)) for name in BLOCKS]


def passed(**changes: Any) -> Verified:
    checks = [
        Verification(
            check=check, engine=engine, outcome=Outcome.PASS, insisted=2, duration_s=1.5, why="",
            transcript=["$ blaidctl x", "exit 0  at 2026-01-01T00:00:00Z"],
        )
        for check in Check
        for engine in Engine
    ]  # fmt: skip
    given = {
        "checks": checks, "desk": {engine: ["$ blaidctl db upgrade", "exit 0"] for engine in Engine},
        "versions": {"commit": "0" * 40}, "at": "2026-01-01T00:00:00Z", "rule": "x",
    }  # fmt: skip
    return Verified(**{**given, **changes})


def test_what_differs_between_two_honest_runs_is_no_difference():
    one = text(passed(), "pnl-equality")
    other = one.replace("1.5 s", "20 s").replace("2026-01-01T00:00:00Z", "2026-12-31T23:59:59.123456Z")
    assert one != other
    assert settled(one) == settled(other)
    pairs = {
        "process 12 (job 3)": "process 9934 (job 3)",
        "http://127.0.0.1:4711/check": "http://127.0.0.1:50123/check",
        f"audit seq 7, entry hash {'ab' * 32}": f"audit seq 12, entry hash {'cd' * 32}",
        "/any/blaidctl-verify-x_1/a": "/other/place/blaidctl-verify-y2/a",
    }
    for volatile, again in pairs.items():
        assert settled(volatile) == settled(again) != volatile


def test_where_a_sentence_was_cut_is_no_difference_and_what_it_says_is_one():
    said = f"exit 1  {'x' * 180} of account al…"
    assert settled(said) == settled(said.replace(" al…", " ali…"))
    assert settled(said) != settled(said.replace("exit 1", "exit 0"))


@pytest.mark.parametrize("said", ["net = 665", "rows_new = 4", "exit 6", "instances = [1, 2]", "I2-0007"])
def test_what_is_evidence_is_not_taken_out(said: str):
    assert settled(said) == said


def test_a_transcript_that_nobody_would_read_is_no_evidence():
    long = passed().checks[0].model_copy(update={"transcript": ["x"] * (MOST_LINES + 1)})
    with pytest.raises(AssertionError, match="too many"):
        text(passed(checks=[long]), long.check)


def test_writing_changes_the_blocks_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    page = tmp_path / "AUDIT_FINDINGS.md"
    blocks = "\n".join(f"<!-- evidence: {name} -->\n<!-- end of evidence -->" for name in BLOCKS)
    page.write_text(f"# before\n{blocks}\n# after\n")
    monkeypatch.setattr(evidence, "PAGE", page)
    evidence.require_page(whole=True)
    assert evidence.write(passed()) == page
    said = page.read_text()
    assert (said[:9], said[-8:]) == ("# before\n", "# after\n")
    assert said.count("SQLite: PASS") == said.count("PostgreSQL: PASS") == len(Check)
    assert renewed(said, passed()) == said


def test_evidence_is_written_of_all_four_and_into_a_page_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(errors.InvalidRequest, match="all four"):
        evidence.require_page(whole=False)
    monkeypatch.setattr(evidence, "PAGE", tmp_path / "none.md")
    with pytest.raises(errors.InvalidRequest, match=r"no AUDIT_FINDINGS\.md"):
        evidence.require_page(whole=True)
