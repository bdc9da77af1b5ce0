"""`job reap`."""

from typing import Annotated

import typer

from blaidctl.core.command import DryRun, OnBehalfOf, OutputOption, ReasonOption, TraceId, run_program


def reap(
    max_items: Annotated[int, typer.Option(help="Jobs, and instances, at the most.", metavar="N")] = 100_000,
    batch: Annotated[int, typer.Option(help="Rows a transaction.", metavar="N")] = 500,
    textfile: Annotated[
        str | None, typer.Option(help="Write Prometheus metrics here, as a whole.", metavar="FILE")
    ] = None,
    reason: ReasonOption = None,
    trace_id: TraceId = None,
    dry_run: DryRun = False,
    on_behalf_of: OnBehalfOf = None,
    output: OutputOption = None,
) -> int:
    """End what nobody beats for any more: stale jobs and bot instances, and what they left on this host.

    Looks for RUNNING jobs past their deadline or silent for longer than their type allows, and for silent bot
    instances; watches the silent ones for two heartbeats more; fails those that did not move: jobs with TIMEOUT,
    instances with SUPERVISOR_LOST. Then it kills what their processes left on this host, known by mark or by boot, pid
    and start, and confirms stops that nobody confirmed. For a timer of every minute: idle runs are quick.

    Example: blaidctl job reap --textfile /var/lib/node_exporter/textfile/blaidctl.prom

    Writes: an event a job, one audit entry a batch, one row of the run; the metrics file.

    Exit: 0 nothing is left; 1 something was found and not done (locked, a heartbeat in the future, more than N, a
    process not proven gone); 2 input; 8 no database; 9 busy, outcome unknown, or the metrics are lost.

    Again: safe, also at the same time and from several hosts: each job and instance is ended once.
    """

    def act(ctx: object) -> int:
        from blaidctl.core.operation import resolve

        asked = {"max_items": max_items, "batch": batch, "textfile": textfile, "reason": reason}
        return int(resolve("blaidctl.reaper.run:reap")(ctx, asked, output, dry_run=dry_run))

    return run_program(act, locals(), "job reap")
