"""`db upgrade` and `db downgrade`: nothing is migrated without a proved backup, a yes, and a look at what stands."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pexpect
import psycopg
import pytest

from blaidctl.core import ddl, migrate
from blaidctl.core.revisions import HEAD, REVISIONS
from blaidctl.database import copies
from tests.database.desk import LIMITS, answer, fill, head, manifest, refused, result
from tests.support.commandline import SCRIPT

if TYPE_CHECKING:
    from collections.abc import Callable

    from blaidctl.core import db
    from tests.support.commandline import CommandLine, ProcessCommandLine, Run
    from tests.support.database import Database

    Opened = Callable[[Database], db.Database]
    Everything = Callable[[Database], dict[str, Any]]

ROOT = Path(__file__).parents[2]
BEFORE = dict(zip(REVISIONS, ("base", *REVISIONS), strict=False))


@pytest.fixture
def behind(database: Database, cli: CommandLine, opened: Opened) -> Database:
    """A filled database that lacks the newest revision."""
    fill(cli)
    with contextlib.closing(opened(database)) as product:
        migrate.downgrade_database(product, to=REVISIONS[-2])
    return database


def _revision(database: Database) -> Any:
    rows = database.sql("SELECT version_num FROM alembic_version")
    return rows[0][0] if rows else "base"


def _what(database: Database, action: str) -> list[dict[str, Any]]:
    rows = database.sql("SELECT canonical FROM audit_log WHERE action = ? ORDER BY seq", [action])
    return [json.loads(text)["what"] for (text,) in rows]


# ---- the backup before -----------------------------------------------------------------------------------------


def test_an_upgrade_makes_a_proved_backup_first_and_the_receipt_and_the_entry_name_it(
    behind: Database, cli: CommandLine, tmp_path: Path, everything: Everything, make_database: Any
):
    before, seq = everything(behind), head(behind)
    file = tmp_path / "before.backup"
    told = result(cli("db", "upgrade", "--yes", "--backup", file))
    assert [row["revision"] for row in told["rows"]] == [HEAD]
    known = manifest(file)
    assert told["backup"] == {"file": str(file)} | {name: known[name] for name in told["backup"] if name != "file"}
    assert (known["revision"], known["head_seq"], known["verified"]) == (REVISIONS[-2], seq, "OK")
    assert [what["backup"] for what in _what(behind, "db upgrade")][-1] == told["backup"]
    assert (told["checked"]["schema"], told["checked"]["chain"]) == ("OK", "OK")
    assert told["checked"]["head_seq"] == told["rows"][0]["audit_seq"] == seq + 1
    assert told["checked"]["entry_hash"] == told["rows"][0]["entry_hash"]

    empty = make_database(behind.kind, migrated=False)
    answer(cli("db", "restore", file, database=empty))
    after = everything(empty)
    assert after["schema"] == before["schema"]
    same = set(before["rows"]) - {"audit_log", "audit_head"}
    assert {name: after["rows"][name] for name in same} == {name: before["rows"][name] for name in same}


def test_a_backup_that_nobody_names_goes_where_only_its_owner_reads(behind: Database, cli: CommandLine, home: Path):
    file = Path(result(cli("db", "upgrade", "--yes"))["backup"]["file"])
    folder = behind.path.parent if behind.path is not None else home / ".local/share/blaidctl"
    assert file.parent == folder / "backups"
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert f"-{REVISIONS[-2]}-" in file.name


def test_a_new_database_needs_no_backup_and_it_says_so(blank_database: Database, cli: CommandLine, tmp_path: Path):
    told = result(cli("db", "upgrade", "--yes", "--backup", tmp_path / "x.backup"))
    assert told["backup"] == {"none": "there is nothing of blaidctl in the database yet"}
    assert not list(tmp_path.glob("x.backup*"))
    assert _what(blank_database, "db upgrade")[0]["backup"] == told["backup"]


def _all_refuse(cli: CommandLine, *more: str) -> list[Run]:
    return [cli("db", "upgrade", "--yes", *more), cli("db", "downgrade", REVISIONS[-3], "--confirm-rows", "0", *more)]


def test_a_log_that_does_not_verify_is_not_migrated_and_its_copy_is_kept(
    behind: Database, cli: CommandLine, everything: Everything
):
    behind.drop_triggers()
    behind.sql("UPDATE kill_events SET reason = 'nothing happened'")
    before = everything(behind)
    for run in _all_refuse(cli):
        assert refused(run) == (1, "AUDIT_BROKEN")
        file = run.error["message"].rpartition(": ")[2]
        assert manifest(Path(file))["verified"] == "BROKEN"
    if behind.kind == "postgresql":
        for run in _all_refuse(cli, "--backup-done", "tape 7"):
            assert refused(run) == (1, "AUDIT_BROKEN")
    assert everything(behind) == before


def test_a_backup_made_by_other_means_is_named_and_recorded_on_postgresql(behind: Database, cli: CommandLine):
    without = {"PATH": "/nowhere"}
    if behind.kind == "sqlite":
        assert refused(cli("db", "upgrade", "--yes", "--backup-done", "tape 7")) == (2, "INVALID_REQUEST")
        return
    assert refused(cli("db", "upgrade", "--yes", env=without)) == (8, "BACKUP_UNAVAILABLE")
    for bad in ("", " ", "x\ny", "x" * 201):
        assert refused(cli("db", "upgrade", "--yes", "--backup-done", bad)) == (2, "INVALID_REQUEST")
    assert _revision(behind) == REVISIONS[-2]
    told = result(cli("db", "upgrade", "--yes", "--backup-done", "tape 7", env=without))
    assert told["backup"] == _what(behind, "db upgrade")[-1]["backup"] == {"reference": "tape 7"}


def test_a_backup_that_cannot_be_made_stops_the_migration(behind: Database, cli: CommandLine, tmp_path: Path):
    (tmp_path / "taken").touch()
    assert refused(cli("db", "upgrade", "--yes", "--backup", tmp_path / "taken")) == (4, "BACKUP_EXISTS")
    assert refused(cli("db", "upgrade", "--yes", "--backup", tmp_path / "no" / "x")) == (2, "FILE_UNWRITABLE")
    assert _revision(behind) == REVISIONS[-2]


# ---- down and up through the gate, each revision, with rows in its tables ----------------------------------------


@pytest.mark.operation("db downgrade")
@pytest.mark.parametrize("revision", REVISIONS)
def test_a_downgrade_destroys_what_it_said_and_the_way_up_is_open(
    database: Database, cli: CommandLine, everything: Everything, revision: str
):
    fill(cli)
    before, to = everything(database), BEFORE[revision]
    asked = cli("db", "downgrade", to)
    assert refused(asked) == (2, "CONFIRMATION_MISSING")
    number = asked.error["missing_requirements"][0].split()[1].rstrip(":")
    wrong = cli("db", "downgrade", to, "--confirm-rows", str(int(number) + 1))
    assert refused(wrong) == (4, "CONFIRMATION_STALE")
    assert everything(database) == before

    told = result(cli("db", "downgrade", to, "--confirm-rows", number))
    after = everything(database)
    assert _revision(database) == to
    gone = {name: len(rows) for name, rows in before["rows"].items() if name not in after["rows"]}
    assert told["lost"]["tables"] == gone
    columns = {name.partition(".")[0]: count for name, count in told["lost"]["columns"].items()}
    assert columns == {name: len(before["rows"][name]) for name in columns}
    assert int(number) == sum(gone.values()) + sum(columns.values())
    assert Path(told["backup"]["file"]).exists()
    if to == "base":
        assert (told["checked"]["chain"], {row["entry_hash"] for row in told["rows"][-1:]}) == ("GONE", {None})
    else:
        assert [row["audit_seq"] for row in told["rows"]] == _seqs(database)[-len(told["rows"]) :]
        assert _what(database, "db downgrade")[-1]["after"] == {"revision": to}

    up = result(cli("db", "upgrade", "--yes"))
    assert [row["revision"] for row in up["rows"]] == list(REVISIONS[REVISIONS.index(revision) :])
    assert everything(database)["schema"] == before["schema"]
    verified = result(cli("audit", "verify"))
    assert verified["answer"] == "OK", verified["defects"]
    assert cli("user", "add", "bob").code == 0


def _seqs(database: Database) -> list[int]:
    return [seq for (seq,) in database.sql("SELECT seq FROM audit_log WHERE action = 'db downgrade' ORDER BY seq")]


def test_what_a_downgrade_dropped_is_said_by_verification_ever_after(database: Database, cli: CommandLine):
    fill(cli)
    number = cli("db", "downgrade", "0005").error["missing_requirements"][0].split()[1].rstrip(":")
    told = result(cli("db", "downgrade", "0005", "--confirm-rows", number))
    result(cli("db", "upgrade", "--yes"))
    seq = next(row["audit_seq"] for row in told["rows"] if row["revision"] == "0006")
    said = result(cli("audit", "verify"))["not_checked"]
    assert f"rows of job_events before seq {seq}: `db downgrade` dropped them" in said
    # What is written and then lost afterwards is a defect as ever.
    assert cli("job", "type", "add", "nightly", *LIMITS).code == 0
    assert cli("job", "start", "nightly").code == 0
    database.drop_triggers()
    database.sql("DELETE FROM job_events")
    assert refused(cli("audit", "verify"))[1] == "AUDIT_BROKEN"


def test_rows_that_come_after_the_confirmation_stop_a_downgrade(
    database: Database, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
):
    fill(cli)
    number = cli("db", "downgrade", "0007").error["missing_requirements"][0].split()[1].rstrip(":")
    take = copies.take

    def slow(*arguments: Any) -> Any:
        made = take(*arguments)
        database.sql(
            "INSERT INTO currencies (code, places, created_at) VALUES ('XRP', 6, '2026-01-31T09:30:00.000000Z')"
        )
        return made

    monkeypatch.setattr(copies, "take", slow)
    run = cli("db", "downgrade", "0007", "--confirm-rows", number)
    assert refused(run) == (4, "CONFIRMATION_STALE")
    assert "currencies" in run.error["message"]
    assert ("XRP",) in database.sql("SELECT code FROM currencies")


def test_what_a_downgrade_drops_is_locked_before_it_is_counted(
    postgres_database: Database, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
):
    held: list[set[str]] = []
    sql = (
        "SELECT DISTINCT c.relname FROM pg_locks l JOIN pg_class c ON c.oid = l.relation"
        " WHERE l.mode = 'AccessExclusiveLock' AND l.granted AND c.relkind = 'r' AND l.database ="
        " (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    run = ddl.run

    def look(statement: str) -> None:
        if not ddl._recorder:  # noqa: SLF001 - the plan goes this road too, and runs nothing
            held.append({name for (name,) in postgres_database.sql(sql)})
        run(statement)

    monkeypatch.setattr(ddl, "run", look)
    result(cli("db", "downgrade", "0009", "--confirm-rows", "0"))
    assert {"trades", "ledger_imports", "marks", "capital_flows"} <= held[0]


@pytest.mark.parametrize("words", [("9999",), ("head",), ("",)], ids=repr)
def test_a_revision_that_is_none_is_named(database: Database, cli: CommandLine, words: tuple[str, ...]):
    assert refused(cli("db", "downgrade", *words, "--confirm-rows", "0")) == (2, "INVALID_REQUEST")
    assert _revision(database) == HEAD


def test_a_downgrade_to_where_it_stands_is_done_and_one_upwards_is_none(behind: Database, cli: CommandLine):
    assert result(cli("db", "downgrade", REVISIONS[-2]))["rows"] == []
    assert refused(cli("db", "downgrade", HEAD)) == (2, "INVALID_REQUEST")
    assert _revision(behind) == REVISIONS[-2]


# ---- asking ----------------------------------------------------------------------------------------------------


def _at_a_terminal(process: ProcessCommandLine, *words: str) -> Any:
    return pexpect.spawn(
        str(SCRIPT), list(words), env=process.environment(), encoding="utf-8", timeout=60, dimensions=(50, 300)
    )


def _ends(terminal: Any, code: int) -> None:
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert (terminal.exitstatus, terminal.signalstatus) == (code, None)


def test_at_a_terminal_an_upgrade_shows_plan_and_backup_and_the_default_is_no(
    behind: Database, process: ProcessCommandLine
):
    terminal = _at_a_terminal(process, "db", "upgrade")
    terminal.expect_exact("Upgrade? [y/N] ")
    assert "restored and verified" in terminal.before
    assert all(part in terminal.before for part in ("why: ", "rollback: ", "data safety: ", "locks: "))
    terminal.sendline("")
    _ends(terminal, 2)
    assert _revision(behind) == REVISIONS[-2]
    terminal = _at_a_terminal(process, "db", "upgrade")
    terminal.expect_exact("Upgrade? [y/N] ")
    terminal.sendline("y")
    _ends(terminal, 0)
    assert _revision(behind) == HEAD


def test_at_a_terminal_a_downgrade_shows_what_is_destroyed_and_wants_its_number(
    database: Database, cli: CommandLine, process: ProcessCommandLine
):
    fill(cli)
    number = cli("db", "downgrade", "0008").error["missing_requirements"][0].split()[1].rstrip(":")
    for typed, code in (("y", 2), (number, 0)):
        terminal = _at_a_terminal(process, "db", "downgrade", "0008")
        terminal.expect_exact("Type that number to go on")
        assert "rollback: " in terminal.before
        assert "destroys table broker_accounts: 1 rows" in terminal.before
        assert "restored and verified" in terminal.before
        terminal.sendline(typed)
        _ends(terminal, code)
        assert _revision(database) == ("0008" if code == 0 else HEAD)


# ---- what goes wrong on the way ----------------------------------------------------------------------------------


def test_a_migration_that_loses_rows_is_rolled_back(
    behind: Database, cli: CommandLine, everything: Everything, monkeypatch: pytest.MonkeyPatch
):
    before, run = everything(behind), ddl.run
    monkeypatch.setattr(ddl, "run", lambda statement: (run(statement), run("DELETE FROM session_hours")))
    lost = cli("db", "upgrade", "--yes")
    assert refused(lost) == (4, "ROWS_LOST")
    assert lost.error["missing_requirements"][0].startswith("session_hours: ")
    to = REVISIONS[-3]
    number = cli("db", "downgrade", to).error["missing_requirements"][0].split()[1].rstrip(":")
    assert refused(cli("db", "downgrade", to, "--confirm-rows", number)) == (4, "ROWS_LOST")
    assert everything(behind) == before


def test_a_failure_on_the_way_says_where_the_schema_stands(
    database: Database, cli: CommandLine, opened: Opened, monkeypatch: pytest.MonkeyPatch
):
    fill(cli)
    with contextlib.closing(opened(database)) as product:
        migrate.downgrade_database(product, to=REVISIONS[-3])
    first, run, ran = len(migrate.statements_of(REVISIONS[-2], database.kind)), ddl.run, []

    def fail(statement: str) -> None:
        ran.append(statement)
        run("SELECT blaidctl_no_such_function()" if len(ran) > first + 1 else statement)

    with monkeypatch.context() as patch:
        patch.setattr(ddl, "run", fail)
        failed = cli("db", "upgrade", "--yes")
    assert failed.code == 70
    assert f"the schema IS at {REVISIONS[-2]} now (it was at {REVISIONS[-3]})" in failed.error["message"]
    assert _revision(database) == REVISIONS[-2]
    assert [row["revision"] for row in result(cli("db", "upgrade", "--yes"))["rows"]] == [HEAD]


def test_ctrl_c_on_the_way_says_where_the_schema_stands(
    behind: Database, cli: CommandLine, everything: Everything, monkeypatch: pytest.MonkeyPatch
):
    before = everything(behind)

    def interrupt(_statement: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ddl, "run", interrupt)
        assert refused(cli("db", "upgrade", "--yes")) == (130, "INTERRUPTED")
    assert everything(behind) == before


def test_an_upgrade_that_is_killed_at_a_statement_has_migrated_nothing(
    behind: Database, cli: CommandLine, process: ProcessCommandLine, everything: Everything
):
    before = everything(behind)
    statements = len(migrate.statements_of(HEAD, behind.kind))
    for number in sorted({1, max(statements // 2, 1), statements}):
        done = subprocess.run(
            [sys.executable, "-m", "tests.database.killed_at", "blaidctl.core.ddl", "run", str(number), "db", "upgrade",
             "--yes"],
            cwd=ROOT, env={**process.environment(), "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
            check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == -9, done.stderr
        assert everything(behind) == before
    result(cli("db", "upgrade", "--yes"))
    assert cli("audit", "verify").code == 0


def test_two_operators_at_once_migrate_once_and_both_end_well(behind: Database, process: ProcessCommandLine):
    both = [process.spawn("db", "upgrade", "--yes") for _ in range(2)]
    answers = [one.communicate(timeout=90) for one in both]
    assert [(one.returncode, err) for one, (_, err) in zip(both, answers, strict=True)] == [(0, ""), (0, "")]
    rows = sorted(len(json.loads(out)["result"]["rows"]) for out, _ in answers)
    assert rows == [0, 1]
    assert len(_what(behind, "db upgrade")) == len(REVISIONS[-1:])
    assert process("audit", "verify").code == 0


def test_a_server_that_goes_away_while_it_migrates_leaves_the_outcome_open_and_the_schema_whole(
    postgres_database: Database, cli: CommandLine, private_postgres: Any, monkeypatch: pytest.MonkeyPatch
):
    from tests.support.database import Database as Place

    del postgres_database
    place = Place("postgresql", private_postgres.url("postgres"))
    migrate.upgrade(place.url, to=REVISIONS[-2])
    run = ddl.run

    def stop(statement: str) -> None:
        private_postgres.stop("immediate")
        run(statement)

    with monkeypatch.context() as patch:
        patch.setattr(ddl, "run", stop)
        failed = cli("db", "upgrade", "--yes", database=place)
    assert refused(failed) == (9, "OUTCOME_UNKNOWN")
    assert "db history" in failed.error["next_steps"][0]
    private_postgres.restart()
    with psycopg.connect(place.url) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (REVISIONS[-2],)
    result(cli("db", "upgrade", "--yes", database=place))
    assert cli("audit", "verify", database=place).code == 0


def test_a_migration_waits_for_a_lock_only_so_long(
    postgres_database: Database, cli: CommandLine, opened: Opened, monkeypatch: pytest.MonkeyPatch
):
    seen: list[str] = []
    applied = migrate.upgrade_database

    def look(database: db.Database, **named: Any) -> None:
        begun = named.pop("begun")

        def ask(connection: Any) -> None:
            seen.append(str(connection.exec_driver_sql("SHOW lock_timeout").scalar()))
            begun(connection)

        applied(database, begun=ask, **named)

    with contextlib.closing(opened(postgres_database)) as product:
        migrate.downgrade_database(product, to=REVISIONS[-2])
    monkeypatch.setattr(migrate, "upgrade_database", look)
    result(cli("db", "upgrade", "--yes"))
    assert set(seen) == {"30s"}
