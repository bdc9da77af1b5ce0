"""`allocation audit`: what was written later disturbs nothing; what was changed is found and named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import blaidctl
from blaidctl.allocation.vocabulary import Method
from tests.accounts.desk import REASON
from tests.allocation.desk import amounts, desk, differs, proven, result, run, start, tamper, trade, unguard
from tests.allocation.work import policy_text
from tests.instruments.work import text
from tests.kill.fleet import BACK, WHY, done, refused, verified
from tests.support.accounts import add_account, link

if TYPE_CHECKING:
    from tests.support.commandline import CommandLine
    from tests.support.database import Database

MARKED = policy_text(Method.INVERSE_DRAWDOWN, least_drawdown="0.001", basis="MARKED")


def test_later_fills_kills_rates_flows_marks_and_instruments_disturb_nothing(cli: CommandLine):
    desk(cli)
    rate = ("ledger", "rate", "EUR", "USD", "1.1", "--at", "2026-03-01T00:00:00Z", "--source", "test")
    done(cli(*rate))
    made = result(run(cli, "--capital", "1000", "--currency", "EUR", "--as-of", "2026-03-01T12:00:00Z"))
    marked = result(run(cli, policy=MARKED))
    link(cli, ["b1"], add_account(cli, "ib-b", "bob"))
    start(cli, "b1", "ib-b")
    trade(cli, "b1", ["5"], account="ib-b")
    trade(cli, "a1", ["-50", "3"], month="02")
    done(cli("ledger", "reverse", "ib-a", "a2-01-1-BUY", *REASON))
    words = ("--account", "ib-a", "--kind", "DEPOSIT", "--amount", "5", "--currency", "USD")
    done(cli("ledger", "flow", "a1", *words, "--at", "2026-01-20T00:00:00Z"))
    done(cli(*rate[:4], "1.3", "--at", "2026-03-01T11:59:00Z", "--source", "test"))
    done(cli("instrument", "load", "-", stdin=text({"point_value": "500", "tick_size": "0.5"})))
    done(cli("kill", "a1", *WHY))
    done(cli("bot", "add", "a9", "--user", "alice"))
    done(cli("account", "unlink", "a2", *REASON))
    link(cli, ["a2"], add_account(cli, "ib-a2", "alice"))
    for run_id, before in ((1, made), (2, marked)):
        found = proven(cli, run_id)
        assert (found["input_hash"], found["output_hash"]) == (before["input_hash"], before["output_hash"])
    verified(cli)
    assert done(cli("allocation", "show", "1")).json["result"] == made


def test_a_run_from_before_a_correction_is_proven_and_the_next_one_takes_the_corrected_capital(cli: CommandLine):
    desk(cli)
    policy = policy_text(Method.INVERSE_DRAWDOWN, least_drawdown="0.001")
    before = result(run(cli, policy=policy))
    words = ("--account", "ib-a", "--kind", "INITIAL", "--currency", "USD", "--at", "2026-01-02T00:00:00Z")
    done(cli("ledger", "flow", "a1", *words, "--amount", "1000000", "--replaces", "1"))
    assert proven(cli)["output_hash"] == before["output_hash"]
    after = result(run(cli, policy=policy))
    assert amounts(after)["a1"] != amounts(before)["a1"]
    assert after["source_tables"] == before["source_tables"], "one flow of each bot, as before"
    done(cli("ledger", "flow", "a1", *words, "--amount", "10000", "--replaces", "4"))
    assert amounts(result(run(cli, policy=policy))) == amounts(before)
    for run_id in (1, 2, 3):
        proven(cli, run_id)
    verified(cli)


def test_a_resurrection_later_leaves_the_killed_line_as_it_was(cli: CommandLine):
    desk(cli)
    done(cli("kill", "a2", *WHY))
    done(run(cli))
    done(cli("resurrect", "a2", *BACK))
    proven(cli)


def test_an_edited_fill_is_found_and_named_by_its_bot(cli: CommandLine, database: Database):
    desk(cli)
    done(run(cli))
    tamper(
        database,
        "UPDATE trades SET price = '4010.25', price_8 = 401025000000 WHERE venue_trade_id = 'a1-01-1-SELL'",
    )
    found = differs(cli)
    assert found[0] == "bot a1: trades differ from what went in"
    assert any(what.startswith("bot a1: amount is 400, recomputed 4") for what in found)
    assert any(what.startswith("output_hash is ") for what in found)
    assert any(what.startswith("input_hash is ") for what in found)
    assert not [what for what in found if what.startswith("bot a2: trades")]


def test_an_edit_that_changes_no_amount_is_found_by_the_input(cli: CommandLine, database: Database):
    desk(cli)
    done(run(cli, policy=policy_text(Method.EQUAL)))
    tamper(database, "UPDATE capital_flows SET amount = '10001' WHERE bot_id = 'a3'")
    assert differs(cli)[0] == "bot a3: capital_flows differ from what went in"


#: Sums to the capital all the same.
_SWAPPED = "UPDATE allocation_lines SET amount = CASE bot_id WHEN 'a1' THEN '600' ELSE '400' END WHERE reason IS NULL"


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE allocation_lines SET amount = '500' WHERE bot_id = 'a1'", "lines and remainder sum to 1100,"),
        (_SWAPPED, "the stored lines are not those that output_hash was taken over"),
        ("UPDATE allocation_lines SET weight = '1/2' WHERE bot_id = 'a1'", "the stored lines are not those"),
        ("UPDATE allocation_lines SET reason = 'so' WHERE bot_id = 'a3'", "the stored lines are not those"),
        ("UPDATE allocation_runs SET remainder = '1'", "lines and remainder sum to 1001,"),
        ("DELETE FROM allocation_lines WHERE bot_id = 'b1'", "the stored lines are not those"),
        ("UPDATE allocation_lines SET metrics = '[]' WHERE bot_id = 'a1'", "the stored lines hold what blaidctl never"),
        ("UPDATE allocation_lines SET input_hash = '{x}' WHERE bot_id = 'a1'", "bot a1: input_hash is xxxx"),
        ("UPDATE allocation_runs SET input_hash = '{x}'", "input_hash is xxxx"),
        ("UPDATE allocation_runs SET output_hash = '{x}'", "the stored lines are not those that output_hash was"),
        ("UPDATE allocation_runs SET policy_sha256 = '{x}'", "cannot be computed again: the stored policy is not the"),
        ("UPDATE allocation_runs SET conventions = '{{}}'", "conventions differ from those"),
        ("UPDATE allocation_runs SET source_tables = '{{}}'", "source_tables are {}, recomputed {'bots': 5"),
        ("UPDATE allocation_runs SET versions = '{{}}'", "the run's row holds what blaidctl never writes"),
        ("UPDATE allocation_runs SET excluded = '[\"b9\"]'", "input_hash is "),
        (
            "DELETE FROM capital_flows WHERE bot_id = 'a2'",
            "cannot be computed again: bot a2: capital_flows: no ",
        ),
    ],
)
def test_a_run_that_was_changed_is_no_proof(cli: CommandLine, sqlite_database: Database, statement: str, what: str):
    desk(cli)
    done(run(cli))
    tamper(sqlite_database, statement.format(x="x" * 64))
    found = differs(cli)
    assert found[0].startswith(what), found


def test_another_run_in_its_place_is_no_proof_however_right_it_is(cli: CommandLine, database: Database):
    desk(cli)
    done(run(cli))
    other = result(run(cli, "--exclude", "a2", policy=policy_text(Method.EQUAL)))
    proven(cli)
    columns = "policy, policy_sha256, conventions, source_tables, excluded, input_hash, output_hash, remainder"
    tamper(database, "DELETE FROM allocation_lines WHERE run_id = 1")
    database.sql("UPDATE allocation_lines SET run_id = 1")
    database.sql(f"UPDATE allocation_runs SET ({columns}) = (SELECT {columns} FROM allocation_runs WHERE id = 2)")
    found = differs(cli)
    assert found[0] == "excluded is ['a2'], the audit log says []"
    assert f"output_hash is {other['output_hash']}, the audit log says " in "\n".join(found)
    database.sql("UPDATE allocation_runs SET act_id = 'x' WHERE id = 1")
    assert differs(cli) == ["no entry of the audit log tells of this run"]


def test_the_log_names_a_run_that_does_not_agree_with_itself(cli: CommandLine, database: Database):
    desk(cli)
    for _ in range(3):
        done(run(cli))
    verified(cli)
    unguard(database)
    database.sql("UPDATE allocation_lines SET amount = '399' WHERE bot_id = 'a1' AND run_id = 1")
    database.sql("UPDATE allocation_lines SET weight = '1/2' WHERE bot_id = 'a1' AND run_id = 2")
    database.sql("UPDATE allocation_lines SET metrics = '[]' WHERE bot_id = 'a1' AND run_id = 3")
    told = cli("audit", "verify")
    assert told.code == 1
    replayed = [d["what"] for d in told.json["result"]["defects"] if d["check"] == "replay"]
    assert replayed == [
        "allocation run 1: lines and remainder sum to 999, the capital is 1000",
        "allocation run 1: the stored lines are not those that output_hash was taken over",
        "allocation run 2: the stored lines are not those that output_hash was taken over",
        "allocation run 3: the stored lines hold what blaidctl never writes",
    ]


def test_the_log_names_a_run_that_is_gone(cli: CommandLine, sqlite_database: Database):
    desk(cli, "a1")
    for _ in range(2):
        done(run(cli))
    unguard(sqlite_database)
    connection = sqlite_database.raw()
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("DELETE FROM allocation_runs")
    connection.close()
    replayed = [d["what"] for d in cli("audit", "verify").json["result"]["defects"] if d["check"] == "replay"]
    assert replayed == [f"allocation run {run_id} is gone, its lines are there" for run_id in (1, 2)]


def test_the_database_refuses_to_change_a_run(cli: CommandLine, database: Database):
    desk(cli, "a1")
    done(run(cli))
    for statement in (
        "UPDATE allocation_runs SET remainder = '1'",
        "DELETE FROM allocation_runs",
        "UPDATE allocation_lines SET amount = '1'",
        "DELETE FROM allocation_lines",
    ):
        with pytest.raises(Exception, match="append-only"):
            database.sql(statement)


# ---- another version of the code -------------------------------------------------------------------------------------


def test_a_run_of_another_version_is_proven_by_its_output_and_says_so(
    cli: CommandLine, database: Database, monkeypatch: pytest.MonkeyPatch
):
    desk(cli)
    made = result(run(cli))
    monkeypatch.setattr(blaidctl, "__version__", "0.9.9")
    found: dict[str, Any] = done(cli("allocation", "audit", "1")).json["result"]
    assert (found["answer"], found["code_version"], found["recomputed_by"]) == ("PROVEN", "0.1.0", "0.9.9")
    assert found["recomputed_output_hash"] == made["output_hash"]
    assert found["recomputed_input_hash"] != made["input_hash"], "the version is part of the input"
    assert found["notes"] == [
        "made by version 0.1.0: input_hash covers the version, so the inputs were compared one by one"
    ]
    tamper(database, "UPDATE capital_flows SET amount = '10001' WHERE bot_id = 'a3'")
    assert differs(cli)[0] == "bot a3: capital_flows differ from what went in"
    told = cli("allocation", "audit", "1").error
    assert told["error_code"] == "ALLOCATION_DIFFERS"
    assert told["message"].endswith("; it was made by version 0.1.0, this is 0.9.9")


def test_an_unknown_run_is_not_found(cli: CommandLine):
    for word in ("audit", "show"):
        refused(cli("allocation", word, "7"), 3, "ALLOCATION_NOT_FOUND")
        for other in ("0", "01", "-1", "9" * 30, "seven", "1 OR 1"):
            refused(cli("allocation", word, "--", other), 3, "ALLOCATION_NOT_FOUND")
    assert done(cli("allocation", "list")).json["result"]["runs"] == []


def test_what_an_audit_says_is_read_by_a_person_too(cli: CommandLine, sqlite_database: Database):
    desk(cli)
    done(run(cli))
    told = done(cli("allocation", "audit", "1", "--output", "table")).stdout
    assert "answer                  PROVEN" in told
    tamper(sqlite_database, "UPDATE capital_flows SET amount = '10001' WHERE bot_id = 'a3'")
    found = cli("allocation", "audit", "1", "--output", "table")
    assert found.code == 1
    assert "bot a3: capital_flows differ from what went in" in " ".join(found.stdout.split())
