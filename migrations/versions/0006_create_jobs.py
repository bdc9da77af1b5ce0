"""Create the jobs: their types, runs, events, and the runs of the reaper.

Why: no job of any type may stay RUNNING for ever. A type cannot exist without limits, a RUNNING row cannot exist
without a heartbeat, a limit of silence and a deadline, and a job that has ended changes only by a new attempt: whoever
writes.

Diff: new tables job_types (name, heartbeat_s, stale_after_s, max_runtime_s, grace_s, created_at), jobs (id, job_type,
status, attempt, hb_seq, heartbeat_s, stale_after_s, heartbeat_at, started_at, deadline_at, due_at, worker_id,
worker_host, worker_boot, worker_pid, worker_pid_start, worker_mark, program, created_at, finished_at, reason_code,
exit_status, result, output_tail, output_bytes), job_events (id, act_id, job_id, attempt, event, reason_code,
observed_heartbeat_at, created_at, actor, trace_id), reaper_runs (id, act_id, host, started_at, duration_ms, complete,
counts, not_done, created_at, actor, trace_id). Triggers: job_events and reaper_runs append-only; jobs and job_types
never deleted or renamed, limits of a type never changed, an ended job changes only into its next attempt, the times of
a running job are times that can be read (on PostgreSQL the constraint jobs_times). PostgreSQL: function
blaidctl_job_guard.

Rollback: drops the four tables and the function; the history of jobs is lost, the audit log keeps the entries.

Data safety: creates only; no existing row is read or locked.
"""

from blaidctl.core.ddl import PIN_SEARCH_PATH, append_only, engine_kind, moment, run, spell

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = [
    """
    CREATE TABLE job_types (
        name TEXT NOT NULL PRIMARY KEY,
        heartbeat_s INTEGER NOT NULL,
        stale_after_s INTEGER NOT NULL,
        max_runtime_s INTEGER NOT NULL,
        grace_s INTEGER NOT NULL,
        created_at {TIME} NOT NULL,
        CONSTRAINT job_types_heartbeat CHECK (heartbeat_s BETWEEN 1 AND 30),
        CONSTRAINT job_types_stale_after CHECK (stale_after_s BETWEEN 3 * heartbeat_s AND 86400),
        CONSTRAINT job_types_max_runtime CHECK (max_runtime_s BETWEEN 1 AND 2592000),
        CONSTRAINT job_types_grace CHECK (grace_s BETWEEN 0 AND 300)
    ){STRICT}
    """,
    """
    CREATE TABLE jobs (
        id {EVENT_ID},
        job_type TEXT NOT NULL REFERENCES job_types (name),
        status TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        hb_seq {BIG} NOT NULL,
        heartbeat_s INTEGER NOT NULL,
        stale_after_s INTEGER NOT NULL,
        heartbeat_at {TIME},
        started_at {TIME},
        deadline_at {TIME},
        due_at {TIME},
        worker_id TEXT,
        worker_host TEXT,
        worker_boot TEXT,
        worker_pid INTEGER,
        worker_pid_start TEXT,
        worker_mark TEXT,
        program TEXT,
        created_at {TIME} NOT NULL,
        finished_at {TIME},
        reason_code TEXT,
        exit_status TEXT,
        result {JSON},
        output_tail TEXT,
        output_bytes {BIG},
        CONSTRAINT jobs_status CHECK (status IN ('QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED')),
        CONSTRAINT jobs_attempt_positive CHECK (attempt > 0),
        CONSTRAINT jobs_hb_seq CHECK (hb_seq >= 0),
        CONSTRAINT jobs_limits CHECK (heartbeat_s > 0 AND stale_after_s BETWEEN 3 * heartbeat_s AND 86400),
        CONSTRAINT jobs_running CHECK (status <> 'RUNNING' OR (heartbeat_at IS NOT NULL AND started_at IS NOT NULL
            AND deadline_at IS NOT NULL AND due_at IS NOT NULL AND worker_id IS NOT NULL)),
        CONSTRAINT jobs_deadline CHECK (due_at <= deadline_at AND started_at <= deadline_at),
        CONSTRAINT jobs_due CHECK ({DUE}),
        CONSTRAINT jobs_runtime CHECK ({RUNTIME}),
        CONSTRAINT jobs_finished CHECK ((status IN ('SUCCEEDED', 'FAILED', 'CANCELLED')) = (finished_at IS NOT NULL)),
        CONSTRAINT jobs_reason CHECK ((finished_at IS NULL) = (reason_code IS NULL))
    ){STRICT}
    """,
    "CREATE INDEX jobs_due ON jobs (due_at) WHERE status = 'RUNNING'",
    "CREATE INDEX jobs_type ON jobs (job_type, id)",
    """
    CREATE TABLE job_events (
        id {EVENT_ID},
        act_id TEXT NOT NULL,
        job_id {BIG} NOT NULL REFERENCES jobs (id),
        attempt INTEGER NOT NULL,
        event TEXT NOT NULL,
        reason_code TEXT,
        observed_heartbeat_at {TIME},
        created_at {TIME} NOT NULL,
        actor TEXT NOT NULL,
        trace_id TEXT NOT NULL,
        CONSTRAINT job_events_id_positive CHECK (id > 0),
        CONSTRAINT job_events_attempt_positive CHECK (attempt > 0),
        CONSTRAINT job_events_event CHECK (event IN ('STARTED', 'SUCCEEDED', 'FAILED', 'CANCELLED')),
        CONSTRAINT job_events_reason CHECK ((event = 'STARTED') = (reason_code IS NULL)),
        CONSTRAINT job_events_trace_id_length CHECK (length(trace_id) = 32)
    ){STRICT}
    """,
    """
    CREATE UNIQUE INDEX job_events_one_end ON job_events (job_id, attempt)
     WHERE event IN ('SUCCEEDED', 'FAILED', 'CANCELLED')
    """,
    "CREATE UNIQUE INDEX job_events_one_start ON job_events (job_id, attempt) WHERE event = 'STARTED'",
    "CREATE INDEX job_events_act ON job_events (act_id)",
    """
    CREATE TABLE reaper_runs (
        id {EVENT_ID},
        act_id TEXT NOT NULL,
        host TEXT NOT NULL,
        started_at {TIME} NOT NULL,
        duration_ms INTEGER NOT NULL,
        complete INTEGER NOT NULL,
        counts {JSON} NOT NULL,
        not_done {JSON} NOT NULL,
        created_at {TIME} NOT NULL,
        actor TEXT NOT NULL,
        trace_id TEXT NOT NULL,
        CONSTRAINT reaper_runs_id_positive CHECK (id > 0),
        CONSTRAINT reaper_runs_complete CHECK (complete IN (0, 1)),
        CONSTRAINT reaper_runs_trace_id_length CHECK (length(trace_id) = 32)
    ){STRICT}
    """,
    "CREATE INDEX reaper_runs_act ON reaper_runs (act_id)",
]

# When a RUNNING job is due for the reaper unless it beats: never later than its limits say. Day numbers of SQLite are
# doubles: exact to well below a millisecond, which is the tolerance.
DUE = {
    "sqlite": "julianday(due_at) <= julianday(heartbeat_at) + stale_after_s / 86400.0 + 0.00000001",
    "postgresql": "due_at <= heartbeat_at + make_interval(secs => stale_after_s)",
}

# No attempt may run for longer than the longest limit of any type: 30 days.
RUNTIME = {
    "sqlite": "julianday(deadline_at) <= julianday(started_at) + 30.00000001",
    "postgresql": "deadline_at <= started_at + make_interval(secs => 2592000)",
}

_ENDED = "OLD.status IN ('SUCCEEDED', 'FAILED', 'CANCELLED')"
_NEXT_ATTEMPT = "NEW.status = 'RUNNING' AND NEW.attempt = OLD.attempt + 1 AND OLD.status IN ('FAILED', 'CANCELLED')"
_LATE = "a job that has ended changes only into its next attempt"
_TYPE = "a job needs a job type, which has limits"
_ATTEMPT = "the attempt of a job only grows when a next one begins"

_TIMES = ("heartbeat_at", "started_at", "deadline_at", "due_at")
_NO_MOMENT = "the times of a running job must be times that can be read"


def _times(kind: str) -> str:
    prefix = "NEW." if kind == "sqlite" else ""
    return f"{prefix}status <> 'RUNNING' OR ({' AND '.join(moment(f'{prefix}{name}', kind) for name in _TIMES)})"


SQLITE = [
    *(
        f"""
        CREATE TRIGGER jobs_times_{event.partition(" ")[0].lower()} BEFORE {event} ON jobs
        WHEN NOT ({_times("sqlite")}) BEGIN SELECT RAISE(ABORT, '{_NO_MOMENT}'); END
        """
        for event in ("INSERT", f"UPDATE OF status, {', '.join(_TIMES)}")
    ),
    # A session may have switched foreign keys off.
    f"""
    CREATE TRIGGER jobs_known_type BEFORE INSERT ON jobs
    BEGIN SELECT RAISE(ABORT, '{_TYPE}')
           WHERE NOT EXISTS (SELECT 1 FROM job_types WHERE name = NEW.job_type); END
    """,
    f"""
    CREATE TRIGGER jobs_no_late_write BEFORE UPDATE ON jobs WHEN {_ENDED} AND NOT ({_NEXT_ATTEMPT})
    BEGIN SELECT RAISE(ABORT, '{_LATE}'); END
    """,
    f"""
    CREATE TRIGGER jobs_attempt BEFORE UPDATE ON jobs WHEN NEW.attempt <> OLD.attempt AND NOT ({_NEXT_ATTEMPT})
    BEGIN SELECT RAISE(ABORT, '{_ATTEMPT}'); END
    """,
    """
    CREATE TRIGGER jobs_no_replace BEFORE INSERT ON jobs WHEN NEW.id > 0
    BEGIN SELECT RAISE(ABORT, 'jobs: the id exists') WHERE EXISTS (SELECT 1 FROM jobs WHERE id = NEW.id); END
    """,
    "CREATE TRIGGER jobs_no_delete BEFORE DELETE ON jobs BEGIN SELECT RAISE(ABORT, 'jobs are never deleted'); END",
    """
    CREATE TRIGGER jobs_no_rename BEFORE UPDATE OF id, job_type ON jobs
    WHEN NEW.id IS NOT OLD.id OR NEW.job_type IS NOT OLD.job_type
    BEGIN SELECT RAISE(ABORT, 'jobs are never renamed'); END
    """,
    # INSERT OR REPLACE takes the place of a row with the same unique key without firing the delete trigger.
    """
    CREATE TRIGGER job_events_one_of_each BEFORE INSERT ON job_events
    WHEN EXISTS (SELECT 1 FROM job_events
                  WHERE job_id = NEW.job_id AND attempt = NEW.attempt AND event = 'STARTED' AND NEW.event = 'STARTED')
      OR EXISTS (SELECT 1 FROM job_events
                  WHERE job_id = NEW.job_id AND attempt = NEW.attempt
                    AND event IN ('SUCCEEDED', 'FAILED', 'CANCELLED') AND NEW.event <> 'STARTED')
    BEGIN SELECT RAISE(ABORT, 'job_events: one start and one end an attempt'); END
    """,
    """
    CREATE TRIGGER job_types_no_replace BEFORE INSERT ON job_types
    BEGIN SELECT RAISE(ABORT, 'job_types: the name exists')
           WHERE EXISTS (SELECT 1 FROM job_types WHERE name = NEW.name); END
    """,
    """
    CREATE TRIGGER job_types_no_delete BEFORE DELETE ON job_types
    BEGIN SELECT RAISE(ABORT, 'job_types are never deleted'); END
    """,
    """
    CREATE TRIGGER job_types_no_change BEFORE UPDATE ON job_types
    BEGIN SELECT RAISE(ABORT, 'job_types are never changed'); END
    """,
]

POSTGRESQL = [
    f"ALTER TABLE jobs ADD CONSTRAINT jobs_times CHECK ({_times('postgresql')})",
    PIN_SEARCH_PATH,
    f"""
    CREATE FUNCTION blaidctl_job_guard() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT AS $$
    BEGIN
        IF TG_OP = 'INSERT' THEN
            IF NOT EXISTS (SELECT 1 FROM job_types WHERE name = NEW.job_type) THEN
                RAISE EXCEPTION '{_TYPE}' USING ERRCODE = 'restrict_violation';
            END IF;
            RETURN NEW;
        END IF;
        IF TG_OP <> 'UPDATE' OR TG_TABLE_NAME <> 'jobs' THEN
            RAISE EXCEPTION '% are never changed or deleted', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
        END IF;
        IF {_ENDED} AND NOT ({_NEXT_ATTEMPT}) THEN
            RAISE EXCEPTION '{_LATE}' USING ERRCODE = 'restrict_violation';
        END IF;
        IF NEW.attempt <> OLD.attempt AND NOT ({_NEXT_ATTEMPT}) THEN
            RAISE EXCEPTION '{_ATTEMPT}' USING ERRCODE = 'restrict_violation';
        END IF;
        IF NEW.id <> OLD.id OR NEW.job_type <> OLD.job_type THEN
            RAISE EXCEPTION 'jobs are never renamed' USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NEW;
    END $$
    """,
    "CREATE TRIGGER jobs_known_type BEFORE INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION blaidctl_job_guard()",
    """
    CREATE TRIGGER jobs_guard_update BEFORE UPDATE ON jobs FOR EACH ROW
    WHEN (OLD.status <> 'RUNNING' OR NEW.attempt <> OLD.attempt OR NEW.id <> OLD.id OR NEW.job_type <> OLD.job_type)
    EXECUTE FUNCTION blaidctl_job_guard()
    """,
    "CREATE TRIGGER jobs_no_delete BEFORE DELETE ON jobs FOR EACH ROW EXECUTE FUNCTION blaidctl_job_guard()",
    """
    CREATE TRIGGER jobs_no_truncate BEFORE TRUNCATE ON jobs FOR EACH STATEMENT EXECUTE FUNCTION blaidctl_job_guard()
    """,
    """
    CREATE TRIGGER job_types_no_change BEFORE UPDATE OR DELETE ON job_types
    FOR EACH ROW EXECUTE FUNCTION blaidctl_job_guard()
    """,
    """
    CREATE TRIGGER job_types_no_truncate BEFORE TRUNCATE ON job_types
    FOR EACH STATEMENT EXECUTE FUNCTION blaidctl_job_guard()
    """,
    "ALTER TABLE jobs ENABLE ALWAYS TRIGGER jobs_known_type",
    "ALTER TABLE jobs ENABLE ALWAYS TRIGGER jobs_guard_update",
    "ALTER TABLE jobs ENABLE ALWAYS TRIGGER jobs_no_delete",
    "ALTER TABLE jobs ENABLE ALWAYS TRIGGER jobs_no_truncate",
    "ALTER TABLE job_types ENABLE ALWAYS TRIGGER job_types_no_change",
    "ALTER TABLE job_types ENABLE ALWAYS TRIGGER job_types_no_truncate",
]


def upgrade() -> None:
    """Create tables, the function and the triggers."""
    kind = engine_kind()
    own = {"{DUE}": DUE[kind], "{RUNTIME}": RUNTIME[kind]}
    tables = [spell(_with(table, own), kind) for table in TABLES]
    guards = SQLITE if kind == "sqlite" else POSTGRESQL
    for statement in [*tables, *guards, *append_only("job_events", kind), *append_only("reaper_runs", kind)]:
        run(statement)


def _with(statement: str, words: dict[str, str]) -> str:
    for word, meant in words.items():
        statement = statement.replace(word, meant)
    return statement


def downgrade() -> None:
    """Drop everything; the history of jobs is lost."""
    for table in ("reaper_runs", "job_events", "jobs", "job_types"):
        run(f"DROP TABLE {table}")
    if engine_kind() == "postgresql":
        run("DROP FUNCTION blaidctl_job_guard()")
