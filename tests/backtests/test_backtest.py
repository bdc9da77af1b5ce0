"""`backtest run` with real engines: metrics by the ledger's arithmetic and success in one act, or a reason."""

from __future__ import annotations

import json
import os
import signal
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from blaidctl.backtests.events import BACKTEST_METRICS
from blaidctl.backtests.moving_average import signals
from blaidctl.core import errors
from tests.instruments.work import DATES, HOURS, SAMPLE
from tests.kill.fleet import done, operate
from tests.support.processes import LIMIT_S, lives, numbers_in, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.commandline import CommandLine, ProcessCommandLine, Run
    from tests.support.database import Database

BARS = SAMPLE.with_name("es-bars.csv")
LIMITS = ("--heartbeat-s", "1", "--stale-after-s", "60", "--max-runtime-s", "600", "--grace-s", "1")
AT = "2024-01-{:02d}T21:00:00Z"
#: Three days of ES, whose point is worth 50 USD.
THREE = "time,open,high,low,close\n" + "".join(
    f"{AT.format(day)},{close},{close},{close},{close}\n" for day, close in ((2, "100"), (3, "104.5"), (4, "99"))
)


def fill(day: int, side: str, price: str, quantity: str = "1", **more: Any) -> dict[str, Any]:
    return {
        "venue_trade_id": f"t{day}{side}", "executed_at": AT.format(day), "symbol": "ES", "side": side,
        "quantity": quantity, "price": price, "fee": "2.25", "fee_currency": "USD",
    } | more  # fmt: skip


#: Won 4.5 points (225 USD), lost 5.5 (275 USD), four fees of 2.25.
WON_AND_LOST = (
    fill(2, "BUY", "100"),
    fill(3, "SELL", "104.5"),
    fill(3, "BUY", "104.5", venue_trade_id="t3again"),
    fill(4, "SELL", "99"),
)


@pytest.fixture
def desk(cli: CommandLine) -> CommandLine:
    """Real instruments, and the job type of backtests."""
    for words in (
        ("session", "load", str(HOURS), "--dates", str(DATES)),
        ("currency", "add", "USDT", "--places", "6"),
        ("instrument", "load", str(SAMPLE)),
        ("job", "type", "add", "backtest", *LIMITS),
    ):
        done(cli(*words))
    return cli


@pytest.fixture
def backtest(desk: CommandLine, process: ProcessCommandLine, tmp_path: Path) -> Callable[..., Run]:
    """`backtest(*command, bars=…)`: a whole run with the installed program."""

    def run(*command: str, bars: str = THREE, words: tuple[str, ...] = ()) -> Run:
        assert desk is not None
        path = tmp_path / "bars.csv"
        path.write_bytes(bars.encode("utf-8", "surrogateescape"))
        asked = ("backtest", "run", "--bars", str(path), "--symbol", "ES", "--capital", "1000", *words)
        return process(*asked, *(("--", *command) if command else ()))

    return run


def writing(*fills: dict[str, Any]) -> tuple[str, ...]:
    """An engine that writes these fills."""
    return ("printf", "%s\\n", *map(json.dumps, fills))


def job(database: Database, number: int = 1) -> tuple[Any, ...]:
    (found,) = database.sql("SELECT status, reason_code FROM jobs WHERE id = ?", (number,))
    return tuple(found)


@pytest.mark.operation("backtest run", "backtest show", "backtest list")
def test_metrics_and_success_are_one_act_and_the_figures_are_those_of_the_hand(
    backtest: Callable[..., Run], desk: CommandLine, database: Database
):
    ran = backtest(*writing(*WON_AND_LOST))
    assert (ran.code, ran.stdout) == (0, ""), ran.stderr
    assert job(database) == ("SUCCEEDED", "COMPLETED")
    shown = desk("backtest", "show", "1").json["result"]
    expected = {
        "fills": 4, "closed_trades": 2, "wins": 1, "losses": 1, "gross": "-50", "fees": "9", "net": "-59",
        "starting_capital": "1000", "equity": "941", "win_rate": "0.5", "expectancy": "-29.5",
        # 225 - 4.5 against 275 + 4.5, rounded once.
        "profit_factor": "0.788908765653", "return_on_capital": "-0.059", "exposure": "1",
        # From 1218.25 (the day of the first win: 1000 + 220.5 - 2.25) down to 941.
        "max_drawdown": "277.25", "max_drawdown_fraction": "0.227580545865",
        "bars": 3, "first_bar_at": "2024-01-02T21:00:00Z", "currency": "USD", "basis": "REALIZED",
    }  # fmt: skip
    assert {name: shown[name] for name in expected} == expected
    listed = desk("backtest", "list").json["result"]["backtests"]
    assert [(one["job_id"], one["net"]) for one in listed] == [(1, "-59")]
    acts = database.sql(
        "SELECT act_id FROM backtest_metrics UNION SELECT act_id FROM job_events WHERE event <> 'STARTED'"
    )
    assert len(acts) == 1
    assert desk("audit", "verify").code == 0


def test_the_same_engine_gives_the_same_hashes_and_another_fill_others(backtest: Callable[..., Run], desk: CommandLine):
    shuffled = [WON_AND_LOST[n] for n in (3, 0, 2, 1)]
    dearer = [*WON_AND_LOST[:3], {**WON_AND_LOST[3], "price": "99.25"}]
    for fills in (WON_AND_LOST, shuffled, dearer):
        assert backtest(*writing(*fills)).code == 0
    first, again, other = (desk("backtest", "show", str(n)).json["result"] for n in (1, 2, 3))
    assert (first["input_hash"], first["output_hash"]) == (again["input_hash"], again["output_hash"])
    assert first["input_hash"] != other["input_hash"]
    assert first["output_hash"] != other["output_hash"]


def test_marked_equity_sees_a_loss_that_was_made_good_before_the_position_was_closed(
    backtest: Callable[..., Run], desk: CommandLine
):
    held = [fill(2, "SELL", "100"), fill(4, "BUY", "99"), *(
        fill(4, side, price, venue_trade_id=f"u{side}", fee="0") for side, price in (("BUY", "100"), ("SELL", "99"))
    )]  # fmt: skip
    assert backtest(*writing(*held)).code == 0
    assert backtest(*writing(*held), words=("--basis", "MARKED")).code == 0
    realized, marked = (desk("backtest", "show", str(n)).json["result"] for n in (1, 2))
    assert realized["net"] == marked["net"]
    # A short from 100 at 104.5: 4.5 points of 50 USD below where it began, less the fee.
    assert marked["max_drawdown"] == "227.25"
    assert Decimal(realized["max_drawdown"]) < Decimal("227.25")


COLUMNS = ", ".join(name for name in BACKTEST_METRICS.kinds if name != "id")
BROKEN = {
    "crash": (("sh", "-c", "exit 3"), "EXIT_NONZERO"),
    "killed": (("sh", "-c", "kill -9 $$"), "SIGNALLED"),
    "nothing": (("true",), "NO_FILLS"),
    "no json": (("echo", "hello"), "BAD_FILLS"),
    "crash after good fills": (
        ("sh", "-c", f"echo '{json.dumps(WON_AND_LOST[0])}'; exit 1"),
        "EXIT_NONZERO",
    ),
    "another symbol": (writing({**WON_AND_LOST[0], "symbol": "NQ"}), "BAD_FILLS"),
    "before the bars": (writing(fill(1, "BUY", "100")), "BAD_FILLS"),
    "one id twice": (writing(WON_AND_LOST[0], WON_AND_LOST[0]), "BAD_FILLS"),
    "an id again, days later": (
        writing(*WON_AND_LOST[:3], {**WON_AND_LOST[3], "venue_trade_id": WON_AND_LOST[0]["venue_trade_id"]}),
        "BAD_FILLS",
    ),
    "a price that no bar has": (
        writing(*({**f, "price": "104.75"} if f["price"] == "104.5" else f for f in WON_AND_LOST)),
        "BAD_FILLS",
    ),
    "price of 0": (writing(fill(2, "BUY", "0")), "BAD_FILLS"),
    "no zone": (writing(fill(2, "BUY", "1", executed_at="2024-01-02T21:00:00")), "BAD_FILLS"),
    "cut in the middle": (("printf", "%s", json.dumps(WON_AND_LOST[0])[:-9]), "BAD_FILLS"),
    "no fee": (writing(*({k: v for k, v in f.items() if k[:3] != "fee"} for f in WON_AND_LOST)), "METRICS_INCOMPLETE"),
    "fee in another currency": (writing(*({**f, "fee_currency": "EUR"} for f in WON_AND_LOST)), "METRICS_INCOMPLETE"),
    "nothing lost": (writing(*WON_AND_LOST[:2]), "METRICS_UNDEFINED"),
    "nothing closed": (writing(WON_AND_LOST[0]), "METRICS_UNDEFINED"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_gives_no_metrics_fails_with_its_reason_and_writes_none(
    backtest: Callable[..., Run], desk: CommandLine, database: Database, case: str
):
    command, reason = BROKEN[case]
    ran = backtest(*command)
    assert (ran.code, ran.error["error_code"]) == (1, "PROCESS_FAILED")
    assert job(database) == ("FAILED", reason)
    assert reason in ran.error["message"]
    assert database.sql("SELECT count(*) FROM backtest_metrics") == [(0,)]
    missing = desk("backtest", "show", "1")
    assert (missing.code, missing.error["error_code"]) == (4, "METRICS_MISSING")
    assert desk("audit", "verify").code == 0


HEADER = "time,open,high,low,close\n"
BAD_BARS = {
    "empty": ("", "empty"),
    "header only": (HEADER, "no bar"),
    "a column is missing": ("time,open,high,low\n", "line 1"),
    "an unknown column": ("time,open,high,low,close,vwap\n", "line 1"),
    "no zone": (f"{HEADER}2024-01-02T21:00:00,1,1,1,1\n", "line 2: time: 2024-01-02T21:00:00 has neither"),
    "back in time": (f"{HEADER}{AT.format(3)},1,1,1,1\n{AT.format(2)},1,1,1,1\n", "line 3: time"),
    "the same time": (f"{HEADER}{AT.format(3)},1,1,1,1\n{AT.format(3)},1,1,1,1\n", "line 3: time"),
    "price of 0": (f"{HEADER}{AT.format(3)},1,1,0,1\n", "line 2: low: a price of 0"),
    "close above high": (f"{HEADER}{AT.format(3)},1,2,1,3\n", "line 2: open and close"),
    "not a number": (f"{HEADER}{AT.format(3)},1,NaN,1,1\n", "line 2: high: NaN"),
    "a field is missing": (f"{HEADER}{AT.format(3)},1,1,1\n", "line 2: has more or fewer"),
    "gzip": ("\x1f\udc8b\x08", "is packed with gzip"),
}


@pytest.mark.parametrize("case", BAD_BARS)
def test_bad_bars_fail_the_job_before_any_engine_starts(
    backtest: Callable[..., Run], database: Database, home: Path, case: str
):
    bars, told = BAD_BARS[case]
    ran = backtest("sh", "-c", "echo started >pids", bars=bars)
    assert ran.code == 1
    assert job(database) == ("FAILED", "BAD_BARS")
    assert told in ran.error["message"]
    assert not (home / "pids").exists()


def test_bars_that_change_while_the_engine_runs_are_no_evidence(backtest: Callable[..., Run], database: Database):
    changed = (
        f"echo '2024-01-05T21:00:00Z,1,1,1,1' >>$BLAIDCTL_BARS; exec {' '.join(map(_quoted, writing(*WON_AND_LOST)))}"
    )
    assert backtest("sh", "-c", changed).code == 1
    assert job(database) == ("FAILED", "BAD_BARS")


def _quoted(word: str) -> str:
    return f"'{word}'"


def test_an_engine_that_takes_too_long_is_ended_and_says_timeout(
    desk: CommandLine, process: ProcessCommandLine, database: Database, home: Path
):
    short = ("--heartbeat-s", "1", "--stale-after-s", "60", "--max-runtime-s", "1", "--grace-s", "1")
    done(desk("job", "type", "add", "backtest-short", *short))
    asked = ("--bars", str(BARS), "--symbol", "ES", "--capital", "1", "--type", "backtest-short")
    ran = process("backtest", "run", *asked, "--", "sh", "-c", "echo $$ >pids; exec sleep 300")
    assert ran.code == 1
    assert job(database) == ("FAILED", "TIMEOUT")
    assert not any(map(lives, numbers_in(home / "pids", 1)))


def test_told_to_stop_it_ends_the_engine_and_is_cancelled(
    desk: CommandLine, process: ProcessCommandLine, database: Database, home: Path
):
    assert desk is not None
    asked = ("--bars", str(BARS), "--symbol", "ES", "--capital", "1")
    popen = process.spawn("backtest", "run", *asked, "--", "sh", "-c", "echo $$ >pids; exec sleep 300")
    pids = numbers_in(home / "pids", 1)
    popen.send_signal(signal.SIGTERM)
    popen.communicate(timeout=LIMIT_S)
    assert popen.returncode == 1
    assert job(database) == ("CANCELLED", "SUPERVISOR_STOPPED")
    assert not any(map(lives, pids))


def test_after_a_failure_the_next_attempt_of_the_same_job_may_succeed(
    backtest: Callable[..., Run], desk: CommandLine, database: Database
):
    assert backtest("false").code == 1
    assert backtest(*writing(*WON_AND_LOST), words=("--job", "1")).code == 0
    assert job(database) == ("SUCCEEDED", "COMPLETED")
    assert desk("backtest", "show", "1").json["result"]["attempt"] == 2
    assert backtest(*writing(*WON_AND_LOST), words=("--job", "1")).code == 4


def test_without_a_command_the_reference_engine_runs_out_of_the_box(desk: CommandLine, process: ProcessCommandLine):
    asked = ("--bars", str(BARS), "--symbol", "ES", "--capital", "100000")
    assert process("backtest", "run", *asked).code == 0
    shown = desk("backtest", "show", "1").json["result"]
    assert shown["bars"] == 520
    # The one interpreter of this environment, which has several names.
    assert Path(shown["program"]).parent == Path(sys.executable).parent
    assert Path(shown["program"]).samefile(sys.executable)
    assert shown["fills"] == shown["closed_trades"] + 1
    assert Decimal(shown["starting_capital"]) + Decimal(shown["net"]) == Decimal(shown["equity"])


METRICS = {
    "bars_sha256": "a" * 64, "bars": 3, "first_bar_at": AT.format(2), "last_bar_at": AT.format(4), "exchange": "CME",
    "symbol": "ES", "asset_class": "future", "currency": "USD", "lot_method": "FIFO", "basis": "REALIZED",
    "starting_capital": "1000", "equity": "941", "gross": "-50", "fees": "9", "net": "-59", "fills": 4,
    "closed_trades": 2, "wins": 1, "losses": 1, "win_rate": "0.5", "profit_factor": "0.788908765653",
    "expectancy": "-29.5", "return_on_capital": "-0.059", "exposure": "1", "max_drawdown": "277.25",
    "max_drawdown_fraction": "0.227580545865", "input_hash": "b" * 64,
}  # fmt: skip


@pytest.mark.operation("backtest end")
def test_the_end_is_fenced_and_takes_no_metrics_with_a_hole(desk: CommandLine, database: Database):
    done(desk("job", "start", "backtest"))
    for metrics in (
        {**METRICS, "net": None},
        {k: v for k, v in METRICS.items() if k != "net"},
        METRICS | {"net": "1e5"},
    ):
        with pytest.raises(errors.InvalidRequest, match=r"metrics\.net"):
            operate(desk, "backtest end", {"job": 1, "attempt": 1, "metrics": metrics})
    with pytest.raises(errors.JobTerminal):
        operate(desk, "backtest end", {"job": 1, "attempt": 2, "metrics": METRICS})
    assert database.sql("SELECT count(*) FROM backtest_metrics") == [(0,)]
    ended = operate(desk, "backtest end", {"job": 1, "attempt": 1, "metrics": METRICS}, request_id="once")
    assert ended.result["status"] == "SUCCEEDED"
    assert operate(desk, "backtest end", {"job": 1, "attempt": 1, "metrics": METRICS}, request_id="once").replayed
    with pytest.raises(errors.JobTerminal):
        operate(desk, "backtest end", {"job": 1, "attempt": 1, "metrics": METRICS})
    done(desk("job", "type", "add", "nightly", *LIMITS))
    done(desk("job", "start", "nightly"))
    with pytest.raises(errors.InvalidRequest, match="no backtest"):
        operate(desk, "backtest end", {"job": 2, "attempt": 1, "metrics": METRICS})


def test_no_other_road_lets_a_backtest_succeed(desk: CommandLine, process: ProcessCommandLine, database: Database):
    done(desk("job", "start", "backtest"))
    refused = desk("job", "finish", "1", "--attempt", "1", "--status", "SUCCEEDED")
    assert (refused.code, refused.error["error_code"]) == (4, "METRICS_MISSING")
    assert process("job", "run", "backtest", "--", "true").code == 4
    assert [row[0] for row in database.sql("SELECT status FROM jobs ORDER BY id")] == ["RUNNING", "RUNNING"]
    done(desk("job", "finish", "1", "--attempt", "1", "--status", "FAILED"))


_SUCCEEDED = "status = 'SUCCEEDED', reason_code = 'COMPLETED', finished_at = started_at"
_OF_A_JOB = "job_type, attempt, hb_seq, heartbeat_s, stale_after_s, created_at, finished_at, reason_code"
_OTHER_JOB = COLUMNS.replace("attempt", "2").replace("job_id", "2")
REFUSED = {
    f"UPDATE jobs SET {_SUCCEEDED} WHERE id = 2": "succeeds only",
    f"INSERT INTO jobs (status, {_OF_A_JOB}) SELECT 'SUCCEEDED', {_OF_A_JOB} FROM jobs WHERE id = 1": "succeeds only",
    "UPDATE backtest_metrics SET net = '1'": "append-only",
    "DELETE FROM backtest_metrics": "append-only",
    f"INSERT INTO backtest_metrics ({COLUMNS}) SELECT {COLUMNS} FROM backtest_metrics": "running attempt",
    f"INSERT INTO backtest_metrics ({COLUMNS}) SELECT {_OTHER_JOB} FROM backtest_metrics": "running attempt",
}


@pytest.mark.parametrize("statement", REFUSED)
def test_the_database_refuses_what_breaks_the_rule(
    backtest: Callable[..., Run], desk: CommandLine, database: Database, statement: str
):
    assert backtest(*writing(*WON_AND_LOST)).code == 0
    done(desk("job", "start", "backtest"))
    before = database.sql("SELECT id, status FROM jobs ORDER BY id")
    with pytest.raises(Exception, match=REFUSED[statement]):
        database.sql(statement)
    assert database.sql("SELECT id, status FROM jobs ORDER BY id") == before
    assert database.sql("SELECT count(*) FROM backtest_metrics") == [(1,)]


def test_bad_input_is_refused_before_a_job_exists(desk: CommandLine, process: ProcessCommandLine, database: Database):
    asked = ("backtest", "run", "--bars", str(BARS), "--symbol")
    cases = {
        ("ES", "--capital", "0"): (2, "INVALID_REQUEST"),
        ("ES", "--capital", "1e400"): (2, "INVALID_REQUEST"),
        ("ES", "--capital", "1", "--type", "nightly"): (2, "INVALID_REQUEST"),
        ("ES", "--capital", "1", "--type", "backtest-none"): (3, "JOB_TYPE_NOT_FOUND"),
        ("NOPE", "--capital", "1"): (3, "INSTRUMENT_NOT_FOUND"),
    }
    for words, expected in cases.items():
        ran = process(*asked, *words)
        assert (ran.code, ran.error["error_code"]) == expected
    assert database.sql("SELECT count(*) FROM jobs") == [(0,)]
    assert desk("backtest", "list").json["result"]["backtests"] == []
    assert desk("backtest", "show", "1").code == 3


def test_the_heart_beats_while_an_engine_works(desk: CommandLine, process: ProcessCommandLine, database: Database):
    assert desk is not None
    asked = ("--bars", str(BARS), "--symbol", "ES", "--capital", "1")
    popen = process.spawn("backtest", "run", *asked, "--", "sh", "-c", "exec sleep 300")
    wait_for(lambda: (database.sql("SELECT max(hb_seq) FROM jobs")[0][0] or 0) > 1)
    popen.send_signal(signal.SIGTERM)
    popen.communicate(timeout=LIMIT_S)
    assert popen.returncode == 1


def test_the_reference_engine_crosses_where_the_means_do():
    closes = [Decimal(n) for n in (1, 2, 3, 4, 3, 2, 1, 1, 5)]
    expected = []
    for end in range(1, len(closes) + 1):
        seen = closes[:end]
        fast, slow = sum(seen[-2:]) / 2, sum(seen[-4:]) / 4
        expected.append(0 if end < 4 else (fast > slow) - (fast < slow))
    assert [*signals(closes, 2, 4)] == expected
    assert {1, -1} <= set(expected)


def test_nothing_is_left_behind_in_the_temporary_folder(
    backtest: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    assert os.environ["TMPDIR"] == str(folder)
    assert backtest(*writing(*WON_AND_LOST)).code == 0
    assert backtest("false").code == 1
    assert list(folder.iterdir()) == []


def test_a_supervisor_that_is_killed_leaves_no_file_of_fills(
    desk: CommandLine, process: ProcessCommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    assert desk is not None
    folder, sign, bars = tmp_path / "scratch", tmp_path / "it-runs", tmp_path / "bars.csv"
    folder.mkdir()
    bars.write_text(THREE)
    monkeypatch.setenv("TMPDIR", str(folder))
    popen = process.spawn(
        *("backtest", "run", "--bars", str(bars), "--symbol", "ES", "--capital", "1000"),
        *("--", "sh", "-c", f"touch {sign}; exec sleep 60"),
    )
    wait_for(sign.exists)
    popen.kill()
    popen.communicate(timeout=LIMIT_S)
    assert list(folder.iterdir()) == []
