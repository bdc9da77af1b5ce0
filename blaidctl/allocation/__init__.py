"""Allocation: capital over bots by a policy, from the ledger's numbers, exact and replayable."""
