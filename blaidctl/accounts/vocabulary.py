"""Closed lists of accounts."""

from enum import StrEnum


class Environment(StrEnum):
    """Whether the money of an account is real."""

    LIVE = "live"
    PAPER = "paper"


class AccountStatus(StrEnum):
    """Whether an account may be traded on."""

    OPEN = "OPEN"
    CLOSED = "CLOSED"


class AccountAction(StrEnum):
    """What an account event records; a refusal is an event too."""

    LINK = "LINK"
    UNLINK = "UNLINK"
    LIMITS_CHANGED = "LIMITS_CHANGED"
    REFUSED = "REFUSED"


class LinkEffect(StrEnum):
    """What an act did to a link."""

    LINKED = "LINKED"
    UNLINKED = "UNLINKED"
    CHANGED = "CHANGED"
    UNCHANGED = "UNCHANGED"


class Limit(StrEnum):
    """What every link must limit; money is in the account's currency."""

    MAX_CONTRACTS = "max_contracts"
    MAX_POSITION_VALUE = "max_position_value"
    MAX_ORDER_QTY = "max_order_qty"
    MAX_DAILY_LOSS = "max_daily_loss"
    MAX_DRAWDOWN_PCT = "max_drawdown_pct"
    MAX_ORDERS_PER_MINUTE = "max_orders_per_minute"
