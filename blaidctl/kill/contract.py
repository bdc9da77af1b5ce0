"""Requests and results of the kill engine."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from blaidctl.core.contract import Act, Finding, Label, LookupId, Reason, Request, Result
from blaidctl.kill.vocabulary import Action, Effect, KillReason, ResurrectReason

#: `15m`, `2h`, `7d`, or an ISO 8601 time with a zone; what exactly is in rules.since_time.
Since = Annotated[
    str,
    Field(
        min_length=1,
        max_length=40,
        json_schema_extra={"anyOf": [{"pattern": "^[0-9]{1,5}[smhd]$"}, {"format": "date-time"}]},
    ),
]
RESTART_WAIT_S = 5
WIDE = ("user", "account", "tag", "exchange", "all")


class Kill(Act):
    """Kill named bots, or every bot that a wide target matches. Several wide options narrow each other."""

    bots: list[LookupId] = Field(default=[], max_length=100_000)
    user: LookupId | None = None
    account: LookupId | None = None
    tag: Label | None = None
    exchange: Label | None = None
    all: bool = False
    reason_code: KillReason
    reason: Reason
    confirm_count: Annotated[int, Field(ge=0)] | None = None
    #: Seconds to wait for proof that the processes are gone.
    wait: Annotated[int, Field(ge=0, le=600)] | None = None

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        wide = [name for name in WIDE if getattr(self, name)]
        if self.bots and wide:
            msg = f"name bots or use --{wide[0]}, not both"
            raise ValueError(msg)
        if not self.bots and not wide:
            msg = "no target: name bots, or use --user, --account, --tag, --exchange or --all"
            raise ValueError(msg)
        if self.all and len(wide) > 1:
            msg = f"--all kills every bot; it cannot be narrowed by --{wide[0]}"
            raise ValueError(msg)
        if self.bots and self.confirm_count is not None and self.confirm_count != len(set(self.bots)):
            msg = f"confirm_count is {self.confirm_count}, but {len(set(self.bots))} bots are named"
            raise ValueError(msg)
        return self

    @property
    def is_wide(self) -> bool:
        """Whether the bots are found by a criterion instead of named."""
        return not self.bots


class KilledBot(Result):
    """What a kill did to one bot."""

    bot_id: str
    effect: Effect
    kill_event_id: int
    killed_at: datetime
    instances_stopped: int


class UnconfirmedStop(Result):
    """A stopped instance whose process is not proven dead."""

    instance_id: int
    bot_id: str
    host: str
    pid: int | None
    stopped_at: datetime


class Killed(Result):
    """One decision: every bot it took, and what is not proven yet (null when nobody waited for proof)."""

    table_of: ClassVar = "bots"
    columns: ClassVar = ("bot_id", "effect", "killed_at", "instances_stopped", "kill_event_id")
    below: ClassVar = ("count", "instances_stopped", "stops_unconfirmed")
    bots: list[KilledBot]
    count: int
    instances_stopped: int
    stops_unconfirmed: list[UnconfirmedStop] | None = None


class Resurrect(Act):
    """End a kill. Starts nothing, unless `restart` asks the supervisors that stand by to."""

    bot: LookupId
    reason_code: ResurrectReason
    reason: Reason
    #: Ask the supervisors that stand by to start their process again.
    restart: bool = False
    #: How many seconds to wait, after COMMIT, for a process to be started again; only with `restart`. Null: on the
    #: command line, where somebody waits for the answer, RESTART_WAIT_S; elsewhere one look.
    wait: Annotated[int, Field(ge=0, le=3600)] | None = None


class Resurrected(Result):
    """A bot that may trade again, and the kill that this act ended."""

    columns: ClassVar = ("bot_id", "effect", "resurrect_event_id", "ends_kill_event_id", "restarted")
    bot_id: str
    effect: Effect
    resurrect_event_id: int
    ends_kill_event_id: int | None
    #: The bot's newest instance at that moment: an instance after it was started again.
    last_instance_id: int
    #: The instances that run again; null when no restart was asked for.
    restarted: list[int] | None = None


class ListKillEvents(Request):
    """Kill events, newest first."""

    bot: LookupId | None = None
    since: Since | None = None
    limit: Annotated[int, Field(ge=1, le=100_000)] = 100


class KillEvent(Result):
    """One row of kill_events, whole."""

    id: int
    bot_id: str
    action: Action
    effect: Effect
    actor: str
    reason_code: str
    reason: str
    created_at: datetime
    metadata: dict[str, Any]
    trace_id: str
    ends_kill_event_id: int | None
    instances_stopped: int


class KillEvents(Result):
    """Kill events, newest first."""

    table_of: ClassVar = "events"
    columns: ClassVar = ("id", "created_at", "bot_id", "action", "effect", "reason_code", "actor", "reason")
    events: list[KillEvent]


def unconfirmed_finding(stops: list[UnconfirmedStop]) -> Finding:
    """Return the finding that names the instances whose end is not proven."""
    named = [f"instance {s.instance_id} of {s.bot_id} on {s.host} (pid {s.pid})" for s in stops]
    return Finding(
        error_code="STOP_UNCONFIRMED",
        message=f"{len(stops)} stopped instance(s) not confirmed as dead: {', '.join(named[:5])}"
        + (" …" if len(named) > 5 else ""),  # noqa: PLR2004 - a sentence, the rest is in the list
        missing_requirements=named,
    )


def unasked_finding(why: str) -> Finding:
    """Return the finding when the wait for proof was cut off."""
    message = f"the kill is committed, but waiting for proof was cut off ({why}): no process is proven dead"
    return Finding(error_code="STOP_UNCONFIRMED", message=message)


def ended_finding(live: list[str]) -> Finding:
    """Return the finding that a replayed kill no longer holds."""
    return Finding(
        error_code="KILL_ENDED",
        message=f"this request id was done before, and its kill has been ended since: live: {', '.join(live[:5])}",
        missing_requirements=[f"bot {name} is live" for name in live],
    )


def not_restarted_finding(bot: str, waited_s: int, why: str = "") -> Finding:
    """Return the finding when the bot is live, but no process of it was seen to start."""
    return Finding(
        error_code="RESTART_UNCONFIRMED",
        message=f"bot {bot} is live, but no supervisor that stands by has started its process within {waited_s} s"
        + (f" (the wait was cut off: {why})" if why else ""),
        missing_requirements=[f"a supervisor of {bot} that stands by: blaidctl bot run --standby {bot} -- CMD"],
    )
