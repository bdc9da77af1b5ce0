"""Supervision without a database: what ends a process, and what does not."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
import types
from typing import TYPE_CHECKING, Any

import pytest

from blaidctl.core import clock, errors, keeper, process, supervise
from blaidctl.core.supervise import News
from blaidctl.core.watch import Silence
from tests.support.processes import LIMIT_S, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CALM = supervise.Terms(heartbeat_s=1, lease_s=600, grace_s=1)


class Held:
    """A right that is held until a test says otherwise."""

    def __init__(self) -> None:
        self.granted_s = clock.lease_s()
        self.pid, self.reports, self.beats, self.looks = 0, 0, 0, 0
        self.trouble: Exception | None = None

    def report(self, group: process.Group) -> None:
        self.pid = group.pid
        self._say()
        self.reports += 1

    def beat(self) -> None:
        self._say()
        self.beats += 1

    def look(self) -> None:
        self._say()
        self.looks += 1

    def _say(self) -> None:
        if self.trouble:
            raise self.trouble


@pytest.fixture
def supervised() -> Iterator[Callable[..., Any]]:
    """`supervised(right, terms, orders)`: supervise a process that sleeps, on a thread; returns what joins it."""
    words = ["sleep", "300"]

    def start(right: Held, terms: supervise.Terms = CALM, orders: supervise.StopOrders | None = None) -> Any:
        group = process.Group(process.program_of(words), words, os.environ)
        ended: list[supervise.Outcome] = []
        told = orders or supervise.StopOrders()
        run = threading.Thread(
            target=lambda: ended.append(supervise.supervise(group, right, terms, told, Silence())), daemon=True
        )
        run.start()

        def join() -> supervise.Outcome:
            run.join(LIMIT_S)
            (outcome,) = ended
            assert outcome.gone
            assert outcome.exit_status in {"signal 15 SIGTERM", "signal 9 SIGKILL"}
            return outcome

        return join

    yield start
    keeper.adopt_orphans(wanted=False)


def test_a_right_that_is_taken_ends_the_process(supervised: Callable[..., Any]):
    right = Held()
    join = supervised(right)
    wait_for(lambda: right.reports == 1 and right.looks)
    right.trouble = supervise.RightTaken("gone")
    assert join().news is News.TAKEN


def test_a_deadline_ends_the_process(supervised: Callable[..., Any]):
    right = Held()
    terms = supervise.Terms(heartbeat_s=1, lease_s=600, grace_s=1, deadline_s=clock.monotonic_s() + 1)
    assert supervised(right, terms)().news is News.DEADLINE
    assert clock.monotonic_s() >= terms.deadline_s  # type: ignore[operator]


@pytest.mark.parametrize(
    ("trouble", "text"),
    [
        (errors.DatabaseDown("no server"), "DATABASE_DOWN: no server"),
        (RuntimeError("with a secret"), "RuntimeError"),
    ],
)
def test_without_heartbeats_the_lease_ends_the_process(supervised: Callable[..., Any], trouble: Exception, text: str):
    right = Held()
    join = supervised(right, supervise.Terms(heartbeat_s=60, lease_s=3, grace_s=1))
    wait_for(lambda: right.beats == 2)  # a lease holds three beats, whatever the terms say
    right.trouble = trouble
    outcome = join()
    assert (outcome.news, outcome.trouble) == (News.LEASE_LOST, text)


def test_a_host_that_slept_longer_than_the_lease_has_lost_it(
    supervised: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
):
    """Nothing is renewed after the end, however well the database takes it by then."""
    right, slept = Held(), 0.0
    awake = clock.lease_s
    monkeypatch.setattr(clock, "lease_s", lambda: awake() + slept)
    monkeypatch.setattr(supervise, "POLL_S", 60)  # the thread that keeps contact is the first to wake up
    join = supervised(right)
    wait_for(lambda: right.beats)
    slept = 1000.0
    assert join().news is News.LEASE_LOST


def test_a_process_that_ended_while_its_supervisor_slept_too_long_had_lost_its_lease(
    supervised: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
):
    """Its keeper ended it for that; which news of it comes first is a matter of chance."""
    right, slept = Held(), 0.0
    awake = clock.lease_s
    monkeypatch.setattr(clock, "lease_s", lambda: awake() + slept)
    monkeypatch.setattr(supervise, "POLL_S", 60)
    monkeypatch.setattr(supervise, "LOOK_S", 60)
    join = supervised(right)
    wait_for(lambda: right.reports)
    slept = 1000.0
    os.kill(right.pid, signal.SIGKILL)
    outcome = join()
    assert (outcome.news, outcome.exit_status) == (News.LEASE_LOST, "signal 9 SIGKILL")


def test_a_lease_counts_the_host_s_sleep(monkeypatch: pytest.MonkeyPatch):
    """CLOCK_BOOTTIME, here and in the keeper: the other clocks stand still meanwhile, or are set by hand."""
    now = {time.CLOCK_BOOTTIME: 1000.0}
    monkeypatch.setattr(time, "clock_gettime", lambda which: now[which])
    assert clock.lease_s() == 1000.0
    ours, theirs = socket.socketpair()
    with ours, theirs:
        kept = keeper._Keeper(theirs.fileno())  # noqa: SLF001 - a host cannot be put to sleep for a test
        assert not kept._is_over()  # noqa: SLF001
        ours.send(b"L 10\nL 2")
        assert kept._hear()  # noqa: SLF001
        now[time.CLOCK_BOOTTIME] += 9
        assert not kept._is_over()  # noqa: SLF001
        now[time.CLOCK_BOOTTIME] += 1
        assert kept._is_over()  # noqa: SLF001
        ours.send(b"0\n")
        assert kept._hear()  # noqa: SLF001
        assert not kept._is_over()  # noqa: SLF001
        ours.shutdown(socket.SHUT_WR)
        assert not kept._hear()  # noqa: SLF001


def test_an_order_to_stop_stays_one_and_late_news_of_a_process_is_not_news_of_the_next(
    supervised: Callable[..., Any],
):
    orders = supervise.StopOrders()
    first = orders.new_queue()
    first.put(News.OVER)
    assert orders.new_queue().empty()
    orders.tell()
    assert orders.given()
    assert orders.new_queue().get_nowait() is News.ORDERED
    assert first.get_nowait() is News.OVER
    assert supervised(Held(), orders=orders)().news is News.ORDERED


@pytest.mark.parametrize("number", supervise.STOP_SIGNALS)
def test_signals_that_mean_stop_are_orders_and_are_handled_as_before_afterwards(number: signal.Signals):
    before = signal.getsignal(number)
    with supervise.stop_orders() as orders:
        os.kill(os.getpid(), signal.SIGTSTP)
        assert not orders.given()
        os.kill(os.getpid(), number)
        wait_for(orders.given)
    assert signal.getsignal(number) == before


def test_an_order_ends_the_insisting_on_a_record():
    """A database that is away for hours does not hold a supervisor that somebody wants to end."""
    orders = supervise.StopOrders()
    orders.tell()  # the order that ended the process is not one to stop insisting
    limits = types.SimpleNamespace(connect_timeout_s=5, kill_lock_timeout_s=10)
    ctx: Any = types.SimpleNamespace(settings=limits)
    asked: list[str] = []

    def away(request_id: str) -> Any:
        asked.append(request_id)
        if len(asked) == 3:
            orders.tell()
        raise errors.DatabaseDown

    with pytest.raises(errors.DatabaseDown, match="told to stop"):
        supervise.insist(ctx, 600, away, orders)
    assert len(asked) >= 3
    assert len(set(asked)) == 1, "one request id: it is done once, whenever it is"
