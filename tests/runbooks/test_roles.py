"""The role of every day owns nothing: it can do the daily work and cannot touch the evidence."""

import re
from pathlib import Path

import psycopg
import pytest

from blaidctl.providers.rehearsal import Rehearsal
from tests.instruments.work import DATES, HOURS, SAMPLE
from tests.support import provider
from tests.support.accounts import options

LIMITS = ("--heartbeat-s", "5", "--stale-after-s", "60", "--max-runtime-s", "3600", "--grace-s", "10")
ACCOUNT = ("--broker", "ibkr", "--external-id", "U1", "--environment", "paper", "--currency", "USD")
PAGE = Path(__file__).parents[2] / "runbooks" / "postgresql-roles.md"


@pytest.fixture
def app_role(postgres_database):
    grants = re.search(r"^```sql\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    name = f"app_{postgres_database.url.rpartition('/')[2]}"  # roles belong to the server, which tests share
    with postgres_database.raw() as owner:
        owner.execute(grants[1].replace("blaidctl_app", name))
        owner.execute(f"ALTER ROLE {name} LOGIN PASSWORD 'not-a-secret'")
        yield re.sub(r"//[^@]*@", f"//{name}:not-a-secret@", postgres_database.url)
        owner.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_the_daily_role_does_the_daily_work(app_role, cli, postgres_database):
    env = {"BLAIDCTL_DATABASE_URL": app_role}
    for words in (
        ("user", "add", "alice"),
        ("bot", "add", "momo-1", "--user", "alice"),
        ("kill", "momo-1", "--reason-code", "DRILL", "--reason", "as the daily role"),
        ("resurrect", "momo-1", "--reason-code", "DRILL_DONE", "--reason", "as the daily role"),
        ("token", "add", "--user", "alice", "--label", "x"),
        ("job", "type", "add", "nightly", *LIMITS),
        ("job", "start", "nightly"),
        ("job", "beat", "1", "--attempt", "1"),
        ("job", "finish", "1", "--attempt", "1", "--status", "FAILED"),
        ("job", "start", "nightly", "--job", "1"),
        ("job", "show", "1"),
        ("session", "load", HOURS, "--dates", DATES),
        ("session", "load", HOURS),
        ("currency", "add", "USDT", "--places", "6"),
        ("instrument", "load", SAMPLE),
        ("instrument", "deactivate", "VX"),
        ("instrument", "load", SAMPLE, "--reactivate"),
        ("instrument", "show", "ES"),
        ("account", "add", "ib-1", "--user", "alice", *ACCOUNT),
        ("account", "link", "momo-1", "ib-1", *options()),
        ("account", "limits", "momo-1", "--max-contracts", "3"),
        ("guard", "momo-1"),
        ("account", "unlink", "momo-1"),
        ("account", "events"),
        ("kill-events",),
        ("status",),
        ("audit", "verify"),
        ("db", "check"),
    ):
        run = cli(*words, env=env, database=postgres_database)
        assert run.code == 0, (words, run.stderr)


def test_the_daily_role_asks_providers_and_pulls(app_role, cli, postgres_database):
    env = {"BLAIDCTL_DATABASE_URL": app_role}

    def as_role(*words):
        return cli(*words, env=env, database=postgres_database)

    with Rehearsal(provider.fills(3)) as rehearsal:
        provider.bound(as_role, rehearsal)
        provider.done(provider.pull(as_role))
        rehearsal.fail("bad_json", page=2)
        assert provider.pull(as_role).error["error_code"] == "PROVIDER_DEGRADED"
        provider.done(as_role("provider", "unbind", provider.PROVIDER, provider.ACCOUNT))


@pytest.mark.parametrize(
    "attack",
    [
        "UPDATE kill_events SET reason = 'x'",
        "DELETE FROM audit_log",
        "TRUNCATE requests",
        "UPDATE bots SET user_id = 'mallory'",
        "UPDATE job_types SET max_runtime_s = 2592000",
        "UPDATE job_events SET reason_code = 'COMPLETED'",
        "UPDATE reaper_runs SET complete = 1",
        "UPDATE broker_accounts SET user_id = 'mallory'",
        "UPDATE broker_accounts SET status = 'OPEN'",
        "UPDATE account_links SET account_id = 'x'",
        "DELETE FROM account_links",
        "UPDATE broker_account_events SET reason = 'x'",
        "UPDATE providers SET check_url = 'https://evil/'",
        "DELETE FROM providers",
        "UPDATE provider_events SET state_after = 'OK'",
        "UPDATE provider_bindings SET account_id = 'x'",
        "DELETE FROM pull_cursors",
        "DELETE FROM jobs",
        "DELETE FROM instruments",
        "UPDATE instrument_events SET source_sha256 = 'x'",
        "UPDATE session_events SET source_sha256 = 'x'",
        "UPDATE currencies SET places = 2",
        "TRUNCATE job_types CASCADE",
        "ALTER TABLE jobs DISABLE TRIGGER jobs_guard_update",
        "DROP TRIGGER kill_events_no_change ON kill_events",
        "ALTER TABLE audit_log DISABLE TRIGGER ALL",
        "ALTER TABLE audit_log OWNER TO CURRENT_USER",
        "CREATE OR REPLACE FUNCTION blaidctl_append_only() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "SET session_replication_role = replica",
    ],
)
def test_the_daily_role_cannot_touch_the_evidence(app_role, attack):
    with psycopg.connect(app_role) as app, pytest.raises(psycopg.errors.InsufficientPrivilege):
        app.execute(attack)
