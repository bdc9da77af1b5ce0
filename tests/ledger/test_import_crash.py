"""An import that does not come to its end: killed, without a disk, without a database, or beside another one."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from blaidctl.core import db
from blaidctl.ledger import imports, spool
from tests.kill.fleet import WHY, done, refused, verified
from tests.ledger.work import counts, ledger_desk, rows, stored, take, text, write

if TYPE_CHECKING:
    from tests.support.commandline import CommandLine, ProcessCommandLine
    from tests.support.database import Database

CRASH = Path(__file__).with_name("crash.py")


def program(
    cli: CommandLine, path: Path, *, part_rows: int, point: int = 0, dry_run: bool = False
) -> subprocess.Popen[str]:
    """Start an import with small parts that dies at a point."""
    words = ("ledger", "import", str(path), "--format", "csv", "--account", "ib-1")
    return subprocess.Popen(
        [sys.executable, str(CRASH), str(part_rows), str(point), *words, *(["--dry-run"] if dry_run else [])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=cli.environment() | {"PYTHONPATH": str(CRASH.parents[2])},
    )


def whole_parts(database: Database) -> None:
    """Insist that every import row has exactly the fills that it says."""
    found = database.sql(
        "SELECT i.id, i.rows_new, count(t.id) FROM ledger_imports i LEFT JOIN trades t ON t.import_id = i.id"
        " GROUP BY i.id, i.rows_new"
    )
    assert [row for row in found if row[1] != row[2]] == []


@pytest.mark.parametrize("share", [0.35, 0.55, 0.75, 0.95])
def test_a_kill_at_any_point_leaves_whole_parts_and_the_next_run_goes_on(
    cli, database: Database, home: Path, monkeypatch: pytest.MonkeyPatch, share: float
):
    ledger_desk(cli)
    path = write(home, rows(*[{}] * 5, {"reverses": "T1", "side": "SELL", "fee": "-2.25"}))
    # The real transactions, rolled back: how many points there are to die at.
    whole = program(cli, path, part_rows=2, dry_run=True)
    _, said = whole.communicate(timeout=100)
    assert whole.returncode == 0, said
    points = int(re.findall(r"points (\d+)", said)[-1])
    killed = program(cli, path, part_rows=2, point=int(points * share))
    killed.communicate(timeout=100)
    assert killed.returncode == -signal.SIGKILL
    whole_parts(database)
    monkeypatch.setattr(imports, "PART_ROWS", 2)
    done(take(cli, path))
    assert stored(database) == [(f"T{n}",) for n in range(1, 7)]
    parts = database.sql("SELECT part FROM ledger_imports ORDER BY id")
    assert parts == [(1,), (2,), (3,)], "each part was written once"
    verified(cli)


def test_who_finishes_an_import_hears_of_the_fills_after_a_kill_in_the_parts_before(
    cli, database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
):
    ledger_desk(cli)
    done(cli("kill", "momo-1", *WHY))
    path = write(home, rows({}, {}, {}))
    counted = program(cli, path, part_rows=1, dry_run=True)
    points = int(re.findall(r"points (\d+)", counted.communicate(timeout=100)[1])[-1])
    killed = program(cli, path, part_rows=1, point=int(points * 0.8))
    killed.communicate(timeout=100)
    there = counts(database)["ledger_imports"]
    assert (killed.returncode, 0 < there < 3) == (-signal.SIGKILL, True), there
    monkeypatch.setattr(imports, "PART_ROWS", 1)
    finished = take(cli, path)
    assert (finished.code, finished.error["error_code"]) == (1, "FILL_AFTER_KILL"), finished.stderr
    assert (finished.json["result"]["rows_new"], finished.json["result"]["after_kill"]) == (3 - there, 3)
    assert done(take(cli, path)).json["result"]["after_kill"] == 0, "said once: nothing is new any more"


def test_two_operators_may_import_the_same_file_at_once(cli, database: Database, home: Path):
    ledger_desk(cli)
    path = write(home, rows(*[{}] * 60))
    both = [program(cli, path, part_rows=10) for _ in range(2)]
    said = [one.communicate(timeout=100) for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    assert len(stored(database)) == len(set(stored(database))) == 60
    assert database.sql("SELECT part FROM ledger_imports ORDER BY part") == [(n,) for n in range(1, 7)]
    verified(cli)


def test_ctrl_c_while_the_file_still_comes_writes_nothing(process: ProcessCommandLine, database: Database, cli):
    ledger_desk(cli)
    running = process.spawn("ledger", "import", "-", "--format", "csv", "--account", "ib-1")
    assert running.stdin is not None
    running.stdin.write(text(rows({}, {})))
    running.stdin.flush()
    _wait_for_reader(running)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130, said
    assert counts(database) == dict.fromkeys(counts(database), 0)


def _wait_for_reader(running: subprocess.Popen[str]) -> None:
    """Wait until the process waits for its standard input."""
    import time

    for _ in range(300):
        if "poll" in Path(f"/proc/{running.pid}/wchan").read_text() or _asleep_in_poll(running.pid):
            return
        time.sleep(0.1)
    message = "the import never came to its standard input"
    raise AssertionError(message)


def _asleep_in_poll(pid: int) -> bool:
    numbers = {"7", "271", "73"}  # poll and ppoll of x86-64, ppoll of arm64
    return Path(f"/proc/{pid}/syscall").read_text().split()[0] in numbers


def test_a_full_disk_says_how_much_stays_and_the_next_run_goes_on(
    cli, sqlite_database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
):
    ledger_desk(cli)
    path = write(home, rows(*[{"order_id": "x" * 180}] * 1200))
    monkeypatch.setattr(imports, "PART_ROWS", 100)
    opened = db.Database._open_sqlite  # noqa: SLF001 - as in tests/kill/small_disk.py
    ((pages,),) = sqlite_database.sql("PRAGMA page_count")

    def capped(self):
        connection = opened(self)
        connection.execute(f"PRAGMA max_page_count={pages + 80}")
        return connection

    with monkeypatch.context() as small:
        small.setattr(db.Database, "_open_sqlite", capped)
        error = refused(take(cli, path), 8, "DISK_FULL")
    assert re.search(r"before that \d+ of 12 part\(s\) with \d+00 fill\(s\) were written, which STAY", error["message"])
    assert 0 < len(stored(sqlite_database)) < 1200
    whole_parts(sqlite_database)
    assert done(take(cli, path)).json["result"]["rows_known"] == len(stored(sqlite_database)) - _new(
        cli, sqlite_database
    )
    assert len(stored(sqlite_database)) == 1200
    verified(cli)


def _new(cli: CommandLine, database: Database) -> int:
    """Return how many fills the last run wrote: those of the latest trace."""
    del cli
    last = "(SELECT trace_id FROM ledger_imports ORDER BY id DESC LIMIT 1)"
    ((found,),) = database.sql(f"SELECT sum(rows_new) FROM ledger_imports WHERE trace_id = {last}")
    return int(found)


def test_a_database_that_goes_away_in_the_middle_says_how_much_stays(
    cli, sqlite_database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
):
    ledger_desk(cli)
    path = write(home, rows({}, {}, {}))
    monkeypatch.setattr(imports, "PART_ROWS", 1)
    assert sqlite_database.path is not None
    away = sqlite_database.path.with_name("away.db")

    def move(_connection) -> None:
        if sqlite_database.path.exists():
            sqlite_database.path.rename(away)

    event.listen(Engine, "commit", move)
    try:
        run = take(cli, path)
    finally:
        event.remove(Engine, "commit", move)
    away.rename(sqlite_database.path)
    error = refused(run, 8, "DATABASE_MISSING")
    assert "before that 1 of 3 part(s) with 1 fill(s) were written, which STAY" in error["message"]
    assert "it goes on with the part that is missing" in error["next_steps"][0]
    assert stored(sqlite_database) == [("T1",)]
    again = done(take(cli, path)).json["result"]
    assert (again["rows_new"], again["rows_known"], again["parts_written"]) == (2, 1, 2)
    verified(cli)


def test_a_full_folder_for_temporary_files_is_told_apart_from_a_full_database(
    cli, database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
):
    ledger_desk(cli)
    small = spool._TABLES.replace("CREATE TABLE entries", "PRAGMA max_page_count = 5; CREATE TABLE entries")  # noqa: SLF001 - a disk of five pages
    monkeypatch.setattr(spool, "_TABLES", small)
    error = refused(take(cli, write(home, rows(*[{"order_id": "x" * 180}] * 500))), 8, "DISK_FULL")
    assert "the folder for temporary files cannot take what was read" in error["message"]
    assert counts(database) == dict.fromkeys(counts(database), 0)


def test_a_person_at_a_terminal_reads_what_came_in(cli, database: Database, home: Path):
    ledger_desk(cli)
    shown = done(take(cli, write(home, rows({}, {})), tty=True)).stdout
    assert "2 new fill(s), 0 known" in shown
    assert len(stored(database)) == 2
