"""`job run`: one attempt of one job as a supervised process, from its start to a terminal state on every path."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from blaidctl.core import clock, errors, process, supervise
from blaidctl.core.command import talk
from blaidctl.core.execute import execute
from blaidctl.core.operation import the_map
from blaidctl.core.settings import PREFIX
from blaidctl.core.supervise import News
from blaidctl.core.watch import Silence
from blaidctl.jobs.output import Tail, Tee
from blaidctl.jobs.vocabulary import JobEnd, JobReason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blaidctl.core.context import Context
    from blaidctl.core.execute import Answer

_OWN_STREAMS = (1, 2)
How = tuple[JobEnd, JobReason]
_ENDS = {
    News.ORDERED: (JobEnd.CANCELLED, JobReason.SUPERVISOR_STOPPED),
    News.LEASE_LOST: (JobEnd.FAILED, JobReason.LEASE_LOST),
    News.DEADLINE: (JobEnd.FAILED, JobReason.TIMEOUT),
}


class Work(Protocol):
    """What a job is about, besides its process: where output goes, and what an exit code of 0 is worth."""

    @property
    def environment(self) -> dict[str, str]:
        """Told to the process, besides what every job is told."""

    def unready(self) -> Verdict | None:
        """Look before anything is started; return how the attempt has failed already."""

    def tees(self, tail: Tail) -> tuple[Tee, Tee]:
        """Return what takes the two streams of the process; `tail` is kept with the job."""

    def judge(self, attempt: Attempt, sentence: str) -> Verdict:
        """Say what a process that ended well, as the sentence says, has achieved."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an attempt ended, the sentence about it, and the act that records it."""

    how: How
    sentence: str
    act: str = "job end"
    report: dict[str, Any] = field(default_factory=dict)


class Plain:
    """A command that is the work itself: its output is passed on, and its word counts."""

    @property
    def environment(self) -> dict[str, str]:
        """Tell the process nothing more."""
        return {}

    def unready(self) -> Verdict | None:
        """Nothing is looked at before."""
        return None

    def tees(self, tail: Tail) -> tuple[Tee, Tee]:
        """Pass both streams on."""
        one, other = (Tee(tail, stream) for stream in _OWN_STREAMS)
        return one, other

    def judge(self, attempt: Attempt, sentence: str) -> Verdict:  # noqa: ARG002 - the signature of Work
        """Believe it."""
        return Verdict((JobEnd.SUCCEEDED, JobReason.COMPLETED), sentence)


def run_job(ctx: Context, job_type: str, job: int | None, reason: str | None, command: Sequence[str]) -> int:
    """Run a command as a job until it ends or must end; its output is passed on. See `run`."""
    return run(ctx, {"type": job_type, "job": job, "reason": reason}, command, Plain())


def run(ctx: Context, asked: dict[str, Any], command: Sequence[str], work: Work) -> int:
    """Run a command as an attempt of a job (`asked`: what `job begin` is asked for) until it ends or must end.

    Returns 0 only when the attempt SUCCEEDED. Raises CommandNotStartable and what `job start` raises before anything
    ran; ProcessFailed, LeaseLost, JobTerminal (somebody else ended the attempt) after the process is gone;
    StopUnconfirmed when it cannot be proven gone.
    """
    program = process.program_of(command)
    tees: list[Tee] = []
    try:
        with supervise.stop_orders() as orders:
            attempt = _begin(ctx, orders, asked | {"program": program}, work)
            if orders.given():
                return _settle(attempt, Verdict(_ENDS[News.ORDERED], f"{attempt}: nothing was started"), "not started")
            if (unready := work.unready()) is not None:
                return _settle(attempt, unready, "not started")
            return _supervise(attempt, program, command, orders, tees)
    finally:
        # Everything is recorded: a signal ends the wait for a reader that never reads, as it ends any program.
        for tee in tees:
            tee.pass_on_the_rest()


@dataclass(slots=True)
class Attempt:
    """The right to work at a job, and what is reported about it."""

    ctx: Context
    orders: supervise.StopOrders
    work: Work
    id: int
    attempt: int
    mark: str
    limits: dict[str, int]
    #: When the right was given (clock.lease_s): the first lease counts from here.
    granted_s: float
    #: When the attempt must have ended, in monotonic time.
    deadline_s: float
    _report_id: str = field(default_factory=lambda: secrets.token_hex(16))

    def __str__(self) -> str:
        """Name it in a sentence."""
        return f"job {self.id} attempt {self.attempt}"

    def act(self, name: str, report: dict[str, Any], request_id: str | None = None) -> Answer:
        """Make one report."""
        asked = {"job": self.id, "attempt": self.attempt} | report
        return execute(self.ctx, the_map()[name], asked, request_id=request_id)

    def report(self, group: process.Group) -> None:
        """Say that the process is there."""
        self._or_taken("job report", {"pid": group.pid, "pid_started": group.started}, self._report_id)

    def beat(self) -> None:
        """Write a heartbeat."""
        self._or_taken("job beat", {})

    def look(self) -> None:
        """Leave it to the next heartbeat: nobody takes a job away but the reaper, after a long silence."""

    def _or_taken(self, name: str, report: dict[str, Any], request_id: str | None = None) -> None:
        try:
            self.act(name, report, request_id)
        except errors.JobTerminal as over:
            raise supervise.RightTaken(over.message) from over


def _begin(ctx: Context, orders: supervise.StopOrders, asked: dict[str, Any], work: Work) -> Attempt:
    """Ask for the right to work."""
    mark = supervise.new_mark()
    asked |= {"mark": mark, "host": ctx.machine.host, "boot_id": process.boot_id()}
    answer = supervise.within(supervise.patience_s(ctx), lambda: execute(ctx, the_map()["job begin"], asked))
    job = answer.result
    limits = {name: job[name] for name in ("heartbeat_s", "stale_after_s", "max_runtime_s", "grace_s")}
    deadline_s = clock.monotonic_s() + limits["max_runtime_s"]
    attempt = Attempt(ctx, orders, work, job["job_id"], job["attempt"], mark, limits, clock.lease_s(), deadline_s)
    # Said before there is a process: from then on nothing may block, and a pipe can.
    talk(f"{attempt} may run for {limits['max_runtime_s']} s ({_receipt(answer)})")
    return attempt


def _receipt(answer: Answer) -> str:
    receipt = answer.receipt
    return f"audit seq {receipt.seq}, entry hash {receipt.entry_hash}" if receipt else "no receipt"


def _supervise(
    attempt: Attempt, program: str, command: Sequence[str], orders: supervise.StopOrders, tees: list[Tee]
) -> int:
    """Run the process to its end, prove that it is gone, record that. `tees` takes what passes its output on."""
    limits, tail = attempt.limits, Tail()
    tees += attempt.work.tees(tail)
    told = {f"{PREFIX}JOB_ID": str(attempt.id), f"{PREFIX}JOB_ATTEMPT": str(attempt.attempt)}
    told |= attempt.work.environment
    environment = supervise.environment(attempt.ctx, attempt.mark, told)
    try:
        group = process.Group(program, command, environment, stdout=tees[0].pipe, stderr=tees[1].pipe)
    except OSError as error:  # the kernel's last word: no such interpreter, not a program, too many processes
        what = f"not started: {error.strerror}"
        failed = Verdict((JobEnd.FAILED, JobReason.NOT_STARTABLE), f"{attempt}: {program} was {what}")
        return _settle(attempt, failed, what)
    for tee in tees:
        tee.started()
    terms = supervise.Terms(limits["heartbeat_s"], limits["stale_after_s"], limits["grace_s"], attempt.deadline_s)
    outcome = supervise.supervise(group, attempt, terms, orders, Silence())
    if not outcome.gone:
        raise errors.StopUnconfirmed(
            f"process {outcome.pid} ({attempt}) on {attempt.ctx.machine.host} is not proven gone: it, or what it"
            f" started, still stands {process.GONE_WITHIN_S:.0f} s after SIGKILL",
            missing=[f"{attempt} on {attempt.ctx.machine.host} (pid {outcome.pid})"],
        )
    return _conclude(attempt, outcome, tail, tees)


def _conclude(attempt: Attempt, outcome: supervise.Outcome, tail: Tail, tees: list[Tee]) -> int:
    """Record how the process ended and what it said last."""
    for tee in tees:
        tee.read_to_the_end()
    sentence = f"process {outcome.pid} ({attempt}) is gone ({outcome.exit_status})"
    if outcome.news is News.TAKEN:
        raise errors.JobTerminal(f"{attempt} was ended by somebody else while it ran: {sentence}")
    lost = next((tee.lost for tee in tees if tee.lost), "")
    how = _end_of(outcome, lost)
    if how[1] is JobReason.LEASE_LOST:
        silent_s = attempt.limits["stale_after_s"]
        sentence += f": no heartbeat could be written for {silent_s} s ({outcome.trouble})"
    if how[1] is JobReason.OUTPUT_LOST:
        sentence += f": its output could not be written ({lost})"
    well = how[0] is JobEnd.SUCCEEDED
    verdict = attempt.work.judge(attempt, sentence) if well else Verdict(how, sentence)
    return _settle(attempt, verdict, outcome.exit_status, tail)


def _end_of(outcome: supervise.Outcome, lost: str) -> How:
    """Return how an attempt ended. An output that was lost is no success: nobody can look the result up."""
    if outcome.news is not News.OVER:
        return _ENDS[outcome.news]
    if outcome.returncode == 0:
        return (JobEnd.FAILED, JobReason.OUTPUT_LOST) if lost else (JobEnd.SUCCEEDED, JobReason.COMPLETED)
    signalled = outcome.returncode is not None and outcome.returncode < 0
    return JobEnd.FAILED, JobReason.SIGNALLED if signalled else JobReason.EXIT_NONZERO


def _settle(attempt: Attempt, verdict: Verdict, exit_status: str, tail: Tail | None = None) -> int:
    """Record the end, once, and answer for it."""
    (end, reason), sentence = verdict.how, verdict.sentence
    report: dict[str, Any] = {"status": end, "reason_code": reason, "exit_status": exit_status} | verdict.report
    if tail is not None:
        report |= {"output_tail": tail.text(), "output_bytes": tail.total}
    try:
        answer = supervise.insist(
            attempt.ctx,
            attempt.limits["stale_after_s"],
            lambda request_id: attempt.act(verdict.act, report, request_id),
            attempt.orders,
        )
    except errors.BlaidError as error:
        _not_recorded(error, reason, sentence)
    sentence += f"; recorded as {end} {reason} ({_receipt(answer)})"
    if end is JobEnd.SUCCEEDED:
        talk(sentence)
        return 0
    raise (errors.LeaseLost if reason is JobReason.LEASE_LOST else errors.ProcessFailed)(
        sentence, next_steps=[f"Look at its exit status and its last output: blaidctl job show {attempt.id}."]
    )


def _not_recorded(error: errors.BlaidError, reason: JobReason, sentence: str) -> NoReturn:
    """Say loudly that the database does not know the end: the reaper will write that nobody heard of the job."""
    talk(f"NOT RECORDED: {sentence}")
    known = isinstance(error, errors.Unavailable | errors.JobTerminal) or reason is not JobReason.LEASE_LOST
    raise (type(error) if known else errors.LeaseLost)(
        f"{sentence}; this could NOT BE RECORDED ({error.error_code}: {error.message})",
        next_steps=["The reaper ends the job as TIMEOUT when its heartbeat is stale: `blaidctl job reap`."],
    ) from error
