"""The event table of backtests."""

from blaidctl.backtests.vocabulary import COUNTS, METRICS
from blaidctl.core.events import EventTable

_TEXTS = (
    "bars_sha256", "exchange", "symbol", "asset_class", "currency", "lot_method", "basis", "input_hash", "output_hash",
    "code_version",
)  # fmt: skip

BACKTEST_METRICS = EventTable(
    "backtest_metrics",
    {
        "job_id": "integer",
        "attempt": "integer",
        "bars": "integer",
        "first_bar_at": "time",
        "last_bar_at": "time",
        **dict.fromkeys(_TEXTS, "text"),
        **{name: "integer" if name in COUNTS else "text" for name in METRICS},
    },
)
