"""`ledger flow --replaces`, `ledger flows`: what was recorded wrongly is put right, and nothing is changed for it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.audit.tampering import broken, tamper
from tests.instruments.work import file
from tests.kill.fleet import done, dump, entries, refused, verified
from tests.ledger.work import AT, counts, flow, ledger_desk, rows, take, write
from tests.support.accounts import link

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.commandline import CommandLine, Run
    from tests.support.database import Database

EARLIER, LATER = "2026-01-04T15:00:00Z", "2026-01-06T15:00:00Z"
OF_THE_LOG = {"audit_log", "audit_head"}


@pytest.fixture
def desk(cli: CommandLine) -> CommandLine:
    ledger_desk(cli)
    return cli


@pytest.fixture
def traded(desk: CommandLine, home: Path) -> CommandLine:
    """A round trip of momo-1 that realizes 250 - 4.5 USD on 6 January."""
    bought = {"executed_at": "2026-01-06T10:00:00.000000Z", "price": "6870.25"}
    sold = {"executed_at": "2026-01-06T11:00:00.000000Z", "price": "6875.25", "side": "SELL"}
    done(take(desk, write(home, rows(bought, sold)), "--history"))
    return desk


def recorded(run: Run) -> dict[str, Any]:
    made: dict[str, Any] = done(run).json["result"]
    return made


def figures(cli: CommandLine, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = done(cli("ledger", "metrics", "momo-1", *words)).json["result"]
    return found


def listed(cli: CommandLine, *words: str, bot: str = "momo-1") -> dict[str, Any]:
    found: dict[str, Any] = done(cli("ledger", "flows", bot, *words)).json["result"]
    return found


# ---- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.operation("ledger flow")
def test_a_wrong_starting_capital_is_replaced_and_every_number_follows(traded: CommandLine, database: Database):
    assert recorded(flow(traded, "INITIAL", "2500"))["id"] == 1
    wrong = figures(traded)
    made = recorded(flow(traded, "INITIAL", "25000", "--at", EARLIER, "--replaces", "1"))
    assert (made["id"], made["effect"], made["replaces"], made["replaced_by"]) == (2, "CREATED", 1, None)
    right = figures(traded)
    told = ("starting_capital", "equity", "since")
    assert [wrong[name] for name in told] == ["2500", "2745.5", "2026-01-05T15:00:00.000000Z"]
    assert [right[name] for name in told] == ["25000", "25245.5", "2026-01-04T15:00:00.000000Z"]
    assert (right["net"], right["return_on_capital"]) == ("245.5", "0.00982")
    assert right["source_tables"] == wrong["source_tables"], "one flow went in, as before"
    assert right["inputs"]["capital_flows"] != wrong["inputs"]["capital_flows"]
    assert right["input_hash"] != wrong["input_hash"]
    curve = done(traded("ledger", "equity", "momo-1")).json["result"]
    assert (curve["points"][0]["equity"], curve["equity"]) == ("25000", "25245.5")
    entry = entries(database)[-1]
    before, after = entry["what"]["before"], entry["what"]["after"]
    assert (before["flow"], before["amount"], before["at"]) == (1, "2500", "2026-01-05T15:00:00.000000Z")
    assert (entry["what"]["target"]["flow"], after["amount"], after["replaces_id"]) == (2, "25000", 1)
    assert database.sql("SELECT id, replaces_id FROM capital_flows ORDER BY id") == [(1, None), (2, 1)]
    verified(traded)


def test_the_numbers_are_those_of_a_ledger_that_was_right_at_once(traded: CommandLine):
    done(flow(traded, "INITIAL", "25000"))
    done(flow(traded, "WITHDRAWAL", "700", "--at", LATER))
    right = figures(traded)
    done(flow(traded, "INITIAL", "1", "--replaces", "1"))
    done(flow(traded, "DEPOSIT", "7", "--at", LATER, "--replaces", "2"))
    done(flow(traded, "FEE", "9", "--at", LATER))
    assert figures(traded)["equity"] == "244.5", "1 + 245.5 + 7 - 9"
    done(flow(traded, "INITIAL", "25000", "--replaces", "3"))
    done(flow(traded, "WITHDRAWAL", "700", "--at", LATER, "--replaces", "4"))
    done(flow(traded, "FEE", "0", "--at", LATER, "--replaces", "5"))
    again = figures(traded, "--as-of", right["as_of"])
    assert (again["input_hash"], again["output_hash"]) == (right["input_hash"], right["output_hash"])
    verified(traded)


def test_what_is_taken_back_counts_no_more_and_that_is_taken_back_too(traded: CommandLine):
    done(flow(traded, "INITIAL", "1000"))
    done(flow(traded, "DEPOSIT", "500"))
    assert figures(traded)["deposits"] == "500"
    made = recorded(flow(traded, "DEPOSIT", "0", "--replaces", "2", "--note", "typed twice"))
    assert (made["id"], made["amount"], made["replaces"]) == (3, "0", 2)
    without = figures(traded)
    assert (without["deposits"], without["equity"], without["source_tables"]["capital_flows"]) == ("0", "1245.5", 1)
    done(flow(traded, "DEPOSIT", "400", "--replaces", "3"))
    assert figures(traded)["deposits"] == "400"


def test_as_of_asks_each_flow_about_its_own_moment(traded: CommandLine):
    done(flow(traded, "INITIAL", "1000", "--at", EARLIER))
    done(flow(traded, "DEPOSIT", "500", "--at", AT))
    at = ("--as-of", "2026-01-06T12:00:00Z")
    assert figures(traded, *at)["deposits"] == "500"
    done(flow(traded, "DEPOSIT", "500", "--at", LATER, "--replaces", "2"))
    assert figures(traded, *at)["deposits"] == "0", "it came later, so it was not there by then"
    assert figures(traded)["deposits"] == "500"


def test_a_start_that_was_too_late_is_put_right(traded: CommandLine):
    done(flow(traded, "INITIAL", "1000", "--at", LATER))
    error = refused(traded("ledger", "metrics", "momo-1"), 4, "METRICS_INCOMPLETE")
    assert any("lies before the starting capital" in line for line in error["missing_requirements"])
    done(flow(traded, "INITIAL", "1000", "--at", EARLIER, "--replaces", "1"))
    assert figures(traded)["net"] == "245.5"


# ---- again, and what is refused --------------------------------------------------------------------------------------


def test_again_is_safe_and_a_second_replacement_is_a_conflict_that_names_the_first(
    desk: CommandLine, database: Database
):
    first = recorded(flow(desk, "INITIAL", "2500"))
    second = recorded(flow(desk, "INITIAL", "25000", "--replaces", "1"))
    assert recorded(flow(desk, "INITIAL", "25000", "--replaces", "1")) == second | {"effect": "EXISTS"}
    assert recorded(flow(desk, "INITIAL", "25000")) == second | {"effect": "EXISTS"}, "that is the INITIAL in force"
    other = refused(flow(desk, "INITIAL", "26000", "--replaces", "1"), 4, "LEDGER_CONFLICT")
    assert "capital flow 1 was replaced by flow 2: INITIAL 25000 USD" in other["message"]
    assert "`--replaces 2`" in other["next_steps"][0]
    # What does not count any more is not said to be there.
    stale = recorded(flow(desk, "INITIAL", "2500"))
    assert stale == first | {"effect": "EXISTS", "replaced_by": 2}, "a script that runs again undoes no correction"
    other = refused(flow(desk, "INITIAL", "2600"), 4, "LEDGER_CONFLICT")
    assert "capital flow 2 stands there: INITIAL 25000 USD" in other["message"]
    assert "`--replaces 2`" in other["next_steps"][0]

    third = recorded(flow(desk, "INITIAL", "26000", "--replaces", "2"))
    again = recorded(flow(desk, "INITIAL", "25000", "--replaces", "1"))
    assert (again["id"], again["effect"], again["replaced_by"]) == (2, "EXISTS", third["id"])
    late = refused(flow(desk, "INITIAL", "27000", "--replaces", "1"), 4, "LEDGER_CONFLICT")
    assert "`--replaces 3`" in late["next_steps"][0], "the last of the chain is the one to put right"
    assert (first["replaces"], counts(database)["capital_flows"]) == (None, 3)
    verified(desk)


def test_a_correction_that_cannot_be_is_refused_and_nothing_is_written(desk: CommandLine, database: Database):
    done(desk("account", "unlink", "momo-1"))
    link(desk, ("momo-1",), "ib-2")
    link(desk, ("idle-3",), "ib-1")
    done(flow(desk, "INITIAL", "1000"))
    done(flow(desk, "DEPOSIT", "5"))
    before = {k: v for k, v in dump(database).items() if k not in OF_THE_LOG}
    kinds = "an INITIAL is replaced by an INITIAL, and nothing else by one"
    for run, code, error_code, reason in (
        (flow(desk, "DEPOSIT", "5", "--replaces", "77"), 3, "FLOW_NOT_FOUND", "no capital flow 77 is there"),
        (flow(desk, "DEPOSIT", "5", "--replaces", "2", bot="idle-3"), 4, "LEDGER_CONFLICT", "2 is of bot momo-1 on"),
        (flow(desk, "DEPOSIT", "5", "--replaces", "2", account="ib-2"), 4, "LEDGER_CONFLICT", "on account ib-1; what"),
        (flow(desk, "DEPOSIT", "5", "--replaces", "1"), 4, "LEDGER_CONFLICT", kinds),
        (flow(desk, "DEPOSIT", "0", "--replaces", "1"), 4, "LEDGER_CONFLICT", kinds),
        (flow(desk, "INITIAL", "5", "--replaces", "2"), 4, "LEDGER_CONFLICT", kinds),
        (flow(desk, "DEPOSIT", "0"), 2, "INVALID_REQUEST", "taken back by 0 with replaces"),
        (flow(desk, "INITIAL", "0", "--replaces", "1"), 2, "INVALID_REQUEST", "a starting capital is not zero"),
        (flow(desk, "WITHDRAWAL", "-5", "--replaces", "2"), 2, "INVALID_REQUEST", "a WITHDRAWAL is above zero"),
        (flow(desk, "DEPOSIT", "5", "--replaces", "0"), 2, "INVALID_REQUEST", "replaces"),
    ):
        assert reason in refused(run, code, error_code)["message"]
    unknown = refused(flow(desk, "DEPOSIT", "5", "--replaces", "77"), 3, "FLOW_NOT_FOUND")
    assert unknown["missing_requirements"] == ["capital flow 77"]
    assert "`blaidctl ledger flows momo-1 --account ib-1`" in unknown["next_steps"][0]
    tried = done(desk("ledger", "flow", "momo-1", "--account", "ib-1", "--kind", "DEPOSIT", "--amount", "6",
                      "--currency", "USD", "--at", AT, "--replaces", "2", "--dry-run"))  # fmt: skip
    assert tried.json["result"]["replaces"] == 2
    assert {k: v for k, v in dump(database).items() if k not in OF_THE_LOG} == before
    verified(desk)


# ---- what the broker says --------------------------------------------------------------------------------------------


def test_a_fee_of_the_brokers_file_is_put_right_and_the_file_changes_nothing_of_it(
    traded: CommandLine, database: Database, home: Path
):
    done(flow(traded, "INITIAL", "1000", "--at", EARLIER))
    fee = {
        "id": "20260105::f1", "account_id": "U-ib-1", "activity_type": "FEE", "date": "2026-01-05",
        "net_amount": "-5", "description": "data", "status": "executed",
    }  # fmt: skip
    path = file(home, json.dumps([fee]), "alpaca.json")
    words = ("ledger", "import", path, "--format", "alpaca", "--account", "ib-1", "--bot", "momo-1", "--history")
    assert done(traded(*words)).json["result"]["fees_new"] == 1
    assert figures(traded)["account_fees"] == "5"
    made = recorded(flow(traded, "FEE", "3", "--replaces", "2", "--note", "the broker's mail"))
    assert (made["external_id"], made["replaces"]) == (None, 2)
    again = done(traded(*words)).json["result"]
    assert (again["fees_new"], again["fees_known"]) == (0, 1)
    assert figures(traded)["account_fees"] == "3"
    # What the file says is compared with what the file said, not with what took its place.
    file(home, json.dumps([fee | {"net_amount": "-3"}]), "alpaca.json")
    error = refused(traded(*words), 4, "LEDGER_CONFLICT")
    assert "fee '20260105::f1' is known as FEE momo-1 5 USD" in error["message"]

    taken = refused(flow(traded, "FEE", "2", "--replaces", "3", "--external-id", fee["id"]), 4, "LEDGER_CONFLICT")
    assert "stays with flow 2: leave --external-id away" in " ".join(taken["next_steps"])
    at = next(f["at"] for f in listed(traded)["flows"] if f["id"] == 2)
    done(flow(traded, "FEE", "2", "--replaces", "3", "--external-id", "20260105::f2", "--at", at))
    file(home, json.dumps([fee, fee | {"id": "20260105::f2", "net_amount": "-2"}]), "alpaca.json")
    assert done(traded(*words)).json["result"]["fees_known"] == 2
    assert figures(traded)["account_fees"] == "2"
    done(flow(traded, "FEE", "0", "--replaces", "4"))
    file(home, json.dumps([fee]), "alpaca.json")
    assert done(traded(*words)).json["result"]["fees_known"] == 1
    assert figures(traded)["account_fees"] == "0"
    assert counts(database)["capital_flows"] == 5
    verified(traded)


def test_a_known_id_of_the_brokers_is_there_and_says_what_took_its_place(desk: CommandLine):
    first = recorded(flow(desk, "DEPOSIT", "7", "--external-id", "W1"))
    done(flow(desk, "DEPOSIT", "8", "--replaces", str(first["id"])))
    again = recorded(flow(desk, "DEPOSIT", "7", "--external-id", "W1"))
    assert again == first | {"effect": "EXISTS", "replaced_by": 2}
    other = refused(flow(desk, "DEPOSIT", "9", "--external-id", "W1"), 4, "LEDGER_CONFLICT")
    assert "with `--replaces 2`, without --external-id, puts it right" in other["next_steps"][0]
    # Said of another flow, it is not the same act: that one would count on.
    third = recorded(flow(desk, "DEPOSIT", "9"))
    borrowed = flow(desk, "DEPOSIT", "7", "--external-id", "W1", "--replaces", str(third["id"]))
    assert "capital flow 1 stands there" in refused(borrowed, 4, "LEDGER_CONFLICT")["message"]
    link(desk, ("idle-3",), "ib-1")
    others = refused(flow(desk, "DEPOSIT", "7", "--external-id", "W1", bot="idle-3"), 4, "LEDGER_CONFLICT")
    assert others["next_steps"] == ["The id 'W1' stays with flow 1: leave --external-id away, or give another."]


# ---- the list --------------------------------------------------------------------------------------------------------


@pytest.mark.operation("ledger flows")
def test_flows_are_listed_newest_first_with_what_took_whose_place(desk: CommandLine):
    assert listed(desk) == {"flows": [], "total": 0, "not_listed": 0}
    done(desk("account", "unlink", "momo-1"))
    link(desk, ("momo-1",), "ib-2")
    done(flow(desk, "INITIAL", "25000.5", "--at", EARLIER))
    done(flow(desk, "DEPOSIT", "7", "--external-id", "W1", "--note", "the second tranche"))
    done(flow(desk, "INITIAL", "26000", "--at", EARLIER, "--replaces", "1"))
    done(flow(desk, "DEPOSIT", "0", "--at", AT, "--replaces", "2"))
    done(flow(desk, "INITIAL", "5", "--at", LATER, account="ib-2"))
    found = listed(desk)
    assert [(f["id"], f["amount"], f["replaces"], f["replaced_by"]) for f in found["flows"]] == [
        (5, "5", None, None), (4, "0", 2, None), (2, "7", None, 4), (3, "26000", 1, None), (1, "25000.5", None, 3),
    ]  # fmt: skip
    second = found["flows"][2]
    assert (second["kind"], second["currency"], second["at"]) == ("DEPOSIT", "USD", AT)
    assert (second["note"], second["external_id"], second["account_id"]) == ("the second tranche", "W1", "ib-1")
    assert "@" in second["actor"]
    assert len(second["trace_id"]) == 32
    assert [f["id"] for f in listed(desk, "--account", "ib-2")["flows"]] == [5]
    cut = listed(desk, "--limit", "2")
    assert ([f["id"] for f in cut["flows"]], cut["total"], cut["not_listed"]) == ([5, 4], 5, 3)
    assert listed(desk, bot="carry-2")["total"] == 0
    refused(desk("ledger", "flows", "nobody"), 3, "BOT_NOT_FOUND")
    refused(desk("ledger", "flows", "momo-1", "--account", "ib-9"), 3, "ACCOUNT_NOT_FOUND")
    refused(desk("ledger", "flows", "momo-1", "--limit", "0"), 2, "INVALID_REQUEST")


def test_a_person_sees_the_flows_in_80_columns(desk: CommandLine):
    done(flow(desk, "INITIAL", "1250000.25"))
    done(flow(desk, "INITIAL", "1350000.25", "--replaces", "1"))
    told = done(desk("ledger", "flows", "momo-1", "--limit", "1", "--output", "table")).stdout.splitlines()
    assert told[0].split() == ["ID", "AT", "KIND", "AMOUNT", "CURRENCY", "REPLACES", "REPLACED", "BY", "ACCOUNT", "ID"]
    assert max(map(len, told)) <= 80
    assert told[1].split() == ["2", "2026-01-05", "INITIAL", "1350000.25", "USD", "1", "-", "ib-1"]
    assert told[2].split() == ["15:00:00Z"]
    assert "not listed: 1" in told


def test_what_replaces_what_is_bound_to_the_log(desk: CommandLine, database: Database):
    done(flow(desk, "DEPOSIT", "5"))
    done(flow(desk, "DEPOSIT", "6"))
    done(flow(desk, "DEPOSIT", "7", "--replaces", "1"))
    verified(desk)
    tamper(database, "UPDATE capital_flows SET replaces_id = 2 WHERE id = 3")
    assert "capital_flows" in broken(desk)[1]
