"""Pure rules of accounts: the risk policy, and what it says of limits."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from blaidctl.accounts.vocabulary import AccountAction, Limit
from blaidctl.core.decimals import exact, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: What no policy may allow, whoever wrote it: a slip of three zeros ends here. The least is above zero, always.
CEILINGS = {
    Limit.MAX_CONTRACTS: Decimal(1_000_000),
    Limit.MAX_POSITION_VALUE: Decimal(1_000_000_000_000),
    Limit.MAX_ORDER_QTY: Decimal(1_000_000_000_000),
    Limit.MAX_DAILY_LOSS: Decimal(100_000_000_000),
    Limit.MAX_DRAWDOWN_PCT: Decimal(100),
    Limit.MAX_ORDERS_PER_MINUTE: Decimal(100_000),
}
UNITS = {
    Limit.MAX_CONTRACTS: "contracts",
    Limit.MAX_POSITION_VALUE: "in the account's currency",
    Limit.MAX_ORDER_QTY: "contracts an order",
    Limit.MAX_DAILY_LOSS: "in the account's currency",
    Limit.MAX_DRAWDOWN_PCT: "percent",
    Limit.MAX_ORDERS_PER_MINUTE: "orders a minute",
}
#: Stored as integers.
WHOLE = frozenset({Limit.MAX_ORDERS_PER_MINUTE})
_ENDS = ("min", "max")


class PolicyProblemsError(ValueError):
    """Everything that is wrong with a risk policy."""

    def __init__(self, problems: list[str]) -> None:
        """Take a sentence for each problem."""
        self.problems = problems
        super().__init__("; ".join(problems))


@dataclass(frozen=True, slots=True)
class Range:
    """From the least to the most, both included."""

    least: Decimal
    most: Decimal

    def __contains__(self, value: Decimal) -> bool:
        """Say whether a value lies inside."""
        return self.least <= value <= self.most

    def __str__(self) -> str:
        """Name it in a sentence."""
        return f"{text_of(self.least)} to {text_of(self.most)}"


@dataclass(frozen=True, slots=True)
class Policy:
    """The ranges in force and the SHA-256 of the file that said so."""

    ranges: Mapping[Limit, Range]
    sha256: str


def read_policy(content: bytes) -> Policy:
    """Read a risk policy, wholly or not at all. Raises PolicyProblemsError with every problem."""
    try:
        found = tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        what = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise PolicyProblemsError([f"it is not TOML: {what}"]) from None
    problems = [f"{name}: there is no such limit" for name in found if name not in set(Limit)]
    ranges: dict[Limit, Range] = {}
    for limit in Limit:
        try:
            ranges[limit] = _range(limit, found.get(limit))
        except PolicyProblemsError as error:
            problems += [f"{limit}{what}" for what in error.problems]
    if problems:
        raise PolicyProblemsError(problems)
    return Policy(ranges, hash_of(content))


def hash_of(content: bytes) -> str:
    """Return the SHA-256 of a policy's bytes: 64 lowercase hex digits."""
    return hashlib.sha256(content).hexdigest()


def _range(limit: Limit, table: Any) -> Range:
    if not isinstance(table, dict):
        raise PolicyProblemsError([": it needs a table with min and max"])
    problems = [f".{name}: there is no such key" for name in table if name not in _ENDS]
    ends: list[Decimal] = []
    for name in _ENDS:
        try:
            ends.append(_end(limit, table, name))
        except ValueError as error:
            problems.append(f".{name}: {error}")
    if not problems and ends[0] > ends[1]:
        problems.append(f": min {text_of(ends[0])} is above max {text_of(ends[1])}")
    if problems:
        raise PolicyProblemsError(problems)
    return Range(*ends)


def _end(limit: Limit, table: Mapping[str, Any], name: str) -> Decimal:
    if name not in table:
        msg = "it is missing"
        raise ValueError(msg)
    if not isinstance(table[name], str | int) or isinstance(table[name], bool):
        msg = f"{table[name]} is neither a whole number nor a string: a float is not exact"
        raise ValueError(msg)  # noqa: TRY004 - a problem of the file, as all others
    value = exact(table[name])
    if limit in WHOLE and value != value.to_integral_value():
        msg = f"{text_of(value)} is not a whole number"
        raise ValueError(msg)
    if not 0 < value <= CEILINGS[limit]:
        msg = f"{text_of(value)} is outside the built-in bounds: above 0, up to {text_of(CEILINGS[limit])}"
        raise ValueError(msg)
    return value


def limits_of(link: Mapping[str, Any]) -> dict[Limit, Decimal]:
    """Return the six limits of a link's row."""
    return {limit: Decimal(link[limit]) for limit in Limit}


def missing(limits: Mapping[Limit, Decimal]) -> list[Limit]:
    """Return the limits that are not given."""
    return [limit for limit in Limit if limit not in limits]


def out_of_range(policy: Policy, limits: Mapping[Limit, Decimal]) -> Iterator[str]:
    """Yield a sentence for each limit that the policy does not allow."""
    for limit, value in limits.items():
        if value not in policy.ranges[limit]:
            yield f"{limit}: {text_of(value)} is not within {policy.ranges[limit]} ({UNITS[limit]})"


def shown(limits: Mapping[Limit, Decimal]) -> dict[str, Any]:
    """Return limits as events and entries carry them: exact decimals as text, whole numbers as numbers."""
    return {str(k): int(v) if k in WHOLE else text_of(v) for k, v in limits.items()}


def in_words(event: Mapping[str, Any]) -> str:
    """Return what an account event comes to, for a person."""
    before, after = event["before"] or {}, event["after"] or {}
    if event["action"] == AccountAction.REFUSED:
        return f"{event['error_code']}: {event['message']}"
    if event["action"] == AccountAction.LIMITS_CHANGED:
        return ", ".join(f"{k} {before.get(k)} -> {v}" for k, v in after.items() if before.get(k) != v)
    return ", ".join(f"{limit} {after[limit]}" for limit in Limit if limit in after)
