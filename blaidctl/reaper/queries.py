"""Statements of the reaper. Silence is judged by the database's clock, once more inside the statement that ends it."""

from blaidctl.core.sql import Query
from blaidctl.fleet.queries import SILENT_POSTGRESQL, SILENT_SQLITE

_ACTIVE = "status IN ('STARTING', 'RUNNING')"
#: A job that has been silent for longer than it may.
_SILENT = {
    "sqlite": "julianday(heartbeat_at) + stale_after_s / 86400.0 < julianday(:now)",
    "postgresql": "heartbeat_at + make_interval(secs => stale_after_s) < :now",
}

# ---- looking ---------------------------------------------------------------------------------------------------------

# `due_at` is when a job may be reaped unless it beats: the one range scan of the index jobs_due. It may be earlier than
# the limits say, never later (a CHECK); so the limits decide.
_LOOK_JOBS = """
    SELECT id, attempt, hb_seq, heartbeat_s, CASE WHEN deadline_at < :now THEN 1 ELSE 0 END, due_at
      FROM jobs WHERE status = 'RUNNING' AND due_at < :now AND (deadline_at < :now OR {silent})
     ORDER BY due_at LIMIT :limit
"""
LOOK_JOBS = Query(
    sqlite=_LOOK_JOBS.format(silent=_SILENT["sqlite"]), postgresql=_LOOK_JOBS.format(silent=_SILENT["postgresql"])
)
#: The same again, up to the last one that was seen.
_AGAIN_JOBS = """
    SELECT id, attempt, hb_seq FROM jobs
     WHERE status = 'RUNNING' AND due_at <= :until_at AND (deadline_at < :now OR {silent})
"""
AGAIN_JOBS = Query(
    sqlite=_AGAIN_JOBS.format(silent=_SILENT["sqlite"]), postgresql=_AGAIN_JOBS.format(silent=_SILENT["postgresql"])
)
_COUNT_JOBS = """
    SELECT count(*) AS n FROM jobs WHERE status = 'RUNNING' AND due_at < :now AND (deadline_at < :now OR {silent})
"""
COUNT_JOBS = Query(
    sqlite=_COUNT_JOBS.format(silent=_SILENT["sqlite"]), postgresql=_COUNT_JOBS.format(silent=_SILENT["postgresql"])
)
AHEAD_JOBS = Query("""
    SELECT id, heartbeat_at FROM jobs WHERE status = 'RUNNING' AND heartbeat_at > :limit_at
     ORDER BY heartbeat_at DESC LIMIT :limit
""")
COUNT_AHEAD_JOBS = Query("SELECT count(*) AS n FROM jobs WHERE status = 'RUNNING' AND heartbeat_at > :limit_at")

_LOOK_INSTANCES = f"""
    SELECT id, attempt, hb_seq, 0 AS heartbeat_s, 0 AS past_deadline, NULL AS due_at
      FROM bot_instances WHERE {_ACTIVE} AND {{silent}} ORDER BY id LIMIT :limit
"""
LOOK_INSTANCES = Query(
    sqlite=_LOOK_INSTANCES.format(silent=SILENT_SQLITE), postgresql=_LOOK_INSTANCES.format(silent=SILENT_POSTGRESQL)
)
_AGAIN_INSTANCES = f"SELECT id, attempt, hb_seq FROM bot_instances WHERE {_ACTIVE} AND {{silent}}"
AGAIN_INSTANCES = Query(
    sqlite=_AGAIN_INSTANCES.format(silent=SILENT_SQLITE), postgresql=_AGAIN_INSTANCES.format(silent=SILENT_POSTGRESQL)
)
_COUNT_INSTANCES = f"SELECT count(*) AS n FROM bot_instances WHERE {_ACTIVE} AND {{silent}}"
COUNT_INSTANCES = Query(
    sqlite=_COUNT_INSTANCES.format(silent=SILENT_SQLITE), postgresql=_COUNT_INSTANCES.format(silent=SILENT_POSTGRESQL)
)
AHEAD_INSTANCES = Query(f"""
    SELECT id, heartbeat_at FROM bot_instances WHERE {_ACTIVE} AND heartbeat_at > :limit_at
     ORDER BY heartbeat_at DESC LIMIT :limit
""")
COUNT_AHEAD_INSTANCES = Query(f"SELECT count(*) AS n FROM bot_instances WHERE {_ACTIVE} AND heartbeat_at > :limit_at")

#: Stops on this host that no supervisor has confirmed although it had the time to.
_OVERDUE = {
    "sqlite": "julianday(stopped_at) + max(stale_after_s, :patience_s) / 86400.0 < julianday(:now)",
    "postgresql": "stopped_at + make_interval(secs => greatest(stale_after_s, :patience_s)) < :now",
}
_UNPROVEN = "stopped_at IS NOT NULL AND stop_confirmed_at IS NULL AND host = :host AND {overdue}"
UNPROVEN = Query(
    **{
        kind: "SELECT id, attempt, boot_id, pid, pid_started, mark, started_at FROM bot_instances"
        f" WHERE {_UNPROVEN.format(overdue=overdue)} ORDER BY id LIMIT :limit"
        for kind, overdue in _OVERDUE.items()
    }
)

#: Whether there is anything to look at: all that an idle run asks. Of the jobs it takes the first and the last entry of
#: an index: by EXISTS PostgreSQL would read the whole table whenever old statistics promise a quick hit.
_ANYTHING = f"""
    SELECT COALESCE((SELECT due_at FROM jobs WHERE status = 'RUNNING' ORDER BY due_at LIMIT 1) < :now, false),
           EXISTS (SELECT 1 FROM bot_instances WHERE {_ACTIVE} AND {{instance}}),
           COALESCE((SELECT heartbeat_at FROM jobs WHERE status = 'RUNNING' ORDER BY heartbeat_at DESC LIMIT 1)
                    > :limit_at, false),
           EXISTS (SELECT 1 FROM bot_instances WHERE {_ACTIVE} AND heartbeat_at > :limit_at),
           EXISTS (SELECT 1 FROM bot_instances WHERE {{unproven}})
"""
ANYTHING = Query(
    sqlite=_ANYTHING.format(instance=SILENT_SQLITE, unproven=_UNPROVEN.format(overdue=_OVERDUE["sqlite"])),
    postgresql=_ANYTHING.format(instance=SILENT_POSTGRESQL, unproven=_UNPROVEN.format(overdue=_OVERDUE["postgresql"])),
)

# ---- ending ----------------------------------------------------------------------------------------------------------

_SEEN_SQLITE = """
    (SELECT value ->> '$[0]' AS seen_id, value ->> '$[1]' AS seen_attempt, value ->> '$[2]' AS seen_beat
       FROM json_each(:seen)) AS seen
"""
#: One fenced statement: what moved since it was seen is left alone, what somebody holds locked is passed over, and the
#: clock is read when the statement runs, not when its transaction began.
_FENCED_POSTGRESQL = """
    WITH clk AS MATERIALIZED (SELECT clock_timestamp() AS now),
         seen AS MATERIALIZED (
           SELECT (v ->> 0)::bigint AS id, (v ->> 1)::int AS attempt, (v ->> 2)::bigint AS hb_seq
             FROM jsonb_array_elements(CAST(:seen AS jsonb)) AS s(v)),
         dead AS MATERIALIZED (
           SELECT r.id, r.attempt, clk.now FROM {table} r JOIN seen USING (id) CROSS JOIN clk
            WHERE r.{running} AND r.attempt = seen.attempt AND ({over})
            ORDER BY r.id FOR UPDATE OF r SKIP LOCKED)
    UPDATE {table} r SET {ended} FROM dead WHERE r.id = dead.id AND r.attempt = dead.attempt AND r.{running}
    RETURNING {returned}
"""
_JOB_LEFT = (
    "{0}id, {0}attempt, {0}heartbeat_at, {0}worker_host AS host, {0}worker_boot AS boot_id, {0}worker_pid AS pid,"
    " {0}worker_pid_start AS pid_started, {0}worker_mark AS mark, {0}started_at"
)
REAP_JOBS = Query(
    sqlite=f"""
    UPDATE jobs SET status = 'FAILED', reason_code = 'TIMEOUT', finished_at = :now FROM {_SEEN_SQLITE}
     WHERE jobs.id = seen.seen_id AND attempt = seen.seen_attempt AND status = 'RUNNING'
       AND (deadline_at < :now OR (hb_seq = seen.seen_beat AND {_SILENT["sqlite"]}))
    RETURNING {_JOB_LEFT.format("")}
    """,
    postgresql=_FENCED_POSTGRESQL.format(
        table="jobs",
        running="status = 'RUNNING'",
        over="r.deadline_at < clk.now OR (r.hb_seq = seen.hb_seq"
        " AND r.heartbeat_at + make_interval(secs => r.stale_after_s) < clk.now)",
        ended="status = 'FAILED', reason_code = 'TIMEOUT', finished_at = dead.now",
        returned=_JOB_LEFT.format("r."),
    ),
)
_INSTANCE_LEFT = "{0}id, {0}attempt, {0}bot_id, {0}host, {0}boot_id, {0}pid, {0}pid_started, {0}mark, {0}started_at"
REAP_INSTANCES = Query(
    sqlite=f"""
    UPDATE bot_instances SET status = :status, stop_reason = :stop_reason, stopped_at = :now FROM {_SEEN_SQLITE}
     WHERE bot_instances.id = seen.seen_id AND attempt = seen.seen_attempt AND {_ACTIVE}
       AND hb_seq = seen.seen_beat AND {SILENT_SQLITE}
    RETURNING {_INSTANCE_LEFT.format("")}
    """,
    postgresql=_FENCED_POSTGRESQL.format(
        table="bot_instances",
        running=_ACTIVE,
        over="r.hb_seq = seen.hb_seq"
        " AND COALESCE(r.heartbeat_at, r.started_at) + make_interval(secs => r.stale_after_s) < clk.now",
        ended="status = :status, stop_reason = :stop_reason, stopped_at = dead.now",
        returned=_INSTANCE_LEFT.format("r."),
    ),
)
_CONFIRM = """
    UPDATE bot_instances SET stop_confirmed_at = :now, exit_status = gone.exit_status FROM {gone}
     WHERE bot_instances.id = gone.id AND bot_instances.attempt = gone.attempt
       AND stopped_at IS NOT NULL AND stop_confirmed_at IS NULL
    RETURNING bot_instances.id, bot_instances.bot_id, bot_instances.exit_status
"""
CONFIRM_STOPS = Query(
    sqlite=_CONFIRM.format(
        gone="(SELECT value ->> '$.id' AS id, value ->> '$.attempt' AS attempt,"
        " value ->> '$.exit_status' AS exit_status FROM json_each(:gone)) AS gone"
    ),
    postgresql=_CONFIRM.format(
        gone="jsonb_to_recordset(CAST(:gone AS jsonb)) AS gone(id bigint, attempt int, exit_status text)"
    ),
)
