"""Figures over HTTP: the token's own bots, and 409 where the command line says 4."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.http.desk import answer, problem, same_as_cli
from tests.ledger.desk import AS_OF, NET, figures, metrics, whole

if TYPE_CHECKING:
    from tests.http.desk import Desk
    from tests.support.commandline import CommandLine
    from tests.support.database import Database


def test_a_token_reads_the_figures_of_its_own_bots(served: Desk, cli: CommandLine, database: Database):
    whole(database, bot="a1")
    asked = {"as_of": AS_OF, "by_day": "true", "lot_method": "AVERAGE", "account": "ib-1"}
    body = answer(served.alice.get("/api/bots/a1/metrics", params=asked))
    assert (body["operation"], body["result"]["net"]) == ("ledger metrics", NET)
    assert body["result"] == figures(metrics(cli, "--by-day", "--lot-method", "AVERAGE", bot="a1"))
    problem(served.bob.get("/api/bots/a1/metrics"), 404, "BOT_NOT_FOUND")
    problem(served.nobody.get("/api/bots/a1/metrics"), 401, "UNAUTHENTICATED")
    problem(served.alice.get("/api/bots/a1/metrics", params={"as_of": "2026-01-01"}), 422, "INVALID_REQUEST")
    problem(served.bob.get("/api/bots/b1/metrics", params={"account": "ib-1"}), 404, "ACCOUNT_NOT_FOUND")


def test_what_is_missing_is_409_with_every_row(served: Desk, cli: CommandLine, database: Database):
    whole(database, bot="a1")
    database.drop_triggers()
    database.sql("DELETE FROM fx_rates")
    response = served.alice.get("/api/bots/a1/metrics", params={"as_of": AS_OF})
    assert len(problem(response, 409, "METRICS_INCOMPLETE")["missing_requirements"]) == 2
    same_as_cli(response, metrics(cli, bot="a1"))
