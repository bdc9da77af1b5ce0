"""THE MAP: every operation of the product, one row each.

Handlers are strings, so that the map costs no import; a test resolves each. `blaidctl endpoints` and the table in
AUDIT_FINDINGS.md are printed from here. A row without a handler answers 501 with what is missing and names its finding.
"""

from __future__ import annotations

from blaidctl.core.operation import Operation

OPERATIONS: tuple[Operation, ...] = (
    # --- kill engine -------------------------------------------------------------------------------------------
    Operation(
        name="kill",
        summary="Kill bots: no instance of theirs may trade from this COMMIT on.",
        words=("kill",),
        verb="POST",
        path="/api/bots/{id}/kill",
        path_fields={"id": "bots"},
        cli_only=("user", "account", "tag", "exchange", "all", "confirm_count"),
        http_at_most={"wait": 30},
        request="blaidctl.kill.contract:Kill",
        result="blaidctl.kill.contract:Killed",
        handler="blaidctl.kill.service:kill",
        settle="blaidctl.kill.service:confirm_stops",
        writes=True,
        urgent=True,
    ),
    Operation(
        name="resurrect",
        summary="End a kill; with --restart, supervisors that stand by start their process again.",
        words=("resurrect",),
        verb="POST",
        path="/api/bots/{id}/resurrect",
        path_fields={"id": "bot"},
        request="blaidctl.kill.contract:Resurrect",
        result="blaidctl.kill.contract:Resurrected",
        handler="blaidctl.kill.service:resurrect",
        settle="blaidctl.kill.service:confirm_restart",
        http_at_most={"wait": 30},
        writes=True,
    ),
    Operation(
        name="kill-events",
        summary="Read the kill events, newest first.",
        words=("kill-events",),
        verb="GET",
        path="/api/kill-events",
        request="blaidctl.kill.contract:ListKillEvents",
        result="blaidctl.kill.contract:KillEvents",
        handler="blaidctl.kill.service:list_kill_events",
    ),
    Operation(
        name="bot kill-events",
        summary="Read the kill events of one bot.",
        verb="GET",
        path="/api/bots/{id}/kill-events",
        path_fields={"id": "bot"},
        request="blaidctl.kill.contract:ListKillEvents",
        result="blaidctl.kill.contract:KillEvents",
        handler="blaidctl.kill.service:list_kill_events",
    ),
    # --- fleet -------------------------------------------------------------------------------------------------
    Operation(
        name="guard",
        summary="May this bot trade? No when in doubt.",
        words=("guard",),
        request="blaidctl.fleet.contract:Guard",
        result="blaidctl.fleet.contract:GuardAnswer",
        handler="blaidctl.fleet.service:guard",
        doubt="blaidctl.fleet.service:guard_in_doubt",
    ),
    Operation(
        name="status",
        summary="The fleet at a glance.",
        words=("status",),
        request="blaidctl.fleet.contract:ShowStatus",
        result="blaidctl.fleet.contract:FleetStatus",
        handler="blaidctl.fleet.service:status",
        watchable=True,
    ),
    Operation(
        name="user add",
        summary="Register an owner of bots.",
        words=("user", "add"),
        request="blaidctl.fleet.contract:AddUser",
        result="blaidctl.fleet.contract:AddedUser",
        handler="blaidctl.fleet.service:add_user",
        writes=True,
    ),
    Operation(
        name="user list",
        summary="List the users.",
        words=("user", "list"),
        request="blaidctl.fleet.contract:ListUsers",
        result="blaidctl.fleet.contract:UserList",
        handler="blaidctl.fleet.service:list_users",
    ),
    Operation(
        name="bot add",
        summary="Register a bot.",
        words=("bot", "add"),
        request="blaidctl.fleet.contract:AddBot",
        result="blaidctl.fleet.contract:AddedBot",
        handler="blaidctl.fleet.service:add_bot",
        writes=True,
    ),
    Operation(
        name="bot list",
        summary="List the bots.",
        words=("bot", "list"),
        request="blaidctl.fleet.contract:ListBots",
        result="blaidctl.fleet.contract:BotList",
        handler="blaidctl.fleet.service:list_bots",
    ),
    Operation(
        name="bot show",
        summary="Show one bot, the kill that holds it, its latest instances.",
        words=("bot", "show"),
        request="blaidctl.fleet.contract:ShowBot",
        result="blaidctl.fleet.contract:BotDetail",
        handler="blaidctl.fleet.service:show_bot",
    ),
    Operation(
        name="bot run",
        summary="Run a bot's real process under supervision.",
        words=("bot", "run"),
        program="blaidctl.fleet.supervisor:run_bot",
    ),
    Operation(
        name="instance start",
        summary="A supervisor asks for the right to run a process.",
        request="blaidctl.fleet.contract:StartInstance",
        result="blaidctl.fleet.contract:StartedInstance",
        handler="blaidctl.fleet.service:start_instance",
        writes=True,
    ),
    Operation(
        name="instance run",
        summary="A supervisor reports its process.",
        request="blaidctl.fleet.contract:RunInstance",
        result="blaidctl.fleet.contract:InstanceState",
        handler="blaidctl.fleet.service:run_instance",
        writes=True,
    ),
    Operation(
        name="instance finish",
        summary="A supervisor reports that its process is gone.",
        request="blaidctl.fleet.contract:FinishInstance",
        result="blaidctl.fleet.contract:InstanceState",
        handler="blaidctl.fleet.service:finish_instance",
        writes=True,
        urgent=True,
    ),
    # --- instruments and accounts ------------------------------------------------------------------------------
    *(
        Operation(
            name=f"instrument {word}",
            summary=summary,
            words=("instrument", word),
            verb="GET" if path else "",
            path=path,
            missing_requirements=("tables instruments, instrument_events, sessions", "a loader for real files"),
            finding="F-002",
        )
        for word, summary, path in (
            ("load", "Load instruments from a file.", ""),
            ("list", "List the instruments.", "/api/instruments"),
            ("show", "Show one instrument.", "/api/instruments/{exchange}/{symbol}"),
            ("deactivate", "Take an instrument out of use.", ""),
            ("events", "Read the instrument events.", ""),
        )
    ),
    *(
        Operation(
            name=f"account {word}",
            summary=summary,
            words=("account", word),
            verb=verb,
            path=path,
            missing_requirements=("tables broker_accounts, account_links, broker_account_events", "the risk policy"),
            finding="F-003",
        )
        for word, summary, verb, path in (
            ("add", "Register a broker account.", "", ""),
            ("link", "Link a bot to an account, under limits.", "POST", "/api/bots/{id}/account-link"),
            ("unlink", "End a link.", "DELETE", "/api/bots/{id}/account-link"),
            ("limits", "Change the limits of a link.", "", ""),
            ("list", "List the broker accounts.", "", ""),
            ("show", "Show one broker account.", "", ""),
            ("events", "Read the account events.", "GET", "/api/accounts/{id}/events"),
        )
    ),
    # --- ledger and allocation ---------------------------------------------------------------------------------
    *(
        Operation(
            name=f"ledger {word}",
            summary=summary,
            words=("ledger", word),
            verb="GET" if path else "",
            path=path,
            missing_requirements=("tables trades, ledger_imports, capital_flows, fx_rates", "the exact ledger engine"),
            finding="F-006",
        )
        for word, summary, path in (
            ("import", "Import fills from a file.", ""),
            ("metrics", "Profitability from the ledger.", "/api/bots/{id}/metrics"),
            ("equity", "The equity curve and its drawdowns.", ""),
            ("reconcile", "Compare the ledger with a statement.", ""),
            ("flow", "Record a capital flow.", ""),
            ("rate", "Record an FX rate.", ""),
            ("mark", "Record a mark.", ""),
            ("pull", "Fetch fills from a provider.", ""),
        )
    ),
    *(
        Operation(
            name=f"allocation {word}",
            summary=summary,
            words=("allocation", word),
            verb=verb,
            path=path,
            missing_requirements=("tables allocation_runs, allocation_lines", "the ledger"),
            finding="F-007",
        )
        for word, summary, verb, path in (
            ("run", "Allocate capital over the bots.", "POST", "/api/allocations"),
            ("audit", "Recompute a stored run and prove it.", "", ""),
            ("show", "Show one run.", "GET", "/api/allocations/{id}"),
            ("list", "List the runs.", "", ""),
        )
    ),
    # --- jobs, backtests, providers ----------------------------------------------------------------------------
    Operation(
        name="job type add",
        summary="Register a type of job with its limits; no type exists without them.",
        words=("job", "type", "add"),
        request="blaidctl.jobs.contract:AddJobType",
        result="blaidctl.jobs.contract:AddedJobType",
        handler="blaidctl.jobs.service:add_type",
        writes=True,
    ),
    Operation(
        name="job type list",
        summary="List the job types and their limits.",
        words=("job", "type", "list"),
        request="blaidctl.jobs.contract:ListJobTypes",
        result="blaidctl.jobs.contract:JobTypeList",
        handler="blaidctl.jobs.service:list_types",
    ),
    Operation(
        name="job run",
        summary="Run a job's real process under supervision.",
        words=("job", "run"),
        program="blaidctl.jobs.runner:run_job",
    ),
    Operation(
        name="job start",
        summary="Start a job that supervises itself, or its next attempt.",
        words=("job", "start"),
        request="blaidctl.jobs.contract:StartJob",
        result="blaidctl.jobs.contract:StartedJob",
        handler="blaidctl.jobs.service:start_job",
        writes=True,
    ),
    Operation(
        name="job beat",
        summary="Beat the heart of a running job.",
        words=("job", "beat"),
        request="blaidctl.jobs.contract:BeatJob",
        result="blaidctl.jobs.contract:Beaten",
        handler="blaidctl.jobs.service:beat_job",
        writes=True,
        sign_of_life=True,
        urgent=True,
    ),
    Operation(
        name="job finish",
        summary="End the running attempt of a job.",
        words=("job", "finish"),
        request="blaidctl.jobs.contract:FinishJob",
        result="blaidctl.jobs.contract:JobState",
        handler="blaidctl.jobs.service:finish_job",
        writes=True,
        urgent=True,
    ),
    Operation(
        name="job begin",
        summary="A supervisor starts a job, or its next attempt, under its own name.",
        request="blaidctl.jobs.contract:BeginJob",
        result="blaidctl.jobs.contract:StartedJob",
        handler="blaidctl.jobs.service:begin_job",
        writes=True,
    ),
    Operation(
        name="job report",
        summary="A supervisor reports its process.",
        request="blaidctl.jobs.contract:ReportJob",
        result="blaidctl.jobs.contract:JobState",
        handler="blaidctl.jobs.service:report_job",
        writes=True,
    ),
    Operation(
        name="job end",
        summary="A supervisor reports that its process is gone, how, and what it said last.",
        request="blaidctl.jobs.contract:EndJob",
        result="blaidctl.jobs.contract:JobState",
        handler="blaidctl.jobs.service:end_job",
        writes=True,
        urgent=True,
    ),
    Operation(
        name="job reap",
        summary="End what nobody beats for: stale jobs and instances, exactly once, and what they left on this host.",
        words=("job", "reap"),
        program="blaidctl.reaper.run:reap",
        result="blaidctl.reaper.contract:Reaped",
        writes=True,
    ),
    Operation(
        name="job reap batch",
        summary="The reaper fails jobs that it saw silent, or past their deadline.",
        request="blaidctl.reaper.contract:ReapBatch",
        result="blaidctl.reaper.contract:ReapedBatch",
        handler="blaidctl.reaper.service:reap_jobs",
        writes=True,
    ),
    Operation(
        name="instance reap batch",
        summary="The reaper fails instances that it saw silent.",
        request="blaidctl.reaper.contract:ReapBatch",
        result="blaidctl.reaper.contract:ReapedBatch",
        handler="blaidctl.reaper.service:reap_instances",
        writes=True,
    ),
    Operation(
        name="instance confirm stops",
        summary="The reaper found the processes of stopped instances gone.",
        request="blaidctl.reaper.contract:ConfirmStops",
        result="blaidctl.reaper.contract:ConfirmedStops",
        handler="blaidctl.reaper.service:confirm_stops",
        writes=True,
    ),
    Operation(
        name="job reap run",
        summary="The reaper records a run, idle ones too.",
        request="blaidctl.reaper.contract:RecordRun",
        result="blaidctl.reaper.contract:Reaped",
        handler="blaidctl.reaper.service:record_run",
        writes=True,
    ),
    Operation(
        name="job list",
        summary="List the jobs, newest first.",
        words=("job", "list"),
        request="blaidctl.jobs.contract:ListJobs",
        result="blaidctl.jobs.contract:JobList",
        handler="blaidctl.jobs.service:list_jobs",
        watchable=True,
    ),
    Operation(
        name="job show",
        summary="Show one job, its events and its last output.",
        words=("job", "show"),
        request="blaidctl.jobs.contract:ShowJob",
        result="blaidctl.jobs.contract:JobDetail",
        handler="blaidctl.jobs.service:show_job",
    ),
    Operation(
        name="job events",
        summary="Read the job events, newest first.",
        words=("job", "events"),
        request="blaidctl.jobs.contract:ListJobEvents",
        result="blaidctl.jobs.contract:JobEventList",
        handler="blaidctl.jobs.service:list_events",
    ),
    Operation(
        name="backtest run",
        summary="Run a backtest to metrics or a reason.",
        words=("backtest", "run"),
        missing_requirements=("jobs", "the ledger engine", "table backtest_metrics"),
        finding="F-008",
    ),
    *(
        Operation(
            name=f"provider {word}",
            summary=summary,
            words=("provider", word),
            missing_requirements=("tables providers, provider_events", "HTTP probes"),
            finding="F-004",
        )
        for word, summary in (
            ("add", "Register a data or broker provider."),
            ("check", "Probe a provider."),
            ("list", "List the providers."),
            ("show", "Show one provider."),
            ("events", "Read the provider events."),
        )
    ),
    # --- audit -------------------------------------------------------------------------------------------------
    Operation(
        name="audit verify",
        summary="Verify the chain, the event rows, the triggers, and the state they explain.",
        words=("audit", "verify"),
        request="blaidctl.audit.contract:Verify",
        result="blaidctl.audit.contract:Verified",
        handler="blaidctl.audit.verify:verify",
        patient=True,
    ),
    Operation(
        name="audit tail",
        summary="The latest entries.",
        words=("audit", "tail"),
        request="blaidctl.audit.contract:Tail",
        result="blaidctl.audit.contract:Entries",
        handler="blaidctl.audit.service:tail",
    ),
    Operation(
        name="audit export",
        summary="Every entry as NDJSON, for verification elsewhere.",
        words=("audit", "export"),
        program="blaidctl.audit.commands:export",
    ),
    Operation(
        name="audit checkpoint",
        summary="Sign the head of the chain outside the database.",
        words=("audit", "checkpoint"),
        missing_requirements=("signed notes (Ed25519)", "a key outside the database"),
        finding="F-009",
    ),
    # --- tokens and the shim -------------------------------------------------------------------------------------
    Operation(
        name="token add",
        summary="Make a bearer token; it is shown once.",
        words=("token", "add"),
        request="blaidctl.access.contract:AddToken",
        result="blaidctl.access.contract:AddedToken",
        handler="blaidctl.access.service:add_token",
        writes=True,
    ),
    Operation(
        name="token list",
        summary="List the tokens, without their secrets.",
        words=("token", "list"),
        request="blaidctl.access.contract:ListTokens",
        result="blaidctl.access.contract:TokenList",
        handler="blaidctl.access.service:list_tokens",
    ),
    Operation(
        name="token revoke",
        summary="Make a token worthless.",
        words=("token", "revoke"),
        request="blaidctl.access.contract:RevokeToken",
        result="blaidctl.access.contract:RevokedToken",
        handler="blaidctl.access.service:revoke_token",
        writes=True,
    ),
    Operation(name="serve", summary="The HTTP shim, on loopback.", words=("serve",), program="blaidctl.http:serve"),
    # --- database ------------------------------------------------------------------------------------------------
    Operation(
        name="db plan",
        summary="What an upgrade would do: why, diff, rollback, data safety, SQL.",
        words=("db", "plan"),
        program="blaidctl.database.commands:plan",
    ),
    Operation(
        name="db upgrade",
        summary="Bring the schema to this version.",
        words=("db", "upgrade"),
        program="blaidctl.database.commands:upgrade",
    ),
    Operation(
        name="db check",
        summary="Compare the schema and its triggers with this version.",
        words=("db", "check"),
        program="blaidctl.database.commands:check",
    ),
    Operation(
        name="db history",
        summary="Every revision, and where this database stands.",
        words=("db", "history"),
        program="blaidctl.database.commands:history",
    ),
    *(
        Operation(
            name=f"db {word}",
            summary=summary,
            words=("db", word),
            missing_requirements=("a verified backup (SQLite online backup, pg_dump)",),
            finding="F-010",
        )
        for word, summary in (
            ("backup", "Back up and verify the copy."),
            ("restore", "Restore a verified backup."),
            ("downgrade", "Undo a migration, guarded as an upgrade is."),
        )
    ),
    # --- about the product -----------------------------------------------------------------------------------------
    Operation(
        name="endpoints",
        summary="Every operation and whether it works.",
        words=("endpoints",),
        program="blaidctl.findings.commands:endpoints",
    ),
    Operation(
        name="doctor",
        summary="Is this installation fit to stop a fleet?",
        words=("doctor",),
        request="blaidctl.doctor.contract:Diagnose",
        result="blaidctl.doctor.contract:Diagnosis",
        handler="blaidctl.doctor.service:doctor",
        doubt="blaidctl.doctor.service:doctor_in_doubt",
        any_schema=True,
    ),
    Operation(
        name="verify",
        summary="Run the four verifications end to end.",
        words=("verify",),
        missing_requirements=("providers", "backtests", "the ledger"),
        finding="F-012",
    ),
    Operation(
        name="quickstart",
        summary="A sandbox fleet: real processes, a kill that is seen to work.",
        words=("quickstart",),
        program="blaidctl.quickstart.commands:quickstart",
    ),
)

BY_NAME: dict[str, Operation] = {operation.name: operation for operation in OPERATIONS}
if len(BY_NAME) != len(OPERATIONS):
    msg = "two operations share a name"
    raise ValueError(msg)

#: Every append-only table of events, for `audit verify`: its rows are hashed into the chain.
EVENT_TABLES: tuple[str, ...] = (
    "blaidctl.kill.service:KILL_EVENTS",
    "blaidctl.jobs.events:JOB_EVENTS",
    "blaidctl.jobs.events:REAPER_RUNS",
)
#: What replays events against the state, for `audit verify`.
REPLAYS: tuple[str, ...] = ("blaidctl.kill.replay:replay", "blaidctl.jobs.replay:replay")
