"""Runs one program for an owner and ends it when the owner dies, however that happens.

    python -I keeper.py FOLDER PROGRAM [ARGUMENT…]

The owner holds the other end of this process's standard input and never writes to it: the kernel closes it
even when the owner is killed with SIGKILL. The keeper then ends the program and removes FOLDER. If the keeper
itself is killed, the program gets SIGQUIT from the kernel (PR_SET_PDEATHSIG). The keeper's first line on
standard output is the program's pid.
"""

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys

PR_SET_PDEATHSIG = 1
GRACE_S = 10


def main() -> int:
    folder, *command = sys.argv[1:]
    libc = ctypes.CDLL(None)
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGQUIT),  # noqa: PLW1509 - one thread here
    )
    sys.stdout.write(f"{child.pid}\n")
    sys.stdout.flush()

    child_exits = os.pidfd_open(child.pid)
    exited, _, _ = select.select([child_exits, sys.stdin], [], [])
    if child_exits in exited:
        return child.wait()

    child.send_signal(signal.SIGQUIT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(GRACE_S)
    child.kill()
    child.wait()
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
