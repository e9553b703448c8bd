"""The life of one message, path by path: what is called, what is kept, what leaves."""

import re
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest

import worker.pipeline
from tests.fakes.messages import ID_CARD, MOBILE, NAME, deliver, request, spec
from tests.fakes.verifier import MATCH, fault
from tests.unit.pipeline.desk import LEASE, PUNCTUAL_WITHIN, Desk, after, body, targets
from worker.contract.names import DEAD, RESULTS
from worker.core.checks import CheckPolicy, IdCardCheck, NameCheck
from worker.core.claims import Conflicting, HeldElsewhere, Postponed, Shortage
from worker.core.delivery import MOST_RETURNS
from worker.core.outcome import CallClass, Charged, ErrorKind

TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
RETRY_5S = [("", "verification.retry.5s")]
WRONG_DIGIT = "110105194912310021"


def test_an_accepted_request_is_called_once_and_its_event_leaves() -> None:
    desk = Desk()
    settlement = desk.work_one(deliver(request(context={"applicant": 42})))
    assert targets(settlement) == [(RESULTS, "default.match")]
    (event,) = settlement.publications
    said = body(event)
    assert (said["requestId"], said["outcome"], said["charged"]) == ("onb-1", "match", "yes")
    assert (said["calls"], said["mode"], said["error"]) == (1, "sandbox", None)
    assert said["authInfo"]["code"] == "ok"
    assert said["context"] == {"applicant": 42}
    assert (event.message_id, event.correlation_id) == (said["eventId"], "onb-1")
    assert event.event_of == "onb-1"
    assert dict(settlement.line) == {
        "action": "completed",
        "request_id": "onb-1",
        "source": "default",
        "check_type": 2,
        "outcome": "match",
        "calls": 1,
        "call_class": "answered",
        "call_seconds": 0.25,
        "charged": "yes",
    }
    assert [each.request_id for each in desk.provider.asked] == ["onb-1"]
    assert desk.row().state == "done"


LENIENT = CheckPolicy(id_card=IdCardCheck.OFF, name=NameCheck.OFF, portrait_min_bytes=1)
ODD = spec(name="Zhang San", idCard=WRONG_DIGIT)


def test_what_less_strict_checks_let_pass_is_known_to_stricter_ones() -> None:
    """As after a setting is changed, or a release has another check."""
    desk = Desk(MATCH, fault(CallClass.NOT_SENT), policy=LENIENT)
    done, waits = (request(each, personalSpec=ODD) for each in ("done", "waits"))
    desk.work(deliver(done), deliver(waits))
    desk = Desk(beside=desk)
    replayed = desk.work_one(deliver(done))
    assert (replayed.line["action"], replayed.line["outcome"]) == ("replayed", "match")
    rejected = desk.work_one(deliver(waits))
    assert rejected.line["action"] == "completed"
    assert body(rejected.publications[0])["outcome"] == "rejected"
    other = request("done", personalSpec=spec(name="Li Si", idCard=WRONG_DIGIT))
    assert desk.work_one(deliver(other)).line["action"] == "conflict"
    # What is wrong for another reason says nothing of who else sent it.
    odd = request("done", personalSpec=ODD, expiresAt="tomorrow")
    assert desk.work_one(deliver(odd)).line["action"] == "conflict"


def test_a_request_that_fails_the_checks_is_rejected_without_a_call() -> None:
    desk = Desk()
    settlement = desk.work_one(deliver(request(personalSpec=spec(idCard=WRONG_DIGIT))))
    assert targets(settlement) == [(RESULTS, "default.rejected")]
    said = body(settlement.publications[0])
    assert (said["charged"], said["calls"]) == ("no", 0)
    assert said["error"]["kind"] == "invalid_request"
    assert said["error"]["fields"] == [
        {"field": "personalSpec.personalUser.idCard", "problem": "check digit does not match"}
    ]
    assert (desk.row().state, desk.provider.asked) == ("done", [])
    assert settlement.line["action"] == "completed"


@pytest.mark.parametrize("expires", [0, 10])  # before the claim; between the claim and the call
def test_a_request_past_its_deadline_is_expired_without_a_call(expires: int) -> None:
    desk = Desk()
    admission = desk.admit(deliver(request(expiresAt=after(expires))))
    desk.clock.advance(10)
    (settlement,) = desk.finish(admission)
    assert targets(settlement) == [(RESULTS, "default.expired")]
    said = body(settlement.publications[0])
    assert (said["outcome"], said["charged"], said["calls"]) == ("expired", "no", 0)
    assert said["error"]["kind"] == "expired"
    assert desk.row().calls == []
    assert desk.provider.asked == []


@pytest.mark.parametrize(
    ("max_in_doubt_calls", "expires", "last_error"),
    [
        (0, 1_000, "in_doubt"),  # over the limit
        # It was taken over at 61 s and called at 71 s: expired before the claim, and in between.
        (1, 30, "in_doubt"),
        (1, 70, "not_sent"),
    ],
)
def test_a_call_in_doubt_that_may_not_be_repeated_is_given_up_and_not_expired(
    max_in_doubt_calls: int, expires: int, last_error: str
) -> None:
    crashed = Desk(max_in_doubt_calls=max_in_doubt_calls)
    delivery = deliver(request(expiresAt=after(expires)))
    crashed.admit(delivery)
    crashed.clock.advance(LEASE + 1)
    desk = Desk(beside=crashed, worker="two", max_in_doubt_calls=max_in_doubt_calls)
    admission = desk.admit(delivery)
    desk.clock.advance(10)
    (settlement,) = desk.finish(admission)
    assert targets(settlement) == [(RESULTS, "default.failed"), ("", DEAD)]
    event, dead = settlement.publications
    assert body(event)["error"]["kind"] == settlement.line["reason"] == "in_doubt"
    assert (body(event)["charged"], body(event)["calls"]) == ("unknown", 1)
    assert (dead.headers["reason"], dead.headers["lastError"]) == ("in_doubt", last_error)
    assert desk.provider.asked == []


@pytest.mark.parametrize(
    ("call_class", "charged", "queue", "attempts"),
    [
        # free: not counted
        (CallClass.NOT_SENT, Charged.NO, "verification.retry.5s", 0),
        (CallClass.THROTTLED, Charged.NO, "verification.retry.30s", 0),
        # as long as others are served it may be this request alone: counted
        (CallClass.CREDENTIALS, Charged.NO, "verification.retry.30s", 1),
        (CallClass.QUOTA, Charged.NO, "verification.retry.30s", 1),
        # the provider's own failure: counted
        (CallClass.UNAVAILABLE, Charged.NO, "verification.retry.5s", 1),
        # counted as a call in doubt, not as an attempt
        (CallClass.IN_DOUBT, Charged.UNKNOWN, "verification.retry.5s", 0),
    ],
)
def test_a_failed_call_goes_to_the_queue_of_its_delay(
    call_class: CallClass, charged: Charged, queue: str, attempts: int
) -> None:
    desk = Desk(fault(call_class, charged))
    delivery = deliver(traceparent=TRACE)
    settlement = desk.work_one(delivery)
    (again,) = settlement.publications
    assert (again.exchange, again.routing_key) == ("", queue)
    assert (again.body, dict(again.headers)) == (delivery.body, {"traceparent": TRACE})
    assert (desk.row().state, desk.row().attempts) == ("waiting", attempts)
    assert (settlement.line["action"], settlement.line["reason"]) == ("retrying", call_class)


def test_the_last_attempt_makes_an_event_and_a_dead_letter() -> None:
    desk = Desk(*[fault(CallClass.UNAVAILABLE)] * 3)
    delivery = deliver(traceparent=TRACE)
    assert targets(desk.work_one(delivery)) == RETRY_5S
    desk.clock.advance(5)
    assert targets(desk.work_one(delivery)) == [("", "verification.retry.30s")]
    desk.clock.advance(30)
    settlement = desk.work_one(delivery)
    assert targets(settlement) == [(RESULTS, "default.failed"), ("", DEAD)]
    event, dead = settlement.publications
    assert body(event)["error"]["kind"] == "provider_unavailable"
    assert dead.body == delivery.body
    assert dict(dead.headers) == {
        "reason": "provider_unavailable",
        "attempts": 3,
        "firstSeen": body(event)["requestedAt"],
        "lastError": "unavailable",
        "traceparent": TRACE,
    }
    assert settlement.line["reason"] == "provider_unavailable"


def test_a_repeat_is_answered_from_the_row_and_addressed_to_its_own_sender() -> None:
    desk = Desk()
    (first,) = desk.work_one(deliver(reply_to="web.a")).publications
    settlement = desk.work_one(deliver(reply_to="web.b", correlation_id="again"))
    (second,) = settlement.publications
    assert (first.routing_key, second.routing_key) == ("web.a", "web.b")
    assert second.correlation_id == "again"
    assert body(second) == body(first)  # the eventId with it
    assert second.message_id == first.message_id
    assert second.event_of == "onb-1"
    assert settlement.line["action"] == "replayed"
    assert len(desk.provider.asked) == 1


def test_a_known_id_with_other_data_is_answered_and_changes_no_row() -> None:
    desk = Desk()
    desk.work_one(deliver(reply_to="web.a"))
    before = deepcopy(desk.row())
    other = request(personalSpec=spec(name="诸葛不存在"))
    settlement = desk.work_one(deliver(other, reply_to="web.b"))
    assert targets(settlement) == [(RESULTS, "web.b")]
    (event,) = settlement.publications
    assert (body(event)["outcome"], body(event)["error"]["kind"]) == ("conflict", "conflict")
    assert event.event_of is None
    assert event.message_id != body(desk.work_one(deliver()).publications[0])["eventId"]
    assert desk.row() == before
    assert settlement.line["action"] == "conflict"
    assert len(desk.provider.asked) == 1


def test_each_conflict_has_an_id_of_its_own_however_often_it_comes() -> None:
    desk = Desk()
    desk.work_one(deliver())
    desk.work_one(deliver(request("onb-2")))

    def conflict(request_id: str, name: str) -> str | None:
        other = request(request_id, personalSpec=spec(name=name))
        return desk.work_one(deliver(other)).publications[0].message_id

    ids = [("onb-1", "诸葛不存在"), ("onb-1", "司马不存在"), ("onb-2", "诸葛不存在")]
    assert len({conflict(*each) for each in ids * 2}) == 3


def test_a_row_of_another_mode_is_answered() -> None:
    desk = Desk()
    desk.ledger.instead["onb-1"] = lambda _: Conflicting(ErrorKind.MODE_MISMATCH)
    said = body(desk.work_one(deliver()).publications[0])
    assert (said["outcome"], said["error"]["kind"]) == ("conflict", "mode_mismatch")
    assert said["mode"] == "sandbox"
    assert desk.provider.asked == []


def test_the_second_copy_in_one_batch_waits_in_the_first_retry_queue() -> None:
    desk = Desk()
    first, second = deliver(), deliver()
    settlements = {each.delivery.tag: each for each in desk.work(first, second)}
    assert targets(settlements[first.tag]) == [(RESULTS, "default.match")]
    assert targets(settlements[second.tag]) == RETRY_5S
    assert settlements[second.tag].line["action"] == "held_elsewhere"
    assert len(desk.provider.asked) == 1


@pytest.mark.parametrize(("wait", "delay"), [(0.0, 5), (5.1, 30), (3600.0, 30)])
def test_a_copy_that_comes_too_early_goes_into_the_queue_that_fits(wait: float, delay: int) -> None:
    desk = Desk()
    desk.ledger.instead["onb-1"] = lambda _: HeldElsewhere(wait)
    assert desk.work_one(deliver()).line["delay"] == delay
    assert desk.provider.asked == []


@pytest.mark.parametrize(
    ("properties", "key", "correlated"),
    [
        ({}, "default.rejected", None),
        ({"reply_to": "web.a"}, "web.a", None),
        ({"correlation_id": "c", "message_id": "m"}, "default.rejected", "c"),
        ({"reply_to": "web.a", "message_id": "m"}, "web.a", "m"),
        ({"message_id": f"m-{ID_CARD}"}, "default.rejected", None),
        ({"message_id": "a\tb"}, "default.rejected", None),
    ],
)
def test_an_unreadable_message_is_kept_and_answered_with_what_can_be_told(
    properties: dict[str, str], key: str, correlated: str | None
) -> None:
    desk = Desk()
    settlement = desk.work_one(deliver(b"\xff not json", **properties))
    dead, event = settlement.publications
    assert (dead.routing_key, dead.body) == (DEAD, b"\xff not json")
    assert (dead.headers["reason"], dead.headers["lastError"]) == ("not_json", "not_json")
    assert dead.headers["attempts"] == 0
    assert str(dead.headers["firstSeen"]).startswith("2026-03-01T12:00:00")
    line = {"action": "dead_lettered", "reason": "not_json", "source": None}
    assert dict(settlement.line) == line
    assert desk.rows == {}
    assert (event.routing_key, event.correlation_id) == (key, correlated)
    said = body(event)
    assert (said["requestId"], said["outcome"]) == (None, "rejected")
    assert said["error"]["kind"] == "unreadable"
    assert said["error"]["fields"] == [{"field": "body", "problem": "is not JSON in UTF-8"}]
    assert event.event_of is None


@pytest.mark.parametrize(
    ("source", "key"),
    [("web", "web.rejected"), ("A.b", "default.rejected"), (7, "default.rejected")],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_the_source_of_what_has_no_id_says_where_its_answer_goes(
    source: object, key: str, wrapped: bool
) -> None:
    asked = request(None, source=source)
    if wrapped:
        asked = {"specversion": "1.0", "id": "1", "source": "/web", "type": "t", "data": asked}
    _, event = Desk().work_one(deliver(asked, correlation_id="c-1")).publications
    assert (event.routing_key, event.correlation_id) == (key, "c-1")
    (field,) = body(event)["error"]["fields"]
    assert field["problem"].startswith("is a CloudEvent" if wrapped else "is required")


def test_a_number_of_the_person_is_no_correlation() -> None:
    asked = request("x" * 200, personalSpec=spec(4))
    for named in (ID_CARD, MOBILE, "138 0013-8000"):
        _, event = Desk().work_one(deliver(asked, message_id=f"m {named}")).publications
        assert event.correlation_id is None


def test_a_repeat_by_another_source_is_answered_under_its_own_key() -> None:
    desk = Desk()
    (first,) = desk.work_one(deliver(request(source="web"))).publications
    (other,) = desk.work_one(deliver(request(source="branch"))).publications
    assert (first.routing_key, other.routing_key) == ("web.match", "branch.match")
    assert body(other) == body(first)
    # The first one's own event may still be on its way, and is marked by its own confirm.
    assert (first.event_of, other.event_of) == ("onb-1", None)


def test_a_source_that_takes_over_after_a_crash_does_not_answer_for_the_first() -> None:
    crashed = Desk()
    crashed.admit(deliver(request(source="web")))
    crashed.clock.advance(LEASE + 1)
    desk = Desk(beside=crashed, worker="two")
    (other,) = desk.work_one(deliver(request(source="branch"))).publications
    (first,) = desk.work_one(deliver(request(source="web"))).publications
    assert (other.routing_key, first.routing_key) == ("branch.match", "web.match")
    assert (other.event_of, first.event_of) == (None, "onb-1")


def test_an_empty_or_unreadable_batch_asks_the_ledger_nothing() -> None:
    desk = Desk()
    desk.admit()
    desk.admit(deliver(b"nothing"))
    assert desk.ledger.tokens == []


def test_a_doubtful_card_number_is_named_in_the_log_and_called_all_the_same() -> None:
    person = {"name": NAME, "idCard": ID_CARD, "bankcard": "6222020200112231"}
    asked = {**request(), "personalSpec": {"checkType": 1, "personalUser": person}}
    line = Desk().work_one(deliver(asked)).line
    assert line["outcome"] == "match"
    assert line["warnings"] == ("personalSpec.personalUser.bankcard check digit does not match",)


def test_what_the_budget_leaves_over_is_postponed_and_nothing_is_settled_for_it() -> None:
    desk = Desk()
    spent = Postponed(3_600.0, Shortage.DAILY_BUDGET)
    desk.ledger.instead["second"] = lambda _: spent
    first, second = deliver(request("first")), deliver(request("second"))
    admission = desk.admit(first, second)
    assert [task.asked.delivery for task in admission.tasks] == [first]
    assert admission.postponed == [(second, spent)]
    assert admission.settlements == []


def test_calls_of_a_limited_minute_have_their_places_and_are_made_there_or_not_at_all() -> None:
    desk = Desk(punctual_within=PUNCTUAL_WITHIN)
    desk.ledger.instead["second"] = lambda claim: replace(claim, wait=0.5)  # type: ignore[arg-type]
    admission = desk.admit(deliver(request("first")), deliver(request("second")))
    first, second = admission.tasks
    assert (first.not_before, second.not_before) == (0.0, 0.5)
    assert second.start_by == 0.5 + PUNCTUAL_WITHIN
    desk.clock.advance(second.start_by + 0.001)
    settlements = desk.finish(admission)
    assert [targets(each) for each in settlements] == [RETRY_5S, RETRY_5S]
    assert desk.provider.asked == []


def test_a_call_whose_place_had_passed_when_its_claim_was_answered_is_not_made() -> None:
    desk = Desk(punctual_within=PUNCTUAL_WITHIN)
    desk.ledger.instead["onb-1"] = lambda claim: replace(claim, wait=-28.0)  # type: ignore[arg-type]
    assert targets(desk.work_one(deliver())) == RETRY_5S
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


def test_what_the_broker_gave_up_too_often_is_kept_also_where_a_crash_came_between() -> None:
    desk = Desk()
    given_up = deliver(returned=MOST_RETURNS + 1)
    for _ in range(2):
        settlement = desk.work_one(given_up)
        assert {key for _, key in targets(settlement)} == {"default.failed", DEAD}
        (reason,) = (
            each.headers["reason"] for each in settlement.publications if not each.exchange
        )
        assert reason == "message_lost"
    late = desk.work_one(deliver())  # a copy that the broker never gave up
    assert [key for _, key in targets(late)] == ["default.failed"]
    assert desk.provider.asked == []


def test_how_often_the_broker_gave_a_message_up_is_known_after_a_wait() -> None:
    """Else one that brings down each worker that calls for it would do so for ever."""
    desk = Desk()
    given_up = deliver(returned=MOST_RETURNS + 1)
    desk.ledger.instead["onb-1"] = lambda _: HeldElsewhere()
    waits = [desk.work_one(given_up), *desk.flow.settling.hand_back([given_up], 0.0)]
    for (retry,) in (each.publications for each in waits):
        assert retry.headers == {"returned": MOST_RETURNS + 1}


def test_a_refusal_is_no_dead_letter_and_its_repeat_is_none() -> None:
    desk = Desk(fault(CallClass.REFUSED))
    for _ in range(2):
        assert [key for _, key in targets(desk.work_one(deliver()))] == ["default.failed"]


def test_the_way_of_a_delivery_is_through_twelve_files_that_exist() -> None:
    files = re.findall(r"\d+\. (worker/\S+\.py)", worker.pipeline.__doc__ or "")
    assert len(files) == 12
    checkout = Path(worker.pipeline.__path__[0]).parent.parent
    assert [each for each in files if not (checkout / each).is_file()] == []
