"""`audit verify` finds every fill that is not what was imported, whoever edited it and whatever was switched off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kill.fleet import done, verified
from tests.ledger.work import ledger_desk, rows, take, write

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.commandline import CommandLine
    from tests.support.database import Database

_COPY = (
    "import_id, bot_id, account_id, exchange, symbol, asset_class, side, quantity, price, fee, fee_currency,"
    " executed_at, order_id, source, line, after_kill, exact, quantity_8, price_8, fee_8"
)
#: What somebody with the owner's rights may do → what verify says of it.
TAMPERING = {
    "a price, and its integer with it": (
        "UPDATE trades SET price = '6871.25', price_8 = 687125000000 WHERE id = 1",
        "import 1: part 1 of 1: its fills differ from what was hashed",
    ),
    "a time": (
        "UPDATE trades SET executed_at = '2026-01-05T10:00:00.000000Z' WHERE id = 2",
        "import 1: part 1 of 1: its fills differ from what was hashed",
    ),
    "a fill taken away": (
        "DELETE FROM trades WHERE id = 2",
        "import 1: part 1 of 1 has 2 fill(s), 3 were written",
    ),
    "a fill added": (
        f"INSERT INTO trades ({_COPY}, venue_trade_id) SELECT {_COPY}, 'forged' FROM trades WHERE id = 1",
        "import 1: part 1 of 1 has 4 fill(s), 3 were written",
    ),
    "what a reversal takes back": (
        "UPDATE trades SET reverses_id = 2 WHERE id = 3",
        "import 1: part 1 of 1: its fills differ from what was hashed",
    ),
    "the flag of a kill": (
        "UPDATE trades SET after_kill = 1 WHERE id = 1",
        "import 1: part 1 of 1 has 1 fill(s) after a kill, 0 were written",
    ),
    "the digest itself": (
        f"UPDATE ledger_imports SET fills_sha256 = '{'0' * 64}' WHERE id = 1",
        "import 1: part 1 of 1: its fills differ from what was hashed",
    ),
}


@pytest.fixture
def imported(cli: CommandLine, home: Path) -> CommandLine:
    ledger_desk(cli)
    taken = {"venue_trade_id": "R", "reverses": "T1", "side": "SELL", "fee": "-2.25"}
    done(take(cli, write(home, rows({}, {}, taken))))
    verified(cli)
    return cli


def _unguarded(database: Database) -> None:
    """Take away what guards the ledger; of a database without any trigger, verify has no room to say more."""
    if database.kind == "postgresql":
        database.drop_triggers()
        return
    guarded = ("trades", "ledger_imports", "broker_accounts")
    for (name,) in database.sql("SELECT name FROM sqlite_schema WHERE type = 'trigger'"):
        if name.startswith(guarded):
            database.sql(f'DROP TRIGGER "{name}"')


def test_tampering_with_fills_is_found(imported: CommandLine, database: Database):
    _unguarded(database)
    whole = database.path.read_bytes() if database.path else b""
    for what, (statement, said) in TAMPERING.items():
        if database.kind == "sqlite":
            database.path.write_bytes(whole)  # type: ignore[union-attr]
            database.sql(statement)
            found = _defects(imported)
        else:
            found = _in_a_transaction(imported, database, statement)
        assert said in found, f"{what}: {found}"


def _defects(cli: CommandLine) -> list[str]:
    run = cli("audit", "verify")
    assert (run.code, run.error["error_code"]) == (1, "AUDIT_BROKEN"), run.stderr
    return [defect["what"] for defect in run.json["result"]["defects"]]


def _in_a_transaction(cli: CommandLine, database: Database, statement: str) -> list[str]:
    """Do it, look, and put every row back."""
    database.sql("CREATE TABLE kept AS SELECT * FROM trades")
    database.sql("CREATE TABLE kept_imports AS SELECT * FROM ledger_imports")
    database.sql(statement)
    found = _defects(cli)
    database.sql("DELETE FROM trades")
    database.sql("UPDATE ledger_imports i SET fills_sha256 = k.fills_sha256 FROM kept_imports k WHERE k.id = i.id")
    database.sql("INSERT INTO trades SELECT * FROM kept ORDER BY id")
    database.sql("DROP TABLE kept, kept_imports")
    return found


def test_integers_that_are_not_their_decimals_are_found_where_checks_are_off(imported: CommandLine, database: Database):
    _unguarded(database)
    if database.kind == "sqlite":
        connection = database.raw()
        connection.execute("PRAGMA ignore_check_constraints=ON")
        connection.execute("UPDATE trades SET price_8 = price_8 + 1 WHERE id = 1")
    else:
        database.sql("ALTER TABLE trades DROP CONSTRAINT trades_price_8")
        database.sql("UPDATE trades SET price_8 = price_8 + 1 WHERE id = 1")
    assert "trade 1: quantity_8, price_8 or fee_8 is not the number that it stands for" in _defects(imported)


def test_a_fill_whose_import_is_gone_and_a_bot_of_another_user_are_found(imported: CommandLine, database: Database):
    _unguarded(database)
    if database.kind == "sqlite":
        database.sql("DELETE FROM ledger_imports WHERE id = 1")
        assert "trade 1 is of import 1, which is not there" in _defects(imported)
    database.sql("UPDATE broker_accounts SET user_id = 'bob' WHERE id = 'ib-1'")
    assert "trade 1: bot momo-1 and account ib-1 do not belong to one user" in _defects(imported)
