"""The reference engine: a moving-average cross over the closes of a CSV of bars. One process, standard library only.

    python -m blaidctl.backtests.moving_average --fast 5 --slow 20 --quantity 1 --fee 2.25

It reads the file that BLAIDCTL_BARS names and writes a fill a line on standard output: long while the mean of the last
FAST closes is above that of the last SLOW, short while below, filled at the close of the bar that says so. The last bar
closes what is open. Sums are exact: no float decides anything. It is an example of the protocol, not of a strategy.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections import deque
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def signals(closes: Sequence[Decimal], fast: int, slow: int) -> Iterator[int]:
    """Yield the wanted direction after each close: 1 or -1; 0 while there are fewer than `slow`, or on a tie."""
    window: deque[Decimal] = deque(maxlen=slow)
    for close in closes:
        window.append(close)
        if len(window) < slow:
            yield 0
            continue
        difference = sum(list(window)[-fast:]) * slow - sum(window) * fast
        yield (difference > 0) - (difference < 0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the fills of one run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--fast", type=int, default=5)
    parser.add_argument("--slow", type=int, default=20)
    parser.add_argument("--quantity", type=Decimal, default=Decimal(1))
    parser.add_argument("--fee", type=Decimal, default=Decimal(0), help="of each fill")
    given = parser.parse_args(arguments)
    if not 0 < given.fast < given.slow:
        parser.error("--fast is at least 1 and below --slow")
    with Path(os.environ["BLAIDCTL_BARS"]).open(encoding="utf-8-sig", newline="") as file:
        bars = [(row["time"].strip(), Decimal(row["close"].strip())) for row in csv.DictReader(file)]
    wanted = [*signals([close for _, close in bars], given.fast, given.slow)][:-1]
    held, number = 0, 0
    for (at, close), direction in zip(bars, [*wanted, 0], strict=True):
        if direction == held or (direction == 0 and at != bars[-1][0]):
            continue
        number += 1
        _write(number, at, close, (direction - held) * given.quantity, given.fee)
        held = direction
    return 0


def _write(number: int, at: str, price: Decimal, signed: Decimal, fee: Decimal) -> None:
    fill = {
        "venue_trade_id": f"{number:09d}",
        "executed_at": at,
        "symbol": os.environ["BLAIDCTL_SYMBOL"],
        "side": "BUY" if signed > 0 else "SELL",
        "quantity": f"{abs(signed):f}",
        "price": f"{price:f}",
        "fee": f"{fee:f}",
        "fee_currency": os.environ["BLAIDCTL_CURRENCY"],
    }
    sys.stdout.write(json.dumps(fill) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
