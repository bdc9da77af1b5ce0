"""What a command line may say, what it answers, and with which exit code; nothing here looks at a kill's details."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import blaidctl
from tests.support.commandline import SCRIPT

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.commandline import CommandLine, ProcessCommandLine
    from tests.support.database import Database

FIVE = ["error_code", "message", "missing_requirements", "next_steps", "trace_id"]
BASH = shutil.which("bash") or "/bin/bash"
KILL = ("kill", "momo-1", "--reason-code", "DRILL", "--reason", "a drill")


@pytest.fixture
def fleet(database: Database, cli: CommandLine) -> Database:
    assert cli("user", "add", "alice").code == 0
    assert cli("bot", "add", "momo-1", "--user", "alice").code == 0
    return database


# ---- usage errors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["no-such-command"], "No such command 'no-such-command'."),
        (["bot", "no-such-command"], "No such command 'no-such-command'."),
        (["--no-such-option"], "No such option: --no-such-option"),
        (["status", "--no-such-option"], "No such option: --no-such-option"),
        (["guard"], "Missing argument 'BOT'."),
        (["kill", "momo-1", "--reason", "x"], "Missing option '--reason-code'."),
        (["kill", "momo-1", "--reason-code", "BECAUSE", "--reason", "x"], "'--reason-code'"),
        (["kill", "momo-1", "--reason-code", "DRILL"], "Missing option '--reason'"),
        (["kill", "momo-1", "--reason-code", "DRILL", "--reason"], "'--reason' requires an argument."),
        (["kill", "momo-1", "--reason-code", "DRILL", "--reason", "x", "--wait", "soon"], "'--wait'"),
        (["guard", "momo-1", "carry-2"], "Got unexpected extra argument"),
        (["status", "--output", "yaml"], "'--output'"),
        ([], "a command is missing"),
        (["db"], "a command is missing"),
        (["provider"], "a command is missing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_usage_error_is_an_object_off_a_terminal_and_a_sentence_on_one(
    sqlite_database: Database, cli: CommandLine, arguments: list[str], sentence: str
):
    run = cli(*arguments)
    assert (run.code, run.stdout) == (2, "")
    assert list(run.error) == FIVE
    assert run.error["error_code"] == "USAGE"
    assert sentence in run.error["message"]
    assert len(run.error["message"]) < 500
    assert run.error["next_steps"]
    assert re.fullmatch("[0-9a-f]{32}", run.error["trace_id"])
    assert (run.stderr.splitlines()[-1] == "NOT KILLED") is (arguments[:1] == ["kill"])

    at_a_terminal = cli(*arguments, tty=True)
    assert (at_a_terminal.code, at_a_terminal.stdout) == (2, "")
    assert "{" not in at_a_terminal.stderr
    expected = "Usage: blaidctl" if sentence == "a command is missing" else "error: USAGE: "
    assert at_a_terminal.stderr.startswith(expected)
    assert sqlite_database.sql("SELECT count(*) FROM audit_log") == [(0,)]


def test_a_missing_reason_code_is_told_with_the_closed_list(sqlite_database, cli: CommandLine):
    del sqlite_database
    message = cli("kill", "momo-1", "--reason-code", "BECAUSE", "--reason", "x").error["message"]
    assert all(code in message for code in ("RUNAWAY_ORDERS", "DRILL", "MANUAL"))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["kill", "--reason-code", "DRILL", "--reason", "x"], "no target"),
        (["kill", "momo-1", "--all", "--reason-code", "DRILL", "--reason", "x"], "not both"),
        (["kill", "momo-1", "--reason-code", "DRILL", "--reason", "x", "--wait", "-1"], "wait"),
        (["kill-events", "--limit", "0"], "limit"),
        (["status", "--trace-id", "nonsense"], "trace_id"),
        (["user", "add", "bob", "--request-id", "no spaces please"], "request_id"),
        (["user", "add", "bob", "--on-behalf-of", " "], "on_behalf_of"),
        (["user", "add", "Bob!"], "id"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_invalid_request_names_what_is_wrong(fleet, cli: CommandLine, arguments: list[str], named: str):
    del fleet
    run = cli(*arguments)
    assert (run.code, run.stdout, run.error["error_code"]) == (2, "", "INVALID_REQUEST")
    assert list(run.error) == FIVE
    assert any(named in item for item in run.error["missing_requirements"])


@pytest.mark.parametrize(
    ("env", "named"),
    [
        ({"BLAIDCTL_DATABASE_URL": "mysql://desk:secret@db/desk"}, "database_url"),
        ({"BLAIDCTL_DATABASE_URL": "not a url, secret"}, ""),
        ({"BLAIDCTL_LOCK_TIMEOUT": "3"}, "BLAIDCTL_LOCK_TIMEOUT is not a setting"),
        ({"BLAIDCTL_LOCK_TIMEOUT_S": "soon"}, "lock_timeout_s"),
        ({"BLAIDCTL_CONFIG": "/no/such/file.toml"}, ""),
    ],
)
def test_invalid_settings_are_named_and_their_values_are_not(fleet, cli: CommandLine, env: dict[str, str], named: str):
    del fleet
    run = cli(*KILL, env=env)
    assert (run.code, run.stdout, run.error["error_code"]) == (2, "", "SETTINGS_INVALID")
    assert named in " ".join(run.error["missing_requirements"])
    assert "secret" not in run.stderr
    assert run.stderr.splitlines()[-1] == "NOT KILLED"


# ---- one exit code a class -----------------------------------------------------------------------------------


@pytest.mark.operation("user add", "user list", "bot add", "bot list", "bot show", "status", "audit tail")
def test_0_is_done_or_already_so(fleet: Database, cli: CommandLine):
    assert cli(*KILL).json["result"]["bots"][0]["effect"] == "APPLIED"
    assert cli(*KILL).json["result"]["bots"][0]["effect"] == "ALREADY_IN_STATE"
    assert cli("user", "add", "alice").json["result"] == {"id": "alice", "name": "alice", "effect": "EXISTS"}
    assert [row["id"] for row in cli("user", "list").json["result"]["users"]] == ["alice"]
    added = cli("bot", "add", "carry-2", "--user", "alice", "--strategy", "carry", "--tag", "fx", "--exchange", "CME")
    assert (added.code, added.json["result"]["effect"], added.json["result"]["tags"]) == (0, "CREATED", ["fx"])
    listed = cli("bot", "list", "--tag", "fx").json["result"]["bots"]
    assert [(bot["id"], bot["state"]) for bot in listed] == [("carry-2", "LIVE")]
    shown = cli("bot", "show", "momo-1").json["result"]
    assert (shown["state"], shown["kill_reason_code"], shown["kill_reason"]) == ("KILLED", "DRILL", "a drill")
    glance = cli("status").json["result"]
    assert (glance["live"], glance["killed"], len(glance["bots"])) == (1, 1, 2)
    entries = cli("audit", "tail", "--limit", "3").json["result"]["entries"]
    assert [(e["seq"], e["action"]) for e in entries] == [(4, "kill"), (5, "user add"), (6, "bot add")]
    assert fleet.sql("SELECT max(seq) FROM audit_log") == [(6,)]


def test_1_is_no(fleet: Database, cli: CommandLine):
    assert cli("guard", "nobody").error["error_code"] == "MAY_NOT_TRADE"
    assert cli("guard", "nobody").code == 1
    fleet.drop_triggers()
    fleet.sql("UPDATE audit_log SET actor = 'somebody else' WHERE seq = 2")
    run = cli("audit", "verify")
    assert (run.code, run.error["error_code"], run.json["result"]["first_bad_seq"]) == (1, "AUDIT_BROKEN", 2)
    assert cli("db", "check").error["error_code"] == "SCHEMA_FINDINGS"


@pytest.mark.operation("token add", "token list", "token revoke")
def test_3_is_not_found_and_recorded_when_it_would_have_written(fleet: Database, cli: CommandLine):
    before = fleet.sql("SELECT count(*) FROM audit_log WHERE outcome = 'REFUSED'")
    assert before == [(0,)]
    cases = [
        (("kill", "nobody", *KILL[2:]), "BOT_NOT_FOUND", 1),
        (("resurrect", "nobody", "--reason-code", "DRILL_DONE", "--reason", "x"), "BOT_NOT_FOUND", 2),
        (("bot", "show", "nobody"), "BOT_NOT_FOUND", 2),
        (("bot", "add", "b", "--user", "nobody"), "USER_NOT_FOUND", 3),
        (("bot", "list", "--user", "nobody"), "USER_NOT_FOUND", 3),
        (("token", "revoke", "nothing"), "TOKEN_NOT_FOUND", 4),
        (("kill", "--tag", "none", "--reason-code", "DRILL", "--reason", "x"), "NOTHING_MATCHED", 5),
    ]
    for arguments, error_code, refusals in cases:
        run = cli(*arguments)
        assert (run.code, run.error["error_code"]) == (3, error_code)
        assert fleet.sql("SELECT count(*) FROM audit_log WHERE outcome = 'REFUSED'") == [(refusals,)]
    made = cli("token", "add", "--user", "alice", "--label", "desk").json["result"]
    assert made["token"].startswith("blaid_")
    (listed,) = cli("token", "list", "--user", "alice").json["result"]["tokens"]
    assert (listed["token_id"], listed["revoked_at"], "token" in listed) == (made["token_id"], None, False)
    first = cli("token", "revoke", made["token_id"]).json["result"]["revoked_at"]
    assert cli("token", "revoke", made["token_id"]).json["result"]["revoked_at"] == first


def test_4_is_a_conflict(fleet, cli: CommandLine):
    del fleet
    assert cli(*KILL, "--request-id", "incident-7").code == 0
    reused = cli("kill", "momo-1", "--reason-code", "DRILL", "--reason", "another", "--request-id", "incident-7")
    other = cli("user", "add", "alice", "--name", "Another")
    counted = cli("kill", "--all", "--confirm-count", "7", "--reason-code", "DRILL", "--reason", "x")
    assert [(run.code, run.error["error_code"]) for run in (reused, other, counted)] == [
        (4, "REQUEST_ID_REUSED"),
        (4, "ALREADY_EXISTS"),
        (4, "COUNT_MISMATCH"),
    ]


def test_8_is_a_database_that_is_not_there(fleet: Database, cli: CommandLine):
    if fleet.kind == "sqlite":
        env = {"BLAIDCTL_DATABASE_URL": f"{fleet.url}-elsewhere"}
        error_code = "DATABASE_MISSING"
    else:
        env = {"BLAIDCTL_DATABASE_URL": "postgresql://desk:secret@127.0.0.1:9/desk"}
        error_code = "DATABASE_DOWN"
    run = cli(*KILL, env=env)
    assert (run.code, run.stdout, run.error["error_code"]) == (8, "", error_code)
    assert run.stderr.splitlines()[-1] == "NOT KILLED"
    assert "secret" not in run.stderr
    refused = cli("guard", "momo-1", env=env)
    assert (refused.code, refused.json["result"]["answer"]) == (1, "MAY_NOT_TRADE")


def test_9_is_busy(fleet: Database, cli: CommandLine):
    holder = fleet.raw()
    if fleet.kind == "sqlite":
        holder.execute("BEGIN IMMEDIATE")
    else:
        holder.execute("BEGIN")
        holder.execute("SELECT * FROM audit_head FOR UPDATE")
    waits = {"BLAIDCTL_LOCK_TIMEOUT_S": "1", "BLAIDCTL_KILL_LOCK_TIMEOUT_S": "1"}
    run = cli(*KILL, env=waits)
    assert (run.code, run.stdout, run.error["error_code"]) == (9, "", "BUSY")
    assert run.stderr.splitlines()[-1] == "NOT KILLED"
    holder.execute("ROLLBACK")
    assert cli(*KILL, env=waits).code == 0


def test_70_is_a_bug_and_never_a_traceback(fleet, cli: CommandLine, monkeypatch: pytest.MonkeyPatch):
    del fleet

    def broken(_tx: Any, _request: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("blaidctl.kill.service.kill", broken)
    run = cli(*KILL)
    assert (run.code, run.stdout, run.error["error_code"]) == (70, "", "INTERNAL")
    assert re.search(r"ZeroDivisionError at test_usage\.py:\d+", run.error["message"])
    assert run.stderr.splitlines()[-1] == "NOT KILLED"
    assert "Traceback" not in run.stderr


def test_130_is_an_interrupt_before_commit(fleet: Database, process: ProcessCommandLine):
    holder = fleet.raw()
    holder.execute("BEGIN IMMEDIATE" if fleet.kind == "sqlite" else "BEGIN")
    if fleet.kind == "postgresql":
        holder.execute("SELECT * FROM audit_head FOR UPDATE")
    waiting = process.spawn(*KILL)
    _wait_until(lambda: _waits_for_the_lock(fleet, waiting.pid))
    waiting.send_signal(signal.SIGINT)
    out, err = waiting.communicate(timeout=20)
    holder.execute("ROLLBACK")
    assert (waiting.returncode, out, err.splitlines()[-1]) == (130, "", "NOT KILLED")
    assert '"error_code": "INTERRUPTED"' in err
    assert fleet.sql("SELECT count(*) FROM kill_events") == [(0,)]


def _waits_for_the_lock(database: Database, pid: int) -> bool:
    if database.kind == "postgresql":
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return database.sql(waiting) == [(1,)]
    # SQLite polls: the process has its turn (holds the queue's lock) and sleeps between two looks.
    queue = Path(f"{database.path}-queue")
    return any(file.exists() and file.samefile(queue) for file in Path(f"/proc/{pid}/fd").iterdir())


def _wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


# ---- help, version, completion -------------------------------------------------------------------------------


def test_the_version_is_the_package_s(sqlite_database, process: ProcessCommandLine):
    del sqlite_database
    run = process("--version")
    assert (run.code, run.stdout, run.stderr) == (0, f"blaidctl {blaidctl.__version__}\n", "")


def test_help_needs_no_settings_and_no_database(sqlite_database, process: ProcessCommandLine):
    del sqlite_database
    env = {"BLAIDCTL_DATABASE_URL": "nonsense", "BLAIDCTL_NO_SUCH_SETTING": "1", "BLAIDCTL_CONFIG": "/nowhere"}
    for arguments in (["--help"], ["kill", "--help"], ["db", "upgrade", "--help"], ["job", "--help"], ["--version"]):
        run = process(*arguments, env=env)
        assert (run.code, run.stderr) == (0, "")
        assert run.stdout.startswith(("Usage: blaidctl", "blaidctl "))


def test_the_installed_program_and_the_module_are_one(sqlite_database, process: ProcessCommandLine):
    del sqlite_database
    python = SCRIPT.with_name("python")
    done = subprocess.run(
        [python, "-m", "blaidctl", "--help"], env=process.environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, process("--help").stdout)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_is_printed(sqlite_database, process: ProcessCommandLine, shell: str):
    # Typer asks the process above it which shell this is; the test says so instead, as its own documentation does.
    del sqlite_database
    env = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    run = process("--show-completion", shell, env=env)
    assert (run.code, run.stderr) == (0, "")
    assert "_BLAIDCTL_COMPLETE" in run.stdout


def test_completion_in_a_real_shell(sqlite_database, process: ProcessCommandLine, tmp_path):
    del sqlite_database
    script = tmp_path / "completion.bash"
    script.write_text(
        f'PATH="{SCRIPT.parent}:$PATH"\n'
        "source <(blaidctl --show-completion; true)\n"
        "complete -p blaidctl >&2\n"
        "COMP_WORDS=(blaidctl kil); COMP_CWORD=1\n"
        "_blaidctl_completion blaidctl\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
        'COMP_WORDS=(blaidctl db ""); COMP_CWORD=2\n'
        "_blaidctl_completion blaidctl\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run([BASH, script], env=process.environment(), capture_output=True, text=True, check=False)
    assert done.stderr.startswith("complete -o default -F _blaidctl_completion blaidctl")
    assert done.stdout.split() == [
        "kill", "kill-events", "plan", "upgrade", "downgrade", "backup", "restore", "check", "history",
    ]  # fmt: skip


def test_a_terminal_that_does_not_know_its_width_gets_80_columns(process: ProcessCommandLine):
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
    env = process.environment({"NO_COLOR": "1"})
    run = subprocess.Popen([SCRIPT, "endpoints"], stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # how a terminal says that nobody writes to it any more
        while piece := os.read(ours, 65536):
            seen += piece
    os.close(ours)
    assert run.wait(30) == 0
    lines = seen.decode().splitlines()
    assert lines[0].split() == ["OPERATION", "ROUTE", "STATUS"]
    assert 60 < max(map(len, lines)) <= 80
