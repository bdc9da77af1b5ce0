"""The event tables of instruments and sessions."""

from blaidctl.core.events import EventTable

INSTRUMENT_EVENTS = EventTable(
    "instrument_events",
    {
        "action": "text",
        "exchange": "text",
        "symbol": "text",
        "asset_class": "text",
        "before": "json",
        "after": "json",
        "source_sha256": "text",
    },
)
SESSION_EVENTS = EventTable(
    "session_events",
    {"action": "text", "session": "text", "before": "json", "after": "json", "source_sha256": "text"},
)
