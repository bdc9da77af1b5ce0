"""The drills run with the installed program as in an incident: one trace id over all steps, and again without harm."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.accounts import linked
from tests.support.postgres import client_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.commandline import CommandLine
    from tests.support.database import Database

DRILLS = Path(__file__).parents[2] / "runbooks" / "drills"


@pytest.fixture
def drill(database: Database, cli: CommandLine, home: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`drill(script, *words)`: run one in a shell that has nothing but the installed program."""
    assert cli("user", "add", "alice").code == 0
    assert cli("bot", "add", "momo-1", "--user", "alice").code == 0
    linked(cli, "momo-1")

    def run(script: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [DRILLS / script, *words],
            text=True,
            capture_output=True,
            check=False,
            timeout=100,
            env={
                "PATH": os.pathsep.join(map(str, (Path(sys.executable).parent, client_folder(), "/usr/bin", "/bin"))),
                "HOME": str(home),
                "BLAIDCTL_DATABASE_URL": database.url,
            },
        )

    return run


def test_the_kill_drill_kills_and_resumes_once_under_one_trace(drill, database: Database):
    for _ in range(2):
        ran = drill("kill-drill.sh", "momo-1", "monday")
        assert ran.returncode == 0, ran.stderr
        assert ran.stderr.splitlines()[-1].startswith("DRILL DONE: momo-1")
    assert database.sql("SELECT action, effect FROM kill_events ORDER BY id") == [
        ("KILL", "APPLIED"),
        ("RESURRECT", "APPLIED"),
    ]
    traces = database.sql("SELECT DISTINCT trace_id FROM audit_log WHERE action IN ('kill', 'resurrect')")
    assert len(traces) == 1
    assert traces[0][0] in ran.stderr


def test_the_kill_drill_stops_at_the_first_answer_that_is_not_the_expected_one(drill, database: Database):
    ran = drill("kill-drill.sh", "nobody")
    assert ran.returncode == 1
    assert "DRILL FAILED: `blaidctl bot show nobody` answered 3, expected 0" in ran.stderr
    assert database.sql("SELECT count(*) FROM kill_events") == [(0,)]


def test_the_evidence_drill_exports_backs_up_and_brings_back(drill, database: Database, tmp_path: Path):
    before = database.sql("SELECT count(*) FROM audit_log")
    folder = tmp_path / "evidence"
    ran = drill("evidence-drill.sh", str(folder), "monday")
    assert ran.returncode == 0, ran.stderr
    assert len((folder / "monday.ndjson").read_text().splitlines()) == before[0][0]
    assert (folder / "monday.backup").stat().st_mode & 0o077 == 0
    assert (folder / "monday.db").exists() == (database.kind == "sqlite")
    assert database.sql("SELECT count(*) FROM audit_log") == before
    again = drill("evidence-drill.sh", str(folder), "monday")
    assert (again.returncode, "holds a drill of this name" in again.stderr) == (1, True)
    assert drill("evidence-drill.sh", str(folder), "tuesday").returncode == 0


def test_every_drill_is_named_in_its_index():
    index = (DRILLS / "README.md").read_text(encoding="utf-8")
    assert [script.name for script in DRILLS.glob("*.sh") if f"({script.name})" not in index] == []
    assert all(os.access(script, os.X_OK) for script in DRILLS.glob("*.sh"))
