"""A command whose files go to a disk that is too small: its answer, as JSON, on standard output.

    full_disk.py DIRECTORY SCRIPT WORDS…

Started in a user namespace of its own (`unshare -rm`), where mounting needs no power. Where mounting is not allowed,
the program is told that the disk is full when it makes sure of the file.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

TOLD = """
import errno, os, sys
def full(_descriptor):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
from blaidctl.cli import main
from blaidctl.database import files
files.os.fsync = full
sys.exit(main(sys.argv[1:]))
"""


def main(disk: Path, script: str, words: list[str]) -> None:
    """Mount, run, look what is left."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)], check=False).returncode == 0  # noqa: S607
    try:
        command = (script, *words) if mounted else (sys.executable, "-c", TOLD, *words)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        files = sorted(path.name for path in disk.iterdir())
    finally:
        if mounted:
            subprocess.run(["umount", str(disk)], check=False)  # noqa: S607
    found = {"code": done.returncode, "stdout": done.stdout, "stderr": done.stderr, "files": files}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
