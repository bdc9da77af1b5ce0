"""A policy of allocation as a TOML file: read wholly or not at all. The four that ship stand in policies/."""

from __future__ import annotations

import hashlib
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from blaidctl.allocation.rules import Policy
from blaidctl.allocation.vocabulary import Method, Shipped, Undefined
from blaidctl.core import errors, files
from blaidctl.core.decimals import read, text_of
from blaidctl.ledger.vocabulary import Basis, LotMethod

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from decimal import Decimal
    from enum import StrEnum

    from blaidctl.core.context import Context

FOLDER = Path(__file__).with_name("policies")
#: A policy is a page; what is longer is another file.
LARGEST_BYTES = 16 * 1024
#: Of every number: a metric has no more either.
MOST_PLACES = 12
_MOST_COUNT = 1_000_000

_Word = TypeVar("_Word", bound="StrEnum")


class PolicyProblemsError(ValueError):
    """Everything that is wrong with a policy."""

    def __init__(self, problems: list[str]) -> None:
        """Take a sentence for each problem."""
        self.problems = problems
        super().__init__("; ".join(problems))


@dataclass(frozen=True, slots=True)
class Document:
    """A policy, the text that says it, and what that text was called."""

    name: str
    text: str
    policy: Policy

    @property
    def sha256(self) -> str:
        """The hash of the text's bytes: an edited comment is another policy."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def stored(self) -> dict[str, str]:
        """Return what a run keeps of it, so that it can be read again."""
        return {"name": self.name, "toml": self.text}


def shipped(name: str) -> str:
    """Return the text of a policy that ships."""
    return (FOLDER / f"{Shipped(name)}.toml").read_text("utf-8")


def asked_for(ctx: Context, policy: str) -> Document:
    """Return the policy of a request. Raises AllocationPolicyInvalid.

    What no policy is called that ships is a file on the command line, and over HTTP the text itself: a path there would
    be a question about the server's disk.
    """
    if policy in set(Shipped):
        name, text = policy, shipped(policy)
    elif ctx.channel == "cli":
        name = "standard input" if policy == files.STDIN else Path(policy).name
        text = _content(ctx, policy)
    else:
        name, text = "request", policy
    try:
        return document(name, text)
    except PolicyProblemsError as error:
        raise errors.AllocationPolicyInvalid(
            f"the policy is invalid ({name}): {'; '.join(error.problems)}", missing=error.problems
        ) from None


def _content(ctx: Context, path: str) -> str:
    try:
        with files.reading(path, ctx.settings.statement_timeout_s, most_bytes=LARGEST_BYTES) as reading:
            return b"".join(iter(lambda: reading.read(LARGEST_BYTES), b"")).decode()
    except errors.FileUnreadable as error:
        raise errors.FileUnreadable(
            error.message,
            next_steps=[f"Give a file, `-` for standard input, or a policy that ships: {', '.join(Shipped)}."],
        ) from None
    except errors.FileInvalid as error:
        problem = error.message
    except UnicodeDecodeError as error:
        problem = f"{path} is not UTF-8: byte {error.start + 1}"
    raise errors.AllocationPolicyInvalid(problem, missing=[problem])


def document(name: str, text: str) -> Document:
    """Read a policy. Raises PolicyProblemsError with every problem."""
    if len(text.encode()) > LARGEST_BYTES:
        raise PolicyProblemsError([f"it is longer than {LARGEST_BYTES} bytes"])
    try:
        found = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        what = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise PolicyProblemsError([f"it is not TOML: {what}"]) from None
    reader = _Reader(found)
    policy = _policy(reader)
    reader.nothing_else()
    if reader.problems or policy is None:
        raise PolicyProblemsError(reader.problems)
    return Document(name, text, policy)


def _policy(reader: _Reader) -> Policy | None:
    method = reader.word("method", Method)
    values: dict[str, Any] = {
        "method": method,
        "lot_method": reader.word("lot_method", LotMethod),
        "basis": reader.word("basis", Basis),
        "undefined": reader.word("undefined", Undefined),
        "floor": reader.share("weights.floor", zero=True),
        "cap": reader.share("weights.cap"),
        "max_bots": reader.count("weights.max_bots", least=1, optional=True),
        "closed_trades": reader.count("history.closed_trades", least=0),
        "days": reader.count("history.days", least=0),
    }
    if method is Method.INVERSE_DRAWDOWN:
        values["least_drawdown"] = reader.share("inverse_drawdown.least_drawdown", optional=True)
    elif method is Method.PROFIT_FACTOR:
        values["above_profit_factor"] = reader.number("profit_factor.above")
        values["most_profit_factor"] = reader.number("profit_factor.most", optional=True)
    elif method is Method.FRACTIONAL_KELLY:
        values["fraction"] = reader.share("fractional_kelly.fraction")
    if reader.problems:
        return None
    policy = Policy(**values)
    reader.problems += _together(policy)
    return policy


def _together(policy: Policy) -> list[str]:
    """Return what is wrong with values that are right one by one."""
    problems = []
    if policy.floor > policy.cap:
        problems.append(f"weights: the floor {text_of(policy.floor)} is above the cap {text_of(policy.cap)}")
    if policy.max_bots is not None and policy.floor * policy.max_bots > 1:
        total = text_of(policy.floor * policy.max_bots)
        problems.append(f"weights: the floor {text_of(policy.floor)} for {policy.max_bots} bots is {total}: over 1")
    if policy.method is Method.EQUAL and policy.max_bots is not None:
        problems.append("weights.max_bots: EQUAL has no metric by which some bots would be better than others")
    above, most = policy.above_profit_factor, policy.most_profit_factor
    if above is not None and most is not None and most <= above:
        problems.append(f"profit_factor: most {text_of(most)} is not greater than above {text_of(above)}")
    return problems


class _Reader:
    """What a TOML document says, key by key; every problem is collected, every key that nobody asked for is one."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        self.problems: list[str] = []
        self._found = _flat(found)
        self._asked: set[str] = set()

    def _value(self, key: str, kind: type, *, optional: bool) -> Any:
        self._asked.add(key)
        if key not in self._found:
            if not optional:
                self.problems.append(f"{key}: it is missing")
            return None
        value = self._found[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            what = {str: "a string", int: "a whole number"}[kind]
            self.problems.append(f"{key}: {value!r} is not {what}{', and a float is not exact' * (kind is str)}")
            return None
        return value

    def word(self, key: str, words: type[_Word]) -> _Word | None:
        text = self._value(key, str, optional=False)
        if text is None:
            return None
        with suppress(ValueError):
            return words(text)
        self.problems.append(f"{key}: {text!r} is none of {', '.join(words)}")
        return None

    def count(self, key: str, *, least: int, optional: bool = False) -> int | None:
        value: int | None = self._value(key, int, optional=optional)
        if value is None or least <= value <= _MOST_COUNT:
            return value
        self.problems.append(f"{key}: {value} is not within {least} to {_MOST_COUNT}")
        return None

    def share(self, key: str, *, zero: bool = False, optional: bool = False) -> Decimal | None:
        return self._decimal(
            key, lambda value: (value >= 0 if zero else value > 0) and value <= 1,
            f"{'from' if zero else 'above'} 0 up to 1", optional=optional,
        )  # fmt: skip

    def number(self, key: str, *, optional: bool = False) -> Decimal | None:
        return self._decimal(key, lambda value: 0 <= value <= _MOST_COUNT, f"0 to {_MOST_COUNT}", optional=optional)

    def _decimal(self, key: str, fits: Callable[[Decimal], bool], range_: str, *, optional: bool) -> Decimal | None:
        text = self._value(key, str, optional=optional)
        if text is None:
            return None
        try:
            value = read(text)
        except ValueError as error:
            self.problems.append(f"{key}: {error}")
            return None
        if not fits(value):
            self.problems.append(f"{key}: {text_of(value)} is not within {range_}")
        elif round(value, MOST_PLACES) != value:
            self.problems.append(f"{key}: {text_of(value)} has more than {MOST_PLACES} decimal places")
        return value

    def nothing_else(self) -> None:
        method = self._found.get("method")
        self.problems += [
            f"{key}: there is no such key{f' for {method}' if method in set(Method) else ''}"
            for key in self._found
            if key not in self._asked and not self._is_empty_table(key)
        ]

    def _is_empty_table(self, key: str) -> bool:
        return self._found[key] == {} and any(asked.startswith(f"{key}.") for asked in self._asked)


def _flat(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a document and of its tables, `table.key`; a table within a table stays a value."""
    flat: dict[str, Any] = {}
    for name, value in found.items():
        if isinstance(value, dict) and value:
            flat |= {f"{name}.{key}": inner for key, inner in value.items()}
        else:
            flat[name] = value
    return flat
