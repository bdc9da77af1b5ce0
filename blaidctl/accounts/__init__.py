"""Broker accounts, and the limits under which bots may use them."""
