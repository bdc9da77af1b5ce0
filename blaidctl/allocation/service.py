"""Handlers of allocation.

`allocation run` in three steps: the policy is read (`prepared`); every bot's figures are computed in a reading
transaction, which holds no lock however long it takes (`compute`); then one short act looks at the kills under the lock
of the bots, divides and writes (`run`). What was refused in the second step is raised in the third, where refusals get
their entry.
"""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import blaidctl
from blaidctl.allocation import contract, inputs, outcome, policy, queries, rules
from blaidctl.allocation.events import ALLOCATION_LINES, ALLOCATION_RUNS
from blaidctl.allocation.inputs import Asked, Bot, Pinned
from blaidctl.core import errors
from blaidctl.core.canonical import canonical
from blaidctl.core.decimals import EXACT, text_of
from blaidctl.core.execute import Tx
from blaidctl.core.types import time_text
from blaidctl.fleet.service import bot_not_found

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from blaidctl.core.context import Context
    from blaidctl.core.sql import Row

#: Of a run, as it is printed; what does not fit the column is no run.
_NUMBER = re.compile(r"[1-9][0-9]{0,15}")


@dataclass(frozen=True, slots=True)
class _Computed:
    """What was computed before the act."""

    asked: Asked
    ids: tuple[str, ...]
    ledger: int
    bots: tuple[Bot, ...]


# --- before the act -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def prepared(ctx: Context, request: contract.RunAllocation) -> Iterator[contract.RunAllocation]:
    """Read the policy."""
    found = policy.asked_for(ctx, request.policy)
    yield request.model_copy(update={"document": found, "policy_sha256": found.sha256})


def compute(ctx: Context, request: contract.RunAllocation, *, dry_run: bool) -> contract.RunAllocation:  # noqa: ARG001 - the signature of Operation.outside
    """Compute the figures of every bot, in one snapshot."""
    computed: _Computed | errors.BlaidError
    try:
        with ctx.database.reading(statement_timeout_s=0) as connection:
            computed = _computed(Tx(ctx, connection, ctx.now()), request)
    except errors.BlaidError as error:
        if not error.audited:
            raise
        computed = error
    return request.model_copy(update={"computed": computed})


def _computed(tx: Tx, request: contract.RunAllocation) -> _Computed:
    asked = _asked(tx, request)
    candidates = tx.fetch(queries.CANDIDATES, scope=tx.ctx.user_scope)
    known = {row["id"] for row in candidates}
    unknown = [bot for bot in (*asked.excluded, *asked.accounts) if bot not in known]
    if unknown:
        raise bot_not_found(tx, unknown)
    taken = [row for row in candidates if row["id"] not in asked.excluded]
    if not taken:
        raise errors.NothingMatched("there is no bot to allocate to", missing=["a bot that is not excluded"])
    ids = tuple(sorted(row["id"] for row in taken))
    head = _head(tx)
    pinned = Pinned(head, head, inputs.unexplained(tx, taken, head))
    barred = inputs.kills(tx, ids, asked.as_of, pinned)
    return _Computed(asked, ids, head, tuple(inputs.gather(tx, asked, ids, barred, None)))


def _asked(tx: Tx, request: contract.RunAllocation) -> Asked:
    """Return what was asked for; raises InvalidRequest for what no bot could mend."""
    if request.as_of > tx.now:
        raise errors.InvalidRequest(
            f"as_of {time_text(request.as_of)} lies in the future", missing=["as_of: a moment that has passed"]
        )
    places = inputs.minor_places(tx, request.currency)
    if rules.scaled_or_none(request.capital, places) is None:
        raise errors.InvalidRequest(
            f"{text_of(request.capital)} is finer than the minor unit of {request.currency} ({places} places)",
            missing=[f"capital: a whole number of minor units, {places} places at the most"],
        )
    accounts = dict(pair.split("=", 1) for pair in request.account)
    if len(accounts) != len(set(request.account)):
        raise errors.InvalidRequest("a bot is given two accounts", missing=["account: one for each bot"])
    return Asked(
        capital=request.capital,
        currency=request.currency,
        places=places,
        as_of=request.as_of,
        document=request.document,
        excluded=tuple(sorted(set(request.exclude))),
        accounts=dict(sorted(accounts.items())),
    )


def _head(tx: Tx) -> int:
    found = tx.first(queries.HEAD)
    return int(found["seq"]) if found else 0


# --- the act ------------------------------------------------------------------------------------------------------


def run(tx: Tx, request: contract.RunAllocation) -> contract.Allocation:
    """Divide, and write the run with its lines."""
    computed = request.computed
    if isinstance(computed, errors.BlaidError):
        raise computed
    asked, bots, pinned = computed.asked, *_with_kills(tx, computed)
    try:
        found = outcome.outcome(asked, bots, asked.excluded)
    except rules.UndefinedError as error:
        raise errors.MetricsIncomplete(
            f"the policy refuses an undefined metric: {error.problems[0]}",
            missing=error.problems,
            next_steps=['Leave the bots out by name (--exclude), or say undefined = "NOTHING" in the policy.'],
        ) from None
    except rules.FloorsTooHighError as error:
        raise errors.AllocationPolicyInvalid(f"the policy cannot be met: {error}", missing=[str(error)]) from None
    row = _row(asked, pinned, found)
    written = tx.record(ALLOCATION_RUNS, [row])[0]
    tx.record(ALLOCATION_LINES, found.lines, run_id=written["id"])
    tx.target = {"run": written["id"]}
    tx.after = entered(row)
    return contract.Allocation(**_result(*require_run(tx, str(written["id"]))))


def entered(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the entry of the audit log says of a run."""
    return {
        "as_of": time_text(row["as_of"]),
        "capital": text_of(row["capital"]),
        "currency": row["currency"],
        "excluded": list(row["excluded"]),
        "input_hash": row["input_hash"],
        "output_hash": row["output_hash"],
        "policy_sha256": row["policy_sha256"],
        "remainder": text_of(row["remainder"]),
    }


def _with_kills(tx: Tx, computed: _Computed) -> tuple[list[Bot], Pinned]:
    """Return the bots as they are now, under their lock: whoever was killed meanwhile gets nothing."""
    rows = tx.fetch(queries.LOCK_BOTS, ids=list(computed.ids))
    head = _head(tx)
    pinned = Pinned(computed.ledger, head, inputs.unexplained(tx, rows, head))
    barred = inputs.kills(tx, computed.ids, computed.asked.as_of, pinned)
    back = [bot.bot_id for bot in computed.bots if bot.killed and bot.bot_id not in barred]
    if back:
        raise errors.Busy(f"{', '.join(back)} came back to life while figures were computed; nothing was written")
    bots = [Bot(bot.bot_id, barred[bot.bot_id], killed=True) if bot.bot_id in barred else bot for bot in computed.bots]
    return bots, pinned


def _row(asked: Asked, pinned: Pinned, found: outcome.Outcome) -> dict[str, Any]:
    return {
        "as_of": asked.as_of,
        "capital": asked.capital,
        "currency": asked.currency,
        "policy": asked.document.stored(),
        "policy_sha256": asked.document.sha256,
        "conventions": found.conventions,
        "source_tables": found.source_tables,
        "versions": pinned.stored(asked),
        "excluded": list(asked.excluded),
        "input_hash": found.input_hash,
        "output_hash": found.output_hash,
        "code_version": blaidctl.__version__,
        "remainder": found.remainder,
    }


# --- reading ------------------------------------------------------------------------------------------------------


def require_run(tx: Tx, run_id: str) -> tuple[Row, list[Row]]:
    """Return a run that the caller may see, and its lines by bot id. Raises AllocationNotFound."""
    number = int(run_id) if _NUMBER.fullmatch(run_id) else 0
    found = tx.first(queries.FIND_RUN, id=number, scope=tx.ctx.user_scope)
    if found is None:
        raise errors.AllocationNotFound(f"no allocation run {run_id!r}", missing=[f"allocation run {run_id}"])
    return found, sorted(tx.fetch(queries.LINES, run_id=run_id), key=lambda line: str(line["bot_id"]))


def show(tx: Tx, request: contract.ShowAllocation) -> contract.AllocationDetail:
    """Return one run."""
    return contract.AllocationDetail(**_result(*require_run(tx, request.run)))


def list_runs(tx: Tx, request: contract.ListAllocations) -> contract.AllocationList:
    """Return the runs, newest first."""
    rows = tx.fetch(queries.LIST_RUNS, scope=tx.ctx.user_scope, limit=request.limit)
    names = contract.AllocationHead.model_fields
    return contract.AllocationList(
        runs=[
            contract.AllocationHead(
                run_id=row["id"], policy_name=row["policy"]["name"], **{k: v for k, v in row.items() if k in names}
            )
            for row in rows
        ]
    )


def _in_order(row: Row) -> Row:
    """Return a row whose JSON values have their keys in one order: each engine keeps them in another."""
    return {name: json.loads(canonical(value)) if isinstance(value, dict) else value for name, value in row.items()}


def _result(row: Row, lines: Sequence[Row]) -> dict[str, Any]:
    names = contract.Allocation.model_fields
    row, *lines = (_in_order(found) for found in (row, *lines))
    return {
        **{name: value for name, value in row.items() if name in names},
        "run_id": row["id"],
        "allocated": EXACT.subtract(row["capital"], row["remainder"]),
        "remainder_reason": row["conventions"]["remainder"],
        "policy_name": row["policy"]["name"],
        "policy_toml": row["policy"]["toml"],
        "lines": [contract.Line(share=outcome.share_of(line["weight"]), **line) for line in lines],
    }
