"""What each closing fill realized by FIFO, in the instrument's currency, before fees: for what a source reported.

A pass of its own, only for ledgers whose source reported results: the engine's loop keeps no result of a single fill.
"""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from blaidctl.ledger.rules import Instrument, Key


class _Book:
    def __init__(self, terms: Instrument, places: int) -> None:
        self._unit: Fraction = Fraction(terms.point_value) / Fraction(terms.price_magnifier) / 10 ** (2 * places)
        #: (signed size, price), all of one sign.
        self._lots: deque[tuple[int, int]] = deque()

    def result(self, size: int, price: int) -> Fraction:
        """Take in a fill of a signed size; return what it realized."""
        gained = 0
        lots = self._lots
        while size and lots and (lots[0][0] > 0) != (size > 0):
            held, paid = lots[0]
            take = min(abs(held), abs(size)) * (1 if held > 0 else -1)
            gained += take * (price - paid)
            size += take
            if take == held:
                lots.popleft()
            else:
                lots[0] = (held - take, paid)
        if size:
            lots.append((size, price))
        return gained * self._unit


def results(
    instruments: Mapping[Key, Instrument], places: int, batches: Iterable[Sequence[tuple[Any, ...]]]
) -> Iterator[tuple[tuple[Any, ...], Fraction]]:
    """Yield every row with what its fill realized, 0 where it closed nothing; those of unknown instruments are left."""
    books: dict[Key, _Book] = {}
    for batch in batches:
        for row in batch:
            key = row[3:6]
            if key not in instruments:
                continue
            book = books.get(key)
            if book is None:
                book = books[key] = _Book(instruments[key], places)
            yield row, book.result(row[7] if row[6] == "BUY" else -row[7], row[8])
