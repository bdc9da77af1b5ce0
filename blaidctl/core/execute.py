"""The one road of every operation, from either entrance.

request model → one transaction: handler, event rows, audit entry, stored answer → COMMIT → receipt. Refused:
rolled back, and the refusal gets an audit entry of its own, with event rows where the operation says how (`refused`).
A sign of life is no act: it has neither entry nor stored answer, and only its refusal is recorded
(runbooks/decisions/0011-signs-of-life.md). This module owns the request-id replay, dry-run, the bounded retry of
deadlocks, the schema gate, and what happens when the connection is lost at COMMIT.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from blaidctl.core import audit, checkpoints, clock, errors, events, revisions
from blaidctl.core.audit import Receipt
from blaidctl.core.canonical import canonical, fingerprint
from blaidctl.core.contract import RequestId
from blaidctl.core.operation import Operation, Status, resolve
from blaidctl.core.sql import Query, Row, database_time, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from blaidctl.core.context import Context
    from blaidctl.core.contract import Request, Result
    from blaidctl.core.events import EventTable

ATTEMPTS = 5
_REVISION = Query("SELECT version_num FROM alembic_version")
_STORED = Query("""
    SELECT r.fingerprint, r.answer, r.audit_seq, l.entry_hash
      FROM requests r JOIN audit_log l ON l.seq = r.audit_seq WHERE r.act_id = :act_id
""")
_WAS_DONE = Query("SELECT 1 AS n FROM requests WHERE act_id = :act_id")
_STORE = Query("""
    INSERT INTO requests (act_id, actor, request_id, operation, fingerprint, answer, audit_seq, created_at)
    VALUES (:act_id, :actor, :request_id, :operation, :fingerprint, :answer, :audit_seq, :now)
""")


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation answered: the result with its receipt, ready for either entrance."""

    operation: Operation
    trace_id: str
    result: Mapping[str, Any]
    request_id: str | None = None
    receipt: Receipt | None = None
    dry_run: bool = False
    replayed: bool = False
    finding: Mapping[str, Any] | None = None

    def body(self) -> dict[str, Any]:
        """Return the JSON object that both entrances print."""
        head: dict[str, Any] = {"operation": self.operation.name, "trace_id": self.trace_id}
        if self.operation.writes:
            head |= {"request_id": self.request_id, "dry_run": self.dry_run, "replayed": self.replayed}
            head["audit"] = {"seq": self.receipt.seq, "entry_hash": self.receipt.entry_hash} if self.receipt else None
        return head | {"result": dict(self.result)}

    def refusal(self) -> errors.BlaidError | None:
        """Return what makes a worked command answer no (exit code 1), as the error that both entrances show."""
        if self.finding is None:
            return None
        kinds = {kind.error_code: kind for kind in errors.leaves(errors.Findings)}
        return kinds[self.finding["error_code"]](self.finding["message"], missing=self.finding["missing_requirements"])


@dataclass(slots=True)
class Tx:
    """One transaction as a handler sees it: it reads, writes and records; it never commits and never prints."""

    ctx: Context
    connection: Connection
    now: datetime
    act_id: str = ""
    dry_run: bool = False
    target: dict[str, Any] = field(default_factory=dict)
    before: Any = None
    after: Any = None
    digests: dict[str, Any] = field(default_factory=dict)

    def fetch(self, query: Query, **parameters: Any) -> list[Row]:
        """Return all rows."""
        return list(rows_of(query.on(self.connection, **parameters)))

    def first(self, query: Query, **parameters: Any) -> Row | None:
        """Return the first row or None."""
        return next(iter(self.fetch(query, **parameters)), None)

    def run(self, query: Query, **parameters: Any) -> int:
        """Run a statement; return how many rows it touched."""
        return query.on(self.connection, **parameters).rowcount

    def clock(self) -> datetime:
        """Return the time that heartbeats and deadlines are judged by."""
        return database_time(self.connection, self.ctx.now())

    @property
    def stamps(self) -> dict[str, Any]:
        """What every event row of this act carries."""
        return {
            "act_id": self.act_id, "actor": self.ctx.actor, "created_at": self.now, "trace_id": self.ctx.trace_id,
        }  # fmt: skip

    def record(self, table: EventTable, rows: Sequence[Mapping[str, Any]], **shared: Any) -> list[Row]:
        """Write the act's event rows (one call a table) and hash them into its audit entry.

        `shared` are the columns that have the same value in every row.
        """
        written, self.digests[table.name] = events.write(self.connection, table, rows, shared, self.stamps)
        return written

    @contextlib.contextmanager
    def recording(self, table: EventTable, **shared: Any) -> Iterator[Callable[[Sequence[Mapping[str, Any]]], None]]:
        """Give what `record` does in pieces, in constant memory: call it with some rows, as often as need be."""
        stamps = self.stamps
        hashing = events.Hashing(table)
        yield lambda rows: hashing.add(events.insert(self.connection, table, rows, shared, stamps))
        if hashing.count:
            self.digests[table.name] = hashing.digest()


def execute(
    ctx: Context,
    operation: Operation,
    parameters: Mapping[str, Any],
    *,
    request_id: str | None = None,
    dry_run: bool = False,
) -> Answer:
    """Carry out one operation. Raises a BlaidError when it was not done."""
    if operation.status is Status.NOT_IMPLEMENTED:
        raise not_built(operation)
    model = resolve(operation.request)
    request = _validated(model, {name: value for name, value in parameters.items() if name not in model.prepared})
    if not operation.writes:
        return _query(ctx, operation, request)
    checked_id = _checked_request_id(request_id)
    prepared = resolve(operation.prepare)(ctx, request) if operation.prepare else contextlib.nullcontext(request)
    with prepared as ready:
        answer = _Attempt(ctx, operation, ready, checked_id, dry_run=dry_run).answer()
    if operation.settle and not dry_run:
        return resolve(operation.settle)(ctx, request, answer)  # type: ignore[no-any-return]
    return answer


def not_built(operation: Operation) -> errors.NotBuilt:
    """Return the 501 of an operation: what is missing, and the finding that tracks it."""
    return errors.NotBuilt(
        f"{operation.name} is not implemented",
        missing=operation.missing_requirements,
        next_steps=[f"Finding {operation.finding} in AUDIT_FINDINGS.md tracks it.", *errors.NotBuilt.next_steps],
    )


def _validated(model: type[Request], parameters: Mapping[str, Any]) -> Request:
    try:
        return model.model_validate(parameters)
    except ValidationError as error:
        raise invalid_request(error) from None


def invalid_request(error: ValidationError) -> errors.InvalidRequest:
    """Return the refusal of a request: every field that is wrong, in the words of both entrances."""
    problems = [
        f"{'.'.join(map(str, item['loc'])) or 'request'}: {item['msg'].removeprefix('Value error, ')}"
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    return errors.InvalidRequest("the request is invalid: " + "; ".join(problems), missing=problems)


def _checked_request_id(text: str | None) -> str:
    if text is None:
        return secrets.token_hex(16)
    try:
        return str(TypeAdapter(RequestId).validate_python(text))
    except ValidationError:
        raise errors.InvalidRequest(
            "the request id is invalid",
            missing=["request_id: 1 to 128 of letters, digits and . _ : / -, starting with a letter or digit"],
        ) from None


def _query(ctx: Context, operation: Operation, request: Request) -> Answer:
    try:
        with ctx.database.reading(statement_timeout_s=0 if operation.patient else None) as connection:
            if not operation.any_schema:
                check_schema(connection)
            result = resolve(operation.handler)(Tx(ctx, connection, ctx.now()), request)
    except Exception as error:
        if not operation.doubt:
            raise
        known = isinstance(error, errors.BlaidError)
        doubt = error if known else errors.Internal(f"a bug in blaidctl: {type(error).__name__}")
        result = resolve(operation.doubt)(ctx, request, doubt)
    return Answer(operation, ctx.trace_id, result.body(), finding=finding_of(result))


def finding_of(result: Result) -> Mapping[str, Any] | None:
    """Return the finding that turns a worked command into exit code 1, when the result carries one."""
    found = getattr(result, "finding", None)
    return found.model_dump() if found is not None else None


def check_schema(connection: Connection) -> None:
    """Refuse a schema that is not this version's; commands never migrate by themselves."""
    found = [row["version_num"] for row in rows_of(_REVISION.on(connection))]
    if found == [revisions.HEAD]:
        return
    if not found or found[0] in revisions.REVISIONS:
        raise errors.SchemaBehind(
            f"the schema is at {found[0] if found else 'nothing'}, this version needs {revisions.HEAD}"
        )
    raise errors.SchemaAhead(
        f"the schema is at {found[0]}, which this version does not know (it needs {revisions.HEAD})"
    )


@dataclass(slots=True)
class _Attempt:
    """One act under one request id: tried until it is done, refused, or the tries are used up."""

    ctx: Context
    operation: Operation
    request: Request
    request_id: str
    dry_run: bool

    @property
    def act_id(self) -> str:
        return hashlib.sha256(f"{self.ctx.actor}\n{self.request_id}".encode()).hexdigest()[:32]

    def answer(self) -> Answer:
        if self.operation.outside and not self._was_done():
            self.request = resolve(self.operation.outside)(self.ctx, self.request, dry_run=self.dry_run)
        lost_commit = False
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._once()
            except errors.OutcomeUnknown:
                lost_commit = True
            except errors.BlaidError as error:
                if lost_commit and isinstance(error, errors.Unavailable | errors.Unsettled):
                    raise self._unknown() from error
                if not error.facts.get("retry") or attempt == ATTEMPTS:
                    self._record_refusal(error)
                    raise
            clock.pause(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311 - spreads the retries, no secret
        raise self._unknown()

    def _was_done(self) -> bool:
        with self.ctx.database.reading() as connection:
            check_schema(connection)
            return next(rows_of(_WAS_DONE.on(connection, act_id=self.act_id)), None) is not None

    def _require_checkpoint(self, limit_s: int) -> None:
        """Look before the transaction: no lock is held while a long log is searched for a checkpoint."""
        if self._was_done():
            return  # what is told again starts nothing
        with self.ctx.database.reading() as connection:
            checkpoints.require_fresh(connection, self.ctx.now(), limit_s)

    def _once(self) -> Answer:
        settings = self.ctx.settings
        if self.operation.needs_checkpoint and settings.checkpoint_max_age_s is not None:
            self._require_checkpoint(settings.checkpoint_max_age_s)
        lock_s = settings.kill_lock_timeout_s if self.operation.urgent else settings.lock_timeout_s
        receipt: Receipt | None = None

        def committed() -> None:
            if receipt is not None:
                self.ctx.receipts.append(receipt)

        with self.ctx.database.writing(lock_timeout_s=lock_s, keep=not self.dry_run, committed=committed) as connection:
            check_schema(connection)
            tx = Tx(self.ctx, connection, self.ctx.now(), act_id=self.act_id, dry_run=self.dry_run)
            if self.operation.sign_of_life:
                alive: Result = resolve(self.operation.handler)(tx, self.request)
                return self._answer(alive.body(), None)
            stored = next(rows_of(_STORED.on(connection, act_id=self.act_id)), None)
            if stored is not None:
                return self._replay(stored)
            result: Result = resolve(self.operation.handler)(tx, self.request)
            body = result.body()
            receipt = audit.append(connection, self._entry(tx, audit.DONE))
            _STORE.on(
                connection,
                act_id=self.act_id,
                actor=self.ctx.actor,
                request_id=self.request_id,
                operation=self.operation.name,
                fingerprint=self._fingerprint(),
                answer=result.replayable(body),
                audit_seq=receipt.seq,
                now=tx.now,
            )
        return self._answer(body, None if self.dry_run else receipt)

    def _entry(self, tx: Tx, outcome: str, **more: Any) -> audit.Entry:
        return audit.Entry(
            act_id=tx.act_id,
            action=self.operation.name,
            actor=self.ctx.actor,
            created_at=tx.now,
            outcome=outcome,
            request_id=self.request_id,
            trace_id=self.ctx.trace_id,
            events=tx.digests,
            what={
                **self.ctx.circumstances(),
                "after": tx.after,
                "before": tx.before,
                "reason": getattr(self.request, "reason", None),
                "target": tx.target,
                **more,
            },
        )

    def _fingerprint(self) -> str:
        """Hash what was asked for: the operation and its parameters, without how long to wait for proof."""
        asked = self.request.model_dump(mode="json", exclude={"wait"})
        return fingerprint({"operation": self.operation.name, "request": asked})

    def _replay(self, stored: Row) -> Answer:
        if stored["fingerprint"] != self._fingerprint():
            raise errors.RequestIdReused(f"request id {self.request_id} was used before with other parameters")
        receipt = Receipt(seq=stored["audit_seq"], entry_hash=bytes(stored["entry_hash"]).hex())
        return self._answer(stored["answer"], receipt, replayed=True)

    def _answer(self, result: Mapping[str, Any], receipt: Receipt | None, *, replayed: bool = False) -> Answer:
        return Answer(
            operation=self.operation,
            trace_id=self.ctx.trace_id,
            result=result,
            request_id=self.request_id,
            receipt=receipt,
            dry_run=self.dry_run,
            replayed=replayed,
        )

    def _record_refusal(self, error: errors.BlaidError) -> None:
        """Give a refusal its own entry; if even that fails, the refusal still reaches the caller and says so.

        The entry has an act id of its own: what was refused may be asked for again, and done, under its request id.
        """
        if self.dry_run or not error.audited:
            return
        try:
            with self.ctx.database.writing() as connection:
                check_schema(connection)
                tx = Tx(self.ctx, connection, self.ctx.now(), act_id=secrets.token_hex(16))
                asked = self.request.model_dump(mode="json", exclude_none=True)
                asked |= {name: f"sha256 {fingerprint(asked[name])}" for name in asked.keys() & self.request.bulky}
                tx.target = {"request": canonical(asked)}
                if self.operation.refused:
                    resolve(self.operation.refused)(tx, self.request, error)
                audit.append(connection, self._entry(tx, audit.REFUSED, error_code=error.error_code))
        except errors.BlaidError as second:
            error.message += f" (this refusal could not be recorded: {second.error_code})"

    def _unknown(self) -> errors.OutcomeUnknown:
        again = f"Run the same command again with --request-id {self.request_id}: it is done once, whichever it was."
        if self.operation.sign_of_life:
            again = "Run the same command again: one sign of life more does no harm."
        return errors.OutcomeUnknown(
            "the connection was lost at COMMIT; whether the change was written is not known", next_steps=[again]
        )
