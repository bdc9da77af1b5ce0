"""The ledger: fills of every bot, from the files of brokers and bots to exact, replayable numbers."""
