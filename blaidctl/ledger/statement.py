"""A statement of a broker or a backend, to be held against the ledger: fills, totals, positions, or some of these.

A file of fills in any format that `ledger import` reads is a statement of fills. blaidctl's own is one JSON object:

    {"account": "ib-1", "bot": "momo-1", "instance": 7,
     "since": "2026-01-01T00:00:00Z", "until": "2026-02-01T00:00:00Z",
     "fills": [{"venue_trade_id": "T1", "executed_at": "…", "symbol": "ES", "side": "BUY", "quantity": "1", …}],
     "totals": {"gross": "12.5", "fees": "4.2", "net": "8.3", "fills": 4, "closed_trades": 1},
     "positions": [{"exchange": "CME", "symbol": "ES", "asset_class": "future", "quantity": "-1"}]}

Only `account` must be there, and something to compare. A fill has the columns of blaidctl's own CSV; what it does not
say is not compared. Amounts are best written as text; a bare number is taken as it is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blaidctl.core import errors, files
from blaidctl.core.contract import LookupId
from blaidctl.core.decimals import Exact
from blaidctl.core.execute import invalid_request
from blaidctl.instruments.contract import Moment
from blaidctl.instruments.vocabulary import AssetClass
from blaidctl.ledger import formats
from blaidctl.ledger.fills import AccountFee, Fill, Refusal
from blaidctl.ledger.formats import columns, json_text
from blaidctl.ledger.read_contract import RowId
from blaidctl.ledger.vocabulary import FileFormat

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from blaidctl.core.context import Context
    from blaidctl.ledger.read_contract import Reconcile

#: blaidctl's own.
OWN = "statement"
#: Characters of blaidctl's own statement, and fills of any: they are held in memory while they are compared.
LONGEST = 256 * 1024 * 1024
MOST_FILLS = 2_000_000
_MOST_REFUSED = 1_000
_STEPS = ("Correct what is named, or export the statement again; nothing was compared.",)
_Count = Annotated[int, Field(ge=0, lt=2**53)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Totals(_Part):
    """What a statement says that it comes to; in the account's currency."""

    gross: Exact | None = None
    fees: Exact | None = None
    net: Exact | None = None
    equity: Exact | None = None
    fills: _Count | None = None
    closed_trades: _Count | None = None


class Held(_Part):
    """A position at the end of a statement; below zero: short."""

    exchange: LookupId
    symbol: LookupId
    asset_class: AssetClass
    quantity: Exact


class Statement(_Part):
    """What is held against the ledger."""

    account: LookupId | None = None
    bot: LookupId | None = None
    instance: RowId | None = None
    since: Moment | None = None
    until: Moment | None = None
    fills: list[Any] | None = None
    totals: Totals | None = None
    positions: list[Held] | None = None
    sha256: str = Field(default="", exclude=True)


def read(ctx: Context, request: Reconcile) -> Statement:
    """Read a statement to its end. Raises FileInvalid, FileUnreadable, RowsRefused: nothing of it is compared then."""
    layout = None if request.format == OWN else FileFormat(request.format)
    if layout is None:
        return _own(ctx, request)
    with formats.opened(layout, request.file, ctx.settings.statement_timeout_s, ctx.progress) as source:
        fills = _fills(request.file, formats.read(layout, source, timezone=request.timezone))
        return Statement(fills=_some(request.file, fills), sha256=source.sha256)


def _own(ctx: Context, request: Reconcile) -> Statement:
    with files.reading(request.file, ctx.settings.statement_timeout_s, ctx.progress, LONGEST) as reading:
        text = b"".join(iter(lambda: reading.read(1024 * 1024), b""))
    parser = json_text.Parser()
    try:
        given, end = parser.value(text.decode().strip())
        if end != len(text.decode().strip()) or not isinstance(given, dict):
            raise ValueError("it is no single JSON object")  # noqa: TRY301 - as the parser says it
        if parser.twice:
            raise ValueError(parser.problem())  # noqa: TRY301
    except ValueError as error:
        raise _invalid(f"{request.file} is no statement: {error}") from None
    try:
        statement = Statement.model_validate({**given, "sha256": reading.sha256})
    except ValidationError as error:
        raise _invalid(f"{request.file} is no statement", invalid_request(error).missing) from None
    if statement.account is None:
        raise _invalid(f"{request.file} does not say which account it is of", ["account"])
    says_total = any(value is not None for _, value in statement.totals or ())
    if not (statement.fills or says_total or statement.positions is not None):
        raise _invalid(f"{request.file} says nothing that could be compared", ["fills, totals or positions"])
    if statement.fills is None:
        return statement
    records = (_record(number, row) for number, row in enumerate(statement.fills, 1))
    return statement.model_copy(update={"fills": _fills(request.file, records)})


_KNOWN = frozenset((*columns.REQUIRED, *columns.OPTIONAL))


def _record(number: int, row: Any) -> Fill | Refusal:
    if not isinstance(row, dict):
        return Refusal(number, ("is no JSON object",))
    unknown = sorted(row.keys() - _KNOWN)
    return Refusal(number, (f"unknown name: {unknown[0]}",)) if unknown else columns.fill(number, row, None)


def _fills(name: str, records: Iterable[Any]) -> list[Fill]:
    """Return the fills; fees of an account are not compared fill by fill, and what is no fill is none here either."""
    found: dict[str, Fill] = {}
    refused: list[str] = []
    for record in records:
        refused += _refusals(record, found)
        if isinstance(record, Fill):
            found.setdefault(record.venue_trade_id, record)
        if len(found) > MOST_FILLS:
            raise _invalid(f"{name} has more than {MOST_FILLS} fills: compare it in parts, --since and --until")
    if refused:
        raise errors.RowsRefused(
            f"{len(refused)} row(s) of {name} cannot be compared, so nothing was",
            missing=refused[:_MOST_REFUSED],
            next_steps=_STEPS,
        )
    return list(found.values())


def _refusals(record: Fill | AccountFee | Refusal | Any, found: dict[str, Fill]) -> Iterator[str]:
    if isinstance(record, Refusal):
        yield f"line {record.line}: {'; '.join(record.reasons)}"
    elif isinstance(record, Fill) and record.venue_trade_id in found:
        yield f"line {record.line}: {record.venue_trade_id} stands on line {found[record.venue_trade_id].line} too"


def _some(name: str, fills: list[Fill]) -> list[Fill]:
    if not fills:
        raise _invalid(f"{name} holds no fill: an empty statement agrees with nothing")
    return fills


def _invalid(sentence: str, missing: Iterable[str] = ()) -> errors.FileInvalid:
    return errors.FileInvalid(sentence, missing=list(missing), next_steps=_STEPS)
