"""Closed lists of the doctor."""

from enum import StrEnum


class Verdict(StrEnum):
    """What a check says."""

    OK = "OK"
    #: Something is not as it should be; the exit code is 1.
    FINDING = "FINDING"
    #: Could not be looked at, or is not built: no reason to rest.
    NOT_CHECKED = "NOT_CHECKED"
    #: Good to know; neither good nor bad.
    INFO = "INFO"
