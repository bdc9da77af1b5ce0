"""Two owners, their accounts, and both entrances to them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

from tests.http.desk import in_process, token
from tests.kill.fleet import dump, fleet
from tests.support.accounts import add_account

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import httpx

    from tests.support.commandline import CommandLine
    from tests.support.database import Database

#: The ranges that ship, and the step below which neither engine stores anything.
RANGES = {
    "max_contracts": ("0.001", "1000"),
    "max_position_value": ("1", "10000000"),
    "max_order_qty": ("0.000001", "100000"),
    "max_daily_loss": ("1", "1000000"),
    "max_drawdown_pct": ("0.1", "50"),
    "max_orders_per_minute": ("1", "600"),
}
REASON = ("--reason", "as agreed with the desk")
_COLUMNS = (
    "account_id", "bot_id", "link_id", "action", "before", "after", "policy_sha256", "error_code", "message", "actor",
    "reason", "trace_id", "act_id",
)  # fmt: skip


def desk(cli: CommandLine) -> None:
    """Make the fleet: alice has the bots a1 a2 a3 and the accounts ib-a and ib-a2, bob has b1 b2 and ib-b."""
    fleet(cli)
    for account, user in (("ib-a", "alice"), ("ib-a2", "alice"), ("ib-b", "bob")):
        add_account(cli, account, user)


def account_events(database: Database) -> list[dict[str, Any]]:
    """Return the account events, oldest first, as JSON has them."""
    rows = database.sql(f"SELECT {', '.join(_COLUMNS)} FROM broker_account_events ORDER BY id")
    found = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
    for event in found:
        for side in ("before", "after"):
            if isinstance(event[side], str):
                event[side] = json.loads(event[side])
    return found


def state(database: Database) -> dict[str, list[str]]:
    """Return every row but those that a refusal writes."""
    return dump(database, without=("audit_log", "audit_head", "broker_account_events"))


@contextlib.contextmanager
def over_http(cli: CommandLine, user: str) -> Iterator[Callable[..., httpx.Response]]:
    """`ask(verb, path, body)` as the owner of a token, of a server in this process."""
    bearer = token(cli, user)
    with in_process(cli) as shim:

        async def call(verb: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]) -> Any:
            async with shim(bearer) as client:
                return await client.request(verb, path, json=body, headers=dict(headers))

        def ask(
            verb: str,
            path: str,
            body: Mapping[str, Any] | None = None,
            headers: Mapping[str, str] = {},
        ) -> httpx.Response:
            found: httpx.Response = asyncio.run(call(verb, path, body, headers))
            return found

        yield ask
