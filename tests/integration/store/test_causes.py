"""Why the database cannot be used: each cause in words of its own, for workers and commands."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest
from sqlalchemy import text

from local_database import Database
from local_stack import Servers
from tests.chaos.certificates import Certificates
from tests.conftest import Refusal
from tests.e2e import in_process
from worker.ports import LedgerUnavailable
from worker.store.database_errors import mapped
from worker.store.engine import execute, open_engine

SECRET = "canary-secret"

# The first line that fits counts.
_WHO_MAY = b"""
host    all needs_a_password 127.0.0.1/32 scram-sha-256
host    all never            127.0.0.1/32 reject
hostssl all needs_tls        127.0.0.1/32 trust
host    all postgres,no_login,nobody_known,nothing_left,no_right 127.0.0.1/32 trust
"""


@pytest.fixture(scope="module")
def strict(
    own_servers: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Database, Certificates]]:
    """Run a server with TLS that has a reason to refuse each of its users."""
    certificates = Certificates.make(tmp_path_factory.mktemp("certificates"))
    files = {
        "pg_hba.conf": _WHO_MAY,
        "server.crt": certificates.server.certificate.read_bytes(),
        "server.key": certificates.server.key.read_bytes(),
    }
    with Database(durable=False) as server:
        for name, content in files.items():
            server.write(name, content)
        server.write("postgresql.auto.conf", b"ssl = on\n")
        server.restart()
        with psycopg.connect(server.url, autocommit=True) as session:
            for statement in (
                f"CREATE ROLE needs_a_password LOGIN PASSWORD '{SECRET}'",
                "CREATE ROLE needs_tls LOGIN",
                "CREATE ROLE never LOGIN",
                "CREATE ROLE no_login",
                "CREATE ROLE nothing_left LOGIN CONNECTION LIMIT 0",
                "CREATE ROLE no_right LOGIN",
                "CREATE DATABASE read_only",
                "ALTER DATABASE read_only SET default_transaction_read_only = on",
                "CREATE DATABASE closed",
                "REVOKE CONNECT ON DATABASE closed FROM PUBLIC",
            ):
                session.execute(statement.encode())
        yield server, certificates


# What follows `postgresql://`, and what is said of it; names in capitals are of this machine.
CAUSES = {
    "missing database": ("postgres@SERVER/none", "there is no such database"),
    "unknown user": ("nobody_known@SERVER/postgres", "there is no such user"),
    "wrong password": (f"needs_a_password:{SECRET}-@SERVER/postgres", "user or password is wrong"),
    "no password": ("needs_a_password@SERVER/postgres", "DATABASE_URL has none"),
    "refused by the server": ("never@SERVER/postgres", "does not let this user in"),
    "TLS is missing": ("needs_tls@SERVER/postgres?sslmode=disable", "or not without TLS"),
    "TLS is not spoken": ("postgres@PLAIN/postgres?sslmode=require", "the server speaks no TLS"),
    "no file": (
        "postgres@SERVER/postgres?sslmode=verify-full&sslrootcert=/no/file",
        "sslrootcert names is not there",
    ),
    "another CA": (
        "postgres@SERVER/postgres?sslmode=verify-full&sslrootcert=STRANGER",
        "CA is not the one in sslrootcert, or the certificate has expired",
    ),
    "may not log in": ("no_login@SERVER/postgres", "may not log in"),
    "may not connect": ("no_right@SERVER/closed", "may not connect to the database"),
    "too many connections": ("nothing_left@SERVER/postgres", "takes no more connections"),
    "read-only": (
        "postgres@SERVER/read_only?target_session_attrs=read-write",
        "the server is read-only",
    ),
    "nobody listens": ("postgres@127.0.0.1:1/postgres", "connection refused"),
    "unknown host": ("postgres@no-such-host.invalid/postgres", "(DNS)"),
    "no socket": ("%2Fno%2Fsocket/postgres", "no server listens on that socket"),
    "the broker's port": ("postgres@BROKER/postgres", "no PostgreSQL"),
}


@pytest.fixture
def url(
    strict: tuple[Database, Certificates], servers: Servers, request: pytest.FixtureRequest
) -> str:
    server, certificates = strict
    places = {
        "SERVER": urlsplit(server.url).netloc.rpartition("@")[2],
        "PLAIN": urlsplit(servers.database.url).netloc.rpartition("@")[2],
        "BROKER": f"127.0.0.1:{urlsplit(servers.broker.url).port}",
        "STRANGER": str(certificates.stranger.certificate),
    }
    url = f"postgresql://{request.param}"
    for name, place in places.items():
        url = url.replace(name, place)
    return url


@pytest.mark.parametrize(("url", "words"), CAUSES.values(), ids=list(CAUSES), indirect=["url"])
def test_each_cause_has_its_own_words(url: str, words: str) -> None:
    with pytest.raises(LedgerUnavailable) as fault:
        execute(open_engine(url, "causes"), text("SELECT 1"))
    assert words in str(fault.value)
    assert SECRET not in str(fault.value)


@pytest.mark.parametrize(("url", "words"), [CAUSES["wrong password"]], indirect=["url"])
def test_a_command_and_a_migration_say_it_in_one_line(
    url: str, words: str, refusal: Refusal
) -> None:
    told = in_process.run(("resume",), {"DATABASE_URL": url})
    assert told.returncode == 2
    for said in (told.stderr.splitlines(), refusal(DATABASE_URL=url)):
        (line,) = said
        assert words in line
        assert SECRET not in line


def test_a_full_disk_that_refuses_sessions_is_called_so() -> None:
    """As PostgreSQL 15 to 18 say it, whatever it was that could not be written."""
    for words in ("could not write init file", "could not extend file: No space left on device"):
        fault = mapped(psycopg.OperationalError(f"connection failed: FATAL:  {words}"))
        assert str(fault) == "no connection (the server's disk is full)"
