"""Handlers of the ledger's writing side besides imports: corrections by hand, capital flows, and what is listed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blaidctl.accounts.service import require_account
from blaidctl.core import errors
from blaidctl.core.canonical import fingerprint
from blaidctl.core.decimals import text_of
from blaidctl.core.types import time_text
from blaidctl.fleet.rules import closest
from blaidctl.fleet.service import require_bot
from blaidctl.fleet.vocabulary import Existence
from blaidctl.instruments import currencies
from blaidctl.ledger import contract, facts, queries, trades
from blaidctl.ledger.events import CAPITAL_FLOWS, LEDGER_IMPORTS
from blaidctl.ledger.judge import TOLERANCE
from blaidctl.ledger.vocabulary import FileFormat, FlowKind, Side

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from blaidctl.core.execute import Tx
    from blaidctl.core.sql import Row
    from blaidctl.ledger.spool import Entry

_LONGEST_ID = 200
BY_HAND = "a correction by hand"


# --- corrections ----------------------------------------------------------------------------------------------------


def reverse(tx: Tx, request: contract.ReverseFill) -> contract.ReversedFill:
    """Take a fill back: write its mirror, under an id that names it."""
    account = require_account(tx, request.account)["id"]
    tx.fetch(queries.LOCK_ACCOUNT, account_id=account)
    held = trades.known(tx.connection, account, [request.venue_trade_id]).get(request.venue_trade_id)
    if held is None:
        raise _no_fill(tx, account, request.venue_trade_id)
    original = held.entry
    if original.reverses is not None:
        raise errors.LedgerConflict(
            f"{request.venue_trade_id!r} is itself the reversal of {original.reverses!r}; no reversal is taken back",
            next_steps=["Import the fill again, under an id of its own: `blaidctl ledger import`."],
        )
    tx.target = {"account": account, "venue_trade_id": request.venue_trade_id}
    there = tx.first(queries.REVERSAL, reverses_id=held.id)
    if there is not None:
        tx.after = {"reversal": there["venue_trade_id"]}
        return _reversed(request, there["venue_trade_id"], Existence.EXISTS, there["id"], there["import_id"])
    mirror = _mirror(original, f"reversal:{request.venue_trade_id}")
    import_id = _import_by_hand(tx, account, mirror)
    trades.insert(tx.connection, [mirror], import_id, account, FileFormat.CSV, {request.venue_trade_id: held.id})
    made = tx.first(queries.REVERSAL, reverses_id=held.id)
    assert made is not None  # noqa: S101 - written just now
    tx.before, tx.after = {"trade": held.id}, {"import": import_id, "reversal": mirror.venue_trade_id}
    return _reversed(request, mirror.venue_trade_id, Existence.CREATED, made["id"], import_id)


def _no_fill(tx: Tx, account: str, venue_trade_id: str) -> errors.FillNotFound:
    near = closest(venue_trade_id, [row["venue_trade_id"] for row in tx.fetch(queries.LAST_IDS, account_id=account)])
    hint = f" (did you mean {', '.join(near)}?)" if near else ""
    return errors.FillNotFound(
        f"account {account} has no fill {venue_trade_id!r}{hint}", missing=[f"fill {venue_trade_id}"]
    )


def _mirror(original: Entry, venue_trade_id: str) -> Entry:
    if len(venue_trade_id) > _LONGEST_ID:
        venue_trade_id = f"reversal:{fingerprint(original.venue_trade_id)}"
    fee = trades.negated(original.fee)
    return original._replace(
        venue_trade_id=venue_trade_id,
        reverses=original.venue_trade_id,
        side=Side.SELL if original.side == Side.BUY else Side.BUY,
        fee=fee,
        quantity_8=trades.times_10_8(original.quantity),
        price_8=trades.times_10_8(original.price),
        fee_8=None if fee is None else trades.times_10_8(fee),
        line=1,
        after_kill=0,
        exact=1,
        order_id=None,
        reported_pnl=None,
    )


def _import_by_hand(tx: Tx, account: str, mirror: Entry) -> int:
    hashing = trades.Hashing()
    hashing.add(trades.digested([mirror], account, FileFormat.CSV))
    at = _moment(mirror.executed_at)
    row = {
        "account_id": account, "format": FileFormat.CSV, "source_name": BY_HAND,
        "file_sha256": fingerprint([account, mirror.venue_trade_id]), "part": 1, "parts": 1, "rows_read": 1,
        "rows_new": 1, "rows_known": 0, "rows_refused": 0, "exact": 1, "sequence": None, "provider_id": None,
        "no_fee": 0, "timezone": None, "first_executed_at": at, "last_executed_at": at, "after_kill": 0,
        "fills_sha256": hashing.hexdigest(),
    }  # fmt: skip
    return int(tx.record(LEDGER_IMPORTS, [row])[0]["id"])


def _moment(text: str) -> datetime:
    from blaidctl.core.types import read_time

    return read_time(text)


def _reversed(
    request: contract.ReverseFill, reversal: str, effect: Existence, trade_id: int, import_id: int
) -> contract.ReversedFill:
    return contract.ReversedFill(
        account_id=request.account,
        venue_trade_id=request.venue_trade_id,
        reversal=reversal,
        effect=effect,
        trade_id=trade_id,
        import_id=import_id,
    )


# --- capital flows --------------------------------------------------------------------------------------------------


def record_flow(tx: Tx, request: contract.RecordFlow) -> contract.RecordedFlow:
    """Record a flow, or what takes the place of one; an INITIAL, a broker's id and a replacement are recorded once."""
    bot = require_bot(tx, request.bot)
    account = require_account(tx, request.account)
    _refuse_flow(tx, request, bot, account)
    tx.fetch(queries.LOCK_ACCOUNT, account_id=account["id"])
    values: dict[str, Any] = {
        "bot_id": bot["id"], "account_id": account["id"], "kind": request.kind, "amount": request.amount,
        "currency": request.currency, "at": request.at, "note": request.note, "external_id": request.external_id,
        "replaces_id": request.replaces,
    }  # fmt: skip
    replaced = None if request.replaces is None else _replaceable(tx, values)
    flow, effect = _same_flow(tx, values), Existence.EXISTS
    if flow is None:
        (written,) = tx.record(CAPITAL_FLOWS, [values])
        flow, effect = {**written, "replaced_by": None}, Existence.CREATED
        tx.before = replaced and {"flow": replaced["id"], **_in_text(replaced, _SAID)}
    tx.target = {"account": account["id"], "bot": bot["id"], "flow": int(flow["id"])}
    tx.after = _in_text(values, values)
    return contract.RecordedFlow(
        id=flow["id"],
        effect=effect,
        replaces=flow["replaces_id"],
        replaced_by=flow["replaced_by"],
        **{name: value for name, value in values.items() if name != "replaces_id"},
    )


def _refuse_flow(tx: Tx, request: contract.RecordFlow, bot: Row, account: Row) -> None:
    if bot["user_id"] != account["user_id"]:
        raise errors.CrossUserFill(
            f"bot {bot['id']} belongs to user {bot['user_id']}, account {account['id']} to user {account['user_id']}"
        )
    known = facts.bots(tx.connection, [bot["id"]], account["id"])[bot["id"]]
    if not known.links:
        raise errors.NotLinked(
            f"bot {bot['id']} never was linked to account {account['id']}: no capital of it is there"
        )
    refuse_currency(tx, "currency", request.currency)
    refuse_future(tx, request.at)


def refuse_currency(tx: Tx, field: str, code: str) -> None:
    """Insist on a known currency."""
    if not currencies.known(tx)(code):
        raise errors.InvalidRequest(
            f"{code} is not a known currency",
            missing=[f"{field}: a code of ISO 4217, or one that was declared (`blaidctl currency add`)"],
        )


def refuse_future(tx: Tx, at: datetime) -> None:
    """Insist on a moment that has come."""
    if at > tx.now + TOLERANCE:
        raise errors.InvalidRequest(f"{time_text(at)} lies in the future", missing=["at: a moment that has come"])


_SAID = ("bot_id", "account_id", "kind", "amount", "currency", "at", "external_id")


def _replaceable(tx: Tx, values: dict[str, Any]) -> Row:
    """Return the flow whose place is to be taken. Raises FlowNotFound, or LedgerConflict where this one cannot."""
    there = tx.first(queries.FLOW, flow_id=values["replaces_id"])
    look = f"Run `blaidctl ledger flows {values['bot_id']} --account {values['account_id']}` for the flows of it."
    if there is None:
        name = f"capital flow {values['replaces_id']}"
        raise errors.FlowNotFound(f"no {name} is there", missing=[name], next_steps=[look])
    whose = f"capital flow {there['id']} is of bot {there['bot_id']} on account {there['account_id']}"
    if any(there[name] != values[name] for name in ("bot_id", "account_id")):
        raise errors.LedgerConflict(f"{whose}; what takes its place is of the same bot and account", next_steps=[look])
    if FlowKind.INITIAL in {there["kind"], values["kind"]} and there["kind"] != values["kind"]:
        raise errors.LedgerConflict(
            f"{whose}, {_flow_said(there)}: an INITIAL is replaced by an INITIAL, and nothing else by one",
            next_steps=[f"Say the kind that it has: --kind {there['kind']}.", look],
        )
    return there


def _same_flow(tx: Tx, values: dict[str, Any]) -> Row | None:
    """Return the flow that says the same. Raises LedgerConflict where its place is taken by another."""
    replaces = values["replaces_id"]
    found = tx.fetch(
        queries.FLOWS_THERE,
        bot_id=values["bot_id"],
        account_id=values["account_id"],
        initial=int(values["kind"] == FlowKind.INITIAL and replaces is None),
        replaces_id=replaces,
        external_id=values["external_id"],
    )
    compared = _SAID if replaces is None else (*_SAID, "replaces_id")
    for there in found:
        if any(there[name] != values[name] for name in compared):
            if replaces is None and (earlier := _replaced_initial(tx, values)) is not None:
                return earlier
            raise _taken(tx, there, values)
    return found[0] if found else None


def _replaced_initial(tx: Tx, values: dict[str, Any]) -> Row | None:
    """Return the INITIAL that said the same and was replaced: a script that runs again undoes no correction."""
    if values["kind"] != FlowKind.INITIAL:
        return None
    earlier = tx.fetch(queries.INITIALS, bot_id=values["bot_id"], account_id=values["account_id"])
    return next((flow for flow in earlier if all(flow[name] == values[name] for name in _SAID)), None)


def _taken(tx: Tx, there: Row, values: dict[str, Any]) -> errors.LedgerConflict:
    """Return the conflict with the flow that has the place, and how that one is put right."""
    replaces, external_id = values["replaces_id"], values["external_id"]
    same_id = external_id is not None and there["external_id"] == external_id
    last = _in_force(tx, there)
    how = f"`--replaces {last['id']}`{', without --external-id,' if same_id else ''}"
    steps = [
        f"Was it recorded wrongly? The same command with {how} puts it right.",
        "What was paid in or out later is a DEPOSIT or a WITHDRAWAL of its own.",
    ]
    what = f"capital flow {there['id']} stands there"
    if replaces is not None and there["replaces_id"] == replaces:
        what = f"capital flow {replaces} was replaced by flow {there['id']}"
    elif replaces is not None or there["bot_id"] != values["bot_id"]:
        steps = [f"The id {external_id!r} stays with flow {there['id']}: leave --external-id away, or give another."]
    return errors.LedgerConflict(
        f"{what}: {_flow_said(there)}; asked for: {_flow_said(values)}",
        missing=[f"recorded: {_flow_said(there)}", f"asked for: {_flow_said(values)}"],
        next_steps=steps,
    )


def _in_force(tx: Tx, flow: Row) -> Row:
    """Return the last of a flow's replacements, or the flow itself."""
    while flow["replaced_by"] is not None:
        later = tx.first(queries.FLOW, flow_id=flow["replaced_by"])
        assert later is not None  # noqa: S101 - a foreign key
        flow = later
    return flow


def _in_text(flow: Row, names: Iterable[str]) -> dict[str, Any]:
    """Return what a flow says as JSON has it."""
    exact = {"amount": text_of(flow["amount"]), "at": time_text(flow["at"])}
    return {name: exact.get(name, flow[name]) for name in names}


def _flow_said(flow: Row) -> str:
    named = f" ({flow['external_id']})" if flow["external_id"] else ""
    return f"{flow['kind']} {text_of(flow['amount'])} {flow['currency']} at {time_text(flow['at'])}{named}"


# --- lists ----------------------------------------------------------------------------------------------------------


def list_imports(tx: Tx, request: contract.ListImports) -> contract.ImportList:
    """Return imports, newest first."""
    if request.account is not None:
        require_account(tx, request.account)
    rows = tx.fetch(queries.LIST_IMPORTS, account_id=request.account, limit=request.limit)
    return contract.ImportList(imports=[contract.ImportRow(**row) for row in rows])


def list_events(tx: Tx, request: contract.ListLedgerEvents) -> contract.LedgerEvents:
    """Return events of the ledger, newest first."""
    if request.bot is not None:
        require_bot(tx, request.bot)
    if request.account is not None:
        require_account(tx, request.account)
    rows = tx.fetch(queries.LIST_EVENTS, bot_id=request.bot, account_id=request.account, limit=request.limit)
    return contract.LedgerEvents(events=[contract.LedgerEventRow(**row) for row in rows])


def list_fills(tx: Tx, request: contract.ListFills) -> contract.FillList:
    """Return fills of a bot, newest first, in the total order of the ledger."""
    require_bot(tx, request.bot)
    if request.account is not None:
        require_account(tx, request.account)
    asked = {"bot_id": request.bot, "account_id": request.account}
    rows: Sequence[Row] = tx.fetch(queries.LIST_FILLS, limit=request.limit, **asked)
    (counted,) = tx.fetch(queries.COUNT_FILLS, **asked)
    fills = [contract.FillRow(**row) for row in rows]
    return contract.FillList(fills=fills, total=counted["n"], not_listed=counted["n"] - len(fills))


def list_flows(tx: Tx, request: contract.ListFlows) -> contract.FlowList:
    """Return capital flows of a bot, newest first, those that were replaced too."""
    require_bot(tx, request.bot)
    if request.account is not None:
        require_account(tx, request.account)
    asked = {"bot_id": request.bot, "account_id": request.account}
    rows = tx.fetch(queries.LIST_FLOWS, limit=request.limit, **asked)
    (counted,) = tx.fetch(queries.COUNT_FLOWS, **asked)
    flows = [contract.FlowRow(**row) for row in rows]
    return contract.FlowList(flows=flows, total=counted["n"], not_listed=counted["n"] - len(flows))
