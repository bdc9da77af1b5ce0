"""What runs left behind: real processes that lost their parents, found by mark or by pid and start, and ended."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from blaidctl.core import process as processes
from blaidctl.core import remains
from blaidctl.core.remains import Left, Outcome, Remains
from blaidctl.core.supervise import MARK_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT_S = 20
ANOTHER_BOOT = "00000000-0000-4000-8000-000000000000"
SLEEP = "import time; time.sleep(300)"
#: Leaves the group, the session and the parent: only the mark still tells where it comes from.
DOUBLE_FORK = f"""
import os, sys, time
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
open(sys.argv[1], "w").write(f"{{os.getpid()}}\\n")
{SLEEP}
"""


@dataclasses.dataclass
class Run:
    """A command under a mark, as a supervisor would have started it."""

    mark: str
    popen: subprocess.Popen[bytes]

    def left(self, **other: Any) -> Left:
        """What a supervisor would have recorded about it, or something else."""
        recorded = {
            "mark": self.mark,
            "pid": self.popen.pid,
            "pid_started": processes.started(self.popen.pid),
            "boot_id": processes.boot_id(),
        }
        return Left(**(recorded | other))


@pytest.fixture
def run() -> Iterator[Callable[..., Run]]:
    """`run("python text", *arguments)`: a real process with a mark of its own; killed with the test."""
    started: list[Run] = []

    def start(text: str, *arguments: str | Path, wrapper: tuple[str, ...] = (), **environment: str) -> Run:
        mark = secrets.token_hex(16)
        popen = subprocess.Popen(
            [*wrapper, sys.executable, "-c", text, *arguments],
            env={**os.environ, MARK_VARIABLE: mark, **environment},
            start_new_session=True,
        )
        started.append(Run(mark, popen))
        return started[-1]

    yield start
    for each in started:
        remains.end(each.left(boot_id=None))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(each.popen.pid, signal.SIGKILL)
        each.popen.wait(LIMIT_S)


def lives(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < until, f"not so within {LIMIT_S} s"
        time.sleep(0.01)


def has_mark(each: Run) -> bool:
    """Whether exec has come as far as the new environment."""
    return each.mark.encode() in Path(f"/proc/{each.popen.pid}/environ").read_bytes()


def pid_in(path: Path) -> int:
    wait_for(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


# ---- found and ended -------------------------------------------------------------------------------------------------


def test_a_double_forked_daemon_is_found_by_its_mark(run: Callable[..., Run], tmp_path: Path):
    each = run(DOUBLE_FORK, tmp_path / "pid")
    daemon = pid_in(tmp_path / "pid")
    each.popen.wait(LIMIT_S)
    assert lives(daemon)
    assert remains.end(each.left(pid_started="1")) == Remains(Outcome.KILLED, 1)
    assert not lives(daemon)
    assert remains.end(each.left(pid_started="1")) == Remains(Outcome.GONE)


def test_everything_that_carries_the_mark_is_ended_and_nothing_else(run: Callable[..., Run], tmp_path: Path):
    children = "import subprocess, sys; [subprocess.Popen(['sleep', '300']) for _ in range(3)]"
    family = run(f"{children}; open({str(tmp_path / 'ready')!r}, 'w').write('1\\n'); {SLEEP}")
    stranger = run(SLEEP)
    # Its mark begins with the mark of the family: only the whole word counts.
    longer = run(SLEEP, **{MARK_VARIABLE: f"{family.mark}0"})
    pid_in(tmp_path / "ready")
    assert remains.end(family.left()) == Remains(Outcome.KILLED, 4)
    assert not lives(family.popen.pid)
    assert lives(stranger.popen.pid)
    assert lives(longer.popen.pid)
    longer.popen.kill()


def test_many_runs_are_looked_into_at_once(run: Callable[..., Run]):
    each = [run(SLEEP) for _ in range(5)]
    wait_for(lambda: all(map(has_mark, each)))
    over = run("")
    over.popen.wait(LIMIT_S)
    lefts = [one.left() for one in each]
    found = remains.end_all([lefts[0], over.left(pid_started="1"), *lefts[1:]])
    assert found == [Remains(Outcome.KILLED, 1), Remains(Outcome.GONE), *[Remains(Outcome.KILLED, 1)] * 4]
    assert not any(lives(one.popen.pid) for one in each)
    assert remains.end_all([]) == []


def test_a_recorded_process_without_a_mark_is_known_by_its_start(run: Callable[..., Run]):
    each = run(SLEEP)
    assert remains.end(each.left(mark=None)) == Remains(Outcome.KILLED, 1)
    assert not lives(each.popen.pid)


def test_who_ignores_signals_or_is_stopped_is_ended_too(run: Callable[..., Run]):
    ignoring = run(f"import signal; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]; {SLEEP}")
    stopped = run(SLEEP)
    wait_for(lambda: has_mark(stopped))
    os.kill(stopped.popen.pid, signal.SIGSTOP)
    assert remains.end(ignoring.left()) == Remains(Outcome.KILLED, 1)
    assert remains.end(stopped.left()) == Remains(Outcome.KILLED, 1)
    assert not lives(ignoring.popen.pid)
    assert not lives(stopped.popen.pid)


def test_what_forks_again_and_again_is_caught(run: Callable[..., Run], tmp_path: Path):
    """Each child makes the next and goes: a single look would always come late."""
    text = (
        "import os, sys, time\nopen(sys.argv[1], 'w').write('1\\n')\n"
        "while True:\n    time.sleep(0.003)\n    os.fork() and os._exit(0)\n"
    )
    each = run(text, tmp_path / "ready")
    pid_in(tmp_path / "ready")
    found = remains.end(each.left())
    assert found.outcome is Outcome.KILLED
    assert remains.end(each.left()) == Remains(Outcome.GONE)


def test_a_process_whose_first_thread_ended_is_not_dead(run: Callable[..., Run], tmp_path: Path):
    """Its state is Z, its first thread's environment cannot be read, and it trades on."""
    text = (
        "import ctypes, sys, threading, time\n"
        "threading.Thread(target=lambda: (open(sys.argv[1], 'w').write('1\\n'), time.sleep(300))).start()\n"
        "ctypes.CDLL(None).pthread_exit(None)\n"
    )
    each = run(text, tmp_path / "ready")
    pid_in(tmp_path / "ready")
    wait_for(lambda: ") Z " in Path(f"/proc/{each.popen.pid}/stat").read_text())
    assert remains.end(each.left(pid_started="1")) == Remains(Outcome.KILLED, 1)
    assert remains.end(each.left(pid_started="1")) == Remains(Outcome.GONE)


# ---- gone without a signal -------------------------------------------------------------------------------------------


def test_a_zombie_is_dead(run: Callable[..., Run]):
    each = run("")
    wait_for(lambda: ") Z " in Path(f"/proc/{each.popen.pid}/stat").read_text())
    assert remains.end(each.left()) == Remains(Outcome.GONE)


def test_another_machine_with_this_one_s_name_is_not_taken_for_a_boot_of_before(run: Callable[..., Run]):
    """What began while this machine already ran, under another boot id, runs elsewhere: nothing is proven of it."""
    each = run(SLEEP)
    after_this_boot = dataclasses.replace(each.left(boot_id=ANOTHER_BOOT), started_at=datetime.now(UTC))
    assert remains.end(after_this_boot).outcome is Outcome.NOT_PROVEN
    before_this_boot = dataclasses.replace(after_this_boot, started_at=datetime(2001, 1, 1, tzinfo=UTC))
    assert remains.end(before_this_boot) == Remains(Outcome.GONE)


def test_who_started_the_reaper_is_never_signalled(tmp_path: Path):
    """A script that is its own job's worker may call the reaper: it is told no, and lives."""
    script = (
        "import os, sys; from blaidctl.core import process, remains\n"
        "pid = os.getppid()\n"
        "print(remains.end(remains.Left(None, pid, process.started(pid), process.boot_id())).outcome)\n"
    )
    (tmp_path / "reaper.py").write_text(script)
    ran = subprocess.run(
        ["sh", "-c", f"{sys.executable} {tmp_path / 'reaper.py'}; echo lives"],  # noqa: S607 - a shell as its parent
        capture_output=True, text=True, check=False, timeout=LIMIT_S,
    )  # fmt: skip
    assert (ran.stdout.split(), ran.returncode) == (["NOT_PROVEN", "lives"], 0), ran.stderr


def test_after_a_boot_nothing_of_before_is_left(run: Callable[..., Run]):
    """The pid and even its start may be there again: they are another process's."""
    each = run(SLEEP)
    assert remains.end(each.left(boot_id=ANOTHER_BOOT)) == Remains(Outcome.GONE)
    assert lives(each.popen.pid)


def test_a_reused_pid_is_never_signalled(run: Callable[..., Run]):
    each = run(SLEEP)
    other_start = str(int(processes.started(each.popen.pid)) - 1)
    assert remains.end(each.left(mark=secrets.token_hex(16), pid_started=other_start)) == Remains(Outcome.GONE)
    assert remains.end(each.left(mark=None, pid_started=other_start)) == Remains(Outcome.GONE)
    assert lives(each.popen.pid)


def test_a_pid_that_is_given_away_between_look_and_signal_is_not_signalled(
    run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
):
    """The descriptor is opened, and only then the process is looked at again: here it is another one by then."""
    each, stranger = run(SLEEP), run(SLEEP)
    wait_for(lambda: has_mark(each))
    opened = os.pidfd_open

    def too_late(pid: int) -> int:
        assert pid == each.popen.pid
        descriptor = opened(stranger.popen.pid)
        each.popen.kill()
        each.popen.wait(LIMIT_S)
        return descriptor

    monkeypatch.setattr(os, "pidfd_open", too_late)
    assert remains.end(each.left()) == Remains(Outcome.GONE)
    assert lives(stranger.popen.pid)


def test_a_process_that_lost_the_mark_before_the_signal_is_not_signalled(
    run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
):
    """Same pid, same tick of the clock, another environment: not ours for certain, so not ours."""
    each = run(SLEEP)
    wait_for(lambda: has_mark(each))
    seen = []

    def fading(pid: int) -> frozenset[bytes] | None:
        if pid != each.popen.pid:
            return frozenset()
        seen.append(pid)
        return frozenset({f"{MARK_VARIABLE}={each.mark}".encode()} if len(seen) == 1 else ())

    monkeypatch.setattr(remains, "_environment", fading)
    assert remains.end(each.left(pid=None)) == Remains(Outcome.GONE)
    assert len(seen) == 3
    assert lives(each.popen.pid)


def test_a_pid_that_is_nobodys_is_gone_even_without_its_start(run: Callable[..., Run]):
    each = run("")
    left = each.left(mark=None, pid_started="")
    each.popen.wait(LIMIT_S)
    assert remains.end(left) == Remains(Outcome.GONE)


# ---- not proven ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        {"mark": None, "pid": None},
        {"mark": None, "pid_started": ""},
        {"mark": None, "pid_started": None},
        {"mark": None, "boot_id": None},
        {"mark": "", "pid_started": "soon"},
    ],
)
def test_what_cannot_be_known_again_is_neither_signalled_nor_called_gone(
    run: Callable[..., Run], other: dict[str, Any]
):
    each = run(SLEEP)
    found = remains.end(each.left(**other))
    assert (found.outcome, found.killed) == (Outcome.NOT_PROVEN, 0)
    assert "neither a mark nor a pid with its start was recorded" in found.why
    assert lives(each.popen.pid)


def test_a_mark_is_enough_without_a_boot(run: Callable[..., Run]):
    each = run(SLEEP)
    wait_for(lambda: has_mark(each))
    assert remains.end(each.left(boot_id=None)) == Remains(Outcome.KILLED, 1)


def test_init_and_this_very_program_are_never_signalled(monkeypatch: pytest.MonkeyPatch):
    for pid in (1, os.getpid()):
        left = Left(None, pid, processes.started(pid), processes.boot_id())
        monkeypatch.setattr(os, "pidfd_open", lambda _pid: pytest.fail("it was opened"))
        found = remains.end(left)
        assert found.outcome is Outcome.NOT_PROVEN
        assert f"pid {pid} belongs to it" in found.why


def test_a_reaper_that_carries_the_mark_itself_does_not_prove_it_gone():
    """`job run TYPE -- blaidctl job reap`, reaping its own job."""
    text = (
        "import os, sys\nfrom blaidctl.core import remains\n"
        f"print(remains.end(remains.Left(os.environ['{MARK_VARIABLE}'], None, None, None)).why)"
    )
    mark = secrets.token_hex(16)
    done = subprocess.run(
        [sys.executable, "-c", text],
        env={**os.environ, MARK_VARIABLE: mark},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "never signalled" in done.stdout, done.stderr


def test_what_survives_is_not_called_gone(run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch):
    each = run(SLEEP)
    wait_for(lambda: has_mark(each))
    monkeypatch.setattr(remains, "GONE_WITHIN_S", 0.2)
    monkeypatch.setattr(signal, "pidfd_send_signal", lambda *_: None)  # a kernel that takes its time
    found = remains.end(each.left())
    assert found.outcome is Outcome.NOT_PROVEN
    assert f"pid {each.popen.pid} still stands" in found.why


def test_what_cannot_be_looked_into_proves_nothing_and_a_start_decides_all_the_same(
    run: Callable[..., Run], tmp_path: Path
):
    """A process of our own user that hides its memory (as a setuid program does), seen without any power."""
    powerless = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
    hide = f"import ctypes; ctypes.CDLL(None).prctl(4, 0); open({str(tmp_path / 'pid')!r}, 'w').write('1\\n'); {SLEEP}"
    each = run(hide)
    pid_in(tmp_path / "pid")
    text = (
        "import dataclasses, json, sys\nfrom blaidctl.core import remains\n"
        "print(json.dumps([dataclasses.asdict(remains.end(remains.Left(*each))) for each in json.loads(sys.argv[1])]))"
    )
    known = each.left()
    lefts = [
        (known.mark, None, None, known.boot_id),
        (known.mark, known.pid, known.pid_started, known.boot_id),
        (None, known.pid, known.pid_started, known.boot_id),
    ]
    done = subprocess.run(
        [*powerless, sys.executable, "-c", text, json.dumps(lefts)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    hidden, by_start, again = json.loads(done.stdout)
    assert hidden["outcome"] == "NOT_PROVEN"
    assert "cannot be read; run the reaper as root" in hidden["why"]
    assert by_start["killed"] == 1
    assert again["outcome"] == "GONE"
    assert not lives(each.popen.pid)


def test_without_proc_nothing_is_proven(run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch):
    each = run(SLEEP)
    left = each.left()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(remains, "boot_id", lambda: None)
        assert remains.end(left).outcome is Outcome.NOT_PROVEN
    assert lives(each.popen.pid)
