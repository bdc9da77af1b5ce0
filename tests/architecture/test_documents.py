"""What the documents say about the code is printed from the code, and no page lags behind."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from blaidctl.core import errors, revisions
from blaidctl.findings import documents
from blaidctl.findings.write import ROOT, main
from blaidctl.operations import OPERATIONS

if TYPE_CHECKING:
    from pathlib import Path

HOW = "it is out of date: run `python -m blaidctl.findings.write`"


@pytest.mark.parametrize(
    ("page", "blocks"),
    [
        ("AUDIT_FINDINGS.md", ["endpoints", "migrations"]),
        ("README.md", ["exit-codes"]),
        ("runbooks/error-codes.md", ["exit-codes", "error-codes"]),
    ],
)
def test_a_page_holds_its_blocks_as_the_code_has_them_now(page: str, blocks: list[str]):
    assert list(documents.PAGES[page]) == blocks
    text = (ROOT / page).read_text(encoding="utf-8")
    assert documents.blocks_of(text) == blocks, "`<!-- generated: NAME -->` … `<!-- end -->` is missing"
    assert text.count("<!-- generated:") == text.count("<!-- end -->") == len(blocks)
    assert text == documents.renewed(text), HOW


def test_every_page_is_tested_and_every_block_is_used():
    assert set(documents.PAGES) == {"AUDIT_FINDINGS.md", "README.md", "runbooks/error-codes.md"}
    assert {block for blocks in documents.PAGES.values() for block in blocks} == set(documents.BLOCKS)


@pytest.mark.parametrize("page", documents.PAGES)
def test_a_page_that_lags_is_found(page: str):
    text = (ROOT / page).read_text(encoding="utf-8")
    stale = re.sub(r"\n(<!-- end -->)", r"\n| an older row |\n\1", text, count=1)
    assert stale != text
    assert documents.renewed(stale) == text


def test_writing_mends_the_pages_and_names_what_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("blaidctl.findings.write.ROOT", tmp_path)
    for page in documents.PAGES:
        (tmp_path / page).parent.mkdir(exist_ok=True)
        (tmp_path / page).write_text((ROOT / page).read_text(encoding="utf-8"), encoding="utf-8")
    lagging = tmp_path / "README.md"
    lagging.write_text(lagging.read_text(encoding="utf-8").replace("| 130 |", "| 131 |"), encoding="utf-8")
    assert main() == 0
    assert capsys.readouterr().out == "README.md\n"
    assert lagging.read_text(encoding="utf-8") == (ROOT / "README.md").read_text(encoding="utf-8")
    assert main() == 0
    assert capsys.readouterr().out == ""


def test_an_unknown_block_is_refused():
    with pytest.raises(KeyError, match="no-such-block"):
        documents.renewed("<!-- generated: no-such-block -->\n<!-- end -->\n")


def test_the_endpoint_table_has_every_operation():
    lines = documents.endpoint_table().splitlines()
    assert lines[0] == "| operation | command | route | status | finding |"
    assert len(lines) == len(OPERATIONS) + 2
    assert "| kill | blaidctl kill | POST /api/bots/{id}/kill | PRODUCTION |  |" in lines


def test_the_error_page_explains_every_code():
    table = documents.error_table()
    for leaf in errors.leaves():
        _, _, told = table.partition(f"\n### {leaf.error_code}\n")
        told = told.partition("\n#")[0]
        assert errors.default_sentence(leaf) in told
        assert all(step in told for step in leaf.next_steps)


def test_the_exit_code_table_has_every_code_once():
    lines = documents.exit_code_table().splitlines()[2:]
    assert [line.split("|")[1].strip() for line in lines] == [
        "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "70", "130",
    ]  # fmt: skip
    codes = re.findall(r"`([A-Z_]+)`", "\n".join(lines))
    assert codes == [leaf.error_code for leaf in errors.leaves()]


def test_the_migration_list_has_every_revision_with_its_four_parts():
    text = documents.migration_list()
    assert re.findall(r"^- \*\*(\d{4})\*\* \S", text, re.MULTILINE) == list(revisions.REVISIONS)
    for part in ("Why", "Diff", "Rollback", "Data safety"):
        assert len(re.findall(rf"^  - {part}: \S", text, re.MULTILINE)) == len(revisions.REVISIONS)
