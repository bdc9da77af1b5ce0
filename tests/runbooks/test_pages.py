"""The runbooks are run: every `sh` block of a page, in order, in one shell, against the installed program."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.accounts import linked
from tests.support.postgres import client_folder

RUNBOOKS = Path(__file__).parents[2] / "runbooks"
PAGES = sorted(page.name for page in RUNBOOKS.glob("*.md"))
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[str]:
    return BLOCK.findall((RUNBOOKS / page).read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)])
def test_every_block_of_the_page_works(page, database, cli, tmp_path, home):
    for words in (
        ("user", "add", "alice"),
        ("bot", "add", "momo-1", "--user", "alice", "--tag", "futures"),
        ("bot", "add", "carry-2", "--user", "alice", "--tag", "fx"),
    ):
        assert cli(*words).code == 0
    linked(cli, "momo-1", "carry-2")
    environment = {
        "PATH": os.pathsep.join(map(str, (Path(sys.executable).parent, client_folder(), "/usr/bin", "/bin"))),
        "HOME": str(home),
        "BLAIDCTL_DATABASE_URL": database.url,
    }
    ran = subprocess.run(
        ["/bin/bash", "-euo", "pipefail"],
        input="\n".join(blocks(page)),
        text=True,
        capture_output=True,
        cwd=tmp_path,
        env=environment,
        check=False,
        timeout=100,
    )
    assert ran.returncode == 0, f"{page}:\n{ran.stdout}\n{ran.stderr}"
    assert cli("audit", "verify").code == 0


def test_every_page_is_named_in_the_index():
    index = (RUNBOOKS / "README.md").read_text(encoding="utf-8")
    assert [page for page in PAGES if page != "README.md" and f"({page})" not in index] == []


def test_every_page_that_an_error_names_exists():
    from blaidctl.core import errors

    named = {
        page
        for cls in errors.leaves()
        for step in cls.next_steps
        for page in re.findall(r"runbooks/([\w-]+\.md)", step)
    }
    assert named
    assert sorted(named - set(PAGES)) == []
