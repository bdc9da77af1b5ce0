"""Input that is wrong, huge or hostile: refused or kept exactly, and never handed raw to a terminal."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.kill.fleet import WHY, bots, done, dump, entries, fleet, not_killed, refused, verified
from tests.support.commandline import SCRIPT, Run

if TYPE_CHECKING:
    from tests.support.commandline import CommandLine, ProcessCommandLine
    from tests.support.database import Database

NASTY = {
    "markup": "[/] [bold red]x[/bold red] [link=http://x]y[/link] :boom:",
    "escape": "\x1b[2J\x1b]0;owned\x07\x1b[31mred\x1b[0m",
    "c1": "\x9b31m\x90x\x9c",
    "bidi": "kill \u202eecin\u202c \u2066x\u2069 \u200f\u200e",
    "lines": "one\ntwo\r\nthree\u2028four\u2029five\x0bsix\x85seven",
    "invisible": "a\u200bb\ufeffc\u00add",
    "bell": "a\x07\x08\x7f",
    "emoji": "🔥 👩‍👩‍👧 ⚠️ 100 %",
    "formula": '=HYPERLINK("http://x"),"a"',
    "quotes": "a 'b' \"c\" \\ ` $(id) ; DROP TABLE bots; -- %s ? :x",
}


def safe(text: str) -> bool:
    """Say whether a terminal would only ever show this text."""
    return all(character == "\n" or character.isprintable() for character in text)


@pytest.mark.parametrize("name", NASTY)
def test_a_reason_is_kept_exactly_and_shown_harmlessly(cli: CommandLine, database: Database, name: str):
    fleet(cli)
    reason = NASTY[name]
    done(cli("kill", "a1", "--reason-code", "SECURITY", "--reason", reason))
    assert database.sql("SELECT reason FROM kill_events") == [(reason,)]
    assert entries(database)[-1]["what"]["reason"] == reason
    for command in (("kill-events",), ("bot", "show", "a1"), ("audit", "tail"), ("status",), ("audit", "export")):
        for output in ("json", "table", "csv"):
            options = () if command[-1] == "export" else ("--output", output)
            run = done(cli(*command, *options))
            assert safe(run.stdout), (command, output)
            assert run.stderr == ""
    (event,) = done(cli("kill-events", "--output", "json")).json["result"]["events"]
    assert event["reason"] == reason
    rows = list(csv.DictReader(io.StringIO(done(cli("kill-events", "--output", "csv")).stdout)))
    assert len(rows) == 1
    assert (rows[0]["reason"] == reason) is safe(reason.replace("\n", "\x00"))
    verified(cli)


def test_a_name_is_shown_harmlessly_in_errors_too(cli: CommandLine):
    fleet(cli)
    for name in NASTY.values():
        for output in ("json", "table"):
            run = cli("kill", name, *WHY, "--output", output)
            assert run.code in {2, 3}
            assert safe(run.stderr)
            assert run.stderr.splitlines()[-1] == "NOT KILLED"
            assert run.stdout == ""


def test_the_command_lines_own_errors_are_harmless_too(cli: CommandLine):
    for words in (("kill", "--\x1b[31m"), ("\x1b[2J",), ("kill", "a", "--reason-code", "\u202eX", "--reason", "x")):
        run = cli(*words)
        assert run.code == 2
        assert safe(run.stderr)
        assert run.error["error_code"] == "USAGE"


@pytest.mark.parametrize(
    "reason", ["", " ", "\t\n", "...", "\u200b\u200b", "\x00", "a\x00b", "x" * 2001, "\udcff"], ids=repr
)
@pytest.mark.parametrize(
    "command",
    [("kill", "a1", "--reason-code", "DRILL"), ("resurrect", "a1", "--reason-code", "DRILL_DONE")],
    ids=["kill", "resurrect"],
)
def test_a_reason_that_says_nothing_or_cannot_be_stored_is_refused(
    cli: CommandLine, database: Database, command: tuple[str, ...], reason: str
):
    fleet(cli)
    before = dump(database)
    error = refused(cli(*command, "--reason", reason), 2, "INVALID_REQUEST")
    assert any(line.startswith("reason: ") for line in error["missing_requirements"])
    assert dump(database) == before


def test_the_longest_reason_is_kept(cli: CommandLine, database: Database):
    fleet(cli)
    reason = "ü" * 2000
    done(cli("kill", "a1", "--reason-code", "DRILL", "--reason", reason))
    assert database.sql("SELECT reason FROM kill_events") == [(reason,)]


def test_a_reason_of_a_megabyte_is_refused_and_not_repeated(process: ProcessCommandLine, database: Database):
    bots(database, ["a1"])
    before = dump(database)
    run = process("kill", "a1", "--reason-code", "DRILL", "--reason", "-", stdin="x" * 1_000_000)
    not_killed(run, 2, "INVALID_REQUEST")
    assert len(run.stderr) < 1000
    assert dump(database) == before


def test_a_reason_from_standard_input_is_its_text(cli: CommandLine, database: Database):
    fleet(cli)
    done(cli("kill", "a1", "--reason-code", "DRILL", "--reason", "-", stdin="two\nlines\n"))
    assert database.sql("SELECT reason FROM kill_events") == [("two\nlines",)]
    not_killed(cli("kill", "a1", "--reason-code", "DRILL", "--reason", "-", stdin=""), 2, "INVALID_REQUEST")


@pytest.mark.parametrize("code", ["", "drill", "DRILL_DONE", "OTHER", "[/]"])
def test_an_unknown_reason_code_is_refused_with_the_known_ones(cli: CommandLine, database: Database, code: str):
    fleet(cli)
    before = dump(database)
    error = not_killed(cli("kill", "a1", "--reason-code", code, "--reason", "x"), 2, "USAGE")
    assert "RUNAWAY_ORDERS" in error["message"]
    not_killed(cli("kill", "a1", "--reason", "x"), 2, "USAGE")
    not_killed(cli("kill", "a1", "--reason-code", "DRILL"), 2, "USAGE")
    assert dump(database) == before


@pytest.mark.parametrize(
    "words",
    [
        ("--confirm-count", "-1"),
        ("--confirm-count", "1.5"),
        ("--confirm-count", "²"),
        ("--confirm-count", "9" * 30),
        ("--wait", "-1"),
        ("--wait", "601"),
        ("--wait", "soon"),
        ("--output", "xml"),
        ("--unknown",),
    ],
    ids=" ".join,
)
def test_a_number_or_option_that_is_none_is_refused(cli: CommandLine, database: Database, words: tuple[str, ...]):
    fleet(cli)
    before = dump(database)
    run = cli("kill", "a1", *WHY, *words)
    assert run.code == 2
    assert run.error["error_code"] in {"USAGE", "INVALID_REQUEST"}
    assert run.stderr.splitlines()[-1] == "NOT KILLED"
    assert dump(database) == before


# ---- bytes that are no text ----------------------------------------------------------------------------------


def raw(process: ProcessCommandLine, *arguments: bytes, stdin: bytes = b"", env: dict[str, str] | None = None) -> Run:
    """Run the installed script with bytes where text is expected."""
    ended = subprocess.run(
        [os.fsencode(SCRIPT), *arguments],
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
        env=process.environment(env),
    )
    return Run(ended.returncode, ended.stdout.decode(), ended.stderr.decode())


WHY_BYTES = (b"--reason-code", b"DRILL", b"--reason", b"a drill")


def test_bytes_that_are_no_utf8_kill_nothing(process: ProcessCommandLine, database: Database):
    bots(database, ["a1"])
    before = dump(database, without=("audit_log", "audit_head"))
    words = {"LC_ALL": "C" if database.kind == "sqlite" else "C.UTF-8"}
    for run in (
        raw(process, b"kill", b"a1", b"--reason-code", b"DRILL", b"--reason", b"caf\xe9 \xff", env=words),
        raw(process, b"kill", b"a1", b"--reason-code", b"DRILL", b"--reason", b"-", stdin=b"caf\xe9\xff", env=words),
        raw(process, b"kill", b"-", *WHY_BYTES, stdin=b"a1 \xff\xfe", env=words),
        raw(process, b"kill", b"a1\xff", *WHY_BYTES, env=words),
        raw(process, b"kill", b"a1", *WHY_BYTES, b"--request-id", b"\xff", env=words),
        raw(process, b"kill", b"a1", *WHY_BYTES, b"--trace-id", b"\xff", env=words),
        raw(process, b"kill", b"--tag", b"\xff", *WHY_BYTES, env=words),
    ):
        not_killed(run, 2, "INVALID_REQUEST")
        assert safe(run.stderr)
    assert dump(database, without=("audit_log", "audit_head")) == before


def test_a_plain_ascii_locale_shows_what_is_not_ascii(
    process: ProcessCommandLine, cli: CommandLine, database: Database
):
    bots(database, ["a1"])
    done(cli("kill", "a1", "--reason-code", "DRILL", "--reason", "größer 🔥"))
    env = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    for output in (b"json", b"table"):
        shown = raw(process, b"kill-events", b"--output", output, env=env)
        assert (shown.code, shown.stderr) == (0, "")
        assert "größer 🔥" in shown.stdout


# ---- much of it ----------------------------------------------------------------------------------------------


def test_a_hundred_thousand_ids_on_standard_input(process: ProcessCommandLine, cli: CommandLine, database: Database):
    real = bots(database, [f"bot-{n:04}" for n in range(1000)])
    ids = (real * 100)[:100_000]
    run = done(process("kill", "-", *WHY, stdin="\n".join(ids), timeout=100))
    assert run.json["result"]["count"] == 1000
    assert database.sql("SELECT count(*) FROM bots WHERE killed_at IS NULL") == [(0,)]

    too_many = not_killed(process("kill", "-", *WHY, stdin="\n".join([*ids, "x"]), timeout=100), 2, "INVALID_REQUEST")
    assert "bots: " in too_many["message"]
    assert len(json.dumps(too_many)) < 1000
    verified(cli)


def test_a_hundred_thousand_unknown_ids_are_refused_in_one_answer(process: ProcessCommandLine, database: Database):
    bots(database, ["a1"])
    before = dump(database, without=("audit_log", "audit_head"))
    ids = "\n".join(["a1", *(f"nobody-{n}" for n in range(99_999))])
    error = not_killed(process("kill", "-", *WHY, stdin=ids, timeout=100), 3, "BOT_NOT_FOUND")
    assert len(error["missing_requirements"]) == 99_999
    assert "and 99989 more" in error["message"]
    assert dump(database, without=("audit_log", "audit_head")) == before
    assert entries(database)[-1]["outcome"] == "REFUSED"
