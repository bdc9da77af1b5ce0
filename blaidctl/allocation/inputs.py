"""Everything that a run is made from: which bots, their figures, kills and rates; as it stands, or as it stood.

`Pinned` says what was known: a place in the audit log for the ledger, and one for the kills (read a moment later, under
the lock of the bots). With the same `Pinned` the same inputs come back, whatever was written since.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from blaidctl.allocation import queries
from blaidctl.allocation.rules import Record
from blaidctl.core import errors
from blaidctl.core.context import silent
from blaidctl.core.types import parse_time, time_text
from blaidctl.instruments import currencies
from blaidctl.instruments.queries import FIND_CURRENCY
from blaidctl.ledger import metrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    from blaidctl.allocation.policy import Document
    from blaidctl.core.execute import Tx
    from blaidctl.core.sql import Row

NO_FILLS = "no fills up to as_of"
#: Lines of one refusal that are listed; a bot's own list is bounded already.
_MOST_LINES = 2_000


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for, besides the bots."""

    capital: Decimal
    currency: str
    #: Of the currency's minor unit.
    places: int
    as_of: datetime
    document: Document
    excluded: tuple[str, ...]
    #: Bot → the account whose figures count.
    accounts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Pinned:
    """What was known when the run was made."""

    ledger: int
    kills: int
    #: Bots that their row says are killed and no event does: bot → since when.
    unexplained: Mapping[str, str] = field(default_factory=dict)

    def stored(self, asked: Asked) -> dict[str, Any]:
        """Return the `versions` of a run."""
        return {
            "accounts": dict(asked.accounts),
            "kills": self.kills,
            "ledger": self.ledger,
            "unexplained_kills": dict(self.unexplained),
        }

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Pinned:
        """Read it back."""
        return cls(int(stored["ledger"]), int(stored["kills"]), dict(stored["unexplained_kills"]))


@dataclass(frozen=True, slots=True)
class Rate:
    """The rate from the capital's currency into an account's, as recorded."""

    base: str
    quote: str
    at: str
    rate: Decimal


@dataclass(frozen=True, slots=True)
class Bot:
    """One bot: its figures on its account, or why nobody looked at them."""

    bot_id: str
    barred: str | None = None
    #: Barred by a kill, and not for want of fills.
    killed: bool = False
    account_id: str | None = None
    currency: str | None = None
    record: Record | None = None
    #: None where the account is in the capital's currency.
    rate: Rate | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    input_hash: str | None = None
    source_tables: Mapping[str, int] = field(default_factory=dict)
    conventions: Mapping[str, str] = field(default_factory=dict)


# ---- what was asked for ----------------------------------------------------------------------------------------------


def minor_places(tx: Tx, code: str) -> int:
    """Return the places of a currency's minor unit: ISO 4217, or as declared. Raises InvalidRequest."""
    if code in currencies.standard():
        import iso4217

        places = iso4217.Currency(code).exponent
        if places is None:
            raise errors.InvalidRequest(
                f"{code} has no minor unit, so an amount of it cannot be divided to the last one",
                missing=["currency: one with a minor unit"],
            )
        return int(places)
    declared = tx.first(FIND_CURRENCY, code=code)
    if declared is None:
        raise errors.InvalidRequest(
            f"{code} is not a known currency",
            missing=["currency: a code of ISO 4217, or one that was declared"],
            next_steps=[f"If it is one all the same, declare it: `blaidctl currency add {code} --places N`."],
        )
    return int(declared["places"])


# ---- kills -----------------------------------------------------------------------------------------------------------


def kills(tx: Tx, ids: Sequence[str], as_of: datetime, pinned: Pinned) -> dict[str, str]:
    """Return the bots that get nothing because a kill holds them now, or held them at as_of: bot → why."""
    now: dict[str, Row] = {}
    then: dict[str, Row] = {}
    for row in tx.fetch(queries.KILLS, ids=list(ids), version=pinned.kills):
        for held, counts in ((now, True), (then, row["created_at"] <= as_of)):
            if counts and row["action"] == "KILL":
                held[row["bot_id"]] = row
            elif counts:
                held.pop(row["bot_id"], None)
    found = {bot: f"was killed at as_of, since {_by(row)}" for bot, row in then.items()}
    found |= {bot: f"killed since {_by(row)}" for bot, row in now.items()}
    return found | {
        bot: f"killed since {since} by its row; no kill event says by whom" for bot, since in pinned.unexplained.items()
    }


def _by(row: Row) -> str:
    return f"{time_text(row['created_at'])} by {row['actor']} ({row['reason_code']})"


def unexplained(tx: Tx, bots: Iterable[Row], version: int) -> dict[str, str]:
    """Return the bots that are killed by their row alone: a kill counts, however it came about."""
    marked = {row["id"]: time_text(row["killed_at"]) for row in bots if row["killed_at"]}
    state: dict[str, str] = {}
    for row in tx.fetch(queries.KILLS, ids=list(marked), version=version):
        state[row["bot_id"]] = row["action"]
    return {bot: since for bot, since in marked.items() if state.get(bot) != "KILL"}


# ---- the bots --------------------------------------------------------------------------------------------------------


def gather(tx: Tx, asked: Asked, ids: Sequence[str], barred: Mapping[str, str], version: int | None) -> list[Bot]:
    """Read every bot that is not barred. Raises MetricsIncomplete with every missing row of every bot."""
    accounts = _accounts(tx, asked, [bot for bot in ids if bot not in barred], version)
    told = tx.ctx.progress("computing the figures of each bot", len(ids))
    quiet = replace(tx, ctx=replace(tx.ctx, progress=silent))  # one bar, not one for each bot
    found, missing, bots = [], [], []
    for done, bot in enumerate(ids, 1):
        on = accounts.get(bot, [])
        try:
            if bot in barred or not on:
                found.append(Bot(bot, barred.get(bot, NO_FILLS), killed=bot in barred))
            else:
                found.append(_computed(quiet, asked, bot, _one(bot, on, asked.accounts), version))
        except errors.MetricsIncomplete as error:
            bots.append(bot)
            missing += [f"bot {bot}: {row}" for row in error.missing]
        told(done)
    if missing:
        raise _incomplete(bots, missing, len(ids))
    return found


def _accounts(tx: Tx, asked: Asked, ids: Sequence[str], version: int | None) -> dict[str, list[Row]]:
    """Return the accounts on which each bot has fills."""
    found: dict[str, list[Row]] = {}
    for row in tx.fetch(queries.ACCOUNTS, ids=list(ids), as_of=asked.as_of, version=version):
        found.setdefault(row["bot_id"], []).append(row)
    return found


def _one(bot: str, accounts: Sequence[Row], chosen: Mapping[str, str]) -> Row:
    """Return the account whose figures count: to look at one of several in silence would hide what the others lost."""
    if bot in chosen:
        accounts = [row for row in accounts if row["account_id"] == chosen[bot]]
        if not accounts:
            raise errors.MetricsIncomplete(
                missing=[f"trades: no fill on account {chosen[bot]}, which was named for it"]
            )
    if len(accounts) > 1:
        named = ", ".join(row["account_id"] for row in accounts)
        raise errors.MetricsIncomplete(missing=[f"account: it has fills on {named}: name one, --account {bot}=ACCOUNT"])
    return accounts[0]


def _computed(tx: Tx, asked: Asked, bot: str, account: Row, version: int | None) -> Bot:
    policy = asked.document.policy
    computed = metrics.compute(
        tx,
        bot,
        account["account_id"],
        as_of=asked.as_of,
        lot_method=policy.lot_method,
        basis=policy.basis,
        version=version,
    )
    return Bot(
        bot,
        account_id=computed.account_id,
        currency=computed.currency,
        record=_record(computed),
        rate=_rate(tx, asked, computed.currency, version),
        inputs=computed.inputs,
        input_hash=computed.input_hash,
        source_tables=computed.source_tables,
        conventions=computed.conventions,
    )


def _record(computed: metrics.Computed) -> Record:
    figures = computed.figures
    fall = figures.max_drawdown_by_fraction.fraction
    first = figures.first_fill_at
    return Record(
        closed_trades=figures.closed_trades,
        wins=figures.wins,
        losses=figures.losses,
        profit=figures.profit,
        loss=figures.loss,
        drawdown=fall.value,
        drawdown_undefined=fall.reason,
        days=(computed.as_of - parse_time(first)) // timedelta(days=1) if first else 0,
    )


def _rate(tx: Tx, asked: Asked, currency: str, version: int | None) -> Rate | None:
    """Return the last rate recorded on as_of's UTC day, as the ledger's own convention is. Raises MetricsIncomplete."""
    if currency == asked.currency:
        return None
    day = asked.as_of.replace(hour=0, minute=0, second=0, microsecond=0)
    row = tx.first(queries.RATE, base=asked.currency, quote=currency, since_at=day, as_of=asked.as_of, version=version)
    if row is None:
        raise errors.MetricsIncomplete(missing=[f"fx_rates: {asked.currency} → {currency} on {day.date()}"])
    return Rate(asked.currency, currency, time_text(row["at"]), row["rate"])


def _incomplete(bots: Sequence[str], missing: Sequence[str], of: int) -> errors.MetricsIncomplete:
    listed = [*missing[:_MOST_LINES], *([f"and {len(missing) - _MOST_LINES} more"] if missing[_MOST_LINES:] else [])]
    return errors.MetricsIncomplete(
        f"{len(bots)} of {of} bots are incomplete ({', '.join(bots[:10])}{', …' if bots[10:] else ''}),"
        f" so nobody gets anything: {len(missing)} missing",
        missing=listed,
        next_steps=[
            *errors.MetricsIncomplete.next_steps,
            f"Or leave them out by name, which is recorded: {' '.join(f'--exclude {bot}' for bot in bots[:10])}",
        ],
    )
