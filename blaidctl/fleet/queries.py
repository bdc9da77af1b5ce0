"""Statements of the fleet."""

from blaidctl.core.sql import Query

#: The caller's scope: NULL sees the whole fleet, else only that user's bots.
IN_SCOPE = "(CAST(:scope AS TEXT) IS NULL OR user_id = :scope)"

FIND_USER = Query("SELECT id, name, created_at FROM users WHERE id = :id")
INSERT_USER = Query("INSERT INTO users (id, name, created_at) VALUES (:id, :name, :now)")
LIST_USERS = Query("""
    SELECT u.id, u.name, u.created_at, (SELECT count(*) FROM bots b WHERE b.user_id = u.id) AS bots
      FROM users u ORDER BY u.id
""")

_BOT = "id, user_id, name, strategy, tags, exchanges, killed_at, created_at"
FIND_BOT = Query(f"SELECT {_BOT} FROM bots WHERE id = :id AND {IN_SCOPE}")
LOCK_BOT = Query(f"SELECT {_BOT} FROM bots WHERE id = :id AND {IN_SCOPE} $FOR_UPDATE")
INSERT_BOT = Query(
    sqlite="""
    INSERT INTO bots (id, user_id, name, strategy, tags, exchanges, killed_at, created_at)
    VALUES (:id, :user_id, :name, :strategy, :tags, :exchanges, NULL, :now)
    """,
    postgresql="""
    INSERT INTO bots (id, user_id, name, strategy, tags, exchanges, killed_at, created_at)
    VALUES (:id, :user_id, :name, :strategy, CAST(:tags AS jsonb), CAST(:exchanges AS jsonb), NULL, :now)
    """,
)
_LIST_BOTS = f"""
    SELECT {_BOT} FROM bots
     WHERE {IN_SCOPE}
       AND (CAST(:user AS TEXT) IS NULL OR user_id = :user)
       AND (CAST(:tag AS TEXT) IS NULL OR {{has_tag}})
     ORDER BY id
"""
HAS_TAG_SQLITE = "EXISTS (SELECT 1 FROM json_each(tags) WHERE value = :tag)"
HAS_TAG_POSTGRESQL = "tags @> to_jsonb(CAST(:tag AS text))"
LIST_BOTS = Query(
    sqlite=_LIST_BOTS.format(has_tag=HAS_TAG_SQLITE), postgresql=_LIST_BOTS.format(has_tag=HAS_TAG_POSTGRESQL)
)
BOT_IDS = Query(f"SELECT id FROM bots WHERE {IN_SCOPE} ORDER BY id LIMIT 20000")

INSTANCE_COLUMNS = (
    "id, bot_id, account_id, status, stop_reason, host, pid, attempt, exit_status, started_at, heartbeat_at,"
    " stopped_at, stop_confirmed_at"
)
LATEST_INSTANCES = Query(
    f"SELECT {INSTANCE_COLUMNS} FROM bot_instances WHERE bot_id = :bot_id ORDER BY id DESC LIMIT :limit"
)
FIND_INSTANCE = Query(f"SELECT {INSTANCE_COLUMNS} FROM bot_instances WHERE id = :id")
LOCK_INSTANCE = Query(f"SELECT {INSTANCE_COLUMNS} FROM bot_instances WHERE id = :id $FOR_UPDATE")
INSERT_INSTANCE = Query("""
    INSERT INTO bot_instances (bot_id, account_id, status, host, boot_id, mark, stale_after_s, attempt, started_at,
                               heartbeat_at)
    VALUES (:bot_id, :account_id, 'STARTING', :host, :boot_id, :mark, :stale_after_s, 1, :now, :now)
    RETURNING id, attempt
""")
LINKED_ACCOUNT = Query("SELECT account_id FROM account_links WHERE bot_id = :bot_id AND unlinked_at IS NULL")
MARK_RUNNING = Query("""
    UPDATE bot_instances SET status = 'RUNNING', pid = :pid, pid_started = :pid_started, heartbeat_at = :now,
           hb_seq = hb_seq + 1
     WHERE id = :id AND attempt = :attempt AND status = 'STARTING'
""")
END_INSTANCE = Query("""
    UPDATE bot_instances
       SET status = :status, stop_reason = :stop_reason, stopped_at = :now, stop_confirmed_at = :now,
           exit_status = :exit_status
     WHERE id = :id AND attempt = :attempt AND status IN ('STARTING', 'RUNNING')
""")
CONFIRM_STOP = Query("""
    UPDATE bot_instances SET stop_confirmed_at = :now, exit_status = :exit_status
     WHERE id = :id AND attempt = :attempt AND stopped_at IS NOT NULL AND stop_confirmed_at IS NULL
""")
#: A beat of 0 rows means: the right to trade is gone.
BEAT = Query("""
    UPDATE bot_instances SET heartbeat_at = :now, hb_seq = hb_seq + 1
     WHERE id = :id AND attempt = :attempt AND status IN ('STARTING', 'RUNNING')
""")
WATCH = Query("SELECT status FROM bot_instances WHERE id = :id AND attempt = :attempt")

LAST_KILL_EVENT = Query("SELECT MAX(id) FROM kill_events WHERE bot_id = :bot_id")
_RESTART_ORDER = """
    SELECT e.id FROM kill_events e JOIN bots b ON b.id = e.bot_id
     WHERE e.bot_id = :bot_id AND e.action = 'RESURRECT' AND {restart} AND b.killed_at IS NULL
       AND e.id > :seen AND e.id > (SELECT MAX(k.id) FROM kill_events k WHERE k.bot_id = :bot_id AND k.action = 'KILL')
     LIMIT 1
"""
#: A resurrect of a bot that lives which orders standing supervisors to start again: younger than every kill, and than
#: what the asking supervisor had seen when it last started.
RESTART_ORDER = Query(
    sqlite=_RESTART_ORDER.format(restart="e.metadata ->> '$.restart' = 1"),
    postgresql=_RESTART_ORDER.format(restart="e.metadata ->> 'restart' = 'true'"),
)

#: The kill that holds a bot: the applied one since the last resurrect (or, when the state was set by hand, the first).
OPEN_KILL = Query("""
    SELECT id, actor, reason_code, reason, created_at FROM kill_events
     WHERE bot_id = :bot_id AND action = 'KILL' AND id > COALESCE((
           SELECT MAX(r.id) FROM kill_events r
            WHERE r.bot_id = :bot_id AND r.action = 'RESURRECT' AND r.effect = 'APPLIED'), 0)
     ORDER BY CASE effect WHEN 'APPLIED' THEN 0 ELSE 1 END, id LIMIT 1
""")
#: An instance that runs by its row and has been silent for longer than it may: its supervisor is gone or cannot write.
SILENT_SQLITE = "julianday(COALESCE(heartbeat_at, started_at)) + stale_after_s / 86400.0 < julianday(:now)"
SILENT_POSTGRESQL = "COALESCE(heartbeat_at, started_at) + make_interval(secs => stale_after_s) < :now"
_FLEET_STATUS = f"""
    SELECT b.id AS bot_id, b.user_id, b.killed_at, k.actor AS killed_by, k.reason_code,
           COALESCE(a.n, 0) AS instances_active, COALESCE(a.silent, 0) AS instances_stale,
           COALESCE(u.n, 0) AS stops_unconfirmed
      FROM bots b
      LEFT JOIN (SELECT bot_id, count(*) AS n, sum(CASE WHEN {{silent}} THEN 1 ELSE 0 END) AS silent
                   FROM bot_instances WHERE status IN ('STARTING', 'RUNNING') GROUP BY bot_id) a ON a.bot_id = b.id
      LEFT JOIN (SELECT bot_id, count(*) AS n FROM bot_instances
                  WHERE stopped_at IS NOT NULL AND stop_confirmed_at IS NULL GROUP BY bot_id) u ON u.bot_id = b.id
      LEFT JOIN kill_events k ON b.killed_at IS NOT NULL AND k.id = (
           SELECT MAX(e.id) FROM kill_events e WHERE e.bot_id = b.id AND e.action = 'KILL' AND e.effect = 'APPLIED')
     WHERE {IN_SCOPE} AND (CAST(:bot_id AS TEXT) IS NULL OR b.id = :bot_id)
     ORDER BY b.id
"""
FLEET_STATUS = Query(
    sqlite=_FLEET_STATUS.format(silent=SILENT_SQLITE), postgresql=_FLEET_STATUS.format(silent=SILENT_POSTGRESQL)
)
#: The stops that nobody has proven, the latest first.
UNCONFIRMED_STOPS = Query(f"""
    SELECT i.id AS instance_id, i.bot_id, i.host, i.pid, i.stopped_at
      FROM bot_instances i JOIN bots b ON b.id = i.bot_id
     WHERE i.stopped_at IS NOT NULL AND i.stop_confirmed_at IS NULL
       AND {IN_SCOPE} AND (CAST(:bot_id AS TEXT) IS NULL OR i.bot_id = :bot_id)
     ORDER BY i.stopped_at DESC, i.id DESC LIMIT :limit
""")
#: The jobs of the whole desk, from the partial indexes of running jobs.
JOBS_NOW = Query("""
    SELECT (SELECT count(*) FROM jobs WHERE status = 'RUNNING') AS running,
           (SELECT count(*) FROM jobs WHERE status = 'RUNNING' AND due_at < :now) AS stale
""")
#: The providers of the whole desk; an OK that nobody has looked at for too long, or looked at in the future, is none.
_PROVIDERS_NOW = """
    SELECT id AS provider_id, CASE WHEN state = 'OK' AND {late} THEN 'STALE' ELSE state END AS state, reason_code,
           changed_at, checked_at
      FROM providers ORDER BY id
"""
PROVIDERS_NOW = Query(
    sqlite=_PROVIDERS_NOW.format(
        late="(julianday(checked_at) + check_within_s / 86400.0 < julianday(:now)"
        " OR julianday(checked_at) - 60 / 86400.0 > julianday(:now))"
    ),
    postgresql=_PROVIDERS_NOW.format(
        late="(checked_at + make_interval(secs => check_within_s) < :now"
        " OR checked_at - make_interval(secs => 60) > :now)"
    ),
)
