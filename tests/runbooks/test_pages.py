"""The runbooks are run: every `sh` block of a page, in order, in one shell, against the installed program.

Each page begins with the fleet that the index sets up for whoever tries it. The index leads from every error code to a
page that speaks of it.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from blaidctl.core import errors
from tests.support.accounts import linked
from tests.support.postgres import client_folder

RUNBOOKS = Path(__file__).parents[2] / "runbooks"
INDEX = "README.md"
CODES = "error-codes.md"
ACCOUNT = "alice-paper"
FLEET = {"momo-1": ("alice", ["futures"]), "carry-2": ("alice", ["fx"])}
PAGES = sorted(page.name for page in RUNBOOKS.glob("*.md"))
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\| `([A-Z_]+)` \| \[(\S+)\]\((\S+)\) \|$", re.MULTILINE)


def text(page: str) -> str:
    return (RUNBOOKS / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[str]:
    return BLOCK.findall(text(page))


@pytest.fixture
def shell(tmp_path, home):
    """`shell(blocks, **variables)`: run them in one bash that has nothing but the installed program."""

    def run(texts: list[str], **variables: str) -> None:
        ran = subprocess.run(
            ["/bin/bash", "-euo", "pipefail"],
            input="\n".join(texts),
            text=True,
            capture_output=True,
            cwd=tmp_path,
            env={
                "PATH": os.pathsep.join(map(str, (Path(sys.executable).parent, client_folder(), "/usr/bin", "/bin"))),
                "HOME": str(home),
                **variables,
            },
            check=False,
            timeout=100,
        )
        assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"

    return run


def sandbox(cli) -> None:
    """Make what the block of the index makes."""
    for words in (
        ("user", "add", "alice"),
        ("bot", "add", "momo-1", "--user", "alice", "--tag", "futures"),
        ("bot", "add", "carry-2", "--user", "alice", "--tag", "fx"),
    ):
        assert cli(*words).code == 0
    linked(cli, "momo-1", "carry-2")
    assert fleet(cli) == FLEET


def fleet(cli) -> dict[str, tuple[str, list[str]]]:
    """Return who owns each bot that is linked to the account of the pages, and its tags."""
    bots = {bot["id"]: (bot["user_id"], bot["tags"]) for bot in cli("bot", "list").json["result"]["bots"]}
    return {link["bot_id"]: bots[link["bot_id"]] for link in cli("account", "show", ACCOUNT).json["result"]["links"]}


@pytest.mark.parametrize("page", [page for page in PAGES if page != INDEX and blocks(page)])
def test_every_block_of_the_page_works(page, database, cli, shell):
    sandbox(cli)
    shell(blocks(page), BLAIDCTL_DATABASE_URL=database.url)
    assert cli("audit", "verify").code == 0


def test_the_index_sets_up_what_the_pages_speak_of(database, cli, shell):
    shell(blocks(INDEX), SANDBOX_URL=database.url)
    assert fleet(cli) == FLEET


def test_the_sandbox_of_the_index_touches_no_other_database(tmp_path, shell):
    shell([*blocks(INDEX), "blaidctl guard momo-1"], BLAIDCTL_DATABASE_URL=f"sqlite:///{tmp_path}/live.db")
    assert (tmp_path / "sandbox" / "sandbox.db").exists()
    assert not (tmp_path / "live.db").exists()


def test_every_page_is_named_in_the_index():
    index = text(INDEX)
    assert [page for page in PAGES if page != INDEX and f"({page})" not in index] == []


def test_the_index_leads_from_every_error_code_to_a_page_that_speaks_of_it():
    rows = ROW.findall(text(INDEX))
    assert [code for code, _, _ in rows] == sorted(cls.error_code for cls in errors.leaves())
    assert [code for code, shown, target in rows if shown != target] == []
    wrong = []
    for code, _, target in rows:
        page, _, anchor = target.partition("#")
        if page == CODES:
            there = anchor == code.lower() and f"\n### {code}\n" in text(page)
        else:
            there = page in PAGES and not anchor and f"`{code}`" in text(page)
        if not there:
            wrong.append((code, target))
    assert wrong == []


@pytest.mark.parametrize("page", [page for page in PAGES if page not in (INDEX, CODES)])
def test_every_page_says_what_is_irreversible(page):
    assert text(page).count("**Irreversible:**") == 1


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_the_page_leads_somewhere(page):
    targets = re.findall(r"\]\(([^)#\s]+)[^)\s]*\)", text(page))
    assert [target for target in targets if "://" not in target and not (RUNBOOKS / target).exists()] == []


def test_every_page_that_an_error_names_exists():
    named = {
        page
        for cls in errors.leaves()
        for step in cls.next_steps
        for page in re.findall(r"runbooks/([\w-]+\.md)", step)
    }
    assert named
    assert sorted(named - set(PAGES)) == []
