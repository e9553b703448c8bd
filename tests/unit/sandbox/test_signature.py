"""The signature code against what JD's own SDK signed: tests/unit/provider/test_signing.py."""

import pytest
from requests.structures import CaseInsensitiveDict

from tests.unit.provider.test_signing import BODY, KEYS, MOMENT, SIGNATURES, auth, signed
from worker.sandbox.admission import CallAdmission, ReceivedCall
from worker.sandbox.settings import SandboxSettings
from worker.sandbox.signature import canonical_request, parse_authorization


@pytest.mark.parametrize(("version", "region", "token"), SIGNATURES)
def test_a_call_as_jds_own_sdk_signs_it_is_admitted_at_its_own_time(
    version: int, region: str, token: str | None
) -> None:
    headers = CaseInsensitiveDict({"host": "cloudauth.jdcloud-api.com"})
    headers.update(signed(auth(version, region, token)))
    call = ReceivedCall("POST", "/v1/personal", headers, BODY)
    settings = SandboxSettings(
        access_key=KEYS[0], secret_key=KEYS[1], session_token=token, region=region
    )
    assert CallAdmission(settings).admit(call, MOMENT.timestamp()).name == "张三"
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
