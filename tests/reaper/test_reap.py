"""`job reap`: what it ends, what it leaves alone, and what it says about both."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from blaidctl.core import errors
from blaidctl.core.context import this_machine
from blaidctl.reaper import queries, rules, run
from blaidctl.reaper.contract import NotDone
from tests.kill.fleet import TABLES, done, dump, entries, operate, refused, verified
from tests.reaper.herd import LONG_AGO, ends, herd, instance, statuses
from tests.support.commandline import SCRIPT, CommandLine

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.commandline import ProcessCommandLine, Run
    from tests.support.database import Database
    from tests.support.postgres import PostgresServer

HERE = Path(__file__).parent
QUICK = {"BLAIDCTL_HEARTBEAT_S": "1"}
FAILED, RUNNING = ("FAILED", "TIMEOUT"), ("RUNNING", None)
NOTHING = {
    "jobs_looked": 0, "jobs_moved": 0, "jobs_reaped": 0, "instances_looked": 0, "instances_moved": 0,
    "instances_reaped": 0, "stops_looked": 0, "stops_confirmed": 0, "processes_killed": 0, "not_done_count": 0,
    "not_done": [], "complete": True,
}  # fmt: skip


def result(run_: Run, **expected: Any) -> dict[str, Any]:
    """Insist that a run left nothing and did exactly this."""
    found: dict[str, Any] = done(run_).json["result"]
    assert {name: found[name] for name in NOTHING} == NOTHING | expected
    return found


def incomplete(run_: Run, error_code: str, **expected: Any) -> list[dict[str, Any]]:
    """Insist that a run answered, and that it says what it left; return that."""
    assert (run_.code, run_.error["error_code"]) == (1, error_code), run_.stderr
    found = run_.json["result"]
    assert found["complete"] is False
    assert {name: found[name] for name in expected} == expected
    left: list[dict[str, Any]] = found["not_done"]
    return left


def the_row(database: Database, number: int) -> dict[str, Any]:
    names = ("status", "stop_reason", "stop_confirmed_at", "exit_status")
    return dict(
        zip(names, database.sql(f"SELECT {', '.join(names)} FROM bot_instances WHERE id = {number}")[0], strict=True)
    )


# ---- what it ends ----------------------------------------------------------------------------------------------------


@pytest.mark.operation("job reap", "job reap batch", "job reap run")
def test_a_silent_job_fails_with_timeout_once_and_all_of_it_is_in_the_log(cli: CommandLine, database: Database):
    silent, live, late = herd(cli, 2), herd(cli, 1, silent_s=0), herd(cli, 1, silent_s=0, deadline_in_s=-1)
    found = result(cli("job", "reap"), jobs_looked=3, jobs_reaped=3)
    assert statuses(database) == {silent[0]: FAILED, silent[1]: FAILED, live[0]: RUNNING, late[0]: FAILED}
    assert ends(database) == [(job, 1, "FAILED", "TIMEOUT") for job in (*silent, *late)]
    assert database.sql(
        "SELECT count(*) FROM job_events e JOIN jobs j ON j.id = e.job_id AND j.heartbeat_at = e.observed_heartbeat_at"
        " WHERE e.event = 'FAILED'"
    ) == [(3,)]
    assert database.sql("SELECT count(*) FROM jobs WHERE finished_at > heartbeat_at") == [(3,)]
    first, second, whole = entries(database)[-3:]
    assert [entry["action"] for entry in (first, second, whole)] == ["job reap batch", "job reap batch", "job reap run"]
    assert first["what"]["target"] == {"jobs": late}  # past its deadline: nothing to wait for
    assert second["what"]["target"] == {"jobs": silent}
    assert database.sql("SELECT id, host, complete FROM reaper_runs") == [(found["run_id"], this_machine().host, 1)]
    verified(cli)
    result(cli("job", "reap"))


@pytest.mark.operation("instance reap batch", "instance confirm stops")
def test_a_silent_instance_fails_with_supervisor_lost_and_its_stop_is_proven(cli: CommandLine, database: Database):
    """Its process is long gone, as after a SIGKILL of supervisor and keeper: the host was started anew since."""
    host, another_boot = this_machine().host, "00000000-0000-4000-8000-000000000000"
    before = {"host": host, "boot_id": another_boot, "started_at": LONG_AGO}
    silent = instance(database, pid_started="1", **before)
    starting = instance(database, status="STARTING", heartbeat_at=None, pid=None, mark="0" * 32, **before)
    live = instance(database, silent_s=0)
    result(
        cli("job", "reap", env=QUICK),
        instances_looked=2, instances_reaped=2, stops_looked=2, stops_confirmed=2,
    )  # fmt: skip
    for number in (silent, starting):
        row = the_row(database, number)
        assert (row["status"], row["stop_reason"]) == ("FAILED", "SUPERVISOR_LOST")
        assert row["stop_confirmed_at"] is not None
        assert row["exit_status"] == f"gone, found by the reaper on {host}"
    assert the_row(database, live)["status"] == "RUNNING"
    assert [entry["action"] for entry in entries(database)] == [
        "instance reap batch", "instance confirm stops", "job reap run",
    ]  # fmt: skip
    verified(cli)
    result(cli("job", "reap", env=QUICK))


def test_an_idle_run_leaves_a_row_and_an_entry(cli: CommandLine, database: Database):
    herd(cli, 3, silent_s=0)
    ran = cli("job", "reap", "--reason", "the timer")
    result(ran)
    assert len(ran.stdout.splitlines()) == 1
    assert database.sql("SELECT complete, trace_id FROM reaper_runs") == [(1, ran.json["trace_id"])]
    assert entries(database)[-1]["what"]["reason"] == "the timer"
    assert ran.json["audit"] is not None
    verified(cli)


def test_a_live_heart_does_not_save_a_job_past_its_deadline(cli: CommandLine, database: Database):
    (late,) = herd(cli, silent_s=0, deadline_in_s=-2)
    database.sql("UPDATE jobs SET hb_seq = hb_seq + 1")
    result(cli("job", "reap"), jobs_looked=1, jobs_reaped=1)
    assert statuses(database) == {late: FAILED}


# ---- the fence, one guard at a time ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ("UPDATE jobs SET hb_seq = hb_seq + 1", [1, 1, 7]),
        ("UPDATE jobs SET heartbeat_at = {now}", [1, 1, 7]),
        ("UPDATE jobs SET hb_seq = hb_seq", [1, 2, 7]),
        ("UPDATE jobs SET hb_seq = hb_seq", [2, 1, 7]),
    ],
    ids=["it beat", "it is not silent any more", "another attempt", "another job"],
)
def test_what_is_not_as_it_was_seen_is_left_alone(cli: CommandLine, database: Database, change: str, seen: list[int]):
    assert herd(cli) == [1]
    now = datetime.now(UTC).strftime("'%Y-%m-%dT%H:%M:%S.%fZ'")
    database.sql(change.format(now=now))
    assert operate(cli, "job reap batch", {"seen": [seen]}).result == {"reaped": [], "here": [], "elsewhere": []}
    assert statuses(database) == {1: RUNNING}
    verified(cli)


def test_a_job_that_has_ended_is_left_alone(cli: CommandLine, database: Database):
    (job,) = herd(cli, deadline_in_s=-1)
    done(cli("job", "finish", str(job), "--attempt", "1", "--status", "SUCCEEDED"))
    assert operate(cli, "job reap batch", {"seen": [[job, 1, 7]]}).result["reaped"] == []
    assert statuses(database) == {job: ("SUCCEEDED", "COMPLETED")}


@pytest.mark.parametrize("seen", [[1, 1, 4], [1, 2, 3]], ids=["it beat", "another attempt"])
def test_an_instance_that_is_not_as_it_was_seen_is_left_alone(cli: CommandLine, database: Database, seen: list[int]):
    assert instance(database) == 1
    assert operate(cli, "instance reap batch", {"seen": [seen]}).result["reaped"] == []
    database.sql("UPDATE bot_instances SET stale_after_s = 6000")
    assert operate(cli, "instance reap batch", {"seen": [[1, 1, 3]]}).result["reaped"] == []
    database.sql(
        "UPDATE bot_instances SET stale_after_s = 10, status = 'STOPPED', stop_reason = 'EXITED',"
        " stopped_at = started_at"
    )
    assert operate(cli, "instance reap batch", {"seen": [[1, 1, 3]]}).result["reaped"] == []
    assert the_row(database, 1)["stop_reason"] == "EXITED"


def test_a_stop_is_confirmed_once_and_only_for_the_attempt_that_was_looked_into(cli: CommandLine, database: Database):
    stopped = {"status": "STOPPED", "stop_reason": "KILLED", "stopped_at": "2026-01-01T00:00:00.000000Z"}
    number = instance(database, **stopped)
    running = instance(database, silent_s=0)

    def confirm(number: int, attempt: int, text: str) -> list[int]:
        gone = [{"id": number, "attempt": attempt, "exit_status": text}]
        found: list[int] = operate(cli, "instance confirm stops", {"gone": gone}).result["confirmed"]
        return found

    assert confirm(number, 2, "another") == []
    assert confirm(running, 1, "it runs") == []
    assert confirm(number, 1, "gone") == [number]
    assert confirm(number, 1, "again") == []
    assert the_row(database, number)["exit_status"] == "gone"


def test_a_heart_that_beats_while_watched_saves_its_job(
    process: ProcessCommandLine, cli: CommandLine, database: Database
):
    """Its worker's clock is an hour slow: it looks silent always, and only its count of beats tells that it lives."""
    (slow,) = herd(cli, 1, silent_s=3600)
    reaper = process.spawn("job", "reap")
    while reaper.poll() is None:
        database.sql(f"UPDATE jobs SET hb_seq = hb_seq + 1 WHERE id = {slow} AND status = 'RUNNING'")
        with contextlib.suppress(subprocess.TimeoutExpired):
            reaper.wait(0.2)
    stdout, stderr = reaper.communicate()
    assert reaper.returncode == 0, stderr
    found = json.loads(stdout)["result"]
    assert (found["jobs_looked"], found["jobs_moved"], found["jobs_reaped"]) == (1, 1, 0)
    assert found["duration_ms"] >= 2000
    assert statuses(database) == {slow: RUNNING}
    # Let go by the watch already: no transaction was spent on it.
    assert [entry["action"] for entry in entries(database)][-2:] == ["job start", "job reap run"]


def test_the_watch_lasts_two_beats_of_the_slowest_heart():
    rows = [rules.Seen(1, 1, 0, 5, 0, None), rules.Seen(2, 1, 0, 30, 0, None)]
    assert rules.confirm_window_s(rows, least_s=1) == 60
    assert rules.confirm_window_s(rows[:1], least_s=12) == 24
    assert rules.confirm_window_s([], least_s=12) == 0


# ---- what it leaves, and says so -------------------------------------------------------------------------------------


def test_a_heartbeat_in_the_future_is_reported_and_not_reaped(cli: CommandLine, database: Database):
    (ahead,) = herd(cli, silent_s=-120)
    herd(cli, silent_s=-2)  # what two good clocks may differ by
    bot = instance(database, silent_s=-300)
    ran = cli("job", "reap")
    left = incomplete(ran, "CLOCK_ANOMALY", not_done_count=2, jobs_looked=0)
    assert [(one["kind"], one["id"], one["reason"]) for one in left] == [
        ("job", ahead, "CLOCK_ANOMALY"), ("instance", bot, "CLOCK_ANOMALY"),
    ]  # fmt: skip
    assert left[0]["detail"] in {"its heartbeat is 120 s ahead", "its heartbeat is 119 s ahead"}
    assert ran.error["missing_requirements"][0].startswith(f"job {ahead}: CLOCK_ANOMALY: ")
    assert set(statuses(database).values()) == {RUNNING}
    assert database.sql("SELECT complete FROM reaper_runs") == [(0,)]
    verified(cli)


def test_a_heartbeat_in_the_future_does_not_save_a_job_past_its_deadline(cli: CommandLine, database: Database):
    (late,) = herd(cli, silent_s=-120, deadline_in_s=-1)
    incomplete(cli("job", "reap"), "CLOCK_ANOMALY", jobs_reaped=1)
    assert statuses(database) == {late: FAILED}
    result(cli("job", "reap"))


def test_of_many_only_some_are_named_and_all_are_counted(cli: CommandLine):
    herd(cli, 130, silent_s=-120)
    left = incomplete(cli("job", "reap"), "CLOCK_ANOMALY", not_done_count=130)
    assert len(left) == 101
    assert left[-1] == {"kind": "job", "id": None, "reason": "CLOCK_ANOMALY", "detail": "and 30 more"}


def test_what_is_not_done_is_named_up_to_a_number_of_each_reason():
    left = [NotDone(kind="job", id=n, reason="LOCKED", detail="x") for n in range(150)]
    left += [NotDone(kind="instance", id=n, reason="OTHER_HOST", detail="y") for n in range(3)]
    named = rules.shortened(left)
    assert len(named) == 104
    assert (named[-1].kind, named[-1].id, named[-1].detail) == ("job", None, "and 50 more")


def test_rows_that_a_hung_transaction_holds_are_reported_and_not_waited_for(postgres_database, cli: CommandLine):
    database = postgres_database
    locked, free = herd(cli, 2, deadline_in_s=-1)
    silent = herd(cli, 1)
    bot = instance(database, host="elsewhere")
    with contextlib.closing(database.raw()) as holder:
        holder.execute("BEGIN")
        holder.execute(f"SELECT 1 FROM jobs WHERE id IN ({locked}, {silent[0]}) FOR UPDATE")
        holder.execute("SELECT 1 FROM bot_instances FOR UPDATE")
        ran = cli("job", "reap", env=QUICK)
    left = incomplete(ran, "REAP_INCOMPLETE", jobs_reaped=1, jobs_moved=0, not_done_count=3)
    assert [(one["kind"], one["id"], one["reason"]) for one in left] == [
        ("job", locked, "LOCKED"), ("job", silent[0], "LOCKED"), ("instance", bot, "LOCKED"),
    ]  # fmt: skip
    assert statuses(database) == {locked: RUNNING, free: FAILED, silent[0]: RUNNING}
    verified(cli)
    incomplete(cli("job", "reap", env=QUICK), "REAP_INCOMPLETE", jobs_reaped=2, instances_reaped=1)  # on another host


def test_no_more_than_max_items_and_the_rest_is_said(cli: CommandLine, database: Database):
    jobs = herd(cli, 5, deadline_in_s=-1)
    left = incomplete(cli("job", "reap", "--max-items", "2", "--batch", "1"), "REAP_INCOMPLETE", jobs_reaped=2)
    assert left == [{"kind": "job", "id": None, "reason": "LEFT_OVER", "detail": "3 more than --max-items 2"}]
    assert len(ends(database)) == 2
    result(cli("job", "reap", "--max-items", "3"), jobs_looked=3, jobs_reaped=3)
    assert statuses(database) == dict.fromkeys(jobs, FAILED)


def test_when_the_time_is_up_the_rest_is_said(cli: CommandLine, database: Database, monkeypatch: pytest.MonkeyPatch):
    herd(cli, 5, deadline_in_s=-1)
    instance(database, host=this_machine().host, boot_id="another", status="STOPPED", stop_reason="KILLED",
             stopped_at="2026-01-01T00:00:00.000000Z")  # fmt: skip
    monkeypatch.setattr(run, "TIME_LIMIT_S", 0)
    left = incomplete(cli("job", "reap", "--batch", "2"), "REAP_INCOMPLETE", jobs_reaped=0, not_done_count=6)
    assert [(one["kind"], one["reason"], one["detail"]) for one in left] == [
        ("job", "LEFT_OVER", "5 when the time was up"), ("process", "LEFT_OVER", "1 when the time was up"),
    ]  # fmt: skip
    assert ends(database) == []


def test_a_dry_run_looks_and_says_what_it_would_do_and_writes_nothing(
    cli: CommandLine, database: Database, tmp_path: Path
):
    herd(cli, 3)
    herd(cli, 2, deadline_in_s=-1)
    instance(database)
    before = dump(database)
    ran = cli("job", "reap", "--dry-run", "--textfile", tmp_path / "x.prom", env=QUICK)
    assert ran.json["dry_run"] is True
    assert ran.json["audit"] is None
    incomplete(ran, "REAP_INCOMPLETE", jobs_looked=5, jobs_reaped=5, instances_reaped=1, stops_confirmed=0)
    assert dump(database) == before
    assert not (tmp_path / "x.prom").exists()
    told = cli("job", "reap", "--dry-run", "--output", "table", env=QUICK).stdout
    assert "DRY RUN: the transaction was rolled back; nothing was written." in told
    assert "reaper_runs" in TABLES


def test_a_table_fits_a_terminal(cli: CommandLine, database: Database):
    herd(cli, 1, silent_s=-120)
    instance(database, host="a-host-with-quite-a-long-name.example.com", mark="0" * 32)
    shown = cli("job", "reap", "--output", "table", env=QUICK)
    assert shown.code == 1
    assert "CLOCK_ANOMALY" in shown.stdout
    assert "OTHER_HOST" in shown.stdout
    figures = shown.stdout.partition("audit seq")[0].splitlines()
    assert max(map(len, figures)) <= 80


# ---- bad input, bad times --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("--max-items", "0"), "max_items"),
        (("--max-items", "1000001"), "max_items"),
        (("--batch", "0"), "batch"),
        (("--batch", "5001"), "batch"),
        (("--textfile", "/nowhere/at/all/x.prom"), "textfile"),
        (("--textfile", "/usr"), "textfile"),
        (("--reason", " "), "reason"),
    ],
)
def test_bad_input_is_refused_before_anything_is_done(
    cli: CommandLine, database: Database, words: tuple[str, str], field: str
):
    jobs = herd(cli, 1, deadline_in_s=-1)
    error = refused(cli("job", "reap", *words), 2, "INVALID_REQUEST")
    assert field in error["missing_requirements"][0]
    assert statuses(database) == {jobs[0]: RUNNING}
    assert database.sql("SELECT count(*) FROM reaper_runs") == [(0,)]


@pytest.mark.parametrize("there", ["link", "dangling link", "pipe", "database", "long name"])
def test_metrics_take_the_place_of_nothing_but_a_file_of_text(
    cli: CommandLine, sqlite_database: Database, tmp_path: Path, there: str
):
    """A rename over /dev/null, or over the database, is done in a moment and cannot be undone."""
    jobs = herd(cli, 1, deadline_in_s=-1)
    target = tmp_path / ("x" * 300 if there == "long name" else "x.prom")
    if there.endswith("link"):
        target.symlink_to(os.devnull if there == "link" else tmp_path / "nothing")
    elif there == "pipe":
        os.mkfifo(target)
    elif there == "database":
        target = sqlite_database.path
    before = target.lstat().st_ino if there != "long name" else None
    error = refused(cli("job", "reap", "--textfile", target), 2, "INVALID_REQUEST")
    assert "textfile" in error["missing_requirements"][0]
    assert before is None or target.lstat().st_ino == before
    assert statuses(sqlite_database) == {jobs[0]: RUNNING}


def test_metrics_in_a_folder_that_is_gone_are_refused(
    process: ProcessCommandLine, sqlite_database: Database, tmp_path: Path
):
    folder = tmp_path / "gone"
    folder.mkdir()
    ran = subprocess.run(
        ["sh", "-c", 'cd "$0" && rmdir "$0" && "$@"', folder, SCRIPT, "job", "reap", "--textfile", "x.prom"],  # noqa: S607
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=process.environment(),
    )
    assert (ran.returncode, json.loads(ran.stderr.splitlines()[-1])["error_code"]) == (2, "INVALID_REQUEST")
    assert sqlite_database.sql("SELECT count(*) FROM reaper_runs") == [(0,)]


def test_no_database_is_said(cli: CommandLine):
    nowhere = {"BLAIDCTL_DATABASE_URL": "sqlite:////nowhere/x.db"}
    refused(cli("job", "reap", env=nowhere), 8, "DATABASE_MISSING")


def test_a_schema_of_another_time_is_refused(cli: CommandLine, database: Database):
    database.sql("UPDATE alembic_version SET version_num = '0006'")
    refused(cli("job", "reap"), 8, "SCHEMA_BEHIND")


def _cut(monkeypatch: pytest.MonkeyPatch, cut: Callable[[], None]) -> None:
    """Take the database away after the second batch."""
    batch, calls = run.Run._reap_batch, []  # noqa: SLF001 - a place between two transactions

    def reap_batch(self: Any, herd_: Any, rows: Any) -> Any:
        found = batch(self, herd_, rows)
        calls.append(1)
        if len(calls) == 2:
            cut()
        return found

    monkeypatch.setattr(run.Run, "_reap_batch", reap_batch)


def test_a_file_that_goes_away_in_the_middle_keeps_what_was_done(
    sqlite_database: Database, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
):
    herd(cli, 10, deadline_in_s=-1)
    path = sqlite_database.path
    assert path is not None
    away = path.with_name("away.db")
    _cut(monkeypatch, lambda: path.rename(away))
    error = refused(cli("job", "reap", "--batch", "3"), 8, "DATABASE_MISSING")
    assert "before that 6 job(s) and 0 instance(s) were reaped" in error["message"]
    assert "STAYS" in error["message"]
    away.rename(path)
    assert len(ends(sqlite_database)) == 6
    monkeypatch.undo()
    result(cli("job", "reap"), jobs_looked=4, jobs_reaped=4)
    verified(cli)


def test_a_server_that_goes_away_in_the_middle_keeps_what_was_done(
    private_postgres: PostgresServer, sqlite_database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
):
    from blaidctl.core import migrate
    from tests.support import database as databases

    url = private_postgres.url("postgres")
    migrate.upgrade(url)
    there = databases.Database("postgresql", url)
    cli = CommandLine(there, home)
    herd(cli, 10, deadline_in_s=-1)
    _cut(monkeypatch, lambda: private_postgres.stop("immediate"))
    error = refused(cli("job", "reap", "--batch", "3"), 8, "DATABASE_DOWN")
    assert "before that 6 job(s) and 0 instance(s) were reaped" in error["message"]
    monkeypatch.undo()
    refused(cli("job", "reap"), 8, "DATABASE_DOWN")
    private_postgres.restart()
    assert len(ends(there)) == 6
    result(cli("job", "reap"), jobs_looked=4, jobs_reaped=4)
    verified(cli)
    there.close()
    assert sqlite_database.kind == "sqlite"


def test_a_writer_that_does_not_let_go_is_said(sqlite_database: Database, cli: CommandLine):
    herd(cli, 2, deadline_in_s=-1)
    with contextlib.closing(sqlite_database.raw()) as holder:
        holder.execute("BEGIN IMMEDIATE")
        refused(cli("job", "reap", env={"BLAIDCTL_LOCK_TIMEOUT_S": "1"}), 9, "BUSY")
        holder.execute("ROLLBACK")
    result(cli("job", "reap"), jobs_looked=2, jobs_reaped=2)


# ---- the metrics -----------------------------------------------------------------------------------------------------


def metrics(path: Path) -> dict[str, float]:
    families = text_string_to_metric_families(path.read_text(encoding="utf-8"))
    return {
        s.name.removeprefix("blaidctl_reaper_") + "".join(s.labels.values()): s.value
        for f in families
        for s in f.samples
    }


def test_the_metrics_of_a_run_are_whole_and_readable_by_anybody(cli: CommandLine, tmp_path: Path):
    herd(cli, 3, deadline_in_s=-1)
    target = tmp_path / "blaidctl.prom"
    target.write_text("the last one\n")
    mask = os.umask(0o077)
    try:
        found = result(cli("job", "reap", "--textfile", target), jobs_looked=3, jobs_reaped=3)
    finally:
        os.umask(mask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    assert [path.name for path in tmp_path.glob("*prom*")] == ["blaidctl.prom"]
    figures = metrics(target)
    assert (figures["jobs_looked"], figures["jobs_reaped"], figures["jobs_moved"]) == (3, 3, 0)
    assert (figures["last_run_complete"], figures["not_doneLOCKED"], figures["not_doneCLOCK_ANOMALY"]) == (1, 0, 0)
    assert figures["last_run_duration_seconds"] == found["duration_ms"] / 1000
    assert abs(figures["last_run_timestamp_seconds"] - datetime.now(UTC).timestamp()) < 60
    herd(cli, 120, silent_s=-60)
    incomplete(cli("job", "reap", "--textfile", target), "CLOCK_ANOMALY")
    figures = metrics(target)
    assert (figures["last_run_complete"], figures["not_doneCLOCK_ANOMALY"], figures["jobs_reaped"]) == (0, 120, 0)


def test_metrics_that_cannot_be_written_are_lost_after_the_run_and_it_says_what_is_done(
    cli: CommandLine, database: Database, process: ProcessCommandLine, tmp_path: Path
):
    herd(cli, 3, deadline_in_s=-1)
    disk = tmp_path / "disk"
    disk.mkdir()
    apart = subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0  # noqa: S607
    ended = subprocess.run(
        [*(["unshare", "-rm"] if apart else []), sys.executable, HERE / "full_disk.py", disk, SCRIPT],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=process.environment(),
    )
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["code"] == errors.OutputLost.exit_code == 9
    error = json.loads(told["stderr"].splitlines()[-1])
    assert error["error_code"] == "OUTPUT_LOST"
    assert "the run itself is done and recorded (jobs reaped 3, instances reaped 0, 0 not done)" in error["message"]
    assert [name for name in told["files"] if name != "filler"] == []
    assert json.loads(told["stdout"])["result"]["jobs_reaped"] == 3
    assert set(statuses(database).values()) == {FAILED}
    assert database.sql("SELECT complete FROM reaper_runs") == [(1,)]


# ---- how it looks ----------------------------------------------------------------------------------------------------


def test_every_look_at_jobs_is_a_scan_of_an_index_of_the_running_ones(cli: CommandLine, database: Database):
    """The plan, not the milliseconds: an idle tick among many running jobs reads none of them.

    Also right after a run that ended many, when the statistics still tell of them.
    """
    herd(cli, 500, deadline_in_s=-1)
    herd(cli, 1000, silent_s=0)
    database.sql("ANALYZE")
    done(cli("job", "reap"))
    explain = {"sqlite": "EXPLAIN QUERY PLAN ", "postgresql": "EXPLAIN "}[database.kind]
    now, ahead = "'2026-01-01T00:00:00.000000Z'", "'2999-01-01T00:00:00.000000Z'"
    for query, index in (
        (queries.LOOK_JOBS, "jobs_due"),
        (queries.AGAIN_JOBS, "jobs_due"),
        (queries.COUNT_JOBS, "jobs_due"),
        (queries.AHEAD_JOBS, "jobs_heartbeat"),
        (queries.COUNT_AHEAD_JOBS, "jobs_heartbeat"),
        (queries.ANYTHING, "jobs_due"),
        (queries.ANYTHING, "jobs_heartbeat"),
    ):
        text = str(query.clause(database.kind)).replace(":limit_at", ahead).replace(":until_at", now)
        text = text.replace(":limit", "10").replace(":host", "'here'").replace(":patience_s", "20")
        with contextlib.closing(database.raw()) as connection:
            if database.kind == "postgresql":
                text = text.replace(":now", f"{now}::timestamptz")
            plan = repr(connection.execute(explain + text.replace(":now", now)).fetchall())
        assert index in plan, plan
        if query is queries.ANYTHING:
            assert "Seq Scan on jobs" not in plan
            assert "SCAN jobs USING" not in plan.replace("SCAN jobs USING INDEX", "").replace("SCAN jobs USING COV", "")
