"""A pause holds for every worker, wherever it stands, and loses nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from local_ports import free_ports
from tests.chaos.proxy import Proxy
from tests.e2e.harness import ID_CARD, REQUESTS, Stack, request, until
from worker.core.operations import NOTICE_SECONDS

if TYPE_CHECKING:
    from tests.e2e.harness import Process

WHY = "the provider moves its data centre"
MESSAGES = 2_000


def pause(stack: Stack, *options: str) -> float:
    """Pause, and return when the command had returned."""
    done = stack.command("pause", "--reason", WHY, *options)
    assert done.returncode == 0, done.stderr
    assert WHY in done.stderr
    return time.monotonic()


def resume(stack: Stack) -> None:
    done = stack.command("resume")
    assert done.returncode == 0, done.stderr
    assert WHY in done.stderr


def calls(stack: Stack) -> int:
    return int(stack.provider.charges()["calls"])


def queued(stack: Stack) -> int:
    """Count what waits, delay queues included."""
    queues = [REQUESTS, *(f"verification.retry.{delay}s" for delay in (1, 2, 3))]
    return sum(stack.depth(queue) for queue in queues)


def is_parked(worker: Process) -> bool:
    """Ask the worker itself; it is ready all the while."""
    return worker.ready() == (200, f"parked: paused ({WHY})")


def assert_quiet(stack: Stack, since: float) -> None:
    """Assert that no call begins from `NOTICE_SECONDS` after a moment on, for two more seconds."""
    time.sleep(max(0.0, since + NOTICE_SECONDS - time.monotonic()))
    before = calls(stack)
    time.sleep(2.0)
    assert calls(stack) == before


def assert_all_done_once(stack: Stack, messages: int) -> None:
    until(lambda: stack.count() == messages, 90)
    until(lambda: stack.depth("collector") == messages)
    assert calls(stack) == stack.provider.charges()["charges"] == stack.count("calls") == messages
    assert {row["outcome"] for row in stack.results().values()} == {"match"}


def test_two_workers_under_load_stop_in_time_lose_nothing_and_go_on(stack: Stack) -> None:
    stack.provider.play(latency=0.1)
    stack.publish_many(request(f"pause-{each}") for each in range(MESSAGES))
    workers = [stack.start_worker(CONCURRENCY="8") for _ in range(2)]
    until(lambda: calls(stack) > 200)
    assert_quiet(stack, pause(stack))
    assert all(worker.said("worker.parked") for worker in workers)
    done = stack.count()
    assert 200 < done < MESSAGES
    assert calls(stack) == done, "what was under way is finished, and nothing is in doubt"
    until(lambda: stack.depth(REQUESTS) == MESSAGES - done)
    counted = stack.rows("SELECT request_id FROM verification_v1.open_requests WHERE attempts > 0")
    assert counted == []
    workers[0].kill()
    resume(stack)
    assert_all_done_once(stack, MESSAGES)
    assert workers[1].said("worker.resumed")
    assert workers[1].stop() == 0


def test_wait_returns_when_no_call_is_under_way(stack: Stack) -> None:
    stack.provider.play(act="slow")
    stack.publish_many(request(f"slow-{each}") for each in range(40))
    stack.start_worker(CONCURRENCY="4")
    until(lambda: calls(stack) >= 4)
    pause(stack, "--wait")
    begun, ended = calls(stack), stack.count()
    assert begun == ended
    assert stack.rows("SELECT 1 FROM verification_v1.calls WHERE finished_at IS NULL") == []
    assert_quiet(stack, time.monotonic() - NOTICE_SECONDS)


def test_wait_says_when_it_waited_in_vain(stack: Stack) -> None:
    stack.provider.play(act="hang_before_charge")
    stack.publish(request("hangs"))
    stack.start_worker(CALL_DEADLINE="30", READ_TIMEOUT="30")
    until(lambda: calls(stack) == 1)
    done = stack.command("pause", "--wait", "--timeout", "1")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1,
        "1 call still under way after 1 s; the pause stands",
    )


def test_a_worker_that_starts_while_paused_starts_parked_and_may_be_killed(stack: Stack) -> None:
    stack.publish_many(request(f"parked-{each}") for each in range(50))
    began = pause(stack)
    port = str(free_ports(1)[0])
    first = stack.launch_worker(HTTP_PORT=port)
    until(lambda: first.said("worker.parked"))
    until(lambda: is_parked(first))
    assert_quiet(stack, began)
    assert calls(stack) == 0
    first.kill()
    until(lambda: queued(stack) == 50)
    assert stack.count("open_requests") == stack.count() == 0
    second = stack.launch_worker(HTTP_PORT=port)
    until(lambda: second.said("worker.parked"))
    assert second.stop() == 0
    third = stack.launch_worker(HTTP_PORT=port)
    until(lambda: third.said("worker.parked"))
    resume(stack)
    assert_all_done_once(stack, 50)
    until(lambda: third.ready() == (200, "ok"))


def test_a_pause_that_a_cut_off_worker_could_not_see_holds_when_the_database_is_back(
    stack: Stack,
) -> None:
    """Nothing is claimed before somebody has looked: the first claim would be a call too late."""
    parts = urlsplit(stack.database_url)
    with Proxy(str(parts.hostname), int(parts.port or 0)) as proxy:
        worker = stack.start_worker(DATABASE_URL=proxy.through(stack.database_url))
        stack.publish(request("before"))
        until(lambda: stack.count() == 1)
        proxy.refuse()
        proxy.reset()
        cut_at = time.monotonic()
        stack.publish_many(request(f"late-{each}") for each in range(50))
        until(lambda: worker.said("database.unavailable"))
        pause(stack)
        # Until then what the worker saw last holds, and it may claim by it.
        time.sleep(max(0.0, cut_at + NOTICE_SECONDS - time.monotonic()))
        proxy.accept()
        until(lambda: worker.said("worker.parked"))
        assert_quiet(stack, time.monotonic() - NOTICE_SECONDS)
        assert calls(stack) == 1
        resume(stack)
        assert_all_done_once(stack, 51)


def test_a_reason_must_be_fit_to_be_shown(stack: Stack) -> None:
    for words in (f"as {ID_CARD} asked", "", "x" * 201, "two\nlines"):
        done = stack.command("pause", "--reason", words)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert ID_CARD not in done.stderr
    assert stack.command("resume").stderr == "nothing was paused\n"
