"""A desk that has set up checkpoints: a key file, two sinks, and the settings that name them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.kill.fleet import done

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.commandline import CommandLine, Run

NAME = "desk.example/log"


class Desk:
    """`desk("kill", …)` runs a command with the settings of checkpoints."""

    def __init__(self, cli: CommandLine, folder: Path) -> None:
        self.cli = cli
        self.folder = folder
        self.key = folder / "desk.key"
        self.sinks = [folder / "near", folder / "far"]
        for sink in self.sinks:
            sink.mkdir()
        self.verifiers = [self.new_key(self.key)]
        self.env: dict[str, str | None] = {}
        #: Acts that a test does again and again.
        self.acts: list[tuple[str, ...]] = []

    def new_key(self, path: Path) -> str:
        """Make a key file; return its verifier key."""
        (row,) = done(self.cli("audit", "key", "new", path, "--name", NAME)).json["result"]["rows"]
        return str(row["verifier"])

    def settings(self) -> dict[str, str | None]:
        """The variables that set checkpoints up."""
        return {
            "BLAIDCTL_CHECKPOINT_KEY": str(self.key),
            "BLAIDCTL_CHECKPOINT_SINKS": ":".join(map(str, self.sinks)),
            "BLAIDCTL_CHECKPOINT_VERIFIERS": " ".join(self.verifiers),
            **self.env,
        }

    def __call__(self, *arguments: str | Path, **more: Any) -> Run:
        return self.cli(*arguments, env={**self.settings(), **more.pop("env", {})}, **more)

    def checkpoint(self, *arguments: str) -> dict[str, Any]:
        """Make a checkpoint; return its result."""
        result: dict[str, Any] = done(self("audit", "checkpoint", *arguments)).json["result"]
        return result

    def held(self) -> list[list[str]]:
        """The names of the files of each sink."""
        return [sorted(path.name for path in sink.iterdir()) for sink in self.sinks]
