"""Handlers of accounts: the registry, and the links of bots under limits.

Lock order: the bot, then the audit head. An account is never locked: its row changes in nothing but its status, and who
holds it is a unique key. Each refusal is an event as well (`record_refusal`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blaidctl.accounts import contract, policy, queries, rules
from blaidctl.accounts.events import ACCOUNT_EVENTS
from blaidctl.accounts.vocabulary import AccountAction, AccountStatus, Limit, LinkEffect
from blaidctl.core import errors
from blaidctl.core.types import time_text
from blaidctl.fleet.rules import closest
from blaidctl.fleet.service import require_bot, require_user
from blaidctl.fleet.vocabulary import Existence
from blaidctl.instruments import currencies

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from decimal import Decimal

    from blaidctl.accounts.rules import Policy
    from blaidctl.core.contract import Act
    from blaidctl.core.execute import Tx
    from blaidctl.core.sql import Row


# --- the registry -----------------------------------------------------------------------------------------------


def add_account(tx: Tx, request: contract.AddAccount) -> contract.AddedAccount:
    """Register an account; repeating the same call is harmless, and nobody registers what another user holds."""
    require_user(tx, request.user)
    values: dict[str, Any] = {
        "user_id": request.user,
        "broker": request.broker,
        "external_id": request.external_id,
        "environment": request.environment,
        "currency": request.currency,
        "long_only": int(request.long_only),
    }
    _refuse_held(tx, request)
    _refuse_unknown_currency(tx, request.currency)
    known = tx.first(queries.FIND_ACCOUNT, id=request.id, scope=None)
    if known:
        other = sorted(name for name, value in values.items() if known[name] != value)
        if other:
            raise errors.AlreadyExists(
                f"account {request.id} exists with another {', '.join(other)}", account=known["id"]
            )
    else:
        tx.run(queries.INSERT_ACCOUNT, id=request.id, now=tx.now, **values)
    tx.target, tx.after, tx.before = {"account": request.id}, values, values if known else None
    return contract.AddedAccount(
        id=request.id,
        status=known["status"] if known else AccountStatus.OPEN,
        effect=Existence.EXISTS if known else Existence.CREATED,
        **values,
    )


def _refuse_unknown_currency(tx: Tx, code: str) -> None:
    if not currencies.known(tx)(code):
        raise errors.InvalidRequest(
            f"{code} is not a known currency",
            missing=["currency: a code of ISO 4217, or one that was declared"],
            next_steps=[f"If it is one all the same, declare it: `blaidctl currency add {code} --places N`."],
        )


def _refuse_held(tx: Tx, request: contract.AddAccount) -> None:
    held = tx.first(queries.FIND_EXTERNAL, broker=request.broker, external_id=request.external_id)
    if held is None:
        return
    at = f"account {request.external_id} at {request.broker}"
    if held["user_id"] != request.user:
        raise errors.AccountHeld(f"{at} is held by user {held['user_id']} ({held['id']})", account=held["id"])
    if held["id"] != request.id:
        raise errors.AlreadyExists(f"{at} is registered as {held['id']}", account=held["id"])


def list_accounts(tx: Tx, request: contract.ListAccounts) -> contract.AccountList:
    """Return accounts by id, narrowed by owner."""
    if request.user is not None:
        require_user(tx, request.user)
    rows = tx.fetch(queries.LIST_ACCOUNTS, scope=tx.ctx.user_scope, user=request.user)
    return contract.AccountList(accounts=[contract.Account(**row) for row in rows])


def show_account(tx: Tx, request: contract.ShowAccount) -> contract.AccountDetail:
    """Return one account, its open links, and their limits beside what the policy allows now."""
    account = tx.first(queries.SHOW_ACCOUNT, id=request.account, scope=tx.ctx.user_scope)
    if account is None:
        raise _account_not_found(tx, request.account)
    links = tx.fetch(queries.OPEN_LINKS_OF, account_id=account["id"])
    try:
        now, problem = policy.in_force(tx.ctx.settings), None
    except errors.RiskPolicyInvalid as error:
        now, problem = None, error.message
    return contract.AccountDetail(
        **account,
        links=[contract.OpenLink(link_id=link["id"], **_fields(contract.OpenLink, link)) for link in links],
        limits=[line for link in links for line in _beside(link, now)],
        policy_sha256=now.sha256 if now else None,
        policy_problem=problem,
    )


def _fields(model: type[contract.OpenLink], row: Row) -> Row:
    return {name: row[name] for name in model.model_fields if name in row}


def _beside(link: Row, now: Policy | None) -> Iterator[contract.LimitInForce]:
    for limit, value in rules.limits_of(link).items():
        allowed = now.ranges[limit] if now else None
        yield contract.LimitInForce(
            bot_id=link["bot_id"],
            limit=limit,
            value=value,
            least=allowed.least if allowed else None,
            most=allowed.most if allowed else None,
            in_range=value in allowed if allowed else None,
            unit=rules.UNITS[limit],
        )


def require_account(tx: Tx, account_id: str) -> Row:
    """Return an account inside the caller's scope; AccountNotFound names the closest ones."""
    found = tx.first(queries.FIND_ACCOUNT, id=account_id, scope=tx.ctx.user_scope)
    if found is None:
        raise _account_not_found(tx, account_id)
    return found


def _account_not_found(tx: Tx, account_id: str) -> errors.AccountNotFound:
    near = closest(account_id, [row["id"] for row in tx.fetch(queries.ACCOUNT_IDS, scope=tx.ctx.user_scope)])
    hint = f" (did you mean {', '.join(near)}?)" if near else ""
    return errors.AccountNotFound(f"no account {account_id!r}{hint}", missing=[f"account {account_id}"])


# --- links ------------------------------------------------------------------------------------------------------


def link_account(tx: Tx, request: contract.LinkAccount) -> contract.Linked:
    """Let a bot use an account, under all six limits."""
    now = policy.in_force(tx.ctx.settings)
    bot = require_bot(tx, request.bot, lock=True)
    account = require_account(tx, request.account)
    _refuse_link(tx, bot, account)
    limits = request.limits()
    _refuse_limits(now, limits)
    values = {**_stored(limits), "policy_sha256": now.sha256}
    link = {"bot_id": bot["id"], "account_id": account["id"]}
    made = tx.first(queries.INSERT_LINK, linked_at=tx.now, **link, **values)
    assert made is not None  # noqa: S101 - RETURNING of a successful INSERT
    event = _record(tx, request, {**link, **made}, _Change(AccountAction.LINK, None, limits, now.sha256))
    return contract.Linked(effect=LinkEffect.LINKED, link_id=made["id"], event_id=event, **link, **values)


def _refuse_link(tx: Tx, bot: Row, account: Row) -> None:
    """Refuse what no limits could mend."""
    if account["user_id"] != bot["user_id"]:
        raise errors.CrossUserLink(
            f"bot {bot['id']} belongs to user {bot['user_id']}, account {account['id']} to user {account['user_id']}"
        )
    if bot["killed_at"]:
        raise errors.BotKilled(f"bot {bot['id']} is killed since {time_text(bot['killed_at'])}: it gets no link")
    if account["status"] != AccountStatus.OPEN:
        raise errors.AccountClosed(f"account {account['id']} is {account['status']}")
    link = tx.first(queries.OPEN_LINK, bot_id=bot["id"])
    if link:
        raise errors.AlreadyLinked(
            f"bot {bot['id']} is linked to account {link['account_id']} since {time_text(link['linked_at'])}"
        )


def _refuse_limits(now: Policy, limits: Mapping[Limit, Decimal]) -> None:
    absent = [f"{limit}: {now.ranges[limit]} ({rules.UNITS[limit]})" for limit in rules.missing(limits)]
    if absent:
        raise errors.RiskSettingsMissing(
            f"a link needs all six limits; {len(absent)} missing: {', '.join(rules.missing(limits))}", missing=absent
        )
    outside = list(rules.out_of_range(now, limits))
    if outside:
        raise errors.LimitOutOfRange(f"the risk policy does not allow: {'; '.join(outside)}", missing=outside)


def _stored(limits: Mapping[Limit, Decimal]) -> dict[str, Any]:
    """Return limits as the columns of a link take them."""
    return {str(limit): int(value) if limit in rules.WHOLE else value for limit, value in limits.items()}


def unlink_account(tx: Tx, request: contract.UnlinkAccount) -> contract.Unlinked:
    """End a bot's open link; refused while an instance of the bot runs."""
    bot = require_bot(tx, request.bot, lock=True)
    link = _require_link(tx, bot["id"])
    running = tx.fetch(queries.ACTIVE_INSTANCES, bot_id=bot["id"])
    if running:
        named = [f"instance {row['id']} is {row['status']} on {row['host']} (pid {row['pid']})" for row in running]
        raise errors.InstanceRunning(f"bot {bot['id']} runs: {named[0]}", missing=named)
    tx.run(queries.END_LINK, id=link["id"], unlinked_at=tx.now)
    ended = _Change(AccountAction.UNLINK, rules.limits_of(link), None, policy.hash_in_force(tx.ctx.settings))
    event = _record(tx, request, link, ended)
    return contract.Unlinked(
        bot_id=bot["id"], account_id=link["account_id"], effect=LinkEffect.UNLINKED, link_id=link["id"], event_id=event
    )


def change_limits(tx: Tx, request: contract.ChangeLimits) -> contract.ChangedLimits:
    """Change the limits that are given; afterwards all six must lie within the policy in force, old ones too."""
    now = policy.in_force(tx.ctx.settings)
    bot = require_bot(tx, request.bot, lock=True)
    link = _require_link(tx, bot["id"])
    before = rules.limits_of(link)
    after = before | request.limits()
    _refuse_limits(now, after)
    changed = [limit for limit in Limit if before[limit] != after[limit]]
    event = None
    if changed:
        tx.run(queries.CHANGE_LIMITS, id=link["id"], policy_sha256=now.sha256, **_stored(after))
        event = _record(tx, request, link, _Change(AccountAction.LIMITS_CHANGED, before, after, now.sha256))
    else:
        tx.target = {"account": link["account_id"], "bot": bot["id"]}
        tx.before = tx.after = rules.shown(before)
    return contract.ChangedLimits(
        bot_id=bot["id"],
        account_id=link["account_id"],
        effect=LinkEffect.CHANGED if changed else LinkEffect.UNCHANGED,
        link_id=link["id"],
        event_id=event,
        changes=[contract.LimitChange(limit=name, before=before[name], after=after[name]) for name in changed],
        policy_sha256=now.sha256 if changed else link["policy_sha256"],
    )


def _require_link(tx: Tx, bot_id: str) -> Row:
    link = tx.first(queries.OPEN_LINK, bot_id=bot_id)
    if link is None:
        raise errors.NotLinked(f"bot {bot_id} has no open link to an account")
    return link


# --- events -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Change:
    """What an act did to a link: the limits before and after, and the policy that was in force."""

    action: AccountAction
    before: Mapping[Limit, Decimal] | None
    after: Mapping[Limit, Decimal] | None
    policy_sha256: str | None


def _record(tx: Tx, request: Act, link: Row, change: _Change) -> int:
    """Write the event of an act, and the same into its audit entry; return the event's id."""
    tx.target = {"account": link["account_id"], "bot": link["bot_id"], "link": link["id"]}
    tx.before, tx.after = (None if side is None else _state(link, side) for side in (change.before, change.after))
    row = {
        "account_id": link["account_id"],
        "bot_id": link["bot_id"],
        "link_id": link["id"],
        "action": change.action,
        "before": tx.before,
        "after": tx.after,
        "policy_sha256": change.policy_sha256,
        "error_code": None,
        "message": None,
        "reason": request.reason,
    }
    return int(tx.record(ACCOUNT_EVENTS, [row])[0]["id"])


def _state(link: Row, limits: Mapping[Limit, Decimal]) -> dict[str, Any]:
    return {"account": link["account_id"], **rules.shown(limits)}


def record_refusal(tx: Tx, request: Act, error: errors.BlaidError) -> None:
    """Write the event of a refusal: what was asked for as `after`, the bot's open link as it stands as `before`.

    What was asked for may not exist: the columns name a bot and an account only where they are known.
    """
    asked = request.model_dump(mode="json", exclude_none=True, exclude={"reason"})
    bot = tx.first(queries.BOT_EXISTS, id=asked["bot"]) if "bot" in asked else None
    link = tx.first(queries.OPEN_LINK, bot_id=bot["id"]) if bot else None
    named = error.facts.get("account") or asked.get("account") or asked.get("id") or (link or {}).get("account_id")
    account = tx.first(queries.FIND_ACCOUNT, id=named, scope=None) if named else None
    row = {
        "account_id": account["id"] if account else None,
        "bot_id": bot["id"] if bot else None,
        "link_id": None,
        "action": AccountAction.REFUSED,
        "before": _state(link, rules.limits_of(link)) if link else None,
        "after": asked,
        "policy_sha256": policy.hash_in_force(tx.ctx.settings),
        "error_code": error.error_code,
        "message": error.message,
        "reason": request.reason,
    }
    tx.record(ACCOUNT_EVENTS, [row])


def list_events(tx: Tx, request: contract.ListAccountEvents) -> contract.AccountEvents:
    """Return account events, newest first."""
    if request.account is not None:
        require_account(tx, request.account)
    rows = tx.fetch(queries.LIST_EVENTS, account_id=request.account, scope=tx.ctx.user_scope, limit=request.limit)
    return contract.AccountEvents(events=[contract.AccountEvent(**row, what=rules.in_words(row)) for row in rows])
