"""What an installation may lack: the driver of a database, a program that answers as it must."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from unittest import mock

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.commandline import CommandLine


@pytest.mark.parametrize(
    "arguments",
    [["kill", "momo-1", "--reason-code", "DRILL", "--reason", "x"], ["status"], ["db", "upgrade", "--yes"]],
    ids=" ".join,
)
def test_a_missing_driver_is_named_with_what_installs_it(postgres_database, cli: CommandLine, arguments: list[str]):
    del postgres_database
    hidden = {name: None for name in sys.modules if name.partition(".")[0] == "psycopg"} | {"psycopg": None}
    with mock.patch.dict(sys.modules, hidden):
        run = cli(*arguments)
    assert (run.code, run.stdout, run.error["error_code"]) == (8, "", "DRIVER_MISSING")
    assert run.error["next_steps"] == ["Install it: pip install 'blaidctl[postgres]'."]
    assert (run.stderr.splitlines()[-1] == "NOT KILLED") is (arguments[0] == "kill")


def test_a_quickstart_that_sees_something_wrong_says_so(
    sqlite_database, cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    del sqlite_database
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("blaidctl.quickstart.play._PROGRAM", (sys.executable, "-c", "raise SystemExit(8)"))
    run = cli("quickstart")
    assert (run.code, run.error["error_code"]) == (1, "PLAY_FAILED")
    assert run.error["message"] == "`blaidctl db upgrade --yes` answered 8, expected 0"
