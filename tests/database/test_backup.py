"""`db backup` and `db restore`: a copy that is proved, and a database that is never half written."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pexpect
import psycopg
import pytest

from blaidctl.core.revisions import HEAD
from blaidctl.database import postgres
from tests.database.desk import answer, fill, head, manifest, refused, result
from tests.support.commandline import SCRIPT
from tests.support.postgres import client_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.commandline import CommandLine, ProcessCommandLine
    from tests.support.database import Database

    Everything = Callable[[Database], dict[str, Any]]

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture
def scratches(monkeypatch: pytest.MonkeyPatch, worker_id: str) -> Callable[[Database], list[Any]]:
    """`scratches(database)`: the scratch databases that this test's commands have left on the server."""
    mine = f"blaidctl_scratch_{worker_id}"
    monkeypatch.setattr(postgres, "_SCRATCH", mine)
    return lambda place: place.sql(f"SELECT datname FROM pg_database WHERE starts_with(datname, '{mine}')")


@pytest.fixture
def backup(database: Database, cli: CommandLine, tmp_path: Path) -> Path:
    """A backup of a filled database."""
    del database
    fill(cli)
    file = tmp_path / "desk.backup"
    answer(cli("db", "backup", file))
    return file


@pytest.fixture
def elsewhere(database: Database, tmp_path: Path, make_database: Any) -> Iterator[Database]:
    """Where a new database would be: none is there yet."""
    from tests.support.database import Database as Place

    if database.kind == "sqlite":
        yield Place("sqlite", f"sqlite:///{tmp_path}/new/desk.db", path=tmp_path / "new" / "desk.db")
        return
    blank = make_database("postgresql", migrated=False)
    name = blank.url.rpartition("/")[2]
    with _administration(database) as connection:
        connection.execute(f'DROP DATABASE "{name}"')
    yield blank


@contextlib.contextmanager
def _administration(database: Database) -> Iterator[Any]:
    with psycopg.connect(database.url.rpartition("/")[0] + "/postgres", autocommit=True) as connection:
        yield connection


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name not in {"home", "postgres"}}


# ---- a backup ------------------------------------------------------------------------------------------------


@pytest.mark.operation("db backup")
def test_a_backup_says_what_it_holds_and_writes_nothing_else(
    database: Database, cli: CommandLine, tmp_path: Path, everything: Everything
):
    fill(cli)
    before, names = everything(database), _names(tmp_path)
    file = tmp_path / "desk.backup"
    told = answer(cli("db", "backup", file))
    assert everything(database) == before
    assert _names(tmp_path) - names == {"desk.backup", "desk.backup.manifest.json"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(f"{file}.manifest.json").stat().st_mode) == 0o600

    known = manifest(file)
    ((seq, entry_hash),) = database.sql("SELECT seq, entry_hash FROM audit_head")
    assert (known["head_seq"], known["entry_hash"]) == (seq, bytes(entry_hash).hex())
    assert (known["revision"], known["engine"], known["verified"]) == (HEAD, database.kind, "OK")
    assert known["rows"] == {name: len(rows) for name, rows in before["rows"].items() if name != "alembic_version"}
    assert known["bytes"] == file.stat().st_size
    assert told == {"file": str(file)} | {name: known[name] for name in told if name != "file"}
    assert set(told) >= {"sha256", "head_seq", "entry_hash", "revision", "verified"}


def test_a_backup_is_of_one_moment_while_others_write(
    cli: CommandLine, process: ProcessCommandLine, tmp_path: Path, elsewhere: Database
):
    fill(cli)
    writer = process.spawn(
        "bot", "run", "momo-1", "--", "/bin/sleep", "60", env={"BLAIDCTL_HEARTBEAT_S": "1", "BLAIDCTL_LEASE_S": "5"}
    )
    killing = [process.spawn("kill", "carry-2", "--reason-code", "DRILL", "--reason", "x") for _ in range(4)]
    file = tmp_path / "busy.backup"
    answer(process("db", "backup", file))
    for one in killing:
        assert one.wait(30) == 0
    writer.terminate()
    answer(cli("db", "restore", file, database=elsewhere))
    assert cli("audit", "verify", database=elsewhere).code == 0


def test_a_backup_is_never_written_over_anything(database: Database, cli: CommandLine, tmp_path: Path):
    del database
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("file", "folder", "dangling"):
        assert refused(cli("db", "backup", tmp_path / name)) == (4, "BACKUP_EXISTS")
    assert (tmp_path / "file").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("suffix", ["-journal", "-wal", "-shm", "-queue"])
def test_a_name_that_the_database_itself_uses_is_no_name_of_a_backup(
    sqlite_database: Database, cli: CommandLine, suffix: str
):
    assert sqlite_database.path is not None
    target = sqlite_database.path.with_name(sqlite_database.path.name + suffix)
    target.unlink(missing_ok=True)
    assert refused(cli("db", "backup", target)) == (2, "FILE_UNWRITABLE")
    assert cli("db", "check").code == 0


def test_a_name_that_is_taken_while_the_backup_is_made_is_kept(
    database: Database, cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    del database
    file, link = tmp_path / "desk.backup", os.link

    def late(source: Any, target: Any) -> None:
        file.write_text("somebody was quicker")
        link(source, target)

    monkeypatch.setattr("blaidctl.database.files.os.link", late)
    assert refused(cli("db", "backup", file)) == (4, "BACKUP_EXISTS")
    assert file.read_text() == "somebody was quicker"


@pytest.mark.parametrize("where", ["no/such/folder/desk.backup", "file/desk.backup", "fifo"])
def test_a_file_that_cannot_be_written_is_named(database: Database, cli: CommandLine, tmp_path: Path, where: str):
    del database
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo.part")
    run = cli("db", "backup", tmp_path / where)
    assert refused(run) == (2, "FILE_UNWRITABLE")
    assert str(tmp_path) in run.error["message"]


def test_a_second_operator_is_told_to_wait_and_a_left_over_is_taken_over(
    database: Database, cli: CommandLine, tmp_path: Path
):
    del database
    part = tmp_path / "desk.backup.part"
    part.write_text("half of something")
    with part.open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert refused(cli("db", "backup", tmp_path / "desk.backup")) == (9, "BUSY")
    assert part.read_text() == "half of something"
    part.chmod(0o666)
    answer(cli("db", "backup", tmp_path / "desk.backup"))
    assert not part.exists()
    assert stat.S_IMODE((tmp_path / "desk.backup").stat().st_mode) == 0o600


def test_a_database_that_is_not_there_or_not_ours_has_no_backup(
    blank_database: Database, cli: CommandLine, tmp_path: Path
):
    if blank_database.kind == "sqlite":
        assert refused(cli("db", "backup", tmp_path / "x.backup")) == (8, "DATABASE_MISSING")
    blank_database.sql("CREATE TABLE theirs (id INTEGER)")
    assert refused(cli("db", "backup", tmp_path / "x.backup")) == (8, "SCHEMA_BEHIND")
    assert not list(tmp_path.glob("x.backup*"))


def test_the_copy_of_a_broken_log_is_kept_as_evidence_and_never_restored(
    database: Database, cli: CommandLine, tmp_path: Path, elsewhere: Database
):
    fill(cli)
    database.drop_triggers()
    database.sql("UPDATE kill_events SET reason = 'nothing happened'")
    file = tmp_path / "evidence.backup"
    run = cli("db", "backup", file)
    assert refused(run) == (1, "AUDIT_BROKEN")
    assert str(file) in run.error["message"]
    assert manifest(file)["verified"] == run.json["result"]["rows"][0]["verified"] == "BROKEN"
    assert refused(cli("db", "restore", file, database=elsewhere)) == (1, "AUDIT_BROKEN")
    # Whoever changes the manifest's word does not change the log.
    Path(f"{file}.manifest.json").write_text(json.dumps(manifest(file) | {"verified": "OK"}))
    assert refused(cli("db", "restore", file, database=elsewhere)) == (1, "AUDIT_BROKEN")


# ---- PostgreSQL's own programs ---------------------------------------------------------------------------------


def _only(folder: Path, *names: str) -> str:
    """A PATH with nothing of PostgreSQL on it but these."""
    folder.mkdir()
    for name in names:
        (folder / name).symlink_to(client_folder() / name)
    return str(folder)


@pytest.mark.parametrize("there", [(), ("pg_dump",), ("pg_restore",)], ids=["neither", "pg_dump", "pg_restore"])
def test_without_pg_dump_or_pg_restore_it_refuses_and_says_so(
    postgres_database: Database, cli: CommandLine, tmp_path: Path, there: tuple[str, ...]
):
    del postgres_database
    run = cli("db", "backup", tmp_path / "x.backup", env={"PATH": _only(tmp_path / "bin", *there)})
    assert refused(run) == (8, "BACKUP_UNAVAILABLE")
    assert "not on PATH" in run.error["message"]
    assert any("--backup-done" in step for step in run.error["next_steps"])
    assert not list(tmp_path.glob("x.backup*"))


def test_an_older_pg_dump_is_refused_before_it_fails(postgres_database: Database, cli: CommandLine, tmp_path: Path):
    del postgres_database
    path = _only(tmp_path / "bin", "pg_restore")
    old = tmp_path / "bin" / "pg_dump"
    old.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.24'\n")
    old.chmod(0o755)
    run = cli("db", "backup", tmp_path / "x.backup", env={"PATH": path})
    assert refused(run) == (8, "BACKUP_UNAVAILABLE")
    assert "of version 9" in run.error["message"]


def test_a_role_that_may_make_no_scratch_database_is_refused(
    postgres_database: Database, cli: CommandLine, tmp_path: Path
):
    name = "poor_" + postgres_database.url.rpartition("/")[2]
    with postgres_database.raw() as owner:
        owner.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'not-a-secret' NOCREATEDB; GRANT pg_read_all_data TO {name}")
        url = re.sub(r"//[^@]*@", f"//{name}:not-a-secret@", postgres_database.url)
        run = cli("db", "backup", tmp_path / "x.backup", env={"BLAIDCTL_DATABASE_URL": url})
        owner.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")
    assert refused(run) == (8, "BACKUP_UNAVAILABLE")
    assert "CREATEDB" in run.error["missing_requirements"][0]


def test_no_secret_stands_on_a_command_line_or_in_a_file(
    postgres_database: Database, process: ProcessCommandLine, cli: CommandLine, tmp_path: Path
):
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("pg_dump", "pg_restore"):
        seen = folder / name
        seen.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {tmp_path}/argv\nexec {client_folder() / name} "$@"\n')
        seen.chmod(0o755)
    fill(cli)
    answer(process("db", "backup", tmp_path / "x.backup", env={"PATH": f"{folder}:/usr/bin:/bin"}))
    argv = (tmp_path / "argv").read_text()
    password = re.search(r"//[^:]*:([^@]*)@", postgres_database.url)
    assert password
    assert "--snapshot=" in argv
    assert "--single-transaction" in argv
    assert password[1] not in argv
    for file in tmp_path.glob("x.backup*"):
        assert password[1].encode() not in file.read_bytes()


def test_a_client_that_fails_is_told_in_its_own_words(
    postgres_database: Database, cli: CommandLine, tmp_path: Path, scratches: Callable[[Database], list[Any]]
):
    path = _only(tmp_path / "bin", "pg_restore")
    bad = tmp_path / "bin" / "pg_dump"
    bad.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && { echo "pg_dump (PostgreSQL) 99.1"; exit 0; }\n'
        "echo 'pg_dump: error: the moon is full' >&2; exit 1\n"
    )
    bad.chmod(0o755)
    run = cli("db", "backup", tmp_path / "x.backup", env={"PATH": path})
    assert refused(run) == (8, "BACKUP_UNAVAILABLE")
    assert "the moon is full" in run.error["message"]
    assert scratches(postgres_database) == []
    assert not list(tmp_path.glob("x.backup*"))


@pytest.mark.parametrize("hangs", ["says nothing", "does not end"])
@pytest.mark.parametrize("name", ["pg_dump", "pg_restore"])
def test_a_client_that_hangs_is_given_up(
    *,
    postgres_database: Database,
    cli: CommandLine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scratches: Callable[[Database], list[Any]],
    name: str,
    hangs: str,
):
    path = _only(tmp_path / "bin", *{"pg_dump", "pg_restore"} - {name})
    bad = tmp_path / "bin" / name
    before = {"says nothing": "", "does not end": "exec <&- >&-;"}[hangs]
    bad.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && {{ echo "{name} (PostgreSQL) 99.1"; exit 0; }}\n'
        f"{before} exec /bin/sleep 60\n"
    )
    bad.chmod(0o755)
    fill(cli)
    monkeypatch.setattr(postgres, "_SILENCE_S", 1)
    assert refused(cli("db", "backup", tmp_path / "x.backup", env={"PATH": path})) == (8, "DATABASE_DOWN")
    assert scratches(postgres_database) == []
    assert not list(tmp_path.glob("x.backup*"))


def test_the_copy_may_take_longer_than_a_session_may_idle(
    postgres_database: Database, cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    del postgres_database
    dump, seen = postgres.dump, []

    def look(database: Any, connection: Any, *more: Any) -> None:
        dump(database, connection, *more)
        seen.append(connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar())

    monkeypatch.setattr(postgres, "dump", look)
    answer(cli("db", "backup", tmp_path / "x.backup"))
    assert seen == ["0"]


def test_a_damaged_source_is_not_called_a_backup(sqlite_database: Database, cli: CommandLine, tmp_path: Path):
    fill(cli)
    sqlite_database.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    ((page,),) = sqlite_database.sql("SELECT rootpage FROM sqlite_schema WHERE name = 'session_hours'")
    assert sqlite_database.path is not None
    with sqlite_database.path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    assert refused(cli("db", "backup", tmp_path / "x.backup")) == (8, "DATABASE_CORRUPT")
    assert not list(tmp_path.glob("x.backup*"))


def test_the_scratch_of_a_run_that_died_is_dropped_by_a_later_one(
    postgres_database: Database, cli: CommandLine, tmp_path: Path
):
    old = f"blaidctl_scratch_{int(time.time()) - 100_000:08x}_{os.getpid():08x}"
    young = f"blaidctl_scratch_{int(time.time()):08x}_{os.getpid():08x}"
    try:
        for name in (old, young):
            postgres_database.sql(f"CREATE DATABASE {name} TEMPLATE template0")
        answer(cli("db", "backup", tmp_path / "x.backup"))
        left = {name for (name,) in postgres_database.sql("SELECT datname FROM pg_database")}
        assert (old in left, young in left) == (False, True)
    finally:
        for name in (old, young):
            postgres_database.sql(f"DROP DATABASE IF EXISTS {name}")


def test_a_server_that_goes_away_in_the_middle_of_the_copy_leaves_nothing(
    private_postgres: Any,
    postgres_database: Database,
    cli: CommandLine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    from tests.support.database import Database as Place

    del postgres_database
    place = Place("postgresql", private_postgres.url("postgres"))
    assert cli("db", "upgrade", "--yes", database=place).code == 0
    first = postgres._next  # noqa: SLF001 - the moment between two pieces

    def stop(output: Any) -> bytes:
        piece = first(output)
        if private_postgres.is_running:
            private_postgres.stop("immediate")
        return piece

    monkeypatch.setattr(postgres, "_next", stop)
    monkeypatch.setattr(postgres, "_CHUNK", 16)
    run = cli("db", "backup", tmp_path / "x.backup", database=place)
    assert refused(run) == (8, "DATABASE_DOWN")
    assert not list(tmp_path.glob("x.backup*"))


# ---- a restore -------------------------------------------------------------------------------------------------


@pytest.mark.operation("db restore")
def test_a_restored_database_is_the_one_that_was_copied_and_says_so(
    *,
    database: Database,
    cli: CommandLine,
    backup: Path,
    elsewhere: Database,
    everything: Everything,
    scratches: Callable[[Database], list[Any]],
):
    before = everything(database)
    told = answer(cli("db", "restore", backup, database=elsewhere))
    after = everything(elsewhere)
    assert after["schema"] == before["schema"]
    changed = {name for name in before["rows"] if before["rows"][name] != after["rows"][name]}
    assert changed == {"audit_log", "audit_head"}
    assert set(before["rows"]["audit_log"]) < set(after["rows"]["audit_log"])
    ((seq, text),) = elsewhere.sql("SELECT seq, canonical FROM audit_log WHERE action = 'db restore'")
    assert (told["audit_seq"], told["replaced_kept_as"]) == (seq, None)
    assert json.loads(text)["what"]["target"] == {"backup": str(backup), "sha256": told["sha256"]}
    assert cli("audit", "verify", database=elsewhere).code == 0
    assert cli("db", "check", database=elsewhere).code == 0
    assert cli("user", "add", "bob", database=elsewhere).code == 0
    assert everything(database) == before
    if elsewhere.path is not None:
        assert _names(elsewhere.path.parent) <= {"desk.db", "desk.db-queue"}
        assert elsewhere.sql("PRAGMA journal_mode") == [("wal",)]
    else:
        assert scratches(elsewhere) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("head_seq", 3), ("entry_hash", "0" * 64), ("revision", "0001"), ("rows", {"bots": 7}), ("sha256", "0" * 64),
     ("bytes", 17), ("format", 2), ("verified", None), ("head_seq", "3"), ("rows", {"bots": -1})],
    ids=repr,
)  # fmt: skip
def test_a_manifest_that_says_something_else_is_no_manifest_of_this_file(
    *, cli: CommandLine, backup: Path, elsewhere: Database, field: str, value: Any
):
    Path(f"{backup}.manifest.json").write_text(json.dumps(manifest(backup) | {field: value}))
    assert refused(cli("db", "restore", backup, database=elsewhere)) == (2, "BACKUP_INVALID")
    _nothing_at(elsewhere, cli)


def _nothing_at(place: Database, cli: CommandLine) -> None:
    assert refused(cli("db", "check", database=place)) == (8, "DATABASE_MISSING")
    if place.path is not None and place.path.parent.exists():
        assert _names(place.path.parent) == set()


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "no manifest", "not json", "folder"])
def test_a_damaged_backup_is_found_before_anything_is_written(
    cli: CommandLine, backup: Path, elsewhere: Database, damage: str
):
    told = Path(f"{backup}.manifest.json")
    if damage == "flip":
        data = bytearray(backup.read_bytes())
        data[len(data) // 2] ^= 1
        backup.write_bytes(data)
    elif damage == "cut":
        backup.write_bytes(backup.read_bytes()[:-100])
    elif damage == "no manifest":
        told.unlink()
    elif damage == "not json":
        told.write_text("[" * 100_000)
    else:
        backup.unlink()
        if damage == "folder":
            backup.mkdir()
    assert refused(cli("db", "restore", backup, database=elsewhere)) == (2, "BACKUP_INVALID")
    _nothing_at(elsewhere, cli)


def test_a_damaged_copy_with_a_manifest_that_fits_is_found_by_restoring_it(
    cli: CommandLine, backup: Path, elsewhere: Database
):
    import hashlib

    data = backup.read_bytes()
    cut = data[: len(data) // 2]
    backup.write_bytes(cut)
    known = manifest(backup) | {"bytes": len(cut), "sha256": hashlib.sha256(cut).hexdigest()}
    Path(f"{backup}.manifest.json").write_text(json.dumps(known))
    code, name = refused(cli("db", "restore", backup, database=elsewhere))
    assert (code, name) in {(2, "BACKUP_INVALID"), (8, "DATABASE_CORRUPT"), (8, "BACKUP_UNAVAILABLE")}
    _nothing_at(elsewhere, cli)


def test_a_backup_of_the_other_engine_or_of_a_later_version_is_refused(
    cli: CommandLine, backup: Path, elsewhere: Database
):
    known = manifest(backup)
    other = {"sqlite": "postgresql", "postgresql": "sqlite"}[known["engine"]]
    Path(f"{backup}.manifest.json").write_text(json.dumps(known | {"engine": other}))
    assert refused(cli("db", "restore", backup, database=elsewhere)) == (2, "BACKUP_INVALID")
    Path(f"{backup}.manifest.json").write_text(json.dumps(known | {"revision": "9999"}))
    assert refused(cli("db", "restore", backup, database=elsewhere)) == (8, "SCHEMA_AHEAD")


def test_a_database_with_rows_is_replaced_only_when_its_head_is_typed_and_it_is_kept(
    database: Database, cli: CommandLine, backup: Path, everything: Everything
):
    assert cli("user", "add", "bob").code == 0
    before, seq = everything(database), head(database)
    run = cli("db", "restore", backup)
    assert refused(run) == (2, "CONFIRMATION_MISSING")
    assert run.error["missing_requirements"][0].startswith(f"--confirm-head {seq}")
    assert refused(cli("db", "restore", backup, "--confirm-head", str(seq - 1))) == (4, "CONFIRMATION_STALE")
    assert everything(database) == before

    told = answer(cli("db", "restore", backup, "--confirm-head", str(seq)))
    assert told["replaced_head_seq"] == seq
    assert [user for (user,) in database.sql("SELECT id FROM users")] == ["alice"]
    ((text,),) = database.sql("SELECT canonical FROM audit_log WHERE action = 'db restore'")
    assert json.loads(text)["what"]["before"]["head_seq"] == seq
    assert result(cli("audit", "verify"))["answer"] == "OK"
    assert result(cli("db", "check"))["rows"][0]["answer"] == "OK"
    _kept(database, told["replaced_kept_as"], seq)


def _kept(database: Database, name: str, seq: int) -> None:
    if database.kind == "sqlite":
        assert manifest(Path(name))["head_seq"] == seq
        return
    with psycopg.connect(database.url.rpartition("/")[0] + f"/{name}") as aside:
        assert aside.execute("SELECT seq FROM audit_head").fetchone() == (seq,)
    with _administration(database) as connection:
        connection.execute(f'DROP DATABASE "{name}"')


def test_at_a_terminal_the_head_is_typed(database: Database, process: ProcessCommandLine, backup: Path):
    seq = head(database)
    for typed, code in (("y", 2), (str(seq + 1), 2), ("", 2), (str(seq), 0)):
        terminal = pexpect.spawn(
            str(SCRIPT), ["db", "restore", str(backup)], env=process.environment(), encoding="utf-8", timeout=30
        )
        terminal.expect_exact("Type that number to go on")
        terminal.sendline(typed)
        terminal.expect(pexpect.EOF)
        terminal.close()
        assert (terminal.exitstatus, terminal.signalstatus) == (code, None)
    assert head(database) == seq + 1
    if database.kind == "postgresql":
        _drop_replaced(database)


def _drop_replaced(database: Database) -> None:
    name = database.url.rpartition("/")[2]
    with _administration(database) as connection:
        for (aside,) in connection.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE %s", [f"{name}_replaced_%"]
        ).fetchall():
            connection.execute(f'DROP DATABASE "{aside}"')


def test_an_empty_database_is_filled_without_a_question(
    cli: CommandLine, database: Database, backup: Path, make_database: Any
):
    empty = make_database(database.kind, migrated=False)
    if empty.path is not None:
        empty.sql("PRAGMA user_version = 1")  # a file, and nothing in it
    answer(cli("db", "restore", backup, database=empty))
    assert cli("audit", "verify", database=empty).code == 0
    if empty.path is None:
        name = empty.url.rpartition("/")[2]
        with _administration(empty) as connection:
            left = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE %s", [f"{name}_%"])
            assert left.fetchall() == []


def test_what_is_not_blaidctl_s_is_never_written_over(
    cli: CommandLine, database: Database, backup: Path, make_database: Any
):
    theirs = make_database(database.kind, migrated=False)
    theirs.sql("CREATE TABLE theirs (id INTEGER)")
    run = cli("db", "restore", backup, "--confirm-head", "0", database=theirs)
    assert refused(run) == (2, "INVALID_REQUEST")
    assert theirs.sql("SELECT * FROM theirs") == []


def test_a_damaged_database_is_not_written_over(sqlite_database: Database, cli: CommandLine, backup: Path):
    assert sqlite_database.path is not None
    sqlite_database.path.write_bytes(b"not a database" * 1000)
    run = cli("db", "restore", backup, "--confirm-head", "0")
    assert refused(run) == (8, "DATABASE_CORRUPT")
    assert "Move the damaged file away" in run.error["next_steps"][0]
    assert sqlite_database.path.read_bytes().startswith(b"not a database")


def test_who_writes_after_the_question_is_not_overwritten_on_sqlite(
    sqlite_database: Database, cli: CommandLine, backup: Path, monkeypatch: pytest.MonkeyPatch
):
    from blaidctl.database import copies

    seq, take = head(sqlite_database), copies.take

    def slow(*arguments: Any) -> Any:
        made = take(*arguments)
        now = cli("user", "add", "late", env={"PATH": os.environ["PATH"]})
        assert now.code == 0
        return made

    monkeypatch.setattr(copies, "take", slow)
    assert refused(cli("db", "restore", backup, "--confirm-head", str(seq))) == (4, "CONFIRMATION_STALE")
    assert ("late",) in sqlite_database.sql("SELECT id FROM users")
    assert cli("audit", "verify").code == 0


def test_what_was_killed_in_what_is_replaced_stays_killed(database: Database, cli: CommandLine, backup: Path):
    assert cli("kill", "momo-1", "--reason-code", "DRILL", "--reason", "after the backup").code == 0
    run = cli("db", "restore", backup, "--confirm-head", str(head(database)))
    told = answer(run)
    assert (told["killed_again"], told["not_killed_any_more"]) == (["momo-1"], [])
    assert "killed again" in run.stderr
    assert database.sql("SELECT id FROM bots WHERE killed_at IS NOT NULL") == [("momo-1",)]
    assert cli("guard", "momo-1").code == 1
    assert result(cli("audit", "verify"))["answer"] == "OK"
    if database.kind == "postgresql":
        _drop_replaced(database)


def test_a_kill_that_an_older_schema_cannot_take_over_is_said(
    sqlite_database: Database, cli: CommandLine, backup: Path
):
    old = f"{backup}.old"
    result(cli("db", "downgrade", "0012", "--confirm-rows", "0"))
    answer(cli("db", "backup", old))
    result(cli("db", "upgrade", "--yes"))
    assert cli("kill", "momo-1", "--reason-code", "DRILL", "--reason", "after the backup").code == 0
    run = cli("db", "restore", old, "--confirm-head", str(head(sqlite_database)))
    assert answer(run)["not_killed_any_more"] == ["momo-1"]
    assert "NOT KILLED ANY MORE: momo-1" in run.stderr


@pytest.mark.parametrize("moment", ["put_in_place", "_swap"])
def test_who_writes_after_the_question_is_not_put_aside_on_postgresql(  # noqa: PLR0917 - five are fixtures
    postgres_database: Database,
    cli: CommandLine,
    backup: Path,
    monkeypatch: pytest.MonkeyPatch,
    scratches: Callable[[Database], list[Any]],
    moment: str,
):
    seq, original = head(postgres_database), getattr(postgres, moment)
    late: list[int] = []

    def slow(*arguments: Any) -> Any:
        if not late:
            late.append(cli("kill", "carry-2", "--reason-code", "DRILL", "--reason", "now").code)
        return original(*arguments)

    monkeypatch.setattr(postgres, moment, slow)
    assert refused(cli("db", "restore", backup, "--confirm-head", str(seq))) == (4, "CONFIRMATION_STALE")
    assert late == [0]
    assert postgres_database.sql("SELECT id FROM bots WHERE killed_at IS NOT NULL") == [("carry-2",)]
    assert scratches(postgres_database) == []
    name = postgres_database.url.rpartition("/")[2]
    with _administration(postgres_database) as connection:
        left = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE %s", [f"{name}_%"])
        assert left.fetchall() == []
    assert cli("audit", "verify").code == 0


def test_a_database_in_use_is_not_swapped_on_postgresql(
    postgres_database: Database, cli: CommandLine, backup: Path, scratches: Callable[[Database], list[Any]]
):
    with contextlib.closing(postgres_database.raw()):
        run = cli("db", "restore", backup, "--confirm-head", str(head(postgres_database)))
    assert refused(run) == (9, "BUSY")
    assert "Stop what is connected" in run.error["next_steps"][0]
    assert scratches(postgres_database) == []
    assert cli("audit", "verify").code == 0


# ---- killed in the middle ----------------------------------------------------------------------------------------

_MOMENTS = [
    ("blaidctl.database.files", "os.fsync", 1),
    ("blaidctl.database.files", "os.fsync", 2),
    ("blaidctl.database.files", "os.fsync", 3),
    ("blaidctl.database.files", "os.link", 1),
    ("blaidctl.database.copies", "compared", 1),
    ("blaidctl.database.copies", "defects_of", 1),
    ("blaidctl.database.files", "hashed", 1),
]


def _killed(process: ProcessCommandLine, moment: tuple[str, str, int], *words: str | Path, place: Database) -> None:
    module, attribute, number = moment
    done = subprocess.run(
        [sys.executable, "-m", "tests.database.killed_at", module, attribute, str(number), *map(str, words)],
        cwd=ROOT,
        env={**process.environment(database=place), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == -9, (done.returncode, done.stderr)


def test_a_backup_that_is_killed_is_there_whole_or_not_at_all(
    database: Database, cli: CommandLine, process: ProcessCommandLine, tmp_path: Path, elsewhere: Database
):
    fill(cli)
    for number, moment in enumerate(_MOMENTS):
        file = tmp_path / f"{number}.backup"
        _killed(process, moment, "db", "backup", file, place=database)
        assert not file.exists(), moment
    answer(cli("db", "backup", tmp_path / "0.backup"))
    assert not list(tmp_path.glob("0.backup.part*"))
    answer(cli("db", "restore", tmp_path / "0.backup", database=elsewhere))


_RESTORING = {
    "sqlite": [
        ("blaidctl.database.copies", "compared", 1),
        ("blaidctl.core.audit", "append", 1),
        ("blaidctl.database.sqlite", "_copy_pages", 2),
        ("blaidctl.database.sqlite", "Database.close", 1),
    ],
    "postgresql": [
        ("blaidctl.database.copies", "compared", 1),
        ("blaidctl.core.audit", "append", 1),
        ("blaidctl.database.postgres", "put_in_place", 1),
        ("blaidctl.database.postgres", "_quoted", 2),
    ],
}
#: Over a SQLite database also: the copy of what is replaced is made, and the pages are half written.
_OVER = {
    "sqlite": [
        *_RESTORING["sqlite"],
        ("blaidctl.database.sqlite", "_copy_pages", 4),
        ("blaidctl.database.sqlite", "_head_of", 1),
    ],
    "postgresql": [*_RESTORING["postgresql"], ("blaidctl.database.postgres", "_quoted", 3)],
}


def test_a_restore_that_is_killed_leaves_nothing(
    *, database: Database, cli: CommandLine, process: ProcessCommandLine, backup: Path, elsewhere: Database
):
    for moment in _RESTORING[database.kind]:
        _killed(process, moment, "db", "restore", backup, place=elsewhere)
        assert refused(cli("db", "check", database=elsewhere)) == (8, "DATABASE_MISSING"), moment
    answer(cli("db", "restore", backup, database=elsewhere))
    assert cli("audit", "verify", database=elsewhere).code == 0


def test_a_restore_over_a_database_that_is_killed_leaves_the_old_one(
    database: Database, cli: CommandLine, process: ProcessCommandLine, backup: Path, everything: Everything
):
    assert cli("user", "add", "bob").code == 0
    before, words = everything(database), ("db", "restore", backup, "--confirm-head", str(head(database)))
    for moment in _OVER[database.kind]:
        _killed(process, moment, *words, place=database)
        assert everything(database) == before, moment
    answer(cli(*words))
    assert cli("audit", "verify").code == 0
    if database.kind == "postgresql":
        _drop_replaced(database)


# ---- a full disk -------------------------------------------------------------------------------------------------


def _on_a_small_disk(process: ProcessCommandLine, disk: Path, *words: str | Path, url: str | None = None) -> None:
    """Run a command whose files go to 64 KiB; it must say so and leave nothing there."""
    disk.mkdir()
    apart = subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0  # noqa: S607
    done = subprocess.run(
        [*(["unshare", "-rm"] if apart else []), sys.executable, HERE / "full_disk.py", disk, SCRIPT, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=process.environment({"BLAIDCTL_DATABASE_URL": url} if url else {}),
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["code"], told["stdout"]) == (8, ""), told
    assert json.loads(told["stderr"].splitlines()[-1])["error_code"] == "DISK_FULL"
    assert told["files"] == []


def test_a_backup_to_a_full_disk_leaves_nothing_there(
    database: Database, process: ProcessCommandLine, cli: CommandLine, tmp_path: Path, everything: Everything
):
    fill(cli)
    before = everything(database)
    _on_a_small_disk(process, tmp_path / "disk", "db", "backup", tmp_path / "disk" / "x.backup")
    assert everything(database) == before


def test_a_restore_to_a_full_disk_leaves_nothing_there(
    sqlite_database: Database, process: ProcessCommandLine, backup: Path, tmp_path: Path
):
    del sqlite_database
    _on_a_small_disk(process, tmp_path / "disk", "db", "restore", backup, url=f"sqlite:///{tmp_path}/disk/new.db")
