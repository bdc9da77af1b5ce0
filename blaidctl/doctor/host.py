"""What can be seen of this installation without its database: files, disk, kernel."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import signal
import stat
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from blaidctl.core import keeper, queue, settings
from blaidctl.core.db import normal_url
from blaidctl.core.errors import SettingsInvalid
from blaidctl.doctor import rules

if TYPE_CHECKING:
    from blaidctl.core.context import Context
    from blaidctl.doctor.rules import Seen

_GET_SUBREAPER = 37
_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def settings_file(_ctx: Context) -> Seen:
    """Look at who can read and write the settings file."""
    path = settings.config_path()
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        mode = path.stat().st_mode
    except FileNotFoundError:
        return rules.ok(f"there is none ({path}); the environment and the defaults hold")
    return rules.settings_file(str(path), mode, password=_holds_password(values.get("database_url")))


def _holds_password(url: object) -> bool:
    if not isinstance(url, str):
        return False
    try:
        parsed = normal_url(url)
    except SettingsInvalid:
        return True  # not understood: rather too careful
    return parsed.password is not None or any(name.endswith("password") for name in parsed.query)


def kernel(_ctx: Context) -> Seen:
    """Look whether the kernel has what supervision and the reaper stand on."""
    missing = []
    try:
        keeper.prctl(_GET_SUBREAPER, ctypes.byref(ctypes.c_int()))
    except OSError:
        missing.append("child subreapers (PR_SET_CHILD_SUBREAPER)")
    try:
        os.close(os.pidfd_open(os.getpid()))
        signal.pidfd_send_signal  # noqa: B018 - whether Python knows it
    except (OSError, AttributeError):
        missing.append("process descriptors (pidfd_open)")
    if not Path("/proc/self/environ").exists():
        missing.append("/proc")
    if missing:
        return rules.finding(
            f"{os.uname().release} lacks {', '.join(missing)}",
            "Supervise bots and jobs on Linux 5.4 or newer with /proc mounted.",
        )
    return rules.ok(f"{os.uname().release}: child subreapers, process descriptors, /proc")


def files(ctx: Context) -> Seen:
    """Look at who can write the SQLite file, what stands beside it, and its folder."""
    database = ctx.database.path
    there = [database, *(database.with_name(database.name + end) for end in ("-wal", "-shm", queue.SUFFIX))]
    modes = {str(path): path.lstat().st_mode for path in there if path.exists()}
    if str(database) not in modes:
        return rules.not_checked(f"there is no file {database}")
    return rules.open_files({**modes, str(database.parent): database.parent.stat().st_mode})


def disk(ctx: Context) -> Seen:
    """Look how much room is left where the SQLite file grows."""
    folder = ctx.database.path.parent
    if not folder.exists():
        return rules.not_checked(f"there is no folder {folder}")
    return rules.free_space(str(folder), shutil.disk_usage(folder).free)


def queue_file(ctx: Context) -> Seen:
    """Look whether writers can queue: without the file they still write, and may wait unfairly long."""
    path = Path(f"{ctx.database.path}{queue.SUFFIX}")
    mend = f"Remove what stands at {path}: the next writer makes it anew."
    try:
        descriptor = os.open(path, _LOOK)
    except FileNotFoundError:
        if os.access(path.parent, os.W_OK):
            return rules.ok("not there yet: the first writer makes it")
        return rules.finding(f"it is missing and {path.parent} takes no new file", "Let this user write the folder.")
    except OSError as error:
        return rules.finding(f"{path} cannot be opened ({error.strerror})", mend)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return rules.finding(f"{path} is no regular file", mend)
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return rules.ok("in use: somebody writes at this moment")
    finally:
        os.close(descriptor)
    return rules.ok("free")
