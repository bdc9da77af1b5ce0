"""The event tables of jobs and of the reaper."""

from blaidctl.core.events import EventTable

JOB_EVENTS = EventTable(
    "job_events",
    {
        "job_id": "integer",
        "attempt": "integer",
        "event": "text",
        "reason_code": "text",
        "observed_heartbeat_at": "time",
    },
)
REAPER_RUNS = EventTable(
    "reaper_runs",
    {
        "host": "text",
        "started_at": "time",
        "duration_ms": "integer",
        "complete": "integer",
        "counts": "json",
        "not_done": "json",
    },
)
