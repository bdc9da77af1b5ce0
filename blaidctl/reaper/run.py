"""One run of the reaper: look, confirm, reap in batches, look for what was locked, end the remains, report.

There is no lock around a run: every statement is fenced, so any number of runs at once ends each thing once, and a run
that hangs stops no other (runbooks/decisions/0012-the-reaper.md). Nothing is kept between runs. Every wait and the run
as a whole have a limit; what was not done is said.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from blaidctl.core import clock, errors, outfile, present, remains
from blaidctl.core.command import chosen_output, write_out
from blaidctl.core.execute import check_schema, execute, invalid_request
from blaidctl.core.operation import the_map
from blaidctl.core.sql import database_time, rows_of
from blaidctl.core.types import read_time
from blaidctl.jobs.vocabulary import LeftReason
from blaidctl.reaper import contract, queries, rules, textfile
from blaidctl.reaper.contract import NotDone
from blaidctl.reaper.rules import Seen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from blaidctl.core.context import Context
    from blaidctl.core.execute import Answer
    from blaidctl.core.sql import Query
    from blaidctl.core.vocabulary import Output

#: How long a run may reap and end remains, beside the time that it watches.
TIME_LIMIT_S = 50
#: How much a heartbeat may be ahead of the database's clock: what two good clocks may differ by.
AHEAD_S = 5
#: How long a row that somebody else holds is left alone before it is tried a second and last time.
LOCKED_PAUSE_S = 0.5
_ALL = 2**31 - 1


def reap(ctx: Context, asked: Mapping[str, Any], output: Output | None, *, dry_run: bool = False) -> int:
    """Carry out one run; return 0, or raise what makes it answer otherwise (exit 1: something was found and left)."""
    request = _validated(asked)
    target = outfile.check(request.textfile, "textfile") if request.textfile else None
    run = Run(ctx, request, dry_run=dry_run)
    answer = run.answer()
    lost = _metrics_lost(run, answer, target) if target and not dry_run else None
    receipt = f"the run IS recorded (audit seq {answer.receipt.seq})" if answer.receipt else "nothing was written"
    write_out(present.render(answer, chosen_output(output)), done=receipt)
    if (refusal := lost or answer.refusal()) is not None:
        raise refusal
    return 0


def _validated(asked: Mapping[str, Any]) -> contract.Reap:
    try:
        return contract.Reap.model_validate(asked)
    except ValidationError as error:
        raise invalid_request(error) from None


def _metrics_lost(run: Run, answer: Answer, target: Any) -> errors.OutputLost | None:
    try:
        textfile.write(target, answer.result, run.ctx.now(), run.reasons)
    except errors.OutputLost as error:
        done = ", ".join(
            f"{name.replace('_', ' ')} {answer.result[name]}" for name in ("jobs_reaped", "instances_reaped")
        )
        error.message += f"; the run itself is done and recorded ({done}, {answer.result['not_done_count']} not done)"
        return error
    return None


@dataclass(slots=True)
class _Herd:
    """One of the two tables that are reaped, and how far a run has come with it."""

    kind: str
    act: str
    look: Query
    again: Query
    count: Query
    ahead: Query
    count_ahead: Query
    looked: int = 0
    moved: int = 0
    reaped: int = 0
    #: What was found silent or late, as long as nothing was decided about it.
    seen: list[Seen] = field(default_factory=list)
    #: What the fenced statement passed over: moved, or locked by somebody.
    missed: list[Seen] = field(default_factory=list)
    #: The latest `due_at` that was seen: what became due later is the next run's.
    until_at: datetime | None = None


def _jobs() -> _Herd:
    q = queries
    return _Herd("job", "job reap batch", q.LOOK_JOBS, q.AGAIN_JOBS, q.COUNT_JOBS, q.AHEAD_JOBS, q.COUNT_AHEAD_JOBS)


def _instances() -> _Herd:
    q = queries
    return _Herd(
        "instance",
        "instance reap batch",
        *(q.LOOK_INSTANCES, q.AGAIN_INSTANCES, q.COUNT_INSTANCES, q.AHEAD_INSTANCES, q.COUNT_AHEAD_INSTANCES),
    )


@dataclass(slots=True)
class Run:
    """One run; `answer` carries it out."""

    ctx: Context
    request: contract.Reap
    dry_run: bool
    jobs: _Herd = field(default_factory=_jobs)
    instances: _Herd = field(default_factory=_instances)
    left: list[NotDone] = field(default_factory=list)
    #: How many things were left for each reason, also where they are not named one by one.
    reasons: Counter[LeftReason] = field(default_factory=Counter)
    #: Processes that may be left on this host: (kind of the row, what is recorded).
    remains: list[tuple[str, contract.LeftProcess]] = field(default_factory=list)
    stops_looked: int = 0
    stops_confirmed: int = 0
    killed: int = 0
    started_s: float = field(default_factory=clock.monotonic_s)
    watched_s: float = 0.0

    @property
    def herds(self) -> tuple[_Herd, _Herd]:
        """Jobs and instances."""
        return self.jobs, self.instances

    def answer(self) -> Answer:
        """Do it all; what is committed before an error stays, and the error says how much that is."""
        started_at = self.ctx.now()
        try:
            with self.ctx.database.kept_open():
                self.look()
                self._reap_all()
                self._end_remains()
                return self._recorded(started_at)
        except errors.BlaidError as error:
            raise self._cut_off(error) from error

    def _reap_all(self) -> None:
        self._reap(self.jobs, [row for row in self.jobs.seen if row.past_deadline])
        self._confirm()
        for herd in self.herds:
            self._reap(herd, [row for row in herd.seen if not row.past_deadline])
        self._try_again()

    # ---- look and confirm ----------------------------------------------------------------------------------------

    def look(self) -> None:
        """Find what is silent, late or ahead, and stops on this host that nobody confirmed, in one read transaction."""
        settings = self.ctx.settings
        here = {"host": self.ctx.machine.host, "patience_s": settings.grace_s + settings.lease_s}
        with self.ctx.database.reading() as connection:
            check_schema(connection)
            now = database_time(connection, self.ctx.now())
            limit_at = now + timedelta(seconds=AHEAD_S)
            found: Sequence[Any] = queries.ANYTHING.on(connection, now=now, limit_at=limit_at, **here).one()
            silent, ahead, unproven = found[:2], found[2:4], found[4]
            for herd, any_silent, any_ahead in zip(self.herds, silent, ahead, strict=True):
                if any_silent:
                    self._look_at(connection, herd, now)
                if any_ahead:
                    self._look_ahead(connection, herd, now, limit_at)
            if unproven:
                rows = rows_of(queries.UNPROVEN.on(connection, now=now, limit=self.request.max_items, **here))
                self.remains += [("stop", contract.LeftProcess(**row)) for row in rows]

    def _look_at(self, connection: Connection, herd: _Herd, now: datetime) -> None:
        limit = self.request.max_items
        found = [Seen._make(row) for row in herd.look.on(connection, now=now, limit=limit + 1).all()]
        if len(found) > limit:
            more = herd.count.on(connection, now=now).scalar_one() - limit
            self._leave(herd.kind, LeftReason.LEFT_OVER, f"{more} more than --max-items {limit}", count=more)
            found = found[:limit]
        herd.seen, herd.looked = found, len(found)
        last = found[-1].due_at if found else None
        herd.until_at = read_time(last) if isinstance(last, str) else last

    def _look_ahead(self, connection: Connection, herd: _Herd, now: datetime, limit_at: datetime) -> None:
        found = list(rows_of(herd.ahead.on(connection, limit_at=limit_at, limit=rules.MOST_NAMED + 1)))
        for row in found[: rules.MOST_NAMED]:
            ahead_s = (row["heartbeat_at"] - now).total_seconds()
            self._leave(herd.kind, LeftReason.CLOCK_ANOMALY, f"its heartbeat is {ahead_s:.0f} s ahead", row["id"])
        if len(found) > rules.MOST_NAMED:
            more = herd.count_ahead.on(connection, limit_at=limit_at).scalar_one() - rules.MOST_NAMED
            self._leave(herd.kind, LeftReason.CLOCK_ANOMALY, f"and {more} more", count=more)

    def _confirm(self) -> None:
        """Watch what is silent for some heartbeats of monotonic time; whatever moves meanwhile is let go."""
        least_s = self.ctx.settings.heartbeat_s
        for herd in self.herds:
            herd.seen = [row for row in herd.seen if not row.past_deadline]
        window_s = max(
            rules.confirm_window_s(self.jobs.seen, least_s=0), rules.confirm_window_s(self.instances.seen, least_s)
        )
        if not window_s:
            return
        began_s = clock.monotonic_s()
        for beat in range(1, rules.CONFIRM_BEATS + 1):
            look_s = began_s + window_s * beat / rules.CONFIRM_BEATS
            while (left_s := look_s - clock.monotonic_s()) > 0:
                clock.pause(left_s)
            for herd in self.herds:
                herd.seen = self._unmoved(herd, herd.seen)
        self.watched_s = clock.monotonic_s() - began_s

    def _unmoved(self, herd: _Herd, rows: Sequence[Seen]) -> list[Seen]:
        """Look again; return what stands as it stood, and count the rest as moved."""
        if not rows:
            return []
        with self.ctx.database.reading() as connection:
            check_schema(connection)
            now = database_time(connection, self.ctx.now())
            limits = {} if herd.until_at is None else {"until_at": herd.until_at}
            found: Sequence[Any] = herd.again.on(connection, now=now, **limits).all()
        stand = rules.unmoved(rows, {row[0]: (row[1], row[2]) for row in found})
        herd.moved += len(rows) - len(stand)
        return stand

    # ---- reap ----------------------------------------------------------------------------------------------------

    def _reap(self, herd: _Herd, rows: Sequence[Seen]) -> None:
        """End rows in batches, one transaction each, until the time is up."""
        pending = list(rows)
        while pending:
            if self._late():
                self._leave(herd.kind, LeftReason.LEFT_OVER, f"{len(pending)} when the time was up", count=len(pending))
                return
            batch, pending = pending[: self.request.batch], pending[self.request.batch :]
            missed = self._reap_batch(herd, batch)
            herd.missed += missed
            if missed and pending:  # somebody else is at work on the same rows: do not follow in his steps
                pending = self._unmoved(herd, pending)

    def _reap_batch(self, herd: _Herd, batch: Sequence[Seen]) -> list[Seen]:
        found = self._act(herd.act, {"seen": [row.key for row in batch]}).result
        reaped = set(found["reaped"])
        herd.reaped += len(reaped)
        self.remains += [(herd.kind, contract.LeftProcess(**left)) for left in found["here"]]
        for left in found["elsewhere"]:
            detail = f"what it may have left runs on {left['host']}"
            self._leave(herd.kind, LeftReason.OTHER_HOST, detail, left["id"])
        return [row for row in batch if row.id not in reaped]

    def _try_again(self) -> None:
        """Try once more what was passed over; what still stands unmoved is locked by somebody who hangs."""
        if any(herd.missed for herd in self.herds):
            clock.pause(LOCKED_PAUSE_S)
        for herd in self.herds:
            rows, herd.missed = self._unmoved(herd, herd.missed), []
            self._reap(herd, rows)
            for row in self._unmoved(herd, herd.missed):
                self._leave(herd.kind, LeftReason.LOCKED, "another transaction holds its row locked", row.id)

    def _late(self) -> bool:
        return clock.monotonic_s() - self.started_s - self.watched_s >= TIME_LIMIT_S

    def _act(self, name: str, parameters: Mapping[str, Any]) -> Answer:
        reason = {"reason": self.request.reason}
        return execute(self.ctx, the_map()[name], {**reason, **parameters}, dry_run=self.dry_run)

    # ---- what is left on this host -------------------------------------------------------------------------------

    def _end_remains(self) -> None:
        if self.dry_run:
            self.stops_looked = sum(kind != "job" for kind, _ in self.remains)
            return
        for start in range(0, len(self.remains), self.request.batch):
            pieces = self.remains[start : start + self.request.batch]
            if self._late():
                count = len(self.remains) - start
                self._leave("process", LeftReason.LEFT_OVER, f"{count} when the time was up", count=count)
                return
            self._end(pieces)

    def _end(self, pieces: Sequence[tuple[str, contract.LeftProcess]]) -> None:
        lefts = [
            remains.Left(left.mark, left.pid, left.pid_started, left.boot_id, left.started_at) for _, left in pieces
        ]
        gone: list[dict[str, Any]] = []
        for (kind, left), found in zip(pieces, remains.end_all(lefts), strict=True):
            self.killed += found.killed
            self.stops_looked += kind != "job"
            if found.outcome is remains.Outcome.NOT_PROVEN:
                self._leave("instance" if kind == "stop" else kind, LeftReason.NOT_PROVEN_GONE, found.why, left.id)
            elif kind != "job":
                how = "killed" if found.killed else "gone, found"
                exit_status = f"{how} by the reaper on {self.ctx.machine.host}"
                gone.append({"id": left.id, "attempt": left.attempt, "exit_status": exit_status})
        if gone:
            self.stops_confirmed += len(self._act("instance confirm stops", {"gone": gone}).result["confirmed"])

    # ---- report --------------------------------------------------------------------------------------------------

    def _leave(self, kind: str, reason: LeftReason, detail: str, id_: int | None = None, *, count: int = 1) -> None:
        self.left.append(NotDone(kind=kind, id=id_, reason=reason, detail=detail))
        self.reasons[reason] += count

    def _recorded(self, started_at: datetime) -> Answer:
        """Write the row of the run; return the answer of the whole command."""
        counts = {f"{herd.kind}s_{what}": getattr(herd, what) for herd in self.herds for what in _COUNTED}
        counts |= {name: getattr(self, name) for name in ("stops_looked", "stops_confirmed")}
        counts |= {"processes_killed": self.killed, "not_done": self.reasons.total()}
        asked = {
            "host": self.ctx.machine.host,
            "started_at": started_at,
            "duration_ms": int(1000 * (clock.monotonic_s() - self.started_s)),
            "counts": counts,
            "not_done": rules.shortened(self.left),
        }
        answer = self._act("job reap run", asked)
        finding = contract.finding_of(contract.Reaped.model_validate(answer.result))
        return dataclasses.replace(
            answer, operation=the_map()["job reap"], finding=finding.model_dump() if finding else None
        )

    def _cut_off(self, error: errors.BlaidError) -> errors.BlaidError:
        """Say what was committed before an error, in its own sentence: "nothing was written" would be a lie."""
        if not self.ctx.receipts:
            return error
        last = self.ctx.receipts[-1]
        return type(error)(
            f"{error.message}; before that {self.jobs.reaped} job(s) and {self.instances.reaped} instance(s) were"
            f" reaped and {self.stops_confirmed} stop(s) confirmed, which STAYS (audit seq up to {last.seq});"
            " the run as a whole is not recorded",
            missing=error.missing,
            next_steps=["Run `blaidctl job reap` again: it goes on with what is left.", *error.steps],
        )


_COUNTED = ("looked", "moved", "reaped")
