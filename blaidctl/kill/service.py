"""Handlers of the kill engine.

Lock order: bots (by id), instances, then the audit head. Instances are stopped before `killed_at` is set, because the
database refuses a killed bot with a running instance at any moment.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, TypeVar

from blaidctl.core import clock, errors
from blaidctl.core.events import EventTable
from blaidctl.core.sql import rows_of
from blaidctl.fleet.queries import OPEN_KILL
from blaidctl.fleet.service import bot_not_found, require_bot, require_user
from blaidctl.kill import contract, queries, rules
from blaidctl.kill.vocabulary import Action, Effect

if TYPE_CHECKING:
    from collections.abc import Callable

    from blaidctl.core.context import Context
    from blaidctl.core.execute import Answer, Tx
    from blaidctl.core.sql import Row

KILL_EVENTS = EventTable(
    "kill_events",
    {
        "bot_id": "text",
        "action": "text",
        "effect": "text",
        "reason_code": "text",
        "reason": "text",
        "metadata": "json",
        "ends_kill_event_id": "integer",
        "instances_stopped": "integer",
    },
)
#: How often `--wait` looks for the proof of a stop.
LOOK_EVERY_S = 0.1
T = TypeVar("T")


def kill(tx: Tx, request: contract.Kill) -> contract.Killed:
    """Kill bots: one decision, one transaction, all or nothing."""
    bots = _locked_targets(tx, request)
    ids = [bot["id"] for bot in bots]
    stopped = _stop_instances(tx, ids)
    tx.run(queries.MARK_KILLED, ids=ids, now=tx.now)
    rows = [
        {
            "bot_id": bot["id"],
            "effect": Effect.ALREADY_IN_STATE if bot["killed_at"] else Effect.APPLIED,
            "instances_stopped": stopped.get(bot["id"], 0),
        }
        for bot in bots
    ]
    written = tx.record(KILL_EVENTS, rows, action=Action.KILL, ends_kill_event_id=None, **_why(tx, request))
    events = {row["bot_id"]: row["id"] for row in written}
    taken = [
        {
            "bot_id": bot["id"],
            "effect": row["effect"],
            "kill_event_id": events[bot["id"]],
            "killed_at": bot["killed_at"] or tx.now,
            "instances_stopped": row["instances_stopped"],
        }
        for bot, row in zip(bots, rows, strict=True)
    ]
    tx.target = {"bots": ids} | {name: getattr(request, name) for name in contract.WIDE if getattr(request, name)}
    tx.before = {"already_killed": [bot["id"] for bot in bots if bot["killed_at"]]}
    tx.after = {"killed": len(ids), "instances_stopped": sum(stopped.values()), "reason_code": request.reason_code}
    # Validated in one call: ten thousand calls, one a bot, take twice as long.
    return contract.Killed.model_validate(
        {"bots": taken, "count": len(taken), "instances_stopped": sum(stopped.values())}
    )


def _why(tx: Tx, request: contract.Kill | contract.Resurrect) -> dict[str, Any]:
    """Return what every event of one decision shares."""
    return {
        "reason_code": request.reason_code,
        "reason": request.reason,
        "metadata": {"channel": tx.ctx.channel, "on_behalf_of": tx.ctx.on_behalf_of} | _order(request),
    }


def _order(request: contract.Kill | contract.Resurrect) -> dict[str, bool]:
    """Return what supervisors that stand by look for in the metadata of a resurrect."""
    return {"restart": True} if isinstance(request, contract.Resurrect) and request.restart else {}


def _locked_targets(tx: Tx, request: contract.Kill) -> list[Row]:
    """Lock the bots that the decision takes, in id order; refuse unknown names and counts that moved."""
    scope = tx.ctx.user_scope
    if not request.is_wide:
        ids = sorted(set(request.bots))
        bots = tx.fetch(queries.LOCK_NAMED, ids=ids, scope=scope)
        if len(bots) < len(ids):
            known = {bot["id"] for bot in bots}
            raise bot_not_found(tx, [name for name in ids if name not in known])
        return bots
    if request.user is not None:
        require_user(tx, request.user)
    wide = {name: getattr(request, name) for name in ("user", "account", "tag", "exchange")}
    bots = tx.fetch(queries.LOCK_WIDE, scope=scope, **wide)
    _check_count(request, len(bots), dry_run=tx.dry_run)
    return bots


def _check_count(request: contract.Kill, count: int, *, dry_run: bool) -> None:
    if count == 0 and not request.confirm_count:
        raise errors.NothingMatched("the target matches no bot; nothing was killed")
    if request.confirm_count is None and not dry_run:
        raise errors.ConfirmCountMissing(
            f"this kills {count} bot(s)", missing=[f"confirm_count: {count} bots match"], count=count
        )
    if request.confirm_count not in (None, count):
        raise errors.CountMismatch(
            f"{count} bot(s) match, {request.confirm_count} confirmed", missing=[f"confirm_count: {count}"]
        )


def _stop_instances(tx: Tx, ids: list[str]) -> dict[str, int]:
    """Stop what runs; return how many instances of each bot."""
    if tx.connection.dialect.name == "postgresql":
        return {row["bot_id"]: row["n"] for row in tx.fetch(queries.STOP_AND_COUNT, ids=ids, now=tx.now)}
    counts = {row["bot_id"]: row["n"] for row in tx.fetch(queries.COUNT_ACTIVE, ids=ids)}
    if counts:
        tx.run(queries.STOP_INSTANCES, ids=ids, now=tx.now)
    return counts


def confirm_stops(ctx: Context, request: contract.Kill, answer: Answer) -> Answer:
    """Wait, after COMMIT, until the supervisors confirm that the processes are gone; else the answer is a finding.

    So it is when the answer is a replay and its kill has been ended since: an old "killed" must not pass for a new one.
    """
    ids = [bot["bot_id"] for bot in answer.result["bots"]]
    try:
        if answer.replayed and (live := _live(ctx, ids)):
            return dataclasses.replace(answer, finding=contract.ended_finding(live).model_dump())
        if request.wait is None:
            return answer
        found = _look_until(lambda: _unconfirmed(ctx, ids), lambda stops: not stops, request.wait)
    except (KeyboardInterrupt, errors.BlaidError) as cut:
        # The kill is committed: whatever ends the look, the answer is "not proven", never "not done".
        return dataclasses.replace(answer, finding=contract.unasked_finding(_named(cut)).model_dump())
    result = {**answer.result, "stops_unconfirmed": [stop.body() for stop in found]}
    finding = contract.unconfirmed_finding(found).model_dump() if found else None
    return dataclasses.replace(answer, result=result, finding=finding)


def _look_until(look: Callable[[], T], enough: Callable[[T], bool], limit_s: int) -> T:
    """Look again and again until it is enough or the limit is over; return what was seen last."""
    deadline = clock.monotonic_s() + limit_s
    while not enough(found := look()) and clock.monotonic_s() < deadline:
        clock.pause(LOOK_EVERY_S)
    return found


def _named(cut: BaseException) -> str:
    return cut.error_code if isinstance(cut, errors.BlaidError) else "interrupted"


def _live(ctx: Context, ids: list[str]) -> list[str]:
    with ctx.database.reading() as connection:
        return [row["id"] for row in rows_of(queries.LIVE.on(connection, ids=ids))]


def _unconfirmed(ctx: Context, ids: list[str]) -> list[contract.UnconfirmedStop]:
    with ctx.database.reading() as connection:
        return [contract.UnconfirmedStop(**row) for row in rows_of(queries.UNCONFIRMED.on(connection, ids=ids))]


def resurrect(tx: Tx, request: contract.Resurrect) -> contract.Resurrected:
    """End the kill that holds a bot; nothing is started. A live bot is left alone, and that is recorded too."""
    bot = require_bot(tx, request.bot, lock=True)
    ends = tx.first(OPEN_KILL, bot_id=bot["id"]) if bot["killed_at"] else None
    if bot["killed_at"] and ends is None:
        raise errors.GuardRefused(
            f"bot {bot['id']} is killed, but no kill event says so: the state was changed outside blaidctl",
            next_steps=["Run `blaidctl audit verify`; kill the bot once more, then resurrect it."],
        )
    effect = Effect.APPLIED if ends else Effect.ALREADY_IN_STATE
    last = tx.first(queries.LAST_INSTANCE, bot_id=bot["id"])
    if ends:
        tx.run(queries.MARK_LIVE, id=bot["id"])
    ends_id = ends["id"] if ends else None
    row = {"bot_id": bot["id"], "effect": effect, "instances_stopped": 0}
    event = tx.record(KILL_EVENTS, [row], action=Action.RESURRECT, ends_kill_event_id=ends_id, **_why(tx, request))[0]
    tx.target = {"bots": [bot["id"]]}
    tx.before = {"killed": bool(ends), "kill_event_id": ends_id}
    tx.after = {"killed": False, "reason_code": request.reason_code}
    return contract.Resurrected(
        bot_id=bot["id"],
        effect=effect,
        resurrect_event_id=event["id"],
        ends_kill_event_id=ends_id,
        last_instance_id=last["id"] if last else 0,
    )


def confirm_restart(ctx: Context, request: contract.Resurrect, answer: Answer) -> Answer:
    """Wait, after COMMIT, until a supervisor that stood by has started the bot's process; else it is a finding."""
    if not request.restart:
        return answer
    bot, last = answer.result["bot_id"], answer.result["last_instance_id"]
    unasked_s = contract.RESTART_WAIT_S if ctx.channel == "cli" else 0
    limit_s = unasked_s if request.wait is None else request.wait
    try:
        started = _look_until(lambda: _started_after(ctx, bot, last), bool, limit_s)
    except (KeyboardInterrupt, errors.BlaidError) as cut:
        # The resurrect is committed: whatever ends the look, the answer is "not seen", never "not done".
        finding = contract.not_restarted_finding(bot, limit_s, _named(cut))
        return dataclasses.replace(answer, finding=finding.model_dump())
    seen = None if started else contract.not_restarted_finding(bot, limit_s).model_dump()
    return dataclasses.replace(answer, result={**answer.result, "restarted": started}, finding=seen)


def _started_after(ctx: Context, bot: str, last_instance_id: int) -> list[int]:
    with ctx.database.reading() as connection:
        found = queries.STARTED_AFTER.on(connection, bot_id=bot, last_instance_id=last_instance_id)
        return [row["id"] for row in rows_of(found)]


def list_kill_events(tx: Tx, request: contract.ListKillEvents) -> contract.KillEvents:
    """Return kill events, newest first."""
    if request.bot is not None:
        require_bot(tx, request.bot)
    try:
        since = rules.since_time(request.since, tx.now) if request.since else tx.now
    except ValueError as error:
        raise errors.InvalidRequest(
            f"--since is invalid: {error}", missing=["since: 15m, 2h, 7d or an ISO time"]
        ) from None
    rows = tx.fetch(
        queries.LIST_EVENTS,
        bot_id=request.bot,
        any_time=0 if request.since else 1,
        since_at=since,
        limit=request.limit,
        scope=tx.ctx.user_scope,
    )
    return contract.KillEvents(events=[contract.KillEvent(**row) for row in rows])
