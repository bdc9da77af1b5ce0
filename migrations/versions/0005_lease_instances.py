"""Give instances a countable heartbeat, a limit of silence and a mark; tell listeners when a kill or resurrect is true.

Why: the reaper must tell a heartbeat that moved from one that did not without trusting clocks, must know after how many
seconds of silence an instance is over, and must find what its process left behind; a supervisor on PostgreSQL must hear
of a kill at once instead of asking for it.

Diff: new columns bot_instances.hb_seq, bot_instances.stale_after_s, bot_instances.mark. PostgreSQL: function
blaidctl_tell_bots and trigger bots_tell (NOTIFY blaidctl_bots with the bot's id, or nothing when there are many).
The heartbeat and start of an active instance must be moments: constraint bot_instances_times (PostgreSQL), triggers
bot_instances_times_insert and bot_instances_times_update (SQLite).

Rollback: drops the columns, the trigger and the function; running supervisors of this version stop their processes when
their lease ends, and nothing is told.

Data safety: existing instances get hb_seq 0, stale_after_s 60 and no mark; no row is rewritten (constant defaults).
"""

from blaidctl.core.ddl import PIN_SEARCH_PATH, engine_kind, moment, run, spell

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

COLUMNS = [
    """
    ALTER TABLE bot_instances ADD COLUMN hb_seq {BIG} NOT NULL DEFAULT 0
    """,
    """
    ALTER TABLE bot_instances ADD COLUMN stale_after_s INTEGER NOT NULL DEFAULT 60
    CONSTRAINT bot_instances_stale_after CHECK (stale_after_s > 0)
    """,
    "ALTER TABLE bot_instances ADD COLUMN mark TEXT",
]

#: Of a kill of more bots than this every listener looks for itself: one notification instead of thousands.
MOST_TOLD = 50


def _times(kind: str) -> str:
    prefix = "NEW." if kind == "sqlite" else ""
    both = " AND ".join(moment(f"{prefix}{column}", kind) for column in ("heartbeat_at", "started_at"))
    return f"{prefix}status NOT IN ('STARTING', 'RUNNING') OR ({both})"


_NO_MOMENT = "the heartbeat and start of an active instance must be times that can be read"
SQLITE = [
    f"""
    CREATE TRIGGER bot_instances_times_{event.partition(" ")[0].lower()} BEFORE {event} ON bot_instances
    WHEN NOT ({_times("sqlite")}) BEGIN SELECT RAISE(ABORT, '{_NO_MOMENT}'); END
    """
    for event in ("INSERT", "UPDATE OF status, heartbeat_at, started_at")
]
POSTGRESQL = [
    f"ALTER TABLE bot_instances ADD CONSTRAINT bot_instances_times CHECK ({_times('postgresql')})",
    PIN_SEARCH_PATH,
    f"""
    CREATE FUNCTION blaidctl_tell_bots() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT AS $$
    BEGIN
        IF (SELECT count(*) FROM (SELECT 1 FROM changed LIMIT {MOST_TOLD + 1}) AS counted) > {MOST_TOLD} THEN
            PERFORM pg_notify('blaidctl_bots', '');
        ELSE
            PERFORM pg_notify('blaidctl_bots', id) FROM changed;
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER bots_tell AFTER UPDATE ON bots REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION blaidctl_tell_bots()
    """,
]


def upgrade() -> None:
    """Add the columns and the guard of times; on PostgreSQL the notification."""
    kind = engine_kind()
    for statement in [*(spell(column, kind) for column in COLUMNS), *(POSTGRESQL if kind == "postgresql" else SQLITE)]:
        run(statement)


def downgrade() -> None:
    """Drop what upgrade() added."""
    if engine_kind() == "postgresql":
        run("DROP TRIGGER bots_tell ON bots")
        run("DROP FUNCTION blaidctl_tell_bots()")
        run("ALTER TABLE bot_instances DROP CONSTRAINT bot_instances_times")
    else:
        run("DROP TRIGGER bot_instances_times_insert")
        run("DROP TRIGGER bot_instances_times_update")
    for column in ("mark", "stale_after_s", "hb_seq"):
        run(f"ALTER TABLE bot_instances DROP COLUMN {column}")
