"""The audit log read back: verify, tail, export."""
