"""Many reapers, many hearts, workers that stall: everything once, and nothing that lives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.kill.fleet import done, entries, verified
from tests.reaper.herd import LONG_AGO, ends, herd, instance, statuses
from tests.support.commandline import SCRIPT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.commandline import CommandLine, ProcessCommandLine
    from tests.support.database import Database

LIMIT_S = 60
ROOT = Path(__file__).parents[2]
#: SQLite's busy handler is unfair to whoever waits beside a foreign writer: patience.
QUICK = {"BLAIDCTL_HEARTBEAT_S": "1", "BLAIDCTL_LOCK_TIMEOUT_S": "60"}
REAPERS = 4


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < until, f"not so within {LIMIT_S} s"
        time.sleep(0.05)


@pytest.fixture
def background(cli: CommandLine, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """`background("beat", "20")`: a process of tests/reaper/herd.py, ended with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> subprocess.Popen[bytes]:
        environment = {**cli.environment(), "PYTHONPATH": str(ROOT)}
        started.append(
            subprocess.Popen([sys.executable, "-m", "tests.reaper.herd", *words], cwd=tmp_path, env=environment)
        )
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.wait(LIMIT_S)


def reapers(process: ProcessCommandLine, count: int, *words: str) -> list[dict[str, Any]]:
    """Let reapers loose at once; return what each said."""
    popens = [process.spawn("job", "reap", *words, env=QUICK) for _ in range(count)]
    found = []
    for popen in popens:
        stdout, stderr = popen.communicate(timeout=LIMIT_S)
        assert popen.returncode == 0, stderr
        found.append(json.loads(stdout)["result"])
    return found


@pytest.mark.parametrize("size", ["50", "1000"])
def test_four_reapers_at_once_end_each_thing_once(
    process: ProcessCommandLine, cli: CommandLine, database: Database, size: str
):
    late, silent = herd(cli, 1500, deadline_in_s=-1), herd(cli, 1500)
    found = reapers(process, REAPERS, "--batch", size)
    assert sum(each["jobs_reaped"] for each in found) == len(late) + len(silent)
    assert all(each["jobs_looked"] == each["jobs_reaped"] + each["jobs_moved"] for each in found)
    assert ends(database) == [(job, 1, "FAILED", "TIMEOUT") for job in (*late, *silent)]
    assert Counter(statuses(database).values()) == {("FAILED", "TIMEOUT"): 3000}
    assert database.sql("SELECT count(*) FROM reaper_runs") == [(REAPERS,)]
    verified(cli)


def test_instances_too_are_ended_once(process: ProcessCommandLine, cli: CommandLine, database: Database):
    """Their host was started anew: each is failed once and confirmed once, whoever does which."""
    from blaidctl.core.context import this_machine

    for number in range(40):
        before = {"host": this_machine().host, "boot_id": "another", "started_at": LONG_AGO}
        instance(database, bot=f"b{number}", pid=None, status="STARTING", **before)
    found = reapers(process, REAPERS, "--batch", "7")
    assert sum(each["instances_reaped"] for each in found) == 40
    assert sum(each["stops_confirmed"] for each in found) == 40
    reaped = [target for entry in entries(database) for target in entry["what"]["target"].get("instances", ())]
    assert Counter(row[0] for row in reaped) == dict.fromkeys(range(1, 41), 2)
    assert database.sql("SELECT count(*) FROM bot_instances WHERE stop_confirmed_at IS NULL") == [(0,)]
    verified(cli)


@pytest.mark.timeout(150)
def test_of_ten_thousand_hearts_that_beat_none_is_stopped(
    process: ProcessCommandLine,
    cli: CommandLine,
    database: Database,
    background: Callable[..., subprocess.Popen[bytes]],
    tmp_path: Path,
):
    """Every second one's clock is an hour slow, so that it looks silent at every look.

    On SQLite another writer holds the one write lock for a second, again and again: a tenth of `stale_after_s`, which
    is the sizing rule.
    """
    herd(cli, 10_000, silent_s=0)
    background("beat", str(LIMIT_S), "behind")
    wait_for((tmp_path / "beating").exists)
    dead = herd(cli, 60, silent_s=90, host="elsewhere")
    late = herd(cli, 60, silent_s=0, deadline_in_s=-1, host="elsewhere")
    if database.kind == "sqlite":
        background("hold", "1")
        wait_for((tmp_path / "holding").exists)
    began = time.monotonic()
    found: list[dict[str, Any]] = []
    while time.monotonic() - began < 8:
        found += reapers(process, 2)
    # Nobody looked at an empty field: the slow ones were taken for silent, and let go.
    assert max(each["jobs_moved"] for each in found) >= 4000
    assert sum(each["jobs_reaped"] for each in found) == 120
    assert ends(database) == [(job, 1, "FAILED", "TIMEOUT") for job in (*dead, *late)]
    assert Counter(statuses(database).values()) == {("RUNNING", None): 10_000, ("FAILED", "TIMEOUT"): 120}
    assert database.sql("SELECT count(*) FROM jobs WHERE status = 'RUNNING' AND hb_seq < 9") == [(0,)]


#: A worker that beats as long as it may, and then tries to finish all the same.
WORKER = """
until [ -e go ]; do sleep 0.05; done
code=0
until [ $code != 0 ]; do "$0" job beat "$1" --attempt 1 >/dev/null 2>>beats; code=$?; touch beat; done
echo $code >refused
"$0" job finish "$1" --attempt 1 --status SUCCEEDED >/dev/null 2>finish
echo $? >finished
"""


def test_a_worker_that_was_stopped_and_wakes_after_its_end_writes_nothing(
    process: ProcessCommandLine, cli: CommandLine, database: Database, tmp_path: Path
):
    limits = ("--heartbeat-s", "1", "--stale-after-s", "4", "--max-runtime-s", "600", "--grace-s", "1")
    done(cli("job", "type", "add", "short", *limits))
    job = done(cli("job", "start", "short")).json["result"]["job_id"]
    worker = subprocess.Popen(
        ["/bin/sh", "-c", WORKER, SCRIPT, str(job)], cwd=tmp_path, env=process.environment(), start_new_session=True
    )
    try:
        (tmp_path / "go").touch()
        wait_for((tmp_path / "beat").exists)
        os.killpg(worker.pid, signal.SIGSTOP)
        wait_for(lambda: reapers(process, 1)[0]["jobs_reaped"])
        assert ends(database) == [(job, 1, "FAILED", "TIMEOUT")]
        row = database.sql("SELECT hb_seq, heartbeat_at, finished_at FROM jobs")
        os.killpg(worker.pid, signal.SIGCONT)
        wait_for((tmp_path / "finished").exists)
    finally:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait(LIMIT_S)
    assert (tmp_path / "refused").read_text() == "4\n"
    assert (tmp_path / "finished").read_text() == "4\n"
    for said in ("beats", "finish"):
        assert json.loads((tmp_path / said).read_text().splitlines()[-1])["error_code"] == "JOB_TERMINAL"
    assert database.sql("SELECT hb_seq, heartbeat_at, finished_at FROM jobs") == row
    assert statuses(database) == {job: ("FAILED", "TIMEOUT")}
    assert ends(database) == [(job, 1, "FAILED", "TIMEOUT")]
    refusals = [entry["action"] for entry in entries(database) if entry["outcome"] == "REFUSED"]
    assert refusals == ["job beat", "job finish"]
    verified(cli)


def test_the_next_attempt_is_not_ended_for_the_silence_of_the_last(cli: CommandLine, database: Database):
    (job,) = herd(cli, deadline_in_s=-1)
    done(cli("job", "reap"))
    assert done(cli("job", "start", "quick", "--job", str(job))).json["result"]["attempt"] == 2
    assert done(cli("job", "reap")).json["result"]["jobs_looked"] == 0
    assert statuses(database) == {job: ("RUNNING", None)}
    verified(cli)
