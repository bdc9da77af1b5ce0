"""The risk policy in force: the file that the settings name, else the one that ships."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from blaidctl.accounts import rules
from blaidctl.core import errors

if TYPE_CHECKING:
    from blaidctl.core.settings import Settings

SHIPPED = Path(__file__).with_name("risk_policy.toml")
#: A policy is a page; what is longer is another file.
LARGEST_BYTES = 64 * 1024


def in_force(settings: Settings) -> rules.Policy:
    """Read the policy now: a server that runs for weeks follows an edit. Raises RiskPolicyInvalid."""
    path = path_of(settings)
    try:
        return rules.read_policy(_content(path))
    except OSError as error:
        problems = [f"it cannot be read: {error.strerror or error}"]
    except rules.PolicyProblemsError as error:
        problems = error.problems
    raise errors.RiskPolicyInvalid(f"the risk policy {path} is invalid: {'; '.join(problems)}", missing=problems)


def hash_in_force(settings: Settings) -> str | None:
    """Return the hash of the policy's bytes, valid or not; None when there are none to read."""
    try:
        return rules.hash_of(_content(path_of(settings)))
    except (OSError, rules.PolicyProblemsError):
        return None


def path_of(settings: Settings) -> Path:
    """Return the file that is in force."""
    return settings.risk_policy or SHIPPED


def _content(path: Path) -> bytes:
    # A pipe or a device would keep the reader waiting, under a lock at that.
    if not path.is_file():
        raise OSError(f"there is no file {path}")
    with path.open("rb") as file:
        content = file.read(LARGEST_BYTES + 1)
    if len(content) > LARGEST_BYTES:
        raise rules.PolicyProblemsError([f"it is longer than {LARGEST_BYTES} bytes"])
    return content
