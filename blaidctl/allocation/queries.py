"""Statements of allocation."""

from blaidctl.core.sql import Query
from blaidctl.fleet.queries import IN_SCOPE

CANDIDATES = Query(f"SELECT id, killed_at FROM bots WHERE {IN_SCOPE} ORDER BY id")
#: Nobody kills a bot while the run that may fund it is written; the wait is a few statements.
LOCK_BOTS = Query("SELECT id, killed_at FROM bots WHERE id $IN(ids) ORDER BY id $FOR_SHARE")
HEAD = Query("SELECT seq FROM audit_head WHERE id = 1")

#: Left out: what an entry of the audit log behind the version wrote (as in ledger/reading.py).
_KNOWN = """
    (CAST(:version AS BIGINT) IS NULL
     OR NOT EXISTS (SELECT 1 FROM audit_log l WHERE l.act_id = x.act_id AND l.seq > :version))
"""
#: The kills and resurrections that took effect, oldest first.
KILLS = Query(f"""
    SELECT bot_id, action, actor, reason_code, created_at FROM kill_events x
     WHERE effect = 'APPLIED' AND bot_id $IN(ids) AND {_KNOWN} ORDER BY id
""")
#: The accounts on which a bot has fills: a fill needs a link, so the links say where to look.
ACCOUNTS = Query(f"""
    SELECT l.bot_id, l.account_id FROM (SELECT DISTINCT bot_id, account_id FROM account_links WHERE bot_id $IN(ids)) l
     WHERE EXISTS (SELECT 1 FROM trades t JOIN ledger_imports x ON x.id = t.import_id
                    WHERE t.bot_id = l.bot_id AND t.account_id = l.account_id AND t.executed_at <= :as_of AND {_KNOWN})
     ORDER BY l.bot_id, l.account_id
""")
RATE = Query(f"""
    SELECT id, at, rate FROM fx_rates x
     WHERE base = :base AND quote = :quote AND at >= :since_at AND at <= :as_of AND {_KNOWN}
     ORDER BY at DESC, id DESC LIMIT 1
""")

_RUN = (
    "id, act_id, as_of, capital, currency, policy, policy_sha256, conventions, source_tables, versions, excluded,"
    " input_hash, output_hash, code_version, remainder, actor, created_at, trace_id"
)
#: A token's owner sees the runs that it made, which are over its own bots alone.
_SEEN = "(CAST(:scope AS TEXT) IS NULL OR actor = :scope)"
FIND_RUN = Query(f"SELECT {_RUN} FROM allocation_runs WHERE id = :id AND {_SEEN}")
#: What the chain says of a run.
ENTRY = Query("SELECT canonical FROM audit_log WHERE act_id = :act_id AND outcome = 'DONE' ORDER BY seq LIMIT 1")
LIST_RUNS = Query(f"""
    SELECT {_RUN}, (SELECT count(*) FROM allocation_lines l WHERE l.run_id = allocation_runs.id) AS bots,
           (SELECT count(*) FROM allocation_lines l WHERE l.run_id = allocation_runs.id AND l.weight <> '0'
               AND l.reason IS NULL) AS funded
      FROM allocation_runs WHERE {_SEEN} ORDER BY id DESC LIMIT :limit
""")
LINES = Query("""
    SELECT bot_id, account_id, weight, amount, reason, metrics, input_hash FROM allocation_lines WHERE run_id = :run_id
""")
