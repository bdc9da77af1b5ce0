"""Statements of jobs. Every write of a worker is fenced: by id, attempt and `status = 'RUNNING'`."""

from blaidctl.core.sql import Query
from blaidctl.jobs.vocabulary import JobStatus

_TYPE = "name, heartbeat_s, stale_after_s, max_runtime_s, grace_s, created_at"
FIND_TYPE = Query(f"SELECT {_TYPE} FROM job_types WHERE name = :name")
LIST_TYPES = Query(f"SELECT {_TYPE} FROM job_types ORDER BY name")
TYPE_NAMES = Query("SELECT name FROM job_types ORDER BY name LIMIT 20000")
INSERT_TYPE = Query("""
    INSERT INTO job_types (name, heartbeat_s, stale_after_s, max_runtime_s, grace_s, created_at)
    VALUES (:name, :heartbeat_s, :stale_after_s, :max_runtime_s, :grace_s, :now)
""")

_LISTED = (
    "id AS job_id, job_type, status, attempt, reason_code, exit_status, started_at, heartbeat_at, deadline_at, due_at,"
    " finished_at, hb_seq, worker_id, created_at"
)
_SHOWN = (
    f"{_LISTED}, heartbeat_s, stale_after_s, worker_host, worker_boot, worker_pid, worker_pid_start, worker_mark,"
    " program, result, output_tail, output_bytes"
)
FIND_JOB = Query(f"SELECT {_SHOWN} FROM jobs WHERE id = :id")
#: What a writer must know of the row that it is about to change.
LOCK_JOB = Query("""
    SELECT id, job_type, status, attempt, reason_code, finished_at, heartbeat_at, hb_seq, stale_after_s, deadline_at
      FROM jobs WHERE id = :id $FOR_UPDATE
""")

INSERT_JOB = Query("""
    INSERT INTO jobs (job_type, status, attempt, hb_seq, heartbeat_s, stale_after_s, heartbeat_at, started_at,
                      deadline_at, due_at, worker_id, worker_host, worker_boot, worker_pid, worker_pid_start,
                      worker_mark, program, created_at)
    VALUES (:job_type, 'RUNNING', 1, 0, :heartbeat_s, :stale_after_s, :started_at, :started_at, :deadline_at, :due_at,
            :worker_id, :worker_host, :worker_boot, :worker_pid, :worker_pid_start, :worker_mark, :program, :started_at)
    RETURNING id
""")
START_AGAIN = Query("""
    UPDATE jobs
       SET status = 'RUNNING', attempt = :next_attempt, hb_seq = 0, heartbeat_s = :heartbeat_s,
           stale_after_s = :stale_after_s, heartbeat_at = :started_at, started_at = :started_at,
           deadline_at = :deadline_at, due_at = :due_at, worker_id = :worker_id, worker_host = :worker_host,
           worker_boot = :worker_boot, worker_pid = :worker_pid, worker_pid_start = :worker_pid_start,
           worker_mark = :worker_mark, program = :program, finished_at = NULL, reason_code = NULL, exit_status = NULL,
           result = NULL, output_tail = NULL, output_bytes = NULL
     WHERE id = :id AND attempt = :attempt AND status IN ('QUEUED', 'FAILED', 'CANCELLED')
""")
_FENCE = "WHERE id = :id AND attempt = :attempt AND status = 'RUNNING'"
#: 0 rows mean: the attempt is over, stop working.
BEAT = Query(f"UPDATE jobs SET heartbeat_at = :heartbeat_at, hb_seq = hb_seq + 1, due_at = :due_at {_FENCE}")
REPORT_PROCESS = Query(f"UPDATE jobs SET worker_pid = :worker_pid, worker_pid_start = :worker_pid_start {_FENCE}")
_END = f"""
    UPDATE jobs
       SET status = :status, reason_code = :reason_code, finished_at = :finished_at, exit_status = :exit_status,
           result = {{result}}, output_tail = :output_tail, output_bytes = :output_bytes
     {_FENCE}
"""
END_JOB = Query(sqlite=_END.format(result=":result"), postgresql=_END.format(result="CAST(:result AS jsonb)"))


def _list(*, by_type: bool, status: JobStatus | None) -> Query:
    """Write the status into the text: only so the few running jobs are found by their partial index.

    SQLite must be told: it would rather read a million jobs that have ended than sort twenty.
    """
    narrowed = [*(["job_type = :type"] if by_type else []), *([f"status = '{status}'"] if status else [])]
    where = f"WHERE {' AND '.join(narrowed)}" if narrowed else ""
    few = "INDEXED BY jobs_due" if status == JobStatus.RUNNING else ""
    text = f"SELECT {_LISTED} FROM jobs {{few}} {where} ORDER BY id DESC LIMIT :limit"
    return Query(sqlite=text.format(few=few), postgresql=text.format(few=""))


#: (whether a type is given, the status or None) → the list.
LIST_JOBS: dict[tuple[bool, JobStatus | None], Query] = {
    (by_type, status): _list(by_type=by_type, status=status)
    for by_type in (False, True)
    for status in (None, *JobStatus)
}

_EVENT = (
    "id AS event_id, job_id, attempt, event, reason_code, observed_heartbeat_at, created_at, actor, trace_id"
    " FROM job_events"
)
LIST_EVENTS = Query(f"SELECT {_EVENT} ORDER BY id DESC LIMIT :limit")
#: In two halves, each of which has its own unique index by job.
EVENTS_OF_JOB = Query(f"""
    SELECT {_EVENT} WHERE job_id = :job_id AND event = 'STARTED'
    UNION ALL
    SELECT {_EVENT} WHERE job_id = :job_id AND event IN ('SUCCEEDED', 'FAILED', 'CANCELLED')
    ORDER BY event_id DESC LIMIT :limit
""")
