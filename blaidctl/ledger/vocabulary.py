"""Closed lists of the ledger."""

from enum import StrEnum


class Side(StrEnum):
    """What a fill did."""

    BUY = "BUY"
    SELL = "SELL"


class FileFormat(StrEnum):
    """Where a file of fills comes from, and so how it is laid out."""

    #: blaidctl's own columns.
    CSV = "csv"
    #: The same names, one JSON object a line.
    NDJSON = "ndjson"
    #: The SQLite database of a freqtrade bot.
    FREQTRADE = "freqtrade"
    #: The SQLite database of a Hummingbot.
    HUMMINGBOT = "hummingbot"
    #: What ccxt's fetchMyTrades gives, saved as JSON.
    CCXT = "ccxt"
    #: Account activities of Alpaca's trading API, saved as JSON.
    ALPACA = "alpaca"
    #: A Flex query of Interactive Brokers, XML.
    IBKR = "ibkr"


class FlowKind(StrEnum):
    """What a capital flow is."""

    #: The capital that a bot starts with on an account: one, before everything else.
    INITIAL = "INITIAL"
    DEPOSIT = "DEPOSIT"
    WITHDRAWAL = "WITHDRAWAL"
    #: A fee of the account that belongs to no fill; below zero, one that was given back.
    FEE = "FEE"


class LedgerEvent(StrEnum):
    """What people must hear of."""

    #: A real fill of a bot that was killed: kept, flagged, and somebody must look.
    FILL_AFTER_KILL = "FILL_AFTER_KILL"
    #: A source that named what is not its own, or contradicts the ledger.
    REFUSED = "REFUSED"
    #: A split, a transfer, an exercise: what is held changed without a fill, and no figure counts it.
    POSITION_MOVED = "POSITION_MOVED"
    #: Somebody says that one is accounted for: booked as fills, or nothing of this ledger.
    MOVE_RESOLVED = "MOVE_RESOLVED"


class Severity(StrEnum):
    """How soon somebody must look."""

    SEV1 = "SEV1"
    SEV2 = "SEV2"


class LotMethod(StrEnum):
    """Which part of a position a closing fill closes."""

    FIFO = "FIFO"
    AVERAGE = "AVERAGE"


class Basis(StrEnum):
    """What equity counts."""

    #: Results when they are realized.
    REALIZED = "REALIZED"
    #: Open positions too, at the mark of each day.
    MARKED = "MARKED"


class ProblemKind(StrEnum):
    """Why the engine gives no figures."""

    NO_STARTING_CAPITAL = "NO_STARTING_CAPITAL"
    #: A fill or flow lies before the starting capital.
    BEFORE_STARTING_CAPITAL = "BEFORE_STARTING_CAPITAL"
    NO_INSTRUMENT = "NO_INSTRUMENT"
    #: A sale without an open lot, on an account that is long only.
    NO_OPEN_LOT = "NO_OPEN_LOT"
    #: A fill whose source does not say what it cost, in an import that was not declared to be without fees.
    NO_FEE = "NO_FEE"
    NO_RATE = "NO_RATE"
    NO_MARK = "NO_MARK"


class Discrepancy(StrEnum):
    """How a statement and the ledger differ."""

    #: The statement has it, the ledger does not.
    MISSING_HERE = "MISSING_HERE"
    #: The ledger has it, the statement does not.
    MISSING_THERE = "MISSING_THERE"
    FIELD = "FIELD"
    TOTAL = "TOTAL"
    POSITION = "POSITION"
