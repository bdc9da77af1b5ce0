"""Two operators at one moment, as real processes: one wins, the others are told why."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.accounts.desk import account_events, desk
from tests.kill.fleet import verified
from tests.support.accounts import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.commandline import CommandLine, ProcessCommandLine
    from tests.support.database import Database

#: Nobody gives up on a busy machine.
PATIENT = {"BLAIDCTL_LOCK_TIMEOUT_S": "60", "BLAIDCTL_CONNECT_TIMEOUT_S": "60"}


def at_once(process: ProcessCommandLine, commands: Sequence[Sequence[str]]) -> list[tuple[int, dict]]:
    """Start them all, then wait; return each exit code with the answer or the error."""
    started = [process.spawn(*words, env=PATIENT) for words in commands]
    ended = []
    for one in started:
        out, err = one.communicate(timeout=110)
        ended.append((one.returncode, json.loads(out if one.returncode == 0 else err)))
    return ended


def sorted_out(ended: list[tuple[int, dict]], code: int, error_code: str) -> tuple[dict, list[dict]]:
    """Insist on one winner and one reason for all the others; return the winner's answer and the errors."""
    assert sorted(one for one, _ in ended) == [0] + [code] * (len(ended) - 1), ended
    (won,) = [answer for one, answer in ended if one == 0]
    lost = [error for one, error in ended if one]
    assert {error["error_code"] for error in lost} == {error_code}
    return won["result"], lost


@pytest.mark.parametrize("accounts", [("ib-a", "ib-a"), ("ib-a", "ib-a2")], ids=["same", "other"])
def test_two_operators_link_one_bot(
    cli: CommandLine, process: ProcessCommandLine, database: Database, accounts: tuple[str, str]
):
    desk(cli)
    ended = at_once(process, [("account", "link", "a1", account, *options()) for account in accounts * 2])
    won, lost = sorted_out(ended, 4, "ALREADY_LINKED")
    assert all(f"bot a1 is linked to account {won['account_id']} since" in error["message"] for error in lost)
    assert database.sql("SELECT bot_id, account_id FROM account_links") == [("a1", won["account_id"])]
    assert sorted(event["action"] for event in account_events(database)) == ["LINK", "REFUSED", "REFUSED", "REFUSED"]
    verified(cli)


def test_two_users_race_for_one_account_at_the_broker(
    cli: CommandLine, process: ProcessCommandLine, database: Database
):
    desk(cli)
    words = ("--broker", "ibkr", "--external-id", "U777", "--environment", "live", "--currency", "EUR")
    ended = at_once(process, [("account", "add", f"{u}-live", "--user", u, *words) for u in ("alice", "bob")])
    won, (lost,) = sorted_out(ended, 6, "ACCOUNT_HELD")
    assert f"held by user {won['user_id']} ({won['id']})" in lost["message"]
    assert database.sql("SELECT id FROM broker_accounts WHERE external_id = 'U777'") == [(won["id"],)]
    (refusal,) = account_events(database)
    assert (refusal["action"], refusal["account_id"]) == ("REFUSED", won["id"])
    # … and only a bot of the winner gets onto it.
    bots = {"alice": "a1", "bob": "b1"}
    ended = at_once(process, [("account", "link", bot, won["id"], *options()) for bot in bots.values()])
    linked, _ = sorted_out(ended, 6, "CROSS_USER_LINK")
    assert linked["bot_id"] == bots[won["user_id"]]
    verified(cli)


def test_a_link_and_a_kill_of_one_bot_leave_no_link_that_came_after(
    cli: CommandLine, process: ProcessCommandLine, database: Database
):
    desk(cli)
    kill = ("kill", "a1", "--reason-code", "DRILL", "--reason", "a race")
    (linked, answer), (killed, _) = at_once(process, [("account", "link", "a1", "ib-a", *options()), kill])
    assert killed == 0
    assert linked in {0, 5}
    if linked:
        assert answer["error_code"] == "BOT_KILLED"
    assert database.sql("SELECT count(*) FROM account_links") == [(int(not linked),)]
    verified(cli)
