"""What a parser gives: fills, fees of an account, refusals and what is none of these. Nothing else leaves `formats`.

Values as the file states them, exact and checked one by one; None where it does not say. Whether they belong together
(the account, the bot, the instrument, a time in the future) is asked by the importer, who has the database.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

    from blaidctl.ledger.vocabulary import Side


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution, as a file tells it."""

    #: Of the file, from 1; where a file has no lines, the ordinal of the record.
    line: int
    #: What the file calls account, bot and instance, if it names them.
    account: str | None
    bot: str | None
    instance: str | None
    exchange: str | None
    symbol: str
    #: As the file says it, in our words (`crypto`, `future`, …); None: whatever the symbol is under.
    asset_class: str | None
    side: Side
    #: Above zero: contracts or units of the instrument, as the venue counts them.
    quantity: Decimal
    #: Not zero; below zero is a price that futures and spreads had.
    price: Decimal
    #: What was paid (a rebate is below zero); None where the source does not say. Never 0 for want of a number.
    fee: Decimal | None
    #: Stands with every fee, and only with one.
    fee_currency: str | None
    #: Aware, UTC.
    executed_at: datetime
    venue_trade_id: str
    order_id: str | None
    #: The venue_trade_id that this row takes back; the row repeats it, on the other side, the fee negated.
    reverses: str | None
    #: What the source believes that it realized, to be compared with what the ledger computes.
    reported_pnl: Decimal | None
    #: Of the price.
    currency: str | None
    #: False: the source held a number as a double, or cut or computed it: it may not be what the venue said.
    exact: bool
    #: What a move of the price by 1 is worth a unit, where the source says it: 1 for amounts of a coin, 50 for ES.
    multiplier: Decimal | None = None


@dataclass(frozen=True, slots=True)
class AccountFee:
    """A fee of the account that belongs to no fill."""

    line: int
    account: str | None
    #: What was paid; below zero: given back.
    amount: Decimal
    currency: str | None
    at: datetime
    external_id: str
    note: str | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record that should be a fill and is none, and everything that is wrong with it."""

    line: int
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Move:
    """What changes a position though nothing was executed: a split, a merger, a transfer, an exercise."""

    #: What the source calls it.
    kind: str
    #: Kind, the source's own id, and a digest of what is said: another word under a known id is another move.
    move_id: str
    account: str | None
    #: None: the source does not say which; then it may be any.
    symbol: str | None
    #: The day, YYYY-MM-DD; None: the source does not say.
    day: str | None
    #: Whether what is held may be something else afterwards (a merger, a new name): then the symbol narrows nothing.
    renames: bool


@dataclass(frozen=True, slots=True)
class Skipped:
    """A record that is none of a fill by its own word: an order that did not fill, a dividend, a blank line."""

    line: int
    why: str
    #: It changes what is held all the same: the ledger's position is no longer the broker's.
    move: Move | None = None


Record = Fill | AccountFee | Refusal | Skipped
