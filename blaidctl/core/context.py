"""Who acts, from where, under which trace: made once at the edge, then a value.

The actor of a command line is what the operating system says (`user@host`), never what an environment variable claims;
SUDO_USER counts only for root, who alone can have come from sudo. `--on-behalf-of` stands beside the actor, never
instead of it.
"""

from __future__ import annotations

import os
import pwd
import re
import secrets
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from blaidctl import __version__
from blaidctl.core import clock

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from blaidctl.core.audit import Receipt
    from blaidctl.core.db import Database
    from blaidctl.core.settings import Settings

_TRACE_ID = re.compile(r"[0-9a-f]{32}")
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")


def silent(_what: str, _total: int) -> Callable[[int], None]:
    """Report no progress: for everything but a person at a terminal."""
    return lambda _done: None


@dataclass(frozen=True, slots=True)
class Machine:
    """The process as the operating system reports it; part of every audit entry."""

    os_user: str
    host: str
    pid: int


@dataclass(frozen=True, slots=True)
class Context:
    """What every operation needs to know about its caller."""

    actor: str
    trace_id: str
    channel: str
    machine: Machine
    settings: Settings
    database: Database
    on_behalf_of: str | None = None
    #: The only user whose bots this caller may see; None means the whole fleet (the risk desk's own terminal).
    user_scope: str | None = None
    now: Callable[[], datetime] = clock.utc_now
    #: Receipts of the acts that were committed under this context: what no later failure may deny.
    receipts: list[Receipt] = field(default_factory=list)

    def circumstances(self) -> dict[str, Any]:
        """Return what every audit entry records about its caller beside the actor: as the machine reports it."""
        return {
            "channel": self.channel,
            "host": self.machine.host,
            "on_behalf_of": self.on_behalf_of,
            "os_user": self.machine.os_user,
            "pid": self.machine.pid,
            "tool_version": __version__,
        }

    #: (what is being done, how much there is) → a function to call with how far it has come.
    progress: Callable[[str, int], Callable[[int], None]] = silent


def this_machine() -> Machine:
    """Read the operating system's account of this process."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid{uid}"
    return Machine(os_user=name, host=socket.gethostname(), pid=os.getpid())


def os_actor(machine: Machine, service_name: str | None) -> str:
    """Return the actor of a command line: the pinned service, or the person behind sudo, or the login user."""
    if service_name:
        return f"service:{service_name}@{machine.host}"
    behind_sudo = os.environ.get("SUDO_USER") if os.geteuid() == 0 else None
    return f"{behind_sudo or machine.os_user}@{machine.host}"


def is_trace_id(text: str) -> bool:
    """Say whether a text is a W3C trace id: 32 lowercase hex digits, not all zero."""
    return bool(_TRACE_ID.fullmatch(text)) and text != "0" * 32


def new_trace_id() -> str:
    """Return a random trace id (W3C Trace Context, section 3.2.2.3)."""
    return secrets.token_hex(16)


def trace_from(traceparent: str | None) -> tuple[str, str | None]:
    """Return the trace id of a `traceparent` and no warning, or a new trace id and a warning when it is malformed."""
    if not traceparent:
        return new_trace_id(), None
    match = _TRACEPARENT.fullmatch(traceparent.strip())
    if match:
        version, trace_id, parent_id, more = match.groups()
        # Only a version after 00 may carry more fields than these.
        if is_trace_id(trace_id) and parent_id != "0" * 16 and not (more and version == "00"):
            return trace_id, None
    return new_trace_id(), "TRACEPARENT is malformed; this run has a new trace id"
