"""Statements of providers."""

from blaidctl.core.sql import Query

_SETTINGS = (
    "kind, check_url, fills_url, stale_field, credentials, plain_http, stale_after_s, timeout_s, attempts,"
    " degrade_after, block_after, recover_after, check_within_s"
)
_HEALTH = "state, reason_code, detail, failures, successes, checked_at, good_at, changed_at"
_PROVIDER = f"id, {_SETTINGS}, {_HEALTH}, created_at"
FIND_PROVIDER = Query(f"SELECT {_PROVIDER} FROM providers WHERE id = :id")
LOCK_PROVIDER = Query(f"SELECT {_PROVIDER} FROM providers WHERE id = :id $FOR_UPDATE")
PROVIDER_IDS = Query("SELECT id FROM providers ORDER BY id LIMIT 20000")
LIST_PROVIDERS = Query(f"""
    SELECT {_PROVIDER}, (SELECT count(*) FROM provider_bindings b
                          WHERE b.provider_id = providers.id AND b.unbound_at IS NULL) AS accounts
      FROM providers WHERE CAST(:id AS TEXT) IS NULL OR id = :id ORDER BY id
""")
INSERT_PROVIDER = Query(f"""
    INSERT INTO providers (id, {_SETTINGS}, state, reason_code, detail, failures, successes, changed_at, created_at)
    VALUES (:id, {", ".join(f":{name}" for name in _SETTINGS.split(", "))}, :state, :reason_code, :detail, 0, 0, :now,
            :now)
""")
#: After its event was written: the database refuses a state that the latest event does not say.
CHANGE_HEALTH = Query("""
    UPDATE providers SET state = :state, reason_code = :reason_code, detail = :detail, failures = :failures,
           successes = :successes, checked_at = :checked_at, good_at = :good_at, changed_at = :changed_at
     WHERE id = :id
""")

FIND_BINDING = Query("""
    SELECT id, bound_at FROM provider_bindings
     WHERE provider_id = :provider_id AND account_id = :account_id AND unbound_at IS NULL
""")
INSERT_BINDING = Query("""
    INSERT INTO provider_bindings (provider_id, account_id, bound_at) VALUES (:provider_id, :account_id, :now)
""")
END_BINDING = Query("UPDATE provider_bindings SET unbound_at = :now WHERE id = :id")
BOUND_TO = Query("""
    SELECT b.account_id, b.bound_at, COALESCE(c.pulls, 0) AS pulls, c.pulled_at, c.failed_at, c.failed_reason,
           c.resume_from
      FROM provider_bindings b
      LEFT JOIN pull_cursors c ON c.provider_id = b.provider_id AND c.account_id = b.account_id
     WHERE b.provider_id = :provider_id AND b.unbound_at IS NULL ORDER BY b.account_id
""")
#: For the guard: every provider that the account of a bot stands or falls with, and whether the last pull was whole.
OF_BOT = Query("""
    SELECT l.account_id, p.id, p.state, p.reason_code, p.detail, p.changed_at, p.checked_at, p.check_within_s,
           c.failed_at, c.failed_reason
      FROM account_links l
      LEFT JOIN provider_bindings b ON b.account_id = l.account_id AND b.unbound_at IS NULL
      LEFT JOIN providers p ON p.id = b.provider_id
      LEFT JOIN pull_cursors c ON c.provider_id = b.provider_id AND c.account_id = b.account_id
     WHERE l.bot_id = :bot_id AND l.unlinked_at IS NULL ORDER BY p.id
""")

#: The times in which an account stood or fell with a provider.
BINDINGS_OF = Query("""
    SELECT b.provider_id, b.bound_at, b.unbound_at, p.fills_url, c.pulled_at, c.failed_at, c.failed_reason
      FROM provider_bindings b JOIN providers p ON p.id = b.provider_id
      LEFT JOIN pull_cursors c ON c.provider_id = b.provider_id AND c.account_id = b.account_id
     WHERE b.account_id = :account_id ORDER BY b.provider_id, b.id
""")
#: The states of a provider, one after the other: when each began.
STATES_OF = Query("""
    SELECT state_after AS state, created_at FROM provider_events
     WHERE provider_id = :provider_id AND (state_before IS NULL OR state_before <> state_after) ORDER BY id
""")
LAST_PULLED = Query("""
    SELECT max(created_at) AS last_at FROM provider_events
     WHERE provider_id = :provider_id AND account_id = :account_id AND event = 'PULLED'
""")
LAST_IMPORTED = Query(
    "SELECT max(created_at) AS last_at FROM ledger_imports WHERE account_id = :account_id AND part = parts"
)

FIND_CURSOR = Query("""
    SELECT resume_from, pulls, pulled_at, failed_at, failed_reason FROM pull_cursors
     WHERE provider_id = :provider_id AND account_id = :account_id
""")
LOCK_CURSOR = Query("""
    SELECT resume_from, pulls, pulled_at, failed_at, failed_reason FROM pull_cursors
     WHERE provider_id = :provider_id AND account_id = :account_id $FOR_UPDATE
""")
INSERT_CURSOR = Query("""
    INSERT INTO pull_cursors (provider_id, account_id, pulls) VALUES (:provider_id, :account_id, 0)
""")
MOVE_CURSOR = Query("""
    UPDATE pull_cursors SET resume_from = :resume_from, pulls = pulls + 1, pulled_at = :pulled_at, failed_at = NULL,
           failed_reason = NULL
     WHERE provider_id = :provider_id AND account_id = :account_id
""")
FAIL_CURSOR = Query("""
    UPDATE pull_cursors SET failed_at = :failed_at, failed_reason = :failed_reason
     WHERE provider_id = :provider_id AND account_id = :account_id
""")

_EVENT = (
    "id, provider_id, account_id, event, state_before, state_after, reason_code, detail, failures, successes,"
    " resume_from, rows_new, metadata, reason, actor, created_at, trace_id"
)
LIST_EVENTS = Query(f"""
    SELECT {_EVENT} FROM provider_events
     WHERE CAST(:provider_id AS TEXT) IS NULL OR provider_id = :provider_id ORDER BY id DESC LIMIT :limit
""")
#: For status and doctor.
NOT_OK = Query("""
    SELECT id, state, reason_code, detail, changed_at, checked_at, check_within_s FROM providers ORDER BY id
""")
