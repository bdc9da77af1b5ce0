"""A copy of a database, on either engine: what is in one, how it is taken, and how it is laid into another place."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from blaidctl import __version__
from blaidctl.core import errors, revisions
from blaidctl.core.operation import resolve
from blaidctl.core.types import time_text
from blaidctl.database import files, postgres, sqlite
from blaidctl.database.content import Content, content_of, row_counts
from blaidctl.database.files import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import Connection

    from blaidctl.core.context import Context
    from blaidctl.core.db import Database

    Progress = Callable[[str, int], Callable[[int], None]]

_ENGINE_VERSION = {"sqlite": "SELECT sqlite_version()", "postgresql": "SHOW server_version"}


@dataclasses.dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was made and proved by restoring it."""

    file: Path
    manifest: Manifest
    defects: tuple[str, ...] = ()

    def body(self) -> dict[str, Any]:
        """Return what a receipt says of it."""
        known = self.manifest
        return {
            "file": str(self.file), "bytes": known.bytes, "sha256": known.sha256, "revision": known.revision,
            "head_seq": known.head_seq, "entry_hash": known.entry_hash, "verified": known.verified,
        }  # fmt: skip


def defects_of(connection: Connection, ctx: Context, progress: Progress) -> list[str]:
    """Verify the log of a database of any revision; return every defect in words."""
    if "audit_head" not in row_counts(connection):
        return []
    verified = resolve("blaidctl.audit.verify:verify_any_schema")(connection, ctx.settings, progress)
    return list(verified.finding.missing_requirements) if verified.finding else []


def take(ctx: Context, target: Path, progress: Progress) -> Backup:
    """Copy the database into a file, restore that into a scratch database, verify it there, then give it its name.

    A copy whose audit chain does not verify is kept as evidence: its manifest says BROKEN.
    """
    engine = engine_of(ctx)
    target = target.absolute()
    if ctx.database.kind == "sqlite":
        sqlite.refuse_own_name(ctx.database, target)
    with files.being_written(target) as part, contextlib.closing(engine.source(ctx)) as source:
        with source.reading(statement_timeout_s=0) as connection:
            content = content_of(connection)
            if content.revision is None:
                raise errors.SchemaBehind(f"there is nothing of blaidctl in {ctx.database.shown()} to back up")
            engine.ready(ctx.database, connection)
            version = str(connection.exec_driver_sql(_ENGINE_VERSION[ctx.database.kind]).scalar())
            engine.dump(ctx.database, connection, part.path, progress)
        size, sha256 = files.hashed(part.path)
        manifest = Manifest(
            format=files.FORMAT, engine=ctx.database.kind, engine_version=version, tool_version=__version__,
            made_at=time_text(ctx.now()), bytes=size, sha256=sha256, revision=content.revision,
            head_seq=content.head_seq, entry_hash=content.entry_hash, rows=content.rows, verified="OK",
        )  # fmt: skip
        with scratch(ctx, part.path, part.path, progress) as copy:
            defects = compared(ctx, copy, manifest, progress)
        if defects:
            manifest = dataclasses.replace(manifest, verified="BROKEN")
        part.publish(manifest)
    return Backup(target, manifest, tuple(defects))


def compared(ctx: Context, copy: Database, manifest: Manifest, progress: Progress) -> list[str]:
    """Compare a restored copy with its manifest, then verify its chain; return the chain's defects."""
    with copy.reading(statement_timeout_s=0) as connection:
        found = content_of(connection)
        _compare(found, manifest)
        return defects_of(connection, ctx, progress)


def _compare(found: Content, manifest: Manifest) -> None:
    other = [
        f"{name}: the manifest says {said}, the copy holds {held}"
        for name, said, held in (
            ("revision", manifest.revision, found.revision),
            ("head_seq", manifest.head_seq, found.head_seq),
            ("entry_hash", manifest.entry_hash, found.entry_hash),
            ("rows", manifest.rows, found.rows),
        )
        if said != held
    ]
    if other:
        raise errors.BackupInvalid("the restored copy is not what its manifest says", missing=other)


@contextlib.contextmanager
def scratch(ctx: Context, file: Path, beside: Path, progress: Progress) -> Iterator[Database]:
    """Give a database of its own that holds what is in a backup; gone after the block.

    On SQLite it is a file with a name like that of `beside`, in its folder.
    """
    with engine_of(ctx).scratch(ctx, file, beside, progress) as database:
        yield database


def checked_manifest(ctx: Context, file: Path, progress: Progress) -> Manifest:
    """Read a backup's manifest and compare the file with it: engine, revision, size, hash."""
    manifest = files.read_manifest(file)
    if manifest.engine != ctx.database.kind:
        raise errors.BackupInvalid(f"{file} is a backup of {manifest.engine}, the database is {ctx.database.kind}")
    if manifest.revision not in revisions.REVISIONS:
        raise errors.SchemaAhead(f"{file} holds revision {manifest.revision}, which this version does not know")
    if manifest.verified != "OK":
        raise errors.AuditBroken(f"{file} is the copy of a database whose audit log did not verify: it is evidence")
    files.check_bytes(file, manifest, progress("checking the file", manifest.bytes))
    return manifest


def default_target(ctx: Context, content: Content, now: dt.datetime) -> Path:
    """Return where a backup goes that nobody named: beside the SQLite file, or in this user's data directory."""
    if ctx.database.kind == "sqlite":
        folder, name = ctx.database.path.parent / "backups", ctx.database.path.name
    else:
        folder, name = Path(platformdirs.user_data_dir("blaidctl")) / "backups", str(ctx.database.url.database)
    name = "".join(c if c.isalnum() or c in "._-" else "_" for c in name)
    stamp = now.astimezone(dt.UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    return files.own_folder(folder) / f"{name}-{content.revision}-{content.head_seq}-{stamp}.backup"


def engine_of(ctx: Context) -> Any:
    """Return the module of the engine: `source`, `ready`, `dump`, `scratch`, `put_in_place`, of one shape in both."""
    return sqlite if ctx.database.kind == "sqlite" else postgres
