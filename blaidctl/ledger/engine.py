"""From fills to figures: one pass over whole numbers, in constant memory (but for open lots and a line a day)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from blaidctl.ledger.rules import Answer, OnPoints, Question, Row


def compute(question: Question, batches: Iterable[Sequence[Row]], on_points: OnPoints | None = None) -> Answer:
    """Answer a question from the fills of one bot on one account. Raises OutOfOrderError.

    `batches` are read once, in the total order (executed_at, venue_trade_id), of any size; reversals and what they
    reverse are not among them (`rules.without`). Put `hashing.FillsHash.tap` around them and one reading serves both.
    """
    raise NotImplementedError
