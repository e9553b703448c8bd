"""Who takes part: our worker and its peers, each with what it needs to be started and fed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, LiteralString

import pika
import psycopg

from local_stack import Servers
from tests.bench.peers import common, queues
from tests.conftest import migrate
from tests.e2e.harness import CHECKOUT, COMMAND, REQUESTS, RESULTS, run_program

Message = tuple[str, str, bytes, pika.BasicProperties]
"""Exchange, routing key, body, properties."""

KEYS = {"PROVIDER_ACCESS_KEY": "SANDBOXACCESSKEY", "PROVIDER_SECRET_KEY": "sandbox-secret-key"}
PEERS_PYTHON = CHECKOUT / ".local" / "peers" / "bin" / "python"
CALLS_AT_ONCE = 256
"""In flight with a late provider, of every contestant."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """One that does the job, and how it is tuned for an instant provider."""

    name: str
    command: tuple[str, ...]
    queue: str
    results: str
    """The exchange to which it publishes events."""
    finished: LiteralString
    """SQL that counts its finished requests."""
    template: str
    """The database that each round gets a copy of."""
    declare: Callable[[Any], None]
    message: Callable[[dict[str, Any]], Message]
    environment: Mapping[str, str] = field(default_factory=dict)
    late: Mapping[str, str] = field(default_factory=dict)
    """What is set differently where the provider takes its time."""


def ours(servers: Servers, template: str, settings: Mapping[str, str] | None = None) -> Contestant:
    """Return our worker, as it is by default but for its calls at once."""
    environment = {
        **KEYS,
        "PROVIDER_MODE": "sandbox",
        "DIGEST_KEY": "a key of the benchmark, of 32 characters",
        "LOG_FORMAT": "json",
        **(settings or {}),
    }
    migrate(servers.database.create_database(template))

    def declare(_channel: Any) -> None:
        whole = {**environment, **servers.environment(), "PROVIDER_URL": "http://127.0.0.1:9/"}
        applied = run_program(*COMMAND, "topology", "apply", environment=whole)
        if applied.returncode != 0:
            raise RuntimeError(applied.stderr)

    def message(request: dict[str, Any]) -> Message:
        properties = pika.BasicProperties(delivery_mode=2, content_type="application/json")
        return REQUESTS, "bench", json.dumps(request).encode(), properties

    return Contestant(
        "verification-worker",
        (*COMMAND, "run"),
        REQUESTS,
        RESULTS,
        "SELECT count(*) FROM verification.request WHERE completed_at IS NOT NULL",
        template,
        declare,
        message,
        environment,
        late={"CONCURRENCY": str(CALLS_AT_ONCE), "PREFETCH": str(4 * CALLS_AT_ONCE)},
    )


def _declare(peer: queues.PeerQueue, channel: Any) -> None:
    channel.exchange_declare(common.RESULTS, "topic", durable=True)
    peer.declare(channel)


# Each as it was fastest in trials of its own with an instant provider: calls at once, messages
# held. With a late one all have as many calls in flight, and the messages held that suit them.
_PEERS: tuple[tuple[str, str, dict[str, str], int], ...] = (
    ("Dramatiq, 1 process", "dramatiq_worker", {"CONCURRENCY": "16", "PREFETCH": "64"}, 512),
    (
        "Dramatiq, 2 processes",
        "dramatiq_worker",
        {"PROCESSES": "2", "CONCURRENCY": "32", "PREFETCH": "128"},
        512,
    ),
    ("pika and threads", "pika_threads", {"CONCURRENCY": "16", "PREFETCH": "64"}, 512),
    ("asyncio by hand", "raw_asyncio", {"CONCURRENCY": "64", "PREFETCH": "64"}, 512),
)


def peers(servers: Servers, template: str) -> list[Contestant]:
    """Return the peers, each tuned as its documentation recommends."""
    if not PEERS_PYTHON.exists():
        raise RuntimeError("the peers' virtualenv is missing: run ./deploy/local/bench")
    url = servers.database.create_database(template)
    with psycopg.connect(url, autocommit=True) as database:
        database.execute(common.SCHEMA)
    return [
        Contestant(
            name,
            (str(PEERS_PYTHON), "-m", f"tests.bench.peers.{module}"),
            queues.PEERS[module].queue,
            common.RESULTS,
            "SELECT count(*) FROM peer_request WHERE state = 'done'",
            template,
            partial(_declare, queues.PEERS[module]),
            lambda request, module=module: ("", *queues.PEERS[module].message(request)),  # type: ignore[misc]
            {**KEYS, **settings},
            late={"CONCURRENCY": str(CALLS_AT_ONCE), "PREFETCH": str(held)},
        )
        for name, module, settings, held in _PEERS
    ]
