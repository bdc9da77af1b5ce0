"""Is this fill one of ours? From what a source says to what will be stored, or everything that speaks against it.

Nothing is guessed: an account, a bot, an instrument is the one that is named, a currency is a known one, and what held
at the time of the fill is asked of that time. What is another's is told apart from what is merely wrong.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from blaidctl.core.decimals import text_of, times
from blaidctl.core.errors import CrossAccountFill, CrossUserFill, UnlinkedFill
from blaidctl.core.types import time_text
from blaidctl.instruments.vocabulary import AssetClass
from blaidctl.ledger.facts import PAIRS, paid_elsewhere, within
from blaidctl.ledger.spool import Entry, Fee, Moved
from blaidctl.ledger.trades import times_10_8

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from blaidctl.ledger.facts import Account, Bot, Instrument
    from blaidctl.ledger.fills import AccountFee, Fill, Move
    from blaidctl.ledger.terms import Terms

#: How far a venue's clock may be ahead of ours, or behind.
TOLERANCE = timedelta(minutes=5)
#: (error code or nothing, sentence).
Problem = tuple[str, str]
_MOST_CANDIDATES = 10
_LONGEST_INSTANCE = 18


class Judge:
    """The terms of one import, and the facts that it has asked for so far."""

    def __init__(  # noqa: PLR0913 - each by its name
        self,
        terms: Terms,
        account: Account,
        now: datetime,
        *,
        known_currency: Callable[[str], bool],
        find_bot: Callable[[str], Bot | None],
        find_instruments: Callable[[str], list[Instrument]],
    ) -> None:
        """Take what is judged by; the three functions ask the database, each thing once."""
        self.terms, self.account = terms, account
        self.latest = time_text(now + TOLERANCE)
        self.bots: dict[str, Bot | None] = {}
        self.instruments: dict[tuple[str, str, str], Instrument] = {}
        self._known_currency, self._find_bot, self._find_instruments = known_currency, find_bot, find_instruments
        self._currencies: dict[str, bool] = {}
        self._named: dict[str, bool] = {}
        self._symbols: dict[tuple[object, ...], Instrument | str] = {}

    def entry(self, fill: Fill) -> Entry | list[Problem]:
        """Return the fill as it will be stored, or all that is wrong with it."""
        problems: list[Problem] = []
        at = time_text(fill.executed_at)
        if at > self.latest:
            problems.append(("", f"executed_at: {at} lies in the future"))
        self._not_this_account(fill.account, problems)
        bot = self._bot(fill.bot, problems)
        instrument = self._instrument(fill, problems)
        if fill.fee_currency is not None and not self._is_currency(fill.fee_currency):
            problems.append(("", f"fee_currency: {_unknown_currency(fill.fee_currency)}"))
        instance, named = self._instance(fill.instance, bot, at, problems)
        if bot is not None:
            problems += self.at_the_time(bot, instrument, at)
        if problems or bot is None or instrument is None:
            return problems
        quantity, price = text_of(fill.quantity), text_of(fill.price)
        fee = None if fill.fee is None else text_of(fill.fee)
        return Entry(
            bot.id, instance, *instrument.key, fill.side, quantity, price, fee,
            (fill.fee_currency or instrument.currency) if fee is not None else None, at, fill.venue_trade_id,
            fill.order_id, fill.line, fill.reverses, None if fill.reported_pnl is None else text_of(fill.reported_pnl),
            # What takes a fill back is no fill of its own.
            int(fill.reverses is None and bot.killed(at)), int(fill.exact),
            times_10_8(quantity), times_10_8(price), None if fee is None else times_10_8(fee), named,
        )  # fmt: skip

    def fee(self, found: AccountFee) -> Fee | list[Problem]:
        """Return a fee of the account as a flow, or all that is wrong with it."""
        problems: list[Problem] = []
        at = time_text(found.at)
        # A fee that has only a date stands at the end of it: today's is no fee of tomorrow.
        if at > max(self.latest, f"{self.latest[:10]}T23:59:59.000000Z"):
            problems.append(("", f"at: {at} lies in the future"))
        self._not_this_account(found.account, problems)
        bot = self._bot(None, problems)
        currency = found.currency or self.account.currency
        if not self._is_currency(currency):
            problems.append(("", f"currency: {_unknown_currency(currency)}"))
        if bot is not None:
            problems += self.at_the_time(bot, None, at)
        if problems or bot is None:
            return problems
        return Fee(found.line, bot.id, text_of(found.amount), currency, at, found.external_id, found.note)

    def move(self, line: int, found: Move) -> Moved | list[Problem]:
        """Return a change of a position, or why it is not this account's."""
        problems: list[Problem] = []
        self._not_this_account(found.account, problems)
        if problems:
            return problems
        may_be_any = found.renames or found.symbol is None or not self._is_instrument(found.symbol)
        return Moved(line, found.move_id, found.kind, found.symbol, found.day, int(may_be_any))

    def at_the_time(self, bot: Bot, instrument: Instrument | None, at: str) -> list[Problem]:
        """Return what held then and speaks against a fill: its owner, its link, its instrument."""
        problems: list[Problem] = []
        if bot.user_id != self.account.user_id:
            problems.append((
                CrossUserFill.error_code,
                f"bot {bot.id} belongs to user {bot.user_id}, account {self.account.id} to {self.account.user_id}",
            ))  # fmt: skip
        elif not bot.linked(at):
            problems += self._not_linked(bot, at)
        if instrument is not None and within(instrument.idle, at):
            problems.append(("", f"symbol: {instrument} was out of use at {at}"))
        return problems

    def _not_linked(self, bot: Bot, at: str) -> list[Problem]:
        other = bot.account_at(at)
        if other is not None:
            what = f"bot {bot.id} was linked to account {other} at {at}, not to {self.account.id}"
            return [(CrossAccountFill.error_code, what)]
        if not bot.links:
            return [(UnlinkedFill.error_code, f"bot {bot.id} never was linked to account {self.account.id}")]
        if at < bot.links[0][0]:
            if self.terms.history:
                return []
            what = f"bot {bot.id} is linked to account {self.account.id} since {bot.links[0][0]}, the fill is of {at}"
            return [(UnlinkedFill.error_code, f"{what} (--history takes what lies before the first link)")]
        return [(UnlinkedFill.error_code, f"bot {bot.id} was not linked to account {self.account.id} at {at}")]

    def _not_this_account(self, name: str | None, problems: list[Problem]) -> None:
        if name is not None and not self.account.is_named(name):
            here = f"{self.account.id} ({self.account.external_id})"
            problems.append((CrossAccountFill.error_code, f"account: {name!r} is not {here}"))

    def _bot(self, name: str | None, problems: list[Problem]) -> Bot | None:
        wanted = name or self.terms.bot
        if wanted is None:
            problems.append(("", "bot: is not named, neither here nor with --bot"))
            return None
        if self.terms.bot is not None and wanted != self.terms.bot:
            problems.append(("", f"bot: {wanted!r} is not {self.terms.bot}, which --bot names"))
            return None
        if wanted not in self.bots:
            self.bots[wanted] = self._find_bot(wanted)
        found = self.bots[wanted]
        if found is None:
            problems.append(("", f"bot: no bot {wanted!r}"))
        return found

    def _instance(self, name: str | None, bot: Bot | None, at: str, problems: list[Problem]) -> tuple[int | None, int]:
        """Return the instance, and whether it was named; else it is the only one that ran."""
        if name is None and self.terms.instance is None:
            return (bot.instance(at) if bot else None), 0
        wanted = name if name is not None else str(self.terms.instance)
        if bot is None:
            return None, 1
        number = int(wanted) if wanted.isascii() and wanted.isdecimal() and len(wanted) <= _LONGEST_INSTANCE else None
        if self.terms.instance not in {None, number}:
            problems.append(("", f"instance: {wanted!r} is not {self.terms.instance}, which --instance names"))
        started = next((since for instance, since, _ in bot.instances if instance == number), None)
        if started is None:
            problems.append(("", f"instance: bot {bot.id} has no instance {wanted!r} on account {self.account.id}"))
        elif at < self._tolerated(started):
            problems.append(("", f"instance: {wanted} was started at {started}, after the fill ({at})"))
        return number, 1

    @staticmethod
    def _tolerated(moment: str) -> str:
        from datetime import datetime as moments

        return time_text(moments.fromisoformat(moment) - TOLERANCE)

    def _is_currency(self, code: str) -> bool:
        if code not in self._currencies:
            self._currencies[code] = self._known_currency(code)
        return self._currencies[code]

    def _is_instrument(self, symbol: str) -> bool:
        if symbol not in self._named:
            self._named[symbol] = bool(self._find_instruments(symbol))
        return self._named[symbol]

    # --- the instrument -------------------------------------------------------------------------------------------

    def _instrument(self, fill: Fill, problems: list[Problem]) -> Instrument | None:
        asked = (fill.exchange, fill.symbol, fill.asset_class, fill.currency, fill.multiplier)
        found = self._symbols.get(asked)
        if found is None:
            found = self._symbols[asked] = self._found(fill)
        if isinstance(found, str):
            problems.append(("", found))
            return None
        self.instruments[found.key] = found
        return found

    def _found(self, fill: Fill) -> Instrument | str:
        """Return the one instrument that a fill can mean, or why there is none."""
        if why := paid_elsewhere(fill.symbol):
            return f"symbol: {fill.symbol} {why}, so nothing can be computed from it"
        exchange = fill.exchange or self.terms.exchange
        if self.terms.exchange is not None and not _same(exchange, self.terms.exchange):
            return f"exchange: {exchange!r} is not {self.terms.exchange}, which --exchange names"
        asset_class = self.terms.asset_class or fill.asset_class
        if fill.asset_class is not None and asset_class != fill.asset_class:
            return f"asset_class: {fill.asset_class} is not {asset_class}, which --asset-class names"
        there = self._find_instruments(fill.symbol)
        possible = [
            one for one in there
            if (exchange is None or _same(one.key[0], exchange)) and asset_class in {None, one.key[2]}
            # What settles in something is a contract, never the coin itself.
            and not (":" in fill.symbol and one.key[2] == AssetClass.CRYPTO)
        ]  # fmt: skip
        named = [one for one in possible if fill.symbol in {one.key[1], one.venue_symbol}]
        named = named or [one for one in possible if one.key[2] in PAIRS]
        said = " ".join(part for part in (exchange, fill.symbol, asset_class) if part)
        if not named:
            near = f"; there is {_listed(there)}" if there else ""
            return f"symbol: no instrument {said} is known{near} (`blaidctl instrument load`)"
        if len(named) > 1:
            return f"symbol: {said} may be {_listed(named)}: name --exchange or --asset-class"
        return _disagrees(fill, named[0]) or named[0]


def _same(one: str | None, other: str) -> bool:
    return one is not None and one.casefold() == other.casefold()


def _listed(found: list[Instrument]) -> str:
    rest = f" and {len(found) - _MOST_CANDIDATES} more" if len(found) > _MOST_CANDIDATES else ""
    return " or ".join(map(str, found[:_MOST_CANDIDATES])) + rest


def _disagrees(fill: Fill, instrument: Instrument) -> str:
    """Say where a source that tells more about its instrument does not mean this one."""
    if fill.currency is not None and fill.currency != instrument.currency:
        return f"currency: the price is in {fill.currency}, {instrument} is quoted in {instrument.currency}"
    worth = None if fill.multiplier is None else times(fill.multiplier, instrument.price_magnifier)
    if worth is not None and worth != instrument.point_value:
        return (
            f"multiplier: {text_of(fill.multiplier or worth)} a point and unit, {instrument} has"  # None is above
            f" {text_of(instrument.point_value)} (price magnifier {text_of(instrument.price_magnifier)})"
        )
    return ""


def _unknown_currency(code: str) -> str:
    return f"{code!r} is neither in ISO 4217 nor declared (`blaidctl currency add`)"
