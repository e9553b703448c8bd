"""What can only be seen while it happens: sessions, metrics, messages, requests."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any
from urllib.parse import quote

import pika
import psycopg
import requests

from local_management import Management
from local_ports import LOOPBACK, free_ports

# Each worker is scraped every half second; sessions are looked at as often.
_EVERY = 0.5
_SESSIONS = """SELECT application_name || ' ' || coalesce(query, '') FROM pg_stat_activity
               UNION SELECT query FROM pg_stat_statements"""
_PAGES = ("overview", "connections", "channels", "consumers", "queues", "exchanges", "bindings",
          "definitions", "vhosts", "policies", "parameters")  # fmt: skip


class Watch:
    """Looks at sessions and metrics again and again on a thread, and keeps what differs."""

    def __init__(self, database_url: str) -> None:
        self.sessions: set[bytes] = set()
        """What sessions of the database execute or have executed, as others can read it."""
        self.scrapes: set[bytes] = set()
        """What metrics and probes said."""
        self._database_url = database_url
        self._ports: list[int] = []
        self._over = Event()
        self._thread = Thread(target=self._watch)
        with psycopg.connect(database_url, autocommit=True) as database:
            database.execute("CREATE EXTENSION pg_stat_statements SCHEMA public")
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._over.set()
        self._thread.join()

    def scraped_port(self) -> int:
        """Return a free port that is scraped from now on."""
        (port,) = free_ports(1)
        self._ports.append(port)
        return port

    def look_at_sessions(self) -> None:
        """Keep what sessions say now."""
        with psycopg.connect(self._database_url, autocommit=True) as database:
            self.sessions |= {row[0].encode() for row in database.execute(_SESSIONS)}

    def _watch(self) -> None:
        while not self._over.wait(_EVERY):
            with contextlib.suppress(psycopg.Error):  # the proof restarts it on purpose
                self.look_at_sessions()
            for port in list(self._ports):
                # Not up yet, killed, or no more.
                with contextlib.suppress(requests.RequestException):
                    for page in ("metrics", "readyz", "livez"):
                        address = f"http://{LOOPBACK}:{port}/{page}"
                        self.scrapes.add(requests.get(address, timeout=5).content)


class BrokerPages(Management):
    """RabbitMQ's management API: what it says of itself, and its firehose."""

    def trace(self, vhost: str) -> None:
        """Turn the firehose of a vhost on: a copy of every message published."""
        self._call("PUT", f"/api/vhosts/{quote(vhost, safe='')}", {"tracing": True})

    def pages(self) -> Iterator[tuple[str, bytes]]:
        """Yield all that it says of itself, page by page."""
        for page in _PAGES:
            yield page, self._call("GET", f"/api/{page}")


class Firehose:
    """Copies of what is published in one vhost, kept in a queue until somebody takes them."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.events: list[bytes] = []
        """Result events, whole: body, properties, headers, routing key."""
        self.others: list[bytes] = []
        """Routing keys and headers of retries, dead letters and replays.

        Body and ids of these are the message as its publisher sent it.
        """
        with self._channel() as channel:
            channel.queue_declare("copies", durable=True)
            channel.queue_bind("copies", "amq.rabbitmq.trace", "publish.#")

    def take(self) -> None:
        """Take what has come."""
        with self._channel() as channel:
            while (found := channel.basic_get("copies", auto_ack=True))[0] is not None:
                about, body = found[1].headers, found[2]
                if about["exchange_name"] == "verification.results":
                    self.events.append(b"\n".join((*_texts(about), body)))
                elif about["exchange_name"] != "verification.requests":  # where people publish
                    ours = [about["routing_keys"], about["properties"].get("headers", {})]
                    self.others.append(b"\n".join(_texts(ours)))

    @contextlib.contextmanager
    def _channel(self) -> Iterator[Any]:
        with pika.BlockingConnection(pika.URLParameters(self._url)) as connection:
            yield connection.channel()


def _texts(value: object) -> Iterator[bytes]:
    """Yield every name and value of what AMQP can nest, as bytes."""
    if isinstance(value, dict | list):
        for each in value.items() if isinstance(value, dict) else value:
            yield from _texts(list(each) if isinstance(each, tuple) else each)
    elif isinstance(value, bytes):
        yield value
    else:
        yield str(value).encode("utf-8", "surrogatepass")


@contextlib.contextmanager
def http_server(answer: Callable[[bytes], bytes]) -> Iterator[str]:
    """Run a server that sends what `answer` makes of each POST's body; yield its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.wfile.write(answer(self.rfile.read(int(self.headers["Content-Length"]))))
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((LOOPBACK, 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
