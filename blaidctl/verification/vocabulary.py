"""Closed lists of the verifications."""

from enum import StrEnum


class Check(StrEnum):
    """What is shown."""

    PROVIDER_FAILURE = "provider-failure"
    BACKTEST_END = "backtest-end"
    ACCOUNT_ISOLATION = "account-isolation"
    PNL_EQUALITY = "pnl-equality"


class Engine(StrEnum):
    """Where it is shown."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


class Outcome(StrEnum):
    """How it ended. NOT_RUN is no evidence."""

    PASS = "PASS"  # noqa: S105 - no password
    FAIL = "FAIL"
    NOT_RUN = "NOT_RUN"


CLAIMS = {
    Check.PROVIDER_FAILURE: (
        "A provider that fails is DEGRADED or BLOCKED, and no trade and no PnL comes of it; afterwards a pull goes on"
        " where the last whole one ended."
    ),
    Check.BACKTEST_END: "A backtest ends SUCCEEDED with every metric, or FAILED with a reason.",
    Check.ACCOUNT_ISOLATION: "No trade of one account reaches another.",
    Check.PNL_EQUALITY: "The PnL of a bot's instance equals the backend's, to the last digit.",
}
