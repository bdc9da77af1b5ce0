"""Providers of data and of fills: what they are, whether they can be relied on now, and fetching fills from them."""
