"""House rules that no linter knows. A message says what is banned and what to use."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*ROOT.glob("blaidctl/**/*.py"), *ROOT.glob("migrations/**/*.py")])

#: The calls that read a clock or wait, however they are imported.
CLOCKS = {
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
    "time": {
        "clock_gettime", "clock_gettime_ns", "gmtime", "localtime", "monotonic", "monotonic_ns", "perf_counter",
        "perf_counter_ns", "process_time", "sleep", "time", "time_ns",
    },
}  # fmt: skip


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _calls(tree: ast.AST) -> list[tuple[int, str]]:
    """Every call as (line, "the.dotted.name" as it is written)."""
    return [(node.lineno, ast.unparse(node.func)) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def _last(dotted: str) -> str:
    return dotted.rpartition(".")[2]


def commits(tree: ast.Module) -> list[str]:
    return [f"{line}: {call}" for line, call in _calls(tree) if _last(call) == "commit"] + [
        f"{node.lineno}: {node.value!r}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.strip().rstrip(";").upper() in {"COMMIT", "COMMIT TRANSACTION", "END", "END TRANSACTION"}
    ]


def clocks(tree: ast.Module) -> list[str]:
    found = [
        f"{node.lineno}: from time import {alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "time"
        for alias in node.names
        if alias.name in CLOCKS["time"]
    ]
    for line, call in _calls(tree):
        owner, _, function = call.rpartition(".")
        if function in CLOCKS.get(_last(owner), set()):
            found.append(f"{line}: {call}")
    return found


def floats(tree: ast.Module) -> list[str]:
    return [f"{line}: float(" for line, call in _calls(tree) if call == "float"]


def prints(tree: ast.Module) -> list[str]:
    return [
        f"{line}: {call}(" for line, call in _calls(tree) if call in {"print", "pprint", "pprint.pprint", "typer.echo"}
    ]


#: (what finds it, the files that may, "X is banned here, use Y")
RULES = [
    (
        commits,
        {"blaidctl/core/db.py", "blaidctl/core/migrate.py"},
        "COMMIT is banned here, use `database.writing()`: returning commits, raising rolls back",
    ),
    (
        clocks,
        # The keeper is a script of its own, which loads nothing of blaidctl.
        {"blaidctl/core/clock.py", "blaidctl/core/keeper.py"},
        "the clock is banned here, use the `now` that the transaction carries, or blaidctl.core.clock at an edge",
    ),
    (
        floats,
        # Seconds to wait, never money: the fair queue hands on what is left of a limit. And where a line is drawn: the
        # numbers themselves stand beside every picture, exact.
        {"blaidctl/core/db.py", "blaidctl/core/queue.py", "blaidctl/ledger/picture.py", "blaidctl/ledger/report.py"},
        "float() is banned here, use Decimal for money and quantities and int for counts",
    ),
    (
        prints,
        set(),
        "print is banned here, use core.command.write_out for data (stdout) and talk for people (stderr)",
    ),
]


@pytest.mark.parametrize(("found_by", "allowed", "sentence"), RULES, ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_banned_is_not_there(found_by, allowed: set[str], sentence: str):
    offences = {_name(path): found_by(_parsed(path)) for path in SOURCES}
    assert {name: lines for name, lines in offences.items() if lines and name not in allowed} == {}, sentence
    assert {name for name in allowed if not offences[name]} == set(), "a file that may and does not: shorten the list"


@pytest.mark.parametrize(
    ("found_by", "text"),
    [
        (commits, "session.commit()"),
        (commits, "connection.exec_driver_sql('COMMIT;')"),
        (commits, "driver.execute('end')"),
        (clocks, "datetime.now(UTC)"),
        (clocks, "datetime.datetime.utcnow()"),
        (clocks, "time.monotonic()"),
        (clocks, "time.sleep(1)"),
        (clocks, "from time import sleep"),
        (clocks, "date.today()"),
        (floats, "float(price)"),
        (prints, "print('killed')"),
        (prints, "typer.echo('killed')"),
    ],
)
def test_each_rule_finds_what_it_bans(found_by, text: str):
    assert found_by(ast.parse(text))


def test_every_source_is_looked_at():
    names = {_name(path) for path in SOURCES}
    assert names >= {"blaidctl/cli.py", "blaidctl/core/db.py", "migrations/env.py"}
    assert len([name for name in names if name.startswith("migrations/versions/")]) >= 4


@pytest.mark.parametrize("path", [p for p in SOURCES if p.name == "commands.py"], ids=_name)
def test_a_command_is_about_three_statements_without_an_if(path: Path):
    for function in _parsed(path).body:
        if isinstance(function, ast.FunctionDef) and not function.name.startswith("_"):
            body = function.body[1:] if ast.get_docstring(function) else function.body
            branches = [n for n in ast.walk(function) if isinstance(n, ast.If | ast.For | ast.While | ast.Try)]
            assert (len(body) <= 4, branches) == (True, []), f"{function.name}: move what it decides into the service"


@pytest.mark.parametrize("path", [p for p in SOURCES if p.name == "vocabulary.py"], ids=_name)
def test_a_vocabulary_imports_the_standard_library_only(path: Path):
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(_parsed(path))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names, "use the standard library here"


@pytest.mark.parametrize("path", [p for p in SOURCES if _name(p).startswith("blaidctl/")], ids=_name)
def test_every_module_says_why_it_exists(path: Path):
    assert (ast.get_docstring(_parsed(path)) or "").strip()


def test_imports_point_down():
    # The contracts stand in pyproject.toml; each must be there and hold.
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "3 kept, 0 broken" in done.stdout
