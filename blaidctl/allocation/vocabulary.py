"""Closed lists of allocation."""

from enum import StrEnum


class Method(StrEnum):
    """By what a policy weighs the bots."""

    EQUAL = "EQUAL"
    INVERSE_DRAWDOWN = "INVERSE_DRAWDOWN"
    PROFIT_FACTOR = "PROFIT_FACTOR"
    FRACTIONAL_KELLY = "FRACTIONAL_KELLY"


class Undefined(StrEnum):
    """What a policy says of a bot whose metric is undefined (a profit factor when nothing was lost, say)."""

    #: The bot gets nothing, and its line says why.
    NOTHING = "NOTHING"
    #: The whole run is refused.
    REFUSE = "REFUSE"


class Shipped(StrEnum):
    """The policies that ship, by name; every other policy is a file."""

    EQUAL = "equal"
    INVERSE_DRAWDOWN = "inverse-drawdown"
    PROFIT_FACTOR = "profit-factor"
    FRACTIONAL_KELLY = "fractional-kelly"


class Proof(StrEnum):
    """What an audit of a run found."""

    PROVEN = "PROVEN"
    DIFFERS = "DIFFERS"
