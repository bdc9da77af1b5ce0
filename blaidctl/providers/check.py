"""What the guard and the metrics ask about the providers of an account."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blaidctl.core.types import time_text
from blaidctl.providers import queries, rules
from blaidctl.providers.vocabulary import ProviderState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from blaidctl.core.execute import Tx
    from blaidctl.core.sql import Row


def reasons(tx: Tx, bot: Row) -> Iterator[str]:
    """Yield every reason of the providers of a bot's account why it may not trade."""
    now = tx.clock()
    for row in tx.fetch(queries.OF_BOT, bot_id=bot["id"]):
        if row["id"] is not None:
            yield from _of_provider(row, now)


def _of_provider(row: Row, now: datetime) -> Iterator[str]:
    whose = f"provider {row['id']} of account {row['account_id']}"
    if row["state"] != ProviderState.OK:
        since = f"since {time_text(row['changed_at'])} ({row['reason_code']}: {row['detail']})"
        yield f"PROVIDER_{row['state']}: {whose} is {row['state']} {since}"
    if row["checked_at"] is not None and rules.overdue(row["checked_at"], row["check_within_s"], now):
        late = f"more than {row['check_within_s']} s ago" if row["checked_at"] < now else "which lies in the future"
        yield f"PROVIDER_STALE: {whose} was last checked at {time_text(row['checked_at'])}, {late}"
    if row["failed_at"] is not None:
        why = f"failed at {time_text(row['failed_at'])} ({row['failed_reason']})"
        yield f"PULL_FAILED: the last pull from {whose} {why}: not every fill is known"


def not_checked(tx: Tx, bot: Row) -> Iterator[str]:
    """Yield what the guard had nothing to look at: an account that no provider is bound to."""
    for row in tx.fetch(queries.OF_BOT, bot_id=bot["id"]):
        if row["id"] is None:
            yield f"provider state: no provider is bound to account {row['account_id']} (`blaidctl provider bind`)"


def gaps(tx: Tx, _bot_id: str, account_id: str, first_at: datetime, last_at: datetime) -> Iterator[str]:
    """Yield every time within a period in which a provider of the account was not OK and nothing was read since.

    What closes a gap is fills read after it: a pull of the account from that provider, or, where a provider gives no
    fills, any import for the account. A pull that failed is a gap of its own, though its provider is well.
    """
    for row in tx.fetch(queries.BINDINGS_OF, account_id=account_id):
        states = [(state["state"], state["created_at"]) for state in _states(tx, row["provider_id"])]
        read_at, told = _read_at(tx, row, account_id), False
        for state, since_at, until_at in rules.not_ok(states, row["bound_at"], row["unbound_at"]):
            closed = until_at is not None and read_at is not None and read_at > until_at
            overlaps = since_at <= last_at and (until_at is None or until_at > first_at)
            if overlaps and not closed:
                told = True
                until = f"until {time_text(until_at)}" if until_at else "and still is"
                yield (
                    f"providers: {row['provider_id']} of account {account_id} was {state} from {time_text(since_at)}"
                    f" {until}, and no fills were read after that (PROVIDER_{state})"
                )
        if _unread(row, last_at) and not told:  # of a provider that failed the gap speaks already
            since = f"since {time_text(row['pulled_at'])}" if row["pulled_at"] else "from the first on"
            yield (
                f"providers: the last pull of account {account_id} from {row['provider_id']} failed at"
                f" {time_text(row['failed_at'])} ({row['failed_reason']}): its fills {since} are unread (PULL_FAILED)"
            )


def _unread(binding: Row, last_at: datetime) -> bool:
    """Say whether a pull failed while this binding stood, and what it left unread may belong to a period."""
    failed_at, until_at, read_at = binding["failed_at"], binding["unbound_at"], binding["pulled_at"]
    if failed_at is None or failed_at < binding["bound_at"] or (until_at is not None and failed_at > until_at):
        return False
    return read_at is None or last_at > read_at


def _states(tx: Tx, provider_id: str) -> list[Row]:
    return tx.fetch(queries.STATES_OF, provider_id=provider_id)


def _read_at(tx: Tx, binding: Row, account_id: str) -> datetime | None:
    """Return when fills of an account were last read whole."""
    if binding["fills_url"] is None:
        found = tx.first(queries.LAST_IMPORTED, account_id=account_id)
    else:
        found = tx.first(queries.LAST_PULLED, provider_id=binding["provider_id"], account_id=account_id)
    return found["last_at"] if found else None
