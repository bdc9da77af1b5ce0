"""Create the ledger: fills, their imports, capital flows, FX rates and marks.

Why: every number about money is computed from rows that cannot be changed: fills as the venue reported them, the
capital that was paid in, the rates and marks that were recorded. The database itself refuses a fill of another user's
account, of an unlinked bot or of an unknown instrument, a number that is not exact, and a correction that does not name
what it corrects: whoever writes. A capital flow that was recorded wrongly is replaced by another row, once, in a chain
that never forks.

Diff: new tables ledger_imports (id, act_id, account_id, format, source_name, file_sha256, part, parts, rows_read,
rows_new, rows_known, rows_refused, exact, sequence, provider_id, no_fee, timezone, first_executed_at,
last_executed_at, after_kill, fills_sha256, actor, created_at, trace_id), trades (id, import_id, bot_id, instance_id,
account_id, exchange, symbol, asset_class, side, quantity, price, fee, fee_currency, executed_at, venue_trade_id,
order_id, source, line, reverses_id, reported_pnl, after_kill, exact, quantity_8, price_8, fee_8), ledger_events (id,
act_id, event, severity, account_id, bot_id, import_id, error_code, message, metadata, actor, created_at, trace_id),
capital_flows (id, act_id, bot_id, account_id, kind, amount, currency, at, note, external_id, replaces_id, actor,
created_at, trace_id), fx_rates (id, act_id, base, quote, at, rate, source, actor, created_at, trace_id), marks (id,
act_id, exchange, symbol, asset_class, at, price, source, actor, created_at, trace_id); new column
broker_accounts.long_only; new index account_links_of_bot.
Triggers: all six tables append-only and never replaced; a fill names an instrument, an account that its bot was linked
to, an instance of that bot; a reversal mirrors the one fill that it reverses; a flow replaces one of its own bot and
account, INITIAL only INITIAL; broker_accounts.long_only never changes.
PostgreSQL: functions blaidctl_trade_guard, blaidctl_flow_guard, blaidctl_long_only_guard.

Rollback: drops the six tables, the functions and the column: every fill, flow, rate and mark is gone, the audit log
keeps the entries with the digests of the rows. Import the files again afterwards.

Data safety: creates only; existing accounts get long_only 0 (a constant default: no row is rewritten).
"""

from blaidctl.core.ddl import (
    PIN_SEARCH_PATH,
    above_zero,
    append_only,
    engine_kind,
    moment,
    number,
    run,
    spell,
    times_10_8,
)

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

FORMATS = "'csv', 'ndjson', 'freqtrade', 'hummingbot', 'ccxt', 'alpaca', 'ibkr', 'paged'"
MOVES = "'POSITION_MOVED', 'MOVE_RESOLVED'"
EVENTS = f"'FILL_AFTER_KILL', 'REFUSED', {MOVES}"
TABLES = ("marks", "fx_rates", "capital_flows", "ledger_events", "trades", "ledger_imports")
#: Column → whether it may be missing.
SCALED = {"quantity": False, "price": False, "fee": True}
STAMPS = "actor TEXT NOT NULL,\n        created_at {TIME} NOT NULL,\n        trace_id TEXT NOT NULL"
LONG_ONLY = """
    ALTER TABLE broker_accounts ADD COLUMN long_only INTEGER NOT NULL DEFAULT 0
    CONSTRAINT broker_accounts_long_only CHECK (long_only IN (0, 1))
    """
#: Every fill asks whether its bot was ever linked to its account.
LINKS = "CREATE INDEX account_links_of_bot ON account_links (bot_id, account_id)"


def same(one: str, other: str, kind: str) -> str:
    """Return the condition that two values are equal, or both missing."""
    return f"{one} IS {other}" if kind == "sqlite" else f"{one} IS NOT DISTINCT FROM ({other})"


def scaled_checks(kind: str, prefix: str = "") -> dict[str, str]:
    """Return, by name, what ties the 64-bit integers that are computed with to the decimals that are true."""
    return {f"trades_{name}_8": same(f"{prefix}{name}_8", times_10_8(f"{prefix}{name}", kind), kind) for name in SCALED}


def exact_checks(kind: str, prefix: str = "") -> dict[str, str]:
    """Return, by name, what makes the decimals of a fill exact."""
    fee = f"{prefix}fee"
    pnl = f"{prefix}reported_pnl"
    return {
        "trades_quantity": above_zero(f"{prefix}quantity", kind),
        "trades_price": number(f"{prefix}price", kind),
        "trades_fee": f"{fee} IS NULL OR {fee} = {zero(kind)} OR ({number(fee, kind)})",
        "trades_reported_pnl": f"{pnl} IS NULL OR {pnl} = {zero(kind)} OR ({number(pnl, kind)})",
    }


def zero(kind: str) -> str:
    """Return zero as a {DECIMAL} of the engine holds it."""
    return "'0'" if kind == "sqlite" else "0"


def checks(**conditions: str) -> str:
    """Return the named CHECKs of a table as text."""
    return ",\n        ".join(f"CONSTRAINT {name} CHECK ({condition})" for name, condition in conditions.items())


def tables(kind: str) -> list[str]:
    """Return the statements that make the tables of one engine."""
    event_id, big, decimal, time, json, strict, stamps = (
        spell(word, kind)
        for word in ("{EVENT_ID}", "{BIG}", "{DECIMAL}", "{TIME}", "{JSON}", "{STRICT}", STAMPS)
    )  # fmt: skip
    return [
        f"""
    CREATE TABLE ledger_imports (
        id {event_id},
        act_id TEXT NOT NULL,
        account_id TEXT NOT NULL REFERENCES broker_accounts (id),
        format TEXT NOT NULL,
        source_name TEXT NOT NULL,
        file_sha256 TEXT NOT NULL,
        part INTEGER NOT NULL,
        parts INTEGER NOT NULL,
        rows_read INTEGER NOT NULL,
        rows_new INTEGER NOT NULL,
        rows_known INTEGER NOT NULL,
        rows_refused INTEGER NOT NULL,
        exact INTEGER NOT NULL,
        sequence {big},
        provider_id TEXT,
        no_fee INTEGER NOT NULL,
        timezone TEXT,
        first_executed_at {time},
        last_executed_at {time},
        after_kill INTEGER NOT NULL,
        fills_sha256 TEXT NOT NULL,
        {stamps},
        CONSTRAINT ledger_imports_id_positive CHECK (id > 0),
        CONSTRAINT ledger_imports_format CHECK (format IN ({FORMATS})),
        CONSTRAINT ledger_imports_file_length CHECK (length(file_sha256) = 64),
        CONSTRAINT ledger_imports_fills_length CHECK (length(fills_sha256) = 64),
        CONSTRAINT ledger_imports_part CHECK (part BETWEEN 1 AND parts),
        CONSTRAINT ledger_imports_rows
            CHECK (rows_new >= 0 AND rows_known >= 0 AND rows_refused >= 0 AND after_kill BETWEEN 0 AND rows_new
                   AND rows_read >= rows_new + rows_known + rows_refused),
        CONSTRAINT ledger_imports_exact CHECK (exact IN (0, 1)),
        CONSTRAINT ledger_imports_sequence CHECK (sequence > 0),
        CONSTRAINT ledger_imports_no_fee CHECK (no_fee IN (0, 1)),
        CONSTRAINT ledger_imports_trace_id_length CHECK (length(trace_id) = 32)
    ){strict}
    """,
        "CREATE INDEX ledger_imports_act ON ledger_imports (act_id)",
        "CREATE INDEX ledger_imports_file ON ledger_imports (account_id, file_sha256, part)",
        f"""
    CREATE TABLE trades (
        id {event_id},
        import_id {big} NOT NULL REFERENCES ledger_imports (id),
        bot_id TEXT NOT NULL REFERENCES bots (id),
        instance_id {big} REFERENCES bot_instances (id),
        account_id TEXT NOT NULL REFERENCES broker_accounts (id),
        exchange TEXT NOT NULL,
        symbol TEXT NOT NULL,
        asset_class TEXT NOT NULL,
        side TEXT NOT NULL,
        quantity {decimal} NOT NULL,
        price {decimal} NOT NULL,
        fee {decimal},
        fee_currency TEXT,
        executed_at {time} NOT NULL,
        venue_trade_id TEXT NOT NULL,
        order_id TEXT,
        source TEXT NOT NULL,
        line {big} NOT NULL,
        reverses_id {big} REFERENCES trades (id),
        reported_pnl {decimal},
        after_kill INTEGER NOT NULL,
        exact INTEGER NOT NULL,
        quantity_8 {big},
        price_8 {big},
        fee_8 {big},
        CONSTRAINT trades_id_positive CHECK (id > 0),
        CONSTRAINT trades_side CHECK (side IN ('BUY', 'SELL')),
        {checks(**exact_checks(kind))},
        {checks(**scaled_checks(kind))},
        CONSTRAINT trades_fee_currency CHECK ((fee IS NULL) = (fee_currency IS NULL)),
        CONSTRAINT trades_fee_currency_length CHECK (length(fee_currency) BETWEEN 2 AND 16),
        CONSTRAINT trades_executed_at CHECK ({moment("executed_at", kind)}),
        CONSTRAINT trades_venue_trade_id CHECK (length(venue_trade_id) BETWEEN 1 AND 200),
        CONSTRAINT trades_source CHECK (source IN ({FORMATS})),
        CONSTRAINT trades_line CHECK (line > 0),
        CONSTRAINT trades_after_kill CHECK (after_kill IN (0, 1)),
        CONSTRAINT trades_exact CHECK (exact IN (0, 1)),
        CONSTRAINT trades_venue_key UNIQUE (account_id, venue_trade_id),
        CONSTRAINT trades_instrument FOREIGN KEY (exchange, symbol, asset_class)
            REFERENCES instruments (exchange, symbol, asset_class)
    ){strict}
    """,
        # All that the engine reads, in the order in which it reads: a run never touches the table.
        """
    CREATE INDEX trades_book ON trades (bot_id, account_id, executed_at, venue_trade_id, id, exchange, symbol,
        asset_class, side, quantity_8, price_8, fee_8, fee_currency, import_id, instance_id)
    """,
        f"CREATE INDEX trades_not_8 ON trades (bot_id, account_id) WHERE {NOT_8}",
        f"CREATE INDEX trades_no_fee ON trades (bot_id, account_id) WHERE {NO_FEE}",
        f"CREATE INDEX trades_pnl ON trades (bot_id, account_id) WHERE {WITH_PNL}",
        f"CREATE UNIQUE INDEX trades_reversals ON trades (reverses_id) WHERE {REVERSAL}",
        f"CREATE INDEX trades_reversed ON trades (bot_id, account_id, reverses_id) WHERE {REVERSAL}",
        f"CREATE INDEX trades_after_kills ON trades (bot_id, account_id) WHERE {AFTER_KILL}",
        "CREATE INDEX trades_of_import ON trades (import_id, id)",
        f"""
    CREATE TABLE ledger_events (
        id {event_id},
        act_id TEXT NOT NULL,
        event TEXT NOT NULL,
        severity TEXT NOT NULL,
        account_id TEXT,
        bot_id TEXT,
        import_id {big} REFERENCES ledger_imports (id),
        error_code TEXT,
        message TEXT NOT NULL,
        metadata {json} NOT NULL,
        {stamps},
        CONSTRAINT ledger_events_id_positive CHECK (id > 0),
        CONSTRAINT ledger_events_event CHECK (event IN ({EVENTS})),
        CONSTRAINT ledger_events_severity CHECK (severity IN ('SEV1', 'SEV2')),
        CONSTRAINT ledger_events_refused CHECK ((event = 'REFUSED') = (error_code IS NOT NULL)),
        CONSTRAINT ledger_events_trace_id_length CHECK (length(trace_id) = 32)
    ){strict}
    """,
        "CREATE INDEX ledger_events_act ON ledger_events (act_id)",
        "CREATE INDEX ledger_events_bot ON ledger_events (bot_id, id)",
        f"CREATE INDEX ledger_events_moves ON ledger_events (account_id, id) WHERE event IN ({MOVES})",
        f"""
    CREATE TABLE capital_flows (
        id {event_id},
        act_id TEXT NOT NULL,
        bot_id TEXT NOT NULL REFERENCES bots (id),
        account_id TEXT NOT NULL REFERENCES broker_accounts (id),
        kind TEXT NOT NULL,
        amount {decimal} NOT NULL,
        currency TEXT NOT NULL,
        at {time} NOT NULL,
        note TEXT,
        external_id TEXT,
        replaces_id {big} REFERENCES capital_flows (id),
        {stamps},
        CONSTRAINT capital_flows_id_positive CHECK (id > 0),
        CONSTRAINT capital_flows_kind CHECK (kind IN ('INITIAL', 'DEPOSIT', 'WITHDRAWAL', 'FEE')),
        CONSTRAINT capital_flows_amount CHECK (amount = {zero(kind)} OR ({number("amount", kind)})),
        CONSTRAINT capital_flows_positive CHECK (kind = 'FEE' OR {NOT_BELOW[kind]}),
        CONSTRAINT capital_flows_taken_back
            CHECK (amount <> {zero(kind)} OR (replaces_id IS NOT NULL AND kind <> 'INITIAL')),
        CONSTRAINT capital_flows_currency CHECK (length(currency) BETWEEN 2 AND 16),
        CONSTRAINT capital_flows_at CHECK ({moment("at", kind)}),
        CONSTRAINT capital_flows_external_id CHECK (length(external_id) BETWEEN 1 AND 200),
        CONSTRAINT capital_flows_trace_id_length CHECK (length(trace_id) = 32)
    ){strict}
    """,
        f"CREATE UNIQUE INDEX capital_flows_initial ON capital_flows (bot_id, account_id) WHERE {INITIAL}",
        f"CREATE UNIQUE INDEX capital_flows_external ON capital_flows (account_id, external_id) WHERE {EXTERNAL}",
        f"CREATE UNIQUE INDEX capital_flows_replaced ON capital_flows (replaces_id) WHERE {REPLACEMENT}",
        "CREATE INDEX capital_flows_act ON capital_flows (act_id)",
        "CREATE INDEX capital_flows_order ON capital_flows (bot_id, account_id, at, id)",
        f"""
    CREATE TABLE fx_rates (
        id {event_id},
        act_id TEXT NOT NULL,
        base TEXT NOT NULL,
        quote TEXT NOT NULL,
        at {time} NOT NULL,
        rate {decimal} NOT NULL,
        source TEXT NOT NULL,
        {stamps},
        CONSTRAINT fx_rates_id_positive CHECK (id > 0),
        CONSTRAINT fx_rates_pair CHECK (length(base) >= 2 AND length(base) <= 16 AND length(quote) >= 2
                                        AND length(quote) <= 16 AND base <> quote),
        CONSTRAINT fx_rates_at CHECK ({moment("at", kind)}),
        CONSTRAINT fx_rates_rate CHECK ({above_zero("rate", kind)}),
        CONSTRAINT fx_rates_source CHECK (length(source) BETWEEN 1 AND 200),
        CONSTRAINT fx_rates_trace_id_length CHECK (length(trace_id) = 32),
        CONSTRAINT fx_rates_key UNIQUE (base, quote, at)
    ){strict}
    """,
        "CREATE INDEX fx_rates_act ON fx_rates (act_id)",
        f"""
    CREATE TABLE marks (
        id {event_id},
        act_id TEXT NOT NULL,
        exchange TEXT NOT NULL,
        symbol TEXT NOT NULL,
        asset_class TEXT NOT NULL,
        at {time} NOT NULL,
        price {decimal} NOT NULL,
        source TEXT NOT NULL,
        {stamps},
        CONSTRAINT marks_id_positive CHECK (id > 0),
        CONSTRAINT marks_at CHECK ({moment("at", kind)}),
        CONSTRAINT marks_price CHECK ({number("price", kind)}),
        CONSTRAINT marks_source CHECK (length(source) BETWEEN 1 AND 200),
        CONSTRAINT marks_trace_id_length CHECK (length(trace_id) = 32),
        CONSTRAINT marks_key UNIQUE (exchange, symbol, asset_class, at),
        CONSTRAINT marks_instrument FOREIGN KEY (exchange, symbol, asset_class)
            REFERENCES instruments (exchange, symbol, asset_class)
    ){strict}
    """,
        "CREATE INDEX marks_act ON marks (act_id)",
    ]


#: Partial indexes that answer "is there any such fill of this bot?" without reading the others.
NOT_8 = "quantity_8 IS NULL OR price_8 IS NULL OR (fee IS NOT NULL AND fee_8 IS NULL)"
NO_FEE = "fee IS NULL"
WITH_PNL = "reported_pnl IS NOT NULL"
REVERSAL = "reverses_id IS NOT NULL"
AFTER_KILL = "after_kill = 1"
INITIAL = "kind = 'INITIAL' AND replaces_id IS NULL"
EXTERNAL = "external_id IS NOT NULL"
REPLACEMENT = "replaces_id IS NOT NULL"
NOT_BELOW = {"sqlite": "amount NOT LIKE '-%'", "postgresql": "amount >= 0"}

_INSTRUMENT = "no instrument of this exchange, symbol and asset class is known"
_ONE_USER = "a fill belongs to an account of the user of its bot"
_LINKED = "a fill belongs to an account that its bot was linked to"
_INSTANCE = "a fill belongs to an instance of its own bot and account"
_REVERSAL = "a reversal mirrors one fill that is none itself"
_IMPORT = "a fill belongs to an import of its own account"
_EXACT = "the numbers of a fill are exact, and their integers are the same numbers"
_REPLACEMENT = "a flow replaces one of its own bot and account, INITIAL only INITIAL"
_THERE = "the row exists"

_MIRRORS = """
    SELECT 1 FROM trades o WHERE o.id = NEW.reverses_id AND o.reverses_id IS NULL AND o.bot_id = NEW.bot_id
       AND o.account_id = NEW.account_id AND o.exchange = NEW.exchange AND o.symbol = NEW.symbol
       AND o.asset_class = NEW.asset_class AND o.quantity = NEW.quantity AND o.price = NEW.price
       AND o.side <> NEW.side
"""
_REPLACES = """
    SELECT 1 FROM capital_flows o WHERE o.id = NEW.replaces_id AND o.bot_id = NEW.bot_id
       AND o.account_id = NEW.account_id AND (o.kind = 'INITIAL') = (NEW.kind = 'INITIAL')
"""
_OF_LINK = "SELECT 1 FROM account_links WHERE bot_id = NEW.bot_id AND account_id = NEW.account_id"
_OF_INSTANCE = """
    SELECT 1 FROM bot_instances WHERE id = NEW.instance_id AND bot_id = NEW.bot_id
       AND (account_id IS NULL OR account_id = NEW.account_id)
"""
_OF_INSTRUMENT = """
    SELECT 1 FROM instruments
     WHERE exchange = NEW.exchange AND symbol = NEW.symbol AND asset_class = NEW.asset_class
"""
_USER_OF = "(SELECT user_id FROM {table} WHERE id = NEW.{key})"
_OF_IMPORT = "SELECT 1 FROM ledger_imports WHERE id = NEW.import_id AND account_id = NEW.account_id"


def _refuse(sentence: str, condition: str) -> str:
    return f"SELECT RAISE(ABORT, '{sentence}') WHERE {condition}"


def sqlite_guards() -> list[str]:
    """Return SQLite's triggers: CHECKs and foreign keys may be switched off, and REPLACE deletes without a trigger."""
    not_exact = " OR ".join(
        f"({condition}) IS NOT 1"
        for condition in (*exact_checks("sqlite", "NEW.").values(), *scaled_checks("sqlite", "NEW.").values())
    )
    users = [_USER_OF.format(table=t, key=k) for t, k in (("bots", "bot_id"), ("broker_accounts", "account_id"))]
    refusals = [
        _refuse(_THERE, "EXISTS (SELECT 1 FROM trades WHERE account_id = NEW.account_id"
                        " AND venue_trade_id = NEW.venue_trade_id)"),
        _refuse(_EXACT, not_exact),
        _refuse(_IMPORT, f"NOT EXISTS ({_OF_IMPORT})"),
        _refuse(_INSTRUMENT, f"NOT EXISTS ({_OF_INSTRUMENT})"),
        _refuse(_ONE_USER, f"{users[0]} IS NULL OR {users[0]} IS NOT {users[1]}"),
        _refuse(_LINKED, f"NOT EXISTS ({_OF_LINK})"),
        _refuse(_INSTANCE, f"NEW.instance_id IS NOT NULL AND NOT EXISTS ({_OF_INSTANCE})"),
        _refuse(_REVERSAL, "NEW.reverses_id IS NOT NULL AND (EXISTS (SELECT 1 FROM trades"
                           f" WHERE reverses_id = NEW.reverses_id) OR NOT EXISTS ({_MIRRORS}))"),
    ]  # fmt: skip
    kept = {
        "capital_flows": "(NEW.kind = 'INITIAL' AND NEW.replaces_id IS NULL AND kind = 'INITIAL'"
                         " AND bot_id = NEW.bot_id AND account_id = NEW.account_id)"
                         " OR (account_id = NEW.account_id AND external_id = NEW.external_id)"
                         " OR replaces_id = NEW.replaces_id",
        "fx_rates": "base = NEW.base AND quote = NEW.quote AND at = NEW.at",
        "marks": "exchange = NEW.exchange AND symbol = NEW.symbol AND asset_class = NEW.asset_class AND at = NEW.at",
    }  # fmt: skip
    fixed = "SELECT RAISE(ABORT, 'broker_accounts change in nothing but their status')"
    return [
        f"CREATE TRIGGER trades_guard BEFORE INSERT ON trades BEGIN {'; '.join(refusals)}; END",
        *(
            f"CREATE TRIGGER {table}_no_second BEFORE INSERT ON {table} BEGIN"
            f" {_refuse(_THERE, f'EXISTS (SELECT 1 FROM {table} WHERE {condition})')}; END"
            for table, condition in kept.items()
        ),
        f"""
    CREATE TRIGGER capital_flows_guard BEFORE INSERT ON capital_flows WHEN NEW.replaces_id IS NOT NULL
    BEGIN {_refuse(_REPLACEMENT, f"NOT EXISTS ({_REPLACES})")}; END
    """,
        f"""
    CREATE TRIGGER marks_known_instrument BEFORE INSERT ON marks
    BEGIN {_refuse(_INSTRUMENT, f"NOT EXISTS ({_OF_INSTRUMENT})")}; END
    """,
        f"""
    CREATE TRIGGER broker_accounts_keep_long_only BEFORE UPDATE OF long_only ON broker_accounts
    WHEN NEW.long_only IS NOT OLD.long_only BEGIN {fixed}; END
    """,
    ]


def _raise(sentence: str, condition: str) -> str:
    return f"IF {condition} THEN RAISE EXCEPTION '{sentence}' USING ERRCODE = 'restrict_violation'; END IF;"


def postgresql_guards() -> list[str]:
    """Return PostgreSQL's functions and triggers; ALWAYS: on a replica's role too."""
    users = [_USER_OF.format(table=t, key=k) for t, k in (("bots", "bot_id"), ("broker_accounts", "account_id"))]
    return [
        PIN_SEARCH_PATH,
        f"""
    CREATE FUNCTION blaidctl_trade_guard() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT AS $$
    BEGIN
        {_raise(_IMPORT, f"NOT EXISTS ({_OF_IMPORT})")}
        {_raise(_INSTRUMENT, f"NOT EXISTS ({_OF_INSTRUMENT})")}
        {_raise(_ONE_USER, f"{users[0]} IS NULL OR {users[0]} IS DISTINCT FROM {users[1]}")}
        {_raise(_LINKED, f"NOT EXISTS ({_OF_LINK})")}
        {_raise(_INSTANCE, f"NEW.instance_id IS NOT NULL AND NOT EXISTS ({_OF_INSTANCE})")}
        {_raise(_REVERSAL, f"NEW.reverses_id IS NOT NULL AND NOT EXISTS ({_MIRRORS})")}
        RETURN NEW;
    END $$
    """,
        f"""
    CREATE FUNCTION blaidctl_flow_guard() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT AS $$
    BEGIN
        {_raise(_REPLACEMENT, f"NOT EXISTS ({_REPLACES})")}
        RETURN NEW;
    END $$
    """,
        """
    CREATE FUNCTION blaidctl_long_only_guard() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT AS $$
    BEGIN
        RAISE EXCEPTION 'broker_accounts change in nothing but their status' USING ERRCODE = 'restrict_violation';
    END $$
    """,
        """
    CREATE TRIGGER trades_guard BEFORE INSERT ON trades FOR EACH ROW EXECUTE FUNCTION blaidctl_trade_guard()
    """,
        """
    CREATE TRIGGER capital_flows_guard BEFORE INSERT ON capital_flows
    FOR EACH ROW WHEN (NEW.replaces_id IS NOT NULL) EXECUTE FUNCTION blaidctl_flow_guard()
    """,
        """
    CREATE TRIGGER broker_accounts_keep_long_only BEFORE UPDATE OF long_only ON broker_accounts
    FOR EACH ROW WHEN (NEW.long_only IS DISTINCT FROM OLD.long_only) EXECUTE FUNCTION blaidctl_long_only_guard()
    """,
        "ALTER TABLE trades ENABLE ALWAYS TRIGGER trades_guard",
        "ALTER TABLE capital_flows ENABLE ALWAYS TRIGGER capital_flows_guard",
        "ALTER TABLE broker_accounts ENABLE ALWAYS TRIGGER broker_accounts_keep_long_only",
    ]


def upgrade() -> None:
    """Create tables, functions and triggers."""
    kind = engine_kind()
    guards = sqlite_guards() if kind == "sqlite" else postgresql_guards()
    events = [statement for table in reversed(TABLES) for statement in append_only(table, kind)]
    for statement in [LONG_ONLY, LINKS, *tables(kind), *guards, *events]:
        run(statement)


def downgrade() -> None:
    """Drop everything: the fills are gone."""
    for table in TABLES:
        run(f"DROP TABLE {table}")
    if engine_kind() == "postgresql":
        run("DROP TRIGGER broker_accounts_keep_long_only ON broker_accounts")
        for function in ("blaidctl_trade_guard", "blaidctl_flow_guard", "blaidctl_long_only_guard"):
            run(f"DROP FUNCTION {function}()")
    else:
        run("DROP TRIGGER broker_accounts_keep_long_only")
    run("DROP INDEX account_links_of_bot")
    run("ALTER TABLE broker_accounts DROP COLUMN long_only")
