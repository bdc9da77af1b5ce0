"""Real process groups: how they start, how they end, and that nothing of them is left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pytest

from blaidctl.core import errors, process
from tests.support.processes import LIMIT_S, TRACEABLE, lives, numbers_in, tracer, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Callable[..., process.Group]]:
    """`spawn("echo hi >here")`: a shell script as a group of its own, working in tmp_path; killed with the test."""
    with contextlib.ExitStack() as stack:

        def start(script: str) -> process.Group:
            words = ["sh", "-c", f"cd {tmp_path}; {script}"]
            return stack.enter_context(process.Group(process.program_of(words), words, os.environ))

        yield start


def wait_for_the_end(group: process.Group) -> None:
    over: SimpleQueue[int] = SimpleQueue()
    group.tell_when_over(lambda: over.put(group.pid))
    assert over.get(timeout=LIMIT_S) == group.pid


def test_a_command_runs_without_a_shell_in_a_session_of_its_own(tmp_path: Path):
    told = tmp_path / "told"
    script = f"import os, sys; open({str(told)!r}, 'w').write(f'{{os.getsid(0)}} {{os.environ}} {{sys.argv[1:]}}')"
    words = ["python3", "-c", script, "$HOME", "a b", ""]
    with process.Group(sys.executable, words, {"ONLY": "this"}) as group:
        assert os.getpgid(group.pid) == group.pid != os.getpgid(0)
        wait_for_the_end(group)
        assert group.end(0)
    assert (group.returncode, group.exit_status) == (0, "exit 0")
    session, rest = told.read_text().split(" ", 1)
    assert int(session) == group.pid
    assert "'ONLY': 'this'" in rest
    assert "HOME'" not in rest.split("}")[0]
    assert rest.endswith("['$HOME', 'a b', '']")


@pytest.mark.parametrize(
    ("script", "returncode", "text"),
    [
        ("exit 0", 0, "exit 0"),
        ("exit 3", 3, "exit 3"),
        ("kill -KILL $$", -9, "signal 9 SIGKILL"),
        ("kill -40 $$", -40, "signal 40"),
    ],
)
def test_the_end_of_a_process_is_told_and_kept(
    spawn: Callable[..., process.Group], script: str, returncode: int, text: str
):
    group = spawn(script)
    wait_for_the_end(group)
    with pytest.raises(RuntimeError, match="not known to have ended"):
        _ = group.returncode
    assert group.end(LIMIT_S)
    assert (group.returncode, group.exit_status) == (returncode, text)


def test_a_group_that_complies_is_not_killed(spawn: Callable[..., process.Group], tmp_path: Path):
    group = spawn("trap 'echo bye >said; exit 7' TERM; echo >ready; while :; do sleep 0.02; done")
    wait_for((tmp_path / "ready").exists)
    assert group.end(LIMIT_S)
    assert group.exit_status == "exit 7"
    assert (tmp_path / "said").read_text() == "bye\n"


def test_who_ignores_term_is_killed_after_the_grace_with_all_that_it_started(
    spawn: Callable[..., process.Group], tmp_path: Path
):
    group = spawn("trap '' TERM; (sleep 60 & echo $! >grandchild; wait) & sleep 60")
    grandchild = numbers_in(tmp_path / "grandchild")[0]
    began = time.monotonic()
    assert group.end(0.5)
    assert time.monotonic() - began >= 0.5
    assert group.exit_status == "signal 9 SIGKILL"
    assert not lives(group.pid)
    assert not lives(grandchild)


def test_what_a_process_leaves_behind_gets_its_grace_too(spawn: Callable[..., process.Group], tmp_path: Path):
    spare = "trap 'echo bye >said; exit' TERM; echo $$ >grandchild; while :; do sleep 0.02; done"
    (tmp_path / "spare").write_text(spare)
    group = spawn("sh ./spare & while ! [ -s grandchild ]; do sleep 0.02; done; exit 4")
    grandchild = numbers_in(tmp_path / "grandchild")[0]
    wait_for(lambda: not lives(group.pid))
    assert lives(grandchild)
    assert group.end(LIMIT_S)
    assert group.exit_status == "exit 4"
    assert not lives(grandchild)
    assert (tmp_path / "said").read_text() == "bye\n"


def test_what_left_the_group_is_told_to_stop_and_ended_too(spawn: Callable[..., process.Group], tmp_path: Path):
    """Also one whose parent does not wait for its dead children."""
    outside = (
        "import os, signal, time\n"
        "os.setsid()\n"
        "def end(*_):\n"
        "    open('said', 'w').write('bye')\n"
        "    os._exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "dead = os.fork()\n"
        "if dead == 0: os._exit(0)\n"
        "open('pids', 'w').write(f'{os.getpid()} {dead}\\n')\n"
        "while True: time.sleep(60)\n"
    )
    (tmp_path / "outside.py").write_text(outside)
    group = spawn(f"{sys.executable} outside.py & sleep 60")
    left, dead = numbers_in(tmp_path / "pids", 2)
    assert os.getpgid(left) == left != group.pid
    assert group.end(LIMIT_S)
    assert not lives(left)
    assert (tmp_path / "said").read_text() == "bye"
    assert not Path(f"/proc/{dead}").exists()
    assert group.exit_status == "signal 15 SIGTERM"


def test_everybody_outside_the_group_is_told_to_stop_although_their_parents_end_meanwhile(tmp_path: Path):
    script = (
        "import os, signal, sys, time\n"
        "def end(*_):\n"
        "    os.write(1, b'bye\\n')\n"
        "    os._exit(0)\n"
        "for _ in range(40):\n"
        "    if os.fork() == 0:\n"
        "        if os.fork() == 0:\n"
        "            os.setsid()\n"
        "            signal.signal(signal.SIGTERM, end)\n"
        "            os.write(1, b'here\\n')\n"
        "        time.sleep(300)\n"
        "time.sleep(300)\n"
    )
    said = tmp_path / "said"
    with said.open("wb") as file:
        group = process.Group(sys.executable, ["python3", "-c", script], os.environ, stdout=file.fileno())
    with group:
        wait_for(lambda: said.read_text().count("here") == 40)
        assert group.end(LIMIT_S)
    assert said.read_text().count("bye") == 40


def test_a_number_that_is_not_below_the_command_is_never_signalled(spawn: Callable[..., process.Group], tmp_path: Path):
    """As when a descendant ended while it was being looked at, and its number was given to somebody else."""
    group = spawn("setsid sh -c 'echo $$ >left; exec sleep 60' & sleep 60")
    (left,) = numbers_in(tmp_path / "left")
    with subprocess.Popen([process.program_of(["sleep"]), "60"]) as stranger:
        for pid in (stranger.pid, 2**22 - 1, group.pid):
            group._terminate_outside(pid)  # noqa: SLF001 - the moment cannot be met from outside
        group._terminate_outside(left)  # noqa: SLF001
        wait_for(lambda: not lives(left))
        assert lives(group.pid), "it stands in the group, which is signalled as one"
        assert stranger.poll() is None
        assert group.end(0)
        assert stranger.poll() is None
        stranger.kill()


def test_a_stopped_process_is_killed_without_being_continued(spawn: Callable[..., process.Group], tmp_path: Path):
    group = spawn("trap 'echo >continued; exit' TERM; echo >ready; kill -STOP $$; sleep 60")
    wait_for((tmp_path / "ready").exists)
    wait_for(lambda: ") T " in Path(f"/proc/{group.pid}/stat").read_text())
    assert group.end(0.2)
    assert group.exit_status == "signal 9 SIGKILL"
    assert not (tmp_path / "continued").exists()


def test_what_is_not_proven_gone_is_not_called_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spawn: Callable[..., process.Group]
):
    """Traced by a debugger, a process stays in the list of processes when it is killed: nobody can wait for it."""
    monkeypatch.setattr(process, "GONE_WITHIN_S", process.KEEPER_WITHIN_S + 2)
    (tmp_path / "traceable.py").write_text(TRACEABLE)
    with tracer() as trace:
        group = spawn(f"exec {sys.executable} traceable.py")
        wait_for((tmp_path / "ready").exists)
        trace(group.pid)
        assert not group.end(0)
        with pytest.raises(RuntimeError, match="not known to have ended"):
            _ = group.returncode
    os.waitpid(group.pid, 0)  # adopted here; without its tracer it can be waited for


def test_leaving_the_block_by_an_error_ends_the_group():
    words = ["sleep", "60"]
    with pytest.raises(ZeroDivisionError), process.Group(process.program_of(words), words, os.environ) as group:
        _ = 1 / 0
    assert not lives(group.pid)
    assert group.exit_status.startswith("signal ")


def test_how_it_ended_is_known_although_the_parent_ignores_its_children(spawn: Callable[..., process.Group]):
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        group = spawn("exit 5")
        wait_for_the_end(group)
        assert group.end(0)
        assert group.exit_status == "exit 5"
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_pid_and_start_and_boot_name_a_process(spawn: Callable[..., process.Group], monkeypatch: pytest.MonkeyPatch):
    first, second = spawn("sleep 60"), spawn("sleep 60")
    assert first.started == process.started(first.pid)
    assert first.started.isdigit()
    assert int(first.started) <= int(second.started)
    assert process.boot_id() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    monkeypatch.setattr(process, "_PROC", Path("/nowhere"))
    assert (process.started(first.pid), process.boot_id()) == ("", None)


def test_a_name_with_brackets_and_spaces_is_read_past(tmp_path: Path):
    odd = tmp_path / "a) Z (b"
    odd.write_text("#!/bin/sh\nsleep 60\n")
    odd.chmod(0o755)
    with process.Group(str(odd), [str(odd)], os.environ) as group:
        wait_for(lambda: b"a) Z (b" in Path(f"/proc/{group.pid}/stat").read_bytes())
        assert process.started(group.pid) == group.started
        assert group.end(LIMIT_S)


def test_without_proc_a_group_is_ended_all_the_same(
    spawn: Callable[..., process.Group], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    group = spawn("trap '' TERM; sleep 60 & echo $! >grandchild; wait")
    grandchild = numbers_in(tmp_path / "grandchild")[0]
    monkeypatch.setattr(process, "_PROC", Path("/nowhere"))
    assert group.end(0)
    assert not lives(grandchild)


def test_a_program_is_found_as_a_shell_would_find_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = tmp_path / "bot"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"/nowhere:{tmp_path}")
    assert process.program_of(["bot", "x"]) == process.program_of(["./bot"]) == str(program)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "no command was given"),
        ([""], "no command was given"),
        (["nosuch"], "there is no program 'nosuch'"),
        (["./nosuch"], "there is no program './nosuch'"),
        (["./folder"], "there is no program './folder'"),
        (["./text"], "./text is not executable"),
        (["text"], "/text is not executable"),
    ],
)
def test_what_cannot_be_started_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], sentence: str
):
    (tmp_path / "text").write_text("#!/bin/sh\n")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(errors.CommandNotStartable) as refused:
        process.program_of(words)
    assert refused.value.message.endswith(sentence)
