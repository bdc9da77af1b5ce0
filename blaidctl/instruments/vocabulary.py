"""Closed lists of instruments and sessions."""

from enum import StrEnum


class AssetClass(StrEnum):
    """What kind of thing is traded; LEAN's own words, in lower case."""

    CFD = "cfd"
    COMMODITY = "commodity"
    CRYPTO = "crypto"
    CRYPTOFUTURE = "cryptofuture"
    EQUITY = "equity"
    FOREX = "forex"
    FUTURE = "future"
    FUTUREOPTION = "futureoption"
    INDEX = "index"
    INDEXOPTION = "indexoption"
    OPTION = "option"


class InstrumentAction(StrEnum):
    """What happened to an instrument."""

    LOADED = "LOADED"
    CHANGED = "CHANGED"
    DEACTIVATED = "DEACTIVATED"
    REACTIVATED = "REACTIVATED"


class Outcome(StrEnum):
    """What a load did with one row of its file."""

    NEW = "NEW"
    CHANGED = "CHANGED"
    REACTIVATED = "REACTIVATED"
    UNCHANGED = "UNCHANGED"
    REFUSED = "REFUSED"


class FileFormat(StrEnum):
    """How a file of instruments is laid out."""

    #: A header with blaidctl's own column names.
    OWN = "own"
    #: LEAN's symbol-properties-database.csv.
    LEAN = "lean"


class MarketState(StrEnum):
    """What a session does at one moment; it trades in all states but CLOSED."""

    CLOSED = "CLOSED"
    PREMARKET = "PREMARKET"
    MARKET = "MARKET"
    POSTMARKET = "POSTMARKET"


class DateKind(StrEnum):
    """How a date differs from its weekday."""

    HOLIDAY = "holiday"
    EARLY_CLOSE = "early_close"
    LATE_OPEN = "late_open"
