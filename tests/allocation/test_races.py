"""What happens between the figures and the act that divides: kills, resurrections, imports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from blaidctl.allocation import service
from tests.allocation.desk import amounts, desk, proven, reasons, result, run, trade
from tests.kill.fleet import BACK, WHY, done, refused, verified

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.commandline import CommandLine
    from tests.support.database import Database


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """`meanwhile(act)`: once, when the figures of the next run are computed and before it divides, act."""

    def arrange(act: Callable[[], object]) -> None:
        compute = service.compute

        def then(*given: Any, **named: Any) -> Any:
            monkeypatch.setattr(service, "compute", compute)
            computed = compute(*given, **named)
            act()
            return computed

        monkeypatch.setattr(service, "compute", then)

    return arrange


def test_a_kill_in_between_counts(cli: CommandLine, meanwhile: Any):
    desk(cli)
    meanwhile(lambda: done(cli("kill", "a2", *WHY)))
    found = result(run(cli))
    assert amounts(found)["a2"] == "0"
    assert str(reasons(found)["a2"]).startswith("killed since ")
    proven(cli)
    verified(cli)


def test_a_resurrection_in_between_asks_to_look_again(cli: CommandLine, database: Database, meanwhile: Any):
    desk(cli)
    done(cli("kill", "a2", *WHY))
    meanwhile(lambda: done(cli("resurrect", "a2", *BACK)))
    error = refused(run(cli), 9, "BUSY")
    assert error["message"].startswith("a2 came back to life")
    assert database.sql("SELECT count(*) FROM allocation_runs") == [(0,)]
    assert amounts(result(run(cli)))["a2"] == "600"


def test_an_import_in_between_is_not_in_the_run_and_the_audit_knows_it(cli: CommandLine, meanwhile: Any):
    desk(cli)
    meanwhile(lambda: trade(cli, "a1", ["-50"], month="02"))
    assert amounts(result(run(cli)))["a1"] == "400"
    proven(cli)
    assert amounts(result(run(cli)))["a1"] == "0"
    proven(cli, 2)
