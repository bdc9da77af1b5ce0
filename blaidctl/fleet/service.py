"""Handlers of the fleet: the registry, the guard, the status, and a supervisor's reports."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from blaidctl.core import errors
from blaidctl.core.contract import Finding
from blaidctl.core.operation import resolve
from blaidctl.core.types import time_text
from blaidctl.fleet import contract, queries, rules
from blaidctl.fleet.vocabulary import BotState, Existence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blaidctl.core.context import Context
    from blaidctl.core.execute import Tx
    from blaidctl.core.sql import Row

#: Jobs and providers belong to no user, so no user's own view of the fleet holds them.
NOT_FOR_ONE_USER = ["jobs (the whole desk's)", "providers (the whole desk's)"]
#: How many unconfirmed stops are named; all are counted.
MOST_UNCONFIRMED = 100


def add_user(tx: Tx, request: contract.AddUser) -> contract.AddedUser:
    """Register a user; repeating the same call is harmless, other values are a conflict."""
    name = request.name or request.id
    known = tx.first(queries.FIND_USER, id=request.id)
    if known and known["name"] != name:
        raise errors.AlreadyExists(f"user {request.id} exists with the name {known['name']!r}")
    if known is None:
        tx.run(queries.INSERT_USER, id=request.id, name=name, now=tx.now)
    tx.target, tx.after = {"user": request.id}, {"name": name}
    tx.before = {"name": name} if known else None
    return contract.AddedUser(id=request.id, name=name, effect=Existence.EXISTS if known else Existence.CREATED)


def list_users(tx: Tx, _request: contract.ListUsers) -> contract.UserList:
    """Return all users, by id."""
    return contract.UserList(users=[contract.User(**row) for row in tx.fetch(queries.LIST_USERS)])


def add_bot(tx: Tx, request: contract.AddBot) -> contract.AddedBot:
    """Register a bot; repeating the same call is harmless, other values are a conflict."""
    require_user(tx, request.user)
    values: dict[str, Any] = {
        "user_id": request.user,
        "name": request.name or request.id,
        "strategy": request.strategy or "",
        "tags": request.tag,
        "exchanges": request.exchange,
    }
    known = tx.first(queries.FIND_BOT, id=request.id, scope=None)
    if known:
        other = sorted(name for name, value in values.items() if known[name] != value)
        if other:
            raise errors.AlreadyExists(f"bot {request.id} exists with another {', '.join(other)}")
    else:
        tx.run(queries.INSERT_BOT, id=request.id, now=tx.now, **values)
    tx.target, tx.after, tx.before = {"bot": request.id}, values, values if known else None
    return contract.AddedBot(id=request.id, effect=Existence.EXISTS if known else Existence.CREATED, **values)


def require_user(tx: Tx, user_id: str) -> Row:
    """Return a user; UserNotFound names the closest ones."""
    found = tx.first(queries.FIND_USER, id=user_id)
    if found is None:
        near = rules.closest(user_id, [row["id"] for row in tx.fetch(queries.LIST_USERS)])
        raise errors.UserNotFound(f"no user {user_id!r}" + _did_you_mean(near), missing=[f"user {user_id}"])
    return found


def require_bot(tx: Tx, bot_id: str, *, lock: bool = False) -> Row:
    """Return a bot inside the caller's scope; BotNotFound names the closest ones."""
    query = queries.LOCK_BOT if lock else queries.FIND_BOT
    found = tx.first(query, id=bot_id, scope=tx.ctx.user_scope)
    if found is None:
        raise bot_not_found(tx, [bot_id])
    return found


def bot_not_found(tx: Tx, missing: Sequence[str]) -> errors.BotNotFound:
    """Return the error for unknown bots: the first with the closest names that the caller may see."""
    known = [row["id"] for row in tx.fetch(queries.BOT_IDS, scope=tx.ctx.user_scope)]
    hints = [_did_you_mean(rules.closest(name, known)) for name in missing[:3]]
    parts = [f"no bot {name!r}{hint}" for name, hint in itertools.zip_longest(missing[:10], hints, fillvalue="")]
    if len(missing) > len(parts):
        parts.append(f"and {len(missing) - len(parts)} more")
    return errors.BotNotFound("; ".join(parts), missing=[f"bot {name}" for name in missing])


def _did_you_mean(near: Sequence[str]) -> str:
    return f" (did you mean {', '.join(near)}?)" if near else ""


def list_bots(tx: Tx, request: contract.ListBots) -> contract.BotList:
    """Return bots by id, narrowed by owner or tag."""
    if request.user is not None:
        require_user(tx, request.user)
    rows = tx.fetch(queries.LIST_BOTS, scope=tx.ctx.user_scope, user=request.user, tag=request.tag)
    return contract.BotList(bots=[contract.Bot(state=rules.state_of(row["killed_at"]), **row) for row in rows])


def show_bot(tx: Tx, request: contract.ShowBot) -> contract.BotDetail:
    """Return one bot, the kill that holds it, and its latest instances."""
    bot = require_bot(tx, request.bot)
    kill = (tx.first(queries.OPEN_KILL, bot_id=bot["id"]) if bot["killed_at"] else None) or {}
    instances = tx.fetch(queries.LATEST_INSTANCES, bot_id=bot["id"], limit=request.limit)
    return contract.BotDetail(
        **bot,
        state=rules.state_of(bot["killed_at"]),
        kill_event_id=kill.get("id"),
        killed_by=kill.get("actor"),
        kill_reason_code=kill.get("reason_code"),
        kill_reason=kill.get("reason"),
        instances=[contract.Instance(**row) for row in instances],
    )


def guard(tx: Tx, request: contract.Guard) -> contract.GuardAnswer:
    """Answer MAY_TRADE only when nothing speaks against it."""
    bot = require_bot(tx, request.bot)
    reasons = []
    if bot["killed_at"]:
        reasons.append(f"BOT_KILLED: bot {bot['id']} is {_killed(tx, bot)}")
    if request.instance is not None:
        reasons += _instance_reasons(tx, bot["id"], request.instance)
    for reference in resolve("blaidctl.operations:GUARD_CHECKS"):
        reasons += resolve(reference)(tx, bot)
    blanks = [
        blank for reference in resolve("blaidctl.operations:GUARD_BLANKS") for blank in resolve(reference)(tx, bot)
    ]
    return _guard_answer(request, reasons, blanks)


def _killed(tx: Tx, bot: Row) -> str:
    """Say since when and by whom a bot is killed; a state that no event explains says so."""
    kill = tx.first(queries.OPEN_KILL, bot_id=bot["id"])
    by = f"by {kill['actor']} ({kill['reason_code']})" if kill else "but no kill event says by whom"
    return f"killed since {time_text(bot['killed_at'])} {by}"


def _instance_reasons(tx: Tx, bot_id: str, instance_id: int) -> list[str]:
    found = tx.first(queries.FIND_INSTANCE, id=instance_id)
    if found is None or found["bot_id"] != bot_id:
        return [f"INSTANCE_NOT_FOUND: bot {bot_id} has no instance {instance_id}"]
    if found["status"] not in rules.ACTIVE:
        return [f"INSTANCE_OVER: instance {instance_id} is {found['status']} ({found['stop_reason']})"]
    return []


def guard_in_doubt(_ctx: Context, request: contract.Guard, error: errors.BlaidError) -> contract.GuardAnswer:
    """Turn whatever kept the guard from looking into a no."""
    return _guard_answer(
        request, [f"{error.error_code}: {error.message}"], ["whatever else there is: the guard is in doubt"]
    )


def _guard_answer(request: contract.Guard, reasons: list[str], not_checked: list[str]) -> contract.GuardAnswer:
    message = f"bot {request.bot} may not trade: {'; '.join(reasons)}"
    return contract.GuardAnswer(
        bot_id=request.bot,
        answer="MAY_NOT_TRADE" if reasons else "MAY_TRADE",
        reasons=reasons,
        not_checked=not_checked,
        finding=Finding(error_code="MAY_NOT_TRADE", message=message, missing_requirements=reasons) if reasons else None,
    )


def status(tx: Tx, request: contract.ShowStatus) -> contract.FleetStatus:
    """Return the fleet at a glance, at one moment of the database's clock."""
    if request.bot is not None:
        require_bot(tx, request.bot)
    now, whose = tx.clock(), {"scope": tx.ctx.user_scope, "bot_id": request.bot}
    rows = tx.fetch(queries.FLEET_STATUS, now=now, **whose)
    bots = [contract.BotStatus(state=rules.state_of(row["killed_at"]), **row) for row in rows]
    killed = sum(bot.state is BotState.KILLED for bot in bots)
    fleet_wide = tx.ctx.user_scope is None
    jobs = (tx.first(queries.JOBS_NOW, now=now) if fleet_wide else None) or {}
    providers = tx.fetch(queries.PROVIDERS_NOW, now=now) if fleet_wide else None
    return contract.FleetStatus(
        bots=bots,
        live=len(bots) - killed,
        killed=killed,
        instances_active=sum(bot.instances_active for bot in bots),
        instances_stale=sum(bot.instances_stale for bot in bots),
        stops_unconfirmed=sum(bot.stops_unconfirmed for bot in bots),
        unconfirmed=tx.fetch(queries.UNCONFIRMED_STOPS, limit=MOST_UNCONFIRMED, **whose),
        jobs_running=jobs.get("running"),
        jobs_stale=jobs.get("stale"),
        providers=providers or [],
        providers_not_ok=None if providers is None else sum(row["state"] != "OK" for row in providers),
        not_reported=[] if fleet_wide else NOT_FOR_ONE_USER,
    )


def start_instance(tx: Tx, request: contract.StartInstance) -> contract.StartedInstance:
    """Give a supervisor the right to run one process of a bot that is not killed, on its linked account."""
    bot = require_bot(tx, request.bot, lock=True)
    if bot["killed_at"]:
        raise errors.BotKilled(f"bot {bot['id']} is {_killed(tx, bot)}")
    account = _linked_account(tx, bot["id"], request.account)
    row = tx.first(
        queries.INSERT_INSTANCE,
        bot_id=bot["id"],
        account_id=account,
        host=request.host,
        boot_id=request.boot_id,
        mark=request.mark,
        stale_after_s=request.stale_after_s,
        now=tx.clock(),
    )
    assert row is not None  # noqa: S101 - RETURNING of a successful INSERT
    tx.target = {"bot": bot["id"], "instance": row["id"]}
    tx.after = {
        "status": "STARTING",
        "host": request.host,
        "account": account,
        "boot_id": request.boot_id,
        "mark": request.mark,
    }
    return contract.StartedInstance(instance_id=row["id"], bot_id=bot["id"], attempt=row["attempt"])


def _linked_account(tx: Tx, bot_id: str, asked: str | None) -> str | None:
    """Return the account of a bot's open link; one that is asked for must be that one."""
    link = tx.first(queries.LINKED_ACCOUNT, bot_id=bot_id)
    linked: str | None = link["account_id"] if link else None
    if asked not in {None, linked}:
        raise errors.NotLinked(
            f"bot {bot_id} is linked to {f'account {linked}' if linked else 'no account'}, not to {asked!r}"
        )
    return linked


def run_instance(tx: Tx, request: contract.RunInstance) -> contract.InstanceState:
    """Record the process of an instance; InstanceOver when the bot was killed meanwhile."""
    found = _locked_instance(tx, request.instance)
    touched = tx.run(
        queries.MARK_RUNNING,
        id=request.instance,
        attempt=request.attempt,
        pid=request.pid,
        pid_started=request.pid_started,
        now=tx.clock(),
    )
    if not touched:
        raise errors.InstanceOver(f"instance {request.instance} is {found['status']} ({found['stop_reason']})")
    return _reported(tx, found, {"status": "RUNNING", "pid": request.pid, "pid_started": request.pid_started})


def finish_instance(tx: Tx, request: contract.FinishInstance) -> contract.InstanceState:
    """Record that a process is gone: the end of a running instance, or the proof of a stop that was ordered."""
    found = _locked_instance(tx, request.instance)
    ended = {"id": request.instance, "attempt": request.attempt, "exit_status": request.exit_status, "now": tx.now}
    stopped = tx.run(
        queries.END_INSTANCE, status=rules.ended_status(request.stop_reason), stop_reason=request.stop_reason, **ended
    )
    if not stopped and not tx.run(queries.CONFIRM_STOP, **ended):
        raise errors.InstanceOver(f"instance {request.instance} was already confirmed as ended, or has another attempt")
    return _reported(tx, found, {"exit_status": request.exit_status, "confirmed": True})


def _locked_instance(tx: Tx, instance_id: int) -> Row:
    """Lock the bot and then its instance (the order of every writer) and return the instance."""
    found = tx.first(queries.FIND_INSTANCE, id=instance_id)
    if found is None:
        raise errors.InstanceNotFound(f"no instance {instance_id}")
    require_bot(tx, found["bot_id"], lock=True)
    locked = tx.first(queries.LOCK_INSTANCE, id=instance_id)
    assert locked is not None  # noqa: S101 - instances are never deleted: a trigger refuses it
    return locked


def _reported(tx: Tx, before: Row, after: dict[str, Any]) -> contract.InstanceState:
    now = tx.first(queries.FIND_INSTANCE, id=before["id"])
    assert now is not None  # noqa: S101 - as above
    tx.target = {"bot": now["bot_id"], "instance": now["id"]}
    tx.before = {"status": before["status"], "stop_reason": before["stop_reason"]}
    tx.after = {**after, "status": now["status"], "stop_reason": now["stop_reason"]}
    return contract.InstanceState(
        instance_id=now["id"],
        bot_id=now["bot_id"],
        status=now["status"],
        stop_reason=now["stop_reason"],
        stop_confirmed_at=now["stop_confirmed_at"],
    )
