"""From refused lines to one error: the gravest kind names it, every line stands in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blaidctl.core import errors
from blaidctl.core.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blaidctl.ledger.spool import Refused

#: How many refused lines an error names.
MOST_LISTED = 1_000
#: Of the message that an event keeps; the lines stand beside it.
LONGEST_MESSAGE = 2_000
#: What is another's comes before what differs, and that before what is merely wrong.
_RANK: tuple[type[errors.BlaidError], ...] = (
    errors.CrossUserFill,
    errors.CrossAccountFill,
    errors.UnlinkedFill,
    errors.LedgerConflict,
)
_CORRECT = (
    "Correct each line that is named (runbooks/ledger.md) and import the file again; nothing of it was written.",
)


def error_of(refused: Sequence[Refused], total: int, rows_read: int, source_name: str) -> errors.BlaidError:
    """Return the error of a source that is refused; `total` counts the reasons that are not named, too."""
    codes = {one.error_code for one in refused}
    kind = next((cls for cls in _RANK if cls.error_code in codes), errors.RowsRefused)
    told = [printable(_told(one, kind)) for one in sorted(refused)[:MOST_LISTED]]
    rest = f", the first {len(told)} are listed" if total > len(told) else ""
    return kind(
        f"{total} reason(s) in {rows_read} row(s) of {printable(source_name)} speak against it, so nothing was"
        f" imported{rest}: {told[0]}",
        missing=told,
        next_steps=_CORRECT if kind is errors.RowsRefused else kind.next_steps,
    )


def _told(one: Refused, kind: type[errors.BlaidError]) -> str:
    """Return a line's reason; where kinds are mixed, each says which it is."""
    line = f"line {one.line}: " if one.line else ""
    return (
        f"{line}{'' if one.error_code == kind.error_code or not one.error_code else f'{one.error_code}: '}{one.reason}"
    )
