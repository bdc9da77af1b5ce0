"""`instrument load`: the file is read and checked before any transaction; then one act writes what is new or changed.

In constant memory: rows wait on disk (spool.py) and go through in batches, their events hashed as they are written.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from blaidctl.core import errors, files
from blaidctl.core.text import printable
from blaidctl.instruments import contract, currencies, queries, rows
from blaidctl.instruments.events import INSTRUMENT_EVENTS
from blaidctl.instruments.rows import KEY, VALUES, Refusal, Row
from blaidctl.instruments.spool import Spool
from blaidctl.instruments.vocabulary import InstrumentAction, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from blaidctl.core.context import Context
    from blaidctl.core.execute import Tx

BATCH_ROWS = 1_000

Known = dict[str, Any]


@contextlib.contextmanager
def prepared(ctx: Context, request: contract.LoadInstruments) -> Iterator[contract.LoadInstruments]:
    """Read the file to its end and give the request with what was read."""
    with contextlib.closing(Spool()) as spool:
        with files.reading(request.file, ctx.settings.statement_timeout_s, ctx.progress) as reading:
            for found in rows.read(iter(reading), request.format, max_qty=request.require_max_qty):
                _keep(spool, found)
        yield request.model_copy(update={"spool": spool, "source_sha256": reading.sha256})


def _keep(spool: Spool, found: Row | Refusal | rows.Skipped) -> None:
    if isinstance(found, Row):
        spool.add(found)
    elif isinstance(found, Refusal):
        spool.refuse(found)
    else:
        spool.skipped += 1


def load(tx: Tx, request: contract.LoadInstruments) -> contract.Loaded:
    """Write what is new or changed, each with its event; any refused row refuses all, unless it is to be skipped."""
    spool: Spool = request.spool
    tx.run(queries.LOCK)
    report = _Report(spool)
    for refusal in spool.refusals():
        report.refuse(refusal)
    progress, done = tx.ctx.progress("loading instruments", spool.rows_read), 0
    check = _checks(tx)
    with tx.recording(INSTRUMENT_EVENTS, source_sha256=request.source_sha256) as record:
        for batch in spool.batches(BATCH_ROWS):
            changes = [change for row in batch if (change := _compared(row, check, report)) is not None]
            _settle(tx, request, changes, report, record)
            done += len(batch)
            progress(done)
    if report.counts[Outcome.REFUSED] and not request.skip_refused:
        raise _refused(request.file, report)
    return _result(tx, request, report)


def _checks(tx: Tx) -> Callable[[Row], tuple[str, list[str]]]:
    """Return what gives a row's session and everything that the database says against the row."""
    sessions = {row["name"] for row in tx.fetch(queries.SESSION_NAMES)}
    known_currency = currencies.known(tx)

    def check(row: Row) -> tuple[str, list[str]]:
        problems = []
        if not known_currency(str(row.values["currency"])):
            problems.append(
                f"currency: {row.values['currency']!r} is neither in ISO 4217 nor declared (`blaidctl currency add`)"
            )
        session = next((name for name in row.sessions if name in sessions), "")
        if not session:
            wanted = " or ".join(map(repr, row.sessions))
            problems.append(f"session: {wanted} is not known (`blaidctl session load`)")
        return session, problems

    return check


def _compared(row: Row, check: Callable[[Row], tuple[str, list[str]]], report: _Report) -> tuple[int, Known] | None:
    """Return (line, values with the session that holds), or note the refusal."""
    session, problems = check(row)
    if problems:
        report.refuse(Refusal(row.line, tuple(problems), row.key))
        return None
    return row.line, {**row.values, "session": session}


def _settle(
    tx: Tx,
    request: contract.LoadInstruments,
    wanted: Sequence[tuple[int, Known]],
    report: _Report,
    record: Callable[[Sequence[dict[str, Any]]], None],
) -> None:
    """Compare a batch with what is there; write the difference, unless the load is refused already."""
    known = _known(tx, [values for _, values in wanted])
    new: list[list[Any]] = []
    changed: list[list[Any]] = []
    events: list[dict[str, Any]] = []
    for line, values in wanted:
        before = known.get(_key(values))
        after = {**values, "is_active": before is None or before["is_active"] or request.reactivate}
        outcome = report.note(line, before, after)
        if outcome is Outcome.UNCHANGED:
            continue
        (new if before is None else changed).append(
            [after[name] for name in queries.FIELDS] + ([] if before is None else [int(after["is_active"])])
        )
        events.append({
            "action": _ACTIONS[outcome],
            "before": before,
            "after": after,
            **{name: values[name] for name in KEY},
        })  # fmt: skip
    if report.counts[Outcome.REFUSED] and not request.skip_refused:
        return
    for query, rows_ in ((queries.INSERT, new), (queries.UPDATE, changed)):
        if rows_:
            tx.run(query, rows=rows_, now=tx.now)
    if events:
        record(events)


_ACTIONS = {
    Outcome.NEW: InstrumentAction.LOADED,
    Outcome.CHANGED: InstrumentAction.CHANGED,
    Outcome.REACTIVATED: InstrumentAction.REACTIVATED,
}


def _key(values: Known) -> tuple[Any, ...]:
    return tuple(values[name] for name in KEY)


def _known(tx: Tx, wanted: Sequence[Known]) -> dict[tuple[Any, ...], Known]:
    """Return the rows that are there under these keys, as events say them."""
    found = queries.KNOWN.on(tx.connection, keys=[_key(values) for values in wanted])
    names = (*queries.FIELDS, "is_active")
    there = (dict(zip(names, row, strict=True)) for row in found.all())
    return {_key(row): {**row, "is_active": bool(row["is_active"])} for row in there}


class _Report:
    """What becomes of each row: all counted, a bounded number of each kind kept."""

    def __init__(self, spool: Spool) -> None:
        self.rows_read, self.comments = spool.rows_read, spool.skipped
        self.counts = dict.fromkeys(Outcome, 0)
        self.inactive = 0
        self._kept: dict[Outcome, list[contract.LoadedRow]] = {outcome: [] for outcome in Outcome}

    def refuse(self, refusal: Refusal) -> None:
        """Count and keep a refusal."""
        key = [printable(part[:64]) for part in refusal.key]
        self._add(Outcome.REFUSED, refusal.line, key, printable("; ".join(refusal.reasons)))

    def note(self, line: int, before: Known | None, after: Known) -> Outcome:
        """Count and keep what a row changes."""
        self.inactive += not after["is_active"]
        if before is None:
            self._add(Outcome.NEW, line, _key(after), "")
            return Outcome.NEW
        changes = [name for name in VALUES if before[name] != after[name]]
        back = after["is_active"] and not before["is_active"]
        outcome = Outcome.REACTIVATED if back else Outcome.CHANGED if changes else Outcome.UNCHANGED
        told = [contract.Change(field=n, before=before[n], after=after[n]) for n in changes]
        detail = "; ".join(f"{c.field} {_said(c.before)} → {_said(c.after)}" for c in told)
        self._add(outcome, line, _key(after), detail or ("out of use" if not after["is_active"] else ""), told)
        return outcome

    def _add(
        self, outcome: Outcome, line: int, key: Sequence[str], detail: str, changes: Sequence[contract.Change] = ()
    ) -> None:
        self.counts[outcome] += 1
        kept = self._kept[outcome]
        if len(kept) < contract.MOST_LISTED:
            exchange, symbol, asset_class = key
            kept.append(
                contract.LoadedRow(
                    line=line,
                    exchange=exchange,
                    symbol=symbol,
                    asset_class=asset_class,
                    outcome=outcome,
                    detail=detail,
                    changes=list(changes),
                )
            )

    def refusals(self) -> list[str]:
        """Return the refused lines, in order, as far as they are listed."""
        refused = sorted(self._kept[Outcome.REFUSED], key=lambda row: row.line)
        return [f"line {row.line}{_named(row)}: {row.detail}" for row in refused]

    def rows(self) -> list[contract.LoadedRow]:
        """Return what is listed, by line: refused and changed rows before new and unchanged ones."""
        ranked = (Outcome.REFUSED, Outcome.CHANGED, Outcome.REACTIVATED, Outcome.NEW, Outcome.UNCHANGED)
        found = [row for outcome in ranked for row in self._kept[outcome]]
        return sorted(found[: contract.MOST_LISTED], key=lambda row: row.line)


def _said(value: str | None) -> str:
    return value or "none"


def _named(row: contract.LoadedRow) -> str:
    key = "/".join(part for part in (row.exchange, row.symbol, row.asset_class) if part)
    return f" ({key})" if key else ""


def _refused(name: str, report: _Report) -> errors.RowsRefused:
    listed, count = report.refusals(), report.counts[Outcome.REFUSED]
    rest = f", the first {len(listed)} are listed" if count > len(listed) else ""
    return errors.RowsRefused(
        f"{count} of {report.rows_read} row(s) of {name} are refused, so nothing was loaded{rest}",
        missing=listed,
        next_steps=[
            "Correct each line that is named (runbooks/bad-instrument-data.md) and load the file again.",
            "Or load the other rows with --skip-refused; --dry-run shows what that would change.",
        ],
    )


def _result(tx: Tx, request: contract.LoadInstruments, report: _Report) -> contract.Loaded:
    counts = {outcome.lower(): count for outcome, count in report.counts.items()}
    changes = report.counts[Outcome.NEW] + report.counts[Outcome.CHANGED] + report.counts[Outcome.REACTIVATED]
    listed = report.rows()
    tx.target = {"file": request.file, "format": request.format, "source_sha256": request.source_sha256}
    tx.after = {**counts, "rows_read": report.rows_read}
    return contract.Loaded(
        rows=listed,
        rows_read=report.rows_read,
        inactive=report.inactive,
        comments=report.comments,
        not_listed=report.rows_read - len(listed),
        source=request.file,
        source_sha256=request.source_sha256 or "",
        summary=_summary(changes, report, report.rows_read - len(listed)),
        **counts,
    )


def _summary(changes: int, report: _Report, not_listed: int) -> str:
    """Say it for a person: nothing that is none, but always how many changes and rows."""
    told = [(report.counts[outcome], outcome.lower()) for outcome in Outcome]
    told += [(report.inactive, "out of use"), (report.comments, "comment or blank line(s)"), (not_listed, "not listed")]
    rest = ", ".join(f"{count} {what}" for count, what in told if count)
    return f"{changes} change{'' if changes == 1 else 's'}; {report.rows_read} row(s): {rest}"
