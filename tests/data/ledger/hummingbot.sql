-- The database of a Hummingbot with its schema of 20230516: see README.md for where this comes from.
CREATE TABLE "Metadata" ("key" TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL);
INSERT INTO "Metadata" VALUES ('local_db_version', '20230516');
CREATE TABLE "TradeFill" (
    config_file_path TEXT NOT NULL, strategy TEXT NOT NULL, market TEXT NOT NULL, symbol TEXT NOT NULL,
    base_asset TEXT NOT NULL, quote_asset TEXT NOT NULL, timestamp BIGINT NOT NULL, order_id TEXT NOT NULL,
    trade_type TEXT NOT NULL, order_type TEXT NOT NULL, price BIGINT NOT NULL, amount BIGINT NOT NULL,
    leverage INTEGER NOT NULL, trade_fee JSON NOT NULL, trade_fee_in_quote BIGINT, exchange_trade_id TEXT NOT NULL,
    position TEXT,
    PRIMARY KEY (market, order_id, exchange_trade_id)
);
CREATE INDEX tf_config_timestamp_index ON "TradeFill" (config_file_path, timestamp);
INSERT INTO "TradeFill" VALUES
  -- A flat fee in the quote currency.
  ('conf_pure_mm_1.yml', 'pure_market_making', 'binance', 'ETH-USDT', 'ETH', 'USDT', 1710327551703,
   'x-MG43PCSNBETUT60f3a1', 'BUY', 'LIMIT_MAKER', 4000120000, 250000, 1,
   '{"fee_type": "AddedToCost", "percent": "0", "percent_token": null, "flat_fees": [{"token": "USDT", "amount": "0.75002250"}]}',
   750022, '1234567', 'NIL'),
  -- Paid in BNB, in two parts.
  ('conf_pure_mm_1.yml', 'pure_market_making', 'binance', 'ETH-USDT', 'ETH', 'USDT', 1710327561000,
   'x-MG43PCSNSETUT60f3b2', 'SELL', 'LIMIT_MAKER', 4010000000, 250000, 1,
   '{"fee_type": "DeductedFromReturns", "percent": "0", "percent_token": null, "flat_fees": [{"token": "BNB", "amount": "0.001"}, {"token": "BNB", "amount": "0.0003"}]}',
   501000, '1234568', 'NIL'),
  -- A rate on the value, taken out of the coins that were bought.
  ('conf_pure_mm_1.yml', 'pure_market_making', 'kucoin', 'ETH-USDT', 'ETH', 'USDT', 1710327571000,
   'BETUT60f3c3', 'BUY', 'LIMIT', 4000000000, 500000, 1,
   '{"fee_type": "DeductedFromReturns", "percent": "0.001", "percent_token": null, "flat_fees": []}',
   2000000, '65f1a0c0d1e2f30001a2b3c4', 'NIL'),
  -- A rate on the value of a perpetual; nothing is charged on the way out.
  ('conf_perp_1.yml', 'perpetual_market_making', 'binance_perpetual', 'BTC-USDT', 'BTC', 'USDT', 1710327581000,
   'x-3QreWesyBBTUT60f3d4', 'BUY', 'LIMIT', 73245900000, 1320, 5,
   '{"fee_type": "AddedToCost", "percent": "0.0002", "percent_token": "USDT", "flat_fees": []}',
   19336, '2001', 'OPEN'),
  ('conf_perp_1.yml', 'perpetual_market_making', 'binance_perpetual', 'BTC-USDT', 'BTC', 'USDT', 1710327591000,
   'x-3QreWesySBTUT60f3e5', 'SELL', 'LIMIT', 73250000000, 1320, 5,
   '{"fee_type": "DeductedFromReturns", "percent": "0", "percent_token": null, "flat_fees": []}',
   0, '2002', 'CLOSE');
