"""The network to the broker stalls, resets, delays, cuts and refuses: all is counted."""

from __future__ import annotations

import pytest

from tests.chaos.invariants import finish
from tests.chaos.load import PACE, Load, consumes_again, loses_connections, times_said, under_load
from tests.chaos.proxy import TO_CLIENT, TO_SERVER, Proxy, ProxyMaker
from tests.e2e.harness import REQUESTS, Process, Stack, until

# A second between heartbeats: pika then notices a silent peer after 6 to 12 s, the broker after 2.
QUICK = "heartbeat=1&socket_timeout=2&stack_timeout=2"
# Nobody is taken for silent: a machine may stand still for longer than two usual heartbeats.
PATIENT = "heartbeat=300&socket_timeout=60&stack_timeout=60"
# A dead worker's requests may be taken over after 3.5 s.
SHORT_LEASE = {"CALL_DEADLINE": "1", "CONNECT_TIMEOUT": "0.5", "LEASE_MARGIN": "0.5"}
CONSUME, PUBLISH = b"verification-worker consume", b"verification-worker publish"


@pytest.fixture
def network(stack: Stack, proxy_to: ProxyMaker) -> Proxy:
    """Give the network between this stack's workers and the broker."""
    return proxy_to(stack.amqp_url)


def begin(stack: Stack, network: Proxy, query: str = "", **settings: str) -> tuple[Load, Process]:
    """Start a load and a worker behind the network; return when the load is under way."""
    return under_load(stack, AMQP_URL=f"{network.url}?{query}", **settings)


def connected(worker: Process) -> int:
    """Count its connections for live so far; once a minute a chore has two others for a moment."""
    return times_said(worker, "amqp.connected")


def test_when_the_worker_dies_after_a_reset_then_no_message_was_acknowledged_for_another(
    stack: Stack, network: Proxy
) -> None:
    load, worker = begin(stack, network, PREFETCH="256", **SHORT_LEASE)
    network.reset(only=CONSUME)
    consumes_again(worker)
    # What it held is with it twice now: the first copies settle with the old channel's numbers.
    load.under_way(50)
    worker.kill()
    finish(stack, load.ids, stack.start_worker(**PACE, **SHORT_LEASE))


def test_when_the_worker_dies_with_events_on_their_way_then_another_announces_them(
    stack: Stack, network: Proxy
) -> None:
    load, worker = begin(stack, network, **SHORT_LEASE)
    network.stall(only=PUBLISH)
    until(lambda: stack.count() - stack.depth("collector") >= 40)
    worker.kill()
    finish(stack, load.ids, stack.start_worker(**PACE, **SHORT_LEASE))


# A delivery is 300 bytes and more, an event 700: these numbers end within a frame.
CUTS = [
    (CONSUME, TO_CLIENT, 10_011),  # within a delivery
    (CONSUME, TO_SERVER, 107),  # within an acknowledgement
    (PUBLISH, TO_SERVER, 20_011),  # within an event
    (PUBLISH, TO_CLIENT, 107),  # within a confirm
]


def test_when_the_network_stalls_shortly_then_resets_and_cuts_within_a_frame_then_all_is_counted(
    stack: Stack, network: Proxy
) -> None:
    load, worker = begin(stack, network, PATIENT)
    network.stall()
    until(lambda: not stack.count("open_requests"))
    assert stack.count() < len(load.ids)
    network.resume()
    load.under_way(50)
    assert connected(worker) == 2, "so short a stall they outlive"
    for times in (1, 2, 3):
        load.under_way(50)
        network.reset()
        loses_connections(worker, 2 * times)
        until(lambda times=times: connected(worker) == 2 * (times + 1))  # type: ignore[misc]
        consumes_again(worker, times + 1)
    lost, made = times_said(worker, "amqp.connection_lost"), connected(worker)
    assert (lost, made) == (6, 8)
    for number, (connection, direction, n_bytes) in enumerate(CUTS, 1):
        load.under_way(50)
        network.cut_after(n_bytes, direction, only=connection)
        until(lambda number=number: network.cuts == number)  # type: ignore[misc]
        assert stack.count() < len(load.ids)
        until(lambda number=number: connected(worker) == made + number)  # type: ignore[misc]
    load.all_is_counted(worker)
    assert times_said(worker, "amqp.connection_lost") == lost + len(CUTS)
    assert connected(worker) == made + len(CUTS)


def test_when_the_network_stalls_one_connection_then_missed_heartbeats_end_it(
    stack: Stack, network: Proxy
) -> None:
    load, worker = begin(stack, network, QUICK)
    for connection in (CONSUME, PUBLISH):
        load.under_way(50)
        lost, made = times_said(worker, "amqp.connection_lost"), connected(worker)
        network.stall(only=connection)
        loses_connections(worker, lost + 1)
        assert stack.count() < len(load.ids)
        network.resume()
        until(lambda made=made: connected(worker) > made)  # type: ignore[misc]
    load.all_is_counted(worker)


def test_when_one_workers_network_stalls_then_another_worker_ends_its_work_without_a_charge(
    stack: Stack, network: Proxy
) -> None:
    load, stalled = begin(stack, network, QUICK)
    network.stall()
    # It calls and saves what it holds, and can tell nobody.
    until(lambda: not stack.count("open_requests"))
    ended = stack.count()
    assert ended < len(load.ids)
    # The broker misses its heartbeats and hands the messages to the other.
    other = stack.start_worker(**PACE)
    until(lambda: times_said(other, "message.settled") and '"replayed"' in "".join(other.lines))
    until(lambda: stack.count() == len(load.ids))
    until(lambda: stack.depth(REQUESTS) == 0)
    network.resume()
    consumes_again(stalled)
    load.all_is_counted(stalled, other)


def test_when_the_network_is_slow_then_nothing_is_repeated(stack: Stack, network: Proxy) -> None:
    load, worker = begin(stack, network, PATIENT, PREFETCH="256")
    network.delay(0.2)
    load.under_way(50)
    load.all_is_counted(worker)
    assert connected(worker) == 2
    assert not worker.said('"replayed"')
    assert times_said(worker, "message.settled") == len(load.ids)


def test_when_the_broker_cannot_be_reached_at_the_start_then_the_worker_waits_for_it(
    stack: Stack, network: Proxy
) -> None:
    load = Load(stack, 100)
    network.stall()
    worker = stack.launch_worker(**PACE, AMQP_URL=f"{network.url}?{QUICK}")
    loses_connections(worker, 2)
    network.resume()
    consumes_again(worker, 1)
    load.all_is_counted(worker)
