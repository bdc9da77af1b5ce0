"""Statements of the ledger's writing side. Times and decimals come as canonical text on both engines."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from blaidctl.core import stream
from blaidctl.core.sql import Query

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


def tuples(connection: Connection, query: Query, **parameters: Any) -> list[Any]:
    """Return the rows of a statement as plain tuples, nothing converted by its name."""
    return list(map(tuple, query.on(connection, **parameters).all()))


# --- what a fill is judged by -------------------------------------------------------------------------------------


def _both(text: str) -> Query:
    """Return a statement whose {t:name} is a time as text, whose {d:name} a decimal as text, on each engine."""
    return Query(sqlite=spelled(text, "sqlite"), postgresql=spelled(text, "postgresql"))


def spelled(text: str, kind: str) -> str:
    """Return a statement in the words of one engine."""

    def time(match: re.Match[str]) -> str:
        return stream.time_column(match[1], kind)

    def decimal(match: re.Match[str]) -> str:
        return f"trim_scale({match[1]})::text" if kind == "postgresql" else match[1]

    return re.sub(r"\{d:([\w.]+)\}", decimal, re.sub(r"\{t:([\w.]+)\}", time, text))


ACCOUNT = Query("SELECT id, user_id, broker, external_id, currency FROM broker_accounts WHERE id = :id")
BOTS = _both("SELECT id, user_id, {t:killed_at} FROM bots WHERE id $IN(bots) ORDER BY id")
#: Nobody kills a bot while a part of its fills is written: what is flagged stays true.
LOCK_BOTS = Query("SELECT id FROM bots WHERE id $IN(bots) ORDER BY id $FOR_SHARE")
#: One writer an account: the parts of two operators who import the same file come one after the other.
LOCK_ACCOUNT = Query(
    sqlite="SELECT 1 WHERE :account_id IS NOT NULL",
    postgresql="SELECT pg_advisory_xact_lock(610, hashtext(:account_id))",
)
LINKS = _both("""
    SELECT bot_id, account_id, {t:linked_at}, {t:unlinked_at} FROM account_links WHERE bot_id $IN(bots) ORDER BY id
""")
KILLS = _both("""
    SELECT bot_id, action, {t:created_at} FROM kill_events WHERE effect = 'APPLIED' AND bot_id $IN(bots) ORDER BY id
""")
INSTANCES = _both("""
    SELECT bot_id, id, account_id, {t:started_at}, {t:stopped_at} FROM bot_instances
     WHERE bot_id $IN(bots) ORDER BY started_at, id
""")
_INSTRUMENT = """
    SELECT i.exchange, i.symbol, i.asset_class, i.venue_symbol, i.currency, {d:i.point_value}, {d:i.price_magnifier},
           i.is_active
      FROM instruments i
"""
INSTRUMENTS = _both(f"""{_INSTRUMENT}
     WHERE i.symbol = :symbol OR i.venue_symbol = :symbol
        OR replace(replace(i.symbol, '/', ''), '-', '') = :bare
        OR replace(replace(i.venue_symbol, '/', ''), '-', '') = :bare
     ORDER BY i.exchange, i.symbol, i.asset_class LIMIT 1000
""")
_KEYS = {
    "sqlite": "JOIN json_each(:keys) k ON i.exchange = k.value ->> '$[0]' AND i.symbol = k.value ->> '$[1]'"
    " AND i.asset_class = k.value ->> '$[2]'",
    "postgresql": "JOIN jsonb_array_elements(CAST(:keys AS jsonb)) k(value) ON i.exchange = k.value ->> 0"
    " AND i.symbol = k.value ->> 1 AND i.asset_class = k.value ->> 2",
}
INSTRUMENTS_OF = Query(**{kind: spelled(f"{_INSTRUMENT} {keys}", kind) for kind, keys in _KEYS.items()})
IDLE_EVENTS = _both("""
    SELECT exchange, symbol, asset_class, action, {t:created_at} FROM instrument_events
     WHERE action IN ('DEACTIVATED', 'REACTIVATED') AND symbol $IN(symbols) ORDER BY id
""")

# --- fills ---------------------------------------------------------------------------------------------------------

ANY_FILL = Query("SELECT 1 FROM trades WHERE account_id = :account_id LIMIT 1")
#: What the ledger holds under these ids; in the order of imports.CONTENT, between the id and what else is told.
KNOWN = _both("""
    SELECT t.venue_trade_id, t.bot_id, t.exchange, t.symbol, t.asset_class, t.side, {d:t.quantity}, {d:t.price},
           {d:t.fee}, t.fee_currency, {t:t.executed_at}, t.order_id, o.venue_trade_id, {d:t.reported_pnl},
           t.instance_id, t.id, t.import_id
      FROM trades t LEFT JOIN trades o ON o.id = t.reverses_id
     WHERE t.account_id = :account_id AND t.venue_trade_id $IN(ids)
""")
#: Which of these fills were taken back, and by what.
REVERSED = Query("""
    SELECT o.venue_trade_id, r.venue_trade_id FROM trades o JOIN trades r ON r.reverses_id = o.id
     WHERE o.account_id = :account_id AND o.venue_trade_id $IN(ids)
""")
IDS = Query("SELECT venue_trade_id, id FROM trades WHERE account_id = :account_id AND venue_trade_id $IN(ids)")
FEES = _both("""
    SELECT external_id, kind, bot_id, {d:amount}, currency, {t:at} FROM capital_flows
     WHERE account_id = :account_id AND external_id $IN(ids)
""")
#: Which parts of a source are there; not those that came without what is declared of it now.
PARTS = Query("""
    SELECT DISTINCT part FROM ledger_imports
     WHERE account_id = :account_id AND file_sha256 = :file_sha256 AND parts = :parts AND no_fee >= :no_fee
       AND (CAST(:sequence AS BIGINT) IS NULL OR sequence = :sequence)
""")
#: Of the parts that are there, the fills after a kill.
LATE = Query("""
    SELECT bot_id, count(*) FROM trades
     WHERE after_kill = 1 AND import_id IN (
           SELECT id FROM ledger_imports
            WHERE account_id = :account_id AND file_sha256 = :file_sha256 AND after_kill > 0)
     GROUP BY bot_id ORDER BY bot_id
""")
SEQUENCE = Query("""
    SELECT DISTINCT file_sha256 FROM ledger_imports
     WHERE account_id = :account_id AND sequence = :sequence AND file_sha256 <> :file_sha256
""")
REVERSAL = Query("SELECT id, import_id, venue_trade_id FROM trades WHERE reverses_id = :reverses_id")
#: For "did you mean".
LAST_IDS = Query("SELECT venue_trade_id FROM trades WHERE account_id = :account_id ORDER BY venue_trade_id LIMIT 20000")

MOVES = Query("""
    SELECT event, bot_id, metadata FROM ledger_events
     WHERE account_id = :account_id AND event IN ('POSITION_MOVED', 'MOVE_RESOLVED') ORDER BY id
""")

# --- flows, rates, marks --------------------------------------------------------------------------------------------

_FLOW = """
    SELECT f.id, f.bot_id, f.account_id, f.kind, f.amount, f.currency, f.at, f.external_id, f.replaces_id,
           r.id AS replaced_by
      FROM capital_flows f LEFT JOIN capital_flows r ON r.replaces_id = f.id
"""
#: What stands where a flow would stand: the INITIAL in force, what replaced the same flow, what has the broker's id.
INITIALS = Query(f"""{_FLOW}
     WHERE f.kind = 'INITIAL' AND f.bot_id = :bot_id AND f.account_id = :account_id ORDER BY f.id
""")
FLOWS_THERE = Query(f"""{_FLOW}
     WHERE (:initial = 1 AND f.kind = 'INITIAL' AND f.bot_id = :bot_id AND f.account_id = :account_id
            AND r.id IS NULL)
        OR f.replaces_id = CAST(:replaces_id AS BIGINT)
        OR (f.account_id = :account_id AND f.external_id = CAST(:external_id AS TEXT))
     ORDER BY f.id
""")
FLOW = Query(f"{_FLOW} WHERE f.id = :flow_id")


def _there(table: str, key: tuple[str, ...], value: str) -> Query:
    """Return the rows of a JSON array of keys, each with its time as the last part, bound to :keys."""
    sqlite = " AND ".join(f"p.{name} = k.value ->> '$[{n}]'" for n, name in enumerate((*key, "at")))
    postgresql = " AND ".join(f"p.{name} = k.value ->> {n}" for n, name in enumerate(key))
    postgresql += f" AND p.at = CAST(k.value ->> {len(key)} AS timestamptz)"
    columns = ", ".join(f"p.{name}" for name in key)
    text = f"SELECT {columns}, {{t:p.at}}, p.id, {{d:p.{value}}} FROM {table} p"
    return Query(
        sqlite=f"{spelled(text, 'sqlite')} JOIN json_each(:keys) k ON {sqlite}",
        postgresql=f"{spelled(text, 'postgresql')} JOIN jsonb_array_elements(CAST(:keys AS jsonb)) k(value)"
        f" ON {postgresql}",
    )


RATES_THERE = _there("fx_rates", ("base", "quote"), "rate")
MARKS_THERE = _there("marks", ("exchange", "symbol", "asset_class"), "price")

# --- lists ----------------------------------------------------------------------------------------------------------

LIST_IMPORTS = Query("""
    SELECT id, account_id, format, source_name, file_sha256, part, parts, rows_read, rows_new, rows_known, exact,
           sequence, provider_id, no_fee, timezone, first_executed_at, last_executed_at, after_kill, fills_sha256,
           actor, created_at, trace_id
      FROM ledger_imports WHERE CAST(:account_id AS TEXT) IS NULL OR account_id = :account_id
     ORDER BY id DESC LIMIT :limit
""")
LIST_EVENTS = Query("""
    SELECT id, event, severity, account_id, bot_id, import_id, error_code, message, metadata, actor, created_at,
           trace_id
      FROM ledger_events
     WHERE (CAST(:account_id AS TEXT) IS NULL OR account_id = :account_id)
       AND (CAST(:bot_id AS TEXT) IS NULL OR bot_id = :bot_id)
     ORDER BY id DESC LIMIT :limit
""")
_OF_BOT = "t.bot_id = :bot_id AND (CAST(:account_id AS TEXT) IS NULL OR t.account_id = :account_id)"


def _list_fills(kind: str) -> str:
    """Return the fills of a bot in the ledger's total order, backwards: ids by code point."""
    return f"""
    SELECT t.id, t.executed_at, t.account_id, t.instance_id, t.exchange, t.symbol, t.asset_class, t.side, t.quantity,
           t.price, t.fee, t.fee_currency, t.venue_trade_id, t.order_id, o.venue_trade_id AS reverses,
           r.venue_trade_id AS reversed_by, t.reported_pnl, t.after_kill, t.exact, t.source, t.line, t.import_id
      FROM trades t LEFT JOIN trades o ON o.id = t.reverses_id LEFT JOIN trades r ON r.reverses_id = t.id
     WHERE {_OF_BOT}
     ORDER BY t.executed_at DESC, {stream.in_code_order("t.venue_trade_id", kind)} DESC, t.id DESC LIMIT :limit
    """


_FLOWS_OF_BOT = "f.bot_id = :bot_id AND (CAST(:account_id AS TEXT) IS NULL OR f.account_id = :account_id)"
LIST_FLOWS = Query(f"""
    SELECT f.id, f.at, f.account_id, f.kind, f.amount, f.currency, f.note, f.external_id, f.replaces_id AS replaces,
           r.id AS replaced_by, f.actor, f.created_at, f.trace_id
      FROM capital_flows f LEFT JOIN capital_flows r ON r.replaces_id = f.id
     WHERE {_FLOWS_OF_BOT} ORDER BY f.at DESC, f.id DESC LIMIT :limit
""")
COUNT_FLOWS = Query(f"SELECT count(*) AS n FROM capital_flows f WHERE {_FLOWS_OF_BOT}")
LIST_FILLS = Query(sqlite=_list_fills("sqlite"), postgresql=_list_fills("postgresql"))
COUNT_FILLS = Query(f"SELECT count(*) AS n FROM trades t WHERE {_OF_BOT}")
