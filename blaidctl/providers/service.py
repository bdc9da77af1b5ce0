"""Handlers of providers: the registry, bindings, and what a look at one found.

Lock order: the provider's row, its cursor, then the audit head; who writes fills locks their bots before (bots, ...,
providers, head). The network is never spoken to inside a transaction: who probes is `probe.py`, what he found comes
here as a request.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from blaidctl.accounts.service import require_account
from blaidctl.core import errors
from blaidctl.fleet.rules import closest
from blaidctl.fleet.vocabulary import Existence
from blaidctl.ledger import parts
from blaidctl.providers import contract, queries, rules
from blaidctl.providers.events import PROVIDER_EVENTS
from blaidctl.providers.vocabulary import BindEffect, Failure, ProviderEvent, ProviderReason, ProviderState

if TYPE_CHECKING:
    from blaidctl.core.contract import Act
    from blaidctl.core.execute import Tx
    from blaidctl.core.sql import Row
    from blaidctl.ledger.contract import ImportedPart

_SETTINGS = (
    "kind", "check_url", "fills_url", "stale_field", "credentials", "plain_http", "stale_after_s", "timeout_s",
    "attempts", "degrade_after", "block_after", "recover_after", "check_within_s",
)  # fmt: skip


# --- the registry -----------------------------------------------------------------------------------------------------


def add_provider(tx: Tx, request: contract.AddProvider) -> contract.AddedProvider:
    """Register a provider, not OK before its first good check; repeating the same call is harmless."""
    values = {name: getattr(request, name) for name in _SETTINGS} | {"plain_http": int(request.plain_http)}
    known = tx.first(queries.FIND_PROVIDER, id=request.id)
    tx.target, tx.after, tx.before = {"provider": request.id}, values, values if known else None
    if known:
        other = sorted(name for name, value in values.items() if known[name] != value)
        if other:
            raise errors.AlreadyExists(f"provider {request.id} exists with another {', '.join(other)}")
    else:
        begins: dict[str, Any] = {
            "state": ProviderState.BLOCKED, "reason_code": ProviderReason.NEVER_CHECKED, "detail": "no good check yet",
        }  # fmt: skip
        tx.run(queries.INSERT_PROVIDER, id=request.id, now=tx.now, **values, **begins)
        known = {**values, **begins, "id": request.id, "failures": 0, "successes": 0}
        record(tx, known, ProviderEvent.ADDED, request, state_before=None, **_said(health_of(known)))
    return contract.AddedProvider(
        id=request.id,
        kind=request.kind,
        check_url=request.check_url,
        fills_url=request.fills_url,
        state=known["state"],
        effect=Existence.EXISTS if tx.before else Existence.CREATED,
    )


def require_provider(tx: Tx, provider_id: str, *, lock: bool = False) -> Row:
    """Return a provider; ProviderNotFound names the closest ones."""
    found = tx.first(queries.LOCK_PROVIDER if lock else queries.FIND_PROVIDER, id=provider_id)
    if found is None:
        near = closest(provider_id, [row["id"] for row in tx.fetch(queries.PROVIDER_IDS)])
        hint = f" (did you mean {', '.join(near)}?)" if near else ""
        raise errors.ProviderNotFound(f"no provider {provider_id!r}{hint}", missing=[f"provider {provider_id}"])
    return found


def list_providers(tx: Tx, _request: contract.ListProviders) -> contract.ProviderList:
    """Return all providers, by id."""
    rows = tx.fetch(queries.LIST_PROVIDERS, id=None)
    return contract.ProviderList(providers=[contract.Provider(**_shown(tx, row, contract.Provider)) for row in rows])


def show_provider(tx: Tx, request: contract.ShowProvider) -> contract.ProviderDetail:
    """Return one provider, its settings, and the accounts that stand or fall with it."""
    require_provider(tx, request.provider)
    (row,) = tx.fetch(queries.LIST_PROVIDERS, id=request.provider)
    bound = tx.fetch(queries.BOUND_TO, provider_id=request.provider)
    return contract.ProviderDetail(
        **_shown(tx, row, contract.ProviderDetail), bound=[contract.BoundAccount(**one) for one in bound]
    )


def _shown(tx: Tx, row: Row, model: type[contract.Provider]) -> dict[str, Any]:
    late = rules.overdue(row["checked_at"], row["check_within_s"], tx.clock())
    return {name: row[name] for name in model.model_fields if name in row} | {"check_overdue": late}


def list_events(tx: Tx, request: contract.ListProviderEvents) -> contract.ProviderEvents:
    """Return provider events, newest first."""
    if request.provider is not None:
        require_provider(tx, request.provider)
    rows = tx.fetch(queries.LIST_EVENTS, provider_id=request.provider, limit=request.limit)
    return contract.ProviderEvents(events=[contract.ProviderEventRow(**row) for row in rows])


# --- bindings ---------------------------------------------------------------------------------------------------------


def bind(tx: Tx, request: contract.BindProvider) -> contract.Bound:
    """Let an account stand or fall with a provider, from now on."""
    return _bound(tx, request, wanted=True)


def unbind(tx: Tx, request: contract.UnbindProvider) -> contract.Bound:
    """End it: the guard asks the provider no more. What was not OK until now stays a gap in the numbers."""
    return _bound(tx, request, wanted=False)


def _bound(tx: Tx, request: contract.BindProvider, *, wanted: bool) -> contract.Bound:
    provider = require_provider(tx, request.provider, lock=True)
    account = require_account(tx, request.account)
    pair = {"provider_id": provider["id"], "account_id": account["id"]}
    binding = tx.first(queries.FIND_BINDING, **pair)
    tx.target, tx.before = {"provider": provider["id"], "account": account["id"]}, {"bound": binding is not None}
    tx.after = {"bound": wanted}
    effect, event = BindEffect.ALREADY_SO, None
    if wanted is not (binding is not None):
        effect = BindEffect.BOUND if wanted else BindEffect.UNBOUND
        event = record(
            tx, provider, ProviderEvent(effect), request, account_id=account["id"], **_said(health_of(provider))
        )
        if binding is None:
            tx.run(queries.INSERT_BINDING, now=tx.now, **pair)
        else:
            tx.run(queries.END_BINDING, id=binding["id"], now=tx.now)
    return contract.Bound(**pair, effect=effect, state=provider["state"], event_id=event)


# --- what a look found ------------------------------------------------------------------------------------------------


def seen(tx: Tx, request: contract.Observation) -> contract.Observed:
    """Record a look that changes no state, as a sign of life; one that would is left to `transition`, and says so."""
    provider = require_provider(tx, request.provider, lock=True)
    now = _after(provider, request)
    due = now.state != provider["state"]
    if not due:
        write_health(tx, provider, now, good=request.failure is None)
    return _observed(provider, now, due=due)


def transition(tx: Tx, request: contract.Observation) -> contract.Observed:
    """Record a look that changes a state: the event, and the state that it says."""
    provider = require_provider(tx, request.provider, lock=True)
    now = _after(provider, request)
    tx.target = {"provider": provider["id"]}
    tx.before, tx.after = shown_health(provider), {"state": now.state, **_said(now)}
    event = None
    # Somebody else may have been quicker, and then this look is one more of the same.
    if now.state != provider["state"]:
        looked = request.model_dump(mode="json", include={"attempts", "elapsed_ms", "http_status"})
        event = record(tx, provider, ProviderEvent.TRANSITION, request, health=now, metadata=looked)
    write_health(tx, provider, now, good=request.failure is None)
    return _observed(provider, now, event=event)


def _after(provider: Row, request: contract.Observation) -> rules.Health:
    found = request.model_dump(exclude={"provider", "reason"})
    return rules.after(health_of(provider), rules.Seen(**found), steps_of(provider))


def health_of(provider: Row) -> rules.Health:
    """Return how a provider is doing, as its row says."""
    return rules.Health(
        ProviderState(provider["state"]),
        ProviderReason(provider["reason_code"]),
        provider["detail"],
        provider["failures"],
        provider["successes"],
    )


def shown_health(provider: Row) -> dict[str, Any]:
    """Return how a provider is doing as an audit entry holds it."""
    return {"state": provider["state"], **_said(health_of(provider))}


def steps_of(provider: Row) -> rules.Steps:
    """Return after how many looks a provider's state changes."""
    return rules.Steps(provider["degrade_after"], provider["block_after"], provider["recover_after"])


def _said(health: rules.Health) -> dict[str, Any]:
    found = asdict(health)
    return {"reason_code": found["reason"], **{name: found[name] for name in ("detail", "failures", "successes")}}


def record(
    tx: Tx, provider: Row, event: ProviderEvent, request: Act, *, health: rules.Health | None = None, **columns: Any
) -> int:
    """Write one event of a provider, `health` what it comes to (default: what it was); return its id."""
    after = health or health_of(provider)
    row = {
        "provider_id": provider["id"],
        "account_id": None,
        "event": event,
        "state_before": provider["state"],
        "state_after": after.state,
        **_said(after),
        "resume_from": None,
        "rows_new": None,
        "metadata": {},
        "reason": request.reason,
        **columns,
    }
    return int(tx.record(PROVIDER_EVENTS, [row])[0]["id"])


def write_health(tx: Tx, provider: Row, now: rules.Health, *, good: bool) -> None:
    """Write how a provider is doing after a look. A change of its state needs its event first."""
    at = tx.clock()
    tx.run(
        queries.CHANGE_HEALTH,
        id=provider["id"],
        state=now.state,
        checked_at=at,
        good_at=at if good else provider["good_at"],
        changed_at=tx.now if now.state != provider["state"] else provider["changed_at"],
        **_said(now),
    )


def _observed(provider: Row, now: rules.Health, *, event: int | None = None, due: bool = False) -> contract.Observed:
    return contract.Observed(
        provider_id=provider["id"],
        state_before=provider["state"],
        state=now.state,
        event_id=event,
        due=due,
        **_said(now),
    )


# --- pulls ------------------------------------------------------------------------------------------------------------


def require_fills(tx: Tx, provider: Row, account_id: str) -> None:
    """Insist that a provider gives fills, and that the account is bound to it."""
    require_account(tx, account_id)
    if provider["fills_url"] is None:
        raise errors.ProviderNotBound(f"provider {provider['id']} gives no fills: it has no --fills-url")
    if tx.first(queries.FIND_BINDING, provider_id=provider["id"], account_id=account_id) is None:
        raise errors.ProviderNotBound(f"account {account_id} is not bound to provider {provider['id']}")


def cursor_of(tx: Tx, provider_id: str, account_id: str) -> Row:
    """Return how far an account was pulled."""
    found = tx.first(queries.FIND_CURSOR, provider_id=provider_id, account_id=account_id)
    return found or {"resume_from": None, "pulls": 0}


def write_pull(tx: Tx, request: contract.PullPart) -> ImportedPart:
    """Write one part of a pull, and with the last one how far it came: all of it, or nothing."""
    done = parts.write(tx, request)
    assert request.provider_id is not None  # noqa: S101 - of the terms of every pull
    provider = require_provider(tx, request.provider_id, lock=True)
    if provider["state"] != ProviderState.OK:
        kind = errors.ProviderBlocked if provider["state"] == ProviderState.BLOCKED else errors.ProviderDegraded
        raise kind(f"provider {provider['id']} became {provider['state']} while fills were read; nothing is written")
    require_fills(tx, provider, request.account)
    tx.target = {**tx.target, "provider": provider["id"]}
    if request.part == request.parts:
        _came_this_far(tx, provider, request, done)
    return done


def _came_this_far(tx: Tx, provider: Row, request: contract.PullPart, done: ImportedPart) -> None:
    pair = {"provider_id": provider["id"], "account_id": request.account}
    cursor = _locked_cursor(tx, pair)
    if cursor["pulls"] != request.pulls:
        raise errors.CursorMoved(f"another pull of account {request.account} from {provider['id']} was quicker")
    record(
        tx,
        provider,
        ProviderEvent.PULLED,
        request,
        account_id=request.account,
        resume_from=request.resume_from,
        rows_new=done.rows_new,
        metadata={"pages": request.pages, "rows_known": done.rows_known, "import_id": done.import_id},
    )
    tx.run(queries.MOVE_CURSOR, resume_from=request.resume_from, pulled_at=tx.now, **pair)


def _locked_cursor(tx: Tx, pair: dict[str, Any]) -> Row:
    """Return the cursor of an account, locked; made when it is the first. The provider's row is locked before."""
    found = tx.first(queries.LOCK_CURSOR, **pair)
    if found is None:
        tx.run(queries.INSERT_CURSOR, **pair)
        found = {"resume_from": None, "pulls": 0}
    return found


def fail_pull(tx: Tx, request: contract.PullFailure) -> contract.Observed:
    """Record a pull that wrote nothing. A provider that failed is not OK from here on: fills are unread."""
    provider = require_provider(tx, request.provider, lock=True)
    require_account(tx, request.account)
    pair = {"provider_id": provider["id"], "account_id": request.account}
    now = health_of(provider)
    failed = str(request.reason_code) in set(map(str, Failure))
    if failed:
        look = rules.Seen(Failure(request.reason_code), request.detail)
        now = rules.after(now, look, steps_of(provider), at_once=True)
    tx.target = {"provider": provider["id"], "account": request.account}
    tx.before, tx.after = shown_health(provider), {"state": now.state, **_said(now)}
    told = {"reason_code": request.reason_code, "detail": request.detail, "account_id": request.account}
    looked = request.model_dump(mode="json", include={"attempts", "http_status"})
    event = record(tx, provider, ProviderEvent.PULL_FAILED, request, health=now, metadata=looked, **told)
    if failed:
        write_health(tx, provider, now, good=False)
    _locked_cursor(tx, pair)
    tx.run(queries.FAIL_CURSOR, failed_at=tx.now, failed_reason=request.reason_code, **pair)
    return _observed(provider, now, event=event)
