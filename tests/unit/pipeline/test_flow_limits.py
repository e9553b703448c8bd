"""Shared limits of calls, and dead letters that a crash may have lost."""

from __future__ import annotations

import pytest

from tests.fakes.messages import deliver, request
from tests.fakes.verifier import fault
from tests.unit.pipeline.desk import PUNCTUAL_WITHIN, Desk, targets
from worker.contract.names import DEAD
from worker.core.claims import Shortage
from worker.core.outcome import CallClass, Charged
from worker.store.quota import Quota

RETRY_5S = [("", "verification.retry.5s")]


def test_what_the_budget_leaves_over_is_postponed_and_nothing_has_happened_for_it() -> None:
    desk = Desk(quota=Quota(None, 1, 4.0))
    first, second = deliver(request("first")), deliver(request("second"))
    admission = desk.admit(first, second)
    assert [task.asked.delivery for task in admission.tasks] == [first]
    ((delivery, postponed),) = admission.postponed
    assert delivery is second
    assert postponed.shortage is Shortage.DAILY_BUDGET
    assert "second" not in desk.book.rows


def test_calls_of_a_limited_minute_have_their_places_and_are_made_there_or_not_at_all() -> None:
    desk = Desk(quota=Quota(120, None, 4.0))
    admission = desk.admit(deliver(request("first")), deliver(request("second")))
    first, second = admission.tasks
    assert first.not_before < second.not_before
    assert second.start_by == second.not_before + PUNCTUAL_WITHIN
    desk.clock.advance(second.start_by + 0.001)
    settlements = desk.finish(admission)
    assert [targets(each) for each in settlements] == [RETRY_5S, RETRY_5S]
    assert desk.provider.asked == []


def test_a_repeat_brings_a_dead_letter_too_until_the_event_is_known_to_be_out() -> None:
    """A crash between the commit and the publications has lost both."""
    desk = Desk(fault(CallClass.PROTOCOL_ERROR, Charged.UNKNOWN))
    desk.work_one(deliver())
    again = desk.work_one(deliver())
    assert [key for _, key in targets(again)] == ["default.failed", DEAD]
    assert again.publications[1].headers["reason"] == "protocol_error"
    desk.flow.record([], ["onb-1"])
    assert [key for _, key in targets(desk.work_one(deliver()))] == ["default.failed"]


@pytest.mark.parametrize("call_class", [CallClass.REFUSED])
def test_a_refusal_is_no_dead_letter_and_its_repeat_is_none(call_class: CallClass) -> None:
    desk = Desk(fault(call_class))
    for _ in range(2):
        assert [key for _, key in targets(desk.work_one(deliver()))] == ["default.failed"]
