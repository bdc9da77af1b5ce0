"""The PostgreSQL SQL of every revision before a linter of migrations (squawk); each exception with its reason."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from blaidctl.core import migrate
from blaidctl.core.revisions import REVISIONS

SQUAWK = Path(sys.executable).with_name("squawk")
#: What a migration's connection has set before it begins (core/migrate.py; a test below asks the server).
SET = "SET lock_timeout = '30s';\n"
#: The oldest server that blaidctl is for.
OLDEST_SERVER = "15"

#: Rules that are left out for every revision, and why.
LEFT_OUT = {
    "prefer-bigint-over-int": "ids and totals are BIGINT; INTEGER holds flags, seconds, attempts: bounded by a CHECK",
    "require-statement-timeout": (
        "how long a statement runs grows with the table, and cutting it off would leave a large ledger for ever behind;"
        " the wait for its lock is bounded by lock_timeout"
    ),
}
#: (revision, rule) → why this once.
ALLOWED = {
    ("0005", "constraint-missing-not-valid"): (
        "bot_instances holds a row a start of a bot; NOT VALID would leave rows unproved, and a second transaction"
        " would leave the migration half done"
    ),
    ("0010", "require-concurrent-index-creation"): (
        "account_links holds a row a link; as for 0007, half a revision would be worse than a moment without new links"
    ),
    ("0007", "require-concurrent-index-creation"): (
        "CONCURRENTLY cannot run in a transaction: a revision would be half done when it fails; the tables are small,"
        " and the plan says whom the lock holds up"
    ),
}


def findings(revision: str) -> set[str]:
    """The rules that squawk finds broken in a revision's SQL."""
    sql = SET + ";\n".join(migrate.statements_of(revision, "postgresql")) + ";\n"
    return rules_broken(sql)


def rules_broken(sql: str) -> set[str]:
    done = subprocess.run(
        [SQUAWK, "--reporter", "json", "--pg-version", OLDEST_SERVER, "--assume-in-transaction", *_excluded()],
        input=sql,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode in {0, 1}, done.stderr
    return {found["rule_name"] for found in json.loads(done.stdout or "[]")}


def _excluded() -> list[str]:
    return ["--exclude", ",".join(LEFT_OUT)]


@pytest.mark.parametrize("revision", REVISIONS)
def test_squawk_finds_nothing_that_has_no_reason(revision: str):
    assert {rule for rule in findings(revision) if (revision, rule) not in ALLOWED} == set()


@pytest.mark.parametrize(("revision", "rule"), ALLOWED)
def test_an_exception_that_is_not_needed_is_taken_away(revision: str, rule: str):
    assert rule in findings(revision)


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("CREATE INDEX i ON bots (name);", "require-concurrent-index-creation"),
        ("ALTER TABLE bots ADD CONSTRAINT c CHECK (name <> '');", "constraint-missing-not-valid"),
        ("ALTER TABLE bots RENAME TO robots;", "renaming-table"),
        ("ALTER TABLE bots ALTER COLUMN name TYPE varchar(10);", "changing-column-type"),
        ("ALTER TABLE bots ADD COLUMN n int NOT NULL;", "adding-required-field"),
        ("CREATE TABLE (;", "syntax-error"),
    ],
)
def test_squawk_is_asked_in_earnest(sql: str, rule: str):
    assert rule in rules_broken(SET + sql)
