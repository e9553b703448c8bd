"""Starting, stopping, commands: what the people who run it meet."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import psutil
import pytest

from tests.e2e.harness import (
    CHECKOUT,
    DEAD,
    REQUESTS,
    Stack,
    request,
    until,
)
from worker.core.delivery import MOST_RETURNS


def test_a_second_signal_leaves_at_once_and_loses_nothing(stack: Stack) -> None:
    hangs = "119999194912310275"
    stack.publish(request("hanging", hangs))
    worker = stack.start_worker()
    until(lambda: stack.provider.charges()["calls"] == 1)
    worker.popen.send_signal(signal.SIGINT)
    until(lambda: worker.said("worker.stopping"))
    worker.popen.send_signal(signal.SIGINT)
    assert worker.ended() == 1
    until(lambda: stack.depth(REQUESTS) == 1)


def test_a_request_that_the_broker_gave_up_too_often_ends_as_failed_and_is_not_paid(
    working: Stack,
) -> None:
    working.publish(request("may-be-called"), headers={"returned": MOST_RETURNS})
    working.publish(request("given-up"), headers={"returned": MOST_RETURNS + 1})
    until(lambda: working.is_sent("may-be-called", "given-up"))
    results = working.results()
    assert results["may-be-called"]["outcome"] == "match"
    ended = results["given-up"]
    assert (ended["outcome"], ended["error_kind"], ended["calls"]) == ("failed", "message_lost", 0)
    ((_, letter, body),) = working.take(DEAD)
    assert json.loads(body) == request("given-up")
    assert letter.headers["reason"] == "message_lost"
    assert {event["outcome"] for event in working.events()} == {"match", "failed"}


def test_what_needs_no_call_is_answered_while_the_calls_of_the_minute_are_used_up(
    stack: Stack,
) -> None:
    """As after the database's clock was set back by an hour."""
    stack.as_owner(
        """INSERT INTO verification.call_quota (mode, next_call_at, day)
           VALUES ('sandbox', now() + interval '1 hour', current_date)"""
    )
    worker = stack.start_worker(PROVIDER_CALLS_PER_MINUTE="600")
    stack.publish(request("waits"))
    until(lambda: worker.said("message.postponed"))
    stack.publish(request("wrong", id_card="1"))
    stack.publish(b"nothing", reply_to="asked")
    until(lambda: stack.depth("collector") == 2)
    assert stack.results()["wrong"]["outcome"] == "rejected"
    assert stack.provider.charges()["calls"] == stack.count("open_requests") == 0
    assert worker.stop() == 0


@pytest.mark.parametrize("skew", [-600, 600])
def test_a_deadline_is_judged_by_the_databases_clock_however_wrong_the_workers_is(
    stack: Stack, skew: int
) -> None:
    stack.provider.play(latency=12)  # long enough to publish the others meanwhile
    shim = str(CHECKOUT / "tests" / "chaos" / "skewed_clock")
    worker = stack.start_worker(CONCURRENCY="1", PYTHONPATH=shim, CLOCK_SKEW_SECONDS=str(skew))
    stack.publish(request("called"))
    until(lambda: stack.provider.charges()["calls"] == 1)
    stack.provider.play()

    def inside(seconds: float) -> str:
        return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()

    # Claimed in time, and then one call too late: it is not called.
    stack.publish(request("waits", expiresAt=inside(2)))
    stack.publish(request("too-late", expiresAt=inside(-1)))
    stack.publish(request("in-time", expiresAt=inside(300)))
    until(lambda: stack.depth("collector") == 4)
    expired = {"waits": "expired", "too-late": "expired"}
    assert stack.outcomes() == {"called": "match", "in-time": "match", **expired}
    assert stack.provider.charges()["calls"] == stack.count("calls") == 2
    assert worker.stop() == 0


def test_submit_prints_the_result_of_one_request(working: Stack) -> None:
    done = working.command("submit", "-", text=json.dumps(request("by-hand")), code=0)
    assert json.loads(done.stdout)["outcome"] == "match"
    # 384 bytes: more than AMQP carries in a property.
    rare = working.command("submit", "-", text=json.dumps(request("号" * 128)))
    assert json.loads(rare.stdout)["requestId"] == "号" * 128
    flags = ["--check-type", "2", "--name", "张三", "--id-card", "119999194912310013"]
    assert json.loads(working.command("submit", *flags).stdout)["outcome"] == "mismatch"
    rejected = working.command("submit", *flags[:-1], "119999194912310014", code=1)
    assert json.loads(rejected.stdout)["outcome"] == "rejected"
    twice = working.refused("submit", "-", "--request-id", "x", text=json.dumps(request("by-hand")))
    assert "--request-id: the file has" in twice
    working.refused("submit", "--timeout", "1")


@pytest.mark.parametrize("fork", [True, False])
def test_what_a_test_has_started_ends_with_its_runner_even_if_that_is_killed(fork: bool) -> None:
    script = f"""from tests.e2e.harness import Process
print(Process.start(["sandbox", "--port", "0"], {{}}, fork={fork}).popen.pid, flush=True)"""
    paths = {"PYTHONPATH": f"{CHECKOUT / 'deploy' / 'local'}"}
    runner = subprocess.Popen(
        [sys.executable, "-c", f"{script}; input()"],
        cwd=CHECKOUT,
        env=os.environ | paths,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with runner:
        assert runner.stdout is not None
        started = int(runner.stdout.readline())
        assert not has_ended(started)
        runner.kill()
    until(lambda: has_ended(started))


def has_ended(pid: int) -> bool:
    """Tell whether a process is gone; whose child it was may not have asked how it ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
