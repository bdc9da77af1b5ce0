"""The input hash: SHA-256 over what figures are made from, whatever engine, cursor or order of rows in files.

A tree: a leaf for the fills of each bot on each account, a leaf for each other table, and a root over the sorted names
and leaves. `changed` names the leaves that differ.

The fills of a leaf are hashed column by column in blocks of BLOCK_ROWS rows (small enough to stay in a cache), whole
numbers as big-endian int64 x 10^8: a columnar block costs a fraction of a record a row. What says nothing of the trade
itself (the row's id, which import it came with) is left out, so that importing the same fills in another order or in
other parts gives the same leaf.
"""

from __future__ import annotations

import hashlib
import sys
from array import array
from typing import TYPE_CHECKING, Any

from blaidctl.ledger.rules import EXACT_PLACES, FAST_PLACES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from blaidctl.ledger.rules import Row

#: Part of every leaf and root: figures of another version are other figures.
VERSION = "blaidctl input 1"
BLOCK_ROWS = 512
#: What of a row is hashed, and how.
HASHED = (
    "executed_at:text", "venue_trade_id:text", "side:text", "exchange:same", "symbol:same", "asset_class:same",
    "fee_currency:same", "quantity:number", "price:number", "fee:number",
)  # fmt: skip
_TO_FAST = 10 ** (EXACT_PLACES - FAST_PLACES)
#: How a column of a block is written: as it is, as one value for all rows, with a mask of what is not there; numbers
#: that int64 cannot hold as text, texts that hold the separator with their lengths.
_PLAIN, _ONE_VALUE, _WITH_NULLS, _WIDE, _LENGTHS = b"p", b"1", b"n", b"w", b"l"
_SEPARATOR = "\x1f"


class FillsHash:
    """The leaf of one bot's fills on one account, taken while they pass by."""

    def __init__(self, bot_id: str, account_id: str, *, places: int = FAST_PLACES) -> None:
        """Take what the leaf is of; `places` as in the question. The digest is the same for both roads."""
        self.rows = 0
        self._places = places
        self._waiting: list[Row] = []
        self._hash = hashlib.sha256(_texts([VERSION, "fills", *HASHED, bot_id, account_id]))

    def tap(self, batches: Iterable[Sequence[Row]]) -> Iterator[Sequence[Row]]:
        """Yield the batches as they are, and take each in."""
        for batch in batches:
            self.take(batch)
            yield batch

    def take(self, batch: Sequence[Row]) -> None:
        """Take in rows; where a batch ends means nothing."""
        self.rows += len(batch)
        waiting = self._waiting
        waiting += batch
        done = 0
        while len(waiting) - done >= BLOCK_ROWS:
            self._block(waiting[done : done + BLOCK_ROWS])
            done += BLOCK_ROWS
        if done:
            del waiting[:done]

    def hexdigest(self) -> str:
        """Return the leaf: 64 lowercase hex digits. No row is taken in after this."""
        if self._waiting:
            self._block(self._waiting)
            self._waiting = []
        return self._hash.hexdigest()

    def _block(self, rows: Sequence[Row]) -> None:
        at, trade_id, _, exchange, symbol, asset_class, side, quantity, price, fee, currency, _ = zip(
            *rows, strict=True
        )
        self._hash.update(b"".join((
            len(rows).to_bytes(4), _text(at), _text(trade_id), _text(side), _same(exchange), _same(symbol),
            _same(asset_class), _same(currency), self._numbers(quantity), self._numbers(price), self._numbers(fee),
        )))  # fmt: skip

    def _numbers(self, column: Sequence[int | None]) -> bytes:
        try:
            return self._whole(column)  # type: ignore[arg-type] # what is None is told by the TypeError
        except TypeError:
            return _mask(column) + self._whole([value or 0 for value in column])

    def _whole(self, column: Sequence[int]) -> bytes:
        """Write numbers as int64 x 10^8 where all of them fit, else as text x 10^18."""
        if self._places != FAST_PLACES:
            if any(value % _TO_FAST for value in column):
                return _wide(column)
            column = [value // _TO_FAST for value in column]
        try:
            return _PLAIN + _big_endian(array("q", column))
        except OverflowError:
            return _wide([value * _TO_FAST for value in column])


def table_digest(name: str, columns: Sequence[str], rows: Iterable[Sequence[str | int | None]]) -> str:
    """Return the leaf of any other table, its rows in a declared order; decimals and times as canonical text."""
    leaf = hashlib.sha256(_texts([VERSION, name, *columns]))
    for row in rows:
        cells = ["" if cell is None else str(cell) for cell in row]
        leaf.update(_kinds(row) + _texts(cells))
    return leaf.hexdigest()


def root(leaves: Mapping[str, str]) -> str:
    """Return the root over leaves by name, whatever their order."""
    pairs = [part for name in sorted(leaves) for part in (name, leaves[name])]
    return hashlib.sha256(_texts([VERSION, "root", *pairs])).hexdigest()


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return the names of the leaves that differ, came or went, sorted."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def _kinds(row: Sequence[str | int | None]) -> bytes:
    """Tell `1` from `"1"` and nothing from the empty text."""
    return bytes(b"nit"[0 if cell is None else 1 if isinstance(cell, int) else 2] for cell in row)


def _big_endian(numbers: array[Any]) -> bytes:
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers.tobytes()


def _wide(column: Sequence[int]) -> bytes:
    return _WIDE + _text([str(value) for value in column])


def _mask(column: Sequence[Any]) -> bytes:
    return _WITH_NULLS + bytes(value is None for value in column)


def _same(column: Sequence[str | None]) -> bytes:
    """Write a column whose values are mostly the same, or are not there."""
    first = column[0]
    if column.count(first) == len(column):
        return _mask([None]) if first is None else _ONE_VALUE + _texts([first])
    if None in column:
        return _mask(column) + _text([value or "" for value in column])
    return _text(column)  # type: ignore[arg-type] # none is None


def _text(column: Sequence[str]) -> bytes:
    """Write a column of texts with a separator, or with their lengths where one of them holds it."""
    joined = _SEPARATOR.join(column)
    if joined.count(_SEPARATOR) != len(column) - 1:
        return _LENGTHS + _texts(column)
    content = joined.encode()
    return _PLAIN + len(content).to_bytes(4) + content


def _texts(column: Sequence[str]) -> bytes:
    """Write texts: how many, the length of each in characters, how many bytes, and all of them in UTF-8."""
    lengths, content = _big_endian(array("I", map(len, column))), "".join(column).encode()
    return len(column).to_bytes(4) + lengths + len(content).to_bytes(4) + content
