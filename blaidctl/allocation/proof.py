"""`allocation audit`: a stored run computed again from the ledger as it stood, and held against what was stored.

What a later entry of the audit log wrote (fills, kills, rates, changes of an instrument) is left out; what no entry
wrote is tampering, stays in, and shows here as a difference. The entry of the log holds the run's hashes, too: another
run that was written in its place, as right as it may be, is not the one that was made.

A run that another version of the code made: everything is compared but what says the version (input_hash and each
bot's `question`) and the sentences of the conventions. If all the rest is the same, byte for byte, it is proven, and
the notes say by which version. If not, nobody here can tell a defect of a version from tampering: it differs.
"""

from __future__ import annotations

import functools
import hashlib
import json
from typing import TYPE_CHECKING, Any

import blaidctl
from blaidctl.allocation import contract, inputs, outcome, policy, queries, rules, service
from blaidctl.allocation.inputs import Asked, Pinned
from blaidctl.allocation.vocabulary import Proof
from blaidctl.core import errors
from blaidctl.core.contract import Finding
from blaidctl.core.decimals import EXACT, text_of
from blaidctl.core.types import time_text
from blaidctl.ledger import hashing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from blaidctl.core.execute import Tx
    from blaidctl.core.sql import Row

_NOT_OURS = "the run's row holds what blaidctl never writes"


def audit(tx: Tx, request: contract.AuditAllocation) -> contract.AuditedAllocation:
    """Prove a run, or name every difference, the first first."""
    row, lines = service.require_run(tx, request.run)
    differences, found = list(in_itself(row, lines)), None
    try:
        found, bots = _again(tx, row, lines)
        differences += _compared(row, lines, found, bots)
    except errors.MetricsIncomplete as error:
        differences += [f"cannot be computed again: {what}" for what in error.missing]
    except (rules.UndefinedError, rules.FloorsTooHighError, policy.PolicyProblemsError) as error:
        differences.append(f"cannot be computed again: {error}")
    except (errors.Invalid, errors.NotFound, errors.Conflict) as error:
        differences.append(f"cannot be computed again: {error.message}")
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
        differences.append(_NOT_OURS)
    try:
        differences += _as_entered(tx, row)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
        differences.append(_NOT_OURS)
    return _answer(row, lines, found, list(dict.fromkeys(differences)))


def _as_entered(tx: Tx, row: Row) -> list[str]:
    """Return where a run is not the one that the audit log tells of: another one, written in its place, is no proof."""
    entry = tx.first(queries.ENTRY, act_id=row["act_id"])
    if entry is None:
        return ["no entry of the audit log tells of this run"]
    told = json.loads(entry["canonical"])["what"]["after"]
    return [
        f"{name} is {value}, the audit log says {told.get(name)}"
        for name, value in service.entered(row).items()
        if told.get(name) != value
    ]


def in_itself(row: Row, lines: Sequence[Row]) -> Iterator[str]:
    """Yield what a stored run says against itself, without looking at the ledger."""
    total = functools.reduce(EXACT.add, (line["amount"] for line in lines), row["remainder"])
    if total != row["capital"]:
        yield f"lines and remainder sum to {text_of(total)}, the capital is {text_of(row['capital'])}"
    try:
        args = (row["capital"], row["currency"], time_text(row["as_of"]), lines, row["remainder"])
        if outcome.output_hash(*args) != row["output_hash"]:
            yield "the stored lines are not those that output_hash was taken over"
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
        yield "the stored lines hold what blaidctl never writes"


def _again(tx: Tx, row: Row, lines: Sequence[Row]) -> tuple[outcome.Outcome, list[inputs.Bot]]:
    text = row["policy"]["toml"]
    if hashlib.sha256(text.encode()).hexdigest() != row["policy_sha256"]:
        raise policy.PolicyProblemsError(["the stored policy is not the one that policy_sha256 was taken over"])
    pinned = Pinned.read(row["versions"])
    asked = Asked(
        capital=row["capital"],
        currency=row["currency"],
        places=inputs.minor_places(tx, row["currency"]),
        as_of=row["as_of"],
        document=policy.document(row["policy"]["name"], text),
        excluded=tuple(row["excluded"]),
        accounts=dict(row["versions"]["accounts"]),
    )
    ids = [line["bot_id"] for line in lines]
    barred = inputs.kills(tx, ids, asked.as_of, pinned)
    bots = inputs.gather(tx, asked, ids, barred, pinned.ledger)
    return outcome.outcome(asked, bots, asked.excluded), bots


def _compared(row: Row, lines: Sequence[Row], found: outcome.Outcome, bots: Sequence[inputs.Bot]) -> Iterator[str]:
    same_code = row["code_version"] == blaidctl.__version__
    stored, now = ({line["bot_id"]: line for line in some} for some in (lines, found.lines))
    by_id = {bot.bot_id: bot for bot in bots}
    for bot in sorted(stored):
        before = (stored[bot]["metrics"] or {}).get("inputs", {})
        for leaf in hashing.changed(before, by_id[bot].inputs):
            if same_code or leaf != "question":
                yield f"bot {bot}: {leaf} differ from what went in"
        yield from _fields(bot, stored[bot], now[bot])
        if same_code and stored[bot]["input_hash"] != now[bot]["input_hash"]:
            yield f"bot {bot}: input_hash is {stored[bot]['input_hash']}, recomputed {now[bot]['input_hash']}"
    if row["remainder"] != found.remainder:
        yield f"remainder is {text_of(row['remainder'])}, recomputed {text_of(found.remainder)}"
    if row["output_hash"] != found.output_hash:
        yield f"output_hash is {row['output_hash']}, recomputed {found.output_hash}"
    if same_code and row["input_hash"] != found.input_hash:
        yield f"input_hash is {row['input_hash']}, recomputed {found.input_hash}"
    if row["source_tables"] != found.source_tables:
        yield f"source_tables are {row['source_tables']}, recomputed {found.source_tables}"
    if same_code and row["conventions"] != found.conventions:
        yield "conventions differ from those that this version prints"


def _fields(bot: str, stored: Row, now: dict[str, Any]) -> Iterator[str]:
    before, after = outcome.printed(stored), outcome.printed(now)
    for name in before:
        if name != "metrics" and before[name] != after[name]:
            yield f"bot {bot}: {name} is {before[name]}, recomputed {after[name]}"
    was, is_ = before["metrics"] or {}, after["metrics"] or {}
    for name in sorted(was.keys() | is_.keys()):
        if was.get(name) != is_.get(name):
            yield f"bot {bot}: {name} is {was.get(name)}, recomputed {is_.get(name)}"


def _answer(
    row: Row, lines: Sequence[Row], found: outcome.Outcome | None, differences: list[str]
) -> contract.AuditedAllocation:
    other = row["code_version"] != blaidctl.__version__
    notes = [
        f"made by version {row['code_version']}: input_hash covers the version, so the inputs were compared one by one"
    ]
    finding = None
    if differences:
        more = f" (and {len(differences) - 1} more)" if differences[1:] else ""
        by = f"; it was made by version {row['code_version']}, this is {blaidctl.__version__}" if other else ""
        finding = Finding(
            error_code="ALLOCATION_DIFFERS",
            message=f"allocation run {row['id']} is not what the ledger gives: {differences[0]}{more}{by}",
            missing_requirements=differences,
        )
    return contract.AuditedAllocation(
        run_id=row["id"],
        answer=Proof.DIFFERS if differences else Proof.PROVEN,
        differences=differences,
        lines=len(lines),
        input_hash=row["input_hash"],
        recomputed_input_hash=found.input_hash if found else None,
        output_hash=row["output_hash"],
        recomputed_output_hash=found.output_hash if found else None,
        code_version=row["code_version"],
        recomputed_by=blaidctl.__version__,
        notes=notes if other else [],
        finding=finding,
    )
