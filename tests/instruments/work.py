"""Instruments as the desk loads them: the real sample, and files made for one test."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.kill.fleet import done

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.commandline import CommandLine
    from tests.support.database import Database

ROOT = Path(__file__).parents[2]
#: Real data of LEAN's; licence and provenance stand beside it.
DATA = ROOT / "blaidctl" / "quickstart" / "data"
LEAN = ROOT / "tests" / "data" / "instruments" / "lean-traps.csv"
SAMPLE, HOURS, DATES = DATA / "instruments.csv", DATA / "sessions.csv", DATA / "session_dates.csv"
REQUIRED = (
    "symbol",
    "exchange",
    "asset_class",
    "currency",
    "session",
    "tick_size",
    "point_value",
    "lot_size",
    "min_qty",
)
#: A row that the loader takes, by column.
GOOD = {
    "symbol": "ES", "exchange": "CME", "asset_class": "future", "description": "E-mini S&P 500 Futures",
    "currency": "USD", "point_value": "50", "tick_size": "0.25", "lot_size": "1", "min_qty": "1", "min_notional": "",
    "max_qty": "", "session": "FUTURE-CME-ES", "venue_symbol": "", "price_magnifier": "1",
}  # fmt: skip


def a_session(cli: CommandLine) -> None:
    """Load the real sessions with their dates."""
    done(cli("session", "load", HOURS, "--dates", DATES))


def a_desk(cli: CommandLine) -> dict[str, Any]:
    """Load everything real; return what the load of the instruments answered."""
    a_session(cli)
    done(cli("currency", "add", "USDT", "--places", "6"))
    return done(cli("instrument", "load", SAMPLE)).json["result"]


def text(*rows: Mapping[str, str], columns: tuple[str, ...] = tuple(GOOD)) -> str:
    """Return a file of rows, each GOOD with changes."""
    made = io.StringIO()
    writer = csv.DictWriter(made, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows([GOOD | dict(row) for row in rows])
    return made.getvalue()


def file(home: Path, content: str | bytes, name: str = "instruments.csv") -> Path:
    """Write a file and return its path."""
    path = home / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def stored(database: Database) -> list[tuple[str, ...]]:
    """Return every instrument with all its values as the database shows them, in order of its key."""
    exact = "trim_scale({0})::text" if database.kind == "postgresql" else "{0}"
    amounts = ("tick_size", "point_value", "min_qty", "min_notional", "max_qty", "lot_size", "price_magnifier")
    columns = ", ".join(map(exact.format, amounts))
    texts = "exchange, symbol, asset_class, description, currency, session, venue_symbol, is_active"
    return sorted(database.sql(f"SELECT {texts}, {columns} FROM instruments"), key=lambda row: row[:3])


def counts(database: Database) -> tuple[int, int, int]:
    """Return how many instruments, instrument events and audit entries there are."""
    ((n,),), ((events,),), ((entries,),) = (
        database.sql(f"SELECT count(*) FROM {table}") for table in ("instruments", "instrument_events", "audit_log")
    )
    return n, events, entries
