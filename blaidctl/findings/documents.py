"""The generated blocks of the documents: pure text from the code, so that no table of a page can be out of date.

A page holds `<!-- generated: NAME -->` … `<!-- end -->`; what stands between is the text of BLOCKS[NAME]. `write.py`
puts it there, and a test compares it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from blaidctl.core import errors, migrate
from blaidctl.findings.endpoints import COLUMNS, rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Each page, and the blocks that it must hold; paths from the top of the checkout.
PAGES: dict[str, tuple[str, ...]] = {
    "AUDIT_FINDINGS.md": ("endpoints", "migrations"),
    "README.md": ("exit-codes",),
    "runbooks/error-codes.md": ("exit-codes", "error-codes"),
}
_BLOCK = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def endpoint_table() -> str:
    """Return every operation of the map: command, route, status, finding."""
    return _table(COLUMNS, ([row[name] for name in COLUMNS] for row in rows()))


def migration_list() -> str:
    """Return every revision that ships, oldest first, with what its docstring says."""
    lines: list[str] = []
    for script in migrate.scripts():
        revision, title, *sections = migrate.described(script).items()
        lines.append(f"- **{revision[1]}** {title[1]}")
        lines += [f"  - {name.replace('_', ' ').capitalize()}: {text}" for name, text in sections]
    return "\n".join(lines) + "\n"


def exit_code_table() -> str:
    """Return one row an exit code: what it means, its HTTP status, its error codes."""
    return _table(
        ["exit", "class", "HTTP", "error codes"],
        [["0", "Done, or already so.", "200", ""], *(_category_row(cls) for cls in errors.categories())],
    )


def _category_row(cls: type[errors.BlaidError]) -> list[str]:
    leaves = list(errors.leaves(cls))
    statuses = sorted({leaf.http_status for leaf in leaves} | {cls.http_status})
    return [
        str(cls.exit_code),
        errors.default_sentence(cls),
        ", ".join(map(str, statuses)),
        ", ".join(f"`{leaf.error_code}`" for leaf in leaves),
    ]


def error_table() -> str:
    """Return every error code under its exit code: what happened, and what to do now."""
    parts: list[str] = []
    for category in errors.categories():
        parts.append(f"## Exit {category.exit_code}: {errors.default_sentence(category)}\n")
        for leaf in errors.leaves(category):
            steps = [f"{number}. {step}" for number, step in enumerate(leaf.next_steps, 1)]
            parts += [f"### {leaf.error_code}\n", f"{errors.default_sentence(leaf)} (HTTP {leaf.http_status})\n"]
            parts.append("\n".join(steps) + "\n")
    return "\n".join(parts)


BLOCKS = {
    "endpoints": endpoint_table,
    "migrations": migration_list,
    "exit-codes": exit_code_table,
    "error-codes": error_table,
}


def blocks_of(page: str) -> list[str]:
    """Return the names of the blocks that a page's text holds, in order."""
    return [match[2] for match in _BLOCK.finditer(page)]


def renewed(page: str) -> str:
    """Return a page's text with every generated block as the code has it now; KeyError for an unknown name."""
    return _BLOCK.sub(lambda match: f"{match[1]}\n{BLOCKS[match[2]]()}\n{match[3]}", page)


def _table(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    cells = [columns, ["---"] * len(columns), *lines]
    return "".join("| " + " | ".join(text.replace("|", r"\|") for text in line) + " |\n" for line in cells)
