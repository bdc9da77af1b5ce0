"""Create the kill events.

Why: every kill and resurrect is a row that cannot be changed, beside the state that it set.

Diff: new table kill_events (id, act_id, bot_id, action, effect, actor, reason_code, reason, created_at, metadata,
trace_id, ends_kill_event_id, instances_stopped). Triggers: append-only.

Rollback: drops the table; the history of kills is lost, the audit log keeps the entries with the digests of the rows.

Data safety: creates only; no existing row is read or locked.
"""

from blaidctl.core.ddl import append_only, engine_kind, run, spell

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = [
    """
    CREATE TABLE kill_events (
        id {EVENT_ID},
        act_id TEXT NOT NULL,
        bot_id TEXT NOT NULL REFERENCES bots (id),
        action TEXT NOT NULL,
        effect TEXT NOT NULL,
        actor TEXT NOT NULL,
        reason_code TEXT NOT NULL,
        reason TEXT NOT NULL,
        created_at {TIME} NOT NULL,
        metadata {JSON} NOT NULL,
        trace_id TEXT NOT NULL,
        ends_kill_event_id {BIG} REFERENCES kill_events (id),
        instances_stopped INTEGER NOT NULL,
        CONSTRAINT kill_events_id_positive CHECK (id > 0),
        CONSTRAINT kill_events_action CHECK (action IN ('KILL', 'RESURRECT')),
        CONSTRAINT kill_events_effect CHECK (effect IN ('APPLIED', 'ALREADY_IN_STATE')),
        CONSTRAINT kill_events_reason_not_blank CHECK (length(trim(reason)) > 0),
        CONSTRAINT kill_events_trace_id_length CHECK (length(trace_id) = 32),
        CONSTRAINT kill_events_instances_stopped CHECK (instances_stopped >= 0),
        CONSTRAINT kill_events_ends
            CHECK ((ends_kill_event_id IS NOT NULL) = (action = 'RESURRECT' AND effect = 'APPLIED'))
    ){STRICT}
    """,
    "CREATE INDEX kill_events_bot ON kill_events (bot_id, id)",
    "CREATE INDEX kill_events_created ON kill_events (created_at)",
    "CREATE INDEX kill_events_act ON kill_events (act_id)",
]


def upgrade() -> None:
    """Create the table and its triggers."""
    kind = engine_kind()
    for statement in [*(spell(table, kind) for table in TABLES), *append_only("kill_events", kind)]:
        run(statement)


def downgrade() -> None:
    """Drop the table; the history is lost."""
    run("DROP TABLE kill_events")
