"""Figures of a ledger from its fills, as a ratio to walking the cursor that gives them.

    python -m benchmarks.ledger
    python -m benchmarks.ledger --engine sqlite --rows 10000000 --pairs 2

walk      the floor: the statement that the product reads fills by, on the index that covers it, each row fetched and
          dropped. Everything after it is this floor's time, in the same run.
fifo …    the engine alone on that cursor: lots, results, fees, drawdowns, days, trades, exposure, all exact.
hash      the engine with the input hash tapping the same batches, to the engine without.
command   `ledger metrics` through the whole road: one snapshot, everything that could be incomplete looked for, the
          engine, the hash.
peer      pandas reads the same statement into a frame and quantstats makes its statistics of a daily equity curve, in
          doubles, each fill marked at its own price: no lots, no trades, no check of what is missing. Wants an
          interpreter that has it, in an environment of its own: --peer PYTHON (pip install quantstats).
memory    the most memory of a process that computes a tenth of the rows, and all of them.

A row is a round number of contracts of one future, bought or sold at random: the position wanders, lots pile up, trades
are long. `--rows` is also what "linear" compares: the time a row with a tenth of the rows, and with all.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from benchmarks import common
from blaidctl.core import stream
from blaidctl.core.execute import execute
from blaidctl.core.operation import the_map
from blaidctl.ledger import engine, hashing, rules
from blaidctl.ledger.vocabulary import Basis, FlowKind, LotMethod

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.common import Figure, Place

BATCH_ROWS = 512
SINCE, AS_OF = "2020-01-01T00:00:00.000000Z", "2026-06-30T00:00:00.000000Z"
_FIRST_FILL = datetime(2020, 1, 2, tzinfo=UTC)
_STAMP = f"'me', '{SINCE}', '{'a' * 32}'"
_PARENTS = (
    f"INSERT INTO users (id, name, created_at) VALUES ('u', 'Desk', '{SINCE}')",
    "INSERT INTO bots (id, user_id, name, strategy, tags, exchanges, killed_at, created_at)"
    f" VALUES ('b', 'u', 'b', '', '[]', '[]', NULL, '{SINCE}')",
    "INSERT INTO broker_accounts (id, user_id, broker, external_id, environment, currency, status, created_at)"
    f" VALUES ('a', 'u', 'ibkr', 'U', 'paper', 'USD', 'OPEN', '{SINCE}')",
    "INSERT INTO account_links (bot_id, account_id, max_contracts, max_position_value, max_order_qty, max_daily_loss,"
    " max_drawdown_pct, max_orders_per_minute, policy_sha256, linked_at)"
    f" VALUES ('b', 'a', '1', '1', '1', '1', '1', 1, '{'0' * 64}', '{SINCE}')",
    f"INSERT INTO sessions (name, timezone, updated_at) VALUES ('ALWAYS', 'UTC', '{SINCE}')",
    "INSERT INTO instruments (symbol, exchange, asset_class, description, currency, point_value, tick_size, lot_size,"
    " min_qty, session, venue_symbol, price_magnifier, is_active, updated_at)"
    f" VALUES ('ES', 'CME', 'future', '', 'USD', '50', '0.25', '1', '1', 'ALWAYS', '', '1', 1, '{SINCE}')",
    "INSERT INTO capital_flows (act_id, bot_id, account_id, kind, amount, currency, at, actor, created_at, trace_id)"
    f" VALUES ('x', 'b', 'a', 'INITIAL', '1000000000', 'USD', '{SINCE}', {_STAMP})",
)
_IMPORT = (
    "INSERT INTO ledger_imports (act_id, account_id, format, source_name, file_sha256, part, parts, rows_read,"
    " rows_new, rows_known, rows_refused, exact, no_fee, after_kill, fills_sha256, actor, created_at, trace_id)"
    f" VALUES ('x', 'a', 'csv', 'x', '{'0' * 64}', 1, 1, {{0}}, {{0}}, 0, 0, 1, 0, 0, '{'0' * 64}', {_STAMP})"
)
_COLUMNS = (
    "import_id", "bot_id", "account_id", "exchange", "symbol", "asset_class", "side", "quantity", "price", "fee",
    "fee_currency", "executed_at", "venue_trade_id", "source", "line", "after_kill", "exact", "quantity_8", "price_8",
    "fee_8",
)  # fmt: skip
#: What pandas and quantstats make of the same statement; prints seconds, KiB and the drawdown.
_PEER = """
import pathlib, sqlite3, sys, time, warnings
import pandas as pd, quantstats.stats as qs
warnings.filterwarnings("ignore")
start = time.perf_counter()
fills = pd.read_sql_query(sys.argv[2], sqlite3.connect(sys.argv[1]))
quantity = fills["quantity_8"] / 1e8 * fills["side"].map({"BUY": 1, "SELL": -1})
price, fee = fills["price_8"] / 1e8, fills["fee_8"] / 1e8
equity = 1e9 + (-(quantity * price * 50) - fee).cumsum() + quantity.cumsum() * price * 50
daily = equity.groupby(fills["executed_at"].str[:10]).last()
daily.index = pd.to_datetime(daily.index)
returns = daily.pct_change().dropna()
for statistic in (qs.win_rate, qs.profit_factor, qs.expected_return, qs.exposure, qs.comp, qs.sharpe):
    statistic(returns)
qs.monthly_returns(returns)
details = qs.drawdown_details(qs.to_drawdown_series(returns))
fall = qs.max_drawdown(daily)
taken = time.perf_counter() - start
print(taken, pathlib.Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0], fall)
"""
#: Computes and prints the most memory that its process had, in KiB.
_PEAK = """
import pathlib, sys
from benchmarks import ledger
ledger.once(*sys.argv[1:])
print(pathlib.Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


def main() -> None:
    """Measure and print."""
    peer = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    peer.add_argument("--peer")
    found, rest = peer.parse_known_args()
    sys.argv[1:] = rest
    options = common.arguments(__doc__, rows=1_000_000, pairs=5)
    with common.places(options.engine) as places:
        figures, said = [], []
        for place in places:
            few, many = (ledger_of(place, count) for count in (options.rows // 10, options.rows))
            if options.profile:
                with common.profiled(f"engine on {place.kind}"):
                    once(place.kind, place.url(many))
            figures += measured(place, many, options.rows, options.pairs)
            said += memory(place, few, many, options.rows)
            said.append(linear(place, few, many, options.rows))
            if found.peer and place.kind == "sqlite":
                figures.append(against_pandas(place, many, options.rows, options.pairs, found.peer))
    common.report("figures of a ledger ÷ walking its cursor", figures, as_json=options.json)
    for line in said:
        print(line, file=sys.stderr if options.json else sys.stdout)


# ---- ledgers to measure on -------------------------------------------------------------------------------------------


def fills(count: int) -> Iterator[tuple[Any, ...]]:
    """Yield generated fills: a walk of the price in quarters, 1 to 5 contracts either way, a fee each."""
    chance = random.Random(1)  # noqa: S311 - the same ledger in every run
    price, at = 432_125, _FIRST_FILL
    step = min(10_000_000, int(6 * 365 * 86_400e6) // count * 2)
    for n in range(count):
        price += chance.randint(-4, 4)
        at += timedelta(microseconds=chance.randint(1, step))
        size = chance.randint(1, 5)
        yield (
            1, "b", "a", "CME", "ES", "future", chance.choice(("BUY", "SELL")), str(size),
            format((Decimal(price) / 100).normalize(), "f"), "2.25", "USD",
            at.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z", f"v{n:012}", "csv", n + 1, 0, 1,
            size * 10**8, price * 10**6, 225_000_000,
        )  # fmt: skip


def ledger_of(place: Place, count: int) -> str:
    """Return the name of a database with so many fills of one bot."""

    def seed(connection: Any) -> None:
        for statement in (*_PARENTS, _IMPORT.format(count)):
            connection.execute(statement)
        columns = ", ".join(_COLUMNS)
        if place.kind == "sqlite":
            marks = ", ".join("?" * len(_COLUMNS))
            connection.executemany(f"INSERT INTO trades ({columns}) VALUES ({marks})", fills(count))
            return
        with connection.cursor() as cursor, cursor.copy(f"COPY trades ({columns}) FROM STDIN") as copy:
            for row in fills(count):
                copy.write_row(row)

    return place.template(seed)


def statement(kind: str) -> str:
    """Return the product's statement."""
    columns = [stream.time_column(c, kind) if c == "executed_at" else c for c in rules.COLUMNS]
    return (
        f"SELECT {', '.join(columns)} FROM trades WHERE bot_id = 'b' AND account_id = 'a' AND executed_at <= '{AS_OF}'"
        f" ORDER BY trades.executed_at, {stream.in_code_order('venue_trade_id', kind)}"
    )


@contextlib.contextmanager
def cursor(kind: str, url: str) -> Iterator[Any]:
    """Open the statement as the product's stream does."""
    with contextlib.closing(common.raw_connection(kind, url)) as connection:
        if kind == "sqlite":
            yield connection.execute(statement(kind))
            return
        connection.execute("BEGIN")
        with connection.cursor(name="walk") as named:
            named.itersize = stream.BATCH_ROWS
            named.execute(statement(kind), binary=True)
            yield named


def batches(kind: str, found: Any) -> Iterator[Sequence[rules.Row]]:
    """Yield batches as the product reads them."""
    size = BATCH_ROWS if kind == "sqlite" else stream.BATCH_ROWS
    return iter(lambda: found.fetchmany(size), [])


def question(lot_method: LotMethod = LotMethod.FIFO, basis: Basis = Basis.REALIZED) -> rules.Question:
    """Return what is asked."""
    key = ("CME", "ES", "future")
    first = _FIRST_FILL.date()
    days = [(first + timedelta(days=n)).isoformat() for n in range(2400)] if basis == Basis.MARKED else []
    return rules.Question(
        currency="USD",
        as_of=AS_OF,
        lot_method=lot_method,
        basis=basis,
        long_only=False,
        instruments={key: rules.Instrument("USD", Decimal(50))},
        flows=[rules.Flow(SINCE, FlowKind.INITIAL, Decimal(10**9), "USD", 1)],
        marks={key: dict.fromkeys(days, Decimal(4321))},
    )


def once(kind: str, url: str) -> None:
    """Compute once, as `memory` does in a process of its own."""
    with cursor(kind, url) as found:
        answer = engine.compute(question(), batches(kind, found))
    assert answer.figures is not None  # noqa: S101 - a benchmark of nothing would be fast


# ---- contenders ------------------------------------------------------------------------------------------------------


def walk(place: Place, name: str) -> float:
    """Walk the cursor."""
    with cursor(place.kind, place.url(name)) as found:
        return common.seconds(lambda: _drop(found))


def _drop(rows: Iterator[Any]) -> None:
    for _ in rows:
        pass


def compute(place: Place, name: str, asked: rules.Question, *, hashed: bool = False) -> float:
    """Compute from the cursor."""

    def run() -> None:
        taken = hashing.FillsHash("b", "a")
        read = batches(place.kind, found)
        answer = engine.compute(asked, taken.tap(read) if hashed else read)
        taken.hexdigest()
        assert answer.figures is not None  # noqa: S101

    with cursor(place.kind, place.url(name)) as found:
        return common.seconds(run)


def command(place: Place, name: str) -> float:
    """Run the whole command."""
    ctx = common.context(place.url(name), statement_timeout_s=3600)
    with contextlib.closing(ctx.database):
        with ctx.database.reading():  # the engine is up before the clock starts
            pass
        asked = {"bot": "b", "account": "a", "as_of": AS_OF}
        return common.seconds(lambda: execute(ctx, the_map()["ledger metrics"], asked))


def measured(place: Place, name: str, count: int, pairs: int) -> list[Figure]:
    """Take every contender in turns with the floor."""
    contenders: dict[str, tuple[Callable[[], float], float | None]] = {
        "fifo": (lambda: compute(place, name, question()), 2.0),
        "average": (lambda: compute(place, name, question(LotMethod.AVERAGE)), 2.0),
        "fifo, marked": (lambda: compute(place, name, question(basis=Basis.MARKED)), 2.0),
        "fifo and hash": (lambda: compute(place, name, question(), hashed=True), None),
        "the whole command": (lambda: command(place, name), None),
    }
    figures = [
        common.Figure(f"{what}, {count:,} fills", place.kind, taken, goal, more=rate(count, taken))
        for what, (product, goal) in contenders.items()
        for taken in [common.take_turns(lambda: walk(place, name), product, pairs)]
    ]
    taken = common.take_turns(
        lambda: compute(place, name, question()), lambda: compute(place, name, question(), hashed=True), pairs
    )
    figures.append(common.Figure("engine with the hash ÷ without", place.kind, taken, 1.1))
    return figures


def rate(count: int, taken: list[tuple[float, float]]) -> dict[str, str]:
    """Return fills a second, of the best of the runs."""
    return {"fills/s": f"{count / min(product for _, product in taken):,.0f}"}


def against_pandas(place: Place, name: str, count: int, pairs: int, python: str) -> Figure:
    """Let pandas and quantstats have the same statement."""
    peaks = []

    def product() -> float:
        with tempfile.TemporaryDirectory() as empty:
            done = subprocess.run(  # noqa: S603 - the interpreter that was named
                [python, "-c", _PEER, place.url(name).removeprefix("sqlite:///"), statement("sqlite")],
                capture_output=True, text=True, check=True, cwd=empty,
            )  # fmt: skip
        taken, peak, _ = done.stdout.split()
        peaks.append(int(peak))
        return float(taken)

    taken = common.take_turns(lambda: walk(place, name), product, min(pairs, 3))
    more = {**rate(count, taken), "peak MiB": f"{max(peaks) / 1024:,.0f}"}
    return common.Figure(f"pandas + quantstats, {count:,} fills", place.kind, taken, more=more)


def memory(place: Place, few: str, many: str, count: int) -> list[str]:
    """Return the most memory that a process takes for a tenth, and for all."""
    peaks = []
    for name in (few, many):
        done = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-c", _PEAK, place.kind, place.url(name)], capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout) / 1024)
    return [f"peak memory, {place.kind}: {count // 10:,} rows {peaks[0]:.1f} MiB, {count:,} rows {peaks[1]:.1f} MiB"]


def linear(place: Place, few: str, many: str, count: int) -> str:
    """Return what a row costs with all rows, as a ratio to what it costs with a tenth."""
    ratios = [
        compute(place, many, question()) / count / (compute(place, few, question()) / (count // 10)) for _ in range(3)
    ]
    return f"linear, {place.kind}: a row of {count:,} costs {sorted(ratios)[1]:.2f} x a row of {count // 10:,}"


if __name__ == "__main__":
    main()
