"""`quickstart`."""

from typing import TYPE_CHECKING

from blaidctl.core.command import TraceId, run_program

if TYPE_CHECKING:
    from blaidctl.core.context import Context


def quickstart(trace_id: TraceId = None) -> int:
    """See the main job on this machine: a sandbox fleet, two real processes, a kill that is seen to end one.

    Example: blaidctl quickstart

    Writes: a new sandbox folder with a SQLite database; never the configured database.

    Exit: 0 all was seen; 1 something was not as it must be. Again: safe; each run has a sandbox of its own.
    """

    def act(ctx: "Context") -> int:
        from blaidctl.quickstart.play import play

        return play(ctx)

    return run_program(act, locals(), "quickstart")
