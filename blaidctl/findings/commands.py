"""`endpoints`."""

from typing import TYPE_CHECKING

from blaidctl.core.command import OutputOption, TraceId, chosen_output, run_program, write_out
from blaidctl.core.vocabulary import Output

if TYPE_CHECKING:
    from blaidctl.core.context import Context


def endpoints(trace_id: TraceId = None, output: OutputOption = None) -> int:
    """Print every operation of the product and whether it works: PRODUCTION, 501 or BLOCKED.

    Example: blaidctl endpoints --output csv

    Writes: nothing; needs no database. Exit: 0. Again: safe.
    """

    def act(ctx: "Context") -> int:
        from blaidctl.core.present import render_rows
        from blaidctl.findings.endpoints import COLUMNS, rows, seen_by_a_person

        shape = chosen_output(output)
        columns = seen_by_a_person() if shape is Output.TABLE else COLUMNS
        text = render_rows("endpoints", ctx.trace_id, rows(), columns, shape)
        write_out(text, done="nothing was written")
        return 0

    return run_program(act, locals(), "endpoints")
