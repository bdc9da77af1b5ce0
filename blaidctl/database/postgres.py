"""Copies of a PostgreSQL database: by the server's own pg_dump and pg_restore, in one exported snapshot.

Credentials reach them by the environment (or the passfile that libpq reads by itself), never on a command line.
A scratch database is made on the same server; it holds its copy alone, and it is dropped after use.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import select
import shutil
import subprocess
import threading
from typing import IO, TYPE_CHECKING, Any

from pydantic import SecretStr
from sqlalchemy.exc import DBAPIError

from blaidctl.core import clock, errors, signals
from blaidctl.core.db import Database, translated
from blaidctl.core.operation import resolve
from blaidctl.database import files
from blaidctl.database.content import content_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from sqlalchemy.engine import Connection

    from blaidctl.core.context import Context
    from blaidctl.database.content import Content

    Progress = Callable[[str, int], Callable[[int], None]]

_CHUNK = 1 << 20
#: pg_dump writes, pg_restore reads, all the time but while the server sorts an index: longer than this, it hangs.
_SILENCE_S = 3600
_MOST_WORDS = 4_000
_SCRATCH = "blaidctl_scratch"
_SCRATCH_NAME = re.compile(rf"{_SCRATCH}_([0-9a-f]{{8,}})_[0-9a-f]{{8}}")
#: A scratch database of a run that was killed is dropped by a later run, when no run can still be at it.
_LEFT_OVER_S = 6 * 3600
_MAINTENANCE = ("postgres", "template1")
#: libpq reads these from a file or the environment; none may stand on a command line.
_SECRETS = {"password": "PGPASSWORD"}
_NO_VARIABLE = "sslpassword"


def source(ctx: Context) -> Database:
    """Return what the copy is taken from, with connections of its own."""
    return Database(ctx.settings)


def ready(_database: Database, connection: Connection) -> None:
    """Refuse before anything is written when no backup can be made and proved here."""
    major = int(connection.exec_driver_sql("SHOW server_version_num").scalar()) // 10_000  # type: ignore[arg-type]
    for name in ("pg_dump", "pg_restore"):
        _program(name, major)
    may = connection.exec_driver_sql(
        "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
    ).scalar()
    if not may:
        raise errors.BackupUnavailable(
            "this role may not make a scratch database, so a backup could not be proved",
            missing=["the right to make a database: ALTER ROLE … CREATEDB"],
        )


def dump(database: Database, connection: Connection, part: Path, progress: Progress) -> None:
    """Let pg_dump write the snapshot that this connection reads."""
    connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
    snapshot = connection.exec_driver_sql("SELECT pg_export_snapshot()").scalar()
    total = int(connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar() or 0)
    told, done = progress("copying", total), 0
    address, environment = _libpq(database)
    limit_ms = database.settings.statement_timeout_s * 1000
    command = [
        _program("pg_dump"), "--format=custom", "--no-password", f"--snapshot={snapshot}",
        f"--lock-wait-timeout={limit_ms}", f"--dbname={address}",
    ]  # fmt: skip
    with files.translated(part), part.open("r+b") as file, _running(command, environment, database) as program:
        output = program.stdout
        while chunk := _next(output):
            file.write(chunk)
            done += len(chunk)
            told(done)
        file.flush()


def _next(output: Any) -> bytes:
    ready_, _, _ = select.select([output], [], [], _SILENCE_S)
    if not ready_:
        raise errors.DatabaseDown(f"pg_dump has said nothing for {_SILENCE_S} s; the copy was given up")
    return os.read(output.fileno(), _CHUNK)


@contextlib.contextmanager
def _running(
    command: list[str], environment: Mapping[str, str], database: Database, stdin: Any = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a client program; its end is ours, its failure is one error with its own last words."""
    words: list[bytes] = []
    program = subprocess.Popen(  # noqa: S603 - a program of PostgreSQL, with arguments of ours
        command,
        bufsize=0,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    listener = threading.Thread(target=_listen, args=(program.stderr, words), daemon=True)
    signals.start_deaf(listener)
    try:
        yield program
        code = program.wait(_SILENCE_S)
    except subprocess.TimeoutExpired:
        raise errors.DatabaseDown(f"{command[0]} does not end; it was stopped") from None
    finally:
        if program.poll() is None:
            program.kill()
            program.wait()
        listener.join(1)
        for pipe in (program.stdout, program.stderr):
            if pipe is not None:
                pipe.close()
    if code:
        raise _failed(command[0], b"".join(words).decode(errors="replace"), database)


def _listen(pipe: IO[bytes], words: list[bytes]) -> None:
    kept = 0
    with contextlib.suppress(ValueError, OSError):  # the pipe is closed under us when the program is over
        while chunk := os.read(pipe.fileno(), _CHUNK):
            if kept < _MOST_WORDS:
                words.append(chunk[:_MOST_WORDS])
                kept += len(chunk)


def _failed(program: str, words: str, database: Database) -> errors.BlaidError:
    lines = [line for line in words.splitlines() if line.strip()]
    said = "; ".join(lines[:3]) or "no word"
    name = os.path.basename(program)  # noqa: PTH119 - a name, no file
    lost = ("connection to server", "server closed the connection", "terminating connection", "could not connect")
    if any(part in words for part in lost):
        return errors.DatabaseDown(f"{name} lost the database {database.shown()} ({said})")
    if "No space left on device" in words:
        return errors.DiskFull(f"{name}: the disk of {database.shown()} is full ({said})")
    return errors.BackupUnavailable(f"{name} failed ({said})")


@contextlib.contextmanager
def scratch(ctx: Context, file: Path, _beside: Path, progress: Progress) -> Iterator[Database]:
    """Make a database of its own on the same server, restore a backup into it, give it, drop it."""
    administrator = administration(ctx)
    with contextlib.closing(administrator):
        _drop_left_overs(administrator)
        name = f"{_SCRATCH}_{int(clock.utc_now().timestamp()):08x}_{secrets.token_hex(4)}"
        try:
            with _autocommit(administrator) as connection:
                connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE template0")
            with contextlib.closing(_at(ctx, name)) as database:
                _load(database, file, progress)
                yield database
        finally:
            with contextlib.suppress(errors.BlaidError, DBAPIError), _autocommit(administrator) as connection:
                connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}")


def _load(database: Database, file: Path, progress: Progress) -> None:
    address, environment = _libpq(database)
    command = [
        _program("pg_restore"), "--no-password", "--no-owner", "--no-privileges", "--exit-on-error",
        "--single-transaction", f"--dbname={address}",
    ]  # fmt: skip
    told, done = progress("restoring", file.stat().st_size), 0
    with file.open("rb") as have, _running(command, environment, database, subprocess.PIPE) as program:
        pipe: Any = program.stdin
        os.set_blocking(pipe.fileno(), False)
        with contextlib.closing(pipe), contextlib.suppress(BrokenPipeError):  # it ended early: its status says why
            while chunk := have.read(_CHUNK):
                _feed(pipe.fileno(), chunk)
                done += len(chunk)
                told(done)


def _feed(descriptor: int, chunk: bytes) -> None:
    left = memoryview(chunk)
    while left:
        _, ready_, _ = select.select([], [descriptor], [], _SILENCE_S)
        if not ready_:
            raise errors.DatabaseDown(f"pg_restore has read nothing for {_SILENCE_S} s; the copy was given up")
        left = left[os.write(descriptor, left) :]


def _drop_left_overs(administrator: Database) -> None:
    """Drop the scratch databases of runs that were killed hours ago and that nobody is connected to."""
    sql = (
        f"SELECT datname FROM pg_database WHERE starts_with(datname, '{_SCRATCH}_') AND datdba = current_user::regrole"
    )
    with _autocommit(administrator) as connection:
        for (name,) in connection.exec_driver_sql(sql).all():
            made = _SCRATCH_NAME.fullmatch(name)
            if made and int(made[1], 16) < clock.utc_now().timestamp() - _LEFT_OVER_S:
                with contextlib.suppress(DBAPIError):
                    connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}")


def administration(ctx: Context) -> Database:
    """Return another database of the same server: a database cannot be renamed by who is in it."""
    refused: list[str] = []
    for name in _MAINTENANCE:
        database = _at(ctx, name)
        try:
            with database.reading():
                return database
        except (errors.DatabaseMissing, errors.DatabasePermission) as error:
            database.close()
            refused.append(error.message)
    raise errors.BackupUnavailable("this role reaches no other database of the server", missing=refused)


def _at(ctx: Context, name: str) -> Database:
    url = ctx.database.url.set(database=name).render_as_string(hide_password=False)
    return Database(ctx.settings.model_copy(update={"database_url": SecretStr(url)}))


@contextlib.contextmanager
def _autocommit(database: Database) -> Iterator[Connection]:
    with translated(database), database.engine.connect() as plain:
        yield plain.execution_options(isolation_level="AUTOCOMMIT")


def is_there(ctx: Context) -> bool:
    """Say whether the server has a database of that name."""
    with contextlib.closing(administration(ctx)) as administrator, administrator.reading() as connection:
        name = {"name": str(ctx.database.url.database)}
        found = connection.exec_driver_sql("SELECT 1 FROM pg_database WHERE datname = %(name)s", name)
        return found.scalar() is not None


def put_in_place(ctx: Context, ready_made: Database, old: Content | None, _progress: Progress) -> str:
    """Give a finished scratch the database's name; what had it keeps all its rows under another, which is returned."""
    ready_made.close()
    target, made = str(ctx.database.url.database), str(ready_made.url.database)
    aside = f"{target[:36]}_replaced_{secrets.token_hex(4)}" if old is not None else ""
    with contextlib.closing(administration(ctx)) as administrator:
        if old is not None:
            _refuse_newer(ctx, target, old)
        _swap(administrator, target, made, aside)
        if old is not None:
            try:
                # Nobody reaches it under this name: what was written until the swap is all there will ever be.
                _refuse_newer(ctx, aside, old)
            except errors.ConfirmationStale:
                _swap(administrator, target, aside, made)
                raise
        if old is not None and not old.rows:
            with _autocommit(administrator) as connection:
                connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {_quoted(aside)}")
            return ""
    return aside


def _swap(administrator: Database, target: str, new: str, aside: str) -> None:
    """Give a database the name of another, which gets the name `aside`; both at once."""
    try:
        with administrator.writing() as connection:
            if aside:
                connection.exec_driver_sql(f"ALTER DATABASE {_quoted(target)} RENAME TO {_quoted(aside)}")
            connection.exec_driver_sql(f"ALTER DATABASE {_quoted(new)} RENAME TO {_quoted(target)}")
    except errors.Busy as error:
        raise errors.Busy(
            f"the database {target} cannot be put aside: {error.message}",
            next_steps=["Stop what is connected to it (supervisors, the shim, a psql), then restore again."],
        ) from error


def _refuse_newer(ctx: Context, name: str, old: Content) -> None:
    """Raise ConfirmationStale when somebody wrote to what is replaced since it was looked at: a kill, say."""
    with contextlib.closing(_at(ctx, name)) as database, database.reading() as connection:
        found = content_of(connection)
    if (found.head_seq, found.entry_hash) != (old.head_seq, old.entry_hash):
        raise errors.ConfirmationStale(f"the log has moved on from {old.head_seq} to {found.head_seq}")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _program(name: str, server_major: int = 0) -> str:
    """Return the path of a client program that is not older than the server."""
    found = shutil.which(name)
    if found is None:
        raise errors.BackupUnavailable(f"{name} is not on PATH", missing=[f"{name}: the client of PostgreSQL"])
    if server_major:
        command = [found, "--version"]
        said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)  # noqa: S603
        version = re.search(r"\(PostgreSQL\) (\d+)", said.stdout)
        if version is None or int(version[1]) < server_major:
            raise errors.BackupUnavailable(
                f"{found} is of version {version[1] if version else '?'}, the server of {server_major}",
                missing=[f"{name} {server_major} or newer, first on PATH"],
            )
    return found


def _libpq(database: Database) -> tuple[str, dict[str, str]]:
    """Return an address without secrets, and the environment that holds them."""
    known = {**database.url.translate_connect_args(username="user", database="dbname"), **database.url.query}
    if _NO_VARIABLE in known:
        raise errors.BackupUnavailable(f"{_NO_VARIABLE} in the URL has no variable that pg_dump reads")
    settings = database.settings
    secret = {variable: str(known.pop(name)) for name, variable in _SECRETS.items() if name in known}
    known |= {
        "connect_timeout": max(settings.connect_timeout_s, 2), "application_name": "blaidctl",
        "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3,
    }  # fmt: skip
    address: str = resolve("psycopg.conninfo:make_conninfo")(**known)
    return address, {**os.environ, **secret, "LC_ALL": "C", "PGCLIENTENCODING": "UTF8"}
