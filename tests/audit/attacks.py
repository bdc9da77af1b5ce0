"""The twelve attacks on the log, by somebody who may do everything in the database, and the theory of who finds them.

The table of runbooks/suspected-tampering.md is printed from `ATTACKS`: `python -m tests.audit.attacks`.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blaidctl.core import notes, sinks
from blaidctl.core.canonical import canonical
from tests.audit.tampering import blob, tamper, unguarded
from tests.kill.fleet import done

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.audit.desk import Desk
    from tests.support.database import Database

PAGE = Path(__file__).parents[2] / "runbooks" / "suspected-tampering.md"
BLOCK = re.compile(r"(<!-- generated: attacks -->\n\n).*?(\n<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Log:
    """A log with a checkpoint in its middle: (before) … checkpoint … (after) … last."""

    desk: Desk
    database: Database
    #: An entry before the checkpoint, and one after it.
    before: int
    after: int
    #: What the checkpoint's note speaks of, and the last entry.
    size: int
    last: int


def made(desk: Desk, database: Database) -> Log:
    """Write a log: five registrations, a checkpoint, four more; each with a reason, which stands in its text only."""

    def add(name: str) -> int:
        seq: int = done(desk("user", "add", name, "--reason", f"as {name} asked")).json["audit"]["seq"]
        return seq

    first = [add(name) for name in ("ann", "ben", "cleo", "dan", "eve")]
    size = desk.checkpoint()["size"]
    later = [add(name) for name in ("fay", "gus", "hal", "ida")]
    return Log(desk, database, before=first[2], after=later[1], size=size, last=later[-1])


# ---- the hand ------------------------------------------------------------------------------------------------------


def _edit_column(log: Log) -> None:
    tamper(log.database, f"UPDATE audit_log SET actor = 'nobody@nowhere' WHERE seq = {log.before}")


def _edit_text(log: Log) -> None:
    tamper(log.database, f"UPDATE audit_log SET canonical = {_forged('canonical')} WHERE seq = {log.before}")


def _forged(text: str) -> str:
    return f"replace({text}, 'cleo asked', 'mallory asked')"


def _edit_and_rehash(log: Log) -> None:
    ((text,),) = log.database.sql("SELECT canonical FROM audit_log WHERE seq = ?", (log.before,))
    digest = hashlib.sha256(text.replace("cleo asked", "mallory asked").encode()).hexdigest()
    tamper(
        log.database,
        f"UPDATE audit_log SET canonical = {_forged('canonical')}, entry_hash = {blob(log.database, digest)}"
        f" WHERE seq = {log.before}",
    )


def _delete_middle(log: Log) -> None:
    tamper(
        log.database,
        f"DELETE FROM requests WHERE audit_seq = {log.before}",
        f"DELETE FROM audit_log WHERE seq = {log.before}",
        "DELETE FROM users WHERE id = 'cleo'",
    )


def _delete_last(log: Log) -> None:
    _cut(log, log.last - 1, rewind=False)


def _swap(log: Log) -> None:
    one, other = log.before, log.before + 1
    tamper(
        log.database,
        f"UPDATE audit_log SET seq = 1000 WHERE seq = {one}",
        f"UPDATE audit_log SET seq = {one} WHERE seq = {other}",
        f"UPDATE audit_log SET seq = {other} WHERE seq = 1000",
    )


def _truncate(log: Log) -> None:
    _cut(log, log.size - 2, rewind=False)


def _truncate_and_rewind(log: Log) -> None:
    _cut(log, log.after, rewind=True)


def _truncate_past_the_checkpoint(log: Log) -> None:
    _cut(log, log.size - 2, rewind=True)


def _cut(log: Log, keep: int, *, rewind: bool) -> None:
    """Cut the log off after `keep`, with all that the entries did."""
    gone = [text for (text,) in log.database.sql("SELECT canonical FROM audit_log WHERE seq > ?", (keep,))]
    users = [entry["what"]["target"]["user"] for entry in map(json.loads, gone) if entry["action"] == "user add"]
    named = ", ".join(f"'{user}'" for user in users)
    head = f"seq = {keep}, entry_hash = (SELECT entry_hash FROM audit_log WHERE seq = {keep})"
    tamper(
        log.database,
        f"DELETE FROM users WHERE id IN ({named})",
        f"DELETE FROM requests WHERE audit_seq > {keep}",
        f"DELETE FROM audit_log WHERE seq > {keep}",
        *([f"UPDATE audit_head SET {head}"] if rewind else []),
    )


def _rechain_all(log: Log) -> None:
    """Rewrite everything from an entry before the checkpoint on: nothing inside the database contradicts it."""
    _rechain(log, "cleo asked")


def _rechain_all_with_the_key(log: Log) -> None:
    """The same, with the private key and both sinks: the note is made anew for the new past."""
    _rechain(log, "cleo asked")
    ((head_hash,),) = log.database.sql("SELECT entry_hash FROM audit_log WHERE seq = ?", (log.size,))
    signer = notes.read_signer(log.desk.key.read_text().strip())
    for sink in log.desk.sinks:
        (note,) = sink.iterdir()
        assert note.name == sinks.file_name(log.size, signer.verifier.key_id)
        note.unlink()
        note.write_bytes(signer.note(notes.checkpoint_text(signer.name, log.size, bytes(head_hash))))


def _rechain_after_the_checkpoint(log: Log) -> None:
    _rechain(log, "gus asked")


def _rechain(log: Log, old: str) -> None:
    """Change a text, then make every hash after it anew: links, columns, what checkpoints say, and the head."""
    rows = log.database.sql("SELECT seq, canonical FROM audit_log ORDER BY seq")
    hashes: dict[int, bytes] = {0: bytes(32)}
    mark = "?" if log.database.kind == "sqlite" else "%s"
    with unguarded(log.database) as connection:
        for seq, text in rows:
            entry: dict[str, Any] = json.loads(text.replace(old, "mallory asked"))
            entry["prev_hash"] = hashes[seq - 1].hex()
            if entry["action"] == "audit checkpoint":
                entry["what"]["after"]["head_hash"] = hashes[entry["what"]["after"]["size"]].hex()
            forged = canonical(entry)
            hashes[seq] = hashlib.sha256(forged.encode()).digest()
            connection.execute(
                f"UPDATE audit_log SET prev_hash = {mark}, entry_hash = {mark}, canonical = {mark} WHERE seq = {mark}",
                (hashes[seq - 1], hashes[seq], forged, seq),
            )
        connection.execute(f"UPDATE audit_head SET entry_hash = {mark}", (hashes[max(hashes)],))


# ---- the theory ----------------------------------------------------------------------------------------------------


FOUND, NOT_FOUND = "found", "not found"


@dataclass(frozen=True)
class Attack:
    """An attack, and whether `audit verify` finds it: alone, with the sinks, with a note kept elsewhere before."""

    name: str
    hand: Callable[[Log], None]
    alone: str
    sinks: str
    elsewhere: str
    why: str


ATTACKS = (
    Attack("edit a column", _edit_column, FOUND, FOUND, FOUND, "the columns stand in the hashed text"),
    Attack("edit the text", _edit_text, FOUND, FOUND, FOUND, "its hash no longer fits"),
    Attack("edit and rehash", _edit_and_rehash, FOUND, FOUND, FOUND, "the next entry names the old hash"),
    Attack("delete one in the middle", _delete_middle, FOUND, FOUND, FOUND, "a number is missing"),
    Attack("delete the last", _delete_last, FOUND, FOUND, FOUND, "the head speaks of it"),
    Attack("swap two", _swap, FOUND, FOUND, FOUND, "the number stands in the hashed text"),
    Attack("truncate", _truncate, FOUND, FOUND, FOUND, "the head speaks of more"),
    Attack(
        "truncate and rewind the head",
        _truncate_and_rewind, NOT_FOUND, NOT_FOUND, NOT_FOUND,
        "what came after the last checkpoint has no witness",
    ),
    Attack(
        "truncate and rewind past the checkpoint",
        _truncate_past_the_checkpoint, NOT_FOUND, FOUND, FOUND,
        "the note speaks of an entry that is gone",
    ),
    Attack("re-chain all, without the key", _rechain_all, NOT_FOUND, FOUND, FOUND, "the note holds the old hash"),
    Attack(
        "re-chain all, with the key and every sink",
        _rechain_all_with_the_key, NOT_FOUND, NOT_FOUND, FOUND,
        "only a note out of reach, a copy or a print, still holds the old hash",
    ),
    Attack(
        "re-chain after the checkpoint",
        _rechain_after_the_checkpoint, NOT_FOUND, NOT_FOUND, NOT_FOUND,
        "as young as the attack: make checkpoints often",
    ),
)  # fmt: skip


def table() -> str:
    """Return the table of the runbook."""
    rows = [
        f"| {attack.name} | {attack.alone} | {attack.sinks} | {attack.elsewhere} | {attack.why} |" for attack in ATTACKS
    ]
    head = "| attack on the log | the database alone | with the sinks | with a note kept elsewhere | because |"
    return "\n".join([head, "|---|---|---|---|---|", *rows]) + "\n"


def written(page: str) -> str:
    """Return the page with the table as it is now."""
    return BLOCK.sub(lambda found: f"{found[1]}{table()}{found[2]}", page)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
