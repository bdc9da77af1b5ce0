"""Allocation over HTTP: a token's owner divides over its own bots, and sees its own runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.accounts.desk import over_http
from tests.allocation.desk import AS_OF, amounts, desk, proven, reasons, result, run, start, trade
from tests.allocation.work import policy_text
from tests.http.desk import answer, problem
from tests.kill.fleet import done, entries
from tests.support.accounts import add_account, link

if TYPE_CHECKING:
    from tests.support.commandline import CommandLine
    from tests.support.database import Database

ASKED = {"capital": "1000", "currency": "USD", "as_of": AS_OF, "policy": policy_text()}


def test_a_token_s_owner_divides_over_its_own_bots_alone(cli: CommandLine, database: Database):
    desk(cli)
    link(cli, ["b1"], add_account(cli, "ib-b", "bob"))
    start(cli, "b1", "ib-b")
    trade(cli, "b1", ["10", "-5"], account="ib-b")
    done(run(cli))
    with over_http(cli, "alice") as ask:
        made = answer(ask("POST", "/api/allocations", ASKED | {"exclude": ["a3"], "reason": "monthly"}))
        assert amounts(made["result"]) == {"a1": "400", "a2": "600"}
        assert (made["result"]["actor"], made["result"]["policy_name"]) == ("alice", "request")
        shown = answer(ask("GET", "/api/allocations/2"))
        assert shown["result"] == made["result"]
        problem(ask("GET", "/api/allocations/1"), 404, "ALLOCATION_NOT_FOUND")
        problem(ask("POST", "/api/allocations", ASKED | {"exclude": ["b1"]}), 404, "BOT_NOT_FOUND")
    with over_http(cli, "bob") as ask:
        problem(ask("GET", "/api/allocations/2"), 404, "ALLOCATION_NOT_FOUND")
        assert amounts(answer(ask("POST", "/api/allocations", ASKED))["result"]) == {"b1": "1000", "b2": "0"}
    assert entries(database)[-1]["actor"] == "bob"
    for run_id in (1, 2, 3):
        proven(cli, run_id)


def test_over_http_a_policy_is_a_name_or_its_text_and_never_a_file(cli: CommandLine, sqlite_database: Database):
    assert sqlite_database.kind == "sqlite"
    desk(cli, "a1")
    file = cli.home / "policy.toml"
    file.write_text(policy_text())
    with over_http(cli, "alice") as ask:
        named = answer(ask("POST", "/api/allocations", ASKED | {"policy": "equal"}))["result"]
        assert (named["policy_name"], str(reasons(named)["a1"])[:18]) == ("equal", "too little history")
        for path in (str(file), "-", "/etc/passwd"):
            told = problem(ask("POST", "/api/allocations", ASKED | {"policy": path}), 422, "ALLOCATION_POLICY_INVALID")
            assert "it is not TOML" in told["message"]
        given = answer(ask("POST", "/api/allocations", ASKED))["result"]
    assert given["output_hash"] != named["output_hash"]
    with over_http(cli, "alice") as ask:
        for field in ("document", "computed", "policy_sha256"):
            problem(ask("POST", "/api/allocations", ASKED | {field: "x"}), 422, "INVALID_REQUEST")


def test_a_run_over_http_is_the_run_of_the_command_line(cli: CommandLine, sqlite_database: Database):
    assert sqlite_database.kind == "sqlite"
    desk(cli)
    words = ("--exclude", "b1", "--exclude", "b2")
    at_the_desk = result(run(cli, *words))
    with over_http(cli, "alice") as ask:
        served = answer(ask("POST", "/api/allocations", ASKED))["result"]
    assert served["lines"] == at_the_desk["lines"]
    assert served["output_hash"] == at_the_desk["output_hash"]
    assert served["input_hash"] != at_the_desk["input_hash"], "who was left out is part of the question"
