"""The URL decides where to go, its gaps have argued defaults, and TLS has no weaker form."""

import ssl
from pathlib import Path

import pytest

from tests.chaos.certificates import Certificates
from worker.amqp.broker_errors import InvalidUrl
from worker.amqp.parameters import Tls, TlsFiles, parameters, place

URL = "amqp://user:secret@rabbit.internal:5673/onboarding"


def test_a_plain_url_gets_our_time_limits() -> None:
    parsed = parameters(URL, "consume")
    assert parsed.heartbeat == 15
    assert parsed.socket_timeout == 5
    assert parsed.stack_timeout == 10
    assert parsed.blocked_connection_timeout is None
    assert parsed.tcp_options == {"TCP_USER_TIMEOUT": 20_000}


def test_what_the_url_says_wins() -> None:
    url = f"{URL}?heartbeat=60&socket_timeout=2&connection_attempts=9"
    parsed = parameters(url, "consume")
    assert parsed.connection_attempts == 1  # trying again is never pika's business
    assert parsed.heartbeat == 60
    assert parsed.socket_timeout == 2


def test_the_connection_says_who_it_is_and_what_for() -> None:
    name = parameters(URL, "publish").client_properties["connection_name"]
    assert name.startswith("verification-worker publish ")


@pytest.mark.parametrize(
    ("url", "where"),
    [
        (URL, "rabbit.internal:5673/onboarding"),
        ("amqp://user:secret@rabbit.internal", "rabbit.internal:5672/"),
        ("amqp://user:secret@rabbit.internal/%2F", "rabbit.internal:5672/"),
    ],
)
def test_a_place_shows_neither_user_nor_password(url: str, where: str) -> None:
    assert place(parameters(url, "consume")) == where


TLS_URL = "amqps://user:secret@rabbit.internal/v"


def test_it_is_tls_1_2_at_least_and_both_chain_and_host_are_checked() -> None:
    context = parameters(TLS_URL, "consume").ssl_options.context
    assert parameters(TLS_URL, "consume").port == 5671
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_a_ca_file_replaces_the_systems_authorities(tmp_path: Path) -> None:
    certificates = Certificates.make(tmp_path)
    url = f"{TLS_URL}?cacertfile={certificates.trusted.certificate}&heartbeat=30"
    parsed = parameters(url, "consume")
    (authority,) = parsed.ssl_options.context.get_ca_certs()
    assert (("commonName", "trusted"),) in authority["subject"]
    assert parsed.heartbeat == 30


def test_files_are_read_again_and_one_that_is_being_written_does_no_harm(tmp_path: Path) -> None:
    certificates = Certificates.make(tmp_path)
    mounted = tmp_path / "mounted.pem"
    mounted.write_bytes(certificates.stranger.certificate.read_bytes())
    tls = Tls(TlsFiles(str(mounted)))
    mounted.write_text("-----BEGIN CERT")
    (before,) = tls.context.get_ca_certs()
    mounted.write_bytes(certificates.trusted.certificate.read_bytes())
    (after,) = tls.context.get_ca_certs()
    assert (("commonName", "stranger"),) in before["subject"]
    assert (("commonName", "trusted"),) in after["subject"]


def test_files_for_tls_that_are_not_there_are_refused_without_quoting_the_url() -> None:
    with pytest.raises(InvalidUrl) as refused:
        parameters(TLS_URL + "?cacertfile=/nowhere/ca.pem", "consume")
    assert "secret" not in str(refused.value)
