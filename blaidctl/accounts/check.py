"""What the guard asks about a bot's account: is there a link, and do its limits lie within the policy in force now?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blaidctl.accounts import policy, queries, rules
from blaidctl.accounts.vocabulary import AccountStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from blaidctl.core.execute import Tx
    from blaidctl.core.sql import Row


def reasons(tx: Tx, bot: Row) -> Iterator[str]:
    """Yield every reason of a bot's account why it may not trade. Raises RiskPolicyInvalid: the guard is in doubt."""
    link = tx.first(queries.OPEN_LINK_AND_ACCOUNT, bot_id=bot["id"])
    if link is None:
        yield f"NOT_LINKED: bot {bot['id']} has no open link to an account"
        return
    if link["status"] != AccountStatus.OPEN:
        yield f"ACCOUNT_CLOSED: account {link['account_id']} is {link['status']}"
    for what in rules.out_of_range(policy.in_force(tx.ctx.settings), rules.limits_of(link)):
        yield f"LIMIT_OUT_OF_RANGE: {what}"
