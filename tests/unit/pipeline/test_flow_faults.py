"""What the flow makes of a database that is away or refuses data, and of lost leases."""

from dataclasses import replace

import pytest

from tests.fakes.messages import deliver, request
from tests.fakes.verifier import MATCH, fault
from tests.unit.pipeline.desk import LEASE, START_WITHIN, Desk, body, by_id, targets
from worker.contract.names import DEAD, RESULTS
from worker.core.outcome import AuthInfo, CallClass, Charged
from worker.ports import LedgerRefused, LedgerUnavailable

RETRY_5S = [("", "verification.retry.5s")]
# The fake ledger refuses the code "poison" of an answer.
POISONED = replace(MATCH, auth_info=AuthInfo(True, False, "poison", "一致", "{}"), status="OK")


@pytest.mark.parametrize("place", range(5))
def test_a_row_that_cannot_be_claimed_is_parted_from_the_others(place: int) -> None:
    desk = Desk()
    ids = [f"onb-{number}" for number in range(5)]
    desk.ledger.poison = {ids[place]}
    batch = [deliver(request(each), reply_to=f"reply.{each}") for each in ids]
    settled = {each.delivery.tag: each for each in desk.work(*batch)}
    poisoned = settled.pop(batch[place].tag)
    assert targets(poisoned) == [("", DEAD), (RESULTS, f"reply.{ids[place]}")]
    assert poisoned.publications[0].headers["reason"] == "unstorable"
    assert body(poisoned.publications[1])["outcome"] == "rejected"
    assert poisoned.publications[1].correlation_id == ids[place]
    assert dict(poisoned.line) == {
        "action": "dead_lettered",
        "reason": "unstorable",
        "source": "default",
    }
    assert all(body(each.publications[0])["outcome"] == "match" for each in settled.values())
    assert (len(settled), len(desk.provider.asked)) == (4, 4)


def test_every_part_of_a_split_batch_has_a_token_of_its_own() -> None:
    desk = Desk()
    desk.ledger.poison = {"onb-2"}
    desk.flow.admit([deliver(request(f"onb-{number}")) for number in range(4)], "7")
    assert len(set(desk.ledger.tokens)) == len(desk.ledger.tokens)


def test_a_split_batch_given_again_calls_nobody_twice() -> None:
    desk = Desk()
    desk.ledger.poison = {"onb-0"}
    batch = [deliver(request(f"onb-{number}")) for number in range(3)]
    # whole: refused; the left half alone: refused; the right half commits and its answer is lost
    desk.ledger.lose_answers = 1
    with pytest.raises(LedgerUnavailable):
        desk.flow.admit(batch, "7")
    assert len(desk.finish(desk.flow.admit(batch, "7"))) == 3
    assert {len(desk.row(each).calls) for each in ("onb-1", "onb-2")} == {1}


@pytest.mark.parametrize("place", range(3))
def test_an_answer_that_cannot_be_recorded_is_recorded_without_its_texts(place: int) -> None:
    script = [MATCH, MATCH, MATCH]
    script[place] = POISONED
    desk = Desk(*script)
    desk.ledger.poison_codes = {"poison"}
    settled = by_id(desk.work(*[deliver(request(f"onb-{number}")) for number in range(3)]))
    poisoned = settled.pop(f"onb-{place}")
    assert targets(poisoned) == [(RESULTS, "default.failed"), ("", DEAD)]
    event, dead = poisoned.publications
    said = body(event)
    assert (said["error"]["kind"], said["charged"]) == ("unstorable", "yes")
    assert (said["authInfo"], said["providerRequestId"]) == (None, None)
    assert (dead.headers["reason"], dead.headers["lastError"]) == ("unstorable", "answered")
    assert desk.row(f"onb-{place}").state == "done"
    assert {body(each.publications[0])["outcome"] for each in settled.values()} == {"match"}


def test_what_cannot_be_recorded_in_any_form_comes_again_later_and_stops_nobody() -> None:
    desk = Desk()
    admission = desk.admit(deliver())
    desk.ledger.faults.extend([LedgerRefused("SQLSTATE 23514")] * 2)
    (settlement,) = desk.finish(admission)
    assert targets(settlement) == [("", "verification.retry.30s")]
    assert settlement.line["action"] == "unrecordable"
    assert desk.row().state == "working"


def test_event_marks_survive_the_splitting_of_their_batch() -> None:
    desk = Desk()
    desk.work_one(deliver(request("before")))
    other = Desk(POISONED, beside=desk, worker="two")
    other.ledger.poison_codes = {"poison"}
    tasks = other.admit(deliver(request("onb-1")), deliver(request("onb-2"))).tasks
    other.flow.record([other.call(task) for task in tasks], ["before"])
    assert desk.row("before").announced


def test_a_request_recorded_without_texts_still_tells_its_worst_charge() -> None:
    free = replace(POISONED, charged=Charged.NO)
    desk = Desk(fault(CallClass.IN_DOUBT, Charged.UNKNOWN), free)
    desk.ledger.poison_codes = {"poison"}
    desk.work_one(deliver())
    said = body(desk.work_one(deliver()).publications[0])
    assert said["error"]["kind"] == "unstorable"
    assert said["charged"] == "unknown"


def test_event_marks_that_are_refused_alone_are_refused_once() -> None:
    desk = Desk()
    desk.ledger.faults.extend([LedgerRefused("SQLSTATE 22P05")] * 2_000)
    with pytest.raises(LedgerRefused):
        desk.flow.record([], ["onb-1"])


def test_a_worker_that_lost_its_lease_announces_what_the_row_says() -> None:
    slow = Desk()
    admission = slow.admit(deliver())
    (task,) = admission.tasks
    late = slow.call(task)  # a match; its record is late
    slow.clock.advance(LEASE + 1)
    refused = replace(fault(CallClass.REFUSED), http_status=400)
    Desk(refused, beside=slow, worker="two").work_one(deliver())
    (settlement,) = slow.flow.record([late], ())
    (event,) = settlement.publications
    assert body(event)["error"]["kind"] == "provider_refused"
    assert event.event_of == "onb-1"
    assert (settlement.line["action"], settlement.line["outcome"]) == ("fenced_out", "failed")


def test_a_worker_that_lost_its_lease_waits_for_the_one_that_has_it() -> None:
    slow = Desk()
    late = slow.call(slow.admit(deliver()).tasks[0])
    slow.clock.advance(LEASE + 1)
    Desk(beside=slow, worker="two").admit(deliver())
    (settlement,) = slow.flow.record([late], ())
    assert targets(settlement) == RETRY_5S
    assert settlement.line["action"] == "held_elsewhere"
    assert (slow.row().state, slow.row().result) == ("working", None)


def test_a_task_that_waited_too_long_for_a_thread_is_not_called() -> None:
    desk = Desk()
    admission = desk.admit(deliver())
    desk.clock.advance(START_WITHIN)
    assert desk.flow.call(admission.tasks[0]) is MATCH  # at the end of its time
    desk.clock.advance(0.001)
    desk.provider.asked.clear()
    (settlement,) = desk.finish(admission)
    assert targets(settlement) == RETRY_5S
    assert (settlement.line["reason"], settlement.line["charged"]) == ("not_sent", "no")
    assert (desk.row().state, desk.row().attempts) == ("waiting", 0)
    assert desk.row().calls == []
    assert desk.provider.asked == []
