"""The figures of a run in Prometheus' text format, for node_exporter's textfile collector.

A run that fails writes nothing; the time of the last run that did is among the figures, and grows old.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blaidctl.core import outfile
from blaidctl.core.errors import OutputLost
from blaidctl.jobs.vocabulary import LeftReason

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

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


def write(path: Path, run: Mapping[str, Any], finished_at: datetime, reasons: Mapping[LeftReason, int]) -> None:
    """Write the figures of a run; OutputLost when they cannot be written whole."""
    text = _text(run, finished_at, reasons)
    try:
        outfile.replace(path, text)
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
