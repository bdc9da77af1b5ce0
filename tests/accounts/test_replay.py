"""`audit verify` finds every edit of account events, refused ones too, and every link that they do not explain."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.accounts.desk import desk
from tests.audit.tampering import broken, rehash, tamper, unguarded
from tests.kill.fleet import done, entries, refused, verified
from tests.support.accounts import link, options

if TYPE_CHECKING:
    from tests.support.commandline import CommandLine
    from tests.support.database import Database

AT = "'2026-05-05T05:05:05.000000Z'"


@pytest.fixture
def told(cli: CommandLine) -> CommandLine:
    """1 REFUSED, 2 LINK a1 (link 1), 3 LIMITS_CHANGED, 4 UNLINK, 5 LINK a1 (2), 6 LINK b1 (3), 7 REFUSED."""
    desk(cli)
    refused(cli("account", "link", "a1", "ib-a", "--reason", "first"), 5, "RISK_SETTINGS_MISSING")
    link(cli, ["a1"], "ib-a")
    done(cli("account", "limits", "a1", "--max-contracts", "3"))
    done(cli("account", "unlink", "a1"))
    link(cli, ["a1"], "ib-a2")
    link(cli, ["b1"], "ib-b")
    refused(cli("account", "link", "b2", "ib-a", *options(), "--reason", "last"), 6, "CROSS_USER_LINK")
    verified(cli)
    return cli


def seq_of(database: Database, event: int) -> int:
    ((seq,),) = database.sql(
        "SELECT seq FROM audit_log WHERE act_id = (SELECT act_id FROM broker_account_events WHERE id = ?)", (event,)
    )
    return int(seq)


@pytest.mark.parametrize("event", [1, 3, 7], ids=["refused", "changed", "last refused"])
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("act_id", "'forged'"),
        ("account_id", "'ib-b'"),
        ("bot_id", "'b1'"),
        ("before", '\'{"account": "ib-b"}\''),
        ("after", "'{\"max_contracts\": 9.5}'"),
        ("policy_sha256", f"'{'0' * 64}'"),
        ("actor", "'nobody@nowhere'"),
        ("reason", "'another'"),
        ("created_at", AT),
        ("trace_id", f"'{'f' * 32}'"),
        ("id", "1000"),
    ],
)
def test_each_column_of_an_account_event_is_bound(
    told: CommandLine, database: Database, event: int, column: str, value: str
):
    seq = seq_of(database, event)
    tamper(database, f"UPDATE broker_account_events SET {column} = {value} WHERE id = {event}")
    _, checks, first = broken(told)
    assert ("broker_account_events" in checks, first) == (True, seq)


@pytest.mark.parametrize(("column", "value"), [("error_code", "'BUSY'"), ("message", "'all is well'")])
def test_what_a_refusal_said_is_bound(told: CommandLine, database: Database, column: str, value: str):
    seq = seq_of(database, 1)
    tamper(database, f"UPDATE broker_account_events SET {column} = {value} WHERE id = 1")
    _, checks, first = broken(told)
    assert (checks, first) == ({"broker_account_events"}, seq)


@pytest.mark.parametrize("event", [1, 7])
def test_a_deleted_refusal_is_missed(told: CommandLine, database: Database, event: int):
    seq = seq_of(database, event)
    tamper(database, f"DELETE FROM broker_account_events WHERE id = {event}")
    run, checks, first = broken(told)
    assert (checks, first) == ({"broker_account_events"}, seq)
    assert "the event rows of this act are gone" in run.stderr


@pytest.mark.parametrize("of", ["'forged'", "(SELECT act_id FROM audit_log WHERE seq = 1)"])
def test_an_added_refusal_belongs_to_no_entry(told: CommandLine, database: Database, of: str):
    rest = "account_id, bot_id, link_id, action, before, after, policy_sha256, error_code, message, actor, reason"
    rest += ", created_at, trace_id"
    copy = f"SELECT {of}, {rest} FROM broker_account_events WHERE id = 1"
    database.sql(f"INSERT INTO broker_account_events (act_id, {rest}) {copy}")
    run, checks, _ = broken(told)
    assert checks == {"broker_account_events"}
    assert "event rows that no audit entry covers: ids 8 to 8" in run.stderr


def test_the_entry_of_a_refusal_is_bound_to_its_rows(told: CommandLine, database: Database):
    """A refusal whose entry is made to say that it wrote no event: the rows are covered by nothing then."""
    seq = seq_of(database, 7)
    digest = entries(database)[seq - 1]["events"]["broker_account_events"]["sha256"]
    rehash(database, seq, digest, "0" * 64)
    _, checks, first = broken(told)
    assert ("chain" in checks, first) == (True, seq)


def test_a_refusal_of_before_whose_entry_shares_its_act_id_is_no_finding(told: CommandLine, database: Database):
    """Versions before gave a refusal the act id of its request id; the act that was done later has the rows."""
    done(told("account", "link", "a2", "ib-a", *options(), "--request-id", "shared"))
    ((act_id, last),) = database.sql("SELECT act_id, seq FROM audit_log ORDER BY seq DESC LIMIT 1")
    refused(told("kill", "nobody", "--reason-code", "DRILL", "--reason", "x"), 3, "BOT_NOT_FOUND")
    own = entries(database)[-1]["act_id"]
    rehash(database, last + 1, own, str(act_id))
    with unguarded(database) as connection:
        connection.execute(f"UPDATE audit_log SET act_id = '{act_id}' WHERE seq = {last + 1}")
        connection.execute(
            f"UPDATE audit_head SET entry_hash = (SELECT entry_hash FROM audit_log WHERE seq = {last + 1})"
        )
    verified(told)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("UPDATE account_links SET max_contracts = '9' WHERE id = 2", r"link 2: max_contracts is 9, its events say 5"),
        ("UPDATE account_links SET max_contracts = '5' WHERE id = 1", r"link 1: max_contracts is 5, its events say 3"),
        (
            "UPDATE account_links SET max_daily_loss = '2500.50000001' WHERE id = 3",
            r"link 3: max_daily_loss is 2500.50",
        ),
        ("UPDATE account_links SET max_orders_per_minute = 61 WHERE id = 3", r"max_orders_per_minute is 61, .* say 60"),
        (f"UPDATE account_links SET policy_sha256 = '{'0' * 64}' WHERE id = 2", r"link 2: policy_sha256 is 0000"),
        (
            "UPDATE account_links SET account_id = 'ib-a' WHERE id = 2",
            r"link 2: account_id is ib-a, its events say ib-a2",
        ),
        ("UPDATE account_links SET bot_id = 'a2' WHERE id = 2", r"link 2: bot_id is a2, its events say a1"),
        (
            f"UPDATE account_links SET linked_at = {AT} WHERE id = 2",
            r"link 2: linked_at is 2026-05-05T05:05:05.000000Z",
        ),
        (f"UPDATE account_links SET unlinked_at = {AT} WHERE id = 2", r"link 2: unlinked_at is 2026-05-05T.*say None"),
        ("UPDATE account_links SET unlinked_at = NULL, bot_id = 'a2' WHERE id = 1", r"link 1: .*unlinked_at is None"),
        ("DELETE FROM account_links WHERE id = 2", r"account link 2 is gone, account event 5 names it"),
        ("DELETE FROM account_links WHERE id = 3", r"account link 3 is gone, account event 6 names it"),
        ("UPDATE account_links SET id = 99 WHERE id = 2", r"link 2 is gone.*link 99: no event says that it was made"),
        (
            "UPDATE bots SET user_id = 'bob' WHERE id = 'a1'",
            r"link 2: bot a1 and its account do not belong to one user",
        ),
        (
            "UPDATE broker_accounts SET user_id = 'alice' WHERE id = 'ib-b'",
            r"link 3: bot b1 and its account do not belong to one user",
        ),
    ],
)
def test_a_link_that_no_event_explains_is_named(told: CommandLine, database: Database, change: str, what: str):
    tamper(database, change)
    run, checks, first = broken(told)
    assert (checks, first) == ({"replay"}, None)
    assert re.search(what, " ".join(run.error["missing_requirements"])), run.stderr


def test_a_link_made_by_hand_is_named(told: CommandLine, database: Database):
    columns = (
        "account_id, max_contracts, max_position_value, max_order_qty, max_daily_loss, max_drawdown_pct,"
        " max_orders_per_minute, policy_sha256, linked_at"
    )
    database.sql(
        f"INSERT INTO account_links (bot_id, {columns}) SELECT 'b2', {columns} FROM account_links WHERE id = 3"
    )
    run, checks, _ = broken(told)
    assert checks == {"replay"}
    assert "account link 4: no event says that it was made" in run.stderr
