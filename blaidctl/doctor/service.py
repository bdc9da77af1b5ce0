"""Handlers of the doctor: run every check, whatever the others say, and leave nothing unsaid.

A check that fails is a finding of its own and keeps no other from looking: each reads under a savepoint. When the
database does not answer at all, what can be seen of the host is still told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from blaidctl.core import errors
from blaidctl.core.contract import Finding
from blaidctl.core.db_errors import translate
from blaidctl.core.operation import the_map
from blaidctl.doctor import checkpoints, contract, desk, engine, host, rules
from blaidctl.doctor.vocabulary import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from blaidctl.core.context import Context
    from blaidctl.core.execute import Tx
    from blaidctl.doctor.rules import Seen

    HostCheck = Callable[[Context], Seen]
    Check = Callable[[Tx], Seen]

_HOST: Mapping[str, HostCheck] = {
    "settings-file": host.settings_file,
    "kernel": host.kernel,
    "checkpoint-sinks": checkpoints.sinks,
}
_HOST_OF: Mapping[str, Mapping[str, HostCheck]] = {
    "sqlite": {"files": host.files, "disk": host.disk, "queue": host.queue_file},
    "postgresql": {},
}
_DATABASE = "database"
_ENGINE: Mapping[str, Mapping[str, Check]] = {
    "sqlite": {"journal": engine.journal, "pragmas": engine.pragmas},
    "postgresql": {
        "server-version": engine.server_version,
        "durability": engine.durability,
        "primary": engine.primary,
        "clock": engine.clock,
    },
}
_SCHEMA = "schema"
#: What can only be asked of this version's schema.
_ON_SCHEMA: Mapping[str, Mapping[str, Check]] = {
    "sqlite": {"triggers": engine.triggers},
    "postgresql": {"triggers": engine.triggers, "role": engine.role},
}
_DESK: Mapping[str, Check] = {
    "heartbeats": desk.heartbeats,
    "reaper": desk.reaper,
    "unconfirmed-stops": desk.unconfirmed,
    "stale-instances": desk.stale_instances,
    "stale-jobs": desk.stale_jobs,
    "providers": desk.providers,
    "checkpoint": checkpoints.age,
}


def doctor(tx: Tx, _request: contract.Diagnose) -> contract.Diagnosis:
    """Run every check."""
    return _diagnosis([*_of_host(tx.ctx), *_of_database(tx), *_of_product()])


def doctor_in_doubt(ctx: Context, _request: contract.Diagnose, error: errors.BlaidError) -> contract.Diagnosis:
    """Tell what can be seen when the database cannot."""
    kind = ctx.database.kind
    unseen = (*_ENGINE[kind], _SCHEMA, *_ON_SCHEMA[kind], *_DESK)
    told = rules.not_checked("the database did not answer")
    return _diagnosis(
        [
            *_of_host(ctx),
            _row(_DATABASE, _failed(error)),
            *(_row(name, told) for name in unseen),
            *_of_product(),
        ]
    )


def _of_host(ctx: Context) -> Iterator[contract.Check]:
    for name, look in {**_HOST, **_HOST_OF[ctx.database.kind]}.items():
        try:
            seen = look(ctx)
        except OSError as error:
            seen = rules.finding(f"cannot be looked at: {error}", "Let this user read it, or run as one who may.")
        yield _row(name, seen)


def _of_database(tx: Tx) -> Iterator[contract.Check]:
    kind = tx.connection.dialect.name
    for name, look in {_DATABASE: engine.database, **_ENGINE[kind]}.items():
        yield _row(name, _looked(tx, look))
    schema = _looked(tx, engine.schema)
    yield _row(_SCHEMA, schema)
    known = schema.verdict is Verdict.OK
    for name, look in {**_ON_SCHEMA[kind], **_DESK}.items():
        yield _row(name, _looked(tx, look) if known else rules.not_checked("the schema is not this version's"))


def _of_product() -> Iterator[contract.Check]:
    unbuilt = [operation.finding for operation in the_map().values() if operation.finding]
    yield _row("open-findings", rules.open_findings(unbuilt))


def _looked(tx: Tx, look: Check) -> Seen:
    """Run one check under a savepoint: PostgreSQL answers nothing more after an error, else."""
    try:
        with tx.connection.begin_nested():
            return look(tx)
    except DBAPIError as error:
        known = translate(error, tx.ctx.database.shown())
        if known.facts.get("connection_lost"):
            raise
        return _failed(known)
    except errors.BlaidError as error:
        return _failed(error)


def _failed(error: errors.BlaidError) -> Seen:
    return rules.finding(f"{error.error_code}: {error.message}", error.steps[0])


def _row(name: str, seen: Seen) -> contract.Check:
    return contract.Check(check=name, verdict=seen.verdict, detail=seen.detail, next_step=seen.next_step)


def _diagnosis(checks: list[contract.Check]) -> contract.Diagnosis:
    found = [check for check in checks if check.verdict is Verdict.FINDING]
    named = ", ".join(check.check for check in found)
    told = Finding(
        error_code="DOCTOR_FINDINGS",
        message=f"{len(found)} of {len(checks)} checks found something: {named}",
        missing_requirements=[f"{check.check}: {check.detail}" for check in found],
    )
    return contract.Diagnosis(
        checks=checks,
        findings=len(found),
        not_checked=sum(check.verdict is Verdict.NOT_CHECKED for check in checks),
        finding=told if found else None,
    )
