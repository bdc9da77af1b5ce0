"""Rows of `trades`: how they are compared, hashed and written.

The digest of an import's fills is SHA-256 over one JSON array a fill (DIGESTED, texts and whole numbers, in order of
the ids), with a comma between them; `audit verify` takes it again from what the database holds.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy.exc import OperationalError

from blaidctl.ledger import queries
from blaidctl.ledger.spool import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy.engine import Connection

#: What a fill says, beside its id: where two sources differ in one of these, they do not tell of the same fill.
CONTENT = (
    "bot_id", "exchange", "symbol", "asset_class", "side", "quantity", "price", "fee", "fee_currency", "executed_at",
    "order_id", "reverses", "reported_pnl", "instance_id",
)  # fmt: skip
#: What a source need not say; that it does not contradicts nothing.
_MAY_BE_SILENT = frozenset({"fee", "fee_currency", "order_id", "reported_pnl"})
_SILENT_INSTANCE = "instance_id"
#: The columns that the digest is taken over; `reverses` is the venue_trade_id of the fill that is taken back.
DIGESTED = (
    "account_id", "bot_id", "instance_id", "exchange", "symbol", "asset_class", "side", "quantity", "price", "fee",
    "fee_currency", "executed_at", "venue_trade_id", "order_id", "source", "line", "reverses", "reported_pnl",
    "after_kill", "exact",
)  # fmt: skip
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


class Known(NamedTuple):
    """A fill that the ledger holds."""

    entry: Entry
    id: int
    import_id: int


def known(connection: Connection, account_id: str, ids: Sequence[str]) -> dict[str, Known]:
    """Return what the ledger holds under these ids."""
    found = {}
    rows = queries.tuples(connection, queries.KNOWN, account_id=account_id, ids=list(ids))
    for venue_trade_id, *content, id_, import_id in rows:
        said = dict(zip(CONTENT, content, strict=True))
        entry = _NOTHING._replace(venue_trade_id=venue_trade_id, **said)
        found[venue_trade_id] = Known(entry, id_, import_id)
    return found


_NOTHING = Entry(*[None] * len(Entry._fields))  # type: ignore[arg-type] # each is replaced, or never looked at


def difference(entry: Entry, there: Known) -> str:
    """Say where a source and the ledger do not tell of the same fill; nothing where they do."""
    differs = []
    for name in CONTENT:
        said, held = getattr(entry, name), getattr(there.entry, name)
        if said == held or (said is None and name in _MAY_BE_SILENT):
            continue
        if name == _SILENT_INSTANCE and not entry.named:
            continue
        differs.append(f"{name} {_shown(said)} here, {_shown(held)} in the ledger")
    if not differs:
        return ""
    return (
        f"fill {entry.venue_trade_id!r} is known as trade {there.id} of import {there.import_id}: {'; '.join(differs)}"
    )


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)


_MIRRORED = ("bot_id", "exchange", "symbol", "asset_class", "quantity", "price")


def no_mirror(entry: Entry, original: Entry) -> str:
    """Say why a reversal does not take back this fill; nothing where it does."""
    if original.reverses is not None:
        return f"reverses: {original.venue_trade_id!r} is a reversal itself; import the fill again under a new id"
    wrong = [
        f"{name} {getattr(entry, name)}, not {getattr(original, name)}"
        for name in _MIRRORED
        if getattr(entry, name) != getattr(original, name)
    ]
    if entry.side == original.side:
        wrong.append(f"side {entry.side}, which it should be the opposite of")
    if entry.fee != negated(original.fee) or (
        entry.fee not in {None, "0"} and entry.fee_currency != original.fee_currency
    ):
        paid = "none" if original.fee is None else f"{negated(original.fee)} {original.fee_currency}"
        wrong.append(f"fee {_shown(entry.fee)} {entry.fee_currency or ''}".strip() + f", not {paid}")
    return f"reverses: does not mirror {original.venue_trade_id!r}: {'; '.join(wrong)}" if wrong else ""


def negated(text: str | None) -> str | None:
    """Return a canonical decimal with the other sign."""
    if text is None or text == "0":
        return text
    return text.removeprefix("-") if text.startswith("-") else f"-{text}"


def times_10_8(text: str) -> int | None:
    """Return a canonical decimal times 10^8 where it is a 64-bit integer to the database: its CHECK says the same."""
    whole, _, places = text.partition(".")
    if len(places) > 8 or len(whole.lstrip("-")) > 10:  # noqa: PLR2004 - of ddl.times_10_8
        return None
    return int(whole + places.ljust(8, "0"))


# --- the digest ----------------------------------------------------------------------------------------------------


class Hashing:
    """The digest of an import's fills, in pieces."""

    def __init__(self) -> None:
        """Start with none."""
        self.count = 0
        self._hasher = hashlib.sha256()

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        """Take the next rows of DIGESTED."""
        if rows:
            self._hasher.update(f"{',' if self.count else ''}{_encode(rows)[1:-1]}".encode())
            self.count += len(rows)

    def hexdigest(self) -> str:
        """Return 64 lowercase hex digits."""
        return self._hasher.hexdigest()


_BEFORE_SOURCE = DIGESTED[1 : DIGESTED.index("source")]
_AFTER_SOURCE = DIGESTED[DIGESTED.index("source") + 1 :]
_FIRST = [Entry._fields.index(name) for name in _BEFORE_SOURCE]
_SECOND = [Entry._fields.index(name) for name in _AFTER_SOURCE]


def digested(entries: Iterable[Entry], account_id: str, source: str) -> list[list[Any]]:
    """Return fills as the digest wants them."""
    return [[account_id, *[e[i] for i in _FIRST], source, *[e[i] for i in _SECOND]] for e in entries]


# --- writing -------------------------------------------------------------------------------------------------------

_OWN = tuple(name for name in Entry._fields if name not in {"reverses", "named"})
_PLACES = [Entry._fields.index(name) for name in _OWN]
COLUMNS = ("import_id", "account_id", "source", "reverses_id", *_OWN)
_INSERT = f"INSERT INTO trades ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
_COPY = f"COPY trades ({', '.join(COLUMNS)}) FROM STDIN"


def insert(  # noqa: PLR0913, PLR0917 - what all of them have, and what each has
    connection: Connection, entries: Iterable[Entry], import_id: int, account_id: str, source: str,
    originals: Mapping[str, int],
) -> None:  # fmt: skip
    """Write fills, in their order; `originals` are the ids of the trades that reversals take back."""
    rows = [
        (import_id, account_id, source, None if e.reverses is None else originals[e.reverses], *[e[i] for i in _PLACES])
        for e in entries
    ]
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_INSERT, rows)
    else:
        _copy(connection, rows)


def _copy(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """Stream rows to PostgreSQL: a third of what statements with parameters take."""
    driver: Any = connection.connection.driver_connection
    try:
        with driver.cursor() as cursor, cursor.copy(_COPY) as copy:
            for row in rows:
                copy.write_row(row)
    except connection.dialect.loaded_dbapi.Error as error:
        raise OperationalError(_COPY, None, error) from error  # as SQLAlchemy's own cursor raises it
