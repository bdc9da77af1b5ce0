"""Reading a bot's ledger on one account: fills in a stream, everything else whole; as it stands, or as it stood.

`version` is a place in the audit log: with it, everything that a later entry wrote is left out, so that a stored answer
can be computed again from what was known then. `as_of` is about time in the market, `version` about knowledge: a fill
of January that was imported in March belongs to as_of February, and not to a version of February.

The caller holds one snapshot (`Database.reading`): a stream of fills and a list of reversals from two moments would be
the ledger of no moment.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from blaidctl.core import stream
from blaidctl.core.sql import Query
from blaidctl.core.types import time_text
from blaidctl.instruments import timetable
from blaidctl.ledger import moves, rules
from blaidctl.ledger.calendar import Calendar
from blaidctl.ledger.vocabulary import FlowKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    from blaidctl.core.execute import Tx
    from blaidctl.core.sql import Row
    from blaidctl.ledger.rules import Key, Pair

#: Left out: what an entry of the audit log behind the version wrote. What has no entry at all stays: it is tampering,
#: which `audit verify` names and which must show in the numbers.
_KNOWN = """
    (CAST(:version AS BIGINT) IS NULL
     OR NOT EXISTS (SELECT 1 FROM audit_log l WHERE l.act_id = x.act_id AND l.seq > :version))
"""
_REPLACEMENT_KNOWN = _KNOWN.replace("x.act_id", "r.act_id")
HEAD = Query("SELECT seq FROM audit_head WHERE id = 1")
ACCOUNTS_OF = Query("SELECT DISTINCT account_id FROM account_links WHERE bot_id = :bot_id ORDER BY account_id")
ACCOUNT = Query("SELECT id, user_id, currency, long_only FROM broker_accounts WHERE id = :id")
INSTANCE = Query("SELECT id, bot_id, account_id FROM bot_instances WHERE id = :id")
IMPORTS = Query(f"""
    SELECT id, format, source_name, file_sha256, part, parts, sequence, provider_id, no_fee, exact, rows_new
      FROM ledger_imports x WHERE account_id = :account_id AND {_KNOWN} ORDER BY id
""")
LATER_IMPORTS = Query("""
    SELECT id FROM ledger_imports x WHERE account_id = :account_id
       AND EXISTS (SELECT 1 FROM audit_log l WHERE l.act_id = x.act_id AND l.seq > :version) ORDER BY id
""")
MOVES = Query(f"""
    SELECT event, bot_id, import_id, metadata FROM ledger_events x
     WHERE account_id = :account_id AND event IN ('POSITION_MOVED', 'MOVE_RESOLVED') AND {_KNOWN} ORDER BY id
""")
#: A flow counts until its replacement is known, whatever moment that one is of; a replacement of 0 says that there was
#: none. Each has its own time, so as_of asks each row about itself alone.
FLOWS = Query(f"""
    SELECT id, kind, amount, currency, at FROM capital_flows x
     WHERE bot_id = :bot_id AND account_id = :account_id AND at <= :as_of AND amount <> '0' AND {_KNOWN}
       AND NOT EXISTS (SELECT 1 FROM capital_flows r WHERE r.replaces_id = x.id AND {_REPLACEMENT_KNOWN})
     ORDER BY at, id
""")
RATES = Query(f"""
    SELECT base, at, rate FROM fx_rates x
     WHERE quote = :quote AND base $IN(bases) AND at >= :since_at AND at <= :as_of AND {_KNOWN} ORDER BY base, at
""")
MARKS = Query(f"""
    SELECT at, price FROM marks x
     WHERE exchange = :exchange AND symbol = :symbol AND asset_class = :asset_class
       AND at >= :since_at AND at <= :as_of AND {_KNOWN} ORDER BY at
""")
_OF_KEY = "exchange = :exchange AND symbol = :symbol AND asset_class = :asset_class"
INSTRUMENT = Query(
    f"SELECT venue_symbol, currency, point_value, price_magnifier, session FROM instruments WHERE {_OF_KEY}"
)
#: The first change behind the version says what stood before it.
CHANGED_SINCE = Query(f"""
    SELECT before FROM instrument_events x WHERE {_OF_KEY}
       AND EXISTS (SELECT 1 FROM audit_log l WHERE l.act_id = x.act_id AND l.seq > :version) ORDER BY id LIMIT 1
""")
SESSION = Query("SELECT name, timezone FROM sessions WHERE name = :name")
HOURS = Query("SELECT weekday, state, opens, closes FROM session_hours WHERE session = :name ORDER BY weekday, opens")
DATES = Query("SELECT date, kind, time FROM session_dates WHERE session = :name ORDER BY date, kind")
SESSION_SINCE = Query("""
    SELECT before FROM session_events x WHERE session = :name
       AND EXISTS (SELECT 1 FROM audit_log l WHERE l.act_id = x.act_id AND l.seq > :version) ORDER BY id LIMIT 1
""")

#: How many fills there are of each import: by an index of its own, whose bot or account they are.
WRITTEN = Query("""
    SELECT import_id, count(*) AS n FROM trades
     WHERE import_id IN (SELECT id FROM ledger_imports WHERE account_id = :account_id) GROUP BY import_id
""")

#: Every statement about fills names its bot and account first: no road leads from one account to another's.
_BOOK = "FROM trades WHERE bot_id = :bot_id AND account_id = :account_id"
_NOT_8 = "(quantity_8 IS NULL OR price_8 IS NULL OR (fee IS NOT NULL AND fee_8 IS NULL))"

_DAY = timedelta(days=1)
#: Of fills: few enough to stay in a cache (a tenth faster than thousands); a server is asked for more at once.
_BATCH_ROWS = {"sqlite": 512, "postgresql": stream.BATCH_ROWS}


@dataclass(frozen=True, slots=True)
class Reversals:
    """Which fills do not count: the reversals themselves, and what they take back."""

    ids: frozenset[int]
    count: int


@dataclass(frozen=True)
class Ledger:
    """One bot on one account, up to a moment in the market and a place in the log."""

    tx: Tx
    bot_id: str
    account: Row
    as_of: datetime
    instance: int | None = None
    version: int | None = None

    @property
    def account_id(self) -> str:
        """The account."""
        return str(self.account["id"])

    @property
    def currency(self) -> str:
        """The account's currency: every figure is in it."""
        return str(self.account["currency"])

    @property
    def _names(self) -> dict[str, Any]:
        return {"bot_id": self.bot_id, "account_id": self.account_id}

    # ---- fills -------------------------------------------------------------------------------------------------------

    @cached_property
    def _later(self) -> list[int]:
        """The imports behind the version."""
        if self.version is None:
            return []
        found = self.tx.fetch(LATER_IMPORTS, account_id=self.account_id, version=self.version)
        return [row["id"] for row in found]

    def _where(self, *, rare: bool = False) -> str:
        """Return what narrows a statement about fills. What is `rare` has an index of its own, without the time."""
        # SQLite takes an index with a range before a small one; a `+` keeps a term out of that choice.
        at = "+executed_at" if rare and self.tx.connection.dialect.name == "sqlite" else "executed_at"
        terms = [_BOOK, f"{at} <= :as_of"]
        if self.instance is not None:
            terms.append("instance_id = :instance")
        if self._later:
            terms.append(f"import_id NOT IN ({', '.join(map(str, self._later))})")
        return " AND ".join(terms)

    def _parameters(self) -> dict[str, Any]:
        given = {**self._names, "as_of": time_text(self.as_of)}
        return given if self.instance is None else {**given, "instance": self.instance}

    def _answer(self, sql: str) -> list[tuple[Any, ...]]:
        with stream.rows(self.tx.connection, sql, **self._parameters()) as cursor:
            return list(cursor.fetchall())

    @cached_property
    def is_wide(self) -> bool:
        """Whether a number does not fit the fast columns, so that the decimals themselves must be read."""
        return bool(self._answer(f"SELECT 1 {self._where(rare=True)} AND {_NOT_8} LIMIT 1"))

    @property
    def places(self) -> int:
        """Of the whole numbers in rows."""
        return rules.EXACT_PLACES if self.is_wide else rules.FAST_PLACES

    @contextlib.contextmanager
    def fills(self, *more: str) -> Iterator[Iterator[Sequence[tuple[Any, ...]]]]:
        """Stream the fills that count, in their order, in batches; `more` columns stand behind those of a row."""
        kind = self.tx.connection.dialect.name
        columns = rules.EXACT_COLUMNS if self.is_wide else rules.COLUMNS
        selected = [stream.time_column(c, kind) if c == "executed_at" else c for c in (*columns, *more)]
        order = f"trades.executed_at, {stream.in_code_order('venue_trade_id', kind)}"
        sql = f"SELECT {', '.join(selected)} {self._where()} ORDER BY {order}"
        with stream.rows(self.tx.connection, sql, **self._parameters()) as cursor:
            batches = iter(lambda: cursor.fetchmany(_BATCH_ROWS[kind]), [])
            wide = rules.exact_rows(batches) if self.is_wide else batches
            yield rules.without(wide, self.reversals.ids)

    @cached_property
    def reversals(self) -> Reversals:
        """What does not count. A reversal counts from when it is known, whatever moment it repeats."""
        terms = [_BOOK, "reverses_id IS NOT NULL"]
        if self._later:
            terms.append(f"import_id NOT IN ({', '.join(map(str, self._later))})")
        with stream.rows(self.tx.connection, f"SELECT id, reverses_id {' AND '.join(terms)}", **self._names) as cursor:
            pairs = cursor.fetchall()
        return Reversals(frozenset(row_id for pair in pairs for row_id in pair), len(pairs))

    @cached_property
    def has_fills(self) -> bool:
        """Whether there is any row at all."""
        return bool(self._answer(f"SELECT 1 {self._where()} LIMIT 1"))

    @cached_property
    def _named(self) -> list[tuple[str, str, str, str | None, int]]:
        """Every (exchange, symbol, asset class, currency of the fee, import) that fills name."""
        columns = "exchange, symbol, asset_class, fee_currency, import_id"
        return self._answer(f"SELECT DISTINCT {columns} {self._where()}")

    @property
    def named_imports(self) -> set[int]:
        """The imports that fills say they came with."""
        return {import_id for *_, import_id in self._named}

    @property
    def written(self) -> dict[int, int]:
        """Import into the account → how many fills of it there are."""
        return {row["import_id"]: row["n"] for row in self.tx.fetch(WRITTEN, account_id=self.account_id)}

    @cached_property
    def reports_pnl(self) -> bool:
        """Whether a source said what it believes that it realized."""
        return bool(self._answer(f"SELECT 1 {self._where(rare=True)} AND reported_pnl IS NOT NULL LIMIT 1"))

    @property
    def after_kill(self) -> int:
        """How many fills came after a kill."""
        return self._counted(f"{self._where(rare=True)} AND after_kill = 1")

    @property
    def from_floats(self) -> int:
        """How many fills come from a source that held floats: none is looked for where every import was exact."""
        inexact = [row["id"] for row in self.imports if not row["exact"]]
        if not inexact:
            return 0
        where = self._where(rare=True)
        if self.tx.connection.dialect.name == "sqlite":
            where = where.replace("WHERE bot_id", "WHERE +bot_id").replace("AND account_id", "AND +account_id")
        return self._counted(f"{where} AND import_id IN ({', '.join(map(str, inexact))}) AND exact = 0")

    def _counted(self, where: str) -> int:
        left_out = self.reversals.ids
        found = self._answer(f"SELECT id {where}")
        return sum(row_id not in left_out for (row_id,) in found)

    # ---- everything else ---------------------------------------------------------------------------------------------

    @cached_property
    def imports(self) -> list[Row]:
        """The imports into the account, of every bot: a file that is missing may hold fills of this one."""
        return self.tx.fetch(IMPORTS, account_id=self.account_id, version=self.version)

    @property
    def open_moves(self) -> list[tuple[int | None, Mapping[str, Any]]]:
        """What changed a position without an execution, is of something traded here, and is not accounted for."""
        symbols = {key[1] for key in self._instruments} | {row["venue_symbol"] for row in self._instruments.values()}
        roots = set().union(*map(moves.roots, symbols))
        # Its day is one of some zone: what may be a day early or late still counts.
        since = (self.since - _DAY).date().isoformat() if self.since else ""
        until = (self.as_of + _DAY).date().isoformat()
        rows = self.tx.fetch(MOVES, account_id=self.account_id, version=self.version)
        return [
            (import_id, move)
            for import_id, move in moves.open_moves(rows, self.bot_id)
            if moves.concerns(move, roots) and ((day := move.get("day")) is None or since <= day <= until)
        ]

    @cached_property
    def flows(self) -> list[rules.Flow]:
        """The capital flows that count; an instance's figures are without the account's fees, which belong to none."""
        rows = self.tx.fetch(FLOWS, **self._names, as_of=self.as_of, version=self.version)
        return [
            rules.Flow(time_text(row["at"]), FlowKind(row["kind"]), row["amount"], row["currency"], row["id"])
            for row in rows
            if self.instance is None or row["kind"] != FlowKind.FEE
        ]

    @cached_property
    def since(self) -> datetime | None:
        """The day of the starting capital: no rate or mark before it is asked for."""
        from blaidctl.core.types import parse_time

        start = next((flow.at for flow in self.flows if flow.kind == FlowKind.INITIAL), None)
        return parse_time(f"{start[:10]}T00:00:00.000000Z") if start else None

    @cached_property
    def _instruments(self) -> dict[Key, Row]:
        found = {}
        for key in sorted({row[:3] for row in self._named}):
            row = self._instrument(key)
            if row is not None:
                found[key] = row
        return found

    def _instrument(self, key: Key) -> Row | None:
        names = dict(zip(("exchange", "symbol", "asset_class"), key, strict=True))
        if self.version is not None:
            later = self.tx.first(CHANGED_SINCE, **names, version=self.version)
            if later is not None:
                return _as_it_was(later["before"])
        return self.tx.first(INSTRUMENT, **names)

    @cached_property
    def instruments(self) -> dict[Key, rules.Instrument]:
        """What the fills trade, as far as it is known."""
        return {
            key: rules.Instrument(row["currency"], row["point_value"], row["price_magnifier"])
            for key, row in self._instruments.items()
        }

    @cached_property
    def _bases(self) -> list[str]:
        """Every currency besides the account's that something is in."""
        named = {found.currency for found in self.instruments.values()}
        named |= {currency for *_, currency, _ in self._named if currency}
        named |= {flow.currency for flow in self.flows}
        return sorted(named - {self.currency})

    @cached_property
    def rates(self) -> dict[Pair, dict[str, tuple[str, Decimal]]]:
        """Base and quote → day → when the last rate of that day was recorded, and the rate."""
        if not self._bases or self.since is None:
            return {}
        rows = self.tx.fetch(
            RATES, quote=self.currency, bases=self._bases, since_at=self.since, as_of=self.as_of, version=self.version
        )
        found: dict[Pair, dict[str, tuple[str, Decimal]]] = {}
        for row in rows:
            at = time_text(row["at"])
            found.setdefault((row["base"], self.currency), {})[at[:10]] = (at, row["rate"])
        return found

    @cached_property
    def marks(self) -> dict[Key, dict[str, tuple[str, Decimal]]]:
        """Instrument → day → when the last mark of that day was made, and the mark."""
        found: dict[Key, dict[str, tuple[str, Decimal]]] = {}
        for key in self._instruments if self.since else ():
            names = dict(zip(("exchange", "symbol", "asset_class"), key, strict=True))
            rows = self.tx.fetch(MARKS, **names, since_at=self.since, as_of=self.as_of, version=self.version)
            by_day = {(at := time_text(row["at"]))[:10]: (at, row["price"]) for row in rows}
            if by_day:
                found[key] = by_day
        return found

    @cached_property
    def calendar(self) -> Calendar:
        """On which days the instruments trade."""
        names = {key: row["session"] for key, row in self._instruments.items()}
        return Calendar(names, {name: self._session(name) for name in sorted(set(names.values()))})

    def _session(self, name: str) -> Any:
        described = None
        if self.version is not None:
            later = self.tx.first(SESSION_SINCE, name=name, version=self.version)
            described = later["before"] if later else None
        if described is None:
            row = self.tx.first(SESSION, name=name)
            described = {
                "timezone": row["timezone"] if row else "UTC",
                "hours": [tuple(hour.values()) for hour in self.tx.fetch(HOURS, name=name)],
                "dates": [tuple(date.values()) for date in self.tx.fetch(DATES, name=name)],
            }
        return timetable.by_name(name, described["timezone"], described["hours"], described["dates"])


def _as_it_was(before: Mapping[str, Any] | None) -> Row | None:
    """Return the values that an event says; None: the instrument was not there yet."""
    from blaidctl.core import decimals

    if before is None:
        return None
    exact = {name: decimals.exact(before[name]) for name in ("point_value", "price_magnifier")}
    return {name: before[name] for name in ("venue_symbol", "currency", "session")} | exact


def head(tx: Tx) -> int:
    """Return the place in the audit log at which the ledger stands."""
    found = tx.first(HEAD)
    return int(found["seq"]) if found else 0
