"""A pause holds for every worker, wherever it stands, and loses nothing."""

from __future__ import annotations

import signal

from tests.chaos.proxy import Proxy
from tests.e2e.harness import ID_CARD, Process, Stack, free_port, request, until
from worker.core.operations import NOTICE_SECONDS

WHY = "the provider moves its data centre"
MESSAGES = 1_000
STOOD = """SELECT 1 FROM verification.fleet_control
            WHERE now() - paused_at > make_interval(secs => %s)"""


def pause(stack: Stack, *options: str) -> None:
    done = stack.command("pause", "--reason", WHY, *options, code=0)
    assert WHY in done.stderr


def resume(stack: Stack) -> None:
    done = stack.command("resume", code=0)
    assert WHY in done.stderr


def calls(stack: Stack) -> int:
    return int(stack.provider.charges()["calls"])


def wait_parked(worker: Process) -> None:
    """Ask the worker itself; it is ready all the while."""
    until(lambda: worker.said("worker.parked"))
    until(lambda: worker.ready() == (200, f"parked: paused ({WHY})"))


def wait_quiet(stack: Stack, waiting: int) -> int:
    """Wait until no worker has a message or takes one, and return the calls that were made."""
    until(lambda: stack.consumers() == 0)
    until(lambda: stack.waiting() == waiting)
    assert stack.rows("SELECT 1 FROM verification_v1.calls WHERE finished_at IS NULL") == []
    return calls(stack)


def assert_all_done_once(stack: Stack, messages: int) -> None:
    until(lambda: stack.count() == messages)
    until(lambda: stack.depth("collector") == messages)
    assert calls(stack) == stack.provider.charges()["charges"] == stack.count("calls") == messages
    assert {*stack.outcomes().values()} == {"match"}


def test_two_workers_under_load_stop_in_time_lose_nothing_and_go_on(stack: Stack) -> None:
    stack.provider.play(latency=0.5)  # half a minute's work
    stack.publish_many(request(f"pause-{each}") for each in range(MESSAGES))
    workers = [stack.start_worker(CONCURRENCY="8") for _ in range(2)]
    until(lambda: calls(stack) > 100)
    pause(stack)
    for worker in workers:
        until(lambda worker=worker: worker.said("worker.parked"))  # type: ignore[misc]
    until(lambda: stack.consumers() == 0)
    until(lambda: stack.count() == calls(stack))
    done = stack.count()
    assert 100 < done < MESSAGES
    # What was under way is finished, nothing is in doubt, and the rest is given back.
    assert wait_quiet(stack, MESSAGES - done) == done
    counted = stack.rows("SELECT request_id FROM verification_v1.open_requests WHERE attempts > 0")
    assert counted == []
    workers[0].kill()
    assert calls(stack) == done
    stack.provider.play()
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
    assert wait_quiet(stack, 40 - ended) == ended


def test_wait_says_when_it_waited_in_vain(stack: Stack) -> None:
    stack.provider.play(act="hang_before_charge")
    stack.publish(request("hangs"))
    stack.start_worker(CALL_DEADLINE="30", READ_TIMEOUT="30")
    until(lambda: calls(stack) == 1)
    done = stack.command("pause", "--wait", "--timeout", "1", code=1)
    told = done.stderr.splitlines()[-1]
    assert told == "1 call still under way after 1 s; the pause stands"


def test_a_worker_that_starts_while_paused_starts_parked_and_may_be_killed(stack: Stack) -> None:
    stack.publish_many(request(f"parked-{each}") for each in range(50))
    pause(stack)
    first = stack.launch_worker(HTTP_PORT=free_port())
    wait_parked(first)
    assert wait_quiet(stack, 50) == 0
    first.kill()
    assert wait_quiet(stack, 50) == 0
    assert stack.count("open_requests") == stack.count() == 0
    second = stack.launch_worker(HTTP_PORT=free_port())
    wait_parked(second)
    resume(stack)
    assert_all_done_once(stack, 50)
    until(lambda: second.ready() == (200, "ok"))
    pause(stack)
    wait_parked(second)
    assert second.stop() == 0


def test_a_pause_that_a_cut_off_worker_could_not_see_holds_when_the_database_is_back(
    stack: Stack,
) -> None:
    """Nothing is claimed before somebody has looked: the first claim would be a call too late."""
    with Proxy(stack.database_url) as proxy:
        worker = stack.start_worker(DATABASE_URL=proxy.url)
        stack.have_answered(request("before"))
        proxy.refuse()
        proxy.reset()
        stack.publish_many(request(f"late-{each}") for each in range(50))
        until(lambda: worker.said("database.unavailable"))
        pause(stack)
        # Until the pause has stood so long, what the worker saw last holds, and it may claim by it.
        until(lambda: stack.as_owner(STOOD, NOTICE_SECONDS))
        proxy.accept()
        until(lambda: worker.said("worker.parked"))
        assert wait_quiet(stack, 50) == 1
        resume(stack)
        assert_all_done_once(stack, 51)


def test_a_worker_that_stood_still_when_a_pause_was_ordered_begins_no_call(stack: Stack) -> None:
    stack.provider.play(latency=0.5)
    stack.publish_many(request(f"frozen-{each}") for each in range(100))
    worker = stack.start_worker(CONCURRENCY="4")
    until(lambda: calls(stack) > 8)
    worker.popen.send_signal(signal.SIGSTOP)
    pause(stack)
    until(lambda: stack.as_owner(STOOD, NOTICE_SECONDS))
    begun = calls(stack)
    worker.popen.send_signal(signal.SIGCONT)
    until(lambda: worker.said("worker.parked"))
    assert wait_quiet(stack, 100 - begun) == begun
    resume(stack)
    stack.provider.play()
    assert_all_done_once(stack, 100)


def test_a_reason_must_be_fit_to_be_shown(stack: Stack) -> None:
    for words in (f"as {ID_CARD} asked", "", "x" * 201, "two\nlines"):
        assert ID_CARD not in stack.refused("pause", "--reason", words)
    assert stack.command("resume").stderr == "nothing was paused\n"
