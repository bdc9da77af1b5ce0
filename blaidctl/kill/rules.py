"""Pure rules of the kill engine."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_AGE = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def since_time(text: str, now: datetime) -> datetime:
    """Read `--since`: an age (`90s`, `15m`, `2h`, `7d`) or an ISO 8601 time with a zone. ValueError otherwise."""
    age = _AGE.fullmatch(text)
    try:
        if age:
            return now - timedelta(**{_UNITS[age[2]]: int(age[1])})
        moment = datetime.fromisoformat(text)
        if moment.utcoffset() is None:
            msg = "a time without a zone: write 2026-01-31T09:30:00Z"
            raise ValueError(msg)
        return moment.astimezone(UTC)
    except OverflowError:
        msg = "it lies before the year 1 or after 9999"
        raise ValueError(msg) from None
