"""The pictures: the curve in a terminal; the page in a real browser, with exact figures and no outside request."""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import shutil
import signal
import stat
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import sync_playwright

from blaidctl.ledger import picture, report
from tests.support.ledger import BOT, buy, desk, fills, flow, sell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser

    from tests.support.commandline import CommandLine
    from tests.support.database import Database

AS_OF = "2026-02-01T00:00:00Z"
ASKED = ("ledger", "equity", BOT, "--as-of", AS_OF)


@pytest.fixture
def ledger(database: Database) -> Database:
    """A month of a bot that wins, loses more, and wins some of it back."""
    desk(database)
    flow(database, "INITIAL", "10000", at="2026-01-05")
    trades = [("4000", "4010", 6), ("4010", "3990", 8), ("3990", "4002.25", 20)]
    fills(
        database,
        [
            fill
            for bought, sold, day in trades
            for fill in (
                buy("1", bought, at=f"2026-01-{day:02}T15:30", fee="2.25"),
                sell("1", sold, at=f"2026-01-{day:02}T16:30", fee="2.25"),
            )
        ],
    )
    return database


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The machine's own Chromium, headless."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert found, "a browser is needed to look at the page: install chromium (apt-get install chromium)"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture
def seen(browser: Browser) -> Callable[[Path], dict[str, Any]]:
    """`seen(page)`: what a reader's browser makes of a page: its requests, its complaints, its tables."""

    def look(path: Path) -> dict[str, Any]:
        requests: list[str] = []
        complaints: list[str] = []
        with browser.new_context() as context:
            page = context.new_page()
            page.on("request", lambda request: requests.append(request.url))
            page.on("console", lambda message: complaints.append(message.text))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("dialog", lambda dialog: complaints.append(dialog.message))
            page.goto(path.as_uri())
            rows = """tables => Object.fromEntries(tables.map(t => [t.id,
                [...t.tBodies[0].rows].map(r => [...r.cells].map(c => c.textContent))]))"""
            return {
                "requests": requests,
                "complaints": complaints,
                "title": page.title(),
                "tables": page.eval_on_selector_all("table", rows),
                "drawn": page.eval_on_selector("svg", "svg => svg.querySelectorAll('path').length"),
                "wide": page.eval_on_selector("svg", "svg => svg.getBoundingClientRect().width"),
            }

    return look


def test_the_page_shows_the_exact_figures_and_asks_nobody_for_anything(
    ledger: Database, cli: CommandLine, seen: Callable[[Path], dict[str, Any]], tmp_path: Path
):
    path = tmp_path / "momo-1.html"
    answer = cli(*ASKED, "--html", str(path), database=ledger).json["result"]
    figures = cli("ledger", "metrics", *ASKED[2:], "--by-month", database=ledger).json["result"]
    page = seen(path)
    assert page["requests"] == [path.as_uri()] or set(page["requests"]) == {path.as_uri(), "data:,"}
    assert page["complaints"] == []
    assert page["title"] == f"{BOT} on {figures['account_id']}"
    shown = dict(page["tables"]["figures"])
    for name in report.FIGURES:
        expected = figures[name]
        assert shown[name.replace("_", " ")] == ("none" if expected is None else str(expected)), name
    assert shown["net"] == "99"  # 500 - 1000 + 612.5, six fees of 2.25
    hashes = dict(page["tables"]["hashes"])
    assert hashes["input hash"] == answer["input_hash"] == figures["input_hash"]
    assert hashes["output hash"] == figures["output_hash"]
    assert dict(page["tables"]["conventions"]) == figures["conventions"]
    assert [row[:2] for row in page["tables"]["months"]] == [["2026-01", "99"]]
    assert [row[:2] for row in page["tables"]["drawdowns"]] == [
        [line["drawdown"], line["money"]] for line in figures["drawdowns"]
    ]
    assert page["drawn"] > 10
    assert page["wide"] > 300
    assert answer["html_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_hostile_text_on_the_page_is_text(
    seen: Callable[[Path], dict[str, Any]], tmp_path: Path, ledger: Database, cli: CommandLine
):
    figures = cli("ledger", "metrics", *ASKED[2:], "--by-month", database=ledger).json["result"]
    points = cli(*ASKED, database=ledger).json["result"]["points"]
    evil = "<script>alert(1)</script>\"'><img src=http://127.0.0.1:9/x onerror=alert(2)>\x1b[31m\u202e"
    line = {"exchange": evil, "symbol": evil, "asset_class": "future", "quantity": "1", "average_price": "1",
            "currency": "USD", "opened_at": evil, "unrealized": None}  # fmt: skip
    path = tmp_path / "evil.html"
    path.write_text(report.page({**figures, "bot_id": evil, "currency": evil, "positions": [line]}, points))
    page = seen(path)
    assert set(page["requests"]) <= {path.as_uri(), "data:,"}
    assert page["complaints"] == []
    assert page["tables"]["open-positions"][0][0].startswith("<script>alert(1)</script>")
    assert "\x1b" not in path.read_text()
    assert "\u202e" not in path.read_text()


class _Links(HTMLParser):
    """Everything in a page that could make a browser ask somebody."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [str(v) for k, v in attrs if k in {"src", "href", "xlink:href", "action", "data"} and v]
        if tag in {"script", "iframe", "object", "embed", "form"}:
            self.found.append(tag)


def test_nothing_in_the_page_could_ask_anybody(ledger: Database, cli: CommandLine, tmp_path: Path):
    path = tmp_path / "r.html"
    assert cli(*ASKED, "--html", str(path), database=ledger).code == 0
    links = _Links()
    links.feed(path.read_text())
    assert links.found == ["data:,"]
    assert "default-src 'none'" in path.read_text()


def test_the_same_ledger_gives_the_same_page_and_a_new_page_takes_the_old_ones_place(
    ledger: Database, cli: CommandLine, tmp_path: Path
):
    path, other = tmp_path / "r.html", tmp_path / "other.html"
    path.write_text("an older report")
    for target in (path, other):
        assert cli(*ASKED, "--html", str(target), database=ledger).code == 0
    assert path.read_bytes() == other.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix == ".html") == ["other.html", "r.html"]


@pytest.mark.parametrize("case", ["folder", "database", "no folder", "device"])
def test_a_page_goes_over_nothing_but_text(ledger: Database, cli: CommandLine, tmp_path: Path, case: str):
    binary = tmp_path / "desk.db"
    binary.write_bytes(b"SQLite format 3\0")
    where = {
        "folder": tmp_path,
        "database": binary,
        "no folder": tmp_path / "no" / "r.html",
        "device": Path("/dev/null"),
    }
    refused = cli(*ASKED, "--html", str(where[case]), database=ledger)
    assert (refused.code, refused.error["error_code"]) == (2, "INVALID_REQUEST")
    assert "--html is invalid" in refused.error["message"]
    assert binary.read_bytes() == b"SQLite format 3\0"


def test_an_incomplete_ledger_leaves_no_page(database: Database, cli: CommandLine, tmp_path: Path):
    desk(database)
    path = tmp_path / "r.html"
    refused = cli(*ASKED, "--html", str(path), database=database)
    assert (refused.code, refused.error["error_code"]) == (4, "METRICS_INCOMPLETE")
    assert not path.exists()


def test_without_the_extra_it_says_which(
    ledger: Database, cli: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    refused = cli(*ASKED, "--html", str(tmp_path / "r.html"), database=ledger)
    assert (refused.code, refused.error["error_code"]) == (8, "EXTRA_MISSING")
    assert "report" in refused.error["message"]
    assert cli(*ASKED, database=ledger).code == 0


def test_a_full_disk_leaves_the_old_page(ledger: Database, cli: CommandLine, tmp_path: Path):
    path, whole = tmp_path / "r.html", tmp_path / "whole.html"
    path.write_text("an older report")
    further = [
        (buy if n % 2 else sell)("1", f"{4000 + n}", at=f"2026-01-22T{n // 60:02}:{n % 60:02}") for n in range(400)
    ]
    fills(ledger, further)
    assert cli(*ASKED, "--html", str(whole), database=ledger).code == 0
    # Above what SQLite itself writes beside a database that is only read (32 KiB).
    assert whole.stat().st_size > 40_000
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (whole.stat().st_size - 1, before[1]))
    try:
        ran = cli(*ASKED, "--html", str(path), database=ledger)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert (ran.code, ran.error["error_code"]) == (9, "OUTPUT_LOST")
    assert path.read_text() == "an older report"
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".r.html")] == []


def test_the_terminal_shows_the_curve_within_its_width(ledger: Database, cli: CommandLine):
    shown = cli(*ASKED, "--output", "table", database=ledger).stdout
    lines = shown.splitlines()
    plot = [line for line in lines if "│" in line]
    assert len(plot) == 17
    assert max(map(len, lines[:20])) <= 80
    assert lines[0] == "equity, USD, realized"
    # 10,000 + 500 - 2 x 2.25; from there - 1,000 - 2 x 2.25, and the fee of the next entry: the ends of the drawing.
    assert plot[0].lstrip().startswith("10,495.50")
    assert plot[11].lstrip().startswith("9,488.75")
    assert plot[16].lstrip().startswith("-1,006.75")
    assert re.search("[⠁-⣿]", plot[0])
    assert "drawdowns" in lines


def test_the_drawing_of_one_point_and_of_a_flat_curve_is_one(ledger: Database):
    assert ledger is not None
    point = {"at": "2026-01-05T00:00:00.000000Z", "equity": "10000", "peak": "10000", "drawdown": "0"}
    result = {"points": [point], "currency": "USD", "basis": "REALIZED"}
    assert "10,000.00" in picture.equity(result, 20).plain
    later = {**point, "at": "2026-01-06T00:00:00.000000Z"}
    assert "10,000.00" in picture.equity({**result, "points": [point, later]}, 300).plain


def test_points_go_to_programs_whole(ledger: Database, cli: CommandLine):
    csv = cli(*ASKED, "--output", "csv", database=ledger).stdout.splitlines()
    points = json.loads(cli(*ASKED, database=ledger).stdout)["result"]["points"]
    assert csv[0] == "at,equity,peak,drawdown,fraction"
    assert len(csv) == len(points) + 1
    assert os.linesep.join(csv).count("⣿") == 0
