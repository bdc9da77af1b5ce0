"""What the database itself refuses of providers, whoever writes; and what `audit verify` finds all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from blaidctl.providers.rehearsal import Rehearsal
from tests.audit.tampering import tamper
from tests.support.provider import ACCOUNT, PROVIDER, bound, done, fills, pull

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.commandline import CommandLine
    from tests.support.database import Database

AT = "2026-01-05T00:00:00.000000Z"
NEW = (
    "INSERT INTO providers (id, kind, check_url, plain_http, stale_after_s, timeout_s, attempts, degrade_after,"
    " block_after, recover_after, check_within_s, state, reason_code, detail, failures, successes, checked_at, good_at,"
    f" changed_at, created_at) VALUES ('x', 'http', 'https://x/', 0, 1, 1, 1, 1, 2, 1, 1, {{}}, '{AT}', '{AT}')"
)
ENDED = (
    "INSERT INTO provider_bindings (provider_id, account_id, bound_at, unbound_at)"
    f" VALUES ('{PROVIDER}', '{ACCOUNT}', '{AT}', '{AT}')"
)


@pytest.fixture
def desk(database: Database, cli: CommandLine) -> Iterator[Database]:
    with Rehearsal(fills(3)) as provider:
        bound(cli, provider)
        done(pull(cli))
        yield database


def refused(database: Database, statement: str) -> str:
    with pytest.raises(Exception, match=r"(?i)provider|constraint|cursor|append-only|null") as error:
        database.sql(statement)
    return str(error.value)


@pytest.mark.parametrize(
    "statement",
    [
        NEW.format(f"'OK', 'RECOVERED', '', 0, 1, '{AT}', '{AT}'"),
        NEW.format(f"'BLOCKED', 'NEVER_CHECKED', '', 0, 0, '{AT}', NULL"),
        NEW.format("'BLOCKED', 'BECAUSE', '', 0, 0, NULL, NULL"),
        NEW.format("'BLOCKED', 'NEVER_CHECKED', '', 1, 1, NULL, NULL"),
        "UPDATE providers SET state = 'BLOCKED'",
        "UPDATE providers SET check_url = 'https://evil/'",
        "UPDATE providers SET credentials = '/tmp/x'",
        "UPDATE providers SET check_within_s = 100000",
        "UPDATE providers SET failures = 1, successes = 1",
        "DELETE FROM providers",
        "UPDATE provider_events SET state_after = 'OK'",
        "DELETE FROM provider_events",
        "UPDATE provider_bindings SET account_id = 'x'",
        "DELETE FROM provider_bindings",
        f"INSERT INTO provider_bindings (provider_id, account_id, bound_at) VALUES ('{PROVIDER}', '{ACCOUNT}', '{AT}')",
        ENDED,
        "UPDATE pull_cursors SET pulls = 0",
        "UPDATE pull_cursors SET account_id = 'x'",
        f"UPDATE pull_cursors SET failed_at = '{AT}'",
        "DELETE FROM pull_cursors",
    ],
)
def test_the_database_refuses(desk: Database, statement: str):
    refused(desk, statement)


@pytest.mark.parametrize("table", ["providers", "provider_bindings", "pull_cursors", "provider_events"])
def test_nothing_is_replaced_or_truncated(desk: Database, table: str):
    if desk.kind == "postgresql":
        refused(desk, f"TRUNCATE {table} CASCADE")
    else:
        refused(desk, f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}")


def test_a_state_changes_only_as_its_latest_event_says(desk: Database):
    refused(desk, "UPDATE providers SET state = 'DEGRADED', reason_code = 'STALE'")
    desk.sql(
        "INSERT INTO provider_events (act_id, provider_id, event, state_before, state_after, reason_code, detail,"
        " failures, successes, metadata, actor, created_at, trace_id) VALUES ('x', ?, 'TRANSITION', 'OK', 'DEGRADED',"
        " 'STALE', 'd', 1, 0, '{}', 'me', ?, ?)",
        [PROVIDER, AT, "a" * 32],
    )
    refused(desk, "UPDATE providers SET state = 'BLOCKED'")
    desk.sql("UPDATE providers SET state = 'DEGRADED', reason_code = 'STALE'")
    refused(desk, "UPDATE providers SET state = 'OK'")


@pytest.mark.parametrize(
    ("attack", "told"),
    [
        ("UPDATE providers SET state = 'BLOCKED'", f"provider {PROVIDER}: state is BLOCKED, its events say OK"),
        (f"UPDATE provider_bindings SET unbound_at = '{AT}'", f"binding {ACCOUNT} of {PROVIDER}: times is"),
        ("DELETE FROM provider_bindings", f"binding {ACCOUNT} of {PROVIDER}: times is None"),
        ("UPDATE pull_cursors SET resume_from = 'at-9'", f"pull cursor {ACCOUNT} of {PROVIDER}: place and number is"),
        ("DELETE FROM pull_cursors", f"pull cursor {ACCOUNT} of {PROVIDER}: place and number is None"),
        ("DELETE FROM provider_events WHERE event = 'BOUND'", "provider_events"),
        ("UPDATE provider_events SET detail = 'x' WHERE event = 'TRANSITION'", "provider_events"),
    ],
)
def test_verify_finds_what_no_event_explains(desk: Database, cli: CommandLine, attack: str, told: str):
    assert cli("audit", "verify").code == 0
    tamper(desk, attack)
    found = cli("audit", "verify")
    assert (found.code, found.error["error_code"]) == (1, "AUDIT_BROKEN")
    assert told in found.stdout + found.stderr
