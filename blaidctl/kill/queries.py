"""Statements of the kill engine: set-based, however many bots a decision takes."""

from blaidctl.core.sql import Query
from blaidctl.fleet.queries import HAS_TAG_POSTGRESQL, HAS_TAG_SQLITE, IN_SCOPE

LOCK_NAMED = Query(f"""
    SELECT id, killed_at FROM bots WHERE id $IN(ids) AND {IN_SCOPE} ORDER BY id $FOR_UPDATE
""")
_WIDE = f"""
    SELECT id, killed_at FROM bots
     WHERE {IN_SCOPE}
       AND (CAST(:user AS TEXT) IS NULL OR user_id = :user)
       AND (CAST(:tag AS TEXT) IS NULL OR {{has_tag}})
       AND (CAST(:exchange AS TEXT) IS NULL OR {{on_exchange}})
       AND (CAST(:account AS TEXT) IS NULL
            OR id IN (SELECT l.bot_id FROM account_links l WHERE l.account_id = :account AND l.unlinked_at IS NULL)
            OR EXISTS (
            SELECT 1 FROM bot_instances i
             WHERE i.bot_id = bots.id AND i.account_id = :account AND i.status IN ('STARTING', 'RUNNING')))
     ORDER BY id $FOR_UPDATE
"""
LOCK_WIDE = Query(
    sqlite=_WIDE.format(
        has_tag=HAS_TAG_SQLITE, on_exchange="EXISTS (SELECT 1 FROM json_each(exchanges) WHERE value = :exchange)"
    ),
    postgresql=_WIDE.format(has_tag=HAS_TAG_POSTGRESQL, on_exchange="exchanges @> to_jsonb(CAST(:exchange AS text))"),
)

_STOP = """
    UPDATE bot_instances SET status = 'STOPPED', stop_reason = 'KILLED', stopped_at = :now
     WHERE bot_id $IN(ids) AND status IN ('STARTING', 'RUNNING')
"""
#: SQLite holds its one write lock, so counting first is exact; PostgreSQL counts what the update returned.
COUNT_ACTIVE = Query("""
    SELECT bot_id, count(*) AS n FROM bot_instances
     WHERE bot_id $IN(ids) AND status IN ('STARTING', 'RUNNING') GROUP BY bot_id
""")
STOP_INSTANCES = Query(_STOP)
STOP_AND_COUNT = Query(
    f"WITH stopped AS ({_STOP} RETURNING bot_id) SELECT bot_id, count(*) AS n FROM stopped GROUP BY bot_id"
)
MARK_KILLED = Query("UPDATE bots SET killed_at = :now WHERE id $IN(ids) AND killed_at IS NULL")
MARK_LIVE = Query("UPDATE bots SET killed_at = NULL WHERE id = :id")
LIVE = Query("SELECT id FROM bots WHERE id $IN(ids) AND killed_at IS NULL ORDER BY id")
LAST_INSTANCE = Query("SELECT COALESCE(MAX(id), 0) AS id FROM bot_instances WHERE bot_id = :bot_id")
STARTED_AFTER = Query("""
    SELECT id FROM bot_instances WHERE bot_id = :bot_id AND id > :last_instance_id AND pid IS NOT NULL ORDER BY id
""")
UNCONFIRMED = Query("""
    SELECT id AS instance_id, bot_id, host, pid, stopped_at FROM bot_instances
     WHERE bot_id $IN(ids) AND stopped_at IS NOT NULL AND stop_confirmed_at IS NULL ORDER BY id
""")
LIST_EVENTS = Query("""
    SELECT e.id, e.bot_id, e.action, e.effect, e.actor, e.reason_code, e.reason, e.created_at, e.metadata, e.trace_id,
           e.ends_kill_event_id, e.instances_stopped
      FROM kill_events e
     WHERE (CAST(:bot_id AS TEXT) IS NULL OR e.bot_id = :bot_id)
       AND (:any_time = 1 OR e.created_at >= :since_at)
       AND (CAST(:scope AS TEXT) IS NULL OR e.bot_id IN (SELECT id FROM bots WHERE user_id = :scope))
     ORDER BY e.id DESC LIMIT :limit
""")
