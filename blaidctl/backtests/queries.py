"""Statements of backtests."""

from blaidctl.core.sql import Query

_METRICS = (
    "m.job_id, m.attempt, m.bars_sha256, m.bars, m.first_bar_at, m.last_bar_at, m.exchange, m.symbol, m.asset_class,"
    " m.currency, m.lot_method, m.basis, m.starting_capital, m.equity, m.gross, m.fees, m.net, m.fills,"
    " m.closed_trades, m.wins, m.losses, m.win_rate, m.profit_factor, m.expectancy, m.return_on_capital, m.exposure,"
    " m.max_drawdown, m.max_drawdown_fraction, m.input_hash, m.output_hash, m.code_version, m.created_at, m.actor,"
    " m.trace_id"
)
SHOW = Query(f"""
    SELECT {_METRICS}, j.program FROM backtest_metrics m JOIN jobs j ON j.id = m.job_id WHERE m.job_id = :job_id
""")
LIST = Query("""
    SELECT job_id, symbol, currency, fills, net, profit_factor, max_drawdown, created_at
      FROM backtest_metrics ORDER BY id DESC LIMIT :limit
""")
JOB = Query("SELECT id, job_type, status, attempt, reason_code FROM jobs WHERE id = :job_id")
