"""Requests and results of providers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from blaidctl.core.contract import Act, Finding, LookupId, Request, Result, Slug, storable
from blaidctl.fleet.vocabulary import Existence
from blaidctl.instruments.vocabulary import AssetClass
from blaidctl.ledger.contract import ImportPart
from blaidctl.providers import rules
from blaidctl.providers.vocabulary import (
    BindEffect,
    CheckOutcome,
    Failure,
    ProviderEvent,
    ProviderKind,
    ProviderReason,
    ProviderState,
)

Address = Annotated[str, StringConstraints(min_length=8, max_length=2000)]
#: Where in a JSON object a time stands: names, dots between them.
FieldPath = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){0,9}$", max_length=200)]
#: A file from / on, or an entry of the system's keyring.
CredentialsName = Annotated[str, StringConstraints(pattern=r"^(/|keyring:[^/\s]+/)[^\x00-\x1f]+$", max_length=1000)]
MOST_AT_ONCE = 1_000


class AddProvider(Act):
    """Register a provider; it is not OK before its first good check."""

    id: Slug
    kind: ProviderKind
    check_url: Address
    fills_url: Address | None = None
    #: Where the probe's body says when it was made; without it, the Date of the answer counts.
    stale_field: FieldPath | None = None
    credentials: CredentialsName | None = None
    plain_http: bool = False
    stale_after_s: Annotated[int, Field(ge=1, le=604_800)] = 60
    timeout_s: Annotated[int, Field(ge=1, le=300)] = 10
    attempts: Annotated[int, Field(ge=1, le=10)] = 2
    degrade_after: Annotated[int, Field(ge=1, le=1000)] = 2
    block_after: Annotated[int, Field(ge=2, le=1000)] = 5
    recover_after: Annotated[int, Field(ge=1, le=1000)] = 3
    check_within_s: Annotated[int, Field(ge=1, le=604_800)] = 300

    @model_validator(mode="after")
    def _together(self) -> Self:
        problems = list(rules.address_problems("check_url", self.check_url, plain_http=self.plain_http))
        if self.fills_url is not None:
            problems += rules.address_problems("fills_url", self.fills_url, plain_http=self.plain_http)
            if not problems and rules.origin(self.fills_url) != rules.origin(self.check_url):
                problems.append("fills_url: must be at the same host and port as check_url: both get the credentials")
            if self.kind is ProviderKind.HTTP:
                problems.append("fills_url: kind http has no fills; say --kind alpaca or paged")
        if self.block_after <= self.degrade_after:
            problems.append("block_after: must be more than degrade_after")
        if problems:
            raise ValueError("; ".join(problems))
        return self


class AddedProvider(Result):
    """The provider as registered."""

    columns: ClassVar = ("id", "kind", "check_url", "fills_url", "state", "effect")
    id: str
    kind: ProviderKind
    check_url: str
    fills_url: str | None
    state: ProviderState
    effect: Existence


class BindProvider(Act):
    """Let an account stand or fall with a provider."""

    provider: LookupId
    account: LookupId


class UnbindProvider(BindProvider):
    """End that an account stands or falls with a provider."""


class Bound(Result):
    """The binding as it is now."""

    columns: ClassVar = ("provider_id", "account_id", "effect", "state", "event_id")
    provider_id: str
    account_id: str
    effect: BindEffect
    state: ProviderState
    event_id: int | None


class CheckProviders(Act):
    """Probe providers, as it is asked for on the command line."""

    provider: list[LookupId] = Field(default_factory=list, max_length=MOST_AT_ONCE)
    all: bool = False

    @model_validator(mode="after")
    def _which(self) -> Self:
        if bool(self.provider) == self.all:
            msg = "name providers, or say --all"
            raise ValueError(msg)
        return self


class Observation(Act):
    """What one look at a provider found."""

    provider: LookupId
    failure: Failure | None = None
    detail: Annotated[str, Field(max_length=500)] = ""
    attempts: Annotated[int, Field(ge=0)] = 1
    elapsed_ms: Annotated[int, Field(ge=0)] = 0
    http_status: int | None = None


class Observed(Result):
    """How a provider is doing after a look; `due`: its state would change, which is an act and was not done here."""

    provider_id: str
    state_before: ProviderState
    state: ProviderState
    reason_code: ProviderReason
    detail: str
    failures: int
    successes: int
    event_id: int | None
    due: bool


class Checked(Result):
    """One provider: what the probe found, and its state afterwards."""

    provider_id: str
    outcome: CheckOutcome
    failure: Failure | None
    detail: str
    state_before: ProviderState
    state: ProviderState
    failures: int
    successes: int
    attempts: int
    elapsed_ms: int
    event_id: int | None


class CheckedProviders(Result):
    """What the probes found."""

    table_of: ClassVar = "providers"
    columns: ClassVar = ("provider_id", "outcome", "state_before", "state", "failure", "detail", "attempts")
    providers: list[Checked]
    finding: Finding | None = Field(default=None, exclude=True)


class Pull(Act):
    """Fetch the fills of an account from a provider, as it is asked for on the command line."""

    provider: LookupId
    account: LookupId
    bot: LookupId | None = None
    instance: Annotated[int, Field(ge=1, le=2**53)] | None = None
    exchange: Annotated[str, StringConstraints(min_length=1, max_length=32), AfterValidator(storable)] | None = None
    asset_class: AssetClass | None = None
    no_fee: bool = False
    history: bool = False


class PullPart(ImportPart):
    """Write one part of a pull; with the last one, the place from which the next pull goes on."""

    resume_from: Annotated[str, StringConstraints(min_length=1, max_length=1000)] | None
    #: How many pulls there were when this one began: another one meanwhile has moved the place.
    pulls: Annotated[int, Field(ge=0)]
    pages: Annotated[int, Field(ge=1)]


class PullFailure(Act):
    """A pull that wrote nothing, and why."""

    provider: LookupId
    account: LookupId
    reason_code: ProviderReason
    detail: Annotated[str, Field(max_length=500)]
    attempts: Annotated[int, Field(ge=0)] = 1
    http_status: int | None = None


class Pulled(Result):
    """What a command pulled."""

    columns: ClassVar = (
        "provider_id", "account_id", "rows_read", "rows_new", "rows_known", "skipped", "moved", "after_kill", "pages",
        "pulls", "more",
    )  # fmt: skip
    provider_id: str
    account_id: str
    #: Each whole: one transaction with the place from which the next one goes on.
    pulls: int
    pages: int
    rows_read: int
    rows_new: int
    rows_known: int
    skipped: int
    #: Of them, those that change a position without a fill: no figures until each is resolved.
    moved: int
    fees_new: int
    fees_known: int
    after_kill: int
    resume_from: str | None
    #: There was more than one command takes: run it again.
    more: bool
    finding: Finding | None = Field(default=None, exclude=True)


class ListProviders(Request):
    """All providers."""


class Provider(Result):
    """One provider and how it is doing."""

    id: str
    kind: ProviderKind
    state: ProviderState
    reason_code: ProviderReason
    detail: str
    failures: int
    successes: int
    checked_at: datetime | None
    #: The last check is older than the provider's limit: whatever the state says, nobody knows.
    check_overdue: bool
    changed_at: datetime
    #: How many accounts stand or fall with it.
    accounts: int


class ProviderList(Result):
    """Providers, by id."""

    table_of: ClassVar = "providers"
    columns: ClassVar = ("id", "kind", "state", "reason_code", "detail", "changed_at", "checked_at", "accounts")
    providers: list[Provider]


class ShowProvider(Request):
    """One provider."""

    provider: LookupId


class BoundAccount(Result):
    """An account that stands or falls with the provider, and how far its fills were pulled."""

    account_id: str
    bound_at: datetime
    pulls: int
    pulled_at: datetime | None
    failed_at: datetime | None
    failed_reason: ProviderReason | None
    resume_from: str | None


class ProviderDetail(Provider):
    """One provider: its settings, its health, its accounts."""

    columns: ClassVar = (
        "id", "kind", "state", "reason_code", "detail", "changed_at", "checked_at", "good_at", "check_overdue",
        "failures", "successes", "check_url", "fills_url", "stale_field", "credentials", "stale_after_s", "timeout_s",
        "attempts", "degrade_after", "block_after", "recover_after", "check_within_s",
    )  # fmt: skip
    tables: ClassVar = {"bound": ("account_id", "bound_at", "pulls", "pulled_at", "failed_at", "failed_reason")}
    check_url: str
    fills_url: str | None
    stale_field: str | None
    #: Where they are; never what they are.
    credentials: str | None
    plain_http: bool
    stale_after_s: int
    timeout_s: int
    attempts: int
    degrade_after: int
    block_after: int
    recover_after: int
    check_within_s: int
    good_at: datetime | None
    created_at: datetime
    bound: list[BoundAccount]


class ListProviderEvents(Request):
    """Provider events, newest first."""

    provider: LookupId | None = None
    limit: Annotated[int, Field(ge=1, le=100_000)] = 100


class ProviderEventRow(Result):
    """One row of provider_events, whole."""

    id: int
    provider_id: str
    account_id: str | None
    event: ProviderEvent
    state_before: ProviderState | None
    state_after: ProviderState
    reason_code: ProviderReason | None
    detail: str | None
    failures: int
    successes: int
    resume_from: str | None
    rows_new: int | None
    metadata: dict[str, Any]
    reason: str | None
    actor: str
    created_at: datetime
    trace_id: str


class ProviderEvents(Result):
    """Provider events, newest first."""

    table_of: ClassVar = "events"
    columns: ClassVar = (
        "id", "created_at", "provider_id", "event", "state_before", "state_after", "reason_code", "detail",
        "account_id", "actor",
    )  # fmt: skip
    events: list[ProviderEventRow]
