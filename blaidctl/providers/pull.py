"""`ledger pull`: fills of an account out of a provider, each pull whole or not at all.

A pull asks the provider first (its probe), then reads page after page and judges every record, and writes nothing
before the last page came: then the fills, the event and the place from which the next pull goes on are one transaction
(`ledger pull part`). A provider that fails in the middle is DEGRADED or BLOCKED for it at once, and 0 rows are written.
What is longer than a part of an import is several pulls, one after the other, each whole.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from blaidctl.core import errors, present
from blaidctl.core.command import chosen_output, patience, write_out
from blaidctl.core.contract import Finding
from blaidctl.core.execute import Answer, Tx, check_schema, execute, finding_of, invalid_request
from blaidctl.core.operation import the_map
from blaidctl.ledger import imports, spool
from blaidctl.ledger.terms import Terms
from blaidctl.providers import contract, pages, probe, service
from blaidctl.providers.rules import BadReplyError
from blaidctl.providers.vocabulary import Failure, ProviderKind, ProviderReason, ProviderState
from blaidctl.providers.web import LARGEST_PAGE, FailedError, Web

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from blaidctl.core.context import Context
    from blaidctl.core.sql import Row
    from blaidctl.core.vocabulary import Output
    from blaidctl.ledger.imports import Intake, Stored
    from blaidctl.providers.pages import Page
    from blaidctl.providers.rules import Reply

#: Pages of one pull; what is longer goes on with the next one.
MOST_PAGES = 2_000
#: Pulls of one command: about a million fills.
MOST_PULLS = 50
PART = "ledger pull part"


def pull(ctx: Context, asked: Mapping[str, Any], output: Output | None, *, dry_run: bool = False) -> int:
    """Pull the fills of an account; return 0, or raise what makes it answer otherwise."""
    try:
        request = contract.Pull.model_validate({name: value for name, value in asked.items() if value is not None})
    except ValidationError as error:
        raise invalid_request(error) from None
    operation = the_map()["ledger pull"]
    with patience(ctx, operation) as patient:
        found = _Command(patient, request, dry_run=dry_run).carried_out()
    answer = Answer(
        operation,
        ctx.trace_id,
        found.body(),
        receipt=ctx.receipts[-1] if ctx.receipts and not dry_run else None,
        dry_run=dry_run,
        finding=finding_of(found),
    )
    done = "nothing was written" if dry_run else f"{found.rows_new} new fill(s) ARE committed"
    write_out(present.render(answer, chosen_output(output)), done=done)
    if (refusal := answer.refusal()) is not None:
        raise refusal
    return 0


@dataclass(slots=True)
class _Fetched:
    """What one pull read: how much, its hash, and where the next one begins."""

    hasher: Any
    resume_from: str | None
    pages: int = 0
    rows: int = 0
    more: bool = False
    #: Every cursor so far: a provider that leads in a circle has no end.
    cursors: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Command:
    """One `ledger pull`."""

    ctx: Context
    request: contract.Pull
    dry_run: bool
    stored: list[Stored] = field(default_factory=list)
    pages: int = 0
    resume_from: str | None = None

    def carried_out(self) -> contract.Pulled:
        """Ask the provider, then pull until there is no more."""
        provider = self._provider()
        headers = probe.headers_of(provider)
        (checked,) = probe.probe(self.ctx, [(provider, headers)], reason=self.request.reason, dry_run=self.dry_run)
        if checked.state is not ProviderState.OK:
            why = f"{checked.failure}: {checked.detail}" if checked.failure else "not enough good looks in a row yet"
            raise not_ok(provider["id"], checked.state, why)
        more = True
        while more and len(self.stored) < MOST_PULLS:
            more = self._pull(provider, headers) and not self.dry_run
        return self._told(provider, more=more)

    def _provider(self) -> Row:
        """Return the provider. Raises when it is unknown, gives no fills, or the account is not bound to it."""
        with self.ctx.database.reading() as connection:
            check_schema(connection)
            tx = Tx(self.ctx, connection, self.ctx.now())
            provider = service.require_provider(tx, self.request.provider)
            service.require_fills(tx, provider, self.request.account)
            return provider

    def _pull(self, provider: Row, headers: Mapping[str, str]) -> bool:
        """Carry out one pull; say whether there is more."""
        with self.ctx.database.reading() as connection:
            check_schema(connection)
            cursor = service.cursor_of(Tx(self.ctx, connection, self.ctx.now()), provider["id"], self.request.account)
        terms = self._terms(provider)
        web = Web(provider["timeout_s"], provider["attempts"], headers, LARGEST_PAGE)
        with imports.Intake(self.ctx, terms) as intake:
            try:
                fetched = asyncio.run(_fetched(self.ctx, provider, web, intake, cursor))
            except FailedError as failed:
                raise self._failed(provider, failed) from None
            self._store(provider, intake, fetched, cursor)
        self.pages += fetched.pages
        self.resume_from = fetched.resume_from
        return fetched.more

    def _terms(self, provider: Row) -> Terms:
        asked = self.request
        return Terms(
            account=asked.account,
            format=provider["kind"],
            source_name=f"provider {provider['id']}",
            bot=asked.bot,
            instance=asked.instance,
            exchange=asked.exchange,
            asset_class=asked.asset_class,
            no_fee=asked.no_fee,
            history=asked.history,
            provider_id=provider["id"],
            repeats=True,
        )

    def _store(self, provider: Row, intake: Intake, fetched: _Fetched, cursor: Row) -> None:
        """Write what was read, with the place from which the next pull goes on."""
        more = {"resume_from": fetched.resume_from, "pulls": cursor["pulls"], "pages": fetched.pages}
        try:
            self.stored.append(
                imports.store(
                    self.ctx,
                    intake,
                    sha256=fetched.hasher.hexdigest(),
                    reason=self.request.reason,
                    dry_run=self.dry_run,
                    act=PART,
                    more=more,
                )
            )
        except (errors.CursorMoved, errors.ProviderNotBound):
            raise
        except (errors.Invalid, errors.Conflict, errors.Forbidden) as error:
            # It answered well, and the fills that it has cannot be booked: they stay unknown until that is mended.
            self._note(
                {"reason_code": ProviderReason.ROWS_REFUSED, "detail": f"{error.error_code}: {error.message}"}, provider
            )
            raise

    def _failed(self, provider: Row, failed: FailedError) -> errors.BlaidError:
        """Write down that the provider failed in the middle; return what the command answers."""
        bad = failed.bad
        looked = {"attempts": failed.attempts, "http_status": failed.http_status}
        state = self._note({"reason_code": ProviderReason(bad.failure), "detail": bad.detail, **looked}, provider)
        return not_ok(provider["id"], state, f"{bad.failure}: {bad.detail}", self.stored)

    def _note(self, what: Mapping[str, Any], provider: Row) -> ProviderState:
        said = {"provider": provider["id"], "account": self.request.account, "reason": self.request.reason, **what}
        said["detail"] = said["detail"][:500]
        answer = execute(self.ctx, the_map()["ledger pull failed"], said, dry_run=self.dry_run)
        return contract.Observed.model_validate(answer.result).state

    def _told(self, provider: Row, *, more: bool) -> contract.Pulled:
        late = sum(one.after_kill.total() for one in self.stored)
        named = [f"bot {bot}: {count} fill(s)" for one in self.stored for bot, count in sorted(one.after_kill.items())]
        finding = Finding(
            error_code=errors.FillsAfterKill.error_code,
            message=f"the pull is done, but {late} of its fills were executed after the kill of their bot",
            missing_requirements=named,
        )
        return contract.Pulled(
            provider_id=provider["id"],
            account_id=self.request.account,
            pulls=len(self.stored),
            pages=self.pages,
            **{name: sum(getattr(one, name) for one in self.stored) for name in _COUNTED},
            after_kill=late,
            resume_from=self.resume_from,
            more=more,
            finding=finding if late else None,
        )


_COUNTED = ("rows_read", "rows_new", "rows_known", "skipped", "moved", "fees_new", "fees_known")


def not_ok(provider_id: str, state: ProviderState, why: str, before: list[Stored] | None = None) -> errors.BlaidError:
    """Return why nothing is taken from a provider."""
    kind = errors.ProviderBlocked if state is ProviderState.BLOCKED else errors.ProviderDegraded
    rows = sum(one.rows_new for one in before or ())
    kept = f"; {rows} fill(s) of {len(before)} whole pull(s) before STAY" if before else ""
    return kind(f"provider {provider_id} is {state} ({why}); this pull wrote 0 fills{kept}", provider=provider_id)


async def _fetched(ctx: Context, provider: Row, web: Web, intake: Intake, place: Row) -> _Fetched:
    """Read pages from a place on until there are no more, or enough for one pull. Raises FailedError."""
    kind, cursor = ProviderKind(provider["kind"]), place["resume_from"]
    # With its number: a pull that brings what the one before brought is a pull of its own all the same.
    hasher = hashlib.sha256(f"{provider['id']}\n{intake.account.id}\n{place['pulls']}\n{cursor}\n".encode())
    fetched = _Fetched(hasher, cursor)
    while True:
        page = await _page(web, provider, kind, cursor, ctx.now)
        fetched.pages += 1
        fetched.hasher.update(page.body + b"\n")
        for record in page.records(fetched.rows):
            intake.add(record)
        fetched.rows += len(page.objects)
        fetched.resume_from, cursor = page.resume_from, page.next
        if cursor is None:
            return fetched
        if cursor in fetched.cursors:
            raise FailedError(BadReplyError(Failure.BAD_JSON, "leads in a circle of pages"), 1, None)
        fetched.cursors.add(cursor)
        full = fetched.rows + len(page.objects) > imports.PART_ROWS
        if full or intake.spool.moved + len(page.objects) > spool.MOST_MOVES or fetched.pages >= MOST_PAGES:
            fetched.more = True
            return fetched


async def _page(web: Web, provider: Row, kind: ProviderKind, cursor: str | None, now: Any) -> Page:
    found: list[Page] = []

    def judge(reply: Reply) -> None:
        at: datetime = now()
        found.append(pages.page_of(kind, reply, cursor, at, provider["stale_after_s"]))

    await web.get(provider["fills_url"], pages.query(kind, cursor), judge)
    return found[-1]
