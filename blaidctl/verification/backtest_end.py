"""Verification 2: engines that work, and engines that fail in every way that a backtest has a reason for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from blaidctl.backtests.vocabulary import METRICS
from blaidctl.core.clock import monotonic_s, pause
from blaidctl.verification.desk import fill
from blaidctl.verification.stage import MismatchError

if TYPE_CHECKING:
    from blaidctl.verification.stage import Stage

_RUN = ("backtest", "run", "--bars", "data/es-bars.csv", "--symbol", "ES", "--capital", "100000")
_AT = "2024-01-{:02d}T21:00:00Z"
#: A silence of so long is the end of a job.
_STALE_S = 5
_TYPE = ("--heartbeat-s", "1", "--stale-after-s", str(_STALE_S), "--grace-s", "1", "--max-runtime-s")


def backtest_end(stage: Stage) -> None:
    """Show it; MismatchError when something is not as it must be."""
    _write_engines(stage)
    stage.type("job", "type", "add", "backtest", *_TYPE, "600")
    stage.type("job", "type", "add", "backtest-short", *_TYPE, "1")
    stage.say("the reference engine over bars: every metric, and SUCCEEDED")
    stage.type(*_RUN)
    stage.type("backtest", "show", "1", see=dict.fromkeys(METRICS, _some))
    killed_s = _killed(stage)
    stage.say("engines that fail, each in its own way")
    for words, _ in FAILURES:
        stage.type(*words, code=1, error="PROCESS_FAILED")
    pause(max(0.0, killed_s + _STALE_S + 1 - monotonic_s()))
    stage.say("what the reaper does with the one whose supervisor was killed")
    stage.type("job", "reap", see={"jobs_reaped": 1})
    stage.say("every backtest has ended; metrics are there for the one that succeeded, and for no other")
    listed = stage.type("job", "list", see={"jobs[*].status": ["FAILED"] * (len(FAILURES) + 1) + ["SUCCEEDED"]})
    reasons = [job["reason_code"] for job in reversed(listed.result["jobs"])]
    stage.see("jobs[*].reason_code, oldest first", reasons, ["COMPLETED", "TIMEOUT", *(why for _, why in FAILURES)])
    stage.type("backtest", "list", see={"backtests[*].job_id": [1]})
    stage.type("backtest", "show", "2", code=4, error="METRICS_MISSING")
    stage.type("audit", "verify", see={"answer": "OK"})


#: What is run, and the reason that it must end with; oldest first.
FAILURES: tuple[tuple[tuple[str, ...], str], ...] = (
    ((*_RUN, "--", "sh", "-c", "exit 3"), "EXIT_NONZERO"),
    ((*_RUN, "--", "sh", "-c", "kill -SEGV $$"), "SIGNALLED"),
    ((*_RUN, "--type", "backtest-short", "--", "sleep", "60"), "TIMEOUT"),
    ((*_RUN, "--", "true"), "NO_FILLS"),
    ((*_RUN, "--", "echo", "bought one, sold one"), "BAD_FILLS"),
    ((*_RUN, "--", "cat", "without-fees.ndjson"), "METRICS_INCOMPLETE"),
    ((*_RUN, "--", "cat", "never-lost.ndjson"), "METRICS_UNDEFINED"),
    (("backtest", "run", "--bars", "bad-bars.csv", "--symbol", "ES", "--capital", "100000"), "BAD_BARS"),
)


def _some(value: object) -> bool:
    """Say whether it is there: a metric that is not null."""
    return value is not None


def _killed(stage: Stage) -> float:
    """Kill a supervisor; return when that was."""
    stage.say("a supervisor that dies with no chance to say anything: its job is RUNNING, and nobody beats its heart")
    sign = stage.folder / "it-runs"
    stage.kill_midway(*_RUN, "--", "sh", "-c", "touch it-runs; exec sleep 60", when=sign.exists)
    if not sign.exists():
        raise MismatchError("the engine of the backtest that was to be killed never ran")
    return monotonic_s()


def _write_engines(stage: Stage) -> None:
    """Write what two engines print, and bars that are none: the second lies below its own low."""
    pair = [
        fill(0, executed_at=_AT.format(3), price="5010.25"),
        fill(1, executed_at=_AT.format(4), price="5020.25"),
    ]
    without = [{name: value for name, value in one.items() if not name.startswith("fee")} for one in pair]
    for name, fills in (("never-lost", pair), ("without-fees", without)):
        text = "".join(json.dumps(one) + "\n" for one in fills)
        (stage.folder / f"{name}.ndjson").write_text(text, encoding="utf-8")
    bars = f"time,open,high,low,close\n{_AT.format(3)},10,12,9,11\n{_AT.format(4)},10,12,9,8\n"
    (stage.folder / "bad-bars.csv").write_text(bars, encoding="utf-8")
