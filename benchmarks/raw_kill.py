"""The floor of benchmarks/cold_start.py: the rows of one kill on SQLite, by a script that imports next to nothing.

python benchmarks/raw_kill.py FILE BOT
"""

import hashlib
import json
import secrets
import sqlite3
import sys
from datetime import UTC, datetime

file, bot = sys.argv[1:]
now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
act, request, trace = (secrets.token_hex(16) for _ in range(3))
db = sqlite3.connect(file, isolation_level=None, timeout=10)
for pragma in ("foreign_keys=ON", "synchronous=FULL", "recursive_triggers=ON"):
    db.execute(f"PRAGMA {pragma}")
db.execute("BEGIN IMMEDIATE")
db.execute(
    "UPDATE bot_instances SET status = 'STOPPED', stop_reason = 'KILLED', stopped_at = ?"
    " WHERE bot_id = ? AND status IN ('STARTING', 'RUNNING')",
    (now, bot),
)
db.execute("UPDATE bots SET killed_at = ? WHERE id = ? AND killed_at IS NULL", (now, bot))
row = db.execute(
    "INSERT INTO kill_events (act_id, bot_id, action, effect, actor, reason_code, reason, created_at, metadata,"
    " trace_id, ends_kill_event_id, instances_stopped)"
    " VALUES (?, ?, 'KILL', 'APPLIED', 'raw', 'DRILL', 'floor', ?, '{}', ?, NULL, 1) RETURNING *",
    (act, bot, now, trace),
).fetchone()
digest = hashlib.sha256(json.dumps(row).encode()).hexdigest()
events = json.dumps({"kill_events": {"count": 1, "sha256": digest}})
seq, prev = db.execute("SELECT seq + 1, entry_hash FROM audit_head WHERE id = 1").fetchone()
text = json.dumps({"act_id": act, "events": events, "prev_hash": prev.hex(), "seq": seq, "what": {"bots": [bot]}})
entry = hashlib.sha256(text.encode()).digest()
db.execute(
    "INSERT INTO audit_log (seq, prev_hash, entry_hash, act_id, action, actor, created_at, events, outcome, request_id,"
    " trace_id, canonical) VALUES (?, ?, ?, ?, 'kill', 'raw', ?, ?, 'DONE', ?, ?, ?)",
    (seq, prev, entry, act, now, events, request, trace, text),
)
db.execute("UPDATE audit_head SET seq = ?, entry_hash = ? WHERE id = 1", (seq, entry))
db.execute(
    "INSERT INTO requests (act_id, actor, request_id, operation, fingerprint, answer, audit_seq, created_at)"
    " VALUES (?, 'raw', ?, 'kill', ?, '{}', ?, ?)",
    (act, request, hashlib.sha256(request.encode()).hexdigest(), seq, now),
)
db.execute("COMMIT")
print(json.dumps({"bot": bot, "seq": seq, "entry_hash": entry.hex()}))
