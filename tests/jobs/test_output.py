"""What a job writes: passed on as it comes, counted, its end kept as text."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
import threading
import time
from typing import TYPE_CHECKING

import pytest

from blaidctl.jobs.output import TAIL_BYTES, Tail, Tee
from tests.support.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator


def tail_of(*chunks: bytes) -> Tail:
    tail = Tail()
    for chunk in chunks:
        tail.add(chunk)
    return tail


def test_a_short_output_is_kept_whole_and_in_order():
    tail = tail_of(b"one\n", b"", b"two\n")
    assert (tail.text(), tail.total) == ("one\ntwo\n", 8)
    assert (tail_of().text(), tail_of().total) == ("", 0)


@pytest.mark.parametrize("piece", [1, 7, TAIL_BYTES, 3 * TAIL_BYTES])
def test_of_a_long_output_the_end_is_kept_however_it_came(piece: int):
    said = b"".join(b"%d\n" % number for number in range(20_000))
    tail = tail_of(*(said[at : at + piece] for at in range(0, len(said), piece)))
    assert (tail.text(), tail.total) == (said[-TAIL_BYTES:].decode(), len(said))


@pytest.mark.parametrize("character", ["é", "€", "𝄞"])
@pytest.mark.parametrize("shift", range(4))
def test_a_character_cut_in_its_middle_is_left_out(character: str, shift: int):
    said = character * TAIL_BYTES + "." * shift
    kept = tail_of(said.encode()).text()
    assert said.endswith(kept)
    assert TAIL_BYTES - 4 < len(kept.encode()) <= TAIL_BYTES


def test_an_output_that_was_not_cut_loses_nothing_at_its_beginning():
    assert tail_of(b"\x80\xbfabc").text() == "\ufffd\ufffdabc"
    assert tail_of(b"\x80" * TAIL_BYTES).text() == "\ufffd" * TAIL_BYTES


def test_what_is_no_text_is_shown_as_such():
    assert tail_of(b"a\x00b\xffc\xed\xa0\x80d\r\n\x1b[31m").text() == "a\ufffdb\ufffdc\ufffd\ufffd\ufffdd\r\n\x1b[31m"


def test_the_longest_text_of_an_end_is_within_what_a_request_takes():
    from blaidctl.jobs.contract import MOST_BYTES

    assert len(tail_of(b"\xff" * 2 * TAIL_BYTES).text().encode()) == 3 * TAIL_BYTES <= MOST_BYTES


# ---- one stream ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def teed(target: int, most_bytes: int | None = None) -> Iterator[tuple[Tee, Tail, int]]:
    """A stream that is being read, its kept end, and the descriptor that a process would write to."""
    tail = Tail()
    tee = Tee(tail, target, most_bytes)
    writer = os.dup(tee.pipe)
    tee.started()
    try:
        yield tee, tail, writer
    finally:
        with contextlib.suppress(OSError):
            os.close(writer)
        tee.join(30)
        assert not tee.is_alive()


def test_a_stream_ends_with_its_last_writer():
    source, target = os.pipe()
    with teed(target) as (tee, tail, writer):
        os.write(writer, b"said")
        wait_for(lambda: tail.total)
        assert tee.is_alive()
        os.close(writer)
        tee.read_to_the_end()
        assert not tee.is_alive()
        tee.pass_on_the_rest()
    assert os.read(source, 99) == b"said"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(tee.pipe)
    os.close(source)
    os.close(target)


def test_a_disk_without_room_is_told_and_the_end_is_kept_all_the_same():
    target = os.open("/dev/full", os.O_WRONLY)
    with teed(target) as (tee, tail, writer):
        for _ in range(2):
            os.write(writer, b"result\n")
        os.close(writer)
        tee.read_to_the_end()
        tee.pass_on_the_rest()
    assert tee.lost == os.strerror(errno.ENOSPC)
    assert tail.text() == "result\nresult\n"
    os.close(target)


@pytest.mark.parametrize(
    ("written", "lost"), [(10, ""), (11, "it is more than 10 bytes"), (100_000, "it is more than 10 bytes")]
)
def test_more_than_may_be_passed_on_is_said_and_holds_nobody_up(written: int, lost: str):
    with tempfile.TemporaryFile() as place, teed(place.fileno(), 10) as (tee, tail, writer):
        os.write(writer, b"x" * 5)
        wait_for(lambda: tail.total == 5)
        with os.fdopen(os.dup(writer), "wb") as rest:
            rest.write(b"x" * (written - 5))
        os.close(writer)
        tee.join(30)
        assert (tee.lost, tail.total) == (lost, written)
        assert os.fstat(place.fileno()).st_size <= 10


def test_a_stream_that_somebody_made_non_blocking_loses_nothing():
    source, target = os.pipe()
    os.set_blocking(target, False)
    said = b"".join(b"%d\n" % number for number in range(50_000))
    with teed(target) as (tee, _, writer):
        process = threading.Thread(target=lambda: (os.write(writer, said), os.close(writer)))
        process.start()
        time.sleep(0.2)  # the pipe is full by now
        heard = b""
        while len(heard) < len(said):
            heard += os.read(source, 5000)  # room for a part of what is to be written
        assert heard == said
        process.join(30)
        tee.read_to_the_end()
    assert tee.lost == ""
    os.close(source)
    os.close(target)


def test_a_reader_that_left_is_no_loss_and_holds_nothing_up():
    source, target = os.pipe()
    os.close(source)
    with teed(target) as (tee, tail, writer):
        for _ in range(100):
            os.write(writer, bytes(10_000))
        os.close(writer)
        tee.read_to_the_end()
        tee.pass_on_the_rest()
    assert (tee.lost, tail.total) == ("", 1_000_000)
    os.close(target)


REST = b"".join(b"%d\n" % number for number in range(10_000))  # less than a pipe holds, more than is kept


@contextlib.contextmanager
def asleep() -> Iterator[tuple[Tee, Tail, int, int]]:
    """A stream whose reader sleeps: a word hangs in a write behind a full pipe, the rest is in the process's own pipe.

    Yields the reader's end of the full pipe too, and how much was in it before.
    """
    source, target = os.pipe()
    filler = fcntl.fcntl(target, fcntl.F_GETPIPE_SZ)
    os.write(target, bytes(filler))
    try:
        with teed(target) as (tee, tail, writer):
            os.write(writer, b"word\n")
            wait_for(lambda: tail.total)
            os.write(writer, REST)
            os.close(writer)
            yield tee, tail, source, filler
    finally:
        os.close(target)
        os.close(source)


def read_exactly(descriptor: int, size: int) -> bytes:
    heard = b""
    while len(heard) < size:
        heard += os.read(descriptor, size - len(heard))
    return heard


def test_a_reader_that_sleeps_gets_everything_when_it_wakes_and_the_end_is_known_before():
    with asleep() as (tee, tail, source, filler):
        tee.read_to_the_end()
        assert tee.is_alive()
        assert (tail.total, tail.text()) == (5 + len(REST), REST[-TAIL_BYTES:].decode())
        rest = threading.Thread(target=tee.pass_on_the_rest)
        rest.start()
        time.sleep(0.2)
        assert read_exactly(source, filler + tail.total) == bytes(filler) + b"word\n" + REST
        rest.join(30)


def test_a_reader_that_wakes_while_the_end_is_read_gets_no_piece_out_of_turn(monkeypatch: pytest.MonkeyPatch):
    """The thread wakes from its write when the main thread has just taken the next piece."""
    main, read = threading.current_thread(), os.read
    with asleep() as (tee, tail, source, filler):
        heard: list[bytes] = []

        def read_and_wake(descriptor: int, size: int) -> bytes:
            if threading.current_thread() is not main or heard:
                return read(descriptor, size)
            piece = read(descriptor, 1000)
            heard.append(b"")
            heard.append(read_exactly(source, filler + 5))
            time.sleep(0.2)
            return piece

        monkeypatch.setattr(os, "read", read_and_wake)
        tee.read_to_the_end()
        tee.pass_on_the_rest()
        monkeypatch.undo()
        assert read_exactly(source, len(REST)) == REST
        assert tail.total == 5 + len(REST)


def test_behind_a_reader_that_sleeps_a_stranger_is_not_waited_for_either():
    source, target = os.pipe()
    filler = fcntl.fcntl(target, fcntl.F_GETPIPE_SZ)
    os.write(target, bytes(filler))
    with teed(target) as (tee, tail, writer):
        for said in (b"word\n", REST):
            os.write(writer, said)
            wait_for(lambda: tail.total)
        tee.read_to_the_end()
        assert tail.total == 5 + len(REST)
        os.write(writer, b"a stranger's words")
        read_exactly(source, filler)
        tee.pass_on_the_rest()
        assert os.read(source, 2 * filler) == b"word\n" + REST
    os.close(source)
    os.close(target)


def test_a_stranger_who_was_handed_the_pipe_is_not_waited_for():
    source, target = os.pipe()
    with teed(target) as (tee, tail, writer):
        os.write(writer, b"said")
        tee.read_to_the_end()
        tee.pass_on_the_rest()
        assert tee.is_alive()
        assert tail.text() == "said"
        os.close(writer)
    os.close(source)
    os.close(target)
