"""Requests and results of allocation."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, PlainSerializer, StringConstraints

from blaidctl.accounts.contract import CurrencyCode
from blaidctl.allocation.vocabulary import Proof
from blaidctl.core.contract import Act, Finding, LookupId, Request, Result, storable
from blaidctl.core.decimals import Exact, PositiveExact
from blaidctl.core.types import time_text
from blaidctl.instruments.contract import Moment

#: BOT=ACCOUNT, for a bot that has traded on several.
BotAccount = Annotated[str, StringConstraints(pattern=r"^[^=\x00]{1,200}=[^=\x00]{1,200}$")]
PolicyText = Annotated[
    str,
    StringConstraints(min_length=1, max_length=16_384),
    AfterValidator(storable),
    Field(json_schema_extra={"pattern": r"^[^\u0000]+$"}),
]
#: As many short names as a request body holds.
_MOST_BOTS = 4_000


class RunAllocation(Act):
    """Divide a capital over the bots."""

    bulky: ClassVar = frozenset({"policy"})
    prepared: ClassVar = frozenset({"policy_sha256", "document", "computed"})

    capital: PositiveExact
    currency: CurrencyCode
    #: The name of a policy that ships. Otherwise, on the command line a file (`-`: standard input), over HTTP the TOML
    #: text of the policy itself.
    policy: PolicyText
    as_of: Annotated[Moment, PlainSerializer(time_text, return_type=str, when_used="json")]
    #: Bots that are left out by name.
    exclude: list[LookupId] = Field(default=[], max_length=_MOST_BOTS)
    account: list[BotAccount] = Field(default=[], max_length=_MOST_BOTS)
    #: Part of what was asked for: a file may hold another policy tomorrow.
    policy_sha256: str | None = None
    #: The policy as read, and everything that was computed before the transaction; no part of what was asked for.
    document: Any = Field(default=None, exclude=True)
    computed: Any = Field(default=None, exclude=True)


class Line(Result):
    """What one bot got."""

    bot_id: str
    #: Whose figures were taken; null for a bot that nobody looked at.
    account_id: str | None
    #: Of the capital, in percent, rounded to 4 places for the eye.
    share: Exact
    #: Of the capital, exactly: `p/q`.
    weight: str
    amount: Exact
    #: Why it got nothing.
    reason: str | None
    #: What the policy looked at; what is undefined is null and stands in `undefined` with the reason.
    metrics: dict[str, Any] | None
    #: Over the bot's fills, flows, rates and instruments.
    input_hash: str | None


class Allocation(Result):
    """A run and its lines; lines and remainder sum to the capital."""

    table_of: ClassVar = "lines"
    columns: ClassVar = ("bot_id", "share", "amount", "reason")
    picture: ClassVar = "blaidctl.allocation.picture:lines"
    below: ClassVar = (
        "run_id", "capital", "currency", "allocated", "remainder", "remainder_reason", "as_of", "policy_name",
        "excluded", "input_hash", "output_hash", "code_version",
    )  # fmt: skip
    run_id: int
    as_of: datetime
    capital: Exact
    currency: str
    allocated: Exact
    remainder: Exact
    remainder_reason: str | None
    policy_name: str
    policy_toml: str
    policy_sha256: str
    excluded: list[str]
    lines: list[Line]
    conventions: dict[str, Any]
    #: Table → how many of its rows were read.
    source_tables: dict[str, int]
    #: How far the log had grown when the ledger was read, and when the kills were.
    versions: dict[str, Any]
    input_hash: str
    output_hash: str
    code_version: str
    created_at: datetime
    actor: str
    trace_id: str


class AllocationDetail(Allocation):
    """A run as it was stored."""


class ShowAllocation(Request):
    """One run."""

    run: LookupId


class ListAllocations(Request):
    """Runs, newest first."""

    limit: Annotated[int, Field(ge=1, le=100_000)] = 100


class AllocationHead(Result):
    """A run without its lines."""

    run_id: int
    created_at: datetime
    as_of: datetime
    capital: Exact
    currency: str
    policy_name: str
    #: How many bots got something, of how many.
    funded: int
    bots: int
    remainder: Exact
    output_hash: str
    actor: str


class AllocationList(Result):
    """Runs, newest first."""

    table_of: ClassVar = "runs"
    columns: ClassVar = ("run_id", "as_of", "capital", "currency", "policy_name", "funded", "bots", "remainder")
    runs: list[AllocationHead]


class AuditAllocation(Request):
    """Compute a stored run again."""

    run: LookupId


class AuditedAllocation(Result):
    """Whether a stored run is what the ledger, as it stood, gives."""

    columns: ClassVar = (
        "run_id", "answer", "differences", "lines", "input_hash", "recomputed_input_hash", "output_hash",
        "recomputed_output_hash", "code_version", "recomputed_by", "notes",
    )  # fmt: skip
    run_id: int
    answer: Proof
    #: Each one, the first first; empty when it is proven.
    differences: list[str]
    lines: int
    input_hash: str
    #: Null when the inputs cannot be read again.
    recomputed_input_hash: str | None
    output_hash: str
    recomputed_output_hash: str | None
    #: What made the run, and what computed it now.
    code_version: str
    recomputed_by: str
    notes: list[str]
    finding: Finding | None = None
