"""The quickstart: the main job, played with the installed program as an operator would type it.

Every step is a real command in a process of its own, shown as typed and as it answers. The play looks at the operating
system, not only at the answers: a process that was killed must be gone, and its orders must have stopped.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blaidctl.core import errors
from blaidctl.core.clock import monotonic_s, pause

if TYPE_CHECKING:
    from collections.abc import Iterator

    from blaidctl.core.context import Context

KILLED, SPARED = "momo-1", "carry-2"
ACCOUNT = "alice-paper"
_PAPER = ("--broker", "ibkr", "--external-id", "DU1234567", "--environment", "paper", "--currency", "USD")
_LIMITS = (
    "--max-contracts", "5", "--max-position-value", "500000", "--max-order-qty", "2", "--max-daily-loss", "2500",
    "--max-drawdown-pct", "12.5", "--max-orders-per-minute", "600",
)  # fmt: skip
#: The time that the generated fills are of, and the capital that each bot began with.
_SINCE, _UNTIL, _CAPITAL = "2024-01-01T00:00:00Z", "2026-01-01T00:00:00Z", 100_000
START_LIMIT_S = 30
#: Long enough for a bot that sends five orders a second to have sent more.
WATCH_S = 1.0


def play(ctx: Context) -> int:
    """Play every step; PlayFailed (exit 1) when one is not as it must be."""
    sandbox = Path(tempfile.mkdtemp(prefix="blaidctl-quickstart-"))
    stage = _Stage(sandbox, ctx.trace_id)
    stage.say(f"A sandbox of its own: {sandbox} (your configured database is not touched)")
    stage.type("db", "upgrade", "--yes")
    _load_instruments(stage)
    stage.type("user", "add", "alice", "--name", "Alice Ng")
    stage.type("bot", "add", KILLED, "--user", "alice", "--strategy", "momentum", "--tag", "futures")
    stage.type("bot", "add", SPARED, "--user", "alice", "--strategy", "carry", "--tag", "fx")
    stage.type("account", "add", ACCOUNT, "--user", "alice", *_PAPER)
    for bot in (KILLED, SPARED):
        stage.type("account", "link", bot, ACCOUNT, *_LIMITS)
    with stage.supervised(KILLED, "--standby"), stage.supervised(SPARED):
        stage.say("Two real processes run under supervision; each writes five demo orders a second.")
        pids = {bot: stage.running_pid(bot) for bot in (KILLED, SPARED)}
        stage.wait_for_orders()
        stage.type("status")
        stage.type(
            "kill", KILLED, "--reason-code", "RUNAWAY_ORDERS", "--reason", "five orders a second", "--wait", "10"
        )
        _see_the_kill(stage, pids)
        stage.type("guard", KILLED, expect=1)
        why = ("--reason-code", "FALSE_ALARM", "--reason", "five a second is its normal rate")
        stage.type("resurrect", KILLED, "--restart", "--wait", "20", *why)
        _see_the_restart(stage, pids[KILLED])
        stage.type("kill-events", KILLED)
        stage.type("guard", KILLED)
    stage.type("bot", "show", KILLED)
    limits = ("--heartbeat-s", "5", "--stale-after-s", "60", "--max-runtime-s", "600", "--grace-s", "5")
    stage.type("job", "type", "add", "reconcile", *limits)
    stage.type("job", "run", "reconcile", "--", "/bin/echo", "2 accounts agree")
    stage.type("job", "show", "1")
    stage.type("job", "reap")
    _from_fills_to_capital(stage)
    stage.type("audit", "verify")
    stage.say(
        "Seen: the process died and came back on order, the database says so; capital was divided by numbers that"
        " can be computed again; and the chain of every act verifies."
    )
    stage.say(f"Go on in this sandbox:  export BLAIDCTL_DATABASE_URL={stage.url}")
    return 0


def _load_instruments(stage: _Stage) -> None:
    """Load real instruments, as a desk does before anything trades; licence and files stay in the sandbox."""
    data = stage.sandbox / "data"
    shutil.copytree(Path(__file__).with_name("data"), data)
    stage.say(f"Real instruments of LEAN's ({data / 'README.md'}), and the sessions that they trade in.")
    stage.type("session", "load", str(data / "sessions.csv"), "--dates", str(data / "session_dates.csv"))
    stage.type("currency", "add", "USDT", "--places", "6")
    stage.type("instrument", "load", str(data / "instruments.csv"))
    stage.type("instrument", "show", "ES", "--at", "2025-11-27T13:30:00-05:00")
    if stage.ask("instrument", "show", "ZN")["tick_value"] != "15.625":
        raise errors.PlayFailed("a tick of ZN is 15.625 USD, and blaidctl says otherwise")


def _from_fills_to_capital(stage: _Stage) -> None:
    """Judge an engine, import what both bots traded, look at the curve, divide a capital, and prove it."""
    data = stage.sandbox / "data"
    limits = ("--heartbeat-s", "5", "--stale-after-s", "60", "--max-runtime-s", "600", "--grace-s", "5")
    stage.type("job", "type", "add", "backtest", *limits)
    stage.say("A backtest over generated bars: an engine's fills, judged by the arithmetic that judges real ones.")
    bars = ("--bars", str(data / "es-bars.csv"), "--symbol", "ES", "--capital", str(_CAPITAL))
    stage.type("backtest", "run", *bars)
    stage.say(f"Two years of generated fills of both bots ({data / 'README.md'}), and the capital they began with.")
    start = ("--account", ACCOUNT, "--kind", "INITIAL", "--currency", "USD", "--at", _SINCE)
    for bot in (KILLED, SPARED):
        stage.type("ledger", "flow", bot, *start, "--amount", str(_CAPITAL))
    stage.type("ledger", "import", str(data / "fills.csv"), "--format", "csv", "--account", ACCOUNT, "--history")
    stage.type("ledger", "equity", KILLED, "--as-of", _UNTIL)
    stage.say(f"A policy of the desk ({data / 'policy.toml'}): in inverse proportion to the largest drawdown.")
    asked = ("--capital", "250000", "--currency", "USD", "--policy", str(data / "policy.toml"), "--as-of", _UNTIL)
    stage.type("allocation", "run", *asked, "--reason", "yearly")
    stage.type("allocation", "audit", "1")
    lines = stage.ask("allocation", "show", "1")["lines"]
    given = sum((Decimal(line["amount"]) for line in lines), Decimal(0))
    if given != Decimal(250_000):
        raise errors.PlayFailed(f"the allocation adds up to {given}, not to 250000")


def _see_the_kill(stage: _Stage, pids: dict[str, int]) -> None:
    killed, spared = stage.orders(KILLED), stage.orders(SPARED)
    pause(WATCH_S)
    for bot, before in ((KILLED, killed), (SPARED, spared)):
        alive, now = _alive(pids[bot]), stage.orders(bot)
        state = "alive" if alive else "gone"
        stage.say(f"{bot}: process {pids[bot]} is {state}; orders {before}, {WATCH_S:.0f} s later {now}")
    if _alive(pids[KILLED]) or stage.orders(KILLED) != killed:
        raise errors.PlayFailed(f"{KILLED} still runs after its kill (process {pids[KILLED]})")
    if not _alive(pids[SPARED]) or stage.orders(SPARED) == spared:
        raise errors.PlayFailed(f"{SPARED} stopped although nobody killed it")


def _see_the_restart(stage: _Stage, killed_pid: int) -> None:
    pid, before = stage.running_pid(KILLED), stage.orders(KILLED)
    pause(WATCH_S)
    now = stage.orders(KILLED)
    stage.say(f"{KILLED}: process {pid} is alive; orders {before}, {WATCH_S:.0f} s later {now}")
    if pid == killed_pid or now == before:
        raise errors.PlayFailed(f"{KILLED} was not started again")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class _Stage:
    """The sandbox: its environment, its files, its processes."""

    def __init__(self, sandbox: Path, trace_id: str) -> None:
        self.sandbox = sandbox
        self.url = f"sqlite:///{sandbox / 'blaidctl.db'}"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("BLAIDCTL_")},
            "BLAIDCTL_DATABASE_URL": self.url,
            "BLAIDCTL_GRACE_S": "1",
            "TRACEPARENT": f"00-{trace_id}-{trace_id[:16]}-01",
        }

    def say(self, sentence: str) -> None:
        sys.stdout.write(f"\n# {sentence}\n")
        sys.stdout.flush()

    def type(self, *words: str, expect: int = 0) -> None:
        """Run a command in front of the audience."""
        sys.stdout.write(f"\n$ blaidctl {shlex.join(words)}\n")
        sys.stdout.flush()
        at = words.index("--") if "--" in words else len(words)
        line = [*_PROGRAM, *words[:at], "--output", "table", *words[at:]]
        code = subprocess.run(line, env=self.environment, check=False).returncode  # noqa: S603 - our own program
        if code != expect:
            raise errors.PlayFailed(f"`blaidctl {shlex.join(words)}` answered {code}, expected {expect}")

    def ask(self, *words: str) -> Any:
        """Run a command behind the stage and return its JSON result."""
        ran = subprocess.run(  # noqa: S603 - our own program
            [*_PROGRAM, *words, "--output", "json"], env=self.environment, check=False, capture_output=True, text=True
        )
        if ran.returncode:
            raise errors.PlayFailed(f"`blaidctl {shlex.join(words)}` answered {ran.returncode}: {ran.stderr.strip()}")
        return json.loads(ran.stdout)["result"]

    @contextlib.contextmanager
    def supervised(self, bot: str, *options: str) -> Iterator[None]:
        """Run a demo bot under `bot run` until the block ends."""
        command = [sys.executable, "-m", "blaidctl.quickstart.demo_bot", str(self._orders_file(bot))]
        words = " ".join(("bot", "run", *options, bot))
        sys.stdout.write(f"\n$ blaidctl {words} -- python -m blaidctl.quickstart.demo_bot … &\n")
        log = (self.sandbox / f"{bot}.log").open("wb")
        supervisor = subprocess.Popen(  # noqa: S603 - our own program
            [*_PROGRAM, "bot", "run", *options, bot, "--", *command], env=self.environment, stdout=log, stderr=log
        )
        try:
            yield
        finally:
            supervisor.terminate()
            supervisor.wait()
            log.close()

    def running_pid(self, bot: str) -> int:
        """Wait until the bot's instance is RUNNING; return the process id of the bot itself."""
        deadline = monotonic_s() + START_LIMIT_S
        while monotonic_s() < deadline:
            for instance in self.ask("bot", "show", bot)["instances"]:
                if instance["status"] == "RUNNING":
                    return int(instance["pid"])
            pause(0.1)
        raise errors.PlayFailed(f"{bot} did not start within {START_LIMIT_S} s: see {self.sandbox / f'{bot}.log'}")

    def wait_for_orders(self) -> None:
        """Wait until both bots have sent an order."""
        deadline = monotonic_s() + START_LIMIT_S
        while not (self.orders(KILLED) and self.orders(SPARED)):
            if monotonic_s() > deadline:
                raise errors.PlayFailed(f"no orders within {START_LIMIT_S} s: see {self.sandbox}")
            pause(0.1)

    def orders(self, bot: str) -> int:
        """Count the orders that a bot has sent."""
        file = self._orders_file(bot)
        return len(file.read_text(encoding="utf-8").splitlines()) if file.exists() else 0

    def _orders_file(self, bot: str) -> Path:
        return self.sandbox / f"{bot}.orders"


_PROGRAM = (sys.executable, "-m", "blaidctl")
