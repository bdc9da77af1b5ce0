"""`audit checkpoint`: the head of the chain, signed and kept outside the database.

Before any transaction: the chain is verified from the last note on, the head is signed, and the note is written to
every sink. Then one short act appends the entry that remembers it. No lock is held while a disk is slow, and a note
that was written although the entry was not is true all the same: making it again is safe.

It refuses to sign what does not hold: a log that contradicts a note, that does not verify since, or whose last
checkpoint is in no sink any more. A signature over a forged past would make it the truth.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from blaidctl.audit import chain, contract, keys
from blaidctl.core import checkpoints, sinks
from blaidctl.core.canonical import GENESIS
from blaidctl.core.errors import AuditBroken, CheckpointOvertaken, InvalidRequest, SettingsInvalid
from blaidctl.core.execute import check_schema
from blaidctl.core.notes import NoteError, checkpoint_text, read_note
from blaidctl.core.sinks import Sink
from blaidctl.core.sql import Query, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.engine import Connection

    from blaidctl.core.context import Context
    from blaidctl.core.execute import Tx
    from blaidctl.core.notes import Note, Signer, Verifier
    from blaidctl.core.settings import Settings

_HEAD = Query("SELECT seq, entry_hash FROM audit_head WHERE id = 1")
_LOCK_HEAD = Query("SELECT seq FROM audit_head WHERE id = 1 $FOR_UPDATE")
_ENTRY = Query("SELECT entry_hash FROM audit_log WHERE seq = :seq")


def sign(ctx: Context, request: contract.Checkpoint, *, dry_run: bool) -> contract.Checkpoint:
    """Verify, sign and, unless this is a dry run, write to every sink; return the request with what was signed."""
    signer, known = _keys(ctx.settings)
    kept = _kept(ctx.settings)
    with ctx.database.reading(statement_timeout_s=0) as connection:
        check_schema(connection)
        newest = _newest(kept, known)
        copies = list(_copies(kept, known, connection))
        _require_kept(connection, kept, begins=request.begin)
        size, head_hash = _verified(ctx, connection, newest)
    name = sinks.file_name(size, signer.verifier.key_id)
    data = signer.note(checkpoint_text(signer.name, size, head_hash))
    if not dry_run:
        sinks.put([*copies, *((sink, name, data) for sink in kept)])
    signed = contract.Signed(
        size=size,
        head_hash=head_hash.hex(),
        origin=signer.name,
        key_id=signer.verifier.key_id.hex(),
        verifier=signer.verifier.text(),
        file=name,
        note=data.decode(),
        note_sha256=hashlib.sha256(data).hexdigest(),
        sinks=[str(sink.path) for sink in kept],
        copied=[str(sink.path / name) for sink, name, _ in copies],
        begin=request.begin,
    )
    return request.model_copy(update={"signed": signed})


def checkpoint(tx: Tx, request: contract.Checkpoint) -> contract.Checkpointed:
    """Append the entry that remembers the note. The log takes them in order: one that was overtaken is refused."""
    signed: contract.Signed = request.signed
    _LOCK_HEAD.on(tx.connection)
    last = checkpoints.last(tx.connection)
    if last is not None and signed.size <= last[0].size < last[0].seq:
        raise CheckpointOvertaken(
            f"another checkpoint, of entry {last[0].size}, was recorded meanwhile; this one, of entry {signed.size}, is"
            " not needed: no entry was written for it",
            missing=[f"an entry after {last[0].size} to sign"],
        )
    tx.target = {"origin": signed.origin, "size": signed.size}
    tx.after = signed.model_dump(mode="json", exclude={"note", "verifier", "origin"})
    return contract.Checkpointed(**signed.model_dump())


def _keys(settings: Settings) -> tuple[Signer, list[Verifier]]:
    """Return the key to sign with and the keys to check with. Raises SettingsInvalid naming all that is not set."""
    unset = [
        f"BLAIDCTL_{name.upper()} is not set"
        for name in ("checkpoint_sinks", "checkpoint_key", "checkpoint_verifiers")
        if not getattr(settings, name)
    ]
    if unset or settings.checkpoint_key is None:
        raise SettingsInvalid(
            "checkpoints are not set up",
            missing=unset,
            next_steps=["Follow runbooks/key-rotation.md: a key file, its verifier key, two sinks."],
        )
    signer, known = keys.load(settings.checkpoint_key), keys.known(settings)
    if signer.verifier not in known:
        raise SettingsInvalid(
            f"BLAIDCTL_CHECKPOINT_VERIFIERS lacks the verifier key of {settings.checkpoint_key}: nobody could check"
            " its notes",
            missing=[f"checkpoint_verifiers: {signer.verifier.text()}"],
            next_steps=["Add the verifier key that is named, and keep the older ones."],
        )
    return signer, known


def _kept(settings: Settings) -> dict[Sink, list[str]]:
    """Return the names of the notes of every sink. Raises CheckpointSinkFailed for all that cannot be read."""
    kept, failed = {}, {}
    folders = set()
    for path in settings.checkpoint_sinks:
        try:
            kept[Sink(path)] = Sink(path).names()
            folders.add((path.stat().st_dev, path.stat().st_ino))
        except OSError as error:
            failed[path] = sinks.said(error)
    if failed:
        raise sinks.sink_failed(failed, "no note was written to any sink")
    if len(folders) < len(kept):
        raise SettingsInvalid(
            "BLAIDCTL_CHECKPOINT_SINKS names one folder twice, by a link or a mount: it is no second witness",
            missing=["checkpoint_sinks: at least two different folders"],
        )
    return kept


def _opened(sink: Sink, name: str, known: Sequence[Verifier]) -> tuple[Note, bytes]:
    """Read a note of a sink and insist that a known key signed it."""
    try:
        data = sink.read(name)
        note = read_note(data)
        note.signed_by(known)
    except OSError as error:
        raise sinks.sink_failed(
            {sink.path: f"{name}: {sinks.said(error)}"}, "no note was written to any sink"
        ) from None
    except NoteError as error:
        raise _refused(f"{sink.path / name}: {error}") from None
    if note.size != sinks.size_in(name):
        raise _refused(f"{sink.path / name} speaks of entry {note.size}")
    return note, data


def _newest(kept: dict[Sink, list[str]], known: Sequence[Verifier]) -> list[tuple[Note, str]]:
    """Return the newest note of every sink that has one, smallest first."""
    found = [(_opened(sink, names[-1], known)[0], str(sink.path / names[-1])) for sink, names in kept.items() if names]
    return sorted(found, key=lambda item: item[0].size)


def _copies(
    kept: dict[Sink, list[str]], known: Sequence[Verifier], connection: Connection
) -> Iterator[tuple[Sink, str, bytes]]:
    """Yield what a sink lacks and another one has, after checking it: a sink that was away catches up."""
    for name in sorted(set().union(*kept.values())):
        lacking = [sink for sink, names in kept.items() if name not in names]
        if not lacking:
            continue
        source = next(sink for sink, names in kept.items() if name in names)
        note, data = _opened(source, name, known)
        _require_entry(connection, note, str(source.path / name))
        yield from ((sink, name, data) for sink in lacking)


def _require_entry(connection: Connection, note: Note, where: str) -> None:
    row = next(rows_of(_ENTRY.on(connection, seq=note.size)), None)
    if row is None:
        raise _refused(f"{where} speaks of entry {note.size}, which is gone")
    if bytes(row["entry_hash"]) != note.head_hash:
        raise _refused(f"entry {note.size} is not the one that {where} speaks of")


def _require_kept(connection: Connection, kept: dict[Sink, list[str]], *, begins: bool) -> None:
    """Insist that the last checkpoint of the log is still in a sink, unless the sinks are said to be new."""
    last = checkpoints.last(connection)
    if last is None or begins or any(last[0].file in names for names in kept.values()):
        return
    raise _refused(
        f"the checkpoint of entry {last[0].seq} ({last[0].file}) is in no sink",
        "Bring the notes back from a copy; if the sinks are new and the notes are kept elsewhere, pass --begin.",
    )


def _verified(ctx: Context, connection: Connection, newest: list[tuple[Note, str]]) -> tuple[int, bytes]:
    """Verify the chain from the newest note on; return its head."""
    head = next(rows_of(_HEAD.on(connection)), None)
    if head is None:
        raise _refused("the head of the log is gone")
    for note, where in newest:
        _require_entry(connection, note, where)
    size, prev = (newest[-1][0].size, newest[-1][0].head_hash) if newest else (0, GENESIS)
    progress = ctx.progress("verifying the chain", head["seq"])
    found = chain.verify_stretch(connection, size + 1, None, progress)
    if not found.entries:
        found.last_seq, found.last_hash = size, prev
    elif found.first_prev != prev:
        found.note(size + 1, "prev_hash is not the hash of the entry before")
    if (found.last_seq, found.last_hash) != (head["seq"], bytes(head["entry_hash"] or GENESIS)):
        found.note(found.last_seq, f"the head says {head['seq']}, the log ends at {found.last_seq}")
    if found.defects:
        seq, what = min(found.defects)
        raise _refused(f"the log does not verify since entry {size}: seq {seq}: {what}")
    if not found.last_seq:
        raise InvalidRequest("the log is empty: there is nothing to sign", missing=["an entry of the audit log"])
    return found.last_seq, found.last_hash


def _refused(why: str, *steps: str) -> AuditBroken:
    return AuditBroken(f"nothing was signed: {why}", missing=[why], next_steps=[*steps, *AuditBroken.next_steps])
