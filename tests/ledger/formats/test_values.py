"""What each foreign format says in its own way: fees, sides, times, ids; and every wrong value with its reason."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from blaidctl.ledger.fills import AccountFee, Fill, Refusal, Skipped
from blaidctl.ledger.vocabulary import Side
from tests.ledger.formats.samples import (
    ALPACA,
    CCXT,
    database,
    fills,
    flex,
    jsons,
    reasons,
    records,
    trade,
)

if TYPE_CHECKING:
    from pathlib import Path

    from blaidctl.ledger.fills import Record

D = Decimal
NEW_YORK = "America/New_York"


def ccxt(**changes: Any) -> Record:
    (found,) = records("ccxt", jsons({**CCXT, **changes}))
    return found


def alpaca(**changes: Any) -> Record:
    (found,) = records("alpaca", jsons({**ALPACA, **changes}))
    return found


def ibkr(**changes: Any) -> Record:
    (found,) = records("ibkr", flex(trade(**changes)), timezone=NEW_YORK)
    return found


# ---- ccxt ------------------------------------------------------------------------------------------------------

USDT, BNB = {"cost": "1", "currency": "USDT"}, {"cost": "2", "currency": "BNB"}
NONE = {"cost": None, "currency": None}


@pytest.mark.parametrize(
    ("fees", "told"),
    [
        ({"fee": USDT, "fees": [USDT]}, (D(1), "USDT")),
        ({"fee": None, "fees": [USDT, USDT]}, (D(2), "USDT")),
        ({"fee": USDT, "fees": []}, (D(1), "USDT")),
        ({"fee": USDT, "fees": [NONE]}, (D(1), "USDT")),
        ({"fee": NONE, "fees": [NONE]}, (None, None)),
        ({"fee": None, "fees": None}, (None, None)),
        ({"fee": None, "fees": [USDT, {"cost": "0", "currency": "BNB"}]}, (D(1), "USDT")),
        ({"fee": {"cost": 0, "currency": None}}, (D(0), "USDT")),
    ],
)
def test_ccxt_tells_of_a_fee_once_or_twice_and_it_is_paid_once(fees: dict, told: tuple):
    fill = ccxt(**fees)
    assert isinstance(fill, Fill)
    assert (fill.fee, fill.fee_currency) == told


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"fees": [USDT, BNB]}, "fee: was paid in several currencies (BNB, USDT), a fill has one"),
        ({"fees": "1 USDT"}, "fees: is no list of fees"),
        ({"fees": [USDT] * 21}, "fees: is no list of fees"),
        ({"fees": [1]}, "fees: is no object with cost and currency"),
        ({"fee": []}, "fee: is no object with cost and currency"),
        ({"fee": {"cost": "1"}}, "fee_currency: is missing, though there is a fee"),
        ({"fee": {"cost": "one", "currency": "USDT"}}, "fee.cost: 'one' is not a decimal number"),
        ({"fees": [{"cost": "9e19", "currency": "USDT"}] * 2}, "has more than 20 digits before the point"),
        ({"id": None}, "id: is missing"),
        ({"symbol": None}, "symbol: is missing"),
        ({"side": None}, "side: is missing"),
        ({"side": "long"}, "side: 'long' is neither BUY nor SELL"),
        ({"amount": 0}, "amount: 0 is not above zero"),
        ({"price": 0.0}, "price: a price of 0 is none"),
        ({"timestamp": None}, "timestamp: is missing"),
        ({"timestamp": 1710327551}, "'1710327551' is no time in milliseconds since 1970, or one before 2009"),
        ({"timestamp": 1710327551703000000}, "is no time in milliseconds since 1970"),
        ({"timestamp": "soon"}, "timestamp: 'soon' is no time in milliseconds since 1970"),
        ({"timestamp": True}, "timestamp: true or false is no time in milliseconds"),
        ({"timestamp": None, "datetime": "2024-03-13T10:59:11"}, "datetime: '2024-03-13T10:59:11' has no time zone"),
    ],
)
def test_a_wrong_value_of_ccxt_is_refused(change: dict, reason: str):
    assert any(told.startswith(reason) or reason in told for told in reasons([ccxt(**change)])), ccxt(**change)


@pytest.mark.parametrize(
    ("symbol", "told"),
    [
        ("BTC/USDT", ("crypto", "USDT", D(1))),
        ("BTC/USDT:USDT", ("cryptofuture", "USDT", None)),
        ("BTC/USDT:USDT-240628", ("cryptofuture", "USDT", None)),
        ("BTC/USD:BTC-240628-70000-C", ("option", "USD", None)),
        ("BTCUSDT", (None, None, None)),
    ],
)
def test_ccxt_s_symbols_say_what_they_are(symbol: str, told: tuple):
    fill = ccxt(symbol=symbol)
    assert isinstance(fill, Fill)
    assert (fill.asset_class, fill.currency, fill.multiplier) == told


def test_ids_of_ccxt_hold_symbol_and_side_for_they_are_unique_only_there():
    same = [{**CCXT, "side": side, "symbol": symbol} for side in ("buy", "sell") for symbol in ("BTC/USDT", "ETH/USDT")]
    assert [fill.venue_trade_id for fill in fills(records("ccxt", jsons(*same)))] == [
        "BTC/USDT:buy:1", "ETH/USDT:buy:1", "BTC/USDT:sell:1", "ETH/USDT:sell:1",
    ]  # fmt: skip


@pytest.mark.parametrize("ms", [1710327551703, "1710327551703", "1710327551703.25"], ids=["number", "text", "fraction"])
def test_milliseconds_are_exact_to_the_microsecond(ms):
    fill = ccxt(timestamp=ms)
    assert isinstance(fill, Fill)
    more = 250 if "." in str(ms) else 0
    assert fill.executed_at == datetime(2024, 3, 13, 10, 59, 11, 703000 + more, tzinfo=UTC)


def test_every_double_comes_back_as_its_shortest_text():
    for number in (0.1, 1e-7, 73245.9, 0.1 + 0.2, 5e-18, 123456789.12345678):
        fill = ccxt(price=number)
        assert isinstance(fill, Fill)
        assert (fill.price, fill.exact) == (D(repr(number)), False)
    assert reasons([ccxt(price=1e-19)]) == ["price: 1E-19 is smaller than the 18 decimal places that are stored"]


# ---- Alpaca ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"price": "0"}, "price: a price of 0 is none"),
        ({"qty": "-1"}, "qty: -1 is not above zero"),
        ({"side": "hold"}, "side: 'hold' is neither BUY nor SELL"),
        ({"side": ["buy"]}, "side: a list is neither BUY nor SELL"),
        ({"transaction_time": "2026-01-05T14:30:00"}, "transaction_time: '2026-01-05T14:30:00' has no time zone"),
        ({"id": ""}, "id: is missing"),
        ({"activity_type": None}, "activity_type: is missing"),
        ({"activity_type": "FI LL"}, "activity_type: 'FI LL' is none"),
        ({"activity_type": "FEE"}, "net_amount: is missing"),
        ({"activity_type": "FEE", "net_amount": "-1", "date": "soon"}, "date: 'soon' is no date"),
        ({"activity_type": "FEE", "net_amount": "-1", "status": "correct"}, "status: 'correct' is not known here"),
        ({"activity_type": "CFEE", "net_amount": "0", "qty": "-1"}, "symbol: does not say which coin was taken"),
        ({"activity_type": "CFEE", "symbol": "BTC/USD", "qty": None}, "qty: is missing"),
    ],
)
def test_a_wrong_value_of_alpaca_is_refused(change: dict, reason: str):
    found = alpaca(**({"transaction_time": None, **change} if "activity_type" in change else change))
    assert any(reason in told for told in reasons([found])), found


def test_alpaca_saved_with_numbers_is_marked():
    fill, text = alpaca(price=475.12), alpaca()
    assert isinstance(fill, Fill)
    assert isinstance(text, Fill)
    assert (fill.price, fill.exact, text.exact) == (D("475.12"), False, True)


@pytest.mark.parametrize(
    ("symbol", "told"), [("AAPL240119C00190000", "option"), ("BTC/USD", "crypto"), ("SPY", None), ("BTCUSD", None)]
)
def test_alpaca_s_symbols_say_what_they_are_as_far_as_they_do(symbol: str, told: str | None):
    fill = alpaca(symbol=symbol)
    assert isinstance(fill, Fill)
    assert fill.asset_class == told


@pytest.mark.parametrize(("net", "paid"), [("-0.01", "0.01"), ("0.01", "-0.01")])
def test_a_fee_of_alpaca_is_what_left_the_account(net: str, paid: str):
    fee = alpaca(activity_type="FEE", net_amount=net, date="2026-01-05", transaction_time=None, currency="USD")
    assert isinstance(fee, AccountFee)
    assert (fee.amount, fee.currency, fee.note) == (D(paid), "USD", "FEE")


# ---- Interactive Brokers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"buySell": "HOLD"}, "buySell: 'HOLD' is neither BUY nor SELL"),
        ({"buySell": None}, "buySell: is missing"),
        ({"buySell": "SELL"}, "quantity: 10 and buySell SELL do not agree"),
        ({"quantity": "-10"}, "quantity: -10 and buySell BUY do not agree"),
        ({"buySell": "BUY (Ca.)", "origTradeID": "6"}, "quantity: 10 and buySell BUY (Ca.) do not agree"),
        ({"buySell": "BUY (Ca.)", "quantity": "-10"}, "origTradeID: is missing: this row cancels an execution"),
        ({"quantity": "0"}, "quantity: 0 is not above zero"),
        ({"quantity": "1,000"}, "quantity: '1,000' is not a decimal number"),
        ({"tradePrice": "0"}, "tradePrice: a price of 0 is none"),
        ({"tradeID": None}, "tradeID: is missing"),
        ({"currency": None}, "currency: is missing"),
        ({"assetCategory": "BOND"}, "assetCategory: 'BOND' is none of STK, OPT, FUT"),
        ({"dateTime": None}, "dateTime: is missing"),
        ({"dateTime": "05/01/2026;093000"}, "dateTime: '05/01/2026;093000' is no time: let the query write dates as"),
        ({"dateTime": "20260105"}, "dateTime: '20260105' is no time"),
        ({"dateTime": "20260105;093000 CET"}, "dateTime: 'CET' is no abbreviation of one offset"),
        ({"dateTime": "20260105;253000"}, "dateTime: '2026-01-05T25:30:00' is no time"),
        ({"dateTime": "20261101;013000"}, "was twice in America/New_York"),
        ({"taxes": "-1", "currency": "GBP"}, "fee: was paid in several currencies (GBP, USD), a fill has one"),
        ({"multiplier": "fifty"}, "multiplier: 'fifty' is not a decimal number"),
    ],
)
def test_a_wrong_value_of_a_flex_query_is_refused(change: dict, reason: str):
    assert any(reason in told for told in reasons([ibkr(**change)])), ibkr(**change)


@pytest.mark.parametrize(
    "text",
    ["20260105;093000", "2026-01-05;09:30:00", "2026-01-05, 09:30:00", "20260105 093000", "2026-01-05T09:30:00",
     "20260105;093000 EST", "20260105;143000 UTC", "20260105;103000 EDT"],
)  # fmt: skip
def test_a_flex_query_s_times_are_read_as_they_may_be_set_up(text: str):
    fill = ibkr(dateTime=text)
    assert isinstance(fill, Fill)
    assert fill.executed_at == datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


def test_a_flex_query_s_time_needs_the_zone_of_the_account():
    (refusal,) = records("ibkr", flex(trade()))
    assert reasons([refusal]) == [
        "dateTime: '2026-01-05T09:30:00' has no time zone: add Z or an offset to it, or name the zone with --timezone"
    ]


def test_date_and_time_may_stand_apart():
    fill = ibkr(dateTime=None, tradeDate="2026-01-05", tradeTime="093000")
    assert isinstance(fill, Fill)
    assert fill.executed_at == datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


def test_a_cancellation_takes_back_side_quantity_price_and_fee():
    original = ibkr()
    reversal = ibkr(
        tradeID="8", origTradeID="7", buySell="BUY (Ca.)", quantity="-10", ibCommission="1", dateTime="20260106;093000"
    )
    assert isinstance(original, Fill)
    assert isinstance(reversal, Fill)
    assert (reversal.reverses, reversal.side) == (original.venue_trade_id, Side.SELL)
    assert (reversal.quantity, reversal.price, reversal.fee) == (original.quantity, original.price, -original.fee)


def test_a_commission_that_is_not_there_is_not_known():
    fill = ibkr(ibCommission=None)
    assert isinstance(fill, Fill)
    assert (fill.fee, fill.fee_currency) == (None, None)


def test_an_execution_without_its_account_is_the_statement_s():
    fill = ibkr(accountId=None)
    assert isinstance(fill, Fill)
    assert fill.account == "U1"


@pytest.mark.parametrize(("name", "told"), [("GLOBEX", "CME"), ("ECBOT", "CBOT"), ("NYMEX", "NYMEX"), ("--", None)])
def test_a_contract_is_listed_where_its_exchange_is_called_today(name: str, told: str | None):
    contract = ibkr(assetCategory="FUT", listingExchange="", exchange=name)
    assert isinstance(contract, Fill)
    assert contract.exchange == told


def test_only_executions_are_fills_and_a_confirmation_is_none():
    assert ibkr(levelOfDetail="ORDER") == Skipped(2, "level 'ORDER' sums up what the executions say")
    (refusal,) = records("ibkr", flex('<TradeConfirm tradeID="1" />'))
    assert "is a trade confirmation" in reasons([refusal])[0]


def test_entities_of_xml_itself_are_text():
    fill = ibkr(symbol="AT&amp;T")
    assert isinstance(fill, Fill)
    assert fill.symbol == "AT&T"


# ---- freqtrade -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("UPDATE orders SET filled = -1 WHERE id = 1", "filled: -1 is not above zero"),
        ("UPDATE orders SET average = 0, price = 0 WHERE id = 1", "average: a price of 0 is none"),
        ("UPDATE orders SET average = NULL, price = NULL WHERE id = 1", "average: is missing"),
        ("UPDATE orders SET average = 1e300 * 1e300 WHERE id = 1", "average: inf is not a finite number"),
        ("UPDATE orders SET order_filled_date = NULL WHERE id = 1", "order_filled_date: is missing"),
        ("UPDATE orders SET order_filled_date = 'soon' WHERE id = 1", "order_filled_date: 'soon' is no time"),
        ("UPDATE orders SET ft_order_side = 'hold' WHERE id = 1", "ft_order_side: 'hold' is neither BUY nor SELL"),
        ("UPDATE orders SET ft_pair = x'00ff' WHERE id = 1", "ft_pair: raw bytes is no text"),
        ("UPDATE orders SET ft_pair = CAST(x'42ff43' AS TEXT) WHERE id = 1", "ft_pair: has a control character"),
        ("UPDATE orders SET ft_trade_id = 99 WHERE id = 1", "ft_trade_id: names no trade"),
        ("UPDATE trades SET exchange = '' WHERE id = 1", "exchange: is missing"),
        (
            "UPDATE orders SET ft_pair = 'ETH', id = 0 WHERE id = 4",
            "ft_pair: 'ETH' does not say the currency",
        ),
        ("UPDATE orders SET average = 1e15, filled = 1e15, ft_trade_id = 3 WHERE id = 1", "fee: "),
    ],
)
def test_a_wrong_value_of_freqtrade_is_refused(tmp_path: Path, change: str, reason: str):
    found = records("freqtrade", database(tmp_path, "freqtrade", change))
    assert any(told.startswith(reason) for told in reasons(found[:1])), found[0]
    assert len(found) == 11


def test_a_rate_that_no_exchange_confirmed_counts_only_if_it_is_one(tmp_path: Path):
    def fees(*changes: str) -> list:
        return [
            (fill.fee, fill.fee_currency)
            for fill in fills(records("freqtrade", database(tmp_path, "freqtrade", *changes)))
        ]

    assert fees()[-1] == (None, None)
    assert fees("UPDATE trades SET fee_open = 0.0026 WHERE id = 4")[-1] == (D("0.1248"), "EUR")
    assert fees("UPDATE trades SET fee_open_currency = 'EUR' WHERE id = 4")[-1] == (D(0), "EUR")
    assert fees("UPDATE trades SET fee_open_cost = 0.12, fee_open_currency = 'EUR' WHERE id = 4")[-1] == (
        D("0.12"),
        "EUR",
    )


def test_the_cost_of_a_trade_is_its_one_order_s_whatever_else_was_tried_and_not_filled(tmp_path: Path):
    tried = """
        INSERT INTO orders (id, ft_trade_id, ft_order_side, ft_pair, ft_is_open, ft_amount, ft_price, order_id, amount,
            filled)
        VALUES (99, 1, 'buy', 'BTC/USDT', 0, 1, 1, 'tried', 1, 0)
        """
    found = records("freqtrade", database(tmp_path, "freqtrade", tried))
    assert (fills(found)[0].fee, fills(found)[0].fee_currency) == (D("0.000171"), "BNB")


def test_a_stop_on_the_exchange_is_told_by_its_own_side(tmp_path: Path):
    long_stop = "UPDATE trades SET is_short = 0 WHERE id = 3"
    said = "UPDATE orders SET side = 'buy' WHERE id = 8"
    for changes, side in (((), Side.BUY), ((long_stop,), Side.SELL), ((long_stop, said), Side.BUY)):
        assert fills(records("freqtrade", database(tmp_path, "freqtrade", *changes)))[6].side is side


def test_a_database_of_an_earlier_freqtrade_is_read_without_what_it_does_not_have(tmp_path: Path):
    earlier = ("ALTER TABLE orders DROP COLUMN ft_fee_base", "ALTER TABLE trades DROP COLUMN trading_mode")
    found = fills(records("freqtrade", database(tmp_path, "freqtrade", *earlier)))
    assert len(found) == 8
    assert (found[2].fee, found[2].fee_currency) == (D("0.04"), "USDT")
    assert found[5].asset_class == "cryptofuture", "its symbol says so too"


# ---- Hummingbot ------------------------------------------------------------------------------------------------


SECONDS = "timestamp: 1710327551 is no time in milliseconds since 1970, or one before 2009: are these seconds?"


def hummingbot(folder: Path, change: str) -> Record:
    return records("hummingbot", database(folder, "hummingbot", f"UPDATE TradeFill SET {change} WHERE rowid = 1"))[0]


def fee_of(folder: Path, fee: Any, side: str = "BUY") -> Record:
    text = (fee if isinstance(fee, str) else json.dumps(fee)).replace("'", "''")
    return hummingbot(folder, f"trade_fee = '{text}', trade_type = '{side}'")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("price = 0", "price: a price of 0 is none: nothing can be computed from it"),
        ("price = 0.5", "price: 0.5 is no integer of millionths"),
        ("price = 1e300 * 1e300", "price: inf is not a finite number"),
        ("amount = -250000", "amount: -0.25 is not above zero"),
        ("amount = 'much'", "amount: 'much' is not a decimal number"),
        ("trade_type = 'RANGE'", "trade_type: 'RANGE' is neither BUY nor SELL"),
        ("timestamp = 1710327551", SECONDS),
        ("base_asset = ''", "base_asset: is missing"),
        ("exchange_trade_id = ''", "exchange_trade_id: is missing"),
        ("trade_fee = '{'", "trade_fee: is no JSON object with percent and flat_fees"),
        ("trade_fee = '{}'", "trade_fee: is no JSON object with percent and flat_fees"),
        ("trade_fee = 5", "trade_fee: is no JSON object with percent and flat_fees"),
    ],
)  # fmt: skip
def test_a_wrong_value_of_hummingbot_is_refused(tmp_path: Path, change: str, reason: str):
    found = hummingbot(tmp_path, change)
    assert isinstance(found, Refusal)
    assert found.reasons == (reason,)


FLAT = {"token": "USDT", "amount": "1"}


@pytest.mark.parametrize(
    ("fee", "side", "told"),
    [
        ({"percent": "0", "flat_fees": []}, "BUY", (D(0), "USDT")),
        ({"percent": "0", "flat_fees": [FLAT, FLAT]}, "BUY", (D(2), "USDT")),
        ({"percent": "0.001", "flat_fees": [FLAT], "percent_token": "USDT"}, "SELL", (D("2.00003"), "USDT")),
        ({"percent": 0.001, "flat_fees": [{"asset": "USDT", "amount": 1.0}]}, "BUY", (D("2.00003"), "USDT")),
        ({"percent": "0.001", "fee_type": "DeductedFromReturns", "flat_fees": []}, "SELL", (D("1.00003"), "USDT")),
        ({"percent": "0.001", "fee_type": "DeductedFromReturns", "flat_fees": []}, "BUY", (D("0.00025"), "ETH")),
        ({"percent": "0.001", "percent_token": "ETH", "flat_fees": []}, "SELL", (D("0.00025"), "ETH")),
        ({"percent": "-0.0001", "flat_fees": []}, "SELL", (D("-0.100003"), "USDT")),
    ],
)
def test_a_fee_of_hummingbot_is_flat_or_a_rate(tmp_path: Path, fee: dict, side: str, told: tuple):
    fill = fee_of(tmp_path, fee, side)
    assert isinstance(fill, Fill), fill
    assert (fill.fee, fill.fee_currency) == told


@pytest.mark.parametrize(
    ("fee", "reason"),
    [
        ({"percent": "0.001", "percent_token": "BNB", "flat_fees": []}, "is charged in a third token"),
        ({"percent": "0", "flat_fees": [FLAT, {"token": "BNB", "amount": "1"}]}, "in several currencies (BNB, USDT)"),
        ({"percent": "0", "flat_fees": ["1"]}, "trade_fee.flat_fees: is no object with token and amount"),
        ({"percent": "0", "flat_fees": [{"token": "USDT"}]}, "trade_fee.flat_fees.amount: is missing"),
        ({"percent": "0", "flat_fees": [{"amount": "1"}]}, "trade_fee.flat_fees.token: is missing"),
        ({"percent": "0.00000000000000001", "flat_fees": []}, "decimal places, at most 18 are stored"),
        ({"percent": "x", "flat_fees": []}, "trade_fee.percent: 'x' is not a decimal number"),
        ('{"percent": "0", "percent": "1", "flat_fees": []}', "trade_fee: is no JSON object"),
    ],
)
def test_a_fee_of_hummingbot_that_cannot_be_told_is_refused(tmp_path: Path, fee: Any, reason: str):
    assert any(reason in told for told in reasons([fee_of(tmp_path, fee)]))


def test_the_declared_type_tells_whether_numbers_are_scaled(tmp_path: Path):
    """As its migration leaves a table (integers in a column of doubles), and as it was before it (doubles)."""
    fill = "ALTER TABLE TradeFill {0} COLUMN amount".format
    migrated = (fill("DROP"), fill("ADD") + " FLOAT", "UPDATE TradeFill SET amount = 250000")
    found = fills(records("hummingbot", database(tmp_path, "hummingbot", *migrated)))
    assert (found[0].price, found[0].quantity) == (D("4000.12"), D("0.25"))
    older = (
        *migrated, "UPDATE TradeFill SET amount = 0.25",
        "ALTER TABLE TradeFill DROP COLUMN price", "ALTER TABLE TradeFill ADD COLUMN price FLOAT",
        "UPDATE TradeFill SET price = 4000.1234567",
    )  # fmt: skip
    found = fills(records("hummingbot", database(tmp_path, "hummingbot", *older)))
    assert (found[0].price, found[0].quantity) == (D("4000.1234567"), D("0.25"))
