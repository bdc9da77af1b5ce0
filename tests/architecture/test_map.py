"""The map is the product: every row works or says what is missing, and both entrances show exactly these rows."""

from __future__ import annotations

import ast
import collections
import dataclasses
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest
import typer.main

from blaidctl import cli as cli_module
from blaidctl import operations
from blaidctl.cli import application
from blaidctl.core import errors
from blaidctl.core.contract import Act, Request, Result
from blaidctl.core.events import EventTable
from blaidctl.core.operation import Operation, Status, resolve
from blaidctl.operations import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.commandline import CommandLine

ROOT = Path(__file__).parents[2]
PRODUCTION = [operation for operation in OPERATIONS if operation.status is Status.PRODUCTION]
UNBUILT = [operation for operation in OPERATIONS if operation.status is not Status.PRODUCTION]

#: Every route of the shim and what answers it. A change here is a change of the product's contract.
ROUTES = {
    "POST /api/bots/{id}/kill": "PRODUCTION",
    "POST /api/bots/{id}/resurrect": "PRODUCTION",
    "GET /api/bots/{id}/kill-events": "PRODUCTION",
    "GET /api/kill-events": "PRODUCTION",
    "GET /api/instruments": "PRODUCTION",
    "GET /api/instruments/{exchange}/{symbol}": "PRODUCTION",
    "POST /api/bots/{id}/account-link": "PRODUCTION",
    "DELETE /api/bots/{id}/account-link": "PRODUCTION",
    "GET /api/accounts/{id}/events": "PRODUCTION",
    "GET /api/bots/{id}/metrics": "PRODUCTION",
    "POST /api/allocations": "PRODUCTION",
    "GET /api/allocations/{id}": "PRODUCTION",
}

#: Every command of the command line and what answers it.
COMMANDS = {
    "PRODUCTION": """
        kill; resurrect; kill-events; guard; status; user add; user list; bot add; bot list; bot show; bot run;
        instrument load; instrument list; instrument show; instrument deactivate; instrument events;
        session load; session list; session show; currency add; currency list;
        account add; account link; account unlink; account limits; account list; account show; account events;
        ledger import; ledger imports; ledger fills; ledger flows; ledger events; ledger reverse; ledger resolve;
        ledger flow; ledger rate; ledger mark;
        ledger metrics; ledger equity; ledger reconcile;
        allocation run; allocation audit; allocation show; allocation list;
        job type add; job type list; job run; job start; job beat; job finish; job reap; job list; job show; job events;
        backtest run; backtest show; backtest list;
        provider add; provider bind; provider unbind; provider check; ledger pull;
        provider list; provider show; provider events;
        audit verify; audit tail; audit export; audit checkpoint; audit key new; audit key show;
        token add; token list; token revoke; serve;
        db plan; db upgrade; db check; db history; db backup; db restore; db downgrade; endpoints; doctor;
        verify; quickstart
    """,
}

#: What the edge of the command line takes for every operation of a kind, beside the operation's own parameters.
EDGE_OF_A_QUERY = {"trace_id", "output"}
EDGE_OF_A_WATCH = {"watch", "every"}
EDGE_OF_AN_ACT = EDGE_OF_A_QUERY | {"request_id", "dry_run", "on_behalf_of"}


# ---- the rows ------------------------------------------------------------------------------------------------


def _references() -> Iterator[tuple[str, str]]:
    for operation in OPERATIONS:
        for field in ("request", "result", "prepare", "outside", "handler", "settle", "refused", "doubt", "program"):
            reference = getattr(operation, field)
            if reference:
                yield f"{operation.name}: {field}", reference


@pytest.mark.parametrize(("_where", "reference"), list(_references()), ids=lambda value: value)
def test_every_string_of_the_map_resolves(_where: str, reference: str):
    assert callable(resolve(reference))


def test_event_tables_and_replays_resolve():
    assert {type(resolve(reference)) for reference in operations.EVENT_TABLES} == {EventTable}
    assert all(inspect.isfunction(resolve(reference)) for reference in operations.REPLAYS)
    assert operations.REPLAYS


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.handler], ids=lambda o: o.name)
def test_an_operation_with_a_handler_has_its_models(operation: Operation):
    request, result = resolve(operation.request), resolve(operation.result)
    assert issubclass(request, Act if operation.writes else Request)
    assert issubclass(result, Result)
    row = get_args(result.model_fields[result.table_of].annotation)[0] if result.table_of else result
    assert set(result.columns) <= set(row.model_fields)
    assert result.secret <= set(result.model_fields)
    parameters = list(inspect.signature(resolve(operation.handler)).parameters)
    assert len(parameters) == 2
    assert parameters[0] == "tx"


def test_what_settles_or_doubts_belongs_to_a_handler():
    assert all(o.handler and o.writes for o in OPERATIONS if o.settle)
    assert all(o.handler and o.writes for o in OPERATIONS if o.refused)
    assert all(o.handler and not o.writes for o in OPERATIONS if o.doubt)
    assert not [o.name for o in OPERATIONS if o.handler and o.program]


def test_nothing_but_a_heartbeat_is_a_sign_of_life():
    assert [o.name for o in OPERATIONS if o.sign_of_life] == ["job beat", "provider seen"], (
        "runbooks/decisions/0011-signs-of-life.md, 0018-providers.md"
    )


def test_what_starts_again_needs_a_checkpoint_and_a_kill_needs_none():
    """The desk may set how old the last checkpoint may be (runbooks/decisions/0016-checkpoints.md)."""
    assert [o.name for o in OPERATIONS if o.needs_checkpoint] == ["resurrect", "account link", "allocation run"]


def test_names_words_and_routes_are_unique():
    for values in (
        [o.name for o in OPERATIONS],
        [o.words for o in OPERATIONS if o.words],
        [(o.verb, o.path) for o in OPERATIONS if o.path],
    ):
        assert [value for value, count in collections.Counter(values).items() if count > 1] == []
    assert list(operations.BY_NAME.values()) == list(OPERATIONS)


_WORKS = {"handler": "blaidctl.kill.service:kill"}
_MISSING = {"missing_requirements": ("a table",), "finding": "F-001"}


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({}, "neither a handler nor missing_requirements"),
        ({"finding": "F-001"}, "neither a handler nor missing_requirements"),
        ({"words": ("stub",), "summary": "Later."}, "neither a handler nor missing_requirements"),
        (_WORKS | _MISSING, "it is one or the other"),
        ({"program": "blaidctl.cli:serve"} | _MISSING, "it is one or the other"),
        ({"missing_requirements": ("a table",)}, "a finding belongs to exactly the rows that are not PRODUCTION"),
        (_WORKS | {"blocked_by": "a table"}, "a finding belongs to exactly the rows that are not PRODUCTION"),
        (_WORKS | {"writes": True, "watchable": True}, "what is done again every second may not write"),
        (_WORKS | {"finding": "F-001"}, "a finding belongs to exactly the rows that are not PRODUCTION"),
        (_WORKS | {"sign_of_life": True}, "a sign of life is something that writes"),
        (_WORKS | {"needs_checkpoint": True}, "only an act does something outside, or needs a checkpoint"),
        (_WORKS | {"outside": "a:b"}, "only an act does something outside, or needs a checkpoint"),
        (
            _WORKS | {"writes": True, "urgent": True, "needs_checkpoint": True},
            "what is urgent waits for no checkpoint",
        ),
    ],
)
def test_a_stub_cannot_be_written_down(row: dict[str, Any], sentence: str):
    with pytest.raises(ValueError, match=sentence):
        Operation(**{"name": "stub", "summary": "Nothing.", **row})


def test_the_status_is_derived():
    assert "status" not in {field.name for field in dataclasses.fields(Operation)}
    named = {"name": "x", "summary": "X."}
    assert Operation(**named, **_MISSING).status is Status.NOT_IMPLEMENTED
    assert Operation(**named, **_WORKS, blocked_by="a table", finding="F-001").status is Status.BLOCKED
    assert Operation(**named, **_WORKS).status is Status.PRODUCTION
    assert Operation(**named, program="blaidctl.cli:serve").status is Status.PRODUCTION
    with pytest.raises(TypeError, match="status"):
        Operation(**named, **_MISSING, status=Status.PRODUCTION)  # type: ignore[call-arg]


# ---- findings ------------------------------------------------------------------------------------------------


def _open_findings() -> dict[str, str]:
    """The headings of AUDIT_FINDINGS.md above "Closed findings": finding → severity."""
    page = (ROOT / "AUDIT_FINDINGS.md").read_text(encoding="utf-8")
    standing, _, _closed = page.partition("\n## Closed findings")
    headings = re.findall(r"^### (F-\d{3}) .*?\((Sev-\d)\)$", standing, re.MULTILINE)
    every = re.findall(r"^### (F-\S+)", standing, re.MULTILINE)
    assert [name for name, _ in headings] == every, "a heading is `### F-NNN What is wrong (Sev-N)`"
    assert len(set(every)) == len(every)
    return dict(headings)


def test_rows_and_findings_name_each_other():
    named = {operation.finding for operation in UNBUILT}
    standing = _open_findings()
    assert named - set(standing) == set(), "rows of the map name findings that AUDIT_FINDINGS.md lacks"
    severe = {name for name, severity in standing.items() if severity == "Sev-1"}
    assert severe - named == set(), "Sev-1 findings that no 501 or BLOCKED row of the map names"
    assert {standing[name] for name in named} <= {"Sev-1"}


# ---- PRODUCTION is earned ------------------------------------------------------------------------------------


def _earned() -> dict[str, list[str]]:
    """Operation → the tests that claim to be its contract: `@pytest.mark.operation("kill")` on a test function."""
    claims: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef) and function.name.startswith("test_"):
                for decorator in function.decorator_list:
                    for name in _marked(decorator):
                        claims.setdefault(name, []).append(f"{path.relative_to(ROOT)}::{function.name}")
                        assert _calls(tree, name), f"{path.name}: {function.name} claims {name!r}, and never calls it"
    return claims


def _marked(decorator: ast.expr) -> list[str]:
    if not (isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.operation"):
        return []
    return [ast.literal_eval(argument) for argument in decorator.args]


def _calls(tree: ast.Module, name: str) -> bool:
    """Whether a file has a call whose first words are the operation's, or that names it (`the_map()["bot add"]`)."""
    words = list(operations.BY_NAME[name].words)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) != "pytest.mark.operation":
            texts = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            if name in texts or (words and texts[: len(words)] == words):
                return True
        if isinstance(node, ast.Subscript | ast.List | ast.Tuple):
            inner = node.slice if isinstance(node, ast.Subscript) else node
            items = inner.elts if isinstance(inner, ast.List | ast.Tuple) else [inner]
            texts = [i.value for i in items if isinstance(i, ast.Constant)]
            if name in texts or (words and texts[: len(words)] == words):
                return True
    return False


def test_production_is_earned_by_a_contract_test():
    claims = _earned()
    assert set(claims) - {operation.name for operation in PRODUCTION} == set(), "claims for what is not PRODUCTION"
    unearned = [operation.name for operation in PRODUCTION if operation.name not in claims]
    assert unearned == [], "PRODUCTION operations that no test claims with @pytest.mark.operation"


def test_a_claim_without_a_call_earns_nothing():
    honest = ast.parse('@pytest.mark.operation("user add")\ndef test_x(cli):\n    cli("user", "add", "alice")\n')
    hollow = ast.parse('@pytest.mark.operation("user add")\ndef test_x(cli):\n    cli("user", "list")\n')
    assert _calls(honest, "user add")
    assert not _calls(hollow, "user add")


# ---- both entrances ------------------------------------------------------------------------------------------


def test_the_routes_are_these():
    assert {f"{o.verb} {o.path}": str(o.status) for o in OPERATIONS if o.path} == ROUTES
    assert [o.name for o in OPERATIONS if bool(o.verb) != bool(o.path)] == []


def test_the_commands_of_the_map_are_these():
    mapped: dict[str, list[str]] = {}
    for operation in OPERATIONS:
        if operation.words:
            mapped.setdefault(str(operation.status), []).append(" ".join(operation.words))
    assert mapped == {status: [" ".join(c.split()) for c in text.split(";")] for status, text in COMMANDS.items()}


def _commands(command: Any = None, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that Typer would run: its words and its object."""
    command = command or typer.main.get_command(application())
    if not hasattr(command, "commands"):
        yield words, command
        return
    for name, child in command.commands.items():
        yield from _commands(child, (*words, name))


MOUNTED = dict(_commands())


def test_every_command_of_the_map_is_mounted_and_no_other():
    assert {" ".join(words) for words in MOUNTED} == {" ".join(o.words) for o in OPERATIONS if o.words}


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.words and o.request], ids=lambda o: o.name)
def test_the_parameters_of_a_command_are_the_fields_of_its_request(operation: Operation):
    model = resolve(operation.request)
    fields = {name: field for name, field in model.model_fields.items() if name not in model.prepared}
    assert bool(model.prepared) == bool(operation.prepare or operation.outside)
    parameters = {p.name.rstrip("_"): p for p in MOUNTED[operation.words].params if p.name != "help"}
    edge = EDGE_OF_AN_ACT if operation.writes else EDGE_OF_A_QUERY
    edge = edge | EDGE_OF_A_WATCH if operation.watchable else edge
    assert set(parameters) == set(fields) | edge
    assert {name for name in fields if parameters[name].required} == {n for n, f in fields.items() if f.is_required()}
    nothing = (None, [], ())
    for name, field in fields.items():
        if not field.is_required():
            default = parameters[name].default
            assert default == field.default or (default in nothing and field.default in nothing), name


@pytest.mark.parametrize("words", MOUNTED, ids=" ".join)
def test_every_help_has_an_example_and_says_what_is_written_and_whether_again_is_safe(words: tuple[str, ...]):
    told = " ".join(inspect.cleandoc(MOUNTED[words].help).split())
    assert f"Example: blaidctl {' '.join(words)}" in told
    assert re.search(r"\bWrites: \S", told)
    assert re.search(r"\bAgain: \S", told)
    assert re.search(r"\bExit: \d", told)
    codes = [int(code) for code in re.findall(r"(?<![\w-])(\d{1,3})(?= |,|;|:|\.)", _exit_part(told))]
    known = {0, *(category.exit_code for category in errors.categories())}
    assert set(codes) <= known, "an exit code that the table does not have"


def _exit_part(told: str) -> str:
    return told.partition("Exit: ")[2].partition("Again: ")[0]


@pytest.mark.parametrize("words", MOUNTED, ids=" ".join)
def test_every_option_says_what_it_is(words: tuple[str, ...]):
    silent = [p.name for p in MOUNTED[words].params if p.param_type_name == "option" and not p.help]
    assert silent == []


# ---- what is not built ---------------------------------------------------------------------------------------


@pytest.fixture
def unbuilt(monkeypatch: pytest.MonkeyPatch) -> Iterator[Operation]:
    """A row of the map that is not built: today every row is."""
    row = Operation(
        name="bot clone",
        summary="Copy a bot.",
        words=("bot", "clone"),
        missing_requirements=("a sheep", "a licence"),
        finding="F-999",
    )
    monkeypatch.setattr(operations, "BY_NAME", {**operations.BY_NAME, row.name: row})
    monkeypatch.setattr(cli_module, "OPERATIONS", (*OPERATIONS, row))
    cli_module.application.cache_clear()
    cli_module._program.cache_clear()  # noqa: SLF001 - it holds on to the application
    yield row
    cli_module.application.cache_clear()
    cli_module._program.cache_clear()  # noqa: SLF001 - it holds on to the application


def test_what_is_not_built_answers_501_with_what_is_missing(sqlite_database, cli: CommandLine, unbuilt: Operation):
    operation = unbuilt
    arguments = (*operation.words, "anything", "--at-all", "x")
    asked = cli(*arguments, "--output", "json")
    assert (asked.code, asked.stdout) == (7, "")
    assert list(asked.error) == ["error_code", "message", "missing_requirements", "next_steps", "trace_id"]
    assert asked.error["error_code"] == "NOT_IMPLEMENTED"
    assert asked.error["message"] == f"{operation.name} is not implemented"
    assert asked.error["missing_requirements"] == list(operation.missing_requirements)
    assert operation.finding in asked.error["next_steps"][0]

    shown = cli(*arguments, "--output", "table")
    assert (shown.code, shown.stdout) == (7, "")
    assert shown.stderr.startswith(f"error: NOT_IMPLEMENTED: {operation.name} is not implemented\n")
    assert [line[11:] for line in shown.stderr.splitlines() if line.startswith("  missing: ")] == list(
        operation.missing_requirements
    )
    assert re.search(r"^  trace: [0-9a-f]{32}$", shown.stderr, re.MULTILINE)
    assert sqlite_database.sql("SELECT count(*) FROM audit_log") == [(0,)]


@pytest.mark.operation("endpoints")
def test_endpoints_prints_the_map(sqlite_database, cli: CommandLine):
    del sqlite_database
    rows = cli("endpoints").json["result"]["rows"]
    assert [(row["operation"], row["status"], row["finding"]) for row in rows] == [
        (o.name, str(o.status), o.finding) for o in OPERATIONS
    ]
    assert {row["route"]: row["status"] for row in rows if row["route"]} == ROUTES
    assert [row["command"] for row in rows if row["command"]] == [
        " ".join(("blaidctl", *o.words)) for o in OPERATIONS if o.words
    ]


def test_a_person_sees_the_map_in_80_columns(sqlite_database, cli: CommandLine):
    del sqlite_database
    lines = cli("endpoints", "--output", "table").stdout.splitlines()
    assert lines[0].split() == ["OPERATION", "ROUTE", "STATUS"]
    assert max(map(len, lines)) <= 80
    assert len(lines) > len(OPERATIONS)
