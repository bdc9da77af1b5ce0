"""Each check fails when what it shows is not so: against a backend that is wrong, and a program that lies."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from blaidctl.providers.rehearsal import Rehearsal
from blaidctl.verification import backend as backends
from blaidctl.verification.account_isolation import account_isolation
from blaidctl.verification.backend import Backend
from blaidctl.verification.backtest_end import backtest_end
from blaidctl.verification.pnl_equality import pnl_equality
from blaidctl.verification.provider_failure import provider_failure
from blaidctl.verification.stage import MismatchError
from tests.verification.work import accepts, says, stage

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.commandline import CommandLine
    from tests.support.database import Database
    from tests.verification.work import Lie


class NeverFails(Rehearsal):
    def fail(self, mode: Any, page: int | None = None) -> None:
        del mode, page


class NeverRecovers(Rehearsal):
    def recover(self) -> None:
        return


class RoundsToCents(Backend):
    def statement(self, instance: int) -> dict[str, Any]:
        told = super().statement(instance)
        totals = told["totals"]
        cents = {name: str(round(Decimal(totals[name]), 2)) for name in ("gross", "fees", "net")}
        return told | {"totals": totals | cents}


class ForgetsAFill(Backend):
    def statement(self, instance: int) -> dict[str, Any]:
        told = super().statement(instance)
        return told | {"fills": told["fills"][1:]}


class TellsTheTruth(Backend):
    """Its digits cannot be changed, so the check cannot see that a change would be found."""

    def _lied(self, instance: int, what: str, said: Any) -> dict[str, Any]:
        del instance, what
        return dict(said)


def failed(cli: CommandLine, folder: Path, play: Any, *arguments: Any, lie: Lie | None = None) -> str:
    """Play, and return what the check found."""
    made = stage(cli, folder, lie)
    with pytest.raises(MismatchError) as caught:
        play(made, *arguments)
    assert made.transcript[-1].startswith("FAIL: ")
    return str(caught.value)


@pytest.fixture
def folder(sqlite_database: Database, tmp_path: Path) -> Path:
    """Where a stage works; its commands work on SQLite, whose name brings the other engine into no test."""
    assert sqlite_database
    made = tmp_path / "stage"
    made.mkdir()
    return made


@pytest.mark.parametrize(
    ("rehearsal", "lie", "found"),
    [
        (NeverFails, None, "ledger pull --provider feed --account alice-paper --bot momo-1 --history: the exit code"),
        (NeverRecovers, None, "the exit code is 8, and must be 0"),
        (Rehearsal, accepts("guard"), "blaidctl guard momo-1: the exit code is 0, and must be 1"),
        (Rehearsal, accepts("ledger", "metrics"), "blaidctl ledger metrics momo-1: the exit code is 0, and must be 4"),
        (Rehearsal, says(("ledger", "fills"), total=5), "total is 5, and must be 4"),
        (Rehearsal, says(("ledger", "metrics"), net="95.01"), "net is '95.01', and must be '95'"),
    ],
    ids=["never fails", "never recovers", "guard says yes", "numbers over a gap", "a fill appears", "pnl appears"],
)
def test_provider_failure_can_fail(cli: CommandLine, folder: Path, rehearsal: Any, lie: Lie | None, found: str):
    assert found in failed(cli, folder, provider_failure, rehearsal, lie=lie)


@pytest.mark.parametrize(
    ("lie", "found"),
    [
        (says(("backtest", "show"), profit_factor=None), "profit_factor is None"),
        (says(("job", "list"), jobs=[{"status": "RUNNING", "reason_code": None}]), "jobs[*].status is ['RUNNING']"),
        (says(("job", "reap"), jobs_reaped=0), "jobs_reaped is 0, and must be 1"),
        (says(("backtest", "list"), backtests=[{"job_id": 2}, {"job_id": 1}]), "[2, 1], and must be [1]"),
    ],
    ids=["a null metric", "one still runs", "nothing reaped", "metrics of a failure"],
)
def test_backtest_end_can_fail(cli: CommandLine, folder: Path, monkeypatch: pytest.MonkeyPatch, lie: Lie, found: str):
    # One failure is enough to come to the lists.
    monkeypatch.setattr("blaidctl.verification.backtest_end.FAILURES", backtest_failures()[:1])
    assert found in failed(cli, folder, backtest_end, lie=lie)


def backtest_failures() -> Any:
    from blaidctl.verification.backtest_end import FAILURES

    return FAILURES


@pytest.mark.parametrize(
    ("lie", "found"),
    [
        (accepts("ledger", "import", "other-user.csv"), "the exit code is 0, and must be 6"),
        (accepts("ledger", "import", "unlinked-bot.csv"), "the exit code is 0, and must be 6"),
        (accepts("ledger", "reconcile"), "the exit code is 0, and must be 6"),
        (says(("ledger", "events"), events=[]), "events[*].event is []"),
    ],
    ids=["another user's fill", "an unlinked bot's fill", "another's statement", "no event"],
)
def test_account_isolation_can_fail(cli: CommandLine, folder: Path, lie: Lie, found: str):
    assert found in failed(cli, folder, account_isolation, lie=lie)


def test_account_isolation_sees_a_hash_that_moved(cli: CommandLine, folder: Path):
    asked = iter(range(9))

    def moves(words: tuple[str, ...], run: Any) -> Any:
        if words[:2] == ("ledger", "metrics") and next(asked) == 2:
            return says(words, output_hash="0" * 64)(words, run)
        return run

    found = failed(cli, folder, account_isolation, lie=moves)
    assert f"output_hash is '{'0' * 64}'" in found


@pytest.mark.parametrize(
    ("backend", "lie", "found"),
    [
        (RoundsToCents, None, "gross is '116722.3454055923', and must be '116722.35'"),
        (ForgetsAFill, None, "the exit code is 1, and must be 0"),
        (TellsTheTruth, None, "the exit code is 0, and must be 1"),
        (Backend, says(("ledger", "metrics"), net="116419.7721055924"), "net is '116419.7721055924'"),
    ],
    ids=["cents", "a fill forgotten", "no digit changes", "a digit here"],
)
def test_pnl_equality_can_fail(cli: CommandLine, folder: Path, backend: Any, lie: Lie | None, found: str):
    assert found in failed(cli, folder, pnl_equality, backend, lie=lie)


def test_the_backend_knows_nothing_of_the_ledger():
    """Two that share their arithmetic agree on its faults too."""
    source = backends.__loader__.get_source(backends.__name__)  # type: ignore[union-attr]
    imported = [line for line in source.splitlines() if line.startswith(("from blaidctl", "import blaidctl"))]
    assert imported == ["from blaidctl.core import clock", "from blaidctl.core.types import time_text"]


def test_an_answer_without_what_is_looked_at_is_a_failure(cli: CommandLine, folder: Path):
    made = stage(cli, folder)
    with pytest.raises(MismatchError, match=r"the answer has no nothing\.of_it"):
        made.type("bot", "list", see={"nothing.of_it": 1})
