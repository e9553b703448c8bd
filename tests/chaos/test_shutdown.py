"""Leaving: in order where that is possible, in time where it is not."""

from __future__ import annotations

import json

import psycopg

from local_broker import Broker
from local_database import Database
from tests.chaos.crashing_worker import SECRET
from tests.chaos.invariants import finish
from tests.chaos.load import PACE, under_load
from tests.e2e.harness import Process, Stack, request, until

SHORT = {"CALL_DEADLINE": "1", "CONNECT_TIMEOUT": "0.5", "LEASE_MARGIN": "1", "SHUTDOWN_GRACE": "3"}
# A call that a busy machine delays is none in doubt.
UNHURRIED = {"CALL_DEADLINE": "9", "CONNECT_TIMEOUT": "3", "SHUTDOWN_GRACE": "13"}


def test_after_the_order_no_call_begins_and_all_are_paid_once_by_the_next_worker(
    stack: Stack,
) -> None:
    stack.provider.play(latency=10)  # the order comes before the first answer
    ids = [f"late-{number}" for number in range(12)]
    stack.publish_many(map(request, ids))
    worker = stack.start_worker(CONCURRENCY="4")
    until(lambda: stack.provider.charges()["calls"] == 4)
    # As many again are claimed, and wait for a caller.
    until(lambda: stack.count("open_requests") == 8)
    assert worker.stop() == 0
    assert stack.provider.charges()["calls"] == stack.count() == 4
    uncounted = "SELECT calls FROM verification_v1.open_requests WHERE calls + attempts > 0"
    assert stack.rows(uncounted) == []
    stack.provider.play()
    accounts = finish(stack, ids, stack.start_worker())
    assert accounts.charges["charges"] == stack.count("calls") == len(ids)


def test_when_the_broker_stands_still_at_the_end_then_the_worker_leaves_and_nothing_is_lost(
    stack: Stack, own_broker: Broker
) -> None:
    load, worker = under_load(stack, **UNHURRIED)
    own_broker.pause()
    assert worker.stop() == 1
    assert worker.said('"clean":false')
    # However long confirms were waited for, it took its leave of the database, which answers.
    with psycopg.connect(stack.database_url) as database:
        assert database.execute("SELECT name FROM verification.worker").fetchall() == []
    own_broker.resume()
    load.all_is_counted(stack.start_worker(**PACE))


def test_when_the_database_stands_still_at_the_end_then_the_worker_leaves_and_nothing_is_lost(
    stack: Stack, own_database: Database
) -> None:
    load, worker = under_load(stack, **SHORT)
    own_database.pause()
    assert worker.stop() == 1
    own_database.resume()
    second = stack.start_worker(**PACE, **SHORT)
    until(lambda: stack.count() == len(load.ids))
    # What was called and could not be saved is in doubt, and was called once more.
    doubts = stack.rows("SELECT 1 FROM verification_v1.calls WHERE class = 'in_doubt'")
    charges = stack.provider.charges()["charges"]
    assert len(load.ids) <= charges <= len(load.ids) + len(doubts)
    assert stack.count("open_requests") == 0
    assert second.stop() == 0


def leave(stack: Stack, how: str, **settings: str) -> list[str]:
    """Stop a worker whose way out fails; return what it said."""
    stack.collect_events()
    stack.publish(request("before"))
    environment = {**stack.environment, **settings}
    worker = Process.start([how, "1"], environment, module="tests.chaos.crashing_worker")
    stack.workers.append(worker)
    until(lambda: stack.depth("collector") == 1)
    assert worker.stop() == 1
    assert stack.count() == 1
    return worker.lines


def test_when_the_way_out_hangs_then_the_worker_leaves_when_the_grace_is_over_and_says_where(
    stack: Stack,
) -> None:
    said = leave(stack, "way_out_hangs", **SHORT)
    last = json.loads(said[-1])
    assert (last["event"], last["reason"]) == ("worker.stopped", "the grace is over")
    assert any("bootstrap/worker.py" in place for place in last["threads"]["MainThread"])


def test_when_the_way_out_fails_then_the_worker_leaves_at_once_and_quotes_nothing(
    stack: Stack,
) -> None:
    said = leave(stack, "way_out_fails")
    failed, last = map(json.loads, said[-2:])
    assert (failed["event"], failed["error"]) == ("worker.failed", "RuntimeError")
    assert (last["event"], last["clean"]) == ("worker.stopped", False)
    assert "reason" not in last, "it waited until the grace was over"
    assert SECRET not in "".join(said)
