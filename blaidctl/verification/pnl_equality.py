"""Verification 4: what a chosen instance of a bot made, by blaidctl's ledger and by a backend's own arithmetic."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING

from blaidctl.verification.backend import Backend, last_digit_changed
from blaidctl.verification.desk import ACCOUNT, BOT, begin_capital

if TYPE_CHECKING:
    from blaidctl.verification.stage import Stage

#: Executions of each of two instances; figures are wanted of the second.
_EXECUTIONS = {1: 60, 2: 120}
_CHOSEN = 2
_LIMIT_S = 30
_RECONCILE = ("ledger", "reconcile", "statement.json", "--account", ACCOUNT, "--instance", str(_CHOSEN))


def pnl_equality(stage: Stage, backend: type[Backend] = Backend) -> None:
    """Show it; MismatchError when something is not as it must be."""
    begin_capital(stage)
    with backend() as server:
        for instance, count in _EXECUTIONS.items():
            stage.say(f"{BOT} runs for the {_NTH[instance]} time, as a real process; the backend executes its orders")
            stage.type("bot", "run", BOT, "--", "true")
            server.trade(BOT, ACCOUNT, instance, count)
            _fetch(stage, server, f"/executions?instance={instance}", "executions.ndjson")
            words = ("ledger", "import", "executions.ndjson", "--format", "ndjson", "--account", ACCOUNT, "--history")
            stage.type(*words, see={"rows_new": count})
        shown = stage.type("bot", "show", BOT)
        ids = sorted(one["id"] for one in shown.result["instances"])
        stage.see("instances, by id", ids, list(_EXECUTIONS))
        stage.say(
            f"the statement of instance {_CHOSEN}, which the backend computes; and the ledger's own figures of it"
        )
        told = _fetch(stage, server, f"/statement?instance={_CHOSEN}", "statement.json")
        totals = json.loads(told)["totals"]
        figures = {name: totals[name] for name in ("gross", "fees", "net", "fills", "closed_trades")}
        stage.type("ledger", "metrics", BOT, "--instance", str(_CHOSEN), see=figures)
        compared = {"compared.fills there": _EXECUTIONS[_CHOSEN], "compared.fills here": _EXECUTIONS[_CHOSEN]}
        stage.type(*_RECONCILE, see={"agrees": True, "count": 0, **compared})
        _changed_digits(stage, server)
    stage.type("audit", "verify", see={"answer": "OK"})


_NTH = {1: "first", 2: "second"}


def _changed_digits(stage: Stage, server: Backend) -> None:
    truth = server.statement(_CHOSEN)
    for what, field, said in (
        ("totals", "net", truth["totals"]["net"]),
        ("7", "price", truth["fills"][7]["price"]),
        ("30", "realized_pnl", truth["fills"][30]["realized_pnl"]),
    ):
        lie = last_digit_changed(said)
        name = "the total" if what == "totals" else f"fill {truth['fills'][int(what)]['venue_trade_id']}"
        stage.say(f"one digit in the backend is changed: {field} of {name}, {said} → {lie}")
        server.lies = {(_CHOSEN, what, field): lie}
        _fetch(stage, server, f"/statement?instance={_CHOSEN}", "statement.json")
        found = {"field": field, "ledger": said, "statement": lie}
        see = {"agrees": False, "count": 1, **{f"differences.0.{key}": value for key, value in found.items()}}
        stage.type(*_RECONCILE, code=1, error="LEDGER_DIFFERS", see=see)


def _fetch(stage: Stage, server: Backend, path: str, name: str) -> bytes:
    """Fetch something from the backend over HTTP, into a file."""
    address = server.url(path)
    with urllib.request.urlopen(address, timeout=_LIMIT_S) as answer:  # noqa: S310 - our own server
        data: bytes = answer.read()
    (stage.folder / name).write_bytes(data)
    stage.transcript.append(f"$ curl -s '{address}' >{name}")
    return data
