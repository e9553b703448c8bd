"""TLS to broker and database: verified or not at all, and the log says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, LiteralString
from urllib.parse import urlsplit

import psycopg
import pytest

from local_broker import Broker
from local_database import Database
from local_ports import LOOPBACK, free_ports
from local_stack import Servers
from tests.chaos.certificates import Certificates, Pair
from tests.chaos.cluster import api
from tests.chaos.replication import ask
from tests.e2e.harness import REQUESTS, Process, Stack, request, until
from tests.integration.amqp.harness import cut, evaluate, worker_connections


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.make(tmp_path_factory.mktemp("certificates"))


@dataclass(frozen=True, slots=True)
class TlsBroker:
    """The broker's TLS port, beside the plain one that the tests use themselves."""

    broker: Broker
    port: int

    def url(self, stack: Stack, scheme: str = "amqps", host: str = "localhost") -> str:
        """Return the way to the stack's vhost over the TLS port."""
        return f"{scheme}://guest:guest@{host}:{self.port}{urlsplit(stack.amqp_url).path}"

    def read_certificate_again(self) -> None:
        """Have the node forget the certificate that it has read (0.4 s)."""
        evaluate(self.broker, "ssl:clear_pem_cache()")

    def worker_logins(self, stack: Stack) -> int:
        """Count the logins of a stack's workers: its connection's name comes with the login."""
        log = (self.broker.directory / "rabbitmq.log").read_text(errors="replace")
        named = [line for line in log.splitlines() if "verification-worker consume" in line]
        return sum(stack.vhost in line for line in named)


@pytest.fixture(scope="module")
def tls(certificates: Certificates, servers: Servers) -> TlsBroker:
    """Have this session's broker listen for TLS, too."""
    assert isinstance(servers.broker, Broker), "this test adds a port to its broker: unset AMQP_URL"
    (port,) = free_ports(1)
    files = (
        f'{{cacertfile, "{certificates.trusted.certificate}"}}',
        f'{{certfile, "{certificates.server.certificate}"}}',
        f'{{keyfile, "{certificates.server.key}"}}',
    )
    options = f"[{', '.join(files)}, {{verify, verify_peer}}, {{fail_if_no_peer_cert, false}}]"
    place = f'{{"{LOOPBACK}", {port}, inet}}'
    evaluate(servers.broker, f"rabbit_networking:start_ssl_listener({place}, {options}, 2)")
    return TlsBroker(servers.broker, port)


@pytest.fixture
def behind_tls(stack: Stack, tls: TlsBroker, certificates: Certificates) -> Stack:
    """Give a stack whose workers reach the broker over TLS, set up as they should be."""
    stack.environment["AMQP_URL"] = tls.url(stack)
    stack.environment["AMQP_CA_FILE"] = str(certificates.trusted.certificate)
    return stack


def problems(process: Process, tries: int = 2) -> set[str]:
    """Wait until both connections have failed so often, and return why, in the log's words."""
    lost = partial(process.logged, "amqp.connection_lost")
    until(lambda: min(sum(x["role"] == r for x in lost()) for r in ("consume", "publish")) >= tries)
    assert all("retry_in" in line for line in lost())
    assert not process.said("Traceback")
    assert not process.said("guest")
    return {line["problem"] for line in lost()}


def test_when_the_certificate_is_trusted_then_requests_are_verified_over_tls(
    behind_tls: Stack, tls: TlsBroker, certificates: Certificates
) -> None:
    own = certificates.trusted.issue("onboarding-worker")
    files = {"AMQP_CERT_FILE": str(own.certificate), "AMQP_KEY_FILE": str(own.key)}
    behind_tls.environment.update(files)
    behind_tls.command("topology", "check", code=0)
    behind_tls.start_worker(TOPOLOGY="check")
    behind_tls.publish(request("over-tls"))
    until(lambda: behind_tls.depth("collector") == 1)

    def workers() -> list[dict[str, Any]]:
        found = api(tls.broker, f"/api/vhosts/{behind_tls.vhost}/connections")
        return [c for c in found if "verification-worker" in str(c.get("client_properties"))]

    every = until(lambda: found if len(found := workers()) == 3 else None)
    assert [connection["ssl"] for connection in every] == [True] * 3
    assert {connection["ssl_protocol"] for connection in every} <= {"tlsv1.3", "tlsv1.2"}
    assert {c["peer_cert_subject"] for c in every} == {"CN=onboarding-worker"}
    assert tls.worker_logins(behind_tls) > 0


@pytest.mark.parametrize(
    ("fault", "advice"),
    [
        ("another CA signed", "AMQP_CA_FILE must name that CA's file"),
        ("no CA is named", "AMQP_CA_FILE must name that CA's file"),
        ("it is for another host", "AMQP_URL must name one that it is for"),
        ("the port speaks no TLS", "amqps:// needs the broker's TLS port"),
        ("the port speaks nothing else", "TLS"),
    ],
)
def test_when_the_brokers_certificate_cannot_be_verified_then_nobody_logs_in(
    behind_tls: Stack, tls: TlsBroker, certificates: Certificates, fault: str, advice: str
) -> None:
    wrong = {
        "another CA signed": {"AMQP_CA_FILE": str(certificates.stranger.certificate)},
        "no CA is named": {"AMQP_CA_FILE": ""},
        "it is for another host": {"AMQP_URL": tls.url(behind_tls, host=LOOPBACK)},
        "the port speaks no TLS": {"AMQP_URL": behind_tls.amqp_url.replace("amqp:", "amqps:")},
        "the port speaks nothing else": {
            "AMQP_URL": tls.url(behind_tls, scheme="amqp"),
            "AMQP_CA_FILE": "",
        },
    }[fault]
    behind_tls.publish(request("waits"))
    worker = behind_tls.launch_worker(**wrong)
    assert [each for each in problems(worker) if advice in each]
    assert worker.stop() == 0
    assert tls.worker_logins(behind_tls) == 0
    assert behind_tls.depth(REQUESTS) == 1


def test_when_the_right_ca_is_mounted_later_then_the_worker_connects_by_itself(
    behind_tls: Stack, certificates: Certificates
) -> None:
    mounted = Pair(certificates.directory / "mounted.pem", certificates.directory / "mounted.key")
    mounted.become(certificates.stranger.pair)
    worker = behind_tls.launch_worker(AMQP_CA_FILE=str(mounted.certificate))
    behind_tls.publish(request("after-the-mount"))
    problems(worker, tries=1)
    mounted.become(certificates.trusted.pair)
    until(lambda: behind_tls.count() == 1)


def test_when_the_brokers_certificate_expires_then_it_is_said_and_nothing_is_lost(
    behind_tls: Stack, tls: TlsBroker, certificates: Certificates
) -> None:
    renewed = certificates.trusted.issue("renewed")
    expired = certificates.trusted.issue("expired", days=-1)
    worker = behind_tls.start_worker()
    connections = worker_connections(tls.broker.management_url, behind_tls.amqp_url)
    try:
        certificates.server.become(expired)
        tls.read_certificate_again()
        cut(tls.broker.management_url, connections)
        advice = "the certificate of AMQP_URL's host has expired: it must be renewed"
        until(lambda: worker.said(advice))
        behind_tls.publish(request("waits-for-the-renewal"))
    finally:
        certificates.server.become(renewed)
        tls.read_certificate_again()
    until(lambda: behind_tls.count() == 1)
    assert worker.stop() == 0
    assert worker.logged("amqp.consuming")


# The database


@pytest.fixture(scope="module")
def database_over_tls(certificates: Certificates, servers: Servers) -> Iterator[None]:
    """Let this session's database server speak TLS for a while."""
    server = servers.database
    assert isinstance(server, Database), "this test changes its server: unset DATABASE_URL"
    pair = certificates.server
    for name, source in (("server.crt", pair.certificate), ("server.key", pair.key)):
        server.write(name, source.read_bytes())
    set_tls(server, "on")
    yield
    set_tls(server, "off")


def set_tls(server: Database, state: LiteralString) -> None:
    """Have a server speak TLS, or no more; return when it does as told."""
    ask(server, "ALTER SYSTEM SET ssl = " + state)
    ask(server, "SELECT pg_reload_conf()")
    until(lambda: ask(server, "SHOW ssl") == (state,))


@pytest.fixture
def before_tls(stack: Stack, database_over_tls: None, certificates: Certificates) -> Stack:
    """Give a stack whose workers reach the database over TLS."""
    url = stack.database_url.replace(LOOPBACK, "localhost")
    ca = certificates.trusted.certificate
    stack.environment["DATABASE_URL"] = f"{url}?sslmode=verify-full&sslrootcert={ca}"
    return stack


def test_when_the_databases_certificate_is_trusted_then_rows_travel_over_tls(
    before_tls: Stack,
) -> None:
    before_tls.start_worker()
    before_tls.publish(request("row-over-tls"))
    until(lambda: "row-over-tls" in before_tls.results())
    query = """SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                WHERE application_name ~ '^.+-[0-9]+-[0-9a-f]{6}$'"""
    with psycopg.connect(before_tls.database_url) as connection:
        workers = connection.execute(query).fetchall()
    assert workers
    assert all(ssl for (ssl,) in workers)


@pytest.mark.parametrize("fault", ["another CA signed", "it is for another host"])
def test_when_the_databases_certificate_cannot_be_verified_then_the_message_waits(
    before_tls: Stack, certificates: Certificates, fault: str
) -> None:
    right = before_tls.environment["DATABASE_URL"]
    wrong = {
        "another CA signed": right.replace("trusted.pem", "stranger.pem"),
        "it is for another host": right.replace("@localhost", f"@{LOOPBACK}"),
    }[fault]
    worker = before_tls.launch_worker(DATABASE_URL=wrong)
    before_tls.publish(request("waits"))
    until(lambda: worker.said("database.unavailable"))
    assert worker.stop() == 0
    assert worker.logged("worker.stopped")
    assert before_tls.provider.charges()["calls"] == 0
    before_tls.start_worker()
    until(lambda: before_tls.count() == 1)
