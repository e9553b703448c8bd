"""The broker restarts, dies, takes nothing more, loses a queue, throws us out: all is counted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from local_broker import Broker
from tests.chaos.invariants import finish
from tests.chaos.load import (
    LATENCY,
    PACE,
    Load,
    consumes_again,
    loses_connections,
    times_said,
    under_load,
)
from tests.chaos.proxy import ProxyMaker
from tests.e2e.harness import (
    DEAD,
    REQUESTS,
    RETRY_QUEUES,
    Process,
    Stack,
    await_on_disk,
    free_port,
    request,
    until,
)
from tests.integration.amqp.harness import evaluate, memory_alarm

SLOW_ID_CARD = "119999194912310320"  # the sandbox: a match after 2 s
QUORUM_QUEUES = [REQUESTS, DEAD, "verification.unrouted", *RETRY_QUEUES]


@contextmanager
def node_setting(broker: Broker, name: str, value: int) -> Iterator[None]:
    """Give a setting of the running node another value for a while."""
    before = evaluate(broker, f"application:get_env(rabbit, {name}, x)")
    evaluate(broker, f"application:set_env(rabbit, {name}, {value})")
    try:
        yield
    finally:
        evaluate(broker, f"application:set_env(rabbit, {name}, {before})")


def held(worker: Process) -> float:
    """Return how many messages the worker holds, by its own metric."""
    _, metrics = worker.asked("/metrics")
    (value,) = re.findall(r"^verification_messages_held (\S+)", metrics, re.MULTILINE)
    return float(value)


def test_when_the_broker_restarts_and_is_killed_then_all_is_counted(
    stack: Stack, own_broker: Broker
) -> None:
    for queue in QUORUM_QUEUES:
        await_on_disk(own_broker, stack.vhost, queue)
    load = Load(stack)
    worker = stack.start_worker(**PACE)
    # In order it ends and begins within its Erlang, whose own start is what costs most.
    in_order = partial(evaluate, own_broker)
    restarts: list[tuple[Callable[[], object], Callable[[], object]]] = [
        (lambda: in_order("rabbit:stop()"), lambda: in_order("rabbit:start()")),
        (own_broker.kill, own_broker.start),
    ]
    for times, (end, begin) in enumerate(restarts, 1):
        load.under_way(50)
        stack.forget_connection()
        lost = times_said(worker, "amqp.connection_lost")
        end()
        loses_connections(worker, lost + 2)
        begin()
        consumes_again(worker, times + 1)
    load.all_is_counted(worker)


def test_when_memory_is_short_then_work_goes_on_and_events_come_later(
    stack: Stack, own_broker: Broker
) -> None:
    load = Load(stack)
    stack.provider.play(latency=1.0)  # the load outlasts the order to the broker
    worker = stack.start_worker(**PACE, HTTP_PORT=free_port())
    load.under_way(1)
    with memory_alarm(own_broker):
        stack.provider.play(latency=LATENCY)
        until(lambda: worker.said("amqp.blocked"))
        # Everything that was delivered is called and saved: the prefetch bounds what is held.
        until(lambda: stack.count() == len(load.ids) - stack.depth(REQUESTS))
        assert stack.depth("collector") < stack.count() < len(load.ids)
        assert worker.ready() == (503, "the broker takes no publications: low on memory")
    until(lambda: worker.said("amqp.unblocked"))
    until(lambda: worker.ready()[0] == 200)
    load.all_is_counted(worker)
    assert times_said(worker, "amqp.consuming") == 1
    assert not worker.said("amqp.connection_lost")


def test_when_the_queue_is_deleted_in_flight_then_what_is_paid_is_kept_and_copies_replay(
    stack: Stack,
) -> None:
    load, worker = under_load(stack, HTTP_PORT=free_port())
    stack.channel.queue_delete(REQUESTS)
    consumes_again(worker)
    # What had been delivered is called, saved and announced, though nobody can acknowledge it.
    until(lambda: held(worker) == 0)
    paid = stack.count()
    assert paid < len(load.ids)
    stack.publish_many(map(request, load.ids))
    load.all_is_counted(worker)
    assert sum('"replayed"' in line for line in worker.lines) == paid
    assert not worker.said("amqp.connection_lost")


def test_when_the_broker_closes_a_channel_then_its_messages_are_settled_over_the_next(
    stack: Stack, own_broker: Broker
) -> None:
    with node_setting(own_broker, "channel_tick_interval", 100):
        # A channel keeps the timeout that it was opened with: this one alone has a short one.
        with node_setting(own_broker, "consumer_timeout", 500):
            worker = stack.start_worker(**PACE | {"PREFETCH": "700"})
            consumes_again(worker, 1)
        stack.publish(request("slow", SLOW_ID_CARD))
        load = Load(stack)
        load.ids.append("slow")
        line = until(lambda: worker.said("amqp.consuming_stopped"))
        assert "PRECONDITION_FAILED" in line
        consumes_again(worker)
        # The worker now holds the copies of all. What comes last is claimed after them: only then
        # does a stop not hand copies back.
        stack.publish(request("last"))
        load.ids.append("last")
        load.all_is_counted(worker)
    assert times_said(worker, "amqp.consuming") == 2
    assert not worker.said("amqp.connection_lost")


def test_when_connections_are_lost_while_the_database_is_away_then_nothing_is_multiplied(
    stack: Stack, proxy_to: ProxyMaker
) -> None:
    broker, database = proxy_to(stack.amqp_url), proxy_to(stack.database_url)
    through = {"AMQP_URL": broker.url, "DATABASE_URL": database.url}
    worker = stack.start_worker(**through, HTTP_PORT=free_port())
    database.refuse()
    database.reset()
    ids = [f"once-{number}" for number in range(32)]
    stack.publish_many(map(request, ids))
    until(lambda: stack.depth(REQUESTS) == 0 or worker.said("worker.parked"))
    for lost in range(1, 53):  # the broker gives up what it delivered 50 times
        broker.reset()
        until(lambda lost=lost: times_said(worker, "amqp.connected") == 2 * (lost + 1))  # type: ignore[misc]
        until(
            lambda lost=lost: (  # type: ignore[misc]
                worker.said("worker.parked") or times_said(worker, "amqp.consuming") > lost
            )
        )
        assert held(worker) <= len(ids)
    database.accept()
    accounts = finish(stack, ids, worker)
    assert accounts.count("match") == len(accounts.events) == len(ids)
    assert accounts.charges["calls"] == accounts.charges["charges"] == len(ids)
    assert accounts.dead == []
