"""`ledger equity --html`: one page with the curve, every figure, the conventions and the hashes.

The picture is drawn to SVG when the page is written: the page holds no script, asks nobody for anything (its own policy
forbids it), and looks the same in ten years. Numbers stand in tables, exact, as JSON has them; only axes are rounded.
Drawing needs the extra `report` (altair, vl-convert).
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from blaidctl.core import errors, outfile
from blaidctl.core.canonical import sha256_text
from blaidctl.core.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

_WIDTH, _EQUITY_HEIGHT, _DRAWDOWN_HEIGHT = 860, 320, 140
_GREEN, _GREY, _RED = "#1a7f37", "#8b949e", "#cf222e"
#: Nothing may be fetched, run or framed: what a page with somebody's money on it does not need, it may not do.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'"
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1f2328;background:#fff}
h1{font-size:1.5rem;margin:0}h2{font-size:1.05rem;margin:2rem 0 .5rem}p.of{color:#59636e;margin:.2rem 0 1.5rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:.2rem .9rem .2rem 0;text-align:left;
border-bottom:1px solid #d1d9e0;vertical-align:top}td.n{text-align:right}th{font-weight:600;color:#59636e}
code{font-size:.85em;overflow-wrap:anywhere}svg{max-width:100%;height:auto}div.wide{overflow-x:auto}
@media print{body{margin:0;max-width:none}}
"""
FIGURES = (
    "net", "gross", "fees", "fill_fees", "account_fees", "unrealized", "equity", "peak", "starting_capital", "deposits",
    "withdrawals", "return_on_capital", "max_drawdown", "max_drawdown_fraction", "current_drawdown",
    "current_drawdown_fraction", "closed_trades", "wins", "losses", "even", "profit", "loss", "win_rate",
    "profit_factor", "expectancy", "exposure", "fills", "fills_from_floats", "fills_after_kill",
)  # fmt: skip
_DRAWDOWN = ("drawdown", "money", "fraction", "start", "trough", "recovery")
_MONTH = ("month", "net", "gross", "fees", "flows", "closed_trades", "equity")
_POSITION = ("exchange", "symbol", "asset_class", "quantity", "average_price", "currency", "opened_at", "unrealized")
_NUMBERS = frozenset((*FIGURES, *_MONTH[1:], "money", "fraction", "quantity", "average_price", "rows"))


def check(path: str) -> Path:
    """Return where the page goes, before anything is computed. Raises InvalidRequest and ExtraMissing."""
    _drawing()
    return outfile.check(path, "html")


def write(path: Path, figures: Mapping[str, Any], points: Sequence[Mapping[str, Any]]) -> str:
    """Write the page; return its SHA-256. Raises OutputLost when it cannot be written whole."""
    text = page(figures, points)
    try:
        outfile.replace(path, text.encode())
    except OSError as error:
        raise errors.OutputLost(
            f"the page could not be written to {path} ({error.strerror}); nothing of it is there",
            next_steps=["Free space or mend the folder, and run the command again: it reads only."],
        ) from error
    return sha256_text(text).hex()


def page(figures: Mapping[str, Any], points: Sequence[Mapping[str, Any]]) -> str:
    """Return the page of `ledger metrics`' result (with its months) and the points of the curve."""
    title = f"{figures['bot_id']} on {figures['account_id']}"
    of = f"{figures['since']} to {figures['as_of']}, {figures['currency']}, {figures['lot_method']}, {figures['basis']}"
    if figures["instance"] is not None:
        of += f", instance {figures['instance']}"
    hashes = {name: figures[name] for name in ("input_hash", "output_hash", "code_version", "version")}
    body = [
        f"<h1>{_text(title)}</h1>", f'<p class="of">{_text(of)}</p>', picture(points, figures["currency"]),
        _section("Figures", ("figure", "value"), _pairs({name: figures[name] for name in FIGURES})),
        _section("Undefined", ("figure", "reason"), _pairs(figures["undefined"])),
        _section("Drawdowns", _DRAWDOWN, figures["drawdowns"]),
        _section("Months", _MONTH, figures["months"]),
        _section("Open positions", _POSITION, figures["positions"]),
        _section("Conventions", ("convention", "rule"), _pairs(figures["conventions"], "convention", "rule")),
        _section("Source tables", ("table", "rows"), _pairs(figures["source_tables"], "table", "rows")),
        _section("Hashes", ("figure", "value"), _pairs(hashes | figures["inputs"])),
    ]  # fmt: skip
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width">\n<link rel="icon" href="data:,">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(filter(None, body))
        + "\n</body>\n</html>\n"
    )


def _pairs(of: Mapping[str, Any], one: str = "figure", other: str = "") -> list[dict[str, Any]]:
    return [{one: name, other or "value": value, "reason": value} for name, value in of.items()]


def _section(title: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a titled table; nothing where there is no row."""
    lines = ["<tr>" + "".join(_cell(row, name) for name in columns) + "</tr>" for row in rows]
    if not lines:
        return ""
    head = "".join(f'<th scope="col">{_text(name.replace("_", " "))}</th>' for name in columns)
    return (
        f'<h2>{title}</h2>\n<div class="wide"><table id="{title.lower().replace(" ", "-")}"><thead><tr>{head}</tr>'
        f"</thead>\n<tbody>{chr(10).join(lines)}</tbody></table></div>"
    )


def _cell(row: Mapping[str, Any], name: str) -> str:
    value = row[name]
    shown = "none" if value is None else str(value)
    if name in _NUMBERS or (name == "value" and row["figure"] in _NUMBERS):
        return f'<td class="n">{_text(shown)}</td>'
    if name == "value":
        return f"<td><code>{_text(shown)}</code></td>"
    return f"<td>{_text(shown.replace('_', ' ') if name == 'figure' else shown)}</td>"


def _text(text: str) -> str:
    return html.escape(printable(text))


def _drawing() -> tuple[Any, Any]:
    """Return the two libraries that draw, or say which extra brings them."""
    try:
        import altair as alt
        import vl_convert
    except ImportError as error:
        raise errors.ExtraMissing(f"a page with a picture needs the extra `report` ({error})") from error
    return alt, vl_convert


def picture(points: Sequence[Mapping[str, Any]], currency: str) -> str:
    """Return the curve over its drawdown as SVG: steps, since equity holds until something happens."""
    alt, vl_convert = _drawing()
    unit = "".join(filter(str.isalnum, currency))  # the drawing library resolves escapes of its own
    rows = [
        {"at": point["at"], "equity": float(point["equity"]), "peak": float(point["peak"]),
         "under": -float(point["drawdown"])}
        for point in points
    ]  # fmt: skip
    base = alt.Chart(alt.Data(values=rows)).encode(x=alt.X("at:T", title=None, scale=alt.Scale(type="utc")))
    axis = alt.Y("equity:Q", title=f"equity, {unit}", scale=alt.Scale(zero=False))
    peak = base.mark_line(interpolate="step-after", strokeDash=[4, 3], color=_GREY).encode(y=alt.Y("peak:Q"))
    equity = base.mark_line(interpolate="step-after", color=_GREEN).encode(y=axis)
    under = base.mark_area(interpolate="step-after", color=_RED, opacity=0.5, line={"color": _RED}).encode(
        y=alt.Y("under:Q", title=f"drawdown, {unit}")
    )
    both = alt.vconcat(
        (peak + equity).properties(width=_WIDTH, height=_EQUITY_HEIGHT),
        under.properties(width=_WIDTH, height=_DRAWDOWN_HEIGHT),
    ).resolve_scale(x="shared")
    drawn = vl_convert.vegalite_to_svg(both.to_json())
    return f'<figure role="img" aria-label="equity over time, and drawdown under its peak">{drawn}</figure>'
