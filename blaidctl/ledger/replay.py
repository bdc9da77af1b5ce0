"""Replay of the ledger: are the fills of each import those that were hashed into its row?

The rows of `ledger_imports` are event rows: the chain covers them. Each carries the digest of its fills, taken again
here from what the database holds; so a fill that was edited, added or taken away names its import. Whatever CHECKs
were switched off, the whole numbers that are computed with are compared with the decimals that they stand for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blaidctl.core import ddl, stream
from blaidctl.ledger import trades
from blaidctl.ledger.queries import spelled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection

#: Fills that are hashed at once.
_BATCH = 1_000
_MOST_NAMED = 100
_DECIMALS = ("quantity", "price", "fee", "reported_pnl")
_IMPORTS = "SELECT id, part, parts, rows_new, after_kill, fills_sha256, file_sha256 FROM ledger_imports ORDER BY id"
_OF_TWO = """
    SELECT t.id, t.bot_id, t.account_id FROM trades t
      LEFT JOIN bots b ON b.id = t.bot_id LEFT JOIN broker_accounts a ON a.id = t.account_id
     WHERE (b.user_id = a.user_id) IS NOT TRUE ORDER BY t.id
"""


def replay(connection: Connection) -> Iterator[tuple[int | None, str]]:
    """Yield (None, sentence) for every import whose fills are not what was hashed, and every fill without one."""
    kind = connection.dialect.name
    with stream.rows(connection, _IMPORTS) as imports, stream.rows(connection, _fills(kind)) as fills:
        fill = next(fills, None)
        for row in imports:
            while fill is not None and fill[0] < row[0]:
                yield None, _stray(fill)
                fill = next(fills, None)
            found = _Import()
            while fill is not None and fill[0] == row[0]:
                yield from found.take(fill)
                fill = next(fills, None)
            yield from ((None, f"import {row[0]}: {what}") for what in found.differs_from(row))
        for rest in (fill, *fills) if fill is not None else ():
            yield None, _stray(rest)
    with stream.rows(connection, _OF_TWO) as rows:
        for trade_id, bot_id, account_id in rows:
            yield None, f"trade {trade_id}: bot {bot_id} and account {account_id} do not belong to one user"


def _fills(kind: str) -> str:
    """Return the statement that gives import, id, whether the numbers agree, and what is hashed, by id."""
    same = "IS" if kind == "sqlite" else "IS NOT DISTINCT FROM"
    agrees = " AND ".join(
        f"(t.{name}_8 {same} ({ddl.times_10_8(f't.{name}', kind)}))" for name in ("quantity", "price", "fee")
    )
    columns = ", ".join(map(_column, trades.DIGESTED))
    return spelled(
        f"SELECT t.import_id, t.id, {agrees}, {columns} FROM trades t LEFT JOIN trades o ON o.id = t.reverses_id"
        " ORDER BY t.import_id, t.id",
        kind,
    )


def _column(name: str) -> str:
    if name == "reverses":
        return "o.venue_trade_id"
    if name == "executed_at":
        return "{t:t.executed_at}"
    return f"{{d:t.{name}}}" if name in _DECIMALS else f"t.{name}"


def _stray(fill: Any) -> str:
    return f"trade {fill[1]} is of import {fill[0]}, which is not there"


class _Import:
    """One import while its fills pass by."""

    def __init__(self) -> None:
        self._hashing = trades.Hashing()
        self._batch: list[Any] = []
        self._late = 0
        self._broken = 0

    def take(self, fill: Any) -> Iterator[tuple[None, str]]:
        """Take the next fill; yield what is wrong with it alone."""
        _, trade_id, agrees, *hashed = fill
        self._late += hashed[_AFTER_KILL] == 1
        if not agrees:
            self._broken += 1
            if self._broken <= _MOST_NAMED:
                yield None, f"trade {trade_id}: quantity_8, price_8 or fee_8 is not the number that it stands for"
        self._batch.append(hashed)
        if len(self._batch) >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        self._hashing.add(self._batch)
        self._batch = []

    def differs_from(self, row: Any) -> Iterator[str]:
        """Yield what the import's row says and its fills do not."""
        _, part, parts, rows_new, after_kill, fills_sha256, _ = row
        self._flush()
        if self._hashing.count != rows_new:
            yield f"part {part} of {parts} has {self._hashing.count} fill(s), {rows_new} were written"
        elif self._hashing.hexdigest() != fills_sha256:
            yield f"part {part} of {parts}: its fills differ from what was hashed"
        if self._late != after_kill:
            yield f"part {part} of {parts} has {self._late} fill(s) after a kill, {after_kill} were written"


_AFTER_KILL = trades.DIGESTED.index("after_kill")
