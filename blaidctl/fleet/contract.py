"""Requests and results of the fleet."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from blaidctl.core.contract import Act, Finding, Label, LookupId, Request, Result, Slug
from blaidctl.fleet.vocabulary import BotState, Existence, InstanceStatus, StopReason


def _sorted_set(items: list[str]) -> list[str]:
    return sorted(set(items))


Names = Annotated[list[Label], Field(max_length=100), AfterValidator(_sorted_set)]


class AddUser(Act):
    """Register an owner of bots."""

    id: Slug
    name: Label | None = None


class AddedUser(Result):
    """The user as registered."""

    columns: ClassVar = ("id", "name", "effect")
    id: str
    name: str
    effect: Existence


class ListUsers(Request):
    """All users."""


class User(Result):
    """One user."""

    id: str
    name: str
    bots: int
    created_at: datetime


class UserList(Result):
    """All users, by id."""

    table_of: ClassVar = "users"
    columns: ClassVar = ("id", "name", "bots", "created_at")
    users: list[User]


class AddBot(Act):
    """Register a bot under an id that the operator chooses."""

    id: Slug
    user: LookupId
    name: Label | None = None
    strategy: Label | None = None
    tag: Names = Field(default=[])
    exchange: Names = Field(default=[])


class Bot(Result):
    """One bot."""

    id: str
    user_id: str
    name: str
    strategy: str
    tags: list[str]
    exchanges: list[str]
    state: BotState
    killed_at: datetime | None
    created_at: datetime


class AddedBot(Result):
    """The bot as registered."""

    columns: ClassVar = ("id", "user_id", "name", "strategy", "tags", "exchanges", "effect")
    id: str
    user_id: str
    name: str
    strategy: str
    tags: list[str]
    exchanges: list[str]
    effect: Existence


class ListBots(Request):
    """Bots, narrowed by owner or tag."""

    user: LookupId | None = None
    tag: Label | None = None


class BotList(Result):
    """Bots, by id."""

    table_of: ClassVar = "bots"
    columns: ClassVar = ("id", "user_id", "state", "strategy", "tags", "killed_at")
    bots: list[Bot]


class ShowBot(Request):
    """One bot with its latest instances."""

    bot: LookupId
    limit: Annotated[int, Field(ge=1, le=1000)] = 10


class Instance(Result):
    """One life of one process."""

    id: int
    bot_id: str
    account_id: str | None
    status: InstanceStatus
    stop_reason: StopReason | None
    host: str
    pid: int | None
    attempt: int
    exit_status: str | None
    started_at: datetime
    heartbeat_at: datetime | None
    stopped_at: datetime | None
    stop_confirmed_at: datetime | None


class BotDetail(Bot):
    """A bot, the kill that holds it (if any), and its latest instances."""

    columns: ClassVar = (
        "id", "user_id", "name", "strategy", "tags", "exchanges", "state", "killed_at", "kill_event_id", "killed_by",
        "kill_reason_code", "kill_reason", "created_at",
    )  # fmt: skip
    tables: ClassVar = {
        "instances": ("id", "status", "stop_reason", "pid", "exit_status", "started_at", "stop_confirmed_at")
    }
    kill_event_id: int | None
    killed_by: str | None
    kill_reason_code: str | None
    kill_reason: str | None
    instances: list[Instance]


class Guard(Request):
    """May this bot (this instance of it) trade?"""

    bot: LookupId
    instance: Annotated[int, Field(ge=1)] | None = None


class GuardAnswer(Result):
    """MAY_TRADE, or MAY_NOT_TRADE with every reason."""

    columns: ClassVar = ("bot_id", "answer", "reasons", "not_checked")
    bot_id: str
    answer: str
    reasons: list[str]
    #: What there was nothing to look at for; no reason for a no.
    not_checked: list[str]
    finding: Finding | None = Field(default=None, exclude=True)


class ShowStatus(Request):
    """The fleet at a glance, or one bot."""

    bot: LookupId | None = None


class BotStatus(Result):
    """One line of the fleet."""

    bot_id: str
    user_id: str
    state: BotState
    killed_at: datetime | None
    killed_by: str | None
    reason_code: str | None
    instances_active: int
    #: Active by their rows, and silent for longer than they may be.
    instances_stale: int
    stops_unconfirmed: int


class UnconfirmedStop(Result):
    """A stop that was ordered and that nobody has proven: the process may still trade."""

    instance_id: int
    bot_id: str
    host: str
    pid: int | None
    stopped_at: datetime


class ProviderStatus(Result):
    """One provider: its state, or STALE when its last check is older than its limit and the state says OK."""

    provider_id: str
    state: str
    reason_code: str
    changed_at: datetime
    checked_at: datetime | None


class FleetStatus(Result):
    """Every bot: state, instances, stops that are not proven yet; and the jobs and providers of the desk."""

    table_of: ClassVar = "bots"
    columns: ClassVar = ("bot_id", "state", "killed_by", "reason_code", "instances_active", "stops_unconfirmed")
    tables: ClassVar = {
        "unconfirmed": ("instance_id", "bot_id", "host", "pid", "stopped_at"),
        "providers": ("provider_id", "state", "reason_code", "changed_at", "checked_at"),
    }
    below: ClassVar = (
        "live", "killed", "instances_active", "instances_stale", "stops_unconfirmed", "jobs_running", "jobs_stale",
        "providers_not_ok", "not_reported",
    )  # fmt: skip
    bots: list[BotStatus]
    live: int
    killed: int
    instances_active: int
    instances_stale: int
    #: All of them; `unconfirmed` holds the latest ones.
    stops_unconfirmed: int
    unconfirmed: list[UnconfirmedStop]
    #: The whole desk's; null for a caller who sees only one user's bots.
    jobs_running: int | None
    #: Past their deadline, or silent for longer than their type allows.
    jobs_stale: int | None
    #: The whole desk's; none for a caller who sees only one user's bots.
    providers: list[ProviderStatus]
    #: Not OK, or not checked for longer than their limit; null for such a caller.
    providers_not_ok: int | None
    #: What this answer does not report, and why.
    not_reported: list[str]


class StartInstance(Act):
    """A supervisor asks for the right to run a process of a bot."""

    bot: LookupId
    account: LookupId | None = None
    host: Label
    boot_id: str | None = None
    #: What the process and all that it starts carry in their environment.
    mark: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None
    stale_after_s: Annotated[int, Field(ge=1, le=86_400)] = 60


class StartedInstance(Result):
    """The right to run: the instance and its fencing token."""

    instance_id: int
    bot_id: str
    attempt: int


class RunInstance(Act):
    """A supervisor reports that the process is there."""

    instance: int
    attempt: int
    pid: int
    pid_started: str


class FinishInstance(Act):
    """A supervisor reports that the process is gone, and how it ended."""

    instance: int
    attempt: int
    stop_reason: StopReason
    exit_status: str


class InstanceState(Result):
    """An instance after a supervisor's report."""

    instance_id: int
    bot_id: str
    status: InstanceStatus
    stop_reason: StopReason | None
    stop_confirmed_at: datetime | None
