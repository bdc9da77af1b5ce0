"""Handlers of instruments: look one up by its name, list, show, take out of use, read the events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blaidctl.core import errors
from blaidctl.instruments import contract, queries, rules, sessions
from blaidctl.instruments.events import INSTRUMENT_EVENTS
from blaidctl.instruments.rows import VALUES
from blaidctl.instruments.vocabulary import InstrumentAction

if TYPE_CHECKING:
    from blaidctl.core.execute import Tx
    from blaidctl.core.sql import Row

    Named = contract.ShowInstrument | contract.DeactivateInstrument | contract.ListInstrumentEvents


def require_instrument(tx: Tx, named: Named) -> Row:
    """Return the one instrument that is named. Raises InstrumentNotFound or AmbiguousInstrument, with candidates."""
    wanted = {"symbol": named.symbol, "exchange": named.exchange, "asset_class": named.asset_class}
    found = tx.fetch(queries.FIND, **wanted)
    if len(found) == 1:
        return found[0]
    said = _said(wanted)
    if found:
        candidates = sorted(f"{row['exchange']} {row['symbol']} {row['asset_class']}" for row in found)
        raise errors.AmbiguousInstrument(
            f"{said} stands for {len(found)} instruments: {', '.join(candidates[:10])}", missing=candidates
        )
    near = rules.nearest(str(named.symbol), [row["symbol"] for row in tx.fetch(queries.SYMBOLS)])
    hint = f" (did you mean {', '.join(near)}?)" if near else ""
    raise errors.InstrumentNotFound(f"no instrument {said}{hint}", missing=[f"instrument {said}"])


def _said(wanted: dict[str, Any]) -> str:
    return " ".join(str(wanted[name]) for name in ("exchange", "symbol", "asset_class") if wanted[name])


def _instrument(row: Row) -> dict[str, Any]:
    value = rules.tick_value(row["tick_size"], row["point_value"])
    return {**row, "is_active": bool(row["is_active"]), "tick_value": value}


def list_instruments(tx: Tx, request: contract.ListInstruments) -> contract.InstrumentList:
    """Return instruments, narrowed; how many there are stands beside how many are listed."""
    wanted = {
        "symbol": request.symbol,
        "exchange": request.exchange,
        "asset_class": request.asset_class,
        "inactive": int(request.inactive),
    }
    rows = [contract.Instrument(**_instrument(row)) for row in tx.fetch(queries.LIST, limit=request.limit, **wanted)]
    (counted,) = tx.fetch(queries.COUNT, **wanted)
    return contract.InstrumentList(instruments=rows, total=counted["n"], not_listed=counted["n"] - len(rows))


def show_instrument(tx: Tx, request: contract.ShowInstrument) -> contract.InstrumentDetail:
    """Return one instrument, what one tick is worth, and whether its session trades at a moment."""
    row = require_instrument(tx, request)
    session = sessions.found(tx, row["session"])
    return contract.InstrumentDetail(
        **_instrument(row), timezone=session.timezone, **sessions.told(session, request.at or tx.now)
    )


def deactivate(tx: Tx, request: contract.DeactivateInstrument) -> contract.DeactivatedInstrument:
    """Take an instrument out of use; the row stays, and a load does not bring it back unless it is told to."""
    tx.run(queries.LOCK)
    row = require_instrument(tx, request)
    key = {name: row[name] for name in ("exchange", "symbol", "asset_class")}
    touched = tx.run(queries.DEACTIVATE, now=tx.now, **key)
    if touched:
        before = _as_event(tx, key)
        change = {"before": {**before, "is_active": True}, "after": before, "source_sha256": None}
        tx.record(INSTRUMENT_EVENTS, [{**key, **change}], action=InstrumentAction.DEACTIVATED)
    tx.target, tx.before, tx.after = {"instrument": key}, {"is_active": bool(row["is_active"])}, {"is_active": False}
    return contract.DeactivatedInstrument(**key, is_active=False, effect="APPLIED" if touched else "ALREADY_IN_STATE")


def _as_event(tx: Tx, key: dict[str, Any]) -> dict[str, Any]:
    """Return an instrument as events say it."""
    names = (*queries.FIELDS, "is_active")
    values = queries.KNOWN.on(tx.connection, keys=[[key["exchange"], key["symbol"], key["asset_class"]]]).one()
    found = dict(zip(names, values, strict=True))
    return {**found, "is_active": bool(found["is_active"])}


def list_events(tx: Tx, request: contract.ListInstrumentEvents) -> contract.InstrumentEvents:
    """Return instrument events, newest first."""
    rows = tx.fetch(
        queries.EVENTS,
        symbol=request.symbol,
        exchange=request.exchange,
        asset_class=request.asset_class,
        limit=request.limit,
    )
    if not rows and request.symbol is not None:
        require_instrument(tx, request)
    return contract.InstrumentEvents(events=[contract.InstrumentEvent(what=_what(row), **row) for row in rows])


def _what(event: Row) -> str:
    """Say what an event changed, for a person."""
    before, after = event["before"], event["after"]
    if before is None:
        return f"tick {after['tick_size']}, point {after['point_value']} {after['currency']}"
    changes = [f"{n} {before[n] or 'none'} → {after[n] or 'none'}" for n in VALUES if before[n] != after[n]]
    return "; ".join(changes)
