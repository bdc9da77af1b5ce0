"""Closed lists of the kill engine."""

from enum import StrEnum


class Action(StrEnum):
    """What a kill event did."""

    KILL = "KILL"
    RESURRECT = "RESURRECT"


class Effect(StrEnum):
    """Whether the act changed the bot or found it so."""

    APPLIED = "APPLIED"
    ALREADY_IN_STATE = "ALREADY_IN_STATE"


class KillReason(StrEnum):
    """Why a bot is killed (after MiFID II RTS 6 articles 12 and 15, SEC rule 15c3-5, FIA 2015 section 1.11)."""

    RUNAWAY_ORDERS = "RUNAWAY_ORDERS"
    LOSS_LIMIT = "LOSS_LIMIT"
    DRAWDOWN_LIMIT = "DRAWDOWN_LIMIT"
    POSITION_LIMIT = "POSITION_LIMIT"
    BAD_MARKET_DATA = "BAD_MARKET_DATA"
    MARKET_DISORDER = "MARKET_DISORDER"
    BROKER_OUTAGE = "BROKER_OUTAGE"
    STRATEGY_FAULT = "STRATEGY_FAULT"
    INFRASTRUCTURE = "INFRASTRUCTURE"
    COMPLIANCE = "COMPLIANCE"
    SECURITY = "SECURITY"
    MAINTENANCE = "MAINTENANCE"
    DRILL = "DRILL"
    MANUAL = "MANUAL"


class ResurrectReason(StrEnum):
    """Why a killed bot may trade again."""

    CAUSE_FIXED = "CAUSE_FIXED"
    FALSE_ALARM = "FALSE_ALARM"
    LIMITS_REVIEWED = "LIMITS_REVIEWED"
    MAINTENANCE_DONE = "MAINTENANCE_DONE"
    DRILL_DONE = "DRILL_DONE"
