"""What the database refuses to break about accounts, whoever writes: raw SQL on plain connections."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import pytest

from tests.accounts.desk import account_events, desk, state
from tests.audit.test_append_only import SESSIONS as DELETING
from tests.audit.test_append_only import wait_for_locks
from tests.kill.fleet import WHY, done, instance, verified
from tests.kill.test_invariants import SESSIONS, refuses
from tests.support.accounts import LIMITS, link

if TYPE_CHECKING:
    from tests.support.commandline import CommandLine
    from tests.support.database import Database

AT = "2026-05-05T05:05:05.000000Z"
GOOD = {
    "bot_id": "'a1'",
    "account_id": "'ib-a'",
    **{name: value if name == "max_orders_per_minute" else f"'{value}'" for name, value in LIMITS.items()},
    "policy_sha256": f"'{'0' * 64}'",
    "linked_at": f"'{AT}'",
    "unlinked_at": "NULL",
}
LIVE = "needs a live bot"
ONE_USER = "a bot and its account belong to one user"
BAD = "(?i)above zero|constraint|invalid input syntax|cannot store|datatype mismatch"


def insertion(verb: str = "INSERT", **changes: str) -> str:
    """Return a statement that makes a link by hand."""
    values = GOOD | changes
    return f"{verb} INTO account_links ({', '.join(values)}) VALUES ({', '.join(values.values())})"


@pytest.fixture
def made(cli: CommandLine, database: Database) -> CommandLine:
    """Links: a1 none, a2 open (1) and running, a3 ended (2) and killed, b1 open (3)."""
    desk(cli)
    link(cli, ["a2", "a3"], "ib-a")
    link(cli, ["b1"], "ib-b")
    done(cli("account", "unlink", "a3"))
    done(cli("kill", "a3", *WHY))
    instance(cli, "a2")
    assert database.sql("SELECT id, bot_id FROM account_links ORDER BY id") == [(1, "a2"), (2, "a3"), (3, "b1")]
    return cli


def test_no_link_without_a_live_bot_an_open_account_and_one_user(made: CommandLine, database: Database):
    database.sql("UPDATE broker_accounts SET status = 'CLOSED' WHERE id = 'ib-a2'")
    statements = [
        (insertion(bot_id="'a3'"), LIVE),
        (insertion(bot_id="'ghost'"), LIVE),
        (insertion(account_id="'ib-b'"), ONE_USER),
        (insertion(bot_id="'b2'"), ONE_USER),
        (insertion(account_id="'ghost'"), "needs an open account"),
        (insertion(account_id="'ib-a2'"), "needs an open account"),
        (insertion(unlinked_at=f"'{AT}'"), "begins open"),
        (insertion(bot_id="'a2'"), "at most one open|account_links_one_open"),
    ]
    if database.kind == "sqlite":
        statements += [
            (insertion("REPLACE", bot_id="'a2'"), "at most one open"),
            (insertion("REPLACE", id="1"), "the id exists"),
            (insertion("INSERT OR IGNORE", account_id="'ib-b'"), ONE_USER),
        ]
    for words in SESSIONS[database.kind]:
        refuses(database, *statements, before=words)
    verified(made)


@pytest.mark.parametrize("limit", LIMITS)
def test_no_limit_is_missing_zero_or_no_number(made: CommandLine, database: Database, limit: str):
    values = ["NULL", "0", "-1", "'0'", "'-5'", "'NaN'", "'x'", "''"]
    if database.kind == "sqlite" and limit != "max_orders_per_minute":
        values += ["'0.000'", "'5.0'", "'05'", "'5e3'", "' 5'", "'Infinity'", "x'35'", "'0.0000000000000000001'"]
    if limit == "max_drawdown_pct":
        values += ["'100.000000000000000001'", "'101'", "'1000'"]
    statements = [(insertion(**{limit: value}), BAD) for value in values]
    statements += [(f"UPDATE account_links SET {limit} = {value} WHERE id = 3", BAD) for value in values]
    for words in SESSIONS[database.kind]:
        refuses(database, *statements, before=words)
    if limit == "max_drawdown_pct":
        database.sql("UPDATE account_links SET max_drawdown_pct = '100' WHERE id = 3")
        database.sql("UPDATE account_links SET max_drawdown_pct = '99.999999999999999999' WHERE id = 3")
    assert made("audit", "verify").code == int(limit == "max_drawdown_pct")


def test_a_link_is_never_moved_reopened_or_deleted(made: CommandLine, database: Database):
    statements = [
        ("UPDATE account_links SET account_id = 'ib-a2' WHERE id = 1", "never moved"),
        ("UPDATE account_links SET bot_id = 'a1' WHERE id = 1", "never moved"),
        ("UPDATE account_links SET id = 99 WHERE id = 1", "never moved"),
        (f"UPDATE account_links SET linked_at = '{AT}' WHERE id = 1", "never moved"),
        ("UPDATE account_links SET unlinked_at = NULL WHERE id = 2", "has ended never changes"),
        ("UPDATE account_links SET max_contracts = '9' WHERE id = 2", "has ended never changes"),
        (f"UPDATE account_links SET unlinked_at = '{AT}' WHERE id = 1", "STARTING or RUNNING"),
        (f"UPDATE account_links SET unlinked_at = '{AT}'", "STARTING or RUNNING|has ended"),
        ("DELETE FROM account_links WHERE id = 2", "never deleted"),
        ("DELETE FROM account_links", "never deleted"),
        ("UPDATE bots SET user_id = 'bob' WHERE id = 'a2'", "keeps its owner"),
    ]
    if database.kind == "postgresql":
        statements += [("TRUNCATE account_links CASCADE", "never deleted|append-only")]
    else:
        statements += [("UPDATE OR REPLACE account_links SET bot_id = 'b1' WHERE id = 1", "never moved")]
    for words in SESSIONS[database.kind]:
        refuses(database, *statements, before=words)
    # No open link holds this one: the database lets it go, and `audit verify` finds it (tests/audit/test_replay.py).
    for owner in ("bob", "alice"):
        database.sql("UPDATE bots SET user_id = ? WHERE id = 'a1'", (owner,))
    verified(made)


def test_an_account_changes_in_nothing_but_its_status(made: CommandLine, database: Database):
    only = "change in nothing but their status"
    statements = [
        (f"UPDATE broker_accounts SET {column} = {value} WHERE id = 'ib-a'", only)
        for column, value in {
            "id": "'x'", "user_id": "'bob'", "broker": "'x'", "external_id": "'x'", "environment": "'live'",
            "currency": "'EUR'", "created_at": f"'{AT}'", "long_only": "1",
        }.items()
    ]  # fmt: skip
    columns = "id, user_id, broker, external_id, environment, currency, status, created_at"
    values = f"'{{}}', 'bob', 'ibkr', '{{}}', 'live', 'USD', 'OPEN', '{AT}'"
    held = "the account exists|broker_accounts_external_key|broker_accounts_pkey"
    insert = f"INTO broker_accounts ({columns}) VALUES ({values})"
    statements += [
        (f"INSERT {insert.format('mine', 'U-ib-a')}", held),
        (f"INSERT {insert.format('ib-a', 'new')}", held),
        ("DELETE FROM broker_accounts WHERE id = 'ib-a2'", "never deleted"),
        ("UPDATE broker_accounts SET status = 'FROZEN'", "(?i)constraint"),
    ]
    if database.kind == "postgresql":
        statements += [("TRUNCATE broker_accounts CASCADE", "never deleted|append-only")]
    else:
        statements += [
            (f"REPLACE {insert.format('mine', 'U-ib-a')}", held),
            (f"REPLACE {insert.format('ib-a', '1')}", held),
        ]
    for words in [words for words in SESSIONS[database.kind] if "check_constraints" not in words]:
        refuses(database, *statements, before=words)
    verified(made)


def test_an_account_event_needs_what_makes_it_evidence(made: CommandLine, database: Database):
    good = {
        "act_id": "'x'", "account_id": "'ib-a'", "bot_id": "'a2'", "link_id": "1", "action": "'LINK'", "before": "NULL",
        "after": "'{}'", "policy_sha256": f"'{'0' * 64}'", "error_code": "NULL", "message": "NULL", "actor": "'x'",
        "reason": "NULL", "created_at": f"'{AT}'", "trace_id": f"'{'a' * 32}'",
    }  # fmt: skip
    bad: list[dict[str, str]] = [
        {"action": "'OPENED'"}, {"link_id": "NULL"}, {"link_id": "99"}, {"account_id": "NULL"}, {"bot_id": "NULL"},
        {"account_id": "'ghost'"}, {"bot_id": "'ghost'"}, {"before": "'{}'"}, {"after": "NULL"},
        {"policy_sha256": "NULL"},
        {"policy_sha256": "'abc'"}, {"error_code": "'X'"}, {"message": "'x'"}, {"error_code": "'X'", "message": "'x'"},
        {"action": "'UNLINK'"}, {"action": "'UNLINK'", "after": "NULL"}, {"action": "'LIMITS_CHANGED'"},
        {"action": "'REFUSED'"}, {"action": "'REFUSED'", "link_id": "NULL"}, {"actor": "NULL"}, {"trace_id": "'abc'"},
        {"action": "'REFUSED'", "link_id": "NULL", "error_code": "'X'"}, {"act_id": "NULL"},
        {"action": "'REFUSED'", "link_id": "NULL", "error_code": "'X'", "message": "'x'", "after": "NULL"},
    ]  # fmt: skip
    before = state(database), account_events(database)
    for change in bad:
        values = good | change
        with contextlib.closing(database.raw()) as connection:
            if database.kind == "sqlite":
                connection.execute("PRAGMA foreign_keys=ON")
            with pytest.raises(Exception, match=r"(?i)constraint"):
                connection.execute(
                    f"INSERT INTO broker_account_events ({', '.join(values)}) VALUES ({', '.join(values.values())})"
                )
        assert (state(database), account_events(database)) == before, change
    verified(made)


@pytest.mark.parametrize("words", range(3))
def test_an_account_event_is_never_changed_or_deleted(made: CommandLine, database: Database, words: int):
    columns = ("id", "act_id", "after", "before", "error_code", "message", "reason")
    statements = [(f"UPDATE broker_account_events SET {name} = {name}", "append-only") for name in columns]
    statements.append(("DELETE FROM broker_account_events", "append-only"))
    if database.kind == "sqlite":
        copy = "SELECT * FROM broker_account_events WHERE id = 1"
        statements.append((f"REPLACE INTO broker_account_events {copy}", "append-only"))
    else:
        statements.append(("TRUNCATE broker_account_events CASCADE", "append-only"))
    refuses(database, *statements, before=DELETING[database.kind][words])
    verified(made)


# ---- at the same moment ----------------------------------------------------------------------------------------


def second(database: Database, statement: str) -> tuple[threading.Thread, list[str]]:
    """Run a statement on a connection of its own; return the thread and what the database said to it."""
    said: list[str] = []

    def work() -> None:
        with contextlib.closing(database.raw()) as connection:
            try:
                connection.execute(statement)
                said.append("done")
            except Exception as error:  # noqa: BLE001 - the driver's own classes
                said.append(str(error))

    return threading.Thread(target=work), said


@pytest.mark.parametrize(
    ("first", "then", "why"),
    [
        (f"UPDATE bots SET killed_at = '{AT}' WHERE id = 'a1'", insertion(), LIVE),
        ("UPDATE bots SET user_id = 'bob' WHERE id = 'a1'", insertion(), ONE_USER),
        (insertion(), "UPDATE bots SET user_id = 'bob' WHERE id = 'a1'", "keeps its owner"),
        (insertion(), insertion(account_id="'ib-a2'"), "account_links_one_open"),
        (
            (
                "INSERT INTO bot_instances (bot_id, status, host, pid, attempt, started_at, heartbeat_at)"
                f" VALUES ('b1', 'STARTING', 'raw', 1, 1, '{AT}', '{AT}')"
            ),
            f"UPDATE account_links SET unlinked_at = '{AT}' WHERE id = 3",
            "STARTING or RUNNING",
        ),
    ],
    ids=["a kill", "another owner", "a link, then another owner", "a link, then a link", "a start, then the end"],
)
def test_who_comes_second_sees_what_came_first(
    made: CommandLine, postgres_database: Database, first: str, then: str, why: str
):
    """PostgreSQL: the second waits for the first to commit, and is refused (SQLite has one writer at a time)."""
    del made
    with contextlib.closing(postgres_database.raw()) as connection:
        connection.execute("BEGIN")
        connection.execute(first)
        thread, said = second(postgres_database, then)
        thread.start()
        wait_for_locks(postgres_database, 1)
        connection.execute("COMMIT")
        thread.join(60)
    assert len(said) == 1
    assert why in said[0]


def test_an_old_snapshot_ends_no_link(made: CommandLine, postgres_database: Database):
    del made
    for level in ("REPEATABLE READ", "SERIALIZABLE"):
        with contextlib.closing(postgres_database.raw()) as connection:
            connection.execute(f"BEGIN ISOLATION LEVEL {level}")
            with pytest.raises(Exception, match="READ COMMITTED only"):
                connection.execute(f"UPDATE account_links SET unlinked_at = '{AT}' WHERE id = 3")
