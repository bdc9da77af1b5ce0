"""A served desk for the tests of this folder, too."""

from tests.http.conftest import served

__all__ = ["served"]
