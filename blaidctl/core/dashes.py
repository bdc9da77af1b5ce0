"""Commands that run another program: its command line stands after `--`, all of it, and nothing else does."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand


class CommandAfterDashes(TyperCommand):
    """A command with a parameter `command` that takes what stands after the dashes."""

    #: Whether there must be a program.
    needed = True

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as always, then compare with what stood after the dashes: the parser itself drops them."""
        given = [*args, "--"]
        rest = super().parse_args(ctx, args)
        after = given[given.index("--") + 1 : -1]
        if ctx.resilient_parsing:  # completing words at a prompt
            return rest
        if (self.needed and not after) or list(ctx.params["command"] or ()) != after:
            raise typer.TyperException(f"give the program after `--`: {ctx.command_path} … -- CMD ARG…")
        return rest


class MaybeCommandAfterDashes(CommandAfterDashes):
    """The same, for a command that has a program of its own where none is given."""

    needed = False
