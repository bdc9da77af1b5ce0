"""`make evidence`: `blaidctl verify` with a PostgreSQL server of its own, which ends with it, however that ends."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.postgres import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = Path(sys.executable).with_name("blaidctl")
URL = "BLAIDCTL_VERIFY_POSTGRESQL_URL"


def main(arguments: Sequence[str]) -> int:
    """Run `blaidctl verify ARGUMENTS`; return its exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="blaidctl-evidence-"))
    try:
        with PostgresServer.start(folder / "postgres", fsync=False) as server:
            environment = {**os.environ, URL: server.url("postgres")}
            with subprocess.Popen([PROGRAM, "verify", *arguments], env=environment) as verify:
                while True:
                    with contextlib.suppress(KeyboardInterrupt):  # it has the same signal, or gets one
                        return verify.wait()
                    verify.terminate()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
