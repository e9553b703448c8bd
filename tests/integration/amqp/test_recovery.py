"""Whatever happens to the broker, everything settles in the end and nothing is lost."""

import threading
from urllib.parse import urlsplit

import pytest

from local_stack import Servers
from tests.integration.amqp.conftest import Consuming, Start
from tests.integration.amqp.harness import (
    PATIENCE,
    TOPOLOGY,
    Bare,
    Log,
    acknowledged,
    answered,
    cut,
    ids,
    worker_connections,
)
from worker.amqp import declare
from worker.amqp.consumer import CONSUMING, CONSUMING_STOPPED
from worker.amqp.publisher import PUBLICATION_REFUSED, PUBLISH_CHANNEL_CLOSED
from worker.amqp.reconnecting import CONNECTION_LOST
from worker.amqp.session import Session
from worker.contract.names import DEAD, REQUESTS, RESULTS, UNROUTED, retry_queue
from worker.core.delivery import Publication

RETRY = retry_queue(1800)


def wait_until_ready(session: Session, log: Log) -> None:
    """Wait until both connections have declared everything.

    On 3.10.8 deleting an at-least-once queue while somebody declares it can bring down
    `rabbit_fifo_dlx_sup`, and then no such queue of the node works until the node is restarted.
    """
    log.wait_for_line(CONSUMING)
    published = threading.Event()
    session.publish([Publication(RESULTS, "ready", b"{}", message_id="ready")], published.set)
    assert published.wait(PATIENCE)


def test_a_deleted_queue_is_declared_again_and_consumed(start: Start, bare: Bare, log: Log) -> None:
    session, sink = start()
    wait_until_ready(session, log)
    bare.channel.queue_delete(REQUESTS)
    line = log.wait_for_line(CONSUMING_STOPPED)
    assert "cancelled" in line["problem"]
    assert "queue deleted, or (from 4.3 on) a message held" in line["problem"]
    log.wait_for_line(CONSUMING, epoch=2)
    bare.publish(ids(1))
    assert sink.wait_for_deliveries(1)[0].epoch == 2


def test_a_missing_queue_is_waited_for_where_the_worker_declares_nothing(
    start: Start, bare: Bare, amqp_url: str, log: Log
) -> None:
    session, sink = start(topology=None)
    line = log.wait_for_line(CONSUMING_STOPPED, kind="NotProvisioned")
    assert line["advice"] == "not provisioned: run verification-worker topology apply"
    assert not session.consuming
    declare.apply(amqp_url, TOPOLOGY)
    bare.publish(ids(1))
    sink.wait_for_deliveries(1)


def test_a_queue_with_other_arguments_is_named_and_waited_for(
    start: Start, bare: Bare, log: Log
) -> None:
    bare.channel.queue_declare(DEAD, durable=True)
    start()
    line = log.wait_for_line(CONSUMING_STOPPED, kind="TopologyDiffers")
    assert DEAD in line["problem"]
    bare.channel.queue_delete(DEAD)
    log.wait_for_line(CONSUMING)


def test_a_publication_that_no_queue_takes_is_repeated_until_one_does(
    start: Start, bare: Bare, amqp_url: str, log: Log
) -> None:
    declare.apply(amqp_url, TOPOLOGY)
    bare.channel.queue_delete(RETRY)
    bare.publish(ids(2))
    session, sink = start(topology=None)
    stuck, free = sink.wait_for_deliveries(2)
    session.settle([answered(stuck, "", RETRY), answered(free, RESULTS, "a.match")])
    log.wait_for_line(PUBLICATION_REFUSED, routing_key=RETRY, setbacks=2)
    assert [one.delivery for one in sink.wait_for_settled(1)] == [free]  # the others go on
    assert session.unconfirmed == 1
    bare.declare(RETRY)
    sink.wait_for_settled(2)
    assert [one for one, _ in bare.take_all(RETRY)] == [stuck.message_id]
    session.close()
    assert bare.count(REQUESTS) == 0


@pytest.mark.parametrize(
    ("exchange", "routing_key", "queue"), [("", RETRY, RETRY), (RESULTS, "a.match", UNROUTED)]
)
def test_what_was_deleted_is_declared_again(
    start: Start, bare: Bare, log: Log, exchange: str, routing_key: str, queue: str
) -> None:
    session, sink = start()
    wait_until_ready(session, log)
    if exchange:
        bare.channel.exchange_delete(exchange)
    else:
        bare.channel.queue_delete(queue)
    bare.publish(ids(1))
    session.settle([answered(one, exchange, routing_key) for one in sink.wait_for_deliveries(1)])
    if exchange:
        log.wait_for_line(PUBLISH_CHANNEL_CLOSED, kind="NotProvisioned")
    sink.wait_for_settled(1)
    assert "m-0" in dict(bare.take_all(queue))


def test_an_acknowledgement_of_an_older_epoch_is_dropped(
    consuming: Consuming, log: Log, amqp_url: str, servers: Servers
) -> None:
    if (management := servers.broker.management_url) is None:
        pytest.skip("needs the management interface")
    session, sink = consuming(1)
    (old,) = sink.wait_for_deliveries(1)
    cut(management, worker_connections(management, amqp_url))
    new = sink.wait_for_deliveries(2)[1]
    assert (new.message_id, new.epoch, new.redelivered) == (old.message_id, old.epoch + 1, True)
    session.settle([acknowledged(old)])
    sink.wait_for_settled(1)
    session.settle([acknowledged(new)])
    sink.wait_for_settled(2)
    assert not [one for one in log.lines if one["event"] == CONSUMING_STOPPED]


@pytest.mark.parametrize(
    ("url", "kind", "problem"),
    [
        (
            "amqp://guest:hidden@127.0.0.1:1/",
            "BrokerUnavailable",
            "nobody listens at host and port",
        ),
        (None, "AccessRefused", "the broker refuses user or password"),
    ],
)
def test_a_broker_that_is_down_or_refuses_us_is_tried_again_with_a_clear_line(
    start: Start, amqp_url: str, log: Log, url: str | None, kind: str, problem: str
) -> None:
    url = url or amqp_url.replace(f":{urlsplit(amqp_url).password}@", ":hidden@")
    session, _ = start(url=url)
    line = log.wait_for_line(CONNECTION_LOST, 3, kind=kind)
    assert problem in line["problem"]
    assert line["broker"] == url.rpartition("@")[2]
    assert problem in str(session.problem)
    session.close()
    assert "hidden" not in str(log.lines)
    assert "guest" not in str(log.lines)


def test_closing_while_the_broker_is_frozen_is_bounded(
    start: Start, servers: Servers, log: Log
) -> None:
    if not servers.private:
        pytest.skip("the broker is not ours to freeze")
    session, _ = start()
    log.wait_for_line(CONSUMING)
    servers.broker.pause()  # type: ignore[union-attr]
    try:
        connecting, _ = start()
        connecting.close(timeout=0.5)
        session.close(timeout=0.5)
    finally:
        servers.broker.resume()  # type: ignore[union-attr]
