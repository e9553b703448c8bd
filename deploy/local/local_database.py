"""A private PostgreSQL cluster on a free port of 127.0.0.1.

A durable one has the defaults (fsync and full_page_writes on): what a test kills has promised as
much as what production kills. One that is not loses nothing by a kill -9 either, but all by a power
cut: it writes to memory.
"""

import os
import pwd
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from local_errors import StackError
from local_ports import LOOPBACK
from local_process import PrivateServer, Process
from local_programs import program

_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",  # no file in /tmp that another server's would meet
    "dynamic_shared_memory_type": "mmap",  # in the data directory: a kill leaves none in /dev/shm
    "max_connections": "200",  # several workers of 16 connections beside the tests' own
    "log_timezone": "UTC",
    "timezone": "UTC",
}

# synchronous_commit stays on: without fsync it costs a write to memory, and a server that is
# killed comes back with every commit.
# Nor does autovacuum run there: its transactions would hold up what `changes` shows, and statistics
# would come by chance.
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off"}


class Databases:
    """The databases of the server that `url` names; its user needs CREATEDB."""

    url: str
    name = "PostgreSQL"

    def create_database(self, name: str, *, template: str | None = None) -> str:
        """Create a database, empty or as a copy of `template`, and return its URL.

        Nobody may be connected to the template meanwhile. Raises StackError if it is not permitted.
        """
        self._run("CREATE DATABASE {} TEMPLATE {}", name, template or "template1")
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{quote(name, safe='')}"))

    def drop_database(self, name: str) -> None:
        """Drop a database with the connections to it; none of that name is no error."""
        self._run("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def _run(self, statement: str, *names: str) -> None:
        try:
            with psycopg.connect(self.url, autocommit=True) as server:
                server.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
        except psycopg.Error as error:
            raise StackError(f"{statement.format(*names)}: {str(error).strip()}") from error


class ForeignDatabase(Databases):
    """The database server that DATABASE_URL names: used as it is, never started or killed."""

    private = False

    def __init__(self, url: str) -> None:
        self.url = url


class Database(PrivateServer, Databases):
    """A private cluster. `start()` after `stop()` or `kill()` finds the same port and data."""

    def __init__(self, settings: Mapping[str, str] | None = None, *, durable: bool = True) -> None:
        """Keep what to start, with `settings` beside ours."""
        super().__init__(durable=durable)
        self._settings = {**_SETTINGS, **({} if durable else _NOT_DURABLE), **(settings or {})}
        self._user = server_user()

    @property
    def url(self) -> str:  # type: ignore[override]
        """The URL of the database `postgres`, as its superuser."""
        return f"postgresql://postgres@{LOOPBACK}:{self.port}/postgres"

    def _started(self) -> Process:
        """Start the server (0.1 s)."""
        settings = (f"--{name}={value}" for name, value in self._settings.items())
        command = [program("postgres"), "-D", str(self._data), "-p", str(self.port), *settings]
        return self._run_as_user(self.name, command)

    def stop(self) -> None:
        """End the server and its connections in its own orderly way; the data stay."""
        self.process.stop(signal.SIGINT)  # PostgreSQL's "fast" shutdown

    def restart(self) -> None:
        """Stop and start the server on the same port and data."""
        self.stop()
        self.start()

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def _answers(self) -> bool:
        try:
            lines = (self._data / "postmaster.pid").read_text().split()
        except OSError:
            return False
        # After a kill -9 the old server's file is still there. `pg_ctl -w` reads the state as well.
        return lines[:1] == [str(self.process.pid)] and lines[-1] == "ready"

    def _prepare(self) -> None:
        command = [program("initdb"), "--username=postgres", "--auth=trust", "--encoding=UTF8"]
        # Unsynced: an empty cluster is no loss, and what is committed later is synced.
        self._run_tool([*command, "--locale=C.UTF-8", "--no-sync"])

    def _run_tool(self, command: Sequence[str]) -> None:
        """Have one of PostgreSQL's programs make the data directory. Raises StartFailed."""
        self._data.mkdir(mode=0o700)
        self._hand_over(self._data)
        whole = [*command, "--pgdata", str(self._data)]
        self._run_as_user(Path(command[0]).name, whole).wait()

    def write(self, name: str, content: bytes) -> None:
        """Write a file of the data directory, as private as PostgreSQL wants a key to be."""
        file = self._data / name
        file.touch(mode=0o600)
        file.write_bytes(content)
        self._hand_over(file)

    def _run_as_user(self, name: str, command: Sequence[str]) -> Process:
        return Process(
            name,
            command,
            workspace=self.workspace,
            # The whole environment: a PG* variable of the shell stays out.
            environment={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"},
            user=self._user,
            ending=signal.SIGQUIT,  # a killed server would leave a shared memory segment behind
        )

    def _hand_over(self, path: Path) -> None:
        if self._user is not None:
            shutil.chown(path, self._user)


def server_user() -> str | None:
    """Return who runs what refuses root, when we are root: Debian's own user, else `nobody`."""
    if os.geteuid() != 0:
        return None
    return "postgres" if any(each.pw_name == "postgres" for each in pwd.getpwall()) else "nobody"
