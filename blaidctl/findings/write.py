"""`python -m blaidctl.findings.write`: put the generated blocks of the documents in again, in a checkout."""

from __future__ import annotations

import sys
from pathlib import Path

import blaidctl
from blaidctl.findings.documents import PAGES, renewed

ROOT = Path(blaidctl.__file__).parents[1]


def main() -> int:
    """Rewrite every page that changed; name each on standard output."""
    for name in PAGES:
        page = ROOT / name
        before = page.read_text(encoding="utf-8")
        after = renewed(before)
        if after != before:
            page.write_text(after, encoding="utf-8")
            sys.stdout.write(f"{name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
