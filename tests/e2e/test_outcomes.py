"""Each kind of request, from a published message to its row, its event and its ack."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.harness import DEAD, ID_CARD, Stack, request, until

if TYPE_CHECKING:
    from collections.abc import Iterator

MISMATCH, NO_RECORD = "119999194912310013", "119999194912310021"
SOURCE_FAILED_AND_CHARGED = "119999194912310048"
REFUSED, RECOVERS, LOSES_ONE_ANSWER = (
    "119999194912310152",
    "119999194912310363",
    "119999194912310435",
)
NEVER_ANSWERS = "119999194912310304"
ALWAYS_FAILS = "119999194912310224"


@pytest.fixture
def running(stack: Stack) -> Iterator[Stack]:
    """Give a stack with one worker that ended well."""
    worker = stack.start_worker()
    yield stack
    assert worker.stop() == 0
    assert stack.depth("verification.requests") == 0
    assert stack.count("open_requests") == 0


def one_event(stack: Stack, request_id: str, seconds: float = 30.0) -> dict[str, Any]:
    """Wait for the next event; it must be this request's."""
    until(lambda: stack.depth("collector"), seconds)
    event, *others = stack.events()
    assert (event["requestId"], others) == (request_id, [])
    return event


@pytest.mark.parametrize(
    ("id_card", "outcome", "charged", "calls", "kind"),
    [
        (ID_CARD, "match", "yes", 1, None),
        (MISMATCH, "mismatch", "yes", 1, None),
        (NO_RECORD, "no_record", "no", 1, None),
        # Our own check: nothing is sent.
        ("110105194912310021", "rejected", "no", 0, "invalid_request"),
        # The provider's refusal is final.
        (REFUSED, "failed", "no", 1, "provider_refused"),
        # A 503, then an answer.
        (RECOVERS, "match", "yes", 2, None),
        # A reset after the charge: repeated once in doubt, and answered.
        (LOSES_ONE_ANSWER, "match", "yes", 2, None),
        # In doubt twice: not a third time.
        (NEVER_ANSWERS, "failed", "unknown", 2, "in_doubt"),
        # Charged and no answer: never repeated.
        (SOURCE_FAILED_AND_CHARGED, "failed", "yes", 1, "charged_without_answer"),
        # Four attempts, then we give up.
        (ALWAYS_FAILS, "failed", "unknown", 4, "provider_unavailable"),
    ],
)
def test_a_request_ends_in_one_outcome_with_a_row_and_an_event(
    running: Stack, id_card: str, outcome: str, charged: str, calls: int, kind: str | None
) -> None:
    running.publish(request("one", id_card, source="onboarding-web", context={"applicant": 42}))
    event = one_event(running, "one")
    row = running.results()["one"]
    for found in (event["outcome"], row["outcome"]):
        assert found == outcome
    assert (event["charged"], event["calls"]) == (row["charged"], row["calls"]) == (charged, calls)
    assert (event["error"] or {}).get("kind") == row["error_kind"] == kind
    if outcome != "rejected":
        assert event["context"] == row["context"] == {"applicant": 42}
    assert running.provider.charges()["calls"] == calls == running.count("calls")


def test_the_same_request_again_gets_the_stored_result_without_a_call(running: Stack) -> None:
    running.publish(request("again"), reply_to="first.sender", correlation_id="c-1")
    first = one_event(running, "again")
    running.publish(request("again"), reply_to="second.sender", correlation_id="c-2")
    until(lambda: running.depth("collector"))
    method, properties, body = running.take()[0]
    assert json.loads(body) == first
    assert (method.routing_key, properties.correlation_id) == ("second.sender", "c-2")
    assert properties.message_id == first["eventId"]
    assert running.provider.charges()["calls"] == 1


def test_two_copies_at_once_are_paid_once_and_answered_twice(running: Stack) -> None:
    running.publish_many([request("twin"), request("twin")])
    until(lambda: running.depth("collector") == 2)
    one, other = running.events()
    assert one == other
    assert running.provider.charges()["calls"] == 1


def test_the_same_id_with_other_data_is_answered_as_a_conflict_and_changes_no_row(
    running: Stack,
) -> None:
    running.publish(request("mine"))
    one_event(running, "mine")
    before = running.results()
    running.publish(request("mine", MISMATCH), reply_to="other.sender")
    event = one_event(running, "mine")
    assert (event["outcome"], event["error"]["kind"]) == ("conflict", "conflict")
    assert running.results().keys() == before.keys()
    assert running.results()["mine"]["outcome"] == "match"
    assert running.provider.charges()["calls"] == 1


def test_an_expired_request_is_not_paid_for(running: Stack) -> None:
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    running.publish(request("late", expiresAt=past))
    assert one_event(running, "late")["outcome"] == "expired"
    assert running.provider.charges()["calls"] == 0


def test_the_id_may_stand_in_the_message_id(running: Stack) -> None:
    message = request("")
    del message["requestId"]
    running.publish(message, message_id="from-properties")
    assert one_event(running, "from-properties")["outcome"] == "match"


def test_an_event_that_nobody_is_bound_for_is_kept(running: Stack) -> None:
    running.channel.queue_unbind("collector", "verification.results", "#")
    running.publish(request("lonely"))
    until(lambda: running.depth("verification.unrouted"))
    _, _, body = running.take("verification.unrouted")[0]
    assert json.loads(body)["requestId"] == "lonely"


LONG = "x" * 129


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "not_json"),
        (b"\xff\xfe", "not_json"),
        (b"", "not_json"),
        (b"[]", "not_an_object"),
        (b"{}", "no_usable_id"),
        (json.dumps(request(LONG)).encode(), "no_usable_id"),
        (json.dumps(request("a\nb")).encode(), "no_usable_id"),
        (json.dumps({**request(""), "requestId": 42}).encode(), "no_usable_id"),
        # The ID number as the id would carry it into the table.
        (json.dumps(request(ID_CARD)).encode(), "no_usable_id"),
        (b'{"requestId": "' + b"x" * 20_000_000 + b'"}', "too_large"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_unreadable_message_is_kept_as_a_dead_letter_and_answered(
    running: Stack, body: bytes, reason: str
) -> None:
    running.publish(body, reply_to="somebody")
    until(lambda: running.depth(DEAD) and running.depth("collector"))
    _, properties, kept = running.take(DEAD)[0]
    assert kept == body
    assert properties.headers["reason"] == properties.headers["lastError"] == reason
    assert properties.headers["attempts"] == 0
    event = running.events()[0]
    assert (event["outcome"], event["requestId"]) == ("rejected", None)
    assert running.count() == running.provider.charges()["calls"] == 0


def test_an_unreadable_message_without_a_way_back_is_kept_alone(running: Stack) -> None:
    running.publish(b"{")
    until(lambda: running.depth(DEAD))
    running.publish(request("after"))
    one_event(running, "after")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"surplus": 1}, "surplus"),
        ({"source": "Onboarding Web"}, "source"),
        ({"expiresAt": "tomorrow"}, "expiresAt"),
        ({"context": {"a": "x" * 3000}}, "context"),
        ({"personalSpec": None}, "personalSpec"),
        ({"personalSpec": {"checkType": "2", "personalUser": {}}}, "personalSpec.checkType"),
        ({"personalSpec": {"checkType": True, "personalUser": {}}}, "personalSpec.checkType"),
        ({"personalSpec": {"checkType": 9, "personalUser": {}}}, "personalSpec.checkType"),
        (
            {"personalSpec": {"checkType": 2, "personalUser": {"name": "张三"}}},
            "personalSpec.personalUser.idCard",
        ),
    ],
)
def test_a_readable_request_with_a_fault_is_rejected_by_the_fields_name(
    running: Stack, change: dict[str, Any], field: str
) -> None:
    running.publish({**request("faulty"), **change})
    event = one_event(running, "faulty")
    assert event["outcome"] == running.results()["faulty"]["outcome"] == "rejected"
    assert field in [problem["field"] for problem in event["error"]["fields"]]
    assert running.depth(DEAD) == running.provider.charges()["calls"] == 0


def test_a_foreign_client_publishes_and_reads_its_event(running: Stack) -> None:
    running.channel.queue_declare("foreign", durable=True)
    running.channel.queue_bind("foreign", "verification.results", "shell.client")
    body = json.dumps(request("foreign"), ensure_ascii=False)
    url = [f"--url={running.amqp_url}"]
    subprocess.run(
        ["amqp-publish", *url, "-e", "verification.requests", "-r", "x", "-t", "shell.client"],
        input=body.encode(),
        check=True,
        timeout=30,
    )
    until(lambda: running.depth("foreign"))
    consumed = subprocess.run(
        ["amqp-consume", *url, "-q", "foreign", "-c", "1", "cat"],
        check=True,
        timeout=30,
        capture_output=True,
    )
    assert json.loads(consumed.stdout)["outcome"] == "match"
