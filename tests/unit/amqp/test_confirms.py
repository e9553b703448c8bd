"""A publication waits for its confirm and leaves once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.amqp.confirms import Confirms


def confirms_of(*items: str) -> Confirms[str]:
    confirms: Confirms[str] = Confirms()
    for item in items:
        confirms.sent(item)
    return confirms


def test_a_single_confirm_takes_one() -> None:
    confirms = confirms_of("a", "b", "c")
    assert confirms.take(2, multiple=False) == ["b"]
    assert len(confirms) == 2


def test_a_multiple_confirm_takes_all_up_to_it_in_the_order_of_sending() -> None:
    confirms = confirms_of("a", "b", "c", "d")
    confirms.take(2, multiple=False)
    assert confirms.take(3, multiple=True) == ["a", "c"]
    assert confirms.take(4, multiple=True) == ["d"]


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


def test_what_waits_when_the_channel_is_gone_keeps_its_order() -> None:
    confirms = confirms_of("a", "b", "c")
    confirms.take(2, multiple=False)
    assert confirms.take_all() == ["a", "c"]
    assert len(confirms) == 0


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
    left += confirms.take_all()
    assert sorted(left) == list(range(1, sent + 1))
