"""`ledger pull`: whole or not at all; a provider that fails in the middle, in each of six ways, over real sockets."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import freezegun
import pytest

from blaidctl.ledger import spool
from blaidctl.providers.rehearsal import Mode, Rehearsal
from tests.kill.fleet import dump, operate
from tests.support.provider import (
    ACCOUNT,
    BOT,
    PROVIDER,
    activity,
    add,
    bound,
    checks,
    desk,
    done,
    fill,
    fills,
    pull,
    state,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.commandline import CommandLine, ProcessCommandLine
    from tests.support.database import Database


def _ids(database: Database) -> list[str]:
    return [row[0] for row in database.sql("SELECT venue_trade_id FROM trades ORDER BY venue_trade_id")]


def _initial(cli: CommandLine) -> None:
    flow = ("--account", ACCOUNT, "--kind", "INITIAL", "--amount", "100000", "--currency", "USD")
    done(cli("ledger", "flow", BOT, *flow, "--at", "2026-01-05T00:00:00Z"))


def _metrics(cli: CommandLine):
    return cli("ledger", "metrics", BOT, "--account", ACCOUNT)


@pytest.mark.operation("ledger pull", "ledger pull part")
def test_a_pull_takes_every_page_and_the_next_one_goes_on_from_there(database: Database, cli: CommandLine):
    with Rehearsal(fills(5)) as provider:
        bound(cli, provider)
        first = done(pull(cli)).json["result"]
        assert (first["rows_read"], first["rows_new"], first["pages"], first["more"]) == (5, 5, 3, False)
        assert _ids(database) == [f"v{n:06}" for n in range(5)]
        provider.fills = fills(8)
        provider.asked.clear()
        second = done(pull(cli)).json["result"]
        # What stands on the last page of the first pull is read again, and known.
        assert (second["rows_new"], second["rows_known"]) == (3, 1)
        assert next(path for path in provider.asked if "/fills" in path) == "/fills?cursor=at-4"
        assert len(_ids(database)) == 8
        assert (cli("audit", "verify").code, state(cli)) == (0, "OK")
        imports = database.sql("SELECT format, provider_id, rows_new FROM ledger_imports ORDER BY id")
        assert imports == [("paged", PROVIDER, 5), ("paged", PROVIDER, 3)]
        acts = [entry["action"] for entry in cli("audit", "tail", "--limit", "1000").json["result"]["entries"]]
        assert (acts.count("ledger pull part"), acts.count("ledger pull failed")) == (2, 0)


@pytest.mark.operation("ledger pull failed")
@pytest.mark.parametrize("mode", Mode)
def test_a_provider_that_fails_in_the_middle_leaves_nothing_and_stops_everything(
    database: Database, cli: CommandLine, mode: Mode
):
    with Rehearsal(fills(6)) as provider:
        bound(cli, provider)
        provider.fills = fills(2)
        done(pull(cli))
        _initial(cli)
        done(_metrics(cli))
        provider.fills = fills(6)
        assert done(cli("guard", BOT)).json["result"]["answer"] == "MAY_TRADE"

        provider.fail(mode, page=2)
        failed = pull(cli)
        assert (failed.code, failed.error["error_code"], failed.stdout) == (8, "PROVIDER_DEGRADED", "")
        assert _REASONS[mode] in failed.error["message"]
        assert _ids(database) == ["v000000", "v000001"]
        assert state(cli) == "DEGRADED"
        no = cli("guard", BOT)
        assert no.code == 1
        assert [reason.partition(":")[0] for reason in no.json["result"]["reasons"]] == [
            "PROVIDER_DEGRADED",
            "PULL_FAILED",
        ]
        incomplete = _metrics(cli)
        assert (incomplete.code, incomplete.error["error_code"]) == (4, "METRICS_INCOMPLETE")
        (line,) = incomplete.error["missing_requirements"]
        assert line.startswith(f"providers: {PROVIDER} of account")

        provider.recover()
        assert pull(cli).code == 8, "one good look is not enough to be OK again"
        assert checks(cli, 1) == [(0, "OK")]
        assert cli("guard", BOT).code == 1, "the fills are unread still"
        assert _metrics(cli).code == 4
        provider.asked.clear()
        again = done(pull(cli)).json["result"]
        assert (again["rows_new"], again["rows_known"]) == (4, 2)
        assert next(path for path in provider.asked if "/fills" in path) == "/fills"
        assert done(cli("guard", BOT)).json["result"]["answer"] == "MAY_TRADE"
        done(_metrics(cli))
        assert cli("audit", "verify").code == 0


_REASONS = {
    Mode.REFUSED: "REFUSED", Mode.HANGS: "TIMEOUT", Mode.ERROR_500: "HTTP_STATUS", Mode.BAD_JSON: "BAD_JSON",
    Mode.STALE: "STALE", Mode.PARTIAL: "PARTIAL",
}  # fmt: skip


def test_alpaca_s_activities_are_read_behind_the_last_id(database: Database, cli: CommandLine):
    activities = [activity(number) for number in range(5)]
    with Rehearsal(activities=activities) as provider:
        bound(cli, provider, kind="alpaca")
        first = done(pull(cli, "--exchange", "CME", "--no-fee")).json["result"]
        assert (first["rows_new"], first["pages"]) == (5, 4)
        provider.activities = [activity(number) for number in range(6)]
        provider.asked.clear()
        second = done(pull(cli, "--exchange", "CME", "--no-fee")).json["result"]
        assert (second["rows_new"], second["rows_known"]) == (1, 0)
        assert f"page_token={activities[-1]['id'].replace(':', '%3A')}" in provider.asked[1]
        assert len(_ids(database)) == 6


def test_more_moves_than_one_pull_takes_are_several_pulls(
    database: Database, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(spool, "MOST_MOVES", 3)
    splits = [activity(number) | {"activity_type": "SPLIT"} for number in range(8)]
    with Rehearsal(activities=splits) as provider:
        bound(cli, provider, kind="alpaca")
        told = done(pull(cli, "--exchange", "CME", "--no-fee")).json["result"]
        assert (told["moved"], told["pulls"] > 1, told["more"]) == (8, True, False)
    assert database.sql("SELECT count(*) FROM ledger_events WHERE event = 'POSITION_MOVED'") == [(8,)]


# ---- what is refused -----------------------------------------------------------------------------------------


def _reasons(cli: CommandLine) -> list[str]:
    return [reason.partition(":")[0] for reason in cli("guard", BOT).json["result"]["reasons"]]


def test_fills_that_cannot_be_booked_leave_the_provider_well_and_the_bot_stopped(database: Database, cli: CommandLine):
    with Rehearsal([*fills(3), fill(3, symbol="NO-SUCH")]) as provider:
        bound(cli, provider)
        refused = pull(cli)
        assert (refused.code, refused.error["error_code"]) == (2, "ROWS_REFUSED")
        assert "NO-SUCH" in refused.stderr
        assert (_ids(database), state(cli)) == ([], "OK")
        assert _reasons(cli) == ["PULL_FAILED"]
        (event,) = cli("provider", "events", "--limit", "1").json["result"]["events"]
        assert (event["event"], event["reason_code"], event["account_id"]) == ("PULL_FAILED", "ROWS_REFUSED", ACCOUNT)
        (seen,) = [check for check in cli("doctor").json["result"]["checks"] if check["check"] == "providers"]
        assert seen["verdict"] == "FINDING"
        assert f"account {ACCOUNT} from {PROVIDER} (ROWS_REFUSED)" in seen["detail"]
        provider.fills = fills(4)
        done(pull(cli))
        assert (_reasons(cli), len(_ids(database))) == ([], 4)
        assert cli("audit", "verify").code == 0


def test_numbers_wait_for_fills_that_could_not_be_booked(database: Database, cli: CommandLine):
    del database
    with Rehearsal(fills(2)) as provider:
        bound(cli, provider)
        done(pull(cli))
        _initial(cli)
        done(_metrics(cli))
        provider.fills = [*fills(3), fill(3, symbol="NO-SUCH")]
        assert pull(cli).code == 2
        (line,) = _metrics(cli).error["missing_requirements"]
        assert line.startswith(f"providers: the last pull of account {ACCOUNT} from {PROVIDER} failed at ")
        assert line.endswith("are unread (PULL_FAILED)")
        # Numbers of a time before the pull that went through stand, and unbinding makes no unread fill read.
        done(cli("ledger", "metrics", BOT, "--account", ACCOUNT, "--as-of", "2026-01-06T00:00:00Z"))
        done(cli("provider", "unbind", PROVIDER, ACCOUNT))
        assert _metrics(cli).code == 4
        done(cli("provider", "bind", PROVIDER, ACCOUNT))
        provider.fills = fills(4)
        done(pull(cli))
        done(_metrics(cli))


def test_a_known_fill_with_other_content_is_a_conflict_and_nothing_is_written(database: Database, cli: CommandLine):
    with Rehearsal(fills(2)) as provider:
        bound(cli, provider)
        done(pull(cli))
        provider.fills = [fill(0, price="1.25"), *fills(3, first=1)]
        again = pull(cli)
        assert (again.code, len(_ids(database))) == (4, 2)
        assert _reasons(cli) == ["PULL_FAILED"]


def test_only_a_bound_account_is_pulled_from_a_provider_that_has_fills(database: Database, cli: CommandLine):
    desk(cli)
    with Rehearsal(fills(2)) as provider:
        add(cli, provider)
        add(cli, provider, kind="http", name="probe-only")
        done(cli("provider", "bind", "probe-only", ACCOUNT))
        for name in (PROVIDER, "probe-only"):
            run = cli("ledger", "pull", "--provider", name, "--account", ACCOUNT)
            assert (run.code, run.error["error_code"]) == (4, "PROVIDER_NOT_BOUND")
        for name, account in (("nobody", ACCOUNT), (PROVIDER, "nobody")):
            assert cli("ledger", "pull", "--provider", name, "--account", account).code == 3
        assert provider.asked == []
    assert _ids(database) == []


@pytest.mark.parametrize("down", ["error_500", "refused"])
def test_nothing_is_asked_of_a_provider_whose_probe_fails(database: Database, cli: CommandLine, down: str):
    with Rehearsal(fills(2)) as provider:
        bound(cli, provider)
        provider.fail(down)
        provider.asked.clear()
        assert [pull(cli).error["error_code"] for _ in range(3)] == ["PROVIDER_DEGRADED"] * 2 + ["PROVIDER_BLOCKED"]
        assert not [path for path in provider.asked if "/fills" in path]
    assert _ids(database) == []


def test_a_dry_run_writes_nothing(database: Database, cli: CommandLine):
    with Rehearsal(fills(3)) as provider:
        bound(cli, provider)
        before = dump(database)
        tried = done(pull(cli, "--dry-run")).json
        assert (tried["dry_run"], tried["result"]["rows_new"]) == (True, 3)
        provider.fail("bad_json", page=2)
        assert pull(cli, "--dry-run").code == 8
        assert dump(database) == before


def test_the_place_and_the_rows_are_one_transaction(sqlite_database: Database, cli: CommandLine):
    with Rehearsal(fills(3)) as provider:
        bound(cli, provider)
        sqlite_database.sql(
            "CREATE TRIGGER no_place BEFORE UPDATE ON pull_cursors BEGIN SELECT RAISE(ABORT, 'no place'); END"
        )
        assert pull(cli).code != 0
        assert (_ids(sqlite_database), sqlite_database.sql("SELECT count(*) FROM ledger_imports")) == ([], [(0,)])
        sqlite_database.sql("DROP TRIGGER no_place")
        assert done(pull(cli)).json["result"]["rows_new"] == 3


def test_two_pulls_at_once_book_every_fill_once(database: Database, process: ProcessCommandLine):
    with Rehearsal(fills(9)) as provider:
        bound(process, provider)
        with ThreadPoolExecutor(2) as pool:
            codes = sorted(run.code for run in pool.map(lambda _: pull(process), range(2)))
        assert codes in ([0, 0], [0, 4]), "the slower one is told that the other was quicker, or finds everything known"
        assert len(_ids(database)) == 9
        assert process("audit", "verify").code == 0


def test_what_is_too_long_for_one_pull_is_several_whole_ones(
    database: Database, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("blaidctl.ledger.imports.PART_ROWS", 4)
    with Rehearsal(fills(11)) as provider:
        bound(cli, provider)
        provider.fail("error_500", page=5)
        cut = pull(cli)
        assert (cut.code, "8 fill(s) of 2 whole pull(s) before STAY" in cut.error["message"]) == (8, True)
        assert len(_ids(database)) == 8
        provider.recover()
        checks(cli, 2)
        rest = done(pull(cli)).json["result"]
        assert (rest["rows_new"], rest["pulls"], len(_ids(database))) == (3, 1, 11)
        assert cli("audit", "verify").code == 0


def test_a_fill_after_the_kill_is_kept_and_said(database: Database, cli: CommandLine):
    with Rehearsal(fills(1)) as provider:
        bound(cli, provider)
        with freezegun.freeze_time("2026-01-05T00:00:00Z"):
            done(cli("kill", BOT, "--reason-code", "DRILL", "--reason", "x"))
        run = pull(cli)
        assert (run.code, run.error["error_code"], run.json["result"]["after_kill"]) == (1, "FILL_AFTER_KILL", 1)
        assert len(_ids(database)) == 1


# ---- numbers -------------------------------------------------------------------------------------------------


def test_numbers_over_an_outage_wait_for_the_fills_that_may_be_missing(database: Database, cli: CommandLine):
    del database
    with Rehearsal(fills(2)) as provider:
        bound(cli, provider)
        done(pull(cli))
        _initial(cli)
        done(_metrics(cli))
        provider.fail("hangs")
        checks(cli, 1)
        assert _metrics(cli).code == 4
        provider.recover()
        checks(cli, 2)
        assert state(cli) == "OK"
        (line,) = _metrics(cli).error["missing_requirements"]
        assert line.startswith(f"providers: {PROVIDER} of account {ACCOUNT} was DEGRADED from ")
        # Numbers of a time before the outage stand.
        done(cli("ledger", "metrics", BOT, "--account", ACCOUNT, "--as-of", "2026-01-06T00:00:00Z"))
        done(pull(cli))
        done(_metrics(cli))


def test_where_a_provider_has_no_fills_an_import_closes_the_gap(
    sqlite_database: Database, cli: CommandLine, tmp_path: Path
):
    del sqlite_database
    file = tmp_path / "fills.ndjson"
    file.write_text("".join(json.dumps(one) + "\n" for one in fills(2)))
    words = ("ledger", "import", str(file), "--format", "ndjson", "--account", ACCOUNT, "--bot", BOT, "--history")
    with Rehearsal() as provider:
        bound(cli, provider, kind="http")
        done(cli(*words))
        _initial(cli)
        done(_metrics(cli))
        provider.fail("error_500")
        checks(cli, 1)
        provider.recover()
        checks(cli, 2)
        assert _metrics(cli).code == 4
        file.write_text("".join(json.dumps(one) + "\n" for one in fills(3)))
        done(cli(*words))
        done(_metrics(cli))


# ---- the rehearsal -------------------------------------------------------------------------------------------


def test_the_rehearsal_is_a_program_that_fails_on_command(
    tmp_path: Path, database: Database, process: ProcessCommandLine
):
    given = tmp_path / "fills.json"
    given.write_text(json.dumps({"fills": fills(4)}))
    command = [sys.executable, "-m", "blaidctl.providers.rehearsal", str(given)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin
        assert server.stdout

        def say(words: str) -> dict[str, object]:
            assert server.stdin
            assert server.stdout
            server.stdin.write(words + "\n")
            server.stdin.flush()
            return json.loads(server.stdout.readline())  # type: ignore[no-any-return]

        urls = json.loads(server.stdout.readline())
        desk(process)
        limits = ("--check-url", urls["check"], "--fills-url", urls["fills"], "--attempts", "1")
        done(process("provider", "add", PROVIDER, "--kind", "paged", *limits))
        done(process("provider", "check", PROVIDER))
        done(process("provider", "bind", PROVIDER, ACCOUNT))
        assert say("fail nonsense")["done"] is False
        assert say("fail partial 2")["done"] is True
        assert (pull(process).code, _ids(database)) == (8, [])
        assert say("recover")["done"] is True
        for _ in range(3):
            process("provider", "check", PROVIDER)
        assert done(pull(process)).json["result"]["rows_new"] == 4
        server.stdin.close()
        assert server.wait(timeout=10) == 0


# ---- what happens while pages are read -----------------------------------------------------------------------


class _Meanwhile(list[Any]):
    """Fills; when the second page is asked for, something happens first."""

    def __init__(self, found: list[Any], what: Callable[[], object]) -> None:
        super().__init__(found)
        self.what: list[Callable[[], object]] = [what]

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice) and key.start == 2 and self.what:
            self.what.pop()()
        return super().__getitem__(key)


@pytest.mark.parametrize(
    ("operation", "request_", "code", "error"),
    [
        ("provider transition", {"provider": PROVIDER, "failure": "STALE", "detail": "x"}, 8, "PROVIDER_DEGRADED"),
        ("provider unbind", {"provider": PROVIDER, "account": ACCOUNT}, 4, "PROVIDER_NOT_BOUND"),
    ],
    ids=["it is degraded", "the account is unbound"],
)
def test_what_changes_while_pages_are_read_is_seen_before_anything_is_written(  # noqa: PLR0917 - two are fixtures
    database: Database, cli: CommandLine, operation: str, request_: dict[str, str], code: int, error: str
):
    with Rehearsal(fills(4)) as provider:
        bound(cli, provider)
        provider.fills = _Meanwhile(fills(4), lambda: operate(cli, operation, request_))
        run = pull(cli)
        assert (run.code, run.error["error_code"]) == (code, error)
        assert (_ids(database), database.sql("SELECT count(*) FROM ledger_imports")) == ([], [(0,)])
        assert cli("audit", "verify").code == 0


def test_a_pull_that_another_one_overtook_writes_nothing(database: Database, cli: CommandLine):
    with Rehearsal(fills(4)) as provider:
        bound(cli, provider)
        quicker = "UPDATE pull_cursors SET pulls = pulls + 1"
        begin = f"INSERT INTO pull_cursors (provider_id, account_id, pulls) VALUES ('{PROVIDER}', '{ACCOUNT}', 0)"
        database.sql(begin)
        provider.fills = _Meanwhile(fills(4), lambda: database.sql(quicker))
        run = pull(cli)
        assert (run.code, run.error["error_code"]) == (4, "CURSOR_MOVED")
        assert _ids(database) == []
