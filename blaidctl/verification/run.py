"""`verify`: the checks on both engines, two at a time, each on a scratch database of its own; and what they found."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import blaidctl
from blaidctl.core import clock, errors, present
from blaidctl.core.command import chosen_output, talk, write_out
from blaidctl.core.contract import Finding
from blaidctl.core.execute import Answer, finding_of
from blaidctl.core.operation import the_map
from blaidctl.core.settings import CONFIG_VARIABLE, PREFIX
from blaidctl.core.types import time_text
from blaidctl.verification import evidence
from blaidctl.verification.account_isolation import account_isolation
from blaidctl.verification.backtest_end import backtest_end
from blaidctl.verification.contract import Verification, Verified
from blaidctl.verification.desk import set_up
from blaidctl.verification.pnl_equality import pnl_equality
from blaidctl.verification.provider_failure import provider_failure
from blaidctl.verification.scratch import Files, Server
from blaidctl.verification.stage import RULE, MismatchError, Processes, Stage, StoppedError
from blaidctl.verification.vocabulary import Check, Engine, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from blaidctl.core.context import Context
    from blaidctl.core.vocabulary import Output
    from blaidctl.verification.scratch import Scratch

_T = TypeVar("_T")
PLAYS: Mapping[Check, Callable[[Stage], None]] = {
    Check.PROVIDER_FAILURE: provider_failure,
    Check.BACKTEST_END: backtest_end,
    Check.ACCOUNT_ISOLATION: account_isolation,
    Check.PNL_EQUALITY: pnl_equality,
}
#: Checks that run at once: most of their time is the start of processes.
AT_ONCE = 2
_DESK = "desk"
_NO_SERVER = (
    f"no evidence for PostgreSQL: set {PREFIX}VERIFY_POSTGRESQL_URL to a server where a scratch database may be made"
    " (`make evidence` brings one)"
)


def verify(ctx: Context, only: Collection[Check], output: Output | None, *, write: bool = False) -> int:
    """Run the checks; return 0 only if every one that was asked for passed on both engines."""
    if write:
        evidence.require_page(whole=not only)
    wanted = [check for check in Check if not only or check in only]
    found = _Run(ctx, wanted).carried_out()
    if write and found.finding is None:
        found = found.model_copy(update={"written": str(evidence.write(found))})
    answer = Answer(the_map()["verify"], ctx.trace_id, found.body(), finding=finding_of(found))
    write_out(present.render(answer, chosen_output(output)), done="nothing was written to the configured database")
    if (refusal := answer.refusal()) is not None:
        raise refusal
    return 0


@dataclass(slots=True)
class _Run:
    """One `verify`."""

    ctx: Context
    wanted: list[Check]
    processes: Processes = field(default_factory=Processes)
    desk: dict[Engine, list[str]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    checks: list[Verification] = field(default_factory=list)

    def carried_out(self) -> Verified:
        """Run everything in a folder that goes with it."""
        folder = Path(tempfile.mkdtemp(prefix="blaidctl-verify-"))
        try:
            with contextlib.ExitStack() as stack:
                scratches = {Engine.SQLITE: self._files(folder), Engine.POSTGRESQL: self._server(stack)}
                self._run({engine: scratch for engine, scratch in scratches.items() if scratch}, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return self._told()

    def _files(self, folder: Path) -> Files:
        self.versions["sqlite"] = sqlite3.sqlite_version
        return Files(folder)

    def _server(self, stack: contextlib.ExitStack) -> Server | None:
        """Return the PostgreSQL server; None, and a line for each check, when it cannot be used."""
        url = self.ctx.settings.verify_postgresql_url
        why = _NO_SERVER
        if url is not None:
            try:
                server = stack.enter_context(Server(self.ctx.settings, url).opened())
                server.make(_DESK)
            except (errors.Unavailable, errors.Forbidden) as error:
                why = f"no evidence for PostgreSQL: {error.message}"
            else:
                self.versions["postgresql"] = server.version
                return server
        self.checks += [_without_a_play(check, Engine.POSTGRESQL, Outcome.NOT_RUN, why) for check in self.wanted]
        return None

    def _run(self, scratches: Mapping[Engine, Scratch], folder: Path) -> None:
        """Set the desks up, then run the checks, as many at once as there are hands."""
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            desks = {
                pool.submit(self._set_up, engine, scratch, folder): engine for engine, scratch in scratches.items()
            }
            ready = [desks[done] for done in _as_they_end(desks) if done.result()]
            plays = {
                pool.submit(self._play, check, engine, scratches[engine], folder): check
                for check in self.wanted
                for engine in ready
            }
            for done in _as_they_end(plays):
                self.checks.append(done.result())
                self._tell(self.checks[-1])
        finally:
            self.processes.end()
            pool.shutdown(cancel_futures=True)

    def _set_up(self, engine: Engine, scratch: Scratch, folder: Path) -> bool:
        """Make the desk of an engine and a copy of it for each check; say whether that worked."""
        stage = self._stage(folder / f"{engine}-{_DESK}", scratch.url(_DESK))
        self.desk[engine] = stage.transcript
        try:
            set_up(stage)
            for check in self.wanted:
                scratch.copy(check, _DESK)
        except (MismatchError, errors.BlaidError) as error:
            why = f"the desk could not be set up: {error}"
            self.checks += [_without_a_play(check, engine, Outcome.FAIL, why) for check in self.wanted]
            return False
        return True

    def _play(self, check: Check, engine: Engine, scratch: Scratch, folder: Path) -> Verification:
        stage = self._stage(folder / f"{engine}-{check}", scratch.url(check))
        shutil.copytree(folder / f"{engine}-{_DESK}" / "data", stage.folder / "data")
        began = clock.monotonic_s()
        why, outcome = "", Outcome.PASS
        try:
            PLAYS[check](stage)
        except MismatchError as error:
            why, outcome = str(error), Outcome.FAIL
        except StoppedError:
            raise
        except Exception as bug:  # noqa: BLE001 - what breaks a check is no evidence, and must not hide the others
            why, outcome = f"{type(bug).__name__}: {bug}", Outcome.FAIL
        return Verification(
            check=check,
            engine=engine,
            outcome=outcome,
            insisted=stage.insisted,
            duration_s=round(clock.monotonic_s() - began, 1),
            why=why,
            transcript=stage.transcript,
        )

    def _stage(self, place: Path, url: str) -> Stage:
        place.mkdir()
        (place / "settings.toml").touch()
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(PREFIX)},
            f"{PREFIX}DATABASE_URL": url,
            # Not the settings of who runs this: the same is shown everywhere.
            CONFIG_VARIABLE: str(place / "settings.toml"),
            # What a command that is killed leaves in a temporary folder goes with this one.
            "TMPDIR": str(place),
            "TRACEPARENT": f"00-{self.ctx.trace_id}-{self.ctx.trace_id[:16]}-01",
        }
        return Stage(place, environment, self.processes)

    def _tell(self, one: Verification) -> None:
        if sys.stderr.isatty():
            done = sum(check.outcome is not Outcome.NOT_RUN for check in self.checks)
            talk(f"{done}: {one.check} on {one.engine}: {one.outcome} ({one.duration_s} s)")

    def _told(self) -> Verified:
        order = list(Check)
        self.checks.sort(key=lambda one: (order.index(one.check), one.engine != Engine.SQLITE))
        wrong = [one for one in self.checks if one.outcome is not Outcome.PASS]
        finding = Finding(
            error_code=errors.NotVerified.error_code,
            message=f"{len(wrong)} of {len(self.checks)} verifications did not pass",
            missing_requirements=[f"{one.check} on {one.engine}: {one.outcome}: {one.why}" for one in wrong],
        )
        return Verified(
            checks=self.checks,
            desk=self.desk,
            versions=dict(  # by keyword: a name, and no word of SQL
                blaidctl=blaidctl.__version__, commit=_commit(), python=platform.python_version(), **self.versions
            ),
            at=time_text(self.ctx.now()),
            rule=RULE,
            finding=finding if wrong else None,
        )  # fmt: skip


def _without_a_play(check: Check, engine: Engine, outcome: Outcome, why: str) -> Verification:
    return Verification(check=check, engine=engine, outcome=outcome, insisted=0, duration_s=0, why=why, transcript=[])


def _as_they_end(waiting: Collection[Future[_T]]) -> Iterator[Future[_T]]:
    """Yield futures as they end; wakes up now and then, so that Ctrl-C is answered at once."""
    left = set(waiting)
    while left:
        done, left = wait(left, timeout=0.2, return_when=FIRST_COMPLETED)
        yield from done


def _commit() -> str:
    """Return the commit that the code is of, and whether it was changed since; "none" outside a checkout."""
    top = Path(blaidctl.__file__).parents[1]
    if not (top / ".git").exists() or (git := shutil.which("git")) is None:
        return "none (installed without a checkout)"
    head = _said(git, top, "rev-parse", "HEAD")
    changed = _said(git, top, "status", "--porcelain", "--", "blaidctl", "migrations")
    return f"{head} with changes that are not committed" if changed else head


def _said(git: str, top: Path, *words: str) -> str:
    ran = subprocess.run([git, "-C", str(top), *words], capture_output=True, text=True, check=False)  # noqa: S603
    return ran.stdout.strip()
