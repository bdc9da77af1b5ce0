"""The hand of an administrator who may do everything: triggers come off, rows change, triggers come back."""

from __future__ import annotations

import contextlib
import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from psycopg import sql as pg
from pydantic import SecretStr

from blaidctl.core import audit, events
from blaidctl.core.db import Database as ProductDatabase
from blaidctl.core.settings import Settings
from blaidctl.jobs.events import REAPER_RUNS
from tests.kill.fleet import BACK, WHY, done, fleet, instance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import Connection

    from tests.support.commandline import CommandLine, Run
    from tests.support.database import Database


def history(cli: CommandLine) -> dict[str, int]:
    """Make a log worth tampering with; return the sequence of each entry by what it is."""
    fleet(cli)
    for bot in ("a1", "a1", "b1"):
        instance(cli, bot)
    seqs: dict[str, int] = {}

    def act(name: str, *arguments: str) -> None:
        seqs[name] = done(cli(*arguments)).json["audit"]["seq"]

    act("first kill", "kill", "a1", "a2", *WHY)
    act("second kill", "kill", "a1", "b1", *WHY)
    act("resurrect", "resurrect", "a1", *BACK)
    assert cli("kill", "nobody", *WHY).code == 3
    seqs["refusal"] = seqs["resurrect"] + 1
    act("third kill", "kill", "a1", *WHY)
    act("last", "user", "add", "carol")
    return seqs


def work(cli: CommandLine, database: Database) -> None:
    """Write rows of jobs and of the reaper: two types, two jobs that ended, a run of the reaper with its entry."""
    limits = ("--heartbeat-s", "5", "--stale-after-s", "60", "--max-runtime-s", "3600", "--grace-s", "10")
    done(cli("job", "type", "add", "nightly", *limits))
    for job in ("1", "2"):
        done(cli("job", "start", "nightly"))
        done(cli("job", "finish", job, "--attempt", "1", "--status", "SUCCEEDED"))
    now = datetime.now(UTC)
    act_id, trace_id = "r" * 32, "a" * 32
    own = {"host": "desk", "started_at": now, "duration_ms": 5, "complete": 1, "counts": {}, "not_done": []}
    stamps = {"act_id": act_id, "actor": "me", "created_at": now, "trace_id": trace_id}
    opened = ProductDatabase(Settings(database_url=SecretStr(database.url)))
    with contextlib.closing(opened), opened.writing() as connection:
        _, digest = events.write(connection, REAPER_RUNS, [own], {}, stamps)
        entry = audit.Entry(act_id, "job reap", "me", now, audit.DONE, "r", trace_id, {REAPER_RUNS.name: digest})
        audit.append(connection, entry)


def read(database: Database, look: Callable[[Connection, Settings], Any]) -> Any:
    """Call with a connection as `audit verify` has one."""
    settings = Settings(database_url=SecretStr(database.url))
    with contextlib.closing(ProductDatabase(settings)) as opened, opened.reading() as connection:
        return look(connection, settings)


@contextlib.contextmanager
def unguarded(database: Database) -> Iterator[Any]:
    """Give a connection to a database without triggers; afterwards every trigger is back, exactly as it was."""
    connection = database.raw()
    with contextlib.closing(connection):
        if database.kind == "sqlite":
            connection.execute("PRAGMA foreign_keys=OFF")
            connection.execute("PRAGMA ignore_check_constraints=ON")
            triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
            for name, _ in triggers:
                connection.execute(f'DROP TRIGGER "{name}"')
            yield connection
            for _, statement in triggers:
                connection.execute(statement)
            return
        rows = connection.execute(
            "SELECT c.relname, t.tgname, t.tgenabled::text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
            " WHERE NOT t.tgisinternal"
        ).fetchall()
        _switch(connection, [(table, trigger, "DISABLE") for table, trigger, _ in rows])
        connection.execute("SET session_replication_role = replica")
        yield connection
        connection.execute("SET session_replication_role = origin")
        modes = {"O": "ENABLE", "A": "ENABLE ALWAYS"}
        _switch(connection, [(table, trigger, modes[enabled]) for table, trigger, enabled in rows])


def _switch(connection: Any, triggers: list[tuple[str, str, str]]) -> None:
    for table, trigger, mode in triggers:
        connection.execute(
            pg.SQL("ALTER TABLE {} " + mode + " TRIGGER {}").format(pg.Identifier(table), pg.Identifier(trigger))  # type: ignore[arg-type]
        )


def tamper(database: Database, *statements: str) -> None:
    """Change rows as `unguarded` allows."""
    with unguarded(database) as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount > 0, f"nothing was tampered with: {statement}"


def rehash(database: Database, seq: int, old: str, new: str) -> None:
    """Change an entry's text and its hash with it, and let the next entry follow on."""
    ((text,),) = database.sql("SELECT canonical FROM audit_log WHERE seq = ?", (seq,))
    assert old in text
    forged = text.replace(old, new)
    digest = hashlib.sha256(forged.encode()).hexdigest()
    quoted = forged.replace("'", "''")
    tamper(
        database,
        f"UPDATE audit_log SET canonical = '{quoted}', entry_hash = {blob(database, digest)} WHERE seq = {seq}",
    )


def blob(database: Database, digits: str) -> str:
    """Return a literal of bytes."""
    return f"x'{digits}'" if database.kind == "sqlite" else rf"'\x{digits}'"


def broken(cli: CommandLine, *arguments: str) -> tuple[Run, set[str], int | None]:
    """Insist that verify says AUDIT_BROKEN; return the run, the checks that found something, and the first bad seq."""
    run = cli("audit", "verify", *arguments)
    assert (run.code, run.error["error_code"]) == (1, "AUDIT_BROKEN"), (run.stdout, run.stderr)
    result = run.json["result"]
    assert result["answer"] == "BROKEN"
    assert "Traceback" not in run.stderr
    assert run.error["missing_requirements"]
    first = result["first_bad_seq"]
    assert (f"first at seq {first}" if first is not None else "none of them inside the chain") in run.error["message"]
    return run, {defect["check"] for defect in result["defects"]}, first


def trigger_names(database: Database) -> list[tuple[str, str]]:
    """Return (table, trigger) of every trigger."""
    if database.kind == "sqlite":
        return database.sql("SELECT tbl_name, name FROM sqlite_schema WHERE type = 'trigger' ORDER BY name")  # type: ignore[return-value]
    return database.sql(  # type: ignore[return-value]
        "SELECT c.relname, t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
        " WHERE NOT t.tgisinternal ORDER BY t.tgname"
    )
