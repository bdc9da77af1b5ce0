-- The database of a freqtrade bot, as its versions since 2023.5 leave it: see README.md for where this comes from.
CREATE TABLE trades (
    id INTEGER NOT NULL PRIMARY KEY, exchange VARCHAR(25) NOT NULL, pair VARCHAR(25) NOT NULL,
    base_currency VARCHAR(25), stake_currency VARCHAR(25), is_open BOOLEAN NOT NULL, fee_open FLOAT NOT NULL,
    fee_open_cost FLOAT, fee_open_currency VARCHAR(25), fee_close FLOAT, fee_close_cost FLOAT,
    fee_close_currency VARCHAR(25), open_rate FLOAT, open_rate_requested FLOAT, open_trade_value FLOAT,
    close_rate FLOAT, close_rate_requested FLOAT, realized_profit FLOAT, close_profit FLOAT, close_profit_abs FLOAT,
    stake_amount FLOAT NOT NULL, max_stake_amount FLOAT, amount FLOAT, amount_requested FLOAT, open_date DATETIME NOT NULL,
    close_date DATETIME, stop_loss FLOAT, stop_loss_pct FLOAT, initial_stop_loss FLOAT, initial_stop_loss_pct FLOAT,
    is_stop_loss_trailing BOOLEAN NOT NULL, stoploss_order_id VARCHAR(255), stoploss_last_update DATETIME,
    max_rate FLOAT, min_rate FLOAT, exit_reason VARCHAR(255), exit_order_status VARCHAR(100), strategy VARCHAR(100),
    enter_tag VARCHAR(255), timeframe INTEGER, trading_mode VARCHAR(7), amount_precision FLOAT, price_precision FLOAT,
    precision_mode INTEGER, contract_size FLOAT, leverage FLOAT, is_short BOOLEAN NOT NULL, liquidation_price FLOAT,
    interest_rate FLOAT NOT NULL, funding_fees FLOAT
);
CREATE TABLE orders (
    id INTEGER NOT NULL PRIMARY KEY, ft_trade_id INTEGER NOT NULL REFERENCES trades (id),
    ft_order_side VARCHAR(25) NOT NULL, ft_pair VARCHAR(25) NOT NULL, ft_is_open BOOLEAN NOT NULL,
    ft_amount FLOAT NOT NULL, ft_price FLOAT NOT NULL, order_id VARCHAR(255) NOT NULL, status VARCHAR(255),
    symbol VARCHAR(25), order_type VARCHAR(50), side VARCHAR(25), price FLOAT, average FLOAT, amount FLOAT, filled FLOAT,
    remaining FLOAT, cost FLOAT, stop_price FLOAT, order_date DATETIME, order_filled_date DATETIME,
    order_update_date DATETIME, funding_fee FLOAT, ft_fee_base FLOAT,
    CONSTRAINT _order_pair_order_id UNIQUE (ft_pair, order_id)
);
CREATE INDEX ix_orders_ft_trade_id ON orders (ft_trade_id);
INSERT INTO trades (id, exchange, pair, base_currency, stake_currency, is_open, fee_open, fee_open_cost,
    fee_open_currency, fee_close, fee_close_cost, fee_close_currency, stake_amount, open_date, trading_mode, leverage,
    is_short, is_stop_loss_trailing, interest_rate) VALUES
  -- Spot; fees in BNB, one order a side: the costs are those of the orders.
  (1, 'binance', 'BTC/USDT', 'BTC', 'USDT', 0, 0.00075, 0.000171, 'BNB', 0.00075, 0.000174, 'BNB', 68.4,
   '2024-03-13 10:59:11.703000', 'SPOT', 1.0, 0, 0, 0.0),
  -- Spot; two entries, so that the cost is only the first one's and the rate counts; a coin fee on the first.
  (2, 'binance', 'ETH/USDT', 'ETH', 'USDT', 0, 0.001, 0.00001, 'ETH', 0.001, NULL, NULL, 200.0,
   '2024-03-14 08:00:00.000000', 'SPOT', 1.0, 0, 0, 0.0),
  -- A short perpetual that ended by a stop on the exchange.
  (3, 'binance', 'ETH/USDT:USDT', 'ETH', 'USDT', 0, 0.0004, 0.4, 'USDT', 0.0004, NULL, NULL, 500.0,
   '2024-03-15 09:00:00.000000', 'FUTURES', 2.0, 1, 0, 0.0),
  -- Still open; no fee rate is known.
  (4, 'kraken', 'XRP/EUR', 'XRP', 'EUR', 1, 0.0, NULL, NULL, 0.0, NULL, NULL, 50.0,
   '2024-03-16 09:00:00.000000', 'SPOT', 1.0, 0, 0, 0.0);
INSERT INTO orders (id, ft_trade_id, ft_order_side, ft_pair, ft_is_open, ft_amount, ft_price, order_id, status, side,
    order_type, price, average, amount, filled, order_date, order_filled_date, ft_fee_base) VALUES
  (1, 1, 'buy', 'BTC/USDT', 0, 0.001, 68400.0, '28457001', 'closed', 'buy', 'limit', 68400.0, 68399.99, 0.001, 0.001,
   '2024-03-13 10:59:10.000000', '2024-03-13 10:59:11.703123', NULL),
  (2, 1, 'sell', 'BTC/USDT', 0, 0.001, 69600.0, '28457002', 'closed', 'sell', 'market', NULL, 69600.1, 0.001, 0.001,
   '2024-03-13 12:00:00.000000', '2024-03-13 12:00:01.000000', NULL),
  (3, 2, 'buy', 'ETH/USDT', 0, 0.01, 4000.0, '28457003', 'closed', 'buy', 'limit', 4000.0, 4000.0, 0.01, 0.01,
   '2024-03-14 08:00:00.000000', '2024-03-14 08:00:05.000000', 0.00001),
  (4, 2, 'buy', 'ETH/USDT', 0, 0.02, 3900.0, '28457004', 'canceled', 'buy', 'limit', 3900.0, 3900.5, 0.02, 0.005,
   '2024-03-14 09:00:00.000000', '2024-03-14 09:10:00.000000', NULL),
  (5, 2, 'sell', 'ETH/USDT', 0, 0.01499, 4100.0, '28457005', 'closed', 'sell', 'limit', 4100.0, NULL, 0.01499, NULL,
   '2024-03-14 10:00:00.000000', '2024-03-14 10:00:09.000000', NULL),
  (6, 2, 'buy', 'ETH/USDT', 0, 0.02, 3800.0, '28457006', 'canceled', 'buy', 'limit', 3800.0, NULL, 0.02, 0.0,
   '2024-03-14 11:00:00.000000', NULL, NULL),
  (7, 3, 'sell', 'ETH/USDT:USDT', 0, 0.25, 4000.0, '38457007', 'closed', 'sell', 'market', 4000.0, 4000.0, 0.25, 0.25,
   '2024-03-15 09:00:00.000000', '2024-03-15 09:00:01.000000', NULL),
  (8, 3, 'stoploss', 'ETH/USDT:USDT', 0, 0.25, 4200.0, '38457008', 'closed', NULL, 'stop', 4200.0, 4201.25, 0.25, 0.25,
   '2024-03-15 09:00:02.000000', '2024-03-15 17:30:00.000000', NULL),
  (9, 4, 'buy', 'XRP/EUR', 0, 80.0, 0.6, 'OQCLML-BW3P3-BUCMWZ', 'closed', 'buy', 'limit', 0.6, 0.6, 80.0, 80.0,
   '2024-03-16 09:00:00.000000', '2024-03-16 09:00:03.000000', NULL),
  (10, 4, 'sell', 'XRP/EUR', 1, 80.0, 0.7, 'OQCLML-BW3P3-BUCMWX', 'open', 'sell', 'limit', 0.7, NULL, 80.0, 20.0,
   '2024-03-16 10:00:00.000000', NULL, NULL),
  (11, 4, 'sell', 'XRP/EUR', 1, 80.0, 0.8, 'OQCLML-BW3P3-BUCMWY', 'open', 'sell', 'limit', 0.8, NULL, 80.0, 0.0,
   '2024-03-16 10:00:00.000000', NULL, NULL);
