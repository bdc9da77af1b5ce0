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
