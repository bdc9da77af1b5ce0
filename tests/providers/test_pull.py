"""`ledger pull`: whole or not at all; a provider that fails in the middle, in each of six ways, over real sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from blaidctl.providers.rehearsal import Mode, Rehearsal
from tests.support.provider import ACCOUNT, BOT, PROVIDER, activity, bound, checks, done, fills, pull, state

if TYPE_CHECKING:
    from tests.support.commandline import CommandLine
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
        assert any(
            line.startswith(f"providers: {PROVIDER} of account") for line in incomplete.error["missing_requirements"]
        )

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
