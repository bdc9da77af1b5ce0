"""A cold start costs what it imports: the set of packages is the measure, not the milliseconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.commandline import CommandLine
    from tests.support.database import Database, Kind

# Prints, after the program, the names of the packages that it loaded and that the interpreter alone does not.
_LOADED = """
import json, sys
before = set(sys.modules)
from blaidctl.cli import main
code = main(sys.argv[1:])
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
ours = sorted(name for name in sys.modules if name.startswith("blaidctl."))
foreign = sorted(n for n in loaded - sys.stdlib_module_names - {"blaidctl"} if not n.startswith("_"))
sys.stderr.write("\\n" + json.dumps({"code": code, "foreign": foreign, "ours": ours}) + "\\n")
"""

#: What Typer needs to be there: itself, and shellingham because it offers completion.
TYPER = ["annotated_doc", "shellingham", "typer"]
#: Typer builds a pydantic adapter for each parameter of the command that it parses, so pydantic comes with it.
TYPER_WITH_PARAMETERS = sorted(
    [*TYPER, "annotated_types", "pydantic", "pydantic_core", "typing_extensions", "typing_inspection"]
)
#: pydantic-settings loads dotenv whether or not a .env file is asked for; SQLAlchemy's compiled parts are Cython's.
ACT = sorted([*TYPER_WITH_PARAMETERS, "cython_runtime", "dotenv", "platformdirs", "pydantic_settings", "sqlalchemy"])

#: Our own modules that `--help` loads: commands, vocabularies and the map; no service, no contract, no table.
COMMANDS_ONLY = {
    "blaidctl.cli",
    "blaidctl.operations",
    "blaidctl.core",
    "blaidctl.core.command",
    "blaidctl.core.dashes",
    "blaidctl.core.errors",
    "blaidctl.core.operation",
    "blaidctl.core.signals",
    "blaidctl.core.vocabulary",
    *(
        f"blaidctl.{name}{room}"
        for name in (
            "access",
            "accounts",
            "allocation",
            "audit",
            "backtests",
            "database",
            "doctor",
            "findings",
            "fleet",
            "instruments",
            "jobs",
            "kill",
            "ledger",
            "providers",
            "quickstart",
            "reaper",
            "verification",
        )
        for room in ("", ".commands")
    ),
    "blaidctl.accounts.vocabulary",
    "blaidctl.instruments.vocabulary",
    "blaidctl.jobs.vocabulary",
    "blaidctl.kill.vocabulary",
    "blaidctl.ledger.read_commands",
    "blaidctl.ledger.vocabulary",
    "blaidctl.providers.vocabulary",
    "blaidctl.verification.vocabulary",
}


@pytest.fixture
def loaded(sqlite_database: Database, cli: CommandLine) -> Callable[..., dict[str, Any]]:
    """`loaded("kill", …)`: the exit code, the foreign packages and our own modules that a run loads."""

    def run(*arguments: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-c", _LOADED, *arguments],
            env=cli.environment(database=sqlite_database),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        found: dict[str, Any] = json.loads(done.stderr.splitlines()[-1])
        return found

    return run


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]], ids=" ".join)
def test_the_first_look_loads_typer_and_nothing_else(loaded, arguments: list[str]):
    assert loaded(*arguments)["foreign"] == TYPER


@pytest.mark.parametrize(
    "arguments",
    [["kill", "--help"], ["bot", "--help"], ["db", "upgrade", "--help"], ["job", "run", "--help"]],
    ids=" ".join,
)
def test_the_help_of_a_command_loads_what_typer_parses_with(loaded, arguments: list[str]):
    found = loaded(*arguments)
    assert found["code"] == 0
    assert found["foreign"] == TYPER_WITH_PARAMETERS
    assert set(found["ours"]) <= COMMANDS_ONLY


@pytest.mark.parametrize("arguments", [["nonsense"], ["kill"], ["kill", "--nonsense"]], ids=" ".join)
def test_a_usage_error_needs_no_database(loaded, arguments: list[str]):
    found = loaded(*arguments)
    assert found["code"] == 2
    assert found["foreign"] == TYPER_WITH_PARAMETERS
    reporting = {"blaidctl.core.context", "blaidctl.core.clock", "blaidctl.core.text"}
    assert set(found["ours"]) <= COMMANDS_ONLY | reporting


def test_a_kill_loads_no_table_no_migration_no_picture(sqlite_database, cli: CommandLine, loaded):
    del sqlite_database
    assert cli("user", "add", "alice").code == 0
    assert cli("bot", "add", "momo-1", "--user", "alice").code == 0
    found = loaded("kill", "momo-1", "--reason-code", "DRILL", "--reason", "a drill", "--output", "json")
    assert found["code"] == 0
    assert found["foreign"] == ACT
    rooms = {name.rpartition(".")[2] for name in found["ours"]}
    assert rooms & {"tables", "schema", "migrate", "ddl", "http", "supervisor", "process", "verify", "chain"} == set()
    assert not [name for name in found["ours"] if name.startswith(("blaidctl.audit.s", "blaidctl.database.s"))]


@pytest.mark.parametrize(
    ("arguments", "packages"),
    [
        (["guard", "momo-1"], ACT),
        (["kill-events"], ACT),
        (["status", "--output", "csv"], ACT),
        (["user", "list", "--output", "table"], sorted([*ACT, "rich"])),
    ],
    ids=["guard", "kill-events", "csv", "table"],
)
def test_only_a_table_draws(loaded, arguments: list[str], packages: list[str]):
    assert loaded(*arguments)["foreign"] == packages


# ---- importing does nothing ----------------------------------------------------------------------------------

# Reports every file opened for other than code, every socket and database, and every variable read by our own code.
_WATCHED = """
import json, os, sys, typer, typer.completion
seen = []

def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        path = os.fsdecode(arguments[0])
        if not path.endswith((".py", ".pyc")):
            seen.append(f"open {path}")
    elif event.startswith(("socket.", "sqlite3.", "subprocess.", "os.mkdir", "os.rename", "os.exec", "os.system")):
        seen.append(event)

class Environment(dict):
    def note(self, name):
        if sys._getframe(2).f_globals.get("__name__", "").startswith("blaidctl"):
            seen.append(f"environ {name}")
    def __getitem__(self, name):
        self.note(name)
        return super().__getitem__(name)
    def get(self, name, default=None):
        self.note(name)
        return super().get(name, default)
    def __contains__(self, name):
        self.note(name)
        return super().__contains__(name)
    def __iter__(self):
        self.note("*")
        return super().__iter__()

os.environ = Environment(os.environ)
sys.addaudithook(watch)
import blaidctl.cli, blaidctl.__main__
if len(sys.argv) > 1:
    blaidctl.cli.main(sys.argv[1:])
sys.stderr.write("\\n" + json.dumps(seen) + "\\n")
"""


def _watched(*arguments: str, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", _WATCHED, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=True,
    )
    seen: list[str] = json.loads(done.stderr.splitlines()[-1])
    return seen


def test_importing_touches_no_file_no_variable_and_no_database(tmp_path: Path):
    assert _watched(BLAIDCTL_DATABASE_URL=f"sqlite:///{tmp_path}/x.db", BLAIDCTL_CONFIG="/nowhere") == []
    assert list(tmp_path.iterdir()) == []


def test_the_watch_would_see_it(tmp_path: Path):
    seen = _watched("guard", "momo-1", BLAIDCTL_DATABASE_URL=f"sqlite:///{tmp_path}/x.db")
    assert "environ TRACEPARENT" in seen
    assert [line for line in seen if line.startswith("open /")]


# ---- main() again and again ----------------------------------------------------------------------------------


def test_main_is_re_entrant(make_database: Callable[..., Database], engine: Kind, cli: CommandLine, home: Path):
    one, other = make_database(engine), make_database("sqlite" if engine == "postgresql" else "postgresql")
    for database, name in ((one, "alice"), (other, "bob")):
        assert cli("user", "add", name, database=database, env={"BLAIDCTL_SERVICE_NAME": f"desk-{name}"}).code == 0
    assert [row["id"] for row in cli("user", "list", database=one).json["result"]["users"]] == ["alice"]
    assert [row["id"] for row in cli("user", "list", database=other).json["result"]["users"]] == ["bob"]
    for database, name in ((one, "alice"), (other, "bob")):
        (entry,) = cli("audit", "tail", database=database).json["result"]["entries"]
        assert entry["actor"].startswith(f"service:desk-{name}@")

    settings = home / "settings.toml"
    settings.write_text('service_name = "from-the-file"\n')
    assert cli("user", "add", "carol", env={"BLAIDCTL_CONFIG": str(settings)}, database=one).code == 0
    assert cli("user", "add", "dave", database=one).code == 0
    actors = [entry["actor"] for entry in cli("audit", "tail", database=one).json["result"]["entries"]]
    assert [actor.partition("@")[0].partition(":")[0] for actor in actors[:2]] == ["service", "service"]
    assert actors[1].startswith("service:from-the-file@")
    assert not actors[2].startswith("service:")


def test_a_failed_run_leaves_nothing_behind_for_the_next(sqlite_database, cli: CommandLine):
    del sqlite_database
    assert cli("kill", "nobody", "--reason-code", "DRILL", "--reason", "x").error["error_code"] == "BOT_NOT_FOUND"
    assert (
        cli("user", "add", "alice", env={"BLAIDCTL_DATABASE_URL": "nonsense"}).error["error_code"] == "SETTINGS_INVALID"
    )
    assert cli("no-such-command").error["error_code"] == "USAGE"
    done = cli("user", "add", "alice")
    assert (done.code, done.stderr) == (0, "")
