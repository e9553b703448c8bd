"""An event has one id however often it is sent, and one way."""

from uuid import UUID

from worker.core.delivery import answer_event_id, result_event_id
from worker.core.outcome import Outcome


def test_the_id_of_a_result_event_never_changes() -> None:
    """Consumers recognise repeats by it, also those that an older release sent."""
    assert result_event_id("onb-1") == result_event_id("onb-1")
    assert result_event_id("onb-1") == "f3021e3c-4e12-5b00-83c8-12e52311357e"
    assert UUID(result_event_id("张三")).version == 5


def test_different_events_have_different_ids() -> None:
    ids = [
        result_event_id("onb-1"),
        result_event_id("onb-2"),
        answer_event_id(Outcome.CONFLICT, b"onb-1"),
        answer_event_id(Outcome.CONFLICT, b"onb-2"),
        answer_event_id(Outcome.REJECTED, b"onb-1"),
    ]
    assert len(set(ids)) == len(ids)
