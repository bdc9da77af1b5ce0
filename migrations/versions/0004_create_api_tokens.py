"""Create the bearer tokens of the HTTP shim.

Why: over HTTP the actor is the owner of a token; the database holds only its SHA-256.

Diff: new table api_tokens (id, user_id, label, token_sha256, created_at, revoked_at).

Rollback: drops the table; every token stops working.

Data safety: creates only; no existing row is read or locked.
"""

from blaidctl.core.ddl import engine_kind, run, spell

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = [
    """
    CREATE TABLE api_tokens (
        id TEXT NOT NULL PRIMARY KEY,
        user_id TEXT NOT NULL REFERENCES users (id),
        label TEXT NOT NULL,
        token_sha256 {BYTES} NOT NULL,
        created_at {TIME} NOT NULL,
        revoked_at {TIME},
        CONSTRAINT api_tokens_sha256_length CHECK (length(token_sha256) = 32),
        CONSTRAINT api_tokens_token_sha256_key UNIQUE (token_sha256)
    ){STRICT}
    """,
    "CREATE INDEX ix_api_tokens_user_id ON api_tokens (user_id)",
]


def upgrade() -> None:
    """Create the table."""
    kind = engine_kind()
    for statement in TABLES:
        run(spell(statement, kind))


def downgrade() -> None:
    """Drop the table; tokens are lost."""
    run("DROP TABLE api_tokens")
