"""What may be known of a dead letter, and that nobody's data is part of it."""

import gzip
import json
from datetime import UTC, date, datetime
from typing import Any

import pytest

from tests.chaos.malicious_messages import NAME as THEIR_NAME
from tests.chaos.malicious_messages import malicious_messages
from tests.fakes.keys import encrypted, message_keys
from tests.fakes.messages import BANKCARD, ID_CARD, MOBILE, NAME, PERSON, request
from worker.contract.encryption import MessageKeys
from worker.contract.names import REQUESTS
from worker.contract.request_v1 import RequestReader, Unreadable
from worker.core.checks import CheckPolicy
from worker.core.delivery import Delivery, Letter
from worker.deadletters.body import masked_body
from worker.deadletters.reading import (
    REASONS,
    UNREADABLE_REASONS,
    WITHHELD,
    Encrypted,
    Known,
    LetterReader,
)
from worker.deadletters.selecting import Filters

TODAY = date(2026, 11, 27)


def letter(body: object, headers: dict[str, object] | None = None, **properties: Any) -> Letter:
    raw = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    return Letter(Delivery(0, 1, raw, **properties), headers or {})


def read(body: object, headers: dict[str, object] | None = None, **properties: Any) -> Known:
    return LetterReader(TODAY).read(letter(body, headers, **properties))


def masked(body: bytes, known: Known) -> object:
    return masked_body(body, known.request_id, known.source, TODAY)


def test_a_dead_letter_of_the_worker_says_who_why_and_since_when() -> None:
    headers: dict[str, object] = {
        "reason": "provider_unavailable",
        "attempts": 6,
        "firstSeen": "2026-11-27T08:00:00.000Z",
        "lastError": "unavailable",
        "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
    }
    known = read(request(source="web"), headers, message_id="m-1", reply_to="to.me")
    assert (known.request_id, known.message_id, known.source) == ("onb-1", "m-1", "web")
    assert (known.reason, known.attempts) == ("provider_unavailable", 6)
    assert (known.last_error, known.reply_to) == ("unavailable", "to.me")
    assert known.first_seen == datetime(2026, 11, 27, 8, tzinfo=UTC)
    assert known.other_headers == 0


def test_what_the_broker_dead_lettered_has_the_brokers_reason_and_time() -> None:
    died = datetime(2026, 11, 27, 9)  # noqa: DTZ001  # as pika hands it over
    headers: dict[str, object] = {
        "x-death": [{"reason": "delivery_limit", "queue": REQUESTS, "time": died, "count": 1}],
    }
    known = read(request(), headers)
    assert (known.reason, known.attempts, known.last_error) == ("delivery_limit", None, None)
    assert known.first_seen == died.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "value", [NAME, ID_CARD, "x" * 99, "\x1b[31m", b"\xff", 7, None, ["reason"], "張三"]
)
def test_a_code_that_is_on_no_list_is_not_shown(value: object) -> None:
    known = read(request(), {"reason": value, "lastError": value, "attempts": "6", "firstSeen": 7})
    assert (known.reason, known.last_error) == ("unknown", "unknown")
    assert (known.attempts, known.first_seen) == (None, None)


@pytest.mark.parametrize(
    "text",
    [
        NAME,
        ID_CARD,
        ID_CARD.lower(),
        f"for {MOBILE}!",
        "138 0013 8000",
        f"{BANKCARD[:4]}-{BANKCARD[4:]}",
        f"{NAME}-1",
        "not ascii 汉",
        "\x1b[31mred",
    ],
)
@pytest.mark.parametrize(
    "body", [request(), b'{"requestId": ', b"", [ID_CARD], {"idCard": ID_CARD}]
)
def test_an_unchecked_property_shows_nobody(text: str, body: object) -> None:
    known = read(body, message_id=text, correlation_id=text, reply_to=text)
    for shown in (known.message_id, known.correlation_id, known.reply_to):
        assert shown is not None
        assert shown == WITHHELD or "***" in shown
        assert not any(value in shown.upper() for value in PERSON.values())


def test_an_id_of_a_usual_kind_is_shown_whole() -> None:
    uuid = "550e8400-e29b-41d4-a716-446655440000"
    assert read(b"{", message_id=uuid).message_id == uuid
    assert read(request("onb-20261127000123456")).request_id == "onb-20261127000123456"


def test_an_id_that_holds_the_persons_name_is_withheld_and_can_be_asked_for() -> None:
    known = read(request(f"onb-{NAME}", source="web"))
    assert known.request_id == WITHHELD
    assert Filters(name=f"onb-{NAME}").match(known)
    assert Filters(source="web").match(known)
    assert not Filters(name="onb-1").match(known)


@pytest.mark.parametrize("body", [b"[" * 5000 + b"]" * 5000, b"\xff" * 9, b'{"a":1e999}', b"null"])
def test_whatever_the_body_is_it_can_be_read(body: bytes) -> None:
    assert read(body).request_id is None


def test_no_malicious_message_shows_its_person() -> None:
    reader = LetterReader(TODAY)
    for each in malicious_messages():
        properties: dict[str, Any] = {
            name: value
            for name, value in each.properties.items()
            if name in ("message_id", "correlation_id", "reply_to") and isinstance(value, str)
        }
        one = Letter(Delivery(0, 1, each.body, **properties), each.properties.get("headers", {}))
        known = reader.read(one)
        seen = f"{known}{masked(each.body, known)}"
        assert ID_CARD not in seen.upper(), each.name
        assert THEIR_NAME not in seen, each.name


def test_a_body_is_shown_with_its_values_masked() -> None:
    body = {
        "requestId": "onb-1",
        "personalSpec": {
            "checkType": 0,
            "personalUser": {
                "name": NAME,
                "idCard": ID_CARD,
                "bankcard": "12",
                "mobile": int(MOBILE),
                "nick": NAME,
            },
        },
        "context": {NAME: ID_CARD},
        NAME: 1,
    }
    one = letter(body)
    assert masked(one.delivery.body, LetterReader(TODAY).read(one)) == {
        "requestId": "onb-1",
        "personalSpec": {
            "checkType": 0,
            "personalUser": {
                "name": "欧****",
                "idCard": "1****************X",
                "bankcard": "<text of 2 characters>",
                "mobile": "<number>",
                "<unknown fields>": 1,
            },
        },
        "context": "<object of 1 fields>",
        "<unknown fields>": 1,
    }


def test_the_same_message_has_one_mark_and_another_after_it_failed_again() -> None:
    first, same, again = (
        read(b"{", {"reason": "not_json", "firstSeen": f"2026-11-27T08:00:0{second}Z"}).mark
        for second in (0, 0, 1)
    )
    assert first == same != again


def test_the_reasons_of_unreadable_messages_are_those_of_the_contract() -> None:
    reader = RequestReader(CheckPolicy(), 100)
    found = set()
    wrapped = b'{"specversion": "1.0"}'
    for body in (b"{", b"[]", b"{}", wrapped, b"x" * 101, b"eyJ9.a.a.a.a"):
        reading = reader.read(Delivery(0, 1, body), TODAY)
        assert isinstance(reading, Unreadable)
        found.add(reading.reason)
    assert found == UNREADABLE_REASONS
    assert found < REASONS


def test_filters_are_all_of_what_they_name() -> None:
    seen = "2026-11-27T08:00:00Z"
    known = read(request(source="web"), {"reason": "protocol_error", "firstSeen": seen})
    at = datetime(2026, 11, 27, 8, tzinfo=UTC)
    later = datetime(2026, 11, 27, 9, tzinfo=UTC)
    assert Filters(name="onb-1", reason="protocol_error", source="web", since=at).match(known)
    assert Filters(until=later).match(known)
    other: list[dict[str, Any]] = [
        {"name": "onb"}, {"reason": "in_doubt"}, {"source": "we"}, {"since": later}, {"until": at},
    ]  # fmt: skip
    assert not any(Filters(**each).match(known) for each in other)
    assert not Filters(since=at).match(read(request()))


# Encrypted letters

BODY = json.dumps(request("onb-7", source="web"), ensure_ascii=False).encode()
UNDECRYPTABLE: dict[str, object] = {"reason": "undecryptable", "attempts": 0}


def shown(one: Letter, keys: MessageKeys | None) -> str:
    reader = LetterReader(TODAY, keys)
    known = reader.read(one)
    return f"{known}{masked(reader.open(one)[0], known)}"


def test_with_its_key_a_letter_is_known_and_masked_like_any_other() -> None:
    one = letter(encrypted(BODY), UNDECRYPTABLE, message_id="m-1")
    reader = LetterReader(TODAY, message_keys())
    known = reader.read(one)
    assert (known.request_id, known.source) == ("onb-7", "web")
    assert known.encrypted is Encrypted.OPENED
    assert known.size == len(one.delivery.body)
    assert Filters(name="onb-7", source="web").match(known)
    assert '"idCard": "1****************X"' in json.dumps(masked(reader.open(one)[0], known))
    assert NAME not in shown(one, message_keys())
    assert ID_CARD not in shown(one, message_keys())


def test_without_its_key_only_the_properties_are_known() -> None:
    one = letter(encrypted(BODY), UNDECRYPTABLE, message_id="m-1")
    opened = LetterReader(TODAY, message_keys()).read(one)
    for keys in (None, message_keys("another")):
        reader = LetterReader(TODAY, keys)
        known = reader.read(one)
        assert known.mark == opened.mark  # it does not depend on who can read it
        assert (known.request_id, known.message_id, known.source) == (None, "m-1", None)
        assert known.encrypted is Encrypted.CLOSED
        assert known.reason == "undecryptable"
        assert Filters(name="m-1").match(known)
        size = len(one.delivery.body)
        assert masked(reader.open(one)[0], known) == f"<encrypted, {size} bytes>"


def test_a_property_that_repeats_the_encrypted_person_is_withheld() -> None:
    for text in (NAME, ID_CARD, MOBILE):
        one = letter(
            encrypted(BODY), UNDECRYPTABLE, message_id=text, correlation_id=text, reply_to=text
        )
        for keys in (None, message_keys()):
            assert text not in shown(one, keys)


def test_a_raw_letter_is_none_of_the_two() -> None:
    for body in (BODY, b"{"):
        assert LetterReader(TODAY, message_keys()).read(letter(body)).encrypted is Encrypted.NO


def test_a_packed_letter_is_unpacked_to_be_known_and_a_damaged_one_stays_as_it_is() -> None:
    packed = gzip.compress(json.dumps(request()).encode())
    one = letter(packed, content_encoding="gzip")
    known = read(packed, content_encoding="gzip")
    assert (known.request_id, known.size) == ("onb-1", len(packed))
    assert LetterReader(TODAY).open(one)[0] == gzip.decompress(packed)
    assert LetterReader(TODAY).open(letter(packed[:-9], content_encoding="gzip"))[0] == packed[:-9]
