"""The quickstart plays the main job for real; the README shows what it really prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
_TOUR = re.compile(r"<!-- tour -->\n```text\n(.*?)```\n<!-- end tour -->", re.DOTALL)
#: What differs from run to run and from machine to machine.
_VOLATILE = (
    (r"sqlite:////\S+", "URL"),
    (r"/[^\s)]*blaidctl-quickstart-\w+", "SANDBOX"),
    (r"\d{4}-\d\d-\d\d", "DATE"),
    (r"\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
    (r"\b[0-9a-f]{32,64}\b", "HEX"),
    (r"\b[\w.-]+@[\w.-]+", "ACTOR"),
    (r"\b\d+\b", "N"),
)


def settled(text: str) -> list[str]:
    """Return the words of a text without what differs from run to run.

    As a sorted list: how long the actor's name is decides where cells fold. The table of kill events is left out: with
    a long name it becomes records.
    """
    text = re.sub(r"(?m)^\$ blaidctl kill-events.*?(?=^\$ )", "", text, flags=re.DOTALL)
    for pattern, word in _VOLATILE:
        text = re.sub(pattern, word, text)
    return sorted(text.split())


@pytest.mark.operation("quickstart")
@pytest.mark.timeout(340)
def test_the_quickstart_kills_a_real_process_and_the_readme_shows_it(process, sqlite_database, tmp_path):
    run = process("quickstart", env={"TMPDIR": str(tmp_path), "COLUMNS": "80"}, timeout=320, database=sqlite_database)
    assert run.code == 0, run.stdout + run.stderr
    played = run.stdout[run.stdout.index("# Two real processes") :]
    assert re.search(r"momo-1: process \d+ is gone; orders (\d+), 1 s later \1\n", played)
    assert re.search(r"carry-2: process \d+ is alive; ", played)
    assert sqlite_database.sql("SELECT count(*) FROM bots") == [(0,)], "the configured database is not touched"
    shown = _TOUR.search(README.read_text(encoding="utf-8"))
    assert shown, "README.md has no tour: paste the output of `make quickstart` from its first `#` line on"
    assert settled(shown[1]) == settled(played)
