"""Accounts as an operator and a token's owner see them: registry, links, limits, events, scope."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.accounts.desk import REASON, account_events, desk, over_http, state
from tests.http.desk import answer, problem
from tests.kill.fleet import WHY, done, entries, instance, refused, verified
from tests.support.accounts import LIMITS, add_account, link, options

if TYPE_CHECKING:
    from tests.support.commandline import CommandLine
    from tests.support.database import Database

NEW = ("--broker", "ibkr", "--external-id", "U1", "--environment", "paper", "--currency", "USD")
STORED = {name: int(value) if name == "max_orders_per_minute" else value for name, value in LIMITS.items()}


@pytest.mark.operation("account add", "account list")
def test_an_account_is_registered_once(cli: CommandLine, database: Database):
    for user in ("alice", "bob"):
        done(cli("user", "add", user))
    made = done(cli("account", "add", "ib-1", "--user", "alice", *NEW, *REASON)).json
    assert made["result"] == {
        "id": "ib-1", "user_id": "alice", "broker": "ibkr", "external_id": "U1", "environment": "paper",
        "currency": "USD", "long_only": False, "status": "OPEN", "effect": "CREATED",
    }  # fmt: skip
    again = done(cli("account", "add", "ib-1", "--user", "alice", *NEW)).json["result"]
    assert again == made["result"] | {"effect": "EXISTS"}
    add_account(cli, "ib-2", "bob")
    listed = done(cli("account", "list")).json["result"]["accounts"]
    assert [(row["id"], row["user_id"], row["bots"]) for row in listed] == [("ib-1", "alice", 0), ("ib-2", "bob", 0)]
    assert [row["id"] for row in done(cli("account", "list", "--user", "bob")).json["result"]["accounts"]] == ["ib-2"]
    refused(cli("account", "list", "--user", "carol"), 3, "USER_NOT_FOUND")
    done(cli("currency", "add", "USDT", "--places", "6"))
    add_account(cli, "venue-1", "bob", currency="USDT")
    entry = entries(database)[2]
    assert (entry["action"], entry["what"]["target"], entry["what"]["reason"]) == (
        "account add", {"account": "ib-1"}, REASON[1],
    )  # fmt: skip
    assert account_events(database) == []
    verified(cli)


def test_an_account_that_is_never_short_says_so_and_stays_so(cli: CommandLine):
    done(cli("user", "add", "alice"))
    made = done(cli("account", "add", "ib-1", "--user", "alice", *NEW, "--long-only")).json["result"]
    assert made["long_only"] is True
    assert done(cli("account", "show", "ib-1")).json["result"]["long_only"] is True
    again = done(cli("account", "add", "ib-1", "--user", "alice", *NEW, "--long-only")).json["result"]
    assert again["effect"] == "EXISTS"
    error = refused(cli("account", "add", "ib-1", "--user", "alice", *NEW), 4, "ALREADY_EXISTS")
    assert "another long_only" in error["message"]


@pytest.mark.operation("account link", "account unlink", "account show", "account events")
def test_a_link_from_its_beginning_to_its_end(cli: CommandLine, database: Database):
    desk(cli)
    exponents = LIMITS | {"max_position_value": "5e5", "max_daily_loss": "2500.500"}
    linked = done(cli("account", "link", "a1", "ib-a", *options(exponents), *REASON)).json
    result = linked["result"]
    assert {name: result[name] for name in LIMITS} == STORED, "exact, in canonical form"
    assert (result["bot_id"], result["account_id"], result["effect"]) == ("a1", "ib-a", "LINKED")
    assert (result["link_id"], result["event_id"]) == (1, 1)

    shown = done(cli("account", "show", "ib-a")).json["result"]
    assert [(row["bot_id"], row["link_id"]) for row in shown["links"]] == [("a1", 1)]
    assert shown["bots"] == 1
    assert {row["limit"]: str(row["value"]) for row in shown["limits"]} == LIMITS
    assert all(row["in_range"] for row in shown["limits"])
    refused(cli("account", "show", "ib-x"), 3, "ACCOUNT_NOT_FOUND")

    ended = done(cli("account", "unlink", "a1", *REASON)).json
    assert (ended["result"]["effect"], ended["result"]["account_id"]) == ("UNLINKED", "ib-a")
    again = done(cli("account", "link", "a1", "ib-a2", *options())).json["result"]
    assert again["link_id"] == 2

    side = {"account": "ib-a", **STORED}
    told = [(e["action"], e["before"], e["after"], e["link_id"], e["reason"]) for e in account_events(database)]
    assert told == [
        ("LINK", None, side, 1, REASON[1]),
        ("UNLINK", side, None, 1, REASON[1]),
        ("LINK", None, side | {"account": "ib-a2"}, 2, None),
    ]
    listed = done(cli("account", "events")).json["result"]["events"]
    assert [(event["id"], event["action"], event["after"]) for event in listed] == [
        (3, "LINK", side | {"account": "ib-a2"}), (2, "UNLINK", None), (1, "LINK", side),
    ]  # fmt: skip
    assert [e["id"] for e in done(cli("account", "events", "ib-a", "--limit", "1")).json["result"]["events"]] == [2]
    refused(cli("account", "events", "ib-x"), 3, "ACCOUNT_NOT_FOUND")
    for act in (linked, ended):
        entry = entries(database)[act["audit"]["seq"] - 1]
        assert entry["what"]["target"] == {"account": "ib-a", "bot": "a1", "link": 1}
        assert (entry["what"]["before"], entry["what"]["after"]) == ((None, side) if act is linked else (side, None))
        assert entry["events"]["broker_account_events"]["count"] == 1
    verified(cli)


@pytest.mark.operation("account limits")
def test_a_change_of_limits_is_an_event_with_before_and_after(cli: CommandLine, database: Database):
    desk(cli)
    link(cli, ["a1"], "ib-a")
    changed = done(cli("account", "limits", "a1", "--max-contracts", "3", "--max-daily-loss", "1000.25", *REASON))
    result = changed.json["result"]
    assert result["effect"] == "CHANGED"
    assert result["changes"] == [
        {"limit": "max_contracts", "before": "5", "after": "3"},
        {"limit": "max_daily_loss", "before": "2500.5", "after": "1000.25"},
    ]
    before, after = (
        {"account": "ib-a", **STORED, **part} for part in ({}, {"max_contracts": "3", "max_daily_loss": "1000.25"})
    )
    event = account_events(database)[-1]
    assert (event["action"], event["before"], event["after"]) == ("LIMITS_CHANGED", before, after)
    assert done(cli("account", "events", "--limit", "1")).json["result"]["events"][0]["what"] == (
        "max_contracts 5 -> 3, max_daily_loss 2500.5 -> 1000.25"
    )
    same = done(cli("account", "limits", "a1", "--max-contracts", "3.0")).json
    assert (same["result"]["effect"], same["result"]["changes"], same["result"]["event_id"]) == ("UNCHANGED", [], None)
    assert same["audit"] is not None
    assert len(account_events(database)) == 2
    error = refused(cli("account", "limits", "a1"), 2, "INVALID_REQUEST")
    assert "name at least one limit" in error["message"]
    done(cli("kill", "a1", *WHY))
    done(cli("account", "limits", "a1", "--max-contracts", "1"))  # before it may trade again
    verified(cli)


def test_a_guard_without_a_link_is_no(cli: CommandLine):
    desk(cli)
    link(cli, ["a1", "a2"], "ib-a")
    for bot, code in (("a1", 0), ("a2", 0), ("a3", 1)):
        assert cli("guard", bot).code == code
    assert cli("guard", "a3").json["result"]["reasons"] == ["NOT_LINKED: bot a3 has no open link to an account"]
    assert len(done(cli("guard", "a1")).json["result"]["not_checked"]) == 1
    done(cli("account", "unlink", "a1"))
    assert cli("guard", "a1").code == 1


# ---- over HTTP -------------------------------------------------------------------------------------------------


def test_the_routes_do_what_the_commands_do(cli: CommandLine, database: Database):
    desk(cli)
    with over_http(cli, "alice") as ask:
        body: dict[str, Any] = {"account": "ib-a", "reason": REASON[1], **STORED}
        linked = answer(ask("POST", "/api/bots/a1/account-link", body, {"Idempotency-Key": "k1"}))
        assert (linked["operation"], linked["result"]["effect"]) == ("account link", "LINKED")
        assert {name: linked["result"][name] for name in LIMITS} == STORED
        again = answer(ask("POST", "/api/bots/a1/account-link", body, {"Idempotency-Key": "k1"}))
        assert (again["replayed"], again["result"]) == (True, linked["result"])
        tried = answer(ask("DELETE", "/api/bots/a1/account-link?dry_run=true"))
        assert (tried["dry_run"], tried["audit"]) == (True, None)
        unlinked = answer(ask("DELETE", "/api/bots/a1/account-link"))
        assert unlinked["result"]["effect"] == "UNLINKED"
        whole = {**STORED, "max_contracts": 5, "max_position_value": 500_000, "max_order_qty": 2}
        answer(ask("POST", "/api/bots/a1/account-link", {"account": "ib-a", **whole}))
        answer(ask("DELETE", "/api/bots/a1/account-link", {"reason": REASON[1]}))
        events = answer(ask("GET", "/api/accounts/ib-a/events"))
        assert events["result"] == done(cli("account", "events", "ib-a")).json["result"]
        assert [event["actor"] for event in events["result"]["events"]] == ["alice"] * 4
        assert len(answer(ask("GET", "/api/accounts/ib-a/events?limit=1"))["result"]["events"]) == 1
        problem(ask("GET", "/api/accounts/ib-a/events?account=ib-b"), 422, "INVALID_REQUEST")
        problem(ask("DELETE", "/api/bots/a1/account-link", {"bot": "a2"}), 422, "INVALID_REQUEST")
        problem(ask("POST", "/api/bots/a1/account-link"), 400, "MALFORMED_BODY")
    assert [e["reason"] for e in account_events(database)] == [REASON[1], None, None, REASON[1]]
    assert {(e["action"], e["what"]["channel"]) for e in entries(database)[-4:]} == {
        ("account link", "http"), ("account unlink", "http"),
    }  # fmt: skip
    verified(cli)


def test_a_token_s_owner_sees_and_links_only_what_is_its_own(cli: CommandLine, database: Database):
    desk(cli)
    link(cli, ["b1"], "ib-b")
    refused(cli("account", "link", "b2", "ib-a", *options()), 6, "CROSS_USER_LINK")
    refused(
        cli("account", "add", "x", "--user", "bob", *NEW[:2], "--external-id", "U-ib-a", *NEW[4:]), 6, "ACCOUNT_HELD"
    )
    before = state(database)
    with over_http(cli, "alice") as ask:
        for verb, path, body in (
            ("POST", "/api/bots/b2/account-link", {"account": "ib-b", **STORED}),
            ("DELETE", "/api/bots/b1/account-link", {}),
        ):
            error = problem(ask(verb, path, body), 404, "BOT_NOT_FOUND")
            assert "did you mean a" in error["message"], "only the owner's own bots are offered"
        body = problem(ask("GET", "/api/accounts/ib-b/events"), 404, "ACCOUNT_NOT_FOUND")
        unknown = problem(ask("GET", "/api/accounts/ib-x/events"), 404, "ACCOUNT_NOT_FOUND")
        assert body["message"].replace("ib-b", "ib-x") == unknown["message"]
        problem(ask("POST", "/api/bots/a1/account-link", {"account": "ib-b", **STORED}), 404, "ACCOUNT_NOT_FOUND")
        problem(ask("POST", "/api/bots/a1/account-link", {"account": "ib-a"}), 422, "RISK_SETTINGS_MISSING")
        refused(cli("account", "link", "a1", "ib-a"), 5, "RISK_SETTINGS_MISSING")
        answer(ask("POST", "/api/bots/a1/account-link", {"account": "ib-a", **STORED}))
        own = answer(ask("GET", "/api/accounts/ib-a/events"))["result"]["events"]
    seen = [(event["action"], event["bot_id"], event["actor"]) for event in own]
    assert seen == [("LINK", "a1", "alice"), ("REFUSED", "a1", "alice")], "nothing that somebody else was refused"
    with over_http(cli, "bob") as ask:
        theirs = answer(ask("GET", "/api/accounts/ib-b/events"))["result"]["events"]
    assert [(event["action"], event["bot_id"]) for event in theirs] == [("LINK", "b1")]
    everything = done(cli("account", "events", "ib-a")).json["result"]["events"]
    assert [event["error_code"] for event in everything] == [
        None, "RISK_SETTINGS_MISSING", "RISK_SETTINGS_MISSING", "ACCOUNT_HELD", "CROSS_USER_LINK",
    ]  # fmt: skip
    now = state(database)
    assert now["account_links"] != before["account_links"]
    assert now["broker_accounts"] == before["broker_accounts"]
    verified(cli)


# ---- for people ------------------------------------------------------------------------------------------------


def test_tables_fit_eighty_columns_and_say_what_a_person_asks(cli: CommandLine):
    desk(cli)
    link(cli, ["a1", "a2"], "ib-a")
    instance(cli, "a1")
    done(cli("account", "limits", "a2", "--max-contracts", "3", "--reason", "[red]tighter[/] " + "word " * 30))
    refused(cli("account", "unlink", "a1"), 4, "INSTANCE_RUNNING")
    said = {
        words: done(cli("account", *words, "--output", "table")).stdout
        for words in (("list",), ("show", "ib-a"), ("events",), ("limits", "a2", "--max-contracts", "4"))
    }
    for text in said.values():
        lines = [line for line in text.splitlines() if not line.startswith(("trace ", "audit seq "))]
        assert max(map(len, lines)) <= 80, text
    assert "BOT ID  LIMIT" in said["show", "ib-a"]
    assert "max_contracts 5 -> 3" in said["events",]
    assert "[red]tighter[/]" in said["events",]
    assert "max_contracts  3       4" in said["limits", "a2", "--max-contracts", "4"]
