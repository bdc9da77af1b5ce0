"""Run a command line that kills itself with SIGKILL when a function is called for the Nth time.

killed_at.py MODULE ATTRIBUTE N WORDS…
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from tests.database.desk import die


def main(module_name: str, attribute: str, number: str, *words: str) -> int:
    """Put the trap, then run the command line."""
    from blaidctl.cli import main as command_line

    owner: Any = importlib.import_module(module_name)
    *path, name = attribute.split(".")
    for part in path:
        owner = getattr(owner, part)
    real, left = getattr(owner, name), [int(number)]

    def trap(*arguments: Any, **named: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            die()
        return real(*arguments, **named)

    setattr(owner, name, trap)
    return command_line(list(words))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
