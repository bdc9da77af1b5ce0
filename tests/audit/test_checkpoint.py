"""`audit checkpoint` and `audit verify` against its notes: what is signed, what is not, and what no error may show."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from blaidctl.core import notes, sinks
from tests.audit.desk import NAME, Desk
from tests.audit.tampering import blob, rehash, tamper
from tests.kill.fleet import BACK, WHY, done, dump, entries, refused
from tests.support.accounts import options

if TYPE_CHECKING:
    from tests.support.commandline import CommandLine, ProcessCommandLine, Run
    from tests.support.database import Database


@pytest.fixture
def desk(cli: CommandLine, tmp_path: Path) -> Desk:
    """A desk with checkpoints set up and two users on record."""
    for user in ("alice", "bob"):
        done(cli("user", "add", user))
    return Desk(cli, tmp_path)


def broken(run: Run) -> list[str]:
    """Insist that verify found something about checkpoints only; return what."""
    refused_run = run.json["result"]
    assert (run.code, run.error["error_code"], refused_run["answer"]) == (1, "AUDIT_BROKEN", "BROKEN"), run.stderr
    assert {defect["check"] for defect in refused_run["defects"]} == {"checkpoint"}
    return [defect["what"] for defect in refused_run["defects"]]


# ---- what is made --------------------------------------------------------------------------------------------------


@pytest.mark.operation("audit checkpoint")
def test_a_checkpoint_is_a_signed_note_of_the_head_in_two_sinks(desk: Desk, database: Database):
    run = done(desk("audit", "checkpoint", "--reason", "end of day"))
    made = run.json["result"]
    ((head_hash,),) = database.sql("SELECT entry_hash FROM audit_log WHERE seq = 2")
    assert (made["size"], made["head_hash"], made["origin"]) == (2, bytes(head_hash).hex(), NAME)
    name = f"{2:020d}-{made['key_id']}.note"
    assert desk.held() == [[name], [name]]
    first, second = (sink.joinpath(name).read_bytes() for sink in desk.sinks)
    assert first == second == made["note"].encode()
    assert first.decode().splitlines()[:4] == [NAME, "2", base64.b64encode(bytes(head_hash)).decode(), ""]
    assert notes.read_note(first).signed_by([notes.read_verifier(desk.verifiers[0])])
    assert {stat.S_IMODE(sink.joinpath(name).stat().st_mode) for sink in desk.sinks} == {0o444}
    assert run.json["audit"]["seq"] == 3


def test_the_act_of_a_checkpoint_is_an_entry_of_its_own(desk: Desk, database: Database):
    made = desk.checkpoint("--reason", "end of day")
    entry = entries(database)[-1]
    assert (entry["action"], entry["outcome"], entry["what"]["reason"]) == ("audit checkpoint", "DONE", "end of day")
    assert entry["what"]["target"] == {"origin": NAME, "size": 2}
    assert entry["what"]["after"] == {
        "size": 2, "head_hash": made["head_hash"], "key_id": made["key_id"], "file": made["file"],
        "note_sha256": hashlib.sha256(made["note"].encode()).hexdigest(), "sinks": [str(sink) for sink in desk.sinks],
        "copied": [], "begin": False,
    }  # fmt: skip


def test_the_next_one_covers_the_entry_of_the_one_before(desk: Desk):
    assert [desk.checkpoint()["size"] for _ in range(3)] == [2, 3, 4]
    assert [len(names) for names in desk.held()] == [3, 3]
    result = done(desk("audit", "verify")).json["result"]
    assert (result["answer"], result["checkpoints"], result["last_checkpoint"]) == ("OK", 3, 4)
    assert result["not_checked"][0].startswith("entries after 4, the last checkpoint")


def test_a_dry_run_signs_and_writes_nothing_anywhere(desk: Desk, database: Database):
    before = dump(database)
    answer = done(desk("audit", "checkpoint", "--dry-run")).json
    assert (answer["dry_run"], answer["audit"], answer["result"]["size"]) == (True, None, 2)
    assert (dump(database), desk.held()) == (before, [[], []])


def test_the_same_request_id_writes_one_note(desk: Desk):
    first = done(desk("audit", "checkpoint", "--request-id", "night-1")).json
    held = desk.held()
    done(desk("user", "add", "carol"))
    again = done(desk("audit", "checkpoint", "--request-id", "night-1")).json
    assert (again["replayed"], again["result"], again["audit"]) == (True, first["result"], first["audit"])
    assert desk.held() == held
    refused(desk("audit", "checkpoint", "--begin", "--request-id", "night-1"), 4, "REQUEST_ID_REUSED")


def test_an_empty_log_has_nothing_to_sign(cli: CommandLine, tmp_path: Path):
    desk = Desk(cli, tmp_path)
    assert "nothing to sign" in refused(desk("audit", "checkpoint"), 2, "INVALID_REQUEST")["message"]
    assert desk.held() == [[], []]


def test_the_installed_program_makes_and_verifies_one(desk: Desk, process: ProcessCommandLine):
    done(process("audit", "checkpoint", env=desk.settings()))
    folders = [word for sink in desk.sinks for word in ("--checkpoint", str(sink))]
    result = done(process("audit", "verify", *folders, "--key", desk.verifiers[0])).json["result"]
    assert (result["checkpoints"], result["last_checkpoint"]) == (1, 2)


# ---- settings and key files ----------------------------------------------------------------------------------------


def test_what_is_not_set_up_is_named_all_at_once(cli: CommandLine):
    done(cli("user", "add", "alice"))
    error = refused(cli("audit", "checkpoint"), 2, "SETTINGS_INVALID")
    assert error["missing_requirements"] == [
        f"BLAIDCTL_CHECKPOINT_{name} is not set" for name in ("SINKS", "KEY", "VERIFIERS")
    ]


@pytest.mark.parametrize(
    ("sinks", "why"),
    [
        ("/srv/one", "at least two different folders"),
        ("/srv/one:/srv/one", "at least two different folders"),
        ("/srv/one:/srv/../srv/one/", "at least two different folders"),
        ("one:two", "folders from / on"),
    ],
)
def test_one_sink_is_no_second_witness(desk: Desk, sinks: str, why: str):
    error = refused(desk("audit", "checkpoint", env={"BLAIDCTL_CHECKPOINT_SINKS": sinks}), 2, "SETTINGS_INVALID")
    assert why in error["missing_requirements"][0]


def test_a_link_to_the_other_sink_is_no_second_witness(desk: Desk, tmp_path: Path):
    link = tmp_path / "link"
    link.symlink_to(desk.sinks[0])
    desk.sinks[1] = link
    refused(desk("audit", "checkpoint"), 2, "SETTINGS_INVALID")


def test_a_key_that_nobody_could_check_signs_nothing(desk: Desk, tmp_path: Path):
    own, desk.verifiers = desk.verifiers, [desk.new_key(tmp_path / "other.key")]
    error = refused(desk("audit", "checkpoint"), 2, "SETTINGS_INVALID")
    assert error["missing_requirements"] == [f"checkpoint_verifiers: {own[0]}"]
    assert desk.held() == [[], []]


@pytest.mark.operation("audit key new", "audit key show")
def test_a_new_key_is_for_its_owners_eyes_and_only_its_verifier_is_told(cli: CommandLine, tmp_path: Path):
    old = os.umask(0)
    try:
        run = done(cli("audit", "key", "new", tmp_path / "k", "--name", NAME))
    finally:
        os.umask(old)
    (row,) = run.json["result"]["rows"]
    text = (tmp_path / "k").read_text()
    assert text.startswith("PRIVATE+KEY+")
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600
    assert (tmp_path / "k.pub").read_text() == row["verifier"] + "\n"
    assert stat.S_IMODE((tmp_path / "k.pub").stat().st_mode) == 0o644
    assert notes.read_signer(text.strip()).verifier.text() == row["verifier"]
    assert done(cli("audit", "key", "show", tmp_path / "k")).json["result"]["rows"] == [row]
    assert text.strip()[-40:] not in run.stdout + run.stderr
    assert "PRIVATE" not in run.stdout + run.stderr


def test_a_key_is_never_overwritten(cli: CommandLine, tmp_path: Path):
    done(cli("audit", "key", "new", tmp_path / "k"))
    before = (tmp_path / "k").read_bytes()
    refused(cli("audit", "key", "new", tmp_path / "k"), 4, "ALREADY_EXISTS")
    (tmp_path / "k").rename(tmp_path / "kept")
    refused(cli("audit", "key", "new", tmp_path / "k"), 4, "ALREADY_EXISTS")  # k.pub is still there
    assert (tmp_path / "kept").read_bytes() == before
    (tmp_path / "k.pub").unlink()
    (tmp_path / "k").symlink_to(tmp_path / "elsewhere")
    refused(cli("audit", "key", "new", tmp_path / "k"), 4, "ALREADY_EXISTS")
    refused(cli("audit", "key", "new", tmp_path / "no" / "folder"), 2, "FILE_UNREADABLE")
    refused(cli("audit", "key", "new", tmp_path / "n", "--name", "two words"), 2, "INVALID_REQUEST")
    assert not (tmp_path / "n").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o666])
def test_a_key_file_that_others_may_touch_is_refused(desk: Desk, mode: int):
    desk.key.chmod(mode)
    error = refused(desk("audit", "checkpoint"), 2, "KEY_FILE_INVALID")
    assert f"mode {mode:04o}" in error["message"]
    assert f"chmod 600 {desk.key}" in error["next_steps"][0]
    refused(desk("audit", "key", "show", desk.key), 2, "KEY_FILE_INVALID")
    assert desk.held() == [[], []]


def test_a_key_file_of_another_user_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    """Seen from another user: the file's owner could put another key there."""
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    monkeypatch.setattr(os, "fstat", _of_another_user(os.fstat))
    error = refused(desk("audit", "checkpoint"), 2, "KEY_FILE_INVALID")
    assert "belongs to another user (uid 4712)" in error["message"]


def _of_another_user(fstat: Any) -> Any:
    def look(descriptor: int) -> os.stat_result:
        found = list(fstat(descriptor))
        found[stat.ST_UID] = 4712
        return os.stat_result(found)

    return look


def test_no_error_of_a_key_file_shows_a_part_of_it(desk: Desk):
    text = desk.key.read_text().strip()
    secret = text.rpartition("+")[2]
    damaged = [text[:-4], text.replace("desk", "disk"), f"x{text}", text.replace("PRIVATE", "PRIVATES"), secret, ""]
    for data in (*(each.encode() for each in damaged), b"\xff\xfe" + text.encode()):
        desk.key.write_bytes(data)
        for words in (("audit", "checkpoint"), ("audit", "key", "show", desk.key)):
            run = desk(*words)
            refused(run, 2, "KEY_FILE_INVALID")
            assert not any(secret[i : i + 12] in run.stderr for i in range(len(secret) - 12))
    desk.key.unlink()
    refused(desk("audit", "checkpoint"), 2, "FILE_UNREADABLE")
    os.mkfifo(desk.key, 0o600)
    refused(desk("audit", "checkpoint"), 2, "KEY_FILE_INVALID")


def test_a_private_key_among_the_settings_is_refused_and_not_shown(desk: Desk):
    text = desk.key.read_text().strip()
    for run in (
        desk("audit", "checkpoint", env={"BLAIDCTL_CHECKPOINT_VERIFIERS": text}),
        desk("audit", "verify", "--checkpoint", str(desk.key), "--key", text),
    ):
        assert run.code == 2
        assert text[-20:] not in run.stderr + run.stdout
        assert "private key" in run.error["message"]


# ---- sinks ---------------------------------------------------------------------------------------------------------


def test_a_sink_that_is_not_there_is_named_and_nothing_is_written(desk: Desk, database: Database):
    before = dump(database)
    desk.sinks[1].rmdir()
    error = refused(desk("audit", "checkpoint"), 8, "CHECKPOINT_SINK_FAILED")
    assert [line.partition(": ")[0] for line in error["missing_requirements"]] == [str(desk.sinks[1])]
    assert (list(desk.sinks[0].iterdir()), dump(database)) == ([], before)
    desk.sinks[1].mkdir()
    assert desk.checkpoint()["size"] == 2


def test_a_sink_that_takes_no_file_is_named_and_the_other_one_holds_none(
    desk: Desk, database: Database, monkeypatch: pytest.MonkeyPatch
):
    """The disk of one of them is full: the system says so when the note is flushed."""
    before = dump(database)
    fsync = os.fsync

    def full(descriptor: int) -> None:
        if str(desk.sinks[1]) in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    error = refused(desk("audit", "checkpoint"), 8, "CHECKPOINT_SINK_FAILED")
    assert error["missing_requirements"] == [f"{desk.sinks[1]}: No space left on device"]
    assert "no note was written to any sink" in error["message"]
    assert (desk.held(), dump(database)) == ([[], []], before)


def test_a_sink_that_fails_at_the_last_moment_leaves_no_entry_and_catches_up(
    desk: Desk, database: Database, monkeypatch: pytest.MonkeyPatch
):
    before = dump(database)
    link = os.link

    def fails(source: Any, target: Any, **more: Any) -> None:
        if desk.sinks[1] in Path(target).parents:
            raise OSError(5, "Input/output error")
        link(source, target, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", fails)
        error = refused(desk("audit", "checkpoint"), 8, "CHECKPOINT_SINK_FAILED")
    assert error["missing_requirements"] == [f"{desk.sinks[1]}: Input/output error"]
    assert f"the note stands in {desk.sinks[0]}; no entry was written" in error["message"]
    assert ([len(names) for names in desk.held()], dump(database)) == ([1, 0], before)
    done(desk("user", "add", "carol"))
    made = desk.checkpoint()
    assert made["copied"] == [str(desk.sinks[1] / desk.held()[0][0])]
    assert desk.held()[0] == desk.held()[1]
    assert done(desk("audit", "verify")).json["result"]["checkpoints"] == 2


@pytest.mark.parametrize("more", [False, True], ids=["of the same entry", "of a later one"])
def test_of_two_checkpoints_at_once_the_log_remembers_the_newer_one(
    desk: Desk,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    more: bool,  # noqa: FBT001 - a parameter
):
    put, made = sinks.put, []

    def slow(staged: Any) -> None:
        put(staged)
        if not made:  # while this one writes its notes, a timer's is quicker
            made.append(None)
            if more:
                done(desk("user", "add", "carol"))
            made.append(desk.checkpoint())

    with monkeypatch.context() as patch:
        patch.setattr(sinks, "put", slow)
        error = refused(desk("audit", "checkpoint"), 4, "CHECKPOINT_OVERTAKEN")
    assert f"of entry {made[1]['size']}, was recorded meanwhile" in error["message"]
    assert [e["outcome"] for e in entries(database) if e["action"] == "audit checkpoint"] == ["DONE", "REFUSED"]
    done(desk("audit", "verify"))
    done(desk("audit", "checkpoint"))
    done(desk("audit", "verify"))


def test_a_note_is_never_overwritten(desk: Desk, database: Database):
    made = desk.checkpoint("--dry-run")
    before = dump(database)
    (desk.sinks[1] / made["file"]).write_text("something else")
    error = refused(desk("audit", "checkpoint"), 1, "AUDIT_BROKEN")
    assert str(desk.sinks[1] / made["file"]) in error["message"]
    assert ((desk.sinks[1] / made["file"]).read_text(), dump(database)) == ("something else", before)
    (desk.sinks[1] / made["file"]).write_text(made["note"])  # the very note: as after a crash before the entry
    assert desk.checkpoint()["size"] == 2


def test_a_new_disk_gets_the_notes_of_the_other_sink(desk: Desk):
    desk.checkpoint()
    desk.checkpoint()
    shutil.rmtree(desk.sinks[0])
    desk.sinks[0].mkdir()
    (lost,) = broken(desk("audit", "verify"))
    assert f"the sink {desk.sinks[0]} lacks 2 note(s)" in lost
    assert len(desk.checkpoint()["copied"]) == 2
    assert done(desk("audit", "verify")).json["result"]["checkpoints"] == 3


def test_notes_that_vanished_from_every_sink_are_missed(desk: Desk):
    desk.checkpoint()
    newest = desk.checkpoint()["file"]
    for sink in desk.sinks:
        (sink / newest).unlink()
    assert all("lacks 1 note(s) that the log remembers" in what for what in broken(desk("audit", "verify")))
    error = refused(desk("audit", "checkpoint"), 1, "AUDIT_BROKEN")
    assert f"({newest}) is in no sink" in error["message"]
    assert "--begin" in error["next_steps"][0]


def test_new_sinks_begin_when_one_says_so(desk: Desk, tmp_path: Path):
    desk.checkpoint()
    old, desk.sinks = desk.sinks, [tmp_path / "new-near", tmp_path / "new-far"]
    for sink in desk.sinks:
        sink.mkdir()
    refused(desk("audit", "checkpoint"), 1, "AUDIT_BROKEN")
    assert desk.checkpoint("--begin")["begin"]
    assert desk.checkpoint()["size"] == 4
    assert done(desk("audit", "verify")).json["result"]["checkpoints"] == 2
    both = done(desk("audit", "verify", "--checkpoint", old[0])).json["result"]
    assert both["checkpoints"] == 3


def test_a_sink_that_verify_cannot_read_is_a_finding(desk: Desk):
    desk.checkpoint()
    shutil.rmtree(desk.sinks[0])
    whats = broken(desk("audit", "verify"))
    assert any(what.startswith(f"the sink {desk.sinks[0]} cannot be read") for what in whats)


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_plain_file_is_read_by_nobody(desk: Desk, kind: str):
    name = desk.checkpoint()["file"]
    note = desk.sinks[0] / name
    note.unlink()
    if kind == "link":
        note.symlink_to(desk.sinks[1] / name)
    elif kind == "pipe":
        os.mkfifo(note)
    else:
        note.mkdir()
    assert any("cannot be read" in what for what in broken(desk("audit", "verify")))
    refused(desk("audit", "checkpoint"), 8, "CHECKPOINT_SINK_FAILED")


# ---- what is not signed --------------------------------------------------------------------------------------------


def test_a_chain_that_does_not_verify_since_the_last_checkpoint_is_not_signed(desk: Desk, database: Database):
    desk.checkpoint()
    seq = done(desk("user", "add", "carol")).json["audit"]["seq"]
    done(desk("user", "add", "dora"))
    tamper(database, f"UPDATE audit_log SET actor = 'nobody' WHERE seq = {seq}")
    before, held = dump(database), desk.held()
    error = refused(desk("audit", "checkpoint"), 1, "AUDIT_BROKEN")
    assert f"seq {seq}: a column differs from the hashed text" in error["message"]
    assert (dump(database), desk.held()) == (before, held)


def test_a_log_that_was_rewritten_under_a_note_is_not_signed(desk: Desk, database: Database):
    done(desk("user", "add", "carol"))
    size = desk.checkpoint()["size"]
    rehash(database, size, "carol", "karol")
    error = refused(desk("audit", "checkpoint"), 1, "AUDIT_BROKEN")
    assert f"entry {size} is not the one that" in error["message"]


def test_a_log_that_is_shorter_than_a_note_is_not_signed(desk: Desk, database: Database):
    size = desk.checkpoint()["size"]
    tamper(
        database,
        f"DELETE FROM requests WHERE audit_seq >= {size}",
        f"DELETE FROM audit_log WHERE seq >= {size}",
        f"UPDATE audit_head SET seq = {size - 1}, entry_hash = (SELECT entry_hash FROM audit_log)",
    )
    error = refused(desk("audit", "checkpoint"), 1, "AUDIT_BROKEN")
    assert f"speaks of entry {size}, which is gone" in error["message"]
    (what, *_) = [what for what in broken_anyhow(desk) if "cut off" in what]
    assert f"the log ends at {size - 1}" in what


def broken_anyhow(desk: Desk) -> list[str]:
    run = desk("audit", "verify")
    assert run.code == 1
    return [defect["what"] for defect in run.json["result"]["defects"] if defect["check"] == "checkpoint"]


@pytest.mark.parametrize("statement", ["UPDATE audit_head SET seq = seq + 1", "DELETE FROM audit_head"])
def test_a_head_that_is_not_the_logs_end_is_not_signed(desk: Desk, database: Database, statement: str):
    tamper(database, statement)
    assert "head" in refused(desk("audit", "checkpoint"), 1, "AUDIT_BROKEN")["message"]


def test_the_first_checkpoint_verifies_the_whole_log(desk: Desk, database: Database):
    tamper(database, f"UPDATE audit_log SET prev_hash = {blob(database, '11' * 32)} WHERE seq = 1")
    assert "since entry 0: seq 1" in refused(desk("audit", "checkpoint"), 1, "AUDIT_BROKEN")["message"]


def test_a_forged_note_in_a_sink_stops_the_next_one(desk: Desk):
    name = desk.checkpoint()["file"]
    note = desk.sinks[0] / name
    text = note.read_bytes()
    note.chmod(0o644)
    note.write_bytes(text.replace(f"{NAME}\n2\n".encode(), f"{NAME}\n1\n".encode()))
    assert "signature" in refused(desk("audit", "checkpoint"), 1, "AUDIT_BROKEN")["message"]
    (what,) = broken(desk("audit", "verify"))
    assert f"{note}: the signature of {NAME}" in what


# ---- verify --------------------------------------------------------------------------------------------------------


def test_without_a_note_verify_says_what_it_cannot_find(desk: Desk):
    result = done(desk.cli("audit", "verify")).json["result"]
    assert (result["checkpoints"], result["last_checkpoint"]) == (0, None)
    assert "tail cut off" in result["not_checked"][0]
    assert "no checkpoint was given" in result["not_checked"][0]


def test_notes_without_any_key_are_not_believed(desk: Desk):
    desk.checkpoint()
    error = refused(desk.cli("audit", "verify", "--checkpoint", desk.sinks[0]), 2, "INVALID_REQUEST")
    assert "no verifier key" in error["message"]
    run = desk.cli("audit", "verify", "--checkpoint", desk.sinks[0], "--key", "nonsense")
    assert "--key is no verifier key" in refused(run, 2, "INVALID_REQUEST")["message"]


def test_only_the_keys_that_are_given_count(desk: Desk, tmp_path: Path):
    desk.checkpoint()
    other = desk.new_key(tmp_path / "other.key")
    (near, far) = broken(desk("audit", "verify", "--key", other))
    assert "signed by no known key" in near
    assert "signed by no known key" in far
    done(desk("audit", "verify", "--key", other, "--key", desk.verifiers[0]))


def test_a_checkpoint_that_is_not_there_is_no_proof(desk: Desk, tmp_path: Path):
    for name in ("nowhere", "near"):
        run = desk("audit", "verify", "--checkpoint", tmp_path / name)
        assert str(tmp_path / name) in refused(run, 2, "FILE_UNREADABLE")["message"]


def test_a_note_under_another_number_is_found(desk: Desk):
    name = desk.checkpoint()["file"]
    (desk.sinks[0] / name.replace("2-", "1-")).write_bytes((desk.sinks[0] / name).read_bytes())
    assert any("it speaks of entry 2" in what for what in broken(desk("audit", "verify")))


def test_a_note_of_another_log_is_found(desk: Desk, make_database: Any, engine: Any):
    other = make_database(engine)
    for user in ("x", "y", "z"):
        done(desk("user", "add", user, database=other))
    desk.checkpoint()
    run = desk(
        "audit", "verify", "--checkpoint", str(desk.sinks[0]), database=other, env={"BLAIDCTL_CHECKPOINT_SINKS": None}
    )
    (what,) = broken(run)
    assert "is not the one that" in what


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('"size":2', '"size":9', "not between the one before it and itself"),
        ('"size":2', '"size":1', "speaks of another entry 1"),
    ],
)
def test_a_checkpoint_entry_that_speaks_of_another_past_is_found(
    desk: Desk, database: Database, old: str, new: str, why: str
):
    desk.checkpoint()
    rehash(database, 3, old, new)
    tamper(database, "UPDATE audit_head SET entry_hash = (SELECT entry_hash FROM audit_log WHERE seq = 3)")
    assert any(why in what for what in broken_anyhow(desk))


# ---- rotation ------------------------------------------------------------------------------------------------------


def test_after_a_rotation_old_notes_verify_under_the_old_key(desk: Desk, tmp_path: Path):
    desk.checkpoint()
    desk.key = tmp_path / "desk-2.key"
    desk.verifiers.append(desk.new_key(desk.key))
    made = desk.checkpoint()
    assert made["key_id"] == notes.read_verifier(desk.verifiers[1]).key_id.hex()
    result = done(desk("audit", "verify")).json["result"]
    assert (result["checkpoints"], result["last_checkpoint"]) == (2, 3)
    whats = broken(desk("audit", "verify", "--key", desk.verifiers[1]))
    assert len(whats) == 2
    assert all("signed by no known key" in what for what in whats)


def test_a_lost_key_at_the_same_head_makes_a_note_of_its_own(desk: Desk, tmp_path: Path):
    """The note was written, its entry was not (no database), and the key is another one since."""
    made = desk.checkpoint("--dry-run")
    for sink in desk.sinks:
        (sink / made["file"]).write_text(made["note"])
    desk.key = tmp_path / "desk-2.key"
    desk.verifiers.append(desk.new_key(desk.key))
    assert desk.checkpoint()["size"] == 2
    assert [len(names) for names in desk.held()] == [2, 2]
    assert done(desk("audit", "verify")).json["result"]["last_checkpoint"] == 2


# ---- the limit of age ----------------------------------------------------------------------------------------------


def aged(database: Database, *, by_s: int) -> None:
    """Let the last checkpoint be older than it is: the column alone, which the refusal reads."""
    (sql,) = {
        "sqlite": ("UPDATE audit_log SET created_at = strftime('%Y-%m-%dT%H:%M:%S.000000Z', 'now', '{} seconds')",),
        "postgresql": ("UPDATE audit_log SET created_at = now() + interval '{} seconds'",),
    }[database.kind]
    tamper(database, f"{sql.format(-by_s)} WHERE action = 'audit checkpoint'")


LIMIT = {"BLAIDCTL_CHECKPOINT_MAX_AGE_S": "3600"}
ACCOUNT = ("--broker", "ibkr", "--external-id", "U1", "--environment", "paper", "--currency", "USD")


@pytest.fixture
def killed(desk: Desk) -> Desk:
    """A bot that is killed and one that could be linked."""
    done(desk("bot", "add", "a1", "--user", "alice"))
    done(desk("bot", "add", "a2", "--user", "alice"))
    done(desk("account", "add", "acc", "--user", "alice", *ACCOUNT))
    done(desk("kill", "a1", *WHY))
    desk.acts = [("resurrect", "a1", *BACK), ("account", "link", "a2", "acc", *options())]
    return desk


def test_without_a_limit_no_checkpoint_is_needed(killed: Desk):
    for act in killed.acts:
        done(killed(*act))


def test_what_starts_again_is_refused_while_the_last_checkpoint_is_too_old(killed: Desk, database: Database):
    killed.env = dict(LIMIT)
    for act in killed.acts:
        error = refused(killed(*act), 5, "CHECKPOINT_STALE")
        assert "there is no checkpoint yet" in error["message"]
    killed.checkpoint()
    aged(database, by_s=3700)
    for act in killed.acts:
        assert "37" in refused(killed(*act), 5, "CHECKPOINT_STALE")["message"]
    assert [entry["what"]["error_code"] for entry in entries(database) if entry["outcome"] == "REFUSED"] == [
        "CHECKPOINT_STALE"
    ] * 4
    aged(database, by_s=3500)
    for act in killed.acts:
        done(killed(*act))


def test_a_checkpoint_of_the_future_has_no_age(killed: Desk, database: Database):
    killed.env = dict(LIMIT)
    killed.checkpoint()
    aged(database, by_s=-300)
    for act in killed.acts:
        assert "lies in the future" in refused(killed(*act), 5, "CHECKPOINT_STALE")["message"]


def test_a_kill_needs_no_checkpoint(killed: Desk):
    killed.env = dict(LIMIT)
    done(killed("kill", "a2", *WHY))
    done(killed("account", "add", "acc-2", "--user", "alice", *ACCOUNT[:3], "U2", *ACCOUNT[4:]))


def test_what_was_done_is_told_again_without_a_checkpoint(killed: Desk):
    act = (*killed.acts[0], "--request-id", "r-1")
    first = done(killed(*act)).json
    killed.env = dict(LIMIT)
    again = done(killed(*act)).json
    assert (again["replayed"], again["audit"], again["result"]) == (True, first["audit"], first["result"])


def test_a_refused_checkpoint_does_not_make_the_log_fresh(killed: Desk):
    killed.env = dict(LIMIT)
    killed.sinks[1].rmdir()
    refused(killed("audit", "checkpoint"), 8, "CHECKPOINT_SINK_FAILED")
    refused(killed(*killed.acts[0]), 5, "CHECKPOINT_STALE")
