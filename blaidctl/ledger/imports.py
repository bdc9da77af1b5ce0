"""Writing fills: a source is read and judged to its end, then written in parts, each one audited act.

    with Intake(ctx, terms) as intake:          # terms: ledger.terms.Terms
        for record in records:                  # ledger.fills.Record: from a file, or from the pages of a provider
            intake.add(record)
        stored = store(ctx, intake, sha256=…)   # 64 hex digits that stand for the source: the same source, the same

Nothing is written before everything was read and judged: any refusal refuses all, with every line that is named. Then
parts of `PART_ROWS` fills, each its own transaction (`ledger import part`): a kill never waits for more than one part.
What stops in the middle leaves whole parts; the same import again finishes it, because fills are known by (account,
venue_trade_id) and parts by (account, sha256, number). `ledger import` (run.py) and `ledger pull` both come here.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from blaidctl.core import errors
from blaidctl.core.execute import Tx, check_schema, execute
from blaidctl.core.operation import the_map
from blaidctl.instruments import currencies
from blaidctl.ledger import contract, facts, moves, parts, queries, refusals, trades
from blaidctl.ledger.fills import AccountFee, Fill, Refusal
from blaidctl.ledger.judge import Judge
from blaidctl.ledger.spool import Entry, Fee, Moved, Spool

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from sqlalchemy.engine import Connection

    from blaidctl.core.audit import Receipt
    from blaidctl.core.context import Context
    from blaidctl.core.execute import Answer
    from blaidctl.ledger.facts import Account, Bot, Instrument
    from blaidctl.ledger.fills import Record
    from blaidctl.ledger.terms import Terms

#: Fills of one transaction: a kill, and every heartbeat on SQLite, waits no longer than these take (about 0.3 s).
PART_ROWS = 5_000
#: Why a record of overlapping pages is skipped.
REPEATED = "says again what a record before it said"
#: The operation that writes one.
PART = "ledger import part"
#: Fills that are compared with the ledger in one statement.
_LOOKED_UP = 2_000


class Intake:
    """A source on its way into the ledger: every record judged as it comes, in constant memory."""

    def __init__(self, ctx: Context, terms: Terms) -> None:
        """Find the account and the bot that the terms name. Raises AccountNotFound, BotNotFound."""
        self.ctx, self.terms = ctx, terms
        with self._looking() as connection:
            tx = Tx(ctx, connection, ctx.now())
            self.account = account_of(tx, terms.account)
            if terms.bot is not None:
                bot_of(tx, terms.bot)
            known_currency = currencies.known(tx)
        self.spool = Spool()
        self.judge = Judge(
            terms,
            self.account,
            ctx.now(),
            known_currency=known_currency,
            find_bot=self._bot,
            find_instruments=self._instruments,
        )

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Forget what was read."""
        self.spool.close()

    def add(self, record: Record) -> None:
        """Take the next record."""
        spool = self.spool
        spool.rows_read += 1
        if isinstance(record, Fill):
            judged = self.judge.entry(record)
            if isinstance(judged, Entry):
                spool.add(judged)
                return
        elif isinstance(record, AccountFee):
            fee = self.judge.fee(record)
            if isinstance(fee, Fee):
                spool.add_fee(fee)
                return
            judged = fee
        elif isinstance(record, Refusal):
            judged = [("", reason) for reason in record.reasons]
        else:
            spool.skip(record.why)
            if record.move is None:
                return
            moved = self.judge.move(record.line, record.move)
            if isinstance(moved, Moved):
                spool.add_move(moved)
                return
            judged = moved
        for error_code, reason in judged:
            spool.refuse(record.line, error_code, reason)

    @contextlib.contextmanager
    def _looking(self) -> Iterator[Connection]:
        with self.ctx.database.reading() as connection:
            check_schema(connection)
            yield connection

    def _bot(self, name: str) -> Bot | None:
        with self._looking() as connection:
            return facts.bots(connection, [name], self.account.id).get(name)

    def _instruments(self, symbol: str) -> list[Instrument]:
        with self._looking() as connection:
            return facts.instruments(connection, symbol)


def account_of(tx: Tx, account_id: str) -> Account:
    """Return an account. Raises AccountNotFound with the closest ones."""
    from blaidctl.accounts.service import require_account

    require_account(tx, account_id)
    found = facts.account(tx.connection, account_id)
    assert found is not None  # noqa: S101 - it was there a moment ago, in the same snapshot
    return found


def bot_of(tx: Tx, bot_id: str) -> None:
    """Insist on a bot. Raises BotNotFound with the closest ones."""
    from blaidctl.fleet.service import require_bot

    require_bot(tx, bot_id)


@dataclass(slots=True)
class Stored:
    """What an import came to."""

    account: str
    parts: int
    rows_read: int
    rows_new: int = 0
    rows_known: int = 0
    skipped: int = 0
    #: Why, and how many records; of them, how many change a position.
    skipped_why: dict[str, int] = field(default_factory=dict)
    moved: int = 0
    #: Of those, what this run wrote down.
    moves_new: int = 0
    fees_new: int = 0
    fees_known: int = 0
    #: Of the new ones, by bot.
    after_kill: Counter[str] = field(default_factory=Counter)
    first_executed_at: str | None = None
    last_executed_at: str | None = None
    exact: bool = True
    #: Parts that this run wrote; the others were there.
    parts_written: int = 0
    #: Of the last part that this run wrote; None when nothing was to be written.
    receipt: Receipt | None = None
    replayed: bool = False


def store(  # noqa: PLR0913 - each by its name
    ctx: Context,
    intake: Intake,
    *,
    sha256: str,
    reason: str | None = None,
    request_id: str | None = None,
    dry_run: bool = False,
    act: str = PART,
    more: Mapping[str, Any] | None = None,
) -> Stored:
    """Write what an intake took, or refuse all of it.

    `act` is the operation that writes each part, for whoever has more to write in the same transaction (how far a
    provider was pulled, say); `more` are the further fields of its request.

    Raises CrossUserFill, CrossAccountFill, UnlinkedFill (6), LedgerConflict (4), RowsRefused (2) with every line that
    is named; those of 6 and 4 are entries and REFUSED events of their own. What else is raised (no database, no room)
    says in its sentence how many parts stay written.
    """
    return _Import(ctx, intake, sha256, reason, request_id, dry_run=dry_run, act=act, more=more or {}).stored()


@dataclass(slots=True)
class _Import:
    """One import: checked against the ledger, then written part by part."""

    ctx: Context
    intake: Intake
    sha256: str
    reason: str | None
    request_id: str | None
    dry_run: bool
    act: str
    more: Mapping[str, Any]
    #: Of each part, how many fills the ledger holds; empty: it holds none of the account.
    _known: list[int] = field(default_factory=list)
    _new_fees: list[Fee] = field(default_factory=list)
    _new_moves: list[Moved] = field(default_factory=list)
    _done: Stored | None = None

    def stored(self) -> Stored:
        """Check everything, then write every part that is not there."""
        spool, terms = self.intake.spool, self.intake.terms
        count = spool.settle(repeats=terms.repeats)
        parts_ = max(1, -(-count // PART_ROWS))
        self._check(count)
        if spool.refused:
            self._refuse()
        why = spool.skipped | ({REPEATED: spool.repeated} if spool.repeated else {})
        done = self._done = Stored(
            terms.account, parts_, spool.rows_read, skipped=sum(why.values()), skipped_why=why, moved=spool.moved
        )
        try:
            with self.ctx.database.kept_open():
                self._write(done, count)
        except errors.BlaidError as error:
            raise self._cut_off(error) from error
        return done

    # --- checking ---------------------------------------------------------------------------------------------------

    def _check(self, count: int) -> None:
        """Compare with what the ledger holds: known fills, reversals, the sequence."""
        self._check_sequence()
        told = self.ctx.progress("comparing fills", count)
        account, spool, compared = self.intake.account.id, self.intake.spool, 0
        with self._looking() as connection:
            empty = queries.ANY_FILL.on(connection, account_id=account).first() is None
        for part in () if empty else spool.batches(PART_ROWS):
            known = 0
            for start in range(0, len(part), _LOOKED_UP):
                batch = part[start : start + _LOOKED_UP]
                with self._looking() as connection:
                    there = trades.known(connection, account, [entry.venue_trade_id for entry in batch])
                known += len(there)
                for entry in batch:
                    if entry.venue_trade_id in there:
                        self._compare(entry, there[entry.venue_trade_id])
            self._known.append(known)
            compared += len(part)
            told(compared)
        for batch in spool.reversals(_LOOKED_UP):
            self._check_reversals(batch)
        with self._looking() as connection:
            tx = Tx(self.ctx, connection, self.ctx.now())
            self._new_fees, wrong = parts.compared_fees(tx, account, spool.fees_of_account())
            self._new_moves = moves.unknown(tx, account, spool.moves())
        for one in wrong:
            spool.refuse(*one)

    @contextlib.contextmanager
    def _looking(self) -> Iterator[Connection]:
        with self.ctx.database.reading() as connection:
            check_schema(connection)
            yield connection

    def _check_sequence(self) -> None:
        terms = self.intake.terms
        if terms.sequence is None:
            return
        with self._looking() as connection:
            query, account = queries.SEQUENCE, terms.account
            found = query.on(connection, account_id=account, sequence=terms.sequence, file_sha256=self.sha256).first()
        if found is not None:
            what = f"sequence: {terms.sequence} of account {account} is another import (sha256 {found[0]})"
            self.intake.spool.refuse(0, errors.LedgerConflict.error_code, what)

    def _compare(self, entry: Entry, there: trades.Known) -> None:
        difference = trades.difference(entry, there)
        if difference:
            self.intake.spool.refuse(entry.line, errors.LedgerConflict.error_code, difference)

    def _check_reversals(self, batch: list[Entry]) -> None:
        """Refuse reversals of what is not there, is one itself, is taken back already, or says something else."""
        spool, account = self.intake.spool, self.intake.account.id
        ids = [str(entry.reverses) for entry in batch]
        with self._looking() as connection:
            there = trades.known(connection, account, ids)
            taken = dict(map(tuple, queries.REVERSED.on(connection, account_id=account, ids=ids).all()))
        here, others = spool.entries_of(ids), spool.reversals_of(ids)
        for entry in batch:
            original_id = str(entry.reverses)
            original = here.get(original_id) or (there[original_id].entry if original_id in there else None)
            by = taken.get(original_id) or others[original_id][0].venue_trade_id
            wrong = (
                f"reverses: no fill {original_id!r} is here or in the ledger"
                if original is None
                else trades.no_mirror(entry, original)
                or (f"reverses: {original_id!r} is taken back by {by!r} already" if by != entry.venue_trade_id else "")
            )
            if wrong:
                spool.refuse(entry.line, "", wrong)

    def _refuse(self) -> None:
        """Raise the gravest refusal, with every line; what others may not do is recorded as an act of its own."""
        spool = self.intake.spool
        total = sum(spool.refused.values())
        error = refusals.error_of(spool.refusals(), total, spool.rows_read, self.intake.terms.source_name)
        if not error.audited:
            raise error
        asked = {**self._asked(), "error": error, "refused": spool.refused}
        execute(self.ctx, the_map()["ledger import refusal"], asked, dry_run=self.dry_run)

    def _asked(self) -> dict[str, Any]:
        """Return what every act of this import says of it."""
        terms = self.intake.terms
        said = {name: getattr(terms, name) for name in contract.OF_TERMS}
        return {**said, "account": self.intake.account.id, "file_sha256": self.sha256, "reason": self.reason}

    # --- writing ----------------------------------------------------------------------------------------------------

    def _write(self, done: Stored, count: int) -> None:
        told, written = self.ctx.progress("writing fills", count), 0
        terms = self.intake.terms
        source = {"account_id": self.intake.account.id, "file_sha256": self.sha256}
        with self._looking() as connection:
            found = queries.PARTS.on(
                connection, **source, parts=done.parts, no_fee=int(terms.no_fee), sequence=terms.sequence
            )
            there = set(found.scalars())
            late = dict(map(tuple, queries.LATE.on(connection, **source).all())) if there else {}
        batches = self.intake.spool.batches(PART_ROWS)
        for number in range(1, done.parts + 1):
            entries = next(batches, [])
            if number in there and self._is_known(number, entries, done) and self.request_id is None:
                done.rows_known += len(entries)
                done.fees_known += self.intake.spool.fees if number == done.parts else 0
                _span(done, entries)
            else:
                self._part(done, number, entries)
            written += len(entries)
            told(written)
        if done.parts_written and not done.replayed:
            # Whoever was cut off after a part with fills after a kill never heard of them: who finishes it does.
            done.after_kill.update(late)

    def _is_known(self, number: int, entries: list[Entry], done: Stored) -> bool:
        """Say whether a part need not be written again: what is there under its number may be of another reading."""
        known = self._known[number - 1] if number <= len(self._known) else 0
        return known == len(entries) and (number < done.parts or not (self._new_fees or self._new_moves))

    def _part(self, done: Stored, number: int, entries: list[Entry]) -> None:
        spool, last = self.intake.spool, number == done.parts
        fees, moved = (spool.fees_of_account(), spool.moves()) if last else ([], [])
        extra = spool.rows_read - self._fills() if number == 1 else 0
        answer = execute(
            self.ctx,
            the_map()[self.act],
            {
                **self._asked(),
                **self.more,
                "part": number,
                "parts": done.parts,
                "rows_read": len(entries) + extra,
                "material": Material(self.intake.judge, entries, fees, moved),
            },
            request_id=None if self.request_id is None else f"{self.request_id}/{number}",
            dry_run=self.dry_run,
        )
        self._count(done, answer, entries)

    def _fills(self) -> int:
        return self.intake.spool.settle(repeats=self.intake.terms.repeats)

    @staticmethod
    def _count(done: Stored, answer: Answer, entries: list[Entry]) -> None:
        part = contract.ImportedPart.model_validate(answer.result)
        for name in ("rows_new", "rows_known", "fees_new", "fees_known", "moves_new"):
            setattr(done, name, getattr(done, name) + getattr(part, name))
        done.after_kill.update(part.after_kill)
        if part.import_id is not None:
            done.parts_written += 1
            done.receipt = answer.receipt
        done.replayed = done.replayed or answer.replayed
        _span(done, entries)

    def _cut_off(self, error: errors.BlaidError) -> errors.BlaidError:
        """Say what was committed before an error, in its own sentence: "nothing was written" would be a lie."""
        done = self._done
        if done is None or not done.parts_written or self.dry_run:
            return error
        seq = f" (audit seq up to {done.receipt.seq})" if done.receipt else ""
        return type(error)(
            f"{error.message}; before that {done.parts_written} of {done.parts} part(s) with {done.rows_new} fill(s)"
            f" were written, which STAY{seq}",
            missing=error.missing,
            next_steps=["Run the same import again: it goes on with the part that is missing.", *error.steps],
        )


def _span(done: Stored, entries: list[Entry]) -> None:
    for entry in entries:
        at = entry.executed_at
        if done.first_executed_at is None or at < done.first_executed_at:
            done.first_executed_at = at
        if done.last_executed_at is None or at > done.last_executed_at:
            done.last_executed_at = at
        if not entry.exact:
            done.exact = False


@dataclass(frozen=True, slots=True)
class Material:
    """What a part is made of: not of the request's text."""

    judge: Judge
    entries: list[Entry]
    fees: list[Fee]
    moves: list[Moved]
