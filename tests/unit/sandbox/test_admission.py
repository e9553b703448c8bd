"""Who may call, and about whom: signature, nonce and body, over a real socket."""

from dataclasses import replace
from itertools import combinations

import pytest

from tests.fakes.messages import FIELDS_OF_TYPE, NAME, PERSON
from tests.unit.sandbox.caller import ANYONE, Caller, RunningSandbox, Signer, encode
from worker.sandbox.admission import CallRefused, read_person
from worker.sandbox.settings import SandboxSettings


@pytest.mark.parametrize(
    "signer",
    [
        Signer(),
        Signer(version="3"),
        # What the vector of JD's documentation signs at least.
        Signer(unsigned=frozenset({"host", "content-type"})),
        # As JD's own SDK signs.
        Signer(unsigned=frozenset({"x-jdcloud-date", "x-jdcloud-nonce"})),
        Signer(region="cn-north-1"),
        # Within 15 minutes, either way.
        Signer(clock_offset=-880),
        Signer(clock_offset=880),
    ],
)
def test_a_well_signed_call_is_admitted(caller: Caller, signer: Signer) -> None:
    assert Caller(caller.sandbox, signer).call(ANYONE).info["success"] is True


@pytest.mark.parametrize(
    ("signer", "refusal"),
    [
        (Signer(access_key="ANOTHER"), (401, "APIGW_KEY_NOT_EXITST")),
        (Signer(secret_key="another"), (401, "APIGW_SIGN_RESULT_NOT_SAME")),
        # A scope of something else.
        (Signer(service="vm"), (401, "APIGW_SIGN_RESULT_NOT_SAME")),
        # A clock that is wrong, either way.
        (Signer(clock_offset=-930), (401, "APIGW_SIGN_RESULT_NOT_SAME")),
        (Signer(clock_offset=930), (401, "APIGW_SIGN_RESULT_NOT_SAME")),
        # Changed under way.
        (Signer(changes={"content-type": "text/plain"}), (401, "APIGW_SIGN_RESULT_NOT_SAME")),
        (Signer(changes={"x-jdcloud-nonce": "another"}), (401, "APIGW_SIGN_RESULT_NOT_SAME")),
        # Missing.
        (Signer(changes={"authorization": None}), (401, "APIGW_LACK_PARAMS")),
        (Signer(changes={"x-jdcloud-date": None}), (401, "APIGW_LACK_PARAMS")),
        (Signer(changes={"x-jdcloud-nonce": None}), (401, "APIGW_LACK_PARAMS")),
        (Signer(changes={"content-type": None}), (401, "APIGW_LACK_PARAMS")),
        # Unreadable.
        (Signer(changes={"authorization": "Basic eDp5"}), (401, "APIGW_ILLEGAL_HEADER")),
        (Signer(changes={"x-jdcloud-date": "yesterday"}), (401, "APIGW_ILLEGAL_HEADER")),
        (Signer(changes={"x-jdcloud-date": "20261332T000000Z"}), (401, "APIGW_ILLEGAL_HEADER")),
        # A token that nobody gave out.
        (Signer(token="surprise"), (401, "APIGW_KEY_NOT_EXITST")),
    ],
)
def test_a_badly_signed_call_is_refused_and_costs_nothing(
    caller: Caller, signer: Signer, refusal: tuple[int, str]
) -> None:
    answer = Caller(caller.sandbox, signer).call(ANYONE)
    assert answer.error == refusal
    assert answer.json["error"]["code"] == refusal[0]
    assert answer.json["error"]["details"] == []
    assert answer.json["requestId"]
    counts = caller.counts()
    assert (counts.calls, counts.refused, counts.charges) == (1, 1, 0)


def test_a_nonce_is_good_for_one_call(caller: Caller) -> None:
    assert caller.call(ANYONE, nonce="once").status == 200
    assert caller.call(ANYONE, nonce="once").error == (403, "APIGW_NONCE_CONFLICT")


def test_a_refused_call_burns_no_nonce(caller: Caller) -> None:
    Caller(caller.sandbox, Signer(secret_key="another")).call(ANYONE, nonce="not burnt")
    assert caller.call(ANYONE, nonce="not burnt").status == 200


def test_only_the_last_nonces_are_remembered() -> None:
    with RunningSandbox(SandboxSettings(nonces_kept=2)) as sandbox:
        caller = Caller(sandbox)
        statuses = [caller.call(ANYONE, nonce=nonce).status for nonce in "abbcab"]
    assert statuses == [200, 200, 403, 200, 200, 200], "the oldest is forgotten"


def test_a_session_token_must_be_there_right_and_signed() -> None:
    token = "token-value"
    right = Signer(token=token)
    with RunningSandbox(SandboxSettings(session_token=token)) as sandbox:

        def error(signer: Signer) -> tuple[int, str]:
            return Caller(sandbox, signer).call(ANYONE).error

        name = "x-jdcloud-security-token"
        assert Caller(sandbox, right).call(ANYONE).status == 200
        assert error(Signer()) == (401, "APIGW_LACK_PARAMS")
        assert error(Signer(token="other")) == (401, "APIGW_KEY_NOT_EXITST")
        assert error(replace(right, unsigned=frozenset({name}))) == (401, "APIGW_LACK_PARAMS")


def test_a_region_can_be_required() -> None:
    with RunningSandbox(SandboxSettings(region="jdcloud-api")) as sandbox:
        assert Caller(sandbox).call(ANYONE).status == 200
        elsewhere = Caller(sandbox, Signer(region="cn-north-1"))
        assert elsewhere.call(ANYONE).error == (401, "APIGW_SIGN_RESULT_NOT_SAME")


def test_secrets_have_no_repr() -> None:
    settings = SandboxSettings(secret_key="do-not-show", session_token="nor-this")
    assert "do-not-show" not in repr(settings)
    assert "nor-this" not in repr(settings)


# The body against the document's table.

ROWS = {number: [set(fields)] for number, fields in FIELDS_OF_TYPE.items()}
ROWS[3].append({"name", "bankcard", "imgBase64"})


def spec(check_type: object, fields: set[str], **changes: object) -> bytes:
    user = {name: PERSON[name] for name in sorted(fields)} | changes
    return encode({"personalSpec": {"checkType": check_type, "personalUser": user}})


@pytest.mark.parametrize("check_type", ROWS)
def test_exactly_the_fields_of_the_row_are_accepted(check_type: int) -> None:
    for size in range(len(PERSON) + 1):
        for fields in map(set, combinations(PERSON, size)):
            if fields in ROWS[check_type]:
                assert read_person(spec(check_type, fields)).name == NAME
            else:
                with pytest.raises(CallRefused) as caught:
                    read_person(spec(check_type, fields))
                assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT")


def test_null_is_no_field_as_jds_own_sdk_sends_it() -> None:
    person = read_person(spec(2, {"name", "idCard"}, mobile=None, imgBase64=None))
    assert set(person.fields) == {"name", "idCard"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b"[" * 100_000,
        encode({"personalSpec": None}),
        encode({"personalSpec": []}),
        encode({"personalSpec": {"checkType": 2}}),
        encode({"personalSpec": {"checkType": 2, "personalUser": []}}),
        spec(2, {"name", "idCard"})[:-1] + b',"regionId":"cn-north-1"}',
        # Check types that are not 0 to 4.
        spec(5, {"name", "idCard"}),
        spec(-1, {"name", "idCard"}),
        spec("2", {"name", "idCard"}),
        spec(2.0, {"name", "idCard"}),
        spec(True, {"name", "idCard", "bankcard"}),
        spec(2, {"name"}, idCard=None),
        spec(2, {"name"}, idCard=""),
        spec(2, {"name"}, idCard=110105),
        spec(2, {"name"}, bankCard="6222020200112233445"),
    ],
)
def test_any_other_body_is_an_invalid_argument(body: bytes) -> None:
    with pytest.raises(CallRefused) as caught:
        read_person(body)
    assert caught.value.status == "INVALID_ARGUMENT"


def test_a_refusal_over_the_wire_quotes_nothing_of_the_person(caller: Caller) -> None:
    answer = caller.post(spec(2, {"name", "idCard", "mobile"}))
    assert answer.error == (400, "INVALID_ARGUMENT")
    text = answer.body.decode()
    assert not any(value in text for value in PERSON.values())


def test_a_person_has_no_repr() -> None:
    person = read_person(spec(0, {"name", "idCard", "bankcard", "mobile"}))
    assert not any(value in repr(person) for value in PERSON.values())


def test_a_portrait_with_a_bank_card_is_answered_and_counted_by_the_card(caller: Caller) -> None:
    answer = caller.post(spec(3, {"name", "bankcard", "imgBase64"}))
    assert answer.info["success"] is True
    charges = caller.request("GET", "/charges")
    assert charges.json["by_behaviour"] == {"match": 1}
    assert PERSON["bankcard"].encode() not in charges.body
