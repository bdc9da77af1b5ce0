"""Create the audit chain and the stored answers.

Why: every change of state appends one entry to a hash chain in the same transaction; a request id is done once.
Both must be there before anything can be written.

Diff: new tables audit_log (seq, prev_hash, entry_hash, act_id, action, actor, created_at, events, outcome,
request_id, trace_id, canonical), audit_head (id, seq, entry_hash; one row), requests (act_id, actor, request_id,
operation, fingerprint, answer, audit_seq, created_at). Triggers: audit_log and requests append-only, audit_log
only ever grows at the head, audit_head only ever equals the last entry. PostgreSQL: functions
blaidctl_append_only, blaidctl_audit_guard, blaidctl_head_guard, blaidctl_audit_append.

Rollback: drops the three tables and the functions, and with them every entry: the evidence is gone. Export it first
(`blaidctl audit export`).

Data safety: creates only; no existing row is read or locked.
"""

from blaidctl.core.ddl import PIN_SEARCH_PATH, engine_kind, run, spell

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = [
    """
    CREATE TABLE audit_log (
        seq {BIG} NOT NULL PRIMARY KEY,
        prev_hash {BYTES} NOT NULL,
        entry_hash {BYTES} NOT NULL,
        act_id TEXT NOT NULL,
        action TEXT NOT NULL,
        actor TEXT NOT NULL,
        created_at {TIME} NOT NULL,
        events TEXT NOT NULL,
        outcome TEXT NOT NULL,
        request_id TEXT NOT NULL,
        trace_id TEXT NOT NULL,
        canonical TEXT NOT NULL,
        CONSTRAINT audit_log_seq_positive CHECK (seq > 0),
        CONSTRAINT audit_log_prev_hash_length CHECK (length(prev_hash) = 32),
        CONSTRAINT audit_log_entry_hash_length CHECK (length(entry_hash) = 32),
        CONSTRAINT audit_log_outcome CHECK (outcome IN ('DONE', 'REFUSED')),
        CONSTRAINT audit_log_prev_hash_key UNIQUE (prev_hash),
        CONSTRAINT audit_log_entry_hash_key UNIQUE (entry_hash)
    ){STRICT}
    """,
    "CREATE INDEX ix_audit_log_act_id ON audit_log (act_id)",
    "CREATE INDEX ix_audit_log_trace_id ON audit_log (trace_id)",
    """
    CREATE TABLE audit_head (
        id INTEGER NOT NULL PRIMARY KEY,
        seq {BIG} NOT NULL,
        entry_hash {BYTES} NOT NULL,
        CONSTRAINT audit_head_one_row CHECK (id = 1)
    ){STRICT}
    """,
    """
    CREATE TABLE requests (
        act_id TEXT NOT NULL PRIMARY KEY,
        actor TEXT NOT NULL,
        request_id TEXT NOT NULL,
        operation TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        answer {JSON} NOT NULL,
        audit_seq {BIG} NOT NULL,
        created_at {TIME} NOT NULL,
        CONSTRAINT requests_actor_request_id_key UNIQUE (actor, request_id),
        CONSTRAINT requests_audit_seq_key UNIQUE (audit_seq)
    ){STRICT}
    """,
]

SQLITE = [
    "INSERT INTO audit_head (id, seq, entry_hash) VALUES (1, 0, zeroblob(32))",
    """
    CREATE TRIGGER audit_log_no_update BEFORE UPDATE ON audit_log
    BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END
    """,
    """
    CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log
    BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END
    """,
    """
    CREATE TRIGGER audit_log_guard BEFORE INSERT ON audit_log BEGIN
        SELECT RAISE(ABORT, 'audit_log: seq must be the head plus one')
         WHERE NEW.seq IS NOT (SELECT COALESCE(MAX(seq), 0) + 1 FROM audit_log);
        SELECT RAISE(ABORT, 'audit_log: prev_hash must be the head')
         WHERE NEW.prev_hash <> COALESCE((SELECT entry_hash FROM audit_log ORDER BY seq DESC LIMIT 1), zeroblob(32));
        SELECT RAISE(ABORT, 'audit_log is append-only')
         WHERE EXISTS (SELECT 1 FROM audit_log WHERE entry_hash = NEW.entry_hash OR prev_hash = NEW.prev_hash);
    END
    """,
    """
    CREATE TRIGGER audit_head_guard BEFORE UPDATE ON audit_head BEGIN
        SELECT RAISE(ABORT, 'audit_head must equal the last entry of audit_log')
         WHERE NEW.id <> 1 OR NOT EXISTS (
            SELECT 1 FROM (SELECT seq, entry_hash FROM audit_log ORDER BY seq DESC LIMIT 1) AS last
             WHERE last.seq = NEW.seq AND last.entry_hash = NEW.entry_hash);
    END
    """,
    """
    CREATE TRIGGER audit_head_no_delete BEFORE DELETE ON audit_head
    BEGIN SELECT RAISE(ABORT, 'audit_head cannot be deleted'); END
    """,
    """
    CREATE TRIGGER audit_head_no_insert BEFORE INSERT ON audit_head
    BEGIN SELECT RAISE(ABORT, 'audit_head has its one row'); END
    """,
    """
    CREATE TRIGGER requests_no_update BEFORE UPDATE ON requests
    BEGIN SELECT RAISE(ABORT, 'requests is append-only'); END
    """,
    """
    CREATE TRIGGER requests_no_delete BEFORE DELETE ON requests
    BEGIN SELECT RAISE(ABORT, 'requests is append-only'); END
    """,
    """
    CREATE TRIGGER requests_no_replace BEFORE INSERT ON requests BEGIN
        SELECT RAISE(ABORT, 'UNIQUE constraint failed: requests.act_id')
         WHERE EXISTS (SELECT 1 FROM requests WHERE act_id = NEW.act_id OR audit_seq = NEW.audit_seq
                          OR (actor = NEW.actor AND request_id = NEW.request_id));
    END
    """,
]

POSTGRESQL = [
    PIN_SEARCH_PATH,
    "INSERT INTO audit_head (id, seq, entry_hash) VALUES (1, 0, decode(repeat('00', 32), 'hex'))",
    """
    CREATE FUNCTION blaidctl_append_only() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT AS $$
    BEGIN
        RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
    END $$
    """,
    """
    CREATE FUNCTION blaidctl_audit_guard() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT AS $$
    DECLARE head audit_head%ROWTYPE;
    BEGIN
        SELECT * INTO head FROM audit_head WHERE id = 1 FOR UPDATE;
        IF NEW.seq <> head.seq + 1 THEN
            RAISE EXCEPTION 'audit_log: seq must be the head plus one' USING ERRCODE = 'restrict_violation';
        END IF;
        IF NEW.prev_hash <> head.entry_hash THEN
            RAISE EXCEPTION 'audit_log: prev_hash must be the head' USING ERRCODE = 'restrict_violation';
        END IF;
        IF NEW.entry_hash <> sha256(convert_to(NEW.canonical, 'UTF8')) THEN
            RAISE EXCEPTION 'audit_log: entry_hash must be the SHA-256 of canonical'
                USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NEW;
    END $$
    """,
    """
    CREATE FUNCTION blaidctl_head_guard() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT AS $$
    BEGIN
        IF TG_OP <> 'UPDATE' OR NEW.id <> 1 OR NOT EXISTS (
            SELECT 1 FROM (SELECT seq, entry_hash FROM audit_log ORDER BY seq DESC LIMIT 1) AS last
             WHERE last.seq = NEW.seq AND last.entry_hash = NEW.entry_hash)
        THEN
            RAISE EXCEPTION 'audit_head must equal the last entry of audit_log' USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NEW;
    END $$
    """,
    """
    CREATE FUNCTION blaidctl_audit_append(
        before_prev text, before_seq text, after_seq text, p_act_id text, p_action text, p_actor text,
        p_created_at timestamptz, p_events text, p_outcome text, p_request_id text, p_trace_id text,
        OUT seq bigint, OUT entry_hash bytea, OUT prev_hash bytea
    ) LANGUAGE plpgsql
    SET search_path FROM CURRENT AS $$
    #variable_conflict use_column
    DECLARE
        head audit_head%ROWTYPE;
        text_of_entry text;
        next_seq bigint;
        next_hash bytea;
    BEGIN
        SELECT * INTO STRICT head FROM audit_head WHERE id = 1 FOR UPDATE;
        next_seq := head.seq + 1;
        text_of_entry := before_prev || encode(head.entry_hash, 'hex') || before_seq || next_seq || after_seq;
        next_hash := sha256(convert_to(text_of_entry, 'UTF8'));
        INSERT INTO audit_log (seq, prev_hash, entry_hash, act_id, action, actor, created_at, events, outcome,
                               request_id, trace_id, canonical)
        VALUES (next_seq, head.entry_hash, next_hash, p_act_id, p_action, p_actor, p_created_at, p_events, p_outcome,
                p_request_id, p_trace_id, text_of_entry);
        UPDATE audit_head SET seq = next_seq, entry_hash = next_hash WHERE id = 1;
        blaidctl_audit_append.seq := next_seq;
        blaidctl_audit_append.entry_hash := next_hash;
        blaidctl_audit_append.prev_hash := head.entry_hash;
    END $$
    """,
    """
    CREATE TRIGGER audit_log_guard BEFORE INSERT ON audit_log
    FOR EACH ROW EXECUTE FUNCTION blaidctl_audit_guard()
    """,
    """
    CREATE TRIGGER audit_log_no_change BEFORE UPDATE OR DELETE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION blaidctl_append_only()
    """,
    """
    CREATE TRIGGER audit_log_no_truncate BEFORE TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION blaidctl_append_only()
    """,
    """
    CREATE TRIGGER audit_head_guard BEFORE INSERT OR UPDATE OR DELETE ON audit_head
    FOR EACH ROW EXECUTE FUNCTION blaidctl_head_guard()
    """,
    """
    CREATE TRIGGER audit_head_no_truncate BEFORE TRUNCATE ON audit_head
    FOR EACH STATEMENT EXECUTE FUNCTION blaidctl_append_only()
    """,
    """
    CREATE TRIGGER requests_no_change BEFORE UPDATE OR DELETE ON requests
    FOR EACH ROW EXECUTE FUNCTION blaidctl_append_only()
    """,
    """
    CREATE TRIGGER requests_no_truncate BEFORE TRUNCATE ON requests
    FOR EACH STATEMENT EXECUTE FUNCTION blaidctl_append_only()
    """,
    "ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_guard",
    "ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_no_change",
    "ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_no_truncate",
    "ALTER TABLE audit_head ENABLE ALWAYS TRIGGER audit_head_guard",
    "ALTER TABLE audit_head ENABLE ALWAYS TRIGGER audit_head_no_truncate",
    "ALTER TABLE requests ENABLE ALWAYS TRIGGER requests_no_change",
    "ALTER TABLE requests ENABLE ALWAYS TRIGGER requests_no_truncate",
]

FUNCTIONS = [
    "blaidctl_audit_append(text, text, text, text, text, text, timestamptz, text, text, text, text)",
    "blaidctl_head_guard()",
    "blaidctl_audit_guard()",
    "blaidctl_append_only()",
]


def upgrade() -> None:
    """Create tables, functions, triggers and the head row."""
    kind = engine_kind()
    for statement in [*(spell(table, kind) for table in TABLES), *(SQLITE if kind == "sqlite" else POSTGRESQL)]:
        run(statement)


def downgrade() -> None:
    """Drop everything; the chain is lost."""
    for table in ("requests", "audit_head", "audit_log"):
        run(f"DROP TABLE {table}")
    if engine_kind() == "postgresql":
        for function in FUNCTIONS:
            run(f"DROP FUNCTION {function}")
