"""The figures of a run in Prometheus' text format, for node_exporter's textfile collector.

Written as a whole or not at all: into a temporary file of the same folder, then renamed over the old one. A run that
fails writes nothing; the time of the last run that did is among the figures, and grows old.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blaidctl.core.errors import InvalidRequest, OutputLost
from blaidctl.jobs.vocabulary import LeftReason

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

#: Figures of the result → what they say.
_GAUGES = {
    "jobs_looked": "Running jobs that were silent or past their deadline when the last run looked.",
    "jobs_moved": "Of those, alive after all or ended by others.",
    "jobs_reaped": "Of those, failed with TIMEOUT by the last run.",
    "instances_looked": "Active bot instances that were silent when the last run looked.",
    "instances_moved": "Of those, alive after all or ended by others.",
    "instances_reaped": "Of those, failed with SUPERVISOR_LOST by the last run.",
    "stops_looked": "Unconfirmed stops on this host that the last run looked into.",
    "stops_confirmed": "Of those, proven and recorded.",
    "processes_killed": "Left-over processes that the last run killed on this host.",
}
_LOOKED_AT_BYTES = 4096
#: Readable by node_exporter, which runs as a user of its own.
_MODE = 0o644


def check(path: str) -> Path:
    """Return where the figures go. Raises InvalidRequest before anything is done, when they cannot go there."""
    try:
        target = Path(path).absolute()
        if not target.parent.is_dir():
            raise _invalid(f"there is no folder {target.parent}")
        if not os.access(target.parent, os.W_OK | os.X_OK):
            raise _invalid(f"the folder {target.parent} cannot be written to")
        if target.is_dir() or not target.name:
            raise _invalid(f"{target} is a folder")
        if os.path.lexists(target) and not _may_be_replaced(target):
            raise _invalid(f"{target} is a device, a link or a file that is no text; it would be lost")
    except OSError as error:  # a folder that is gone or closed, a name that is too long
        raise _invalid(f"{path}: {error.strerror}") from None
    return target


def _may_be_replaced(target: Path) -> bool:
    """Say whether a file of text stands there: the figures are renamed over it, be it /dev/null or a database."""
    if not stat.S_ISREG(target.lstat().st_mode):
        return False
    with target.open("rb") as file:
        return b"\0" not in file.read(_LOOKED_AT_BYTES)


def _invalid(why: str) -> InvalidRequest:
    return InvalidRequest(f"--textfile is invalid: {why}", missing=[f"textfile: {why}"])


def write(path: Path, run: Mapping[str, Any], finished_at: datetime, reasons: Mapping[LeftReason, int]) -> None:
    """Write the figures of a run; OutputLost when they cannot be written whole."""
    text = _text(run, finished_at, reasons)
    try:
        _replace(path, text)
    except OSError as error:
        raise OutputLost(
            f"the metrics could not be written to {path} ({error.strerror})",
            next_steps=["Free space or mend the folder; the next run writes the file again."],
        ) from error


def _text(run: Mapping[str, Any], finished_at: datetime, reasons: Mapping[LeftReason, int]) -> bytes:
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry = CollectorRegistry()
    for name, sentence in _GAUGES.items():
        Gauge(f"blaidctl_reaper_{name}", sentence, registry=registry).set(run[name])
    left = Gauge(
        "blaidctl_reaper_not_done", "What the last run found and left, by reason.", ["reason"], registry=registry
    )
    for reason in LeftReason:
        left.labels(reason=reason).set(reasons.get(reason, 0))
    for name, sentence, value in (
        ("last_run_complete", "Whether the last run left nothing.", int(run["complete"])),
        ("last_run_duration_seconds", "How long the last run took.", run["duration_ms"] / 1000),
        ("last_run_timestamp_seconds", "When the last run ended.", finished_at.timestamp()),
    ):
        Gauge(f"blaidctl_reaper_{name}", sentence, registry=registry).set(value)
    return generate_latest(registry)


def _replace(path: Path, text: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fchmod(descriptor, _MODE)
            os.fsync(descriptor)
        os.replace(temporary, path)  # noqa: PTH105 - one atomic call of the system
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108 - as above
        raise
