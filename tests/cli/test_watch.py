"""`--watch` at a real terminal: what the screen shows, how it is left, and that old figures never pass for new ones."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import termios
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pexpect
import pytest

from tests.kill.fleet import bots, instance
from tests.support.commandline import SCRIPT
from tests.support.jobs import running_jobs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.commandline import CommandLine, ProcessCommandLine
    from tests.support.database import Database
    from tests.support.postgres import PostgresServer

WHY = ("--reason-code", "DRILL", "--reason", "a drill")
ENTER, LEAVE, HOME = "\x1b[?1049h", "\x1b[?1049l", "\x1b[H"
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
SGR = re.compile(r"\x1b\[[0-9;]*m")
COLOUR = re.compile(r"\x1b\[(?:\d+;)*[349][0-7](?:;\d+)*m")
CTRL_C, CTRL_D, CTRL_Z = "\x03", "\x04", "\x1a"
PAGE_DOWN, ARROW_UP = "\x1b[6~", "\x1b[A"
PATIENCE_S = 30
LONGEST_ID = "b" + "0123456789" * 6 + "-z"


class Watch:
    """A command on a pty of its own: every byte that it wrote, and the screens in them."""

    def __init__(self, spawned: pexpect.spawn[str]) -> None:
        self.spawned = spawned
        self.modes = termios.tcgetattr(spawned.child_fd)
        self.written = ""

    def screens(self) -> Iterator[list[str]]:
        """Every screen that is whole, the latest first, without its colours."""
        rows, columns = self.spawned.getwinsize()
        for frame in reversed(self.written.split(HOME)[1:]):
            lines = SGR.sub("", frame.partition("\x1b[?")[0]).replace("\r", "").split("\n")
            if len(lines) == rows and {len(line) for line in lines} == {columns}:
                yield [line.rstrip() for line in lines]

    def screen(self) -> list[str]:
        return next(self.screens(), [])

    def until(self, wanted: Callable[[list[str]], object]) -> list[str]:
        """Wait for a screen that is as wanted."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            found = self.screen()
            if found and wanted(found):
                return found
            with contextlib.suppress(pexpect.TIMEOUT):
                self.written += self.spawned.read_nonblocking(65536, timeout=0.2)
        raise AssertionError("\n".join(["no such screen; the last is", *self.screen(), repr(self.written[-300:])]))

    def shows(self, *texts: str) -> list[str]:
        return self.until(lambda lines: all(text in "\n".join(lines) for text in texts))

    def left(self) -> int | None:
        """Wait for the end; insist that the terminal is as it was. The exit code."""
        self.spawned.expect(pexpect.EOF)
        self.written += self.spawned.before
        modes = termios.tcgetattr(self.spawned.child_fd)
        self.spawned.close()
        assert modes == self.modes
        assert self.written.count(ENTER) == self.written.count(LEAVE) == 1
        assert self.written.rindex(SHOW) > self.written.rindex(HIDE)
        assert HOME not in self.written.partition(LEAVE)[2]
        assert "Traceback" not in self.written
        return self.spawned.exitstatus


@pytest.fixture
def watch(process: ProcessCommandLine) -> Iterator[Callable[..., Watch]]:
    """`watch("status", "--watch", rows=24, columns=80, env=…)`."""
    started: list[pexpect.spawn[str]] = []

    def start(*words: str, rows: int = 24, columns: int = 80, env: dict[str, str | None] | None = None) -> Watch:
        spawned = pexpect.spawn(
            str(SCRIPT),
            list(words),
            env=process.environment({"TERM": "xterm-256color", "NO_COLOR": None, **(env or {})}),
            encoding="utf-8",
            timeout=PATIENCE_S,
            dimensions=(rows, columns),
        )
        started.append(spawned)
        return Watch(spawned)

    yield start
    for spawned in started:
        spawned.close(force=True)


@pytest.fixture
def fleet(database: Database, cli: CommandLine) -> Database:
    assert cli("user", "add", "alice").code == 0
    for bot in ("carry-2", "momo-1"):
        assert cli("bot", "add", bot, "--user", "alice").code == 0
    return database


# ---- what it shows -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fleet")
def test_a_kill_appears_within_a_refresh(cli: CommandLine, watch):
    shown = watch("status", "--watch")
    before = shown.shows("live: 2   killed: 0", "momo-1")
    assert re.fullmatch(r"blaidctl status  \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ +every 1 s, q quits", before[0])
    assert [line.split()[:2] for line in before if line.startswith("momo-1")] == [["momo-1", "LIVE"]]
    assert cli("kill", "momo-1", *WHY).code == 0
    done = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%SZ}"
    after = shown.shows("live: 1   killed: 1")
    assert [line.split()[:2] for line in after if line.startswith("momo-1")] == [["momo-1", "KILLED"]]
    later = shown.until(lambda lines: lines[0] > after[0])
    assert later[1:] == after[1:]
    looks = [lines for lines in shown.screens() if lines[0].split("  ")[1] > done]
    assert not [lines for lines in looks if "killed: 0" in "\n".join(lines)], "the first look after a kill shows it"
    shown.spawned.send("q")
    assert shown.left() == 0


def test_jobs_are_watched_in_the_same_way(database: Database, watch):
    shown = watch("job", "list", "--status", "RUNNING", "--watch", "--every", "2")
    assert shown.shows("(none)")[0].endswith("every 2 s, q quits")
    running_jobs(database, due_in_s=[60])
    assert "probe" in "\n".join(shown.shows("RUNNING"))
    shown.spawned.send("q")
    assert shown.left() == 0


@pytest.mark.usefixtures("fleet")
def test_a_terminal_that_does_not_know_its_size_is_drawn_on_as_a_usual_one(watch, sqlite_database):
    """A serial line and a container's terminal say 0 columns and 0 lines."""
    del sqlite_database
    shown = watch("status", "--watch", rows=0, columns=0)
    shown.spawned.expect("killed: 0")
    shown.written += shown.spawned.before + shown.spawned.after
    shown.spawned.send("q")
    assert shown.left() == 0


@pytest.mark.usefixtures("fleet")
def test_it_follows_the_size_of_the_terminal(cli: CommandLine, watch, sqlite_database):
    del sqlite_database
    assert cli("bot", "add", LONGEST_ID, "--user", "alice").code == 0
    shown = watch("status", "--watch")
    for rows, columns in ((20, 60), (50, 132), (24, 80), (3, 20), (1, 20), (24, 80)):
        shown.spawned.setwinsize(rows, columns)
        shown.until(lambda lines, rows=rows: len(lines) == rows)
        if rows > 3:
            words = "".join(line.strip() for line in shown.shows("killed: 0"))
            assert LONGEST_ID in words, "an id is folded, never cut"
    shown.spawned.send("q")
    assert shown.left() == 0


def test_what_does_not_fit_is_scrolled_and_the_totals_stay(watch, sqlite_database: Database):
    bots(sqlite_database, [f"m-{number:02}" for number in range(40)])
    shown = watch("status", "--watch")

    def drawn(lines: list[str]) -> list[str]:
        assert "live: 40   killed: 0" in "\n".join(lines)
        return [line.split()[0] for line in lines if line.startswith("m-")]

    first = drawn(shown.shows("lines 1 to 17 of 41; up and down scroll"))
    assert first == [f"m-{number:02}" for number in range(16)]
    shown.spawned.send("j")
    assert drawn(shown.shows("lines 2 to 18"))[0] == "m-00"
    shown.spawned.send(PAGE_DOWN)
    assert drawn(shown.shows("lines 19 to 35"))[0] == "m-17"
    shown.spawned.send(" " * 5)
    assert drawn(shown.shows("lines 25 to 41 of 41"))[-1] == "m-39"
    shown.spawned.send(ARROW_UP)
    assert drawn(shown.shows("lines 24 to 40"))[-1] == "m-38"
    shown.spawned.send("b" * 9)
    assert drawn(shown.shows("lines 1 to 17"))[0] == "m-00"
    shown.spawned.send("xyz\x1b[15~")
    shown.spawned.send("q")
    assert shown.left() == 0


def test_the_proof_that_is_missing_stands_on_top(cli: CommandLine, watch, sqlite_database: Database):
    del sqlite_database
    assert cli("user", "add", "alice").code == 0
    for number in range(30):
        assert cli("bot", "add", f"m-{number:02}", "--user", "alice").code == 0
    instance(cli, "m-29")
    assert cli("kill", "m-29", *WHY).code == 0
    shown = watch("status", "--watch")
    lines = shown.shows("stops unconfirmed: 1")
    assert lines[2:4] == ["unconfirmed", "INSTANCE ID  BOT ID  HOST  PID   STOPPED AT"]
    assert lines[4].split()[:4] == ["1", "m-29", "here", "4711"]
    shown.spawned.send("q")
    assert shown.left() == 0


def test_of_a_very_large_fleet_the_first_rows_are_drawn_and_all_are_counted(watch, sqlite_database: Database):
    bots(sqlite_database, [f"m-{number:05}" for number in range(2_000)])
    shown = watch("status", "--watch")
    shown.shows("lines 1 to 17 of 501", "drawn: the first 500 of 2000", "live: 2000")
    shown.spawned.send("q")
    assert shown.left() == 0


@pytest.mark.parametrize(("no_color", "colours"), [(None, True), ("", True), ("1", False)])
def test_colours_are_there_unless_they_are_not_wanted(cli, watch, sqlite_database, no_color: str | None, colours: bool):  # noqa: FBT001
    del sqlite_database
    assert cli("user", "add", "alice").code == 0
    assert cli("bot", "add", "momo-1", "--user", "alice").code == 0
    shown = watch("status", "--watch", env={"NO_COLOR": no_color})
    shown.shows("momo-1")
    shown.spawned.send("q")
    assert shown.left() == 0
    assert bool(COLOUR.search(shown.written)) is colours


# ---- how it ends ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["q", "Q", CTRL_C, CTRL_D, signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=repr)
@pytest.mark.usefixtures("sqlite_database")
def test_it_quits_and_leaves_the_terminal_as_it_was(watch, how: str | signal.Signals):
    shown = watch("status", "--watch")
    shown.shows("live: 0")
    assert termios.tcgetattr(shown.spawned.child_fd) != shown.modes, "keys are read one by one, and not shown"
    if isinstance(how, str):
        shown.spawned.send(how)
    else:
        shown.spawned.kill(how)
    assert shown.left() == 0
    assert shown.written.endswith(LEAVE), "nothing is said after it"


@pytest.mark.usefixtures("sqlite_database")
def test_ctrl_z_gives_the_shell_its_terminal_back(process: ProcessCommandLine):
    shell = pexpect.spawn(
        "/bin/bash",
        ["--norc", "--noprofile", "-i"],
        env=process.environment({"TERM": "xterm-256color", "PS1": "ready> "}),
        encoding="utf-8",
        timeout=PATIENCE_S,
        dimensions=(24, 80),
    )
    shell.expect_exact("ready> ")
    shell.sendline(f"{SCRIPT} status --watch")
    shell.expect_exact("live: 0")
    shell.send(CTRL_Z)
    shell.expect_exact(LEAVE)
    shell.expect_exact("Stopped")
    shell.sendline("stty -a | tr ' ' '\\n' | grep -cx -e icanon -e echo")
    shell.expect(r"[\r\n]2\r")
    shell.sendline("fg")
    shell.expect_exact(ENTER)
    shell.expect_exact("live: 0")
    shell.send("q")
    shell.expect_exact(LEAVE)
    shell.sendline('echo "code=$?"')
    shell.expect_exact("code=0")
    shell.close(force=True)


@pytest.mark.usefixtures("sqlite_database")
def test_a_terminal_that_is_gone_ends_it(watch):
    shown = watch("status", "--watch")
    shown.shows("live: 0")
    shown.spawned.ptyproc.fileobj.close()
    deadline = time.monotonic() + PATIENCE_S
    while os.waitpid(shown.spawned.pid, os.WNOHANG) == (0, 0):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    shown.spawned.closed, shown.spawned.terminated, shown.spawned.child_fd = True, True, -1
    shown.spawned.ptyproc.closed = shown.spawned.ptyproc.terminated = True


@pytest.mark.usefixtures("fleet")
def test_what_another_look_cannot_cure_ends_it_with_its_error(watch):
    shown = watch("status", "nobody", "--watch")
    assert shown.left() == 3
    assert "error: BOT_NOT_FOUND: no bot 'nobody'" in shown.written.rpartition(LEAVE)[2]


# ---- when the database does not answer -----------------------------------------------------------------------


def test_a_database_that_is_away_is_said_in_place_of_the_data(cli: CommandLine, watch, sqlite_database: Database):
    assert cli("user", "add", "alice").code == 0
    assert cli("bot", "add", "momo-1", "--user", "alice").code == 0
    assert sqlite_database.path is not None
    away = sqlite_database.path.with_suffix(".away")
    shown = watch("status", "--watch")
    seen = shown.shows("momo-1")
    sqlite_database.path.rename(away)
    gone = shown.shows("error: DATABASE_MISSING: there is no database")
    assert "momo-1" not in "\n".join(gone)
    assert re.match(r"NO DATA; the last was of \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", gone[2])
    assert gone[0] > seen[0]
    assert shown.until(lambda lines: lines[0] > gone[0])[1:] == gone[1:], "it goes on trying"
    away.rename(sqlite_database.path)
    assert "NO DATA" not in "\n".join(shown.shows("momo-1"))
    shown.spawned.send("q")
    assert shown.left() == 0


def test_a_server_that_is_down_is_said_and_one_that_is_back_is_seen(
    cli: CommandLine, watch, private_postgres: PostgresServer, upgrade, sqlite_database
):
    url = private_postgres.url("postgres")
    upgrade(url)
    env = {"BLAIDCTL_DATABASE_URL": url}
    assert cli("user", "add", "alice", env=env).code == 0
    assert cli("bot", "add", "momo-1", "--user", "alice", env=env, database=sqlite_database).code == 0
    shown = watch("status", "--watch", env=env)
    shown.shows("momo-1")
    private_postgres.stop("kill")
    gone = shown.shows("error: DATABASE_DOWN")
    assert "momo-1" not in "\n".join(gone)
    private_postgres.restart()
    shown.shows("momo-1", "live: 1")
    shown.spawned.send("q")
    assert shown.left() == 0


def test_data_that_is_old_says_so_while_the_database_keeps_us_waiting(cli, watch, postgres_database: Database):
    assert cli("user", "add", "alice").code == 0
    assert cli("bot", "add", "momo-1", "--user", "alice").code == 0
    shown = watch("status", "--watch", env={"BLAIDCTL_LOCK_TIMEOUT_S": "100", "BLAIDCTL_STATEMENT_TIMEOUT_S": "100"})
    shown.shows("momo-1")
    holder = postgres_database.raw()
    holder.execute("BEGIN; LOCK TABLE bots IN ACCESS EXCLUSIVE MODE")
    old = shown.shows("OLD: seen ", "momo-1")
    assert re.fullmatch(r"OLD: seen \d+ s ago; the database has not answered since", old[1])
    holder.execute("ROLLBACK")
    shown.until(lambda lines: "OLD" not in "\n".join(lines) and lines[0] > old[0])
    holder.execute("BEGIN; LOCK TABLE bots IN ACCESS EXCLUSIVE MODE")
    shown.shows("OLD: seen ")
    shown.spawned.send("q")  # answered although the look still hangs
    assert shown.left() == 0


@pytest.mark.usefixtures("sqlite_database")
def test_a_bug_is_shown_where_the_data_would_stand(cli: CommandLine, monkeypatch: pytest.MonkeyPatch):
    from blaidctl.core import command, live

    for name, value in cli.environment().items():
        monkeypatch.setenv(name, value)
    ctx = command.make_context()

    def broken() -> None:
        raise ZeroDivisionError

    looker = live._Looker(ctx, broken, 1, lambda: None)  # noqa: SLF001
    seen = looker._once()  # noqa: SLF001
    view = live._View("status", 1, ctx.trace_id)  # noqa: SLF001
    lines = [line.plain for line in view.lines(seen, os.terminal_size((80, 24)))]
    assert lines[2] == "NO DATA"
    assert lines[3].startswith("error: INTERNAL: a bug in blaidctl: ZeroDivisionError at test_watch.py:")
    assert looker.failed is None
    ctx.database.close()


# ---- where it cannot be ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("status", "--watch"), "USAGE", "--watch needs a terminal"),
        (("job", "list", "--watch"), "USAGE", "--watch needs a terminal"),
        (("status", "--watch", "--every", "5"), "USAGE", "--watch needs a terminal"),
        (("status", "--every", "5"), "USAGE", "--every is the pace of --watch"),
        (("status", "--watch", "--every", "0"), "INVALID_REQUEST", "every"),
        (("status", "--watch", "--every", "61"), "INVALID_REQUEST", "every"),
        (("status", "--watch", "--every", "x"), "USAGE", "--every"),
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("sqlite_database")
def test_without_a_terminal_there_is_nothing_to_watch(cli: CommandLine, words: tuple[str, ...], code, sentence):
    asked = cli(*words)
    assert (asked.code, asked.stdout, asked.error["error_code"]) == (2, "", code)
    assert sentence in asked.error["message"]


@pytest.mark.parametrize("output", ["json", "csv"])
@pytest.mark.usefixtures("sqlite_database")
def test_a_program_has_nothing_to_watch(process: ProcessCommandLine, output: str):
    words = [str(SCRIPT), "status", "--watch", "--output", output]
    screen, code = pexpect.run(
        " ".join(words), env=process.environment({"TERM": "xterm"}), encoding="utf-8", withexitstatus=True
    )
    assert code == 2
    assert f"--output {output} is for programs" in screen
    assert "\x1b" not in screen


@pytest.mark.parametrize("term", ["dumb", None])
@pytest.mark.usefixtures("sqlite_database")
def test_a_terminal_that_cannot_move_its_cursor_is_none(process: ProcessCommandLine, term: str | None):
    screen, code = pexpect.run(
        f"{SCRIPT} status --watch", env=process.environment({"TERM": term}), encoding="utf-8", withexitstatus=True
    )
    assert code == 2
    assert "--watch needs a terminal" in screen


@pytest.mark.usefixtures("sqlite_database")
def test_a_terminal_to_draw_on_but_none_to_read_from_is_none(process: ProcessCommandLine, tmp_path: Path):
    script = tmp_path / "script"
    script.write_text(f"{SCRIPT} status --watch </dev/null\n")
    screen, code = pexpect.run(
        f"/bin/sh {script}", env=process.environment({"TERM": "xterm"}), encoding="utf-8", withexitstatus=True
    )
    assert code == 2
    assert "--watch needs a terminal" in screen
