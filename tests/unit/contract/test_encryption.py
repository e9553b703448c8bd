"""Encrypted messages: what is opened, what is not, and that a problem says nothing of either."""

import gzip
import json
from base64 import urlsafe_b64encode
from datetime import date
from typing import Any

import pytest
from joserfc.jwk import generate_key

from tests.fakes.keys import encrypted, message_key, message_keys
from tests.fakes.messages import ID_CARD, NAME, deliver, request
from worker.contract.encryption import MessageKeys, is_encrypted, media_type
from worker.contract.jwk import ALGORITHMS, ENCRYPTIONS, read_key, read_public_key
from worker.contract.request_v1 import Accepted, Reading, Refused, RequestReader, Unreadable
from worker.core.checks import CheckPolicy

TODAY = date(2026, 3, 1)
BODY = json.dumps(request(), ensure_ascii=False).encode()
LIMIT = 100_000


def read(
    body: bytes, keys: MessageKeys | None = None, *, required: bool = False, **properties: Any
) -> Reading:
    reader = RequestReader(CheckPolicy(), LIMIT, keys or message_keys(), required)
    return reader.read(deliver(body, **properties), TODAY)


def problem(body: bytes, keys: MessageKeys | None = None) -> str:
    reading = read(body, keys)
    assert isinstance(reading, Unreadable)
    assert (reading.reason, reading.problem.field) == ("undecryptable", "body")
    return reading.problem.problem


def b64(text: str | bytes) -> str:
    raw = text.encode() if isinstance(text, str) else text
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def parts(header: str | bytes, *rest: str) -> bytes:
    return ".".join([b64(header), *(rest or ("AA", "AA", "AA", "AA"))]).encode()


def with_header(**header: object) -> bytes:
    """Put another header before what was encrypted under its own."""
    told = {"alg": "ECDH-ES+A256KW", "enc": "A256GCM", "kid": "now", **header}
    _, *rest = encrypted(BODY).decode().split(".")
    return parts(json.dumps(told), *rest)


# Opened.


@pytest.mark.parametrize("enc", ENCRYPTIONS)
@pytest.mark.parametrize(
    ("kind", "alg"), [(kind, alg) for kind, several in ALGORITHMS.items() for alg in several]
)
def test_every_algorithm_that_the_guide_names_is_opened(kind: str, alg: str, enc: str) -> None:
    key = message_key(kind, "one")
    body = encrypted(BODY, key, alg=alg, enc=enc)
    reading = read(body, MessageKeys(key))
    assert isinstance(reading, Accepted)
    assert reading.request.request_id == "onb-1"
    assert reading.request.person.id_card == ID_CARD


@pytest.mark.parametrize("header", [{"typ": "JOSE"}, {"cty": "json"}, {"apu": "QQ", "apv": "Qg"}])
def test_what_libraries_add_to_a_header_refuses_nothing(header: dict[str, Any]) -> None:
    assert isinstance(read(encrypted(BODY, **header)), Accepted)


@pytest.mark.parametrize("body", [BODY, b"", b"x" * 70_000])
def test_what_is_sealed_is_opened_again(body: bytes) -> None:
    keys = message_keys("new", "old")
    assert keys.open(keys.seal(body)) == body
    assert MessageKeys(message_key(kid="new")).open(keys.seal(body)) == body


def test_the_current_key_and_the_older_ones_open() -> None:
    keys = message_keys("new", "old")
    for kid in ("new", "old"):
        assert isinstance(read(encrypted(BODY, message_key(kid=kid)), keys), Accepted)
    assert "another kid" not in problem(encrypted(BODY, message_key(kid="retired")), keys)


def test_a_final_line_feed_of_a_file_does_no_harm() -> None:
    assert isinstance(read(b" " + encrypted(BODY) + b"\r\n"), Accepted)


def test_publishers_encrypt_to_the_public_key_and_cannot_open() -> None:
    keys = message_keys("new", "old")
    public = json.dumps(keys.public())
    assert '"d"' not in public
    assert [each["kid"] for each in keys.public()["keys"]] == ["new", "old"]
    sealed = read_public_key(public).seal(BODY)
    assert keys.open(sealed) == BODY
    assert read_public_key(json.dumps(keys.public()["keys"][1])).kid == "old"


# Not opened.


def test_a_key_that_is_not_known_is_told_from_a_message_that_is_damaged() -> None:
    stranger = message_key(kid="stranger")
    assert "not known here" in problem(encrypted(BODY, stranger))
    impostor = read_key({**generate_key("EC").as_dict(private=True), "kid": "now"}, private=True)
    assert "cannot be opened" in problem(encrypted(BODY, impostor))
    assert "not known here" in problem(encrypted(BODY, kid=None))
    assert "not known here" in problem(with_header(kid=["now"]))


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "dir"},
        {"alg": "none"},
        {"alg": "A256KW"},
        {"alg": "RSA-OAEP-256"},  # of another kind of key
        {"alg": "RSA1_5"},
        {"alg": "PBES2-HS256+A128KW", "p2c": 10**9, "p2s": "AAAA"},
        {"alg": None},
        {"alg": ["ECDH-ES"]},
        {"enc": "A128GCM"},
        {"enc": "none"},
        {"enc": {}},
        {"zip": "DEF"},
        {"crit": ["exp"], "exp": 1},
        {"jku": "https://example.com/keys"},
        {"jwk": {"kty": "oct"}},
        {"x5u": "https://example.com/"},
        {"unheard-of": 1},
        {"apu": "A" * 10_000},
    ],
)
def test_what_is_not_on_the_list_is_refused_before_a_key_is_used(header: dict[str, Any]) -> None:
    assert "not taken" in problem(with_header(**header))


def test_a_huge_header_is_not_read() -> None:
    assert "not taken" in problem(parts("{" + " " * 60_000))


@pytest.mark.parametrize(
    "epk",
    [
        None,
        "text",
        {},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},  # on no curve
        {"kty": "EC", "crv": "P-384", "x": b64(bytes(48)), "y": b64(bytes(48))},
        {"kty": "OKP", "crv": "X25519", "x": b64(bytes(32))},
        {"kty": "oct", "k": "AA"},
        {"kty": "EC", "crv": "P-256", "x": "%%", "y": 7},
        {"kty": "EC", "crv": "P-257", "x": "", "y": ""},
    ],
)
@pytest.mark.parametrize("kind", ["EC", "OKP"])
def test_an_ephemeral_key_that_is_none_is_refused(kind: str, epk: object) -> None:
    key = message_key(kind, "now")
    assert "cannot be opened" in problem(with_header(epk=epk), MessageKeys(key))


def test_a_message_within_a_message_is_not_opened() -> None:
    reading = read(encrypted(encrypted(BODY)))
    assert isinstance(reading, Unreadable)
    assert reading.reason == "not_json"


def test_a_message_is_measured_as_it_was_delivered() -> None:
    body = encrypted(BODY.ljust(80_000))
    assert len(body) > LIMIT
    reading = read(body)
    assert isinstance(reading, Unreadable)
    assert reading.reason == "too_large"


def test_no_problem_quotes_a_message() -> None:
    for header in ({"kid": ID_CARD}, {"alg": ID_CARD}, {"enc": ID_CARD}, {ID_CARD: NAME}):
        reading = read(with_header(**header))
        assert ID_CARD not in repr(reading)
        assert NAME not in repr(reading)


# Told from other bodies.


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (BODY, False),
        (b"", False),
        (b"e", False),
        (b"....", False),
        (b"e30.a.b.c.d", False),  # an empty header
        (b"eyJ9....", True),
        (b"eyJ9...", False),
        (b"eyJ9.....", False),
        (b"ew.a.b.c.d\n", True),
        (b"\n\teyJ9.a.b.c.d", True),
        (b"eyJ9.a.b.c.d.", False),
        (b"eyJ9.a.b.c.d=", False),
        (b"eyJ9.a.b c.d.e", False),
        (b'"eyJ9.a.b.c.d"', False),
        (b"e.g. a.b.c.d", False),
        ("eyJ9.a.b.c.é".encode(), False),
    ],
)
def test_the_body_itself_says_whether_it_is_encrypted(body: bytes, told: bool) -> None:
    assert is_encrypted(body) is told
    assert media_type(body) == ("application/jose" if told else "application/json")


# Where messages must be encrypted.


def test_a_raw_request_is_refused_by_name_where_messages_must_be_encrypted() -> None:
    reading = read(BODY, required=True)
    assert isinstance(reading, Refused)
    (found,) = reading.problems
    assert (found.field, reading.request_id) == ("body", "onb-1")
    assert found.problem.startswith("must be encrypted")
    assert isinstance(read(encrypted(BODY), required=True), Accepted)


def test_a_raw_request_with_other_faults_hears_of_all() -> None:
    body = json.dumps(request(personalSpec={"checkType": 2}, extra=1)).encode()
    reading = read(body, required=True)
    assert isinstance(reading, Refused)
    assert sorted(each.field for each in reading.problems) == [  # pydantic's order is its own
        "body",
        "extra",
        "personalSpec.personalUser",
    ]


def test_what_is_kept_of_a_raw_body_is_sealed_only_where_it_must_be() -> None:
    keys = message_keys()
    strict, lax = (RequestReader(CheckPolicy(), LIMIT, keys, each) for each in (True, False))
    raw, packed = deliver(BODY), deliver(gzip.compress(BODY), content_encoding="gzip")
    for delivery in (raw, packed):
        sealed = strict.keep(delivery)
        assert keys.open(sealed.body) == BODY
        assert sealed.content_encoding is None
        assert strict.keep(sealed) == sealed
        assert lax.keep(delivery) == delivery


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_what_is_sealed_never_passes_the_limit_of_messages(kind: str) -> None:
    keys = MessageKeys(message_key(kind))
    for limit in (1_024, 2_000, LIMIT):
        reader = RequestReader(CheckPolicy(), limit, keys, required=True)
        kept = reader.keep(deliver(b"x" * 2 * LIMIT)).body
        assert len(kept) <= limit
        assert set(keys.open(kept)) <= {ord("x")}


# What is read of a message that is encrypted.


def test_no_repr_shows_a_body() -> None:
    for body in (encrypted(json.dumps(request(extra=1)).encode()), b'{"a": "' + ID_CARD.encode()):
        assert ID_CARD not in repr(read(body))
