"""The event table of providers."""

from blaidctl.core.events import EventTable

PROVIDER_EVENTS = EventTable(
    "provider_events",
    {
        "provider_id": "text",
        "account_id": "text",
        "event": "text",
        "state_before": "text",
        "state_after": "text",
        "reason_code": "text",
        "detail": "text",
        "failures": "integer",
        "successes": "integer",
        "resume_from": "text",
        "rows_new": "integer",
        "metadata": "json",
        "reason": "text",
    },
)
