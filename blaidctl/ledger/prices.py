"""`ledger rate` and `ledger mark`: one price, or a file of them; read before any transaction, recorded all or none."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from blaidctl.core import errors, files
from blaidctl.core.decimals import PositiveExact, text_of
from blaidctl.core.text import printable
from blaidctl.core.types import time_text
from blaidctl.instruments import currencies
from blaidctl.instruments.contract import Moment, ShowInstrument
from blaidctl.instruments.rows import header_of, text_problem
from blaidctl.instruments.service import require_instrument
from blaidctl.ledger import contract, queries
from blaidctl.ledger.events import FX_RATES, MARKS
from blaidctl.ledger.judge import TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from blaidctl.core.context import Context
    from blaidctl.core.events import EventTable
    from blaidctl.core.execute import Tx
    from blaidctl.core.sql import Query

#: Of one file: rates of a hundred pairs for ten years.
MOST_ROWS = 500_000
MOST_LISTED = 1_000
_BATCH = 1_000
_LONGEST = 200
_NUMBERS: dict[str, TypeAdapter[Any]] = {"rate": TypeAdapter(PositiveExact), "price": TypeAdapter(contract.NotZero)}
_MOMENT: TypeAdapter[datetime] = TypeAdapter(Moment)


@dataclass(frozen=True, slots=True)
class Kind:
    """What rates and marks have in common: a key, a moment, a value, and who says so."""

    table: EventTable
    key: tuple[str, ...]
    value: str
    #: Columns that a file may leave out.
    optional: tuple[str, ...]
    there: Query

    @property
    def columns(self) -> tuple[str, ...]:
        """What a row says."""
        return (*self.key, "at", self.value, "source")


RATES = Kind(FX_RATES, ("base", "quote"), "rate", (), queries.RATES_THERE)
MARK = Kind(MARKS, ("exchange", "symbol", "asset_class"), "price", ("asset_class",), queries.MARKS_THERE)

#: A line and its values: texts of the key, a datetime, a Decimal, a text.
Row = tuple[int, dict[str, Any]]


@contextlib.contextmanager
def prepared(
    ctx: Context, request: contract.RecordRates | contract.RecordMarks
) -> Iterator[contract.RecordRates | contract.RecordMarks]:
    """Read the file, or take the one price, and give the request with its rows."""
    kind = RATES if isinstance(request, contract.RecordRates) else MARK
    if request.file is None:
        one = {name: getattr(request, name) for name in kind.columns}
        yield request.model_copy(update={"rows": [(0, one)]})
        return
    with files.reading(request.file, ctx.settings.statement_timeout_s, ctx.progress) as reading:
        rows = list(_rows(reading, kind))
    yield request.model_copy(update={"rows": rows, "source_sha256": reading.sha256})


def _rows(reading: files.Reading, kind: Kind) -> Iterator[Row]:
    """Yield the rows. Raises RowsRefused with every line that is wrong."""
    lines = iter(reading)
    header = header_of(lines, [name for name in kind.columns if name not in kind.optional], kind.optional)
    wrong: list[str] = []
    count = bad = 0
    for line in lines:
        if not line.problem and not line.text.strip(" \t"):
            continue
        count += 1
        if count > MOST_ROWS:
            raise errors.FileInvalid(f"line {line.number}: the file has more than {MOST_ROWS} rows: load it in parts")
        found, problems = _row(line, header, kind)
        if problems:
            bad += 1
            wrong += [f"line {line.number}: {what}" for what in problems] if len(wrong) < MOST_LISTED else []
        else:
            yield line.number, found
    if not count:
        raise errors.FileInvalid("no row follows the header", next_steps=_AGAIN)
    if wrong:
        raise _refused(reading.name, bad, count, wrong)


_AGAIN = ("Correct what is named (runbooks/ledger.md) and record the file again; nothing of it was written.",)


def _refused(name: str, bad: int, count: int, wrong: Sequence[str]) -> errors.RowsRefused:
    told = [printable(what) for what in wrong[:MOST_LISTED]]
    return errors.RowsRefused(
        f"{bad} of {count} row(s) of {printable(name)} are refused, so nothing was recorded: {told[0]}",
        missing=told,
        next_steps=_AGAIN,
    )


def _row(line: files.Line, header: Sequence[str], kind: Kind) -> tuple[dict[str, Any], list[str]]:
    """Return the values of a line, and everything that is wrong with them."""
    try:
        cells = files.whole_cells(line)
    except ValueError as error:
        return {}, [str(error)]
    if len(cells) != len(header):
        return {}, [f"has {len(cells)} fields, {len(header)} are expected"]
    given = dict.fromkeys(kind.optional, "") | dict(zip(header, cells, strict=True))
    found: dict[str, Any] = {}
    problems = []
    for name in (*kind.key, "source"):
        if problem := text_problem(given[name], _LONGEST, needed=name not in kind.optional):
            problems.append(f"{name}: {problem}")
        found[name] = given[name] or None
    for name, read in (("at", _MOMENT), (kind.value, _NUMBERS[kind.value])):
        try:
            found[name] = read.validate_python(given[name])
        except ValidationError as error:
            problems.append(f"{name}: {error.errors()[0]['msg'].removeprefix('Value error, ')}")
    return found, problems


def record_rates(tx: Tx, request: contract.RecordRates) -> contract.Recorded:
    """Record the rates that are new; a known one must be the same."""
    known = currencies.known(tx)

    def check(row: dict[str, Any]) -> list[str]:
        wrong = [
            f"{name}: {row[name]!r} is neither in ISO 4217 nor declared (`blaidctl currency add`)"
            for name in ("base", "quote")
            if not known(row[name])
        ]
        return wrong + ([f"base and quote are both {row['base']}"] if row["base"] == row["quote"] else [])

    return _record(tx, request, RATES, check)


def record_marks(tx: Tx, request: contract.RecordMarks) -> contract.Recorded:
    """Record the marks that are new; a known one must be the same."""
    found: dict[tuple[Any, ...], Any] = {}

    def check(row: dict[str, Any]) -> list[str]:
        asked = tuple(row[name] for name in MARK.key)
        if asked not in found:
            named = ShowInstrument(exchange=row["exchange"], symbol=row["symbol"], asset_class=row["asset_class"])
            try:
                found[asked] = require_instrument(tx, named)
            except (errors.InstrumentNotFound, errors.AmbiguousInstrument) as error:
                if request.file is None:
                    raise
                found[asked] = error.message
        if isinstance(found[asked], str):
            return [found[asked]]
        row["asset_class"] = found[asked]["asset_class"]
        return []

    return _record(tx, request, MARK, check)


def _record(tx: Tx, request: contract.RecordRates | contract.RecordMarks, kind: Kind, check: Any) -> contract.Recorded:
    rows: list[Row] = request.rows
    name = request.file or "the request"
    _refuse_wrong(tx, rows, name, check)
    new = _new(tx, rows, kind, name)
    with tx.recording(kind.table) as record:
        for start in range(0, len(new), _BATCH):
            record(new[start : start + _BATCH])
    tx.target = {"file": request.file, "source_sha256": request.source_sha256}
    if request.file is None:
        tx.target = {name: rows[0][1][name] for name in kind.key} | {"at": time_text(rows[0][1]["at"])}
    tx.after = {"rows_read": len(rows), "rows_new": len(new)}
    return contract.Recorded(
        rows_read=len(rows),
        rows_new=len(new),
        rows_known=len(rows) - len(new),
        file=request.file,
        source_sha256=request.source_sha256,
    )


def _refuse_wrong(tx: Tx, rows: Sequence[Row], name: str, check: Any) -> None:
    latest = tx.now + TOLERANCE
    wrong: list[tuple[int, str]] = []
    for line, row in rows:
        wrong += [(line, what) for what in check(row)]
        if row["at"] > latest:
            wrong.append((line, f"at: {time_text(row['at'])} lies in the future"))
    if not wrong:
        return
    if not wrong[0][0]:
        raise errors.InvalidRequest("; ".join(what for _, what in wrong), missing=[what for _, what in wrong])
    lines = [f"line {line}: {what}" for line, what in wrong]
    raise _refused(name, len({line for line, _ in wrong}), len(rows), lines)


def _new(tx: Tx, rows: Sequence[Row], kind: Kind, name: str) -> list[Mapping[str, Any]]:
    """Return what is not recorded yet. Raises LedgerConflict naming every line that says otherwise."""
    new: dict[tuple[Any, ...], tuple[int, dict[str, Any]]] = {}
    wrong: list[str] = []
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        keys = [[*(row[part] for part in kind.key), time_text(row["at"])] for _, row in batch]
        there = {tuple(key): (id_, value) for *key, id_, value in queries.tuples(tx.connection, kind.there, keys=keys)}
        for (line, row), key in zip(batch, map(tuple, keys), strict=True):
            value = text_of(row[kind.value])
            held = there.get(key)
            if key in new:
                held = (f"line {new[key][0]}", text_of(new[key][1][kind.value]))
            if held is None:
                new[key] = (line, row)
            elif held[1] != value:
                where = f"row {held[0]} of {kind.table.name}" if isinstance(held[0], int) else held[0]
                said = f"{' '.join(map(str, key))}: {value} here, {held[1]} in {where}"
                wrong.append(f"line {line}: {said}" if line else said)
    if wrong:
        rest = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise errors.LedgerConflict(
            f"{printable(wrong[0])}{rest}; nothing of {printable(name)} was recorded",
            missing=[printable(what) for what in wrong[:MOST_LISTED]],
            next_steps=["What is recorded stays: record the right value at a moment of its own (runbooks/ledger.md)."],
        )
    return [row for _, row in new.values()]
