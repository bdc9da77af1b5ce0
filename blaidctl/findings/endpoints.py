"""The endpoint table, from the map of operations."""

from __future__ import annotations

from blaidctl.core.operation import the_map

COLUMNS = ["operation", "command", "route", "status", "finding"]


def rows() -> list[dict[str, str]]:
    """Return one row an operation, in the order of the map; internal ones have neither command nor route."""
    return [
        {
            "operation": operation.name,
            "command": " ".join(("blaidctl", *operation.words)) if operation.words else "",
            "route": f"{operation.verb} {operation.path}".strip(),
            "status": operation.status,
            "finding": operation.finding,
        }
        for operation in the_map().values()
    ]


def seen_by_a_person() -> list[str]:
    """Return the columns that fit a terminal: a command is its operation's name; findings, while there are any."""
    open_ones = any(operation.finding for operation in the_map().values())
    return ["operation", "route", "status", *(["finding"] if open_ones else [])]
