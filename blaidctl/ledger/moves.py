"""Splits, transfers, exercises: what is held changed without a fill, so that no figure may be made of it.

A move is an event of the ledger (POSITION_MOVED), known by its id within the account. Until somebody says that it is
accounted for (MOVE_RESOLVED, by `ledger resolve`), the bots that trade its instrument on that account have no figures.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from blaidctl.accounts.service import require_account
from blaidctl.core import errors
from blaidctl.fleet.rules import closest
from blaidctl.fleet.vocabulary import Existence
from blaidctl.ledger import contract, queries
from blaidctl.ledger.events import LEDGER_EVENTS
from blaidctl.ledger.vocabulary import LedgerEvent, Severity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from blaidctl.core.execute import Tx
    from blaidctl.core.sql import Row
    from blaidctl.ledger.spool import Moved


def unknown(tx: Tx, account: str, found: Sequence[Moved]) -> list[Moved]:
    """Return the moves that the ledger does not know."""
    if not found:
        return []
    there = {row["metadata"]["move_id"] for row in _events(tx, account, LedgerEvent.POSITION_MOVED)}
    return [moved for moved in found if moved.move_id not in there]


def write(tx: Tx, account: str, import_id: int, found: Sequence[Moved]) -> None:
    """Write each move down."""
    events = [
        {
            "message": f"{said(moved._asdict())} changed a position without an execution",
            "metadata": {
                "move_id": moved.move_id, "kind": moved.kind, "symbol": moved.symbol, "day": moved.day,
                "line": moved.line, "instruments": json.loads(moved.instruments),
            },
        }
        for moved in found
    ]  # fmt: skip
    _record(tx, events, LedgerEvent.POSITION_MOVED, account, import_id)


def resolve(tx: Tx, request: contract.ResolveMoves) -> contract.ResolvedMoves:
    """Write down that moves are accounted for; those that are so already stay as they are."""
    account = require_account(tx, request.account)["id"]
    tx.fetch(queries.LOCK_ACCOUNT, account_id=account)
    there = {row["metadata"]["move_id"]: row["metadata"] for row in _events(tx, account, LedgerEvent.POSITION_MOVED)}
    wanted = list(dict.fromkeys(request.moves))
    if missing := [move_id for move_id in wanted if move_id not in there]:
        raise _no_move(account, missing, list(there))
    done = {row["metadata"]["move_id"] for row in _events(tx, account, LedgerEvent.MOVE_RESOLVED)}
    new = [move_id for move_id in wanted if move_id not in done]
    events = [
        {
            "message": f"{said(there[move_id])} is accounted for: {request.reason}",
            "metadata": {"move_id": move_id},
        }
        for move_id in new
    ]
    _record(tx, events, LedgerEvent.MOVE_RESOLVED, account, None)
    tx.target, tx.after = {"account": account, "moves": wanted}, {"resolved": new}
    return contract.ResolvedMoves(account_id=account, moves=[_told(there[m], existed=m in done) for m in wanted])


def open_moves(rows: Sequence[Row]) -> list[Row]:
    """Return the POSITION_MOVED events among an account's that nobody has resolved."""
    done = {row["metadata"]["move_id"] for row in rows if row["event"] == LedgerEvent.MOVE_RESOLVED}
    moved = (row for row in rows if row["event"] == LedgerEvent.POSITION_MOVED)
    return [row for row in moved if row["metadata"]["move_id"] not in done]


def said(move: Mapping[str, Any]) -> str:
    """Return a move in words, with its id."""
    of, on = (f" of {move['symbol']}" if move["symbol"] else ""), (f" on {move['day']}" if move["day"] else "")
    return f"{move['kind']}{of}{on} (move {move['move_id']})"


def _events(tx: Tx, account: str, event: LedgerEvent) -> list[Row]:
    return [row for row in tx.fetch(queries.MOVES, account_id=account) if row["event"] == event]


def _record(tx: Tx, events: list[dict[str, Any]], event: LedgerEvent, account: str, import_id: int | None) -> None:
    if events:
        of_all = {"account_id": account, "bot_id": None, "import_id": import_id, "error_code": None}
        tx.record(LEDGER_EVENTS, events, event=event, severity=Severity.SEV2, **of_all)


def _told(move: dict[str, Any], *, existed: bool) -> contract.ResolvedMove:
    effect = Existence.EXISTS if existed else Existence.CREATED
    return contract.ResolvedMove(**{name: move[name] for name in ("move_id", "kind", "symbol", "day")}, effect=effect)


def _no_move(account: str, missing: list[str], there: list[str]) -> errors.MoveNotFound:
    near = closest(missing[0], there)
    hint = f" (did you mean {', '.join(near)}?)" if near else ""
    return errors.MoveNotFound(
        f"account {account} has no move {', '.join(map(repr, missing))}{hint}",
        missing=[f"move {move_id}" for move_id in missing],
    )
