"""Real databases and the real command line for every test.

    def test_x(database): …            once on SQLite, once on PostgreSQL: empty and migrated
    def test_x(blank_database): …      the same, not migrated
    def test_x(sqlite_database): …     on one engine only; `postgres_database` likewise
    def test_x(cli, database): …       `cli` and `process` work on the test's database, whichever this is

One PostgreSQL server serves the whole run. Under pytest-xdist the controller starts it and tells the workers
where it is; it dies with the controller, however that dies (support/keeper.py).
"""

from __future__ import annotations

import dataclasses
import itertools
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import database as databases
from tests.support.commandline import CommandLine, ProcessCommandLine
from tests.support.database import KINDS, Database, Kind
from tests.support.postgres import PostgresAddress, PostgresError, PostgresServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ADDRESS = pytest.StashKey[PostgresAddress]()
_SERVER = pytest.StashKey[PostgresServer]()
_serial = itertools.count(1)


# ---- one server a run --------------------------------------------------------------------------------------


def shared_server(config: pytest.Config) -> PostgresAddress:
    """The run's server, started on first use; in an xdist worker, the controller's."""
    if _ADDRESS not in config.stash:
        folder = Path(tempfile.mkdtemp(prefix="blaidctl-postgres-"))
        try:
            server = PostgresServer.start(folder, fsync=False)
        except PostgresError as error:
            shutil.rmtree(folder, ignore_errors=True)
            # Half of the tests would be left out: the run fails as a whole, and says why.
            pytest.exit(f"the tests need PostgreSQL: {error}", returncode=pytest.ExitCode.INTERNAL_ERROR)
        config.stash[_SERVER] = server
        config.stash[_ADDRESS] = server.address
    return config.stash[_ADDRESS]


def take_signals() -> None:
    """Answer Ctrl-C and its like as a terminal's program does, also in a run that was started with `&` or nohup.

    Such a run, and every process that it starts, inherits them as ignored; the tests send them on purpose.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def pytest_configure(config: pytest.Config) -> None:
    take_signals()
    handed = getattr(config, "workerinput", {}).get("postgres")
    if handed:
        config.stash[_ADDRESS] = PostgresAddress(**handed)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # xdist's WorkerController is not public
    node.workerinput["postgres"] = dataclasses.asdict(shared_server(node.config))


def pytest_unconfigure(config: pytest.Config) -> None:
    server = config.stash.get(_SERVER, None)
    if server is not None:
        server.stop("immediate")
        shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_address(request: pytest.FixtureRequest) -> PostgresAddress:
    """The run's shared server. A test that stops or crashes a server takes `private_postgres`."""
    return shared_server(request.config)


@pytest.fixture
def private_postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    """A server of one test's own, empty, to stop, crash and restart."""
    with PostgresServer.start(tmp_path / "postgres", fsync=False) as server:
        yield server


# ---- one database a test -----------------------------------------------------------------------------------


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test that reaches a database runs on both engines, unless it names one."""
    if "engine" in metafunc.fixturenames:
        named = {"sqlite_database": "sqlite", "postgres_database": "postgresql"}
        kinds = [kind for fixture, kind in named.items() if fixture in metafunc.fixturenames]
        # A test that names both compares them; what it calls without saying where goes to the first.
        metafunc.parametrize("engine", kinds[:1] or KINDS, scope="function")


@pytest.fixture(scope="session")
def upgrade() -> Callable[[str], None]:
    from blaidctl.core.migrate import upgrade as product_upgrade

    return product_upgrade


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory, upgrade: Callable[[str], None]) -> Path:
    return databases.sqlite_template(tmp_path_factory.mktemp("template") / "template.db", upgrade)


@pytest.fixture(scope="session")
def postgres_template(postgres_address: PostgresAddress, upgrade: Callable[[str], None]) -> str:
    return databases.postgres_template(postgres_address, upgrade)


@pytest.fixture
def make_database(request: pytest.FixtureRequest, tmp_path: Path, worker_id: str) -> Iterator[Callable[..., Database]]:
    """`make_database(kind, migrated=True)`: as many databases as a test wants, gone after it."""
    made: list[tuple[Database, str]] = []

    def make(kind: Kind, *, migrated: bool = True) -> Database:
        name = f"test_{worker_id}_{next(_serial)}"
        if kind == "sqlite":
            template = request.getfixturevalue("sqlite_template") if migrated else None
            database = databases.sqlite_database(tmp_path / f"{name}.db", template)
        else:
            template = request.getfixturevalue("postgres_template") if migrated else None
            address = request.getfixturevalue("postgres_address")
            database = databases.postgres_database(address, name, template=template)
        made.append((database, name))
        return database

    yield make
    for database, name in made:
        database.close()
        if database.kind == "postgresql":
            databases.drop_postgres_database(request.getfixturevalue("postgres_address"), name)


@pytest.fixture
def sqlite_database(make_database: Callable[..., Database]) -> Database:
    return make_database("sqlite")


@pytest.fixture
def postgres_database(make_database: Callable[..., Database]) -> Database:
    return make_database("postgresql")


@pytest.fixture
def blank_database(make_database: Callable[..., Database], engine: Kind) -> Database:
    return make_database(engine, migrated=False)


@pytest.fixture
def database(request: pytest.FixtureRequest, engine: Kind) -> Database:
    found: Database = request.getfixturevalue(f"{'sqlite' if engine == 'sqlite' else 'postgres'}_database")
    return found


# ---- the command line on it --------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home folder, and for a process the working folder, of whoever runs a command."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def _target(request: pytest.FixtureRequest, engine: Kind) -> Database:
    del engine  # asked for so that the test runs on both
    fixture = "blank_database" if "blank_database" in request.fixturenames else "database"
    found: Database = request.getfixturevalue(fixture)
    return found


@pytest.fixture
def cli(_target: Database, home: Path) -> CommandLine:
    """`cli("kill", "b1", …, env=…, stdin=…, tty=…, database=…)` in this process; gives a `Run`."""
    return CommandLine(_target, home)


@pytest.fixture
def process(_target: Database, home: Path) -> Iterator[ProcessCommandLine]:
    """The same as `cli` with the installed script; `process.spawn(…)` gives a Popen that runs on."""
    command_line = ProcessCommandLine(_target, home)
    yield command_line
    command_line.reap()
