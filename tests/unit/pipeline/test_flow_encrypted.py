"""Encrypted messages in the flow: what leaves carries what came, and raw bodies are not kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.fakes.keys import encrypted, message_keys
from tests.fakes.messages import ID_CARD, NAME, deliver, request, spec
from tests.fakes.verifier import MATCH, fault
from tests.unit.pipeline.desk import Desk, body, targets
from worker.contract.request_v1 import RequestReader
from worker.core.checks import CheckPolicy
from worker.core.digests import Digests
from worker.core.outcome import CallClass
from worker.core.request import Mode
from worker.core.retry import RetryPolicy
from worker.pipeline.flow import Flow, FlowRules
from worker.ports import LedgerRefused

if TYPE_CHECKING:
    from typing import Any

    from worker.contract.encryption import MessageKeys
    from worker.core.outcome import CallReport

KEYS = message_keys()
"""Keys that every desk here has."""


def sealed(message: dict[str, Any] | bytes) -> bytes:
    raw = message if isinstance(message, bytes) else json.dumps(message).encode()
    return encrypted(raw)


class SealedDesk(Desk):
    """A desk whose flow has keys."""

    def __init__(
        self,
        *script: CallReport | Exception,
        keys: MessageKeys | None = KEYS,
        required: bool = False,
    ) -> None:
        super().__init__(*script)
        self._keys = keys
        self._read_with(required=required)

    def require_encryption(self) -> None:
        """Take no raw message from now on, as after a rolling restart."""
        self._read_with(required=True)

    def _read_with(self, *, required: bool) -> None:
        self.flow = Flow(
            RequestReader(CheckPolicy(), 100_000, self._keys, required),
            Digests(b"k" * 32),
            self.ledger,
            self.provider,
            self.clock,
            FlowRules(Mode.SANDBOX, RetryPolicy((5, 30), 1), 28.0),
        )


def test_a_retry_carries_the_encrypted_body() -> None:
    desk = SealedDesk(fault(CallClass.UNAVAILABLE))
    delivery = deliver(sealed(request()))
    (retry,) = desk.work_one(delivery).publications
    assert (retry.routing_key, retry.body) == ("verification.retry.5s", delivery.body)


def test_a_dead_letter_carries_the_encrypted_body() -> None:
    desk = SealedDesk(fault(CallClass.PROTOCOL_ERROR))
    delivery = deliver(sealed(request()))
    _, dead = desk.work_one(delivery).publications
    assert (dead.routing_key, dead.body) == ("verification.dead", delivery.body)


def test_a_raw_copy_of_what_is_known_is_answered_as_ever_when_only_encrypted_ones_are_taken() -> (
    None
):
    desk = SealedDesk(MATCH, fault(CallClass.UNAVAILABLE))
    desk.work_one(deliver(request("done")))
    desk.work_one(deliver(request("waits")))
    desk.require_encryption()
    done = desk.work_one(deliver(request("done")))
    assert (done.line["action"], body(done.publications[0])["outcome"]) == ("replayed", "match")
    waits = desk.work_one(deliver(request("waits")))
    (event,) = waits.publications
    assert (body(event)["outcome"], body(event)["calls"]) == ("rejected", 1)
    assert body(event)["error"]["fields"][0]["field"] == "body"
    other = desk.work_one(deliver(request("done", personalSpec=spec(name="李四"))))
    assert body(other.publications[0])["outcome"] == "conflict"


def test_a_raw_request_that_is_refused_leaves_no_digest_of_its_person() -> None:
    desk = SealedDesk(required=True)
    desk.work_one(deliver(request()))
    assert desk.row().asked.digest.subject is None


def test_what_cannot_be_opened_is_a_dead_letter_with_its_reason() -> None:
    desk = SealedDesk(keys=None)
    delivery = deliver(sealed(request()), reply_to="replies")
    settlement = desk.work_one(delivery)
    dead, event = settlement.publications
    assert (dead.headers["reason"], dead.body) == ("undecryptable", delivery.body)
    assert settlement.line["reason"] == "undecryptable"
    assert body(event)["error"]["fields"][0]["field"] == "body"
    assert desk.book.rows == {}


def test_the_same_wrong_request_encrypted_anew_is_no_conflict() -> None:
    desk = SealedDesk()
    first, second = (sealed(request(extra=1)) for _ in range(2))
    assert first != second
    assert body(desk.work_one(deliver(first)).publications[0])["outcome"] == "rejected"
    assert desk.work_one(deliver(second)).line["action"] == "replayed"


def test_the_same_unreadable_text_encrypted_anew_has_the_same_event() -> None:
    desk = SealedDesk()
    events = [
        desk.work_one(deliver(sealed(b"{"), correlation_id="c")).publications[1] for _ in range(2)
    ]
    assert events[0].message_id == events[1].message_id


def test_a_raw_request_is_rejected_where_messages_must_be_encrypted() -> None:
    desk = SealedDesk(required=True)
    settlement = desk.work_one(deliver(request()))
    (event,) = settlement.publications
    (field,) = body(event)["error"]["fields"]
    assert (body(event)["outcome"], field["field"]) == ("rejected", "body")
    assert desk.provider.asked == []


def test_a_raw_unreadable_body_is_sealed_before_it_is_kept() -> None:
    desk = SealedDesk(required=True)
    raw = json.dumps({"personalSpec": request()["personalSpec"]}, ensure_ascii=False).encode()
    (dead,) = desk.work_one(deliver(raw)).publications
    assert dead.headers["reason"] == "no_usable_id"
    assert NAME.encode() not in dead.body
    assert ID_CARD.encode() not in dead.body
    assert KEYS.open(dead.body) == raw


def test_a_sealed_letter_that_is_replayed_is_sealed_once_and_has_the_same_event() -> None:
    desk = SealedDesk(required=True)
    dead, event = desk.work_one(deliver(b"{", correlation_id="c")).publications
    again, event_again = desk.work_one(deliver(dead.body, correlation_id="c")).publications
    assert again.body == dead.body
    assert event_again.message_id == event.message_id


def test_without_keys_a_raw_unreadable_body_is_kept_as_it_is() -> None:
    for desk in (SealedDesk(), SealedDesk(keys=None)):
        (dead,) = desk.work_one(deliver(b"{")).publications
        assert dead.body == b"{"


def test_a_request_that_cannot_be_stored_is_sealed_as_well() -> None:
    desk = SealedDesk(required=True)
    desk.ledger.faults.append(LedgerRefused("SQLSTATE 23514"))
    delivery = deliver(request())
    settlement = desk.work_one(delivery)
    assert targets(settlement)[0] == ("", "verification.dead")
    assert KEYS.open(settlement.publications[0].body) == delivery.body
