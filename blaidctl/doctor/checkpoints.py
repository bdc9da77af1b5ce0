"""Checkpoints as the doctor sees them: how old the last one is, and whether every sink holds the same notes."""

from __future__ import annotations

import stat
from datetime import timedelta
from typing import TYPE_CHECKING

from blaidctl.core import checkpoints
from blaidctl.core.notes import NoteError, read_note, read_verifier
from blaidctl.core.sinks import Sink, said
from blaidctl.doctor import rules

if TYPE_CHECKING:
    from pathlib import Path

    from blaidctl.core.context import Context
    from blaidctl.core.execute import Tx
    from blaidctl.core.settings import Settings
    from blaidctl.doctor.rules import Seen

_SET_UP = "Set up checkpoints (runbooks/key-rotation.md); until then keep `blaidctl audit export` on another machine."
_MEND = "Run `blaidctl audit checkpoint`: it mends what a sink lacks and names the rest (runbooks/key-rotation.md)."
_OTHERS = 0o077


def sinks(ctx: Context) -> Seen:
    """Look at the sinks, their newest note and the key file, as far as this user may."""
    settings = ctx.settings
    if not settings.checkpoint_sinks:
        return rules.not_checked("no sinks are set: a log that is rewritten whole is not found", _SET_UP)
    kept: dict[Path, list[str]] = {}
    problems = _of_the_key(settings.checkpoint_key)
    for path in settings.checkpoint_sinks:
        try:
            kept[path] = Sink(path).names()
        except OSError as error:
            problems.append(f"{path} cannot be read ({said(error)})")
    every = set().union(*kept.values())
    for path, names in kept.items():
        if lacking := len(every - set(names)):
            problems.append(f"{path} lacks {lacking} note(s) that another sink holds")
    problems += _of_the_newest(settings, kept)
    if problems:
        return rules.finding("; ".join(problems), _MEND)
    one = len({path.stat().st_dev for path in kept}) == 1
    where = ", ".join(map(str, kept))
    return rules.ok(f"{len(every)} note(s) in each of {where}" + ("; all on one file system" if one else ""))


def _of_the_key(path: Path | None) -> list[str]:
    """Judge the key file by its mode alone: it need not be ours to read."""
    if path is None:
        return []  # a machine that only verifies
    try:
        mode = path.stat().st_mode
    except PermissionError:
        return []  # another user's, in a folder of its own: well kept
    except OSError as error:
        return [f"the key file {path} is not there ({said(error)})"]
    loose = stat.S_IMODE(mode) & _OTHERS
    return [f"others may touch the key file {path} ({rules.mode_text(mode)})"] if loose else []


def _of_the_newest(settings: Settings, kept: dict[Path, list[str]]) -> list[str]:
    """Judge the newest note of each sink: equal, and signed by a key that we know."""
    newest = {path / names[-1]: Sink(path) for path, names in kept.items() if names}
    problems, texts = [], set()
    try:
        known = [read_verifier(text) for text in settings.checkpoint_verifiers]
    except NoteError as error:
        return [f"BLAIDCTL_CHECKPOINT_VERIFIERS: {error}"]
    for file, sink in newest.items():
        try:
            data = sink.read(file.name)
            read_note(data).signed_by(known)
            texts.add(data)
        except OSError as error:
            problems.append(f"{file} cannot be read ({said(error)})")
        except NoteError as error:
            problems.append(f"{file}: {error}")
    if len(texts) > 1 and len({file.name for file in newest}) == 1:
        problems.append("the newest notes differ")
    return problems


def _may_hold(note: Path) -> bool:
    """Say whether a note stands in its sink; where this user may not look, `sinks` says that."""
    try:
        return stat.S_ISREG(note.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def age(tx: Tx) -> Seen:
    """Look how old the last checkpoint is, against the desk's limit, and whether its note is still there."""
    settings = tx.ctx.settings
    limit_s = settings.checkpoint_max_age_s
    limit = "no limit is set (BLAIDCTL_CHECKPOINT_MAX_AGE_S)" if limit_s is None else f"the limit is {limit_s} s"
    last = checkpoints.last(tx.connection)
    if last is None:
        if settings.checkpoint_sinks or limit_s is not None:
            return rules.finding(f"none was ever made; {limit}", "Run `blaidctl audit checkpoint`.")
        return rules.not_checked(f"none was ever made; {limit}", _SET_UP)
    made, made_at = last
    old = tx.now - made_at
    shown = f"of entry {made.size}, made {made_at:%Y-%m-%d %H:%M:%S}Z, {int(old.total_seconds())} s ago; {limit}"
    if old < -checkpoints.MOST_AHEAD:
        return rules.finding(f"{shown}: it lies in the future", "Mend the clock of the host that made it.")
    if limit_s is not None and old > timedelta(seconds=limit_s):
        refused = "resurrect, account link and allocation run are refused"
        return rules.finding(f"{shown}: {refused}", "Run `blaidctl audit checkpoint`, every hour from a timer.")
    gone = [str(path) for path in settings.checkpoint_sinks if not _may_hold(path / made.file)]
    if gone:
        return rules.finding(f"{shown}; its note {made.file} is not in {', '.join(gone)}", _MEND)
    return rules.ok(shown)
