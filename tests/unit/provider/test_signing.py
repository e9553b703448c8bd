"""JD's own test vectors, those made with its SDK, and what a signature must not do."""

from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256

import pytest
from requests import Request
from requests.structures import CaseInsensitiveDict

from worker.provider.signing import (
    JdCloudAuth,
    Scope,
    canonical_request,
    canonical_target,
    sign,
    signing_key,
    string_to_sign,
)

URL = "https://cloudauth.jdcloud-api.com/v1/personal"
BODY = (
    '{"personalSpec":{"checkType":2,"personalUser":{"name":"张三","idCard":"11010519491231002X"}}}'
).encode()
TOKEN = "token-value"
KEYS = ("AKIDEXAMPLE00000000000000000000", "SKEXAMPLE0000000000000000000000")
MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def auth(
    version: int = 2,
    region: str = "jdcloud-api",
    token: str | None = None,
    clock: Callable[[], datetime] = lambda: MOMENT,
) -> JdCloudAuth:
    return JdCloudAuth(
        *KEYS,
        Scope(f"JDCLOUD{version}", region),
        session_token=token,
        clock=clock,
        nonce=lambda: "ed558a3b-9808-4edb-8597-187bda63a4f2",
    )


def signed(signer: JdCloudAuth) -> CaseInsensitiveDict[str]:
    headers = {"Content-Type": "application/json"}
    return Request("POST", URL, headers=headers, data=BODY, auth=signer).prepare().headers


def test_the_documents_own_example_is_signed_as_the_document_says() -> None:
    target = canonical_target("https://example.test/v1/resource:action?p1=p1&p0=p0&o=%&u=u")
    headers = {
        "x-my-header_blank": " blank",
        "x-my-header": "test",
        "x-jdcloud-nonce": "testnonce",
        "x-jdcloud-date": "20190214T104514Z",
    }
    scope = Scope("JDCLOUD2", "cn-north-1", "test")
    canonical, _ = canonical_request("POST", target, headers, b"body data")
    key = signing_key("TESTSK", scope, "20190214")
    assert (
        sha256(canonical.encode()).hexdigest()
        == "fb2e317056269590681d091f8eb22272967c0b922b2deda887312215ea4eed4c"
    )
    assert key.hex() == "a4e50bcb6001be0008696b173c30172b5ce22a77db00d21c6a9d69de2ba33b7d"
    assert (
        sign(key, string_to_sign(scope, "20190214T104514Z", canonical))
        == "2a98f83c074e7bee260bfc8ef64f009c07595bd93f7f0c3f4e156bf6479ed9bf"
    )


# By the algorithm's version, the region and the session token.
SIGNATURES = {
    (2, "jdcloud-api", None): "099961a0b89501cdace14dd6a6de1a62f584bc3217b7d8a5b4c34d96c5ce7e97",
    (2, "jdcloud-api", TOKEN): "edefebaa3d4ca9a9cede08f5b732fd47a57060019df3fb6e5823e875e36f5ac3",
    (2, "cn-north-1", None): "08d7df2625bc4994ed6575463d2031a4d4f8ee2d23ee21a878472958fddf76f0",
    (3, "jdcloud-api", None): "b2a7dd5f3313ae855ad7112ef790a136e499772122a95027459de999885141ca",
}


@pytest.mark.parametrize(("version", "region", "token"), SIGNATURES)
def test_a_prepared_request_is_signed_as_the_official_sdk_signs_it(
    version: int, region: str, token: str | None
) -> None:
    headers = signed(auth(version, region, token))
    names = "content-type;host;x-jdcloud-date;x-jdcloud-nonce"
    assert headers["Authorization"] == (
        f"JDCLOUD{version}-HMAC-SHA256 Credential={KEYS[0]}/20260102/"
        f"{region}/cloudauth/jdcloud{version}_request,"
        f" SignedHeaders={names}{';x-jdcloud-security-token' if token else ''},"
        f" Signature={SIGNATURES[version, region, token]}"
    )
    expected = "dG9rZW4tdmFsdWU=" if token else None
    assert headers.get("x-jdcloud-security-token") == expected


def test_the_usual_ports_are_left_out_of_the_signed_host_and_others_are_not() -> None:
    assert canonical_target("https://a.test:443/x").host == "a.test"
    assert canonical_target("http://a.test:80/x").host == "a.test"
    assert canonical_target("http://user:pw@a.test:8000/x").host == "a.test:8000"


def test_the_key_changes_with_the_day() -> None:
    second, third = datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC)
    days = iter([second, third])
    same = auth(clock=lambda: next(days))
    of_the_second, of_the_third = (signed(same)["Authorization"] for _ in range(2))
    assert of_the_second != of_the_third == signed(auth(clock=lambda: third))["Authorization"]


def test_the_signers_repr_holds_no_secret() -> None:
    shown = repr(auth(token=TOKEN))
    assert "SKEXAMPLE" not in shown
    assert TOKEN not in shown
