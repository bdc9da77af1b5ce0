"""`bot run`: one real process of one bot, from the right to run it to the proof that it is gone.

While the process lives, the main thread waits for news and speaks to nobody: neither a database that hangs nor a full
pipe can keep it from stopping the process. News comes from the thread that waits for the process to end, from the
thread that keeps contact with the database, and from the signal handlers. No news until the lease ends is news too.

Only a heartbeat that was written renews the lease, not a read: a database that takes no heartbeat (full disk, standby,
a writer that does not let go) takes no kill either.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import threading
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from blaidctl.core import clock, errors, process
from blaidctl.core.command import talk
from blaidctl.core.execute import execute, not_built
from blaidctl.core.operation import the_map
from blaidctl.core.settings import PREFIX
from blaidctl.fleet import queries, rules
from blaidctl.fleet.vocabulary import StopReason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from blaidctl.core.context import Context
    from blaidctl.core.execute import Answer

#: How often the supervisor looks whether its instance was stopped.
POLL_S = 0.2
#: A lease holds at least so many heartbeats, whatever BLAIDCTL_HEARTBEAT_S says: one lost beat ends nothing.
BEATS_A_LEASE = 3
#: What a terminal, a person or the init system sends to end a program.
STOP_SIGNALS = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT),
    # These would end the supervisor all the same if it had no handler, and leave the process without one.
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGXCPU),
)

_DATABASE_URL = f"{PREFIX}DATABASE_URL"
#: Ends that are as wanted; every other one is an error of its own.
_WANTED = frozenset({StopReason.EXITED, StopReason.SUPERVISOR_STOPPED})

News = SimpleQueue[StopReason]
T = TypeVar("T")


def run_bot(ctx: Context, bot: str, account: str | None, command: Sequence[str], *, standby: bool = False) -> int:
    """Run a bot's command under supervision until it ends or must end.

    Returns 0 when the command ended with 0, and when the supervisor was told to stop: the order was carried out and
    recorded, which is what the init system that gave it waits for. Raises CommandNotStartable and BotKilled before
    anything ran; ProcessFailed, BotKilled, DatabaseDown (the lease is lost) after the process is gone; StopUnconfirmed
    when it cannot be proven gone.
    """
    if standby:
        raise not_built(the_map()["bot run --standby"])
    program = process.program_of(command)
    with _stop_orders() as news:
        instance = _start(ctx, bot, account)
        if not news.empty():
            return _settle(instance, news.get(), "not started", f"{instance}: nothing was started")
        return _supervise(instance, program, command, news)


@contextlib.contextmanager
def _stop_orders() -> Iterator[News]:
    """Turn the signals that mean "stop" into news, as long as the block runs."""
    news: News = SimpleQueue()  # its put() may be called from a signal handler, whatever was interrupted
    handlers: dict[signal.Signals, Any] = dict.fromkeys(
        STOP_SIGNALS, lambda *_: news.put(StopReason.SUPERVISOR_STOPPED)
    )
    # Ctrl-Z would put the supervisor to sleep and leave its process running, out of reach of a kill.
    handlers[signal.SIGTSTP] = lambda *_: None
    before = {number: signal.getsignal(number) for number in handlers}
    try:
        for number, handler in handlers.items():
            if before[number] is not signal.SIG_IGN:  # ignored on purpose: nohup, or `&` in a script
                signal.signal(number, handler)
        yield news
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# ---- what is said to the database ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Instance:
    """The right to run one process of a bot, and what is reported about it."""

    ctx: Context
    bot: str
    id: int
    attempt: int
    #: The monotonic time at which the right was given: the first lease counts from here.
    granted_s: float

    def __str__(self) -> str:
        """Name it in a sentence."""
        return f"instance {self.id} of bot {self.bot}"

    def act(self, name: str, report: dict[str, Any], request_id: str) -> Answer:
        """Make one audited report."""
        key = {"instance": self.id, "attempt": self.attempt}
        return execute(self.ctx, the_map()[name], key | report, request_id=request_id)

    def beat(self) -> None:
        """Write a heartbeat. Raises InstanceOver when the right to run is gone."""
        with self.ctx.database.writing() as connection:
            beat = queries.BEAT.on(connection, id=self.id, attempt=self.attempt, now=self.ctx.now())
            if beat.rowcount == 0:
                raise errors.InstanceOver(f"{self} has ended")

    def look(self) -> None:
        """Read the status. Raises InstanceOver when the right to run is gone."""
        with self.ctx.database.reading() as connection:
            status = queries.WATCH.on(connection, id=self.id, attempt=self.attempt).scalar()
        if status not in rules.ACTIVE:
            raise errors.InstanceOver(f"{self} is {status}")

    def finish(self, reason: StopReason, exit_status: str) -> Answer:
        """Report that the process is gone; insist for the length of a lease, under one request id."""
        settings = self.ctx.settings
        report, request_id = {"stop_reason": reason, "exit_status": exit_status}, secrets.token_hex(16)
        deadline = clock.monotonic_s() + settings.lease_s

        def insist() -> Answer:
            while True:
                try:
                    return self.act("instance finish", report, request_id)
                except (errors.Unavailable, errors.Unsettled):
                    if clock.monotonic_s() >= deadline:
                        raise
                clock.pause(POLL_S)

        return _within(settings.lease_s + _patience_s(self.ctx), insist)


def _start(ctx: Context, bot: str, account: str | None) -> _Instance:
    """Ask for the right to run a process of a bot."""
    asked = {"bot": bot, "account": account, "host": ctx.machine.host, "boot_id": process.boot_id()}
    try:
        answer = _within(_patience_s(ctx), lambda: execute(ctx, the_map()["instance start"], asked))
    except errors.Unsettled as error:
        raise type(error)(
            f"{error.message}; no process was started",
            next_steps=[f"Run it again. `blaidctl bot show {bot}` may show an instance as STARTING that never ran."],
        ) from error
    instance = _Instance(ctx, bot, answer.result["instance_id"], answer.result["attempt"], clock.monotonic_s())
    # Said before there is a process: from then on nothing may block, and a pipe can.
    talk(f"{instance} may run ({_receipt(answer)})")
    return instance


def _receipt(answer: Answer) -> str:
    receipt = answer.receipt
    return f"audit seq {receipt.seq}, entry hash {receipt.entry_hash}" if receipt else "no receipt"


def _patience_s(ctx: Context) -> float:
    """Return how long one act may take on a database that works."""
    return ctx.settings.connect_timeout_s + ctx.settings.kill_lock_timeout_s


def _within(limit_s: float, act: Callable[[], T]) -> T:
    """Do something with the database, but do not wait for it for ever; DatabaseDown when the time is up.

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
    try:
        answer, error = done.get(timeout=limit_s)
    except Empty:
        raise errors.DatabaseDown(f"the database gave no answer within {limit_s:.0f} s") from None
    if error is not None:
        raise error
    return answer  # type: ignore[return-value]  # None only beside an error


# ---- while the process lives -----------------------------------------------------------------------------------------


def _supervise(instance: _Instance, program: str, command: Sequence[str], news: News) -> int:
    """Run the process to its end, prove that it is gone, record that."""
    settings = instance.ctx.settings
    try:
        group = process.Group(program, command, _environment(instance))
    except OSError as error:  # the kernel's last word: no such interpreter, not a program, too many processes
        what = f"not started: {error.strerror}"
        return _settle(instance, StopReason.NOT_STARTABLE, what, f"{instance}: {program} was {what}")
    with group:
        group.tell_when_over(lambda: news.put(StopReason.EXITED))
        contact = _Contact(instance, group, news)
        contact.start()
        reason = _first_news(news, contact)
        trouble = contact.trouble_text()
        gone = group.end(settings.grace_s)
    contact.leave()
    if not gone:
        raise errors.StopUnconfirmed(
            f"process {group.pid} ({instance}) on {instance.ctx.machine.host} is not proven gone: it, or what it"
            f" started, still stands {process.GONE_WITHIN_S:.0f} s after SIGKILL ({reason})",
            missing=[f"{instance} on {instance.ctx.machine.host} (pid {group.pid})"],
        )
    if reason is StopReason.EXITED and group.returncode:
        reason = StopReason.SIGNALLED if group.returncode < 0 else StopReason.EXIT_NONZERO
    sentence = f"process {group.pid} ({instance}) is gone ({group.exit_status})"
    if reason is StopReason.LEASE_LOST:
        sentence += f": no heartbeat could be written for {settings.lease_s} s ({trouble})"
    return _settle(instance, reason, group.exit_status, sentence)


def _environment(instance: _Instance) -> dict[str, str]:
    """Return what the process inherits: everything, who it is, and the trace that it belongs to.

    It gets the database's address, because it must be able to ask `blaidctl guard`, but never the password in it: a
    bot, and whatever dumps its environment, has no business writing to the tables that may stop it. The guard finds
    the password where any client of PostgreSQL does: in a password file, or in the settings file if the whole
    address stands there.
    """
    ctx, environment = instance.ctx, dict(os.environ)
    if _DATABASE_URL in environment:
        address = ctx.database.url._replace(password=None).difference_update_query(["password", "sslpassword"])
        environment[_DATABASE_URL] = address.render_as_string(hide_password=False)
    return environment | {
        "TRACEPARENT": f"00-{ctx.trace_id}-{secrets.token_hex(8)}-01",
        f"{PREFIX}BOT_ID": instance.bot,
        f"{PREFIX}INSTANCE_ID": str(instance.id),
    }


def _first_news(news: News, contact: _Contact) -> StopReason:
    """Wait until the process has ended or must end; return why."""
    while (left_s := contact.lease_ends_s - clock.monotonic_s()) > 0:
        # In short steps: the kernel may hand a signal to another thread, but Python's handler runs when this one wakes.
        with contextlib.suppress(Empty):
            return news.get(timeout=min(left_s, POLL_S))
    return StopReason.LEASE_LOST


class _Contact(threading.Thread):
    """Keeps contact with the database: reports the process, beats, and looks for the end of the right to run."""

    def __init__(self, instance: _Instance, group: process.Group, news: News) -> None:
        super().__init__(name="contact", daemon=True)  # a connection that hangs does not keep the program
        settings = instance.ctx.settings
        self._instance, self._group, self._news = instance, group, news
        self._beat_every_s = min(settings.heartbeat_s, settings.lease_s / BEATS_A_LEASE)
        self._renewed_s = instance.granted_s
        self._request_id = secrets.token_hex(16)
        self._reported = False
        self._leaving = threading.Event()
        self._trouble: Exception | None = None

    @property
    def lease_ends_s(self) -> float:
        """When the lease ends, in monotonic time, unless a heartbeat renews it."""
        return self._renewed_s + self._instance.ctx.settings.lease_s

    def trouble_text(self) -> str:
        """Say what keeps the heartbeat from being written."""
        if isinstance(self._trouble, errors.BlaidError):
            return f"{self._trouble.error_code}: {self._trouble.message}"
        return type(self._trouble).__name__ if self._trouble else "the database gave no answer"

    def run(self) -> None:
        """Stay in contact until the right to run is gone or nobody needs it any more."""
        while not self._leaving.is_set():
            try:
                self._touch()
            except errors.InstanceOver:
                self._news.put(StopReason.KILLED)
                return
            except Exception as trouble:  # noqa: BLE001 - whatever it is, without heartbeats the lease ends
                self._trouble = trouble
            self._leaving.wait(POLL_S)

    def leave(self) -> None:
        """End contact. The wait lets a report of the process come before that of its end, if it can."""
        self._leaving.set()
        self.join(self._instance.ctx.settings.lock_timeout_s)

    def _touch(self) -> None:
        now_s = clock.monotonic_s()  # before the database is asked: the lease may be shorter, never longer
        if not self._reported:
            report = {"pid": self._group.pid, "pid_started": self._group.started}
            self._instance.act("instance run", report, self._request_id)
            self._reported = True
        elif now_s < self._renewed_s + self._beat_every_s:
            self._instance.look()
            return
        else:
            self._instance.beat()
        self._renewed_s, self._trouble = now_s, None


# ---- after the process is gone ---------------------------------------------------------------------------------------


def _settle(instance: _Instance, reason: StopReason, exit_status: str, sentence: str) -> int:
    """Record the end and answer for it. The row's own reason counts: a kill may have come first."""
    try:
        answer = instance.finish(reason, exit_status)
    except errors.BlaidError as error:
        _not_recorded(error, reason, sentence)
    recorded = StopReason(answer.result["stop_reason"])
    sentence += f"; recorded as {recorded} ({_receipt(answer)})"
    if recorded in _WANTED:
        talk(sentence)
        return 0
    if recorded is StopReason.KILLED:
        raise errors.BotKilled(f"bot {instance.bot} was killed: {sentence}")
    raise (errors.DatabaseDown if recorded is StopReason.LEASE_LOST else errors.ProcessFailed)(sentence)


def _not_recorded(error: errors.BlaidError, reason: StopReason, sentence: str) -> NoReturn:
    """Say loudly that the database does not know the end: the row still shows a process that is gone."""
    talk(f"NOT RECORDED: {sentence}")
    known = isinstance(error, errors.Unavailable) or reason is not StopReason.LEASE_LOST
    raise (type(error) if known else errors.DatabaseDown)(
        f"{sentence}; this could NOT BE RECORDED ({error.error_code}: {error.message})",
        next_steps=[
            "Until it is recorded, `blaidctl status` counts the process as running or its stop as unconfirmed."
        ],
    ) from error
