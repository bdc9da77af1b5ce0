"""The event tables of the ledger. Fills are bound to the chain through the digest in their import's row."""

from blaidctl.core.events import EventTable

LEDGER_IMPORTS = EventTable(
    "ledger_imports",
    {
        "account_id": "text",
        "format": "text",
        "source_name": "text",
        "file_sha256": "text",
        "part": "integer",
        "parts": "integer",
        "rows_read": "integer",
        "rows_new": "integer",
        "rows_known": "integer",
        "rows_refused": "integer",
        "exact": "integer",
        "sequence": "integer",
        "provider_id": "text",
        "no_fee": "integer",
        "timezone": "text",
        "first_executed_at": "time",
        "last_executed_at": "time",
        "after_kill": "integer",
        "fills_sha256": "text",
    },
)
LEDGER_EVENTS = EventTable(
    "ledger_events",
    {
        "event": "text",
        "severity": "text",
        "account_id": "text",
        "bot_id": "text",
        "import_id": "integer",
        "error_code": "text",
        "message": "text",
        "metadata": "json",
    },
)
CAPITAL_FLOWS = EventTable(
    "capital_flows",
    {
        "bot_id": "text",
        "account_id": "text",
        "kind": "text",
        "amount": "decimal",
        "currency": "text",
        "at": "time",
        "note": "text",
        "external_id": "text",
        "replaces_id": "integer",
    },
)
FX_RATES = EventTable("fx_rates", {"base": "text", "quote": "text", "at": "time", "rate": "decimal", "source": "text"})
MARKS = EventTable(
    "marks",
    {
        "exchange": "text",
        "symbol": "text",
        "asset_class": "text",
        "at": "time",
        "price": "decimal",
        "source": "text",
    },
)
