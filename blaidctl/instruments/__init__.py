"""Instruments, the sessions that they trade in, and currencies beyond ISO 4217: from files into tables."""
