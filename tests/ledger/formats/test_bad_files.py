"""A file that is none of its format, is cut off, or is made to exhaust us: one error, never another, and no hang."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import os
import subprocess
import sys
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blaidctl.core import errors, files
from blaidctl.ledger import formats
from blaidctl.ledger.fills import AccountFee, Fill, Refusal, Skipped
from blaidctl.ledger.formats import json_text
from blaidctl.ledger.vocabulary import FileFormat
from tests.ledger.formats.samples import (
    CCXT,
    DATA,
    HEADER,
    ZONES,
    database,
    fills,
    flex,
    jsons,
    own_csv,
    reasons,
    records,
    trade,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXTS = {
    FileFormat.CSV: "own.csv",
    FileFormat.NDJSON: "own.ndjson",
    FileFormat.CCXT: "ccxt.json",
    FileFormat.ALPACA: "alpaca.json",
    FileFormat.IBKR: "ibkr.xml",
}
LAYOUTS = [*TEXTS, *sorted(formats.DATABASES)]
ZONE = "America/New_York"


class _Contents(dict[FileFormat, bytes]):
    """Hypothesis writes down what a test is given, and warns when that is long."""

    def __repr__(self) -> str:
        return "the samples"


@pytest.fixture(scope="module")
def contents(tmp_path_factory) -> dict[FileFormat, bytes]:
    """The bytes of a sound file of each format."""
    folder = tmp_path_factory.mktemp("databases")
    found = {layout: (DATA / name).read_bytes() for layout, name in TEXTS.items()}
    return _Contents(found | {layout: database(folder, layout).read_bytes() for layout in formats.DATABASES})


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("broken")


def read(layout: FileFormat, content: bytes, place: Path) -> list | None:
    """Read bytes as a format: its records, or None for a file that is refused. Anything else fails the test."""
    source: bytes | Path = content
    if layout in formats.DATABASES:
        for left in place.glob("broken.sqlite*"):  # a flipped bit may ask for a log beside the database
            left.unlink()
        source = place / "broken.sqlite"
        source.write_bytes(content)
    try:
        found = records(layout, source, timezone=ZONE)
    except (errors.FileInvalid, errors.FileUnreadable) as error:
        said = (bool(error.message), "bad-instrument-data" in "".join(error.steps))
    else:
        assert {type(record) for record in found} <= {Fill, AccountFee, Refusal, Skipped}
        assert all(record.line > 0 for record in found)
        return found
    assert said == (True, False), "the next steps are not those of a file of instruments"
    return None


# ---- broken by chance ------------------------------------------------------------------------------------------

BROKEN = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.mark.parametrize("layout", LAYOUTS)
@BROKEN
@given(data=st.data())
def test_a_file_that_is_cut_off_gives_records_or_one_error(contents, place, layout: FileFormat, data: st.DataObject):
    sound = contents[layout]
    read(layout, sound[: data.draw(st.integers(0, len(sound) - 1))], place)


@pytest.mark.parametrize("layout", LAYOUTS)
@BROKEN
@given(flips=st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 7)), min_size=1, max_size=8))
def test_flipped_bits_give_records_or_one_error(contents, place, layout: FileFormat, flips: list[tuple[int, int]]):
    broken = bytearray(contents[layout])
    for at, bit in flips:
        broken[at % len(broken)] ^= 1 << bit
    read(layout, bytes(broken), place)


@pytest.mark.parametrize("layout", LAYOUTS)
@BROKEN
@given(data=st.data())
def test_formats_that_are_mixed_give_records_or_one_error(contents, place, layout: FileFormat, data: st.DataObject):
    sound, other = contents[layout], contents[data.draw(st.sampled_from(LAYOUTS))]
    at, start = data.draw(st.integers(0, len(sound))), data.draw(st.integers(0, len(other)))
    read(layout, sound[:at] + other[start:] + data.draw(st.sampled_from([b"", sound[at:]])), place)


@pytest.mark.parametrize("layout", LAYOUTS)
@BROKEN
@given(content=st.binary(max_size=300))
def test_any_bytes_give_records_or_one_error(place, layout: FileFormat, content: bytes):
    assert not fills(read(layout, content, place) or [])


#: What each format opens with, and values that a parser of it may stumble over.
PIECES = [
    "{", "}", "[", "]", ",", ":", '"', "\\", "1e9999", "-", "NaN", "null", "true", '"fees"', '"fee"', '"timestamp"',
    '"symbol"', '"id"', "\ud7ff", "\x00", "\n", "<Trade ", "<", "/>", "&#0;", "&amp;", "&x;", "<![CDATA[", "]]>",
    "<!--", "<?x?>", 'buySell="BUY"', 'quantity="1"', "price", "\u00e9", "\u202e", "9" * 400,
]  # fmt: skip


@pytest.mark.parametrize("layout", TEXTS)
@BROKEN
@given(data=st.data())
def test_pieces_of_a_format_in_wrong_places_give_records_or_one_error(
    contents, place, layout: FileFormat, data: st.DataObject
):
    broken = contents[layout].decode()
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(broken)))
        broken = broken[:at] + data.draw(st.sampled_from(PIECES)) + broken[at + data.draw(st.integers(0, 12)) :]
    read(layout, broken.encode(), place)


# ---- broken on purpose, or by mistake --------------------------------------------------------------------------


@pytest.mark.parametrize("one", LAYOUTS)
@pytest.mark.parametrize("other", LAYOUTS)
def test_no_format_takes_a_fill_from_a_file_of_another(contents, place, one: FileFormat, other: FileFormat):
    found = read(one, contents[other], place)
    if one is other:
        assert fills(found or [])
    else:
        assert not fills(found or [])
        assert found is None or any(isinstance(record, Refusal) for record in found)


PACKED = {
    "gzip": (gzip.compress(b"venue_trade_id", mtime=0), "is packed with gzip: unpack it first (`gunzip`)"),
    "bzip2": (b"BZh91AY&SY", "is packed with bzip2"),
    "xz": (b"\xfd7zXZ\x00\x00", "is packed with xz"),
    "zstd": (b"(\xb5/\xfd\x04", "is packed with zstd"),
    "zip": (b"PK\x03\x04", "is a zip archive (a spreadsheet is one too)"),
    "UTF-16": ("venue".encode("utf-16"), "is UTF-16: save it as UTF-8"),
    "SQLite": (b"SQLite format 3\x00", "is an SQLite database"),
}


@pytest.mark.parametrize(("content", "told"), PACKED.values(), ids=PACKED)
@pytest.mark.parametrize("layout", TEXTS)
def test_what_is_no_text_is_named_as_what_it_is(layout: FileFormat, content: bytes, told: str):
    with pytest.raises(errors.FileInvalid) as caught:
        records(layout, content)
    assert told in caught.value.message


@pytest.mark.parametrize(
    ("content", "told"),
    [(PACKED["gzip"][0], "is packed with gzip"), (b"a,b\n", "is no SQLite")],
    ids=["gzip", "CSV"],
)
@pytest.mark.parametrize("layout", sorted(formats.DATABASES))
def test_what_is_no_database_is_named_too(tmp_path: Path, layout: FileFormat, content: bytes, told: str):
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(errors.FileInvalid) as caught:
        records(layout, path)
    assert told in caught.value.message
    assert caught.value.error_code == "FILE_INVALID"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_empty_file_says_that_it_is(tmp_path: Path, layout: FileFormat):
    path = tmp_path / "empty"
    path.write_bytes(b"")
    with pytest.raises(errors.FileInvalid, match=r"is empty|no element found"):
        records(layout, path)


@pytest.mark.parametrize("layout", TEXTS)
def test_a_byte_order_mark_and_either_line_end_are_accepted(contents, place, layout: FileFormat):
    sound = contents[layout]
    without = () if layout is FileFormat.CSV else (sound.rstrip(b"\n"),)
    for changed in (b"\xef\xbb\xbf" + sound, sound.replace(b"\n", b"\r\n"), *without):
        assert fills(read(layout, changed, place) or []) == fills(read(layout, sound, place) or [])


def test_a_csv_that_is_cut_off_anywhere_gives_whole_lines_alone(place):
    head = b"venue_trade_id,executed_at,symbol,side,quantity,price\n"
    sound = head + b"".join(b"T%d,2026-01-05T15:30:00Z,ES,BUY,1,6870.25\n" % number for number in (1, 2))
    whole = fills(read(FileFormat.CSV, sound, place) or [])
    for end in range(len(head), len(sound)):
        found = read(FileFormat.CSV, sound[:end], place) or []
        lines = sound[:end].count(b"\n") - 1
        assert fills(found) == whole[:lines], sound[:end]
        refusals = [record.reasons[0] for record in found if isinstance(record, Refusal)]
        assert len(refusals) == int(sound[end - 1 : end] != b"\n")
        assert all("without a line end" in reason for reason in refusals)


@pytest.mark.parametrize("layout", [FileFormat.CSV, FileFormat.NDJSON])
def test_bytes_that_are_no_utf_8_refuse_their_line(contents, place, layout: FileFormat):
    found = read(layout, contents[layout].replace(b"F-1002", b"F-\xff002"), place)
    assert "is not UTF-8: byte 0xff at position" in reasons(found or [])[0]
    assert len(found or []) == len(read(layout, contents[layout], place) or [])


def test_bytes_that_are_no_utf_8_end_a_file_without_lines():
    with pytest.raises(errors.FileInvalid, match="is not UTF-8: byte 0xff"):
        records("ccxt", jsons(CCXT).replace(b"BTC", b"\xff"))
    with pytest.raises(errors.FileInvalid, match="not well-formed"):
        records("ibkr", flex(trade()).encode().replace(b"AAPL", b"\xff"))


@pytest.mark.parametrize("layout", [FileFormat.CSV, FileFormat.NDJSON])
def test_a_line_without_end_is_refused_before_it_is_read(layout: FileFormat):
    with pytest.raises(errors.FileInvalid, match="line 2 is longer than 16384 bytes"):
        records(layout, (HEADER if layout is FileFormat.CSV else "{}").encode() + b"\n" + b"x" * 20_000)


def test_line_ends_inside_a_row_are_no_csv():
    found = records("csv", own_csv({}, {"symbol": "A\rB"}, {"symbol": '"A\nB"'}))
    told = [reason.partition(":")[0] for reason in reasons(found)]
    assert told == ["is no line of CSV", "is no line of CSV", "has 6 fields, 8 are expected"]


BOMBS = {
    "entities": '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><FlexQueryResponse>&b;</FlexQueryResponse>',
    "a file": '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><FlexQueryResponse>&a;</FlexQueryResponse>',
    "a server": '<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd"><FlexQueryResponse/>',
    "parameters": '<!DOCTYPE x [<!ENTITY % p SYSTEM "http://127.0.0.1:1/x">%p;]><FlexQueryResponse/>',
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_document_type_is_refused_before_any_entity_is_expanded(bomb: str):
    with pytest.raises(errors.FileInvalid, match="line 1: declares a document type or entity: no Flex query does"):
        records("ibkr", bomb)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("<FlexStatementResponse><Status>Fail</Status></FlexStatementResponse>", "its root is 'FlexStatementResponse'"),
        ("<FlexQueryResponse>" + "<a>" * 40, "line 1: elements stand in elements too deep"),
        ("<FlexQueryResponse><a " + "x" * 2_000_000, "line 1: nothing ends within 1048576 bytes"),
        ("<FlexQueryResponse><!-- " + "x" * 2_000_000, "line 1: nothing ends within 1048576 bytes"),
        ("<FlexQueryResponse>&x;</FlexQueryResponse>", "is no whole XML: undefined entity"),
        ("<FlexQueryResponse>\n", "line 2: is no whole XML: no element found"),
        (
            '<?xml version="1.0" encoding="klingon"?><FlexQueryResponse/>',
            "is no XML that is read here: unknown encoding",
        ),
        ("<FlexQueryResponse/><FlexQueryResponse/>", "is no whole XML: junk after document element"),
    ],
    ids=[str(number) for number in range(8)],
)
def test_xml_that_is_no_flex_query_is_refused(content: str, told: str):
    with pytest.raises(errors.FileInvalid) as caught:
        records("ibkr", content)
    assert told in caught.value.message


ONE = json.dumps(CCXT)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{}", "is no JSON array"),
        (f"[{ONE}", "is not whole: after record 1 a comma or the end of the array is expected"),
        (f"[{ONE},", "cannot be read on from record 2: expecting value"),
        (f"[{ONE}{ONE}]", "is not whole: after record 1 a comma"),
        (f"[{ONE}][{ONE}]", "does not end with its array: something follows record 1"),
        (f"[{ONE[:-1]}]", "cannot be read on from record 1: expecting ',' delimiter"),
        (f"[{ONE},]", "cannot be read on from record 2: expecting value"),
        ('[{"a": "' + "x" * 2_000_000 + '"}]', "cannot be read on from record 1: unterminated string"),
        ("[" * 200_000, "cannot be read on from record 1: objects stand in objects too deep"),
        ('[{"a":"\t"}]', "cannot be read on from record 1: invalid control character"),
    ],
    ids=[str(number) for number in range(10)],
)
def test_json_that_is_no_array_of_records_is_refused(content: str, told: str):
    with pytest.raises(errors.FileInvalid) as caught:
        records("ccxt", content)
    assert told in caught.value.message


def test_what_stands_in_an_array_and_is_no_record_is_refused_with_its_ordinal():
    found = records("ccxt", f'[{ONE}, 1, "x", null, {ONE[:-1]}, "price": "1"}}, [{ONE}], {ONE}]')
    assert [type(record) for record in found] == [Fill, Refusal, Refusal, Refusal, Refusal, Refusal, Fill]
    assert reasons(found) == [*["is no JSON object"] * 3, "stands twice: 'price'", "is no JSON object"]
    assert [record.line for record in found] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64])
def test_records_are_found_wherever_the_pieces_of_a_file_end(monkeypatch, chunk: int):
    sound = records("ccxt", DATA / "ccxt.json")
    monkeypatch.setattr(json_text, "CHUNK", chunk)
    assert records("ccxt", DATA / "ccxt.json") == sound
    assert records("ccxt", "[1 , 23,4 ]") == [Refusal(n, ("is no JSON object",)) for n in (1, 2, 3)]


def test_an_array_without_records_is_an_export_without_trades():
    assert records("ccxt", " [ ] \n") == []
    assert records("csv", HEADER + "\n") == []
    assert records("ibkr", flex()) == []


# ---- constant memory, pipes, hashes ----------------------------------------------------------------------------


class _Endless(io.RawIOBase):
    """A file of many records that exists only as it is read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._left = pieces, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        self._left = self._left or next(self._pieces, b"")
        taken, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)


def _many(layout: FileFormat, count: int) -> Iterator[bytes]:
    row = own_csv({}).split("\n")[1].encode() + b"\n"
    first, each, last = {
        FileFormat.CSV: (HEADER.encode() + b"\n", row, b""),
        FileFormat.NDJSON: (b"", (DATA / "own.ndjson").read_bytes().splitlines(keepends=True)[0], b""),
        FileFormat.CCXT: (b"[", ONE.encode() + b",", ONE.encode() + b"]"),
        FileFormat.IBKR: (b"<FlexQueryResponse>", trade().encode() + b"\n", b"</FlexQueryResponse>"),
    }[layout]
    return filter(None, itertools.chain([first], itertools.repeat(each, count), [last]))


@pytest.mark.parametrize("layout", [FileFormat.CSV, FileFormat.NDJSON, FileFormat.CCXT, FileFormat.IBKR])
def test_memory_does_not_grow_with_the_file(layout: FileFormat):
    def peak(count: int) -> int:
        tracemalloc.start()
        source = io.BufferedReader(_Endless(_many(layout, count)))
        found = sum(isinstance(record, Fill) for record in formats.read(layout, source, timezone=ZONE))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert found >= count
        return most

    small = max(peak(2_000), peak(2_000))
    assert peak(12_000) < small + 200_000


def test_a_file_is_not_read_beyond_its_limit(monkeypatch):
    monkeypatch.setattr(formats, "MOST_BYTES", 100_000)
    with pytest.raises(errors.FileInvalid, match="is larger than 100000 bytes"):
        list(formats.read(FileFormat.CSV, io.BufferedReader(_Endless(_many(FileFormat.CSV, 10**9)))))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_is_hashed_as_it_is_read_and_gives_the_same_whatever_the_road(contents, place, layout: FileFormat):
    path = place / f"{layout}.sound"
    path.write_bytes(contents[layout])
    told: list[tuple[str, int]] = []

    def progress(what: str, total: int):
        told.append((what, total))
        return lambda _: None

    with formats.opened(layout, str(path), 5, progress) as source:
        found = list(formats.read(layout, source, timezone=ZONES.get(layout)))
        assert len(source.sha256) == 64
        assert source.name == str(path)
    assert found == records(layout, path, timezone=ZONES.get(layout))
    assert told[0][1] == len(contents[layout])
    piped = subprocess.run(
        [sys.executable, "-c", _PIPED, layout],
        input=contents[layout],
        capture_output=True,
        check=True,
        cwd=DATA.parents[2],
    )
    assert json.loads(piped.stdout) == [len(found), source.sha256] or layout in formats.DATABASES
    assert json.loads(piped.stdout)[0] == len(found)


_PIPED = """
import json, sys
from blaidctl.ledger import formats
from blaidctl.ledger.vocabulary import FileFormat
layout = FileFormat(sys.argv[1])
with formats.opened(layout, "-", 5) as source:
    found = list(formats.read(layout, source, timezone="America/New_York"))
print(json.dumps([len(found), source.sha256]))
"""


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_pipe_that_stays_silent_a_folder_and_nothing_at_all_are_refused(tmp_path: Path, layout: FileFormat):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)
    try:
        _refused(layout, pipe, "nothing came through")
    finally:
        os.close(writer)
    _refused(layout, tmp_path, "is a directory")
    _refused(layout, tmp_path / "none", "cannot be read: no such file")


def _refused(layout: FileFormat, path: Path, why: str) -> None:
    with pytest.raises(errors.FileUnreadable, match=why), formats.opened(layout, str(path), 1) as source:
        list(formats.read(layout, source, timezone=ZONE))


def test_reading_in_pieces_and_by_lines_hash_the_same():
    content = b"\xef\xbb\xbfa\nb\n"
    lines, pieces = (files.Reading("x", io.BytesIO(content), lambda _: None) for _ in range(2))
    assert [line.text for line in lines] == ["a", "b"]
    assert pieces.read(100) == b"a\nb\n"
    assert lines.sha256 == pieces.sha256
