"""Live before bulk: who is next of those that wait for the same."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

import pytest

from tests.fakes.messages import deliver
from tests.unit.pipeline.desk import Desk
from tests.unit.pipeline.stack import Stack
from worker.core.claims import Postponed, Shortage
from worker.core.request import Lane
from worker.pipeline.lanes import Aside, LaneQueue, Lanes


@dataclass(frozen=True)
class One:
    """Something in a lane."""

    lane: Lane
    number: int = 0


def some(lane: Lane, count: int) -> list[One]:
    return [One(lane, number) for number in range(count)]


def lanes(share: int, *ones: Iterable[One]) -> Lanes[One]:
    made: Lanes[One] = Lanes(share)
    for each in chain(*ones):
        made.append(each)
    return made


@pytest.mark.parametrize("share", [1, 10, 33, 90])
def test_while_both_wait_bulk_gets_its_share_to_the_turn(share: int) -> None:
    both = lanes(share, some(Lane.BULK, 1000), some(Lane.LIVE, 1000))
    turns = [both.popleft().lane for _ in range(1000)]
    for first in range(0, 1000, 100):
        assert turns[first : first + 100].count(Lane.BULK) == share
    assert turns[0] is (Lane.BULK if share >= 100 else Lane.LIVE)


def test_a_lane_alone_gets_every_turn_and_owes_nothing_for_it() -> None:
    alone = lanes(10, some(Lane.BULK, 50))
    assert [alone.popleft().number for _ in range(50)] == list(range(50))
    for each in [*some(Lane.BULK, 9), *some(Lane.LIVE, 9)]:
        alone.append(each)
    assert {alone.popleft().lane for _ in range(9)} == {Lane.LIVE}


def test_each_lane_keeps_its_order_and_what_is_put_back_comes_first() -> None:
    made = lanes(10, some(Lane.LIVE, 3), some(Lane.BULK, 3))
    taken = [made.popleft() for _ in range(6)]
    made.append(One(Lane.LIVE))
    for each in reversed(taken):
        made.appendleft(each)
    assert [each.number for each in made.live] == [0, 1, 2, 0]
    assert [each.number for each in made.bulk] == [0, 1, 2]
    assert len(made) == len(list(made)) == 7


def test_a_live_one_overtakes_the_bulk_that_waits_for_a_taker() -> None:
    queue: LaneQueue[One] = LaneQueue(10)
    for each in some(Lane.BULK, 5):
        queue.put(each)
    assert queue.bulk_waits
    queue.put(One(Lane.LIVE))
    queue.end()
    taken = [queue.get() for _ in range(7)]
    assert taken == [One(Lane.LIVE), *some(Lane.BULK, 5), None]


def test_a_live_request_is_called_before_the_bulk_that_is_claimed_already() -> None:
    """It waits for no more than one free claim, and for the next free caller.

    There is one caller: of two the slower may ask later, though it took its request before.
    """
    with Stack(callers=1) as stack:
        stack.provider.answers.clear()
        stack.give(*(f"bulk-{number}" for number in range(8)), lane=Lane.BULK)
        stack.wait_for_rows(2)  # one is called, one waits for the caller
        stack.give("live")
        stack.provider.answers.set()
        stack.broker.wait_for(9)
    asked = [each.request_id for each in stack.provider.asked]
    assert asked.index("live") <= 2
    assert len(asked) == 9


def test_bulk_stops_alone_when_its_budget_is_spent_and_goes_on_by_itself() -> None:
    desk = Desk()
    spent = Postponed(60.0, Shortage.BULK_BUDGET)
    for name in ("bulk-1", "bulk-2"):
        desk.ledger.instead[name] = lambda _: spent
    with Stack(desk) as stack:
        stack.give("bulk-1", "bulk-2", lane=Lane.BULK)
        stack.broker.wait_for(2)
        stack.broker.wait_until_bulk_allowed(False)
        stack.give("late", lane=Lane.BULK)
        stack.give("live")
        stack.broker.wait_for(4)
        places = stack.where_to()
        assert places.pop("live").endswith(".match")
        assert set(places) == {"bulk-1", "bulk-2", "late"}
        assert all(each.startswith("verification.bulk.retry.") for each in places.values())
        assert stack.broker.wanted == []  # the worker itself is not parked
        stack.advance(60.0)
        stack.broker.wait_until_bulk_allowed(False, True)
        stack.give("next", lane=Lane.BULK)
        stack.broker.wait_for(5)
    assert stack.where_to()["next"].endswith(".match")


def test_what_one_lanes_channel_returned_is_not_the_other_lanes() -> None:
    """The generations of their channels have nothing to do with each other."""
    stack = Stack()
    stack.give("live-1", "live-2")
    stack.give("bulk-1", lane=Lane.BULK)
    stack.pipeline.returned(1, Lane.BULK)
    assert [stack.pipeline.held_of(lane) for lane in Lane] == [2, 0]
    with stack:
        stack.broker.wait_for(2)
        assert stack.stop()
    assert set(stack.where_to()) == {"live-1", "live-2"}


NO_PLACE = Postponed(2.0, Shortage.CALLS_PER_MINUTE, apart=0.5)


def test_who_waits_for_a_place_is_asked_for_again_when_one_comes_free() -> None:
    aside = Aside(60.0)
    bulk = [deliver(b"", lane=Lane.BULK) for _ in range(3)]
    live = deliver(b"")
    aside.put([(each, NO_PLACE) for each in bulk], now=100.0)
    aside.put([(live, Postponed(0.2, Shortage.CALLS_PER_MINUTE, apart=0.5))], now=100.0)
    assert (aside.take_due(100.1), aside.next_at) == ([], 100.2)
    assert aside.take_due(102.0) == [bulk[0], live]
    assert (len(aside), aside.next_at) == (2, 102.5)
    assert aside.take_due(103.5) == bulk[1:]
    assert (len(aside), aside.next_at) == (0, None)


def test_who_finds_no_place_again_keeps_its_turn_and_the_others_wait_as_long() -> None:
    aside = Aside(60.0)
    first, *others = [deliver(b"") for _ in range(3)]
    aside.put([(each, NO_PLACE) for each in (first, *others)], now=100.0)
    assert aside.take_due(102.0) == [first]
    aside.put([(first, NO_PLACE)], now=102.4)
    assert (aside.take_due(104.0), aside.next_at) == ([], 104.4)
    assert aside.take_due(104.4) == [first]
    assert aside.take_due(105.5) == others


def test_everybody_is_asked_for_once_a_minute_whatever_the_places_are_apart() -> None:
    aside = Aside(60.0)
    waiting = [deliver(b"") for _ in range(5)]
    rare = Postponed(50.0, Shortage.CALLS_PER_MINUTE, apart=60.0)
    aside.put([(each, rare) for each in waiting], now=0.0)
    assert aside.take_due(50.0) == waiting[:1]
    aside.put([(waiting[0], rare)], now=50.0)
    assert aside.take_due(60.0) == waiting[1:]
    aside.drop(lambda each: each is waiting[0])
    assert len(aside) == 0
