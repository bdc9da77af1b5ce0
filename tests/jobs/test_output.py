"""What a job writes: passed on as it comes, counted, its end kept as text."""

from __future__ import annotations

import contextlib
import errno
import os
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
def teed(target: int) -> Iterator[tuple[Tee, Tail, int]]:
    """A stream that is being read, its kept end, and the descriptor that a process would write to."""
    tail = Tail()
    tee = Tee(tail, target)
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


#: More than one pipe holds, less than two.
MUCH = b"".join(b"%d\n" % number for number in range(20_000))


def test_a_reader_that_sleeps_gets_everything_in_order_when_it_wakes_and_the_end_is_known_before():
    source, target = os.pipe()
    with teed(target) as (tee, tail, writer):
        os.write(writer, MUCH)
        os.close(writer)
        tee.read_to_the_end()
        assert tee.is_alive()
        assert (tail.total, tail.text()) == (len(MUCH), MUCH[-TAIL_BYTES:].decode())
        rest = threading.Thread(target=lambda: (tee.pass_on_the_rest(), os.close(target)))
        rest.start()
        heard = b""
        while chunk := os.read(source, 65536):
            heard += chunk
        rest.join(30)
    assert heard == MUCH
    os.close(source)


def test_a_reader_that_wakes_while_the_end_is_read_gets_no_piece_out_of_turn(monkeypatch: pytest.MonkeyPatch):
    """The thread wakes from its write when the main thread has just taken the next piece."""
    source, target = os.pipe()
    heard: list[bytes] = []
    with teed(target) as (tee, tail, writer):
        os.write(writer, MUCH)
        os.close(writer)
        main, read = threading.current_thread(), os.read

        def read_and_wake(descriptor: int, size: int) -> bytes:
            if threading.current_thread() is not main or heard:
                return read(descriptor, size)
            piece = read(descriptor, 1000)
            while sum(map(len, heard)) + 65536 < len(MUCH) - 30_000:
                heard.append(read(source, 65536))
            time.sleep(0.2)
            return piece

        monkeypatch.setattr(os, "read", read_and_wake)
        tee.read_to_the_end()
        monkeypatch.undo()
        rest = threading.Thread(target=lambda: (tee.pass_on_the_rest(), os.close(target)))
        rest.start()
        while chunk := os.read(source, 65536):
            heard.append(chunk)
        rest.join(30)
    assert b"".join(heard) == MUCH
    assert tail.total == len(MUCH)
    os.close(source)


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
