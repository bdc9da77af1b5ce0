"""`allocation run` as the desk uses it: what it gives, what it writes, what it refuses."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from blaidctl.allocation import picture
from blaidctl.allocation.vocabulary import Method, Shipped
from tests.accounts.desk import REASON
from tests.allocation.desk import amounts, desk, proven, reasons, result, run, start, trade
from tests.allocation.work import policy_text
from tests.kill.fleet import BACK, WHY, done, dump, entries, refused, verified
from tests.support.accounts import add_account, link

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.commandline import CommandLine, ProcessCommandLine
    from tests.support.database import Database


@pytest.mark.operation("allocation run", "allocation show", "allocation list", "allocation audit")
def test_a_capital_is_divided_and_the_run_can_be_looked_at_and_proven(cli: CommandLine, database: Database):
    desk(cli)
    asked = ("--capital", "1000", "--currency", "USD", "--as-of", "2026-03-01T00:00:00Z", "--policy", "-", *REASON)
    answered = done(cli("allocation", "run", *asked, stdin=policy_text())).json
    found = answered["result"]
    assert amounts(found) == {"a1": "400", "a2": "600", "a3": "0", "b1": "0", "b2": "0"}
    assert [(line["weight"], line["share"]) for line in found["lines"][:3]] == [
        ("2/5", "40"), ("3/5", "60"), ("0", "0"),
    ]  # fmt: skip
    assert reasons(found) == {
        "a1": None, "a2": None, "a3": "the profit factor 0.5 is not above 1",
        "b1": "no fills up to as_of", "b2": "no fills up to as_of",
    }  # fmt: skip
    assert (found["allocated"], found["remainder"], found["remainder_reason"]) == ("1000", "0", None)
    assert found["source_tables"] == {
        "bots": 5, "capital_flows": 3, "fx_rates": 0, "instruments": 3, "ledger_imports": 9, "reversals": 0,
        "trades": 18,
    }  # fmt: skip
    metrics = found["lines"][0]["metrics"]
    assert (metrics["closed_trades"], metrics["wins"], metrics["losses"]) == (3, 2, 1)
    assert (metrics["profit"], metrics["loss"], metrics["profit_factor"]) == ("1000", "500", "2")
    assert (metrics["win_rate"], metrics["payoff_ratio"], metrics["kelly"]) == ("0.666666666667", "1", "0.333333333333")
    assert (metrics["days"], metrics["score"], metrics["undefined"]) == (54, "2", {})
    assert found["code_version"] == "0.1.0"
    assert set(found["conventions"]["ledger"]) >= {"lot_method", "equity_basis", "order", "rounding"}

    shown = done(cli("allocation", "show", "1")).json["result"]
    assert shown == found
    (head,) = done(cli("allocation", "list")).json["result"]["runs"]
    assert (head["run_id"], head["funded"], head["bots"], head["output_hash"]) == (1, 2, 5, found["output_hash"])
    told = done(cli("allocation", "audit", "1")).json["result"]
    assert (told["answer"], told["lines"], told["recomputed_output_hash"]) == ("PROVEN", 5, found["output_hash"])

    entry = entries(database)[answered["audit"]["seq"] - 1]
    assert (entry["action"], entry["what"]["target"], entry["what"]["reason"]) == (
        "allocation run", {"run": 1}, REASON[1],
    )  # fmt: skip
    assert {name: found["count"] for name, found in entry["events"].items()} == {
        "allocation_runs": 1, "allocation_lines": 5,
    }  # fmt: skip
    assert entry["what"]["after"] == {
        name: found[name]
        for name in ("capital", "currency", "excluded", "input_hash", "output_hash", "policy_sha256", "remainder")
    } | {"as_of": "2026-03-01T00:00:00.000000Z"}
    verified(cli)


def test_both_engines_give_the_same_bytes(cli: CommandLine, sqlite_database: Database, postgres_database: Database):
    found: list[dict[str, Any]] = []
    for database in (sqlite_database, postgres_database):
        cli.database = database
        desk(cli)
        found.append(result(run(cli, policy=policy_text(Method.INVERSE_DRAWDOWN, least_drawdown="0.01", cap="0.45"))))
        done(run(cli, policy=policy_text(Method.INVERSE_DRAWDOWN, least_drawdown="0.01", cap="0.45")))
        proven(cli)
        proven(cli, 2)
    one, other = (
        json.dumps({name: value for name, value in made.items() if name not in {"created_at", "trace_id"}})
        for made in found
    )
    assert one == other
    runs = done(cli("allocation", "list")).json["result"]["runs"]
    assert len({row["output_hash"] for row in runs}) == 1


def test_hash_seed_time_zone_and_locale_change_nothing(
    cli: CommandLine, process: ProcessCommandLine, sqlite_database: Database
):
    assert sqlite_database.kind == "sqlite"
    desk(cli)
    policy = policy_text(Method.INVERSE_DRAWDOWN, least_drawdown="0.01")
    hashes = {
        (found["input_hash"], found["output_hash"], json.dumps(found["lines"]))
        for seed, zone in (("0", "UTC"), ("1", "Asia/Kathmandu"), ("7", "America/New_York"), ("42", "Pacific/Apia"))
        for found in [result(run(process, "--dry-run", policy=policy, env={"PYTHONHASHSEED": seed, "TZ": zone}))]
    }
    assert len(hashes) == 1
    plain = result(run(cli, policy=policy))
    assert hashes == {(plain["input_hash"], plain["output_hash"], json.dumps(plain["lines"]))}


def test_one_tick_of_one_fill_is_another_input(cli: CommandLine, sqlite_database: Database, make_database: Any):
    del sqlite_database
    hashes = []
    for points in ("10", "10.25"):
        cli.database = make_database("sqlite")
        desk(cli, "a1")
        trade(cli, "a1", [points], month="02")
        found = result(run(cli, policy=policy_text(Method.EQUAL)))
        hashes.append((found["input_hash"], found["lines"][0]["input_hash"], found["lines"][0]["amount"]))
    (one, its_line, amount), (other, other_line, same_amount) = hashes
    assert amount == same_amount == "1000"
    assert one != other
    assert its_line != other_line


@pytest.mark.parametrize(
    "changed",
    [
        {"words": ("--capital", "1001", "--currency", "USD")},
        {"words": ("--capital", "1000", "--currency", "EUR"), "rate": True},
        {"words": ("--as-of", "2026-03-01T00:00:00.000001Z")},
        {"words": ("--exclude", "b1")},
        {"words": ("--account", "a1=ib-a")},
        {"policy": policy_text() + "# a comment\n"},
    ],
    ids=["capital", "currency", "as_of", "excluded", "account", "policy"],
)
def test_whatever_was_asked_for_is_part_of_the_input_hash(
    cli: CommandLine, sqlite_database: Database, changed: dict[str, Any]
):
    assert sqlite_database.kind == "sqlite"
    desk(cli, "a1")
    if changed.pop("rate", False):
        done(cli("ledger", "rate", "EUR", "USD", "1.1", "--at", "2026-03-01T00:00:00Z", "--source", "test"))
    words = changed.pop("words", ())
    plain, other = result(run(cli)), result(run(cli, *words, **changed))
    assert plain["input_hash"] != other["input_hash"]
    assert plain["input_hash"] == result(run(cli))["input_hash"], "the same question is the same input"


# ---- who gets nothing ----------------------------------------------------------------------------------------------


def test_a_killed_bot_gets_nothing_and_the_line_says_since_when_and_by_whom(cli: CommandLine):
    desk(cli)
    done(cli("kill", "a2", *WHY))
    found = result(run(cli))
    assert amounts(found) == {"a1": "1000", "a2": "0", "a3": "0", "b1": "0", "b2": "0"}
    reason = str(reasons(found)["a2"])
    assert reason.startswith("killed since 2")
    assert reason.endswith("(DRILL)")
    assert found["lines"][1]["metrics"] is None
    proven(cli)
    done(cli("resurrect", "a2", *BACK))
    assert amounts(result(run(cli)))["a2"] == "600", "killed neither now nor at as_of"
    proven(cli)
    proven(cli, 2)


def test_a_bot_that_was_killed_at_as_of_gets_nothing_although_it_lives_now(cli: CommandLine, database: Database):
    desk(cli)
    done(cli("kill", "a2", *WHY))
    ((at,),) = database.sql("SELECT created_at FROM kill_events")
    done(cli("resurrect", "a2", *BACK))
    found = result(run(cli, "--as-of", at if isinstance(at, str) else at.isoformat()))
    assert amounts(found)["a2"] == "0"
    assert str(reasons(found)["a2"]).startswith("was killed at as_of, since 2")
    proven(cli)


def test_a_kill_that_no_event_explains_counts_all_the_same(cli: CommandLine, database: Database):
    desk(cli)
    database.drop_triggers()
    database.sql("UPDATE bots SET killed_at = '2026-02-02T00:00:00.000000Z' WHERE id = 'a2'")
    found = result(run(cli))
    assert amounts(found)["a2"] == "0"
    assert reasons(found)["a2"] == ("killed since 2026-02-02T00:00:00.000000Z by its row; no kill event says by whom")
    proven(cli)


def test_too_little_history_gets_nothing(cli: CommandLine):
    desk(cli, "a1", "a2")
    trade(cli, "a2", ["10"], first=4)
    found = result(run(cli, policy=policy_text(Method.EQUAL, closed_trades=4, days=54)))
    assert amounts(found)["a2"] == "1000"
    assert reasons(found)["a1"] == "too little history: 3 closed trades of 4"
    found = result(run(cli, policy=policy_text(Method.EQUAL, days=55)))
    assert reasons(found)["a1"] == "too little history: 54 days of 55"
    assert (found["remainder"], found["remainder_reason"]) == ("1000", "no bot takes part")


def test_fills_behind_as_of_do_not_count(cli: CommandLine):
    desk(cli, "a1")
    assert reasons(result(run(cli, "--as-of", "2026-01-05T14:59:59Z")))["a1"] == "no fills up to as_of"


def test_a_bot_that_is_left_out_has_no_line_and_is_recorded(cli: CommandLine):
    desk(cli)
    found = result(run(cli, "--exclude", "a2", "--exclude", "b1", "--exclude", "a2"))
    assert amounts(found) == {"a1": "1000", "a3": "0", "b2": "0"}
    assert found["excluded"] == ["a2", "b1"]
    proven(cli)
    words = [word for bot in ("a1", "a2", "a3", "b1", "b2") for word in ("--exclude", bot)]
    refused(run(cli, *words), 3, "NOTHING_MATCHED")


# ---- incomplete ----------------------------------------------------------------------------------------------------


def test_one_incomplete_bot_refuses_the_whole_run_unless_it_is_left_out_by_name(cli: CommandLine, database: Database):
    desk(cli, "a1")
    link(cli, ["a2", "a3"], "ib-a")
    for bot in ("a2", "a3"):
        trade(cli, bot, ["10", "-5"])
    before = dump(database, without=("audit_log", "audit_head"))
    error = refused(run(cli), 4, "METRICS_INCOMPLETE")
    assert error["missing_requirements"] == [
        "bot a2: capital_flows: no INITIAL flow of a2 on ib-a",
        "bot a3: capital_flows: no INITIAL flow of a3 on ib-a",
    ]
    assert error["message"].startswith("2 of 5 bots are incomplete (a2, a3), so nobody gets anything")
    assert error["next_steps"][-1].endswith("--exclude a2 --exclude a3")
    assert dump(database, without=("audit_log", "audit_head")) == before
    assert entries(database)[-1]["outcome"] == "REFUSED"
    assert amounts(result(run(cli, "--exclude", "a2", "--exclude", "a3")))["a1"] == "1000"
    done(cli("kill", "a2", "a3", *WHY))
    assert amounts(result(run(cli)))["a1"] == "1000", "a killed bot is no candidate, whatever its ledger lacks"
    verified(cli)


def test_an_undefined_metric_refuses_when_the_policy_says_so(cli: CommandLine):
    desk(cli, "a1")
    link(cli, ["a2"], "ib-a")
    start(cli, "a2")
    trade(cli, "a2", ["10", "10"])
    assert reasons(result(run(cli)))["a2"] == "the profit factor is undefined: nothing was lost"
    error = refused(run(cli, policy=policy_text(undefined="REFUSE")), 4, "METRICS_INCOMPLETE")
    assert error["missing_requirements"] == ["bot a2: the profit factor is undefined: nothing was lost"]


def test_a_bot_with_fills_on_two_accounts_is_no_candidate_until_one_is_named(cli: CommandLine):
    desk(cli, "a1", "a2")
    done(cli("account", "unlink", "a2", *REASON))
    add_account(cli, "ib-a2", "alice")
    link(cli, ["a2"], "ib-a2")
    start(cli, "a2", "ib-a2")
    trade(cli, "a2", ["5", "-10"], account="ib-a2", month="02")
    error = refused(run(cli), 4, "METRICS_INCOMPLETE")
    assert error["missing_requirements"] == [
        "bot a2: account: it has fills on ib-a, ib-a2: name one, --account a2=ACCOUNT"
    ]
    assert amounts(result(run(cli, "--account", "a2=ib-a")))["a2"] == "600"
    found = result(run(cli, "--account", "a2=ib-a2"))
    assert (amounts(found)["a2"], found["lines"][1]["account_id"]) == ("0", "ib-a2")
    proven(cli)
    proven(cli, 2)
    refused(run(cli, "--account", "a2=ib-b"), 4, "METRICS_INCOMPLETE")
    refused(run(cli, "--account", "a2=ib-a", "--account", "a2=ib-a2"), 2, "INVALID_REQUEST")
    refused(run(cli, "--account", "zz=ib-a"), 3, "BOT_NOT_FOUND")
    refused(run(cli, "--account", "a2"), 2, "INVALID_REQUEST")


def test_an_account_in_another_currency_needs_the_day_s_rate_and_is_told_exactly(cli: CommandLine):
    desk(cli, "a1")
    for quote, value, at in (("USD", "1.10", "2026-02-28T23:59:59Z"), ("CHF", "0.9", "2026-03-01T00:00:00Z")):
        done(cli("ledger", "rate", "EUR", quote, value, "--at", at, "--source", "test"))
    words = ("--capital", "1000.01", "--currency", "EUR", "--as-of", "2026-03-01T12:00:00Z")
    error = refused(run(cli, *words), 4, "METRICS_INCOMPLETE")
    assert error["missing_requirements"] == ["bot a1: fx_rates: EUR → USD on 2026-03-01"]
    for value, at in (("1.2", "08"), ("1.08123", "11"), ("9.9", "13")):
        done(cli("ledger", "rate", "EUR", "USD", value, "--at", f"2026-03-01T{at}:00:00Z", "--source", "test"))
    found = result(run(cli, *words))
    (line, *_) = found["lines"]
    assert (line["amount"], line["metrics"]["account_currency"]) == ("1000.01", "USD")
    assert line["metrics"]["rate"] == {"at": "2026-03-01T11:00:00.000000Z", "rate": "1.08123"}
    assert line["metrics"]["account_amount"] == str(Decimal("1000.01") * Decimal("1.08123"))
    proven(cli)


# ---- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--capital", "0", "--currency", "USD"), "capital: 0 is not above zero"),
        (("--capital", "-5", "--currency", "USD"), "capital: -5 is not above zero"),
        (("--capital", "NaN", "--currency", "USD"), "capital: NaN is not a finite number"),
        (("--capital", "0.001", "--currency", "USD"), "capital: a whole number of minor units, 2 places at the most"),
        (("--capital", "10.5", "--currency", "JPY"), "capital: a whole number of minor units, 0 places at the most"),
        (("--capital", "10", "--currency", "XAU"), "currency: one with a minor unit"),
        (("--capital", "10", "--currency", "NIX"), "currency: a code of ISO 4217, or one that was declared"),
        (("--as-of", "2199-01-01T00:00:00Z"), "as_of: a moment that has passed"),
        (("--as-of", "2026-03-01T00:00:00"), "as_of: needs an offset or Z"),
    ],
)
def test_what_no_bot_could_mend_is_refused(cli: CommandLine, database: Database, words: tuple[str, ...], what: str):
    error = refused(run(cli, *words), 2, "INVALID_REQUEST")
    assert any(found.startswith(what) for found in error["missing_requirements"]), error
    assert database.sql("SELECT count(*) FROM allocation_runs") == [(0,)]


def test_the_minor_unit_of_a_declared_currency_is_the_declared_one(cli: CommandLine):
    desk(cli, "a1")
    done(cli("currency", "add", "USDT", "--places", "6"))
    done(cli("ledger", "rate", "USDT", "USD", "1", "--at", "2026-03-01T00:00:00Z", "--source", "test"))
    found = result(run(cli, "--capital", "0.000001", "--currency", "USDT"))
    assert amounts(found)["a1"] == "0.000001"
    refused(run(cli, "--capital", "0.0000001", "--currency", "USDT"), 2, "INVALID_REQUEST")


def test_an_unknown_bot_is_named_with_its_neighbour(cli: CommandLine, database: Database):
    desk(cli, "a1")
    error = refused(run(cli, "--exclude", "a9"), 3, "BOT_NOT_FOUND")
    assert "did you mean" in error["message"]
    assert entries(database)[-1]["what"]["error_code"] == "BOT_NOT_FOUND"


@pytest.mark.parametrize("name", Shipped)
def test_a_policy_that_ships_is_named(cli: CommandLine, sqlite_database: Database, name: str):
    assert sqlite_database.kind == "sqlite"
    desk(cli, "a1")
    found = result(run(cli, "--policy", name))
    assert found["policy_name"] == name
    assert found["policy_toml"].startswith("# ")
    assert str(reasons(found)["a1"]).startswith("too little history: 3 closed trades of ")
    proven(cli)


def test_a_policy_is_a_file_or_standard_input(cli: CommandLine, sqlite_database: Database, tmp_path: Path):
    assert sqlite_database.kind == "sqlite"
    desk(cli, "a1")
    file = tmp_path / "mine.toml"
    file.write_text(policy_text())
    named = result(run(cli, "--policy", str(file)))
    assert (named["policy_name"], named["policy_toml"]) == ("mine.toml", policy_text())
    piped = result(run(cli))
    assert (piped["policy_name"], piped["policy_sha256"]) == ("standard input", named["policy_sha256"])
    error = refused(run(cli, "--policy", "equals"), 2, "FILE_UNREADABLE")
    assert error["next_steps"] == [
        (
            "Give a file, `-` for standard input, or a policy that ships: equal, inverse-drawdown, profit-factor,"
            " fractional-kelly."
        )
    ]
    error = refused(run(cli, policy=policy_text() + "surprise = 1\n"), 2, "ALLOCATION_POLICY_INVALID")
    assert error["missing_requirements"] == ["profit_factor.surprise: there is no such key for PROFIT_FACTOR"]
    error = refused(run(cli, policy=policy_text(cap="1.5")), 2, "ALLOCATION_POLICY_INVALID")
    assert error["missing_requirements"] == ["weights.cap: 1.5 is not within above 0 up to 1"]
    for content, what in (
        (b"\x1f\x8b0000", "gzip"), (b"a = '\xff'\n", "UTF-8"), (b"#" * 20_000, "larger than 16384 bytes"),
    ):  # fmt: skip
        file.write_bytes(content)
        assert what in refused(run(cli, "--policy", str(file)), 2, "ALLOCATION_POLICY_INVALID")["message"]


def test_floors_of_more_than_the_capital_refuse_the_run(cli: CommandLine):
    desk(cli)
    error = refused(run(cli, policy=policy_text(Method.EQUAL, floor="0.4")), 2, "ALLOCATION_POLICY_INVALID")
    assert error["missing_requirements"] == ["the floor 0.4 for each of 3 bots is 1.2: over 1"]


# ---- how an act is done --------------------------------------------------------------------------------------------


def test_the_same_request_id_gives_the_first_run_back_unless_the_policy_changed(cli: CommandLine, database: Database):
    desk(cli, "a1")
    first = done(run(cli, "--request-id", "monthly")).json
    trade(cli, "a1", ["-5"], month="02")
    again = done(run(cli, "--request-id", "monthly")).json
    assert again["replayed"]
    assert again["result"] == first["result"]
    refused(run(cli, "--request-id", "monthly", policy=policy_text() + "# new\n"), 4, "REQUEST_ID_REUSED")
    assert database.sql("SELECT count(*) FROM allocation_runs") == [(1,)]


def test_a_dry_run_gives_everything_and_leaves_nothing(cli: CommandLine, database: Database):
    desk(cli, "a1")
    before = dump(database)
    found = done(run(cli, "--dry-run")).json
    assert found["dry_run"]
    assert amounts(found["result"])["a1"] == "1000"
    assert dump(database) == before


def test_an_old_checkpoint_refuses_an_allocation(cli: CommandLine):
    desk(cli, "a1")
    error = refused(run(cli, env={"BLAIDCTL_CHECKPOINT_MAX_AGE_S": "3600"}), 5, "CHECKPOINT_STALE")
    assert error["missing_requirements"] == ["a checkpoint of the audit log"]


def test_a_person_reads_it_on_80_columns_with_a_bar_for_each_share(cli: CommandLine, sqlite_database: Database):
    assert sqlite_database.kind == "sqlite"
    desk(cli)
    told = done(run(cli, "--output", "table")).stdout
    lines = told.splitlines()
    assert lines[0].split() == ["BOT", "ID", "SHARE", "AMOUNT", "REASON"]
    assert [line.split()[:4] for line in lines[1:3]] == [
        ["a1", "40", "████████", "400"], ["a2", "60", "████████████", "600"],
    ]  # fmt: skip
    assert lines[3].split(maxsplit=3) == ["a3", "0", "0", "the profit factor 0.5 is not above 1"]
    done(cli("kill", "a2", *WHY))
    told += done(run(cli, "--output", "table")).stdout
    assert max(len(line) for line in told.splitlines() if "hash" not in line and "entry" not in line) <= 80
    assert "remainder: 0" in lines
    assert "as of: 2026-03-01 00:00:00Z" in lines
    csv = done(cli("allocation", "show", "1", "--output", "csv")).stdout.splitlines()
    assert csv[:2] == ["bot_id,share,amount,reason", "a1,40,400,"]


def test_a_long_id_takes_the_room_of_the_bars(cli: CommandLine, sqlite_database: Database):
    assert sqlite_database.kind == "sqlite"
    desk(cli, "a1")
    done(cli("bot", "add", "a" * 40, "--user", "alice"))
    told = done(run(cli, "--output", "table")).stdout
    assert "a" * 40 in told
    assert "█" not in told


def test_a_bar_is_as_long_as_its_share_and_never_gone():
    assert [picture.bar(Decimal(share), Decimal(80)) for share in ("80", "40", "5", "0.0001", "0")] == [
        "█" * 12, "█" * 6, "▊", "▏", "",
    ]  # fmt: skip
    assert picture.bar(Decimal(40), Decimal(80), " #") == "######"
