"""Reading millions of rows: plain tuples from the driver's own cursor, in constant memory."""

from __future__ import annotations

import contextlib
import itertools
import re
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import OperationalError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection

BATCH_ROWS = 5_000
_names = itertools.count()
_PARAMETER = re.compile(r"(?<![:\w]):(\w+)")


class NotUtf8Error(Exception):
    """A text in the database is not UTF-8: SQLite stores whatever bytes it is given, blaidctl never wrote these."""


@contextlib.contextmanager
def rows(connection: Connection, sql: str, **parameters: Any) -> Iterator[Any]:
    """Open the driver's cursor inside the connection's transaction; several may be open at once.

    Parameters stand in the text as `:name`; times among them are canonical text.
    """
    driver: Any = connection.connection.driver_connection
    sqlite = connection.dialect.name == "sqlite"
    cursor = driver.cursor() if sqlite else driver.cursor(name=f"blaidctl_{next(_names)}")
    try:
        if sqlite:
            cursor.arraysize = BATCH_ROWS
            cursor.execute(sql, parameters)
        else:
            cursor.itersize = BATCH_ROWS
            cursor.execute(_PARAMETER.sub(r"%(\1)s", sql) if parameters else sql, parameters or None, binary=True)
        yield cursor
    except connection.dialect.loaded_dbapi.Error as error:
        if "decode to UTF-8" in str(error):
            raise NotUtf8Error(str(error)) from error
        raise OperationalError(sql, None, error) from error  # as SQLAlchemy's own cursor raises it
    finally:
        with contextlib.suppress(
            Exception
        ):  # the connection may be gone already; the rows were read or the error is on its way
            cursor.close()


def time_column(name: str, kind: str) -> str:
    """Return the SQL that gives a time as canonical text, without a conversion a row in Python."""
    if kind == "sqlite":
        return name
    return f"to_char({name} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"


def in_code_order(name: str, kind: str) -> str:
    """Return an ORDER BY term by code point, so that both engines and Python sort alike."""
    return name if kind == "sqlite" else f'{name} COLLATE "C"'
