"""What ships to run the reaper and the probes every minute: checked by systemd itself, and its commands are run."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.kill.fleet import done
from tests.support.commandline import SCRIPT

if TYPE_CHECKING:
    from tests.support.commandline import ProcessCommandLine

DEPLOY = Path(__file__).parents[2] / "deploy"
INSTALLED = "/usr/local/bin/blaidctl"
UNITS = sorted(path.name for path in DEPLOY.glob("blaidctl-*"))


def rendered(folder: Path, script: str | Path = SCRIPT) -> list[Path]:
    """Copy the units, with the program where it is on this machine: verify wants it to be there."""
    for name in UNITS:
        text = (DEPLOY / name).read_text(encoding="utf-8")
        (folder / name).write_text(text.replace(INSTALLED, str(script)), encoding="utf-8")
    return [folder / name for name in UNITS]


def verify(*units: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units],  # noqa: S607 - part of systemd; .ci/run installs it
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_units_are_these():
    assert UNITS == [
        "blaidctl-bot@.service", "blaidctl-providers.service", "blaidctl-providers.timer", "blaidctl-reap.service",
        "blaidctl-reap.timer",
    ]  # fmt: skip
    assert sorted(path.name for path in DEPLOY.iterdir()) == [*UNITS, "crontab"]


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path):
    checked = verify(*rendered(tmp_path))
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("unit", "line", "broken"),
    [
        ("blaidctl-reap.service", "Type=oneshot", "Type=onceshot"),
        ("blaidctl-reap.service", "NoNewPrivileges=yes", "NoNewPrivilege=yes"),
        ("blaidctl-reap.timer", "OnCalendar=minutely", "OnCalendar=minutly"),
        ("blaidctl-bot@.service", "KillMode=mixed", "KillMode=mix"),
    ],
)
def test_systemd_would_find_it(tmp_path: Path, unit: str, line: str, broken: str):
    units = rendered(tmp_path)
    text = (tmp_path / unit).read_text(encoding="utf-8")
    assert f"\n{line}\n" in text
    (tmp_path / unit).write_text(text.replace(line, broken), encoding="utf-8")
    checked = verify(*units)
    assert unit in checked.stderr


@pytest.mark.parametrize("unit", ["blaidctl-reap.service", "blaidctl-providers.service"])
def test_the_hardening_is_what_it_was(tmp_path: Path, unit: str):
    rendered(tmp_path)
    checked = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=25", tmp_path / unit],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_run_has_the_time_that_it_may_take():
    from blaidctl.reaper import rules, run

    longest_s = run.TIME_LIMIT_S + rules.CONFIRM_BEATS * 60  # BLAIDCTL_HEARTBEAT_S is at most a minute
    text = (DEPLOY / "blaidctl-reap.service").read_text(encoding="utf-8")
    found = re.search(r"^TimeoutStartSec=(\d+)$", text, re.MULTILINE)
    assert found is not None
    assert int(found[1]) > longest_s + 30


def test_the_commands_of_the_services_work(process: ProcessCommandLine):
    for unit, field, answer in (("reap", "complete", True), ("providers", "providers", [])):
        service = (DEPLOY / f"blaidctl-{unit}.service").read_text(encoding="utf-8")
        (command,) = re.findall(r"^ExecStart=(.*)$", service, re.MULTILINE)
        program, *words = shlex.split(command)
        assert program == INSTALLED
        assert done(process(*words)).json["result"][field] == answer


def test_the_lines_of_the_crontab_work(process: ProcessCommandLine):
    text = (DEPLOY / "crontab").read_text(encoding="utf-8")
    variables: dict[str, str | None] = {}
    ran = 0
    for line in (line for line in text.splitlines() if line[:1] not in {"#", ""}):
        if re.match(r"\w+=", line):  # holds for the lines below it
            name, _, value = line.partition("=")
            variables[name] = value
            continue
        minute, hour, day, month, weekday, timed = line.split(maxsplit=5)
        assert (minute, hour, day, month, weekday) == ("*",) * 5
        assert "%" not in timed  # cron reads it as a new line
        one = subprocess.run(
            ["/bin/sh", "-c", timed.replace(INSTALLED, str(SCRIPT))],
            capture_output=True,
            text=True,
            env=process.environment(variables),
            check=False,
        )
        assert (one.returncode, one.stdout, one.stderr) == (0, "", "")
        ran += 1
    actors = {row["actor"] for row in done(process("audit", "tail")).json["result"]["entries"]}
    assert any(actor.startswith("service:reaper@") for actor in actors)
    assert (ran, variables["BLAIDCTL_SERVICE_NAME"]) == (2, "prober")
