"""The error tree is a contract: scripts read its exit codes, dashboards its statuses, people its sentences."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from blaidctl.core import errors
from blaidctl.core.context import is_trace_id, new_trace_id

ROOT = Path(__file__).parents[2]
LEAVES = list(errors.leaves())

#: CONTRACT, section 3: exit code → class, HTTP statuses. 130 is a signal's code and reaches HTTP as "unavailable".
CONTRACT = {
    1: ("Findings", {200}),
    2: ("Invalid", {400, 422}),
    3: ("NotFound", {404}),
    4: ("Conflict", {409}),
    5: ("Refused", {422}),
    6: ("Forbidden", {401, 403}),
    7: ("Unbuilt", {501}),
    8: ("Unavailable", {503}),
    9: ("Unsettled", {503}),
    70: ("Bug", {500}),
    130: ("Interrupt", {503}),
}

#: Every code → (exit, HTTP). A script in the field may depend on each: change one only together with the changelog.
CODES = {
    "STOP_UNCONFIRMED": (1, 200),
    "KILL_ENDED": (1, 200),
    "MAY_NOT_TRADE": (1, 200),
    "AUDIT_BROKEN": (1, 200),
    "SCHEMA_FINDINGS": (1, 200),
    "RESTART_UNCONFIRMED": (1, 200),
    "DOCTOR_FINDINGS": (1, 200),
    "PROCESS_FAILED": (1, 200),
    "REAP_INCOMPLETE": (1, 200),
    "CLOCK_ANOMALY": (1, 200),
    "PROVIDER_NOT_OK": (1, 200),
    "LEDGER_DIFFERS": (1, 200),
    "PLAY_FAILED": (1, 200),
    "NOT_VERIFIED": (1, 200),
    "ALLOCATION_DIFFERS": (1, 200),
    "FILL_AFTER_KILL": (1, 200),
    "USAGE": (2, 400),
    "INVALID_REQUEST": (2, 422),
    "MALFORMED_BODY": (2, 400),
    "CONFIRM_COUNT_MISSING": (2, 422),
    "SETTINGS_INVALID": (2, 422),
    "KEY_FILE_INVALID": (2, 422),
    "CREDENTIALS_INVALID": (2, 422),
    "COMMAND_NOT_STARTABLE": (2, 422),
    "FILE_UNREADABLE": (2, 422),
    "FILE_INVALID": (2, 422),
    "ROWS_REFUSED": (2, 422),
    "FILE_UNWRITABLE": (2, 422),
    "BACKUP_INVALID": (2, 422),
    "CONFIRMATION_MISSING": (2, 422),
    "RISK_POLICY_INVALID": (2, 422),
    "ALLOCATION_POLICY_INVALID": (2, 422),
    "BOT_NOT_FOUND": (3, 404),
    "USER_NOT_FOUND": (3, 404),
    "ACCOUNT_NOT_FOUND": (3, 404),
    "INSTANCE_NOT_FOUND": (3, 404),
    "JOB_NOT_FOUND": (3, 404),
    "JOB_TYPE_NOT_FOUND": (3, 404),
    "TOKEN_NOT_FOUND": (3, 404),
    "INSTRUMENT_NOT_FOUND": (3, 404),
    "FILL_NOT_FOUND": (3, 404),
    "MOVE_NOT_FOUND": (3, 404),
    "FLOW_NOT_FOUND": (3, 404),
    "SESSION_NOT_FOUND": (3, 404),
    "PROVIDER_NOT_FOUND": (3, 404),
    "NOTHING_MATCHED": (3, 404),
    "ALLOCATION_NOT_FOUND": (3, 404),
    "ROUTE_NOT_FOUND": (3, 404),
    "REQUEST_ID_REUSED": (4, 409),
    "COUNT_MISMATCH": (4, 409),
    "CONFIRMATION_STALE": (4, 409),
    "BACKUP_EXISTS": (4, 409),
    "ROWS_LOST": (4, 409),
    "ALREADY_EXISTS": (4, 409),
    "INSTANCE_OVER": (4, 409),
    "JOB_TERMINAL": (4, 409),
    "METRICS_MISSING": (4, 409),
    "JOB_RUNNING": (4, 409),
    "ALREADY_LINKED": (4, 409),
    "NOT_LINKED": (4, 409),
    "ACCOUNT_CLOSED": (4, 409),
    "INSTANCE_RUNNING": (4, 409),
    "AMBIGUOUS_INSTRUMENT": (4, 409),
    "METRICS_INCOMPLETE": (4, 409),
    "LEDGER_CONFLICT": (4, 409),
    "PROVIDER_NOT_BOUND": (4, 409),
    "CURSOR_MOVED": (4, 409),
    "CHECKPOINT_OVERTAKEN": (4, 409),
    "DATABASE_GUARD_REFUSED": (4, 409),
    "BOT_KILLED": (5, 422),
    "RISK_SETTINGS_MISSING": (5, 422),
    "LIMIT_OUT_OF_RANGE": (5, 422),
    "CHECKPOINT_STALE": (5, 422),
    "UNAUTHENTICATED": (6, 401),
    "CROSS_USER_LINK": (6, 403),
    "ACCOUNT_HELD": (6, 403),
    "CROSS_ACCOUNT_FILL": (6, 403),
    "CROSS_USER_FILL": (6, 403),
    "UNLINKED_FILL": (6, 403),
    "NOT_IMPLEMENTED": (7, 501),
    "DATABASE_DOWN": (8, 503),
    "LEASE_LOST": (8, 503),
    "DATABASE_MISSING": (8, 503),
    "DATABASE_READ_ONLY": (8, 503),
    "DATABASE_PERMISSION": (8, 503),
    "DISK_FULL": (8, 503),
    "DATABASE_CORRUPT": (8, 503),
    "DRIVER_MISSING": (8, 503),
    "EXTRA_MISSING": (8, 503),
    "CHECKPOINT_SINK_FAILED": (8, 503),
    "SCHEMA_BEHIND": (8, 503),
    "SCHEMA_AHEAD": (8, 503),
    "BACKUP_UNAVAILABLE": (8, 503),
    "PROVIDER_DEGRADED": (8, 503),
    "PROVIDER_BLOCKED": (8, 503),
    "ADDRESS_UNAVAILABLE": (8, 503),
    "OUTCOME_UNKNOWN": (9, 503),
    "BUSY": (9, 503),
    "STATEMENT_TIMEOUT": (9, 503),
    "OUTPUT_LOST": (9, 503),
    "INTERNAL": (70, 500),
    "INTERRUPTED": (130, 503),
}


def test_the_categories_are_the_contract_s_exit_codes():
    assert {c.exit_code: c.__name__ for c in errors.categories()} == {
        code: name for code, (name, _) in CONTRACT.items()
    }
    assert [c.exit_code for c in errors.categories()] == sorted(CONTRACT)
    assert all(c.http_status in CONTRACT[c.exit_code][1] for c in errors.categories())


def test_every_code_has_its_exit_code_and_status():
    assert {leaf.error_code: (leaf.exit_code, leaf.http_status) for leaf in LEAVES} == CODES
    assert all(status in CONTRACT[code][1] for code, status in CODES.values())


def test_codes_are_unique_and_only_leaves_have_one():
    assert len(LEAVES) == len({leaf.error_code for leaf in LEAVES}) == len(set(LEAVES))
    assert [c.__name__ for c in (errors.BlaidError, *errors.categories()) if c.error_code] == []
    assert [leaf.__name__ for leaf in LEAVES if leaf.__subclasses__()] == []
    assert [leaf.__name__ for leaf in LEAVES if "error_code" not in vars(leaf)] == []


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.error_code)
def test_a_code_can_be_read_by_a_person(leaf: type[errors.BlaidError]):
    assert re.fullmatch(r"[A-Z]+(_[A-Z]+)*", leaf.error_code)
    assert leaf.__doc__ is not None
    assert re.fullmatch(r"[A-Z].{10,}\.", leaf.__doc__.splitlines()[0])
    assert leaf().message == leaf.__doc__.splitlines()[0]
    assert leaf.next_steps
    assert all(step.strip().endswith((".", "…")) and len(step) > 10 for step in leaf.next_steps)
    assert type(leaf.next_steps) is tuple, "a string would be printed letter by letter"


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.error_code)
def test_the_body_has_five_fields_in_order(leaf: type[errors.BlaidError]):
    trace_id = new_trace_id()
    body = json.loads(json.dumps(leaf("It broke.", missing=["this"], next_steps=["mend it"]).body(trace_id)))
    assert list(body.items()) == [
        ("error_code", leaf.error_code),
        ("message", "It broke."),
        ("missing_requirements", ["this"]),
        ("next_steps", ["mend it"]),
        ("trace_id", trace_id),
    ]
    assert tuple(body) == errors.BODY_FIELDS
    assert is_trace_id(trace_id)
    assert leaf().body(trace_id)["next_steps"] == list(leaf.next_steps)
    assert leaf(count=3).facts == {"count": 3}


def test_refusals_of_what_a_caller_asked_for_are_audited_and_no_failures_of_the_machine():
    audited = {leaf.error_code for leaf in LEAVES if leaf.audited}
    assert audited == {code for code, (exit_code, _) in CODES.items() if exit_code in {3, 4, 5, 6}} - {
        "ROUTE_NOT_FOUND",
        "UNAUTHENTICATED",
    }


def test_every_page_that_an_error_names_is_there():
    named = {
        page for leaf in LEAVES for step in leaf.next_steps for page in re.findall(r"(?:runbooks/)?[\w-]+\.md", step)
    }
    assert named >= {"runbooks/database-down.md", "runbooks/suspected-tampering.md", "AUDIT_FINDINGS.md"}
    assert {page for page in named if not (ROOT / page).is_file()} == set()


def test_every_error_is_raised_somewhere():
    sources = [path for path in (ROOT / "blaidctl").rglob("*.py") if path.name != "errors.py"]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    unused = [
        leaf.error_code
        for leaf in LEAVES
        if not re.search(rf'\b{leaf.__name__}\b(?!["`])|error_code=.*"{leaf.error_code}"', text)
    ]
    assert unused == [], "errors that nothing raises: remove them"


def _texts_of_tests() -> set[str]:
    """Every string but docstrings in every test outside this folder, which names all codes and vouches for none."""
    texts: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        if path.parent != Path(__file__).parent:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            texts |= {
                node.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
            }
    return texts


def test_every_code_is_reached_by_a_test():
    texts = _texts_of_tests()
    unreached = [code for code in CODES if not any(re.search(rf"\b{code}\b", text) for text in texts)]
    assert unreached == [], "error codes that no test outside tests/architecture names"
