"""What the broker gives up by its delivery limit comes back, and no other dead letter does."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from tests.e2e.harness import until
from tests.fakes.clock import START, FakeClock
from tests.integration.amqp.harness import TOPOLOGY, Bare, Log, ids
from worker.amqp import declare
from worker.amqp.broker_errors import AccessRefused
from worker.amqp.dead_letter_queue import DeadLetterQueue
from worker.contract.names import DEAD, REQUESTS, retry_queue, rfc3339
from worker.deadletters.reading import LetterReader
from worker.maintenance.chores import Chore
from worker.maintenance.given_up import given_up_requests
from worker.telemetry.logs import LogEvent

BROKER: Any = SimpleNamespace(connected=True, blocked=False)


class Counted:
    """The chore and what it counted."""

    def __init__(self, url: str) -> None:
        self.count = 0
        self.oldest = 0.0
        metrics: Any = self
        self.chore: Chore = given_up_requests(url, BROKER, FakeClock(), metrics)

    def returned(self) -> None:
        """Count one."""
        self.count += 1

    def oldest_dead_letter(self, seconds: float) -> None:
        """Keep an age."""
        self.oldest = seconds


def give_up(bare: Bare, depth: int) -> None:
    """Take all requests and lose the channel until the broker has given them up."""
    while bare.count(DEAD) < depth:
        with bare.channel.connection.channel() as channel:
            while channel.basic_get(REQUESTS)[0] is not None:
                pass


def headers(bare: Bare, queue: str) -> list[tuple[str, dict[str, Any]]]:
    taken = []
    while (found := bare.channel.basic_get(queue, auto_ack=True))[0] is not None:
        own = {name: value for name, value in found[1].headers.items() if name[:2] != "x-"}
        taken.append((found[1].message_id, own))
    return taken


def test_what_was_given_up_comes_back_each_time_with_a_count(bare: Bare, amqp_url: str) -> None:
    declare.apply(amqp_url, TOPOLOGY)
    bare.publish(["letter-1"], routing_key=DEAD, headers={"reason": "in_doubt"})
    bare.publish(ids(3), correlation_id="theirs")
    counted = Counted(amqp_url)
    for times in (1, 2):
        give_up(bare, depth=3 + times)
        if times == 1:
            bare.publish(["letter-2"], routing_key=DEAD, headers={"reason": "not_json"})
        assert counted.chore.run_once() == 3
        assert counted.count == 3 * times
        assert bare.count(REQUESTS) == 3
    assert headers(bare, REQUESTS) == [(each, {"returned": 2}) for each in ids(3)]
    assert [one for one, _ in bare.take_all(DEAD, 2)] == ["letter-1", "letter-2"]
    assert counted.chore.run_once() == 0


def test_a_run_returns_a_hundred_at_most_and_the_next_one_the_others(
    bare: Bare, amqp_url: str
) -> None:
    declare.apply(amqp_url, TOPOLOGY)
    bare.publish(ids(103))
    give_up(bare, depth=103)
    chore = Counted(amqp_url).chore
    assert [chore.run_once(), chore.run_once(), chore.run_once()] == [chore.limit, 3, 0]
    assert sorted(one for one, _ in headers(bare, REQUESTS)) == sorted(ids(103))


def test_it_is_known_as_given_up_whatever_happened_to_it_before(bare: Bare, amqp_url: str) -> None:
    """It came by a retry queue, and its publisher has a reason of its own."""
    declare.apply(amqp_url, TOPOLOGY)
    bare.publish(
        ["r-1"], routing_key=retry_queue(1800), expiration="1", headers={"reason": "signup"}
    )
    until(lambda: bare.count(REQUESTS) == 1)
    give_up(bare, depth=1)
    with DeadLetterQueue.opened(amqp_url) as queue, queue.hold() as held:
        (letter,) = held.letters()
    assert LetterReader(START.date()).read(letter).reason == "delivery_limit"
    assert Counted(amqp_url).chore.run_once() == 1
    assert bare.count(REQUESTS) == 1


def test_who_may_not_read_the_dead_letters_says_so_once(
    monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    asked: list[str] = []

    def refuse(url: str) -> None:
        asked.append(url)
        raise AccessRefused("read access to queue 'verification.dead' refused")

    monkeypatch.setattr(DeadLetterQueue, "opened", refuse)
    chore = Counted("amqp://").chore
    assert [chore.run_once(), chore.run_once()] == [0, 0]
    assert [line["event"] for line in log.lines] == [LogEvent.DEAD_LETTERS_REFUSED]
    assert asked == ["amqp://"]


def test_the_age_of_the_oldest_dead_letter_is_shown_until_it_is_gone(
    bare: Bare, amqp_url: str
) -> None:
    declare.apply(amqp_url, TOPOLOGY)
    for days, name in ((3, "old"), (1, "new")):
        seen = {"reason": "in_doubt", "firstSeen": rfc3339(START - timedelta(days=days))}
        bare.publish([name], routing_key=DEAD, headers=seen)
    bare.publish(["without a time"], routing_key=DEAD, headers={"reason": "not_json"})
    counted = Counted(amqp_url)
    counted.chore.run_once()
    assert counted.oldest == 3 * 86_400
    assert len(bare.take_all(DEAD, 3)) == 3
    counted.chore.run_once()
    assert counted.oldest == 0
