"""A load of instruments, as a ratio to the driver's own executemany, and the memory that it takes.

    python -m benchmarks.instruments

load      `instrument load` of 100,000 generated rows into an empty table through the whole road (the file read and
          checked, one transaction, rows, an event each with its digest, chain entry, stored answer, COMMIT), to
          executemany of the same rows and the same events on the same schema with the same triggers and CHECKs, already
          parsed and held in memory: BEGIN; executemany; executemany; COMMIT. Each run has a fresh copy.
again     the same file once more: everything is compared, nothing written.
memory    the most memory of a process that loads 10,000 rows, and of one that loads 100,000.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from benchmarks import common
from blaidctl.core.execute import execute
from blaidctl.core.operation import the_map

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.common import Figure, Place

COLUMNS = (
    "symbol", "exchange", "asset_class", "description", "currency", "point_value", "tick_size", "lot_size", "min_qty",
    "min_notional", "max_qty", "session", "venue_symbol", "price_magnifier",
)  # fmt: skip
AT = "2026-01-31T09:30:00.000000Z"
_SESSION = f"INSERT INTO sessions (name, timezone, updated_at) VALUES ('DESK', 'UTC', '{AT}')"
#: Runs a load and prints the most memory that its process had, in KiB. (getrusage would count its parent's, too.)
_PEAK = """
import pathlib, sys
from blaidctl.cli import main
code = main(["instrument", "load", sys.argv[1], "--output", "csv"])
status = pathlib.Path("/proc/self/status").read_text()
sys.stderr.write(f"{code} {status.partition('VmHWM:')[2].split()[0]}")
"""


def main() -> None:
    """Measure and print."""
    options = common.arguments(__doc__, rows=100_000, pairs=5)
    with common.places(options.engine) as found:
        figures = []
        for place in found:
            figures += [*loads(place, options.rows, options.pairs, profile=options.profile)]
        peaks = {place.kind: [peak(place, rows) for rows in (options.rows // 10, options.rows)] for place in found}
    common.report("instrument load ÷ executemany", figures, as_json=options.json)
    for kind, (few, many) in peaks.items():
        said = f"{kind}: {options.rows // 10:,} rows {few / 1024:.1f} MiB, {options.rows:,} rows {many / 1024:.1f} MiB"
        print(f"peak memory, {said}", file=sys.stderr if options.json else sys.stdout)


def rows(count: int) -> Iterator[tuple[Any, ...]]:
    """Yield generated rows: as varied as real ones in their numbers, each with a key and texts of its own."""
    for n in range(count):
        tick = f"0.{25 + n % 70}".rstrip("0")
        yield (
            f"S{n:06}", "CME", "future", f"Generated number {n}", "USD", str(50 + n % 7), tick, "1", "1", None,
            str(100 + n % 50), "DESK", f"V{n}", "1",
        )  # fmt: skip


def file(folder: Path, count: int) -> Path:
    """Write the file that is loaded."""
    path = folder / f"instruments-{count}.csv"
    if not path.exists():
        with path.open("w", encoding="utf-8") as made:
            made.write(",".join(COLUMNS) + "\n")
            made.writelines(",".join(value or "" for value in row) + "\n" for row in rows(count))
    return path


def loads(place: Place, count: int, pairs: int, *, profile: bool) -> list[Figure]:
    """Load into fresh copies of a database that knows the session, and load once more."""
    template = place.template(lambda connection: connection.execute(_SESSION))
    path, held = file(place.folder, count), list(rows(count))
    counted: dict[str, int] = {}
    again: list[float] = []

    def floor() -> float:
        name = place.copy(template)
        with contextlib.closing(place.raw(name)) as connection:
            taken = common.seconds(lambda: _executemany(place.kind, connection, held))
        place.drop(name)
        return taken

    def product() -> float:
        name = place.copy(template)
        taken = _load(place, name, path)
        again.append(_load(place, name, path))
        place.drop(name)
        return taken

    if profile:
        with common.profiled(f"load on {place.kind}"):
            product()
    name = place.copy(template)
    ctx = common.context(place.url(name), statement_timeout_s=600)
    with contextlib.closing(ctx.database), common.counted(ctx.database) as counts:
        execute(ctx, the_map()["instrument load"], {"file": str(path)})
        counted.update(counts)
    place.drop(name)
    taken = common.take_turns(floor, product, pairs)
    floors = [one for one, _ in taken]
    return [
        common.Figure(f"load {count:,} rows", place.kind, taken, more=counted),
        common.Figure(f"the same {count:,} rows again", place.kind, list(zip(floors, again[-pairs:], strict=True))),
    ]


def _load(place: Place, name: str, path: Path) -> float:
    ctx = common.context(place.url(name), statement_timeout_s=600)
    with contextlib.closing(ctx.database):
        with ctx.database.reading():  # the engine is up before the clock starts
            pass
        return common.seconds(lambda: execute(ctx, the_map()["instrument load"], {"file": str(path)}))


def _executemany(kind: str, connection: Any, held: list[tuple[Any, ...]]) -> None:
    mark = "?" if kind == "sqlite" else "%s"
    many = connection.executemany if kind == "sqlite" else connection.cursor().executemany
    event = (
        "INSERT INTO instrument_events (act_id, action, exchange, symbol, asset_class, before, after, source_sha256,"
        f" created_at, actor, trace_id) VALUES ('x', 'LOADED', {mark}, {mark}, {mark}, NULL, {mark}, 'x', '{AT}', 'me',"
        f" '{'a' * 32}')"
    )
    instrument = (
        f"INSERT INTO instruments ({', '.join(COLUMNS)}, is_active, updated_at)"
        f" VALUES ({', '.join([mark] * len(COLUMNS))}, 1, '{AT}')"
    )
    connection.execute("BEGIN")
    many(instrument, held)
    many(event, ((r[1], r[0], r[2], json.dumps(dict(zip(COLUMNS, r, strict=True)))) for r in held))
    connection.execute("COMMIT")


def peak(place: Place, count: int) -> int:
    """Return the most memory, in KiB, of a process that loads so many rows."""
    name = place.copy(place.template(lambda connection: connection.execute(_SESSION)))
    environment = {**os.environ, "BLAIDCTL_DATABASE_URL": place.url(name), "BLAIDCTL_STATEMENT_TIMEOUT_S": "600"}
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", _PEAK, file(place.folder, count)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    code, kilobytes = done.stderr.split()[-2:]
    if code != "0":
        raise RuntimeError(done.stderr)
    return int(kilobytes)


if __name__ == "__main__":
    main()
