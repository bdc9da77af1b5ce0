"""The files of tests/data/ledger, and what is read from them."""

from __future__ import annotations

import contextlib
import io
import json
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

from blaidctl.ledger import formats
from blaidctl.ledger.fills import Fill, Record, Refusal
from blaidctl.ledger.vocabulary import FileFormat

DATA = Path(__file__).parents[2] / "data" / "ledger"
D = Decimal
#: What the samples need beside their bytes.
ZONES = {FileFormat.IBKR: "America/New_York"}


def records(layout: FileFormat | str, source: bytes | str | Path, **options: Any) -> list[Record]:
    """Read all records of bytes, of a file, or of the database at a path."""
    layout = FileFormat(layout)
    if layout in formats.DATABASES:
        return list(formats.read(layout, source, **options))
    content = source.read_bytes() if isinstance(source, Path) else source
    content = content.encode() if isinstance(content, str) else content
    return list(formats.read(layout, io.BytesIO(content), **options))


def sample(name: str, layout: FileFormat | str, **options: Any) -> list[Record]:
    """Read a file of tests/data/ledger."""
    return records(layout, DATA / name, **options)


def fills(found: list[Record]) -> list[Fill]:
    return [record for record in found if isinstance(record, Fill)]


def reasons(found: list[Record]) -> list[str]:
    return [reason for record in found if isinstance(record, Refusal) for reason in record.reasons]


def database(folder: Path, name: str, *changes: str) -> Path:
    """Make the database that `name`.sql describes, changed by some SQL."""
    path = folder / f"{name}.sqlite"
    path.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript((DATA / f"{name}.sql").read_text(encoding="utf-8"))
        for change in changes:
            connection.execute(change)
        connection.commit()
    return path


def jsons(*values: Any) -> bytes:
    """Write a JSON array."""
    return json.dumps(values).encode()


HEADER = "venue_trade_id,executed_at,symbol,side,quantity,price,fee,fee_currency"
GOOD = {
    "venue_trade_id": "F-1", "executed_at": "2026-01-05T14:30:00Z", "symbol": "ES", "side": "BUY", "quantity": "1",
    "price": "6900.25", "fee": "2.12", "fee_currency": "USD",
}  # fmt: skip


def own_csv(*changes: dict[str, str]) -> str:
    """Write our own CSV: a row for each change to a good one."""
    rows = [{**GOOD, **change} for change in changes]
    names = list(dict.fromkeys([*GOOD, *(name for row in rows for name in row)]))
    return "".join(",".join(cells) + "\n" for cells in [names, *([row.get(n, "") for n in names] for row in rows)])


CCXT = {
    "id": "1", "timestamp": 1710327551703, "symbol": "BTC/USDT", "side": "buy", "price": "73245.9", "amount": "0.00132",
    "fee": {"cost": "0.09", "currency": "USDT"},
}  # fmt: skip
ALPACA = {
    "activity_type": "FILL", "id": "2026::1", "transaction_time": "2026-01-05T14:30:00Z", "symbol": "SPY",
    "side": "buy", "qty": "1", "price": "475.12", "order_id": "o-1",
}  # fmt: skip
TRADE = {
    "accountId": "U1", "currency": "USD", "assetCategory": "STK", "symbol": "AAPL", "tradeID": "7",
    "dateTime": "20260105;093000", "quantity": "10", "tradePrice": "190.5", "ibCommission": "-1", "buySell": "BUY",
    "ibCommissionCurrency": "USD", "levelOfDetail": "EXECUTION",
}  # fmt: skip


def flex(*elements: str) -> str:
    """Write a Flex query around elements."""
    return (
        '<FlexQueryResponse type="AF"><FlexStatements><FlexStatement accountId="U1"><Trades>\n'
        + "\n".join(elements)
        + "\n</Trades></FlexStatement></FlexStatements></FlexQueryResponse>"
    )


def trade(**changes: str) -> str:
    """Write one Trade: a good one with changes; an attribute changed to None is left out."""
    given = {name: value for name, value in {**TRADE, **changes}.items() if value is not None}
    return f"<Trade {' '.join(f'{name}={json.dumps(value)}' for name, value in given.items())} />"
