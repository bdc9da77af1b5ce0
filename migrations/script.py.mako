"""${message}

Why: WHY THIS IS NEEDED.

Diff: EXACT TABLES AND COLUMNS, AND THEIR TRIGGERS.

Rollback: WHAT DOWNGRADE DOES, AND WHAT IT LOSES.

Data safety: WHAT HAPPENS TO ROWS THAT EXIST; LOCKS; DURATION ON A LARGE TABLE.

Rules: never batch-alter an event table (SQLite drops its triggers); one statement a list item, so that a failure can be
injected at each; comments in Python, not in SQL (`db plan` prints a statement on one line); spell types through
blaidctl.core.ddl.
"""

from blaidctl.core.ddl import append_only, engine_kind, run, spell

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""


def downgrade() -> None:
    """Undo."""
