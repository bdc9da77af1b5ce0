"""Closed lists that the whole product shares; standard library only, so that `--help` stays cheap."""

from enum import StrEnum


class Output(StrEnum):
    """How an answer is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
