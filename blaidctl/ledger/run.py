"""`ledger import`: a file, read and judged to its end, then written in parts; one answer for all of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from blaidctl.core import present
from blaidctl.core.command import chosen_output, patience, write_out
from blaidctl.core.contract import Finding
from blaidctl.core.errors import FillsAfterKill
from blaidctl.core.execute import Answer, invalid_request
from blaidctl.core.files import STDIN
from blaidctl.core.operation import the_map
from blaidctl.core.types import read_time
from blaidctl.ledger import contract, formats, imports
from blaidctl.ledger.terms import Terms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from blaidctl.core.context import Context
    from blaidctl.core.vocabulary import Output
    from blaidctl.ledger.imports import Stored


def import_file(  # the edge's options stand beside what is asked
    ctx: Context, asked: Mapping[str, Any], output: Output | None, *, request_id: str | None, dry_run: bool
) -> int:
    """Carry out one import; return 0, or raise what makes it answer otherwise (exit 1: fills after a kill)."""
    request = _validated(asked)
    operation = the_map()["ledger import"]
    with patience(ctx, operation) as patient:
        result, stored = imported(patient, request, request_id=request_id, dry_run=dry_run)
    answer = Answer(
        operation,
        ctx.trace_id,
        result.body(),
        request_id=request_id,
        receipt=stored.receipt,
        dry_run=dry_run,
        replayed=stored.replayed,
        finding=result.finding.model_dump() if result.finding else None,
    )
    receipt = f"the import IS committed (audit seq {stored.receipt.seq})" if stored.receipt else "nothing was written"
    write_out(present.render(answer, chosen_output(output)), done=receipt)
    if (refusal := answer.refusal()) is not None:
        raise refusal
    return 0


def _validated(asked: Mapping[str, Any]) -> contract.ImportFile:
    try:
        return contract.ImportFile.model_validate({name: v for name, v in asked.items() if v is not None})
    except ValidationError as error:
        raise invalid_request(error) from None


def imported(
    ctx: Context, request: contract.ImportFile, *, request_id: str | None = None, dry_run: bool = False
) -> tuple[contract.Imported, Stored]:
    """Read, judge and write a file; return the answer and what it is made of."""
    name = "standard input" if request.file == STDIN else os.path.basename(request.file)  # noqa: PTH119 - may be `-`
    terms = Terms(
        account=request.account,
        format=request.format,
        source_name=name,
        bot=request.bot,
        instance=request.instance,
        exchange=request.exchange,
        asset_class=request.asset_class,
        timezone=request.timezone,
        no_fee=request.no_fee,
        history=request.history,
        sequence=request.sequence,
    )
    silence_s = ctx.settings.statement_timeout_s
    with imports.Intake(ctx, terms) as intake:
        with formats.opened(request.format, request.file, silence_s, ctx.progress) as source:
            for record in formats.read(request.format, source, timezone=request.timezone):
                intake.add(record)
            sha256 = source.sha256
        stored = imports.store(
            ctx, intake, sha256=sha256, reason=request.reason, request_id=request_id, dry_run=dry_run
        )
    return told(stored, terms, sha256), stored


def told(stored: Stored, terms: Terms, sha256: str) -> contract.Imported:
    """Return what an import came to, and the finding when fills came after a kill."""
    first, last = stored.first_executed_at, stored.last_executed_at
    return contract.Imported(
        account_id=stored.account,
        format=terms.format,
        source=terms.source_name,
        source_sha256=sha256,
        rows_read=stored.rows_read,
        rows_new=stored.rows_new,
        rows_known=stored.rows_known,
        skipped=stored.skipped,
        skipped_why=dict(sorted(stored.skipped_why.items())),
        moved=stored.moved,
        fees_new=stored.fees_new,
        fees_known=stored.fees_known,
        after_kill=stored.after_kill.total(),
        first_executed_at=read_time(first) if first else None,
        last_executed_at=read_time(last) if last else None,
        exact=stored.exact,
        parts=stored.parts,
        parts_written=stored.parts_written,
        summary=_summary(stored),
        finding=_finding(stored),
    )


def _summary(stored: Stored) -> str:
    fees = (
        f"; {stored.fees_new} new fee(s) of the account, {stored.fees_known} known"
        if (stored.fees_new or stored.fees_known)
        else ""
    )
    skipped = f"; {stored.skipped} skipped" if stored.skipped else ""
    if stored.moves_new:
        skipped += f", of which {stored.moves_new} CHANGE A POSITION WITHOUT A FILL: no figures until each is resolved"
    late = f"; {stored.after_kill.total()} AFTER THE KILL of their bot" if stored.after_kill else ""
    return f"{stored.rows_new} new fill(s), {stored.rows_known} known{fees}{skipped}{late}"


def _finding(stored: Stored) -> Finding | None:
    if not stored.after_kill:
        return None
    named = [f"bot {bot}: {count} fill(s) after its kill" for bot, count in sorted(stored.after_kill.items())]
    return Finding(
        error_code=FillsAfterKill.error_code,
        message=f"the import is done, but {stored.after_kill.total()} of its fills were executed after the kill of"
        f" their bot: {'; '.join(named[:10])}",
        missing_requirements=named,
    )
