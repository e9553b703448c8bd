"""The network between worker and database breaks, stalls or swallows an answer: all is counted."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.chaos.database import READY, is_back, misses_database, stands_still
from tests.chaos.invariants import assert_nothing_lost, settle
from tests.chaos.load import PACE, Load, times_said
from tests.chaos.proxy import TO_CLIENT, Proxy
from tests.e2e.harness import Stack, free_port, until

ProxyMaker = Callable[[str], Proxy]


# The only test that takes its time: a failover does.
FAILOVER_SECONDS = 30.0


def test_when_a_failover_takes_half_a_minute_then_deliveries_wait_and_no_call_is_made_twice(
    stack: Stack, proxy_to: ProxyMaker
) -> None:
    load = Load(stack)
    proxy = proxy_to(stack.database_url)
    away = proxy.through(stack.database_url)
    worker = stack.start_worker(**PACE, DATABASE_URL=away, HTTP_PORT=free_port())
    load.under_way(50)
    proxy.refuse()
    proxy.reset()
    end = time.monotonic() + FAILOVER_SECONDS
    until(lambda: misses_database(worker))
    # What was claimed is called and waits to be recorded; nothing else is begun.
    stands_still(stack)
    rows, calls = stack.count(), stack.provider.charges()["calls"]
    while time.monotonic() < end:
        assert misses_database(worker)
        assert (stack.count(), stack.provider.charges()["calls"]) == (rows, calls)
        time.sleep(0.5)  # nothing to wait for: nothing may happen
    proxy.accept()
    until(lambda: worker.ready() == READY and stack.count() > rows)
    load.all_is_counted(worker)
    # Each thread that missed it says so, and again after thirty tries: not at each of them.
    assert times_said(worker, "database.unavailable") < 10


def test_when_the_network_stalls_and_breaks_then_batches_without_an_answer_are_repeated(
    stack: Stack, proxy_to: ProxyMaker
) -> None:
    load = Load(stack)
    proxy = proxy_to(stack.database_url)
    away = proxy.through(stack.database_url)
    worker = stack.start_worker(**PACE, DATABASE_URL=away, HTTP_PORT=free_port())
    load.under_way(50)
    proxy.stall()
    stands_still(stack)
    until(lambda: misses_database(worker))
    proxy.resume()
    until(lambda: worker.ready() == READY)
    for _ in range(3):
        load.under_way(50)
        proxy.stall()
        stands_still(stack)
        proxy.reset()
        proxy.resume()
        is_back(worker)
    # The worst moment: a commit goes through and its answer does not. The ledger has it, and the
    # worker does not know.
    for step in range(1, 6):
        load.under_way(50)
        proxy.cut_after(1, TO_CLIENT)
        until(lambda step=step: proxy.cuts == step)  # type: ignore[misc]
        is_back(worker)
    load.all_is_counted(worker)


def test_when_told_to_stop_while_the_network_stalls_then_it_leaves_and_another_one_finishes(
    stack: Stack, proxy_to: ProxyMaker
) -> None:
    load = Load(stack)
    proxy = proxy_to(stack.database_url)
    short = PACE | {"CALL_DEADLINE": "1", "CONNECT_TIMEOUT": "0.5", "LEASE_MARGIN": "0.5"}
    worker = stack.start_worker(
        **short, DATABASE_URL=proxy.through(stack.database_url), SHUTDOWN_GRACE="2.5"
    )
    load.under_way(50)
    proxy.stall()
    stands_still(stack)
    assert worker.stop(20) == 1
    assert worker.said('"clean":false')
    proxy.reset()
    second = stack.start_worker(**short)
    settle(stack, load.ids)
    assert second.stop() == 0
    # Calls whose records were under way are in doubt, and repeated once.
    assert assert_nothing_lost(stack, load.ids).count("match") == len(load.ids)
