"""What people leave running to look: events as they come, and the status again and again."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.harness import ID_CARD, RESULTS, Process, Stack, request, until

MISMATCH = "119999194912310013"


@contextmanager
def followed(stack: Stack, *arguments: str) -> Iterator[Process]:
    """Run a command that goes on, and end it by Ctrl-C."""
    running = Process.start([*arguments], stack.environment)
    try:
        yield running
        running.popen.send_signal(signal.SIGINT)
        assert running.ended() == 0, running.lines
    finally:
        running.kill()


def printed(tail: Process) -> list[str]:
    """Return what it said after it had begun to listen."""
    first, *others = tail.lines
    assert "listening" in first
    return others


def test_a_tail_prints_the_events_that_are_meant_and_nobody_misses_one(working: Stack) -> None:
    with followed(working, "tail", "--outcome", "mismatch", "--json") as tail:
        until(lambda: tail.said("listening"))
        working.channel.basic_publish(RESULTS, "default.mismatch", b"no event of ours")
        working.publish(request("hit"), reply_to="somebody")
        working.publish(request("miss", MISMATCH, context={"applicant": 42}), reply_to="somebody")
        until(lambda: tail.said("requestId"))
    (event,) = map(json.loads, printed(tail))
    assert (event["requestId"], event["context"]) == ("miss", {"applicant": 42})
    bodies = [body for _, _, body in working.take()]
    collected = {json.loads(body)["requestId"] for body in bodies if body.startswith(b"{")}
    assert collected == {"hit", "miss"}


def test_a_tail_for_people_has_a_line_for_each_event(working: Stack) -> None:
    with followed(working, "tail", "--source", "desk") as tail:
        until(lambda: tail.said("listening"))
        working.publish(request("elsewhere"))
        working.publish(request("rejected", "1", source="desk"))
        until(lambda: tail.said("invalid_request"))
    (line,) = printed(tail)
    assert line.split()[1:] == "rejected charged no desk rejected invalid_request".split()
    assert ID_CARD not in line


def test_the_status_is_looked_at_again_and_again(working: Stack) -> None:
    with followed(working, "status", "--watch", "--every", "0.1") as status:
        until(lambda: sum("not paused" in line for line in status.lines) > 1)
        working.command("pause", "--reason", "a look")
        until(lambda: status.said("PAUSED"))
    assert not status.said("\x1b")
