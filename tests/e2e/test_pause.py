"""A pause holds for every worker, wherever it stands, and loses nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from local_ports import free_ports
from tests.chaos.proxy import Proxy
from tests.e2e.harness import ID_CARD, REQUESTS, House, request, until
from worker.core.fleet import NOTICE_SECONDS

if TYPE_CHECKING:
    from tests.e2e.harness import Process

WHY = "the provider moves its data centre"
MESSAGES = 2_000


def pause(house: House, *options: str) -> float:
    """Pause, and return when the command had returned."""
    done = house.command("pause", "--reason", WHY, *options)
    assert done.returncode == 0, done.stderr
    assert WHY in done.stderr
    return time.monotonic()


def resume(house: House) -> None:
    done = house.command("resume")
    assert done.returncode == 0, done.stderr
    assert WHY in done.stderr


def calls(house: House) -> int:
    return int(house.provider.charges()["calls"])


def queued(house: House) -> int:
    """Count what waits, delay queues included."""
    queues = [REQUESTS, *(f"verification.retry.{delay}s" for delay in (1, 2, 3))]
    return sum(house.depth(queue) for queue in queues)


def is_parked(worker: Process) -> bool:
    """Ask the worker itself; it is ready all the while."""
    return worker.ready() == (200, f"parked: paused ({WHY})")


def assert_quiet(house: House, since: float) -> None:
    """Assert that no call begins from `NOTICE_SECONDS` after a moment on, for two more seconds."""
    time.sleep(max(0.0, since + NOTICE_SECONDS - time.monotonic()))
    before = calls(house)
    time.sleep(2.0)
    assert calls(house) == before


def assert_all_done_once(house: House, messages: int) -> None:
    until(lambda: house.count() == messages, 90)
    until(lambda: house.depth("collector") == messages)
    assert calls(house) == house.provider.charges()["charges"] == house.count("calls") == messages
    assert {row["outcome"] for row in house.results().values()} == {"match"}


def test_two_workers_under_load_stop_in_time_lose_nothing_and_go_on(house: House) -> None:
    house.provider.play(latency=0.1)
    house.publish_many(request(f"pause-{each}") for each in range(MESSAGES))
    workers = [house.start_worker(CONCURRENCY="8") for _ in range(2)]
    until(lambda: calls(house) > 200)
    assert_quiet(house, pause(house))
    assert all(worker.said("worker.parked") for worker in workers)
    done = house.count()
    assert 200 < done < MESSAGES
    assert calls(house) == done, "what was under way is finished, and nothing is in doubt"
    until(lambda: house.depth(REQUESTS) == MESSAGES - done)
    counted = house.rows("SELECT request_id FROM verification_v1.open_requests WHERE attempts > 0")
    assert counted == []
    workers[0].kill()
    resume(house)
    assert_all_done_once(house, MESSAGES)
    assert workers[1].said("worker.resumed")
    assert workers[1].stop() == 0


def test_wait_returns_when_no_call_is_under_way(house: House) -> None:
    house.provider.play(act="slow")
    house.publish_many(request(f"slow-{each}") for each in range(40))
    house.start_worker(CONCURRENCY="4")
    until(lambda: calls(house) >= 4)
    pause(house, "--wait")
    begun, ended = calls(house), house.count()
    assert begun == ended
    assert house.rows("SELECT 1 FROM verification_v1.calls WHERE finished_at IS NULL") == []
    assert_quiet(house, time.monotonic() - NOTICE_SECONDS)


def test_wait_says_when_it_waited_in_vain(house: House) -> None:
    house.provider.play(act="hang_before_charge")
    house.publish(request("hangs"))
    house.start_worker(CALL_DEADLINE="30", READ_TIMEOUT="30")
    until(lambda: calls(house) == 1)
    done = house.command("pause", "--wait", "--timeout", "1")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1,
        "1 call still under way after 1 s; the pause stands",
    )


def test_a_worker_that_starts_while_paused_starts_parked_and_may_be_killed(house: House) -> None:
    house.publish_many(request(f"parked-{each}") for each in range(50))
    began = pause(house)
    port = str(free_ports(1)[0])
    first = house.launch_worker(HTTP_PORT=port)
    until(lambda: first.said("worker.parked"))
    until(lambda: is_parked(first))
    assert_quiet(house, began)
    assert calls(house) == 0
    first.kill()
    until(lambda: queued(house) == 50)
    assert house.count("open_requests") == house.count() == 0
    second = house.launch_worker(HTTP_PORT=port)
    until(lambda: second.said("worker.parked"))
    assert second.stop() == 0
    third = house.launch_worker(HTTP_PORT=port)
    until(lambda: third.said("worker.parked"))
    resume(house)
    assert_all_done_once(house, 50)
    until(lambda: third.ready() == (200, "ok"))


def test_a_pause_that_a_cut_off_worker_could_not_see_holds_when_the_database_is_back(
    house: House,
) -> None:
    """Nothing is claimed before somebody has looked: the first claim would be a call too late."""
    parts = urlsplit(house.database_url)
    with Proxy(str(parts.hostname), int(parts.port or 0)) as proxy:
        worker = house.start_worker(DATABASE_URL=proxy.through(house.database_url))
        house.publish(request("before"))
        until(lambda: house.count() == 1)
        proxy.refuse()
        proxy.reset()
        cut_at = time.monotonic()
        house.publish_many(request(f"late-{each}") for each in range(50))
        until(lambda: worker.said("database.unavailable"))
        pause(house)
        # Until then what the worker saw last holds, and it may claim by it.
        time.sleep(max(0.0, cut_at + NOTICE_SECONDS - time.monotonic()))
        proxy.accept()
        until(lambda: worker.said("worker.parked"))
        assert_quiet(house, time.monotonic() - NOTICE_SECONDS)
        assert calls(house) == 1
        resume(house)
        assert_all_done_once(house, 51)


def test_a_reason_must_be_fit_to_be_shown(house: House) -> None:
    for words in (f"as {ID_CARD} asked", "", "x" * 201, "two\nlines"):
        done = house.command("pause", "--reason", words)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert ID_CARD not in done.stderr
    assert house.command("resume").stderr == "nothing was paused\n"
