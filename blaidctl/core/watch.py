"""Hearing of a change: PostgreSQL tells its listeners (NOTIFY), SQLite counts changes of its file (data_version).

What is heard is only a reason to look, never the answer; and whoever waits also looks without a reason now and then: a
notification can be lost (a pooler, a server that restarts), and a database file can be replaced.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any, Protocol

from blaidctl.core import clock

if TYPE_CHECKING:
    from blaidctl.core.db import Database

#: How often SQLite's counter is read: a few microseconds each.
_COUNT_EVERY_S = 0.025
#: Connecting again to a server that is gone is tried this often at the most.
_AGAIN_AFTER_S = 1.0


class Watch(Protocol):
    """Something that may hear of a change."""

    def wait(self, limit_s: float) -> bool:
        """Return True as soon as something may have changed, or False after the limit."""

    def close(self) -> None:
        """Give the connection back."""


def open_watch(database: Database, channel: str, subject: str) -> Watch:
    """Return what hears of changes to one subject (a bot's id, say) that are told on a channel."""
    return _Counter(database) if database.kind == "sqlite" else _Listener(database, channel, subject)


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

    def __init__(self, database: Database) -> None:
        self._path = database.path
        self._connection: sqlite3.Connection | None = None
        self._seen: int | None = None

    def wait(self, limit_s: float) -> bool:
        until = clock.monotonic_s() + limit_s
        while clock.monotonic_s() < until:
            clock.pause(_COUNT_EVERY_S)
            if self._moved():
                return True
        return False

    def _moved(self) -> bool:
        before = self._seen
        try:
            if self._connection is None:
                self._connection = sqlite3.connect(
                    f"{self._path.as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False, timeout=0
                )
            (self._seen,) = self._connection.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error:  # locked for a moment, or gone: whoever waits looks by itself
            self.close()
            return False
        return self._seen != before  # also when it is read for the first time: what was before that was not counted

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = self._seen = None


class _Listener:
    """PostgreSQL: a connection of its own that LISTENs; the payload names the subject, or nobody for "all"."""

    def __init__(self, database: Database, channel: str, subject: str) -> None:
        self._database, self._channel, self._subject = database, channel, subject
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
                    if told.payload in {"", self._subject}:
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
