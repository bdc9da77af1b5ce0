"""The queue in front of SQLite's write lock: order of arrival, a limit on the wait, nothing left behind."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from blaidctl.core import errors, queue
from tests.kill.fleet import WHY, bots, done, events

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.commandline import CommandLine, ProcessCommandLine
    from tests.support.database import Database


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def waiting_on(path: Path) -> int:
    """How many wait for the lock on this file, by the kernel's own list."""
    inode = f":{path.stat().st_ino} "
    return sum("->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines())


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def database_path(tmp_path: Path) -> Path:
    path = tmp_path / "x.db"
    path.touch()
    return path


def test_turns_come_in_the_order_of_arrival(database_path: Path):
    order: list[int] = []
    file = Path(f"{database_path}{queue.SUFFIX}")

    def take(number: int) -> None:
        with queue.turn(database_path, 30):
            order.append(number)

    threads = []
    with queue.turn(database_path, 30):
        for number in range(8):
            threads.append(threading.Thread(target=take, args=(number,)))
            threads[-1].start()
            wait_until(lambda expected=number + 1: waiting_on(file) == expected)  # type: ignore[misc]
        assert order == []
    for thread in threads:
        thread.join(30)
    assert order == list(range(8))


def test_only_one_has_the_turn(database_path: Path):
    inside, most, counted = 0, 0, threading.Lock()

    def take() -> None:
        nonlocal inside, most
        for _ in range(10):
            with queue.turn(database_path, 30):
                with counted:
                    inside += 1
                    most = max(most, inside)
                time.sleep(0.001)
                with counted:
                    inside -= 1

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (inside, most) == (0, 1)


def test_what_is_left_of_the_limit_is_handed_on(database_path: Path):
    with queue.turn(database_path, 10) as left:
        assert 0 < left <= 10
    released = threading.Event()

    def hold() -> None:
        with queue.turn(database_path, 10):
            released.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    wait_until(lambda: _taken(database_path))
    threading.Timer(1, released.set).start()
    with queue.turn(database_path, 10) as left:
        assert 0 <= left < 9.5
    holder.join(20)


def test_a_turn_that_does_not_come_is_given_up_for_good_and_the_database_decides(database_path: Path):
    before = descriptors()
    file = Path(f"{database_path}{queue.SUFFIX}")
    with queue.turn(database_path, 10):
        for _ in range(3):
            with queue.turn(database_path, 1) as left:
                assert 0 < left <= 0.5, "half of the limit is left for the lock of the database itself"
        with (
            pytest.raises(errors.Busy, match="more than 1 s; nothing was written"),
            queue.turn(database_path, 1, alone=True),
        ):
            pytest.fail("two migrate")
    # Those who gave up do not take their turns: it is free at once, and their descriptors go.
    with queue.turn(database_path, 10):
        pass
    wait_until(lambda: waiting_on(file) == 0)
    wait_until(lambda: descriptors() == before)


def test_an_error_inside_gives_the_turn_up(database_path: Path):
    with pytest.raises(ZeroDivisionError), queue.turn(database_path, 1):
        _ = 1 / 0
    assert not _taken(database_path)


@pytest.mark.parametrize("obstacle", ["link", "folder", "no folder", "pipe"])
def test_without_a_queue_file_the_database_alone_decides(database_path: Path, obstacle: str):
    """An obstacle costs fairness, never the act, never a wait, and never somebody else's file."""
    file, elsewhere = Path(f"{database_path}{queue.SUFFIX}"), database_path.with_name("elsewhere")
    path = database_path
    if obstacle == "link":
        file.symlink_to(elsewhere)
    elif obstacle == "folder":
        file.mkdir()
    elif obstacle == "no folder":
        path = database_path.with_name("missing") / "x.db"
    else:
        os.mkfifo(file)
    with queue.turn(path, 5) as left:
        assert 0 < left <= 5
    assert not elsewhere.exists()


def test_who_holds_the_queue_without_writing_cannot_stop_a_kill(cli: CommandLine, sqlite_database: Database):
    bots(sqlite_database, ["a1"])
    descriptor = os.open(f"{sqlite_database.path}{queue.SUFFIX}", os.O_RDONLY | os.O_CREAT, 0o666)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        done(cli("kill", "a1", *WHY, env={"BLAIDCTL_KILL_LOCK_TIMEOUT_S": "1"}))
    finally:
        os.close(descriptor)
    assert len(events(sqlite_database)) == 1


def test_kills_are_done_in_the_order_in_which_they_came(process: ProcessCommandLine, sqlite_database: Database):
    """None passes those that wait: SQLite's own lock goes to whoever asks at the right moment."""
    names = bots(sqlite_database, ["a3", "a1", "a4", "a2"])
    assert sqlite_database.path is not None
    file = Path(f"{sqlite_database.path}{queue.SUFFIX}")
    patient = {"BLAIDCTL_KILL_LOCK_TIMEOUT_S": "60"}
    waiting = []
    with queue.turn(sqlite_database.path, 30):
        for number, bot in enumerate(names):
            waiting.append(process.spawn("kill", bot, *WHY, env=patient))
            wait_until(lambda expected=number + 1: waiting_on(file) == expected)  # type: ignore[misc]
        assert events(sqlite_database) == []
    for kill in waiting:
        kill.communicate(timeout=30)
        assert kill.returncode == 0
    assert [bot for bot, *_ in events(sqlite_database)] == names


def test_who_only_reads_needs_no_turn(cli: CommandLine, sqlite_database: Database):
    bots(sqlite_database, ["a1"])
    assert sqlite_database.path is not None
    with queue.turn(sqlite_database.path, 5):
        done(cli("kill-events"))
        done(cli("status"))
        assert cli("guard", "a1").json["result"]["reasons"] == ["NOT_LINKED: bot a1 has no open link to an account"]


def _taken(path: Path) -> bool:
    file = Path(f"{path}{queue.SUFFIX}")
    if not file.exists():
        return False
    descriptor = os.open(file, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
