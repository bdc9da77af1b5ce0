"""The input hash: the same for the same fills whatever brought them, another one for any other fill."""

from __future__ import annotations

import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blaidctl.ledger import engine, hashing, rules
from tests.ledger import books
from tests.ledger.books import fills
from tests.ledger.slow import Fill, rows

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from blaidctl.ledger.rules import Row

ROOT = Path(__file__).parents[2]
BOOK = fills("BUY 1 @ 10.5", "SELL 3 @ 12", "BUY 2 @ -11", fee="-0.25")
#: What this version says of BOOK; changing how leaves are made means another `hashing.VERSION`.
LEAF = "7022a5d121466f81320c660a2a66a8e900f3d2af05576801b247bea52d67ad4e"


def leaf(found: Sequence[Row], size: int = 3, **changes: object) -> str:
    taken = hashing.FillsHash(**{"bot_id": "b", "account_id": "a", **changes})  # type: ignore[arg-type]
    for batch in taken.tap(books.batches(found, size)):
        assert batch
    assert taken.rows == len(found)
    return taken.hexdigest()


@given(books.books(), st.integers(1, 30), st.randoms(use_true_random=False))
def test_neither_batches_nor_ids_nor_imports_nor_the_order_of_files_matter(
    book: list[Fill], size: int, shuffler: random.Random
):
    shuffled = list(book)
    shuffler.shuffle(shuffled)
    again = [(*row[:2], row[2] + 1000, *row[3:11], 77) for row in rows(shuffled)]
    assert leaf(again, size) == leaf(rows(book), 1)


@given(books.books())
def test_both_roads_give_one_leaf(book: list[Fill]):
    assert leaf(rows(book, 18), places=18) == leaf(rows(book))


def test_a_block_with_a_number_that_does_not_fit_gives_another_leaf():
    tiny = fills("BUY 1 @ 10.000000000000000001")
    assert leaf(rows(tiny, 18), places=18) != leaf(rows(fills("BUY 1 @ 10")))
    huge = fills(f"BUY 1 @ {10**19}")
    assert leaf(rows(huge, 18), places=18) == leaf(rows(huge, 8))


@pytest.mark.parametrize("count", [1, hashing.BLOCK_ROWS - 1, hashing.BLOCK_ROWS, 2 * hashing.BLOCK_ROWS + 1])
@pytest.mark.parametrize("size", [1, 100, hashing.BLOCK_ROWS, 10_000])
def test_where_blocks_end_does_not_show(count: int, size: int):
    (row,) = rows(BOOK[:1])
    found = [(row[0], f"t{n:06}", *row[2:]) for n in range(count)]
    assert leaf(found, size) == leaf(found, count)


@pytest.mark.parametrize("position", [0, 600, 1199])
@pytest.mark.parametrize(
    ("column", "value"),
    [
        (0, "2026-01-05T09:00:00.000001Z"), (1, "other"), (3, "NYSE"), (4, "X"), (5, "cfd"), (6, "SELL"),
        (7, 100_000_001), (8, 1_050_000_001), (9, -24_999_999), (9, None), (10, "EUR"), (10, None),
    ],
)  # fmt: skip
def test_changing_one_value_of_one_fill_changes_the_leaf(position: int, column: int, value: object):
    (row,) = rows(BOOK[:1])
    found = [(row[0], f"t{n:06}", *row[2:]) for n in range(1200)]
    other = list(found)
    changed = list(found[position])
    changed[column] = value
    other[position] = tuple(changed)  # type: ignore[assignment]
    assert leaf(other) != leaf(found)


def test_what_is_not_there_is_not_nought():
    (row,) = rows(BOOK[:1])
    nought, none = (*row[:9], 0, "USD", 1), (*row[:9], None, None, 1)
    assert len({leaf([nought]), leaf([none]), leaf([(*row[:9], None, "", 1)])}) == 3


def test_texts_do_not_run_into_each_other():
    (row,) = rows(BOOK[:1])

    def named(*ids: str) -> str:
        return leaf([(row[0], name, *row[2:]) for name in ids])

    assert (
        len({named("ab", "c"), named("a", "bc"), named("a\x1fb", "c"), named("a", "b\x1fc"), named("a", "b", "c")}) == 5
    )


def test_leaves_of_other_bots_accounts_and_fewer_rows_differ():
    found = rows(BOOK)
    assert len({leaf(found), leaf(found, bot_id="c"), leaf(found, account_id="c"), leaf(found[:2]), leaf([])}) == 5
    assert leaf([], bot_id="ab", account_id="c") != leaf([], bot_id="a", account_id="bc")


def test_the_leaf_of_this_version_is_pinned():
    assert leaf(rows(BOOK)) == LEAF


def test_the_leaf_depends_on_no_hash_seed_and_no_time_zone():
    program = "from tests.ledger import test_hashing as t; print(t.leaf(t.rows(t.BOOK)))"
    for seed, zone in (("0", "UTC"), ("1", "Asia/Kolkata"), ("4294967295", "America/New_York")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": zone}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == LEAF


# ---- other tables, and the root --------------------------------------------------------------------------------------


def test_a_table_is_told_by_its_name_its_columns_and_each_cell():
    def table(*found: tuple[str | int | None, ...], name: str = "flows", columns: tuple[str, ...] = ("a", "b")) -> str:
        return hashing.table_digest(name, columns, found)

    answers = [
        table(), table(("1", "2")), table(("1", "2"), ("1", "2")), table((1, "2")), table((None, "2")),
        table(("", "2")), table(("12", "")), table(("", "12")), table(("1", "2"), name="rates"),
        table(("1", "2"), columns=("a", "c")),
    ]  # fmt: skip
    assert len(set(answers)) == len(answers)


def test_the_root_is_of_all_leaves_in_any_order():
    leaves = {"flows": "1" * 64, "fills b a": "2" * 64}
    assert hashing.root(leaves) == hashing.root(dict(reversed(leaves.items())))
    others = [{}, {"flows": "1" * 64}, {"flows": "2" * 64, "fills b a": "1" * 64}, {**leaves, "marks": "3" * 64}]
    assert len({hashing.root(leaves), *map(hashing.root, others)}) == 5


def test_which_leaf_changed_can_be_told():
    before = {"same": "1", "changed": "2", "went": "3"}
    assert hashing.changed(before, {"same": "1", "changed": "9", "came": "4"}) == ["came", "changed", "went"]


def test_an_engine_takes_the_rows_that_passed_the_tap():
    taken = hashing.FillsHash("b", "a")
    found = books.figures(books.question(instruments={books.BTC: rules.Instrument("USD", Decimal(1))}), BOOK)
    asked = books.question(instruments={books.BTC: rules.Instrument("USD", Decimal(1))})
    assert engine.compute(asked, taken.tap(books.batches(rows(BOOK), 2))).figures == found
    assert taken.hexdigest() == LEAF
