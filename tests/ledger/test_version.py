"""The ledger as it stood: everything that a later entry of the log wrote is left out, on both engines."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from blaidctl.core import command
from blaidctl.core.execute import Tx
from blaidctl.core.types import time_text
from blaidctl.ledger import metrics
from blaidctl.ledger.vocabulary import Basis
from tests.instruments.work import file as instrument_file
from tests.instruments.work import text as instrument_text
from tests.kill.fleet import done
from tests.ledger.work import ledger_desk, rows, take, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from blaidctl.ledger.metrics import Computed
    from tests.support.commandline import CommandLine
    from tests.support.database import Database

START = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=3)
WHEN = time_text(START)
#: The end of its third day: over, whatever midnight the tests run across.
AS_OF = START + timedelta(days=3, microseconds=-1)


@pytest.fixture
def compute(cli: CommandLine, database: Database) -> Iterator[Callable[..., Computed]]:
    """`compute(version=…)`: the figures of momo-1 on ib-1, marked, as allocation asks for them."""
    del database
    with mock.patch.dict(os.environ, cli.environment(), clear=True):
        ctx = command.make_context()

    def ask(**how: Any) -> Computed:
        with ctx.database.reading() as connection:
            tx = Tx(ctx, connection, ctx.now())
            return metrics.compute(tx, "momo-1", "ib-1", **{"as_of": AS_OF, "basis": Basis.MARKED, **how})

    yield ask
    ctx.database.close()


def test_a_later_act_does_not_change_the_ledger_as_it_stood(
    cli: CommandLine, home: Path, compute: Callable[..., Computed]
):
    ledger_desk(cli)
    told = [{"executed_at": time_text(START + timedelta(hours=n + 1))} for n in range(4)]
    fills = rows(told[0], {**told[1], "side": "SELL", "quantity": "3", "fee_currency": "EUR"}, *told[2:])
    first, later = write(home, fills[:2]), write(home, fills[2:], "later.csv")
    done(cli("ledger", "flow", "momo-1", "--account", "ib-1", "--kind", "INITIAL", "--amount", "100000",
             "--currency", "USD", "--at", WHEN))  # fmt: skip
    done(take(cli, first, "--history"))
    for day in range(3):
        at = START + timedelta(days=day, hours=2)
        done(cli("ledger", "rate", "EUR", "USD", "1.0841", "--at", time_text(at), "--source", "ECB"))
        done(cli("ledger", "mark", "CME", "ES", "6871", "--at", time_text(at), "--source", "desk"))
    before = compute()
    assert compute().output_hash == before.output_hash

    acts = [
        ("ledger", "flow", "momo-1", "--account", "ib-1", "--kind", "DEPOSIT", "--amount", "7", "--currency", "USD",
         "--at", time_text(START + timedelta(minutes=5))),
        ("ledger", "flow", "momo-1", "--account", "ib-1", "--kind", "INITIAL", "--amount", "90000", "--currency", "USD",
         "--at", time_text(START - timedelta(days=1)), "--replaces", "1"),
        ("ledger", "flow", "momo-1", "--account", "ib-1", "--kind", "DEPOSIT", "--amount", "0", "--currency", "USD",
         "--at", time_text(START + timedelta(minutes=5)), "--replaces", "2"),
        ("ledger", "flow", "momo-1", "--account", "ib-1", "--kind", "INITIAL", "--amount", "95000", "--currency", "USD",
         "--at", WHEN, "--replaces", "3"),
        ("ledger", "import", str(later), "--format", "csv", "--account", "ib-1", "--history"),
        ("ledger", "reverse", "ib-1", "T1", "--reason", "the venue busted it"),
        ("ledger", "rate", "EUR", "USD", "1.2", "--at", time_text(START + timedelta(hours=2, seconds=1)),
         "--source", "ECB"),
        ("ledger", "mark", "CME", "ES", "6900", "--at", time_text(START + timedelta(hours=3)), "--source", "desk"),
        ("instrument", "load", str(instrument_file(home, instrument_text({"point_value": "51"})))),
    ]  # fmt: skip
    seen = [before]
    for act in acts:
        done(cli(*act))
        seen.append(compute())
        assert seen[-1].input_hash != seen[-2].input_hash, act
        assert seen[-1].version > seen[-2].version
        for known in seen:
            again = compute(version=known.version)
            assert (again.input_hash, again.output_hash) == (known.input_hash, known.output_hash), act
            assert (again.inputs, again.source_tables) == (known.inputs, known.source_tables)
    hours = home / "hours.csv"
    hours.write_text(
        "session,timezone,day,open,close,state\n"
        + "".join(
            f"FUTURE-CME-ES,America/Chicago,{day},09:00,10:00,market\n"
            for day in ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
        )
    )
    days = compute().inputs["trading_days"]
    done(cli("session", "load", hours))
    assert compute(version=seen[-1].version).inputs["trading_days"] == days
    assert cli("audit", "verify").code == 0


def test_figures_are_not_computed_inside_a_writing_transaction(cli: CommandLine, postgres_database: Database):
    del postgres_database
    with mock.patch.dict(os.environ, cli.environment(), clear=True):
        ctx = command.make_context()
    with ctx.database.writing(keep=False) as connection, pytest.raises(RuntimeError, match="a reading transaction"):
        metrics.compute(Tx(ctx, connection, ctx.now(), act_id="0" * 32), "momo-1", as_of=ctx.now())
    ctx.database.close()
