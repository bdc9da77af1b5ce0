"""What a person sees: every operation's answer, drawn for a narrow terminal from values as long as real ones."""

from __future__ import annotations

import contextlib
import enum
import hashlib
import io
import re
import types
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from blaidctl.core import present
from blaidctl.core.audit import Receipt
from blaidctl.core.execute import Answer
from blaidctl.core.operation import resolve
from blaidctl.core.vocabulary import Output
from blaidctl.operations import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from blaidctl.core.operation import Operation

ANSWERING = [operation for operation in OPERATIONS if operation.result]
TRACE, HASH = "cf81994137c31eee93e4483fea1d6315", "5458db3584f997e0e4f3b66bbe91320e5850d11b0bccb476bd930f18792d9913"
PROSE = "orders at ten times the limit, seen by the desk; a provider that is in doubt is no provider (F-013)"
#: By a part of a field's name, the first that fits: text of the length that such a field really has.
TEXTS = {
    "trace_id": TRACE,
    "act_id": TRACE,
    "request_id": "d09a19b1-539a-186d-6148-f430d39f26aa",
    "verifier": "desk.example.com/blaidctl+e3a1b2c4+AaN0ZmJkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM=",
    "actor": "risk.officer@desk-17",
    "killed_by": "risk.officer@desk-17",
    "by": "risk.officer@desk-17",
    "code_version": "0.1.0",
    "url": "https://gateway.example.com/v1/health",
    "file": "/mnt/worm/blaidctl/checkpoints/000000000046.note",
    "source": "flex-2026-11-22.xml",
    "currency": "USD",
    "_code": "RUNAWAY_ORDERS",
    **dict.fromkeys(("reason", "detail", "message", "what", "rule", "why", "note", "next"), PROSE),
    "bot": "momentum-es-futures-2",
    "account": "alice-interactive-brokers-paper",
    "status": "SUCCEEDED",
}
OTHERS = "SUPERVISOR_STOPPED"
LONGEST_ID = "b" + "zyxw-vuts." * 6 + "-z"  # 63 characters, the longest that a bot may have


def text_of(name: str, number: int, texts: dict[str, str]) -> str:
    if "hash" in name or "sha256" in name:
        return hashlib.sha256(f"{name} {number}".encode()).hexdigest()
    if name == "at":
        return f"2026-11-{22 + number}T23:39:04.592694Z"
    if name in {"equity", "peak", "drawdown"}:
        return f"{number}234567.125"
    return next((text for part, text in texts.items() if part in name), OTHERS)


def value_of(kind: Any, name: str, number: int, texts: dict[str, str]) -> Any:
    """Return a value in its JSON form, as long as a real one of this type under this name."""
    origin, of = get_origin(kind), get_args(kind)
    if origin in {Annotated, Literal, Union, types.UnionType}:
        return max(of, key=len) if origin is Literal else value_of(of[0], name, number, texts)
    if origin in {list, tuple}:
        return [value_of(of[0], name, index, texts) for index in range(3)]
    if origin is dict or kind is dict:
        inner = of[1] if of else Any
        return {f"{name}_{index}": value_of(inner, name, index, texts) for index in range(3)}
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        fields = {field: found for field, found in kind.model_fields.items() if not found.exclude}
        return {field: value_of(found.annotation, field, number, texts) for field, found in fields.items()}
    return plain_value_of(kind, name, number, texts)


def plain_value_of(kind: Any, name: str, number: int, texts: dict[str, str]) -> Any:
    known = {bool: True, int: 1_234_567, Decimal: "-1234567.125", Any: {"bots": [texts["bot"]] * 2}}
    if kind in known:
        return known[kind]
    if issubclass(kind, enum.Enum):
        return max((str(member.value) for member in kind), key=len)
    return text_of("at" if kind is datetime else name, number, texts)


def answer_of(operation: Operation, texts: dict[str, str]) -> Answer:
    result = value_of(resolve(operation.result), "", 0, texts)
    receipt = Receipt(1_234_567, HASH) if operation.writes else None
    return Answer(operation, TRACE, result, texts["request_id"], receipt, replayed=operation.writes)


@pytest.fixture
def no_terminal() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def whole_or_none(text: str) -> list[str]:
    """Return what is left of hashes and trace ids that were cut."""
    return [found for found in re.findall(r"\b[0-9a-f]{13,}\b", text) if len(found) not in {32, 64}]


@pytest.mark.usefixtures("no_terminal")
@pytest.mark.parametrize("columns", [80, 100])
@pytest.mark.parametrize(
    "texts", [TEXTS, TEXTS | {"bot": LONGEST_ID, "request_id": "r" * 64}], ids=["usual", "longest ids"]
)
@pytest.mark.parametrize("operation", ANSWERING, ids=lambda operation: operation.name)
def test_every_answer_fits_its_terminal_and_no_hash_is_cut(
    operation: Operation, texts: dict[str, str], columns: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", str(columns))
    text = present.render(answer_of(operation, texts), Output.TABLE)
    assert [line for line in text.splitlines() if len(line) > columns] == []
    assert whole_or_none(text) == []


# ---- where a long word stands ----------------------------------------------------------------------------------

AUDIT = {"run_id": 1, "answer": "PROVEN", "output_hash": HASH, "recomputed_output_hash": HASH}


def drawn(row: dict[str, Any]) -> list[str]:
    return present.render_rows("x", TRACE, [row], list(row), Output.TABLE).splitlines()


@pytest.mark.usefixtures("no_terminal")
def test_a_value_that_does_not_fit_beside_its_name_stands_below_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert drawn(AUDIT) == [
        "run id                  1",
        "answer                  PROVEN",
        "output hash",
        f"  {HASH}",
        "recomputed output hash",
        f"  {HASH}",
    ]
    monkeypatch.setenv("COLUMNS", "90")
    assert drawn(AUDIT)[-1] == f"recomputed output hash  {HASH}"


@pytest.mark.usefixtures("no_terminal")
@pytest.mark.parametrize(("length", "indent"), [(78, 2), (79, 1), (80, 0), (128, 0)])
def test_what_is_longer_than_a_line_stands_whole(monkeypatch: pytest.MonkeyPatch, length: int, indent: int):
    monkeypatch.setenv("COLUMNS", "80")
    assert drawn({"what": "a", "key": "k" * length})[1:] == ["key", " " * indent + "k" * length]


@pytest.mark.usefixtures("no_terminal")
def test_a_pipe_takes_a_line_of_any_length(monkeypatch: pytest.MonkeyPatch):
    kill = next(operation for operation in OPERATIONS if operation.name == "kill")
    for columns in (None, "", "0", "wide", "-80"):
        monkeypatch.delenv("COLUMNS", raising=False) if columns is None else monkeypatch.setenv("COLUMNS", columns)
        assert drawn(AUDIT)[-1] == f"recomputed output hash  {HASH}"
        *_, receipt, trace = present.render(answer_of(kill, TEXTS), Output.TABLE).splitlines()
        assert receipt == f"audit seq 1234567  entry {HASH}"
        assert trace == f"trace {TRACE}  request {TEXTS['request_id']}"
    monkeypatch.setenv("COLUMNS", "80")
    assert present.render(answer_of(kill, TEXTS), Output.TABLE).splitlines()[-4:] == [
        "audit seq 1234567",
        f"entry {HASH}",
        f"trace {TRACE}",
        f"request {TEXTS['request_id']}",
    ]
