"""Create the instruments, the sessions that they trade in, and the currencies beyond ISO 4217.

Why: what is traded, in which steps and for how much money a step, comes from files into tables and nowhere else; every
change of it is an event with its before and after. No row may hold a tick, lot or quantity that is no positive exact
number, a minimum above its maximum, or a session that nobody described: whoever writes.

Diff: new tables sessions (name, timezone, updated_at), session_hours (session, weekday, state, opens, closes),
session_dates (session, date, kind, time), session_events (id, act_id, action, session, before, after, source_sha256,
created_at, actor, trace_id), currencies (code, places, created_at), instruments (symbol, exchange, asset_class,
description, tick_size, point_value, currency, min_qty, min_notional, max_qty, lot_size, session, venue_symbol,
price_magnifier, is_active, updated_at), instrument_events (id, act_id, action, exchange, symbol, asset_class, before,
after, source_sha256, created_at, actor, trace_id). Triggers: session_events and instrument_events append-only;
instruments and sessions never deleted or renamed, no session unknown; currencies never changed. PostgreSQL: function
blaidctl_instrument_guard.

Rollback: drops the seven tables and the function; instruments are loaded again from their files, the history of their
changes is lost, the audit log keeps the entries.

Data safety: creates only; no existing row is read or locked.
"""

from blaidctl.core.ddl import PIN_SEARCH_PATH, above_zero, append_only, at_most, engine_kind, run, spell

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

ASSET_CLASSES = (
    "'cfd', 'commodity', 'crypto', 'cryptofuture', 'equity', 'forex', 'future', 'futureoption', 'index', 'indexoption',"
    " 'option'"
)
#: Times of day and dates are text on both engines: 24:00:00 is the end of a day, and no type of PostgreSQL's own.
TIME_OF_DAY = {
    "sqlite": "{column} GLOB '[0-2][0-9]:[0-5][0-9]:[0-5][0-9]' AND {column} <= '24:00:00'",
    "postgresql": "{column} ~ '^(([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]|24:00:00)$'",
}
DATE = {
    "sqlite": "date IS date(date, '+0 days')",
    "postgresql": "date ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' AND date = to_char(to_date(date, 'YYYY-MM-DD'), 'YYYY-MM-DD')",
}
AMOUNTS = ("tick_size", "point_value", "min_qty", "min_notional", "max_qty", "lot_size", "price_magnifier")


def tables(kind: str) -> list[str]:
    """Return the statements that make the tables of one engine."""
    opens, closes, time = (TIME_OF_DAY[kind].format(column=name) for name in ("opens", "closes", "time"))
    amounts = ",\n        ".join(f"CONSTRAINT instruments_{n} CHECK ({above_zero(n, kind)})" for n in AMOUNTS)
    stamps = spell("created_at {TIME} NOT NULL,\n        actor TEXT NOT NULL,\n        trace_id TEXT NOT NULL", kind)
    event_id, decimal, time_type, json, strict = (
        spell(word, kind) for word in ("{EVENT_ID}", "{DECIMAL}", "{TIME}", "{JSON}", "{STRICT}")
    )
    return [
        f"""
    CREATE TABLE sessions (
        name TEXT NOT NULL PRIMARY KEY,
        timezone TEXT NOT NULL,
        updated_at {time_type} NOT NULL,
        CONSTRAINT sessions_name CHECK (length(name) BETWEEN 1 AND 64),
        CONSTRAINT sessions_timezone CHECK (length(timezone) BETWEEN 1 AND 64)
    ){strict}
    """,
        f"""
    CREATE TABLE session_hours (
        session TEXT NOT NULL REFERENCES sessions (name),
        weekday INTEGER NOT NULL,
        state TEXT NOT NULL,
        opens TEXT NOT NULL,
        closes TEXT NOT NULL,
        CONSTRAINT session_hours_pkey PRIMARY KEY (session, weekday, opens),
        CONSTRAINT session_hours_weekday CHECK (weekday BETWEEN 0 AND 6),
        CONSTRAINT session_hours_state CHECK (state IN ('premarket', 'market', 'postmarket')),
        CONSTRAINT session_hours_opens CHECK ({opens}),
        CONSTRAINT session_hours_closes CHECK ({closes}),
        CONSTRAINT session_hours_order CHECK (opens < closes)
    ){strict}
    """,
        f"""
    CREATE TABLE session_dates (
        session TEXT NOT NULL REFERENCES sessions (name),
        date TEXT NOT NULL,
        kind TEXT NOT NULL,
        time TEXT,
        CONSTRAINT session_dates_pkey PRIMARY KEY (session, date, kind),
        CONSTRAINT session_dates_date CHECK ({DATE[kind]}),
        CONSTRAINT session_dates_kind CHECK (kind IN ('holiday', 'early_close', 'late_open')),
        CONSTRAINT session_dates_time CHECK ({time}),
        CONSTRAINT session_dates_timed CHECK ((kind = 'holiday') = (time IS NULL))
    ){strict}
    """,
        f"""
    CREATE TABLE session_events (
        id {event_id},
        act_id TEXT NOT NULL,
        action TEXT NOT NULL,
        session TEXT NOT NULL REFERENCES sessions (name),
        before {json},
        after {json} NOT NULL,
        source_sha256 TEXT NOT NULL,
        {stamps},
        CONSTRAINT session_events_id_positive CHECK (id > 0),
        CONSTRAINT session_events_action CHECK (action IN ('LOADED', 'CHANGED')),
        CONSTRAINT session_events_before CHECK ((action = 'LOADED') = (before IS NULL)),
        CONSTRAINT session_events_trace_id_length CHECK (length(trace_id) = 32)
    ){strict}
    """,
        "CREATE INDEX session_events_act ON session_events (act_id)",
        f"""
    CREATE TABLE currencies (
        code TEXT NOT NULL PRIMARY KEY,
        places INTEGER NOT NULL,
        created_at {time_type} NOT NULL,
        CONSTRAINT currencies_code CHECK (length(code) BETWEEN 2 AND 16),
        CONSTRAINT currencies_places CHECK (places BETWEEN 0 AND 18)
    ){strict}
    """,
        f"""
    CREATE TABLE instruments (
        symbol TEXT NOT NULL,
        exchange TEXT NOT NULL,
        asset_class TEXT NOT NULL,
        description TEXT NOT NULL,
        tick_size {decimal} NOT NULL,
        point_value {decimal} NOT NULL,
        currency TEXT NOT NULL,
        min_qty {decimal} NOT NULL,
        min_notional {decimal},
        max_qty {decimal},
        lot_size {decimal} NOT NULL,
        session TEXT NOT NULL REFERENCES sessions (name),
        venue_symbol TEXT NOT NULL,
        price_magnifier {decimal} NOT NULL,
        is_active INTEGER NOT NULL,
        updated_at {time_type} NOT NULL,
        CONSTRAINT instruments_pkey PRIMARY KEY (exchange, symbol, asset_class),
        CONSTRAINT instruments_symbol CHECK (length(symbol) BETWEEN 1 AND 64),
        CONSTRAINT instruments_exchange CHECK (length(exchange) BETWEEN 1 AND 32),
        CONSTRAINT instruments_asset_class CHECK (asset_class IN ({ASSET_CLASSES})),
        CONSTRAINT instruments_currency CHECK (length(currency) BETWEEN 2 AND 16),
        {amounts},
        CONSTRAINT instruments_min_at_most_max CHECK (max_qty IS NULL OR {at_most("min_qty", "max_qty", kind)}),
        CONSTRAINT instruments_is_active CHECK (is_active IN (0, 1))
    ){strict}
    """,
        "CREATE INDEX instruments_by_symbol ON instruments (symbol)",
        f"""
    CREATE TABLE instrument_events (
        id {event_id},
        act_id TEXT NOT NULL,
        action TEXT NOT NULL,
        exchange TEXT NOT NULL,
        symbol TEXT NOT NULL,
        asset_class TEXT NOT NULL,
        before {json},
        after {json} NOT NULL,
        source_sha256 TEXT,
        {stamps},
        CONSTRAINT instrument_events_id_positive CHECK (id > 0),
        CONSTRAINT instrument_events_action CHECK (action IN ('LOADED', 'CHANGED', 'DEACTIVATED', 'REACTIVATED')),
        CONSTRAINT instrument_events_before CHECK ((action = 'LOADED') = (before IS NULL)),
        CONSTRAINT instrument_events_source CHECK (action = 'DEACTIVATED' OR source_sha256 IS NOT NULL),
        CONSTRAINT instrument_events_trace_id_length CHECK (length(trace_id) = 32)
    ){strict}
    """,
        "CREATE INDEX instrument_events_act ON instrument_events (act_id)",
        "CREATE INDEX instrument_events_key ON instrument_events (exchange, symbol, asset_class, id)",
    ]


_SESSION = "no session of this name is known"
#: Tables whose session must be known, also where foreign keys are switched off.
OF_A_SESSION = ("instruments", "session_hours", "session_dates", "session_events")


def sqlite_guards() -> list[str]:
    """Return SQLite's triggers; foreign keys may be off, and INSERT OR REPLACE deletes without a delete trigger."""
    unknown = f"SELECT RAISE(ABORT, '{_SESSION}') WHERE NOT EXISTS (SELECT 1 FROM sessions WHERE name = NEW.session)"
    return [
        *(
            f"CREATE TRIGGER {table}_known_session BEFORE INSERT ON {table} BEGIN {unknown}; END"
            for table in OF_A_SESSION
        ),
        *(
            f"CREATE TRIGGER {table}_known_session_after BEFORE UPDATE OF session ON {table} BEGIN {unknown}; END"
            for table in OF_A_SESSION[:-1]
        ),
        *_sqlite_kept("instruments", "exchange", "symbol", "asset_class"),
        *_sqlite_kept("sessions", "name"),
        *_sqlite_kept("currencies", "code"),
        """
    CREATE TRIGGER currencies_no_change BEFORE UPDATE ON currencies
    BEGIN SELECT RAISE(ABORT, 'currencies are never changed'); END
    """,
    ]


def _sqlite_kept(table: str, *key: str) -> list[str]:
    """Return the triggers that keep every row of a table under its key."""
    same = " AND ".join(f"{name} = NEW.{name}" for name in key)
    moved = " OR ".join(f"NEW.{name} IS NOT OLD.{name}" for name in key)
    return [
        f"""
    CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table}
    BEGIN SELECT RAISE(ABORT, '{table}: the key exists') WHERE EXISTS (SELECT 1 FROM {table} WHERE {same}); END
    """,
        f"""
    CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table}
    BEGIN SELECT RAISE(ABORT, '{table} are never deleted'); END
    """,
        f"""
    CREATE TRIGGER {table}_no_rename BEFORE UPDATE OF {", ".join(key)} ON {table} WHEN {moved}
    BEGIN SELECT RAISE(ABORT, '{table} are never renamed'); END
    """,
    ]


def postgresql_guards() -> list[str]:
    """Return PostgreSQL's function and triggers; ALWAYS: on a replica's role too."""
    made = [
        *((f"{table}_known_session", "INSERT OR UPDATE OF session", table, "ROW") for table in OF_A_SESSION),
        ("instruments_no_rename", "DELETE OR UPDATE OF exchange, symbol, asset_class", "instruments", "ROW"),
        ("sessions_no_rename", "DELETE OR UPDATE OF name", "sessions", "ROW"),
        ("currencies_no_change", "UPDATE OR DELETE", "currencies", "ROW"),
        *(
            (f"{table}_no_truncate", "TRUNCATE", table, "STATEMENT")
            for table in ("instruments", "sessions", "currencies")
        ),
    ]
    return [
        PIN_SEARCH_PATH,
        f"""
    CREATE FUNCTION blaidctl_instrument_guard() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT AS $$
    BEGIN
        IF TG_NAME LIKE '%_known_session' THEN
            IF NOT EXISTS (SELECT 1 FROM sessions WHERE name = NEW.session) THEN
                RAISE EXCEPTION '{_SESSION}' USING ERRCODE = 'restrict_violation';
            END IF;
            RETURN NEW;
        END IF;
        RAISE EXCEPTION '% are never deleted or renamed', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
    END $$
    """,
        *(
            f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH {each}"
            " EXECUTE FUNCTION blaidctl_instrument_guard()"
            for name, event, table, each in made
        ),
        *(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}" for name, _, table, _ in made),
    ]


def upgrade() -> None:
    """Create tables, the function and the triggers."""
    kind = engine_kind()
    guards = sqlite_guards() if kind == "sqlite" else postgresql_guards()
    events = [*append_only("session_events", kind), *append_only("instrument_events", kind)]
    for statement in [*tables(kind), *guards, *events]:
        run(statement)


def downgrade() -> None:
    """Drop everything; the history of instruments and sessions is lost."""
    for table in ("instrument_events", "instruments", "currencies"):
        run(f"DROP TABLE {table}")
    for table in ("session_events", "session_dates", "session_hours", "sessions"):
        run(f"DROP TABLE {table}")
    if engine_kind() == "postgresql":
        run("DROP FUNCTION blaidctl_instrument_guard()")
