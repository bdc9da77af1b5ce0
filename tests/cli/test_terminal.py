"""At a terminal, a real one (a pty): questions, colours, and tables that never cut an id."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pexpect
import pytest

from tests.support.commandline import SCRIPT

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.commandline import CommandLine, ProcessCommandLine
    from tests.support.database import Database

    Terminal = Callable[..., pexpect.spawn[str]]

ESCAPE = "\x1b"
CTRL_C, CTRL_D = "\x03", "\x04"
KILL_ALL = ("kill", "--all", "--reason-code", "DRILL", "--reason", "a drill")
LONGEST_ID = "b" + "0123456789" * 6 + "-z"  # 63 characters, the longest that a bot may have


@pytest.fixture
def fleet(sqlite_database: Database, cli: CommandLine) -> Database:
    """Alice's three bots, on SQLite: a terminal does not know the engine."""
    assert cli("user", "add", "alice").code == 0
    for bot in ("momo-1", "carry-2", LONGEST_ID):
        assert cli("bot", "add", bot, "--user", "alice", "--tag", "futures").code == 0
    return sqlite_database


@pytest.fixture
def terminal(process: ProcessCommandLine) -> Terminal:
    """`terminal("kill", …, columns=80, env=…)`: the command on a pty of its own."""

    def start(*arguments: str, columns: int = 80, env: dict[str, str | None] | None = None) -> pexpect.spawn[str]:
        return pexpect.spawn(
            str(SCRIPT),
            list(arguments),
            env=process.environment({"TERM": "xterm-256color", **(env or {})}),
            encoding="utf-8",
            timeout=20,
            dimensions=(50, columns),
        )

    return start


def _screen(spawned: pexpect.spawn[str]) -> tuple[int | None, str]:
    """The exit code and all that was shown."""
    spawned.expect(pexpect.EOF)
    spawned.close()
    return spawned.exitstatus, spawned.before.replace("\r\n", "\n")


def _killed(database: Database) -> int:
    ((count,),) = database.sql("SELECT count(*) FROM bots WHERE killed_at IS NOT NULL")
    return int(count)


# ---- the question before a wide kill -------------------------------------------------------------------------


def test_a_wide_kill_asks_for_the_count_and_takes_the_right_one(fleet: Database, terminal: Terminal):
    shown = terminal(*KILL_ALL)
    shown.expect_exact("this kills 3 bot(s).")
    shown.expect_exact("Type that number to go on (anything else stops here): ")
    assert _killed(fleet) == 0
    shown.sendline("3")
    code, screen = _screen(shown)
    assert (code, _killed(fleet)) == (0, 3)
    assert "audit seq " in screen


@pytest.mark.parametrize(
    ("typed", "code"),
    [("2\n", 2), ("\n", 2), ("y\n", 2), ("all\n", 2), ("3 3\n", 2), ("-3\n", 2), (CTRL_D, 2), (CTRL_C, 130)],
    ids=["another number", "enter", "y", "all", "3 3", "-3", "ctrl-d", "ctrl-c"],
)
def test_anything_else_stops_there(fleet: Database, terminal: Terminal, typed: str, code: int):
    entries = fleet.sql("SELECT count(*) FROM audit_log")
    shown = terminal(*KILL_ALL)
    shown.expect_exact("(anything else stops here): ")
    shown.send(typed)
    found, screen = _screen(shown)
    assert (found, _killed(fleet)) == (code, 0)
    assert fleet.sql("SELECT count(*) FROM kill_events") == [(0,)]
    assert fleet.sql("SELECT count(*) FROM audit_log") == entries
    assert "Traceback" not in screen
    assert ("error: INTERRUPTED: " if code == 130 else "error: CONFIRM_COUNT_MISSING: not confirmed") in screen
    assert screen.rstrip().splitlines()[-1] == "NOT KILLED"


def test_the_count_is_checked_again_when_it_is_done(fleet: Database, cli: CommandLine, terminal: Terminal):
    shown = terminal(*KILL_ALL)
    shown.expect_exact("this kills 3 bot(s).")
    assert cli("bot", "add", "late-4", "--user", "alice").code == 0
    shown.sendline("3")
    code, screen = _screen(shown)
    assert (code, _killed(fleet)) == (4, 0)
    assert "error: COUNT_MISMATCH: 4 bot(s) match, 3 confirmed" in screen


@pytest.mark.parametrize(
    "arguments",
    [
        ("kill", "momo-1", "--reason-code", "DRILL", "--reason", "x"),
        (*KILL_ALL, "--confirm-count", "3"),
        (*KILL_ALL, "--dry-run"),
        ("resurrect", "momo-1", "--reason-code", "DRILL_DONE", "--reason", "x"),
    ],
    ids=["one bot", "confirmed", "dry run", "resurrect"],
)
def test_nothing_else_asks(fleet: Database, terminal: Terminal, arguments: tuple[str, ...]):
    del fleet
    code, screen = _screen(terminal(*arguments))
    assert code == 0
    assert "Type that number" not in screen


@pytest.mark.parametrize("stdin", ["3\n", "", "y\n"])
def test_a_script_is_never_asked(fleet: Database, process: ProcessCommandLine, stdin: str):
    run = process(*KILL_ALL, stdin=stdin)
    assert (run.code, run.stdout, run.error["error_code"]) == (2, "", "CONFIRM_COUNT_MISSING")
    assert run.error["missing_requirements"] == ["confirm_count: 3 bots match"]
    assert "Type that number" not in run.stderr
    assert _killed(fleet) == 0
    assert process(*KILL_ALL, "--confirm-count", "3").code == 0
    assert _killed(fleet) == 3


def test_without_a_terminal_to_ask_on_nobody_is_asked(fleet: Database, process: ProcessCommandLine):
    # A person at a terminal whose standard error goes into a file would not see the question.
    shown = pexpect.spawn(
        "/bin/sh",
        ["-c", f"'{SCRIPT}' kill --all --reason-code DRILL --reason x 2>said"],
        env=process.environment(),
        cwd=process.home,
        encoding="utf-8",
        timeout=20,
    )
    assert _screen(shown)[0] == 2
    assert "CONFIRM_COUNT_MISSING" in (process.home / "said").read_text()
    assert _killed(fleet) == 0


# ---- colours -------------------------------------------------------------------------------------------------

COLOURED: dict[str, str | None] = {"NO_COLOR": None}


@pytest.mark.parametrize("env", [COLOURED, {"NO_COLOR": ""}], ids=["unset", "empty"])
def test_a_terminal_has_colours(fleet: Database, cli: CommandLine, terminal: Terminal, env: dict[str, str | None]):
    del fleet
    assert cli("kill", "momo-1", "--reason-code", "DRILL", "--reason", "x").code == 0
    _, screen = _screen(terminal("bot", "list", env=env))
    assert f"{ESCAPE}[31mKILLED{ESCAPE}[0m" in screen
    assert f"{ESCAPE}[32mLIVE{ESCAPE}[0m" in screen


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (["bot", "list"], {"NO_COLOR": "1"}),
        (["bot", "list"], {"NO_COLOR": None, "TERM": "dumb"}),
        (["bot", "list", "--output", "json"], COLOURED),
        (["bot", "list", "--output", "csv"], COLOURED),
        (["--help"], COLOURED),
        (["kill", "--help"], COLOURED),
        (["kill", "nobody", "--reason-code", "DRILL", "--reason", "x"], COLOURED),
        (["no-such-command"], COLOURED),
    ],
)
def test_no_colour_where_it_is_not_wanted(fleet: Database, terminal: Terminal, arguments: list[str], env):
    del fleet
    _, screen = _screen(terminal(*arguments, env=env))
    assert screen
    assert ESCAPE not in screen


@pytest.mark.parametrize("forcing", ["FORCE_COLOR", "CLICOLOR_FORCE", "PY_COLORS", "TTY_COMPATIBLE"])
def test_no_colour_off_a_terminal_whatever_the_environment_says(fleet, process: ProcessCommandLine, forcing: str):
    del fleet
    run = process("bot", "list", "--output", "table", env={"NO_COLOR": None, forcing: "1"})
    assert run.code == 0
    assert run.stdout.startswith("id ")
    assert ESCAPE not in run.stdout


# ---- tables --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [80, 120])
def test_a_table_never_cuts_an_id_a_hash_or_a_time(fleet: Database, cli: CommandLine, terminal: Terminal, columns: int):
    reason = "orders at ten times the limit, seen by the desk, and by nobody else for a whole minute"
    code, screen = _screen(
        terminal("kill", LONGEST_ID, "momo-1", "--reason-code", "DRILL", "--reason", reason, columns=columns)
    )
    assert code == 0
    ((seq, entry_hash),) = fleet.sql("SELECT seq, lower(hex(entry_hash)) FROM audit_log ORDER BY seq DESC LIMIT 1")
    answer = cli("audit", "tail", "--limit", "1").json["result"]["entries"][0]
    whole = [LONGEST_ID, "momo-1", f"audit seq {seq}", entry_hash, answer["trace_id"], answer["request_id"]]
    assert [text for text in whole if text not in screen] == []

    times = re.compile(r"\b\d{4}-\d\d-\d\d\b.*\b\d\d:\d\d:\d\dZ", re.DOTALL)
    for arguments in (["kill-events"], ["bot", "list"], ["status"], ["bot", "show", LONGEST_ID], ["audit", "tail"]):
        _, screen = _screen(terminal(*arguments, columns=columns))
        assert LONGEST_ID in screen, arguments
        too_long = [line for line in screen.splitlines() if len(line) > columns]
        assert [line for line in too_long if len(line.split()[-1]) < columns // 2] == [], (
            "only a whole id may stick out"
        )
        if arguments[0] in {"kill-events", "audit"}:
            assert times.search(screen), arguments
            assert set(screen.split()) >= set(reason.split()), arguments


def test_a_table_is_for_people_and_json_for_programs(fleet: Database, terminal: Terminal, process: ProcessCommandLine):
    del fleet
    _, screen = _screen(terminal("user", "list"))
    assert screen.split()[:4] == ["ID", "NAME", "BOTS", "CREATED"]
    assert process("user", "list").json["result"]["users"][0]["id"] == "alice"
    _, screen = _screen(terminal("user", "list", "--output", "json"))
    assert screen.startswith('{"operation": "user list"')


def test_an_empty_table_says_so(fleet: Database, terminal: Terminal):
    del fleet
    assert _screen(terminal("kill-events")) == (0, "(none)\n")


def test_text_of_the_database_steers_no_terminal(fleet: Database, cli: CommandLine, terminal: Terminal):
    del fleet
    hostile = "[red]bold[/] [/] \x1b[2J\x1b]0;owned\x07 \u202egnorw\u2066 \x9b31m \r\n\tdone"
    assert cli("kill", "momo-1", "--reason-code", "DRILL", "--reason", hostile).code == 0
    for arguments in (["kill-events"], ["bot", "show", "momo-1"], ["kill-events", "-o", "json"], ["audit", "tail"]):
        code, screen = _screen(terminal(*arguments, columns=200))
        assert code == 0
        assert [c for c in screen if not (c.isprintable() or c == "\n")] == [], arguments
        assert "[red]bold[/] [/]" in screen
    events = cli("kill-events").json["result"]["events"]
    assert events[0]["reason"] == hostile


# ---- errors --------------------------------------------------------------------------------------------------


def test_an_error_is_a_sentence_at_a_terminal_and_an_object_elsewhere(fleet, terminal: Terminal, cli: CommandLine):
    del fleet
    code, screen = _screen(terminal("kill", "mono-1", "--reason-code", "DRILL", "--reason", "x"))
    assert code == 3
    lines = screen.splitlines()
    assert lines[0] == "error: BOT_NOT_FOUND: no bot 'mono-1' (did you mean momo-1?)"
    assert lines[-1] == "NOT KILLED"
    assert re.fullmatch(r"  trace: [0-9a-f]{32}", lines[-2])
    assert cli("kill", "mono-1", "--reason-code", "DRILL", "--reason", "x").error["error_code"] == "BOT_NOT_FOUND"


def test_a_group_alone_shows_its_help_at_a_terminal(fleet, terminal: Terminal):
    del fleet
    for arguments in ([], ["bot"], ["job"]):
        code, screen = _screen(terminal(*arguments))
        assert code == 2
        assert screen.startswith("Usage: blaidctl")
        assert "Commands:" in screen
        assert "USAGE" not in screen
