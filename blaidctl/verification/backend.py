"""A backend of the desk's: a real HTTP server that executes for a bot and computes its PnL by arithmetic of its own.

Nothing of blaidctl's ledger is used here: it keeps its own book of lots, in plain decimals, with its own list of what a
point is worth. That the two agree to the last digit is what the fourth verification shows.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Context, Decimal, localcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

from blaidctl.core import clock
from blaidctl.core.types import time_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

#: Enough digits that nothing is ever rounded: products of two numbers of ten digits, added up some hundred times.
_EXACTLY = Context(prec=80)
#: What it trades: symbol → exchange, asset class, tick, a price in ticks, what a point is worth.
_CONTRACTS = {
    "ES": ("CME", "future", Decimal("0.25"), 24_000, 50),
    "6J": ("CME", "future", Decimal("0.0000005"), 13_400, 12_500_000),
    "ZN": ("CBOT", "future", Decimal("0.015625"), 7_100, 1_000),
    "BTCUSD": ("COINBASE", "crypto", Decimal("0.01"), 6_543_210, 1),
}
#: Between two executions.
_STEP = timedelta(microseconds=50)


@dataclass(slots=True)
class _Book:
    """The open lots of one contract, oldest first: (signed quantity, price)."""

    lots: deque[tuple[Decimal, Decimal]] = field(default_factory=deque)
    trades: int = 0

    def position(self) -> Decimal:
        return sum((quantity for quantity, _ in self.lots), Decimal(0))

    def take(self, quantity: Decimal, price: Decimal) -> Decimal:
        """Book a fill; return the points that it realized, times their quantity."""
        realized, left = Decimal(0), quantity
        while left and self.lots and (self.lots[0][0] > 0) != (left > 0):
            lot, paid = self.lots.popleft()
            closed = min(abs(lot), abs(left)).copy_sign(lot)
            realized += (price - paid) * closed
            left += closed
            if lot != closed:
                self.lots.appendleft((lot - closed, paid))
        if quantity != left and not self.lots:
            self.trades += 1
        if left:
            self.lots.append((left, price))
        return realized


@dataclass
class Backend:
    """The server, and the fills that it executed for each instance."""

    fills: dict[int, list[dict[str, str]]] = field(default_factory=dict)
    #: (instance, what: a total or the index of a fill, field) → what it says instead of the truth.
    lies: dict[tuple[int, str, str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Listen on a free port of this host."""
        backend = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                backend.answer(self)

            def log_message(self, *_arguments: Any) -> None:
                """Stay silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        """Answer from now on."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the line."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def url(self, path: str) -> str:
        """Return an address here."""
        return f"http://127.0.0.1:{self._server.server_address[1]}{path}"

    def trade(self, bot: str, account: str, instance: int, count: int) -> None:
        """Execute a number of orders for an instance: in and out of lots, from long to short, odd sizes, odd fees."""
        chance = random.Random(instance)  # noqa: S311 - the same fills each time
        began = clock.utc_now()
        executed = self.fills.setdefault(instance, [])
        for number in range(count):
            symbol = chance.choice(list(_CONTRACTS))
            exchange, asset_class, tick, around, _ = _CONTRACTS[symbol]
            small = asset_class == "crypto"
            quantity = Decimal(chance.randrange(1, 200_000_000)).scaleb(-8) if small else chance.randrange(1, 4)
            executed.append({
                "venue_trade_id": f"I{instance}-{number:04}",
                "executed_at": time_text(began + number * _STEP),
                "symbol": symbol, "exchange": exchange, "asset_class": asset_class,
                "side": chance.choice(("BUY", "SELL")), "quantity": _text(Decimal(quantity)),
                "price": _text(tick * chance.randrange(around - 400, around + 400)),
                "fee": _text(Decimal(chance.randrange(-2_000, 50_000)).scaleb(-4)), "fee_currency": "USD",
                "bot": bot, "account": account, "instance": str(instance),
            })  # fmt: skip

    # --- what it answers --------------------------------------------------------------------------------------------

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Give the executions of an instance, or its statement."""
        parts = urlsplit(request.path)
        instance = int(parse_qs(parts.query)["instance"][0])
        if parts.path == "/executions":
            body = "".join(json.dumps(fill) + "\n" for fill in self.fills[instance])
        else:
            body = json.dumps(self.statement(instance), indent=1)
        data = body.encode()
        request.send_response(200)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        with contextlib.suppress(BrokenPipeError):
            request.wfile.write(data)

    def statement(self, instance: int) -> dict[str, Any]:
        """Compute what an instance's executions come to."""
        fills = self.fills[instance]
        books = {symbol: _Book() for symbol in _CONTRACTS}
        told, gross, fees = [], Decimal(0), Decimal(0)
        with localcontext(_EXACTLY):
            for index, fill in enumerate(fills):
                _, _, _, _, worth = _CONTRACTS[fill["symbol"]]
                quantity = Decimal(fill["quantity"]) * (1 if fill["side"] == "BUY" else -1)
                realized = books[fill["symbol"]].take(quantity, Decimal(fill["price"])) * worth
                gross, fees = gross + realized, fees + Decimal(fill["fee"])
                told.append(self._lied(instance, str(index), fill | {"realized_pnl": _text(realized)}))
            totals = {
                "gross": _text(gross), "fees": _text(fees), "net": _text(gross - fees), "fills": len(fills),
                "closed_trades": sum(book.trades for book in books.values()),
            }  # fmt: skip
            positions = [
                {"exchange": exchange, "symbol": symbol, "asset_class": kind, "quantity": _text(held)}
                for symbol, (exchange, kind, *_) in _CONTRACTS.items()
                if (held := books[symbol].position())
            ]
        about = {"account": fills[0]["account"], "bot": fills[0]["bot"], "instance": instance}
        return about | {"fills": told, "totals": self._lied(instance, "totals", totals), "positions": positions}

    def _lied(self, instance: int, what: str, said: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self.lies.get((instance, what, name), value) for name, value in said.items()}


def _text(value: Decimal) -> str:
    """Return all digits of a decimal, and no zero that says nothing."""
    text = f"{value:f}"
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text


def last_digit_changed(text: str) -> str:
    """Return an amount whose last digit is another one."""
    return text[:-1] + str((int(text[-1]) + 1) % 10)
