"""`served`: a real `blaidctl serve` process over the fleet, on the test's database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.http.desk import Desk, desk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.commandline import CommandLine, ProcessCommandLine


@pytest.fixture
def served(cli: CommandLine, process: ProcessCommandLine) -> Iterator[Desk]:
    with desk(cli, process) as running:
        yield running
