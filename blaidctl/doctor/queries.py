"""Statements of the doctor; each reads, none waits for a lock."""

from blaidctl.core.sql import Query
from blaidctl.fleet.queries import SILENT_POSTGRESQL, SILENT_SQLITE

VERSION = Query(sqlite="SELECT sqlite_version() AS version", postgresql="SHOW server_version")

# ---- PostgreSQL ------------------------------------------------------------------------------------------------------

SERVER = Query(
    postgresql="""
    SELECT CAST(current_setting('server_version_num') AS integer) AS number,
           current_setting('server_version') AS version,
           current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes,
           current_setting('synchronous_commit') AS synchronous_commit, pg_is_in_recovery() AS standby,
           current_setting('default_transaction_read_only') = 'on' AS read_only
    """
)
SERVER_CLOCK = Query(postgresql="SELECT clock_timestamp() AS now")
ROLE = Query(postgresql="SELECT rolname, rolsuper FROM pg_roles WHERE rolname = current_user")
#: What the role may do to each table of evidence.
EVIDENCE = Query(
    postgresql="""
    SELECT c.relname AS name, pg_has_role(c.relowner, 'MEMBER') AS owns,
           has_any_column_privilege(c.oid, 'UPDATE') AS may_update, has_table_privilege(c.oid, 'DELETE') AS may_delete,
           has_table_privilege(c.oid, 'TRUNCATE') AS may_truncate, has_table_privilege(c.oid, 'INSERT') AS may_insert,
           has_table_privilege(c.oid, 'SELECT') AS may_select
      FROM pg_class c
     WHERE c.relnamespace = CAST(current_schema() AS regnamespace) AND c.relname $IN(names) ORDER BY c.relname
    """
)
#: Whether it may write a column of the state that every act writes.
COLUMN = Query(postgresql="SELECT has_column_privilege(:table, :column, 'UPDATE') AS granted")

# ---- the desk --------------------------------------------------------------------------------------------------------

LAST_RUN = Query("SELECT host, created_at, complete, not_done FROM reaper_runs ORDER BY id DESC LIMIT 1")
UNCONFIRMED_BY_HOST = Query("""
    SELECT host, count(*) AS stops FROM bot_instances
     WHERE stopped_at IS NOT NULL AND stop_confirmed_at IS NULL GROUP BY host
""")
_STALE_INSTANCES = """
    SELECT count(*) AS silent FROM bot_instances WHERE status IN ('STARTING', 'RUNNING') AND {silent}
"""
STALE_INSTANCES = Query(
    sqlite=_STALE_INSTANCES.format(silent=SILENT_SQLITE), postgresql=_STALE_INSTANCES.format(silent=SILENT_POSTGRESQL)
)
AHEAD = Query("""
    SELECT (SELECT count(*) FROM bot_instances
             WHERE status IN ('STARTING', 'RUNNING') AND heartbeat_at > :limit_at) AS instances,
           (SELECT count(*) FROM jobs WHERE status = 'RUNNING' AND heartbeat_at > :limit_at) AS jobs
""")
#: Accounts whose last pull failed: their fills are unread, though the provider may be well.
UNREAD = Query("""
    SELECT c.account_id, c.provider_id, c.failed_reason FROM pull_cursors c
     WHERE c.failed_at IS NOT NULL AND EXISTS (SELECT 1 FROM provider_bindings b
            WHERE b.provider_id = c.provider_id AND b.account_id = c.account_id AND b.unbound_at IS NULL)
     ORDER BY c.account_id, c.provider_id
""")
#: Accounts that bots are linked to and that stand or fall with no provider.
UNBOUND = Query("""
    SELECT DISTINCT l.account_id FROM account_links l
     WHERE l.unlinked_at IS NULL AND NOT EXISTS (SELECT 1 FROM provider_bindings b
                                                  WHERE b.account_id = l.account_id AND b.unbound_at IS NULL)
     ORDER BY l.account_id
""")
