"""The input hash: SHA-256 over what figures are made from, the same bytes for every engine, cursor and row order.

A tree: a leaf for the fills of each bot on each account, a leaf for each other table, and a root over the sorted names
and leaves. `changed` names the leaves that differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from blaidctl.ledger.rules import Row


class FillsHash:
    """The leaf of one bot's fills on one account, taken while they pass by."""

    def __init__(self, bot_id: str, account_id: str, *, places: int) -> None:
        """Take what the leaf is of; `places` as in the question."""
        raise NotImplementedError

    def tap(self, batches: Iterable[Sequence[Row]]) -> Iterator[Sequence[Row]]:
        """Yield the batches as they are, and take each in."""
        raise NotImplementedError

    @property
    def rows(self) -> int:
        """How many rows were taken in."""
        raise NotImplementedError

    def hexdigest(self) -> str:
        """Return the leaf: 64 lowercase hex digits."""
        raise NotImplementedError


def table_digest(name: str, columns: Sequence[str], rows: Iterable[Sequence[str | int | None]]) -> str:
    """Return the leaf of any other table, its rows in a declared order; decimals and times as canonical text."""
    raise NotImplementedError


def root(leaves: Mapping[str, str]) -> str:
    """Return the root over leaves by name, whatever their order."""
    raise NotImplementedError


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return the names of the leaves that differ, came or went, sorted."""
    raise NotImplementedError
