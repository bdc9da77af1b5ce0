"""Statements of accounts."""

from blaidctl.accounts.vocabulary import Limit
from blaidctl.core.sql import Query
from blaidctl.fleet.queries import IN_SCOPE

_ACCOUNT = "id, user_id, broker, external_id, environment, currency, long_only, status, created_at"
FIND_ACCOUNT = Query(f"SELECT {_ACCOUNT} FROM broker_accounts WHERE id = :id AND {IN_SCOPE}")
FIND_EXTERNAL = Query(f"SELECT {_ACCOUNT} FROM broker_accounts WHERE broker = :broker AND external_id = :external_id")
INSERT_ACCOUNT = Query("""
    INSERT INTO broker_accounts (id, user_id, broker, external_id, environment, currency, long_only, status, created_at)
    VALUES (:id, :user_id, :broker, :external_id, :environment, :currency, :long_only, 'OPEN', :now)
""")
ACCOUNT_IDS = Query(f"SELECT id FROM broker_accounts WHERE {IN_SCOPE} ORDER BY id LIMIT 20000")
_WITH_BOTS = f"""
    SELECT {_ACCOUNT}, (SELECT count(*) FROM account_links l
                         WHERE l.account_id = broker_accounts.id AND l.unlinked_at IS NULL) AS bots
      FROM broker_accounts
"""
LIST_ACCOUNTS = Query(f"{_WITH_BOTS} WHERE {IN_SCOPE} AND (CAST(:user AS TEXT) IS NULL OR user_id = :user) ORDER BY id")
SHOW_ACCOUNT = Query(f"{_WITH_BOTS} WHERE id = :id AND {IN_SCOPE}")

_LIMITS = ", ".join(Limit)
_LINK = f"id, bot_id, account_id, {_LIMITS}, policy_sha256, linked_at, unlinked_at"
OPEN_LINK = Query(f"SELECT {_LINK} FROM account_links WHERE bot_id = :bot_id AND unlinked_at IS NULL")
#: The account beside the link, for the guard.
OPEN_LINK_AND_ACCOUNT = Query(f"""
    SELECT l.account_id, {", ".join(f"l.{limit}" for limit in Limit)}, a.status
      FROM account_links l JOIN broker_accounts a ON a.id = l.account_id
     WHERE l.bot_id = :bot_id AND l.unlinked_at IS NULL
""")
OPEN_LINKS_OF = Query(
    f"SELECT {_LINK} FROM account_links WHERE account_id = :account_id AND unlinked_at IS NULL ORDER BY bot_id"
)
INSERT_LINK = Query(f"""
    INSERT INTO account_links (bot_id, account_id, {_LIMITS}, policy_sha256, linked_at)
    VALUES (:bot_id, :account_id, {", ".join(f":{limit}" for limit in Limit)}, :policy_sha256, :linked_at)
    RETURNING id
""")
CHANGE_LIMITS = Query(f"""
    UPDATE account_links SET {", ".join(f"{limit} = :{limit}" for limit in Limit)}, policy_sha256 = :policy_sha256
     WHERE id = :id
""")
END_LINK = Query("UPDATE account_links SET unlinked_at = :unlinked_at WHERE id = :id")
ACTIVE_INSTANCES = Query("""
    SELECT id, host, pid, status FROM bot_instances
     WHERE bot_id = :bot_id AND status IN ('STARTING', 'RUNNING') ORDER BY id LIMIT 100
""")
BOT_EXISTS = Query("SELECT id FROM bots WHERE id = :id")

_EVENT = (
    "id, account_id, bot_id, link_id, action, before, after, policy_sha256, error_code, message, actor, reason,"
    " created_at, trace_id"
)
#: A caller of a scope sees what was done to its own bots, and what was refused to itself: what another user or the desk
#: was refused may name what belongs to others.
LIST_EVENTS = Query(f"""
    SELECT {_EVENT} FROM broker_account_events e
     WHERE (CAST(:account_id AS TEXT) IS NULL OR e.account_id = :account_id)
       AND (CAST(:scope AS TEXT) IS NULL OR (e.bot_id IN (SELECT id FROM bots WHERE user_id = :scope)
                                             AND (e.action <> 'REFUSED' OR e.actor = :scope)))
     ORDER BY e.id DESC LIMIT :limit
""")
