"""`db plan`, `db upgrade`, `db check`, `db history` as an operator meets them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pexpect
import pytest

from blaidctl.core import migrate, schema_state
from blaidctl.core.revisions import HEAD, REVISIONS
from tests.support.commandline import SCRIPT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from blaidctl.core import db
    from tests.support.commandline import CommandLine, ProcessCommandLine, Run
    from tests.support.database import Database

    Opened = Callable[[Database], db.Database]
    Everything = Callable[[Database], dict[str, Any]]


def _rows(run: Run) -> list[dict[str, Any]]:
    assert (run.code, run.stderr) == (0, "")
    found: list[dict[str, Any]] = run.json["result"]["rows"]
    return found


# ---- plan ----------------------------------------------------------------------------------------------------


@pytest.mark.operation("db plan")
def test_the_plan_says_what_every_pending_revision_would_do(blank_database: Database, cli: CommandLine, opened: Opened):
    rows = _rows(cli("db", "plan"))
    assert [row["revision"] for row in rows] == list(REVISIONS)
    assert all(list(row) == ["revision", "title", "why", "diff", "rollback", "data_safety", "locks"] for row in rows)
    assert all(all(row.values()) for row in rows)
    migrate.upgrade_database(opened(blank_database), to=REVISIONS[1])
    assert [row["revision"] for row in _rows(cli("db", "plan"))] == list(REVISIONS[2:])
    migrate.upgrade_database(opened(blank_database))
    assert _rows(cli("db", "plan")) == []
    assert cli("db", "plan", "--output", "csv").stdout == "revision,title,why,diff,rollback,data_safety,locks\n"


def test_the_sql_of_the_plan_makes_the_schema(blank_database: Database, cli: CommandLine, opened: Opened):
    rows = _rows(cli("db", "plan", "--sql"))
    assert all(
        statement["locks"] for row in rows for statement in row["statements"] if "TABLE " in statement["sql"][:14]
    )
    statements = [";\n".join(statement["sql"] for statement in row["statements"]) + ";" for row in rows]
    with contextlib.closing(blank_database.raw()) as connection:
        for statement in statements:
            if blank_database.kind == "sqlite":
                connection.executescript(statement)
            else:
                connection.execute(statement)
    with opened(blank_database).reading() as connection:
        assert schema_state.snapshot(connection) == schema_state.expected(blank_database.kind)


# ---- upgrade -------------------------------------------------------------------------------------------------


@pytest.mark.operation("db upgrade")
def test_an_upgrade_is_done_once_and_each_revision_is_an_entry(blank_database: Database, cli: CommandLine):
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    rows = _rows(cli("db", "upgrade", "--yes", "--trace-id", trace_id))
    assert [row["revision"] for row in rows] == list(REVISIONS)
    entries = cli("audit", "tail").json["result"]["entries"]
    assert [(entry["seq"], entry["entry_hash"]) for entry in entries] == [
        (row["audit_seq"], row["entry_hash"]) for row in rows
    ]
    assert {(e["action"], e["outcome"], e["trace_id"]) for e in entries} == {("db upgrade", "DONE", trace_id)}
    assert [entry["target"] for entry in entries] == [{"schema": revision} for revision in REVISIONS]

    assert _rows(cli("db", "upgrade", "--yes")) == []
    assert _rows(cli("db", "upgrade")) == []  # nothing to confirm
    assert blank_database.sql("SELECT count(*) FROM audit_log") == [(len(REVISIONS),)]
    assert cli("audit", "verify").json["result"]["answer"] == "OK"


def test_an_entry_says_from_where_to_where(blank_database: Database, cli: CommandLine, opened: Opened):
    migrate.upgrade_database(opened(blank_database), to=REVISIONS[-2])
    assert [row["revision"] for row in _rows(cli("db", "upgrade", "--yes"))] == [HEAD]
    ((text,),) = blank_database.sql("SELECT canonical FROM audit_log")
    what = json.loads(text)["what"]
    assert (what["before"], what["after"]) == ({"revision": REVISIONS[-2]}, {"revision": HEAD})


def test_a_script_must_say_yes(blank_database: Database, cli: CommandLine, everything: Everything):
    for stdin in ("", "y\n", "yes\n"):
        run = cli("db", "upgrade", stdin=stdin)
        assert (run.code, run.stdout) == (2, "")
        assert (run.error["error_code"], run.error["missing_requirements"]) == ("INVALID_REQUEST", ["yes: pass --yes"])
    if blank_database.path is None:
        assert everything(blank_database) == {"schema": {}, "rows": {}}
    else:
        assert not blank_database.path.exists()


@pytest.mark.parametrize(
    ("typed", "code"),
    [("y", 0), ("YES", 0), ("", 2), ("n", 2), ("yep", 2), ("\x04", 2), ("\x03", 130)],
    ids=["y", "yes", "enter", "n", "yep", "ctrl-d", "ctrl-c"],
)
def test_at_a_terminal_it_shows_the_plan_and_asks(
    blank_database: Database, process: ProcessCommandLine, everything: Everything, typed: str, code: int
):
    terminal = pexpect.spawn(
        str(SCRIPT), ["db", "upgrade"], env=process.environment(), encoding="utf-8", timeout=20, dimensions=(50, 200)
    )
    terminal.expect_exact("Upgrade? [y/N] ")
    shown = terminal.before
    assert "backup: none; there is nothing of blaidctl in the database yet" in shown
    assert all(part in shown for part in ("0001", HEAD, "why: ", "diff: ", "rollback: ", "data safety: ", "locks: "))
    if typed in {"\x03", "\x04"}:
        terminal.send(typed)
    else:
        terminal.sendline(typed)
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert (terminal.exitstatus, terminal.signalstatus) == (code, None)
    if code == 0:
        assert process("db", "check").code == 0
    elif blank_database.path is None:
        assert everything(blank_database)["rows"] == {}
    else:
        assert not blank_database.path.exists()


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("db plan", 0),
        ("db history", 0),
        ("db check", 8),
        ("db upgrade", 2),
        ("user add alice", 8),
        ("kill momo-1 --reason-code DRILL --reason x", 8),
        ("guard momo-1", 1),
        ("status", 8),
        ("audit verify", 8),
        ("audit export", 8),
    ],
)
def test_only_an_upgrade_makes_the_file(tmp_path: Path, cli: CommandLine, sqlite_database, command: str, code: int):
    del sqlite_database
    folder = tmp_path / "not" / "there"
    run = cli(*command.split(), env={"BLAIDCTL_DATABASE_URL": f"sqlite:///{folder}/desk.db"})
    assert run.code == code
    if code == 8:
        assert run.error["error_code"] == "DATABASE_MISSING"
    assert not folder.parent.exists()


def test_an_upgrade_makes_the_file_and_its_folder(tmp_path: Path, cli: CommandLine, sqlite_database):
    del sqlite_database
    url = {"BLAIDCTL_DATABASE_URL": f"sqlite:///{tmp_path}/not/there/desk.db"}
    assert cli("db", "upgrade", "--yes", env=url).code == 0
    assert cli("db", "check", env=url).json["result"]["rows"] == [{"answer": "OK", "revision": HEAD, "differences": []}]


def test_a_folder_that_cannot_be_made_is_an_error_and_no_bug(tmp_path: Path, cli: CommandLine, sqlite_database):
    del sqlite_database
    (tmp_path / "file").touch()
    run = cli("db", "upgrade", "--yes", env={"BLAIDCTL_DATABASE_URL": f"sqlite:///{tmp_path}/file/desk.db"})
    assert (run.code, run.error["error_code"]) == (8, "DATABASE_DOWN")
    assert "cannot be made" in run.error["message"]


def test_a_missing_postgresql_database_is_named_and_not_made(blank_database: Database, cli: CommandLine):
    if blank_database.kind == "sqlite":
        url = f"{blank_database.url}-elsewhere"
    else:
        url = blank_database.url.rpartition("/")[0] + "/no_such_database"
    run = cli("db", "check", env={"BLAIDCTL_DATABASE_URL": url})
    assert (run.code, run.error["error_code"]) == (8, "DATABASE_MISSING")


# ---- check and history ---------------------------------------------------------------------------------------


@pytest.mark.operation("db check")
def test_a_sound_schema_is_ok(database: Database, cli: CommandLine):
    del database
    assert _rows(cli("db", "check")) == [{"answer": "OK", "revision": HEAD, "differences": []}]


_TAMPERED = {
    "sqlite": [
        ("DROP TRIGGER kill_events_no_update", "trigger kill_events_no_update is missing"),
        (
            (
                "DROP TRIGGER audit_log_guard;"
                " CREATE TRIGGER audit_log_guard BEFORE INSERT ON audit_log BEGIN SELECT 1; END"
            ),
            "trigger audit_log_guard is not the one of this version",
        ),
        (
            "CREATE TRIGGER quiet BEFORE INSERT ON kill_events BEGIN SELECT RAISE(IGNORE); END",
            "trigger quiet is not of this version",
        ),
        ("DROP INDEX kill_events_created", "index kill_events_created is missing"),
        ("ALTER TABLE bots ADD COLUMN extra TEXT", "table bots is not the one of this version"),
    ],
    "postgresql": [
        ("DROP TRIGGER kill_events_no_change ON kill_events", "trigger kill_events_no_change is missing"),
        (
            "ALTER TABLE kill_events DISABLE TRIGGER kill_events_no_change",
            "trigger kill_events_no_change is not the one of this version",
        ),
        (
            "ALTER TABLE kill_events ENABLE TRIGGER kill_events_no_change",  # not ALWAYS: a replica session skips it
            "trigger kill_events_no_change is not the one of this version",
        ),
        (
            (
                "CREATE OR REPLACE FUNCTION blaidctl_append_only() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN RETURN NEW; END $$"
            ),
            "function blaidctl_append_only is not the one of this version",
        ),
        (
            (
                "CREATE FUNCTION quiet() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;"
                " CREATE TRIGGER quiet BEFORE INSERT ON kill_events FOR EACH ROW EXECUTE FUNCTION quiet()"
            ),
            "trigger quiet is not of this version",
        ),
        (
            "ALTER TABLE kill_events DROP CONSTRAINT kill_events_reason_not_blank",
            "constraint kill_events.kill_events_reason_not_blank is missing",
        ),
        ("DROP INDEX kill_events_created", "index kill_events_created is missing"),
        ("ALTER TABLE bots ADD COLUMN extra text", "table bots is not the one of this version"),
    ],
}


def _tampered_cases(kind: str) -> list[Any]:
    return [pytest.param(sql, line, id=f"{line} ({i})") for i, (sql, line) in enumerate(_TAMPERED[kind])]


def _broken(cli: CommandLine, line: str) -> None:
    run = cli("db", "check")
    assert run.code == 1
    (row,) = run.json["result"]["rows"]
    assert (row["answer"], line in row["differences"]) == ("BROKEN", True)
    assert (run.error["error_code"], run.error["missing_requirements"]) == ("SCHEMA_FINDINGS", row["differences"])
    # An upgrade that finds nothing to do does not call such a schema done either.
    again = cli("db", "upgrade", "--yes")
    assert (again.code, again.error["error_code"]) == (1, "SCHEMA_FINDINGS")


@pytest.mark.parametrize(("sql", "line"), _tampered_cases("sqlite"))
def test_a_tampered_schema_is_found_by_name_on_sqlite(sqlite_database: Database, cli: CommandLine, sql: str, line: str):
    with contextlib.closing(sqlite_database.raw()) as connection:
        connection.executescript(sql)
    _broken(cli, line)


@pytest.mark.parametrize(("sql", "line"), _tampered_cases("postgresql"))
def test_a_tampered_schema_is_found_by_name_on_postgresql(
    postgres_database: Database, cli: CommandLine, sql: str, line: str
):
    postgres_database.sql(sql)
    _broken(cli, line)


@pytest.mark.operation("db history")
def test_the_history_says_where_a_database_stands(blank_database: Database, cli: CommandLine, opened: Opened):
    def states() -> list[str]:
        rows = _rows(cli("db", "history"))
        assert [row["revision"] for row in rows] == list(REVISIONS)
        return [row["state"] for row in rows]

    assert states() == ["PENDING"] * len(REVISIONS)
    migrate.upgrade_database(opened(blank_database), to=REVISIONS[1])
    assert states() == ["APPLIED"] * 2 + ["PENDING"] * (len(REVISIONS) - 2)
    migrate.upgrade_database(opened(blank_database))
    assert states() == ["APPLIED"] * len(REVISIONS)


_REFUSING = [
    ["kill", "momo-1", "--reason-code", "DRILL", "--reason", "x"],
    ["user", "add", "alice"],
    ["status"],
    ["audit", "verify"],
    ["audit", "export"],
]


@pytest.mark.parametrize("arguments", [*_REFUSING, ["db", "check"]], ids=" ".join)
def test_a_schema_that_is_behind_is_refused(database: Database, cli: CommandLine, opened: Opened, arguments: list[str]):
    migrate.downgrade_database(opened(database), to=REVISIONS[-2])
    run = cli(*arguments)
    assert (run.code, run.stdout, run.error["error_code"]) == (8, "", "SCHEMA_BEHIND")
    assert (run.stderr.splitlines()[-1] == "NOT KILLED") is (arguments[0] == "kill")
    assert [row["revision"] for row in _rows(cli("db", "upgrade", "--yes"))] == [HEAD]


@pytest.mark.parametrize(
    "arguments",
    [*_REFUSING, ["db", "check"], ["db", "plan"], ["db", "upgrade", "--yes"], ["db", "history"]],
    ids=" ".join,
)
def test_a_schema_that_is_ahead_is_refused(
    database: Database, cli: CommandLine, everything: Everything, arguments: list[str]
):
    database.sql("UPDATE alembic_version SET version_num = '9999'")
    before = everything(database)
    run = cli(*arguments)
    assert (run.code, run.stdout, run.error["error_code"]) == (8, "", "SCHEMA_AHEAD")
    assert everything(database) == before


def test_an_empty_database_is_behind(blank_database: Database, cli: CommandLine):
    if blank_database.path is not None:
        blank_database.sql("CREATE TABLE something_else (id INTEGER) STRICT")
    for arguments in (["db", "check"], *_REFUSING):
        assert cli(*arguments).error["error_code"] == "SCHEMA_BEHIND"
    guard = cli("guard", "momo-1")
    assert (guard.code, guard.json["result"]["reasons"][0].partition(":")[0]) == (1, "SCHEMA_BEHIND")


def test_the_answer_of_an_upgrade_that_nobody_reads_is_not_lost_in_silence(
    blank_database: Database, process: ProcessCommandLine
):
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device, not a file
        done = subprocess.run(
            [SCRIPT, "db", "upgrade", "--yes"],
            env=process.environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 9
    assert '"error_code": "OUTPUT_LOST"' in done.stderr
    assert "what was done stays done" in done.stderr
    assert blank_database.sql("SELECT version_num FROM alembic_version") == [(HEAD,)]
    assert os.fspath(SCRIPT) not in done.stderr
