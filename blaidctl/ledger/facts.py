"""What the database says about an account, its bots and what they trade: everything that a fill is judged by.

Times are canonical texts, whose order is that of time. Facts of two moments can be compared: an import judges a whole
file before it writes, and each part looks again whether that still holds.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any

from blaidctl.instruments.vocabulary import AssetClass
from blaidctl.ledger import queries

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy.engine import Connection

#: exchange, symbol, asset class.
Key = tuple[str, str, str]
#: From, until (none: to this day).
Span = tuple[str, str | None]


def within(spans: Sequence[Span], at: str) -> bool:
    """Say whether a moment lies in one of the spans; both ends count."""
    return any(since <= at and (until is None or at <= until) for since, until in spans)


@dataclass(frozen=True)
class Account:
    """The account that is imported into."""

    id: str
    user_id: str
    broker: str
    external_id: str
    currency: str

    def is_named(self, name: str) -> bool:
        """Say whether a file means this account: by our id, or by the number that the broker gave it."""
        return name in {self.id, self.external_id}


@dataclass(frozen=True)
class Bot:
    """A bot, as far as its fills on one account are concerned."""

    id: str
    user_id: str
    #: To this account, and to others.
    links: tuple[Span, ...]
    elsewhere: tuple[tuple[str, Span], ...]
    kills: tuple[Span, ...]
    #: Those of this account or of none: id, start, end.
    instances: tuple[tuple[int, str, str | None], ...]

    def linked(self, at: str) -> bool:
        """Say whether the bot was linked to the account."""
        return within(self.links, at)

    def account_at(self, at: str) -> str | None:
        """Return the other account that the bot was linked to."""
        return next((account for account, span in self.elsewhere if within((span,), at)), None)

    def killed(self, at: str) -> bool:
        """Say whether a kill held the bot."""
        return within(self.kills, at)

    def instance(self, at: str) -> int | None:
        """Return the instance that ran, when exactly one did."""
        moments, running = self._running
        return running[bisect_right(moments, at)]

    @cached_property
    def _running(self) -> tuple[list[str], list[int | None]]:
        """Return moments, and between them the one instance that ran, so that a million fills ask quickly."""
        moments = sorted({moment for _, *span in self.instances for moment in span if moment is not None})
        answers: list[int | None] = [None]
        for moment in moments:
            there = [i for i, since, until in self.instances if since <= moment and (until is None or moment < until)]
            answers.append(there[0] if len(there) == 1 else None)
        return moments, answers


@dataclass(frozen=True)
class Instrument:
    """An instrument, as far as a fill of it must agree."""

    key: Key
    venue_symbol: str
    currency: str
    #: What a move of the price by 1 is worth a unit, times the magnifier.
    point_value: Decimal
    price_magnifier: Decimal
    #: When it was out of use.
    idle: tuple[Span, ...]

    def __str__(self) -> str:
        """Return its key, as people write it."""
        return " ".join(self.key)


def account(connection: Connection, account_id: str) -> Account | None:
    """Return an account."""
    found = queries.tuples(connection, queries.ACCOUNT, id=account_id)
    return Account(*found[0]) if found else None


def bots(connection: Connection, ids: Iterable[str], account_id: str) -> dict[str, Bot]:
    """Return the bots that there are of these."""
    wanted = sorted(set(ids))
    links, kills, instances = (
        _by_bot(queries.tuples(connection, query, bots=wanted))
        for query in (queries.LINKS, queries.KILLS, queries.INSTANCES)
    )
    found = {}
    for bot_id, user_id, killed in queries.tuples(connection, queries.BOTS, bots=wanted):
        spans = [(account, (since, until)) for account, since, until in links.get(bot_id, ())]
        found[bot_id] = Bot(
            id=bot_id,
            user_id=user_id,
            links=tuple(span for account, span in spans if account == account_id),
            elsewhere=tuple((account, span) for account, span in spans if account != account_id),
            kills=_spans(kills.get(bot_id, ()), "KILL", open_since=killed),
            instances=tuple(
                (instance, since, until)
                for instance, account, since, until in instances.get(bot_id, ())
                if account in {None, account_id}
            ),
        )
    return found


def _by_bot(rows: Sequence[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for bot_id, *rest in rows:
        found.setdefault(bot_id, []).append(tuple(rest))
    return found


def _spans(events: Iterable[Sequence[str]], opens: str, open_since: str | None) -> tuple[Span, ...]:
    """Return the spans that events open and end; `open_since`: what the state says, should its events not say it."""
    spans: list[Span] = []
    for action, at in events:
        is_open = bool(spans) and spans[-1][1] is None
        if action == opens and not is_open:
            spans.append((at, None))
        elif action != opens and is_open:
            spans[-1] = (spans[-1][0], at)
    if open_since is not None and not (spans and spans[-1][1] is None):
        spans.append((open_since, None))
    return tuple(spans)


def instruments(connection: Connection, symbol: str) -> list[Instrument]:
    """Return the instruments that a symbol may mean, on any exchange."""
    plain = bare(symbol)
    rows = queries.tuples(connection, queries.INSTRUMENTS, symbol=symbol, bare=plain)
    return list(_instruments(connection, rows))


def instruments_of(connection: Connection, keys: Iterable[Key]) -> dict[Key, Instrument]:
    """Return the instruments that there are of these."""
    rows = queries.tuples(connection, queries.INSTRUMENTS_OF, keys=[list(key) for key in sorted(keys)])
    return {found.key: found for found in _instruments(connection, rows)}


def _instruments(connection: Connection, rows: Sequence[Any]) -> Iterator[Instrument]:
    symbols = sorted({row[1] for row in rows})
    events: dict[Key, list[tuple[str, str]]] = {}
    for exchange, symbol, asset_class, action, at in queries.tuples(connection, queries.IDLE_EVENTS, symbols=symbols):
        events.setdefault((exchange, symbol, asset_class), []).append((action, at))
    for exchange, symbol, asset_class, venue_symbol, currency, point_value, magnifier, is_active in rows:
        key = (exchange, symbol, asset_class)
        idle = _spans(events.get(key, ()), "DEACTIVATED", open_since=None if is_active else "")
        yield Instrument(key, venue_symbol, currency, Decimal(point_value), Decimal(magnifier), idle)


#: What is spelled with a mark between its two currencies here and without one there; of shares, `F-B` is not `FB`.
PAIRS = frozenset({AssetClass.CRYPTO, AssetClass.CRYPTOFUTURE, AssetClass.FOREX})


def bare(symbol: str) -> str:
    """Return a symbol without the marks that one venue writes into it and another does not.

    `BTC/USDT:USDT` and `BTC-USDT` are `BTCUSDT`; a date behind the settlement (`:USDT-260327`) stays: it is another
    contract, and so is one that is paid for in another currency (`BTC/USD:BTC`).
    """
    name, _, settle = symbol.partition(":")
    if "-" in settle or not name or paid_elsewhere(symbol):
        return symbol
    return name.replace("/", "").replace("-", "") or symbol


def paid_elsewhere(symbol: str) -> str:
    """Say why price x quantity is not what a contract is worth; nothing where it is.

    `BTC/USD:BTC` is paid for in the coin whose price it follows, `BTC/USD:USDT` in a third one.
    """
    quote, _, settle = symbol.partition("/")[2].partition(":")
    currency = settle.partition("-")[0]
    if currency in {"", quote}:
        return ""
    return f"is priced in {quote} and paid in {currency}: price x quantity is not what it is worth"
