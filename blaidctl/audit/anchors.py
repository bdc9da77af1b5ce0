"""The log against the signed notes outside the database: the part of the truth that no right on the tables reaches.

Each note must be signed by a known key, the log must still hold the entry that it speaks of, with that hash, and what
the log remembers as checkpoints must still stand in every configured sink.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from blaidctl.audit import contract, keys
from blaidctl.core import checkpoints, notes, sinks, stream
from blaidctl.core.errors import DatabaseCorrupt, FileUnreadable, InvalidRequest
from blaidctl.core.sinks import Sink
from blaidctl.core.sql import Query, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.engine import Connection

    from blaidctl.core.notes import Note, Verifier
    from blaidctl.core.settings import Settings

_ENTRY = Query("SELECT entry_hash FROM audit_log WHERE seq = :seq")
_MADE = f"SELECT seq, canonical FROM audit_log WHERE action = '{checkpoints.ACTION}' AND outcome = 'DONE' ORDER BY seq"


@dataclass(slots=True)
class Held:
    """What is at hand against a log, and how much of it the log agrees with."""

    #: Where it stands → what was read and is signed by a known key.
    notes: dict[str, Note] = field(default_factory=dict)
    #: What is wrong with notes and sinks themselves.
    bad: list[str] = field(default_factory=list)
    #: The configured sinks that can be read, and the names of their notes.
    kept: dict[Path, frozenset[str]] = field(default_factory=dict)
    agreed: int = 0
    last: int | None = None


def read(settings: Settings, request: contract.Verify) -> Held:
    """Read the notes of the sinks and of the request. Raises FileUnreadable, or InvalidRequest without any key."""
    held = Held()
    found: dict[str, bytes] = {}
    for path in settings.checkpoint_sinks:
        try:
            names = Sink(path).names()
            held.kept[path] = frozenset(names)
            found |= {str(path / name): Sink(path).read(name) for name in names}
        except OSError as error:
            held.bad.append(f"the sink {path} cannot be read: {error.filename or path}: {sinks.said(error)}")
    for text in request.checkpoint:
        found |= _given(Path(text))
    if found:
        known = _known(settings, request)
        texts: dict[bytes, Note] = {}  # what stands in two sinks is checked once
        for where, data in found.items():
            try:
                held.notes[where] = texts.get(data) or texts.setdefault(data, _signed(data, known))
                _require_name(where, held.notes[where])
            except notes.NoteError as error:
                held.bad.append(f"{where}: {error}")
    return held


def _given(path: Path) -> dict[str, bytes]:
    try:
        if not path.is_dir():
            return {str(path): sinks.read_file(path)}
        found = {str(path / name): Sink(path).read(name) for name in Sink(path).names()}
    except OSError as error:
        raise FileUnreadable(f"the checkpoint {path} cannot be read ({sinks.said(error)})") from None
    if not found:
        raise FileUnreadable(f"the folder {path} holds no checkpoint")
    return found


def _known(settings: Settings, request: contract.Verify) -> Sequence[Verifier]:
    try:
        known = [notes.read_verifier(text) for text in request.key]
    except notes.NoteError as error:
        raise InvalidRequest(f"--key is no verifier key: {error}", missing=[f"key: {error}"]) from None
    known = known or keys.known(settings)
    if not known:
        raise InvalidRequest(
            "there are checkpoints, and no verifier key to check them with",
            missing=["key: give --key VERIFIER, or set BLAIDCTL_CHECKPOINT_VERIFIERS"],
        )
    return known


def _signed(data: bytes, known: Sequence[Verifier]) -> Note:
    note = notes.read_note(data)
    note.signed_by(known)
    return note


def _require_name(where: str, note: Note) -> None:
    """Insist that a note which is named as notes of sinks are speaks of the entry in its name."""
    named = sinks.size_in(Path(where).name)
    if named not in {-1, note.size}:
        msg = f"it speaks of entry {note.size}"
        raise notes.NoteError(msg)


def defects(connection: Connection, held: Held, last_seq: int) -> list[contract.Defect]:
    """Return where the log and the notes disagree; count what agrees."""
    found = [contract.Defect(check="checkpoint", seq=None, what=what) for what in held.bad]
    agreed: set[bytes] = set()
    for where, note in held.notes.items():
        what = _disagrees(connection, note, where, last_seq)
        if what is None:
            agreed.add(note.text)
            held.last = max(held.last or 0, note.size)
        else:
            found.append(what)
    held.agreed = len(agreed)
    found += _remembered(connection, held)
    return found


def _hash_of(connection: Connection, seq: int) -> str:
    row = next(rows_of(_ENTRY.on(connection, seq=seq)), None)
    return bytes(row["entry_hash"]).hex() if row else ""


def _disagrees(connection: Connection, note: Note, where: str, last_seq: int) -> contract.Defect | None:
    if _hash_of(connection, note.size) == note.head_hash.hex():
        return None
    if note.size > last_seq:
        what = f"the log ends at {last_seq}, and {where} speaks of entry {note.size}: it was cut off"
        return contract.Defect(check="checkpoint", seq=last_seq + 1, what=what)
    what = f"this entry, or one before it, is not the one that {where} speaks of: it was rewritten"
    return contract.Defect(check="checkpoint", seq=note.size, what=what)


def _remembered(connection: Connection, held: Held) -> Iterator[contract.Defect]:
    """Yield what is wrong with the checkpoints that the log remembers.

    Each speaks of an entry after the one before it, with the hash that it still has, and since the sinks began each
    stands in every configured sink.
    """
    made: list[checkpoints.Made] = []
    try:
        with stream.rows(connection, _MADE) as rows:
            for seq, text in rows:
                now = checkpoints.made(seq, text)
                if now.size >= seq or (made and now.size <= made[-1].size):
                    what = f"this checkpoint speaks of entry {now.size}: not between the one before it and itself"
                    yield contract.Defect(check="checkpoint", seq=seq, what=what)
                elif _hash_of(connection, now.size) != now.head_hash:
                    what = f"this checkpoint speaks of another entry {now.size} than the log has"
                    yield contract.Defect(check="checkpoint", seq=seq, what=what)
                if now.begins:
                    made.clear()
                made.append(now)
    except (stream.NotUtf8Error, DatabaseCorrupt) as error:
        yield contract.Defect(check="checkpoint", seq=None, what=str(error))
    for path, names in held.kept.items():
        lost = [each for each in made if each.file not in names]
        if lost:
            what = f"the sink {path} lacks {len(lost)} note(s) that the log remembers, first {lost[0].file}"
            yield contract.Defect(check="checkpoint", seq=lost[0].seq, what=what)
