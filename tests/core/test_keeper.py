"""The keeper between a supervisor and its command: whoever dies or hangs, nothing is left, and nothing is changed."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pytest

from blaidctl.core import keeper, process
from tests.support.processes import HOSTILE, LIMIT_S, lives, numbers_in, parent_of, tracer, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: A supervisor that does nothing but hold its process until its standard input ends; its words: lease, command.
SUPERVISOR = """
import os, sys
from blaidctl.core import process
group = process.Group(sys.argv[2], sys.argv[2:], os.environ)
group.renew(float(sys.argv[1]))
sys.stdout.write(f"{group.pid}\\n")
sys.stdout.flush()
sys.stdin.read()
gone = group.end(0)
sys.stdout.write(f"{gone} {group.exit_status}\\n")
"""
LONG_S = "600"


@contextlib.contextmanager
def supervised(tmp_path: Path, *command: str, lease_s: str = LONG_S) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, lease_s, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        start_new_session=True,
    ) as supervisor:
        try:
            yield supervisor
        finally:
            supervisor.kill()


def command_of(supervisor: subprocess.Popen[str]) -> int:
    """Wait for the first word of a supervisor: the pid of its command."""
    assert supervisor.stdout is not None
    return int(supervisor.stdout.readline())


@pytest.fixture
def hostile(tmp_path: Path) -> Iterator[Callable[[], list[int]]]:
    """`hostile()`: wait for the pids that HOSTILE says; whatever happens, they are gone with the test."""
    (tmp_path / "hostile.py").write_text(HOSTILE)
    yield lambda: numbers_in(tmp_path / "pids", 4)
    if (tmp_path / "pids").exists():
        for pid in (tmp_path / "pids").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


@pytest.fixture
def kept(
    tmp_path: Path, hostile: Callable[[], list[int]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[process.Group, int, list[int]]]:
    """A hostile command under this very process: its group, its keeper's pid, its pids."""
    monkeypatch.chdir(tmp_path)
    with process.Group(sys.executable, ["python3", "hostile.py"], os.environ) as group:
        pids = hostile()
        yield group, parent_of(group.pid), pids


def is_zombie(pid: int) -> bool:
    return ") Z " in Path(f"/proc/{pid}/stat").read_text()


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def over(group: process.Group) -> None:
    told: SimpleQueue[None] = SimpleQueue()
    group.tell_when_over(lambda: told.put(None))
    told.get(timeout=LIMIT_S)


#: What other tests of this run keep as children of this process (a pool's tracker, say).
STRANGERS: set[int] = set()


@pytest.fixture(autouse=True)
def strangers() -> None:
    STRANGERS.clear()
    STRANGERS.update(keeper.children("self"))


def own_children() -> set[int]:
    return set(keeper.children("self")) - STRANGERS


# ---- who dies, who hangs -------------------------------------------------------------------------------------


def test_the_supervisor_is_killed_with_its_group_and_the_keeper_ends_all(
    tmp_path: Path, hostile: Callable[[], list[int]]
):
    with supervised(tmp_path, sys.executable, "hostile.py") as supervisor:
        kept_by = parent_of(command_of(supervisor))
        pids = hostile()
        os.killpg(supervisor.pid, signal.SIGKILL)
    wait_for(lambda: not any(map(lives, [*pids, kept_by])))


@pytest.mark.usefixtures("hostile")
def test_the_keeper_is_killed_and_the_supervisor_ends_all(kept: tuple[process.Group, int, list[int]]):
    group, kept_by, pids = kept
    os.kill(kept_by, signal.SIGKILL)
    over(group)
    assert group.end(0)
    assert not any(map(lives, pids))
    assert group.exit_status == "signal 9 SIGKILL", "the parent-death signal"
    assert own_children() == set()


def test_the_keeper_ends_all_by_itself_when_its_supervisor_hangs_up(
    kept: tuple[process.Group, int, list[int]], monkeypatch: pytest.MonkeyPatch
):
    """The supervisor steps in only for a keeper that does not: a second later, which is not needed here."""
    monkeypatch.setattr(process, "KEEPER_WITHIN_S", 2 * LIMIT_S)
    group, _, pids = kept
    began = time.monotonic()
    assert group.end(0)
    assert time.monotonic() - began < LIMIT_S
    assert not any(map(lives, pids))


def test_what_a_dead_keeper_left_gets_its_grace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    spare = "trap 'echo bye >said; exit' TERM; echo $$ >spare; while :; do sleep 0.02; done"
    words = ["sh", "-c", 'sh -c "$0" & sleep 300', spare]
    with process.Group(process.program_of(words), words, os.environ) as group:
        (left,) = numbers_in(tmp_path / "spare")
        os.kill(parent_of(group.pid), signal.SIGKILL)
        over(group)
        assert group.end(LIMIT_S)
    assert not lives(left)
    assert (tmp_path / "said").read_text() == "bye\n"


def test_a_keeper_that_cannot_be_waited_for_does_not_hold_its_supervisor(monkeypatch: pytest.MonkeyPatch):
    """A debugger holds it."""
    monkeypatch.setattr(process, "GONE_WITHIN_S", 1)
    words = ["sleep", "300"]
    with tracer() as trace:
        with process.Group(process.program_of(words), words, os.environ) as first:
            trace(parent_of(first.pid))
            assert first.end(0), "it did its work, and said so"
        with process.Group(process.program_of(words), words, os.environ) as second:
            trace(parent_of(second.pid))
            os.kill(parent_of(second.pid), signal.SIGKILL)
            over(second)
            assert not second.end(0), "what it left is proven only when it is gone itself"
    for group in (first, second):
        group._keeper.wait(LIMIT_S)  # noqa: SLF001 - without its tracer it can be waited for
    os.waitpid(second.pid, 0)


def test_the_keeper_is_stopped_and_the_supervisor_ends_all(kept: tuple[process.Group, int, list[int]]):
    group, kept_by, pids = kept
    os.kill(kept_by, signal.SIGSTOP)
    assert group.end(0)
    assert not any(map(lives, [*pids, kept_by]))
    assert group.exit_status == "signal 9 SIGKILL"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, 40])
def test_a_signal_to_the_keeper_ends_nothing(tmp_path: Path, number: int):
    words = ["sh", "-c", f"read -r word <{tmp_path}/go; exit 6"]
    os.mkfifo(tmp_path / "go")
    with process.Group(process.program_of(words), words, os.environ) as group:
        os.kill(parent_of(group.pid), number)
        (tmp_path / "go").write_text("go\n")
        over(group)
        assert group.end(0)
    assert group.exit_status == "exit 6"


def test_the_supervisor_sleeps_longer_than_its_lease_and_the_keeper_ends_all(
    tmp_path: Path, hostile: Callable[[], list[int]]
):
    """Awake again it may still signal the command's group: that number must be nobody else's until it is done."""
    with supervised(tmp_path, sys.executable, "hostile.py", lease_s="3") as supervisor:
        command = command_of(supervisor)
        pids = hostile()
        os.kill(supervisor.pid, signal.SIGSTOP)
        wait_for(lambda: not any(map(lives, pids)))
        time.sleep(0.2)
        assert is_zombie(command)
        assert lives(parent_of(command))
        os.kill(supervisor.pid, signal.SIGCONT)
        assert supervisor.communicate(timeout=LIMIT_S)[0] == "True signal 9 SIGKILL\n"
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_each_renewal_counts_anew():
    words = ["sleep", "300"]
    with process.Group(process.program_of(words), words, os.environ) as group:
        until = time.monotonic() + 4
        while time.monotonic() < until:
            group.renew(3)
            time.sleep(0.1)
        assert lives(group.pid)
        group.renew(1)
        over(group)
        assert group.end(0)
    assert group.exit_status == "signal 9 SIGKILL"
    group.renew(1)  # to nobody


def test_both_are_killed_and_the_command_dies(tmp_path: Path):
    with supervised(tmp_path, process.program_of(["sleep"]), "300") as supervisor:
        command = command_of(supervisor)
        os.kill(supervisor.pid, signal.SIGSTOP)  # it can do nothing about it
        os.kill(parent_of(command), signal.SIGKILL)
        wait_for(lambda: not lives(command))


def test_a_keeper_that_died_before_it_said_a_word_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whatever it had begun is ended; descriptors and the adoption of orphans are as before."""
    descriptors = open_descriptors()
    begun = (
        f"#!{sys.executable}\nimport subprocess, sys, time\n"
        "begun = subprocess.Popen(['sleep', '300'], start_new_session=True)\n"
        "open(sys.argv[-1], 'w').write(f'{begun.pid}\\n')\n"
    )
    interpreter = tmp_path / "python3"
    interpreter.write_text(begun)
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    with pytest.raises(ChildProcessError):
        process.Group("/bin/true", ["true", str(tmp_path / "first")], os.environ)
    interpreter.write_text(f"{begun}time.sleep(300)\n")
    monkeypatch.setattr(process, "START_WITHIN_S", 2)
    with pytest.raises(TimeoutError):
        process.Group("/bin/true", ["true", str(tmp_path / "second")], os.environ)
    for name in ("first", "second"):
        assert not lives(numbers_in(tmp_path / name)[0])
    assert own_children() == set()
    assert open_descriptors() == descriptors
    assert not keeper.adopt_orphans(wanted=False)


# ---- what the command gets -----------------------------------------------------------------------------------


def said_by(environment: dict[str, str], *words: str) -> bytes:
    """Run a command to its end; return what it wrote, up to the end of its output, which it alone may hold open."""
    read, write = os.pipe()
    with process.Group(process.program_of(words), words, environment, stdout=write) as group:
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            said = pipe.read()
        over(group)
        assert lives(parent_of(group.pid)), "the keeper lives until the command was ended for good"
        assert group.end(LIMIT_S)
    assert group.returncode == 0
    return said


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"A": "1", "EMPTY": "", "WITH": "a=b\n c"},
        {"LC_ALL": "C"},
        {"LC_ALL": "POSIX", "BYTES": os.fsdecode(b"\xff\xfe\x80"), os.fsdecode(b"N\xff"): "name"},
        {"LANG": "C", "PYTHONPATH": "/nowhere", "PYTHONHOME": "/nowhere", "PYTHONSTARTUP": "/x", "PYTHONUTF8": "0"},
        {"": "no program can ask for a variable without a name"},
    ],
)
def test_the_environment_is_handed_over_as_it_is(environment: dict[str, str]):
    expected = {os.fsencode(f"{name}={value}") for name, value in environment.items() if name}
    assert set(filter(None, said_by(environment, "env", "-0").split(b"\0"))) == expected


def test_the_arguments_are_handed_over_as_they_are():
    words = ["sh", "-c", "cat /proc/$$/cmdline; :", "", "a b", "$HOME", "\n", os.fsdecode(b"\xff\x80"), "-I", "--"]
    for environment in ({}, {"LC_ALL": "C"}):
        assert said_by(environment, *words) == b"".join(os.fsencode(word) + b"\0" for word in words)


def test_only_the_standard_streams_are_inherited(tmp_path: Path):
    script = (
        "import os\n"
        "for fd in os.listdir('/proc/self/fd'):\n"
        "    try: os.fstat(int(fd))\n"
        "    except OSError: continue\n"
        "    print(fd)\n"
    )
    with (tmp_path / "mine").open("w") as mine:
        os.set_inheritable(mine.fileno(), True)  # noqa: FBT003 - has no other form
        assert said_by(dict(os.environ), sys.executable, "-c", script).split() == [b"0", b"1", b"2"]


def test_signals_are_as_a_program_expects_them():
    """Python ignores two, and the keeper holds all of them back."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        status = said_by({}, "cat", "/proc/self/status").decode()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
    masks = {
        name: int(mask, 16)
        for name, _, mask in (line.partition(":\t") for line in status.splitlines())
        if name in {"SigBlk", "SigIgn", "ShdPnd"}
    }
    assert masks["SigBlk"] == 0
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        assert not masks["SigIgn"] >> (number - 1) & 1


def test_standard_input_is_the_supervisor_s(tmp_path: Path):
    script = "import os\nfrom blaidctl.core import process\nwith process.Group('/bin/cat', ['cat'], {}) as group:\n"
    script += (
        "    import threading\n    over = threading.Event()\n    group.tell_when_over(over.set)\n    over.wait()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=b"from above\n", capture_output=True, timeout=LIMIT_S, check=True
    )
    assert done.stdout == b"from above\n"
    assert tmp_path.exists()


def test_a_supervisor_without_standard_streams_keeps_its_command(tmp_path: Path):
    """Their numbers are free then, and the first to be given away, to the wire for one."""
    script = (
        "import os, threading\n"
        "os.closerange(0, 3)\n"
        "from blaidctl.core import process\n"
        "over = threading.Event()\n"
        "words = ['sh', '-c', 'sleep 0.3; ls -l /proc/$$/fd >fds; exit 5']\n"
        "with process.Group('/bin/sh', words, os.environ) as group:\n"
        "    group.tell_when_over(over.set)\n"
        "    over.wait()\n"
        "    group.end(0)\n"
        "open('told', 'w').write(group.exit_status)\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, timeout=LIMIT_S, check=False)
    assert (tmp_path / "told").read_text() == "exit 5"
    assert "socket" not in (tmp_path / "fds").read_text()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"\x00\x01 not a program", errno.ENOEXEC),
        (b"#!/nowhere/interpreter\n", errno.ENOENT),
        (b"#!/etc/passwd\n", errno.EACCES),
    ],
)
def test_what_the_kernel_refuses_to_run_is_an_error_of_the_start(tmp_path: Path, text: bytes, expected: int):
    program = tmp_path / "bot"
    program.write_bytes(text)
    program.chmod(0o755)
    refused_and_nothing_left(str(program), ["bot"], expected)


def test_a_command_line_that_is_too_long_is_an_error_of_the_start():
    refused_and_nothing_left("/bin/true", ["true", *["x" * 100_000] * 100], errno.E2BIG)
    refused_and_nothing_left("/bin/true", ["true", "x" * 200_000], errno.E2BIG)


def refused_and_nothing_left(program: str, words: list[str], expected: int) -> None:
    descriptors = open_descriptors()
    with pytest.raises(OSError, match=os.strerror(expected)) as refused:
        process.Group(program, words, os.environ)
    assert refused.value.errno == expected
    assert own_children() == set()
    assert open_descriptors() == descriptors
    assert not keeper.adopt_orphans(wanted=False)


# ---- many processes ------------------------------------------------------------------------------------------

#: Each forks two more, seven times over: 128 processes, which sleep for a while; `LEAVE` makes each a session.
BOMB = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(7):
    os.fork()
    LEAVE
os.write(1, b".")
time.sleep(20)
"""
#: Runs away: each forks the next and ends, for some thousands of generations.
COMET = """
import os, time
until = time.monotonic() + 20
os.write(1, b".")
while time.monotonic() < until:
    if os.fork():
        os._exit(0)
    LEAVE
"""


@pytest.mark.parametrize("leave", ["pass", "os.getpid() == os.getsid(0) or os.setsid()"], ids=["in it", "outside"])
@pytest.mark.parametrize("hurry", [True, False], ids=["while it forks", "all there"])
@pytest.mark.parametrize(("script", "count"), [(BOMB, 128), (COMET, 1)], ids=["bomb", "comet"])
def test_processes_that_multiply_are_ended_to_the_last(script: str, count: int, leave: str, *, hurry: bool):
    """Each holds the writing end of a pipe: its end is the proof."""
    read, write = os.pipe()
    words = ["python3", "-c", script.replace("LEAVE", leave)]
    with os.fdopen(read, "rb", buffering=0) as pipe, process.Group(sys.executable, words, {}, stdout=write) as group:
        os.close(write)
        said = len(pipe.read(1) or b"")
        while not hurry and said < count:
            said += len(pipe.read(count) or b"")
        assert group.end(0)
        end = select.select([pipe], [], [], 0)[0]
        assert end
        while word := pipe.read(4096):
            assert set(word) == set(b"."), "what was said before the end"


def test_dead_orphans_do_not_pile_up_while_the_command_runs(tmp_path: Path):
    script = (
        "import os, time\n"
        "for _ in range(100):\n"
        "    if os.fork() == 0:\n"
        "        if os.fork() == 0: time.sleep(0.01)\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
        "open('done', 'w').write('1\\n')\n"
        "time.sleep(300)\n"
    )
    words = ["sh", "-c", f'cd {tmp_path}; exec {sys.executable} -c "$0"', script]
    with process.Group("/bin/sh", words, os.environ) as group:
        numbers_in(tmp_path / "done")
        kept_by = parent_of(group.pid)
        wait_for(lambda: keeper.children(kept_by) == [group.pid])
        assert group.end(0)


def test_children_are_found_without_the_kernel_s_list(monkeypatch: pytest.MonkeyPatch):
    """Some kernels have no such list: every process is asked for its parent then."""
    with subprocess.Popen([process.program_of(["sleep"]), "60"]) as child:
        assert keeper.children("self") == keeper.children(os.getpid())
        assert own_children() == {child.pid}
        monkeypatch.setattr(os, "listdir", lambda path, ls=os.listdir: [] if "/task" in str(path) else ls(path))
        by_parent = keeper._children_by_parent("self")  # noqa: SLF001 - this kernel has the list
        assert set(by_parent) - STRANGERS == {child.pid}
        child.kill()
    assert keeper.children(child.pid) == []
