"""Create the broker accounts and the links of bots to them, under limits.

Why: no bot trades on an account without all six limits, nor on an account of another user, and the database itself
refuses it, whoever writes. Each link, change of limits, end of a link and refusal is an event that cannot be changed.

Diff: new tables broker_accounts (id, user_id, broker, external_id, environment, currency, status, created_at),
account_links (id, bot_id, account_id, max_contracts, max_position_value, max_order_qty, max_daily_loss,
max_drawdown_pct, max_orders_per_minute, policy_sha256, linked_at, unlinked_at), broker_account_events (id, act_id,
account_id, bot_id, link_id, action, before, after, policy_sha256, error_code, message, actor, reason, created_at,
trace_id). Triggers: broker_account_events append-only; broker_accounts change in nothing but their status; a link needs
a live bot and an open account of the same user, begins open, is never moved, and does not end while an instance of its
bot is STARTING or RUNNING; a bot with an open link keeps its owner. PostgreSQL: functions blaidctl_account_guard,
blaidctl_link_guard, blaidctl_owner_guard.

Rollback: drops the three tables, the functions and the trigger on bots; links and their history are lost, the audit log
keeps the entries. Bots that run go on, and the guard of the version before asks for no link.

Data safety: creates only; no existing row is read. PostgreSQL locks bots for the moment in which its trigger is made.
"""

from blaidctl.core.ddl import PIN_SEARCH_PATH, above_zero, append_only, engine_kind, run, spell

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

DECIMAL_LIMITS = ("max_contracts", "max_position_value", "max_order_qty", "max_daily_loss", "max_drawdown_pct")
#: On SQLite of the canonical text, whose only form of one hundred is 100.
PERCENT = {
    "sqlite": "instr(max_drawdown_pct || '.', '.') <= 3 OR max_drawdown_pct = '100'",
    "postgresql": "max_drawdown_pct <= 100",
}


def tables(kind: str) -> list[str]:
    """Return the statements that make the tables of one engine."""
    limits = "\n        ".join(spell(f"{name} {{DECIMAL}} NOT NULL,", kind) for name in DECIMAL_LIMITS)
    checks = "\n        ".join(f"CONSTRAINT account_links_{n} CHECK ({above_zero(n, kind)})," for n in DECIMAL_LIMITS)
    event_id, big, time, json, strict = (
        spell(word, kind) for word in ("{EVENT_ID}", "{BIG}", "{TIME}", "{JSON}", "{STRICT}")
    )
    return [
        f"""
    CREATE TABLE broker_accounts (
        id TEXT NOT NULL PRIMARY KEY,
        user_id TEXT NOT NULL REFERENCES users (id),
        broker TEXT NOT NULL,
        external_id TEXT NOT NULL,
        environment TEXT NOT NULL,
        currency TEXT NOT NULL,
        status TEXT NOT NULL,
        created_at {time} NOT NULL,
        CONSTRAINT broker_accounts_broker CHECK (length(broker) BETWEEN 1 AND 63),
        CONSTRAINT broker_accounts_external_id CHECK (length(external_id) BETWEEN 1 AND 100),
        CONSTRAINT broker_accounts_environment CHECK (environment IN ('live', 'paper')),
        CONSTRAINT broker_accounts_currency CHECK (length(currency) BETWEEN 2 AND 16),
        CONSTRAINT broker_accounts_status CHECK (status IN ('OPEN', 'CLOSED')),
        CONSTRAINT broker_accounts_external_key UNIQUE (broker, external_id)
    ){strict}
    """,
        "CREATE INDEX ix_broker_accounts_user_id ON broker_accounts (user_id)",
        f"""
    CREATE TABLE account_links (
        id {event_id},
        bot_id TEXT NOT NULL REFERENCES bots (id),
        account_id TEXT NOT NULL REFERENCES broker_accounts (id),
        {limits}
        max_orders_per_minute INTEGER NOT NULL,
        policy_sha256 TEXT NOT NULL,
        linked_at {time} NOT NULL,
        unlinked_at {time},
        CONSTRAINT account_links_id_positive CHECK (id > 0),
        {checks}
        CONSTRAINT account_links_percent CHECK ({PERCENT[kind]}),
        CONSTRAINT account_links_max_orders_per_minute CHECK (max_orders_per_minute > 0),
        CONSTRAINT account_links_policy_length CHECK (length(policy_sha256) = 64)
    ){strict}
    """,
        "CREATE UNIQUE INDEX account_links_one_open ON account_links (bot_id) WHERE unlinked_at IS NULL",
        "CREATE INDEX account_links_of_account ON account_links (account_id) WHERE unlinked_at IS NULL",
        f"""
    CREATE TABLE broker_account_events (
        id {event_id},
        act_id TEXT NOT NULL,
        account_id TEXT REFERENCES broker_accounts (id),
        bot_id TEXT REFERENCES bots (id),
        link_id {big} REFERENCES account_links (id),
        action TEXT NOT NULL,
        before {json},
        after {json},
        policy_sha256 TEXT,
        error_code TEXT,
        message TEXT,
        actor TEXT NOT NULL,
        reason TEXT,
        created_at {time} NOT NULL,
        trace_id TEXT NOT NULL,
        CONSTRAINT broker_account_events_id_positive CHECK (id > 0),
        CONSTRAINT broker_account_events_action
            CHECK (action IN ('LINK', 'UNLINK', 'LIMITS_CHANGED', 'REFUSED')),
        CONSTRAINT broker_account_events_link CHECK ((action = 'REFUSED') = (link_id IS NULL)),
        CONSTRAINT broker_account_events_names
            CHECK (action = 'REFUSED' OR (account_id IS NOT NULL AND bot_id IS NOT NULL)),
        CONSTRAINT broker_account_events_refused
            CHECK ((action = 'REFUSED') = (error_code IS NOT NULL) AND (error_code IS NULL) = (message IS NULL)),
        CONSTRAINT broker_account_events_before
            CHECK (action = 'REFUSED' OR (action = 'LINK') = (before IS NULL)),
        CONSTRAINT broker_account_events_after CHECK ((action = 'UNLINK') = (after IS NULL)),
        CONSTRAINT broker_account_events_policy
            CHECK (action IN ('UNLINK', 'REFUSED') OR policy_sha256 IS NOT NULL),
        CONSTRAINT broker_account_events_policy_length CHECK (length(policy_sha256) = 64),
        CONSTRAINT broker_account_events_trace_id_length CHECK (length(trace_id) = 32)
    ){strict}
    """,
        "CREATE INDEX broker_account_events_account ON broker_account_events (account_id, id)",
        "CREATE INDEX broker_account_events_act ON broker_account_events (act_id)",
    ]


_LIVE_BOT = "an account link needs a live bot"
_OPEN_ACCOUNT = "an account link needs an open account"
_ONE_USER = "a bot and its account belong to one user"
_BEGINS_OPEN = "an account link begins open"
_NOT_MOVED = "account links are never moved"
_ENDED = "an account link that has ended never changes"
_STILL_RUNS = "an account link does not end while an instance of its bot is STARTING or RUNNING"
_KEEPS_OWNER = "a bot with an open account link keeps its owner"
_ONLY_STATUS = "broker accounts change in nothing but their status"
_FIXED = ("id", "user_id", "broker", "external_id", "environment", "currency", "created_at")
_ABOVE_ZERO = "the limits of an account link are exact numbers above zero"
#: CHECKs say so already, and a session of SQLite may switch them off.
_BAD_LIMIT = " OR ".join((
    *(f"NOT ({above_zero(f'NEW.{name}', 'sqlite')})" for name in DECIMAL_LIMITS),
    f"NOT ({PERCENT['sqlite'].replace('max_', 'NEW.max_')})",
    "NEW.max_orders_per_minute <= 0",
))  # fmt: skip
_ACTIVE = "SELECT 1 FROM bot_instances WHERE bot_id = OLD.bot_id AND status IN ('STARTING', 'RUNNING')"

# Foreign keys may be switched off, and INSERT OR REPLACE deletes what stands in its way without a delete trigger.
SQLITE = [
    f"""
    CREATE TRIGGER account_links_guard BEFORE INSERT ON account_links BEGIN
        SELECT RAISE(ABORT, '{_LIVE_BOT}')
         WHERE NOT EXISTS (SELECT 1 FROM bots WHERE id = NEW.bot_id AND killed_at IS NULL);
        SELECT RAISE(ABORT, '{_OPEN_ACCOUNT}')
         WHERE NOT EXISTS (SELECT 1 FROM broker_accounts WHERE id = NEW.account_id AND status = 'OPEN');
        SELECT RAISE(ABORT, '{_ONE_USER}')
         WHERE (SELECT user_id FROM bots WHERE id = NEW.bot_id)
               IS NOT (SELECT user_id FROM broker_accounts WHERE id = NEW.account_id);
        SELECT RAISE(ABORT, '{_BEGINS_OPEN}') WHERE NEW.unlinked_at IS NOT NULL;
        SELECT RAISE(ABORT, 'a bot has at most one open account link')
         WHERE EXISTS (SELECT 1 FROM account_links WHERE bot_id = NEW.bot_id AND unlinked_at IS NULL);
    END
    """,
    """
    CREATE TRIGGER account_links_no_replace BEFORE INSERT ON account_links WHEN NEW.id > 0
    BEGIN SELECT RAISE(ABORT, 'account_links: the id exists')
           WHERE EXISTS (SELECT 1 FROM account_links WHERE id = NEW.id); END
    """,
    f"""
    CREATE TRIGGER account_links_limits BEFORE INSERT ON account_links WHEN {_BAD_LIMIT}
    BEGIN SELECT RAISE(ABORT, '{_ABOVE_ZERO}'); END
    """,
    f"""
    CREATE TRIGGER account_links_limits_after BEFORE UPDATE ON account_links WHEN {_BAD_LIMIT}
    BEGIN SELECT RAISE(ABORT, '{_ABOVE_ZERO}'); END
    """,
    f"""
    CREATE TRIGGER account_links_no_move BEFORE UPDATE OF id, bot_id, account_id, linked_at ON account_links
    WHEN NEW.id IS NOT OLD.id OR NEW.bot_id IS NOT OLD.bot_id OR NEW.account_id IS NOT OLD.account_id
      OR NEW.linked_at IS NOT OLD.linked_at
    BEGIN SELECT RAISE(ABORT, '{_NOT_MOVED}'); END
    """,
    f"""
    CREATE TRIGGER account_links_no_return BEFORE UPDATE ON account_links WHEN OLD.unlinked_at IS NOT NULL
    BEGIN SELECT RAISE(ABORT, '{_ENDED}'); END
    """,
    f"""
    CREATE TRIGGER account_links_still_runs BEFORE UPDATE OF unlinked_at ON account_links
    WHEN NEW.unlinked_at IS NOT NULL AND EXISTS ({_ACTIVE})
    BEGIN SELECT RAISE(ABORT, '{_STILL_RUNS}'); END
    """,
    """
    CREATE TRIGGER account_links_no_delete BEFORE DELETE ON account_links
    BEGIN SELECT RAISE(ABORT, 'account_links are never deleted'); END
    """,
    """
    CREATE TRIGGER broker_accounts_no_replace BEFORE INSERT ON broker_accounts
    BEGIN SELECT RAISE(ABORT, 'broker_accounts: the account exists')
           WHERE EXISTS (SELECT 1 FROM broker_accounts
                          WHERE id = NEW.id OR (broker = NEW.broker AND external_id = NEW.external_id)); END
    """,
    f"""
    CREATE TRIGGER broker_accounts_only_status BEFORE UPDATE OF {", ".join(_FIXED)} ON broker_accounts
    WHEN {" OR ".join(f"NEW.{name} IS NOT OLD.{name}" for name in _FIXED)}
    BEGIN SELECT RAISE(ABORT, '{_ONLY_STATUS}'); END
    """,
    """
    CREATE TRIGGER broker_accounts_no_delete BEFORE DELETE ON broker_accounts
    BEGIN SELECT RAISE(ABORT, 'broker_accounts are never deleted'); END
    """,
    f"""
    CREATE TRIGGER bots_keep_owner BEFORE UPDATE OF user_id ON bots
    WHEN NEW.user_id IS NOT OLD.user_id
     AND EXISTS (SELECT 1 FROM account_links WHERE bot_id = OLD.id AND unlinked_at IS NULL)
    BEGIN SELECT RAISE(ABORT, '{_KEEPS_OWNER}'); END
    """,
]


def _raise(sentence: str) -> str:
    return f"RAISE EXCEPTION '{sentence}' USING ERRCODE = 'restrict_violation'"


POSTGRESQL = [
    PIN_SEARCH_PATH,
    # The bot's row is locked against a kill, a change of its owner and, at the end of a link, a start of an instance:
    # whoever comes second waits, and then sees what came first.
    f"""
    CREATE FUNCTION blaidctl_link_guard() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT AS $$
    DECLARE
        bot bots%ROWTYPE;
        account broker_accounts%ROWTYPE;
    BEGIN
        IF TG_OP = 'INSERT' THEN
            SELECT * INTO bot FROM bots WHERE id = NEW.bot_id FOR SHARE;
            IF NOT FOUND OR bot.killed_at IS NOT NULL THEN {_raise(_LIVE_BOT)}; END IF;
            SELECT * INTO account FROM broker_accounts WHERE id = NEW.account_id;
            IF NOT FOUND OR account.status <> 'OPEN' THEN {_raise(_OPEN_ACCOUNT)}; END IF;
            IF account.user_id <> bot.user_id THEN {_raise(_ONE_USER)}; END IF;
            IF NEW.unlinked_at IS NOT NULL THEN {_raise(_BEGINS_OPEN)}; END IF;
            RETURN NEW;
        END IF;
        IF TG_OP <> 'UPDATE' THEN {_raise("account_links are never deleted")}; END IF;
        IF NEW.id <> OLD.id OR NEW.bot_id <> OLD.bot_id OR NEW.account_id <> OLD.account_id
           OR NEW.linked_at <> OLD.linked_at THEN {_raise(_NOT_MOVED)}; END IF;
        IF OLD.unlinked_at IS NOT NULL THEN {_raise(_ENDED)}; END IF;
        IF NEW.unlinked_at IS NOT NULL THEN
            IF current_setting('transaction_isolation') <> 'read committed' THEN
                {_raise("an account link ends under READ COMMITTED only")};
            END IF;
            PERFORM 1 FROM bots WHERE id = OLD.bot_id FOR UPDATE;
            IF EXISTS ({_ACTIVE}) THEN {_raise(_STILL_RUNS)}; END IF;
        END IF;
        RETURN NEW;
    END $$
    """,
    f"""
    CREATE FUNCTION blaidctl_account_guard() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT AS $$
    BEGIN
        IF TG_OP = 'UPDATE' THEN {_raise(_ONLY_STATUS)}; END IF;
        {_raise("broker_accounts are never deleted")};
    END $$
    """,
    f"""
    CREATE FUNCTION blaidctl_owner_guard() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT AS $$
    BEGIN
        IF EXISTS (SELECT 1 FROM account_links WHERE bot_id = OLD.id AND unlinked_at IS NULL) THEN
            {_raise(_KEEPS_OWNER)};
        END IF;
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER account_links_guard BEFORE INSERT OR UPDATE OR DELETE ON account_links
    FOR EACH ROW EXECUTE FUNCTION blaidctl_link_guard()
    """,
    """
    CREATE TRIGGER account_links_no_truncate BEFORE TRUNCATE ON account_links
    FOR EACH STATEMENT EXECUTE FUNCTION blaidctl_link_guard()
    """,
    f"""
    CREATE TRIGGER broker_accounts_only_status BEFORE UPDATE OF {", ".join(_FIXED)} ON broker_accounts
    FOR EACH ROW WHEN ({" OR ".join(f"NEW.{name} IS DISTINCT FROM OLD.{name}" for name in _FIXED)})
    EXECUTE FUNCTION blaidctl_account_guard()
    """,
    """
    CREATE TRIGGER broker_accounts_no_delete BEFORE DELETE ON broker_accounts
    FOR EACH ROW EXECUTE FUNCTION blaidctl_account_guard()
    """,
    """
    CREATE TRIGGER broker_accounts_no_truncate BEFORE TRUNCATE ON broker_accounts
    FOR EACH STATEMENT EXECUTE FUNCTION blaidctl_account_guard()
    """,
    """
    CREATE TRIGGER bots_keep_owner BEFORE UPDATE OF user_id ON bots
    FOR EACH ROW WHEN (NEW.user_id IS DISTINCT FROM OLD.user_id) EXECUTE FUNCTION blaidctl_owner_guard()
    """,
    "ALTER TABLE account_links ENABLE ALWAYS TRIGGER account_links_guard",
    "ALTER TABLE account_links ENABLE ALWAYS TRIGGER account_links_no_truncate",
    "ALTER TABLE broker_accounts ENABLE ALWAYS TRIGGER broker_accounts_only_status",
    "ALTER TABLE broker_accounts ENABLE ALWAYS TRIGGER broker_accounts_no_delete",
    "ALTER TABLE broker_accounts ENABLE ALWAYS TRIGGER broker_accounts_no_truncate",
    "ALTER TABLE bots ENABLE ALWAYS TRIGGER bots_keep_owner",
]


def upgrade() -> None:
    """Create tables, functions and triggers."""
    kind = engine_kind()
    guards = SQLITE if kind == "sqlite" else POSTGRESQL
    for statement in [*tables(kind), *guards, *append_only("broker_account_events", kind)]:
        run(statement)


def downgrade() -> None:
    """Drop everything; links, limits and their history are lost."""
    if engine_kind() == "sqlite":
        run("DROP TRIGGER bots_keep_owner")
    else:
        run("DROP TRIGGER bots_keep_owner ON bots")
    for table in ("broker_account_events", "account_links", "broker_accounts"):
        run(f"DROP TABLE {table}")
    if engine_kind() == "postgresql":
        for function in ("blaidctl_link_guard", "blaidctl_account_guard", "blaidctl_owner_guard"):
            run(f"DROP FUNCTION {function}()")
