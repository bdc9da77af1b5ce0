"""Every migration, up and down, with data in the tables, with a failure at each statement, and twice at once."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy

from blaidctl.backtests.events import BACKTEST_METRICS
from blaidctl.core import ddl, errors, migrate, schema_state
from blaidctl.core.revisions import HEAD, REVISIONS
from tests.instruments.work import DATES, HOURS, SAMPLE
from tests.support.accounts import linked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from blaidctl.core import db
    from tests.support.commandline import CommandLine, ProcessCommandLine
    from tests.support.database import Database

    Opened = Callable[[Database], db.Database]
    Everything = Callable[[Database], dict[str, Any]]

#: The tables that each revision makes.
MADE = {
    "0001": {"audit_log", "audit_head", "requests"},
    "0002": {"users", "bots", "bot_instances"},
    "0003": {"kill_events"},
    "0004": {"api_tokens"},
    "0005": set(),
    "0006": {"job_types", "jobs", "job_events", "reaper_runs"},
    "0007": set(),
    "0008": {
        "sessions",
        "session_hours",
        "session_dates",
        "session_events",
        "currencies",
        "instruments",
        "instrument_events",
    },
    "0009": {"broker_accounts", "account_links", "broker_account_events"},
    "0010": {"ledger_imports", "trades", "ledger_events", "capital_flows", "fx_rates", "marks"},
    "0011": {"allocation_runs", "allocation_lines"},
    "0012": {"providers", "provider_events", "provider_bindings", "pull_cursors"},
    "0013": {"backtest_metrics"},
}
#: The columns that a revision adds to a table that stands already: they go with it, and come back with their defaults.
ADDED: dict[str, dict[str, dict[str, Any]]] = {
    "0005": {"bot_instances": {"hb_seq": 0, "stale_after_s": 60, "mark": None}},
    "0010": {"broker_accounts": {"long_only": 0}},
}
#: What stands before each revision.
BEFORE = dict(zip(REVISIONS, ("base", *REVISIONS), strict=False))
NO_SUCH_FUNCTION = "SELECT blaidctl_no_such_function()"


def _fill(cli: CommandLine, database: Database) -> None:
    """A row at least in every table, through the product; an instance around it."""
    assert cli("user", "add", "alice").code == 0
    assert cli("bot", "add", "momo-1", "--user", "alice", "--tag", "futures", "--exchange", "CME").code == 0
    assert cli("bot", "add", "carry-2", "--user", "alice").code == 0
    linked(cli, "momo-1", "carry-2")
    assert cli("account", "unlink", "carry-2").code == 0
    at = "2026-01-31T09:30:00.000000Z"
    database.sql(
        "INSERT INTO bot_instances (bot_id, status, host, pid, attempt, hb_seq, stale_after_s, mark, started_at,"
        " heartbeat_at) VALUES ('momo-1', 'RUNNING', 'desk', 42, 1, 7, 30, 'abc', ?, ?)",
        [at] * 2,
    )
    assert cli("kill", "momo-1", "carry-2", "--reason-code", "DRILL", "--reason", "a drill, “quoted”").code == 0
    assert cli("resurrect", "carry-2", "--reason-code", "DRILL_DONE", "--reason", "over").code == 0
    assert cli("token", "add", "--user", "alice", "--label", "desk").code == 0
    assert cli("kill", "nobody", "--reason-code", "DRILL", "--reason", "x").code == 3
    limits = ("--heartbeat-s", "5", "--stale-after-s", "60", "--max-runtime-s", "3600", "--grace-s", "10")
    assert cli("job", "type", "add", "nightly", *limits).code == 0
    assert cli("job", "type", "add", "backtest", *limits).code == 0
    for name in ("nightly", "nightly", "backtest"):
        assert cli("job", "start", name).code == 0
    assert cli("job", "finish", "1", "--attempt", "1", "--status", "SUCCEEDED", "--result", '{"rows": 12}').code == 0
    assert cli("session", "load", HOURS, "--dates", DATES).code == 0
    assert cli("currency", "add", "USDT", "--places", "6").code == 0
    assert cli("instrument", "load", SAMPLE).code == 0
    database.sql(
        "INSERT INTO reaper_runs (act_id, host, started_at, duration_ms, complete, counts, not_done, created_at, actor,"
        " trace_id) VALUES ('x', 'desk', ?, 5, 1, '{}', '{}', ?, 'me', ?)",
        [at, at, "a" * 32],
    )
    _fill_ledger(database, at)


def _fill_ledger(database: Database, at: str) -> None:
    """A fill of the linked bot, and what else the numbers of the ledger are made of."""
    ((account,),) = database.sql("SELECT account_id FROM account_links WHERE bot_id = 'momo-1'")
    ((exchange, symbol, asset_class),) = database.sql("SELECT exchange, symbol, asset_class FROM instruments LIMIT 1")
    sha = "f" * 64
    stamps = {"act_id": "x", "actor": "me", "created_at": at, "trace_id": "a" * 32}
    instrument = {"exchange": exchange, "symbol": symbol, "asset_class": asset_class}
    counts = {"part": 1, "parts": 1, "rows_read": 1, "rows_new": 1, "rows_known": 0, "rows_refused": 0, "after_kill": 0}
    rows: dict[str, dict[str, Any]] = {
        "ledger_imports": {"account_id": account, "format": "csv", "source_name": "a.csv", "file_sha256": sha, **counts}
        | {"exact": 1, "no_fee": 0, "fills_sha256": sha, **stamps},
        "trades": {"import_id": 1, "bot_id": "momo-1", "account_id": account, **instrument, "side": "BUY"}
        | {"quantity": "1.5", "price": "-3.25", "fee": "0.000000001", "fee_currency": "USD", "executed_at": at}
        | {"venue_trade_id": "v1", "source": "csv", "line": 2, "after_kill": 0, "exact": 1}
        | {"quantity_8": 150_000_000, "price_8": -325_000_000},
        "ledger_events": {"event": "FILL_AFTER_KILL", "severity": "SEV1", "message": "m", "metadata": "{}", **stamps},
        "capital_flows": {"bot_id": "momo-1", "account_id": account, "kind": "INITIAL", "amount": "1000", "at": at}
        | {"currency": "USD", **stamps},
        "fx_rates": {"base": "EUR", "quote": "USD", "at": at, "rate": "1.1", "source": "desk", **stamps},
        "marks": {**instrument, "at": at, "price": "5", "source": "desk", **stamps},
        "allocation_runs": {"as_of": at, "capital": "1000", "currency": "USD", "policy": "{}", "policy_sha256": sha}
        | {"conventions": "{}", "source_tables": "{}", "versions": "{}", "excluded": "[]", "input_hash": sha}
        | {"output_hash": sha, "code_version": "1", "remainder": "0", **stamps},
        "allocation_lines": {"run_id": 1, "bot_id": "momo-1", "weight": "1", "amount": "1000", **stamps},
        "backtest_metrics": dict.fromkeys(BACKTEST_METRICS.columns, "1")
        | {"job_id": 3, "attempt": 1, "bars": 1, "fills": 1, "closed_trades": 1, "wins": 0, "losses": 1}
        | {"first_bar_at": at, "last_bar_at": at, "bars_sha256": sha, "input_hash": sha, "output_hash": sha, **stamps},
        "providers": {"id": "feed", "kind": "paged", "check_url": "https://x/", "plain_http": 0, "stale_after_s": 60}
        | {"timeout_s": 5, "attempts": 2, "degrade_after": 1, "block_after": 2, "recover_after": 1, "state": "BLOCKED"}
        | {"check_within_s": 60, "reason_code": "NEVER_CHECKED", "detail": "d", "failures": 0, "successes": 0}
        | {"changed_at": at, "created_at": at},
        "provider_events": {"provider_id": "feed", "event": "ADDED", "state_after": "BLOCKED", "detail": "d"}
        | {"reason_code": "NEVER_CHECKED", "failures": 0, "successes": 0, "metadata": "{}", **stamps},
        "provider_bindings": {"provider_id": "feed", "account_id": account, "bound_at": at},
        "pull_cursors": {"provider_id": "feed", "account_id": account, "resume_from": "c1", "pulls": 1},
    }
    for table, row in rows.items():
        marks = ", ".join("?" * len(row))
        database.sql(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values()))


def _added(revision: str) -> dict[str, dict[str, Any]]:
    """Table → the columns (with their defaults) that a downgrade to before this revision takes from it."""
    found: dict[str, dict[str, Any]] = {}
    for later, tables in ADDED.items():
        if later >= revision:
            for table, columns in tables.items():
                found.setdefault(table, {}).update(columns)
    return found


def _without(database: Database, table: str, columns: dict[str, Any]) -> list[dict[str, Any]]:
    """Every row of a table by column, without some of them."""
    with contextlib.closing(database.raw()) as connection:
        cursor = connection.execute(f"SELECT * FROM {table}")
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return [{name: value for name, value in row.items() if name not in columns} for row in rows]


def _current(opened: Opened, database: Database) -> str | None:
    with opened(database).reading() as connection:
        return migrate.current(connection)


@pytest.mark.parametrize("revision", REVISIONS)
def test_down_and_up_again_with_data_in_the_tables(
    database: Database, cli: CommandLine, opened: Opened, everything: Everything, revision: str
):
    _fill(cli, database)
    before = everything(database)
    assert all(before["rows"][table] for tables in MADE.values() for table in tables)
    lost = set().union(*(MADE[r] for r in REVISIONS if r >= revision))
    added = {table: columns for table, columns in _added(revision).items() if table not in lost}
    older = {table: _without(database, table, columns) for table, columns in added.items()}

    migrate.downgrade_database(opened(database), to=BEFORE[revision])
    kept = {n: rows for n, rows in before["rows"].items() if n not in lost | set(added) | {"alembic_version"}}
    down = everything(database)
    assert {n: rows for n, rows in down["rows"].items() if n not in set(added) | {"alembic_version"}} == kept
    assert {table: _without(database, table, {}) for table in added} == older
    assert _current(opened, database) == (None if BEFORE[revision] == "base" else BEFORE[revision])

    migrate.upgrade_database(opened(database))
    again = everything(database)
    assert again["schema"] == before["schema"] == schema_state.expected(database.kind)
    assert {name: again["rows"][name] for name in kept} == kept
    for table, columns in added.items():
        assert _without(database, table, {}) == [row | columns for row in older[table]]
    fresh_head = ["audit_head"] if "audit_head" in lost else []
    assert [name for name in lost if again["rows"][name]] == fresh_head
    assert _current(opened, database) == HEAD
    assert cli("user", "add", "bob").code == 0


def test_every_table_is_of_a_revision(database: Database, everything: Everything):
    assert set(everything(database)["rows"]) == set().union(*MADE.values()) | {"alembic_version"}
    assert tuple(MADE) == REVISIONS


# ---- a failure at each statement -----------------------------------------------------------------------------


def _statements(revision: str, kind: str, direction: str) -> list[str]:
    script = next(script for script in migrate.scripts() if script.revision == revision)
    ran: list[str] = []
    with ddl.recording(ran, kind):
        getattr(script.module, direction)()
    return ran


@contextlib.contextmanager
def _failing_at(monkeypatch: pytest.MonkeyPatch, number: int) -> Iterator[list[str]]:
    """Let the database refuse the statement of this number; revisions take `run` from ddl when they are loaded."""
    ran: list[str] = []
    run = ddl.run

    def countdown(statement: str) -> None:
        ran.append(statement)
        run(NO_SUCH_FUNCTION if len(ran) == number + 1 else statement)

    with monkeypatch.context() as patch:
        patch.setattr(ddl, "run", countdown)
        yield ran


@pytest.mark.parametrize("direction", ["upgrade", "downgrade"])
@pytest.mark.parametrize("revision", REVISIONS)
def test_a_failing_statement_leaves_nothing_of_its_migration(
    *,
    blank_database: Database,
    opened: Opened,
    everything: Everything,
    monkeypatch: pytest.MonkeyPatch,
    revision: str,
    direction: str,
):
    database = opened(blank_database)
    start, end = (BEFORE[revision], revision) if direction == "upgrade" else (revision, BEFORE[revision])
    if start != "base":
        migrate.upgrade_database(database, to=start)
    move = migrate.upgrade_database if direction == "upgrade" else migrate.downgrade_database
    statements = _statements(revision, blank_database.kind, direction)
    assert statements
    before = everything(blank_database)
    for number in range(len(statements)):
        with _failing_at(monkeypatch, number) as ran, pytest.raises(errors.Internal, match="refused a statement"):
            move(database, to=end)
        assert len(ran) == number + 1
        assert everything(blank_database) == before, f"left behind by a failure at: {statements[number]}"
    move(database, to=end)
    assert _current(opened, blank_database) == (None if end == "base" else end)


@pytest.mark.parametrize("revision", REVISIONS)
def test_no_entry_no_migration(blank_database: Database, opened: Opened, everything: Everything, revision: str):
    database = opened(blank_database)
    if revision != REVISIONS[0]:
        migrate.upgrade_database(database, to=BEFORE[revision])
    before = everything(blank_database)

    def refuse(_connection: Any, _revision: str) -> None:
        raise errors.DiskFull

    with pytest.raises(errors.DiskFull):
        migrate.upgrade_database(database, to=revision, applied=refuse)
    assert everything(blank_database) == before


def test_a_failure_keeps_the_revisions_before_it(
    blank_database: Database, opened: Opened, monkeypatch: pytest.MonkeyPatch
):
    first_two = sum(len(_statements(revision, blank_database.kind, "upgrade")) for revision in REVISIONS[:2])
    with _failing_at(monkeypatch, first_two), pytest.raises(errors.Internal):
        migrate.upgrade_database(opened(blank_database))
    assert _current(opened, blank_database) == REVISIONS[1]
    migrate.upgrade_database(opened(blank_database))
    assert _current(opened, blank_database) == HEAD


def test_a_migration_takes_sqlite_s_write_lock_before_it_looks(sqlite_database: Database, opened: Opened):
    # A plain BEGIN would read the revision, and fail or lose to whoever writes before the first statement does.
    database = opened(sqlite_database)
    begun: list[str] = []

    @sqlalchemy.event.listens_for(database.engine, "before_cursor_execute")
    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("BEGIN"):
            begun.append(statement)

    migrate.downgrade_database(database, to="base")
    migrate.upgrade_database(database)
    assert len(begun) >= 2 * len(REVISIONS)
    assert set(begun) == {"BEGIN IMMEDIATE"}


# ---- two operators -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _somebody_migrates(database: Database) -> Iterator[Callable[[list[int]], bool]]:
    """Hold what a migration holds; yields a function that says whether these processes wait for it."""
    if database.path is None:
        with contextlib.closing(database.raw()) as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", [migrate._ADVISORY_LOCK])  # noqa: SLF001 - the very lock
            waiting = (
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid"
            )
            sql = f"{waiting} FROM pg_database WHERE datname = current_database())"
            yield lambda pids: connection.execute(sql).fetchone() == (len(pids),)
        return
    descriptor = os.open(f"{database.path}-queue", os.O_RDONLY | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)

        def wait(pids: list[int]) -> bool:
            held_up = [line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" in line]
            return {int(line[5]) for line in held_up} >= set(pids)

        yield wait
    finally:
        os.close(descriptor)


def test_two_upgrades_at_once_do_it_once_and_both_end_well(blank_database: Database, process: ProcessCommandLine):
    with _somebody_migrates(blank_database) as wait:
        both = [process.spawn("db", "upgrade", "--yes") for _ in range(2)]
        until = time.monotonic() + 20
        while not wait([one.pid for one in both]):  # both have read the plan and wait their turn
            assert time.monotonic() < until
            time.sleep(0.01)
    answers = [one.communicate(timeout=30) for one in both]
    assert [(one.returncode, err) for one, (_, err) in zip(both, answers, strict=True)] == [(0, ""), (0, "")]
    applied = sorted([row["revision"] for row in json.loads(out)["result"]["rows"]] for out, _ in answers)
    assert applied == [[], list(REVISIONS)]
    assert process("db", "check").code == 0
    assert process("audit", "verify").json["result"]["entries"] == len(REVISIONS)


def test_an_upgrade_waits_only_so_long(blank_database: Database, process: ProcessCommandLine):
    with _somebody_migrates(blank_database):
        late = process("db", "upgrade", "--yes", env={"BLAIDCTL_STATEMENT_TIMEOUT_S": "1"})
    assert (late.code, late.stdout, late.error["error_code"]) == (9, "", "BUSY")
    assert process("db", "upgrade", "--yes").code == 0
