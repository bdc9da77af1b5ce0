"""The twelve attacks, tried: what `audit verify` finds is what the theory says, and the runbook prints that theory."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.audit.attacks import ATTACKS, BLOCK, FOUND, NOT_FOUND, PAGE, Attack, made, table, written
from tests.audit.desk import Desk

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.commandline import CommandLine, Run
    from tests.support.database import Database


def found(run: Run) -> str:
    """Say whether verify found something; an answer there must be, and a first bad entry with it."""
    result = run.json["result"]
    assert (run.code, result["answer"]) in {(0, "OK"), (1, "BROKEN")}, run.stderr
    if run.code == 1:
        assert result["defects"]
        assert result["first_bad_seq"]
    return FOUND if run.code else NOT_FOUND


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_what_finds_an_attack_is_what_the_theory_says(
    cli: CommandLine, database: Database, tmp_path: Path, attack: Attack
):
    desk = Desk(cli, tmp_path)
    log = made(desk, database)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(desk.sinks[0], elsewhere)
    copy = ("--checkpoint", str(elsewhere), "--key", desk.verifiers[0])
    for untouched in (cli("audit", "verify"), desk("audit", "verify"), cli("audit", "verify", *copy)):
        assert found(untouched) == NOT_FOUND

    attack.hand(log)

    seen = (found(cli("audit", "verify")), found(desk("audit", "verify")), found(cli("audit", "verify", *copy)))
    assert seen == (attack.alone, attack.sinks, attack.elsewhere)


@pytest.mark.parametrize(
    "attack", [attack for attack in ATTACKS if attack.sinks == FOUND], ids=lambda attack: attack.name
)
def test_what_the_sinks_find_is_not_signed_over(cli: CommandLine, database: Database, tmp_path: Path, attack: Attack):
    """The next checkpoint refuses, unless a note before it covers the edit already: the note still contradicts it."""
    desk = Desk(cli, tmp_path)
    attack.hand(made(desk, database))
    if desk("audit", "checkpoint").code == 0:
        assert found(desk("audit", "verify")) == FOUND, "blessed"


def test_there_are_twelve_of_them():
    assert len({attack.name for attack in ATTACKS}) == 12
    assert all(attack.sinks == FOUND or attack.alone == NOT_FOUND for attack in ATTACKS), (
        "sinks never find less than the database alone"
    )


def test_the_runbook_prints_the_theory():
    page = PAGE.read_text(encoding="utf-8")
    assert BLOCK.search(page)
    assert written(page) == page, "out of date: python -m tests.audit.attacks"
    assert table() in page
