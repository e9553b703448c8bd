"""TLS to the database: verified or not at all, and nothing is lost meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING

import psycopg
import pytest

from local_database import Database
from local_ports import LOOPBACK
from tests.chaos.certificates import Papers
from tests.e2e.harness import CHECKOUT, Stack, request, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.harness import SandboxProcess


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers.make(tmp_path_factory.mktemp("papers"))


@pytest.fixture(scope="module")
def tls_database(papers: Papers, own_servers: None) -> Iterator[Database]:
    settings = {"ssl": "on", "ssl_cert_file": "server.crt", "ssl_key_file": "server.key"}
    files = {
        "server.crt": papers.server.certificate.read_bytes(),
        "server.key": papers.server.key.read_bytes(),
    }
    with Database(settings, files) as database:
        environment = {**os.environ, "DATABASE_URL": database.url}
        upgrade = [sys.executable, "-m", "alembic", "upgrade", "head"]
        subprocess.run(upgrade, cwd=CHECKOUT, env=environment, capture_output=True, check=True)
        yield database


@pytest.fixture
def before_tls(
    tls_database: Database, papers: Papers, amqp_url: str, provider: SandboxProcess
) -> Iterator[Stack]:
    """Give a stack whose database is reached over TLS."""
    url = tls_database.url.replace(LOOPBACK, "localhost")
    ca = papers.trusted.certificate
    stack = Stack(amqp_url, f"{url}?sslmode=verify-full&sslrootcert={ca}", provider)
    try:
        assert stack.command("topology", "apply").returncode == 0
        stack.collect_events()
        yield stack
    finally:
        stack.close()


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
    before_tls: Stack, papers: Papers, fault: str
) -> None:
    right = before_tls.database_url
    wrong = {
        "another CA signed": right.replace("trusted.pem", "stranger.pem"),
        "it is for another host": right.replace("@localhost", f"@{LOOPBACK}"),
    }[fault]
    before_tls.provider.reset()
    name = f"waits-{uuid.uuid4().hex}"
    worker = before_tls.start_worker(DATABASE_URL=wrong)
    before_tls.publish(request(name))
    until(lambda: worker.said("database.unavailable"))
    assert worker.stop() == 0
    assert all(json.loads(line) for line in worker.lines), "a traceback"
    assert before_tls.provider.charges()["calls"] == 0
    before_tls.start_worker()
    until(lambda: name in before_tls.results())
