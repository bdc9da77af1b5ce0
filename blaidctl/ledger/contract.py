"""Requests and results of the ledger's writing side: imports, corrections, flows, rates, marks, and what is listed."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, TypeVar

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from blaidctl.accounts.contract import CurrencyCode
from blaidctl.core.contract import Act, Finding, Label, LookupId, Reason, Request, Result, storable
from blaidctl.core.decimals import Exact, PositiveExact
from blaidctl.fleet.vocabulary import Existence
from blaidctl.instruments.contract import FilePath, Limit, Moment
from blaidctl.instruments.rules import zone_of
from blaidctl.instruments.vocabulary import AssetClass
from blaidctl.ledger.vocabulary import FileFormat, FlowKind, LedgerEvent, Severity, Side

if TYPE_CHECKING:
    from decimal import Decimal

#: As the venue writes it.
VenueId = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(storable)]
_LARGEST = 2**53


def _zone(name: str) -> str:
    zone_of(name)
    return name


def _not_zero(value: Decimal) -> Decimal:
    if not value:
        msg = "is not zero"
        raise ValueError(msg)
    return value


NotZero = Annotated[Exact, AfterValidator(_not_zero)]


# --- imports --------------------------------------------------------------------------------------------------------


class ImportFile(Act):
    """Import fills from a file."""

    file: FilePath
    format: FileFormat
    account: LookupId
    bot: LookupId | None = None
    instance: Annotated[int, Field(ge=1, le=_LARGEST)] | None = None
    exchange: Annotated[str, StringConstraints(min_length=1, max_length=32), AfterValidator(storable)] | None = None
    asset_class: AssetClass | None = None
    timezone: Annotated[str, AfterValidator(_zone)] | None = None
    sequence: Annotated[int, Field(ge=1, le=_LARGEST)] | None = None
    no_fee: bool = False
    history: bool = False


#: What the acts of an import say of its terms (ledger.terms.Terms).
OF_TERMS = (
    "format", "source_name", "bot", "instance", "exchange", "asset_class", "timezone", "no_fee", "history", "sequence",
    "provider_id",
)  # fmt: skip


class OfImport(Act):
    """What every act of an import says of it."""

    account: LookupId
    file_sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    format: str
    source_name: str
    bot: str | None = None
    instance: int | None = None
    exchange: str | None = None
    asset_class: str | None = None
    timezone: str | None = None
    no_fee: bool = False
    history: bool = False
    sequence: int | None = None
    provider_id: str | None = None

    def terms(self) -> dict[str, Any]:
        """Return what was said, as far as anything was."""
        said = {name: getattr(self, name) for name in OF_TERMS}
        return {name: value for name, value in said.items() if value not in {None, False}}


class ImportPart(OfImport):
    """Write one part of an import."""

    part: Annotated[int, Field(ge=1)]
    parts: Annotated[int, Field(ge=1)]
    rows_read: Annotated[int, Field(ge=0)]
    #: The fills, judged: `ledger.imports.Material`.
    material: Any = Field(exclude=True, repr=False)


class ImportedPart(Result):
    """What one part came to."""

    #: None: all of it was there.
    import_id: int | None
    part: int
    parts: int
    rows_new: int
    rows_known: int
    fees_new: int
    fees_known: int
    #: Changes of positions that were written down.
    moves_new: int
    #: Of the new fills, by bot.
    after_kill: dict[str, int]


class ImportRefusal(OfImport):
    """Record that a source was refused."""

    #: By error code, how many reasons there were.
    refused: dict[str, int]
    error: Any = Field(exclude=True, repr=False)


class Imported(Result):
    """What an import came to."""

    columns: ClassVar = (
        "summary", "account_id", "rows_read", "rows_new", "rows_known", "skipped", "after_kill", "first_executed_at",
        "last_executed_at", "exact", "parts", "parts_written", "source", "source_sha256",
    )  # fmt: skip
    tables: ClassVar = {"skipped_why": ("why", "records")}
    account_id: str
    format: str
    source: str
    source_sha256: str
    rows_read: int
    rows_new: int
    rows_known: int
    #: Records that are no fills by their own word, and repeats.
    skipped: int
    #: Why → how many records.
    skipped_why: dict[str, int]
    #: Of them, those that change a position without a fill (a split, a transfer): events, until each is resolved.
    moved: int
    fees_new: int
    fees_known: int
    after_kill: int
    first_executed_at: datetime | None
    last_executed_at: datetime | None
    #: No number of it passed through a double.
    exact: bool
    parts: int
    parts_written: int
    summary: str
    finding: Finding | None = Field(default=None, exclude=True)


class ReverseFill(Act):
    """Take a fill back by hand."""

    account: LookupId
    venue_trade_id: VenueId
    reason: Reason


class ReversedFill(Result):
    """The reversal."""

    columns: ClassVar = ("account_id", "venue_trade_id", "reversal", "effect", "trade_id", "import_id")
    account_id: str
    venue_trade_id: str
    #: The id under which the reversal stands.
    reversal: str
    effect: Existence
    trade_id: int
    import_id: int


class ResolveMoves(Act):
    """Say that changes of positions without an execution are accounted for."""

    account: LookupId
    moves: Annotated[list[VenueId], Field(min_length=1, max_length=1_000)]
    #: Only of this bot; None: of every bot of the account.
    bot: LookupId | None = None
    reason: Reason


class ResolvedMove(Result):
    """One of them."""

    move_id: str
    kind: str
    symbol: str | None
    day: str | None
    effect: Existence


class ResolvedMoves(Result):
    """What was said of each."""

    table_of: ClassVar = "moves"
    columns: ClassVar = ("move_id", "kind", "symbol", "day", "effect")
    account_id: str
    bot_id: str | None
    moves: list[ResolvedMove]


# --- flows, rates, marks --------------------------------------------------------------------------------------------


class RecordFlow(Act):
    """Record capital that a bot got on an account, or gave back; or put right what was recorded wrongly."""

    bot: LookupId
    account: LookupId
    kind: FlowKind
    amount: Exact
    currency: CurrencyCode
    at: Moment
    note: Label | None = None
    external_id: VenueId | None = None
    #: The flow whose place this one takes; with an amount of 0 that flow is taken back.
    replaces: Annotated[int, Field(ge=1, le=_LARGEST)] | None = None

    @model_validator(mode="after")
    def _sign(self) -> Self:
        if self.kind is not FlowKind.FEE and self.amount < 0:
            msg = f"amount: a {self.kind} is above zero; what is taken out is a WITHDRAWAL"
            raise ValueError(msg)
        if not self.amount and self.replaces is None:
            msg = "amount: is not zero; a flow that was recorded wrongly is taken back by 0 with replaces"
            raise ValueError(msg)
        if not self.amount and self.kind is FlowKind.INITIAL:
            msg = "amount: a starting capital is not zero: it is replaced by the right one, not taken back"
            raise ValueError(msg)
        return self


class RecordedFlow(Result):
    """The flow."""

    columns: ClassVar = (
        "id", "bot_id", "account_id", "kind", "amount", "currency", "at", "effect", "external_id", "replaces",
        "replaced_by",
    )  # fmt: skip
    id: int
    bot_id: str
    account_id: str
    kind: FlowKind
    amount: Exact
    currency: str
    at: datetime
    note: str | None
    external_id: str | None
    #: The flow whose place this one took; and, where the flow was there already, the one that took its place since.
    replaces: int | None
    replaced_by: int | None
    effect: Existence


class RecordRates(Act):
    """Record an FX rate, or a file of them."""

    prepared: ClassVar = frozenset({"rows", "source_sha256"})
    base: CurrencyCode | None = None
    quote: CurrencyCode | None = None
    rate: PositiveExact | None = None
    at: Moment | None = None
    source: Label | None = None
    file: FilePath | None = None
    #: Part of what a request id stands for.
    source_sha256: str | None = None
    rows: Any = Field(default=None, exclude=True, repr=False)

    @model_validator(mode="after")
    def _one_or_file(self) -> Self:
        return _one_or_file(self, ("base", "quote", "rate", "at", "source"))


class RecordMarks(Act):
    """Record a mark of an instrument, or a file of them."""

    prepared: ClassVar = frozenset({"rows", "source_sha256"})
    exchange: LookupId | None = None
    symbol: LookupId | None = None
    asset_class: AssetClass | None = None
    price: NotZero | None = None
    at: Moment | None = None
    source: Label | None = None
    file: FilePath | None = None
    #: Part of what a request id stands for.
    source_sha256: str | None = None
    rows: Any = Field(default=None, exclude=True, repr=False)

    @model_validator(mode="after")
    def _one_or_file(self) -> Self:
        return _one_or_file(self, ("exchange", "symbol", "price", "at", "source"))


_Asked = TypeVar("_Asked", bound=Act)


def _one_or_file(asked: _Asked, names: tuple[str, ...]) -> _Asked:
    missing = [name for name in names if getattr(asked, name) is None]
    file = getattr(asked, "file", None)
    if file is None and missing:
        msg = f"needs {', '.join(missing)}, or a file"
        raise ValueError(msg)
    if file is not None and len(missing) < len(names):
        msg = f"takes either a file or {', '.join(names)}"
        raise ValueError(msg)
    return asked


class Recorded(Result):
    """How many rates or marks were new."""

    columns: ClassVar = ("rows_read", "rows_new", "rows_known", "file", "source_sha256")
    rows_read: int
    rows_new: int
    rows_known: int
    file: str | None
    source_sha256: str | None


# --- lists ----------------------------------------------------------------------------------------------------------


class ListImports(Request):
    """Imports, newest first."""

    account: LookupId | None = None
    limit: Limit = 100


class ImportRow(Result):
    """One part of an import."""

    id: int
    account_id: str
    format: str
    source_name: str
    file_sha256: str
    part: int
    parts: int
    rows_read: int
    rows_new: int
    rows_known: int
    exact: bool
    sequence: int | None
    provider_id: str | None
    no_fee: bool
    timezone: str | None
    first_executed_at: datetime | None
    last_executed_at: datetime | None
    after_kill: int
    fills_sha256: str
    actor: str
    created_at: datetime
    trace_id: str


class ImportList(Result):
    """Imports, newest first."""

    table_of: ClassVar = "imports"
    columns: ClassVar = (
        "id", "created_at", "account_id", "format", "source_name", "part", "parts", "rows_new", "rows_known",
        "sequence", "after_kill", "exact",
    )  # fmt: skip
    imports: list[ImportRow]


class ListLedgerEvents(Request):
    """Events of the ledger, newest first."""

    bot: LookupId | None = None
    account: LookupId | None = None
    limit: Limit = 100


class LedgerEventRow(Result):
    """One row of ledger_events, whole."""

    id: int
    event: LedgerEvent
    severity: Severity
    account_id: str | None
    bot_id: str | None
    import_id: int | None
    error_code: str | None
    message: str
    metadata: dict[str, Any]
    actor: str
    created_at: datetime
    trace_id: str


class LedgerEvents(Result):
    """Events of the ledger, newest first."""

    table_of: ClassVar = "events"
    columns: ClassVar = (
        "id",
        "created_at",
        "severity",
        "event",
        "account_id",
        "bot_id",
        "error_code",
        "message",
        "actor",
    )
    events: list[LedgerEventRow]


class ListFills(Request):
    """Fills of a bot, newest first."""

    bot: LookupId
    account: LookupId | None = None
    limit: Limit = 100


class FillRow(Result):
    """One fill as it is stored."""

    id: int
    executed_at: datetime
    account_id: str
    instance_id: int | None
    exchange: str
    symbol: str
    asset_class: str
    side: Side
    quantity: Exact
    price: Exact
    fee: Exact | None
    fee_currency: str | None
    venue_trade_id: str
    order_id: str | None
    #: The venue_trade_id of the fill that this one takes back; and of the one that takes this one back.
    reverses: str | None
    reversed_by: str | None
    reported_pnl: Exact | None
    after_kill: bool
    exact: bool
    source: str
    line: int
    import_id: int


class FillList(Result):
    """Fills, newest first."""

    table_of: ClassVar = "fills"
    columns: ClassVar = (
        "executed_at", "account_id", "exchange", "symbol", "side", "quantity", "price", "fee", "fee_currency",
        "venue_trade_id", "reverses", "reversed_by", "after_kill",
    )  # fmt: skip
    fills: list[FillRow]
    total: int
    not_listed: int


class ListFlows(Request):
    """Capital flows of a bot, newest first."""

    bot: LookupId
    account: LookupId | None = None
    limit: Limit = 100


class FlowRow(Result):
    """One capital flow as it is stored; it counts unless it is replaced or its amount is 0."""

    id: int
    at: datetime
    account_id: str
    kind: FlowKind
    amount: Exact
    currency: str
    note: str | None
    external_id: str | None
    #: The id of the flow whose place this one takes; and of the one that takes this one's.
    replaces: int | None
    replaced_by: int | None
    actor: str
    created_at: datetime
    trace_id: str


class FlowList(Result):
    """Capital flows, newest first."""

    table_of: ClassVar = "flows"
    columns: ClassVar = ("id", "at", "kind", "amount", "currency", "replaces", "replaced_by", "account_id")
    below: ClassVar = ("not_listed",)
    flows: list[FlowRow]
    total: int
    not_listed: int
