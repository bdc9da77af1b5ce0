"""The event table of accounts."""

from blaidctl.core.events import EventTable

ACCOUNT_EVENTS = EventTable(
    "broker_account_events",
    {
        "account_id": "text",
        "bot_id": "text",
        "link_id": "integer",
        "action": "text",
        "before": "json",
        "after": "json",
        "policy_sha256": "text",
        "error_code": "text",
        "message": "text",
        "reason": "text",
    },
)
