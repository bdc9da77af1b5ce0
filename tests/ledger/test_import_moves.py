"""The world moves between the check of a file and its last part: each part looks again, and says what it found."""

from __future__ import annotations

import dataclasses
import os
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from blaidctl.core import command, errors
from blaidctl.ledger import imports
from blaidctl.ledger.fills import Fill, Refusal, Skipped
from blaidctl.ledger.terms import Terms
from blaidctl.ledger.vocabulary import Side
from tests.kill.fleet import WHY, done, verified
from tests.ledger.work import counts, ledger_desk, now, rows, stored, take, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.commandline import CommandLine
    from tests.support.database import Database

TERMS = Terms(account="ib-1", bot="momo-1", format="paged", source_name="a provider", repeats=True)


def a_fill(number: int, **changes: Any) -> Fill:
    """Return a fill as a provider gives it, some seconds from now."""
    values: dict[str, Any] = {
        "line": number, "account": None, "bot": None, "instance": None, "exchange": "CME", "symbol": "ES",
        "asset_class": None, "side": Side.BUY, "quantity": Decimal(1), "price": Decimal("6870.25"), "fee": None,
        "fee_currency": None, "executed_at": datetime.now(UTC).replace(microsecond=number) + timedelta(seconds=30),
        "venue_trade_id": f"P{number}", "order_id": None, "reverses": None, "reported_pnl": None, "currency": None,
        "exact": True, **changes,
    }  # fmt: skip
    return Fill(**values)


def pull(
    cli: CommandLine, records: list[Any], between: Callable[[], None] = lambda: None, **how: Any
) -> imports.Stored:
    """Store records as `ledger pull` does; `between` happens once, after the first part."""
    happened: list[int] = []

    def progress(what: str, _total: int) -> Callable[[int], None]:
        def told(_done: int) -> None:
            if what == "writing fills" and not happened:
                happened.append(1)
                between()

        return told

    with mock.patch.dict(os.environ, cli.environment(), clear=True):
        ctx = dataclasses.replace(command.make_context(), progress=progress)
        try:
            with imports.Intake(ctx, how.pop("terms", TERMS)) as intake:
                for record in records:
                    intake.add(record)
                return imports.store(ctx, intake, sha256="a" * 64, **how)
        finally:
            ctx.database.close()


@pytest.fixture
def desk(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    ledger_desk(cli)
    monkeypatch.setattr(imports, "PART_ROWS", 2)
    return cli


def test_a_kill_between_two_parts_flags_what_comes_after_it(desk: CommandLine, database: Database):
    found = pull(desk, [a_fill(n) for n in range(1, 5)], lambda: done(desk("kill", "momo-1", *WHY)) and None)
    assert (found.rows_new, found.after_kill) == (4, {"momo-1": 2})
    assert stored(database, "venue_trade_id, after_kill") == [("P1", 0), ("P2", 0), ("P3", 1), ("P4", 1)]
    verified(desk)


def test_a_link_that_ends_between_two_parts_refuses_the_second_and_says_what_stays(
    desk: CommandLine, database: Database
):
    records = [a_fill(n) for n in range(1, 5)]
    with pytest.raises(errors.UnlinkedFill) as caught:
        pull(desk, records, lambda: done(desk("account", "unlink", "momo-1")) and None)
    assert "before that 1 of 2 part(s) with 2 fill(s) were written, which STAY" in caught.value.message
    assert [line.partition(":")[0] for line in caught.value.missing] == ["line 3", "line 4"]
    assert stored(database) == [("P1",), ("P2",)]
    assert counts(database)["ledger_events"] == 1
    verified(desk)


def test_an_instrument_that_goes_out_of_use_between_two_parts_refuses_the_second(desk: CommandLine, database: Database):
    with pytest.raises(errors.RowsRefused, match="CME ES future was out of use"):
        pull(
            desk,
            [a_fill(n) for n in range(1, 5)],
            lambda: done(desk("instrument", "deactivate", "ES", "--exchange", "CME")) and None,
        )
    assert stored(database) == [("P1",), ("P2",)]


def test_somebody_elses_fill_under_the_same_id_between_two_parts_is_a_conflict(
    desk: CommandLine, database: Database, home: Path
):
    path = write(home, rows({"venue_trade_id": "P3", "executed_at": now()}))
    with pytest.raises(errors.LedgerConflict, match="fill 'P3' is known as trade 3 of import 2"):
        pull(desk, [a_fill(n) for n in range(1, 5)], lambda: done(take(desk, path)) and None)
    assert stored(database) == [("P1",), ("P2",), ("P3",)]
    verified(desk)


def test_a_source_that_repeats_itself_gives_each_fill_once(desk: CommandLine, database: Database):
    same = a_fill(1)
    found = pull(desk, [same, a_fill(2), dataclasses.replace(same, line=9), Skipped(10, "an order")])
    assert (found.rows_read, found.rows_new, found.skipped) == (4, 2, 2)
    assert stored(database) == [("P1",), ("P2",)]
    other = dataclasses.replace(same, line=9, price=Decimal(1))
    with pytest.raises(errors.LedgerConflict):
        pull(desk, [same, other])
    with pytest.raises(errors.RowsRefused, match="is wrong"):
        pull(desk, [Refusal(1, ("is wrong",))])


def test_a_dry_run_sees_reversals_of_what_an_earlier_part_would_have_written(desk: CommandLine, database: Database):
    back = {"reverses": "P1", "side": Side.SELL}
    records = [a_fill(1), a_fill(2), a_fill(3), a_fill(4, **back)]
    assert pull(desk, records, dry_run=True).rows_new == 4
    assert counts(database) == dict.fromkeys(counts(database), 0)
    assert pull(desk, records).rows_new == 4
    verified(desk)


def test_what_a_source_says_of_its_instrument_must_be_so(desk: CommandLine, database: Database):
    for wrong, reason in (
        ({"multiplier": Decimal(5)}, "multiplier: 5 a point and unit, CME ES future has 50"),
        ({"currency": "EUR"}, "the price is in EUR, CME ES future is quoted in USD"),
        ({"fee": Decimal(1), "fee_currency": "ZZZ"}, "'ZZZ' is neither in ISO 4217 nor declared"),
    ):
        with pytest.raises(errors.RowsRefused, match=reason):
            pull(desk, [a_fill(1, **wrong)])
    assert pull(desk, [a_fill(1, multiplier=Decimal(50), currency="USD", fee=Decimal(0))]).rows_new == 1
    assert stored(database, "fee_currency") == [("USD",)]
