"""The servers that tests share, started when the first test asks for one.

One broker and one database server per process; a vhost of its own for each test, and a database
that is emptied before it.
"""

import os
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest.mock import patch
from urllib.parse import urlsplit

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from hypothesis import HealthCheck, settings

from local_stack import Servers
from tests.packages import node_modules

NewDatabase = Callable[[], AbstractContextManager[str]]
Refusal = Callable[..., list[str]]

# A broker, a sandbox and workers are what tests of many folders ask for.
pytest_plugins = ["tests.e2e.stacks"]

_CHECKOUT = Path(__file__).resolve().parent.parent

# Run in the background of a shell, this process ignores SIGINT, and all that it starts would.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Hypothesis in short for the one at the keyboard, longer where all tests run, and for hours:
#     HYPOTHESIS_PROFILE=long pytest tests/fuzz
# No deadline: on a loaded machine a slow example is not a wrong one, nor one slowly made.
for _name, _examples in (("quick", 15), ("full", 50), ("long", 100_000)):
    settings.register_profile(
        _name, max_examples=_examples, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


_SERVERS = {"servers", "own_servers"}
_UNCOUNTED = {"fuzz", "isolation"}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Tell from its fixtures what a test needs: servers, and the process of its file's other tests.

    What the tests of a module share is made once where one of xdist's processes runs them all; any
    other test goes to whichever process is free.
    """
    for item in items:
        if not isinstance(item, pytest.Function):
            continue
        if _SERVERS.intersection(item.fixturenames):
            item.add_marker(pytest.mark.servers)
        # The same lines ten thousand times: telling coverage of them would cost as much again.
        if _UNCOUNTED.intersection(item.path.parts):
            item.add_marker("no_cover")
        definitions = item._fixtureinfo.name2fixturedefs.values()
        if any(one.scope == "module" for several in definitions for one in several):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
    yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have measured and do not assert (`record_property`)."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{name}: {value}")


@pytest.fixture(scope="session")
def own_servers(request: pytest.FixtureRequest) -> None:
    """Be asked for by whatever starts servers itself: the quick run leaves such tests out."""
    if request.config.getoption("markexpr") == "not servers":
        pytest.fail("a quick run starts no server: mark what asks for one by @pytest.mark.servers")


@pytest.fixture(scope="session")
def servers(own_servers: None) -> Iterator[Servers]:
    """Run the broker and the database server of this session, which write to memory alone.

    A kill -9 of one loses nothing, as on a disk: what it has written is the kernel's.
    """
    with Servers(durable=False) as running:
        yield running


@pytest.fixture
def amqp_url(servers: Servers) -> Iterator[str]:
    """Give an empty vhost; a foreign broker without a management URL has only its own."""
    name = f"test-{uuid.uuid4().hex}"
    if servers.broker.management_url is None:
        yield servers.broker.vhost_for(name)
        return
    yield servers.broker.create_vhost(name)
    servers.broker.management.delete_vhost(name)


@pytest.fixture
def database_url(request: pytest.FixtureRequest, servers: Servers) -> str:
    """Give a database with all migrations applied and no rows but those of the migrations.

    It is this process's one for all tests, emptied; for a test that also asks for
    `own_database_url` (`@pytest.mark.usefixtures`), that one.
    """
    if "own_database_url" in request.fixturenames:
        own: str = request.getfixturevalue("own_database_url")
        return own
    shared: SharedDatabase = request.getfixturevalue("shared_database")
    return shared.emptied()


@pytest.fixture
def own_database_url(new_database: NewDatabase) -> Iterator[str]:
    """Give a database of this test alone: to change its schema, settings or statistics.

    A copy costs as much as emptying ten times.
    """
    with new_database() as url:
        yield url


@pytest.fixture
def empty_database(servers: Servers) -> Iterator[str]:
    """Give a database without any schema of ours."""
    name = f"empty_{uuid.uuid4().hex}"
    yield servers.database.create_database(name)
    servers.database.drop_database(name)


@pytest.fixture
def chinese_database(servers: Servers) -> Iterator[str]:
    """Give an empty database whose encoding is not UTF8."""
    name = f"chinese_{uuid.uuid4().hex}"
    with psycopg.connect(servers.database.url, autocommit=True) as server:
        encoding = "TEMPLATE template0 ENCODING 'EUC_CN' LC_COLLATE 'C' LC_CTYPE 'C'"
        server.execute(f"CREATE DATABASE {name} {encoding}".encode())
    yield urlsplit(servers.database.url)._replace(path=f"/{name}").geturl()
    servers.database.drop_database(name)


@pytest.fixture(scope="session")
def shared_database(new_database: NewDatabase) -> Iterator["SharedDatabase"]:
    """Make the database that the tests of this process use one after another."""
    shared = SharedDatabase(new_database)
    yield shared
    shared.close()


@pytest.fixture(scope="module")
def module_database(new_database: NewDatabase) -> Iterator[str]:
    """Give a database that the tests of one module share as they leave it."""
    with new_database() as url:
        yield url


@pytest.fixture(scope="session")
def new_database(servers: Servers) -> Iterator[NewDatabase]:
    """Give a maker of migrated databases, each for a `with` that has its URL.

    They are copies of one: copying takes 0.3 s, migrating a second and a half.
    """
    template = f"template_{uuid.uuid4().hex}"
    migrate(servers.database.create_database(template))

    @contextmanager
    def make() -> Iterator[str]:
        name = f"test_{uuid.uuid4().hex}"
        try:
            yield servers.database.create_database(name, template=template)
        finally:
            servers.database.drop_database(name)

    try:
        yield make
    finally:
        servers.database.drop_database(template)


class SharedDatabase:
    """One migrated database for many tests, given to each as if it were new."""

    def __init__(self, new_database: NewDatabase) -> None:
        self._new_database = new_database
        self._exits = ExitStack()
        self._url: str | None = None
        self._catalogue: object = None
        self._rows: dict[str, bytes] = {}

    def emptied(self) -> str:
        """Return its URL: nobody is connected, and the rows are those that the migrations wrote.

        A test that has left the schema or statistics changed, which `own_database_url` is for,
        costs a new one.
        """
        if self._url is not None and self._empty(self._url):
            return self._url
        self.close()
        self._url = url = self._exits.enter_context(self._new_database())
        with psycopg.connect(url) as database:
            self._catalogue = database.execute(_CATALOGUE).fetchone()
            self._rows = {
                table: self._copy(database, table) for (table,) in database.execute(_TABLES)
            }
        return url

    def close(self) -> None:
        """Drop the database, if there is one."""
        self._url = None
        self._exits.close()

    def _empty(self, url: str) -> bool:
        with psycopg.connect(url) as database:
            database.execute(END_OTHERS)
            if database.execute(_CATALOGUE).fetchone() != self._catalogue:
                return False
            is_large = database.execute(_IS_LARGE).fetchone() == (True,)
            empty = "TRUNCATE {}" if is_large else "DELETE FROM {}"
            database.execute("; ".join(map(empty.format, self._rows)).encode())
            for table, rows in self._rows.items():
                if rows:
                    with database.cursor().copy(f"COPY {table} FROM STDIN".encode()) as copy:
                        copy.write(rows)
        return True

    @staticmethod
    def _copy(database: psycopg.Connection, table: str) -> bytes:
        with database.cursor().copy(f"COPY {table} TO STDOUT".encode()) as copy:
            return b"".join(bytes(part) for part in copy)


_TABLES = (
    "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = 'verification'"
)

# To truncate takes 20 ms, as it makes all files anew; to delete takes 1 ms, and leaves dead rows.
_IS_LARGE = """
SELECT sum(pg_relation_size(relid)) > 1000000 FROM pg_stat_user_tables
 WHERE schemaname = 'verification'
"""

END_OTHERS = """
SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid()
"""

# What tests of schema, settings and plans leave behind beside rows of ours.
_CATALOGUE = """
SELECT (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_attribute WHERE NOT attisdropped),
       (SELECT count(*) FROM pg_proc), (SELECT count(*) FROM pg_trigger WHERE tgenabled = 'O'),
       (SELECT count(*) FROM pg_constraint), (SELECT count(*) FROM pg_namespace),
       (SELECT count(*) FROM pg_description),
       (SELECT count(*) FROM pg_statistic AS s JOIN pg_class AS c ON c.oid = s.starelid
         WHERE c.relnamespace = to_regnamespace('verification')),
       (SELECT count(*) FROM pg_db_role_setting JOIN pg_database AS d ON d.oid = setdatabase
         WHERE datname = current_database())
"""


@pytest.fixture
def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Give what runs an upgrade that must end with code 2, and returns the lines that it says."""

    def refused(**environment: str) -> list[str]:
        capsys.readouterr()
        monkeypatch.delenv("DATABASE_URL", raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as end:
            command.upgrade(Config(_CHECKOUT / "alembic.ini"), "head")
        assert end.value.code == 2
        return capsys.readouterr().err.splitlines()

    return refused


def migrate(url: str) -> None:
    """Apply all migrations."""
    alembic(url, "upgrade", "head")


def alembic(url: str, name: str, *arguments: str) -> str:
    """Do what Alembic's command of this name does, inside this process; return what it says."""
    said = StringIO()
    config = Config(str(_CHECKOUT / "alembic.ini"), stdout=said)
    with patch.dict(os.environ, DATABASE_URL=url), redirect_stdout(said):
        getattr(command, name)(config, *arguments)
    return said.getvalue()


@pytest.fixture(scope="module")
def node_environment(request: pytest.FixtureRequest) -> dict[str, str]:
    """Say where Node finds the packages that the folder's lock file names; installs them once."""
    return {"NODE_PATH": str(node_modules(request.path.parent))}
