"""Whatever is delivered and answered: each delivery ends in one settlement, each request once."""

import json
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.verifier import MATCH, fault
from tests.fuzz.messages import deliveries, numbers_in
from tests.unit.pipeline.desk import Desk
from worker.amqp.properties import written_properties
from worker.contract.names import DEAD, RESULTS, RETRY_PREFIXES
from worker.core.delivery import Delivery, Settlement
from worker.core.outcome import CallClass, CallReport, Charged
from worker.ports import LedgerUnavailable

T = TypeVar("T")


# The script ends after so many calls with matches for ever, so that every request ends.
_MOST_FAULTS = 8
# Longer than every delay and lease of the desk: who waits may be tried again.
_LATER = 61.0
# AMQP's smallest frame holds this; a header frame cannot be split, so that more closes us out.
_FRAME = 4_096 - 8

reports = st.just(MATCH) | st.builds(
    fault,
    st.sampled_from([each for each in CallClass if each is not CallClass.ANSWERED]),
    st.sampled_from(Charged),
)


def with_database(work: Callable[[], T]) -> T:
    """Do a step as often as the database fails it."""
    while True:
        try:
            return work()
        except LedgerUnavailable:
            continue


def work(desk: Desk, batch: list[Delivery], token: str) -> list[Settlement]:
    """Take a batch to its settlements; check that no delivery is lost or there twice."""
    admission = with_database(lambda: desk.flow.admit(batch, token))
    placed = [
        *(settlement.delivery for settlement in admission.settlements),
        *(task.asked.delivery for task in admission.tasks),
        *(finished.delivery for finished in admission.finished),
    ]
    assert Counter(map(id, placed)) == Counter(map(id, batch))
    finished = [*admission.finished, *(desk.call(task) for task in admission.tasks)]
    recorded = with_database(lambda: desk.flow.record(finished, ()))
    settlements = [*admission.settlements, *recorded]
    assert Counter(id(each.delivery) for each in settlements) == Counter(map(id, batch))
    return settlements


def check(settlement: Settlement) -> None:
    """Check that pika can publish it and that it says no number of its person."""
    assert settlement.publications
    numbers = numbers_in(settlement.delivery.body)
    said = [json.dumps(dict(settlement.line), default=str)]
    for publication in settlement.publications:
        properties = written_properties(publication)
        assert len(b"".join(properties.encode())) < _FRAME
        assert len(publication.routing_key.encode()) <= 255
        if publication.exchange == RESULTS:
            assert f"{publication.routing_key}{publication.correlation_id or ''}".isprintable()
            event = json.loads(publication.body)
            said.append(json.dumps(event, ensure_ascii=False) + publication.routing_key)
            said.append(str(properties))
    # Retries and dead letters are the message itself, the person in it.
    assert not [number for number in numbers if number in "\n".join(said).upper()]


@given(
    st.lists(deliveries(), min_size=1, max_size=5),
    st.lists(reports, max_size=_MOST_FAULTS),
    st.lists(st.sampled_from(["admit", "lost"]), max_size=3),
    st.integers(0, 2),
)
def test_every_delivery_is_settled_once_and_every_request_ends(
    batch: list[Delivery], script: list[CallReport], faults: list[str], max_in_doubt: int
) -> None:
    desk = Desk(*script, max_in_doubt_calls=max_in_doubt)
    desk.ledger.faults.extend(LedgerUnavailable("away") for each in faults if each == "admit")
    desk.ledger.lose_answers = faults.count("lost")
    rounds = 0
    while batch:
        rounds += 1
        assert rounds < _MOST_FAULTS + 10
        settlements = work(desk, batch, str(rounds))
        for settlement in settlements:
            check(settlement)
        batch = [each.delivery for each in settlements if is_retry(each)]
        assert all(len(each.publications) == 1 for each in settlements if is_retry(each))
        desk.clock.advance(_LATER)
    for row in desk.rows.values():
        assert row.state == "done"
        assert None not in row.calls
        assert row.calls.count(CallClass.IN_DOUBT) <= 1 + max_in_doubt
    assert len(desk.provider.asked) == sum(len(row.calls) for row in desk.rows.values())


def is_retry(settlement: Settlement) -> bool:
    keys = [each.routing_key for each in settlement.publications if each.exchange == ""]
    assert all(key == DEAD or key.startswith(tuple(RETRY_PREFIXES.values())) for key in keys)
    return any(key != DEAD for key in keys)
