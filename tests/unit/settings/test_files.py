"""Settings that name files: secrets, and certificates for TLS to the broker."""

from pathlib import Path

import pytest

from tests.chaos.certificates import Certificates
from tests.unit.settings.conftest import SECRETS, Environment
from tests.unit.settings.test_settings import problems
from worker.settings import BrokerSettings, Settings, load

AMQPS = "amqps://user:pass@localhost/v"


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        *((name, b"", b"\r\n") for name in SECRETS),
        ("PROVIDER_SECRET_KEY", b"", b""),
        ("PROVIDER_SECRET_KEY", b"\xef\xbb\xbf", b"\n"),
    ],
)
def test_every_secret_may_stand_in_a_file_with_what_editors_add(
    whole: Environment, tmp_path: Path, name: str, before: bytes, after: bytes
) -> None:
    (tmp_path / "secret").write_bytes(before + SECRETS[name].encode() + after)
    whole.unset(name)
    whole.set(**{f"{name}_FILE": tmp_path / "secret"})
    assert getattr(load(Settings), name.lower()).get_secret_value() == SECRETS[name]


def test_a_secret_comes_by_one_way_alone(whole: Environment, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2")
    whole.unset("PROVIDER_SECRET_KEY")
    whole.set(PROVIDER_SECRET_KEY_FILE=tmp_path / "secret", DIGEST_KEY_FILE="/nowhere/key")
    whole.set(provider_secret_key="of-the-environment", CONCURRENCY=0)
    found = problems()
    for name in ("PROVIDER_SECRET_KEY", "DIGEST_KEY"):
        assert f"{name}: is set, and {name}_FILE too: remove one of them" in found
    assert len(found) == 3  # what is in the file that is not read is no problem beside it


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\r\n", "is empty"),
        (b"\xff\xfe\x00", "cannot be read (UnicodeDecodeError)"),
        (None, "cannot be read (FileNotFoundError)"),
    ],
)
def test_a_file_that_holds_no_secret_is_named_without_its_path(
    whole: Environment, tmp_path: Path, content: bytes | None, problem: str
) -> None:
    whole.unset("DIGEST_KEY")
    whole.set(DIGEST_KEY_FILE=tmp_path / "secret")
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    assert problems() == [f"DIGEST_KEY_FILE: {problem}"]
    whole.set(DIGEST_KEY_FILE=tmp_path)
    assert problems() == ["DIGEST_KEY_FILE: cannot be read (IsADirectoryError)"]


def test_what_is_no_secret_is_not_read_from_a_file(whole: Environment, tmp_path: Path) -> None:
    (tmp_path / "mode").write_text("sandbox", encoding="utf-8")
    whole.unset("PROVIDER_MODE")
    whole.set(PROVIDER_MODE_FILE=tmp_path / "mode")
    assert problems() == ["PROVIDER_MODE: is required"]


def test_what_is_optional_and_empty_is_not_set(whole: Environment, tmp_path: Path) -> None:
    whole.set(PROVIDER_CA_FILE="", AMQP_CA_FILE="", AMQP_CERT_FILE="", PREFETCH="")
    whole.set(DIGEST_KEY_FILE="", PROVIDER_SESSION_TOKEN="")
    (tmp_path / "token").write_bytes(b"\n")
    for file in (tmp_path / "token", ""):
        whole.set(PROVIDER_SESSION_TOKEN_FILE=file)
        settings = load(Settings)
        assert settings.provider_session_token is None
        assert settings.provider_ca_file is settings.amqp_ca_file is None
        assert settings.prefetch == 256


def test_the_files_for_tls_go_along_with_the_url(
    whole: Environment, certificates: Certificates
) -> None:
    files = (
        certificates.trusted.certificate,
        certificates.server.certificate,
        certificates.server.key,
    )
    whole.set(AMQP_CA_FILE=files[0], AMQP_CERT_FILE=files[1], AMQP_KEY_FILE=files[2])
    query = "cacertfile={}&certfile={}&keyfile={}".format(*files)
    for url, joined in ((AMQPS, "?"), (f"{AMQPS}?heartbeat=30", "&")):
        whole.set(AMQP_URL=url)
        assert load(BrokerSettings).amqp_url.get_secret_value() == f"{url}{joined}{query}"
    whole.set(AMQP_URL=SECRETS["AMQP_URL"])
    assert problems() == ["AMQP_URL: must begin with amqps:// where files for TLS are named"]


def test_files_for_tls_are_read_at_the_start(
    whole: Environment, certificates: Certificates, tmp_path: Path
) -> None:
    whole.set(AMQP_URL=AMQPS)
    (tmp_path / "text.pem").write_text("no certificate")
    for name in ("PROVIDER_CA_FILE", "AMQP_CA_FILE"):
        whole.set(**{name: "/nowhere/ca.pem"})
        assert problems() == [f"{name}: cannot be read (FileNotFoundError)"]
        whole.set(**{name: tmp_path / "text.pem"})
        assert problems() == [f"{name}: is not certificates in PEM"]
        whole.unset(name)
    whole.set(AMQP_KEY_FILE=certificates.server.key)
    assert problems() == ["AMQP_KEY_FILE: needs AMQP_CERT_FILE"]
    whole.set(AMQP_CERT_FILE=certificates.server.certificate)
    what = "is not the private key of AMQP_CERT_FILE in PEM, without a password"
    for key in (certificates.stranger.pair.key, certificates.locked_key("secret"), ""):
        whole.set(AMQP_KEY_FILE=key)
        assert problems() == [f"AMQP_KEY_FILE: {what}"]
