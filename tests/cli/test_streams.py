"""stdout is data, stderr is talk; and whatever happens to either, an act is neither lost nor denied."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.accounts import linked
from tests.support.commandline import SCRIPT

if TYPE_CHECKING:
    from tests.support.commandline import CommandLine, ProcessCommandLine
    from tests.support.database import Database

BASH = shutil.which("bash") or "/bin/bash"
KILL = ("kill", "momo-1", "--reason-code", "DRILL", "--reason", "a drill")


@pytest.fixture
def fleet(sqlite_database: Database, cli: CommandLine) -> Database:
    """Alice's two bots, on SQLite: the streams do not know the engine."""
    assert cli("user", "add", "alice").code == 0
    for bot in ("momo-1", "carry-2"):
        assert cli("bot", "add", bot, "--user", "alice", "--tag", "futures", "--name", "Zoë 気配値").code == 0
    linked(cli, "momo-1", "carry-2")
    return sqlite_database


def _killed(database: Database) -> bool:
    return database.sql("SELECT killed_at IS NOT NULL FROM bots WHERE id = 'momo-1'") == [(1,)]


# ---- data here, talk there -----------------------------------------------------------------------------------

ACCOUNT = ("--broker", "ib", "--external-id", "U1", "--environment", "paper", "--currency", "USD")
DATA = [
    ("kill", *KILL[1:]),
    ("resurrect", "momo-1", "--reason-code", "DRILL_DONE", "--reason", "over"),
    ("kill-events",),
    ("guard", "carry-2"),
    ("status",),
    ("user", "add", "bob"),
    ("user", "list"),
    ("account", "add", "x-1", "--user", "alice", *ACCOUNT),
    ("account", "limits", "momo-1", "--max-contracts", "4"),
    ("account", "list"),
    ("account", "show", "alice-paper"),
    ("account", "events"),
    ("bot", "list"),
    ("bot", "show", "momo-1"),
    ("audit", "tail"),
    ("audit", "verify"),
    ("token", "add", "--user", "alice", "--label", "desk"),
    ("token", "list"),
    ("db", "plan"),
    ("db", "check"),
    ("db", "history"),
    ("endpoints",),
]


@pytest.mark.parametrize("arguments", DATA, ids=" ".join)
def test_an_answer_is_data_and_nothing_else(fleet: Database, cli: CommandLine, arguments: tuple[str, ...]):
    del fleet
    piped = cli(*arguments)
    assert (piped.code, piped.stderr) == (0, "")
    assert piped.stdout.endswith("}\n")
    assert set(piped.json) >= {"operation", "trace_id", "result"}

    table = cli(*arguments, "--output", "table")
    assert (table.code, table.stderr) == (0, "")
    assert table.stdout.endswith("\n")
    assert "\x1b" not in table.stdout

    answer = cli(*arguments, "--output", "csv")
    assert (answer.code, answer.stderr) == (0, "")
    header, *lines = csv.reader(io.StringIO(answer.stdout), strict=True)
    assert all(len(line) == len(header) for line in lines)
    assert all(name.isidentifier() for name in header)


ERRORS = [
    (("kill", "nobody", "--reason-code", "DRILL", "--reason", "x"), 3, "BOT_NOT_FOUND"),
    (("kill", "momo-1", "--reason-code", "DRILL", "--reason", " "), 2, "INVALID_REQUEST"),
    (("kill", "--nonsense"), 2, "USAGE"),
    (("user", "add", "alice", "--name", "Another"), 4, "ALREADY_EXISTS"),
]


@pytest.mark.parametrize(("arguments", "code", "error_code"), ERRORS)
def test_an_error_is_talk_and_nothing_else(fleet, cli: CommandLine, arguments, code: int, error_code: str):
    del fleet
    for output in ("json", "csv"):
        run = cli(*arguments, "--output", output)
        assert (run.code, run.stdout, run.error["error_code"]) == (code, "", error_code)
        assert list(run.error) == ["error_code", "message", "missing_requirements", "next_steps", "trace_id"]
    shown = cli(*arguments, "--output", "table")
    assert (shown.code, shown.stdout) == (code, "")
    assert shown.stderr.startswith(f"error: {error_code}: ")


@pytest.mark.operation("guard")
def test_a_no_is_data_and_talk(fleet: Database, cli: CommandLine):
    assert cli("guard", "momo-1").json["result"]["answer"] == "MAY_TRADE"
    assert cli(*KILL).code == 0
    run = cli("guard", "momo-1")
    assert (run.code, run.json["result"]["answer"], run.error["error_code"]) == (1, "MAY_NOT_TRADE", "MAY_NOT_TRADE")
    assert _killed(fleet)


@pytest.mark.parametrize(
    "asked", [["-o", "table"], ["-otable"], ["--output", "table"], ["--output=table"]], ids=" ".join
)
def test_a_usage_error_comes_in_the_format_that_was_asked_for(fleet, cli: CommandLine, asked: list[str]):
    del fleet
    assert cli("kill", *asked, "--nonsense").stderr.startswith("error: USAGE: No such option")
    assert cli("kill", "--reason", "table", "--nonsense").error["error_code"] == "USAGE"
    assert cli("kill", *asked, "--output", "json", "--nonsense").error["error_code"] == "USAGE"


def test_a_warning_is_talk(fleet, cli: CommandLine):
    del fleet
    run = cli("status", env={"TRACEPARENT": "nonsense"})
    assert (run.code, run.stderr) == (0, "warning: TRACEPARENT is malformed; this run has a new trace id\n")
    assert run.json["trace_id"]


# ---- a reader that goes away ---------------------------------------------------------------------------------


def _into_closed_pipe(process: ProcessCommandLine, *arguments: str) -> subprocess.CompletedProcess[str]:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return subprocess.run(
            [SCRIPT, *arguments],
            env=process.environment(),
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writer)


@pytest.mark.parametrize("output", ["json", "table", "csv"])
def test_a_closed_pipe_under_a_read_is_the_reader_s_choice(fleet, process: ProcessCommandLine, output: str):
    del fleet
    done = _into_closed_pipe(process, "bot", "list", "--output", output)
    assert (done.returncode, done.stderr) == (0, "note: the reader of standard output is gone; nothing was written\n")


def test_a_closed_pipe_under_a_kill_says_that_it_is_committed(fleet: Database, process: ProcessCommandLine):
    done = _into_closed_pipe(process, *KILL)
    ((seq, entry_hash),) = fleet.sql("SELECT seq, lower(hex(entry_hash)) FROM audit_log ORDER BY seq DESC LIMIT 1")
    assert done.returncode == 0
    assert done.stderr == (
        "note: the reader of standard output is gone;"
        f" the change IS committed (audit seq {seq}, entry hash {entry_hash})\n"
    )
    assert _killed(fleet)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["kill", "--help"], ["--version"], ["audit", "export"]], ids=" ".join
)
def test_a_closed_pipe_leaves_no_traceback(fleet, process: ProcessCommandLine, arguments: list[str]):
    del fleet
    done = _into_closed_pipe(process, *arguments)
    assert done.returncode == 0
    assert done.stderr in ("", "note: the reader of standard output is gone; the export is incomplete\n")


@pytest.mark.operation("audit export")
def test_head_takes_one_line_of_a_long_export(fleet: Database, process: ProcessCommandLine, cli: CommandLine):
    del fleet
    for number in range(40):  # some 60 kB: more than a pipe holds at once would need no reader at all
        assert cli(*KILL, "--request-id", f"drill-{number}").code == 0
    script = f"set -o pipefail; '{SCRIPT}' audit export | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run([BASH, "-c", script], env=process.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert json.loads(done.stdout)["seq"] == 1
    assert done.stderr in ("", "note: the reader of standard output is gone; the export is incomplete\n")


# ---- a full disk under stdout --------------------------------------------------------------------------------


def _into_full_disk(process: ProcessCommandLine, *arguments: str) -> subprocess.CompletedProcess[str]:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device, not a file
        return subprocess.run(
            [SCRIPT, *arguments], env=process.environment(), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )


def _error(stderr: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(stderr.splitlines()[0])
    return found


def test_a_kill_whose_answer_is_lost_says_that_it_is_committed(fleet: Database, process: ProcessCommandLine):
    done = _into_full_disk(process, *KILL)
    ((seq, entry_hash),) = fleet.sql("SELECT seq, lower(hex(entry_hash)) FROM audit_log ORDER BY seq DESC LIMIT 1")
    assert (done.returncode, _error(done.stderr)["error_code"]) == (9, "OUTPUT_LOST")
    assert f"the change IS committed (audit seq {seq}, entry hash {entry_hash})" in _error(done.stderr)["message"]
    assert done.stderr.splitlines()[-1] == "KILLED, BUT THE ANSWER WAS LOST"
    assert _killed(fleet)


@pytest.mark.parametrize(
    "arguments",
    [["kill-events"], ["bot", "list", "-o", "csv"], [*KILL, "--dry-run"], ["user", "list", "-o", "json"]],
    ids=" ".join,
)
def test_an_answer_without_an_act_that_is_lost_says_that_nothing_was_written(
    fleet: Database, process: ProcessCommandLine, arguments: list[str]
):
    done = _into_full_disk(process, *arguments)
    assert (done.returncode, _error(done.stderr)["error_code"]) == (9, "OUTPUT_LOST")
    assert "nothing was written" in _error(done.stderr)["message"]
    assert not _killed(fleet)


@pytest.mark.parametrize("arguments", [["--help"], ["db", "--help"], ["--version"], ["audit", "export"]], ids=" ".join)
def test_a_text_that_is_lost_is_an_error_too(fleet, process: ProcessCommandLine, arguments: list[str]):
    del fleet
    done = _into_full_disk(process, *arguments)
    assert (done.returncode, _error(done.stderr)["error_code"]) == (9, "OUTPUT_LOST")


# ---- streams that are not there ------------------------------------------------------------------------------


def _through_bash(
    process: ProcessCommandLine, redirection: str, *arguments: str, **env: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BASH, "-c", f'"$@" {redirection}', "bash", SCRIPT, *arguments],
        env=process.environment(env),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_kill_works_when_a_stream_is_closed(fleet: Database, process: ProcessCommandLine, redirection: str):
    done = _through_bash(process, redirection, *KILL)
    assert (done.returncode, done.stderr) == (0, "")
    assert (done.stdout == "") is (">&-" in redirection.split())
    assert _killed(fleet)
    # Nothing that was meant for a stream went into the file that got its number: the database.
    assert fleet.sql("PRAGMA integrity_check") == [("ok",)]
    assert process("audit", "verify").json["result"]["answer"] == "OK"


def test_no_stdin_is_an_empty_one(fleet: Database, process: ProcessCommandLine):
    done = _through_bash(process, "<&-", "kill", "momo-1", "--reason-code", "DRILL", "--reason", "-")
    assert (done.returncode, _error(done.stderr)["error_code"]) == (2, "INVALID_REQUEST")
    done = _through_bash(process, "<&-", "kill", "--all", "--reason-code", "DRILL", "--reason", "x")
    assert (done.returncode, _error(done.stderr)["error_code"]) == (2, "CONFIRM_COUNT_MISSING")
    assert not _killed(fleet)


# ---- letters -------------------------------------------------------------------------------------------------

REASON = "Überhitzt: 気配値が止まった — \u2028 “quoted”, 🤖"


@pytest.mark.parametrize(("locale", "encoding"), [("C", None), ("POSIX", "ascii"), ("C.UTF-8", "latin-1")])
def test_every_letter_survives_every_locale(
    fleet: Database, process: ProcessCommandLine, locale: str, encoding: str | None
):
    env: dict[str, str | None] = {"LC_ALL": locale, "LANG": locale, "PYTHONIOENCODING": encoding, "PYTHONUTF8": None}
    killed = process("kill", "momo-1", "--reason-code", "DRILL", "--reason", REASON, env=env)
    assert (killed.code, killed.stderr) == (0, "")
    assert process("kill-events", env=env).json["result"]["events"][0]["reason"] == REASON
    shown = process("bot", "list", "--output", "table", env=env)
    assert (shown.code, shown.stderr) == (0, "")
    assert process("bot", "show", "momo-1", "--output", "table", env=env).stdout.count("Zoë 気配値") == 1
    assert fleet.sql("SELECT reason FROM kill_events") == [(REASON,)]


def test_bytes_that_are_no_text_are_refused(fleet: Database, process: ProcessCommandLine):
    done = subprocess.run(
        [SCRIPT, "kill", "momo-1", "--reason-code", "DRILL", "--reason", b"\xff\xfe"],
        env=process.environment(),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, _error(done.stderr.decode())["error_code"]) == (2, "INVALID_REQUEST")
    piped = subprocess.run(
        [SCRIPT, "kill", "momo-1", "--reason-code", "DRILL", "--reason", "-"],
        env=process.environment(),
        input=b"caf\xe9",
        capture_output=True,
        check=False,
    )
    assert (piped.returncode, _error(piped.stderr.decode())["error_code"]) == (2, "INVALID_REQUEST")
    assert not _killed(fleet)


def test_stdin_gives_ids_and_reasons(fleet: Database, process: ProcessCommandLine):
    reason = "first line\nsecond line — with “quotes”"
    run = process("kill", "momo-1", "--reason-code", "DRILL", "--reason", "-", stdin=f"{reason}\n")
    assert run.code == 0
    assert fleet.sql("SELECT reason FROM kill_events") == [(reason,)]
    run = process("kill", "-", "--reason-code", "DRILL", "--reason", "x", stdin="carry-2\nmomo-1\n")
    assert [bot["bot_id"] for bot in run.json["result"]["bots"]] == ["carry-2", "momo-1"]
    assert process("kill", "-", "--reason-code", "DRILL", "--reason", "x", stdin="").code == 2
