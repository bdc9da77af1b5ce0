"""The document and the server, compared by a stranger: schemathesis with all its checks, on a real server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.http.desk import KILL, answer
from tests.kill.fleet import events, verified

if TYPE_CHECKING:
    from tests.http.desk import Desk
    from tests.support.commandline import CommandLine
    from tests.support.database import Database

#: 501 is an answer of this product, documented where it is given; every other 5xx is a failure.
#: One operation is told a bot that exists, so that the stranger reaches the product; it guesses at all others.
CONFIG = """
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "501"]
[[operations]]
include-path = "/api/bots/{id}/kill"
parameters = { "path.id" = "a3" }
"""
PROGRAM = Path(sys.executable).with_name("schemathesis")


def test_schemathesis_finds_nothing(served: Desk, cli: CommandLine, database: Database, tmp_path: Path):
    for bot in ("a1", "a2"):  # events to list: their ids are what it goes on with
        answer(served.alice.post(f"/api/bots/{bot}/kill", json=KILL))
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    options = ["--generation-deterministic", "--max-examples=12", "--checks=all", "--no-color"]
    run = subprocess.run(
        [
            PROGRAM, f"--config-file={config}", "run", f"{served.url}/openapi.json",
            f"--header=Authorization: Bearer {served.token}", *options,
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(Path(__file__).parent)},
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Tested: 12" in run.stdout
    passed = re.search(r"(\d+) generated, (\d+) passed", run.stdout)
    assert passed is not None, run.stdout
    assert passed[1] == passed[2]
    assert int(passed[1]) > 300
    assert not re.search(r"\b0 covered", run.stdout)
    assert len(events(database)) > 5, "it did reach the product"
    verified(cli)
    assert served.stop() == (0, "")
