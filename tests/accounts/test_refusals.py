"""What is refused, why, on both entrances: the right code, one REFUSED event, and nothing else written."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from blaidctl.accounts.policy import SHIPPED
from blaidctl.core.decimals import text_of
from tests.accounts.desk import RANGES, REASON, account_events, desk, over_http, state
from tests.http.desk import problem
from tests.kill.fleet import WHY, done, entries, instance, refused, verified
from tests.support.accounts import LIMITS, add_account, link, options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.commandline import CommandLine
    from tests.support.database import Database

POLICY = hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
STEP = {name: Decimal(1) if name == "max_orders_per_minute" else Decimal("1e-18") for name in RANGES}
#: error code → exit code, HTTP status: the contract's, written down once more.
CODES = {
    "RISK_SETTINGS_MISSING": (5, 422),
    "LIMIT_OUT_OF_RANGE": (5, 422),
    "BOT_KILLED": (5, 422),
    "ALREADY_LINKED": (4, 409),
    "NOT_LINKED": (4, 409),
    "ACCOUNT_CLOSED": (4, 409),
    "INSTANCE_RUNNING": (4, 409),
    "ACCOUNT_NOT_FOUND": (3, 404),
    "BOT_NOT_FOUND": (3, 404),
    "CROSS_USER_LINK": (6, 403),
    "ACCOUNT_HELD": (6, 403),
    "ALREADY_EXISTS": (4, 409),
    "USER_NOT_FOUND": (3, 404),
}


def outside(limit: str, end: int) -> str:
    """Return the value next to an end of the range, outside."""
    return text_of(Decimal(RANGES[limit][end]) + (STEP[limit] if end else -STEP[limit]))


def body_of(limits: Mapping[str, str], account: str) -> dict[str, Any]:
    """Return limits as a program sends them."""
    numbers = {name: int(value) if name == "max_orders_per_minute" else value for name, value in limits.items()}
    return {"account": account, "reason": REASON[1], **numbers}


class Matrix:
    """One refusal, asked for over both entrances; everything that it leaves behind is looked at."""

    def __init__(self, cli: CommandLine, database: Database) -> None:
        self.cli, self.database = cli, database

    def link(
        self, error_code: str, limits: Mapping[str, str] = LIMITS, bot: str = "a1", account: str = "ib-a", **http: str
    ) -> dict[str, Any]:
        """Ask for a link; `http` names another error code there, where a token's owner sees less."""
        asked = {"account": account, "bot": bot, **_canonical(limits)}
        with over_http(self.cli, "alice") as ask:
            path = f"/api/bots/{bot}/account-link"
            code = http.get("http", error_code)
            self._refused(
                lambda: problem(ask("POST", path, body_of(limits, account)), CODES[code][1], code), code, asked, "alice"
            )
        words = ("account", "link", bot, account, *options(limits), *REASON)
        return self._refused(lambda: refused(self.cli(*words), CODES[error_code][0], error_code), error_code, asked)

    def unlink(self, error_code: str, bot: str = "a1") -> dict[str, Any]:
        """Ask for the end of a link."""
        with over_http(self.cli, "alice") as ask:
            path = f"/api/bots/{bot}/account-link"
            body = {"reason": REASON[1]}
            self._refused(
                lambda: problem(ask("DELETE", path, body), CODES[error_code][1], error_code), error_code, {"bot": bot},
                "alice",
            )  # fmt: skip
        return self.cli_only(error_code, {"bot": bot}, "unlink", bot)

    def cli_only(self, error_code: str, asked: dict[str, Any], *words: str) -> dict[str, Any]:
        """Ask for what HTTP does not offer."""
        run = lambda: refused(self.cli("account", *words, *REASON), CODES[error_code][0], error_code)  # noqa: E731
        return self._refused(run, error_code, asked)

    def _refused(self, act: Any, error_code: str, asked: dict[str, Any], actor: str | None = None) -> dict[str, Any]:
        before, events, links = state(self.database), len(account_events(self.database)), self._open_link(asked)
        error: dict[str, Any] = act()
        assert state(self.database) == before, "nothing else is written"
        *_, event = found = account_events(self.database)
        assert len(found) == events + 1
        assert (event["action"], event["error_code"], event["link_id"]) == ("REFUSED", error_code, None)
        assert (event["before"], event["after"]) == (links, asked)
        assert (event["reason"], event["message"], event["policy_sha256"]) == (REASON[1], error["message"], POLICY)
        entry = entries(self.database)[-1]
        assert (entry["outcome"], entry["what"]["error_code"]) == ("REFUSED", error_code)
        assert entry["events"]["broker_account_events"]["count"] == 1
        assert (entry["act_id"], entry["trace_id"]) == (event["act_id"], error["trace_id"])
        assert event["actor"] == entry["actor"]
        assert event["trace_id"] == error["trace_id"]
        assert actor in {None, event["actor"]}
        return error | {"event": event}

    def _open_link(self, asked: Mapping[str, Any]) -> dict[str, Any] | None:
        names = ("account_id", *LIMITS)
        rows = self.database.sql(
            f"SELECT {', '.join(names)} FROM account_links WHERE bot_id = ? AND unlinked_at IS NULL",
            (asked.get("bot", ""),),
        )
        if not rows:
            return None
        values = [text_of(value) if isinstance(value, Decimal) else value for value in rows[0]]
        return dict(zip(("account", *LIMITS), values, strict=True))


def _canonical(limits: Mapping[str, str]) -> dict[str, Any]:
    return {name: int(value) if name == "max_orders_per_minute" else value for name, value in limits.items()}


@pytest.fixture
def matrix(cli: CommandLine, database: Database) -> Matrix:
    desk(cli)
    return Matrix(cli, database)


@pytest.mark.parametrize("absent", [[name] for name in LIMITS] + [list(LIMITS)], ids=lambda names: "+".join(names)[:24])
def test_a_link_without_a_limit_is_refused_and_every_missing_one_is_named(matrix: Matrix, absent: list[str]):
    error = matrix.link("RISK_SETTINGS_MISSING", {k: v for k, v in LIMITS.items() if k not in absent})
    named = error["missing_requirements"]
    assert [line.partition(":")[0] for line in named] == absent
    assert all(f"{RANGES[name][0]} to {RANGES[name][1]}" in line for name, line in zip(absent, named, strict=True))
    verified(matrix.cli)


@pytest.mark.parametrize("end", [0, 1], ids=["least", "most"])
@pytest.mark.parametrize("limit", LIMITS)
def test_each_end_of_a_range_is_inside_and_what_lies_next_to_it_is_not(matrix: Matrix, limit: str, end: int):
    bad = outside(limit, end)
    error = matrix.link("LIMIT_OUT_OF_RANGE", LIMITS | {limit: bad})
    (line,) = error["missing_requirements"]
    assert line.startswith(f"{limit}: {bad} is not within {RANGES[limit][0]} to {RANGES[limit][1]}")
    inside = RANGES[limit][end]
    done(matrix.cli("account", "link", "a1", "ib-a", *options(LIMITS | {limit: inside})))
    asked = {"bot": "a1", **_canonical({limit: bad})}
    matrix.cli_only("LIMIT_OUT_OF_RANGE", asked, "limits", "a1", *options({limit: bad}))
    ((stored,),) = matrix.database.sql(f"SELECT {limit} FROM account_links")
    assert Decimal(str(stored)) == Decimal(inside)
    verified(matrix.cli)


@pytest.mark.parametrize("value", ["0", "-1", "-0.5"])
def test_nothing_and_less_than_nothing_is_out_of_range(matrix: Matrix, value: str):
    bad = {name: value if name != "max_orders_per_minute" else "0" for name in LIMITS}
    error = matrix.link("LIMIT_OUT_OF_RANGE", bad)
    assert [line.partition(":")[0] for line in error["missing_requirements"]] == list(LIMITS), "all of them at once"


def test_an_account_of_another_user_is_forbidden_and_over_http_unknown(matrix: Matrix):
    error = matrix.link("CROSS_USER_LINK", account="ib-b", http="ACCOUNT_NOT_FOUND")
    assert "user alice" in error["message"]
    assert "user bob" in error["message"]
    assert [event["account_id"] for event in account_events(matrix.database)] == ["ib-b", "ib-b"]
    with over_http(matrix.cli, "alice") as ask:
        unknown = ask("POST", "/api/bots/a1/account-link", body_of(LIMITS, "ib-x")).json()
        others = ask("POST", "/api/bots/a1/account-link", body_of(LIMITS, "ib-b")).json()
    assert others["message"] == unknown["message"].replace("ib-x", "ib-b"), "nothing tells that it is there"


def test_what_another_user_holds_cannot_be_registered(matrix: Matrix, cli: CommandLine):
    asked = {
        "id": "mine", "user": "bob", "broker": "ibkr", "external_id": "U-ib-a", "environment": "live",
        "currency": "USD", "long_only": False,
    }  # fmt: skip
    words = ("--broker", "ibkr", "--external-id", "U-ib-a", "--environment", "live", "--currency", "USD")
    error = matrix.cli_only("ACCOUNT_HELD", asked, "add", "mine", "--user", "bob", *words)
    assert "held by user alice (ib-a)" in error["message"]
    assert error["event"]["account_id"] == "ib-a", "the holder's history shows the attempt"
    asked |= {"user": "alice"}
    twice = matrix.cli_only("ALREADY_EXISTS", asked, "add", "mine", "--user", "alice", *words)
    assert "registered as ib-a" in twice["message"]
    asked |= {"id": "ib-a"}
    other = matrix.cli_only("ALREADY_EXISTS", asked, "add", "ib-a", "--user", "alice", *words)
    assert "another environment" in other["message"]
    asked |= {"user": "nobody"}
    matrix.cli_only("USER_NOT_FOUND", asked, "add", "ib-a", "--user", "nobody", *words)
    verified(cli)


def test_a_killed_bot_gets_no_link(matrix: Matrix):
    done(matrix.cli("kill", "a1", *WHY))
    assert "is killed since" in matrix.link("BOT_KILLED")["message"]
    verified(matrix.cli)


@pytest.mark.parametrize("account", ["ib-a", "ib-a2"])
def test_a_second_link_is_refused_also_to_the_same_account(matrix: Matrix, account: str):
    link(matrix.cli, ["a1"], "ib-a")
    assert "linked to account ib-a since" in matrix.link("ALREADY_LINKED", account=account)["message"]
    assert matrix.database.sql("SELECT count(*) FROM account_links") == [(1,)]
    verified(matrix.cli)


def test_a_closed_account_gets_no_link(matrix: Matrix):
    matrix.database.sql("UPDATE broker_accounts SET status = 'CLOSED' WHERE id = 'ib-a'")
    matrix.link("ACCOUNT_CLOSED")


def test_what_is_not_there_is_named_and_recorded(matrix: Matrix):
    error = matrix.link("BOT_NOT_FOUND", bot="a9")
    assert error["missing_requirements"] == ["bot a9"]
    assert error["event"]["bot_id"] is None
    error = matrix.link("ACCOUNT_NOT_FOUND", account="ib-aa")
    assert error["message"].startswith("no account 'ib-aa' (did you mean ib-a")
    assert (error["event"]["bot_id"], error["event"]["account_id"]) == ("a1", None)
    matrix.unlink("BOT_NOT_FOUND", bot="a9")
    matrix.unlink("NOT_LINKED")
    matrix.cli_only("NOT_LINKED", {"bot": "a1", "max_contracts": "3"}, "limits", "a1", "--max-contracts", "3")
    verified(matrix.cli)


@pytest.mark.parametrize("status", ["RUNNING", "STARTING"])
def test_a_link_does_not_end_while_an_instance_runs(matrix: Matrix, cli: CommandLine, status: str):
    link(cli, ["a1"], "ib-a")
    number = instance(cli, "a1", running=status == "RUNNING")
    error = matrix.unlink("INSTANCE_RUNNING")
    assert f"instance {number} is {status}" in error["missing_requirements"][0]
    assert error["event"]["account_id"] == "ib-a"
    done(cli("kill", "a1", *WHY))
    done(cli("account", "unlink", "a1"))
    verified(cli)


def test_a_run_on_another_account_than_the_linked_one_is_refused(matrix: Matrix, cli: CommandLine):
    on_another = ("bot", "run", "a1", "--account", "ib-a2", "--", "/bin/true")
    assert "linked to no account" in refused(cli(*on_another), 4, "NOT_LINKED")["message"]
    instance(cli, "a1")
    link(cli, ["a1"], "ib-a")
    assert "linked to account ib-a, not to 'ib-a2'" in refused(cli(*on_another), 4, "NOT_LINKED")["message"]
    instance(cli, "a1")
    instance(cli, "a1", account="ib-a")
    accounts = matrix.database.sql("SELECT account_id FROM bot_instances ORDER BY id")
    assert accounts == [(None,), ("ib-a",), ("ib-a",)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"max_contracts": "NaN"}, "not a finite number"),
        ({"max_daily_loss": "-Infinity"}, "not a finite number"),
        ({"max_position_value": "1_000"}, "not a decimal number"),
        ({"max_order_qty": "0.0000000000000000001"}, "decimal places"),
        ({"max_position_value": "1e400"}, "digits before the point"),
        ({"max_order_qty": "\uff11"}, "not a decimal number"),
        ({"max_drawdown_pct": ""}, "not a decimal number"),
        ({"max_orders_per_minute": "9007199254740993"}, "less than or equal to"),
    ],
    ids=str,
)
def test_what_is_no_number_is_bad_input_on_both_entrances(
    sqlite_database: Database, cli: CommandLine, change: dict[str, str], said: str
):
    desk(cli)
    before = state(sqlite_database)
    error = refused(cli("account", "link", "a1", "ib-a", *options(LIMITS | change)), 2, "INVALID_REQUEST")
    assert said in error["message"]
    with over_http(cli, "alice") as ask:
        path = "/api/bots/a1/account-link"
        same = problem(ask("POST", path, body_of(LIMITS | change, "ib-a")), 422, "INVALID_REQUEST")
        assert same["missing_requirements"] == error["missing_requirements"]
        inexact = body_of(LIMITS, "ib-a") | {"max_daily_loss": 0.5}
        assert (
            "not exact" in problem(ask("POST", "/api/bots/a1/account-link", inexact), 422, "INVALID_REQUEST")["message"]
        )
    assert state(sqlite_database)["account_links"] == before["account_links"] == []
    assert account_events(sqlite_database) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("external-id", "U 1"),
        ("external-id", " U1"),
        ("external-id", "Ü1"),
        ("external-id", ""),
        ("broker", "IBKR"),
        ("currency", "usd"),
        ("currency", "DOLLAR!"),
        ("currency", "USX"),
        ("currency", "XXX"),
        ("environment", "demo"),
    ],
)
def test_an_account_has_one_spelling(sqlite_database: Database, cli: CommandLine, name: str, value: str):
    desk(cli)
    values = {"broker": "ibkr", "external-id": "U1", "environment": "paper", "currency": "USD"} | {name: value}
    words = [word for key, text in values.items() for word in (f"--{key}", text)]
    assert cli("account", "add", "x-1", "--user", "alice", *words).code == 2
    assert sqlite_database.sql("SELECT count(*) FROM broker_accounts") == [(3,)]
    add_account(cli, "x-1", "alice")


def test_a_refusal_may_be_done_later_under_its_request_id(cli: CommandLine, database: Database):
    desk(cli)
    once = ("--request-id", "ticket-7")
    incomplete = ("account", "link", "a1", "ib-a", "--max-contracts", "5")
    for _ in range(2):
        refused(cli(*incomplete, *once), 5, "RISK_SETTINGS_MISSING")
    made = done(cli("account", "link", "a1", "ib-a", *options(), *once)).json
    assert done(cli("account", "link", "a1", "ib-a", *options(), *once)).json["replayed"] is True
    refused(cli(*incomplete, *once), 4, "REQUEST_ID_REUSED")
    events = account_events(database)
    assert [event["error_code"] for event in events] == [
        "RISK_SETTINGS_MISSING", "RISK_SETTINGS_MISSING", None, "REQUEST_ID_REUSED",
    ]  # fmt: skip
    assert len({event["act_id"] for event in events}) == 4
    assert made["result"]["event_id"] == 3
    verified(cli)


def test_a_dry_run_refuses_and_records_nothing(cli: CommandLine, database: Database):
    desk(cli)
    refused(cli("account", "link", "a1", "ib-a", "--dry-run"), 5, "RISK_SETTINGS_MISSING")
    tried = done(cli("account", "link", "a1", "ib-a", *options(), "--dry-run")).json
    assert (tried["dry_run"], tried["audit"]) == (True, None)
    assert account_events(database) == []
    assert database.sql("SELECT count(*) FROM account_links") == [(0,)]
