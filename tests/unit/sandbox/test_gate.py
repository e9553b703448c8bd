"""Who may call, over a real socket."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.sandbox.caller import Caller, Signer
from worker.sandbox.nonces import NonceMemory
from worker.sandbox.server import Sandbox
from worker.sandbox.settings import SandboxSettings

ANYONE = "11010119900307109X"


@pytest.mark.parametrize(
    "signer",
    [
        Signer(),
        Signer(version="3"),
        # What the vector of JD's documentation signs at least.
        Signer(unsigned=frozenset({"host", "content-type"})),
        Signer(region="cn-north-1"),
        # Within 15 minutes, either way.
        Signer(clock_offset=-880),
        Signer(clock_offset=880),
    ],
)
def test_a_well_signed_call_is_admitted(sandbox: Sandbox, signer: Signer) -> None:
    assert Caller(sandbox, signer).call(ANYONE).info["success"] is True


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
        # There, but not signed.
        (Signer(unsigned=frozenset({"x-jdcloud-nonce"})), (401, "APIGW_LACK_PARAMS")),
        (Signer(unsigned=frozenset({"x-jdcloud-date"})), (401, "APIGW_LACK_PARAMS")),
        # Unreadable.
        (Signer(changes={"authorization": "Basic eDp5"}), (401, "APIGW_ILLEGAL_HEADER")),
        (Signer(changes={"x-jdcloud-date": "yesterday"}), (401, "APIGW_ILLEGAL_HEADER")),
        (Signer(changes={"x-jdcloud-date": "20261332T000000Z"}), (401, "APIGW_ILLEGAL_HEADER")),
        # A token that nobody gave out.
        (Signer(token="surprise"), (401, "APIGW_KEY_NOT_EXITST")),
    ],
)
def test_a_badly_signed_call_is_refused_and_costs_nothing(
    sandbox: Sandbox, signer: Signer, refusal: tuple[int, str]
) -> None:
    answer = Caller(sandbox, signer).call(ANYONE)
    assert answer.error == refusal
    assert answer.json["error"]["code"] == refusal[0]
    assert answer.json["error"]["details"] == []
    assert answer.json["requestId"]
    counts = sandbox.charges()
    assert (counts.calls, counts.refused, counts.charges) == (1, 1, 0)


def test_a_nonce_is_good_for_one_call(caller: Caller) -> None:
    assert caller.call(ANYONE, nonce="once").status == 200
    assert caller.call(ANYONE, nonce="once").error == (403, "APIGW_NONCE_CONFLICT")


def test_a_refused_call_burns_no_nonce(sandbox: Sandbox) -> None:
    Caller(sandbox, Signer(secret_key="another")).call(ANYONE, nonce="not burnt")
    assert Caller(sandbox).call(ANYONE, nonce="not burnt").status == 200


def test_nonces_are_remembered_in_bounded_memory() -> None:
    memory = NonceMemory(kept=2)
    assert [memory.use(nonce) for nonce in "abcb"] == [True, True, True, False]
    assert memory.use("d")
    assert memory.use("e")
    assert memory.use("a"), "the oldest is forgotten"
    assert not memory.use("d")


def test_a_session_token_must_be_there_right_and_signed() -> None:
    token = "token-value"
    right = Signer(token=token)
    with Sandbox(SandboxSettings(session_token=token)) as sandbox:

        def error(signer: Signer) -> tuple[int, str]:
            return Caller(sandbox, signer).call(ANYONE).error

        name = "x-jdcloud-security-token"
        assert Caller(sandbox, right).call(ANYONE).status == 200
        assert error(Signer()) == (401, "APIGW_LACK_PARAMS")
        assert error(Signer(token="other")) == (401, "APIGW_KEY_NOT_EXITST")
        assert error(replace(right, unsigned=frozenset({name}))) == (401, "APIGW_LACK_PARAMS")


def test_a_region_can_be_required() -> None:
    with Sandbox(SandboxSettings(region="jdcloud-api")) as sandbox:
        assert Caller(sandbox).call(ANYONE).status == 200
        elsewhere = Caller(sandbox, Signer(region="cn-north-1"))
        assert elsewhere.call(ANYONE).error == (401, "APIGW_SIGN_RESULT_NOT_SAME")


@pytest.mark.parametrize(
    "build",
    [
        lambda: SandboxSettings(access_key=""),
        lambda: SandboxSettings(port=70_000),
        lambda: SandboxSettings(latency=-1),
        lambda: SandboxSettings(slow_seconds=float("nan")),
        lambda: SandboxSettings(nonces_kept=0),
        lambda: Sandbox(SandboxSettings(unlisted="no such behaviour")),
    ],
)
def test_settings_that_make_no_sense_are_refused(build: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"must"):
        build()


def test_secrets_have_no_repr() -> None:
    settings = SandboxSettings(secret_key="do-not-show", session_token="nor-this")
    assert "do-not-show" not in repr(settings)
    assert "nor-this" not in repr(settings)
