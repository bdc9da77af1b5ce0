"""Create the providers, their events, what binds them to accounts, and how far fills were pulled.

Why: a bot whose broker or data feed cannot be relied on may not trade, and its numbers are not complete. So whether a
provider is OK, DEGRADED or BLOCKED is a row that the guard can read, every transition is an event that cannot be
changed, and the database itself refuses a state that no event explains, whoever writes.

Diff: new tables providers (id, kind, check_url, fills_url, stale_field, credentials, plain_http, stale_after_s,
timeout_s, attempts, degrade_after, block_after, recover_after, check_within_s, state, reason_code, detail, failures,
successes, checked_at, good_at, changed_at, created_at), provider_events (id, act_id, provider_id, account_id, event,
state_before, state_after, reason_code, detail, failures, successes, resume_from, rows_new, metadata, reason, actor,
created_at, trace_id), provider_bindings (id, provider_id, account_id, bound_at, unbound_at), pull_cursors (provider_id,
account_id, resume_from, pulls, pulled_at, failed_at, failed_reason).
Triggers: provider_events append-only; a provider begins not OK, changes in nothing but its health, changes its state
only as its latest event says, and is never deleted; a binding begins open, is never moved, ended bindings never change;
a cursor is never moved to another pair. PostgreSQL: functions blaidctl_provider_guard, blaidctl_binding_guard,
blaidctl_cursor_guard.

Rollback: drops the four tables and the functions. The providers, their history and the cursors are lost, the audit log
keeps the entries with the digests of the events; the guard of the version before does not look at providers. Register
the providers again afterwards; a pull then begins at the first fill, and known fills stay what they are.

Data safety: creates only; no existing row is read or locked.
"""

from blaidctl.core.ddl import PIN_SEARCH_PATH, append_only, engine_kind, moment, run, spell

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

TABLES = ("pull_cursors", "provider_bindings", "provider_events", "providers")
STATES = "'OK', 'DEGRADED', 'BLOCKED'"
FAILURES = "'REFUSED', 'TIMEOUT', 'TLS', 'HTTP_STATUS', 'BAD_JSON', 'STALE', 'PARTIAL', 'TOO_LARGE', 'PROTOCOL'"
REASONS = f"{FAILURES}, 'NEVER_CHECKED', 'RECOVERED', 'ROWS_REFUSED'"


def tables(kind: str) -> list[str]:
    """Return the statements that make the tables of one engine."""
    event_id, time, json, strict = (spell(word, kind) for word in ("{EVENT_ID}", "{TIME}", "{JSON}", "{STRICT}"))
    return [
        f"""
    CREATE TABLE providers (
        id TEXT NOT NULL PRIMARY KEY,
        kind TEXT NOT NULL,
        check_url TEXT NOT NULL,
        fills_url TEXT,
        stale_field TEXT,
        credentials TEXT,
        plain_http INTEGER NOT NULL,
        stale_after_s INTEGER NOT NULL,
        timeout_s INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        degrade_after INTEGER NOT NULL,
        block_after INTEGER NOT NULL,
        recover_after INTEGER NOT NULL,
        check_within_s INTEGER NOT NULL,
        state TEXT NOT NULL,
        reason_code TEXT NOT NULL,
        detail TEXT NOT NULL,
        failures INTEGER NOT NULL,
        successes INTEGER NOT NULL,
        checked_at {time},
        good_at {time},
        changed_at {time} NOT NULL,
        created_at {time} NOT NULL,
        CONSTRAINT providers_kind CHECK (kind IN ('http', 'alpaca', 'paged')),
        CONSTRAINT providers_check_url CHECK (length(check_url) BETWEEN 8 AND 2000),
        CONSTRAINT providers_fills_url CHECK (length(fills_url) BETWEEN 8 AND 2000),
        CONSTRAINT providers_fills CHECK (fills_url IS NULL OR kind <> 'http'),
        CONSTRAINT providers_plain_http CHECK (plain_http IN (0, 1)),
        CONSTRAINT providers_limits CHECK (stale_after_s > 0 AND timeout_s > 0 AND attempts > 0 AND check_within_s > 0),
        CONSTRAINT providers_steps CHECK (degrade_after > 0 AND block_after > degrade_after AND recover_after > 0),
        CONSTRAINT providers_state CHECK (state IN ({STATES})),
        CONSTRAINT providers_reason_code CHECK (reason_code IN ({REASONS})),
        CONSTRAINT providers_in_a_row CHECK (failures >= 0 AND successes >= 0 AND (failures = 0 OR successes = 0)),
        CONSTRAINT providers_ok_was_seen CHECK (state <> 'OK' OR (good_at IS NOT NULL AND checked_at IS NOT NULL)),
        CONSTRAINT providers_checked_at CHECK ({moment("checked_at", kind)}),
        CONSTRAINT providers_changed_at CHECK ({moment("changed_at", kind)})
    ){strict}
    """,
        f"""
    CREATE TABLE provider_events (
        id {event_id},
        act_id TEXT NOT NULL,
        provider_id TEXT NOT NULL REFERENCES providers (id),
        account_id TEXT REFERENCES broker_accounts (id),
        event TEXT NOT NULL,
        state_before TEXT,
        state_after TEXT NOT NULL,
        reason_code TEXT,
        detail TEXT,
        failures INTEGER NOT NULL,
        successes INTEGER NOT NULL,
        resume_from TEXT,
        rows_new INTEGER,
        metadata {json} NOT NULL,
        reason TEXT,
        actor TEXT NOT NULL,
        created_at {time} NOT NULL,
        trace_id TEXT NOT NULL,
        CONSTRAINT provider_events_id_positive CHECK (id > 0),
        CONSTRAINT provider_events_event
            CHECK (event IN ('ADDED', 'TRANSITION', 'BOUND', 'UNBOUND', 'PULLED', 'PULL_FAILED')),
        CONSTRAINT provider_events_states CHECK (state_before IN ({STATES}) AND state_after IN ({STATES})),
        CONSTRAINT provider_events_before CHECK ((event = 'ADDED') = (state_before IS NULL)),
        CONSTRAINT provider_events_transition CHECK (event <> 'TRANSITION' OR state_before <> state_after),
        CONSTRAINT provider_events_quiet
            CHECK (event NOT IN ('BOUND', 'UNBOUND', 'PULLED') OR state_before = state_after),
        CONSTRAINT provider_events_reason_code CHECK (reason_code IN ({REASONS})),
        CONSTRAINT provider_events_explained
            CHECK (event IN ('BOUND', 'UNBOUND', 'PULLED') OR (reason_code IS NOT NULL AND detail IS NOT NULL)),
        CONSTRAINT provider_events_account CHECK ((event IN ('ADDED', 'TRANSITION')) = (account_id IS NULL)),
        CONSTRAINT provider_events_rows CHECK ((event = 'PULLED') = (rows_new IS NOT NULL) AND rows_new >= 0),
        CONSTRAINT provider_events_trace_id_length CHECK (length(trace_id) = 32)
    ){strict}
    """,
        "CREATE INDEX provider_events_act ON provider_events (act_id)",
        "CREATE INDEX provider_events_provider ON provider_events (provider_id, id)",
        f"""
    CREATE TABLE provider_bindings (
        id {event_id},
        provider_id TEXT NOT NULL REFERENCES providers (id),
        account_id TEXT NOT NULL REFERENCES broker_accounts (id),
        bound_at {time} NOT NULL,
        unbound_at {time},
        CONSTRAINT provider_bindings_id_positive CHECK (id > 0)
    ){strict}
    """,
        """
    CREATE UNIQUE INDEX provider_bindings_one_open ON provider_bindings (account_id, provider_id)
    WHERE unbound_at IS NULL
    """,
        "CREATE INDEX provider_bindings_account ON provider_bindings (account_id, provider_id, id)",
        f"""
    CREATE TABLE pull_cursors (
        provider_id TEXT NOT NULL REFERENCES providers (id),
        account_id TEXT NOT NULL REFERENCES broker_accounts (id),
        resume_from TEXT,
        pulls INTEGER NOT NULL,
        pulled_at {time},
        failed_at {time},
        failed_reason TEXT,
        CONSTRAINT pull_cursors_key PRIMARY KEY (provider_id, account_id),
        CONSTRAINT pull_cursors_resume_from CHECK (length(resume_from) BETWEEN 1 AND 1000),
        CONSTRAINT pull_cursors_pulls CHECK (pulls >= 0),
        CONSTRAINT pull_cursors_failed CHECK ((failed_at IS NULL) = (failed_reason IS NULL)),
        CONSTRAINT pull_cursors_failed_reason CHECK (failed_reason IN ({REASONS}))
    ){strict}
    """,
    ]


_BEGINS = "a provider begins not OK"
_FIXED = "a provider changes in nothing but its health"
_EXPLAINED = "a provider changes its state as its latest event says, not otherwise"
_KEPT = "providers are never deleted"
_OPEN = "a provider binding begins open"
_NOT_MOVED = "provider bindings are never moved"
_ENDED = "a provider binding that has ended never changes"
_BINDINGS_KEPT = "provider bindings are never deleted"
_CURSOR = "a pull cursor is never moved to another provider or account, nor deleted"
_NEW_OK = "NEW.state = 'OK' OR NEW.checked_at IS NOT NULL OR NEW.good_at IS NOT NULL"
_SETTINGS = (
    "id", "kind", "check_url", "fills_url", "stale_field", "credentials", "plain_http", "stale_after_s", "timeout_s",
    "attempts", "degrade_after", "block_after", "recover_after", "check_within_s", "created_at",
)  # fmt: skip
_SAID = "(SELECT state_after FROM provider_events WHERE provider_id = NEW.id ORDER BY id DESC LIMIT 1)"


def _differ(names: tuple[str, ...], word: str) -> str:
    return " OR ".join(f"NEW.{name} {word} OLD.{name}" for name in names)


def _refuse(sentence: str) -> str:
    return f"BEGIN SELECT RAISE(ABORT, '{sentence}'); END"


# CHECKs and foreign keys may be switched off on SQLite, and INSERT OR REPLACE deletes without a delete trigger.
SQLITE = [
    f"CREATE TRIGGER providers_begin BEFORE INSERT ON providers WHEN {_NEW_OK} {_refuse(_BEGINS)}",
    f"""
    CREATE TRIGGER providers_no_replace BEFORE INSERT ON providers
    WHEN EXISTS (SELECT 1 FROM providers WHERE id = NEW.id) {_refuse("providers: the provider exists")}
    """,
    f"""
    CREATE TRIGGER providers_fixed BEFORE UPDATE OF {", ".join(_SETTINGS)} ON providers
    WHEN {_differ(_SETTINGS, "IS NOT")} {_refuse(_FIXED)}
    """,
    f"""
    CREATE TRIGGER providers_explained BEFORE UPDATE OF state ON providers
    WHEN NEW.state IS NOT OLD.state AND {_SAID} IS NOT NEW.state {_refuse(_EXPLAINED)}
    """,
    f"CREATE TRIGGER providers_no_delete BEFORE DELETE ON providers {_refuse(_KEPT)}",
    f"""
    CREATE TRIGGER provider_bindings_begin BEFORE INSERT ON provider_bindings WHEN NEW.unbound_at IS NOT NULL
    {_refuse(_OPEN)}
    """,
    f"""
    CREATE TRIGGER provider_bindings_no_replace BEFORE INSERT ON provider_bindings
    WHEN EXISTS (SELECT 1 FROM provider_bindings WHERE (NEW.id > 0 AND id = NEW.id)
                 OR (account_id = NEW.account_id AND provider_id = NEW.provider_id AND unbound_at IS NULL))
    {_refuse("provider_bindings: the binding exists")}
    """,
    f"""
    CREATE TRIGGER provider_bindings_no_move BEFORE UPDATE ON provider_bindings
    WHEN {_differ(("id", "provider_id", "account_id", "bound_at"), "IS NOT")} {_refuse(_NOT_MOVED)}
    """,
    f"""
    CREATE TRIGGER provider_bindings_no_return BEFORE UPDATE ON provider_bindings WHEN OLD.unbound_at IS NOT NULL
    {_refuse(_ENDED)}
    """,
    f"CREATE TRIGGER provider_bindings_no_delete BEFORE DELETE ON provider_bindings {_refuse(_BINDINGS_KEPT)}",
    f"""
    CREATE TRIGGER pull_cursors_no_replace BEFORE INSERT ON pull_cursors
    WHEN EXISTS (SELECT 1 FROM pull_cursors WHERE provider_id = NEW.provider_id AND account_id = NEW.account_id)
    {_refuse("pull_cursors: the cursor exists")}
    """,
    f"""
    CREATE TRIGGER pull_cursors_no_move BEFORE UPDATE ON pull_cursors
    WHEN {_differ(("provider_id", "account_id"), "IS NOT")} OR NEW.pulls < OLD.pulls {_refuse(_CURSOR)}
    """,
    f"CREATE TRIGGER pull_cursors_no_delete BEFORE DELETE ON pull_cursors {_refuse(_CURSOR)}",
]


def _raise(sentence: str, condition: str = "true") -> str:
    return f"IF {condition} THEN RAISE EXCEPTION '{sentence}' USING ERRCODE = 'restrict_violation'; END IF;"


def _function(name: str, body: str) -> str:
    return f"""
    CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT AS $$
    BEGIN
        {body}
        RETURN NEW;
    END $$
    """


_GUARDS = {
    "providers": "blaidctl_provider_guard",
    "provider_bindings": "blaidctl_binding_guard",
    "pull_cursors": "blaidctl_cursor_guard",
}
_EVERY = "INSERT OR UPDATE OR DELETE"
_WHEN = {"providers": _EVERY, "provider_bindings": _EVERY, "pull_cursors": "UPDATE OR DELETE"}
POSTGRESQL = [
    PIN_SEARCH_PATH,
    _function(
        "blaidctl_provider_guard",
        f"""
        IF TG_OP = 'INSERT' THEN
            {_raise(_BEGINS, _NEW_OK)}
            RETURN NEW;
        END IF;
        {_raise(_KEPT, "TG_OP <> 'UPDATE'")}
        {_raise(_FIXED, _differ(_SETTINGS, "IS DISTINCT FROM"))}
        {_raise(_EXPLAINED, f"NEW.state IS DISTINCT FROM OLD.state AND {_SAID} IS DISTINCT FROM NEW.state")}
        """,
    ),
    _function(
        "blaidctl_binding_guard",
        f"""
        IF TG_OP = 'INSERT' THEN
            {_raise(_OPEN, "NEW.unbound_at IS NOT NULL")}
            RETURN NEW;
        END IF;
        {_raise(_BINDINGS_KEPT, "TG_OP <> 'UPDATE'")}
        {_raise(_NOT_MOVED, _differ(("id", "provider_id", "account_id", "bound_at"), "IS DISTINCT FROM"))}
        {_raise(_ENDED, "OLD.unbound_at IS NOT NULL")}
        """,
    ),
    _function(
        "blaidctl_cursor_guard",
        f"""
        {_raise(_CURSOR, "TG_OP <> 'UPDATE'")}
        {_raise(_CURSOR, f"{_differ(('provider_id', 'account_id'), 'IS DISTINCT FROM')} OR NEW.pulls < OLD.pulls")}
        """,
    ),
    *(
        statement
        for table, function in _GUARDS.items()
        for statement in (
            f"CREATE TRIGGER {table}_guard BEFORE {_WHEN[table]} ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()",
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} EXECUTE FUNCTION {function}()",
            f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_guard",
            f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_no_truncate",
        )
    ),
]


def upgrade() -> None:
    """Create tables, functions and triggers."""
    kind = engine_kind()
    guards = SQLITE if kind == "sqlite" else POSTGRESQL
    for statement in [*tables(kind), *guards, *append_only("provider_events", kind)]:
        run(statement)


def downgrade() -> None:
    """Drop everything: the providers and how far was pulled are lost."""
    for table in TABLES:
        run(f"DROP TABLE {table}")
    if engine_kind() == "postgresql":
        for function in _GUARDS.values():
            run(f"DROP FUNCTION {function}()")
