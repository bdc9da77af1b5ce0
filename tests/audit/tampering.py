"""The hand of an administrator who may do everything: triggers come off, rows change, triggers come back."""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING, Any

from psycopg import sql as pg

from tests.kill.fleet import BACK, WHY, done, fleet, instance

if TYPE_CHECKING:
    from collections.abc import Iterator

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
            "SELECT c.relname, t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal"
        ).fetchall()
        for mode in ("DISABLE", "ENABLE ALWAYS"):
            for table, trigger in rows:
                connection.execute(
                    pg.SQL("ALTER TABLE {} " + mode + " TRIGGER {}").format(
                        pg.Identifier(table), pg.Identifier(trigger)
                    )  # type: ignore[arg-type]
                )
            if mode == "DISABLE":
                connection.execute("SET session_replication_role = replica")
                yield connection
                connection.execute("SET session_replication_role = origin")


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
