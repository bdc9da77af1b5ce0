"""What no event table explains is compared with what the entries of the acts say: no column of it changes unseen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from blaidctl.audit import chain
from tests.audit.tampering import broken, tamper, trigger_names, unguarded
from tests.kill.fleet import WHY, done, fleet, instance, operate, verified

if TYPE_CHECKING:
    from tests.support.commandline import CommandLine
    from tests.support.database import Database

ACCOUNT = ("--broker", "ibkr", "--external-id", "U1", "--environment", "paper", "--currency", "USD")
LIMITS = ("--heartbeat-s", "5", "--stale-after-s", "60", "--max-runtime-s", "3600", "--grace-s", "10")
AT = "'2026-01-01T00:00:00.000000Z'"


@pytest.fixture
def desk(cli: CommandLine) -> CommandLine:
    """One of each, and instances in most states: running, killed, killed and proven, ended."""
    fleet(cli)
    done(cli("account", "add", "acc", "--user", "alice", *ACCOUNT))
    done(cli("job", "type", "add", "nightly", *LIMITS))
    done(cli("currency", "add", "USDT", "--places", "6"))
    done(cli("token", "add", "--user", "alice", "--label", "desk"))
    token = done(cli("token", "add", "--user", "bob", "--label", "old")).json["result"]["token_id"]
    done(cli("token", "revoke", token))
    running, killed, proven, ended = (instance(cli, bot) for bot in ("a1", "a2", "a2", "b1"))
    operate(cli, "instance finish", {"instance": ended, "attempt": 1, "stop_reason": "EXITED", "exit_status": "exit 0"})
    done(cli("kill", "a2", *WHY))
    operate(
        cli, "instance finish", {"instance": proven, "attempt": 1, "stop_reason": "EXITED", "exit_status": "signal 9"}
    )
    lost = instance(cli, "b2")
    assert [running, killed, proven, ended, lost] == [1, 2, 3, 4, 5]
    return cli


def test_what_the_acts_wrote_is_what_the_tables_hold(desk: CommandLine):
    assert verified(desk)["defects"] == []


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("UPDATE users SET name = 'Mallory' WHERE id = 'alice'", "user alice: name is Mallory, its entries say alice"),
        (f"UPDATE users SET created_at = {AT} WHERE id = 'alice'", "user alice: created_at is 2026-01-01"),
        ("UPDATE bots SET user_id = 'bob' WHERE id = 'a3'", "bot a3: user_id is bob, its entries say alice"),
        ("UPDATE bots SET name = 'x' WHERE id = 'a3'", "bot a3: name is x"),
        ("UPDATE bots SET strategy = 'x' WHERE id = 'a3'", "bot a3: strategy is x"),
        ("UPDATE bots SET tags = '[\"x\"]' WHERE id = 'a3'", 'bot a3: tags is ["x"]'),
        ("UPDATE bots SET exchanges = '[]' WHERE id = 'a3'", "bot a3: exchanges is []"),
        (f"UPDATE bots SET created_at = {AT} WHERE id = 'a3'", "bot a3: created_at is 2026-01-01"),
        ("UPDATE broker_accounts SET user_id = 'bob'", "account acc: user_id is bob"),
        ("UPDATE broker_accounts SET broker = 'x'", "account acc: broker is x"),
        ("UPDATE broker_accounts SET external_id = 'x'", "account acc: external_id is x"),
        ("UPDATE broker_accounts SET environment = 'live'", "account acc: environment is live"),
        ("UPDATE broker_accounts SET currency = 'EUR'", "account acc: currency is EUR"),
        ("UPDATE broker_accounts SET long_only = 1 - long_only", "account acc: long_only is 1"),
        ("UPDATE job_types SET max_runtime_s = 7200", "job type nightly: max_runtime_s is 7200"),
        ("UPDATE job_types SET stale_after_s = 90", "job type nightly: stale_after_s is 90"),
        ("UPDATE job_types SET heartbeat_s = 6", "job type nightly: heartbeat_s is 6"),
        ("UPDATE job_types SET grace_s = 6", "job type nightly: grace_s is 6"),
        ("UPDATE currencies SET places = 2", "currency USDT: places is 2"),
        ("UPDATE api_tokens SET user_id = 'bob' WHERE label = 'desk'", "user_id is bob"),
        ("UPDATE api_tokens SET label = 'x' WHERE label = 'desk'", "label is x"),
        ("UPDATE api_tokens SET token_sha256 = {one} WHERE label = 'desk'", "token_sha256 is 1111"),
        (f"UPDATE api_tokens SET revoked_at = {AT} WHERE label = 'desk'", "revoked_at is 2026-01-01"),
        ("UPDATE api_tokens SET revoked_at = NULL WHERE label = 'old'", "revoked_at is None"),
        ("UPDATE bot_instances SET bot_id = 'a3' WHERE id = 1", "instance 1: bot_id is a3"),
        ("UPDATE bot_instances SET account_id = 'acc' WHERE id = 1", "instance 1: account_id is acc"),
        ("UPDATE bot_instances SET host = 'there' WHERE id = 1", "instance 1: host is there"),
        ("UPDATE bot_instances SET boot_id = 'x' WHERE id = 1", "instance 1: boot_id is x"),
        ("UPDATE bot_instances SET mark = 'x' WHERE id = 1", "instance 1: mark is x"),
        ("UPDATE bot_instances SET attempt = 2 WHERE id = 1", "instance 1: attempt is 2"),
        ("UPDATE bot_instances SET pid = 1 WHERE id = 1", "instance 1: pid is 1"),
        ("UPDATE bot_instances SET pid_started = '1' WHERE id = 1", "instance 1: pid_started is 1"),
        (f"UPDATE bot_instances SET stop_confirmed_at = {AT} WHERE id = 2", "instance 2: stop_confirmed_at is 2026-01"),
        ("UPDATE bot_instances SET stop_confirmed_at = NULL WHERE id = 3", "instance 3: stop_confirmed_at is None"),
        ("UPDATE bot_instances SET exit_status = 'exit 0' WHERE id = 3", "instance 3: exit_status is exit 0"),
        ("UPDATE bot_instances SET stop_reason = 'LEASE_LOST' WHERE id = 4", "instance 4: stop_reason is LEASE_LOST"),
        ("UPDATE bot_instances SET status = 'FAILED' WHERE id = 4", "instance 4: status is FAILED"),
        (
            f"UPDATE bot_instances SET status = 'STOPPED', stop_reason = 'EXITED', stopped_at = {AT} WHERE id = 5",
            "instance 5: status is STOPPED",
        ),
        ("DELETE FROM bots WHERE id = 'a3'", "bot a3 is gone, entry 5 tells of it"),
        ("DELETE FROM bot_instances WHERE id = 1", "instance 1 is gone"),
        ("DELETE FROM api_tokens WHERE label = 'desk'", "is gone"),
        ("DELETE FROM currencies WHERE code = 'USDT'", "currency USDT is gone"),
    ],
)
def test_a_change_that_no_act_made_is_named(desk: CommandLine, database: Database, change: str, what: str):
    one = "x'" + "11" * 32 + "'" if database.kind == "sqlite" else r"'\x" + "11" * 32 + "'"
    tamper(database, change.replace("{one}", one))
    run, checks, _ = broken(desk)
    assert checks == {"replay"}
    assert what in " ".join(run.error["missing_requirements"])


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (
            (
                "INSERT INTO api_tokens (id, user_id, label, token_sha256, created_at)"
                " SELECT 'forged', user_id, label, {other}, created_at FROM api_tokens WHERE label = 'desk'"
            ),
            "token forged: no entry says that it was made",
        ),
        (
            (
                "INSERT INTO currencies (code, places, created_at) SELECT 'FAKE', places, created_at FROM currencies"
                " WHERE code = 'USDT'"
            ),
            "currency FAKE: no entry says that it was made",
        ),
    ],
)
def test_a_row_that_no_act_made_is_named(desk: CommandLine, database: Database, row: str, what: str):
    other = "x'" + "22" * 32 + "'" if database.kind == "sqlite" else r"'\x" + "22" * 32 + "'"
    with unguarded(database) as connection:
        connection.execute(row.replace("{other}", other))
    run, checks, _ = broken(desk)
    assert checks == {"replay"}
    assert what in " ".join(run.error["missing_requirements"])


def test_what_the_reaper_ended_and_proved_is_explained(cli: CommandLine, database: Database):
    fleet(cli)
    for bot in ("a1", "a1", "b1"):
        instance(cli, bot)
    observed = [(1, 1, 1), (2, 1, 1)]
    database.sql("UPDATE bot_instances SET heartbeat_at = '2026-01-01T00:00:00.000000Z'")
    operate(cli, "instance reap batch", {"seen": observed})
    operate(cli, "instance confirm stops", {"gone": [{"id": 1, "attempt": 1, "exit_status": "gone"}]})
    verified(cli)
    tamper(database, "UPDATE bot_instances SET stop_confirmed_at = stopped_at WHERE id = 2")
    run, _, _ = broken(cli)
    assert "instance 2: stop_confirmed_at is" in run.error["message"]


def test_an_entry_that_blaidctl_never_wrote_is_left_to_the_chain(desk: CommandLine, database: Database):
    tamper(database, "UPDATE audit_log SET canonical = '[1]' WHERE action = 'bot add' AND seq = 5")
    _, checks, first = broken(desk)
    assert checks == {"chain"}
    assert first == 5


def test_a_schema_without_any_trigger_hides_nothing_that_a_replay_finds(desk: CommandLine, database: Database):
    for table, name in trigger_names(database):
        database.sql(f"DROP TRIGGER {name}" + (f" ON {table}" if database.kind == "postgresql" else ""))
    database.sql("UPDATE users SET name = 'Mallory' WHERE id = 'alice'")
    run, checks, _ = broken(desk)
    assert {"triggers", "replay"} <= checks
    found = run.json["result"]["defects"]
    assert len(found) == chain.MOST_DEFECTS or database.kind == "postgresql"
    assert any("user alice: name is Mallory" in defect["what"] for defect in found)
