"""A disk of a megabyte with a database on it, filled up: every command's answer, as JSON, on standard output.

    small_disk.py DIRECTORY DATABASE SCRIPT      BLAIDCTL_DATABASE_URL names DIRECTORY/blaidctl.db

Started in a user namespace of its own (`unshare -rm`), where mounting needs no power; as root without namespaces it
mounts for real. Where neither is allowed, SQLite is told that the disk ends at the file's own size.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOM_KB = (0, 40, 64)
CAPPED = """
import sqlite3, sys
from blaidctl.core import db
opened = db.Database._open_sqlite
def capped(self):
    connection = opened(self)
    connection.execute("PRAGMA max_page_count=1")
    return connection
db.Database._open_sqlite = capped
from blaidctl.cli import main
sys.exit(main(sys.argv[1:]))
"""


def fill(disk: Path, room_kb: int) -> None:
    """Take all but `room_kb` of the disk."""
    filler = disk / "filler"
    filler.unlink(missing_ok=True)
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\0" * 4096):
            pass
    os.truncate(filler, max(filler.stat().st_size - room_kb * 1024, 0))


def run(*command: str) -> dict[str, object]:
    """Run a command and return what it answered."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return {"code": done.returncode, "stdout": done.stdout, "stderr": done.stderr}


def main(disk: Path, database: Path, script: str) -> None:
    """Kill on a full disk, then free it and look what was written."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)], check=False).returncode == 0  # noqa: S607
    shutil.copyfile(database, disk / "blaidctl.db")
    kill = ("kill", "a1", "--reason-code", "DRILL", "--reason", "a drill", "--request-id", "once")
    try:
        full = []
        for room_kb in ROOM_KB:
            if mounted:
                fill(disk, room_kb)
            full.append(run(script, *kill) if mounted else run(sys.executable, "-c", CAPPED, *kill))
        (disk / "filler").unlink(missing_ok=True)
        after = [run(script, "kill-events"), run(script, *kill), run(script, "audit", "verify")]
    finally:
        if mounted:
            subprocess.run(["umount", str(disk)], check=False)  # noqa: S607
    sys.stdout.write(json.dumps({"mounted": mounted, "full": full, "after": after}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
