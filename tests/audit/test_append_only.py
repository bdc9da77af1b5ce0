"""The log, the kill events and the stored answers only ever grow, whoever writes: refused by the database itself."""

from __future__ import annotations

import contextlib
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
import pytest
from pydantic import SecretStr

from blaidctl.core import audit
from blaidctl.core.db import Database as ProductDatabase
from blaidctl.core.settings import Settings
from tests.audit.tampering import blob, history, work
from tests.kill.fleet import dump, verified

if TYPE_CHECKING:
    from blaidctl.core.audit import Receipt
    from tests.support.commandline import CommandLine
    from tests.support.database import Database

SESSIONS = {
    "sqlite": ("", "PRAGMA recursive_triggers=OFF", "PRAGMA foreign_keys=OFF"),
    "postgresql": ("", "SET session_replication_role = replica", "SET session_replication_role = local"),
}
ZERO, ONE = "00" * 32, "11" * 32


def refuse_all(cli: CommandLine, database: Database, statements: list[tuple[str, str]]) -> None:
    """Insist that each statement fails for its reason in every kind of session, and that nothing changed."""
    before = dump(database)
    for words in SESSIONS[database.kind]:
        with contextlib.closing(database.raw()) as connection:
            if words:
                connection.execute(words)
            for statement, why in statements:
                with pytest.raises(Exception, match=why):
                    connection.execute(statement)
            assert dump(database) == before
    verified(cli)


@pytest.mark.parametrize("table", ["audit_log", "job_events", "kill_events", "reaper_runs", "requests"])
def test_rows_are_never_changed_or_deleted(cli: CommandLine, database: Database, table: str):
    history(cli)
    work(cli, database)
    columns = [
        name
        for (name,) in database.sql(
            f"SELECT name FROM pragma_table_info('{table}')"
            if database.kind == "sqlite"
            else f"SELECT column_name FROM information_schema.columns WHERE table_name = '{table}'"
        )
    ]
    assert len(columns) >= 8
    why = f"{table} is append-only"
    refuse_all(
        cli,
        database,
        [
            *((f"UPDATE {table} SET {column} = {column}", why) for column in columns),
            (f"DELETE FROM {table}", why),
            (f"DELETE FROM {table} WHERE actor = (SELECT max(actor) FROM {table})", why),
        ],
    )


def test_an_old_id_is_never_written_again(cli: CommandLine, database: Database):
    history(cli)
    work(cli, database)
    taken = "append-only|exists|UNIQUE|duplicate key|must be the head|one start and one end"
    statements = []
    keys = {"audit_log": "seq", "kill_events": "id", "job_events": "id", "reaper_runs": "id", "requests": "act_id"}
    for table, key in keys.items():
        copy = (
            f"INTO {table} SELECT * FROM {table} WHERE {key} = (SELECT m FROM (SELECT max({key}) AS m FROM {table}) t)"
        )
        statements.append((f"INSERT {copy}", taken))
        if database.kind == "sqlite":
            statements += [(f"INSERT OR REPLACE {copy}", taken), (f"REPLACE {copy}", taken)]
            statements += [(f"UPDATE OR REPLACE {table} SET {key} = {key}", taken)]
        else:
            statements.append((f"INSERT {copy} ON CONFLICT ({key}) DO UPDATE SET actor = 'x'", taken))
            statements.append((f"TRUNCATE {table} CASCADE", "append-only"))
    if database.kind == "sqlite":
        event = "'x', 'a1', 'KILL', 'APPLIED', 'x', 'DRILL', 'x', '2026', '{}', '%s', NULL, 0" % ("0" * 32)
        statements.append((f"REPLACE INTO kill_events VALUES (1, {event})", taken))
        # The other keys of `requests` could be replaced through as well.
        answer = "operation, fingerprint, answer, {seq}, created_at FROM requests LIMIT 1"
        statements += [
            (f"REPLACE INTO requests SELECT 'new', actor, request_id, {answer.format(seq=999)}", "UNIQUE"),
            (f"REPLACE INTO requests SELECT 'new', 'new', 'new', {answer.format(seq='audit_seq')}", "UNIQUE"),
        ]
    refuse_all(cli, database, statements)


def test_the_log_grows_at_its_head_only(cli: CommandLine, database: Database):
    last = history(cli)["last"]
    zero, one = blob(database, ZERO), blob(database, ONE)
    head = "(SELECT entry_hash FROM audit_head)"
    columns = "act_id, action, actor, created_at, events, outcome, request_id, trace_id, canonical"

    def entry(seq: int, prev: str, own: str) -> str:
        return f"INSERT INTO audit_log SELECT {seq}, {prev}, {own}, {columns} FROM audit_log WHERE seq = 1"

    seq, prev = "seq must be the head plus one", "prev_hash must be the head"
    old = "(SELECT prev_hash FROM audit_log WHERE seq = 2)"
    refuse_all(
        cli,
        database,
        [
            (entry(last + 2, head, one), seq),  # a gap
            (entry(last, head, one), f"{seq}|append-only"),
            (entry(0, head, one), f"{seq}|CHECK|check"),
            (entry(-1, head, one), f"{seq}|CHECK|check"),
            (entry(last + 1, zero, one), prev),  # a second beginning
            (entry(last + 1, one, one), prev),
            (entry(last + 1, old, one), prev),  # a fork
            (
                entry(last + 1, head, "(SELECT entry_hash FROM audit_log WHERE seq = 1)"),
                "append-only|SHA-256|duplicate key",
            ),
            (entry(last + 1, head, blob(database, "11" * 31)), "(?i)check|SHA-256"),
        ],
    )


def test_two_appends_at_once_follow_one_another(cli: CommandLine, postgres_database: Database):
    """The lock on the head row: the second waits and then finds the first; no attempt is wasted on a taken place."""
    last = history(cli)["last"]
    settings = Settings(database_url=SecretStr(postgres_database.url), lock_timeout_s=60)
    receipts, refusals = [], []
    head = "(SELECT entry_hash FROM audit_head)"
    stale = (
        f"INSERT INTO audit_log SELECT {last + 1}, {head}, sha256('x'), act_id, action, actor, created_at, events,"
        " outcome, request_id, trace_id, 'x' FROM audit_log WHERE seq = 1"
    )

    def append(name: str) -> Receipt:
        entry = audit.Entry(name, "test", "me", datetime.now(UTC), audit.DONE, name, "a" * 32)
        with contextlib.closing(ProductDatabase(settings)) as opened, opened.writing() as connection:
            receipts.append(audit.append(connection, entry))
            if name == "first":
                for thread in threads:
                    thread.start()
                wait_for_locks(postgres_database, 2)
        return receipts[-1]

    def forge() -> None:
        with contextlib.closing(postgres_database.raw()) as connection:
            try:
                connection.execute(stale)
            except psycopg.Error as error:
                refusals.append(str(error))

    threads = [threading.Thread(target=append, args=("second",)), threading.Thread(target=forge)]
    append("first")
    for thread in threads:
        thread.join(60)
    assert [receipt.seq for receipt in receipts] == [last + 1, last + 2]
    assert len(refusals) == 1
    assert "must be the head" in refusals[0]
    verified(cli)


def wait_for_locks(database: Database, count: int) -> None:
    """Wait until so many sessions of this database wait for a lock."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    until = time.monotonic() + 30
    while database.sql(waiting) != [(count,)]:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_postgresql_hashes_each_entry_itself(cli: CommandLine, postgres_database: Database):
    last = history(cli)["last"]
    forged = (
        "INSERT INTO audit_log SELECT seq + 1, entry_hash, '\\x" + ONE + "', act_id, action, actor, created_at, events,"
        f" outcome, request_id, trace_id, canonical FROM audit_log WHERE seq = {last}"
    )
    refuse_all(cli, postgres_database, [(forged, "entry_hash must be the SHA-256 of canonical")])


def test_the_head_is_the_last_entry_and_there_is_one(cli: CommandLine, database: Database):
    last = history(cli)["last"]
    one = blob(database, ONE)
    statements = [
        (f"UPDATE audit_head SET seq = {last + 1}", "audit_head must equal"),
        (f"UPDATE audit_head SET seq = {last - 1}", "audit_head must equal"),
        (f"UPDATE audit_head SET entry_hash = {one}", "audit_head must equal"),
        (
            (
                f"UPDATE audit_head SET seq = {last - 1}, entry_hash ="
                f" (SELECT entry_hash FROM audit_log WHERE seq = {last - 1})"
            ),
            "audit_head must equal",
        ),
        ("UPDATE audit_head SET id = 2", "audit_head must equal|[Cc]heck|CHECK"),
        ("DELETE FROM audit_head", "audit_head"),
        (f"INSERT INTO audit_head VALUES (2, {last}, {one})", "audit_head"),
        (f"INSERT INTO audit_head VALUES (1, {last}, {one})", "audit_head"),
    ]
    if database.kind == "sqlite":
        statements += [
            (f"REPLACE INTO audit_head VALUES (1, {last}, {one})", "audit_head"),
            ("UPDATE OR REPLACE audit_head SET id = 2", "audit_head"),
        ]
    else:
        statements.append(("TRUNCATE audit_head", "append-only"))
    refuse_all(cli, database, statements)


def test_a_row_needs_what_makes_it_evidence(cli: CommandLine, database: Database):
    """CHECK constraints and foreign keys of the event rows."""
    history(cli)
    names = "act_id, bot_id, action, effect, actor, reason_code, reason, created_at, metadata, trace_id"
    names += ", ends_kill_event_id, instances_stopped"
    good = {
        "act_id": "'x'", "bot_id": "'a1'", "action": "'KILL'", "effect": "'APPLIED'", "actor": "'x'",
        "reason_code": "'DRILL'", "reason": "'x'", "created_at": "'2026-01-01T00:00:00.000000Z'", "metadata": "'{}'",
        "trace_id": f"'{'a' * 32}'", "ends_kill_event_id": "NULL", "instances_stopped": "0",
    }  # fmt: skip
    bad = [
        {"bot_id": "'ghost'"}, {"action": "'PAUSE'"}, {"effect": "'MAYBE'"}, {"reason": "'  '"}, {"trace_id": "'abc'"},
        {"instances_stopped": "-1"}, {"ends_kill_event_id": "1"}, {"action": "'RESURRECT'"},
        {"action": "'RESURRECT'", "ends_kill_event_id": "99"}, {"actor": "NULL"}, {"reason_code": "NULL"},
    ]  # fmt: skip
    before = dump(database)
    for change in bad:
        values = ", ".join((good | change).values())
        with contextlib.closing(database.raw()) as connection:
            if database.kind == "sqlite":
                connection.execute("PRAGMA foreign_keys=ON")
            with pytest.raises(Exception, match=r"(?i)constraint"):
                connection.execute(f"INSERT INTO kill_events ({names}) VALUES ({values})")
        assert dump(database) == before, change
