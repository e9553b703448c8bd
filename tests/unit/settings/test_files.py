"""Settings that name files: secrets, and certificates for TLS to the broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.certificates import Certificates
from worker.settings import BrokerSettings, Settings, SettingsInvalid, load

if TYPE_CHECKING:
    from pathlib import Path

PLAIN = {
    "AMQP_URL": "amqps://user:pass@localhost/v",
    "DATABASE_URL": "postgresql://user@localhost/v",
    "PROVIDER_MODE": "sandbox",
    "PROVIDER_URL": "http://localhost:8080/v1/personal",
    "PROVIDER_ACCESS_KEY": "access",
    "PROVIDER_SECRET_KEY": "signing",
    "DIGEST_KEY": "a key of at least 32 characters, for tests",
}


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Give an environment with what is required and nothing of the machine's own."""
    for name in Settings.model_fields:
        for variable in (name.upper(), f"{name.upper()}_FILE", name):
            monkeypatch.delenv(variable, raising=False)
    for name, value in PLAIN.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.make(tmp_path_factory.mktemp("certificates"))


def problems() -> list[str]:
    with pytest.raises(SettingsInvalid) as caught:
        load(Settings)
    return caught.value.problems


def from_file(env: pytest.MonkeyPatch, name: str, file: Path, content: bytes) -> None:
    env.delenv(name, raising=False)
    file.write_bytes(content)
    env.setenv(f"{name}_FILE", str(file))


@pytest.mark.parametrize("content", [b"hunter2", b"hunter2\r\n", b"\xef\xbb\xbfhunter2\n"])
def test_a_secret_is_its_files_text_without_what_editors_add(
    env: pytest.MonkeyPatch, tmp_path: Path, content: bytes
) -> None:
    from_file(env, "PROVIDER_SECRET_KEY", tmp_path / "secret", content)
    assert load(Settings).provider_secret_key.get_secret_value() == "hunter2"


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n"])
def test_an_empty_file_of_a_required_secret_is_named(
    env: pytest.MonkeyPatch, tmp_path: Path, content: bytes
) -> None:
    from_file(env, "PROVIDER_SECRET_KEY", tmp_path / "secret", content)
    assert problems() == ["PROVIDER_SECRET_KEY_FILE: is empty"]


def test_a_directory_is_no_secret(env: pytest.MonkeyPatch, tmp_path: Path) -> None:
    env.delenv("DIGEST_KEY")
    env.setenv("DIGEST_KEY_FILE", str(tmp_path))
    assert problems() == ["DIGEST_KEY_FILE: cannot be read (IsADirectoryError)"]


def test_what_is_optional_and_empty_is_not_set(env: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PROVIDER_CA_FILE", "AMQP_CA_FILE", "AMQP_CERT_FILE", "PREFETCH"):
        env.setenv(name, "")
    env.setenv("DIGEST_KEY_FILE", "")
    from_file(env, "PROVIDER_SESSION_TOKEN", tmp_path / "token", b"\n")
    settings = load(Settings)
    assert settings.provider_session_token is None
    assert settings.provider_ca_file is None
    assert settings.amqp_ca_file is None
    assert settings.prefetch == 256
    env.delenv("PROVIDER_SESSION_TOKEN_FILE")
    env.setenv("PROVIDER_SESSION_TOKEN", "")
    assert load(Settings).provider_session_token is None


def test_an_empty_required_setting_is_missing(env: pytest.MonkeyPatch) -> None:
    env.setenv("PROVIDER_SECRET_KEY", "")
    assert problems() == ["PROVIDER_SECRET_KEY: is required"]


def test_the_files_for_tls_go_along_with_the_url(
    env: pytest.MonkeyPatch, certificates: Certificates
) -> None:
    env.setenv("AMQP_URL", "amqps://user:pass@localhost/v?heartbeat=30")
    env.setenv("AMQP_CA_FILE", str(certificates.trusted.certificate))
    env.setenv("AMQP_CERT_FILE", str(certificates.server.certificate))
    env.setenv("AMQP_KEY_FILE", str(certificates.server.key))
    assert load(BrokerSettings).amqp_url.get_secret_value() == (
        "amqps://user:pass@localhost/v?heartbeat=30"
        f"&cacertfile={certificates.trusted.certificate}"
        f"&certfile={certificates.server.certificate}&keyfile={certificates.server.key}"
    )


def test_files_for_tls_need_a_url_for_tls(
    env: pytest.MonkeyPatch, certificates: Certificates
) -> None:
    env.setenv("AMQP_URL", "amqp://user:pass@localhost/v")
    env.setenv("AMQP_CA_FILE", str(certificates.trusted.certificate))
    assert problems() == ["AMQP_URL: must begin with amqps:// where files for TLS are named"]


def test_files_for_tls_are_read_at_the_start(
    env: pytest.MonkeyPatch, certificates: Certificates, tmp_path: Path
) -> None:
    (tmp_path / "text.pem").write_text("no certificate")
    for name in ("PROVIDER_CA_FILE", "AMQP_CA_FILE"):
        env.setenv(name, "/nowhere/ca.pem")
        assert problems() == [f"{name}: cannot be read (FileNotFoundError)"]
        env.setenv(name, "")
    env.setenv("AMQP_CA_FILE", str(tmp_path / "text.pem"))
    assert problems() == ["AMQP_CA_FILE: is not certificates in PEM"]
    env.setenv("AMQP_CA_FILE", "")
    env.setenv("AMQP_KEY_FILE", str(certificates.server.key))
    assert problems() == ["AMQP_KEY_FILE: needs AMQP_CERT_FILE"]
    env.setenv("AMQP_CERT_FILE", str(certificates.server.certificate))
    what = "is not the private key of AMQP_CERT_FILE in PEM, without a password"
    for key in (certificates.stranger.pair.key, certificates.locked_key("secret")):
        env.setenv("AMQP_KEY_FILE", str(key))
        assert problems() == [f"AMQP_KEY_FILE: {what}"]
    env.setenv("AMQP_KEY_FILE", "")
    assert problems() == [f"AMQP_KEY_FILE: {what}"]
