"""Each format's sample file, read to its last digit."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal as D  # noqa: N817 - the expected figures stand in columns
from typing import TYPE_CHECKING

import pytest

from blaidctl.ledger.fills import AccountFee, Fill, Move, Skipped
from blaidctl.ledger.vocabulary import Side
from tests.ledger.formats.samples import DATA, database, fills, reasons, records, sample

if TYPE_CHECKING:
    from pathlib import Path


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def money(fill: Fill) -> tuple:
    return fill.side, fill.quantity, fill.price, fill.fee, fill.fee_currency


def test_our_own_csv_says_all_that_a_fill_holds():
    found = sample("own.csv", "csv")
    assert found[0] == Fill(
        line=2,
        account="acct-1",
        bot="momo-1",
        instance=None,
        exchange="CME",
        symbol="ES",
        asset_class="future",
        side=Side.BUY,
        quantity=D(2),
        price=D("6900.25"),
        fee=D("4.24"),
        fee_currency="USD",
        executed_at=at("2026-01-05T14:30:00.250"),
        venue_trade_id="F-1001",
        order_id="O-501",
        reverses=None,
        reported_pnl=None,
        currency="USD",
        exact=True,
    )
    assert [money(fill) for fill in fills(found)[1:]] == [
        (Side.SELL, D(1), D("6903.5"), D("2.12"), "USD"),
        (Side.SELL, D(1), D(6900), D("-0.1"), "USD"),
        (Side.BUY, D(1), D("-37.63"), None, None),
        (Side.SELL, D(1), D("-37.63"), None, None),
    ]
    assert [fill.executed_at for fill in fills(found)[1:3]] == [
        at("2026-01-05T14:10:00"),
        at("2026-01-06T00:59:59.999999"),
    ]
    assert [fill.reported_pnl for fill in fills(found)] == [None, D("162.5"), None, None, None]
    assert [fill.reverses for fill in fills(found)] == [None, None, None, None, "F-1004"]
    assert [fill.instance for fill in fills(found)] == [None, None, "7", None, None]
    assert len(found) == 5


def test_our_own_ndjson_is_the_same_and_marks_a_bare_fraction():
    found = sample("own.ndjson", "ndjson")
    assert found[0] == next(
        Fill(**{name: getattr(fill, name) for name in Fill.__slots__ if name != "line"}, line=1)
        for fill in fills(sample("own.csv", "csv"))
    )
    assert isinstance(found[1], Fill)
    assert (money(found[1]), found[1].exact) == ((Side.SELL, D(1), D("6903.5"), None, None), False)


def test_a_real_trade_of_ccxt_is_read_from_its_doubles_and_marked():
    (fill,) = sample("ccxt-oxfun.json", "ccxt")
    assert fill == Fill(
        line=1,
        account=None,
        bot=None,
        instance=None,
        exchange=None,
        symbol="ETH/USD:OX",
        asset_class="cryptofuture",
        side=Side.SELL,
        quantity=D("0.01"),
        price=D("3794.7"),
        fee=D("2.65629"),
        fee_currency="OX",
        executed_at=at("2024-05-29T23:18:53.539"),
        venue_trade_id="ETH/USD:OX:sell:400017157974541552",
        order_id="1000117638529",
        reverses=None,
        reported_pnl=None,
        currency="USD",
        exact=False,
        multiplier=None,
    )


def test_ccxt_with_strings_is_exact_and_an_unknown_fee_is_no_fee_of_zero():
    found = fills(sample("ccxt.json", "ccxt"))
    assert [money(fill) for fill in found] == [
        (Side.BUY, D("0.00132"), D("73245.9"), D("0.00000075"), "BNB"),
        (Side.SELL, D("0.00132"), D("73300.1"), None, None),
        (Side.SELL, D(2), D(73200), D("-0.0146"), "USDT"),
    ]
    assert [fill.exact for fill in found] == [False, True, True]
    assert [fill.asset_class for fill in found] == ["crypto", "crypto", "cryptofuture"]
    assert [fill.multiplier for fill in found] == [1, 1, None], "the contracts of a derivative have a size of their own"
    assert [fill.executed_at for fill in found][1:] == [at("2024-03-13T10:59:21"), at("2024-03-13T10:59:31")]


def test_alpaca_s_fills_have_no_fee_and_its_fees_are_the_account_s():
    found = sample("alpaca.json", "alpaca")
    assert [money(fill) for fill in fills(found)] == [
        (Side.BUY, D(1), D("1.63"), None, None),
        (Side.SELL, D(10), D("475.12"), None, None),
        (Side.BUY, D("0.25"), D("91234.5"), None, None),
    ]
    assert [fill.executed_at for fill in fills(found)] == [
        at("2019-05-24T15:34:06.977"),
        at("2026-01-05T14:30:00.123456"),
        at("2026-01-05T14:30:01"),
    ]
    assert all(fill.exact for fill in fills(found))
    assert [fill.asset_class for fill in fills(found)] == [None, None, "crypto"]
    assert [
        (fee.amount, fee.currency, fee.at, fee.external_id[-4:]) for fee in found if isinstance(fee, AccountFee)
    ] == [
        (D("0.01"), None, at("2026-01-05T23:59:59"), "0003"),
        (D("0.000625"), "BTC", at("2026-01-05T23:59:59"), "0004"),
    ]
    assert [(skipped.line, skipped.why) for skipped in found if isinstance(skipped, Skipped)] == [
        (6, "activity FEE was canceled"),
        (7, "activity DIV is no execution"),
        (8, "activity OPASN changes a position without an execution"),
    ]


def test_a_flex_query_gives_executions_a_reversal_and_a_fee():
    found = sample("ibkr.xml", "ibkr", timezone="America/New_York")
    assert [money(fill) for fill in fills(found)] == [
        (Side.BUY, D(2), D("6900.25"), D("4.24"), "USD"),
        (Side.SELL, D(1), D("6903.5"), D("2.12"), "USD"),
        (Side.BUY, D(1), D("6903.5"), D("-2.12"), "USD"),
        (Side.BUY, D(1000), D("0.9875"), D("10.94"), "GBP"),
    ]
    assert [(fill.venue_trade_id, fill.reverses) for fill in fills(found)][1:3] == [
        ("7000000002", None),
        ("7000000003", "7000000002"),
    ]
    assert [fill.multiplier for fill in fills(found)] == [50, 50, 50, 1]
    assert [fill.asset_class for fill in fills(found)] == ["future", "future", "future", "equity"]
    assert {fill.account for fill in fills(found)} == {"U7654321"}
    assert [fill.exchange for fill in fills(found)] == ["CME", "CME", "CME", None]
    assert fills(found)[0].executed_at == at("2026-01-05T14:30:00")
    assert [fill.line for fill in fills(found)] == [7, 8, 9, 10]
    (fee,) = [record for record in found if isinstance(record, AccountFee)]
    assert (fee.amount, fee.currency, fee.at) == (D(10), "USD", at("2026-01-05T23:59:59"))
    assert [skipped.why for skipped in found if isinstance(skipped, Skipped)] == [
        "a sum by symbol sums up what the executions say",
        "an order sums up what the executions say",
        "a closed lot sums up what the executions say",
        "cash transaction 'Dividends' is no execution",
        "CorporateAction changes a position without an execution",
    ]
    assert len(found) == 10


@pytest.mark.parametrize(
    ("element", "renames"),
    [
        ('CorporateAction type="FS"', False),
        ('CorporateAction type="TC"', True),
        ("CorporateAction", True),
        ('OptionEAE transactionType="Expiration"', False),
        ('OptionEAE transactionType="Assignment"', True),
        ('Transfer type="ACATS"', False),
    ],
)
def test_what_is_held_may_be_something_else_after_a_corporate_action(
    element: str,
    renames: bool,  # noqa: FBT001 - a table
    tmp_path: Path,
):
    (skipped,) = records("ibkr", flex(tmp_path, f'{element} symbol="ES" date="2026-01-05" transactionID="7"'))
    kind = element.split(maxsplit=1)[0]
    assert skipped.move == Move(kind, skipped.move.move_id, "U1", "ES", "2026-01-05", renames)
    assert skipped.move.move_id.startswith(f"{kind}:transactionID=7~")


def flex(folder: Path, element: str) -> Path:
    """Write a Flex query of one element."""
    path = folder / "flex.xml"
    statement = f'<FlexStatement accountId="U1"><{element} /></FlexStatement>'
    path.write_text(f"<FlexQueryResponse>{statement}</FlexQueryResponse>")
    return path


def test_a_transfer_of_cash_moves_no_position(tmp_path: Path):
    (skipped,) = records("ibkr", flex(tmp_path, 'Transfer symbol="--" cashTransfer="500" transactionID="7"'))
    assert (skipped.move, skipped.why) == (None, "Transfer of cash is no execution")


def test_a_real_assignment_at_price_0_is_refused_and_a_transfer_told():
    refusal, transfer = sample("ibkr-ibflex.xml", "ibkr", timezone="America/New_York")
    assert reasons([refusal]) == ["tradePrice: a price of 0 is none: nothing can be computed from it"]
    assert transfer.why == "TradeTransfer changes a position without an execution"
    move_id = transfer.move.move_id
    assert transfer.move == Move("TradeTransfer", move_id, "U123456", "ADGI", "2011-08-19", renames=False)
    assert move_id.startswith("TradeTransfer:tradeID=599063639~")


def test_a_freqtrade_order_is_a_fill_with_the_fee_that_is_its_own(tmp_path: Path):
    found = records("freqtrade", database(tmp_path, "freqtrade"))
    assert [money(fill) for fill in fills(found)] == [
        (Side.BUY, D("0.001"), D("68399.99"), D("0.000171"), "BNB"),
        (Side.SELL, D("0.001"), D("69600.1"), D("0.000174"), "BNB"),
        (Side.BUY, D("0.01"), D(4000), D("0.00001"), "ETH"),
        # Not the cost of the trade, which is the first entry's: the rate, times the value.
        (Side.BUY, D("0.005"), D("3900.5"), D("0.0195025"), "USDT"),
        (Side.SELL, D("0.01499"), D(4100), D("0.061459"), "USDT"),
        (Side.SELL, D("0.25"), D(4000), D("0.4"), "USDT"),
        (Side.BUY, D("0.25"), D("4201.25"), D("0.420125"), "USDT"),
        (Side.BUY, D(80), D("0.6"), None, None),
    ]
    assert [fill.asset_class for fill in fills(found)] == [*["crypto"] * 5, "cryptofuture", "cryptofuture", "crypto"]
    assert [fill.exchange for fill in fills(found)] == [*["BINANCE"] * 7, "KRAKEN"]
    assert not any(fill.exact for fill in fills(found))
    assert fills(found)[0].executed_at == at("2024-03-13T10:59:11.703123")
    assert fills(found)[0].venue_trade_id == "BTC/USDT:order:28457001"
    assert [(skipped.line, skipped.why) for skipped in found if isinstance(skipped, Skipped)] == [
        (6, "an order that was not filled"),
        (10, "an order is partly filled and still open: its fill comes when it ends"),
        (11, "an order is still open"),
    ]
    assert len(found) == 11


def test_a_hummingbot_s_integers_are_millionths_and_its_fees_json(tmp_path: Path):
    found = records("hummingbot", database(tmp_path, "hummingbot"))
    assert [money(fill) for fill in fills(found)] == [
        (Side.BUY, D("0.25"), D("4000.12"), D("0.7500225"), "USDT"),
        (Side.SELL, D("0.25"), D(4010), D("0.0013"), "BNB"),
        (Side.BUY, D("0.5"), D(4000), D("0.0005"), "ETH"),
        (Side.BUY, D("0.00132"), D("73245.9"), D("0.0193369176"), "USDT"),
        (Side.SELL, D("0.00132"), D(73250), D(0), "USDT"),
    ]
    assert [fill.exchange for fill in fills(found)] == ["BINANCE", "BINANCE", "KUCOIN", "BINANCE", "BINANCE"]
    assert [fill.asset_class for fill in fills(found)] == [*["crypto"] * 3, "cryptofuture", "cryptofuture"]
    assert not any(fill.exact for fill in fills(found)), "what went beyond six places was cut"
    assert fills(found)[0].executed_at == at("2024-03-13T10:59:11.703")
    assert fills(found)[0].venue_trade_id == "ETH/USDT:buy:1234567"
    assert len(found) == 5


def test_every_file_of_the_samples_is_named_with_its_licence():
    told = (DATA / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in DATA.iterdir() if path.name != "README.md" and f"`{path.name}`" not in told] == []
