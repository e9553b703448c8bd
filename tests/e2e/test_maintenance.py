"""What a crash leaves behind, put in order by the chores on a real broker and database."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

from local_broker import Broker
from tests.e2e.harness import DEAD, Stack, request, until
from worker.amqp.session import Session
from worker.contract.names import REQUESTS
from worker.core.request import Mode
from worker.maintenance.lapsed import LapsedLeases
from worker.maintenance.relay import Relay
from worker.store.engine import open_engine
from worker.store.leases import PostgresLeases
from worker.store.outbox import PostgresOutbox

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from local_stack import Servers
    from worker.core.delivery import Delivery, Settlement

SLOW = "119999194912310320"
HANGS = "119999194912310283"


class Nobody:
    """A sink for a queue that is empty."""

    def deliver(self, delivery: Delivery) -> None:
        """Take nothing."""
        raise AssertionError("no message was left")

    def settled(self, settlements: Sequence[Settlement]) -> None:
        """Learn nothing."""


@contextmanager
def relay(stack: Stack) -> Iterator[Relay]:
    """Give the relay of one more replica."""
    engine = open_engine(stack.database_url, "relay")
    session = Session(stack.amqp_url, prefetch=1, topology=None, on_failure=lambda _error: None)
    session.start(Nobody())
    until(lambda: session.connected)
    try:
        yield Relay(PostgresOutbox(engine, Mode.SANDBOX), session)
    finally:
        session.close()
        engine.dispose()


def lose_the_message(stack: Stack) -> None:
    """Let the message of a killed worker be gone, when the broker has it back."""
    until(lambda: stack.depth(REQUESTS) == 1)
    stack.channel.queue_purge(REQUESTS)


def test_when_a_worker_dies_before_its_event_is_out_and_its_message_is_gone_then_it_is_sent_once(
    stack: Stack, servers: Servers
) -> None:
    assert isinstance(servers.broker, Broker), "this test kills its broker: unset AMQP_URL"
    stack.channel.queue_declare("replies", durable=True)
    stack.channel.queue_bind("replies", "verification.results", "replies.onboarding")
    worker = stack.start_worker()
    stack.publish(
        request("orphan", SLOW, context={"applicant": 42}),
        reply_to="replies.onboarding",
        correlation_id="correlation-7",
    )
    until(lambda: stack.provider.charges()["calls"] == 1)
    # Not frozen: a frozen one would find the event in its socket when it wakes up.
    servers.broker.await_on_disk(stack.vhost, REQUESTS)
    stack.forget_connection()
    servers.broker.kill()
    until(lambda: stack.count() == 1)
    worker.kill()
    servers.broker.start()
    lose_the_message(stack)
    assert stack.take("replies") == []

    with relay(stack) as sender:
        stack.as_owner("UPDATE verification.request SET completed_at = now()")
        assert sender.run_once() == 0  # it is young: its message might bring it
        stack.pass_minutes(2)
        assert [sender.run_once(), sender.run_once()] == [1, 0]
    ((method, properties, body),) = stack.take("replies")
    assert method.routing_key == "replies.onboarding"
    assert properties.correlation_id == "correlation-7"
    event = json.loads(body)
    assert (event["requestId"], event["outcome"], event["charged"]) == ("orphan", "match", "yes")
    assert event["context"] == {"applicant": 42}
    assert event["eventId"] == properties.message_id
    (row,) = stack.results().values()
    assert row["event_sent_at"] is not None
    assert stack.provider.charges()["charges"] == 1

    stack.events()
    stack.start_worker()
    stack.publish(request("orphan", SLOW, context={"applicant": 42}))
    until(lambda: stack.depth("collector") == 1)
    assert [each["eventId"] for each in stack.events()] == [event["eventId"]]


def test_when_a_worker_dies_in_a_call_that_may_not_be_repeated_then_the_request_fails_anyway(
    stack: Stack,
) -> None:
    """Its message is gone, too: tests/chaos/test_crashes.py has the death with its message."""
    worker = stack.start_worker(MAX_IN_DOUBT_CALLS="0")
    stack.publish(request("in-doubt", HANGS))
    until(lambda: stack.provider.charges()["calls"] == 1)
    worker.kill()
    lose_the_message(stack)
    stack.pass_minutes(12)
    engine = open_engine(stack.database_url, "leases")
    leases = PostgresLeases(engine, Mode.SANDBOX, max_in_doubt_calls=0, abandon_after=None)
    chore = LapsedLeases(leases)
    assert [chore.run_once(), chore.run_once(), chore.run_once()] == [0, 1, 0]
    engine.dispose()
    stack.pass_minutes(2)
    with relay(stack) as sender:
        assert sender.run_once() == 1
    (event,) = stack.events()
    assert (event["outcome"], event["error"]["kind"]) == ("failed", "in_doubt")
    assert (event["charged"], event["calls"]) == ("unknown", 1)
    assert stack.provider.charges()["calls"] == 1
    assert stack.depth(DEAD) == 0
