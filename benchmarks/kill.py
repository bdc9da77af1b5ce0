"""A kill, as a ratio to what the engine needs for the same writes (rows 3 and 4 of the performance goals).

    python -m benchmarks.kill

fleet     `kill --all --confirm-count 10000` over 10,000 bots with 10 running instances each, through the whole road
          (request model, one transaction, event rows, their digest, chain entry, stored answer, COMMIT), to the floor
          on the same schema with the same triggers: BEGIN; UPDATE instances; UPDATE bots; INSERT … SELECT of the
          events, without a chain or an answer; COMMIT. Each run has a fresh copy of the fleet.
one bot   the same for one bot with 1, 10 and 1,000 running instances in a process that is already up, to the driver's
          own statements that write the same rows, chain entry and stored answer included, on a connection kept open.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from benchmarks import common
from blaidctl.core.execute import execute
from blaidctl.core.operation import the_map
from blaidctl.core.types import time_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.common import Figure, Place
    from blaidctl.core.context import Context

REASON = "a drill of the desk: every order of the strategy is stopped"
FLEET_GOALS = {"sqlite": 1.3, "postgresql": 1.2}
ONE_BOT_GOALS = {1: 2.0, 10: 2.0, 1000: 1.3}

_FLEET_FLOOR = (
    "UPDATE bot_instances SET status = 'STOPPED', stop_reason = 'KILLED', stopped_at = '{now}'"
    " WHERE status IN ('STARTING', 'RUNNING')",
    "UPDATE bots SET killed_at = '{now}' WHERE killed_at IS NULL",
    "INSERT INTO kill_events (act_id, bot_id, action, effect, actor, reason_code, reason, created_at, metadata,"
    " trace_id, ends_kill_event_id, instances_stopped)"
    " SELECT '{act}', id, 'KILL', 'APPLIED', 'risk@desk', 'DRILL', '{reason}',"
    " '{now}', '{{\"channel\":\"cli\"}}', '{act}', NULL, {instances} FROM bots ORDER BY id",
)


def main() -> None:
    """Measure and print."""
    options = common.arguments(__doc__, bots=10_000, instances=10, pairs=7, one_bot_pairs=60)
    with common.places(options.engine) as found:
        figures = []
        for place in found:
            figures.append(fleet(place, options.bots, options.instances, options.pairs, profile=options.profile))
            figures += [one_bot(place, n, options.one_bot_pairs, profile=options.profile) for n in ONE_BOT_GOALS]
    common.report("kill ÷ what the engine needs", figures, as_json=options.json)


def act(ctx: Context, **target: Any) -> None:
    """Kill through the one road."""
    execute(ctx, the_map()["kill"], {"reason_code": "DRILL", "reason": REASON, **target})


# ---- the fleet -------------------------------------------------------------------------------------------------------


def fleet(place: Place, bots: int, instances: int, pairs: int, *, profile: bool) -> Figure:
    """Kill everything, on fresh copies of one fleet."""
    template = place.template(common.seed_fleet(bots, instances))

    def on_a_copy(work: Callable[[str], float]) -> float:
        name = place.copy(template)
        try:
            return work(name)
        finally:
            place.drop(name)

    def floor(name: str) -> float:
        words = {"now": time_text(datetime.now(UTC)), "act": secrets.token_hex(16), "reason": REASON}
        with contextlib.closing(place.raw(name)) as connection:
            return common.seconds(
                lambda: _run(connection, [s.format(**words, instances=instances) for s in _FLEET_FLOOR])
            )

    def product(name: str) -> float:
        with _session(place, name) as ctx:
            return common.seconds(lambda: act(ctx, all=True, confirm_count=bots))

    def count(name: str) -> float:
        with _session(place, name) as ctx, common.counted(ctx.database) as counts:
            act(ctx, all=True, confirm_count=bots)
        counted.update(counts)
        return 0.0

    def look(name: str) -> float:
        with _session(place, name) as ctx, common.profiled(f"fleet kill on {place.kind}"):
            act(ctx, all=True, confirm_count=bots)
        return 0.0

    counted: dict[str, int] = {}
    on_a_copy(count)
    if profile:
        on_a_copy(look)
    taken = common.take_turns(lambda: on_a_copy(floor), lambda: on_a_copy(product), pairs)
    name = f"fleet kill, {bots:,} bots x {instances}"
    return common.Figure(name, place.kind, taken, goal=FLEET_GOALS[place.kind], more=counted)


@contextlib.contextmanager
def _session(place: Place, name: str) -> Any:
    ctx = common.context(place.url(name))
    try:
        with ctx.database.reading():  # the engine is up before the clock starts
            pass
        yield ctx
    finally:
        ctx.database.close()


def _run(connection: Any, statements: list[str]) -> None:
    connection.execute("BEGIN")
    for statement in statements:
        connection.execute(statement)
    connection.execute("COMMIT")


# ---- one bot ---------------------------------------------------------------------------------------------------------


def one_bot(place: Place, instances: int, pairs: int, *, profile: bool) -> Figure:
    """Kill one bot after another, the floor and the product in turn, on one database."""
    bots = 2 * pairs + 40
    name = place.copy(place.template(common.seed_fleet(bots, instances)))
    numbers = iter(range(1, bots + 1))
    with contextlib.closing(place.raw(name)) as raw, _session(place, name) as ctx:
        write = RawKill(place.kind, raw, instances)

        def product() -> None:
            act(ctx, bots=[common.bot_id(next(numbers))])

        with common.counted(ctx.database) as counted:
            product()
        for _ in range(5):  # psycopg prepares a statement when it sees it for the fifth time
            write(common.bot_id(next(numbers)))
            product()
        taken = common.take_turns(
            lambda: common.seconds(lambda: write(common.bot_id(next(numbers)))), lambda: common.seconds(product), pairs
        )
        if profile:
            with common.profiled(f"one bot with {instances} instances on {place.kind}, 20 kills"):
                for _ in range(20):
                    product()
    place.drop(name)
    title = f"one-bot kill, {instances:,} running"
    return common.Figure(title, place.kind, taken, goal=ONE_BOT_GOALS[instances], more=counted)


class RawKill:
    """The same rows as a kill writes, in the driver's own words."""

    def __init__(self, kind: str, connection: Any, instances: int) -> None:
        """Take an open connection and how many instances each bot has."""
        self.postgresql = kind == "postgresql"
        self.connection = connection
        self.instances = instances

    def __call__(self, bot: str) -> None:
        """Write in one transaction."""
        now, act_id, request_id, trace = _stamp(), *(secrets.token_hex(16) for _ in range(3))
        self._sql("BEGIN" if self.postgresql else "BEGIN IMMEDIATE")
        self._sql(
            "UPDATE bot_instances SET status = 'STOPPED', stop_reason = 'KILLED', stopped_at = ?"
            " WHERE bot_id = ? AND status IN ('STARTING', 'RUNNING')",
            now,
            bot,
        )
        self._sql("UPDATE bots SET killed_at = ? WHERE id = ? AND killed_at IS NULL", now, bot)
        row = self._sql(
            "INSERT INTO kill_events (act_id, bot_id, action, effect, actor, reason_code, reason, created_at, metadata,"
            " trace_id, ends_kill_event_id, instances_stopped) VALUES (?, ?, 'KILL', 'APPLIED', 'risk@desk', 'DRILL',"
            " ?, ?, '{\"channel\":\"cli\"}', ?, NULL, ?) RETURNING id",
            act_id, bot, REASON, now, trace, self.instances,
        ).fetchone()  # fmt: skip
        event = {
            "action": "KILL",
            "actor": "risk@desk",
            "bot_id": bot,
            "id": row[0],
            "reason": REASON,
            "trace_id": trace,
        }
        digest = {"count": 1, "sha256": hashlib.sha256(json.dumps(event).encode()).hexdigest()}
        seq = self._chain(act_id, now, json.dumps({"kill_events": digest}), request_id, trace, bot)
        answer = {"bots": [{"bot_id": bot, "effect": "APPLIED", "kill_event_id": row[0], "killed_at": now}], "count": 1}
        self._sql(
            "INSERT INTO requests (act_id, actor, request_id, operation, fingerprint, answer, audit_seq, created_at)"
            " VALUES (?, 'risk@desk', ?, 'kill', ?, ?, ?, ?)",
            act_id, request_id, hashlib.sha256(request_id.encode()).hexdigest(), json.dumps(answer), seq, now,
        )  # fmt: skip
        self._sql("COMMIT")

    def _chain(self, act_id: str, now: str, events: str, request_id: str, trace: str, bot: str) -> int:
        what = json.dumps(
            {"bots": [bot], "killed": 1, "reason": REASON, "host": "desk", "os_user": "risk", "pid": 4242}
        )
        if self.postgresql:
            seq: int = self._sql(
                "SELECT seq FROM blaidctl_audit_append(?, ?, ?, ?, 'kill', 'risk@desk', ?, ?, 'DONE', ?, ?)",
                '{"prev_hash":"', '","seq":', what, act_id, now, events, request_id, trace,
            ).fetchone()[0]  # fmt: skip
            return seq
        seq, prev = self._sql("SELECT seq + 1, entry_hash FROM audit_head WHERE id = 1").fetchone()
        text = f'{{"act_id":"{act_id}","created_at":"{now}","prev_hash":"{prev.hex()}","seq":{seq},"what":{what}}}'
        entry_hash = hashlib.sha256(text.encode()).digest()
        self._sql(
            "INSERT INTO audit_log (seq, prev_hash, entry_hash, act_id, action, actor, created_at, events, outcome,"
            " request_id, trace_id, canonical) VALUES (?, ?, ?, ?, 'kill', 'risk@desk', ?, ?, 'DONE', ?, ?, ?)",
            seq, prev, entry_hash, act_id, now, events, request_id, trace, text,
        )  # fmt: skip
        self._sql("UPDATE audit_head SET seq = ?, entry_hash = ? WHERE id = 1", seq, entry_hash)
        return int(seq)

    def _sql(self, statement: str, *values: Any) -> Any:
        return self.connection.execute(statement.replace("?", "%s") if self.postgresql else statement, values)


def _stamp() -> str:
    return time_text(datetime.now(UTC))


if __name__ == "__main__":
    main()
