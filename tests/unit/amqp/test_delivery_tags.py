"""An acknowledgement covers what is finished, once; a publication leaves once."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.amqp.delivery_tags import Ack, AckBook, Confirms

ONE = Ack(1, multiple=False)


@pytest.mark.parametrize(
    ("delivered", "rounds"),
    [
        ("12345", [([], [])]),
        ("12345", [([1], [ONE])]),  # one needs no `multiple`
        ("12345", [([1, 2, 3], [Ack(3, multiple=True)])]),
        ("12345", [([3, 2, 1], [Ack(3, multiple=True)])]),  # in any order
        # 1 is still being worked on
        ("12345", [([2, 3], [Ack(2, multiple=False), Ack(3, multiple=False)])]),
        # up to the gap, then singly
        ("12345", [([1, 2, 4], [Ack(2, multiple=True), Ack(4, multiple=False)])]),
        ("12345", [([1, 1], [ONE]), ([1], [])]),  # finished twice is acknowledged once
        ("12345", [([7], [])]),  # never delivered
        # The second tag is not 3: that is gone, the broker would answer 406.
        ("12345", [([3], [Ack(3, multiple=False)]), ([1, 2], [Ack(2, multiple=True)])]),
        # pika rejected 3 and 4 unseen while a cancel was under way: no gap is left
        ("125", [([1, 2, 5], [Ack(5, multiple=True)])]),
        ("125", [([1, 2], [Ack(2, multiple=True)])]),  # and none ends on what was handed back
    ],
)
def test_finished_deliveries_are_acknowledged_in_few_frames(
    delivered: str, rounds: list[tuple[list[int], list[Ack]]]
) -> None:
    book = AckBook(epoch=1)
    for tag in map(int, delivered):
        book.delivered(tag)
    for finished, acks in rounds:
        for tag in finished:
            book.finish(tag)
        assert book.take() == acks
        assert book.take() == []


@given(
    order=st.permutations(range(1, 13)),
    takes=st.sets(st.integers(0, 11)),
    unseen=st.sets(st.integers(1, 12)),
)
def test_every_finished_tag_is_acknowledged_once_and_no_other_is(
    order: Sequence[int], takes: set[int], unseen: set[int]
) -> None:
    book = AckBook(epoch=1)
    for tag in range(1, 13):
        if tag not in unseen:
            book.delivered(tag)
    last = max(set(range(1, 13)) - unseen, default=0)
    open_at_the_broker = set(range(1, last + 1)) - unseen
    finished: set[int] = set()

    def take() -> None:
        for ack in book.take():
            assert ack.tag in open_at_the_broker
            covered = (
                {tag for tag in open_at_the_broker if tag <= ack.tag} if ack.multiple else {ack.tag}
            )
            assert covered <= finished
            open_at_the_broker.difference_update(covered)

    for number, tag in enumerate(order):
        if tag not in unseen:
            book.finish(tag)
            finished.add(tag)
        if number in takes:
            take()
    take()
    assert not open_at_the_broker


def confirms_of(*items: str) -> Confirms[str]:
    confirms: Confirms[str] = Confirms()
    for item in items:
        confirms.sent(item)
    return confirms


def test_a_returned_publication_is_not_confirmed_by_the_confirm_that_follows() -> None:
    confirms = confirms_of("a", "b")
    assert confirms.withdraw(lambda item: item == "b") == "b"
    assert confirms.take(2, multiple=True) == ["a"]


def test_of_equal_publications_the_earliest_is_withdrawn() -> None:
    confirms = confirms_of("a", "x", "x")
    assert confirms.withdraw(lambda item: item == "x") == "x"
    assert confirms.take(2, multiple=False) == []
    assert confirms.take(3, multiple=False) == ["x"]


def test_a_return_that_matches_nothing_withdraws_nothing() -> None:
    confirms = confirms_of("a")
    assert confirms.withdraw(lambda item: item == "z") is None
    assert len(confirms) == 1


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=40), st.integers(0, 30))
def test_each_publication_leaves_once_whatever_the_broker_confirms(
    frames: list[tuple[int, bool]], sent: int
) -> None:
    confirms: Confirms[int] = Confirms()
    for number in range(1, sent + 1):
        confirms.sent(number)
    left: list[int] = []
    for number, multiple in frames:
        taken = confirms.take(number, multiple=multiple)
        assert taken == sorted(taken)
        assert all(one <= number for one in taken)
        left += taken
    waiting = confirms.take_all()
    assert waiting == sorted(waiting)
    assert len(confirms) == 0
    left += waiting
    assert sorted(left) == list(range(1, sent + 1))
