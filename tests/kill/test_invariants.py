"""What the database refuses to break, whoever writes: raw SQL on plain connections, around the product."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import pytest

from tests.kill.fleet import WHY, done, dump, fleet, instance, operate, verified

if TYPE_CHECKING:
    from tests.support.commandline import CommandLine
    from tests.support.database import Database

AT = "2026-05-05T05:05:05.000000Z"
ACTIVE = "a STARTING or RUNNING instance needs a live bot"
STILL_RUNS = "a bot with a STARTING or RUNNING instance cannot be killed"
INSERT = """
    INSERT INTO bot_instances (bot_id, status, host, pid, attempt, started_at, heartbeat_at)
    VALUES ('{bot}', '{status}', 'raw', 1, 1, '2026-05-05T05:05:05.000000Z', '2026-05-05T05:05:05.000000Z')
"""


@pytest.fixture
def desk(cli: CommandLine, database: Database) -> CommandLine:
    """`a1` is killed and has one stopped instance (1); `b1` lives and runs one (2); `b2` had one that ended (3)."""
    fleet(cli)
    assert instance(cli, "a1") == 1
    done(cli("kill", "a1", *WHY))
    assert instance(cli, "b1") == 2
    assert instance(cli, "b2") == 3
    ended = {"instance": 3, "attempt": 1, "stop_reason": "EXITED", "exit_status": "0"}
    operate(cli, "instance finish", ended)
    assert database.sql("SELECT id, status FROM bot_instances ORDER BY id") == [
        (1, "STOPPED"),
        (2, "RUNNING"),
        (3, "STOPPED"),
    ]
    return cli


def refuses(database: Database, *statements: tuple[str, str], before: str = "") -> None:
    """Insist that each statement fails for its reason and changes nothing, in a session that said `before` first."""
    rows = dump(database)
    with contextlib.closing(database.raw()) as connection:
        if before:
            connection.execute(before)
        for statement, why in statements:
            with pytest.raises(Exception, match=why):
                connection.execute(statement)
            assert dump(database) == rows, statement


# `SET` words that a hostile session may try first; triggers and constraints must hold under each.
SESSIONS = {
    "sqlite": ("", "PRAGMA recursive_triggers=OFF", "PRAGMA foreign_keys=OFF", "PRAGMA ignore_check_constraints=ON"),
    "postgresql": ("", "SET session_replication_role = replica", "SET session_replication_role = local"),
}


@pytest.mark.parametrize("status", ["RUNNING", "STARTING"])
def test_no_active_instance_on_a_killed_bot(desk: CommandLine, database: Database, status: str):
    back = f"UPDATE bot_instances SET status = '{status}', stopped_at = NULL, stop_reason = NULL"
    statements = (
        (INSERT.format(bot="a1", status=status), ACTIVE),
        (f"{back} WHERE id = 1", f"{ACTIVE}|never comes back"),
        ("UPDATE bot_instances SET bot_id = 'a1' WHERE id = 2", ACTIVE),
        (f"{back}, bot_id = 'b1' WHERE id = 1", "never comes back"),
        (f"{back} WHERE id = 3", "never comes back"),
        ("UPDATE bots SET killed_at = '2026-05-05T05:05:05.000000Z' WHERE id = 'b1'", STILL_RUNS),
        ("UPDATE bots SET killed_at = '2026-05-05T05:05:05.000000Z'", STILL_RUNS),
        ("DELETE FROM bots WHERE id = 'b2'", "never deleted"),
        ("DELETE FROM bot_instances WHERE id = 3", "never deleted"),
        ("UPDATE bots SET id = 'b3' WHERE id = 'b2'", "never .*renamed"),
        ("UPDATE bot_instances SET id = 99 WHERE id = 2", "never .*renamed"),
    )
    for words in SESSIONS[database.kind]:
        refuses(database, *statements, before=words)
    verified(desk)


def test_an_active_instance_needs_a_bot_that_is_there(desk: CommandLine, database: Database):
    """Else a bot that is inserted later, killed, would find it running."""
    for words in SESSIONS[database.kind]:
        refuses(database, (INSERT.format(bot="ghost", status="RUNNING"), ACTIVE), before=words)
    verified(desk)


def test_sqlite_refuses_the_ways_to_replace(desk: CommandLine, sqlite_database: Database):
    whole = "id, bot_id, status, host, pid, attempt, started_at, heartbeat_at"
    running = f"'RUNNING', 'raw', 1, 1, '{AT}', '{AT}'"
    bot = "id, user_id, name, strategy, tags, exchanges, killed_at, created_at"
    statements = (
        (f"INSERT OR REPLACE INTO bot_instances ({whole}) VALUES (1, 'a1', {running})", f"{ACTIVE}|the id exists"),
        (f"REPLACE INTO bot_instances ({whole}) VALUES (1, 'b1', {running})", "the id exists"),
        (f"REPLACE INTO bot_instances ({whole}) VALUES (3, 'b2', {running})", "the id exists"),
        ("UPDATE OR REPLACE bot_instances SET id = 1 WHERE id = 2", "never .*renamed"),
        (
            (
                f"INSERT INTO bot_instances ({whole}) VALUES (2, 'b1', {running})"
                " ON CONFLICT (id) DO UPDATE SET bot_id = 'a1'"
            ),
            "the id exists",
        ),
        (f"REPLACE INTO bots ({bot}) VALUES ('b1', 'bob', 'b', '', '[]', '[]', '{AT}', '{AT}')", "the id exists"),
        (f"REPLACE INTO bots ({bot}) VALUES ('a1', 'bob', 'b', '', '[]', '[]', NULL, '{AT}')", "the id exists"),
        ("UPDATE OR REPLACE bots SET id = 'a1' WHERE id = 'b2'", "never .*renamed"),
        ("UPDATE OR IGNORE bots SET killed_at = '2026' WHERE id = 'b1'", STILL_RUNS),
    )
    for pragma in SESSIONS["sqlite"]:
        refuses(sqlite_database, *statements, before=pragma)
    verified(desk)


def test_postgresql_refuses_upserts_and_truncation(desk: CommandLine, postgres_database: Database):
    whole = "id, bot_id, status, host, pid, attempt, started_at, heartbeat_at"
    running = f"'RUNNING', 'raw', 1, 1, '{AT}', '{AT}'"
    statements = (
        (
            (
                f"INSERT INTO bot_instances ({whole}) VALUES (2, 'b1', {running})"
                " ON CONFLICT (id) DO UPDATE SET bot_id = 'a1'"
            ),
            ACTIVE,
        ),
        (
            (
                "MERGE INTO bot_instances i USING (SELECT 1 AS id) s ON i.id = s.id"
                " WHEN MATCHED THEN UPDATE SET status = 'RUNNING', stopped_at = NULL, stop_reason = NULL"
            ),
            f"{ACTIVE}|never comes back",
        ),
        (
            (
                "INSERT INTO bots (id, user_id, name, strategy, tags, exchanges, created_at)"
                f" VALUES ('b1', 'bob', 'b', '', '[]', '[]', '{AT}')"
                f" ON CONFLICT (id) DO UPDATE SET killed_at = '{AT}'"
            ),
            STILL_RUNS,
        ),
        ("TRUNCATE bots CASCADE", "bots are never deleted"),
        ("TRUNCATE bot_instances CASCADE", "never deleted"),
        (
            (
                "WITH k AS (UPDATE bots SET killed_at = now() WHERE id = 'b2' RETURNING id)"
                f" INSERT INTO bot_instances ({whole}) SELECT 99, id, {running} FROM k"
            ),
            f"{ACTIVE}|{STILL_RUNS}",
        ),
    )
    for role in SESSIONS["postgresql"]:
        refuses(postgres_database, *statements, before=role)
    verified(desk)


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_no_older_snapshot_kills_past_a_new_instance(desk: CommandLine, postgres_database: Database, isolation: str):
    """A transaction that looked before the instance started does not see it: it may not set killed_at at all."""
    killer = postgres_database.raw()
    killer.execute(f"BEGIN ISOLATION LEVEL {isolation}")
    assert killer.execute(
        "SELECT count(*) FROM bot_instances WHERE bot_id = 'b2' AND status = 'RUNNING'"
    ).fetchone() == (0,)
    instance(desk, "b2")
    with pytest.raises(Exception, match="READ COMMITTED"):
        killer.execute("UPDATE bots SET killed_at = now() WHERE id = 'b2'")
    killer.execute("ROLLBACK")
    assert postgres_database.sql("SELECT id FROM bots WHERE killed_at IS NOT NULL") == [("a1",)]
    verified(desk)


def test_a_start_and_a_kill_that_overlap_never_both_hold(desk: CommandLine, postgres_database: Database):
    """Whoever locks the bot first wins; the other waits, and is then refused by what it finds."""
    database = postgres_database
    for first, second in (
        (INSERT.format(bot="b2", status="RUNNING"), "UPDATE bots SET killed_at = now() WHERE id = 'b2'"),
        ("UPDATE bots SET killed_at = now() WHERE id = 'a2'", INSERT.format(bot="a2", status="RUNNING")),
        ("UPDATE bots SET killed_at = now() WHERE id = 'a3'", "UPDATE bot_instances SET bot_id = 'a3' WHERE id = 2"),
    ):
        one, other, refusals = database.raw(), database.raw(), []
        one.execute("BEGIN")
        one.execute(first)

        def run(statement: str = second, connection: object = other, seen: list[str] = refusals) -> None:
            try:
                connection.execute(statement)  # type: ignore[attr-defined]
            except Exception as error:  # noqa: BLE001 - whatever the server says is the finding
                seen.append(str(error))

        waiter = threading.Thread(target=run)
        waiter.start()
        blocked = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        for _ in range(200):
            if database.sql(blocked) == [(1,)]:
                break
            threading.Event().wait(0.05)
        assert waiter.is_alive(), "the second did not wait for the first"
        one.execute("COMMIT")
        waiter.join(30)
        assert len(refusals) == 1
        assert ACTIVE in refusals[0] or STILL_RUNS in refusals[0]
    both = "SELECT count(*) FROM bots b JOIN bot_instances i ON i.bot_id = b.id WHERE b.killed_at IS NOT NULL"
    assert database.sql(f"{both} AND i.status IN ('STARTING', 'RUNNING')") == [(0,)]
    assert done(desk("status")).json["result"]["instances_active"] == 2


def test_half_a_state_is_no_state(desk: CommandLine, database: Database):
    """CHECK constraints: each pair of columns that must go together."""
    for statement in (
        "UPDATE bot_instances SET status = 'PAUSED' WHERE id = 2",
        "UPDATE bot_instances SET status = 'STOPPED' WHERE id = 2",
        "UPDATE bot_instances SET stopped_at = started_at WHERE id = 2",
        "UPDATE bot_instances SET stop_confirmed_at = started_at WHERE id = 2",
        "UPDATE bot_instances SET pid = NULL WHERE id = 2",
        "UPDATE bot_instances SET heartbeat_at = NULL WHERE id = 2",
        "UPDATE bot_instances SET stop_reason = NULL WHERE id = 1",
        "UPDATE bot_instances SET attempt = 0 WHERE id = 2",
    ):
        refuses(database, (statement, r"(?i)check constraint"))
    verified(desk)


@pytest.mark.parametrize("path", ["", "SET search_path = pg_temp"])
def test_temporary_tables_do_not_deceive_the_guards(desk: CommandLine, postgres_database: Database, path: str):
    """Any role may make temporary tables, and their names come first: the guards look at the real ones."""
    before = dump(postgres_database)
    session = postgres_database.raw()
    session.execute("CREATE TEMP TABLE bots AS SELECT id, NULL::timestamptz AS killed_at FROM public.bots")
    session.execute("CREATE TEMP TABLE bot_instances (bot_id text, status text)")
    session.execute(
        "CREATE TEMP TABLE audit_head AS SELECT 1 AS id, 1::bigint AS seq, entry_hash FROM public.audit_head"
    )
    session.execute("CREATE TEMP TABLE audit_log AS SELECT * FROM public.audit_log WHERE seq = 1")
    if path:
        session.execute(path)
    for statement, why in (
        (INSERT.format(bot="a1", status="RUNNING").replace("bot_instances", "public.bot_instances", 1), ACTIVE),
        ("UPDATE public.bots SET killed_at = now() WHERE id = 'b1'", STILL_RUNS),
        ("UPDATE public.audit_head SET seq = 1, entry_hash = (SELECT entry_hash FROM pg_temp.audit_log)", "must equal"),
        (
            (
                "INSERT INTO public.audit_log SELECT 2, entry_hash, sha256('x'), act_id, action, actor, created_at,"
                " events, outcome, request_id, trace_id, 'x' FROM pg_temp.audit_log"
            ),
            "must be the head",
        ),
    ):
        with pytest.raises(Exception, match=why):
            session.execute(statement)
    assert dump(postgres_database) == before
    verified(desk)


def test_a_guard_that_lost_its_search_path_is_a_finding(cli: CommandLine, postgres_database: Database):
    postgres_database.sql("ALTER FUNCTION blaidctl_instance_guard() RESET search_path")
    run = cli("audit", "verify")
    assert run.code == 1
    assert "function blaidctl_instance_guard is not the one of this version" in run.stderr


def test_temporary_tables_do_not_deceive_sqlite_either(desk: CommandLine, sqlite_database: Database):
    before = dump(sqlite_database)
    session = sqlite_database.raw()
    session.execute("CREATE TEMP TABLE bots AS SELECT id, NULL AS killed_at FROM main.bots")
    session.execute("CREATE TEMP TABLE bot_instances (bot_id TEXT, status TEXT)")
    with pytest.raises(Exception, match=ACTIVE):
        session.execute(INSERT.format(bot="a1", status="RUNNING").replace("bot_instances", "main.bot_instances", 1))
    with pytest.raises(Exception, match=STILL_RUNS):
        session.execute("UPDATE main.bots SET killed_at = '2026' WHERE id = 'b1'")
    assert dump(sqlite_database) == before
    verified(desk)
