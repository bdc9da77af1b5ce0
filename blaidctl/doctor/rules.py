"""Pure rules of the doctor: from what was seen to a verdict."""

from __future__ import annotations

import stat
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from blaidctl.doctor.vocabulary import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

#: Two clocks that time servers keep differ by milliseconds; a second is a clock that nobody keeps.
MOST_SKEW = timedelta(seconds=1)
#: How far ahead of the database's clock a heartbeat may be: as far as the reaper lets it.
AHEAD_S = 5
#: The reaper runs every minute; five are missed by no accident.
REAPER_SILENT = timedelta(minutes=5)
LEAST_FREE_BYTES = 100 * 1024**2
LEAST_SERVER = 130000
_NAMED = 10
#: How connections of blaidctl are to SQLite: pragma → what it must be.
PRAGMAS: Mapping[str, frozenset[int]] = {
    "foreign_keys": frozenset({1}),
    "synchronous": frozenset({2, 3}),
    "recursive_triggers": frozenset({1}),
    "trusted_schema": frozenset({0}),
}
#: What lets a commit of PostgreSQL survive a power cut: setting → what it must not be.
DURABLE: Mapping[str, frozenset[str]] = dict.fromkeys(
    ("fsync", "full_page_writes", "synchronous_commit"), frozenset({"off"})
)
REAP = "Run `blaidctl job reap` every minute on each host with bots or jobs (deploy/: a systemd timer, a crontab line)."


@dataclass(frozen=True, slots=True)
class Seen:
    """A verdict in words."""

    verdict: Verdict
    detail: str
    next_step: str | None = None


def ok(detail: str) -> Seen:
    """Return that all is well."""
    return Seen(Verdict.OK, detail)


def finding(detail: str, next_step: str) -> Seen:
    """Return that something is wrong, and what to do."""
    return Seen(Verdict.FINDING, detail, next_step)


def not_checked(detail: str, next_step: str | None = None) -> Seen:
    """Return that nobody looked, and why."""
    return Seen(Verdict.NOT_CHECKED, detail, next_step)


def mode_text(mode: int) -> str:
    """Return the permissions of a file as chmod takes them."""
    return f"{stat.S_IMODE(mode):04o}"


def settings_file(path: str, mode: int, *, password: bool) -> Seen:
    """Judge the permissions of the settings file: whoever writes it chooses the database."""
    shown = f"{path} ({mode_text(mode)})"
    if mode & stat.S_IWOTH:
        return finding(f"{shown} can be written by everybody", f"Run: chmod o-w {path}")
    if password and mode & stat.S_IROTH:
        return finding(f"{shown} holds a password and can be read by everybody", f"Run: chmod o-rwx {path}")
    return ok(f"{shown}, {'holds a password' if password else 'no password in it'}")


def open_files(modes: Mapping[str, int]) -> Seen:
    """Judge the permissions of the database's files and their folder."""
    loose = [path for path, mode in modes.items() if mode & stat.S_IWOTH]
    if loose:
        return finding(f"everybody can write: {', '.join(loose)}", f"Run: chmod o-w {' '.join(loose)}")
    return ok(", ".join(f"{path} ({mode_text(mode)})" for path, mode in modes.items()))


def free_space(folder: str, free_bytes: int) -> Seen:
    """Judge the room that is left for the database: a kill needs a few pages, the log needs more every day."""
    shown = f"{free_bytes // 1024**2} MiB free in {folder}"
    if free_bytes > LEAST_FREE_BYTES:
        return ok(shown)
    return finding(shown, f"Free space until more than {LEAST_FREE_BYTES // 1024**2} MiB are left.")


def pragmas(found: Mapping[str, int]) -> Seen:
    """Judge how a connection is to SQLite."""
    wrong = [f"{name}={found[name]}" for name, wanted in PRAGMAS.items() if found[name] not in wanted]
    shown = ", ".join(wrong or [f"{name}={found[name]}" for name in PRAGMAS])
    return finding(shown, "Report it: every connection of blaidctl sets these.") if wrong else ok(shown)


def durability(found: Mapping[str, str]) -> Seen:
    """Judge whether a commit on PostgreSQL survives a power cut."""
    wrong = [f"{name}={found[name]}" for name, bad in DURABLE.items() if found[name] in bad]
    if wrong:
        return finding(", ".join(wrong), "Turn it on (ALTER SYSTEM SET …): a kill that was told may be lost.")
    return ok(", ".join(f"{name}={found[name]}" for name in DURABLE))


def server_version(number: int, text: str) -> Seen:
    """Judge the version of PostgreSQL."""
    if number < LEAST_SERVER:
        return finding(f"PostgreSQL {text}", f"Upgrade to PostgreSQL {LEAST_SERVER // 10000} or newer.")
    return ok(f"PostgreSQL {text}")


def primary(*, standby: bool, read_only: bool) -> Seen:
    """Judge whether the server takes writes."""
    if standby:
        return finding("the server is a standby: it takes no kill", "Point BLAIDCTL_DATABASE_URL at the primary.")
    if read_only:
        return finding(
            "transactions are read-only by default: no kill can be written",
            "Turn default_transaction_read_only off for this role and database.",
        )
    return ok("takes writes")


def clock(before: datetime, server: datetime, after: datetime) -> Seen:
    """Judge the host's clock against the server's; what the question itself took is no skew."""
    took = after - before
    ahead = before + took / 2 - server
    beyond = abs(ahead) - took / 2
    way = "ahead of" if ahead > timedelta() else "behind"
    shown = f"this host is {abs(ahead).total_seconds():.3f} s {way} the server"
    if beyond > MOST_SKEW:
        return finding(shown, "Let a time service (chrony, systemd-timesyncd) keep both clocks.")
    return ok(shown)


def heartbeats(instances: int, jobs: int) -> Seen:
    """Judge the heartbeats that lie in the future."""
    if not instances + jobs:
        return ok("none in the future")
    return finding(
        f"CLOCK_ANOMALY: {instances} instance(s) and {jobs} job(s) beat more than {AHEAD_S} s ahead of the database",
        "Mend the clock of their hosts; `blaidctl job reap` names them and leaves them alone.",
    )


def reaper(last: Mapping[str, Any] | None, now: datetime) -> Seen:
    """Judge the last run of the reaper: without it nobody ends what hangs."""
    if last is None:
        return finding("it has never run", REAP)
    silent = now - last["created_at"]
    at = f"{last['created_at']:%Y-%m-%d %H:%M:%S}Z"
    shown = f"last run {at} on {last['host']}, {int(silent.total_seconds())} s ago"
    if silent > REAPER_SILENT:
        return finding(shown, REAP)
    if not last["complete"]:
        why = Counter(str(item.get("reason", "?")) for item in last["not_done"])
        left = ", ".join(f"{reason} {count}" for reason, count in sorted(why.items()))
        return finding(f"{shown}, left something: {left}", "Run `blaidctl job reap` and look at what it names.")
    return ok(shown)


def unconfirmed(hosts: Mapping[str, int]) -> Seen:
    """Judge the stops that nobody has proven, host by host."""
    if not hosts:
        return ok("none")
    return finding(
        f"{sum(hosts.values())}: {_counted(hosts)}",
        "Look for the processes on these hosts (`blaidctl status` names them); run `blaidctl job reap` there.",
    )


def stale(count: int) -> Seen:
    """Judge what is silent for longer than it may be."""
    return finding(str(count), "Run `blaidctl job reap`: it ends what has stopped beating.") if count else ok("none")


def providers(states: Mapping[str, str], unbound: Sequence[str], unread: Sequence[str] = ()) -> Seen:
    """Judge the states of the providers and their last pulls; an account without one is said, and is no finding."""
    bad = [f"{name} {state}" for name, state in states.items() if state != "OK"]
    problems = [f"{len(bad)} of {len(states)} not OK: {_first(bad)}"] * bool(bad)
    problems += [f"the last pull failed: account {_first(unread)}"] * bool(unread)
    if problems:
        steps = "Follow runbooks/broker-outage.md; let `blaidctl provider check --all` run every minute (deploy/)."
        pull = "Run `blaidctl ledger pull` again: what it says has to be mended (runbooks/broker-outage.md)."
        return finding("; ".join(problems), steps if bad else pull)
    shown = f"{len(states)} OK" if states else "none is registered"
    if unbound:
        return Seen(Verdict.INFO, f"{shown}; no provider is bound to account {_first(unbound)}")
    return ok(shown)


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def differences(found: Sequence[str]) -> Seen:
    """Judge the triggers, tables, indexes and constraints against this version's."""
    if not found:
        return ok("as this version makes them")
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return finding(
        "; ".join(found[:_NAMED]) + more,
        "Let no bot trade; follow runbooks/suspected-tampering.md (`blaidctl db check` names every difference).",
    )


def role(who: str, *, superuser: bool, owns: Sequence[str], too_much: Sequence[str], too_little: Sequence[str]) -> Seen:
    """Judge the role of every day: it adds event rows, changes none, and owns nothing."""
    mend = "Use the daily role of runbooks/postgresql-roles.md."
    if superuser:
        return finding(f"{who} is a superuser: it can switch every trigger off", mend)
    if owns:
        return finding(f"{who} owns, or may act as the owner of: {', '.join(owns)}", mend)
    if too_much:
        return finding(f"{who} may do too much: {', '.join(too_much)}", mend)
    if too_little:
        return finding(f"{who} may not: {', '.join(too_little)}; its commands will be refused", mend)
    return ok(f"{who} owns nothing, adds event rows and changes none")


def open_findings(ids: Iterable[str]) -> Seen:
    """Say what of this version is not built, by finding."""
    found = dict(sorted(Counter(ids).items()))
    each = ", ".join(f"{name} ({count})" for name, count in found.items())
    return Seen(Verdict.INFO, f"{len(found)} open Sev-1 (and operations that answer 501): {each}" if found else "none")


def _counted(counts: Mapping[str, int]) -> str:
    named = [f"{name} {count}" for name, count in sorted(counts.items())[:_NAMED]]
    return ", ".join(named) + (f" and {len(counts) - _NAMED} hosts more" if len(counts) > _NAMED else "")
