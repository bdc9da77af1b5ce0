"""A ledger that is whole on every side, written straight into the tables: what can be missing is there, once."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from psycopg import sql

from tests.support import ledger

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.support.commandline import CommandLine, Run
    from tests.support.database import Database

AS_OF = "2026-01-09T00:00:00Z"
#: A German stock of a dollar account: its results and the fees need a rate.
SAP = {"exchange": "XETRA", "symbol": "SAP", "asset_class": "equity"}

FILLS: list[dict[str, Any]] = [
    ledger.buy("2", "4000", "2026-01-05T15:30", venue_trade_id="F1", fee="4.2"),
    ledger.buy("10", "200", "2026-01-05T15:31", venue_trade_id="F2", **SAP, fee="1.5", fee_currency="EUR"),
    ledger.sell("1", "4010", "2026-01-06T15:30", venue_trade_id="F3", fee="2.1", reported_pnl="500"),
    ledger.sell("10", "201.5", "2026-01-07T09:00", venue_trade_id="F4", **SAP, fee="1.5", fee_currency="EUR",
                reported_pnl="15"),
    ledger.sell("1", "3990", "2026-01-08T15:30", venue_trade_id="F5", fee="2.1", reported_pnl="-500"),
]  # fmt: skip
#: 500 - 500 + 15 x 1.09 - (4.2 + 2.1 + 2.1) - 1.5 x (1.10 + 1.09)
NET, GROSS, FEES = "4.665", "16.35", "11.685"


def whole(
    database: Database,
    rows: Iterable[Mapping[str, Any]] | None = None,
    *,
    account: str = ledger.ACCOUNT,
    bot: str = ledger.BOT,
    user: str = ledger.USER,
    **of_import: Any,
) -> int:
    """Write a long-only account with capital, fills of two markets, a rate for each day and a mark for each evening."""
    ledger.desk(database, bots=(bot,), account=account, user=user, long_only=True)
    ledger.instrument(database, **SAP, point_value="1", currency="EUR", tick_size="0.01")
    ledger.flow(database, "INITIAL", "10000", at="2026-01-02", bot=bot, account=account)
    if not database.sql("SELECT 1 FROM fx_rates"):
        for day, rate in (("05", "1.1"), ("06", "1.08"), ("07", "1.09")):
            ledger.rate(database, "EUR", "USD", rate, at=f"2026-01-{day}T08:00")
        for day in ("05", "06", "07"):
            ledger.mark(database, "4005", at=f"2026-01-{day}T21:00")
        for day in ("05", "06"):
            ledger.mark(database, "201", at=f"2026-01-{day}T16:00", key=SAP)
    return ledger.fills(database, FILLS if rows is None else rows, bot=bot, account=account, **of_import)


def metrics(cli: CommandLine, *words: str, bot: str = ledger.BOT, command: str = "metrics", **how: Any) -> Run:
    """Ask for figures as of the end of the story."""
    asked = () if "--as-of" in words else ("--as-of", AS_OF)
    return cli("ledger", command, bot, *asked, *words, **how)


def figures(run: Run) -> dict[str, Any]:
    """Return the result of a run that worked."""
    assert run.code == 0, run.stderr
    found: dict[str, Any] = run.json["result"]
    return found


def incomplete(run: Run) -> list[str]:
    """Return what is missing; there is no number beside it."""
    assert (run.code, run.stdout) == (4, ""), run.stdout or run.stderr
    error = run.error
    assert error["error_code"] == "METRICS_INCOMPLETE"
    assert len(error["next_steps"]) >= 1
    missing: list[str] = error["missing_requirements"]
    return missing


def unguard(database: Database) -> None:
    """Take away triggers and foreign keys, so that anything may be damaged."""
    database.drop_triggers()
    if database.kind == "sqlite":
        return
    keys = database.sql("SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE contype = 'f'")
    with contextlib.closing(database.raw()) as connection:
        for table, name in keys:
            connection.execute(
                sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(sql.Identifier(table), sql.Identifier(name))
            )
