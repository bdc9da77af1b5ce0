"""What `doctor` says of checkpoints: their age, the limit, both sinks and the key file."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.audit.desk import Desk
from tests.audit.tampering import tamper
from tests.kill.fleet import done

if TYPE_CHECKING:
    import os

    from tests.support.commandline import CommandLine
    from tests.support.database import Database

NAMES = ("checkpoint", "checkpoint-sinks")


@pytest.fixture
def desk(cli: CommandLine, tmp_path: Path) -> Desk:
    done(cli("user", "add", "alice"))
    return Desk(cli, tmp_path)


def looked(run: Any) -> list[tuple[str, str]]:
    """(verdict, detail) of both checks; a finding says what to do."""
    checks = {check["check"]: check for check in run.json["result"]["checks"]}
    for name in NAMES:
        assert checks[name]["next_step"] or checks[name]["verdict"] != "FINDING"
    return [(checks[name]["verdict"], checks[name]["detail"]) for name in NAMES]


def test_what_is_not_set_up_is_not_checked_and_no_finding(desk: Desk):
    age, sinks = looked(desk.cli("doctor"))
    assert age == ("NOT_CHECKED", "none was ever made; no limit is set (BLAIDCTL_CHECKPOINT_MAX_AGE_S)")
    assert sinks == ("NOT_CHECKED", "no sinks are set: a log that is rewritten whole is not found")


def test_set_up_and_never_made_is_a_finding(desk: Desk):
    assert looked(desk("doctor"))[0][0] == "FINDING"
    limit = {"BLAIDCTL_CHECKPOINT_MAX_AGE_S": "60"}
    assert looked(desk.cli("doctor", env=limit))[0] == ("FINDING", "none was ever made; the limit is 60 s")


def test_a_fresh_checkpoint_in_both_sinks_is_well_and_the_limit_is_stated(desk: Desk):
    desk.checkpoint()
    age, sinks = looked(desk("doctor"))
    assert age[0] == "OK"
    assert age[1].startswith("of entry 1, made 2")
    assert age[1].endswith(" s ago; no limit is set (BLAIDCTL_CHECKPOINT_MAX_AGE_S)")
    assert sinks == ("OK", f"1 note(s) in each of {desk.sinks[0]}, {desk.sinks[1]}; all on one file system")
    desk.env = {"BLAIDCTL_CHECKPOINT_MAX_AGE_S": "3600"}
    assert looked(desk("doctor"))[0][1].endswith(" s ago; the limit is 3600 s")


@pytest.mark.parametrize(
    ("by", "verdict", "told"), [("-2", "FINDING", "are refused"), ("2", "FINDING", "in the future")]
)
def test_a_checkpoint_beyond_the_limit_is_a_finding(desk: Desk, database: Database, by: str, verdict: str, told: str):
    desk.checkpoint()
    desk.env = {"BLAIDCTL_CHECKPOINT_MAX_AGE_S": "3600"}
    moved = {
        "sqlite": f"strftime('%Y-%m-%dT%H:%M:%S.000000Z', 'now', '{by} hours')",
        "postgresql": f"now() + interval '{by} hours'",
    }[database.kind]
    tamper(database, f"UPDATE audit_log SET created_at = {moved} WHERE action = 'audit checkpoint'")
    age = looked(desk("doctor"))[0]
    assert (age[0], told in age[1]) == (verdict, True)


def test_a_sink_that_is_gone_or_lacks_notes_is_a_finding(desk: Desk):
    desk.checkpoint()
    desk.checkpoint()
    newest = desk.held()[0][-1]
    (desk.sinks[1] / newest).unlink()
    age, sinks = looked(desk("doctor"))
    assert age[0] == "FINDING"
    assert f"its note {newest} is not in {desk.sinks[1]}" in age[1]
    assert sinks == ("FINDING", f"{desk.sinks[1]} lacks 1 note(s) that another sink holds")
    shutil.rmtree(desk.sinks[1])
    assert f"{desk.sinks[1]} cannot be read (No such file or directory)" in looked(desk("doctor"))[1][1]


def test_a_sink_that_this_user_may_not_look_into_is_a_finding_and_no_bug(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    desk.checkpoint()
    look = Path.stat

    def closed(path: Path, **more: Any) -> os.stat_result:
        if desk.sinks[1] in path.parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return look(path, **more)

    monkeypatch.setattr(Path, "stat", closed)
    run = desk("doctor")
    assert run.code == 1, run.stderr
    assert looked(run)[0][0] == "OK"


def test_a_newest_note_that_is_not_ours_is_a_finding(desk: Desk, tmp_path: Path):
    name = desk.checkpoint()["file"]
    near = desk.sinks[0] / name
    text = near.read_bytes()
    near.unlink()
    near.write_bytes(text.replace(b"\n1\n", b"\n2\n"))
    assert "the signature of" in looked(desk("doctor"))[1][1]
    near.write_bytes(text + text.rpartition(b"\n\n")[2])
    assert looked(desk("doctor"))[1] == ("FINDING", "the newest notes differ")
    near.write_bytes(text)
    desk.verifiers = [desk.new_key(tmp_path / "other.key")]
    assert "signed by no known key" in looked(desk("doctor"))[1][1]
    desk.verifiers = ["nonsense"]
    assert "BLAIDCTL_CHECKPOINT_VERIFIERS" in looked(desk("doctor"))[1][1]


def test_a_key_file_that_others_may_touch_or_that_is_gone_is_a_finding(desk: Desk):
    desk.checkpoint()
    desk.key.chmod(0o640)
    assert looked(desk("doctor"))[1] == ("FINDING", f"others may touch the key file {desk.key} (0640)")
    desk.key.unlink()
    assert "is not there" in looked(desk("doctor"))[1][1]


def test_without_a_database_the_sinks_are_still_looked_at(desk: Desk, tmp_path: Path):
    desk.checkpoint()
    desk.env = {"BLAIDCTL_DATABASE_URL": f"sqlite:///{tmp_path}/nowhere.db"}
    age, sinks = looked(desk("doctor"))
    assert (age[0], sinks[0]) == ("NOT_CHECKED", "OK")
