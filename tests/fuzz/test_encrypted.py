"""Whatever is encrypted, and whatever looks like it, is read without an exception."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.clock import START
from tests.fakes.keys import encrypted, message_key
from tests.fakes.messages import deliver
from tests.fuzz.trees import documents, dump
from worker.contract.encryption import MessageKeys
from worker.contract.jwk import ALGORITHMS, KeyUnusable, MessageKey
from worker.contract.request_v1 import Reading, RequestReader, Unreadable
from worker.core.checks import CheckPolicy

KEYS = [message_key(kind, kind) for kind in ALGORITHMS]
READER = RequestReader(CheckPolicy(), 1_000_000, MessageKeys(*KEYS), required=True)

keys = st.sampled_from(KEYS)
values = st.one_of(
    st.none(),
    st.integers(),
    st.text(max_size=20),
    st.sampled_from([*ALGORITHMS, *(each for every in ALGORITHMS.values() for each in every)]),
    st.builds(lambda key: {**key.public()}, keys),
    st.lists(st.text(max_size=3), max_size=3),
    st.dictionaries(st.sampled_from(["kty", "crv", "x", "y", "d"]), st.text(max_size=50)),
)
headers = st.dictionaries(
    st.sampled_from(["alg", "enc", "kid", "epk", "apu", "apv", "zip", "crit", "p2c", "typ"]),
    values,
    max_size=4,
)


def read(body: bytes, reader: RequestReader = READER) -> Reading:
    return reader.read(deliver(body, message_id="m-1"), START.date())


def b64(raw: bytes) -> bytes:
    return urlsafe_b64encode(raw).rstrip(b"=")


@given(keys, headers, st.booleans())
def test_whatever_the_header_says_is_read(
    key: MessageKey, header: dict[str, Any], on_top: bool
) -> None:
    """On top of a good one, or alone."""
    head, *rest = encrypted(b"{}", key).split(b".")
    good = orjson.loads(urlsafe_b64decode(head + b"=" * (-len(head) % 4))) if on_top else {}
    body = b".".join([b64(json.dumps({**good, **header}).encode()), *rest])
    assert isinstance(read(body), Reading)


@given(st.binary(max_size=300), st.lists(st.binary(max_size=60), min_size=4, max_size=4))
def test_five_parts_of_anything_are_read(head: bytes, rest: list[bytes]) -> None:
    parts = [b64(b'{"' + head), *map(b64, rest)]
    reading = read(b".".join(parts))
    assert isinstance(reading, Unreadable)
    assert reading.reason == "undecryptable"


@given(documents)
def test_whatever_a_set_of_keys_holds_it_is_taken_or_refused(document: Any) -> None:
    text = dump(document)
    for whole in (text, b'{"keys":%s}' % text, b'{"keys":[%s]}' % text):
        assert refused(whole) != ()


@given(st.sampled_from([each.private() for each in KEYS]), st.data())
def test_a_key_with_any_member_changed_is_taken_or_refused(
    jwk: dict[str, str], data: st.DataObject
) -> None:
    member = data.draw(st.sampled_from(sorted(jwk)))
    text = json.dumps({"keys": [{**jwk, member: data.draw(values)}]}).encode()
    problems = refused(text)
    assert jwk["d"] not in repr(problems)
    if problems is None:
        keys = MessageKeys.read(text)
        assert keys.open(keys.seal(b"text")) == b"text"


def refused(text: bytes) -> tuple[str, ...] | None:
    """Return what is wrong with a set of keys, None where nothing is."""
    try:
        MessageKeys.read(text)
    except KeyUnusable as unusable:
        return unusable.problems
    return None
