"""Index the heartbeats of running jobs.

Why: a heartbeat in the future (a clock that was wrong, a foreign writer) would keep a job RUNNING for as long as it
lies ahead, so every run of the reaper looks for one; among a million running jobs that look must cost what finding
none costs.

Diff: new index jobs_heartbeat on jobs (heartbeat_at) of the rows that are RUNNING.

Rollback: drops the index; the reaper of this version finds the same, and reads every running job for it.

Data safety: no row changes; PostgreSQL blocks writes to jobs while the index is made (a second or two a million rows).
"""

from blaidctl.core.ddl import run

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index."""
    run("CREATE INDEX jobs_heartbeat ON jobs (heartbeat_at) WHERE status = 'RUNNING'")


def downgrade() -> None:
    """Drop the index."""
    run("DROP INDEX jobs_heartbeat")
