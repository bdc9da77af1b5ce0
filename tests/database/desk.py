"""A small desk, written through the product alone: its audit log verifies, whatever revision it is brought to."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from blaidctl.core import db
from blaidctl.core.settings import Settings
from tests.instruments.work import DATES, HOURS, SAMPLE
from tests.support.accounts import linked

if TYPE_CHECKING:
    from tests.support.commandline import CommandLine, Run
    from tests.support.database import Database

LIMITS = ("--heartbeat-s", "5", "--stale-after-s", "60", "--max-runtime-s", "3600", "--grace-s", "10")


def fill(cli: CommandLine) -> None:
    """Users, bots, a link, a kill and its end, jobs, instruments, a token."""
    for words in (
        ("user", "add", "alice"),
        ("bot", "add", "momo-1", "--user", "alice", "--exchange", "CME"),
        ("bot", "add", "carry-2", "--user", "alice"),
    ):
        assert cli(*words).code == 0
    linked(cli, "momo-1", "carry-2")
    for words in (
        ("kill", "momo-1", "--reason-code", "DRILL", "--reason", "a drill, “quoted”"),
        ("resurrect", "momo-1", "--reason-code", "DRILL_DONE", "--reason", "over"),
        ("job", "type", "add", "nightly", *LIMITS),
        ("job", "start", "nightly"),
        ("job", "finish", "1", "--attempt", "1", "--status", "FAILED"),
        ("session", "load", HOURS, "--dates", DATES),
        ("currency", "add", "USDT", "--places", "6"),
        ("instrument", "load", SAMPLE),
        ("token", "add", "--user", "alice", "--label", "desk"),
    ):
        assert cli(*words).code == 0, words


def head(database: Database) -> int:
    """The sequence of the last audit entry."""
    ((seq,),) = database.sql("SELECT seq FROM audit_head")
    return int(seq)


def result(run: Run) -> dict[str, Any]:
    """What a command answered that must have worked."""
    assert run.code == 0, run.stderr
    found: dict[str, Any] = run.json["result"]
    return found


def answer(run: Run) -> dict[str, Any]:
    """The one row that a command answered."""
    (row,) = result(run)["rows"]
    return dict(row)


def refused(run: Run) -> tuple[int, str]:
    """The exit code and the error code of a command that did nothing."""
    return run.code, run.error["error_code"]


def manifest(file: Path) -> dict[str, Any]:
    """The manifest beside a backup."""
    found: dict[str, Any] = json.loads(Path(f"{file}.manifest.json").read_text(encoding="utf-8"))
    return found


def opened_once(database: Database) -> db.Database:
    """The product's own Database on it, for the caller to close."""
    return db.Database(Settings(database_url=SecretStr(database.url)))


def die(*_: object, **__: object) -> None:
    """End this process as kill -9 does."""
    os.kill(os.getpid(), signal.SIGKILL)
