"""The command line with small parts, killed at one of its statements or commits; says on stderr how many it passed.

crash.py PART_ROWS POINT WORD…      POINT 0: never
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

from blaidctl.cli import main
from blaidctl.ledger import imports

passed = 0


def step(*_: Any, **__: Any) -> None:
    """Count a point; die at the one that was asked for, as with kill -9."""
    global passed  # noqa: PLW0603 - a program of its own
    passed += 1
    if passed == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    imports.PART_ROWS = int(sys.argv[1])
    for name in ("before_cursor_execute", "after_cursor_execute", "commit"):
        event.listen(Engine, name, step)
    code = main(sys.argv[3:])
    sys.stderr.write(f"\npoints {passed}\n")
    sys.exit(code)
