"""Keys of messages: which are taken, and that what is wrong with one is said without the key."""

import json
from typing import Any

import pytest
from joserfc.jwk import generate_key

from tests.fakes.keys import message_key, message_keys
from worker.contract.encryption import MessageKeys
from worker.contract.jwk import ALGORITHMS, KeyUnusable, new_key, read_key, read_public_key

EC, OKP = (message_key(kind).private() for kind in ("EC", "OKP"))
RSA = message_key("RSA").private()


def problem(jwk: object, *, private: bool = True) -> str:
    with pytest.raises(KeyUnusable) as caught:
        read_key(jwk, private=private)
    (said,) = caught.value.problems
    values = jwk.values() if isinstance(jwk, dict) else ()
    assert [
        each for each in values if isinstance(each, str) and len(each) > 8 and each in said
    ] == []
    return said


def made(kind: Any, size: Any) -> dict[str, Any]:
    return {**generate_key(kind, size).as_dict(private=True), "kid": "k"}


@pytest.mark.parametrize("jwk", [EC, OKP, RSA], ids=ALGORITHMS)
def test_a_key_is_read_as_it_was_written_and_its_public_one_holds_nothing_secret(
    jwk: dict[str, str],
) -> None:
    assert read_key(jwk, private=True).private() == jwk
    without_advice = {name: jwk[name] for name in jwk.keys() - {"use", "alg"}}
    assert read_key({**without_advice, "key_ops": ["sign"]}, private=True).private() == jwk
    public = read_key(jwk, private=True).public()
    assert not public.keys() & {"d", "p", "q", "dp", "dq", "qi"}
    assert read_key(public, private=False).public() == public


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_a_new_key_is_one_that_is_taken(kind: str) -> None:
    key = new_key(kind, "2026-11-27")
    assert (key.kid, key.kind) == ("2026-11-27", kind)
    keys = MessageKeys(key)
    assert keys.open(keys.seal(b"text")) == b"text"


@pytest.mark.parametrize("kid", [None, "", 7, "x" * 65, "a b", "kid\n", "名"])
def test_a_key_without_a_usable_name_is_refused(kid: object) -> None:
    assert "needs a kid" in problem({**EC, "kid": kid})


@pytest.mark.parametrize(
    ("jwk", "words"),
    [
        ([], "is no JSON object"),
        ({**EC, "kty": "oct", "k": "c2VjcmV0"}, "must have kty"),
        ({**EC, "kty": ["EC"]}, "must have kty"),
        (made("EC", "P-384"), "must have kty"),
        (made("OKP", "Ed25519"), "must have kty"),
        ({**EC, "use": "sig"}, "must have use enc"),
        ({**EC, "x": "AA"}, "is damaged"),
        ({**EC, "x": 7}, "is damaged"),
        ({**EC, "d": EC["x"]}, "is damaged"),
        ({**EC, "d": "%"}, "is damaged"),
        ({"kty": "EC", "crv": "P-256", "kid": "k", "d": EC["d"]}, "is damaged"),
        ({**OKP, "x": EC["x"]}, "x does not belong to d"),
        ({**OKP, "d": "AA"}, "is damaged"),
        ({**RSA, "n": EC["x"]}, "must have 2048 to 4096 bits"),
        ({**RSA, "n": RSA["n"][:171]}, "must have 2048 to 4096 bits"),
        ({**RSA, "n": 7}, "must have 2048 to 4096 bits"),
        ({**RSA, "n": "名"}, "must have 2048 to 4096 bits"),
        ({**RSA, "d": "%"}, "is damaged"),
        ({**RSA, "p": RSA["q"]}, "is damaged"),
        (message_key().public(), "must be a private key"),
    ],
)
def test_a_key_that_cannot_be_used_is_refused_in_words(jwk: object, words: str) -> None:
    assert words in problem(jwk)


def test_a_private_key_is_not_taken_for_a_public_one() -> None:
    """Whoever has one in a publisher's hands has given the secret away."""
    assert problem(EC, private=False) == "must not be a private key"
    with pytest.raises(KeyUnusable):
        read_public_key(json.dumps({"keys": [EC]}))


def test_everything_that_is_wrong_with_a_set_is_said_at_once() -> None:
    keys = [EC, {**OKP, "kid": ""}, {**RSA, "kid": EC["kid"]}, {**OKP, "use": "sig"}]
    with pytest.raises(KeyUnusable) as caught:
        MessageKeys.read(json.dumps({"keys": keys}))
    assert [each[:6] for each in caught.value.problems] == ["key 2 ", "key 3 ", "key 4 "]
    assert "the kid of an earlier one" in caught.value.problems[1]


def test_a_new_key_goes_first_under_a_name_of_its_own() -> None:
    keys = message_keys("a").with_first(message_key(kid="b"))
    assert keys.kids == ["b", "a"]
    with pytest.raises(KeyUnusable, match="this kid"):
        keys.with_first(message_key("OKP", "a"))


def test_no_repr_shows_a_key() -> None:
    keys = message_keys()
    assert EC["d"] not in f"{message_key()!r}{keys!r}"
