"""A replay is killed at any moment: every message is in a queue or finished, and paid once."""

from __future__ import annotations

import json

import pytest

from tests.e2e.harness import DEAD, REQUESTS, Process, Stack, request, until
from tests.e2e.letters import put

LETTERS = 8
REPLAY = ["dead-letters", "replay", "--yes", "--rate", "1000"]


def put_letters(stack: Stack, number: int) -> set[str]:
    """Put so many unfinished requests among the dead letters; return their ids."""
    names = {f"onb-{each}" for each in range(number)}
    for name in sorted(names):
        put(stack, request(name), message_id=name)
    return names


def standing(stack: Stack, queue: str) -> list[str]:
    """Return the ids of what waits in a queue, and put it back."""
    channel = stack.channel.connection.channel()
    found = []
    while (got := channel.basic_get(queue))[0] is not None:
        found.append(json.loads(got[2])["requestId"])
    channel.close()
    until(lambda: stack.depth(queue) == len(found))
    return found


def finish(stack: Stack, names: set[str]) -> None:
    """Replay the rest, let a worker do all of it, and count."""
    stack.command(*REPLAY, code=0)
    assert standing(stack, DEAD) == []
    worker = stack.start_worker()
    until(lambda: stack.count() == len(names))
    until(lambda: stack.depth(REQUESTS) == 0)
    assert worker.stop() == 0
    assert stack.outcomes() == dict.fromkeys(names, "match")
    assert stack.provider.charges()["charges"] == len(names)
    assert standing(stack, DEAD) == []


def crash(stack: Stack, step: str, nth: int) -> None:
    """Kill a replay there; return when the broker has taken back what it held."""
    words = [f"replay_{step}", str(nth), *REPLAY]
    replay = Process.start(words, stack.environment, module="tests.chaos.crashing_worker")
    stack.workers.append(replay)
    assert replay.ended(120.0) == -9, replay.lines
    until(lambda: not stack.consumers(DEAD))


# None of these moves all letters, so the next one finds some.
EARLY = [
    ("read", 1),
    ("letting_go", 1),  # of the letters that were only read
    ("unpublished", 1),
    ("published", 1),
    ("published", 5),
    ("confirmed", 1),
    ("acked", 4),
]


def test_when_killed_then_every_message_is_in_a_queue(stack: Stack) -> None:
    names = put_letters(stack, 3 * LETTERS)
    for kills, (step, nth) in enumerate(EARLY, 1):
        crash(stack, step, nth)
        assert_all_stand_somewhere(stack, names, kills)
    finish(stack, names)


@pytest.mark.parametrize(
    ("step", "nth"), [("confirmed", LETTERS), ("acked", LETTERS), ("letting_go", 2)]
)
def test_when_killed_at_the_end_then_every_message_is_in_a_queue(
    stack: Stack, step: str, nth: int
) -> None:
    names = put_letters(stack, LETTERS)
    crash(stack, step, nth)
    assert_all_stand_somewhere(stack, names, 1)
    finish(stack, names)


def assert_all_stand_somewhere(stack: Stack, names: set[str], kills: int) -> None:
    dead, waiting = standing(stack, DEAD), standing(stack, REQUESTS)
    assert {*dead, *waiting} == names
    # One letter at a time is between its confirm and its acknowledgement.
    assert len(dead) + len(waiting) <= len(names) + kills
    assert sorted(set(dead)) == sorted(dead)


def test_when_killed_again_and_again_beside_a_worker_then_nothing_is_lost(stack: Stack) -> None:
    names = put_letters(stack, 40)
    worker = stack.start_worker()
    for finished in (1, 8, 20, 21):
        replay = Process.start([*REPLAY[:-1], "20"], stack.environment)
        until(lambda finished=finished: stack.count() >= finished)  # type: ignore[misc]
        replay.kill()
        until(lambda: not stack.consumers(DEAD))
    assert worker.stop() == 0
    lost = names - set(stack.results()) - {*standing(stack, DEAD), *standing(stack, REQUESTS)}
    assert lost == set()
    finish(stack, names)
