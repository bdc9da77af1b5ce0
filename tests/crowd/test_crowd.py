"""Sixteen processes kill, resurrect and start instances at once: nothing is lost, forked, or running while killed."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from tests.support.commandline import CommandLine
    from tests.support.database import Database

TOP = Path(__file__).parents[2]
PROGRAM = (sys.executable, "-m", "tests.crowd.crowd")
WORKERS, SECONDS, BOTS = 16, 4, ["b0", "b1", "b2"]
KILLED_AND_RUNNING = """
    SELECT count(*) FROM bot_instances i JOIN bots b ON b.id = i.bot_id
     WHERE b.killed_at IS NOT NULL AND i.status IN ('STARTING', 'RUNNING')
"""


@pytest.fixture
def bots(cli: CommandLine) -> list[str]:
    assert cli("user", "add", "alice").code == 0
    for bot in BOTS:
        assert cli("bot", "add", bot, "--user", "alice").code == 0
    return BOTS


def crowd(cli: CommandLine, bots: list[str]) -> Counter[str]:
    ran = subprocess.run(
        [*PROGRAM, "--workers", str(WORKERS), "--seconds", str(SECONDS), "--bots", *bots],
        cwd=TOP,
        env=cli.environment({"BLAIDCTL_LOCK_TIMEOUT_S": "30", "BLAIDCTL_KILL_LOCK_TIMEOUT_S": "30"}),
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert ran.returncode == 0, ran.stderr
    return Counter(json.loads(ran.stdout))


@contextlib.contextmanager
def sampled(database: Database):
    """Count, over and over, the instances that run although their bot is killed; yield what was seen."""
    over, seen = threading.Event(), Counter()

    def look() -> None:
        connection = database.raw()
        while not over.is_set():
            seen["looks"] += 1
            seen["killed and running"] += connection.execute(KILLED_AND_RUNNING).fetchone()[0]
            over.wait(0.01)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


@pytest.mark.timeout(180)
def test_nothing_is_lost_forked_or_running_while_killed(cli, database, bots):
    with sampled(database) as seen:
        done = crowd(cli, bots)
    assert not [what for what in done if what.startswith("unexpected")], done
    assert min(done["kill"], done["resurrect"], done["instance start"]) > 0, done
    assert seen["looks"] > SECONDS
    assert seen["killed and running"] == 0
    logged = Counter(
        {(action, outcome): n for action, outcome, n in database.sql(
            "SELECT action, outcome, count(*) FROM audit_log GROUP BY action, outcome"
        )}
    )  # fmt: skip
    for act in ("kill", "resurrect", "instance start", "instance run"):
        assert logged[act, "DONE"] == done[act], act
    refused = sum(n for (_, outcome), n in logged.items() if outcome == "REFUSED")
    assert refused == sum(n for what, n in done.items() if what.startswith("refused"))
    [(events,)] = database.sql("SELECT count(*) FROM kill_events")
    assert events == done["kill"] + done["resurrect"]
    verified = cli("audit", "verify")
    assert (verified.code, verified.json["result"]["defects"]) == (0, [])


@pytest.mark.timeout(180)
def test_raw_sql_in_the_crowd_never_gets_an_instance_onto_a_killed_bot(cli, postgres_database, bots):
    over, tried = threading.Event(), Counter()

    def intrude(isolation: str) -> None:
        connection = postgres_database.raw()
        connection.execute(f"SET default_transaction_isolation = '{isolation}'")
        while not over.is_set():
            try:
                connection.execute(
                    "INSERT INTO bot_instances (bot_id, status, host, pid, attempt, started_at, heartbeat_at)"
                    " VALUES ('b0', 'RUNNING', 'intruder', 1, 1, now(), now())"
                )
                tried["written"] += 1
            except psycopg.Error as error:
                tried[type(error).__name__] += 1

    intruders = [threading.Thread(target=intrude, args=(level,)) for level in ("read committed", "repeatable read")]
    for intruder in intruders:
        intruder.start()
    try:
        with sampled(postgres_database) as seen:
            done = crowd(cli, bots)
    finally:
        over.set()
        for intruder in intruders:
            intruder.join()
    assert not [what for what in done if what.startswith("unexpected")], done
    assert tried["written"] > 0, tried
    assert tried["RestrictViolation"] > 0, tried
    assert seen["killed and running"] == 0
    assert postgres_database.sql(KILLED_AND_RUNNING) == [(0,)]
    assert cli("audit", "verify", database=postgres_database).code == 0


@pytest.mark.timeout(180)
def test_every_writer_of_a_sqlite_file_gets_its_turn(tmp_path):
    """By counts, not by the clock (that is benchmarks/fairness.py): nobody is left far behind the others."""
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from blaidctl.core.queue import turn\n"
        "done, deadline = 0, time.monotonic() + 4\n"
        "while time.monotonic() < deadline:\n"
        "    with turn(Path(sys.argv[1]), 30):\n"
        "        time.sleep(0.002)\n"
        "    done += 1\n"
        "print(done)\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "contended.db")], stdout=subprocess.PIPE, env=os.environ
        )
        for _ in range(8)
    ]
    turns = sorted(int(process.communicate(timeout=60)[0]) for process in processes)
    assert turns[0] > 0
    assert turns[0] * 4 > turns[-1], turns
