"""Hearing of a change: PostgreSQL tells its listeners (NOTIFY), SQLite counts changes of its file (data_version).

SQLite's counter moves with every commit of anybody, so each watch also asks a question of its own whenever it has
moved: a hundred supervisors on one file do not all look because one of them wrote a heartbeat.

What is heard is only a reason to look, never the answer; and whoever waits also looks without a reason now and then: a
notification can be lost (a pooler, a server that restarts), and a database file can be replaced.
"""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from blaidctl.core import clock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from blaidctl.core.db import Database
    from blaidctl.core.sql import Query

#: How often SQLite's counter is read: a few microseconds each, and a sleep.
_COUNT_EVERY_S = 0.05
#: Connecting again to a server that is gone is tried this often at the most.
_AGAIN_AFTER_S = 1.0


class Watch(Protocol):
    """Something that may hear of a change."""

    def wait(self, limit_s: float) -> bool:
        """Return True as soon as something may have changed, or False after the limit."""

    def close(self) -> None:
        """Give the connection back."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a watch hears of: a name told on a channel, and a question whose answer changes with it."""

    channel: str
    name: str
    question: Query
    parameters: Mapping[str, Any]


def open_watch(database: Database, subject: Subject) -> Watch:
    """Return what hears of changes to one subject."""
    return _Counter(database, subject) if database.kind == "sqlite" else _Listener(database, subject)


class Silence:
    """Hears nothing: for a right that only its own heartbeat asks after."""

    def wait(self, limit_s: float) -> bool:
        """Wait for the limit."""
        clock.pause(limit_s)
        return False

    def close(self) -> None:
        """Hold nothing that could be given back."""


class _Counter:
    """SQLite: the counter of a connection of its own moves when another connection has committed."""

    def __init__(self, database: Database, subject: Subject) -> None:
        self._path = database.path
        self._question, self._parameters = subject.question.clause("sqlite").text, subject.parameters
        self._connection: sqlite3.Connection | None = None
        self._count: int | None = None
        self._answer: Any = None

    def wait(self, limit_s: float) -> bool:
        until = clock.monotonic_s() + limit_s
        while clock.monotonic_s() < until:
            clock.pause(_COUNT_EVERY_S)
            if self._moved():
                return True
        return False

    def _moved(self) -> bool:
        """Say whether the answer is another one, or was asked for the first time: the time before was not watched."""
        count_before, answer_before = self._count, self._answer
        try:
            if self._connection is None:
                self._connection = sqlite3.connect(
                    f"{self._path.as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False, timeout=0
                )
            # The counter first: what is committed after it is read moves it again.
            (self._count,) = self._connection.execute("PRAGMA data_version").fetchone()
            if self._count == count_before:
                return False
            self._answer = self._connection.execute(self._question, self._parameters).fetchall()
        except sqlite3.Error:  # locked for a moment, or gone: whoever waits looks by itself
            self.close()
            return False
        return bool(self._answer != answer_before)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = self._count = None


class _Listener:
    """PostgreSQL: a connection of its own that LISTENs; the payload names the subject, or nobody for "all"."""

    def __init__(self, database: Database, subject: Subject) -> None:
        self._database, self._channel, self._name = database, subject.channel, subject.name
        self._connection: Any = None
        self._next_try_s = 0.0

    def wait(self, limit_s: float) -> bool:
        until = clock.monotonic_s() + limit_s
        try:
            if self._connection is None and clock.monotonic_s() >= self._next_try_s:
                self._next_try_s = clock.monotonic_s() + _AGAIN_AFTER_S
                self._connection = self._listening()
                return True  # what happened before it listened was not heard
            if self._connection is not None:
                for told in self._connection.notifies(timeout=max(until - clock.monotonic_s(), 0)):
                    if told.payload in {"", self._name}:
                        return True
        except Exception:  # noqa: BLE001 - a server that is gone cannot tell; whoever waits looks by itself
            self.close()
        clock.pause(max(until - clock.monotonic_s(), 0))
        return False

    def _listening(self) -> Any:
        import psycopg

        url = self._database.url
        connection = psycopg.connect(
            url.set(drivername="postgresql").render_as_string(hide_password=False),
            autocommit=True,
            connect_timeout=max(self._database.settings.connect_timeout_s, 2),
            application_name="blaidctl watch",
        )
        connection.execute(f"LISTEN {self._channel}")
        return connection

    def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(Exception):
                self._connection.close()
        self._connection = None
