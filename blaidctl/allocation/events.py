"""The event tables of allocation."""

from blaidctl.core.events import EventTable

ALLOCATION_RUNS = EventTable(
    "allocation_runs",
    {
        "as_of": "time",
        "capital": "decimal",
        "currency": "text",
        "policy": "json",
        "policy_sha256": "text",
        "conventions": "json",
        "source_tables": "json",
        "versions": "json",
        "excluded": "json",
        "input_hash": "text",
        "output_hash": "text",
        "code_version": "text",
        "remainder": "decimal",
    },
)
ALLOCATION_LINES = EventTable(
    "allocation_lines",
    {
        "run_id": "integer",
        "bot_id": "text",
        "account_id": "text",
        "weight": "text",
        "amount": "decimal",
        "reason": "text",
        "metrics": "json",
        "input_hash": "text",
    },
)
