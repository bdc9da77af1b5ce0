"""Bad input: each file gets an answer of its own, nothing is written, and memory stays flat."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from blaidctl.core import files
from blaidctl.instruments import rows, timetable
from tests.instruments.work import DATES, HOURS, a_session, counts, file, text
from tests.kill.fleet import done, dump

if TYPE_CHECKING:
    from pathlib import Path

#: The cases of a table have no better names than their sentences, which stand in them.
NUMBERS = [str(number) for number in range(27)]
HEADER = text().encode()
ROW = text({}).encode().removeprefix(HEADER)


@pytest.fixture
def refused(cli, database, home):
    """`refused(content)`: the error of a load that must write nothing."""
    a_session(cli)

    def load(content: bytes | Path | str, *options: str, code: int = 2) -> dict:
        path = file(home, content) if isinstance(content, bytes) else content
        before = dump(database)
        run = cli("instrument", "load", path, *options)
        assert (run.code, run.stdout) == (code, ""), run.stdout
        assert dump(database) == before
        assert "\x1b" not in run.stderr
        return run.error

    return load


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty: a header is expected on line 1"),
        (b"\n" + HEADER + ROW, "line 1 is blank: the header is expected there"),
        (b"\xef\xbb\xbf", "line 1 is blank"),
        (HEADER, "no row follows the header"),
        (HEADER + b"\n \t\n", "no row follows the header"),
        (ROW, "missing column: symbol"),
        (HEADER.replace(b"tick_size", b"tick"), "missing column: tick_size; unknown column: 'tick'"),
        (HEADER.replace(b"description", b"note") + ROW, "unknown column: 'note'"),
        (HEADER.replace(b"description", b"symbol") + ROW, "column twice: symbol"),
        (HEADER.replace(b"symbol", b"s\xfdmbol") + ROW, "line 1 is not UTF-8: byte 0xfd at position 2"),
        (HEADER.replace(b"symbol", b'"symbol') + ROW, "line 1 is no line of CSV"),
        (HEADER.replace(b"\n", b"\r") + ROW.replace(b"\n", b"\r"), "line 1 is no line of CSV"),
        ((HEADER + ROW).decode().encode("utf-16"), "is UTF-16: save it as UTF-8"),
        (b"x" * 17_000 + b"\n", "line 1 is longer than 16384 bytes"),
        (HEADER + ROW + b"y" * 17_000 + b"\n", "line 3 is longer than 16384 bytes"),
    ],
    ids=NUMBERS[:15],
)
def test_a_file_that_is_none_of_rows_is_refused_whole(refused, content: bytes, sentence: str):
    error = refused(content)
    assert error["error_code"] == "FILE_INVALID"
    assert sentence in error["message"]
    # Not even --skip-refused loads the rest of such a file.
    assert refused(content, "--skip-refused")["error_code"] == "FILE_INVALID"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tick_size": "NaN"}, "tick_size: NaN is not a finite number"),
        ({"tick_size": "Infinity"}, "tick_size: Infinity is not a finite number"),
        ({"point_value": "-50"}, "point_value: -50 is not above zero"),
        ({"lot_size": "0.000"}, "lot_size: 0 is not above zero"),
        ({"tick_size": "1e-400"}, "tick_size: 1E-400 is smaller than the 18 decimal places that are stored"),
        ({"tick_size": "1e400"}, "tick_size: 1E+400 has more than 20 digits before the point"),
        ({"tick_size": "1.0000000000000000001"}, "19 decimal places, at most 18 are stored"),
        ({"tick_size": "0,25"}, "tick_size: '0,25' is not a decimal number"),
        ({"tick_size": "1_0"}, "tick_size: '1_0' is not a decimal number"),
        ({"tick_size": ""}, "tick_size: is missing"),
        ({"min_qty": "2", "max_qty": "1"}, "min_qty 2 is above max_qty 1"),
        ({"min_qty": "10", "max_qty": "9"}, "min_qty 10 is above max_qty 9"),
        ({"min_notional": "0"}, "min_notional: 0 is not above zero"),
        ({"price_magnifier": "-1"}, "price_magnifier: -1 is not above zero"),
        ({"symbol": ""}, "symbol: is missing"),
        ({"exchange": "X" * 33}, "exchange: has 33 characters, at most 32 are stored"),
        ({"asset_class": "FUTURE"}, "asset_class: 'FUTURE' is none of cfd, commodity, crypto"),
        ({"currency": "XQX"}, "currency: 'XQX' is neither in ISO 4217 nor declared"),
        ({"currency": "XXX"}, "currency: 'XXX' is neither in ISO 4217 nor declared"),
        ({"currency": "usd"}, "currency: 'usd' is neither in ISO 4217 nor declared"),
        ({"session": "MOON"}, "session: 'MOON' is not known"),
        ({"description": "a\x1b[31mred"}, "description: has a control character"),
        ({"symbol": "E\x00S"}, "symbol: has a control character"),
        ({"symbol": "E\u202eS"}, "symbol: has a control character"),
        ({"symbol": "E\u2028S"}, "symbol: has a control character"),
        ({"description": "two\nlines"}, "is no line of CSV"),
        ({"tick_size": "x", "lot_size": "y", "session": ""}, "session: is missing; tick_size: 'x' is not a decimal"),
    ],
    ids=NUMBERS,
)
def test_a_wrong_row_is_named_with_its_line_and_everything_that_is_wrong(refused, change: dict, reason: str):
    error = refused(text({"symbol": "OK"}, change).encode())
    assert error["error_code"] == "ROWS_REFUSED"
    assert error["missing_requirements"][0].startswith("line 3")
    assert reason in error["missing_requirements"][0]


def test_latin_1_bytes_refuse_their_line_and_say_where(refused):
    content = text({"symbol": "OK"}).encode() + ROW.replace(b"E-mini", "Münze".encode("latin-1"))
    assert refused(content)["missing_requirements"] == ["line 3: is not UTF-8: byte 0xfc at position 16"]


@pytest.mark.parametrize(("fields", "said"), [(13, "has 13 fields, 14"), (15, "has 15 fields, 14")])
def test_a_row_has_as_many_fields_as_the_header(refused, fields: int, said: str):
    row = ROW.strip().rsplit(b",", 1)[0] if fields == 13 else ROW.strip() + b",x"
    assert said in refused(HEADER + row + b"\n")["missing_requirements"][0]


def test_a_key_that_stands_twice_refuses_both_of_its_lines(cli, refused, database, home):
    content = text({}, {"symbol": "NQ"}, {"tick_size": "0.5"}, {"tick_size": "0.1"}).encode()
    assert refused(content)["missing_requirements"] == [
        "line 2 (CME/ES/future): the same key stands on line 4",
        "line 4 (CME/ES/future): the same key stands on line 2",
        "line 5 (CME/ES/future): the same key stands on line 2",
    ]
    result = done(cli("instrument", "load", file(home, content), "--skip-refused")).json["result"]
    assert (result["new"], result["refused"]) == (1, 3)
    assert database.sql("SELECT symbol FROM instruments") == [("NQ",)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""], ids=["LF", "CRLF", "no end"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["no mark", "mark"])
def test_a_byte_order_mark_and_either_line_end_are_accepted(cli, database, home, end: bytes, mark: bytes):
    a_session(cli)
    content = mark + (HEADER.strip() + (end or b"\n") + ROW.strip() + end)
    assert done(cli("instrument", "load", file(home, content))).json["result"]["new"] == 1
    assert database.sql("SELECT symbol, price_magnifier FROM instruments")[0][0] == "ES"


def test_text_of_a_file_reaches_the_terminal_without_its_control_characters(cli, database, home):
    a_session(cli)
    evil = {"symbol": "\x1b]0;own\x07", "exchange": "\x9b2J", "asset_class": "\x1b[2J"}
    path = file(home, text(evil, {}))
    for output in ("table", "json", "csv"):
        run = cli("instrument", "load", path, "--skip-refused", "--dry-run", "--output", output)
        assert run.code == 0, run.stderr
        assert not set(run.stdout + run.stderr) & {"\x1b", "\x07", "\x9b"}
    assert not set(cli("instrument", "load", path).stderr) & {"\x1b", "\x07", "\x9b"}
    assert done(cli("instrument", "load", path, "--skip-refused")).json["result"]["refused"] == 1
    assert counts(database)[0] == 1
    named = cli("instrument", "load", home / "\x1b[31mno.csv")
    assert (named.code, "\x1b" in named.stderr) == (2, False)


# ---- what is no file ---------------------------------------------------------------------------------------------


def test_a_directory_and_a_missing_file_are_told_apart(refused, home):
    assert refused(home)["message"] == f"{home} is a directory"
    missing = refused(home / "no.csv")
    assert (missing["error_code"], missing["message"]) == (
        "FILE_UNREADABLE",
        f"{home / 'no.csv'} cannot be read: no such file or directory",
    )
    assert "not a directory" in refused(file(home, b"x", "f") / "below")["message"]
    assert refused("")["error_code"] == "INVALID_REQUEST"
    assert "is empty" in refused("/dev/null")["message"]


def test_a_device_without_lines_is_refused_early(refused):
    assert "line 1 is longer than 16384 bytes" in refused("/dev/zero")["message"]


def test_a_named_pipe_is_read_and_one_that_stays_silent_is_given_up(cli, database, home):
    a_session(cli)
    pipe = home / "pipe"
    os.mkfifo(pipe)
    run = cli("instrument", "load", pipe, env={"BLAIDCTL_STATEMENT_TIMEOUT_S": "1"})
    assert (run.code, run.error["error_code"]) == (2, "FILE_UNREADABLE")
    assert run.error["message"] == f"nothing came through {pipe} for 1 s"

    writer = threading.Thread(target=pipe.write_bytes, args=(HEADER + ROW,))
    writer.start()
    assert done(cli("instrument", "load", pipe)).json["result"]["new"] == 1
    writer.join()
    assert counts(database)[0] == 1


def test_a_silent_standard_input_is_given_up_too(process, cli):
    a_session(cli)
    silent = process.spawn("instrument", "load", "-", env={"BLAIDCTL_STATEMENT_TIMEOUT_S": "1"})
    silent.wait(timeout=60)
    assert silent.returncode == 2
    assert "nothing came through standard input for 1 s" in silent.stderr.read()


# ---- memory ------------------------------------------------------------------------------------------------------

#: Runs a load and prints the most memory that it had, in KiB. (getrusage would count its parent's, too.)
MEASURED = """
import pathlib, sys
from blaidctl.cli import main
code = main(["instrument", "load", "-"])
status = pathlib.Path("/proc/self/status").read_text()
sys.stderr.write(f"\\npeak {code} {status.partition('VmHWM:')[2].split()[0]}\\n")
"""


def peak(cli, produce: str) -> tuple[int, int, str]:
    """Pipe what a small program writes into a load; its exit code, its peak in KiB, what it said."""
    with subprocess.Popen([sys.executable, "-c", produce], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as source:
        done = subprocess.run(
            [sys.executable, "-c", MEASURED],
            stdin=source.stdout,
            capture_output=True,
            text=True,
            env=cli.environment(),
            check=False,
        )
        assert source.stdout is not None
        source.stdout.close()
        source.kill()
    *said, last = done.stderr.strip().splitlines()
    _, code, kilobytes = last.split()
    return int(code), int(kilobytes), "\n".join(said)


def test_a_line_of_a_gigabyte_is_refused_early_and_costs_no_memory(sqlite_database, cli):
    del sqlite_database
    a_session(cli)
    endless = "import sys\nchunk = 'x' * 1_000_000\nfor _ in range(1_000): sys.stdout.write(chunk)"
    small = f"import sys; sys.stdout.write({'x' * 20_000!r})"
    long, short = peak(cli, endless), peak(cli, small)
    assert long[0] == short[0] == 2
    assert "line 1 is longer than 16384 bytes" in long[2]
    assert long[1] < short[1] + 8_000, "a line may not be read whole"


def test_a_thousand_times_the_rows_take_no_more_memory(sqlite_database, cli):
    del sqlite_database
    a_session(cli)
    made = (
        "import sys\nsys.stdout.write({header!r})\n"
        "for n in range({rows}): sys.stdout.write({row!r}.replace('ES', f'S{{n:06}}', 1))"
    )
    words = {"header": HEADER.decode(), "row": ROW.decode()}
    few, many = (peak(cli, made.format(rows=rows, **words)) for rows in (2_000, 20_000))
    assert (few[0], many[0]) == (0, 0), (few, many)
    assert many[1] < few[1] + 8_000, "rows may not be kept"


# ---- limits ------------------------------------------------------------------------------------------------------


def test_a_file_of_too_many_rows_or_bytes_is_refused_whole(cli, home, refused, monkeypatch):
    content = text(*({"symbol": f"S{n}"} for n in range(4))).encode()
    monkeypatch.setattr(rows, "MOST_ROWS", 3)
    assert "line 5: the file has more than 3 rows" in refused(content)["message"]
    monkeypatch.setattr(rows, "MOST_ROWS", 4)
    monkeypatch.setattr(files, "MOST_BYTES", len(content) - 1)
    assert f"is larger than {len(content) - 1} bytes" in refused(content, "--skip-refused")["message"]
    monkeypatch.setattr(files, "MOST_BYTES", len(content))
    assert done(cli("instrument", "load", file(home, content), "--dry-run")).json["result"]["new"] == 4


def test_a_session_and_its_file_have_limits_too(cli, home, monkeypatch):
    hours = "\n".join((HOURS_HEADER, *(HOUR.replace("monday", day) for day in ("monday", "tuesday", "friday"))))
    monkeypatch.setattr(timetable, "MOST_STRETCHES", 2)
    run = cli("session", "load", file(home, hours))
    assert run.error["missing_requirements"] == ["line 4: a session has at most 2 rows of hours"]
    monkeypatch.setattr(timetable, "MOST_ROWS", 2)
    assert "line 4: the file has more than 2 rows" in cli("session", "load", file(home, hours)).error["message"]


# ---- sessions ----------------------------------------------------------------------------------------------------

HOUR = "X,UTC,monday,09:00:00,17:00:00,market"
HOURS_HEADER = "session,timezone,day,open,close,state"


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ((HOUR.replace("UTC", "Mars/Olympus"),), "timezone: 'Mars/Olympus' is no time zone of the IANA database"),
        ((HOUR.replace("UTC", "../../etc/passwd"),), "is no time zone"),
        ((HOUR.replace("UTC", ""),), "timezone: '' is no time zone"),
        ((HOUR.replace("monday", "Monday"),), "day: 'Monday' is none of monday"),
        ((HOUR.replace("09:00:00", "9:00"),), "open: '9:00' is no time of day"),
        ((HOUR.replace("09:00:00", "25:00:00"),), "open: '25:00:00' is no time of day"),
        ((HOUR.replace("17:00:00", "24:00:01"),), "close: '24:00:01' is no time of day"),
        ((HOUR.replace("17:00:00", "08:00:00"),), "hours across midnight are two rows"),
        ((HOUR.replace("09:00:00", "17:00:00"),), "open 17:00:00 is not before close 17:00:00"),
        ((HOUR.replace("market", "closed"),), "state: 'closed' is none of market, postmarket, premarket"),
        ((HOUR.replace("X,", ","),), "session: is missing"),
        ((HOUR.replace("X,", "X" * 65 + ","),), "session: has 65 characters"),
        ((HOUR, HOUR.replace("09:00:00", "16:00:00").replace("17:00:00", "18:00:00")), "overlaps 09:00:00-17:00:00"),
        ((HOUR, HOUR), "overlaps"),
        ((HOUR, HOUR.replace("UTC", "Europe/Berlin").replace("monday", "tuesday")), "earlier for this session"),
        ((HOUR.rpartition(",")[0],), "has 5 fields, 6 are expected"),
    ],
    ids=NUMBERS[:16],
)
def test_a_wrong_hour_is_named_and_refuses_the_file(cli, database, home, rows: tuple[str, ...], reason: str):
    before = dump(database)
    run = cli("session", "load", file(home, "\n".join((HOURS_HEADER, *rows))))
    assert (run.code, run.error["error_code"]) == (2, "ROWS_REFUSED")
    assert run.error["missing_requirements"][0].startswith(f"line {len(rows) + 1}: ")
    assert reason in run.error["missing_requirements"][0]
    assert dump(database) == before


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (("FUTURE-EUREX,2025-02-30,holiday,",), "date: '2025-02-30' is no date YYYY-MM-DD"),
        (("FUTURE-EUREX,20250201,holiday,",), "date: '20250201' is not written YYYY-MM-DD"),
        (("FUTURE-EUREX,2025-02-01,half_day,",), "kind: 'half_day' is none of holiday, early_close, late_open"),
        (("FUTURE-EUREX,2025-02-01,holiday,12:00:00",), "a holiday is the whole day and has no time"),
        (("FUTURE-EUREX,2025-02-01,early_close,",), "time: '' is no time of day"),
        (("FUTURE-EUREX,2025-02-01,late_open,noon",), "time: 'noon' is no time of day"),
        (("FUTURE-EUREX,2025-02-01,holiday,",) * 2, "the same session, date and kind stand on line 2"),
    ],
    ids=NUMBERS[:7],
)
def test_a_wrong_date_is_named_and_refuses_both_files(cli, database, home, rows: tuple[str, ...], reason: str):
    before = dump(database)
    run = cli("session", "load", HOURS, "--dates", file(home, "\n".join(("session,date,kind,time", *rows))))
    assert (run.code, run.error["error_code"]) == (2, "ROWS_REFUSED")
    assert run.error["missing_requirements"][0].startswith(f"line {len(rows) + 1}: ")
    assert reason in run.error["missing_requirements"][0]
    assert dump(database) == before


def test_dates_of_a_session_without_hours_are_refused(cli, database, home):
    path = file(home, "session,date,kind,time\nMOON,2025-02-01,holiday,\n")
    before = dump(database)
    run = cli("session", "load", HOURS, "--dates", path)
    assert (run.code, run.error["missing_requirements"]) == (2, ["hours of session MOON"])
    assert dump(database) == before


@pytest.mark.parametrize("option", [(), ("--dates", DATES)])
def test_a_file_of_another_kind_is_told_by_its_header(cli, option):
    run = cli("session", "load", DATES, *option)
    assert (run.code, run.error["error_code"]) == (2, "FILE_INVALID")
    assert "missing column: timezone" in json.dumps(run.error)
