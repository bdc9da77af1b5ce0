"""Create the fleet: users, bots and their instances.

Why: the kill engine needs a registry of bots and of the processes that run them, and the database itself must refuse a
running instance on a killed bot, whoever writes.

Diff: new tables users (id, name, created_at), bots (id, user_id, name, strategy, tags, exchanges, killed_at,
created_at), bot_instances (id, bot_id, account_id, status, stop_reason, host, boot_id, pid, pid_started, attempt,
exit_status, started_at, heartbeat_at, stopped_at, stop_confirmed_at). Triggers: no STARTING or RUNNING instance
on a killed bot (from either side), an ended instance never comes back, bots and instances are never deleted or renamed.
PostgreSQL: functions blaidctl_instance_guard, blaidctl_bot_guard, blaidctl_killed_guard.

Rollback: drops the three tables and the functions; the registry is lost, the audit log keeps what was done.

Data safety: creates only; no existing row is read or locked.
"""

from blaidctl.core.ddl import PIN_SEARCH_PATH, engine_kind, run, spell

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = [
    """
    CREATE TABLE users (
        id TEXT NOT NULL PRIMARY KEY,
        name TEXT NOT NULL,
        created_at {TIME} NOT NULL
    ){STRICT}
    """,
    """
    CREATE TABLE bots (
        id TEXT NOT NULL PRIMARY KEY,
        user_id TEXT NOT NULL REFERENCES users (id),
        name TEXT NOT NULL,
        strategy TEXT NOT NULL,
        tags {JSON} NOT NULL,
        exchanges {JSON} NOT NULL,
        killed_at {TIME},
        created_at {TIME} NOT NULL
    ){STRICT}
    """,
    "CREATE INDEX ix_bots_user_id ON bots (user_id)",
    """
    CREATE TABLE bot_instances (
        id {EVENT_ID},
        bot_id TEXT NOT NULL REFERENCES bots (id),
        account_id TEXT,
        status TEXT NOT NULL,
        stop_reason TEXT,
        host TEXT NOT NULL,
        boot_id TEXT,
        pid INTEGER,
        pid_started TEXT,
        attempt INTEGER NOT NULL,
        exit_status TEXT,
        started_at {TIME} NOT NULL,
        heartbeat_at {TIME},
        stopped_at {TIME},
        stop_confirmed_at {TIME},
        CONSTRAINT bot_instances_status CHECK (status IN ('STARTING', 'RUNNING', 'STOPPED', 'FAILED')),
        CONSTRAINT bot_instances_attempt_positive CHECK (attempt > 0),
        CONSTRAINT bot_instances_stopped_at CHECK ((status IN ('STOPPED', 'FAILED')) = (stopped_at IS NOT NULL)),
        CONSTRAINT bot_instances_stop_reason CHECK ((stopped_at IS NULL) = (stop_reason IS NULL)),
        CONSTRAINT bot_instances_confirmed_after_stop CHECK (stop_confirmed_at IS NULL OR stopped_at IS NOT NULL),
        CONSTRAINT bot_instances_running
            CHECK (status <> 'RUNNING' OR (pid IS NOT NULL AND heartbeat_at IS NOT NULL))
    ){STRICT}
    """,
    "CREATE INDEX bot_instances_bot ON bot_instances (bot_id, id)",
    "CREATE INDEX bot_instances_active ON bot_instances (bot_id) WHERE status IN ('STARTING', 'RUNNING')",
    """
    CREATE INDEX bot_instances_unproven ON bot_instances (bot_id)
     WHERE stopped_at IS NOT NULL AND stop_confirmed_at IS NULL
    """,
]

# A bot that is not there counts as dead (a session may have switched foreign keys off): it could be inserted killed.
_ON_KILLED = """
    SELECT RAISE(ABORT, 'a STARTING or RUNNING instance needs a live bot')
     WHERE NEW.status IN ('STARTING', 'RUNNING')
       AND NOT EXISTS (SELECT 1 FROM bots WHERE id = NEW.bot_id AND killed_at IS NULL)
"""
_STILL_RUNS = """
    SELECT RAISE(ABORT, 'a bot with a STARTING or RUNNING instance cannot be killed: stop the instance first')
     WHERE NEW.killed_at IS NOT NULL
       AND EXISTS (SELECT 1 FROM bot_instances WHERE bot_id = NEW.id AND status IN ('STARTING', 'RUNNING'))
"""

SQLITE = [
    f"CREATE TRIGGER bot_instances_guard_insert BEFORE INSERT ON bot_instances BEGIN {_ON_KILLED}; END",
    f"""
    CREATE TRIGGER bot_instances_guard_update BEFORE UPDATE OF status, bot_id ON bot_instances
    BEGIN {_ON_KILLED}; END
    """,
    """
    CREATE TRIGGER bot_instances_no_return BEFORE UPDATE OF status ON bot_instances
    WHEN OLD.status IN ('STOPPED', 'FAILED') AND NEW.status IN ('STARTING', 'RUNNING')
    BEGIN SELECT RAISE(ABORT, 'an instance that has ended never comes back'); END
    """,
    """
    CREATE TRIGGER bot_instances_no_replace BEFORE INSERT ON bot_instances WHEN NEW.id > 0
    BEGIN SELECT RAISE(ABORT, 'bot_instances: the id exists')
           WHERE EXISTS (SELECT 1 FROM bot_instances WHERE id = NEW.id); END
    """,
    """
    CREATE TRIGGER bot_instances_no_delete BEFORE DELETE ON bot_instances
    BEGIN SELECT RAISE(ABORT, 'bot_instances are never deleted'); END
    """,
    # UPDATE OR REPLACE … SET id would delete the row that had it.
    """
    CREATE TRIGGER bot_instances_no_rename BEFORE UPDATE OF id ON bot_instances WHEN NEW.id IS NOT OLD.id
    BEGIN SELECT RAISE(ABORT, 'bot_instances are never renamed'); END
    """,
    f"CREATE TRIGGER bots_guard_update BEFORE UPDATE OF killed_at ON bots BEGIN {_STILL_RUNS}; END",
    """
    CREATE TRIGGER bots_no_replace BEFORE INSERT ON bots
    BEGIN SELECT RAISE(ABORT, 'bots: the id exists') WHERE EXISTS (SELECT 1 FROM bots WHERE id = NEW.id); END
    """,
    "CREATE TRIGGER bots_no_delete BEFORE DELETE ON bots BEGIN SELECT RAISE(ABORT, 'bots are never deleted'); END",
    """
    CREATE TRIGGER bots_no_rename BEFORE UPDATE OF id ON bots WHEN NEW.id IS NOT OLD.id
    BEGIN SELECT RAISE(ABORT, 'bots are never renamed'); END
    """,
]

POSTGRESQL = [
    PIN_SEARCH_PATH,
    # FOR SHARE conflicts with the kill's row lock: an instance that starts while its bot is being killed waits, and
    # then sees it.
    """
    CREATE FUNCTION blaidctl_instance_guard() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT AS $$
    DECLARE dead timestamptz;
    BEGIN
        IF TG_OP = 'UPDATE' AND OLD.status IN ('STOPPED', 'FAILED') THEN
            RAISE EXCEPTION 'an instance that has ended never comes back' USING ERRCODE = 'restrict_violation';
        END IF;
        SELECT killed_at INTO dead FROM bots WHERE id = NEW.bot_id FOR SHARE;
        IF NOT FOUND OR dead IS NOT NULL THEN
            RAISE EXCEPTION 'a STARTING or RUNNING instance needs a live bot' USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NEW;
    END $$
    """,
    """
    CREATE FUNCTION blaidctl_bot_guard() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT AS $$
    BEGIN
        RAISE EXCEPTION '% are never deleted or renamed', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
    END $$
    """,
    # READ COMMITTED only: an older snapshot would not show an instance that started meanwhile.
    """
    CREATE FUNCTION blaidctl_killed_guard() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT AS $$
    BEGIN
        IF current_setting('transaction_isolation') <> 'read committed'
           AND EXISTS (SELECT 1 FROM changed WHERE killed_at IS NOT NULL) THEN
            RAISE EXCEPTION 'a bot is killed under READ COMMITTED only' USING ERRCODE = 'restrict_violation';
        END IF;
        IF EXISTS (SELECT 1 FROM changed c JOIN bot_instances i ON i.bot_id = c.id
                    WHERE c.killed_at IS NOT NULL AND i.status IN ('STARTING', 'RUNNING')) THEN
            RAISE EXCEPTION
                'a bot with a STARTING or RUNNING instance cannot be killed: stop the instance first'
                USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER bot_instances_guard_insert BEFORE INSERT ON bot_instances
    FOR EACH ROW WHEN (NEW.status IN ('STARTING', 'RUNNING')) EXECUTE FUNCTION blaidctl_instance_guard()
    """,
    """
    CREATE TRIGGER bot_instances_guard_update BEFORE UPDATE OF status, bot_id ON bot_instances
    FOR EACH ROW WHEN (NEW.status IN ('STARTING', 'RUNNING')) EXECUTE FUNCTION blaidctl_instance_guard()
    """,
    """
    CREATE TRIGGER bot_instances_no_delete BEFORE DELETE ON bot_instances
    FOR EACH ROW EXECUTE FUNCTION blaidctl_bot_guard()
    """,
    """
    CREATE TRIGGER bot_instances_no_rename BEFORE UPDATE OF id ON bot_instances
    FOR EACH ROW WHEN (NEW.id IS DISTINCT FROM OLD.id) EXECUTE FUNCTION blaidctl_bot_guard()
    """,
    """
    CREATE TRIGGER bot_instances_no_truncate BEFORE TRUNCATE ON bot_instances
    FOR EACH STATEMENT EXECUTE FUNCTION blaidctl_bot_guard()
    """,
    # A statement trigger over all changed rows: one set-based look however many bots a kill takes.
    """
    CREATE TRIGGER bots_guard_update AFTER UPDATE ON bots REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION blaidctl_killed_guard()
    """,
    """
    CREATE TRIGGER bots_no_delete BEFORE DELETE ON bots FOR EACH ROW EXECUTE FUNCTION blaidctl_bot_guard()
    """,
    """
    CREATE TRIGGER bots_no_truncate BEFORE TRUNCATE ON bots
    FOR EACH STATEMENT EXECUTE FUNCTION blaidctl_bot_guard()
    """,
    """
    CREATE TRIGGER bots_no_rename BEFORE UPDATE OF id ON bots
    FOR EACH ROW WHEN (NEW.id IS DISTINCT FROM OLD.id) EXECUTE FUNCTION blaidctl_bot_guard()
    """,
    "ALTER TABLE bot_instances ENABLE ALWAYS TRIGGER bot_instances_guard_insert",
    "ALTER TABLE bot_instances ENABLE ALWAYS TRIGGER bot_instances_guard_update",
    "ALTER TABLE bot_instances ENABLE ALWAYS TRIGGER bot_instances_no_delete",
    "ALTER TABLE bot_instances ENABLE ALWAYS TRIGGER bot_instances_no_rename",
    "ALTER TABLE bot_instances ENABLE ALWAYS TRIGGER bot_instances_no_truncate",
    "ALTER TABLE bots ENABLE ALWAYS TRIGGER bots_guard_update",
    "ALTER TABLE bots ENABLE ALWAYS TRIGGER bots_no_delete",
    "ALTER TABLE bots ENABLE ALWAYS TRIGGER bots_no_truncate",
    "ALTER TABLE bots ENABLE ALWAYS TRIGGER bots_no_rename",
]


def upgrade() -> None:
    """Create tables, functions and triggers."""
    kind = engine_kind()
    for statement in [*(spell(table, kind) for table in TABLES), *(SQLITE if kind == "sqlite" else POSTGRESQL)]:
        run(statement)


def downgrade() -> None:
    """Drop everything; the registry is lost."""
    for table in ("bot_instances", "bots", "users"):
        run(f"DROP TABLE {table}")
    if engine_kind() == "postgresql":
        for function in ("blaidctl_instance_guard", "blaidctl_bot_guard", "blaidctl_killed_guard"):
            run(f"DROP FUNCTION {function}()")
