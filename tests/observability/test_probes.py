"""What a worker's probes say while others are away, and when its schema is too old."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import psycopg

from local_ports import free_ports
from tests.e2e.harness import Stack, until

if TYPE_CHECKING:
    from tests.e2e.harness import Process

BEHIND = "the schema is not at head: run `alembic upgrade head`"


def ask(worker: Process, path: str) -> tuple[int, str]:
    """Return the status and the words of an answer."""
    line = until(lambda: worker.said("health.listening"))
    address = f"http://127.0.0.1:{json.loads(line)['port']}{path}"
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return answer.status, answer.read().decode().strip()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode().strip()


def test_a_worker_whose_schema_is_too_old_is_alive_and_not_ready(stack: Stack) -> None:
    with psycopg.connect(stack.database_url) as connection:
        connection.execute("UPDATE verification.alembic_version SET version_num = '0003'")
    (port,) = free_ports(1)
    worker = stack.start_worker(HTTP_PORT=str(port))
    assert until(lambda: (said := ask(worker, "/readyz"))[0] == 503 and said) == (503, BEHIND)
    assert ask(worker, "/livez") == (200, "ok")
    assert "verification_schema_behind 1.0" in ask(worker, "/metrics")[1]
    assert worker.stop() == 0


def test_a_worker_without_broker_and_database_is_alive_not_ready_and_says_so(
    stack: Stack,
) -> None:
    (port, nobody) = free_ports(2)
    worker = stack.launch_worker(
        HTTP_PORT=str(port),
        AMQP_URL=f"amqp://guest:guest@127.0.0.1:{nobody}/",
        DATABASE_URL=f"postgresql://nobody@127.0.0.1:{nobody}/nothing",
    )
    until(lambda: worker.said("amqp.connection_lost"))
    until(lambda: worker.said("database.unavailable"))
    assert ask(worker, "/livez") == (200, "ok")
    status, words = ask(worker, "/readyz")
    assert status == 503
    assert "the broker is not connected" in words
    text = until(lambda: "verification_database_up 0.0" in (t := ask(worker, "/metrics")[1]) and t)
    assert "verification_broker_connected 0.0" in text
    assert "verification_outbox_events" not in text
    assert worker.stop() == 0
