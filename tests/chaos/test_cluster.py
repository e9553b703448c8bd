"""Nodes of a RabbitMQ cluster die under load: then everything is counted."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pika
import pytest
from pika.exceptions import AMQPError

from local_broker import Broker
from tests.chaos.cluster import Cluster, Front
from tests.chaos.load import Sender, times_said
from tests.chaos.proxy import TO_SERVER
from tests.e2e.harness import (
    DEAD,
    REQUESTS,
    RETRY_QUEUES,
    Process,
    SandboxProcess,
    Stack,
    request,
    until,
)
from tests.e2e.stacks import apply_topology

# A third of them is published when the node dies.
MANY = 500
IDS = [f"load-{number}" for number in range(MANY)]
QUEUES = [REQUESTS, *RETRY_QUEUES, DEAD]
# A frozen or lost channel of pika's must not hang a test; an answer takes milliseconds.
PATIENCE = "?socket_timeout=30&stack_timeout=60&blocked_connection_timeout=60&heartbeat=30"
# Three nodes start in 15 s, on a busy machine in minutes.
pytestmark = pytest.mark.timeout(1200)


class Publisher(threading.Thread):
    """Publishes requests one by one until each is confirmed, whatever happens to the broker."""

    def __init__(self, url: str, request_ids: Iterable[str]) -> None:
        super().__init__(name="publisher")
        self.confirmed: set[str] = set()
        self.sender = Sender(url + PATIENCE)
        self._ids = list(request_ids)
        self.go_on = threading.Event()
        """Awaited when half is confirmed, so that there is a half to come."""

    def run(self) -> None:
        """Publish them all, one half and then the other."""
        for number, request_id in enumerate(self._ids):
            if number == len(self._ids) // 2:
                self.go_on.wait()
            self.sender.send(REQUESTS, json.dumps(request(request_id)).encode())
            self.confirmed.add(request_id)
        self.sender.close()

    def give_up(self) -> None:
        """End, in whatever state."""
        self.sender.given_up.set()
        self.go_on.set()
        self.join()


class Site:
    """A vhost whose queues are all led by `leader`, a stack there, and who publishes to it."""

    def __init__(self, cluster: Cluster, database_url: str, provider: SandboxProcess) -> None:
        self.cluster = cluster
        self.leader, self.follower, self.third = cluster.nodes
        self.vhost = f"test-{uuid.uuid4().hex}"
        # A queue's first leader is the node over which it was declared.
        self.stack = Stack(cluster.create_vhost(self.vhost), database_url, provider)
        apply_topology(self.stack)
        # As a classic queue it would die with its node, and events of meanwhile would go nowhere.
        self.stack.collect_events(quorum=True)
        self.stack.forget_connection()
        self._stack = ExitStack()
        self._stack.callback(self.stack.close)

    def close(self) -> None:
        """Stop whoever works and publishes here."""
        self._stack.close()

    @contextmanager
    def channel(self, node: Broker) -> Iterator[Any]:
        """Give a channel to a node."""
        parameters = pika.URLParameters(node.vhost_for(self.vhost) + PATIENCE)
        with pika.BlockingConnection(parameters) as connection:
            yield connection.channel()

    def front(self, *nodes: Broker) -> Front:
        """Return an address in front of these nodes, of which the first that answers is taken."""
        return self._stack.enter_context(Front(*nodes))

    def start_worker(self, front: Front) -> Process:
        """Start a worker that knows this address."""
        return self.stack.start_worker(AMQP_URL=front.through(self.stack.amqp_url))

    def start_publisher(self, front: Front, request_ids: Iterable[str]) -> Publisher:
        """Start a publisher that knows this address."""
        publisher = Publisher(front.through(self.stack.amqp_url), request_ids)
        self._stack.callback(publisher.give_up)
        publisher.start()
        return publisher

    def depth(self, *queues: str) -> int:
        """Return how many messages wait in these queues, when a node can tell."""

        def counted() -> list[int]:
            with suppress(AMQPError), self.channel(self.cluster.living[0]) as channel:
                declared = [channel.queue_declare(queue, passive=True) for queue in queues]
                return [each.method.message_count for each in declared]
            return []

        return sum(until(counted))

    def events(self) -> list[dict[str, Any]]:
        """Take all events that were collected."""
        count = self.depth("collector")
        taken: list[dict[str, Any]] = []
        with self.channel(self.cluster.living[0]) as channel:
            for _, _, body in channel.consume("collector", auto_ack=True):
                taken.append(json.loads(body))
                if len(taken) == count:
                    return taken
        raise AssertionError("unreachable: consume() has no end of its own")


@pytest.fixture(scope="module")
def cluster(own_servers: None) -> Iterator[Cluster]:
    """Run one cluster for all tests here: it starts in 15 s."""
    with Cluster() as running:
        yield running


@pytest.fixture
def site(cluster: Cluster, database_url: str, provider: SandboxProcess) -> Iterator[Site]:
    """Give a site in a cluster of which all nodes run."""
    cluster.restore()
    built = Site(cluster, database_url, provider)
    yield built
    built.close()


def assert_all_is_done_once(site: Site, worker: Process, publisher: Publisher) -> None:
    """Let the other half be published and all be done; count rows, calls, charges and events."""
    publisher.go_on.set()
    publisher.join()
    until(lambda: site.stack.count() == MANY)
    until(lambda: site.depth(*QUEUES) == 0)
    assert worker.stop() == 0
    stack, charges, events = site.stack, site.stack.provider.charges(), site.events()
    setbacks = publisher.sender.setbacks
    print(f"\n{setbacks} setbacks, {len(events)} events, charges {charges['charges']}")
    rows = stack.results()
    assert set(rows) == publisher.confirmed == set(IDS)
    assert {row["outcome"] for row in rows.values()} == {"match"}
    assert charges["charges"] == charges["calls"] == stack.count("calls") == MANY
    assert {event["requestId"] for event in events} == publisher.confirmed
    assert len({event["eventId"] for event in events}) == MANY
    assert stack.rows("SELECT 1 FROM verification_v1.results WHERE event_sent_at IS NULL") == []
    # Also what was on its way to the worker when it stopped: it would stand here again.
    assert site.depth(*QUEUES) == 0


def test_when_the_first_events_meet_a_dead_leader_then_they_are_published_over_a_new_channel(
    site: Site,
) -> None:
    """Worker and publisher keep their nodes, and only the queues' leader dies.

    On RabbitMQ 3.10 and 3.11 the old channel refuses all that it publishes to that queue. It would
    until the node comes back, and it does not come back here.
    """
    assert site.cluster.leader(site.vhost, REQUESTS) is site.leader
    front = site.front(site.follower)
    worker = site.start_worker(front)
    front.stall(only=b"verification-worker publish")
    publisher = site.start_publisher(site.front(site.third), IDS)
    until(lambda: len(publisher.confirmed) >= MANY // 3 and site.stack.count() > 0)
    # The others elect no new leader before they have the event: they stand still.
    others = (site.follower, site.third)
    for node in others:
        node.pause()
    site.leader.kill()
    on_their_way = front.bytes[TO_SERVER]
    front.resume()
    until(lambda: front.bytes[TO_SERVER] > on_their_way)
    for node in others:
        node.resume()
    until(lambda: site.depth("collector") > 0)
    assert worker.said("amqp.publication_refused"), "the event came when a new leader was there"
    assert_all_is_done_once(site, worker, publisher)
    assert site.cluster.leader(site.vhost, REQUESTS) is not site.leader


def test_when_the_node_that_everybody_uses_is_killed_then_another_one_takes_all_over(
    site: Site,
) -> None:
    """The worker and the publisher are connected to the node that leads all queues."""
    front = site.front(site.leader, site.follower)
    worker, publisher = site.start_worker(front), site.start_publisher(front, IDS)
    until(lambda: len(publisher.confirmed) >= MANY // 3)
    site.leader.kill()
    assert_all_is_done_once(site, worker, publisher)
    assert publisher.sender.setbacks > 0
    assert times_said(worker, "amqp.consuming") > 1
