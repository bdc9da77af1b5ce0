"""What an installation may lack: the driver of a database."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from unittest import mock

import pytest

if TYPE_CHECKING:
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
