"""What the rows say: does somebody reap, is every stop proven, does everything that runs still beat?"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from blaidctl.doctor import queries, rules
from blaidctl.fleet.queries import JOBS_NOW, PROVIDERS_NOW

if TYPE_CHECKING:
    from blaidctl.core.execute import Tx
    from blaidctl.doctor.rules import Seen


def heartbeats(tx: Tx) -> Seen:
    """Look for heartbeats in the future: their silence cannot be judged."""
    found = tx.fetch(queries.AHEAD, limit_at=tx.clock() + timedelta(seconds=rules.AHEAD_S))[0]
    return rules.heartbeats(found["instances"], found["jobs"])


def reaper(tx: Tx) -> Seen:
    """Look when the reaper ran last, and whether it left something."""
    return rules.reaper(tx.first(queries.LAST_RUN), tx.clock())


def unconfirmed(tx: Tx) -> Seen:
    """Count the stops that nobody has proven, host by host."""
    return rules.unconfirmed({row["host"]: row["stops"] for row in tx.fetch(queries.UNCONFIRMED_BY_HOST)})


def stale_instances(tx: Tx) -> Seen:
    """Count the instances that are silent for longer than they may be."""
    return rules.stale(tx.fetch(queries.STALE_INSTANCES, now=tx.clock())[0]["silent"])


def stale_jobs(tx: Tx) -> Seen:
    """Count the jobs that are past their deadline or silent for longer than their type allows."""
    return rules.stale(tx.fetch(JOBS_NOW, now=tx.clock())[0]["stale"])


def providers(tx: Tx) -> Seen:
    """Look how the providers are doing, for fills that a pull left unread, and for accounts that none is bound to."""
    states = {row["provider_id"]: row["state"] for row in tx.fetch(PROVIDERS_NOW, now=tx.clock())}
    unread = [
        f"{row['account_id']} from {row['provider_id']} ({row['failed_reason']})" for row in tx.fetch(queries.UNREAD)
    ]
    return rules.providers(states, [row["account_id"] for row in tx.fetch(queries.UNBOUND)], unread)
