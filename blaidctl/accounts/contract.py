"""Requests and results of accounts."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, StringConstraints, model_validator

from blaidctl.accounts.vocabulary import AccountAction, AccountStatus, Environment, Limit, LinkEffect
from blaidctl.core.contract import Act, LookupId, Request, Result, Slug
from blaidctl.core.decimals import Exact
from blaidctl.fleet.vocabulary import Existence

#: As the broker writes it; no blanks, so that no second spelling of one account can be registered.
ExternalId = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,100}$")]
CurrencyCode = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9]{1,15}$")]
#: Beyond, canonical JSON cannot carry an integer; the policy's ranges end far below.
_EXACT = 2**53
Rate = Annotated[int, Field(ge=-_EXACT, le=_EXACT)]


class AddAccount(Act):
    """Register a broker account of a user."""

    id: Slug
    user: LookupId
    broker: Slug
    external_id: ExternalId
    environment: Environment
    currency: CurrencyCode
    #: A sale without an open lot is then a mistake, never a short; it cannot be changed later.
    long_only: bool = False


class AddedAccount(Result):
    """The account as registered."""

    columns: ClassVar = (
        "id", "user_id", "broker", "external_id", "environment", "currency", "long_only", "status", "effect",
    )  # fmt: skip
    id: str
    user_id: str
    broker: str
    external_id: str
    environment: Environment
    currency: str
    long_only: bool
    status: AccountStatus
    effect: Existence


class _Limits(Act):
    """The six limits. One that is missing or out of range is a matter of risk, not of usage: the handler refuses it."""

    max_contracts: Exact | None = None
    max_position_value: Exact | None = None
    max_order_qty: Exact | None = None
    max_daily_loss: Exact | None = None
    max_drawdown_pct: Exact | None = None
    max_orders_per_minute: Rate | None = None

    def limits(self) -> dict[Limit, Decimal]:
        """Return the limits that are given."""
        given = {limit: getattr(self, limit) for limit in Limit}
        return {limit: Decimal(value) for limit, value in given.items() if value is not None}


class LinkAccount(_Limits):
    """Let a bot use an account, under limits."""

    bot: LookupId
    account: LookupId


class ChangeLimits(_Limits):
    """Change limits of a bot's open link."""

    bot: LookupId

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.limits():
            msg = f"name at least one limit: {', '.join(Limit)}"
            raise ValueError(msg)
        return self


class UnlinkAccount(Act):
    """End a bot's open link."""

    bot: LookupId


class Linked(Result):
    """The link as made."""

    columns: ClassVar = ("bot_id", "account_id", "effect", *Limit, "link_id", "event_id", "policy_sha256")
    bot_id: str
    account_id: str
    effect: LinkEffect
    link_id: int
    event_id: int
    max_contracts: Exact
    max_position_value: Exact
    max_order_qty: Exact
    max_daily_loss: Exact
    max_drawdown_pct: Exact
    max_orders_per_minute: int
    policy_sha256: str


class Unlinked(Result):
    """The link that ended."""

    columns: ClassVar = ("bot_id", "account_id", "effect", "link_id", "event_id")
    bot_id: str
    account_id: str
    effect: LinkEffect
    link_id: int
    event_id: int


class LimitChange(Result):
    """One limit before and after."""

    limit: Limit
    before: Exact
    after: Exact


class ChangedLimits(Result):
    """The limits that changed; none when they were so already, and then no event is written."""

    table_of: ClassVar = "changes"
    columns: ClassVar = ("limit", "before", "after")
    below: ClassVar = ("bot_id", "account_id", "effect", "event_id", "policy_sha256")
    bot_id: str
    account_id: str
    effect: LinkEffect
    link_id: int
    event_id: int | None
    changes: list[LimitChange]
    policy_sha256: str


class ListAccounts(Request):
    """Broker accounts, narrowed by owner."""

    user: LookupId | None = None


class Account(Result):
    """One broker account."""

    id: str
    user_id: str
    broker: str
    external_id: str
    environment: Environment
    currency: str
    long_only: bool
    status: AccountStatus
    #: How many bots have an open link.
    bots: int
    created_at: datetime


class AccountList(Result):
    """Broker accounts, by id."""

    table_of: ClassVar = "accounts"
    columns: ClassVar = ("id", "user_id", "broker", "external_id", "environment", "currency", "status", "bots")
    accounts: list[Account]


class ShowAccount(Request):
    """One broker account with its open links."""

    account: LookupId


class OpenLink(Result):
    """One bot that may use the account."""

    link_id: int
    bot_id: str
    linked_at: datetime
    #: The policy under which the limits were set.
    policy_sha256: str


class LimitInForce(Result):
    """One limit of one open link, and what the policy in force now allows; nulls while no policy can be read."""

    bot_id: str
    limit: Limit
    value: Exact
    least: Exact | None
    most: Exact | None
    in_range: bool | None
    unit: str


class AccountDetail(Account):
    """A broker account, its open links and their limits."""

    columns: ClassVar = (
        "id", "user_id", "broker", "external_id", "environment", "currency", "long_only", "status", "created_at",
        "policy_sha256", "policy_problem",
    )  # fmt: skip
    tables: ClassVar = {
        "links": ("bot_id", "link_id", "linked_at"),
        "limits": ("bot_id", "limit", "value", "least", "most", "in_range"),
    }
    links: list[OpenLink]
    limits: list[LimitInForce]
    #: The policy in force now.
    policy_sha256: str | None
    policy_problem: str | None


class ListAccountEvents(Request):
    """Account events, newest first."""

    account: LookupId | None = None
    limit: Annotated[int, Field(ge=1, le=100_000)] = 100


class AccountEvent(Result):
    """One row of broker_account_events, whole, and what it comes to in words."""

    id: int
    account_id: str | None
    bot_id: str | None
    link_id: int | None
    action: AccountAction
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    policy_sha256: str | None
    error_code: str | None
    message: str | None
    actor: str
    reason: str | None
    created_at: datetime
    trace_id: str
    what: str


class AccountEvents(Result):
    """Account events, newest first."""

    table_of: ClassVar = "events"
    columns: ClassVar = ("id", "created_at", "action", "bot_id", "account_id", "what", "actor", "reason")
    events: list[AccountEvent]
