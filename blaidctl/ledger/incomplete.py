"""METRICS_INCOMPLETE: everything that is missing, each row by name, and what mends it. Never a number beside it.

One refusal names it all, so that an operator mends it in one go; of rows without end it names the first and counts.
"""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import TYPE_CHECKING

from blaidctl.core import errors
from blaidctl.core.decimals import text_of
from blaidctl.core.operation import resolve
from blaidctl.ledger import amounts, moves, rules, stored_pnl
from blaidctl.ledger.vocabulary import ProblemKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from blaidctl.core.sql import Row
    from blaidctl.ledger.reading import Ledger

RUNBOOK = "runbooks/wrong-pnl.md"
#: Lines of one refusal; further ones are counted.
MOST_LINES = 2_000

_MENDS = {
    "capital_flows": (
        "Record the starting capital: `blaidctl ledger flow {bot} --account {account} --kind INITIAL --amount MONEY"
        " --currency {currency} --at TIME`; where a wrong one is there: with --replaces ID (`blaidctl ledger flows"
        " {bot}`)."
    ),
    "ledger_imports": (
        "Import every file to its end: the same `blaidctl ledger import` again goes on where it stopped; a file of a"
        " series that came without its number is imported again with --sequence N."
    ),
    "ledger_events": (
        "Book what each did to {bot} as fills of your own, or find that it did nothing to it (runbooks/ledger.md); then"
        " say so: `blaidctl ledger resolve {account} MOVE --bot {bot} --reason WHAT`."
    ),
    "trades": (
        "Import the fills that are missing: `blaidctl ledger import FILE --account {account}`; take back a wrong one:"
        " `blaidctl ledger reverse {account} ID --reason WHY`."
    ),
    "trades.fee": (
        "If the fills of a file cost nothing: import it again with --no-fee. Else take each back (`blaidctl ledger"
        " reverse {account} ID --reason WHY`) and import it with its fee, under an id of its own."
    ),
    "trades.reported_pnl": (
        "Compare with `blaidctl ledger reconcile`; take back the fills that differ and import the right ones."
    ),
    "fx_rates": "Record each rate: `blaidctl ledger rate BASE {currency} RATE --at TIME --source WHO`.",
    "marks": "Record each mark: `blaidctl ledger mark EXCHANGE SYMBOL PRICE --at TIME`; or use --basis REALIZED.",
    "instruments": "Load each instrument: `blaidctl instrument load FILE`.",
    "providers": "Look at `blaidctl provider show PROVIDER`; fetch what is missing with `blaidctl ledger pull`.",
}


def refuse(
    ledger: Ledger, problems: Iterable[rules.Problem] = (), checks: Sequence[str] = (), *, despite_moves: bool = False
) -> None:
    """Raise METRICS_INCOMPLETE with every missing row, if there is any."""
    found = [
        *_no_fills(ledger),
        *_parts(ledger.imports),
        *_gaps(ledger.imports),
        *_rows(ledger),
        *(() if despite_moves else _moves(ledger)),
        *(line for problem in problems for line in _told(ledger, problem)),
        *_reported(ledger),
        *(reason for check in checks for reason in _asked(ledger, check)),
    ]
    if not found:
        return
    listed = found if len(found) <= MOST_LINES else [*found[:MOST_LINES], f"and {len(found) - MOST_LINES} more"]
    raise errors.MetricsIncomplete(
        f"the ledger of {ledger.bot_id} on {ledger.account_id} is incomplete, so there are no numbers:"
        f" {len(found)} missing",
        missing=listed,
        next_steps=[*_steps(ledger, found), f"Each case is explained in {RUNBOOK}."],
        bot=ledger.bot_id,
    )


def _steps(ledger: Ledger, found: Iterable[str]) -> list[str]:
    """Return what mends the kinds of rows that are missing, each once."""
    kinds = {line.partition(":")[0] for line in found}
    names = {"bot": ledger.bot_id, "account": ledger.account_id, "currency": ledger.currency}
    return [step.format_map(names) for kind, step in _MENDS.items() if kind in kinds]


def _no_fills(ledger: Ledger) -> Iterator[str]:
    """An empty ledger is no flat one: nobody can tell a bot that did not trade from fills that were not imported."""
    if not ledger.has_fills:
        whose = f" instance {ledger.instance} of" if ledger.instance is not None else ""
        until = amounts.day_or_moment(ledger.as_of)
        yield f"trades: no fill of{whose} {ledger.bot_id} on {ledger.account_id} up to {until}"


def _parts(imports: Iterable[Row]) -> Iterator[str]:
    """Name the parts of files that were not imported to their end."""
    there: dict[tuple[str, int], set[int]] = {}
    names = {}
    for row in imports:
        there.setdefault((row["file_sha256"], row["parts"]), set()).add(row["part"])
        names[row["file_sha256"]] = row["source_name"]
    whole = {sha256 for (sha256, parts), found in there.items() if len(found) == parts}
    for (sha256, parts), found in there.items():
        if sha256 not in whole:
            for part in sorted(set(range(1, parts + 1)) - found):
                yield f"ledger_imports: part {part} of {parts} of {names[sha256]} (sha256 {sha256})"


def _gaps(imports: Iterable[Row]) -> Iterator[str]:
    """Name the numbers that a sequence of imports skips."""
    sequences: dict[str | None, set[int]] = {}
    for row in imports:
        if row["sequence"] is not None:
            sequences.setdefault(row["provider_id"], set()).add(row["sequence"])
    for provider, numbers in sorted(sequences.items(), key=lambda item: item[0] or ""):
        of = f" of provider {provider}" if provider else ""
        ordered = sorted(numbers)
        for before, after in itertools.pairwise(ordered):
            if after == before + 2:  # one is missing between them
                yield f"ledger_imports: sequence {before + 1}{of}"
            elif after > before + 2:
                yield f"ledger_imports: sequences {before + 1} to {after - 1}{of}"


def _rows(ledger: Ledger) -> Iterator[str]:
    """Hold the fills against what their imports say that they wrote: one that is gone shows here at the latest."""
    written = ledger.written
    for row in ledger.imports:
        there = written.get(row["id"], 0)
        if there != row["rows_new"]:
            told = f"wrote {row['rows_new']} fill(s), {there} are there"
            yield f"trades: import {row['id']} ({row['source_name']}) {told}"
    known = {row["id"] for row in ledger.imports}
    for import_id in sorted(ledger.named_imports - known):
        yield f"ledger_imports: import {import_id}, which fills say they came with"


def _moves(ledger: Ledger) -> Iterator[str]:
    """Name the splits, transfers and the like that nobody has accounted for: lots behind them are not the broker's."""
    for import_id, move in ledger.open_moves:
        yield f"ledger_events: {moves.said(move)} is not accounted for (import {import_id})"


def _told(ledger: Ledger, problem: rules.Problem) -> Iterator[str]:
    """Say a problem of the engine: what is missing once, or each row that is wrong itself."""
    if problem.kind is ProblemKind.NO_STARTING_CAPITAL:
        yield f"capital_flows: no INITIAL flow of {ledger.bot_id} on {ledger.account_id}"
    elif problem.kind in _MISSING:
        table = _MISSING[problem.kind]
        yield f"{table}: {_subject(problem)} (needed by {_needed_by(problem)})"
    else:
        table, what = _WRONG[problem.kind]
        for row in problem.rows:
            where = table if row.venue_trade_id is not None or table != "trades" else "capital_flows"
            yield f"{where}: {_name(row)} {what}"
        if problem.count > len(problem.rows):
            yield f"{table}: {problem.count - len(problem.rows)} more, each {what}"


_MISSING = {
    ProblemKind.NO_INSTRUMENT: "instruments",
    ProblemKind.NO_RATE: "fx_rates",
    ProblemKind.NO_MARK: "marks",
}
_WRONG = {
    ProblemKind.BEFORE_STARTING_CAPITAL: ("trades", "lies before the starting capital"),
    ProblemKind.NO_OPEN_LOT: ("trades", "closes a lot that was never opened, on a long-only account"),
    ProblemKind.NO_FEE: ("trades.fee", "does not say its fee, and its import was not declared --no-fee"),
}


def _subject(problem: rules.Problem) -> str:
    if problem.kind is ProblemKind.NO_RATE:
        base, quote, day = problem.subject
        return f"{base} → {quote} on {day}"
    *key, last = problem.subject
    return " ".join([*key, last]) if problem.kind is ProblemKind.NO_INSTRUMENT else f"{' '.join(key)} on {last}"


def _needed_by(problem: rules.Problem) -> str:
    if not problem.rows:
        return f"the position held {problem.count} time(s)" if problem.count > 1 else "an open position"
    more = f" and {problem.count - 1} more" if problem.count > 1 else ""
    return f"{_name(problem.rows[0])}{more}"


def _name(row: rules.RowName) -> str:
    return f"flow {row.id} of {row.at}" if row.venue_trade_id is None else f"fill {row.venue_trade_id} of {row.at}"


def _reported(ledger: Ledger) -> Iterator[str]:
    """Name the fills whose reported result is not the one that their lots give; the first, and how many more."""
    if not ledger.reports_pnl:
        return
    more = 0
    with ledger.fills("reported_pnl") as batches:
        for row, result in stored_pnl.results(ledger.instruments, ledger.places, batches):
            reported = amounts.stored(row[-1])
            if reported is None or Fraction(reported) == result:
                continue
            if more < rules.NAMED_ROWS:
                name = _name(rules.RowName(row[2], row[0], row[1]))
                told = f"{text_of(reported)} reported, {amounts.money(result)} by FIFO from the fills"
                yield f"trades.reported_pnl: {name}: {told}"
            more += 1
    if more > rules.NAMED_ROWS:
        yield f"trades.reported_pnl: {more - rules.NAMED_ROWS} more fills"


def _asked(ledger: Ledger, check: str) -> Iterator[str]:
    """Ask a capability above about the time from the starting capital to as_of."""
    if ledger.since is not None:
        yield from resolve(check)(ledger.tx, ledger.bot_id, ledger.account_id, ledger.since, ledger.as_of)
