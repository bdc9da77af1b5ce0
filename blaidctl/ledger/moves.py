"""Splits, transfers, exercises: what is held changed without a fill, so that no figure may be made of it.

A move is an event of the ledger (POSITION_MOVED), known by its id within the account. Until somebody says that it is
accounted for (MOVE_RESOLVED, by `ledger resolve`), the bots that trade its instrument on that account have no figures.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from blaidctl.accounts.service import require_account
from blaidctl.core import errors
from blaidctl.fleet.rules import closest
from blaidctl.fleet.service import require_bot
from blaidctl.fleet.vocabulary import Existence
from blaidctl.ledger import contract, facts, queries
from blaidctl.ledger.events import LEDGER_EVENTS
from blaidctl.ledger.vocabulary import LedgerEvent, Severity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from blaidctl.core.execute import Tx
    from blaidctl.core.sql import Row
    from blaidctl.ledger.spool import Moved

#: The Options Clearing Corporation's symbols: root, date, C or P, strike; some pad the root with blanks.
_OPTION = re.compile(r"([A-Z0-9.]{1,6}) *[0-9]{6}[CP][0-9]{8}", re.ASCII)

_TOLD = ("move_id", "kind", "symbol", "day")


def unknown(tx: Tx, account: str, found: Sequence[Moved]) -> list[Moved]:
    """Return the moves that the ledger does not know."""
    if not found:
        return []
    there = {_named(row) for row in _events(tx, account, LedgerEvent.POSITION_MOVED)}
    return [moved for moved in found if moved.move_id not in there]


def write(tx: Tx, account: str, import_id: int, found: Sequence[Moved]) -> None:
    """Write each move down."""
    events = [
        {
            "message": f"{said(moved._asdict())} changed a position without an execution",
            "metadata": {
                "move_id": moved.move_id, "kind": moved.kind, "symbol": moved.symbol, "day": moved.day,
                "line": moved.line, "any": bool(moved.any),
            },
        }
        for moved in found
    ]  # fmt: skip
    _record(tx, events, LedgerEvent.POSITION_MOVED, account, import_id, None)


def resolve(tx: Tx, request: contract.ResolveMoves) -> contract.ResolvedMoves:
    """Write down that moves are accounted for; those that are so already stay as they are."""
    account = require_account(tx, request.account)["id"]
    tx.fetch(queries.LOCK_ACCOUNT, account_id=account)
    there = {_named(row): _told_by(row) for row in _events(tx, account, LedgerEvent.POSITION_MOVED)}
    wanted = list(dict.fromkeys(request.moves))
    if missing := [move_id for move_id in wanted if move_id not in there]:
        raise _no_move(account, missing, [*filter(None, there)])
    bot = None if request.bot is None else _linked(tx, request.bot, account)
    done = {_named(row) for row in _events(tx, account, LedgerEvent.MOVE_RESOLVED) if row["bot_id"] in {None, bot}}
    new = [move_id for move_id in wanted if move_id not in done]
    events = [
        {
            "message": f"{said(there[move_id])} is accounted for{f' of {bot}' if bot else ''}: {request.reason}",
            "metadata": {"move_id": move_id},
        }
        for move_id in new
    ]
    _record(tx, events, LedgerEvent.MOVE_RESOLVED, account, None, bot)
    tx.target, tx.after = {"account": account, "bot": bot, "moves": wanted}, {"resolved": new}
    return contract.ResolvedMoves(
        account_id=account, bot_id=bot, moves=[_told(there[m], existed=m in done) for m in wanted]
    )


def _linked(tx: Tx, bot_id: str, account: str) -> str:
    """Return a bot that is or was linked to the account. Raises BotNotFound, NotLinked."""
    bot = str(require_bot(tx, bot_id)["id"])
    if not facts.bots(tx.connection, [bot], account)[bot].links:
        raise errors.NotLinked(f"bot {bot} never was linked to account {account}: no move there is one of its own")
    return bot


def open_moves(rows: Sequence[Row], bot: str) -> list[tuple[int | None, Mapping[str, Any]]]:
    """Return the moves among an account's events that nobody has resolved, for this bot or for all: import, move."""
    done = {_named(row) for row in rows if row["event"] == LedgerEvent.MOVE_RESOLVED and row["bot_id"] in {None, bot}}
    done.discard(None)
    moved = (row for row in rows if row["event"] == LedgerEvent.POSITION_MOVED and _named(row) not in done)
    return [(row["import_id"], _told_by(row)) for row in moved]


def concerns(move: Mapping[str, Any], traded: AbstractSet[str]) -> bool:
    """Say whether a move may be of something traded; `traded`: the roots of its symbols."""
    symbol = move.get("symbol")
    return move.get("any") is not False or not symbol or not roots(symbol).isdisjoint(traded)


def roots(symbol: str) -> set[str]:
    """Return what a symbol is about: an option's underlying, a pair and its base, without the marks of any venue.

    Two that are not the same may share a root (a share and a future of one name): then a person looks once too often.
    """
    option = _OPTION.fullmatch(symbol)
    if option:
        return {_plain(option[1]), _plain(option[1].rstrip("0123456789"))}
    return {_plain(symbol.partition(":")[0]), _plain(re.split("[/:]", symbol)[0])}


def _plain(symbol: str) -> str:
    return re.sub("[-./ ]", "", symbol).upper()


def _told_by(row: Row) -> Mapping[str, Any]:
    """Return what an event says of its move; nothing where somebody wrote a row by hand that says nothing."""
    return row["metadata"] if isinstance(row["metadata"], dict) else {}


def _named(row: Row) -> str | None:
    """Return the move that an event is about; None resolves nothing."""
    found: str | None = _told_by(row).get("move_id")
    return found


def said(move: Mapping[str, Any]) -> str:
    """Return a move in words, with its id."""
    of, on = (f" {word} {move[name]}" if move.get(name) else "" for word, name in (("of", "symbol"), ("on", "day")))
    return f"{move.get('kind', 'a move')}{of}{on} (move {move.get('move_id')})"


def _events(tx: Tx, account: str, event: LedgerEvent) -> list[Row]:
    return [row for row in tx.fetch(queries.MOVES, account_id=account) if row["event"] == event]


def _record(  # noqa: PLR0913, PLR0917 - what an event is made of
    tx: Tx, events: list[dict[str, Any]], event: LedgerEvent, account: str, import_id: int | None, bot: str | None
) -> None:
    if events:
        of_all = {"account_id": account, "bot_id": bot, "import_id": import_id, "error_code": None}
        tx.record(LEDGER_EVENTS, events, event=event, severity=Severity.SEV2, **of_all)


def _told(move: Mapping[str, Any], *, existed: bool) -> contract.ResolvedMove:
    effect = Existence.EXISTS if existed else Existence.CREATED
    return contract.ResolvedMove(**{name: move.get(name) for name in _TOLD}, effect=effect)


def _no_move(account: str, missing: list[str], there: list[str]) -> errors.MoveNotFound:
    near = closest(missing[0], there)
    hint = f" (did you mean {', '.join(near)}?)" if near else ""
    return errors.MoveNotFound(
        f"account {account} has no move {', '.join(map(repr, missing))}{hint}",
        missing=[f"move {move_id}" for move_id in missing],
    )
