"""`job …` and `job type …`."""

from typing import Annotated, Any

import typer

from blaidctl.core.command import (
    DryRun,
    EveryOption,
    OnBehalfOf,
    OutputOption,
    ReasonOption,
    RequestIdOption,
    TraceId,
    WatchOption,
    run,
    run_program,
)
from blaidctl.core.dashes import CommandAfterDashes
from blaidctl.core.operation import resolve
from blaidctl.jobs.vocabulary import JobEnd, JobReason, JobStatus

app = typer.Typer(no_args_is_help=True, help="Jobs: bounded work that never stays RUNNING for ever.")
types = typer.Typer(no_args_is_help=True, help="Types of jobs and their limits.")
app.add_typer(types, name="type")

JobNumber = Annotated[int, typer.Argument(metavar="JOB", help="The job's number.")]
Attempt = Annotated[int, typer.Option(help="The attempt that `job start` gave.", metavar="N")]


@types.command("add")
def type_add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Lower case, digits, . _ -")],
    *,
    heartbeat_s: Annotated[int, typer.Option(help="Seconds between two beats; 1 to 30.", metavar="S")],
    stale_after_s: Annotated[
        int, typer.Option(help="Seconds of silence that end a job; at least 3 heartbeats.", metavar="S")
    ],
    max_runtime_s: Annotated[int, typer.Option(help="Seconds that an attempt may take; at most 30 days.", metavar="S")],
    grace_s: Annotated[int, typer.Option(help="Seconds between TERM and KILL; 0 to 300.", metavar="S")],
    reason: ReasonOption = None,
    trace_id: TraceId = None,
    request_id: RequestIdOption = None,
    dry_run: DryRun = False,
    on_behalf_of: OnBehalfOf = None,
    output: OutputOption = None,
) -> int:
    """Register a type of job with its limits; they are never changed.

    Example: blaidctl job type add nightly --heartbeat-s 5 --stale-after-s 60 --max-runtime-s 3600 --grace-s 10

    On SQLite a silence of --stale-after-s should be ten times the longest write of anybody: a beat waits for it.

    Writes: the type, one audit entry. Exit: 0 made, or there with the same limits; 2 input; 4 other limits.

    Again: safe.
    """
    return run("job type add", locals())


@types.command("list")
def type_list(trace_id: TraceId = None, output: OutputOption = None) -> int:
    """List the job types and their limits.

    Example: blaidctl job type list

    Writes: nothing. Exit: 0; 8 no database. Again: safe.
    """
    return run("job type list", locals())


@app.command("run", cls=CommandAfterDashes)
def run_(
    type: Annotated[str, typer.Argument(metavar="TYPE", help="A type of `job type list`.")],
    command: Annotated[
        list[str] | None, typer.Argument(metavar="-- CMD [ARG]", help="The program; no shell in between.")
    ] = None,
    job: Annotated[int | None, typer.Option(help="Not a new job: the next attempt of this one.", metavar="JOB")] = None,
    reason: ReasonOption = None,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Run a program as a job, under supervision: it ends in a terminal state on every path.

    CMD's output is passed on as it comes, and its end is kept with the job. CMD ends with all that it started when the
    type's max_runtime_s is over, when no heartbeat could be written for stale_after_s, when this program is told to
    stop, and when it dies: TERM, then KILL after grace_s. It is told TRACEPARENT, BLAIDCTL_JOB_ID and
    BLAIDCTL_JOB_ATTEMPT.

    Example: blaidctl job run nightly -- ./reconcile --date 2026-01-31

    Writes: the job, its heartbeats, one event and audit entry for the start and the end each.

    Exit: 0 SUCCEEDED; 1 FAILED or CANCELLED, or CMD is not proven gone; 2 input, or CMD is no program; 3 unknown type
    or job; 4 the job runs or has succeeded, or somebody else ended it; 8 no database, or none for stale_after_s; 9
    busy.

    Again: another job; with --job the next attempt of a job that failed.
    """

    def program(ctx: Any) -> int:
        return int(resolve("blaidctl.jobs.runner:run_job")(ctx, type, job, reason, command))

    return run_program(program, locals(), "job run")


@app.command("start")
def start(
    type: Annotated[str, typer.Argument(metavar="TYPE", help="A type of `job type list`.")],
    job: Annotated[int | None, typer.Option(help="Not a new job: the next attempt of this one.", metavar="JOB")] = None,
    pid: Annotated[
        int | None,
        typer.Option(help="The worker's process on this host; `job reap` ends it with the job.", metavar="PID"),
    ] = None,
    reason: ReasonOption = None,
    trace_id: TraceId = None,
    request_id: RequestIdOption = None,
    dry_run: DryRun = False,
    on_behalf_of: OnBehalfOf = None,
    output: OutputOption = None,
) -> int:
    """Start a job that supervises itself: it must beat every heartbeat_s, and finish before deadline_at.

    The answer names the job and the attempt; `job beat` and `job finish` need both.

    Example: blaidctl job start nightly --pid $$

    Writes: the job RUNNING, a job event STARTED, one audit entry.

    Exit: 0 started; 2 input, or the process does not live here; 3 unknown type or job; 4 the job runs, or has
    succeeded; 8, 9 nothing written.

    Again: another job, unless --request-id is the same.
    """
    return run("job start", locals())


@app.command("beat")
def beat(
    job: JobNumber,
    *,
    attempt: Attempt,
    reason: ReasonOption = None,
    trace_id: TraceId = None,
    request_id: RequestIdOption = None,
    dry_run: DryRun = False,
    on_behalf_of: OnBehalfOf = None,
    output: OutputOption = None,
) -> int:
    """Beat the heart of a running job. Exit 4 means: stop working at once.

    Example: blaidctl job beat 17 --attempt 1 || exit

    Writes: the heartbeat; no audit entry (a sign of life is no act), but a refused beat is one.

    Exit: 0 beaten; 2 input; 3 unknown job; 4 the attempt is over; 8, 9 not beaten: try again.

    Again: safe, as often as you like.
    """
    return run("job beat", locals())


@app.command("finish")
def finish(
    job: JobNumber,
    *,
    attempt: Attempt,
    status: Annotated[JobEnd, typer.Option(help=f"One of {', '.join(JobEnd)}.", metavar="STATUS")],
    reason_code: Annotated[
        JobReason | None,
        typer.Option(help=f"One of {', '.join(JobReason)}; default COMPLETED or REPORTED.", metavar="CODE"),
    ] = None,
    result: Annotated[
        str | None, typer.Option(help="A JSON object, at most 64 KiB; `-` reads standard input.", metavar="JSON")
    ] = None,
    reason: ReasonOption = None,
    trace_id: TraceId = None,
    request_id: RequestIdOption = None,
    dry_run: DryRun = False,
    on_behalf_of: OnBehalfOf = None,
    output: OutputOption = None,
) -> int:
    """End the running attempt of a job.

    Example: blaidctl job finish 17 --attempt 1 --status SUCCEEDED --result '{"rows": 12}'

    Writes: the end of the job, a job event, one audit entry.

    Exit: 0 ended; 2 input; 3 unknown job; 4 the attempt is over already; 8, 9 nothing written: try again.

    Again: refused (4), unless --request-id is the same.
    """
    return run("job finish", locals())


@app.command("list")
def list_(
    type: Annotated[str | None, typer.Option(help="Only of this type.")] = None,
    status: Annotated[JobStatus | None, typer.Option(help=f"One of {', '.join(JobStatus)}.", metavar="STATUS")] = None,
    limit: Annotated[int, typer.Option(help="How many at the most.", metavar="N")] = 20,
    watch: WatchOption = False,
    every: EveryOption = None,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """List the jobs, newest first.

    Example: blaidctl job list --status RUNNING --watch

    Writes: nothing. Exit: 0, also when there are none; 2 input, or --watch without a terminal; 3 unknown type; 8 no
    database.

    Again: safe.
    """
    return run("job list", locals())


@app.command("show")
def show(
    job: JobNumber,
    limit: Annotated[int, typer.Option(help="How many events, of the latest.", metavar="N")] = 100,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Show one job, the timeline of its attempts, and what it said last.

    Example: blaidctl job show 17

    Writes: nothing. Exit: 0; 2 input; 3 unknown job; 8 no database. Again: safe.
    """
    return run("job show", locals())


@app.command("events")
def events(
    job: Annotated[int | None, typer.Argument(metavar="JOB")] = None,
    limit: Annotated[int, typer.Option(help="How many at the most.", metavar="N")] = 100,
    trace_id: TraceId = None,
    output: OutputOption = None,
) -> int:
    """Read the job events, newest first.

    Example: blaidctl job events 17

    Writes: nothing. Exit: 0, also when there are none; 2 input; 3 unknown job; 8 no database. Again: safe.
    """
    return run("job events", locals())
