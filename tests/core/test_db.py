"""Sessions as the engine factory opens them: what each may do, and that nothing of them is left."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from blaidctl.core import errors
from blaidctl.core.db import Database as ProductDatabase
from blaidctl.core.settings import Settings
from tests.kill.fleet import bots

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.database import Database


@pytest.fixture
def product(database: Database) -> Iterator[ProductDatabase]:
    with contextlib.closing(
        ProductDatabase(Settings(database_url=SecretStr(database.url), lock_timeout_s=1))
    ) as opened:
        yield opened


def test_sqlite_is_opened_with_what_keeps_it_true(sqlite_database: Database):
    with contextlib.closing(ProductDatabase(Settings(database_url=SecretStr(sqlite_database.url)))) as opened:
        with opened.reading() as connection:
            found = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("foreign_keys", "synchronous", "recursive_triggers", "trusted_schema", "journal_mode")
            }
        assert found == {
            "foreign_keys": 1, "synchronous": 2, "recursive_triggers": 1, "trusted_schema": 0, "journal_mode": "wal",
        }  # fmt: skip
        with opened.writing(lock_timeout_s=7) as connection:
            assert 6000 <= int(connection.exec_driver_sql("PRAGMA busy_timeout").scalar() or 0) <= 7000


def test_postgresql_has_limits_and_one_isolation_for_each_purpose(postgres_database: Database):
    settings = Settings(database_url=SecretStr(postgres_database.url), statement_timeout_s=9, lock_timeout_s=3)
    with contextlib.closing(ProductDatabase(settings)) as opened:

        def shown(name: str) -> object:
            return connection.exec_driver_sql(f"SHOW {name}").scalar()

        with opened.writing(lock_timeout_s=7) as connection:
            assert shown("transaction_isolation") == "read committed"
            assert (shown("lock_timeout"), shown("statement_timeout")) == ("7s", "9s")
            assert (shown("TimeZone"), shown("application_name")) == ("UTC", "blaidctl")
            assert shown("idle_in_transaction_session_timeout") == "39s"
        with opened.reading() as connection:
            assert shown("transaction_isolation") == "repeatable read"
            assert shown("transaction_read_only") == "on"
            assert (shown("lock_timeout"), shown("statement_timeout")) == ("3s", "9s")
        with opened.reading(statement_timeout_s=0) as connection:
            assert shown("statement_timeout") == "0"


def test_a_reader_sees_one_moment(product: ProductDatabase, database: Database):
    with product.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM users")).scalar() == 0
        bots(database, ["a1"])
        assert connection.execute(text("SELECT count(*) FROM users")).scalar() == 0
        assert connection.execute(text("SELECT count(*) FROM bots")).scalar() == 0
    with product.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM bots")).scalar() == 1


def test_a_writer_is_kept_only_when_its_block_ends_well(product: ProductDatabase, database: Database):
    insert = text("INSERT INTO users (id, name, created_at) VALUES (:id, 'x', '2026-01-01T00:00:00.000000Z')")
    with product.writing() as connection:
        connection.execute(insert, {"id": "kept"})
    with product.writing(keep=False) as connection:
        connection.execute(insert, {"id": "rehearsed"})

    def interrupted() -> None:
        with product.writing() as connection:
            connection.execute(insert, {"id": "interrupted"})
            raise KeyboardInterrupt

    def failed() -> None:
        with product.writing() as connection:
            connection.execute(insert, {"id": "failed"})
            connection.execute(insert, {"id": "failed"})

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(errors.GuardRefused):
        failed()
    assert database.sql("SELECT id FROM users") == [("kept",)]


def test_a_writer_on_sqlite_has_the_lock_before_it_reads(sqlite_database: Database):
    """BEGIN IMMEDIATE: read-then-write neither loses an update nor fails with a stale snapshot."""
    bots(sqlite_database, ["a1"])
    settings = Settings(database_url=SecretStr(sqlite_database.url), lock_timeout_s=20)

    def increment() -> None:
        with contextlib.closing(ProductDatabase(settings)) as opened:
            for _ in range(10):
                with opened.writing() as connection:
                    found = connection.execute(text("SELECT name FROM bots WHERE id = 'a1'")).scalar()
                    number = int(found) if str(found).isdecimal() else 0
                    connection.execute(text("UPDATE bots SET name = :n"), {"n": str(number + 1)})

    threads = [threading.Thread(target=increment) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sqlite_database.sql("SELECT name FROM bots") == [("40",)]


def test_a_writer_on_sqlite_refuses_others_from_its_first_moment(sqlite_database: Database):
    settings = Settings(database_url=SecretStr(sqlite_database.url))
    stranger = sqlite_database.raw()
    stranger.execute("PRAGMA busy_timeout=0")
    with (
        contextlib.closing(ProductDatabase(settings)) as opened,
        opened.writing(),
        pytest.raises(Exception, match="locked"),
    ):
        stranger.execute("BEGIN IMMEDIATE")
    stranger.execute("BEGIN IMMEDIATE")
    stranger.execute("ROLLBACK")


def test_no_connection_is_left_after_a_session_fails(product: ProductDatabase, database: Database):
    for _ in range(8):
        with pytest.raises(errors.BlaidError), product.writing() as connection:
            connection.execute(text("SELECT * FROM no_such_table"))
        with pytest.raises(errors.BlaidError), product.reading() as connection:
            connection.execute(text("SELECT * FROM no_such_table"))
    product.close()
    if database.kind == "postgresql":
        others = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'blaidctl'"
        )
        for _ in range(200):
            if database.sql(others) == [(0,)]:
                break
            threading.Event().wait(0.02)
        assert database.sql(others) == [(0,)]
    else:
        database.sql("BEGIN EXCLUSIVE")
