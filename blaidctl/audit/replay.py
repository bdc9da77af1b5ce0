"""Replay of the entries themselves: what no event table explains must be as the acts left it.

Owners, names and tags of bots, users, accounts, types of jobs, currencies, tokens, and the details of instances: each
is told by the `after` of the act that wrote it. The entries are sorted by what they are about in a temporary database
on disk, and merged with the tables: memory stays constant however long the log is.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from blaidctl.audit.dropped import dropped_by_downgrades
from blaidctl.core import stream
from blaidctl.core.canonical import canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sqlalchemy.engine import Connection

    #: What an act says about some things of a kind: (key, column → value) of each.
    Told = Callable[[Mapping[str, Any]], Iterator[tuple[str, Mapping[str, Any]]]]

_KILLED = "KILLED"
_ACTIVE = ("STARTING", "RUNNING")


@dataclass(frozen=True, slots=True)
class Kind:
    """A table whose rows are explained by entries."""

    name: str
    table: str
    key: str
    #: Column → what it holds: text, time or json.
    columns: Mapping[str, str]
    #: Action → what its entry says.
    acts: Mapping[str, Told]
    #: A row that no entry explains is a finding.
    only_by_acts: bool = False


def _added(target: str, *, created: bool = True, **renamed: str) -> Told:
    """Return how an act that registers something tells of it; what was there already tells nothing new."""

    def told(entry: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        what = entry["what"]
        if what["before"] is None:
            facts = {renamed.get(name, name): value for name, value in what["after"].items()}
            yield str(what["target"][target]), facts | ({"created_at": entry["created_at"]} if created else {})

    return told


def _revoked(entry: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if not entry["what"]["before"]["revoked"]:
        yield entry["what"]["target"]["token"], {"revoked_at": entry["created_at"]}


def _new_token(entry: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, facts in _added("token", user="user_id", sha256="token_sha256")(entry):
        yield key, {**facts, "revoked_at": None}


def _started(entry: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    target, after = entry["what"]["target"], dict(entry["what"]["after"])
    facts = {
        "bot_id": target["bot"], "account_id": after.pop("account", ...), "attempt": 1, "pid": None,
        "stop_reason": None, "exit_status": None, "stop_confirmed_at": None,
    }  # fmt: skip
    yield str(target["instance"]), facts | after


def _ran(entry: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield str(entry["what"]["target"]["instance"]), entry["what"]["after"]


def _finished(entry: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    after = {name: value for name, value in entry["what"]["after"].items() if name != "confirmed"}
    yield str(entry["what"]["target"]["instance"]), after | {"stop_confirmed_at": entry["created_at"]}


def _reaped(entry: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    after = entry["what"]["after"]
    for instance, _attempt, _bot in entry["what"]["target"]["instances"]:
        yield str(instance), {name: after[name] for name in ("status", "stop_reason")}


def _confirmed(entry: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    statuses = entry["what"]["after"]["exit_status"]
    facts = {"stop_confirmed_at": entry["created_at"], "exit_status": statuses[0] if len(statuses) == 1 else ...}
    for instance, _bot in entry["what"]["target"]["instances"]:
        yield str(instance), facts


KINDS = (
    Kind("user", "users", "id", {"name": "text", "created_at": "time"}, {"user add": _added("user")}),
    Kind(
        "bot", "bots", "id",
        {
            "user_id": "text", "name": "text", "strategy": "text", "tags": "json", "exchanges": "json",
            "created_at": "time",
        },
        {"bot add": _added("bot")},
    ),
    Kind(
        "account", "broker_accounts", "id",
        {
            "user_id": "text", "broker": "text", "external_id": "text", "environment": "text", "currency": "text",
            "long_only": "text", "created_at": "time",
        },
        {"account add": _added("account")},
    ),
    Kind(
        "job type", "job_types", "name",
        {
            "heartbeat_s": "text", "stale_after_s": "text", "max_runtime_s": "text", "grace_s": "text",
            "created_at": "time",
        },
        {"job type add": _added("job_type")},
    ),
    Kind(
        "currency", "currencies", "code", {"places": "text"}, {"currency add": _added("currency", created=False)},
        only_by_acts=True,
    ),
    Kind(
        "token", "api_tokens", "id",
        {"user_id": "text", "label": "text", "token_sha256": "bytes", "created_at": "time", "revoked_at": "time"},
        {"token add": _new_token, "token revoke": _revoked},
        only_by_acts=True,
    ),
    Kind(
        "instance", "bot_instances", "id",
        {
            "bot_id": "text", "account_id": "text", "host": "text", "boot_id": "text", "mark": "text",
            "attempt": "text", "pid": "text", "pid_started": "text", "status": "text", "stop_reason": "text",
            "exit_status": "text", "stop_confirmed_at": "time",
        },
        {
            "instance start": _started, "instance run": _ran, "instance finish": _finished,
            "instance reap batch": _reaped, "instance confirm stops": _confirmed,
        },
    ),
)  # fmt: skip


def replay(connection: Connection) -> Iterator[tuple[int | None, str]]:
    """Yield (sequence of the entry or None, sentence) for every row that is not as its acts left it."""
    with contextlib.closing(sqlite3.connect("")) as spool:  # a file of SQLite's own that is gone when it is closed
        spool.execute("CREATE TABLE told (kind INTEGER, key TEXT, seq INTEGER, facts TEXT)")
        spool.executemany("INSERT INTO told VALUES (?, ?, ?, ?)", _told(connection))
        spool.execute("CREATE INDEX in_order ON told (kind, key, seq)")
        for number, kind in enumerate(KINDS):
            yield from _compared(connection, kind, _by_key(spool, number))


def _told(connection: Connection) -> Iterator[tuple[int, str, int, str]]:
    """Yield what each entry says; one that blaidctl never wrote is named by the chain and says nothing here."""
    acts = {action: (number, told) for number, kind in enumerate(KINDS) for action, told in kind.acts.items()}
    named = ", ".join(f"'{action}'" for action in acts)
    sql = f"SELECT seq, action, canonical FROM audit_log WHERE outcome = 'DONE' AND action IN ({named}) ORDER BY seq"
    dropped = dropped_by_downgrades(connection)
    with stream.rows(connection, sql) as rows:
        for seq, action, text in rows:
            number, told = acts[action]
            table = KINDS[number].table
            if seq < dropped.get(table, 0):
                continue
            gone = {name for name in KINDS[number].columns if seq < dropped.get(f"{table}.{name}", 0)}
            try:
                said = [
                    (key, canonical({n: value for n, value in facts.items() if value is not ... and n not in gone}))
                    for key, facts in told(json.loads(text))
                ]
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                continue
            yield from ((number, key, seq, facts) for key, facts in said)


def _by_key(spool: sqlite3.Connection, number: int) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Yield (key, sequence of the last entry, all that its entries say), in order of key."""
    rows = spool.execute("SELECT key, seq, facts FROM told WHERE kind = ? ORDER BY key, seq", (number,))
    for key, group in groupby(rows, key=lambda row: row[0]):
        facts: dict[str, Any] = {}
        last = 0
        for _, seq, text in group:
            facts |= json.loads(text)
            last = seq
        yield key, last, facts


def _compared(
    connection: Connection, kind: Kind, told: Iterator[tuple[str, int, dict[str, Any]]]
) -> Iterator[tuple[int | None, str]]:
    """Merge what the entries say with the table, both in order of key as text."""
    engine = connection.dialect.name
    key = f"CAST({kind.key} AS text)"
    columns = ", ".join(_selected(name, what, engine) for name, what in kind.columns.items())
    sql = f"SELECT {key}, {columns} FROM {kind.table} ORDER BY {stream.in_code_order(key, engine)}"
    said = next(told, None)
    with stream.rows(connection, sql) as rows:
        for name, *values in rows:
            while said is not None and said[0] < name:
                yield said[1], f"{kind.name} {said[0]} is gone, entry {said[1]} tells of it"
                said = next(told, None)
            if said is None or said[0] != name:
                if kind.only_by_acts:
                    yield None, f"{kind.name} {name}: no entry says that it was made"
                continue
            yield from _differences(kind, name, dict(zip(kind.columns, values, strict=True)), said[2])
            said = next(told, None)
    for gone, seq, _ in (said, *told) if said is not None else ():
        yield seq, f"{kind.name} {gone} is gone, entry {seq} tells of it"


def _selected(name: str, what: str, engine: str) -> str:
    if what == "time":
        return stream.time_column(name, engine)
    if what == "bytes":
        return name
    return f"CAST({name} AS text)"


def _differences(
    kind: Kind, key: str, actual: Mapping[str, Any], said: dict[str, Any]
) -> Iterator[tuple[int | None, str]]:
    if actual.get("stop_reason") == _KILLED and said.get("status") in _ACTIVE:
        said = {**said, "status": actual["status"], "stop_reason": _KILLED}  # by a kill: its events are replayed apart
    for name, what in kind.columns.items():
        if name in said and _plain(actual[name], what) != _text(said[name], what):
            yield None, f"{kind.name} {key}: {name} is {_plain(actual[name], what)}, its entries say {said[name]}"


def _plain(value: Any, what: str) -> Any:
    """Return a stored value as text; what is no JSON is left as it is, and equals nothing that an entry says."""
    if value is None or what not in {"json", "bytes"}:
        return value
    if what == "bytes":
        return bytes(value).hex()
    try:
        return canonical(json.loads(value))
    except (ValueError, TypeError, RecursionError):
        return value


def _text(value: Any, what: str) -> Any:
    if value is None:
        return None
    return canonical(value) if what == "json" else str(value)
