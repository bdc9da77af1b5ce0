"""`provider check`: ask each provider, several at once, then write down what was found, one after the other.

No transaction is open while the network is waited for. A look that changes no state is a sign of life, one that does is
an act (runbooks/decisions/0018-providers.md).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from blaidctl.core import clock, errors, present
from blaidctl.core.command import chosen_output, write_out
from blaidctl.core.contract import Finding
from blaidctl.core.execute import Answer, Tx, check_schema, execute, finding_of, invalid_request
from blaidctl.core.operation import the_map
from blaidctl.providers import contract, credentials, queries, rules, service
from blaidctl.providers.vocabulary import CheckOutcome, ProviderKind, ProviderState
from blaidctl.providers.web import LARGEST_PROBE, FailedError, Web

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from blaidctl.core.context import Context
    from blaidctl.core.sql import Row
    from blaidctl.core.vocabulary import Output
    from blaidctl.providers.rules import Reply

    #: A provider, and the headers that show it who we are.
    Ready = tuple[Row, Mapping[str, str]]

#: How many providers are asked at once.
AT_ONCE = 16


def check(ctx: Context, asked: Mapping[str, Any], output: Output | None, *, dry_run: bool = False) -> int:
    """Probe providers and write down what was found; exit 1 when one of them is not OK afterwards."""
    request = _validated(asked)
    with ctx.database.kept_open():
        ready, unreadable = _with_headers(_chosen(ctx, request))
        found = probe(ctx, ready, reason=request.reason, dry_run=dry_run)
    answer = _answer(ctx, found, dry_run=dry_run)
    write_out(present.render(answer, chosen_output(output)), done=_done(found, dry_run=dry_run))
    if unreadable:  # the others were checked all the same
        raise _not_checked(unreadable)
    if (refusal := answer.refusal()) is not None:
        raise refusal
    return 0


def _not_checked(unreadable: Mapping[str, errors.BlaidError]) -> errors.BlaidError:
    """Return why some providers were not checked; their last check grows older, and the guard sees that."""
    first = next(iter(unreadable.values()))
    named = [f"provider {name} was not checked: {error.message}" for name, error in unreadable.items()]
    return type(first)("; ".join(named), missing=named, next_steps=first.steps)


def _done(found: Sequence[contract.Checked], *, dry_run: bool) -> str:
    return "nothing was written" if dry_run else f"{len(found)} check(s) ARE recorded"


def _validated(asked: Mapping[str, Any]) -> contract.CheckProviders:
    try:
        return contract.CheckProviders.model_validate(asked)
    except ValidationError as error:
        raise invalid_request(error) from None


def _chosen(ctx: Context, request: contract.CheckProviders) -> list[Row]:
    with ctx.database.reading() as connection:
        check_schema(connection)
        tx = Tx(ctx, connection, ctx.now())
        if request.all:
            return tx.fetch(queries.LIST_PROVIDERS, id=None)
        return [service.require_provider(tx, name) for name in dict.fromkeys(request.provider)]


def _with_headers(providers: Sequence[Row]) -> tuple[list[Ready], dict[str, errors.BlaidError]]:
    """Return the providers with the headers that show who we are, and those whose credentials cannot be read."""
    ready: list[Ready] = []
    unreadable: dict[str, errors.BlaidError] = {}
    for provider in providers:
        try:
            ready.append((provider, headers_of(provider)))
        except errors.BlaidError as error:
            unreadable[provider["id"]] = error
    return ready, unreadable


def headers_of(provider: Row) -> dict[str, str]:
    """Return the headers that show a provider who we are. Raises CredentialsInvalid."""
    return credentials.headers(ProviderKind(provider["kind"]), provider["credentials"])


def probe(
    ctx: Context, providers: Sequence[Ready], *, reason: str | None = None, dry_run: bool = False
) -> list[contract.Checked]:
    """Ask providers and write down what was found."""
    looks = asyncio.run(_all(ctx, providers)) if providers else []
    return [
        _noted(ctx, row, look, reason=reason, dry_run=dry_run) for (row, _), look in zip(providers, looks, strict=True)
    ]


async def _all(ctx: Context, providers: Sequence[Ready]) -> list[rules.Seen]:
    room = asyncio.Semaphore(AT_ONCE)

    async def one(provider: Row, headers: Mapping[str, str]) -> rules.Seen:
        async with room:
            return await _look(ctx, provider, headers)

    return list(await asyncio.gather(*(one(*ready) for ready in providers)))


async def _look(ctx: Context, provider: Row, headers: Mapping[str, str]) -> rules.Seen:
    """Ask one provider; whatever happens is something seen."""
    web = Web(provider["timeout_s"], provider["attempts"], headers, LARGEST_PROBE)
    started_s = clock.monotonic_s()

    def judge(reply: Reply) -> None:
        rules.judge_check(reply, ctx.now(), provider["stale_after_s"], provider["stale_field"])

    def took() -> int:
        return int(1000 * (clock.monotonic_s() - started_s))

    try:
        reply = await web.get(provider["check_url"], {}, judge)
    except FailedError as failed:
        return rules.Seen(failed.bad.failure, failed.bad.detail, failed.attempts, took(), failed.http_status)
    return rules.Seen(None, "", web.tried, took(), reply.status)


def _noted(
    ctx: Context, provider: Row, look: rules.Seen, *, reason: str | None = None, dry_run: bool = False
) -> contract.Checked:
    """Write down one look: as a sign of life, or as the act that it is when it changes the state."""
    found = {
        "provider": provider["id"],
        "failure": look.failure,
        "detail": look.detail[:500],
        "attempts": look.attempts,
        "elapsed_ms": look.elapsed_ms,
        "http_status": look.http_status,
        "reason": reason,
    }
    written = execute(ctx, the_map()["provider seen"], found, dry_run=dry_run)
    if written.result["due"]:
        written = execute(ctx, the_map()["provider transition"], found, dry_run=dry_run)
    said = contract.Observed.model_validate(written.result)
    return contract.Checked(
        provider_id=said.provider_id,
        outcome=CheckOutcome.FAILED if look.failure else CheckOutcome.GOOD,
        failure=look.failure,
        detail=look.detail,
        state_before=said.state_before,
        state=said.state,
        failures=said.failures,
        successes=said.successes,
        attempts=look.attempts,
        elapsed_ms=look.elapsed_ms,
        event_id=said.event_id,
    )


def _answer(ctx: Context, found: Sequence[contract.Checked], *, dry_run: bool) -> Answer:
    bad = [one for one in found if one.state is not ProviderState.OK]
    named = [f"provider {one.provider_id}: {one.state}" + _why(one) for one in bad]
    finding = Finding(
        error_code="PROVIDER_NOT_OK",
        message=f"{len(bad)} of {len(found)} provider(s) not OK: {', '.join(one.provider_id for one in bad)}",
        missing_requirements=named,
    )
    result = contract.CheckedProviders(providers=list(found), finding=finding if bad else None)
    return Answer(
        the_map()["provider check"],
        ctx.trace_id,
        result.body(),
        receipt=ctx.receipts[-1] if ctx.receipts and not dry_run else None,
        dry_run=dry_run,
        finding=finding_of(result),
    )


def _why(one: contract.Checked) -> str:
    if one.failure:
        return f" ({one.failure}: {one.detail})"
    return f" ({one.successes} good in a row)"
