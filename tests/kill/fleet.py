"""A small fleet to kill, and ways to look at every row that a command may have left behind."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any
from unittest import mock

import blaidctl.audit.verify
import blaidctl.core.settings
import blaidctl.kill.service  # noqa: F401 - a model that is first built while the clock is frozen would hold a frozen type

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from blaidctl.core.execute import Answer
    from tests.support.commandline import CommandLine, Run
    from tests.support.database import Database

WHY = ("--reason-code", "DRILL", "--reason", "a drill")
BACK = ("--reason-code", "DRILL_DONE", "--reason", "the drill is over")
TABLES = (
    "account_links",
    "alembic_version",
    "allocation_lines",
    "allocation_runs",
    "api_tokens",
    "audit_head",
    "audit_log",
    "backtest_metrics",
    "bot_instances",
    "bots",
    "broker_account_events",
    "broker_accounts",
    "capital_flows",
    "currencies",
    "fx_rates",
    "instrument_events",
    "instruments",
    "job_events",
    "job_types",
    "jobs",
    "kill_events",
    "ledger_events",
    "ledger_imports",
    "marks",
    "provider_bindings",
    "provider_events",
    "providers",
    "pull_cursors",
    "reaper_runs",
    "requests",
    "session_dates",
    "session_events",
    "session_hours",
    "sessions",
    "trades",
    "users",
)
#: Two users; tags and exchanges overlap so that every narrowing tells bots apart.
BOTS = (
    ("a1", "alice", ["fast", "futures"], ["CME"]),
    ("a2", "alice", ["futures"], ["CME", "ICE"]),
    ("a3", "alice", [], ["NYSE"]),
    ("b1", "bob", ["fast"], ["CME"]),
    ("b2", "bob", [], []),
)


def fleet(cli: CommandLine) -> None:
    """Register the two users and their five bots the way an operator does."""
    for user in ("alice", "bob"):
        done(cli("user", "add", user))
    for bot, user, tags, exchanges in BOTS:
        options = [word for tag in tags for word in ("--tag", tag)]
        options += [word for exchange in exchanges for word in ("--exchange", exchange)]
        done(cli("bot", "add", bot, "--user", user, *options))


def bots(database: Database, ids: Iterable[str]) -> list[str]:
    """Write live bots of the user `alice` straight into the tables."""
    made = list(ids)
    at = "2026-01-01T00:00:00.000000Z"
    if not database.sql("SELECT 1 FROM users WHERE id = 'alice'"):
        database.sql("INSERT INTO users (id, name, created_at) VALUES ('alice', 'alice', ?)", (at,))
    connection = database.raw()
    statement = (
        "INSERT INTO bots (id, user_id, name, strategy, tags, exchanges, created_at)"
        " VALUES (?, 'alice', 'a bot', '', '[]', '[]', ?)"
    )
    if database.kind == "postgresql":
        statement = statement.replace("?", "%s")
    connection.execute("BEGIN")
    connection.cursor().executemany(statement, [(bot, at) for bot in made])
    connection.execute("COMMIT")
    connection.close()
    return made


def instance(cli: CommandLine, bot: str, *, account: str | None = None, running: bool = True) -> int:
    """Start an instance of a bot as its supervisor does; return its id."""
    started = operate(cli, "instance start", {"bot": bot, "host": "here", "account": account}).result["instance_id"]
    if running:
        operate(cli, "instance run", {"instance": started, "attempt": 1, "pid": 4711, "pid_started": "99"})
    return int(started)


def operate(
    cli: CommandLine,
    name: str,
    parameters: Mapping[str, Any],
    *,
    user_scope: str | None = None,
    request_id: str | None = None,
    env: Mapping[str, str | None] | None = None,
) -> Answer:
    """Carry out an operation of the map without a command around it."""
    import dataclasses

    from blaidctl.core import command, execute
    from blaidctl.core.operation import the_map

    with mock.patch.dict(os.environ, cli.environment(env), clear=True):
        ctx = dataclasses.replace(command.make_context(), user_scope=user_scope)
        try:
            return execute.execute(ctx, the_map()[name], parameters, request_id=request_id)
        finally:
            ctx.database.close()


def done(run: Run) -> Run:
    """Insist that a command worked."""
    assert run.code == 0, run.stderr
    return run


def refused(run: Run, code: int, error_code: str) -> dict[str, Any]:
    """Insist on an exit code and an error code, an object of five fields, and no traceback; return the object."""
    assert (run.code, run.error["error_code"]) == (code, error_code), run.stderr
    assert list(run.error) == ["error_code", "message", "missing_requirements", "next_steps", "trace_id"]
    assert len(run.error["trace_id"]) == 32
    assert set(run.error["trace_id"]) <= set("0123456789abcdef")
    assert "Traceback" not in run.stderr
    assert run.stdout == ""
    return run.error


def not_killed(run: Run, code: int, error_code: str) -> dict[str, Any]:
    """The same for a kill, whose last word on standard error is that nothing was killed."""
    error = refused(run, code, error_code)
    assert run.stderr.splitlines()[-1] == "NOT KILLED"
    return error


def verified(cli: CommandLine) -> dict[str, Any]:
    """Insist that the audit log verifies; return what verify said."""
    result: dict[str, Any] = done(cli("audit", "verify", database=cli.database)).json["result"]
    assert result["answer"] == "OK"
    return result


def dump(database: Database, *, without: Sequence[str] = ()) -> dict[str, list[str]]:
    """Return every row of every table, so that two moments can be compared."""
    names = {
        "sqlite": "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
        "postgresql": "SELECT tablename FROM pg_tables WHERE schemaname = 'public'",
    }[database.kind]
    with contextlib.closing(database.raw()) as connection:
        assert {name for (name,) in connection.execute(names)} == set(TABLES), "a new table: compare it too"
        return {
            name: sorted(map(repr, connection.execute(f"SELECT * FROM {name}").fetchall()))
            for name in TABLES
            if name not in without
        }


def entries(database: Database) -> list[dict[str, Any]]:
    """Return every audit entry from the text that was hashed, oldest first."""
    import json

    return [json.loads(text) for (text,) in database.sql("SELECT canonical FROM audit_log ORDER BY seq")]


def events(database: Database, bot: str | None = None) -> list[tuple[Any, ...]]:
    """Return (bot, action, effect, ends, instances stopped) of the kill events, oldest first."""
    rows = database.sql(
        "SELECT bot_id, action, effect, ends_kill_event_id, instances_stopped FROM kill_events ORDER BY id"
    )
    return [row for row in rows if bot in (None, row[0])]


def time_of(database: Database, query: str) -> str | None:
    """Return a stored time as SQLite's text form, whichever engine holds it."""
    ((value,),) = database.sql(query)
    if value is None or isinstance(value, str):
        return value
    from blaidctl.core.types import time_text

    return time_text(value)
