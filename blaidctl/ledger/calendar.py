"""On which UTC days an instrument needs a mark: those in which its market trades at some moment.

A session's hours are local; a UTC day may hold the end of one local day and the start of the next.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

from blaidctl.instruments.rules import DAY_END, Session, stretches
from blaidctl.instruments.vocabulary import MarketState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from blaidctl.ledger.rules import Key

_DAY = timedelta(days=1)


@dataclass
class Calendar:
    """Says of an instrument and a day whether its market trades; remembers what it said."""

    sessions_of: Mapping[Key, str]
    sessions: Mapping[str, Session]
    #: (instrument, day) → whether it trades: what the figures depend on besides the marks.
    said: dict[tuple[Key, str], bool] = field(default_factory=dict)
    _trades: dict[tuple[str, str], bool] = field(default_factory=dict)

    def trades_on(self, key: Key, day: str) -> bool:
        """Answer as `Question.trades_on` asks."""
        if (key, day) not in self.said:
            name = self.sessions_of[key]
            if (name, day) not in self._trades:
                self._trades[name, day] = opens_on(self.sessions[name], date.fromisoformat(day))
            self.said[key, day] = self._trades[name, day]
        return self.said[key, day]


def opens_on(session: Session, day: date) -> bool:
    """Say whether a session's market is open at some moment of a UTC day."""
    start = datetime.combine(day, time(), UTC)
    return any(
        _moment(session, local, s.opens) < start + _DAY and start < _moment(session, local, s.closes)
        for local in (day - _DAY, day, day + _DAY)
        for s in stretches(session, local)
        if s.state is MarketState.MARKET
    )


def _moment(session: Session, day: date, clock: str) -> datetime:
    if clock == DAY_END:
        day, clock = day + _DAY, "00:00:00"
    return datetime.combine(day, time.fromisoformat(clock), session.zone).astimezone(UTC)
