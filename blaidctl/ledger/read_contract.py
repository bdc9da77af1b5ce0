"""Requests and results of reading the ledger. Money is text with all of its places; an undefined ratio is null."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from blaidctl.core.contract import Finding, LookupId, Request, Result
from blaidctl.instruments.contract import FilePath, Moment
from blaidctl.ledger.vocabulary import Basis, Discrepancy, LotMethod

RowId = Annotated[int, Field(gt=0, lt=2**53)]


class Asked(Request):
    """Whose figures, and under which conventions."""

    bot: LookupId
    #: May be left out where the bot has one.
    account: LookupId | None = None
    instance: RowId | None = None
    lot_method: LotMethod = LotMethod.FIFO
    basis: Basis = Basis.REALIZED
    #: Now, unless it is said.
    as_of: Moment | None = None


class ShowMetrics(Asked):
    """Profitability of a bot on an account."""

    by_day: bool = False
    by_month: bool = False


class Provenance(Result):
    """What stands beside every number."""

    bot_id: str
    account_id: str
    instance: int | None
    currency: str
    lot_method: LotMethod
    basis: Basis
    #: The figures are of the time from the starting capital to as_of.
    since: str
    as_of: str
    conventions: dict[str, str]
    #: Table → how many of its rows went in.
    source_tables: dict[str, int]
    #: Part of the input → its hash; input_hash is over these.
    inputs: dict[str, str]
    input_hash: str
    output_hash: str
    code_version: str
    #: The place in the audit log at which the ledger stood.
    version: int


class DrawdownLine(Result):
    """One drawdown; zero and without times where equity never fell (or does not now)."""

    #: `maximum` (by money), `steepest` (by fraction of its peak), `current`.
    drawdown: str
    money: str
    fraction: str | None
    start: str | None
    trough: str | None
    recovery: str | None
    #: Microseconds, as text: from start to recovery, or to as_of.
    duration_us: str


class DayLine(Result):
    """A UTC day on which something happened."""

    day: str
    gross: str
    fees: str
    net: str
    flows: str
    closed_trades: int
    equity: str


class MonthLine(Result):
    """The sum of a month's days, and the equity at the end of the last of them."""

    month: str
    gross: str
    fees: str
    net: str
    flows: str
    closed_trades: int
    equity: str


class PositionLine(Result):
    """What is open in one instrument; cost and average price in its own currency."""

    exchange: str
    symbol: str
    asset_class: str
    quantity: str
    average_price: str
    cost: str
    currency: str
    lots: int
    opened_at: str
    #: In the account's currency; null unless the basis is MARKED.
    unrealized: str | None


class Metrics(Provenance):
    """Every figure of a ledger, in the account's currency."""

    columns: ClassVar = (
        "bot_id", "account_id", "instance", "currency", "since", "as_of",
        "net", "gross", "fees", "unrealized", "equity", "starting_capital", "deposits", "withdrawals",
        "return_on_capital", "max_drawdown", "max_drawdown_fraction", "current_drawdown", "current_drawdown_fraction",
        "closed_trades", "wins", "losses", "win_rate", "profit_factor", "expectancy", "exposure",
        "fills", "fills_from_floats", "fills_after_kill", "lot_method", "basis",
    )  # fmt: skip
    tables: ClassVar = {
        "drawdowns": ("drawdown", "money", "fraction", "start", "trough", "recovery"),
        "months": ("month", "net", "gross", "fees", "flows", "closed_trades", "equity"),
        "days": ("day", "net", "gross", "fees", "flows", "closed_trades", "equity"),
        "positions": ("symbol", "exchange", "quantity", "average_price", "currency", "opened_at", "unrealized"),
        "undefined": ("field", "reason"),
        "conventions": ("convention", "rule"),
        "source_tables": ("table", "rows"),
    }
    below: ClassVar = ("input_hash", "output_hash", "code_version", "version")

    fills: int
    #: Rows whose source held a number as a double: what it wrote may not be what the venue said.
    fills_from_floats: int
    fills_after_kill: int
    first_fill_at: str | None
    last_fill_at: str | None
    starting_capital: str
    deposits: str
    withdrawals: str
    gross: str
    fees: str
    fill_fees: str
    account_fees: str
    net: str
    unrealized: str | None
    equity: str
    peak: str
    closed_trades: int
    wins: int
    losses: int
    even: int
    profit: str
    loss: str
    win_rate: str | None
    profit_factor: str | None
    expectancy: str | None
    return_on_capital: str | None
    exposure: str | None
    max_drawdown: str
    #: The largest by fraction of its peak, which need not be the largest by money.
    max_drawdown_fraction: str | None
    current_drawdown: str
    current_drawdown_fraction: str | None
    drawdowns: list[DrawdownLine]
    positions: list[PositionLine]
    #: Where they are asked for.
    months: list[MonthLine]
    days: list[DayLine]
    #: Field → why it has no value.
    undefined: dict[str, str]


# ---- the curve -------------------------------------------------------------------------------------------------------


class ShowEquity(Asked):
    """The equity curve of a bot on an account."""

    #: Of the points; beyond, the curve is thinned.
    limit: Annotated[int, Field(ge=10, le=10_000_000)] = 1_000
    #: Where a page with picture, figures and hashes is written to.
    html: FilePath | None = None


class EquityPoint(Result):
    """Equity after everything that happened at a moment."""

    at: str
    equity: str
    peak: str
    drawdown: str
    #: Of the peak; null where the peak is not above zero.
    fraction: str | None


class EquityCurve(Provenance):
    """The equity curve and its drawdowns."""

    table_of: ClassVar = "points"
    columns: ClassVar = ("at", "equity", "peak", "drawdown", "fraction")
    picture: ClassVar = "blaidctl.ledger.picture:equity"
    tables: ClassVar = {
        "drawdowns": ("drawdown", "money", "fraction", "start", "trough", "recovery"),
        "undefined": ("field", "reason"),
        "conventions": ("convention", "rule"),
        "source_tables": ("table", "rows"),
    }
    below: ClassVar = (
        "bot_id", "account_id", "currency", "since", "as_of", "total", "left_out", "html", "html_sha256", "input_hash",
        "output_hash", "code_version", "version",
    )  # fmt: skip
    points: list[EquityPoint]
    #: The page that was written, and its SHA-256.
    html: str | None = None
    html_sha256: str | None = None
    #: How many points the curve has, and how many of them are not among these.
    total: int
    left_out: int
    equity: str
    peak: str
    drawdowns: list[DrawdownLine]
    undefined: dict[str, str]


# ---- a statement beside the ledger -----------------------------------------------------------------------------------


class Reconcile(Request):
    """A statement of a broker or a backend, held against the ledger of an account."""

    file: FilePath
    account: LookupId
    #: `statement` (blaidctl's own JSON), or a format of `ledger import`.
    format: Literal["statement", "csv", "ndjson", "freqtrade", "hummingbot", "ccxt", "alpaca", "ibkr"] = "statement"
    #: Narrow the ledger to what the statement is about.
    bot: LookupId | None = None
    instance: RowId | None = None
    since: Moment | None = None
    until: Moment | None = None
    timezone: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    lot_method: LotMethod = LotMethod.FIFO


class Difference(Result):
    """One thing that is not the same on both sides."""

    difference: Discrepancy
    #: The fill, the total or the position.
    what: str
    field: str | None
    ledger: str | None
    statement: str | None


class Reconciled(Result):
    """What was compared, and every difference."""

    table_of: ClassVar = "differences"
    columns: ClassVar = ("difference", "what", "field", "ledger", "statement")
    tables: ClassVar = {"compared": ("compared", "count")}
    below: ClassVar = (
        "agrees", "count", "not_listed", "account_id", "bot_id", "instance", "since", "until", "source",
        "source_sha256", "input_hash",
    )  # fmt: skip
    agrees: bool
    count: int
    not_listed: int
    differences: list[Difference]
    #: What was compared: fills, fields, totals, positions → how many.
    compared: dict[str, int]
    account_id: str
    bot_id: str | None
    instance: int | None
    since: str | None
    until: str
    source: str
    source_sha256: str
    #: Of the figures that totals and positions were compared with.
    input_hash: str | None
    finding: Finding | None = Field(default=None, exclude=True)
