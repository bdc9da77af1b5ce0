"""What ships is what the code believes: revisions, their docstrings, and the manifest of the schema they make."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from blaidctl.core import migrate, revisions, schema_state
from tests.support import manifest

if TYPE_CHECKING:
    from collections.abc import Callable

    from alembic.script import Script

    from blaidctl.core import db
    from tests.support.database import Database

    Opened = Callable[[Database], db.Database]

SCRIPTS = migrate.scripts()
LEAST_CHARACTERS = 20


def silence(script: Any) -> list[str]:
    """What a revision's docstring does not say, or says as the template does."""
    text = script.longdoc or ""
    told = migrate.described(script)
    found = [name for name in ("why", "diff", "rollback", "data_safety") if len(told[name]) < LEAST_CHARACTERS]
    if re.findall(r"^(Why|Diff|Rollback|Data safety):", text, re.MULTILINE) != [
        "Why",
        "Diff",
        "Rollback",
        "Data safety",
    ]:
        found.append("the four sections, once each, in order")
    found += re.findall(r"\b[A-Z]{2,} [A-Z]{2,} [A-Z]{2,}\b", text)  # the template's own words
    if not re.fullmatch(r"[A-Z].*\.", told["title"] or ""):
        found.append("a title that is a sentence")
    return found


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.revision)
def test_a_revision_says_why_what_how_back_and_what_happens_to_data(script: Script):
    assert silence(script) == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.revision)
def test_the_diff_names_every_table_and_column_that_the_revision_makes(script: Script):
    told = migrate.described(script)["diff"]
    for statement in migrate.statements_of(script.revision, "sqlite"):
        made = re.match(r"CREATE TABLE (\w+) \((.*)\)", statement)
        if made:
            columns = [
                part.split()[0] for part in re.split(r", (?=\w+ [A-Z])", made[2]) if not part.startswith("CONSTRAINT")
            ]
            listed = re.search(rf"\b{made[1]} \(([^);]*)", told)
            assert listed, f"table {made[1]}"
            assert re.split(r",\s*", listed[1].strip()) == columns, f"columns of {made[1]}"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.revision)
def test_a_revision_undoes_itself_and_is_named_by_its_number(script: Script):
    assert re.search(rf"/{script.revision}_[a-z]+(_[a-z]+)+\.py$", script.path)
    assert script.module.upgrade.__doc__
    assert script.module.downgrade.__doc__


_COMPLETE = """
Why: because a kill must be a row that nobody changes.

Diff: new table kills (id, bot_id).

Rollback: drops the table; the rows are lost.

Data safety: creates only; no existing row is read.
"""


@pytest.mark.parametrize(
    ("title", "text", "missing"),
    [
        ("Create the kills.", _COMPLETE, []),
        ("Create the kills.", "", ["why", "diff", "rollback", "data_safety"]),
        ("Create the kills.", _COMPLETE.replace("Why: because a kill must be a row that nobody changes.", ""), ["why"]),
        ("Create the kills.", _COMPLETE.replace("drops the table; the rows are lost.", "no."), ["rollback"]),
        ("Create the kills.", _COMPLETE.replace("Data safety:", "Data:"), ["data_safety"]),
        ("Create the kills.", _COMPLETE.replace("because a", "WHY THIS IS NEEDED. A"), ["WHY THIS IS"]),
        ("create kills", _COMPLETE, ["a title that is a sentence"]),
        ("Create the kills.", _COMPLETE + "\nWhy: once more, for good measure.", ["the four sections"]),
    ],
)
def test_a_revision_that_keeps_silent_is_refused(title: str, text: str, missing: list[str]):
    found = silence(SimpleNamespace(revision="9999", doc=title, longdoc=text))
    assert bool(found) == bool(missing)
    assert all(any(word in item for item in found) for word in missing), found


def test_the_template_of_a_new_revision_asks_for_every_section_and_fails_until_it_is_filled_in():
    template = (migrate.directory() / "script.py.mako").read_text(encoding="utf-8")
    docstring = template.split('"""')[1].replace("${message}", "Create the kills.")
    title, _, rest = docstring.partition("\n")
    found = silence(SimpleNamespace(revision="9999", doc=title, longdoc=rest))
    assert {"WHY THIS IS", "WHAT HAPPENS TO"} <= set(found)
    assert "the four sections, once each, in order" not in found


def test_the_revisions_are_those_that_ship():
    assert tuple(script.revision for script in SCRIPTS) == revisions.REVISIONS
    assert [script.down_revision for script in SCRIPTS] == [None, *revisions.REVISIONS[:-1]]
    assert revisions.REVISIONS[-1] == revisions.HEAD
    files = {path.name[:4] for path in (migrate.directory() / "versions").glob("*.py")}
    assert files == set(revisions.REVISIONS)


def test_the_manifest_is_what_the_migrations_make(
    sqlite_database: Database, postgres_database: Database, opened: Opened
):
    shipped = schema_state.MANIFEST.read_text(encoding="utf-8")
    urls = {database.kind: database.url for database in (sqlite_database, postgres_database)}
    assert manifest.manifest(urls) == shipped, "blaidctl/core/schema_manifest.json is out of date: run `make manifest`"
    for database in (sqlite_database, postgres_database):
        migrate.downgrade_database(opened(database), to="base")
        assert manifest.snapshot_of(database.url) == {}
        migrate.upgrade_database(opened(database))
    assert manifest.manifest(urls) == shipped


def test_the_manifest_names_every_trigger_table_index_constraint_and_function():
    held: dict[str, dict[str, str]] = json.loads(schema_state.MANIFEST.read_text(encoding="utf-8"))
    assert {kind: {name.split()[0] for name in names} for kind, names in held.items()} == {
        "sqlite": {"table", "index", "trigger"},  # a constraint is part of its table's text there
        "postgresql": {"table", "index", "trigger", "constraint", "function"},
    }
    event_tables = {"audit_log", "kill_events", "requests"}
    for table in event_tables:
        assert {f"trigger {table}_no_update", f"trigger {table}_no_delete"} <= set(held["sqlite"])
        assert {f"trigger {table}_no_change", f"trigger {table}_no_truncate"} <= set(held["postgresql"])
