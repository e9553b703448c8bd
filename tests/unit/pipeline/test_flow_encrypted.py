"""Encrypted messages in the flow: what leaves carries what came, and raw bodies are not kept."""

import json
from typing import Any

from tests.fakes.keys import encrypted, message_keys
from tests.fakes.messages import deliver, request, spec
from tests.fakes.verifier import MATCH, fault
from tests.unit.pipeline.desk import Desk, body, targets
from worker.core.outcome import CallClass, CallReport, Charged
from worker.ports import LedgerRefused

KEYS = message_keys()


def sealed(message: dict[str, Any] | bytes) -> bytes:
    raw = message if isinstance(message, bytes) else json.dumps(message).encode()
    return encrypted(raw)


def sealed_desk(*script: CallReport | Exception, required: bool = False, **rest: Any) -> Desk:
    return Desk(*script, keys=KEYS, required=required, **rest)


def test_a_raw_copy_of_what_is_known_is_answered_as_ever_when_only_encrypted_ones_are_taken() -> (
    None
):
    desk = sealed_desk(MATCH, fault(CallClass.UNAVAILABLE))
    desk.work_one(deliver(request("done")))
    desk.work_one(deliver(request("waits")))
    desk = sealed_desk(beside=desk, required=True)  # as after a rolling restart
    done = desk.work_one(deliver(request("done")))
    assert (done.line["action"], body(done.publications[0])["outcome"]) == ("replayed", "match")
    waits = desk.work_one(deliver(request("waits")))
    (event,) = waits.publications
    assert (body(event)["outcome"], body(event)["calls"]) == ("rejected", 1)
    assert body(event)["error"]["fields"][0]["field"] == "body"
    other = desk.work_one(deliver(request("done", personalSpec=spec(name="李四"))))
    assert body(other.publications[0])["outcome"] == "conflict"


def test_a_raw_request_that_was_perhaps_paid_is_in_doubt_and_its_letter_is_sealed() -> None:
    desk = sealed_desk(fault(CallClass.UNAVAILABLE, Charged.UNKNOWN))
    delivery = deliver(request())
    desk.work_one(delivery)
    desk = sealed_desk(beside=desk, required=True)
    for _ in range(2):  # the second time as after a crash in between
        event, dead = desk.work_one(delivery).publications
        told = body(event)
        assert (told["outcome"], told["error"]["kind"]) == ("failed", "in_doubt")
        assert told["charged"] == "unknown"
        assert KEYS.open(dead.body) == delivery.body


def test_a_raw_request_that_is_refused_leaves_no_digest_of_its_person() -> None:
    desk = sealed_desk(required=True)
    desk.work_one(deliver(request()))
    assert desk.row().asked.digest.subject is None


def test_the_same_wrong_request_encrypted_anew_is_no_conflict() -> None:
    desk = sealed_desk()
    first, second = (sealed(request(extra=1)) for _ in range(2))
    assert first != second
    assert body(desk.work_one(deliver(first)).publications[0])["outcome"] == "rejected"
    assert desk.work_one(deliver(second)).line["action"] == "replayed"


def test_the_same_unreadable_text_encrypted_anew_has_the_same_event() -> None:
    desk = sealed_desk()
    events = [
        desk.work_one(deliver(sealed(b"{"), correlation_id="c")).publications[1] for _ in range(2)
    ]
    assert events[0].message_id == events[1].message_id


def test_a_sealed_letter_that_is_replayed_is_sealed_once_and_has_the_same_event() -> None:
    desk = sealed_desk(required=True)
    dead, event = desk.work_one(deliver(b"{", correlation_id="c")).publications
    again, event_again = desk.work_one(deliver(dead.body, correlation_id="c")).publications
    assert again.body == dead.body
    assert event_again.message_id == event.message_id


def test_without_keys_a_raw_unreadable_body_is_kept_as_it_is() -> None:
    for desk in (sealed_desk(), Desk()):
        dead, _ = desk.work_one(deliver(b"{")).publications
        assert dead.body == b"{"


def test_a_request_that_cannot_be_stored_is_sealed_as_well() -> None:
    desk = sealed_desk(required=True)
    desk.ledger.faults.append(LedgerRefused("SQLSTATE 23514"))
    delivery = deliver(request())
    settlement = desk.work_one(delivery)
    assert targets(settlement)[0] == ("", "verification.dead")
    assert KEYS.open(settlement.publications[0].body) == delivery.body
