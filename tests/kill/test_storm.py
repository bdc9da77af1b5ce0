"""Sixteen processes at once, and a kill that dies at any boundary."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.kill.fleet import bots, entries, events, verified

if TYPE_CHECKING:
    from tests.support.commandline import CommandLine
    from tests.support.database import Database

ROOT = Path(__file__).parents[2]
SECONDS, WORKERS, RAW = 4, 16, 2


def let_loose(cli: CommandLine, *words: object, **env: str) -> Any:
    """Run a mode of storm.py; return what it printed."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.kill.storm", *map(str, words)],
        cwd=ROOT,
        env=cli.environment({"PYTHONDONTWRITEBYTECODE": "1", **env}),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_sixteen_processes_lose_nothing(cli: CommandLine, database: Database, tmp_path: Path):
    bots(database, ["b0", "b1", "b2"])
    # How long a queue of eighteen takes on a slow disk is not the question here.
    patience = {"BLAIDCTL_LOCK_TIMEOUT_S": "60", "BLAIDCTL_KILL_LOCK_TIMEOUT_S": "60"}
    found = let_loose(cli, "storm", SECONDS, WORKERS, RAW, tmp_path, **patience)
    book = found["book"]
    assert found["unexpected"] == []
    assert found["ends"] == [0] * (WORKERS + RAW + 1)

    # Everything happened: each kind of act, refusals by the rule and by the database, and a watcher who saw it.
    for kind in ("KILL", "RESURRECT", "instance start", "instance run", "instance finish", "refused", "inserted"):
        assert book.get(kind, 0) > 0, book
    assert book["looks"] > 50
    assert book["violations"] == 0

    # Nothing was lost: as many rows and entries as answers, and no gap between them.
    kinds = [action for _, action, *_ in events(database)]
    assert (kinds.count("KILL"), kinds.count("RESURRECT")) == (book["KILL"], book["RESURRECT"])
    ((count, first, last),) = database.sql("SELECT count(*), min(seq), max(seq) FROM audit_log")
    assert (count, first, last) == (book["entries"], 1, book["entries"])
    assert database.sql("SELECT count(DISTINCT prev_hash) FROM audit_log") == [(count,)]
    assert database.sql("SELECT count(*) FROM bot_instances") == [(book["instance start"] + book["inserted"],)]
    assert verified(cli)["entries"] == count


def test_a_kill_that_dies_anywhere_is_done_once(cli: CommandLine, database: Database, tmp_path: Path):
    """SIGKILL before and after every statement, COMMIT and the answer; the same command again finds or does it."""
    names = bots(database, [f"c{n}" for n in range(80)])
    for name in names:
        database.sql(
            "INSERT INTO bot_instances (bot_id, status, host, pid, attempt, started_at, heartbeat_at)"
            f" VALUES ('{name}', 'RUNNING', 'here', 1, 1, '2026-01-01T00:00:00.000000Z', '2026-01-01T00:00:00.000000Z')"
        )
    found = let_loose(cli, "crash", tmp_path)
    points = found["points"]
    book = found["last"]["book"]
    assert found["last"]["survived"] == 0, found["last"]["said"]
    assert {name.partition(" ")[2] for name in book} == {"_limit", "on", "_commit", "write_out"}
    assert len(points) == sum(book.values()) + 1 > 15
    assert all((point["again"], point["code"]) == (0, 0) for point in points), points

    # Before COMMIT returned nothing is there, after it everything: one change from one to the other.
    replayed = [point["replayed"] for point in points]
    assert replayed == sorted(replayed)
    assert {True, False} == set(replayed)

    killed = names[: len(points)]
    assert events(database) == [(name, "KILL", "APPLIED", None, 1) for name in killed]
    assert database.sql("SELECT count(*) FROM bots WHERE killed_at IS NOT NULL") == [(len(points),)]
    assert database.sql("SELECT count(*) FROM bot_instances WHERE status = 'STOPPED'") == [(len(points),)]
    assert [entry["request_id"] for entry in entries(database)] == [f"crash-{n}" for n in range(len(points))]
    verified(cli)
