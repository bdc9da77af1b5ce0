"""Supervision: one process, run under a right that the database gives and takes.

While the process lives, the main thread waits for news and speaks to nobody: neither a database that hangs nor a full
pipe can keep it from ending the process. News comes from the process's keeper, from the thread that keeps contact with
the database, and from the signal handlers. No news until the lease ends is news too.

Only a heartbeat that was written renews the lease, not a read: a database that takes no heartbeat (full disk, standby,
a writer that does not let go) takes no kill either. The lease counts real time, also while the host is suspended. The
keeper holds the same lease, a grace longer: it ends the process of a supervisor that hangs.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import threading
from dataclasses import dataclass
from enum import Enum
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from blaidctl.core import clock, errors, process
from blaidctl.core.settings import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from blaidctl.core.context import Context
    from blaidctl.core.execute import Answer
    from blaidctl.core.watch import Watch

#: How often the main thread wakes for a signal, and an act that failed is tried again.
POLL_S = 0.2
#: How often the supervisor looks whether its right was taken, if nobody tells it.
LOOK_S = 0.5
#: A lease holds at least so many heartbeats, whatever BLAIDCTL_HEARTBEAT_S says: one lost beat ends nothing.
BEATS_A_LEASE = 3
#: How much longer than the supervisor its keeper waits, beside the grace: it is the second to act, never the first.
KEEPER_SLACK_S = 2
#: What a terminal, a person or the init system sends to end a program.
STOP_SIGNALS = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT),
    # These would end the supervisor all the same if it had no handler, and leave the process without one.
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGXCPU),
)
#: How long a report or heartbeat that is under way when the process ends is waited for, before the end is reported.
LEAVE_WITHIN_S = 2.0
MARK_VARIABLE = f"{PREFIX}RUN_MARK"
_DATABASE_URL = f"{PREFIX}DATABASE_URL"

T = TypeVar("T")


class News(Enum):
    """Why a supervisor stops waiting."""

    OVER = "the process has ended"
    TAKEN = "the right to run was taken away"
    ORDERED = "the supervisor was told to stop"
    LEASE_LOST = "no heartbeat could be written for the length of the lease"
    DEADLINE = "the deadline has come"


NewsQueue = SimpleQueue[News]


class Right(Protocol):
    """The right to run one process, and what is said to the database about it. Each may raise RightTaken."""

    #: When the right was given (clock.lease_s): the first lease counts from here.
    granted_s: float

    def report(self, group: process.Group) -> None:
        """Say once that the process is there."""

    def beat(self) -> None:
        """Write a heartbeat."""

    def look(self) -> None:
        """See whether the right still stands."""


class RightTaken(Exception):
    """The database says that the right to run is gone."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How a process is supervised. Durations in seconds; `deadline_s` is a monotonic time."""

    heartbeat_s: float
    lease_s: float
    grace_s: float
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a process ended: why, whether it is proven gone, and what kept heartbeats from being written."""

    news: News
    gone: bool
    pid: int
    returncode: int | None
    exit_status: str
    trouble: str


class StopOrders:
    """What signals say to this program: to stop, or nothing yet. An order stays one."""

    def __init__(self) -> None:
        """Begin without."""
        self._given = False
        #: How many there were: whoever waits may be told again.
        self.count = 0
        self._news: NewsQueue = SimpleQueue()

    def given(self) -> bool:
        """Say whether there was an order to stop."""
        return self._given

    def tell(self) -> None:
        """Order to stop. A signal handler may call it, whatever was interrupted: so may a SimpleQueue be put to."""
        self._given = True
        self.count += 1
        self._news.put(News.ORDERED)

    def new_queue(self) -> NewsQueue:
        """Return where news of one process goes, and orders meanwhile: late news of an earlier process is not in it."""
        news: NewsQueue = SimpleQueue()
        self._news = news
        if self._given:
            news.put(News.ORDERED)
        return news


@contextlib.contextmanager
def stop_orders() -> Iterator[StopOrders]:
    """Turn the signals that mean "stop" into orders, as long as the block runs."""
    orders = StopOrders()
    handlers: dict[signal.Signals, Any] = dict.fromkeys(STOP_SIGNALS, lambda *_: orders.tell())
    # Ctrl-Z would put the supervisor to sleep and leave its process running, out of reach of a kill.
    handlers[signal.SIGTSTP] = lambda *_: None
    before = {number: signal.getsignal(number) for number in handlers}
    try:
        for number, handler in handlers.items():
            if before[number] is not signal.SIG_IGN:  # ignored on purpose: nohup, or `&` in a script
                signal.signal(number, handler)
        yield orders
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# ---- asking a database that may hang ---------------------------------------------------------------------------------


def patience_s(ctx: Context) -> float:
    """Return how long one act may take on a database that works."""
    return ctx.settings.connect_timeout_s + ctx.settings.kill_lock_timeout_s


def within(limit_s: float, act: Callable[[], T], *, cut: Callable[[], bool] = lambda: False) -> T:
    """Do something with the database, but do not wait for it for ever; DatabaseDown when the time is up, or cut short.

    A server that is stopped or cut off in the middle of an answer is waited for without a limit by its driver. On a
    thread of its own the act also leaves the main thread free for signals: none is held back or lost at a COMMIT.
    """
    done: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()

    def work() -> None:
        try:
            done.put((act(), None))
        except BaseException as error:  # noqa: BLE001 - carried over to the caller's thread
            done.put((None, error))

    threading.Thread(target=work, name="act", daemon=True).start()
    answer, error = _first_of(done, limit_s, cut)
    if error is not None:
        raise error
    return answer  # type: ignore[return-value]  # None only beside an error


def _first_of(done: SimpleQueue[T], limit_s: float, cut: Callable[[], bool]) -> T:
    """Return what comes; DatabaseDown when nothing does within the limit, or the wait is cut short."""
    until = clock.monotonic_s() + limit_s
    while True:
        with contextlib.suppress(Empty):
            return done.get(timeout=max(min(until - clock.monotonic_s(), POLL_S), 0))
        if cut():
            raise errors.DatabaseDown("told to stop while the database gave no answer")
        if clock.monotonic_s() >= until:
            raise errors.DatabaseDown(f"the database gave no answer within {limit_s:.0f} s")


def insist(ctx: Context, limit_s: float, act: Callable[[str], Answer], orders: StopOrders | None = None) -> Answer:
    """Do an act, under one request id, again and again until the database takes it or the limit is over.

    Whoever orders to stop (once more, if that is why it ended) does not want to wait for that.
    """
    request_id, deadline = secrets.token_hex(16), clock.monotonic_s() + limit_s
    heard = orders.count if orders else 0

    def insisting() -> Answer:
        while True:
            try:
                return act(request_id)
            except (errors.Unavailable, errors.Unsettled):
                if clock.monotonic_s() >= deadline:
                    raise
            clock.pause(POLL_S)

    return within(limit_s + patience_s(ctx), insisting, cut=lambda: orders is not None and orders.count > heard)


# ---- while the process lives -----------------------------------------------------------------------------------------


def new_mark() -> str:
    """Return what a process and all that it starts will be known by: 32 hex digits in its environment."""
    return secrets.token_hex(16)


def environment(ctx: Context, mark: str, more: Mapping[str, str]) -> dict[str, str]:
    """Return what the process inherits: everything, who it is, its mark, and the trace that it belongs to.

    It gets the database's address, because it must be able to ask `blaidctl guard`, but never the password in it: a
    bot, and whatever dumps its environment, has no business writing to the tables that may stop it. The guard finds
    the password where any client of PostgreSQL does: in a password file, or in the settings file if the whole
    address stands there.
    """
    inherited = dict(os.environ)
    if _DATABASE_URL in inherited:
        address = ctx.database.url._replace(password=None).difference_update_query(["password", "sslpassword"])
        inherited[_DATABASE_URL] = address.render_as_string(hide_password=False)
    trace = f"00-{ctx.trace_id}-{secrets.token_hex(8)}-01"
    return inherited | {"TRACEPARENT": trace, MARK_VARIABLE: mark, **more}


def supervise(group: process.Group, right: Right, terms: Terms, orders: StopOrders, watch: Watch) -> Outcome:
    """Keep the process under its right until it ends or must end; end it, and prove that it is gone."""
    news = orders.new_queue()
    with group:
        group.tell_when_over(lambda: news.put(News.OVER))
        contact = _Contact(right, group, terms, news, watch)
        contact.start()
        first = _first_news(news, contact, terms)
        trouble = contact.trouble_text()
        gone = group.end(terms.grace_s)
    contact.leave()
    return Outcome(
        first, gone, group.pid, group.returncode if gone else None, group.exit_status if gone else "unknown", trouble
    )


def _first_news(news: NewsQueue, contact: _Contact, terms: Terms) -> News:
    """Wait until the process has ended or must end; return why."""
    while (left_s := contact.lease_ends_s - clock.lease_s()) > 0:
        if terms.deadline_s is not None:
            left_s = min(left_s, terms.deadline_s - clock.monotonic_s())
            if left_s <= 0:
                return News.DEADLINE
        # In short steps: the kernel may hand a signal to another thread, but Python's handler runs when this one wakes.
        with contextlib.suppress(Empty):
            first = news.get(timeout=min(left_s, POLL_S))
            # After a long sleep the lease counts, not who was the first to wake up: the keeper may have acted on it.
            return first if contact.lease_ends_s > clock.lease_s() else News.LEASE_LOST
    return News.LEASE_LOST


class _Contact(threading.Thread):
    """Keeps contact with the database: reports the process, beats, and looks for the end of the right to run."""

    def __init__(self, right: Right, group: process.Group, terms: Terms, news: NewsQueue, watch: Watch) -> None:
        super().__init__(name="contact", daemon=True)  # a connection that hangs does not keep the program
        self._right, self._group, self._terms, self._news, self._watch = right, group, terms, news, watch
        self._beat_every_s = min(terms.heartbeat_s, terms.lease_s / BEATS_A_LEASE)
        self._renewed_s = right.granted_s
        self._reported = False
        self._leaving, self._speaking = threading.Event(), threading.Lock()
        self._trouble: Exception | None = None

    @property
    def lease_ends_s(self) -> float:
        """When the lease ends (clock.lease_s), unless a heartbeat renews it."""
        return self._renewed_s + self._terms.lease_s

    def trouble_text(self) -> str:
        """Say what keeps the heartbeat from being written."""
        if isinstance(self._trouble, errors.BlaidError):
            return f"{self._trouble.error_code}: {self._trouble.message}"
        return type(self._trouble).__name__ if self._trouble else "the database gave no answer"

    def run(self) -> None:
        """Stay in contact until the right to run is gone or nobody needs it any more."""
        self._hold_keeper(self._renewed_s)
        while self._speak():
            self._watch.wait(LOOK_S)
        self._watch.close()

    def leave(self) -> None:
        """End contact: what is being said is said to its end, if that comes soon; nothing is said after it."""
        self._leaving.set()
        if self._speaking.acquire(timeout=LEAVE_WITHIN_S):
            self._speaking.release()

    def _speak(self) -> bool:
        """Say what is due; False when nobody listens any more, or the right to run is gone."""
        with self._speaking:
            if self._leaving.is_set():
                return False
            if clock.lease_s() >= self.lease_ends_s:  # the host slept, or the clock jumped: what is lost stays lost
                self._news.put(News.LEASE_LOST)
                return False
            try:
                self._touch()
            except RightTaken:
                self._news.put(News.TAKEN)
                return False
            except Exception as trouble:  # noqa: BLE001 - whatever it is, without heartbeats the lease ends
                self._trouble = trouble
            return True

    def _touch(self) -> None:
        now_s = clock.lease_s()  # before the database is asked: the lease may be shorter, never longer
        if not self._reported:
            self._right.report(self._group)
            self._reported = True
        elif now_s < self._renewed_s + self._beat_every_s:
            self._right.look()
            return
        else:
            self._right.beat()
        self._renewed_s, self._trouble = now_s, None
        self._hold_keeper(now_s)

    def _hold_keeper(self, since_s: float) -> None:
        terms = self._terms
        self._group.renew(since_s - clock.lease_s() + terms.lease_s + terms.grace_s + KEEPER_SLACK_S)
