"""`bot run`: the processes of one bot, from the right to run one to the proof that it is gone.

With `--standby` a kill ends the process but not the supervisor: it waits for `resurrect --restart` and starts the
process again, under a new instance.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from blaidctl.core import clock, errors, process, supervise
from blaidctl.core.command import talk
from blaidctl.core.execute import execute
from blaidctl.core.operation import the_map
from blaidctl.core.settings import PREFIX
from blaidctl.core.sql import database_time
from blaidctl.core.supervise import News
from blaidctl.core.watch import Subject, open_watch
from blaidctl.fleet import queries, rules
from blaidctl.fleet.vocabulary import StopReason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blaidctl.core.context import Context
    from blaidctl.core.execute import Answer
    from blaidctl.core.watch import Watch

#: PostgreSQL tells here which bots were killed or resurrected (migration 0005).
CHANNEL = "blaidctl_bots"
#: How often a supervisor that stands by looks for the order to start again, if nobody tells it.
STANDBY_LOOK_S = 1.0
#: Ends that are as wanted; every other one is an error of its own.
_WANTED = frozenset({StopReason.EXITED, StopReason.SUPERVISOR_STOPPED})
_REASONS = {
    News.OVER: StopReason.EXITED,
    News.TAKEN: StopReason.KILLED,
    News.ORDERED: StopReason.SUPERVISOR_STOPPED,
    News.LEASE_LOST: StopReason.LEASE_LOST,
}


def run_bot(ctx: Context, bot: str, account: str | None, command: Sequence[str], *, standby: bool = False) -> int:
    """Run a bot's command under supervision until it ends or must end.

    Returns 0 when the command ended with 0, and when the supervisor was told to stop: the order was carried out and
    recorded, which is what the init system that gave it waits for. Raises CommandNotStartable and BotKilled before
    anything ran; ProcessFailed, BotKilled, LeaseLost after the process is gone; StopUnconfirmed when it cannot be
    proven gone. With `standby` BotKilled is never raised: the supervisor waits for the order to start again.
    """
    launch = _Launch(ctx, bot, account, process.program_of(command), command)
    with supervise.stop_orders() as orders:
        return _run_standing_by(launch, orders) if standby else _run(launch, _start(launch), orders)


@dataclass(frozen=True, slots=True)
class _Launch:
    """What to run, for which bot."""

    ctx: Context
    bot: str
    account: str | None
    program: str
    command: Sequence[str]


# ---- standing by -----------------------------------------------------------------------------------------------------


def _run_standing_by(launch: _Launch, orders: supervise.StopOrders) -> int:
    """Run the process until it ends by itself or the supervisor is told to stop; stand by while the bot is killed."""
    seen = _last_event(launch)
    try:
        return _run(launch, _start(launch), orders)
    except errors.BotKilled as killed:
        _say_standing_by(launch, killed)
    while begun := _stand_by(launch, seen, orders):
        seen, instance = begun
        try:
            return _run(launch, instance, orders)
        except errors.BotKilled as killed:
            _say_standing_by(launch, killed)
    talk(f"told to stop while standing by for bot {launch.bot}; nothing runs")
    return 0


def _say_standing_by(launch: _Launch, killed: errors.BotKilled) -> None:
    talk(f"{killed.message}; standing by for `blaidctl resurrect {launch.bot} --restart`")


def _last_event(launch: _Launch) -> int:
    """Return the bot's latest kill event. An order to start again comes later: this one was obeyed or is over."""

    def ask() -> int:
        with launch.ctx.database.reading() as connection:
            return int(queries.LAST_KILL_EVENT.on(connection, bot_id=launch.bot).scalar() or 0)

    return supervise.within(supervise.patience_s(launch.ctx), ask)


def _stand_by(launch: _Launch, seen: int, orders: supervise.StopOrders) -> tuple[int, _Instance] | None:
    """Wait for the order to start again, and ask for the right to; None when the supervisor was told to stop instead.

    An order that could not be obeyed, because the database went away once more, still stands.
    """
    subject = Subject(CHANNEL, launch.bot, queries.LAST_KILL_EVENT, {"bot_id": launch.bot})
    watch = open_watch(launch.ctx.database, subject)
    try:
        while not orders.given():
            if _is_ordered(launch, seen):
                try:
                    return _last_event(launch), _start(launch)
                except (errors.Unavailable, errors.Unsettled, errors.BotKilled) as refused:
                    talk(f"{refused.message}; still standing by for bot {launch.bot}")
            until = clock.monotonic_s() + STANDBY_LOOK_S
            while not (orders.given() or watch.wait(supervise.POLL_S) or clock.monotonic_s() >= until):
                pass
    finally:
        watch.close()
    return None


def _is_ordered(launch: _Launch, seen: int) -> bool:
    """Say whether the bot lives and a restart was ordered; a database that is gone has ordered nothing."""

    def ask() -> bool:
        with launch.ctx.database.reading() as connection:
            return queries.RESTART_ORDER.on(connection, bot_id=launch.bot, seen=seen).first() is not None

    try:
        return supervise.within(supervise.patience_s(launch.ctx), ask)
    except (errors.Unavailable, errors.Unsettled):
        return False


# ---- what is said to the database ------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Instance:
    """The right to run one process of a bot, and what is reported about it."""

    ctx: Context
    bot: str
    id: int
    attempt: int
    mark: str
    #: When the right was given (clock.lease_s): the first lease counts from here.
    granted_s: float
    _report_id: str = field(default_factory=lambda: secrets.token_hex(16))

    def __str__(self) -> str:
        """Name it in a sentence."""
        return f"instance {self.id} of bot {self.bot}"

    def act(self, name: str, report: dict[str, Any], request_id: str) -> Answer:
        """Make one audited report."""
        key = {"instance": self.id, "attempt": self.attempt}
        return execute(self.ctx, the_map()[name], key | report, request_id=request_id)

    def report(self, group: process.Group) -> None:
        """Say that the process is there."""
        try:
            self.act("instance run", {"pid": group.pid, "pid_started": group.started}, self._report_id)
        except errors.InstanceOver as over:
            raise supervise.RightTaken(over.message) from over

    def beat(self) -> None:
        """Write a heartbeat."""
        with self.ctx.database.writing() as connection:
            now = database_time(connection, self.ctx.now())
            beat = queries.BEAT.on(connection, id=self.id, attempt=self.attempt, now=now)
            if beat.rowcount == 0:
                raise supervise.RightTaken(f"{self} has ended")

    def look(self) -> None:
        """Read the status."""
        with self.ctx.database.reading() as connection:
            status = queries.WATCH.on(connection, id=self.id, attempt=self.attempt).scalar()
        if status not in rules.ACTIVE:
            raise supervise.RightTaken(f"{self} is {status}")

    def finish(self, reason: StopReason, exit_status: str) -> tuple[StopReason, str]:
        """Report that the process is gone; insist for the length of a lease. Return what the row says and by whom.

        The reaper may have found the process gone before: after a long sleep of this supervisor, or during the grace.
        """
        report = {"stop_reason": reason, "exit_status": exit_status}
        try:
            answer = supervise.insist(
                self.ctx, self.ctx.settings.lease_s, lambda request_id: self.act("instance finish", report, request_id)
            )
        except errors.InstanceOver:
            return StopReason(supervise.within(supervise.patience_s(self.ctx), self._stop_reason)), "by somebody else"
        return StopReason(answer.result["stop_reason"]), _receipt(answer)

    def _stop_reason(self) -> str:
        with self.ctx.database.reading() as connection:
            return str(queries.FIND_INSTANCE.on(connection, id=self.id).one().stop_reason)


def _start(launch: _Launch) -> _Instance:
    """Ask for the right to run a process of a bot."""
    ctx, settings, mark = launch.ctx, launch.ctx.settings, supervise.new_mark()
    asked = {
        "bot": launch.bot,
        "account": launch.account,
        "host": ctx.machine.host,
        "boot_id": process.boot_id(),
        "mark": mark,
        "stale_after_s": rules.stale_after_s(settings.lease_s, settings.grace_s),
    }
    try:
        answer = supervise.within(supervise.patience_s(ctx), lambda: execute(ctx, the_map()["instance start"], asked))
    except errors.Unsettled as error:
        raise type(error)(
            f"{error.message}; no process was started",
            next_steps=["Run it again. `blaidctl bot show` may show an instance that never ran: the reaper ends it."],
        ) from error
    instance = _Instance(ctx, launch.bot, answer.result["instance_id"], answer.result["attempt"], mark, clock.lease_s())
    # Said before there is a process: from then on nothing may block, and a pipe can.
    talk(f"{instance} may run ({_receipt(answer)})")
    return instance


def _receipt(answer: Answer) -> str:
    receipt = answer.receipt
    return f"audit seq {receipt.seq}, entry hash {receipt.entry_hash}" if receipt else "no receipt"


# ---- one life of one process -----------------------------------------------------------------------------------------


def _run(launch: _Launch, instance: _Instance, orders: supervise.StopOrders) -> int:
    """Run the process to its end, prove that it is gone, record that."""
    if orders.given():
        return _settle(instance, StopReason.SUPERVISOR_STOPPED, "not started", f"{instance}: nothing was started")
    told = {f"{PREFIX}BOT_ID": instance.bot, f"{PREFIX}INSTANCE_ID": str(instance.id)}
    try:
        group = process.Group(launch.program, launch.command, supervise.environment(launch.ctx, instance.mark, told))
    except OSError as error:  # the kernel's last word: no such interpreter, not a program, too many processes
        what = f"not started: {error.strerror}"
        return _settle(instance, StopReason.NOT_STARTABLE, what, f"{instance}: {launch.program} was {what}")
    return _conclude(instance, supervise.supervise(group, instance, _terms(launch.ctx), orders, _watch(instance)))


def _terms(ctx: Context) -> supervise.Terms:
    return supervise.Terms(ctx.settings.heartbeat_s, ctx.settings.lease_s, ctx.settings.grace_s)


def _watch(instance: _Instance) -> Watch:
    fence = {"id": instance.id, "attempt": instance.attempt}
    return open_watch(instance.ctx.database, Subject(CHANNEL, instance.bot, queries.WATCH, fence))


def _conclude(instance: _Instance, outcome: supervise.Outcome) -> int:
    """Record how the process ended, if it is proven gone."""
    if not outcome.gone:
        raise errors.StopUnconfirmed(
            f"process {outcome.pid} ({instance}) on {instance.ctx.machine.host} is not proven gone: it, or what it"
            f" started, still stands {process.GONE_WITHIN_S:.0f} s after SIGKILL ({_REASONS[outcome.news]})",
            missing=[f"{instance} on {instance.ctx.machine.host} (pid {outcome.pid})"],
        )
    reason = _REASONS[outcome.news]
    if reason is StopReason.EXITED and outcome.returncode:
        reason = StopReason.SIGNALLED if outcome.returncode < 0 else StopReason.EXIT_NONZERO
    sentence = f"process {outcome.pid} ({instance}) is gone ({outcome.exit_status})"
    if reason is StopReason.LEASE_LOST:
        sentence += f": no heartbeat could be written for {instance.ctx.settings.lease_s} s ({outcome.trouble})"
    return _settle(instance, reason, outcome.exit_status, sentence)


# ---- after the process is gone ---------------------------------------------------------------------------------------


def _settle(instance: _Instance, reason: StopReason, exit_status: str, sentence: str) -> int:
    """Record the end and answer for it. The row's own reason counts: a kill may have come first."""
    try:
        recorded, by = instance.finish(reason, exit_status)
    except errors.BlaidError as error:
        _not_recorded(error, reason, sentence)
    sentence += f"; recorded as {recorded} ({by})"
    if recorded in _WANTED:
        talk(sentence)
        return 0
    if recorded is StopReason.KILLED:
        raise errors.BotKilled(f"bot {instance.bot} was killed: {sentence}")
    lost = StopReason.LEASE_LOST in {reason, recorded}
    raise (errors.LeaseLost if lost else errors.ProcessFailed)(sentence)


def _not_recorded(error: errors.BlaidError, reason: StopReason, sentence: str) -> NoReturn:
    """Say loudly that the database does not know the end: the row still shows a process that is gone."""
    talk(f"NOT RECORDED: {sentence}")
    known = isinstance(error, errors.Unavailable) or reason is not StopReason.LEASE_LOST
    raise (type(error) if known else errors.LeaseLost)(
        f"{sentence}; this could NOT BE RECORDED ({error.error_code}: {error.message})",
        next_steps=[
            "Run `blaidctl job reap` on this host: until it has found the process gone, `blaidctl status` counts it."
        ],
    ) from error
