"""`doctor`."""

from blaidctl.core.command import OutputOption, TraceId, run


def doctor(trace_id: TraceId = None, output: OutputOption = None) -> int:
    """Look whether this installation is fit to stop a fleet: host, database, schema, reaper, stops, clocks.

    Example: blaidctl doctor

    Each check says OK, FINDING, NOT_CHECKED or INFO, and what to do. A database that does not answer is a finding; what
    can be seen without it is still told.

    Writes: nothing. Exit: 0 no finding; 1 findings, each named. Again: safe; run it every day.
    """
    return run("doctor", locals())
