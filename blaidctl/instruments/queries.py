"""Statements of instruments, sessions and currencies."""

from blaidctl.core import stream
from blaidctl.core.sql import DECIMAL_COLUMNS, Query
from blaidctl.instruments.rows import KEY, VALUES

#: Everything that an event says of an instrument, in the order of its canonical text.
FIELDS = tuple(sorted((*KEY, *VALUES)))

_COLUMNS = (
    "symbol, exchange, asset_class, description, tick_size, point_value, currency, min_qty, min_notional, max_qty,"
    " lot_size, session, venue_symbol, price_magnifier, is_active, updated_at"
)


def text_columns(kind: str, prefix: str = "") -> str:
    """Return the SQL of FIELDS and is_active, decimals as canonical text on both engines."""
    exact = "trim_scale({0})::text" if kind == "postgresql" else "{0}"
    return ", ".join(
        exact.format(f"{prefix}{name}") if name in DECIMAL_COLUMNS else f"{prefix}{name}"
        for name in (*FIELDS, "is_active")
    )


def _of_keys(kind: str) -> str:
    """Return the rows of a JSON array of keys bound to :keys."""
    if kind == "sqlite":
        keys = "json_each(:keys) k"
        same = " AND ".join(f"i.{name} = k.value ->> '$[{n}]'" for n, name in enumerate(KEY))
    else:
        keys = "jsonb_array_elements(CAST(:keys AS jsonb)) k(value)"
        same = " AND ".join(f"i.{name} = k.value ->> {n}" for n, name in enumerate(KEY))
    return f"SELECT {text_columns(kind, 'i.')} FROM {keys} JOIN instruments i ON {same}"


KNOWN = Query(sqlite=_of_keys("sqlite"), postgresql=_of_keys("postgresql"))
#: Writers of instruments wait for each other: what a load compares with is what it changes. Readers never wait.
LOCK = Query(sqlite="SELECT 1", postgresql="LOCK TABLE instruments IN SHARE ROW EXCLUSIVE MODE")


def _value(kind: str, name: str, position: int) -> str:
    if kind == "sqlite":
        return f"r.value ->> '$[{position}]'"
    return f"CAST(r.value ->> {position} AS {'numeric' if name in DECIMAL_COLUMNS else 'text'})"


def _rows(kind: str) -> str:
    return "json_each(:rows) r" if kind == "sqlite" else "jsonb_array_elements(CAST(:rows AS jsonb)) r(value)"


def _insert(kind: str) -> str:
    values = ", ".join(_value(kind, name, n) for n, name in enumerate(FIELDS))
    return (
        f"INSERT INTO instruments ({', '.join(FIELDS)}, is_active, updated_at)"
        f" SELECT {values}, 1, :now FROM {_rows(kind)} WHERE true"
    )


def _update(kind: str) -> str:
    place = {name: n for n, name in enumerate(FIELDS)}
    changes = ", ".join(f"{name} = {_value(kind, name, place[name])}" for name in VALUES)
    same = " AND ".join(f"i.{name} = {_value(kind, name, place[name])}" for name in KEY)
    last = len(FIELDS)
    active = f"r.value ->> '$[{last}]'" if kind == "sqlite" else f"CAST(r.value ->> {last} AS integer)"
    changes += f", is_active = {active}, updated_at = :now"
    return f"UPDATE instruments AS i SET {changes} FROM {_rows(kind)} WHERE {same}"


#: Rows of FIELDS; for an update is_active stands behind them.
INSERT = Query(sqlite=_insert("sqlite"), postgresql=_insert("postgresql"))
UPDATE = Query(sqlite=_update("sqlite"), postgresql=_update("postgresql"))
DEACTIVATE = Query("""
    UPDATE instruments SET is_active = 0, updated_at = :now
     WHERE exchange = :exchange AND symbol = :symbol AND asset_class = :asset_class AND is_active = 1
""")

_NARROWED = """
    (CAST(:symbol AS TEXT) IS NULL OR symbol = :symbol)
       AND (CAST(:exchange AS TEXT) IS NULL OR exchange = :exchange)
       AND (CAST(:asset_class AS TEXT) IS NULL OR asset_class = :asset_class)
"""


def _in_order(kind: str) -> str:
    return ", ".join(stream.in_code_order(name, kind) for name in KEY)


def _list(kind: str) -> str:
    return (
        f"SELECT {_COLUMNS} FROM instruments WHERE {_NARROWED} AND (:inactive = 1 OR is_active = 1)"
        f" ORDER BY {_in_order(kind)} LIMIT :limit"
    )


LIST = Query(sqlite=_list("sqlite"), postgresql=_list("postgresql"))
COUNT = Query(f"SELECT count(*) AS n FROM instruments WHERE {_NARROWED} AND (:inactive = 1 OR is_active = 1)")
FIND = Query(f"SELECT {_COLUMNS} FROM instruments WHERE {_NARROWED} LIMIT 100")
#: For "did you mean": names are compared, not all of a large table.
SYMBOLS = Query("SELECT DISTINCT symbol FROM instruments ORDER BY symbol LIMIT 20000")
EVENTS = Query(f"""
    SELECT id, action, exchange, symbol, asset_class, before, after, source_sha256, created_at, actor, trace_id, act_id
      FROM instrument_events WHERE {_NARROWED} ORDER BY id DESC LIMIT :limit
""")

# ---- sessions and currencies ------------------------------------------------------------------------------------

SESSION_NAMES = Query("SELECT name FROM sessions ORDER BY name")
FIND_SESSION = Query("SELECT name, timezone, updated_at FROM sessions WHERE name = :name")
LIST_SESSIONS = Query("""
    SELECT s.name, s.timezone, s.updated_at,
           (SELECT count(*) FROM session_hours h WHERE h.session = s.name) AS hours,
           (SELECT count(*) FROM session_dates d WHERE d.session = s.name) AS dates,
           (SELECT count(*) FROM instruments i WHERE i.session = s.name) AS instruments
      FROM sessions s ORDER BY s.name
""")
HOURS_OF = Query("""
    SELECT session, weekday, state, opens, closes FROM session_hours WHERE session $IN(names)
     ORDER BY session, weekday, opens
""")
DATES_OF = Query("""
    SELECT session, date, kind, time FROM session_dates WHERE session $IN(names) ORDER BY session, date, kind
""")
ZONES_OF = Query("SELECT name, timezone FROM sessions WHERE name $IN(names)")
LOCK_SESSIONS = Query(sqlite="SELECT 1", postgresql="LOCK TABLE sessions IN SHARE ROW EXCLUSIVE MODE")
INSERT_SESSION = Query("INSERT INTO sessions (name, timezone, updated_at) VALUES (:name, :timezone, :now)")
UPDATE_SESSION = Query("UPDATE sessions SET timezone = :timezone, updated_at = :now WHERE name = :name")
DELETE_HOURS = Query("DELETE FROM session_hours WHERE session $IN(names)")
DELETE_DATES = Query("DELETE FROM session_dates WHERE session $IN(names)")
INSERT_HOURS = Query(
    sqlite="""
    INSERT INTO session_hours (session, weekday, state, opens, closes)
    SELECT value ->> '$[0]', value ->> '$[1]', value ->> '$[2]', value ->> '$[3]', value ->> '$[4]'
      FROM json_each(:rows)
    """,
    postgresql="""
    INSERT INTO session_hours (session, weekday, state, opens, closes)
    SELECT v ->> 0, CAST(v ->> 1 AS integer), v ->> 2, v ->> 3, v ->> 4
      FROM jsonb_array_elements(CAST(:rows AS jsonb)) r(v)
    """,
)
INSERT_DATES = Query(
    sqlite="""
    INSERT INTO session_dates (session, date, kind, time)
    SELECT value ->> '$[0]', value ->> '$[1]', value ->> '$[2]', value ->> '$[3]' FROM json_each(:rows)
    """,
    postgresql="""
    INSERT INTO session_dates (session, date, kind, time)
    SELECT v ->> 0, v ->> 1, v ->> 2, v ->> 3 FROM jsonb_array_elements(CAST(:rows AS jsonb)) r(v)
    """,
)
LIST_CURRENCIES = Query("SELECT code, places, created_at FROM currencies ORDER BY code")
FIND_CURRENCY = Query("SELECT code, places, created_at FROM currencies WHERE code = :code")
INSERT_CURRENCY = Query("INSERT INTO currencies (code, places, created_at) VALUES (:code, :places, :now)")
