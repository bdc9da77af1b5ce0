"""What is shipped works without a checkout: sdist → wheel → fresh environment → migrate, elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that is built from the sdist, which is built from the tree."""
    folder = tmp_path_factory.mktemp("packaging")
    _run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder / "sdist", cwd=ROOT)
    (sdist,) = (folder / "sdist").glob("*.tar.gz")
    _run("tar", "-xzf", sdist, "-C", folder)
    (source,) = (path for path in folder.glob("blaidctl-*") if path.is_dir())
    return _wheel(source, folder / "from-sdist")


def test_the_sdist_builds_the_same_wheel_as_the_tree(wheel: Path, tmp_path: Path):
    direct = _wheel(ROOT, tmp_path)
    assert direct.name == wheel.name
    assert _contents(direct) == _contents(wheel)


def test_the_wheel_carries_the_migrations_and_nothing_stray(wheel: Path):
    names = set(_contents(wheel))
    revisions = {f"blaidctl/migrations/versions/{path.name}" for path in ROOT.glob("migrations/versions/*.py")}
    assert revisions
    assert names >= revisions | {"blaidctl/migrations/env.py", "blaidctl/migrations/script.py.mako"}
    assert not {name for name in names if not re.match(r"blaidctl(-[\d.]+\.dist-info)?/", name)}
    assert not {name for name in names if "__pycache__" in name}


@pytest.mark.timeout(400)  # pip installs a whole environment
def test_a_fresh_environment_migrates_from_another_folder(wheel: Path, tmp_path: Path):
    venv, elsewhere = tmp_path / "venv", tmp_path / "elsewhere"
    elsewhere.mkdir()
    _run(sys.executable, "-m", "venv", "--without-pip", venv)
    python = venv / "bin" / "python"
    _run(*_pip(), "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    # The dependencies are those of this environment, so that nothing is downloaded. What a .pth names comes
    # after the installed wheel, and is not itself searched for further .pth files: the checkout stays out.
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("BLAIDCTL_", "PYTHON", "XDG_"))
    } | {"HOME": str(elsewhere), "BLAIDCTL_DATABASE_URL": f"sqlite:///{elsewhere / 'desk.db'}"}
    blaidctl = venv / "bin" / "blaidctl"
    where = _run(python, "-c", "import blaidctl; print(blaidctl.__file__)", cwd=elsewhere, env=environment)
    assert where.strip() == str(site / "blaidctl" / "__init__.py")
    _run(blaidctl, "db", "upgrade", "--yes", cwd=elsewhere, env=environment)
    _run(blaidctl, "db", "check", cwd=elsewhere, env=environment)
    assert (elsewhere / "desk.db").stat().st_size


def _wheel(source: Path, target: Path) -> Path:
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", target, cwd=source)
    (built,) = target.glob("*.whl")
    return built


def _contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _pip() -> tuple[str, ...]:
    """A pip that can install into another environment: ours or, where ours has none, the machine's."""
    for python in (sys.executable, f"{sys.base_prefix}/bin/python3"):
        candidate = (python, "-m", "pip")
        if subprocess.run([*candidate, "--version"], capture_output=True, check=False).returncode == 0:
            return (*candidate, "--disable-pip-version-check", "--no-input")
    pytest.fail("neither this environment nor the machine's python3 has pip")


def _run(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    said = f"{' '.join(map(str, command))} exited {done.returncode}:\n{done.stdout}{done.stderr}"
    assert done.returncode == 0, said
    return done.stdout
