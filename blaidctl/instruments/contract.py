"""Requests and results of instruments, sessions and currencies."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, PlainSerializer, PlainValidator, StringConstraints

from blaidctl.core.contract import Act, LookupId, Request, Result, storable
from blaidctl.core.decimals import Exact
from blaidctl.core.types import time_text
from blaidctl.fleet.vocabulary import Existence
from blaidctl.instruments.vocabulary import AssetClass, FileFormat, InstrumentAction, MarketState, Outcome

#: How many rows of a load are listed in its answer; all are counted.
MOST_LISTED = 1_000

FilePath = Annotated[str, StringConstraints(min_length=1, max_length=4096), AfterValidator(storable)]
Limit = Annotated[int, Field(ge=1, le=10_000)]
_SANE_YEARS = range(1900, 2200)


def _moment(value: Any) -> datetime:
    """Read an ISO 8601 time with its offset. Raises ValueError for anything else."""
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError):
        msg = "is an ISO 8601 time with its offset, as 2025-11-27T12:30:00-05:00 or 2025-11-27T17:30:00Z"
        raise ValueError(msg) from None
    if found.utcoffset() is None:
        msg = "needs an offset or Z: a time without one is another moment in every zone"
        raise ValueError(msg)
    if found.year not in _SANE_YEARS:
        msg = f"is not between {_SANE_YEARS.start} and {_SANE_YEARS.stop - 1}"
        raise ValueError(msg)
    return found.astimezone(UTC)


_SANE = (
    r"^(19|20|21)\d\d-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]0\d:00)$"
)
#: A moment that somebody asks about.
Moment = Annotated[
    datetime,
    PlainValidator(_moment, json_schema_input_type=Annotated[str, Field(json_schema_extra={"pattern": _SANE})]),
    # Its own serializer: pydantic warns of the text that it makes of what a PlainValidator gave.
    PlainSerializer(time_text, return_type=str, when_used="json"),
]


class LoadInstruments(Act):
    """Load instruments from a file."""

    prepared: ClassVar = frozenset({"source_sha256", "spool"})
    file: FilePath
    format: FileFormat = FileFormat.OWN
    skip_refused: bool = False
    reactivate: bool = False
    require_max_qty: bool = False
    #: Part of what a request id stands for.
    source_sha256: str | None = None
    #: What was read, on disk: `instruments.spool.Spool`.
    spool: Any = Field(default=None, exclude=True, repr=False)


class Change(Result):
    """One value of an instrument that is not what it was."""

    field: str
    before: str | None
    after: str | None


class LoadedRow(Result):
    """What a load did with one row, and why."""

    line: int
    exchange: str
    symbol: str
    asset_class: str
    outcome: Outcome
    detail: str
    changes: list[Change]


class Loaded(Result):
    """What a load did: every row, as far as a thousand, the refused and the changed ones first to be listed."""

    table_of: ClassVar = "rows"
    columns: ClassVar = ("line", "exchange", "symbol", "asset_class", "outcome", "detail")
    below: ClassVar = ("summary",)
    rows: list[LoadedRow]
    rows_read: int
    new: int
    changed: int
    reactivated: int
    unchanged: int
    #: Of the unchanged and changed ones: out of use, and left so.
    inactive: int
    refused: int
    #: Comments and blank lines.
    comments: int
    #: Rows that are counted and not listed.
    not_listed: int
    source: str
    source_sha256: str
    summary: str


class ListInstruments(Request):
    """Instruments, narrowed."""

    symbol: LookupId | None = None
    exchange: LookupId | None = None
    asset_class: AssetClass | None = None
    inactive: bool = False
    limit: Limit = 100


class Instrument(Result):
    """One instrument, with the value of one tick of one contract."""

    symbol: str
    exchange: str
    asset_class: AssetClass
    description: str
    tick_size: Exact
    point_value: Exact
    tick_value: Exact
    currency: str
    min_qty: Exact
    min_notional: Exact | None
    max_qty: Exact | None
    lot_size: Exact
    session: str
    venue_symbol: str
    price_magnifier: Exact
    is_active: bool
    updated_at: datetime


class InstrumentList(Result):
    """Instruments by exchange, symbol and asset class."""

    table_of: ClassVar = "instruments"
    columns: ClassVar = ("symbol", "exchange", "asset_class", "tick_size", "tick_value", "currency", "is_active")
    below: ClassVar = ("total", "not_listed")
    instruments: list[Instrument]
    #: How many there are under these conditions.
    total: int
    not_listed: int


class ShowInstrument(Request):
    """One instrument, and its session at a moment."""

    symbol: LookupId
    exchange: LookupId | None = None
    asset_class: AssetClass | None = None
    at: Moment | None = None


class WeekLine(Result):
    """Weekdays with the same hours."""

    days: str
    hours: str


class InstrumentDetail(Instrument):
    """An instrument, what a tick is worth, and whether its market trades."""

    columns: ClassVar = (
        "symbol", "exchange", "asset_class", "description", "tick_size", "point_value", "tick_value", "currency",
        "lot_size", "min_qty", "max_qty", "is_active", "session", "local_time", "state", "why", "until",
    )  # fmt: skip
    tables: ClassVar = {"week": ("days", "hours")}
    timezone: str
    at: datetime
    local_time: str
    #: It trades in every state but CLOSED.
    state: MarketState
    is_open: bool
    why: str
    #: When it closes or opens next.
    until: datetime | None
    week: list[WeekLine]


class DeactivateInstrument(Act):
    """Take an instrument out of use; its row stays."""

    symbol: LookupId
    exchange: LookupId | None = None
    asset_class: AssetClass | None = None


class DeactivatedInstrument(Result):
    """The instrument as it stands."""

    columns: ClassVar = ("symbol", "exchange", "asset_class", "is_active", "effect")
    symbol: str
    exchange: str
    asset_class: AssetClass
    is_active: bool
    effect: str


class ListInstrumentEvents(Request):
    """Instrument events, newest first."""

    symbol: LookupId | None = None
    exchange: LookupId | None = None
    asset_class: AssetClass | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class InstrumentEvent(Result):
    """What happened to an instrument."""

    id: int
    action: InstrumentAction
    exchange: str
    symbol: str
    asset_class: AssetClass
    what: str
    before: dict[str, Any] | None
    after: dict[str, Any]
    source_sha256: str | None
    created_at: datetime
    actor: str
    trace_id: str
    act_id: str


class InstrumentEvents(Result):
    """Instrument events, newest first."""

    table_of: ClassVar = "events"
    columns: ClassVar = ("id", "action", "exchange", "symbol", "asset_class", "what", "created_at")
    events: list[InstrumentEvent]


class LoadSessions(Act):
    """Load sessions from a file of hours, and their special dates from another."""

    prepared: ClassVar = frozenset({"hours_sha256", "dates_sha256", "read"})
    hours: FilePath
    dates: FilePath | None = None
    hours_sha256: str | None = None
    dates_sha256: str | None = None
    #: What was read: session → {timezone, hours, dates}; no dates where no file of dates was given.
    read: Any = Field(default=None, exclude=True, repr=False)


class LoadedSession(Result):
    """What a load did with one session."""

    session: str
    outcome: Outcome
    detail: str


class LoadedSessions(Result):
    """What a load did with every session."""

    table_of: ClassVar = "sessions"
    columns: ClassVar = ("session", "outcome", "detail")
    below: ClassVar = ("summary",)
    sessions: list[LoadedSession]
    new: int
    changed: int
    unchanged: int
    summary: str


class ListSessions(Request):
    """All sessions."""


class SessionLine(Result):
    """One session in the list."""

    name: str
    timezone: str
    #: Rows of hours, special dates, and instruments that trade in it.
    hours: int
    dates: int
    instruments: int
    updated_at: datetime


class SessionList(Result):
    """All sessions, by name."""

    table_of: ClassVar = "sessions"
    columns: ClassVar = ("name", "timezone", "hours", "dates", "instruments")
    sessions: list[SessionLine]


class ShowSession(Request):
    """One session at a moment."""

    name: LookupId
    at: Moment | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 6


class SessionHour(Result):
    """A stretch of a weekday in which the session trades."""

    weekday: int
    state: str
    opens: str
    closes: str


class SessionDate(Result):
    """A date that differs from its weekday."""

    date: str
    kind: str
    time: str | None


class SessionDetail(Result):
    """A session: whether it trades at a moment, its week, and the special dates that come."""

    columns: ClassVar = ("name", "timezone", "local_time", "state", "why", "until")
    tables: ClassVar = {"week": ("days", "hours"), "coming": ("date", "kind", "time")}
    name: str
    timezone: str
    at: datetime
    local_time: str
    state: MarketState
    is_open: bool
    why: str
    until: datetime | None
    updated_at: datetime
    week: list[WeekLine]
    hours: list[SessionHour]
    #: The next special dates from the moment on.
    coming: list[SessionDate]


class AddCurrency(Act):
    """Declare a currency that ISO 4217 does not know."""

    code: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]{2,16}$")]
    places: Annotated[int, Field(ge=0, le=18)]


class AddedCurrency(Result):
    """The currency as declared."""

    columns: ClassVar = ("code", "places", "effect")
    code: str
    places: int
    effect: Existence


class ListCurrencies(Request):
    """The declared currencies."""


class Currency(Result):
    """A declared currency."""

    code: str
    places: int
    created_at: datetime


class CurrencyList(Result):
    """The declared currencies; those of ISO 4217 are known without being declared."""

    table_of: ClassVar = "currencies"
    columns: ClassVar = ("code", "places", "created_at")
    below: ClassVar = ("standard",)
    currencies: list[Currency]
    #: How many ISO 4217 knows beside them.
    standard: int
