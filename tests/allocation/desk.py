"""A desk whose bots have traded: everything through the command line, so that the audit log knows all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.allocation.work import policy_text
from tests.instruments.work import a_session, text
from tests.kill.fleet import done, fleet
from tests.support.accounts import add_account, link

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.commandline import CommandLine, Run
    from tests.support.database import Database

AS_OF = "2026-03-01T00:00:00Z"
CAPITAL = ("--capital", "1000", "--currency", "USD")
#: Points of each closed trade of ES (50 USD a point). Profit factors: 2, 3, 0.5.
RESULTS = {"a1": ("10", "10", "-10"), "a2": ("20", "10", "-10"), "a3": ("10", "-10", "-10")}
_HEADER = "venue_trade_id,executed_at,symbol,exchange,asset_class,side,quantity,price,fee,fee_currency\n"


def desk(cli: CommandLine, *bots: str) -> None:
    """Alice's bots (a1, a2 and a3, or those named) have traded on ib-a since January; bob's have not."""
    fleet(cli)
    a_session(cli)
    done(cli("instrument", "load", "-", stdin=text({})))
    add_account(cli, "ib-a", "alice")
    for bot in bots or RESULTS:
        link(cli, [bot], "ib-a")
        start(cli, bot)
        trade(cli, bot, RESULTS[bot])


def start(cli: CommandLine, bot: str, account: str = "ib-a", currency: str = "USD") -> None:
    """Record the capital that a bot starts with."""
    words = ("--kind", "INITIAL", "--amount", "10000", "--currency", currency, "--at", "2026-01-02T00:00:00Z")
    done(cli("ledger", "flow", bot, "--account", account, *words))


def trade(
    cli: CommandLine, bot: str, results: Sequence[str], *, account: str = "ib-a", first: int = 1, month: str = "01"
) -> None:
    """Import a closed trade for each result, an hour long, one a day from the fifth of the month on."""
    rows = []
    for number, points in enumerate(results, first):
        price = str(4000 + float(points)).removesuffix(".0")
        for side, at, hour in (("BUY", "4000", 15), ("SELL", price, 16)):
            day = f"2026-{month}-{4 + number:02}T{hour}:00:00Z"
            rows.append(f"{bot}-{month}-{number}-{side},{day},ES,CME,future,{side},1,{at},0,USD\n")
    words = ("--format", "csv", "--account", account, "--bot", bot, "--history")
    done(cli("ledger", "import", "-", *words, stdin=_HEADER + "".join(rows)))


def run(cli: CommandLine, *words: str, policy: str | None = None, **how: Any) -> Run:
    """Allocate: by a policy of profit factors that limits nothing, unless another one is given."""
    given = {} if "--policy" in words else {"stdin": policy or policy_text()}
    named = () if "--policy" in words else ("--policy", "-")
    capital = () if "--capital" in words else CAPITAL
    as_of = () if "--as-of" in words else ("--as-of", AS_OF)
    return cli("allocation", "run", *capital, *as_of, *named, *words, **given, **how)


def result(found: Run) -> dict[str, Any]:
    """Return what a run answered."""
    made: dict[str, Any] = done(found).json["result"]
    return made


def amounts(found: dict[str, Any]) -> dict[str, str]:
    """Return bot → amount."""
    return {line["bot_id"]: line["amount"] for line in found["lines"]}


def reasons(found: dict[str, Any]) -> dict[str, str | None]:
    """Return bot → reason."""
    return {line["bot_id"]: line["reason"] for line in found["lines"]}


def proven(cli: CommandLine, run_id: int = 1) -> dict[str, Any]:
    """Insist that a run is proven."""
    found: dict[str, Any] = done(cli("allocation", "audit", str(run_id))).json["result"]
    assert (found["answer"], found["differences"], found["notes"]) == ("PROVEN", [], [])
    assert found["input_hash"] == found["recomputed_input_hash"]
    assert found["output_hash"] == found["recomputed_output_hash"]
    return found


def differs(cli: CommandLine, run_id: int = 1) -> list[str]:
    """Insist that a run is not proven; return its differences."""
    found = cli("allocation", "audit", str(run_id))
    assert (found.code, found.error["error_code"]) == (1, "ALLOCATION_DIFFERS"), found.stderr
    told = found.json["result"]
    assert told["answer"] == "DIFFERS"
    assert told["differences"][0] in found.error["message"]
    assert found.error["missing_requirements"] == told["differences"]
    differences: list[str] = told["differences"]
    return differences


def unguard(database: Database) -> None:
    """Take away what keeps runs as they are, and nothing else: what else is missing would fill the list of defects."""
    if database.kind == "postgresql":
        database.drop_triggers()
        return
    names = "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name LIKE 'allocation_%'"
    for (name,) in database.sql(names):
        database.sql(f'DROP TRIGGER "{name}"')


def tamper(database: Database, statement: str, *parameters: Any) -> None:
    """Change a row as a hostile administrator would."""
    database.drop_triggers()
    database.sql(statement, parameters)
