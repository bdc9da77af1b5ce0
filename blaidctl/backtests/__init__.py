"""Backtests: any engine as a supervised job, judged by the ledger's own arithmetic."""
