"""Closed lists of backtests."""

#: How an engine is told which bars to run over.
BARS_VARIABLE = "BLAIDCTL_BARS"
#: What a finished backtest says; none of them is ever missing.
METRICS = (
    "starting_capital",
    "equity",
    "gross",
    "fees",
    "net",
    "fills",
    "closed_trades",
    "wins",
    "losses",
    "win_rate",
    "profit_factor",
    "expectancy",
    "return_on_capital",
    "exposure",
    "max_drawdown",
    "max_drawdown_fraction",
)
COUNTS = frozenset({"fills", "closed_trades", "wins", "losses"})
