"""The database of a bot: copied under a lock while the bot trades, without a trace, and never trusted."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

import pytest

from blaidctl.core import errors
from blaidctl.ledger import formats
from blaidctl.ledger.vocabulary import FileFormat
from tests.ledger.formats.samples import database, fills, records

if TYPE_CHECKING:
    from pathlib import Path

ADD = """
    INSERT INTO orders (id, ft_trade_id, ft_order_side, ft_pair, ft_is_open, ft_amount, ft_price, order_id, side,
        average, amount, filled, order_filled_date)
    VALUES (12, 4, 'buy', 'XRP/EUR', 0, 1, 1, 'new', 'buy', 0.6, 1, 1, '2024-03-17 09:00:03.000000')
    """


def sha256(layout: str, path: Path) -> str:
    with formats.opened(FileFormat(layout), str(path), 1) as source:
        return source.sha256


@pytest.mark.parametrize("layout", ["freqtrade", "hummingbot"])
def test_reading_changes_nothing_beside_or_in_the_database(tmp_path: Path, layout: str):
    path = database(tmp_path, layout)
    before = path.read_bytes()
    first = sha256(layout, path)
    assert fills(records(layout, path))
    assert (path.read_bytes(), sha256(layout, path)) == (before, first)
    assert sorted(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("layout", ["freqtrade", "hummingbot"])
def test_a_database_that_may_only_be_read_is_read(tmp_path: Path, layout: str):
    path = database(tmp_path, layout, "PRAGMA journal_mode = wal")
    assert sorted(tmp_path.iterdir()) == [path]
    path.chmod(0o400)
    tmp_path.chmod(0o500)
    try:
        assert fills(records(layout, path))
        assert sorted(tmp_path.iterdir()) == [path]
    finally:
        tmp_path.chmod(0o700)


def test_what_the_bot_has_in_its_write_ahead_log_is_read_while_it_writes(tmp_path: Path):
    path = database(tmp_path, "freqtrade", "PRAGMA journal_mode = wal")
    before = fills(records("freqtrade", path))
    with contextlib.closing(sqlite3.connect(path)) as bot:
        bot.execute(ADD)
        bot.commit()
        bot.execute("UPDATE orders SET filled = 999 WHERE id = 1")  # not committed: none of our business
        after = fills(records("freqtrade", path))
        bot.rollback()
    assert after[:-1] == before
    assert after[-1].order_id == "new"


def test_a_row_more_is_another_hash(tmp_path: Path):
    path = database(tmp_path, "freqtrade")
    before = sha256("freqtrade", path)
    with contextlib.closing(sqlite3.connect(path)) as bot:
        bot.execute(ADD)
        bot.commit()
    assert sha256("freqtrade", path) != before


@pytest.mark.parametrize(
    ("layout", "changes", "told"),
    [
        ("freqtrade", ["DROP TABLE orders"], "has no table orders: is this a freqtrade database? One older"),
        ("freqtrade", ["ALTER TABLE orders DROP COLUMN average"], "has no column orders.average: is this a freqtrade"),
        ("freqtrade", ["ALTER TABLE trades DROP COLUMN is_short", "ALTER TABLE trades DROP COLUMN fee_open"],
         "has no column trades.fee_open, trades.is_short"),
        ("hummingbot", ["DROP TABLE TradeFill"], "has no table TradeFill: is this the database of a Hummingbot?"),
        ("hummingbot", ["ALTER TABLE TradeFill DROP COLUMN trade_fee"], "has no column TradeFill.trade_fee"),
        ("hummingbot", ["ALTER TABLE TradeFill DROP COLUMN price", "ALTER TABLE TradeFill ADD COLUMN price TEXT"],
         "declares TradeFill.price as TEXT, not as BIGINT or FLOAT"),
        # A view may hold any statement, one without end too.
        ("hummingbot", ["ALTER TABLE TradeFill RENAME TO x", "CREATE VIEW TradeFill AS SELECT * FROM x"],
         "has no table TradeFill"),
        ("hummingbot", ["DROP TABLE TradeFill", "CREATE VIRTUAL TABLE TradeFill USING fts5(price, amount)"],
         "has no table TradeFill"),
    ],
    ids=[str(number) for number in range(8)],
)  # fmt: skip
def test_a_database_that_is_another_s_is_refused(tmp_path: Path, layout: str, changes: list[str], told: str):
    with pytest.raises(errors.FileInvalid) as caught:
        records(layout, database(tmp_path, layout, *changes))
    assert told in caught.value.message
    assert caught.value.steps[0].startswith("Export the file again, whole")


def test_a_value_of_many_megabytes_is_refused(tmp_path: Path):
    change = "UPDATE TradeFill SET trade_fee = replace(hex(zeroblob(2000000)), '0', 'x') WHERE rowid = 1"
    with pytest.raises(errors.FileInvalid, match="cannot be read on: string or blob too big"):
        records("hummingbot", database(tmp_path, "hummingbot", change))


def test_a_database_that_stays_locked_is_refused_and_not_waited_for_without_end(tmp_path: Path):
    path = database(tmp_path, "hummingbot")
    with contextlib.closing(sqlite3.connect(path)) as bot:
        bot.execute("BEGIN EXCLUSIVE")
        with pytest.raises(errors.FileInvalid, match="cannot be copied: no step was made for 1 s") as caught:
            sha256("hummingbot", path)
    assert "Stop the bot" in caught.value.steps[0]


def test_a_name_that_is_an_address_in_a_uri_is_a_name(tmp_path: Path):
    folder = tmp_path / "a?mode=rwc&x=#1 %41"
    folder.mkdir()
    assert fills(records("hummingbot", database(folder, "hummingbot")))
    assert [path.name for path in folder.iterdir()] == ["hummingbot.sqlite"]


def test_a_schema_that_is_no_utf_8_is_refused_though_sqlite_cannot_say_why(tmp_path: Path):
    path = database(tmp_path, "hummingbot")
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE", b"CREATE \xcf\xcfBLE"))
    with pytest.raises(errors.FileInvalid, match=r"cannot be (read on|copied)"):
        records("hummingbot", path)
