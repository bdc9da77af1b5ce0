"""Create the allocation runs and their lines.

Why: who got which capital, by which policy, from which numbers, must be a row that cannot be changed and that can be
computed again from the ledger as it stood: so a run keeps the hashes of what went in and came out, and how far each
table had grown.

Diff: new tables allocation_runs (id, act_id, as_of, capital, currency, policy, policy_sha256, conventions,
source_tables, versions, excluded, input_hash, output_hash, code_version, remainder, actor, created_at, trace_id),
allocation_lines (id, act_id, run_id, bot_id, account_id, weight, amount, reason, metrics, input_hash, actor,
created_at, trace_id). Triggers: both append-only; one line a bot in a run; a line belongs to the run of its own act.
PostgreSQL: function blaidctl_allocation_guard.

Rollback: drops both tables and the function; the runs are lost, the audit log keeps the entries with their digests.

Data safety: creates only; no existing row is read or locked.
"""

from blaidctl.core.ddl import PIN_SEARCH_PATH, above_zero, append_only, engine_kind, moment, run, spell

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

ZERO = {"sqlite": "'0'", "postgresql": "0"}
_RUN = "an allocation line belongs to the run of its own act"
_OF_RUN = "SELECT 1 FROM allocation_runs WHERE id = NEW.run_id AND act_id = NEW.act_id"


def tables(kind: str) -> list[str]:
    """Return the statements that make the tables of one engine."""
    event_id, big, decimal, time, json, strict = (
        spell(word, kind) for word in ("{EVENT_ID}", "{BIG}", "{DECIMAL}", "{TIME}", "{JSON}", "{STRICT}")
    )
    stamps = f"actor TEXT NOT NULL,\n        created_at {time} NOT NULL,\n        trace_id TEXT NOT NULL"
    return [
        f"""
    CREATE TABLE allocation_runs (
        id {event_id},
        act_id TEXT NOT NULL,
        as_of {time} NOT NULL,
        capital {decimal} NOT NULL,
        currency TEXT NOT NULL,
        policy {json} NOT NULL,
        policy_sha256 TEXT NOT NULL,
        conventions {json} NOT NULL,
        source_tables {json} NOT NULL,
        versions {json} NOT NULL,
        excluded {json} NOT NULL,
        input_hash TEXT NOT NULL,
        output_hash TEXT NOT NULL,
        code_version TEXT NOT NULL,
        remainder {decimal} NOT NULL,
        {stamps},
        CONSTRAINT allocation_runs_id_positive CHECK (id > 0),
        CONSTRAINT allocation_runs_as_of CHECK ({moment("as_of", kind)}),
        CONSTRAINT allocation_runs_capital CHECK ({above_zero("capital", kind)}),
        CONSTRAINT allocation_runs_currency CHECK (length(currency) BETWEEN 2 AND 16),
        CONSTRAINT allocation_runs_hashes
            CHECK (length(policy_sha256) = 64 AND length(input_hash) = 64 AND length(output_hash) = 64),
        CONSTRAINT allocation_runs_remainder
            CHECK (remainder = {ZERO[kind]} OR ({above_zero("remainder", kind)})),
        CONSTRAINT allocation_runs_trace_id_length CHECK (length(trace_id) = 32)
    ){strict}
    """,
        "CREATE INDEX allocation_runs_act ON allocation_runs (act_id)",
        f"""
    CREATE TABLE allocation_lines (
        id {event_id},
        act_id TEXT NOT NULL,
        run_id {big} NOT NULL REFERENCES allocation_runs (id),
        bot_id TEXT NOT NULL REFERENCES bots (id),
        account_id TEXT REFERENCES broker_accounts (id),
        weight TEXT NOT NULL,
        amount {decimal} NOT NULL,
        reason TEXT,
        metrics {json},
        input_hash TEXT,
        {stamps},
        CONSTRAINT allocation_lines_id_positive CHECK (id > 0),
        CONSTRAINT allocation_lines_amount CHECK (amount = {ZERO[kind]} OR ({above_zero("amount", kind)})),
        CONSTRAINT allocation_lines_reason CHECK (amount <> {ZERO[kind]} OR reason IS NOT NULL),
        CONSTRAINT allocation_lines_input_hash CHECK (length(input_hash) = 64),
        CONSTRAINT allocation_lines_trace_id_length CHECK (length(trace_id) = 32),
        CONSTRAINT allocation_lines_key UNIQUE (run_id, bot_id)
    ){strict}
    """,
        "CREATE INDEX allocation_lines_act ON allocation_lines (act_id)",
    ]


SQLITE = [
    f"""
    CREATE TRIGGER allocation_lines_guard BEFORE INSERT ON allocation_lines BEGIN
        SELECT RAISE(ABORT, '{_RUN}') WHERE NOT EXISTS ({_OF_RUN});
        SELECT RAISE(ABORT, 'the row exists')
         WHERE EXISTS (SELECT 1 FROM allocation_lines WHERE run_id = NEW.run_id AND bot_id = NEW.bot_id);
    END
    """
]
POSTGRESQL = [
    PIN_SEARCH_PATH,
    f"""
    CREATE FUNCTION blaidctl_allocation_guard() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT AS $$
    BEGIN
        IF NOT EXISTS ({_OF_RUN}) THEN RAISE EXCEPTION '{_RUN}' USING ERRCODE = 'restrict_violation'; END IF;
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER allocation_lines_guard BEFORE INSERT ON allocation_lines
    FOR EACH ROW EXECUTE FUNCTION blaidctl_allocation_guard()
    """,
    "ALTER TABLE allocation_lines ENABLE ALWAYS TRIGGER allocation_lines_guard",
]


def upgrade() -> None:
    """Create tables, the function and the triggers."""
    kind = engine_kind()
    guards = SQLITE if kind == "sqlite" else POSTGRESQL
    events = [*append_only("allocation_runs", kind), *append_only("allocation_lines", kind)]
    for statement in [*tables(kind), *guards, *events]:
        run(statement)


def downgrade() -> None:
    """Drop everything; the runs are lost."""
    for table in ("allocation_lines", "allocation_runs"):
        run(f"DROP TABLE {table}")
    if engine_kind() == "postgresql":
        run("DROP FUNCTION blaidctl_allocation_guard()")
