"""Hearing of a change: what wakes, what does not, and that whoever hears nothing still looks."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from blaidctl.core import command, watch
from blaidctl.core.sql import Query
from tests.kill.fleet import BACK, WHY, bots, done
from tests.support.processes import LIMIT_S, lives, numbers_in, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.commandline import CommandLine, ProcessCommandLine
    from tests.support.database import Database

CHANNEL = "blaidctl_bots"
LISTENERS = (
    "SELECT pid FROM pg_stat_activity WHERE application_name = 'blaidctl watch' AND datname = current_database()"
)
KILLED = Query("SELECT killed_at FROM bots WHERE id = :id")
CALM = {"BLAIDCTL_HEARTBEAT_S": "1", "BLAIDCTL_LEASE_S": "60", "BLAIDCTL_GRACE_S": "1"}


def about(bot: str) -> watch.Subject:
    """Return what concerns one bot."""
    return watch.Subject(CHANNEL, bot, KILLED, {"id": bot})


@pytest.fixture
def watching(cli: CommandLine) -> Iterator[Callable[[str], watch.Watch]]:
    """`watching("b1")`: a watch on the test's database, which listens by now, and has said that it did not before."""
    with mock.patch.dict(os.environ, cli.environment(), clear=True):
        ctx = command.make_context()
    with contextlib.ExitStack() as stack:

        def opened(subject: str) -> watch.Watch:
            made = stack.enter_context(contextlib.closing(watch.open_watch(ctx.database, about(subject))))
            assert made.wait(LIMIT_S)
            return made

        yield opened
    ctx.database.close()


def hears(watcher: watch.Watch, act: Callable[[], object]) -> bool:
    """Say whether a watch that waits hears of an act; if it does, long before the limit."""
    answer: list[bool] = []
    thread = threading.Thread(target=lambda: answer.append(watcher.wait(LIMIT_S)))
    began = time.monotonic()
    thread.start()
    act()
    thread.join()
    assert answer[0] == (time.monotonic() - began < LIMIT_S - 5)
    return answer[0]


def deaf(watcher: watch.Watch, act: Callable[[], object]) -> bool:
    """Say whether a watch does not hear of an act that was done while it was not waiting."""
    act()
    return not watcher.wait(1)


def test_every_change_of_a_bot_is_heard_whoever_writes(
    watching: Callable[[str], watch.Watch], cli: CommandLine, database: Database
):
    bots(database, ["b1"])
    watcher = watching("b1")
    at = "2026-01-01T00:00:00.000000Z"
    assert not watcher.wait(0.3)
    assert hears(watcher, lambda: done(cli("kill", "b1", *WHY)))
    assert hears(watcher, lambda: done(cli("resurrect", "b1", *BACK)))
    assert hears(watcher, lambda: database.sql("UPDATE bots SET killed_at = ? WHERE id = 'b1'", (at,)))
    # Also while nobody waits: it is told at the next wait.
    database.sql("UPDATE bots SET killed_at = NULL WHERE id = 'b1'")
    assert watcher.wait(LIMIT_S)


def test_what_concerns_another_bot_wakes_nobody(
    watching: Callable[[str], watch.Watch], cli: CommandLine, database: Database
):
    """Nor does a commit that concerns no bot: a hundred supervisors do not look because one of them wrote."""
    bots(database, ["b1", "b2", "b11"])
    watcher = watching("b1")
    assert deaf(watcher, lambda: done(cli("kill", "b2", "b11", *WHY)))
    assert deaf(watcher, lambda: done(cli("user", "add", "carol")))
    assert hears(watcher, lambda: done(cli("kill", "b1", *WHY)))


def test_a_notification_is_for_a_name_or_for_all(watching: Callable[[str], watch.Watch], postgres_database: Database):
    watcher = watching("b1")
    assert deaf(watcher, lambda: postgres_database.sql(f"NOTIFY {CHANNEL}, 'b2'"))
    assert deaf(watcher, lambda: postgres_database.sql("NOTIFY another_channel, 'b1'"))
    assert hears(watcher, lambda: postgres_database.sql(f"NOTIFY {CHANNEL}, 'b1'"))
    assert hears(watcher, lambda: postgres_database.sql(f"NOTIFY {CHANNEL}"))  # for all


@pytest.mark.parametrize(("count", "told"), [(50, 50), (51, 1)])
def test_a_wide_kill_tells_each_bot_or_all_at_once(
    watching: Callable[[str], watch.Watch], cli: CommandLine, postgres_database: Database, count: int, told: int
):
    fleet = bots(postgres_database, [f"b{number:02}" for number in range(count)])
    watcher = watching(fleet[-1])
    with contextlib.closing(postgres_database.raw()) as listener:
        listener.execute(f"LISTEN {CHANNEL}")
        assert hears(watcher, lambda: done(cli("kill", "--all", "--confirm-count", str(count), *WHY)))
        payloads = [notice.payload for notice in listener.notifies(timeout=LIMIT_S, stop_after=told)]
        assert sorted(payloads) == (fleet if told > 1 else [""])
        assert list(listener.notifies(timeout=0.2)) == []


def test_a_connection_that_is_cut_is_made_anew(watching: Callable[[str], watch.Watch], postgres_database: Database):
    watcher = watching("b1")
    ((first,),) = postgres_database.sql(LISTENERS)
    cut(postgres_database, first)
    wait_for(lambda: watcher.wait(0.2) and postgres_database.sql(LISTENERS) not in ([], [(first,)]))
    assert hears(watcher, lambda: postgres_database.sql(f"NOTIFY {CHANNEL}, 'b1'"))
    watcher.close()
    wait_for(lambda: postgres_database.sql(LISTENERS) == [])


def cut(database: Database, backend: int) -> None:
    """End a connection from the server's side."""
    assert database.sql(f"SELECT pg_terminate_backend({backend})") == [(True,)]


def test_without_a_database_a_watch_waits_for_the_limit(
    watching: Callable[[str], watch.Watch], database: Database, cli: CommandLine
):
    """It neither fails nor returns at once: whoever waits would look again and again."""
    missing = "sqlite:////nowhere/x.db" if database.kind == "sqlite" else "postgresql://u:p@127.0.0.1:9/x"
    with mock.patch.dict(os.environ, cli.environment({"BLAIDCTL_DATABASE_URL": missing}), clear=True):
        watcher: Any = watch.open_watch(command.make_context().database, about("b1"))
    began = time.monotonic()
    assert not any([watcher.wait(0.4), watcher.wait(0.4)])
    assert time.monotonic() - began >= 0.8
    watcher.close()
    assert watching("b1") is not None


def test_silence_is_not_broken():
    assert not watch.Silence().wait(0.01)
    watch.Silence().close()


# ---- a kill is seen, whatever was heard ----------------------------------------------------------------------


@pytest.fixture
def running(process: ProcessCommandLine, home: Path, database: Database) -> tuple[Any, int]:
    """A supervisor of b1 and its process, which says its pid and goes at TERM."""
    bots(database, ["b1"])
    supervisor = process.spawn("bot", "run", "b1", "--", "sh", "-c", "echo $$ >pids; exec sleep 300", env=CALM)
    (pid,) = numbers_in(home / "pids")
    wait_for(lambda: database.sql("SELECT 1 FROM bot_instances WHERE status = 'RUNNING'"))
    return supervisor, pid


def killed_and_confirmed(database: Database, supervisor: Any, pid: int) -> None:
    supervisor.communicate(timeout=LIMIT_S)
    assert supervisor.returncode == 5
    assert not lives(pid)
    rows = database.sql("SELECT status, stop_reason, stop_confirmed_at IS NOT NULL FROM bot_instances")
    assert [(status, reason, bool(proven)) for status, reason, proven in rows] == [("STOPPED", "KILLED", True)]


def test_a_kill_by_plain_sql_ends_the_process(running: tuple[Any, int], database: Database):
    """The emergency door, in the order that the database insists on."""
    with contextlib.closing(database.raw()) as connection:
        connection.execute("BEGIN")
        now = "2027-01-01T00:00:00.000000Z"
        connection.execute(f"UPDATE bot_instances SET status = 'STOPPED', stop_reason = 'KILLED', stopped_at = '{now}'")
        connection.execute(f"UPDATE bots SET killed_at = '{now}'")
        connection.execute("COMMIT")
    killed_and_confirmed(database, *running)


def test_a_kill_is_seen_although_the_listener_was_cut_off(
    running: tuple[Any, int], cli: CommandLine, postgres_database: Database
):
    """And cut off again, as soon as it is back: what is left is the look that nobody asks for."""
    wait_for(lambda: postgres_database.sql(LISTENERS))
    over = threading.Event()

    def cut_again_and_again() -> None:
        while not over.wait(0.01):
            for (backend,) in postgres_database.sql(LISTENERS):
                postgres_database.sql(f"SELECT pg_terminate_backend({backend})")

    cutter = threading.Thread(target=cut_again_and_again)
    cutter.start()
    try:
        done(cli("kill", "b1", *WHY, "--wait", "20"))
        killed_and_confirmed(postgres_database, *running)
    finally:
        over.set()
        cutter.join()


def test_a_kill_is_seen_although_nobody_is_told(
    running: tuple[Any, int], cli: CommandLine, postgres_database: Database
):
    """A pooler, or a trigger that was dropped."""
    postgres_database.sql("DROP TRIGGER bots_tell ON bots")
    done(cli("kill", "b1", *WHY, "--wait", "20"))
    killed_and_confirmed(postgres_database, *running)


def test_a_kill_is_seen_although_the_file_was_replaced(
    running: tuple[Any, int], cli: CommandLine, sqlite_database: Database
):
    """A copy, in which the bot is killed, takes the file's name: the counter of the old one stands still."""
    path = sqlite_database.path
    assert path is not None
    copy = path.with_name("copy.db")
    with contextlib.closing(sqlite3.connect(path)) as old, contextlib.closing(sqlite3.connect(copy)) as new:
        old.backup(new)
    url = f"sqlite:///{copy}"
    done(cli("kill", "b1", *WHY, env={"BLAIDCTL_DATABASE_URL": url}))
    with contextlib.closing(sqlite3.connect(copy)) as new:
        new.execute("PRAGMA journal_mode=DELETE")
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    shutil.move(copy, path)
    killed_and_confirmed(sqlite_database, *running)
