"""The signature code against JD's own vectors."""

from datetime import UTC, datetime

import pytest

from worker.sandbox.admission import CallAdmission, ReceivedCall
from worker.sandbox.settings import SandboxSettings
from worker.sandbox.signature import (
    canonical_request,
    parse_authorization,
)

B_ACCESS_KEY = "AKIDEXAMPLE00000000000000000000"
B_SECRET_KEY = "SKEXAMPLE0000000000000000000000"
B_DATE = "20260102T030405Z"
B_BODY = (
    '{"personalSpec":{"checkType":2,"personalUser":{"name":"张三","idCard":"11010519491231002X"}}}'
).encode()
B_HEADERS = {
    "content-type": "application/json",
    "host": "cloudauth.jdcloud-api.com",
    "x-jdcloud-date": B_DATE,
    "x-jdcloud-nonce": "ed558a3b-9808-4edb-8597-187bda63a4f2",
}
B_TOKEN = {"x-jdcloud-security-token": "dG9rZW4tdmFsdWU="}
ALL = "content-type;host;x-jdcloud-date;x-jdcloud-nonce"

B_VARIANTS = [
    pytest.param(
        "2", "jdcloud-api", ALL, {},
        "099961a0b89501cdace14dd6a6de1a62f584bc3217b7d8a5b4c34d96c5ce7e97", id="JDCLOUD2",
    ),
    pytest.param(
        "2", "jdcloud-api", ALL + ";x-jdcloud-security-token", B_TOKEN,
        "edefebaa3d4ca9a9cede08f5b732fd47a57060019df3fb6e5823e875e36f5ac3", id="token",
    ),
    pytest.param(
        "2", "cn-north-1", ALL, {},
        "08d7df2625bc4994ed6575463d2031a4d4f8ee2d23ee21a878472958fddf76f0", id="region",
    ),
    pytest.param(
        "3", "jdcloud-api", ALL, {},
        "b2a7dd5f3313ae855ad7112ef790a136e499772122a95027459de999885141ca", id="JDCLOUD3",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("version", "region", "signed", "more", "expected"), B_VARIANTS)
def test_vector_b_is_admitted_at_its_own_time_with_the_signature_of_jds_own_sdk(
    version: str, region: str, signed: str, more: dict[str, str], expected: str
) -> None:
    scope = f"{B_DATE[:8]}/{region}/cloudauth/jdcloud{version}_request"
    authorization = (
        f"JDCLOUD{version}-HMAC-SHA256 Credential={B_ACCESS_KEY}/{scope}, "
        f"SignedHeaders={signed}, Signature={expected}"
    )
    settings = SandboxSettings(
        access_key=B_ACCESS_KEY,
        secret_key=B_SECRET_KEY,
        session_token="token-value" if more else None,
        region=region,
    )
    headers = B_HEADERS | more | {"authorization": authorization}
    call = ReceivedCall("POST", "/v1/personal", headers, B_BODY)
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
    assert CallAdmission(settings).admit(call, now).name == "张三"
    assert "张三" not in repr(call)


def test_a_host_is_signed_without_the_default_ports() -> None:
    bare = canonical_request("POST", "/", {"host": "example.com"}, ["host"], b"")
    for port in (":80", ":443"):
        with_port = {"host": f"example.com{port}"}
        assert canonical_request("POST", "/", with_port, ["host"], b"") == bare
    assert canonical_request("POST", "/", {"host": "example.com:8080"}, ["host"], b"") != bare


def test_the_scope_must_end_in_the_version_of_the_algorithm() -> None:
    seal = "0" * 64
    good = f"JDCLOUD2-HMAC-SHA256 Credential=AK/20260102/r/s/jdcloud2_request, SignedHeaders=a;b, Signature={seal}"  # noqa: E501
    parsed = parse_authorization(good)
    assert parsed is not None
    assert parsed.signed_headers == ("a", "b")
    assert parse_authorization(good.replace("jdcloud2_", "jdcloud3_")) is None
    assert parse_authorization(good.replace("HMAC", "RSA")) is None
