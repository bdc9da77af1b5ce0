"""The risk policy: a file of ranges, its own bounds, its hash, and what happens when it is broken or changes."""

from __future__ import annotations

import hashlib
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from blaidctl.accounts import rules
from blaidctl.accounts.policy import LARGEST_BYTES, SHIPPED
from blaidctl.accounts.vocabulary import Limit
from blaidctl.core.decimals import text_of
from tests.accounts.desk import RANGES, account_events, desk, over_http
from tests.http.desk import problem
from tests.kill.fleet import done, dump, refused, verified
from tests.support.accounts import LIMITS, link, options

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.commandline import CommandLine
    from tests.support.database import Database

TEXT = SHIPPED.read_text(encoding="utf-8")


def under(path: Path) -> dict[str, str]:
    return {"BLAIDCTL_RISK_POLICY": str(path)}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A desk's own policy: the shipped one, with a comment."""
    path = tmp_path / "policy.toml"
    path.write_text("# ours\n" + TEXT, encoding="utf-8")
    return path


def test_the_shipped_policy_is_these_ranges():
    policy = rules.read_policy(SHIPPED.read_bytes())
    assert {str(k): (text_of(v.least), text_of(v.most)) for k, v in policy.ranges.items()} == RANGES
    assert set(rules.CEILINGS) == set(rules.UNITS) == set(Limit) == set(RANGES)
    assert all(unit in TEXT for unit in ("Contracts", "currency", "percent", "minute"))


def test_an_own_policy_rules_and_its_hash_stands_in_the_event_and_on_the_link(
    cli: CommandLine, database: Database, own: Path
):
    desk(cli)
    own.write_text(own.read_text().replace("max = 1000\n", "max = 1500\n"))
    wide = options(LIMITS | {"max_contracts": "1500"})
    refused(cli("account", "link", "a1", "ib-a", *wide), 5, "LIMIT_OUT_OF_RANGE")
    made = done(cli("account", "link", "a1", "ib-a", *wide, env=under(own))).json["result"]
    digest = hashlib.sha256(own.read_bytes()).hexdigest()
    assert made["policy_sha256"] == digest != hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
    assert account_events(database)[-1]["policy_sha256"] == digest
    assert database.sql("SELECT policy_sha256 FROM account_links") == [(digest,)]
    own.write_text(own.read_text() + "\n# reviewed\n")
    done(cli("account", "limits", "a1", "--max-contracts", "1400", env=under(own)))
    assert account_events(database)[-1]["policy_sha256"] == hashlib.sha256(own.read_bytes()).hexdigest()
    verified(cli)


def test_the_settings_file_names_a_policy_too(cli: CommandLine, sqlite_database: Database, own: Path, home: Path):
    del sqlite_database
    desk(cli)
    settings = home / ".config" / "blaidctl" / "config.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text(f'risk_policy = "{own}"\n')
    made = done(cli("account", "link", "a1", "ib-a", *options())).json["result"]
    assert made["policy_sha256"] == hashlib.sha256(own.read_bytes()).hexdigest()


CONTRACTS = '[max_contracts]\nmin = "0.001"\nmax = 1000\n'
BROKEN = {
    "no TOML": ("[max_contracts", "it is not TOML"),
    "not UTF-8": (b"# \xff\n" + TEXT.encode(), "it is not TOML"),
    "nested too deeply": ("x = " + "[" * 20_000, "it is not TOML"),
    "empty": ("", "max_contracts: it needs a table"),
    "too long": (TEXT + "#" * LARGEST_BYTES, "longer than"),
    "a float": (TEXT.replace("max = 1000\n", "max = 1000.0\n"), "max_contracts.max: 1000.0 is neither"),
    "a small float": (TEXT.replace('min = "0.1"', "min = 0.1"), "max_drawdown_pct.min: 0.1 is neither"),
    "a boolean": (TEXT.replace("max = 1000\n", "max = true\n"), "max_contracts.max: True is neither"),
    "NaN": (TEXT.replace("max = 1000\n", "max = nan\n"), "max_contracts.max: nan is neither"),
    "a text": (TEXT.replace("max = 1000\n", 'max = "many"\n'), "max_contracts.max: 'many' is not a decimal number"),
    "infinite": (TEXT.replace("max = 1000\n", 'max = "Infinity"\n'), "max_contracts.max: Infinity is not a finite"),
    "a time": (TEXT.replace("max = 1000\n", "max = 2026-01-01\n"), "max_contracts.max: 2026-01-01 is neither"),
    "too many places": (TEXT.replace('"0.1"', '"1e-19"'), "max_drawdown_pct.min: 1E-19 is smaller"),
    "zero": (TEXT.replace('min = "0.001"', "min = 0"), "max_contracts.min: 0 is outside the built-in bounds"),
    "negative": (TEXT.replace('min = "0.001"', "min = -1"), "max_contracts.min: -1 is outside the built-in bounds"),
    "above the bounds": (TEXT.replace("max = 1000\n", "max = 1000001\n"), "above 0, up to 1000000"),
    "above all percent": (TEXT.replace("max = 50\n", 'max = "100.01"\n'), "max_drawdown_pct.max: 100.01 is outside"),
    "half an order": (TEXT.replace("max = 600", 'max = "0.5"'), "max_orders_per_minute.max: 0.5 is not a whole number"),
    "upside down": (TEXT.replace("max = 600", "max = 2").replace("min = 1\nmax = 2", "min = 3\nmax = 2"), "above max"),
    "one end": (TEXT.replace("max = 600", ""), "max_orders_per_minute.max: it is missing"),
    "one limit": (TEXT.replace(CONTRACTS, ""), "max_contracts: it needs a table"),
    "no table": ("max_contracts = 5\n" + TEXT.replace(CONTRACTS, ""), "max_contracts: it needs a table"),
    "a typo": (TEXT.replace("[max_contracts]", "[max_contract]"), "max_contract: there is no such limit"),
    "an unknown limit": (TEXT + "\n[max_leverage]\nmin = 1\nmax = 3\n", "max_leverage: there is no such limit"),
    "an unknown key": (TEXT.replace("max = 600", "max = 600\nmost = 900"), "max_orders_per_minute.most: there is no"),
    "a key twice": (TEXT.replace("max = 600", "max = 600\nmax = 900"), "it is not TOML"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_policy_links_nothing(sqlite_database: Database, cli: CommandLine, tmp_path: Path, how: str):
    content, said = BROKEN[how]
    path = tmp_path / "policy.toml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    desk(cli)
    link(cli, ["a2"], "ib-a")
    before = dump(sqlite_database)
    for words in (("link", "a1", "ib-a", *options()), ("limits", "a2", "--max-contracts", "3")):
        error = refused(cli("account", *words, env=under(path)), 2, "RISK_POLICY_INVALID")
        assert any(said in line for line in error["missing_requirements"]), error
        assert str(path) in error["message"]
    assert dump(sqlite_database) == before
    guard = cli("guard", "a2", env=under(path))
    assert (guard.code, guard.json["result"]["reasons"][0].partition(":")[0]) == (1, "RISK_POLICY_INVALID")


def test_every_problem_of_a_policy_is_named_at_once():
    broken = TEXT.replace("max = 600", "max = 6e2").replace('"0.1"', "0").replace("max = 1000\n", "")
    with pytest.raises(rules.PolicyProblemsError) as caught:
        rules.read_policy((broken + "\n[x]\n").encode())
    assert [line.partition(":")[0] for line in caught.value.problems] == [
        "x", "max_contracts.max", "max_drawdown_pct.min", "max_orders_per_minute.max",
    ]  # fmt: skip


@pytest.mark.parametrize("how", ["missing", "folder", "pipe", "unreadable", "nothing"])
def test_a_policy_that_cannot_be_read_is_none(
    sqlite_database: Database, cli: CommandLine, tmp_path: Path, own: Path, how: str
):
    path = tmp_path / "there"
    if how == "folder":
        path.mkdir()
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "unreadable":
        path.symlink_to(path)
    shutil.copy(own, tmp_path / "copy")
    desk(cli)
    link(cli, ["a2"], "ib-a")
    before = dump(sqlite_database)
    env = {"BLAIDCTL_RISK_POLICY": "" if how == "nothing" else str(path)}
    error = refused(cli("account", "link", "a1", "ib-a", *options(), env=env), 2, "RISK_POLICY_INVALID")
    assert "cannot be read" in error["message"]
    assert dump(sqlite_database) == before
    shown = done(cli("account", "show", "ib-a", env=env)).json["result"]
    assert shown["policy_problem"] == error["message"]
    assert {(line["least"], line["most"], line["in_range"]) for line in shown["limits"]} == {(None, None, None)}


def test_over_http_a_broken_policy_is_the_same_refusal(
    sqlite_database: Database, cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "policy.toml"
    path.write_text("max_contracts = 5\n")
    desk(cli)
    error = refused(cli("account", "link", "a1", "ib-a", *options(), env=under(path)), 2, "RISK_POLICY_INVALID")
    environment = cli.environment
    monkeypatch.setattr(cli, "environment", lambda *changes: environment(*changes) | under(path))
    with over_http(cli, "alice") as ask:
        body = problem(ask("POST", "/api/bots/a1/account-link", {"account": "ib-a"}), 422, "RISK_POLICY_INVALID")
    assert body | {"trace_id": ""} == error | {"trace_id": ""}
    assert account_events(sqlite_database) == []


def test_without_a_valid_policy_a_link_still_ends(cli: CommandLine, database: Database, tmp_path: Path):
    """Stopping is easy: what takes a right away needs no policy, and its event has the hash of whatever was there."""
    desk(cli)
    link(cli, ["a1", "a2"], "ib-a")
    path = tmp_path / "policy.toml"
    done(cli("account", "unlink", "a1", env=under(path)))
    path.write_text("broken")
    done(cli("account", "unlink", "a2", env=under(path)))
    assert [event["policy_sha256"] for event in account_events(database)[-2:]] == [
        None,
        hashlib.sha256(b"broken").hexdigest(),
    ]
    verified(cli)


def test_the_guard_judges_stored_limits_by_the_policy_in_force_now(cli: CommandLine, database: Database, own: Path):
    desk(cli)
    link(cli, ["a1"], "ib-a")
    assert done(cli("guard", "a1", env=under(own))).json["result"]["answer"] == "MAY_TRADE"
    own.write_text(TEXT.replace("max = 1000\n", "max = 4\n").replace("max = 600", "max = 59"))
    run = cli("guard", "a1", env=under(own))
    assert (run.code, run.json["result"]["reasons"]) == (
        1,
        [
            "LIMIT_OUT_OF_RANGE: max_contracts: 5 is not within 0.001 to 4 (contracts)",
            "LIMIT_OUT_OF_RANGE: max_orders_per_minute: 60 is not within 1 to 59 (orders a minute)",
        ],
    )
    shown = done(cli("account", "show", "ib-a", env=under(own))).json["result"]["limits"]
    assert [line["limit"] for line in shown if not line["in_range"]] == ["max_contracts", "max_orders_per_minute"]

    # One of them alone is not enough: afterwards all six must be within.
    error = refused(cli("account", "limits", "a1", "--max-contracts", "4", env=under(own)), 5, "LIMIT_OUT_OF_RANGE")
    assert [line.partition(":")[0] for line in error["missing_requirements"]] == ["max_orders_per_minute"]
    both = ("--max-contracts", "4", "--max-orders-per-minute", "59")
    done(cli("account", "limits", "a1", *both, env=under(own)))
    done(cli("guard", "a1", env=under(own)))
    database.sql("UPDATE broker_accounts SET status = 'CLOSED'")
    assert cli("guard", "a1", env=under(own)).json["result"]["reasons"] == ["ACCOUNT_CLOSED: account ib-a is CLOSED"]
