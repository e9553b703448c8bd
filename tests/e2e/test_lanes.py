"""Live goes before bulk wherever something is scarce, and bulk never stands still."""

from __future__ import annotations

from tests.e2e.harness import BULK, BULK_REQUESTS, DEAD, REQUESTS, Stack, free_port, request, until

RECOVERS = "119999194912310363"
"""The sandbox answers 503 once, then a match."""


def begun(stack: Stack, prefix: str = "", limit: int = 10_000) -> int:
    """Count the calls whose intent is committed, of requests whose ids begin so, of the first."""
    query = """SELECT count(*) FILTER (WHERE starts_with(request_id, %s)) AS n FROM (
      SELECT request_id FROM verification_v1.calls ORDER BY started_at LIMIT %s) AS first"""
    return int(stack.rows(query, prefix, limit)[0]["n"])


def passed(stack: Stack) -> int:
    """Publish five live requests in turn; return how many bulk calls began before one's own.

    It is the third of the five: where the machine stands still meanwhile, more begin than that.
    """
    counts = []
    for number in range(5):
        before = begun(stack, "bulk")
        stack.publish(request(f"live-{number}"))
        until(lambda number=number: begun(stack, f"live-{number}"))  # type: ignore[misc]
        counts.append(begun(stack, "bulk") - before)
    return sorted(counts)[2]


def test_a_live_request_passes_a_backlog_of_bulk_under_a_quota(stack: Stack) -> None:
    """Of ten calls a second bulk takes nine, and holds no more places than a moment has."""
    stack.publish_many((request(f"bulk-{n}") for n in range(2_000)), exchange=BULK)
    for _ in range(2):
        stack.start_worker(PROVIDER_CALLS_PER_MINUTE="600")
    stack.publish(request("live-first"))  # from now on bulk knows that live comes
    until(lambda: begun(stack, "live") == 1)
    before = begun(stack, "bulk")
    until(lambda: begun(stack, "bulk") > before)
    # Behind the backlog it would be two thousand; some begin while it is on its way to us.
    assert passed(stack) <= 40


def test_bulk_keeps_its_share_while_live_wants_all(stack: Stack) -> None:
    stack.start_worker(PROVIDER_CALLS_PER_MINUTE="3000", BULK_SHARE="20")
    until(lambda: stack.consumers(BULK_REQUESTS) == 1)
    stack.publish_many((request(f"bulk-{n}") for n in range(300)), exchange=BULK)
    stack.publish_many(request(f"live-{n}") for n in range(600))
    until(lambda: begun(stack) >= 300)
    # What bulk is owed of the last second it has not asked for yet.
    assert begun(stack, "bulk", 300) >= 60 - 12


def test_callers_are_given_to_live_first(stack: Stack) -> None:
    """Without a quota: two callers, and a provider that takes its time."""
    stack.provider.play(latency=0.2)
    stack.publish_many((request(f"bulk-{n}") for n in range(400)), exchange=BULK)
    stack.start_worker(CONCURRENCY="2")
    until(lambda: begun(stack, "bulk") > 4)
    assert passed(stack) <= 40


def test_bulk_takes_its_own_way_through_retries_dead_letters_and_replay(stack: Stack) -> None:
    stack.environment["RETRY_DELAYS"] = "1s,2s,3s"
    worker = stack.start_worker()
    stack.publish(request("bulk-1", RECOVERS), exchange=BULK)
    stack.publish(b"no request", exchange=BULK, message_id="letter")
    until(lambda: stack.count() == 1 and stack.depth(DEAD) == 1)
    told = stack.command("explain", "bulk-1").stdout
    assert "bulk lane" in told
    assert "verification.bulk.retry." in told
    assert worker.stop() == 0
    stack.command("dead-letters", "replay", "--yes", code=0)
    until(lambda: stack.depth(BULK_REQUESTS) == 1)
    assert stack.depth(REQUESTS) == 0


def test_the_rest_of_the_day_is_kept_for_live(stack: Stack) -> None:
    worker = stack.start_worker(BULK_DAILY_CALL_BUDGET="3", HTTP_PORT=free_port())
    stack.publish_many((request(f"bulk-{n}") for n in range(8)), exchange=BULK)
    until(lambda: worker.said("bulk.budget_spent"))
    until(lambda: stack.consumers(BULK_REQUESTS) == 0)
    for number in range(5):
        stack.publish(request(f"live-{number}"))
    until(lambda: stack.count() == 8)
    assert begun(stack, "bulk") == 3
    assert worker.ready() == (200, "live only: BULK_DAILY_CALL_BUDGET is spent")
    stack.environment["BULK_DAILY_CALL_BUDGET"] = "3"
    assert "sandbox: 8 calls today, 3 of bulk's 3" in stack.command("status").stdout


def test_a_pause_holds_both_lanes(stack: Stack) -> None:
    stack.start_worker()
    until(lambda: stack.consumers(BULK_REQUESTS) == 1)
    for order, expected in ((("pause", "--reason", "a look"), 0), (("resume",), 1)):
        stack.command(*order, code=0)
        for queue in (REQUESTS, BULK_REQUESTS):
            until(lambda queue=queue, expected=expected: stack.consumers(queue) == expected)  # type: ignore[misc]


def test_a_worker_lives_without_the_bulk_lane_and_takes_it_up_when_it_is_there(
    stack: Stack,
) -> None:
    queues = [BULK_REQUESTS, *(f"verification.bulk.retry.{each}s" for each in (1, 2, 3))]
    for queue in queues:
        stack.channel.queue_delete(queue)
    stack.channel.exchange_delete(BULK)
    worker = stack.start_worker(TOPOLOGY="check", HTTP_PORT=free_port())
    stack.publish(request("live-1"))
    until(lambda: stack.count() == 1)
    assert worker.ready()[0] == 200
    check = stack.command("topology", "check")
    told = check.stdout + check.stderr
    assert check.returncode == 1
    assert [each for each in (BULK, *queues) if f"{each} is missing" not in told] == []
    until(lambda: worker.said("amqp.consuming_stopped"))
    lines = [each for each in worker.lines if "amqp.consuming_stopped" in each]
    assert len(lines) == 1
    assert "verification-worker topology apply" in lines[0]
    stack.command("topology", "apply", code=0)
    stack.publish(request("bulk-1"), exchange=BULK)
    until(lambda: stack.count() == 2)
