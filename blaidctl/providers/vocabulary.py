"""Closed lists of providers."""

from enum import StrEnum


class ProviderKind(StrEnum):
    """What a provider speaks."""

    #: Answers a probe; no fills come from it.
    HTTP = "http"
    #: Alpaca's trading API: account activities, paged by the id of the last one.
    ALPACA = "alpaca"
    #: `{"fills": [...], "next": cursor or null}`, the fills in blaidctl's own names.
    PAGED = "paged"


class ProviderState(StrEnum):
    """Whether a provider can be relied on. Only OK is a yes."""

    OK = "OK"
    DEGRADED = "DEGRADED"
    BLOCKED = "BLOCKED"


class Failure(StrEnum):
    """Why an answer of a provider counts for nothing."""

    REFUSED = "REFUSED"
    TIMEOUT = "TIMEOUT"
    TLS = "TLS"
    HTTP_STATUS = "HTTP_STATUS"
    BAD_JSON = "BAD_JSON"
    STALE = "STALE"
    PARTIAL = "PARTIAL"
    TOO_LARGE = "TOO_LARGE"
    #: The connection broke, or what came is not HTTP.
    PROTOCOL = "PROTOCOL"


class ProviderReason(StrEnum):
    """Why a provider is in the state that it is in."""

    REFUSED = "REFUSED"
    TIMEOUT = "TIMEOUT"
    TLS = "TLS"
    HTTP_STATUS = "HTTP_STATUS"
    BAD_JSON = "BAD_JSON"
    STALE = "STALE"
    PARTIAL = "PARTIAL"
    TOO_LARGE = "TOO_LARGE"
    PROTOCOL = "PROTOCOL"
    #: A new provider: nobody has seen a good answer yet.
    NEVER_CHECKED = "NEVER_CHECKED"
    #: Enough good answers in a row.
    RECOVERED = "RECOVERED"
    #: It answered as it should, but what it sent are not fills that can be booked.
    ROWS_REFUSED = "ROWS_REFUSED"


class ProviderEvent(StrEnum):
    """What a provider event records."""

    ADDED = "ADDED"
    TRANSITION = "TRANSITION"
    BOUND = "BOUND"
    UNBOUND = "UNBOUND"
    PULLED = "PULLED"
    PULL_FAILED = "PULL_FAILED"


class CheckOutcome(StrEnum):
    """What a single check found."""

    GOOD = "GOOD"
    FAILED = "FAILED"


class BindEffect(StrEnum):
    """What an act did to a binding."""

    BOUND = "BOUND"
    UNBOUND = "UNBOUND"
    ALREADY_SO = "ALREADY_SO"
