"""`quickstart`."""


def quickstart() -> int:
    """Placeholder during construction."""
    return 70
