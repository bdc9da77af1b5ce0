"""Create the metrics of backtests.

Why: a backtest ends SUCCEEDED with every metric, or FAILED with a reason; the database itself refuses a success without
metrics and metrics without their running attempt, whoever writes.

Diff: new table backtest_metrics (id, act_id, job_id, attempt, bars, fills, closed_trades, wins, losses, first_bar_at,
last_bar_at, bars_sha256, input_hash, output_hash, exchange, symbol, asset_class, currency, lot_method, basis,
code_version, starting_capital, equity, gross, fees, net, win_rate, profit_factor, expectancy, return_on_capital,
exposure, max_drawdown, max_drawdown_fraction, actor, created_at, trace_id), no column of it nullable. Triggers:
backtest_metrics append-only, one row a job, of a running attempt of a backtest; a job of type backtest (or backtest-…)
becomes SUCCEEDED only when its attempt has metrics. PostgreSQL: functions blaidctl_metrics_guard,
blaidctl_backtest_guard.

Rollback: drops the table, the triggers and the functions; the metrics are lost, the jobs stay, the audit log keeps the
entries with the digests of the rows.

Data safety: creates only; no existing row is read. PostgreSQL locks jobs for the moment in which its trigger is made.
"""

from blaidctl.core.ddl import PIN_SEARCH_PATH, append_only, engine_kind, run, spell

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

TEXTS = (
    *("exchange", "symbol", "asset_class", "currency", "lot_method", "basis", "code_version", "starting_capital"),
    *("equity", "gross", "fees", "net", "win_rate", "profit_factor", "expectancy", "return_on_capital", "exposure"),
    *("max_drawdown", "max_drawdown_fraction"),
)
HASHES = ("bars_sha256", "input_hash", "output_hash")
COUNTS = ("attempt", "bars", "fills", "closed_trades", "wins", "losses")

_METRICS = "metrics belong to a running attempt of a backtest, once"
_BACKTEST = "a backtest succeeds only with its metrics"
OF_A_BACKTEST = {
    "sqlite": "({0} = 'backtest' OR {0} GLOB 'backtest-*')",
    "postgresql": "({0} = 'backtest' OR {0} LIKE 'backtest-%')",
}
_HAS_METRICS = "SELECT 1 FROM backtest_metrics WHERE job_id = NEW.id AND attempt = NEW.attempt"


def _running(kind: str) -> str:
    return (
        "SELECT 1 FROM jobs WHERE id = NEW.job_id AND attempt = NEW.attempt AND status = 'RUNNING'"
        f" AND {OF_A_BACKTEST[kind].format('job_type')}"
    )


def tables(kind: str) -> list[str]:
    """Return the statements that make the table of one engine."""
    event_id, big, time, strict = (spell(word, kind) for word in ("{EVENT_ID}", "{BIG}", "{TIME}", "{STRICT}"))
    columns = [
        *(f"{name} INTEGER NOT NULL" for name in COUNTS),
        *(f"{name} {time} NOT NULL" for name in ("first_bar_at", "last_bar_at")),
        *(f"{name} TEXT NOT NULL" for name in (*HASHES, *TEXTS)),
    ]
    checks = [
        *(f"CONSTRAINT backtest_metrics_{n} CHECK ({n} >= {int(n in ('attempt', 'bars', 'fills'))})" for n in COUNTS),
        *(f"CONSTRAINT backtest_metrics_{n} CHECK (length({n}) = 64)" for n in HASHES),
        *(f"CONSTRAINT backtest_metrics_{n} CHECK (length({n}) > 0)" for n in TEXTS),
    ]
    return [
        f"""
    CREATE TABLE backtest_metrics (
        id {event_id},
        act_id TEXT NOT NULL,
        job_id {big} NOT NULL REFERENCES jobs (id),
        {", ".join(columns)},
        actor TEXT NOT NULL,
        created_at {time} NOT NULL,
        trace_id TEXT NOT NULL,
        CONSTRAINT backtest_metrics_id_positive CHECK (id > 0),
        {", ".join(checks)},
        CONSTRAINT backtest_metrics_trace_id_length CHECK (length(trace_id) = 32),
        CONSTRAINT backtest_metrics_one UNIQUE (job_id)
    ){strict}
    """,
        "CREATE INDEX backtest_metrics_act ON backtest_metrics (act_id)",
    ]


def sqlite_guards() -> list[str]:
    """Return SQLite's triggers."""
    of_a_backtest = OF_A_BACKTEST["sqlite"].format("NEW.job_type")
    return [
        f"""
    CREATE TRIGGER backtest_metrics_guard BEFORE INSERT ON backtest_metrics BEGIN
        SELECT RAISE(ABORT, '{_METRICS}')
         WHERE EXISTS (SELECT 1 FROM backtest_metrics WHERE job_id = NEW.job_id) OR NOT EXISTS ({_running("sqlite")});
    END
    """,
        *(
            f"""
    CREATE TRIGGER jobs_backtest_{event.partition(" ")[0].lower()} BEFORE {event} ON jobs
    WHEN NEW.status = 'SUCCEEDED' AND {of_a_backtest} AND NOT EXISTS ({_HAS_METRICS})
    BEGIN SELECT RAISE(ABORT, '{_BACKTEST}'); END
    """
            for event in ("INSERT", "UPDATE OF status")
        ),
    ]


def postgresql_guards() -> list[str]:
    """Return PostgreSQL's functions and triggers; ALWAYS: on a replica's role too."""
    of_a_backtest = OF_A_BACKTEST["postgresql"].format("NEW.job_type")

    def refuse(sentence: str) -> str:
        return f"RAISE EXCEPTION '{sentence}' USING ERRCODE = 'restrict_violation'"

    return [
        PIN_SEARCH_PATH,
        f"""
    CREATE FUNCTION blaidctl_metrics_guard() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT AS $$
    BEGIN
        IF NOT EXISTS ({_running("postgresql")}) THEN {refuse(_METRICS)}; END IF;
        RETURN NEW;
    END $$
    """,
        f"""
    CREATE FUNCTION blaidctl_backtest_guard() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT AS $$
    BEGIN
        IF NOT EXISTS ({_HAS_METRICS}) THEN {refuse(_BACKTEST)}; END IF;
        RETURN NEW;
    END $$
    """,
        """
    CREATE TRIGGER backtest_metrics_guard BEFORE INSERT ON backtest_metrics
    FOR EACH ROW EXECUTE FUNCTION blaidctl_metrics_guard()
    """,
        f"""
    CREATE TRIGGER jobs_backtest BEFORE INSERT OR UPDATE OF status ON jobs
    FOR EACH ROW WHEN (NEW.status = 'SUCCEEDED' AND {of_a_backtest}) EXECUTE FUNCTION blaidctl_backtest_guard()
    """,
        "ALTER TABLE backtest_metrics ENABLE ALWAYS TRIGGER backtest_metrics_guard",
        "ALTER TABLE jobs ENABLE ALWAYS TRIGGER jobs_backtest",
    ]


def upgrade() -> None:
    """Create the table, the functions and the triggers."""
    kind = engine_kind()
    guards = sqlite_guards() if kind == "sqlite" else postgresql_guards()
    for statement in [*tables(kind), *guards, *append_only("backtest_metrics", kind)]:
        run(statement)


def downgrade() -> None:
    """Drop everything; the metrics are lost."""
    if engine_kind() == "sqlite":
        run("DROP TRIGGER jobs_backtest_insert")
        run("DROP TRIGGER jobs_backtest_update")
    else:
        run("DROP TRIGGER jobs_backtest ON jobs")
    run("DROP TABLE backtest_metrics")
    if engine_kind() == "postgresql":
        for function in ("blaidctl_metrics_guard", "blaidctl_backtest_guard"):
            run(f"DROP FUNCTION {function}()")
